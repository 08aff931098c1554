"""One JSON object, taken member by member: what is wrong is collected, never raised.

Law: whatever the JSON, every fault in it is found in one pass, with a JSON Pointer (RFC 6901) to the member. A
null is an absent member. A member nobody took is unknown and refused. Faults can be shown: no fault holds half a
surrogate pair, a number of a thousand digits, or a pointer longer than its document.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from services.domain.errors import Fault
from services.domain.journey.model import Json
from services.domain.journey.paths import BadPath, Path, read_path
from services.domain.times import BadDuration, BadTime, is_zone, parse_duration, parse_time

MAX_NESTING = 64
MAX_NAME = 256  # names of events, ids of other objects
_MAX_POINTER = 512  # a pointer into free JSON stops at an ancestor rather than outgrow this
_MAX_FREE_FAULTS = 100  # in one piece of free JSON
_LEAST_INTEGER, _MOST_INTEGER = -(2**63), 2**63 - 1

T = TypeVar("T")
Link = tuple["Link", str | int] | None  # how free JSON was entered, innermost name first


class Members:
    """The members of one JSON object. Taking one gives its value, or None with a fault noted; `close` ends it."""

    __slots__ = ("_is_object", "_json", "_taken", "at", "faults")

    def __init__(self, json: Json, at: str, faults: list[Fault]) -> None:
        self.at = at
        self.faults = faults
        self._is_object = isinstance(json, dict)
        self._json: dict[str, Json] = json if self._is_object else {}
        self._taken: set[str] = set()
        if not self._is_object:
            faults.append(wrong_type(at, json, "an object"))

    def close(self) -> None:
        """Refuse every member that nobody took."""
        for name in self._json:
            if name not in self._taken:
                self.fault(name, "unknown_member", f"There is no member {shown(name)} here.")

    def path(self, name: str) -> str:
        """The JSON Pointer of a member."""
        return f"{self.at}/{escaped(name)}"

    def fault(self, name: str, code: str, message: str) -> None:
        """Note a fault of one member."""
        self.faults.append(Fault(self.path(name), code, message))

    def take(self, name: str, *, need: bool = False) -> Json:
        """The member as it is, None if absent or null; with `need`, absence is a fault."""
        self._taken.add(name)
        value = self._json.get(name)
        if need and value is None and self._is_object:
            self.fault(name, "missing_member", f"The member {name!r} is missing.")
        return value

    def text(
        self,
        name: str,
        *,
        need: bool = False,
        least: int = 0,
        most: int | None = None,
        pattern: re.Pattern[str] | None = None,
    ) -> str | None:
        """A string of `least` to `most` characters that fits `pattern`."""
        value = self.take(name, need=need)
        if value is None:
            return None
        if not isinstance(value, str):
            self.faults.append(wrong_type(self.path(name), value, "a string"))
        elif is_broken(value):
            self.fault(name, "bad_text", "The text holds half of a surrogate pair.")
        elif len(value) < least or (most is not None and len(value) > most):
            self.fault(name, "out_of_range", f"The text has {len(value)} characters instead of {least} to {most}.")
        elif pattern is not None and not pattern.fullmatch(value):
            self.fault(name, "bad_pattern", f"{shown(value)} does not fit {pattern.pattern}.")
        else:
            return value
        return None

    def choice(
        self, name: str, allowed: Sequence[str], *, need: bool = False, code: str = "unknown_value"
    ) -> str | None:
        """One of the words allowed."""
        value = self.text(name, need=need)
        if value is not None and value not in allowed:
            self.fault(name, code, f"{shown(value)} is none of {', '.join(allowed)}.")
            return None
        return value

    def number(self, name: str, least: float, most: float, *, above: bool = False) -> float | None:
        """A number from `least` (or, with `above`, more than that) to `most`."""
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.faults.append(wrong_type(self.path(name), value, "a number"))
        elif not least <= value <= most or (above and value == least):  # NaN is in no range
            start = f"more than {least:,}" if above else f"{least:,}"
            self.fault(name, "out_of_range", f"The number must be {start} to {most:,}.")
        else:
            return value
        return None

    def whole(self, name: str, least: int, most: int) -> int | None:
        """A whole number from `least` to `most`; 3.0 is one."""
        value = self.number(name, least, most)
        if value is None:
            return None
        if value != int(value):
            self.faults.append(wrong_type(self.path(name), value, "a whole number"))
            return None
        return int(value)

    def flag(self, name: str, default: bool) -> bool:
        """true or false."""
        value = self.take(name)
        if isinstance(value, bool):
            return value
        if value is not None:
            self.faults.append(wrong_type(self.path(name), value, "true or false"))
        return default

    def duration(self, name: str, *, above_zero: bool = False) -> int | None:
        """A length of time in milliseconds."""
        ms = self.parsed(name, parse_duration)
        if above_zero and ms == 0:
            self.fault(name, "out_of_range", "The duration must be longer than nothing.")
            return None
        return ms

    def time(self, name: str) -> int | None:
        """A moment in milliseconds."""
        return self.parsed(name, parse_time)

    def zone(self, name: str) -> str | None:
        """An IANA time zone."""
        value = self.text(name)
        if value is not None and not is_zone(value):
            self.fault(name, "unknown_timezone", f"{shown(value)} is no time zone; write it like Europe/Berlin.")
            return None
        return value

    def dotted(self, name: str, *, need: bool = False, read: Callable[[str], Path] = read_path) -> Path | None:
        """A dotted path."""
        return self.parsed(name, read, need=need)

    def parsed(self, name: str, parse: Callable[[str], T], *, need: bool = False) -> T | None:
        """A string that `parse` understands; its complaints become faults."""
        value = self.text(name, need=need)
        if value is None:
            return None
        try:
            return parse(value)
        except (BadTime, BadDuration) as refusal:
            self.fault(name, refusal.code, str(refusal))
        except BadPath as refusal:
            self.fault(name, "bad_path", str(refusal))
        return None

    def items(self, name: str, *, need: bool = False) -> list[tuple[Json, str]]:
        """The items of a list, each with its pointer."""
        value = self.take(name, need=need)
        if value is None:
            return []
        return items(value, self.path(name), self.faults)

    def named(self, name: str) -> "Members | None":
        """The members of an object inside this one, None if absent."""
        value = self.take(name)
        return None if value is None else Members(value, self.path(name), self.faults)

    def pairs(self, name: str) -> list[tuple[str, Json]]:
        """The members of an object whose names are free: a name that is broken text is refused here."""
        value = self.take(name)
        if value is None:
            return []
        inner = Members(value, self.path(name), self.faults)
        for key in inner._json:
            if is_broken(key):
                inner.fault(key, "bad_text", "The member's name holds half of a surrogate pair.")
        return [(key, item) for key, item in inner._json.items() if not is_broken(key)]

    def free(self, name: str) -> Json:
        """Any JSON within the limits of nesting, numbers and text."""
        value = self.take(name)
        self.faults.extend(free_faults(value, self.path(name)))
        return value


def items(value: Json, at: str, faults: list[Fault]) -> list[tuple[Json, str]]:
    """The items of a list, each with its pointer; a fault if it is none."""
    if not isinstance(value, list):
        faults.append(wrong_type(at, value, "a list"))
        return []
    return [(item, f"{at}/{i}") for i, item in enumerate(value)]


def free_faults(value: Json, at: str) -> list[Fault]:
    """What is wrong with JSON of no fixed shape: nesting over 64, numbers no double or 64-bit integer holds, broken text."""
    faults: list[Fault] = []
    for item, depth, link in walked(value):
        complaint = _complaint(item, depth)
        if complaint is not None:
            faults.append(Fault(pointer(at, link), *complaint))
            if len(faults) == _MAX_FREE_FAULTS:
                break
    return faults


def walked(value: Json) -> Iterator[tuple[Json, int, Link]]:
    """Every value inside a JSON value, itself included, with its depth (a scalar alone: 0) and how it was entered.

    In document order, without recursion; what is nested deeper than 64 is not entered.
    """
    stack: list[tuple[Json, int, Link]] = [(value, 0, None)]
    while stack:
        item, depth, link = stack.pop()
        container = isinstance(item, dict | list)
        yield item, depth + container, link
        if container and depth < MAX_NESTING:
            entries = item.items() if isinstance(item, dict) else enumerate(item)
            stack.extend((inner, depth + 1, (link, name)) for name, inner in reversed(list(entries)))


def pointer(at: str, link: Link) -> str:
    """The JSON Pointer of a value found by `walked`, or of its nearest ancestor that can be named in 512 characters."""
    names: list[str] = []
    while link is not None:
        link, name = link
        names.append(escaped(str(name)))
    path = at
    for name in reversed(names):
        if len(path) + len(name) >= _MAX_POINTER:
            break
        path += f"/{name}"
    return path


def escaped(name: str) -> str:
    """A member's name as a segment of a JSON Pointer; broken text is spelt out, so that the pointer can be sent."""
    segment = name.replace("~", "~0").replace("/", "~1")
    return segment.encode("utf-8", "backslashreplace").decode() if is_broken(segment) else segment


def is_broken(text: str) -> bool:
    """Whether the text holds half of a surrogate pair, which no UTF-8 can carry."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def shown(text: str) -> str:
    """A text as a sentence may quote it."""
    return repr(text if len(text) <= 80 else text[:80] + "...")


def wrong_type(at: str, value: Json, wanted: str) -> Fault:
    """The fault of a value that is of another JSON type."""
    return Fault(at, "wrong_type", f"This must be {wanted}, not {_type_name(value)}.")


def _complaint(item: Json, depth: int) -> tuple[str, str] | None:
    if isinstance(item, str):
        return ("bad_text", "The text holds half of a surrogate pair.") if is_broken(item) else None
    if isinstance(item, dict):
        if any(is_broken(name) for name in item):
            return "bad_text", "A member's name holds half of a surrogate pair."
    elif isinstance(item, float):
        return None if math.isfinite(item) else ("out_of_range", "The number is not finite.")
    elif isinstance(item, int):
        within = _LEAST_INTEGER <= item <= _MOST_INTEGER
        return None if within else ("out_of_range", "The whole number does not fit 64 bits.")
    if depth > MAX_NESTING:
        return "too_deep", f"Lists and objects are nested deeper than {MAX_NESTING}."
    return None


def _type_name(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"
