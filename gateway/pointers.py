"""JSON Pointers and faults: where in a body something is wrong, and what.

Source: RFC 6901.
"""

from collections.abc import Iterable
from typing import NamedTuple


class Fault(NamedTuple):
    """One thing wrong with an input: a JSON Pointer, a snake_case code, a sentence."""

    path: str
    code: str
    message: str


def pointer(parts: Iterable[str | int]) -> str:
    """The JSON Pointer of a path into a value; the whole value is the empty string."""
    return "".join(f"/{escaped(str(part))}" for part in parts)


def escaped(part: str) -> str:
    """One reference token: `~` and `/` written as `~0` and `~1`."""
    return part.replace("~", "~0").replace("/", "~1") if "~" in part or "/" in part else part
