"""Which recorded events must be posted at their very own time.

Events within an hour share one move of the clock (see `timeline`), so each may be posted up to an hour early. That
changes nothing for a person unless two of their events lie, to within that hour, a waiting time apart: then the early
hour could decide whether the wait was still open. Both events of such a pair are close calls.
"""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from journeys_client import EventLine

_DURATION = re.compile(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?", re.ASCII)
_MOST_LENGTHS = 500


def lengths_of(journeys: Iterable[Mapping[str, Any]]) -> list[timedelta]:
    """Every length of time at which one of these journeys may decide something about a person.

    Waits one after the other add up; a window of a condition counts back from where a wait ends.
    """
    lengths: set[timedelta] = set()
    for journey in journeys:
        steps = [step for step in journey.get("steps", []) if step.get("type") == "wait"]
        waits = [_length(step[member]) for step in steps for member in ("duration", "timeout") if member in step]
        windows = {
            timedelta(days=float(days)) for days in (journey.get("goalEventWindowDays"), *_windows(journey)) if days
        }
        sums = {timedelta()}
        for wait in waits:
            if len(sums) < _MOST_LENGTHS:
                sums |= {total + wait for total in sums}
        lengths |= sums | {abs(total - window) for total in sums for window in windows}
    return sorted(lengths - {timedelta()})


def close_calls(lines: "Iterable[EventLine]", lengths: list[timedelta], within: timedelta) -> frozenset[int]:
    """The numbers of the lines that lie one of these lengths, to `within`, from another of the same person."""
    from journeys_client.event_lines import parse_timestamp

    moments: dict[str, list[tuple[datetime, int]]] = defaultdict(list)
    for line in lines:
        if "endUserId" in line.event and "timestamp" in line.event:
            moments[line.event["endUserId"]].append((parse_timestamp(line.event["timestamp"]), line.number))
    found: set[int] = set()
    for events in moments.values():
        events.sort()
        for at, number in events:
            for length in lengths:
                others = list(_between(events, at + length - within, at + length + within))
                if others:
                    found |= {number, *others}
    return frozenset(found)


def _between(events: list[tuple[datetime, int]], low: datetime, high: datetime) -> Iterator[int]:
    for at, number in events[bisect_left(events, (low, 0)) :]:
        if at > high:
            return
        yield number


def _windows(value: Any) -> Iterator[float]:
    """The days of every `last_n_days` window, wherever a condition stands."""
    if isinstance(value, dict):
        if value.get("type") == "last_n_days" and isinstance(value.get("days"), int | float):
            yield value["days"]
        for item in value.values():
            yield from _windows(item)
    elif isinstance(value, list):
        for item in value:
            yield from _windows(item)


def _length(text: Any) -> timedelta:
    # What the server refuses is not published, so nobody waits for it.
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0,) * 5
    return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
