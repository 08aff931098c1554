"""Recorded events on a clock that starts now: the same story, moved to where the server's clock stands.

Law: all times move by one constant number of whole weeks, so distances, times of day and weekdays stay as they were.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from journeys_client import EventLine

WEEK = timedelta(days=7)
# Events that close together share one move of the clock, which costs some hundredths of a second, and so do the
# timers they start. Those for which an hour could matter are told apart: see `close_calls`.
SAME_MOMENT = timedelta(hours=1)
GROUP_EVENTS = 500

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Group:
    """Events posted together, once the clock stands at `at`; None: wherever it stands."""

    at: datetime | None
    lines: "tuple[EventLine, ...]"


def shift_to(first_at: datetime | None, now: datetime) -> timedelta:
    """The least whole number of weeks that brings the first event to `now` or later."""
    return timedelta() if first_at is None else -((first_at - now) // WEEK) * WEEK


def shifted(value: Any, by: timedelta) -> Any:
    """The same JSON with every full time in it moved; dates without a time (a birthday) stay."""
    if isinstance(value, dict):
        return {name: shifted(item, by) for name, item in value.items()}
    if isinstance(value, list):
        return [shifted(item, by) for item in value]
    return _shifted_text(value, by) if isinstance(value, str) and _MOMENT.fullmatch(value) else value


def shifted_line(line: "EventLine", by: timedelta) -> "EventLine":
    """The same event with its times moved, in `data` too."""
    if not by:
        return line
    from journeys_client.event_lines import format_timestamp, parse_timestamp

    event = {name: shifted(item, by) if name == "data" else item for name, item in line.event.items()}
    if "timestamp" in event:
        event["timestamp"] = format_timestamp(parse_timestamp(event["timestamp"]) + by)
    return replace(line, event=event, raw=_encoded(event))


def shifted_people(lines: Iterable[bytes], by: timedelta) -> Iterator[bytes]:
    """Lines of a people file with the times in their attributes moved; what is no JSON is left for the server."""
    for line in lines:
        try:
            person = json.loads(line)
        except ValueError:
            yield line
            continue
        yield _encoded(shifted(person, by)) + b"\n"


def grouped(lines: "Iterable[EventLine]", alone: frozenset[int] = frozenset()) -> Iterator[Group]:
    """Events in the order of the file, each group with the time of its first event.

    The clock moves for the lines numbered in `alone` however near they are. The order of the file is the order of
    arrival: an event whose time lies before its predecessor's came late and is posted late, since no clock goes back.
    """
    from journeys_client.event_lines import parse_timestamp

    at: datetime | None = None
    group: list[EventLine] = []
    for line in lines:
        text = line.event.get("timestamp")
        moment = None if text is None else parse_timestamp(text)
        near = timedelta() if line.number in alone else SAME_MOMENT
        moves = moment is not None and (at is None or moment - at > near)
        if group and (moves or len(group) == GROUP_EVENTS):
            yield Group(at, tuple(group))
            group = []
        if moves:
            at = moment
        group.append(line)
    if group:
        yield Group(at, tuple(group))


def _shifted_text(text: str, by: timedelta) -> str:
    from journeys_client.event_lines import format_timestamp, parse_timestamp

    try:
        return format_timestamp(parse_timestamp(text) + by)
    except (ValueError, OverflowError):
        return text


def _encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
