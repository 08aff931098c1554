"""Dead letters that are replayed say where their record lay first.

Law: what an accepted event's record knows is that first place; by it the copy is the same record, met again, and not
a producer's duplicate. Whoever forges it gains nothing: events are the same by their ids.
"""

from collections.abc import Sequence

from services.infra.log.port import Place

HEADER = "replay-of"
_DIGITS = 19


def first_header(topic: str, place: Place) -> tuple[str, bytes]:
    """The header of a copy of what lay there."""
    return HEADER, f"{topic} {place.partition}.{place.offset}".encode()


def first_place(headers: Sequence[tuple[str, bytes]], topic: str) -> Place | None:
    """Where a replayed record lay before it was set aside the first time; None for any other record."""
    for name, value in headers:
        if name == HEADER:
            said, _, place = value.decode("utf-8", "replace").partition(" ")
            partition, _, offset = place.partition(".")
            if said == topic and _is_number(partition) and _is_number(offset):
                return Place(int(partition), int(offset))
    return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS
