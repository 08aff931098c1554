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
_NUMBER: Final = r"([0-9]{1,9}(?:[.,][0-9]{1,9})?)"
_DURATION: Final = re.compile(
    rf"P(?=[0-9T])(?:{_NUMBER}W)?(?:{_NUMBER}D)?(?:T(?=[0-9])(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?",
    re.ASCII,
)
_UNITS_MS: Final = (7 * 86_400_000, 86_400_000, 3_600_000, 60_000, 1_000)  # weeks to seconds


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
    """Milliseconds of an ISO 8601 duration of weeks, days, hours, minutes and seconds; ValueError says what is wrong.

    The last part may have a fraction, which is cut to whole milliseconds.
    """
    match = _DURATION.fullmatch(text)
    parts = [part for part in match.groups() if part] if match else []
    if match is None or any(not part.isdigit() for part in parts[:-1]):
        if re.match(r"P[0-9]*[YM]|P[0-9]+[A-Z][0-9]*[YM]", text):
            raise ValueError("months and years have no fixed length; use days or weeks")
        raise ValueError("not an ISO 8601 duration such as PT30M, P3D or P1W")
    return sum(_product(part, unit) for part, unit in zip(match.groups(), _UNITS_MS, strict=True) if part)


def _product(number: str, unit_ms: int) -> int:
    whole, _, fraction = number.replace(",", ".").partition(".")
    return int(whole) * unit_ms + (int(fraction) * unit_ms // 10 ** len(fraction) if fraction else 0)


def signed_duration_ms(text: str) -> int:
    """The same with an optional minus in front: `-P1D` is a day before."""
    return -duration_ms(text[1:]) if text.startswith("-") else duration_ms(text)


def duration_text(ms: int) -> str:
    """Milliseconds as an ISO 8601 duration, with a minus in front where they are negative."""
    sign, rest = ("-" if ms < 0 else ""), abs(ms)
    days, rest = divmod(rest, 86_400_000)
    hours, rest = divmod(rest, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    seconds = f"{rest / 1000:.3f}".rstrip("0").rstrip(".")
    clock = (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "") + (f"{seconds}S" if rest else "")
    day = f"{days}D" if days else ""
    return f"{sign}P{day}{'T' + clock if clock else ''}" if day or clock else "PT0S"
