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
        raise BadPath(f"{text!r} must begin with one of {', '.join(root + '.' for root in ROOTS)} and name something in it.")
    return path


def value_at(values: Mapping[str, Json], path: Path) -> Json:
    """The value the path leads to; None if there is none."""
    found: Json = values.get(path[0])
    for name in path[1:]:
        if not isinstance(found, dict):
            return None
        found = found.get(name)
    return found


def event_value(event: Mapping[str, Json], path: Path) -> Json:
    """The value in the event's `data`, else in its envelope: `orderId` and `data.orderId` mean the same."""
    data = event.get("data")
    found = value_at(data, path) if isinstance(data, dict) else None
    return value_at(event, path) if found is None else found
