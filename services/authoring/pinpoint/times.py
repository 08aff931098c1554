"""Times as Pinpoint's API and its dumps write them.

Law: lengths and moments are milliseconds; what cannot be read is None, never guessed.
Source: pinpoint design 2 (dates), 3.1 (offset tokens) and 3.4 (durations).
"""

import math
import re
from dataclasses import dataclass
from typing import Final

from services.domain.journey.model import Json
from services.domain.times import (
    DAY_MS,
    HOUR_MS,
    MAX_DURATION_MS,
    MINUTE_MS,
    SECOND_MS,
    BadTime,
    format_time,
    parse_time,
)

_NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
_DURATION: Final = re.compile(
    rf"P(?=[0-9T])(?:{_NUMBER}Y)?(?:{_NUMBER}M)?(?:{_NUMBER}W)?(?:{_NUMBER}D)?"
    rf"(?:T(?=[0-9])(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?"
)
_UNITS: Final = (365 * DAY_MS, 30 * DAY_MS, 7 * DAY_MS, DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS)
_WRITTEN: Final = (("P", 7 * DAY_MS, "W"), ("P", DAY_MS, "D"), ("PT", HOUR_MS, "H"), ("PT", MINUTE_MS, "M"))
_OFFSET: Final = re.compile(r".*(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})", re.DOTALL)
_SHORT_OFFSET: Final = re.compile(r"([+-][0-9]{2})([0-9]{2})$")
_ZONE: Final = re.compile(r"UTC(?:[+-](?:0[0-9]|1[0-4])(?::?[0-5][0-9])?)?")
_CLOCK: Final = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")
_MILLISECONDS_FROM: Final = 1e11  # an epoch number beyond this (the year 5138 in seconds) counts milliseconds


@dataclass(frozen=True, slots=True)
class Length:
    """A length of time; `has_calendar_unit` where months or years were written."""

    ms: int
    has_calendar_unit: bool = False


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment; `has_offset` is False where UTC was assumed."""

    ms: int
    has_offset: bool = True


def read_length(text: str) -> Length | None:
    """A duration such as P3D, PT24H, P1M or P1Y; None for anything else and beyond 3,660 days."""
    match = _DURATION.fullmatch(text)
    if match is None:
        return None
    given = [(part, unit) for part, unit in zip(match.groups(), _UNITS, strict=True) if part]
    if not given or any("." in part for part, _ in given[:-1]):
        return None
    ms = sum(_product(part, unit) for part, unit in given)
    if ms > MAX_DURATION_MS:
        return None
    return Length(ms, bool(match[1] or match[2]))


def write_length(ms: int) -> str:
    """The shortest of PnW, PnD, PTnH, PTnM, PTnS that is exact; weeks before days where equally short."""
    written = [f"{head}{ms // unit}{tail}" for head, unit, tail in _WRITTEN if ms % unit == 0]
    whole, rest = divmod(ms, SECOND_MS)
    seconds = f"{whole}.{rest:03}".rstrip("0") if rest else f"{whole}"
    return min([*written, f"PT{seconds}S"], key=len)


def read_moment(value: Json) -> Moment | None:
    """A date and time with T or a blank, any fraction, any offset or none (UTC), a date alone, or an epoch number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if not isinstance(value, str):
        return _of_epoch(value)
    text = value.strip()
    if len(text) == 10:
        text = f"{text}T00:00:00"
    elif len(text) > 10 and text[10] == " ":
        text = f"{text[:10]}T{text[11:].strip()}"
    has_offset = _OFFSET.fullmatch(text[10:]) is not None
    text = _SHORT_OFFSET.sub(r"\1:\2", text) if has_offset else f"{text}Z"
    try:
        return Moment(parse_time(text), has_offset)
    except BadTime:
        return None


def write_moment(ms: int) -> str:
    """RFC 3339 in UTC with three fraction digits."""
    return format_time(ms)


def is_zone_token(text: str) -> bool:
    """Whether a time zone is written as Pinpoint does: UTC, UTC-07, UTC+05:30."""
    return _ZONE.fullmatch(text) is not None


def is_clock(text: str) -> bool:
    """Whether a text is a time of day, HH:MM."""
    return _CLOCK.fullmatch(text) is not None


def _of_epoch(value: float) -> Moment | None:
    if not math.isfinite(value):
        return None
    ms = int(value if abs(value) >= _MILLISECONDS_FROM else value * 1000)
    try:
        format_time(ms)
    except (BadTime, OverflowError):
        return None
    return Moment(ms)


def _product(text: str, unit_ms: int) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole) * unit_ms + (int(fraction) * unit_ms // 10 ** len(fraction) if fraction else 0)
