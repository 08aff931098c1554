"""Customer events from bytes."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Problem
from gateway.intake import Intake, read_events, read_slowly

GOOD = {
    "id": "e1",
    "type": "order.completed",
    "endUserId": "u1",
    "data": {"total": 10.5, "items": [1, "ü"]},
    "timestamp": "2026-03-01T10:00:00.250Z",
}


def batch(*events: Any) -> bytes:
    """A body of many."""
    return json.dumps({"events": list(events)}).encode()


def raw_batch(*events: bytes) -> bytes:
    """A body of many, as bytes."""
    return b'{"events":[' + b",".join(events) + b"]}"


def codes(intake: Intake) -> list[tuple[int, str]]:
    """What was refused."""
    return [(error["index"], error["code"]) for error in intake.errors]


def refusal(data: bytes) -> Problem:
    """The problem a body is refused with."""
    with pytest.raises(Problem) as caught:
        read_events(data)
    return caught.value


@pytest.mark.parametrize("read", [read_events, read_slowly])
@pytest.mark.parametrize("data", [json.dumps(GOOD).encode(), batch(GOOD), b" " + batch(GOOD)])
def test_an_event_is_read_alone_and_in_a_batch(read: Any, data: bytes) -> None:
    """Whichever way."""
    [event] = read(data).events

    assert ("e1", "order.completed", "u1", 1_772_359_200_250) == (
        event.id,
        event.type,
        event.end_user_id,
        event.timestamp_ms,
    )
    assert GOOD["data"] == json.loads(event.data_json)


@pytest.mark.parametrize("read", [read_events, read_slowly])
def test_what_is_absent_stays_absent_but_the_id(read: Any) -> None:
    """The id is made, another one for each event."""
    one, other = read(batch({"type": "t"}, {"type": "t"})).events

    assert one.id != other.id
    assert 32 == len(one.id)
    assert not one.HasField("end_user_id")
    assert not one.HasField("timestamp_ms")
    assert b"" == one.data_json


MALFORMED: list[tuple[bytes, str]] = [
    (b'{"type":17}', "wrong_type"),
    (b'{"type":null}', "wrong_type"),
    (b'{"type":"t","endUserId":["a"]}', "wrong_type"),
    (b'{"type":"t","endUserId":null}', "wrong_type"),
    (b'{"type":"t","data":"visit=3"}', "wrong_type"),
    (b'{"type":"t","data":[]}', "wrong_type"),
    (b'{"type":"t","timestamp":1772323200}', "wrong_type"),
    (b'{"id":{"v":1},"type":"t"}', "wrong_type"),
    (b"[]", "wrong_type"),
    (b"null", "wrong_type"),
    (b'{"endUserId":"u"}', "missing_type"),
    (b"{}", "missing_type"),
    (b'{"type":"t","userId":"x"}', "unknown_member"),
    (b'{"type":"t","Type":"x"}', "unknown_member"),
    (b'{"type":"t","timestamp":"yesterday"}', "bad_timestamp"),
    (b'{"type":"t","timestamp":"2026-02-30T10:00:00.000Z"}', "bad_timestamp"),
    (b'{"type":"t","timestamp":"2026-02-20T10:00:00+01:00"}', "bad_timestamp"),
    (b'{"type":"t","data":{"visit":1e999}}', "number_not_finite"),
    (b'{"type":"t","data":{"visit":-1e999}}', "number_not_finite"),
    (b'{"type":"t","data":{"visit":' + b"9" * 400 + b"}}", "number_not_finite"),
    (b'{"type":"t","data":{"visit":' + b"9" * 5000 + b"}}", "number_not_finite"),
    (b'{"type":"t","data":{"visit":9223372036854775808}}', "number_not_finite"),
    (b'{"type":"t","data":{"visit":NaN}}', "number_not_finite"),
    (b'{"type":"t","data":{"visit":-Infinity}}', "number_not_finite"),
    (b'{"type":"t","data":{"name":"\xff"}}', "invalid_utf8"),
    (b'{"type":"t","data":{"name":"\xed\xa0\x80"}}', "invalid_utf8"),
    (b'{"type":"t","data":{"name":"\\ud800"}}', "broken_json"),
    (b'{"type":"t","data":{"a":' + b"[" * 63 + b"]" * 63 + b"}}", "too_deep"),
    (b'{"type":""}', "out_of_range"),
    (b'{"type":"t","id":""}', "out_of_range"),
    (b'{"type":"t","endUserId":""}', "out_of_range"),
    (b'{"type":"t","id":"' + b"x" * 201 + b'"}', "out_of_range"),
    (('{"type":"t","endUserId":"' + "ü" * 101 + '"}').encode(), "out_of_range"),
]


@pytest.mark.parametrize(("event", "code"), MALFORMED)
def test_a_malformed_event_of_a_batch_costs_itself_alone(event: bytes, code: str) -> None:
    """Its neighbours go on, and its index says which one it was."""
    good = json.dumps(GOOD).encode()

    intake = read_events(raw_batch(good, event, good))

    assert [(1, code)] == codes(intake)
    assert 2 == len(intake.events)


@pytest.mark.parametrize(("event", "code"), MALFORMED)
def test_a_malformed_single_event_is_refused(event: bytes, code: str) -> None:
    """400, as JSON that is none or with all its faults."""
    problem = refusal(event)

    assert 400 == problem.status
    assert problem.code in ("invalid_json", "validation_error")


def test_a_single_event_tells_all_its_faults() -> None:
    """Each with its pointer."""
    problem = refusal(b'{"id":1,"data":2,"timestamp":"x","a/b":3}')

    assert {"/id", "/data", "/timestamp", "/a~1b", "/type"} == {fault.path for fault in problem.faults}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{'events': []}",
        b'{"events": [}',
        b'{"events": [{"type":"t"},]}',
        b'{"type":"t"}{"type":"t"}',
        b"NaN",
    ],
)
def test_a_body_that_is_no_json_is_refused_whole(data: bytes) -> None:
    """Nobody can say where its events are."""
    assert "invalid_json" == refusal(data).code


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (b"[]", ""),
        (b"3", ""),
        (b'{"events": {}}', "/events"),
        (b'{"events": null}', "/events"),
        (b'{"events": [], "x": 1}', "/x"),
        (b'{"events": [NaN], "\\ud800": 1}', "/\\ud800"),
    ],
)
def test_a_body_of_another_shape_is_refused_with_its_place(data: bytes, path: str) -> None:
    """An object with `events`, or an event."""
    problem = refusal(data)

    assert [path] == [fault.path for fault in problem.faults]


def test_a_batch_has_at_most_a_thousand_events() -> None:
    """1,000 are taken, one more is 400 batch_too_large, well-formed or not."""
    assert 1000 == len(read_events(batch(*[{"type": "t"}] * 1000)).events)
    assert "batch_too_large" == refusal(batch(*[{"type": "t"}] * 1001)).code
    assert "batch_too_large" == refusal(batch(*[3] * 1001)).code
    assert Intake([]) == read_events(b'{"events": []}')


def test_ids_have_two_hundred_bytes() -> None:
    """Bytes, not characters."""
    [event] = read_events(json.dumps({"type": "t", "id": "ü" * 100, "endUserId": "x" * 200}).encode()).events

    assert (100, 200) == (len(event.id), len(event.end_user_id))


def test_of_duplicate_members_the_last_counts() -> None:
    """Also where the first would have been a fault."""
    [event] = read_events(b'{"type":5,"type":"t","data":{"a":1,"a":2}}').events

    assert ("t", {"a": 2}) == (event.type, json.loads(event.data_json))


MEMBER = st.one_of(
    st.text(max_size=60),
    st.sampled_from(["2026-03-01T10:00:00Z", "2026-03-01T10:00:00.5+00:00", "2026-13-01T10:00:00Z", "", "x" * 201]),
    st.integers(),
    st.none(),
)
VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**66), 2**66)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
EVENT = st.one_of(
    st.fixed_dictionaries(
        {"type": st.text(min_size=1, max_size=20)},
        optional={
            "id": st.text(min_size=1, max_size=60),
            "endUserId": st.text(min_size=1, max_size=60),
            "data": st.dictionaries(st.text(max_size=8), VALUE, max_size=4),
            "timestamp": st.datetimes().map(lambda at: at.isoformat() + "Z"),
        },
    ),
    st.dictionaries(st.sampled_from(["id", "type", "endUserId", "data", "timestamp", "other"]), MEMBER | VALUE),
    VALUE,
)


def outcome(read: Any, data: bytes) -> Any:
    """What a body comes to; ids that were made are left out."""
    try:
        intake = read(data)
    except Problem as problem:
        return problem.status, problem.code, tuple(problem.faults)
    shown = []
    for event in intake.events:
        made = len(event.id) == 32 and event.id.isalnum()
        shown.append((event.type, "" if made else event.id, event.end_user_id, event.data_json, event.timestamp_ms))
    return shown, intake.errors


@settings(deadline=None)
@given(st.lists(EVENT, max_size=4), st.booleans())
def test_the_fast_way_says_what_the_slow_way_says(events: list[Any], compact: bool) -> None:
    """For any batch; the fast way only saves time."""
    data = json.dumps({"events": events}, separators=(",", ":") if compact else None).encode()

    assert outcome(read_slowly, data) == outcome(read_events, data)


@settings(deadline=None)
@given(EVENT)
def test_the_fast_way_says_the_same_of_one_event(event: Any) -> None:
    """Alone as in a batch."""
    data = json.dumps(event).encode()

    assert outcome(read_slowly, data) == outcome(read_events, data)


@settings(deadline=None)
@given(st.binary(max_size=120))
def test_no_bytes_make_the_intake_fail(data: bytes) -> None:
    """It takes or refuses, nothing else."""
    for whole in (data, raw_batch(data), raw_batch(b'{"type":"t","data":{"a":"' + data + b'"}}')):
        with suppress(Problem):
            read_events(whole)
