"""The strict JSON reader."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Problem
from gateway.reading import MAX_NESTING, nests_deeper, parse, require_media

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def nested(depth: int) -> bytes:
    """Arrays in arrays."""
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b' {"a": [1.5, null, true, "\\ud83c\\udf88"]} ', {"a": [1.5, None, True, "🎈"]}),
        ('{"ü": "旅"}'.encode(), {"ü": "旅"}),
        (str(2**63 - 1).encode(), 2**63 - 1),
        (str(-(2**63)).encode(), -(2**63)),
        (b"1e308", 1e308),
        (b'"1234567890123456789012345"', "1234567890123456789012345"),
    ],
)
def test_json_is_read(data: bytes, value: Any) -> None:
    """Of duplicate keys the last counts; numbers up to the bounds, digits in text without any."""
    assert value == parse(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"{}{}",
        b"{'a': 1}",
        b"[1,]",
        b"\xef\xbb\xbf{}",
        b"nul",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e999",
        b"-1e999",
        b"9" * 400,
        b"9" * 5000,
        str(2**63).encode(),
        str(-(2**63) - 1).encode(),
        b'{"a": [{"b": 18446744073709551616}]}',
        b'"\xff\xfe"',
        b'"\xed\xa0\x80"',
        b'"\xc3("',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'{"\\ud800": 1}',
        b'"a\nb"',
        b'"\x00"',
        b"01",
        b"+1",
        b".5",
        b"\x00",
        b"<html>502</html>",
        "{}".encode("utf-16"),
        nested(65),
        nested(100_000),
        b'{"a":' * 100_000,
    ],
)
def test_everything_else_is_invalid_json(data: bytes) -> None:
    """400 invalid_json, with a sentence, whatever the bytes."""
    with pytest.raises(Problem) as caught:
        parse(data)

    assert (400, "invalid_json") == (caught.value.status, caught.value.code)


def test_sixty_four_levels_are_taken() -> None:
    """The limit itself is within the limit; brackets in text are no levels."""
    assert isinstance(parse(nested(MAX_NESTING)), list)
    assert ["[" * 1000] == parse(b'["' + b"[" * 1000 + b'"]')


@settings(deadline=None)
@given(JSON, st.integers(1, 8))
def test_depth_is_counted_as_recursion_would(value: Any, limit: int) -> None:
    """The walk level by level says what the definition says."""

    def depth(item: Any) -> int:
        inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    assert (depth(value) > limit) == nests_deeper(value, limit)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_fail(data: bytes) -> None:
    """It reads or refuses, nothing else."""
    with suppress(Problem):
        parse(data)


@pytest.mark.parametrize(
    "header", ["application/json", "application/json; charset=utf-8", 'Application/JSON ; charset="UTF-8"']
)
def test_json_in_utf_8_is_a_media_type(header: str) -> None:
    """Parameters and case do not matter."""
    assert "application/json" == require_media(header, ("application/json",))


@pytest.mark.parametrize("header", ["", "text/plain", "application/json; charset=latin-1", "multipart/form-data"])
def test_other_media_types_are_415(header: str) -> None:
    """Nor is JSON in another encoding."""
    with pytest.raises(Problem) as caught:
        require_media(header, ("application/json",))

    assert 415 == caught.value.status
