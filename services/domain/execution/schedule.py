"""When a wait for a moment ends: at an instant, at a time of day where the person lives, or by a date of theirs.

Law: clocks and weekdays are the person's, never the server's. A time of day means its first occurrence: where the
clocks go back it comes once, where they go forward over it, it comes with the first instant after the gap. Days
move by the calendar, hours by elapsed time. A moment already past is now, never yesterday.
Source: contract 2.1 (wait, until_time); field.md 3, behaviours 2 and 3.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from services.domain.journey.model import Json, WaitUntilTime
from services.domain.times import HOUR_MS, MINUTE_MS, SECOND_MS, BadTime, is_zone, local_date, parse_date, parse_time

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")  # in the order of date.weekday()
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = parse_time("9999-12-31T23:59:59.999Z")


@dataclass(frozen=True, slots=True)
class Moment:
    """When a wait ends. `reason` says why where it is not for the time the author asked for.

    `at` is None only where the step asks for no time at all (a draft; reason `time_missing`). The other reasons,
    `attribute_missing` and `attribute_unreadable`, go on at once.
    """

    at: int | None
    reason: str | None = None


def until(
    step: WaitUntilTime, now: int, zone: str | None, attribute_value: Json = None, fallback_zone: str | None = None
) -> Moment:
    """When someone who comes to the step at `now` goes on: never before `now`.

    `zone` is the subject's; where it is None or unknown `fallback_zone` counts, and UTC where that is too.
    `attribute_value` is what the profile holds at `step.attribute`, None where it holds nothing: an RFC 3339
    date-time, or a date, which means 00:00 in the zone. A local time that is now, to the millisecond, is due now.
    A moment beyond the year 9999 is its last millisecond. `now` lies in the years 1970 to 9998.
    """
    if step.at is not None:
        return Moment(max(now, step.at))
    place = zone_of(zone, fallback_zone)
    if step.local_time is not None:
        return Moment(next_local(step.local_time, step.weekdays, now, place))
    if step.attribute is None:
        return Moment(None, "time_missing")
    if attribute_value is None:
        return Moment(now, "attribute_missing")
    try:
        at = _by_attribute(attribute_value, step.offset_days, step.offset_ms, place)
    except BadTime:
        return Moment(now, "attribute_unreadable")
    return Moment(max(now, at))


def next_local(clock: str, weekdays: tuple[str, ...], now: int, zone: str) -> int:
    """The first moment, `now` included, at which it becomes `clock` (`HH:MM`) in `zone` on one of the weekdays.

    No weekdays means any. A time that a gap swallows comes at the gap's end and belongs to the day on which it
    would have been: 23:30 of a Saturday may come as Sunday 00:00.
    """
    wanted = clock_ms(clock)
    # A gap over midnight brings yesterday's time today; a week and a day further every weekday has come.
    first = local_date(now, zone).toordinal() - 1
    for ordinal in range(first, first + 10):
        day = date.fromordinal(ordinal)
        if not weekdays or _WEEKDAYS[day.weekday()] in weekdays:
            at = first_at(day, wanted, zone)
            if at >= now:
                return at
    raise ValueError(f"No {clock} on any of {weekdays} in {zone}.")  # only where no weekday is one


@lru_cache(maxsize=4096)
def first_at(day: date, clock: int, zone: str) -> int:
    """The first moment at which clocks in `zone` show `day` and `clock`, or have gone over it.

    `clock` is in milliseconds since 00:00, 0 <= clock < 24 h. An unknown zone is read as UTC.
    """
    wanted = _face(day, clock)
    place = _place(zone)
    first, again = (_ms_of(wanted.replace(tzinfo=place, fold=fold)) for fold in (0, 1))
    if first <= again:  # it comes once, or twice, of which the earlier counts
        return first
    # It falls in a gap (PEP 495: fold 0 lies after it, fold 1 before it); halve until its end is found.
    before, after = again, first
    while before + 1 < after:
        middle = (before + after) // 2
        if local_time(middle, zone).replace(tzinfo=None) < wanted:
            before = middle
        else:
            after = middle
    return after


def last_at(day: date, clock: int, zone: str) -> int:
    """The last moment at which clocks in `zone` show `day` and `clock`; only for times that no gap swallows."""
    return _ms_of(_face(day, clock).replace(tzinfo=_place(zone), fold=1))


def local_time(ms: int, zone: str) -> datetime:
    """What clocks in `zone` show at that moment; an unknown zone is read as UTC.

    So is every zone in the calendar's first and last hours, which lie outside the calendar elsewhere.
    """
    moment = _EPOCH + timedelta(milliseconds=ms)
    try:
        return moment.astimezone(_place(zone))
    except OverflowError:
        return moment


def clock_ms(clock: str) -> int:
    """Milliseconds since 00:00 of a time of day `HH:MM`, 00:00 to 23:59. Raises ValueError."""
    match = _CLOCK.fullmatch(clock)
    if match is None:
        raise ValueError(f"{clock!r} is no time of day; write it like 09:30.")
    return int(match[1]) * HOUR_MS + int(match[2]) * MINUTE_MS


def shown_ms(face: datetime) -> int:
    """Milliseconds since 00:00 that a clock's face shows."""
    return face.hour * HOUR_MS + face.minute * MINUTE_MS + face.second * SECOND_MS + face.microsecond // 1_000


def zone_of(zone: str | None, fallback_zone: str | None) -> str:
    """The first of the two that the IANA database knows, else UTC."""
    return next((name for name in (zone, fallback_zone) if name is not None and is_zone(name)), "UTC")


def _by_attribute(value: Json, days: int, ms: int, zone: str) -> int:
    """The moment an attribute names, moved by calendar days and then by elapsed time. Raises BadTime."""
    if not isinstance(value, str):
        raise BadTime("Only text can be a time.")
    if len(value) == 10:
        day, clock = parse_date(value), 0
    else:
        at = parse_time(value)
        if not days:  # the instant as it is: the second 02:30 stays the second
            return min(at + ms, _LAST_MS)
        face = local_time(at, zone)
        day, clock = face.date(), shown_ms(face)
    ordinal = day.toordinal() + days
    if not 1 <= ordinal <= date.max.toordinal():
        return 0 if days < 0 else _LAST_MS
    return min(first_at(date.fromordinal(ordinal), clock, zone) + ms, _LAST_MS)


def _face(day: date, clock: int) -> datetime:
    """What a clock shows, wherever it hangs."""
    return datetime.combine(day, time()) + timedelta(milliseconds=clock)


def _place(zone: str) -> tzinfo:
    return ZoneInfo(zone) if is_zone(zone) else UTC


def _ms_of(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
