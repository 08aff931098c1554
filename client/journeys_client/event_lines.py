"""Reading a file of events, one JSON object a line, whatever state the file is in.

Law: a bad line costs its neighbours nothing, and no line, however long, costs more memory than one line may have.
A line is malformed if it is no JSON object in UTF-8, lacks `type`, has an unknown member, a member of the wrong type,
a number that is no finite double, or a time that is no RFC 3339 time in UTC.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, BinaryIO

MAX_LINE_BYTES = 1024 * 1024
# A line that long and no JSON is one whose end got lost; calling it "broken JSON" would hide that.
LOST_END_BYTES = 100_000
MAX_NESTING = 64
MEMBERS = frozenset({"id", "type", "endUserId", "data", "timestamp"})

_BOM = b"\xef\xbb\xbf"
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]00:00)", re.ASCII)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class Kind(StrEnum):
    """What is wrong with a line."""

    BROKEN_JSON = "broken_json"
    WRONG_TYPE = "wrong_type"
    MISSING_TYPE = "missing_type"
    INVALID_UTF8 = "invalid_utf8"
    NUMBER_NOT_FINITE = "number_not_finite"
    UNKNOWN_MEMBER = "unknown_member"
    BAD_TIMESTAMP = "bad_timestamp"
    OVERSIZED_LINE = "oversized_line"


@dataclass(frozen=True, slots=True)
class EventLine:
    """A well-formed line: its number (from 1), its event, and the bytes it was, which are what is sent."""

    number: int
    event: dict[str, Any]
    raw: bytes


@dataclass(frozen=True, slots=True)
class Malformed:
    """A line that cannot be an event."""

    number: int
    kind: Kind
    message: str


class _Bad(ValueError):
    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def read_event_lines(file: BinaryIO) -> Iterator[EventLine | Malformed]:
    """Yield each line of a binary file as what it is. Blank lines are passed over, but numbered.

    Lines end in LF or CRLF; a byte order mark before the first is passed over.
    """
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            _skip_to_end(file)
            yield Malformed(number, Kind.OVERSIZED_LINE, f"longer than {MAX_LINE_BYTES} bytes")
            continue
        text = line.removeprefix(_BOM).strip(b" \t\r\n") if number == 1 else line.strip(b" \t\r\n")
        if text:
            yield classify(number, text)


def classify(number: int, line: bytes) -> EventLine | Malformed:
    """One line, without its end, as an event or as what is wrong with it."""
    try:
        return EventLine(number, _event(line), line)
    except _Bad as bad:
        return Malformed(number, bad.kind, str(bad))


def parse_timestamp(text: str) -> datetime:
    """A moment from RFC 3339 in UTC, to the microsecond. Raises ValueError."""
    if not _TIME.fullmatch(text):
        raise ValueError("not like 2026-04-30T13:00:00.000Z")
    if text[17:19] != "60":
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    moment = datetime.fromisoformat(f"{text[:17]}59{text[19:]}".upper()).astimezone(UTC)
    if (moment.hour, moment.minute) != (23, 59):
        raise ValueError("a second 60 exists at 23:59 UTC only")
    return moment + timedelta(seconds=1)


def format_timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with three fraction digits."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _event(line: bytes) -> dict[str, Any]:
    value = _parsed(line)
    if not isinstance(value, dict):
        raise _Bad(Kind.WRONG_TYPE, "not an object")
    if unknown := value.keys() - MEMBERS:
        raise _Bad(Kind.UNKNOWN_MEMBER, f"unknown member {_shown(min(unknown))}")
    if "type" not in value:
        raise _Bad(Kind.MISSING_TYPE, "no `type`")
    for name, member in value.items():
        wanted = dict if name == "data" else str
        if not isinstance(member, wanted):
            raise _Bad(Kind.WRONG_TYPE, f"`{name}` is not {'an object' if wanted is dict else 'a text'}")
    if "timestamp" in value:
        try:
            parse_timestamp(value["timestamp"])
        except (ValueError, OverflowError):
            raise _Bad(Kind.BAD_TIMESTAMP, f"{_shown(value['timestamp'])} is no RFC 3339 time in UTC") from None
    return value


def _parsed(line: bytes) -> Any:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _broken(line, Kind.INVALID_UTF8, f"byte {error.start + 1} is not UTF-8") from None
    try:
        value = json.loads(text, parse_float=_number, parse_int=_integer, parse_constant=_constant)
    except _Bad as bad:
        raise _broken(line, bad.kind, str(bad)) from None
    except RecursionError:
        raise _Bad(Kind.BROKEN_JSON, f"nested deeper than {MAX_NESTING}") from None
    except ValueError as error:
        raise _broken(line, Kind.BROKEN_JSON, f"not JSON ({error})") from None
    # Both are rare, so the common line pays two searches only.
    if line.count(b"{") + line.count(b"[") > MAX_NESTING and _depth(value) > MAX_NESTING:
        raise _Bad(Kind.BROKEN_JSON, f"nested deeper than {MAX_NESTING}")
    if _SURROGATE.search(line) and not _has_whole_characters(value):
        raise _Bad(Kind.INVALID_UTF8, "half a surrogate pair")
    return value


def _broken(line: bytes, kind: Kind, message: str) -> _Bad:
    if len(line) > LOST_END_BYTES:
        return _Bad(Kind.OVERSIZED_LINE, f"{len(line)} bytes and never closed")
    return _Bad(kind, message)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Bad(Kind.NUMBER_NOT_FINITE, f"{_shown(text)} is no finite number")
    return value


def _integer(text: str) -> int:
    # 64 bits have at most 19 digits; Python itself refuses to read some thousands of them.
    value = int(text) if len(text) <= 20 else None
    if value is None or not -(2**63) <= value < 2**63:
        raise _Bad(Kind.NUMBER_NOT_FINITE, f"{_shown(text)} does not fit 64 bits")
    return value


def _constant(text: str) -> float:
    raise _Bad(Kind.NUMBER_NOT_FINITE, f"{text} is no JSON number")


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
    return depth


def _has_whole_characters(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(text: str) -> str:
    shown = repr(text if len(text) <= 40 else text[:40] + "...")
    return shown.encode("utf-8", "backslashreplace").decode()


def _skip_to_end(file: BinaryIO) -> None:
    while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
        pass
