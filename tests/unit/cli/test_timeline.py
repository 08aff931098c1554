"""Recorded events on a clock that starts now."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeys_cli.timeline import (
    GROUP_EVENTS,
    SAME_MOMENT,
    Group,
    grouped,
    shift_to,
    shifted,
    shifted_line,
    shifted_people,
)
from journeys_client import EventLine
from journeys_client.event_lines import format_timestamp

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def line(number: int, after: timedelta | None, **members: Any) -> EventLine:
    event: dict[str, Any] = {"type": "t", **members}
    if after is not None:
        event["timestamp"] = format_timestamp(START + after)
    return EventLine(number, event, json.dumps(event).encode())


def shape(groups: Sequence[Group]) -> list[tuple[timedelta | None, list[int]]]:
    return [(None if g.at is None else g.at - START, [line.number for line in g.lines]) for g in groups]


@given(st.datetimes(timezones=st.just(UTC), min_value=datetime(1990, 1, 1), max_value=datetime(2090, 1, 1)))  # noqa: DTZ001
def test_the_shift_is_the_least_number_of_weeks_into_the_future(first_at: datetime) -> None:
    """So times of day and weekdays stay, and no event lies before the clock."""
    now = datetime(2026, 11, 24, 12, 34, 56, tzinfo=UTC)
    shift = shift_to(first_at, now)

    assert timedelta() == shift % timedelta(weeks=1)
    assert timedelta() <= first_at + shift - now < timedelta(weeks=1)


def test_without_times_nothing_is_shifted() -> None:
    """There is nothing to keep a distance from."""
    assert timedelta() == shift_to(None, START)


def test_every_full_time_moves_and_nothing_else() -> None:
    """A trial's end moves with its start; a birthday stays, and so does text."""
    value = {
        "endsAt": "2026-03-15T10:00:00.000Z",
        "list": ["2026-03-15T10:00:00Z", 3, None],
        "birthDate": "1988-02-29",
        "note": "since 2026-03-15T10:00:00.000Z",
        "bad": "2026-02-30T10:00:00.000Z",
        "last": "9999-12-31T10:00:00.000Z",
    }

    assert {
        **value,
        "endsAt": "2026-03-22T10:00:00.000Z",
        "list": ["2026-03-22T10:00:00.000Z", 3, None],
    } == shifted(value, timedelta(weeks=1))


def test_an_events_own_names_do_not_move() -> None:
    """An id that looks like a time is still that id."""
    moved = shifted_line(
        line(7, timedelta(), id="2026-03-15T10:00:00.000Z", data={"at": "2026-03-15T10:00:00.000Z"}), timedelta(weeks=1)
    )

    assert {
        "type": "t",
        "id": "2026-03-15T10:00:00.000Z",
        "data": {"at": "2026-03-22T10:00:00.000Z"},
        "timestamp": "2026-03-08T00:00:00.000Z",
    } == moved.event
    assert (7, moved.event) == (moved.number, json.loads(moved.raw))


def test_people_move_too_and_broken_lines_are_left_to_the_server() -> None:
    """It says what is wrong with them."""
    lines = [b'{"endUserId":"u","attributes":{"renewalAt":"2026-03-15T10:00:00.000Z"}}\n', b"broken\n"]

    assert [
        b'{"endUserId":"u","attributes":{"renewalAt":"2026-03-22T10:00:00.000Z"}}\n',
        b"broken\n",
    ] == list(shifted_people(lines, timedelta(weeks=1)))


def test_close_events_share_a_move_of_the_clock() -> None:
    """An hour from the first of them, that one included."""
    lines = [line(1, timedelta()), line(2, SAME_MOMENT), line(3, SAME_MOMENT + MINUTE), line(4, 2 * SAME_MOMENT)]

    assert [(timedelta(), [1, 2]), (SAME_MOMENT + MINUTE, [3, 4])] == shape(list(grouped(lines)))


def test_a_close_call_has_a_move_of_its_own() -> None:
    """However near it is; what follows within the hour goes with it."""
    lines = [line(n, n * MINUTE) for n in range(4)]

    assert [(timedelta(), [0, 1]), (2 * MINUTE, [2, 3])] == shape(list(grouped(lines, frozenset({2}))))


def test_an_event_that_came_late_is_posted_late() -> None:
    """The file's order is the order of arrival; the clock does not go back."""
    lines = [line(1, timedelta(days=2)), line(2, timedelta()), line(3, timedelta(days=2, hours=9))]

    assert [(timedelta(days=2), [1, 2]), (timedelta(days=2, hours=9), [3])] == shape(list(grouped(lines)))


def test_events_without_a_time_go_with_their_neighbours() -> None:
    """Before the first time there is none to wait for."""
    lines = [line(1, None), line(2, timedelta()), line(3, None)]

    assert [(None, [1]), (timedelta(), [2, 3])] == shape(list(grouped(lines)))


def test_a_group_is_no_larger_than_a_batch() -> None:
    """A thousand events at once are two groups at one time."""
    groups = list(grouped([line(n, timedelta()) for n in range(GROUP_EVENTS + 1)]))

    assert [GROUP_EVENTS, 1] == [len(group.lines) for group in groups]
    assert [START, START] == [group.at for group in groups]


@given(st.lists(st.none() | st.integers(0, 10_000), max_size=60))
@pytest.mark.parametrize("shift", [timedelta(), timedelta(weeks=40)])
def test_grouping_loses_and_reorders_nothing(shift: timedelta, minutes: list[int | None]) -> None:
    """And no group is posted more than an hour before one of its events, nor does the clock go back."""
    lines = [line(n, None if m is None else m * MINUTE) for n, m in enumerate(minutes)]
    groups = list(grouped(shifted_line(one, shift) for one in lines))
    times = [group.at for group in groups if group.at is not None]

    assert [one.number for one in lines] == [one.number for group in groups for one in group.lines]
    assert sorted(times) == times
    for group in groups:
        for one in group.lines:
            if group.at is not None and "timestamp" in one.event:
                assert datetime.fromisoformat(one.event["timestamp"]) - group.at <= SAME_MOMENT
