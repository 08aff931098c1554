"""CSV cells as profiles."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.columns import Columns, Refused
from gateway.errors import Problem
from gateway.imports import _cells, _csv_records

HEADER = ("endUserId", "addresses.mobile_push:list", "globalOptOut:boolean", "attributes.age:number", "attributes.a.b")


async def records(data: bytes) -> list[Any]:
    """The cells of every record, with the number of its first line."""

    async def lines() -> AsyncIterator[tuple[int, bytes]]:
        for number, line in enumerate(data.splitlines(keepends=True), 1):
            yield number, line

    return [
        (number, text if isinstance(text, Refused) else _cells(text)) async for number, text in _csv_records(lines())
    ]


def profile(cells: Sequence[str], header: Sequence[str] = HEADER) -> Any:
    """One record as JSON, or the code of its refusal."""
    read = Columns(header).profile(cells)
    return read.code if isinstance(read, Refused) else json.loads(read)


def test_cells_become_a_profile() -> None:
    """Dotted paths nest, types convert, an empty cell is absent."""
    assert {
        "endUserId": "u",
        "addresses": {"mobile_push": ["t1", "t2"]},
        "globalOptOut": False,
        "attributes": {"age": 38, "a": {"b": " text "}},
    } == profile(["u", "t1;t2", "false", "38", " text "])
    assert {"endUserId": "u"} == profile(["u", "", "", "", ""])


@pytest.mark.parametrize(
    ("cell", "value"),
    [("1", 1), ("-0", 0), ("1.5", 1.5), ("1e3", 1000.0), (" 7 ", 7), ("9223372036854775807", 2**63 - 1)],
)
def test_a_number_is_read_as_json_would(cell: str, value: float) -> None:
    """Whole ones stay whole."""
    assert value == profile(["u", cell], ["endUserId", "attributes.n:number"])["attributes"]["n"]


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("x", "wrong_type"),
        ("01", "wrong_type"),
        ("1,5", "wrong_type"),
        ("NaN", "wrong_type"),
        ("inf", "wrong_type"),
        ("١", "wrong_type"),
        ("1e999", "number_not_finite"),
        ("9223372036854775808", "number_not_finite"),
        ("9" * 5000, "number_not_finite"),
    ],
)
def test_what_is_no_number_refuses_its_record(cell: str, code: str) -> None:
    """With the reason."""
    assert code == profile(["u", cell], ["endUserId", "attributes.n:number"])


def test_a_record_has_as_many_cells_as_the_header() -> None:
    """Neither more nor fewer."""
    assert "wrong_columns" == profile(["u"])
    assert "wrong_columns" == profile(["u", "", "", "", "", ""])
    assert "wrong_type" == profile(["u", "", "yes", "", ""])


@pytest.mark.parametrize(
    ("header", "path"),
    [
        (["name"], "/endUserId"),
        ([], "/endUserId"),
        (["endUserId", "endUserId"], "/endUserId"),
        (["endUserId", "a:date"], "/a:date"),
        (["endUserId", "a..b"], "/a..b"),
        (["endUserId", ""], "/"),
        (["endUserId", "a", "a.b"], "/a.b"),
        (["endUserId", "a.b", "a"], "/a"),
    ],
)
def test_a_header_that_cannot_be_is_refused(header: list[str], path: str) -> None:
    """400 before anything is imported."""
    with pytest.raises(Problem) as caught:
        Columns(header)

    assert path in [fault.path for fault in caught.value.faults]


async def test_quoted_cells_may_hold_commas_quotes_and_line_ends() -> None:
    """RFC 4180; a record is known by its first line, blank lines hold none, a byte order mark is no name."""
    data = b'\xef\xbb\xbfa,b\r\n"1,5","say ""hi"""\r\n\r\n"two\r\nlines",x\r\nlast,y'

    assert [
        (1, ["a", "b"]),
        (2, ["1,5", 'say "hi"']),
        (3, []),
        (4, ["two\r\nlines", "x"]),
        (6, ["last", "y"]),
    ] == await records(data)


async def test_what_is_no_csv_costs_its_record() -> None:
    """Bad UTF-8, signs behind a closing quote, a quote that never ends."""
    found = await records(b'a,b\n\xff,1\n"x"y,2\nok,3\n"open,4\n')

    assert ["invalid_utf8", "broken_csv", "broken_csv"] == [it.code for _, it in found if isinstance(it, Refused)]
    assert (4, ["ok", "3"]) in found


@settings(deadline=None)
@given(
    st.lists(
        st.lists(
            st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=5), min_size=2, max_size=3
        ),
        max_size=5,
    )
)
async def test_what_python_writes_is_read_again(rows: list[list[str]]) -> None:
    """Quotes, commas and all."""
    import csv
    import io

    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)

    # bytes.splitlines splits at line ends alone, as the stream does.
    assert rows == [cells for _, cells in await records(text.getvalue().encode())]
