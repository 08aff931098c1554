"""The line reader, against the sample and line by line."""

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeys_client import EventLine, Kind, Malformed, Tally, read_event_lines
from journeys_client.event_lines import MAX_LINE_BYTES, classify, format_timestamp, parse_timestamp

EVENTS = Path(__file__).parents[3] / "examples" / "events"
PEOPLE = EVENTS.parent / "people"


def expected_of(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.expected.json").read_text(encoding="utf-8"))


def tally_of(name: str, people: str) -> Tally:
    known = frozenset(json.loads(line)["endUserId"] for line in (PEOPLE / people).read_bytes().splitlines())
    tally = Tally(known_people=known)
    with (EVENTS / f"{name}.ndjson").open("rb") as file:
        for line in read_event_lines(file):
            tally.count(line)
    return tally


def test_every_count_of_the_messy_sample_is_the_expected_one() -> None:
    """Lines, kinds with their numbers, duplicates, types, order, people: all of it."""
    expected = expected_of("messy-5000")
    counted = tally_of("messy-5000", "people-1000.ndjson").as_json()

    assert {name: value for name, value in expected.items() if name in counted} == counted
    assert {"bytes", "secondRun", "subjects"} == expected.keys() - counted.keys()


def test_the_purchases_are_all_well_formed() -> None:
    """9,276 lines, nobody unknown, in order."""
    expected = expected_of("cdnow-purchases")
    counted = tally_of("cdnow-purchases", "cdnow-people.ndjson").as_json()

    assert expected["lines"] == counted["accepted"]
    assert expected["byType"] == counted["validUnique"]["byTypeInPeopleFile"]
    assert {"outOfOrderUnderOneDay": 0, "lateByOneDayOrMore": 0} == counted["order"]
    assert expected["firstTimestamp"] == counted["firstTimestamp"]
    assert expected["lastTimestamp"] == counted["lastTimestamp"]


MALFORMED = [
    (b"{", Kind.BROKEN_JSON),
    (b'{"type":"a"}{"type":"b"}', Kind.BROKEN_JSON),
    (b"{'type':'a'}", Kind.BROKEN_JSON),
    (b'{"type":"a","data":' + b'{"a":' * 70 + b"1" + b"}" * 71, Kind.BROKEN_JSON),
    (b'{"type":"a","data":' + b'{"a":' * 100_00 + b"1" + b"}" * 100_01, Kind.BROKEN_JSON),
    (b"[]", Kind.WRONG_TYPE),
    (b'"type"', Kind.WRONG_TYPE),
    (b"null", Kind.WRONG_TYPE),
    (b'{"type":null}', Kind.WRONG_TYPE),
    (b'{"type":true}', Kind.WRONG_TYPE),
    (b'{"type":"a","data":[]}', Kind.WRONG_TYPE),
    (b'{"type":"a","id":7}', Kind.WRONG_TYPE),
    (b"{}", Kind.MISSING_TYPE),
    (b'{"type":"a","x":"\xff"}', Kind.INVALID_UTF8),
    (b'{"type":"a","data":{"x":"\\ud83d"}}', Kind.INVALID_UTF8),
    (b'{"type":"a","data":{"x":1e999}}', Kind.NUMBER_NOT_FINITE),
    (b'{"type":"a","data":{"x":-Infinity}}', Kind.NUMBER_NOT_FINITE),
    (b'{"type":"a","data":{"x":9223372036854775808}}', Kind.NUMBER_NOT_FINITE),
    (b'{"type":"a","data":{"x":' + b"9" * 5000 + b"}}", Kind.NUMBER_NOT_FINITE),
    (b'{"type":"a","Type":"b"}', Kind.UNKNOWN_MEMBER),
    (b'{"typ":"a"}', Kind.UNKNOWN_MEMBER),
    (b'{"type":"a","timestamp":"2026-02-30T10:00:00.000Z"}', Kind.BAD_TIMESTAMP),
    (b'{"type":"a","timestamp":"2026-03-01"}', Kind.BAD_TIMESTAMP),
    (b'{"type":"a","timestamp":"2026-03-01T10:00:00"}', Kind.BAD_TIMESTAMP),
    (b'{"type":"a","data":{"note":"' + b"x" * 200_000, Kind.OVERSIZED_LINE),
]


@pytest.mark.parametrize(("line", "kind"), MALFORMED, ids=[f"{kind}-{n}" for n, (_, kind) in enumerate(MALFORMED)])
def test_a_malformed_line_is_called_by_its_kind(line: bytes, kind: Kind) -> None:
    """Each kind of the samples, and the edges between them."""
    found = classify(1, line)

    assert isinstance(found, Malformed)
    assert kind == found.kind
    assert found.message.isprintable()


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"a"}',
        b'{"type":"a","data":{"x":9223372036854775807,"y":-9223372036854775808,"z":1e308}}',
        b'{"type":"a","timestamp":"2026-03-01T10:00:00Z"}',
        b'{"type":"a","timestamp":"2026-03-01T10:00:00.123456+00:00"}',
        b'{"type":"a","timestamp":"2016-12-31T23:59:60Z"}',
        b'{"type":"a","type":"b"}',  # of duplicate keys the last counts
        '{"type":"a","endUserId":"usr_😀","data":{"x":"\\ud83d\\ude00"}}'.encode(),
        b'{"type":"a","data":{"note":"' + b"x" * 200_000 + b'"}}',  # long, but whole
    ],
)
def test_a_well_formed_line_is_an_event(line: bytes) -> None:
    """With its bytes kept."""
    found = classify(1, line)

    assert isinstance(found, EventLine)
    assert line == found.raw


def test_lines_are_numbered_as_an_editor_does() -> None:
    """Blank lines count, CRLF and a byte order mark do not disturb, the last line needs no end."""
    file = BytesIO(b'\xef\xbb\xbf{"type":"a"}\r\n\r\n  \n{"type":"b"}\n{"type":"c"}')

    assert [(1, "a"), (4, "b"), (5, "c")] == [
        (line.number, line.event["type"]) for line in read_event_lines(file) if isinstance(line, EventLine)
    ]


def test_a_line_without_end_costs_no_memory() -> None:
    """Ten megabytes without a line end are one malformed line; the next line is read."""

    class Counting(BytesIO):
        longest = 0

        def readline(self, size: int | None = -1, /) -> bytes:
            line = super().readline(-1 if size is None else size)
            self.longest = max(self.longest, len(line))
            return line

    file = Counting(b'{"type":"' + b"x" * 10_000_000 + b'\n{"type":"b"}\n')
    first, second = read_event_lines(file)

    assert Malformed(1, Kind.OVERSIZED_LINE, f"longer than {MAX_LINE_BYTES} bytes") == first
    assert isinstance(second, EventLine)
    assert file.longest <= MAX_LINE_BYTES + 1


@given(st.lists(st.binary(max_size=60)))
def test_no_bytes_raise(pieces: list[bytes]) -> None:
    """Whatever is in a file, each line is something."""
    file = b"\n".join(pieces)

    assert all(isinstance(line, EventLine | Malformed) for line in read_event_lines(BytesIO(file)))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_any_data_is_taken(data: dict[str, Any]) -> None:
    """What JSON can say within the contract's bounds, an event may hold."""
    line = json.dumps({"type": "t", "data": data}).encode("utf-8")
    found = classify(1, line)

    assert isinstance(found, EventLine)
    assert data == found.event["data"]


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-03-01T10:00:00Z", "2026-03-01T10:00:00.000Z"),
        ("2026-03-01t10:00:00.1239z", "2026-03-01T10:00:00.123Z"),
        ("2026-03-01T00:30:00-00:00", "2026-03-01T00:30:00.000Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000Z"),
    ],
)
def test_a_time_is_read_as_utc(text: str, utc: str) -> None:
    """Any fraction, the leap second where it exists."""
    assert utc == format_timestamp(parse_timestamp(text))


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2026-03-01 10:00:00Z", "2026-03-01T10:00:60Z", "2026-03-01T25:00:00Z", "٢٠٢٦-03-01T10:00:00Z"],
)
def test_anything_else_is_no_time(text: str) -> None:
    """Raises ValueError."""
    with pytest.raises(ValueError, match=r"."):
        parse_timestamp(text)


def test_a_tally_counts_repeats_by_content() -> None:
    """The first of an id counts; lines without id are never repeats."""

    def lines() -> Iterator[EventLine | Malformed]:
        yield from read_event_lines(
            BytesIO(
                b'{"type":"a","id":"1"}\n{"id":"1","type":"a"}\n{"type":"b","id":"1"}\n{"type":"a"}\n{"type":"a"}\n?\n'
                b'{"type":"a","id":""}\n{"type":"a","id":""}\n'
            )
        )

    tally = Tally()
    for line in lines():
        tally.count(line)

    assert (8, 7, 2, 1, 2) == (
        tally.lines,
        tally.accepted,
        tally.exact_duplicates,
        tally.other_duplicates,
        tally.without_id,
    )
    assert {Kind.BROKEN_JSON: 1} == tally.by_kind
