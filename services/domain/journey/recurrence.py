"""A recurrence rule (RFC 5545) as an author writes it: its parts, and what is wrong with them.

Law: only syntax and ranges are judged here, without computing a single date; which moments a rule names is asked of
`occurrences(rule, zone, after)`, given from outside. A rule goes there in one form, with its start written out.
Source: RFC 5545, 3.3.10 and 3.8.5.3; contract 2.1 (trigger, schedule).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from services.domain.journey.members import shown
from services.domain.times import BadTime, parse_time

FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY")
MAX_COUNT = 10_000
MAX_INTERVAL = 10_000
_START = re.compile(r"DTSTART:([0-9]{8}T[0-9]{6})[ \t]*\r?\n(.*)", re.DOTALL)
_UNTIL = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})(?:T([0-9]{2})([0-9]{2})([0-9]{2})Z?)?")
_DAY = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_WHOLE = re.compile(r"[+-]?[0-9]{1,6}")


class BadRule(ValueError):
    """A text that is no rule, or one that this server does not follow; says why in a sentence."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that can be followed. `start` is a local date-time `YYYYMMDDTHHMMSS`, None where the author gave none."""

    parts: tuple[tuple[str, str], ...]
    start: str | None = None

    @property
    def is_counted_from_now(self) -> bool:
        """Whether COUNT is to be counted from the first moment to come, since the author names no start."""
        return self.start is None and any(name == "COUNT" for name, _ in self.parts)

    def uncounted(self) -> "Rule":
        """The rule without its COUNT."""
        return Rule(tuple((name, value) for name, value in self.parts if name != "COUNT"), self.start)

    def anchored(self, start: str) -> str:
        """The rule as it is handed on: with its own start, else with this one."""
        written = ";".join(f"{name}={value}" for name, value in self.parts)
        return f"DTSTART:{self.start or start}\nRRULE:{written}"


def read_rule(text: str) -> Rule:
    """Read `FREQ=...;...`, with or without `RRULE:` before it and a line `DTSTART:YYYYMMDDTHHMMSS` above it.

    DTSTART is local time in the schedule's zone. Rules more frequent than once a minute are refused. Raises BadRule.
    """
    start, rest = None, text.strip()
    if found := _START.fullmatch(rest):
        start, rest = found[1], found[2].strip()
        _moment(start, "DTSTART")
    rest = rest.removeprefix("RRULE:")
    parts: dict[str, str] = {}
    for part in rest.upper().split(";"):
        name, equals, value = part.partition("=")
        if not equals or name not in _CHECKS:
            raise BadRule(f"{shown(part)} is no part of a recurrence rule; write it like FREQ=DAILY;BYHOUR=9.")
        if name in parts:
            raise BadRule(f"The rule says {name} twice.")
        _CHECKS[name](name, value)
        parts[name] = value
    _together(parts)
    return Rule(tuple(parts.items()), start)


def _together(parts: dict[str, str]) -> None:
    """What no part can know alone."""
    if "FREQ" not in parts:
        raise BadRule("The rule has no FREQ.")
    if "COUNT" in parts and "UNTIL" in parts:
        raise BadRule("COUNT and UNTIL exclude each other.")
    if "BYSETPOS" in parts and not any(name.startswith("BY") and name != "BYSETPOS" for name in parts):
        raise BadRule("BYSETPOS chooses among what another BY part names, and there is none.")
    days = parts.get("BYDAY", "")
    if any(char.isdigit() for char in days) and (parts["FREQ"] not in ("MONTHLY", "YEARLY") or "BYWEEKNO" in parts):
        raise BadRule("A number before a weekday has a meaning in MONTHLY and YEARLY rules only.")


def _frequency(name: str, value: str) -> None:
    if value == "SECONDLY":
        raise BadRule("A schedule fires once a minute at most, so FREQ=SECONDLY is too often.")
    if value not in FREQUENCIES:
        raise BadRule(f"{shown(value)} is none of {', '.join(FREQUENCIES)}.")


def _one(least: int, most: int) -> Callable[[str, str], None]:
    def check(name: str, value: str) -> None:
        if not _WHOLE.fullmatch(value) or not least <= int(value) <= most:
            raise BadRule(f"{name} must be a whole number from {least} to {most:,}.")

    return check


def _some(least: int, most: int, *, is_signed: bool = False) -> Callable[[str, str], None]:
    """A list of whole numbers; signed ones count from the end and are never 0."""

    def check(name: str, value: str) -> None:
        for item in value.split(","):
            number = int(item) if _WHOLE.fullmatch(item) else None
            if number is None or not least <= (abs(number) if is_signed else number) <= most:
                sign = " or, from the end, with a minus" if is_signed else ""
                raise BadRule(f"{name} must hold whole numbers from {least} to {most}{sign}, not {shown(item)}.")

    return check


def _second(name: str, value: str) -> None:
    _some(0, 59)(name, value)
    if len({int(item) for item in value.split(",")}) > 1:
        raise BadRule("A schedule fires once a minute at most, so BYSECOND names one second.")


def _days(name: str, value: str) -> None:
    for item in value.split(","):
        found = _DAY.fullmatch(item)
        if found is None or (found[1] is not None and not 1 <= abs(int(found[1])) <= 53):
            raise BadRule(f"{shown(item)} is no weekday; write it like MO, or 2MO and -1FR in a month.")


def _week_start(name: str, value: str) -> None:
    if _DAY.fullmatch(value) is None or len(value) != 2:
        raise BadRule(f"{shown(value)} is no weekday; write it like MO.")


def _until(name: str, value: str) -> None:
    _moment(value, name)


def _moment(value: str, name: str) -> None:
    found = _UNTIL.fullmatch(value)
    try:
        if found is None:
            raise BadTime
        year, month, day, *clock = (part or "00" for part in found.groups())
        parse_time(f"{year}-{month}-{day}T{':'.join(clock)}Z")
    except BadTime:
        raise BadRule(f"{name} must be a date-time like 20261231T090000, not {shown(value)}.") from None


_CHECKS: dict[str, Callable[[str, str], None]] = {
    "FREQ": _frequency,
    "INTERVAL": _one(1, MAX_INTERVAL),
    "COUNT": _one(1, MAX_COUNT),
    "UNTIL": _until,
    "BYSECOND": _second,
    "BYMINUTE": _some(0, 59),
    "BYHOUR": _some(0, 23),
    "BYDAY": _days,
    "BYMONTHDAY": _some(1, 31, is_signed=True),
    "BYYEARDAY": _some(1, 366, is_signed=True),
    "BYWEEKNO": _some(1, 53, is_signed=True),
    "BYMONTH": _some(1, 12),
    "BYSETPOS": _some(1, 366, is_signed=True),
    "WKST": _week_start,
}
