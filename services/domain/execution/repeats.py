"""That something decided came again: an event under a known id, a start that was asked for before.

Law: a repeat is counted and decides nothing. However often it comes, what is kept of it has a bound; a record that
is read a second time is no repeat. Field names are stored: choose once. Times are milliseconds, UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass

LAST_KEPT = 10
PLACES_KEPT = 16  # partitions a producer's repeats came by: one, or as many as its partitioner spreads a person over

Position = tuple[str, int]  # where a record lies: the queue it stands in, and its number there


@dataclass(frozen=True, slots=True)
class Repeats:
    """How often it came again; when, of the last ten, oldest first. `seen`: the last record counted of each queue."""

    count: int
    last: tuple[int, ...]
    seen: Mapping[str, int]


def begun(position: Position) -> Repeats:
    """Nothing came again yet; the record at that position is the first itself, under another place."""
    return Repeats(0, (), dict((position,)))


def counted(before: Repeats | None, at: int, position: Position | None = None) -> Repeats | None:
    """With one repeat more, which came then; None where its record was counted before.

    `position` None: it came by no record, so nothing can bring it a second time.
    """
    count, last, seen = (before.count, before.last, dict(before.seen)) if before else (0, (), {})
    if position is not None:
        queue, number = position
        if number <= seen.pop(queue, -1):
            return None
        seen[queue] = number
        while len(seen) > PLACES_KEPT:
            del seen[next(iter(seen))]
    return Repeats(count + 1, tuple(sorted((*last, at))[-LAST_KEPT:]), seen)
