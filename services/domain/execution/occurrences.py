"""When a schedule fires: its moments, which of several that have come is made, and the names of its starts.

Law: a schedule is its trigger's `at` or rule in one zone, and names the same moments wherever it is asked. Which
instants a rule names is asked of `occurrences`, given from outside. Of moments that have come and were not seen to
the last one alone is made, and only within `CATCH_UP_MS`: a message of the day before yesterday helps nobody.
Source: contract 2.1 (trigger, schedule).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from services.domain.execution.schedule import local_time
from services.domain.journey.model import Settings, Trigger
from services.domain.journey.recurrence import read_rule
from services.domain.times import HOUR_MS, MINUTE_MS, format_time, is_zone, local_date

CATCH_UP_MS = 12 * HOUR_MS
PUNCTUAL_MS = MINUTE_MS  # starts made within it bear the moment itself, later ones the time they are made
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FACE = "%Y%m%dT%H%M%S"
MOST_MISSED = 10_000  # of one schedule, looked at one by one

Occurrences = Callable[[str, str, int], Iterator[int]]  # rule (DTSTART and RRULE), zone, after (ms): later moments


@dataclass(frozen=True, slots=True)
class Schedule:
    """A trigger's schedule in its zone. One of `at` (ms) and `rule` (with DTSTART) is there."""

    zone: str
    at: int | None = None
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class Come:
    """What has come: the moment to make now, the moments passed over, and the next one to wait for."""

    made: int | None
    skipped: tuple[int, ...]
    next_at: int | None


def zone_of_schedule(trigger: Trigger, settings: Settings, workspace_zone: str) -> str:
    """The trigger's own zone, else the journey's, else the workspace's, else UTC."""
    named = (trigger.timezone, settings.timezone, workspace_zone)
    return next((zone for zone in named if zone is not None and is_zone(zone)), "UTC")


def schedule_of(trigger: Trigger, zone: str, anchor: int, occurrences: Occurrences) -> Schedule:
    """The schedule of a sound trigger that was published at `anchor`.

    Without DTSTART a rule counts from 00:00 of that local day, so `FREQ=DAILY;BYHOUR=9` means nine o'clock sharp
    whenever it was published, and its COUNT counts from the first moment to come.
    """
    if trigger.rrule is None:
        at = trigger.at if trigger.local_at is None else instant_of(trigger.local_at, zone)
        return Schedule(zone, at=at)
    rule = read_rule(trigger.rrule)
    start = _midnight(anchor, zone)
    if rule.is_counted_from_now:
        first = next(occurrences(rule.uncounted().anchored(start), zone, anchor), None)
        if first is None:
            return Schedule(zone)
        start = local_time(first, zone).strftime(_FACE)
    return Schedule(zone, rule=rule.anchored(start))


def trial_of(trigger: Trigger, zone: str, now: int) -> str | None:
    """The rule to try before it is published: one that names the first moments after `now`; None: there is no rule."""
    if trigger.rrule is None:
        return None
    rule = read_rule(trigger.rrule)
    return (rule.uncounted() if rule.is_counted_from_now else rule).anchored(_midnight(now, zone))


def _midnight(moment: int, zone: str) -> str:
    return local_date(moment, zone).strftime("%Y%m%dT000000")


def instant_of(face: int, zone: str) -> int:
    """The instant at which clocks in `zone` show `face` (ms as if UTC).

    In a gap it is read with the offset from before it, as RFC 5545 reads it; of two the first counts.
    """
    place: tzinfo = ZoneInfo(zone) if is_zone(zone) else UTC
    shown = _EPOCH.replace(tzinfo=None) + timedelta(milliseconds=face)
    return (shown.replace(tzinfo=place, fold=0) - _EPOCH) // timedelta(milliseconds=1)


def next_at(schedule: Schedule, after: int, occurrences: Occurrences) -> int | None:
    """The first moment later than `after`; None: it never fires again."""
    if schedule.rule is not None:
        return next(occurrences(schedule.rule, schedule.zone, after), None)
    return schedule.at if schedule.at is not None and schedule.at > after else None


def come(schedule: Schedule, first: int, now: int, occurrences: Occurrences, *, is_open: bool = True) -> Come:
    """What to do at `now` with a schedule whose next moment was `first` <= now.

    `is_open` False (its journey is paused): nothing is made, and what has come is passed over.
    """
    passed = [first]
    following: int | None = None
    if schedule.rule is not None:
        for moment in occurrences(schedule.rule, schedule.zone, first):
            if moment > now:
                following = moment
                break
            passed.append(moment)
            if len(passed) > MOST_MISSED:
                del passed[0]
    is_made = is_open and not is_stale(passed[-1], now)
    return Come(passed[-1] if is_made else None, tuple(passed[:-1] if is_made else passed), following)


def is_stale(moment: int, now: int) -> bool:
    """Whether it is too late to make the starts of an occurrence."""
    return now - moment > CATCH_UP_MS


def occurrence_id(moment: int) -> str:
    """The event id of every start of one occurrence: one per person and moment, however often it is asked for."""
    return f"schedule-{format_time(moment).replace(':', '').replace('-', '')}"
