"""The request's bytes as JSON, with what other readers pass over: duplicate members, NaN, a byte order mark.

Law: what this lets through is UTF-8 without half surrogates, numbers are finite doubles or 64-bit integers, nothing is
nested deeper than 64. Of duplicate members the last counts, and each is found again by its pointer.
Source: contract 1 (Limits); pinpoint design 2 and 6.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from services.authoring.pinpoint.notes import step_into
from services.domain.errors import Invalid
from services.domain.journey.members import MAX_NESTING
from services.domain.journey.model import Json

MAX_BYTES: Final = 20 << 20
MAX_KEPT_NESTING: Final = 48  # of an export: a bundle lies around it, and has to be read within 64 again
MAX_DUPLICATES: Final = 1_000  # told; of hostile input alone there are more
_BOM: Final = b"\xef\xbb\xbf"
_LEAST, _MOST = -(2**63), 2**63 - 1
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON value, and the pointers of members that stood twice."""

    value: Json
    duplicates: tuple[str, ...] = ()


def read_document(data: bytes, nesting: int = MAX_NESTING) -> Document:
    """Read the bytes. Raises Invalid: `invalid_json`, `payload_too_large` (20 MB, nesting 64 or `nesting`)."""
    if len(data) > MAX_BYTES:
        raise Invalid("payload_too_large", f"The body has {len(data)} bytes; {MAX_BYTES} are taken.")
    data = data.removeprefix(_BOM)
    twice: list[tuple[dict[str, Json], list[str]]] = []

    def paired(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        made = dict(pairs)
        if len(made) != len(pairs):
            seen: set[str] = set()
            twice.append((made, [name for name, _ in pairs if name in seen or seen.add(name)]))  # type: ignore[func-returns-value]
        return made

    try:
        text = data.decode()
        value = json.loads(
            text,
            object_pairs_hook=paired,
            parse_constant=_no_number,
            parse_float=_finite,
            parse_int=_bounded,
        )
    except UnicodeDecodeError:
        raise _broken("The body is not UTF-8.") from None
    except json.JSONDecodeError as error:
        raise _broken(f"The body is no JSON: {error.msg} at character {error.pos}.") from None
    except RecursionError:
        raise _too_deep() from None
    if _nests_deeper(value, nesting):
        raise _too_deep()
    if _SURROGATE.search(data):
        try:
            msgspec.json.decode(data)
        except msgspec.DecodeError:
            raise _broken("A text holds half of a surrogate pair.") from None
    return Document(value, tuple(_places(value, twice)) if twice else ())


def shallow(value: Json) -> Json:
    """The value with what lies deeper than 48 levels as JSON text. Nothing of Pinpoint's does; nothing is lost either."""
    if not _nests_deeper(value, MAX_KEPT_NESTING):
        return value
    whole = {"": value}
    level: list[Any] = [whole]
    for _ in range(MAX_KEPT_NESTING):
        level = [
            child
            for item in level
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, dict | list)
        ]
    for item in level:
        entries = list(item.items() if isinstance(item, dict) else enumerate(item))
        for name, child in entries:
            if isinstance(child, dict | list):
                item[name] = json.dumps(child, ensure_ascii=False)
    return whole[""]


def _nests_deeper(value: Json, limit: int) -> bool:
    """Whether objects and lists lie in each other more than `limit` deep; level by level, without recursion."""
    level = [value]
    for _ in range(limit):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def _places(value: Json, twice: list[tuple[dict[str, Json], list[str]]]) -> list[str]:
    names = {id(made): repeated for made, repeated in twice}
    found: list[str] = []
    stack: list[tuple[Json, str]] = [(value, "")]
    while stack and len(found) < MAX_DUPLICATES:
        item, at = stack.pop()
        if isinstance(item, dict):
            found.extend(step_into(at, name) for name in dict.fromkeys(names.get(id(item), ())))
            stack.extend((inner, step_into(at, name)) for name, inner in item.items())
        elif isinstance(item, list):
            stack.extend((inner, step_into(at, i)) for i, inner in enumerate(item))
    return sorted(found)


def _no_number(text: str) -> Any:
    raise _broken(f"{text} is no number in JSON.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _broken("A number is too large for a finite double.")
    return number


def _bounded(text: str) -> int:
    number = int(text) if len(text) <= 20 else _MOST + 1
    if not _LEAST <= number <= _MOST:
        raise _broken("An integer does not fit into 64 bits.")
    return number


def _broken(message: str) -> Invalid:
    return Invalid("invalid_json", message)


def _too_deep() -> Invalid:
    return Invalid("payload_too_large", f"The body is nested deeper than {MAX_NESTING}.")
