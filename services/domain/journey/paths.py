"""Dotted paths: how authors point at a value in a profile, an event or the saved answers.

Law: a path is split in one place. Looking one up never raises; what is not there, and a JSON null, is None.
Paths lead through objects only, not into lists.
Source: contract 1, "Paths".
"""

from collections.abc import Mapping

from services.domain.journey.model import Json

ROOTS = ("event", "subject", "context", "journey", "execution")
MAX_PATH = 256

Path = tuple[str, ...]


class BadPath(ValueError):
    """A text that is no path."""


def read_path(text: str) -> Path:
    """The segments of a dotted path, at most 256 characters. Raises BadPath."""
    if not text or len(text) > MAX_PATH:
        raise BadPath(f"A path has 1 to {MAX_PATH} characters.")
    path = tuple(text.split("."))
    if not all(path):
        raise BadPath(f"{text!r} is no path: a name between two dots, or at an end, is empty.")
    return path


def read_rooted_path(text: str) -> Path:
    """The same, where the first name says what is meant: `event.orderId`. Raises BadPath."""
    path = read_path(text)
    if path[0] not in ROOTS or len(path) == 1:
        raise BadPath(
            f"{text!r} must begin with one of {', '.join(root + '.' for root in ROOTS)} and name something in it."
        )
    return path


def value_at(values: Mapping[str, Json], path: Path) -> Json:
    """The value the path leads to; None if there is none."""
    return _walked(values, path)[0]


def event_value(event: Mapping[str, Json], path: Path) -> Json:
    """The value in the event's `data`, else in its envelope: `orderId` and `data.orderId` mean the same."""
    found, is_there = _walked(event.get("data"), path)
    return found if is_there else _walked(event, path)[0]


def _walked(found: Json, path: Path) -> tuple[Json, bool]:
    for name in path:
        # The first test spares the slower one for all that comes from JSON.
        if (found.__class__ is not dict and not isinstance(found, Mapping)) or name not in found:
            return None, False
        found = found[name]
    return found, True
