"""CSV cells as a profile: the header names paths and types.

`addresses.mobile_push:list` is the path `addresses.mobile_push`, its items separated by `;`. Types are `number`,
`boolean` and `list`, without one it is text; an empty cell means absent.
Source: contract 3, Subjects (import).
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from gateway.errors import invalid
from gateway.pointers import Fault, escaped

MAX_COLUMNS: Final = 1000
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_MAX_INT: Final = 2**63 - 1


class Refused(NamedTuple):
    """Why a record is no profile."""

    code: str
    message: str


class _BadCell(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Columns:
    """The columns of a file. Raises Problem 400 with every fault of the header."""

    def __init__(self, header: Sequence[str]) -> None:
        faults: list[Fault] = []
        self._columns: list[tuple[str, tuple[str, ...], Callable[[str], Any]]] = []
        seen: set[tuple[str, ...]] = set()
        for name in header[:MAX_COLUMNS]:
            path_text, _, kind = name.strip().partition(":")
            path = tuple(path_text.split("."))
            at = f"/{escaped(name[:80])}"
            if kind not in _TYPES:
                faults.append(Fault(at, "not_allowed", f"{kind[:80]} is no type: number, boolean or list."))
            elif not all(path):
                faults.append(Fault(at, "bad_pattern", "A column is a dotted path."))
            elif any(path[: len(other)] == other or other[: len(path)] == path for other in seen):
                faults.append(Fault(at, "not_allowed", f"{path_text[:80]} is there twice, or lies in another column."))
            else:
                seen.add(path)
                self._columns.append((path_text, path, _TYPES[kind]))
        if len(header) > MAX_COLUMNS:
            faults.append(Fault("", "out_of_range", f"A file has at most {MAX_COLUMNS} columns."))
        if ("endUserId",) not in seen:
            faults.append(Fault("/endUserId", "missing_member", "A column endUserId is required."))
        if faults:
            raise invalid(faults)

    def profile(self, cells: Sequence[str]) -> bytes | Refused:
        """One record as JSON, or why it is none."""
        if len(cells) != len(self._columns):
            return Refused("wrong_columns", f"The record has {len(cells)} cells instead of {len(self._columns)}.")
        profile: dict[str, Any] = {}
        for (name, path, read), cell in zip(self._columns, cells, strict=True):
            if cell == "":
                continue
            try:
                value = read(cell)
            except _BadCell as error:
                return Refused(error.code, f"{name}: {error.message}")
            inner = profile
            for part in path[:-1]:
                inner = inner.setdefault(part, {})
            inner[path[-1]] = value
        return msgspec.json.encode(profile)


def _number(cell: str) -> float | int:
    text = cell.strip()
    if not _NUMBER.fullmatch(text):
        raise _BadCell("wrong_type", "this has to be a number.")
    if text.lstrip("-").isdecimal():
        whole = int(text) if len(text) <= 20 else _MAX_INT + 1
        if -_MAX_INT - 1 <= whole <= _MAX_INT:
            return whole
        raise _BadCell("number_not_finite", "this number does not fit into 64 bits.")
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _BadCell("number_not_finite", "this number is too large.")
    return value


def _boolean(cell: str) -> bool:
    match cell.strip().lower():
        case "true":
            return True
        case "false":
            return False
    raise _BadCell("wrong_type", "this has to be true or false.")


def _text(cell: str) -> str:
    return cell


def _list(cell: str) -> list[str]:
    return cell.split(";")


_TYPES: Final[dict[str, Callable[[str], Any]]] = {"": _text, "number": _number, "boolean": _boolean, "list": _list}
