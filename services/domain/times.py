"""Lengths and moments of time between text and milliseconds, and days as people in a zone live them.

Law: a time in text is read in one place and written in one place. Moments are milliseconds since
1970-01-01T00:00:00Z, lengths are milliseconds; nothing here knows what time it is.
Source: RFC 3339; ISO 8601 durations as contract 1 narrows them.
"""

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
MAX_DURATION_MS = 3_660 * DAY_MS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL = _EPOCH.toordinal()
_FIRST_MS = (date.min.toordinal() - _EPOCH_ORDINAL) * DAY_MS
_LAST_MS = (date.max.toordinal() - _EPOCH_ORDINAL + 1) * DAY_MS - 1

_NUMBER = r"([0-9]+(?:[.,][0-9]+)?)"
_DURATION = re.compile(
    rf"([+-])?P(?:{_NUMBER}Y)?(?:{_NUMBER}M)?(?:{_NUMBER}W)?(?:{_NUMBER}D)?"
    rf"(?:T(?=[0-9])(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?"
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9]|60)(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*")
# Files of a zone directory that are no zone of the IANA database, or another one on each machine.
_NO_ZONES = {"localtime", "posixrules", "Factory"}


class BadTime(ValueError):
    """A text that is no moment; `code` is what a fault calls it."""

    code = "bad_time"


class BadDuration(ValueError):
    """A text that is no length of time; `code` is what a fault calls it."""

    def __init__(self, message: str, code: str = "bad_duration") -> None:
        super().__init__(message)
        self.code = code


def parse_duration(text: str, *, signed: bool = False) -> int:
    """Milliseconds of an ISO 8601 duration in weeks, days, hours, minutes and seconds.

    The last part may have a fraction; what is finer than a millisecond is cut off. A sign is read only where
    `signed`. Raises BadDuration: months and years (`unsupported_duration`), beyond 3,660 days (`out_of_range`), the rest.
    """
    days, ms = parse_offset(text) if signed else _parts(text, signed=False)
    return days * DAY_MS + ms


def parse_offset(text: str) -> tuple[int, int]:
    """A signed duration as (whole days, milliseconds): days are calendar days, the rest is exact time."""
    return _parts(text, signed=True)


def parse_time(text: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 date-time, any offset, any number of fraction digits (cut off).

    A leap second counts as the second after it. Raises BadTime.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise BadTime(f"{_shown(text)} is no time; write it like 2026-04-30T13:00:00.000Z.")
    day, hour, minute, second, fraction, sign, off_hour, off_minute = match.groups()
    ms = _day_number(day) * DAY_MS + int(hour) * HOUR_MS + int(minute) * MINUTE_MS + int(second) * SECOND_MS
    if sign is not None:
        offset = int(off_hour) * HOUR_MS + int(off_minute) * MINUTE_MS
        ms += offset if sign == "-" else -offset
    if second == "60":
        if ms % DAY_MS:
            raise BadTime(f"{_shown(text)} is no time: a second 60 exists at 23:59 UTC only.")
    elif fraction is not None:
        ms += int(fraction[:3].ljust(3, "0"))
    if not _FIRST_MS <= ms <= _LAST_MS:
        raise BadTime(f"{_shown(text)} lies outside the years 1 to 9999.")
    return ms


def format_time(ms: int) -> str:
    """RFC 3339 in UTC with exactly three fraction digits: `2026-04-30T13:00:00.000Z`. Raises BadTime beyond year 9999."""
    minute, rest = divmod(ms, MINUTE_MS)
    return f"{_minute_text(minute)}{rest // SECOND_MS:02}.{rest % SECOND_MS:03}Z"


def parse_date(text: str) -> date:
    """A calendar date `YYYY-MM-DD`. Raises BadTime."""
    if not _DATE.fullmatch(text):
        raise BadTime(f"{_shown(text)} is no date; write it like 2026-04-30.")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadTime(f"{_shown(text)} does not exist in the calendar.") from None


def is_zone(name: str) -> bool:
    """Whether `name` is a zone of the IANA database."""
    return _zone(name) is not None


def local_date(ms: int, zone: str) -> date:
    """The calendar date a clock in `zone` shows at that moment. An unknown zone is read as UTC."""
    moment = _EPOCH + timedelta(milliseconds=ms)
    try:
        return moment.astimezone(_zone_or_utc(zone)).date()
    except OverflowError:  # the first and last hours of the calendar, seen from a zone in which they lie outside
        return moment.date()


@lru_cache(maxsize=4096)
def start_of_date(day: date, zone: str) -> int:
    """The first moment at which clocks in `zone` show that date or, if the zone skips it, a later one."""
    place = _zone_or_utc(zone)
    first, again = (_ms_of(datetime(day.year, day.month, day.day, tzinfo=place, fold=fold)) for fold in (0, 1))
    if first <= again:  # there is one midnight, or two of which the earlier counts
        return first
    # Clocks jump over midnight (PEP 495: fold 0 lies after the jump, fold 1 before it); halve until the jump is found.
    before, after = again, first
    while before + 1 < after:
        middle = (before + after) // 2
        if local_date(middle, zone) < day:
            before = middle
        else:
            after = middle
    return after


def start_of_day(ms: int, zone: str) -> int:
    """When the calendar day began in which a clock in `zone` stands at that moment."""
    return start_of_date(local_date(ms, zone), zone)


def _parts(text: str, *, signed: bool) -> tuple[int, int]:
    match = _DURATION.fullmatch(text) if len(text) <= 64 else None
    if match is None or not any(match.groups()[1:]):
        raise BadDuration(f"{_shown(text)} is no duration; write it like PT30M, P3D or P1W.")
    sign, years, months, *lengths = match.groups()
    if years or months:
        raise BadDuration(
            f"The duration {_shown(text)} has months or years, whose length varies; write days, such as P30D.",
            "unsupported_duration",
        )
    if sign and not signed:
        raise BadDuration(f"The duration {_shown(text)} has a sign, which has no meaning here.")
    given = [length for length in lengths if length]
    if any(not length.isdigit() for length in given[:-1]):
        raise BadDuration(f"Only the last part of a duration may have a fraction, unlike in {_shown(text)}.")
    units = (7 * DAY_MS, DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS)
    weeks, whole_days, *times = (_product(length, unit) for length, unit in zip(lengths, units, strict=True))
    days, rest = divmod(weeks + whole_days, DAY_MS)
    ms = rest + sum(times)
    if days * DAY_MS + ms > MAX_DURATION_MS:
        raise BadDuration(f"The duration {_shown(text)} is longer than 3,660 days.", "out_of_range")
    return (-days, -ms) if sign == "-" else (days, ms)


def _product(length: str | None, unit_ms: int) -> int:
    if not length:
        return 0
    whole, _, fraction = length.replace(",", ".").partition(".")
    return int(whole) * unit_ms + (int(fraction) * unit_ms // 10 ** len(fraction) if fraction else 0)


@lru_cache(maxsize=4096)
def _day_number(text: str) -> int:
    return parse_date(text).toordinal() - _EPOCH_ORDINAL


@lru_cache(maxsize=4096)
def _minute_text(number: int) -> str:
    day, minute = divmod(number, 24 * 60)
    try:
        text = date.fromordinal(day + _EPOCH_ORDINAL).isoformat()
    except (ValueError, OverflowError):
        raise BadTime("A time outside the years 1 to 9999 cannot be written.") from None
    return f"{text}T{minute // 60:02}:{minute % 60:02}:"


def _ms_of(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo | None:
    first = name.partition("/")[0]
    if len(name) > 64 or not _ZONE.fullmatch(name) or name in _NO_ZONES or first in ("posix", "right"):
        return None
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):  # a folder such as "America"; a file that is no zone; nothing there
        return None


def _zone_or_utc(name: str) -> tzinfo:
    return _zone(name) or UTC


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "...")
