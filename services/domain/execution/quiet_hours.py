"""Is it night where this person lives, and when does the night end?

Law: nothing is sent while the person's clock shows a quiet time, and a night that has begun ends once. Where the
clocks go back, a night goes on to the first occurrence of its end; the hour shown again is quiet again where its
times are. Where they go forward over an end, the night ends with the first instant after the gap.
Source: contract 3 (quietHours) and 5 (Eligibility); field.md 3, behaviours 2 and 16.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from services.domain.execution.schedule import clock_ms, first_at, last_at, local_time, shown_ms
from services.domain.times import DAY_MS, format_time

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """A workspace's quiet hours: from `start` to before `end`, both `HH:MM` in the person's zone.

    `behaviour`: defer (the send waits for the end) or skip.
    """

    start: str
    end: str
    behaviour: str = "defer"


def window_end(now: int, zone: str, start: str, end: str) -> int | None:
    """When the quiet hours end in which `now` lies; None where it lies in none.

    `start` counts as quiet, `end` does not; `end` before `start` is on the next day; equal means no quiet hours. At
    the moment answered it is never quiet. An unknown zone is read as UTC. Raises ValueError where a time is not `HH:MM`.
    """
    begin, finish = clock_ms(start), clock_ms(end)
    if begin == finish:
        return None
    face = local_time(now, zone)
    found = None
    for day in (face.date() - _DAY, face.date(), face.date() + _DAY):  # tomorrow: clocks may go back over midnight
        if first_at(day, begin, zone) <= now:
            ends_at = first_at(day + _DAY if finish < begin else day, finish, zone)
            if now < ends_at:
                found = ends_at
    shown = shown_ms(face)
    if found is None and face.fold and (shown - begin) % DAY_MS < (finish - begin) % DAY_MS:
        found = last_at(face.date() + _DAY if finish < shown else face.date(), finish, zone)
    if found is None:
        return None
    # A gap may swallow all of the time between one night and the next.
    later = window_end(found, zone, start, end)
    return found if later is None else later


def respect_quiet_hours(quiet: QuietHours | None, now: int, zone: str) -> Mapping[str, Any]:
    """No message in the night of the person, where the workspace has quiet hours (None: it has none)."""
    if quiet is None:
        return {"check": "quiet_hours", "passed": True, "inputs": {"quietHours": None}}
    inputs: dict[str, Any] = {
        "zone": zone,
        "localTime": f"{local_time(now, zone):%H:%M}",
        "start": quiet.start,
        "end": quiet.end,
    }
    ends_at = window_end(now, zone, quiet.start, quiet.end)
    if ends_at is None:
        return {"check": "quiet_hours", "passed": True, "inputs": inputs}
    inputs |= {"endsAt": format_time(ends_at), "behaviour": quiet.behaviour}
    return {"check": "quiet_hours", "passed": False, "reason": "quiet_hours", "inputs": inputs}
