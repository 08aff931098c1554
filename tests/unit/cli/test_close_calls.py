"""Events for which an hour could matter."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from journeys_cli.close_calls import close_calls, lengths_of
from journeys_client import EventLine
from journeys_client.event_lines import format_timestamp

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
JOURNEYS = Path(__file__).parents[3] / "examples" / "journeys"


def line(number: int, after: timedelta, person: str = "u") -> EventLine:
    event = {"type": "t", "endUserId": person, "timestamp": format_timestamp(START + after)}
    return EventLine(number, event, json.dumps(event).encode())


def journey(name: str) -> Any:
    return json.loads((JOURNEYS / f"{name}.json").read_text(encoding="utf-8"))["journey"]


@pytest.mark.parametrize(
    ("name", "days"),
    [
        ("purchase-win-back", [30, 60, 90]),  # the two waits, both together, and the goal's window
        ("activation-onboarding", [3, 4, 7]),  # the window counted back from the end of the wait too
        ("win-back", [7, 14, 16, 23, 30, 37, 44, 46, 60]),
    ],
)
def test_the_lengths_of_a_journey(name: str, days: list[int]) -> None:
    """Waits, their sums, and windows that look back from them."""
    assert days == [length / DAY for length in lengths_of([journey(name)])]


def test_a_journey_without_waits_has_none() -> None:
    """And what is no duration counts as none."""
    steps = [{"type": "exit"}, {"type": "wait", "duration": "P1M"}, {"type": "wait", "duration": 3}]

    assert [] == lengths_of([{"steps": steps}])
    assert [timedelta(days=8, hours=2, minutes=3, seconds=4)] == lengths_of(
        [{"steps": [{"type": "wait", "duration": "P1W1DT2H3M4S"}]}]
    )


def test_a_pair_at_a_waiting_times_distance_is_a_close_call() -> None:
    """Both of them, to within the hour, before and after; nobody else's."""
    lines = [
        line(1, timedelta()),
        line(2, 60 * DAY - HOUR),
        line(3, 60 * DAY + HOUR),
        line(4, 60 * DAY + 2 * HOUR + timedelta(milliseconds=1)),
        line(5, 60 * DAY, person="other"),
        line(6, 60 * DAY, person="other"),
    ]

    assert {1, 2, 3} == close_calls(lines, [60 * DAY], HOUR)


def test_lines_without_person_or_time_are_none() -> None:
    """They have nothing to be near to."""
    lines = [EventLine(1, {"type": "t"}, b""), EventLine(2, {"type": "t", "endUserId": "u"}, b"")]

    assert frozenset() == close_calls(lines, [DAY], HOUR)


def test_journeys_with_many_waits_stay_within_bounds() -> None:
    """Thirty waits have a billion sums; some hundred of them will do."""
    steps = [{"type": "wait", "duration": f"PT{2**n}S"} for n in range(20)]

    assert len(lengths_of([{"steps": steps}])) < 1_100
