"""Times and lengths as the outside writes them.

Law: one form out (RFC 3339, UTC, three fraction digits, `Z`); in, every RFC 3339 time that is UTC.
Source: contract 1, Conventions; RFC 3339 section 5.6.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_LAST_MS: Final = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z: RFC 3339 has four digits for a year
_FIRST_MS: Final = -62_135_596_800_000  # 0001-01-01, the first day datetime knows
_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]+))?(?:[Zz]|[+-]00:00)", re.ASCII
)
_DURATION: Final = re.compile(
    r"P(?=[0-9T])(?:([0-9]{1,9})W)?(?:([0-9]{1,9})D)?(?:T(?=[0-9])(?:([0-9]{1,9})H)?(?:([0-9]{1,9})M)?(?:([0-9]{1,9})S)?)?",
    re.ASCII,
)


def rfc3339(ms: int) -> str:
    """Milliseconds since 1970 as `2026-04-30T13:00:00.000Z`; times beyond the four-digit years are clamped to them."""
    seconds, millis = divmod(min(max(ms, _FIRST_MS), _LAST_MS), 1000)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{millis:03d}Z"


def ms_of(text: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 time in UTC; finer fractions are cut. ValueError for anything else."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"not an RFC 3339 time in UTC: {text!r}")
    day, minute, second, fraction = match.groups()
    if second == "60":  # a leap second is valid; UTC without leap seconds has no place for it but the end of :59
        second, fraction = "59", "999"
    whole = datetime.fromisoformat(f"{day}T{minute}:{second}+00:00")
    millis = int((fraction or "0").ljust(3, "0")[:3])
    return (whole - _EPOCH) // _MILLISECOND + millis


def duration_ms(text: str) -> int:
    """Milliseconds of an ISO 8601 duration of weeks, days, hours, minutes and seconds. ValueError says what is wrong."""
    match = _DURATION.fullmatch(text)
    if match is None:
        if re.match(r"P[0-9]*[YM]|P[0-9]+[A-Z][0-9]*[YM]", text):
            raise ValueError("months and years have no fixed length; use days or weeks")
        raise ValueError("not an ISO 8601 duration such as PT30M, P3D or P1W")
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((((weeks * 7 + days) * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000
