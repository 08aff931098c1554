"""Records that could not be read: shown to whoever mends the producer, and read again once that is done.

Law: a dead letter stays where it is until the topic's retention ends; replaying appends a copy to where the record
came from, and its event id decides whether it means anything new. The copy says where the record lay first: the record
of an accepted event, which knows that place, is then met again and not a producer's duplicate.
"""

from dataclasses import dataclass

import msgspec

from services.domain.errors import Fault, Invalid, Missing
from services.infra.documents.port import Page
from services.infra.log.port import Log, Place, Record, Stored
from services.runtime.collections import DEAD_LETTERS, EVENTS
from services.runtime.paging import PageRequest, bad_cursor
from services.runtime.replays import first_header, first_place

HEADER = "dead-letter"
# A compressed record may be many times what a topic takes: of one that is too large to be an event the beginning is
# kept, which shows where it came from; the record itself stays where it was until its topic's retention ends.
MOST_BYTES, KEPT_BYTES = 1 << 20, 4096


class Origin(msgspec.Struct, frozen=True):
    """Where a dead letter lay, and why it does not lie there any more."""

    topic: str
    partition: int
    offset: int
    reason: str
    size: int | None = None  # of the whole value, where only its beginning was kept


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be read, as it was written, and its origin."""

    stored: Stored
    origin: Origin


def buried(one: Stored, reason: str) -> Record:
    """The dead letter of a record. It lies beside the others of its key."""
    size = len(one.value) if len(one.value) > MOST_BYTES else None
    origin = Origin(one.topic, one.partition, one.offset, reason, size)
    value = one.value if size is None else one.value[:KEPT_BYTES]
    headers = one.headers if sum(len(name) + len(text) for name, text in one.headers) < MOST_BYTES else ()
    return Record(_bounded(one.key), value, (*headers, (HEADER, msgspec.json.encode(origin))))


class DeadLetters:
    """Lists and replays."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def listed(self, page: PageRequest) -> Page[DeadLetter]:
        """Oldest first within each partition, partition after partition. Raises Invalid for a foreign cursor."""
        partition, offset = _place(page.cursor, self._log.partitions)
        found: list[DeadLetter] = []
        while partition < self._log.partitions:
            wanted = page.limit - len(found)
            read = await self._log.read(DEAD_LETTERS, partition, offset, wanted)
            found += [_letter(one) for one in read]
            if len(found) == page.limit:
                return Page(found, f"{partition}.{read[-1].offset + 1}")
            partition, offset = partition + 1, 0
        return Page(found, None)

    async def replay(self, partition: int, offset: int) -> None:
        """Append one again where it came from. Raises Missing; Invalid where only its beginning was kept."""
        read = await self._log.read(DEAD_LETTERS, partition, offset, 1) if 0 <= partition < self._log.partitions else []
        if not read or read[0].offset != offset:
            raise Missing("dead_letter", f"{partition}.{offset}")
        letter = _letter(read[0])
        if letter.origin.size is not None:
            message = f"Of this record of {letter.origin.size} bytes only the beginning was kept: events are smaller."
            raise Invalid("validation_error", message, [Fault("/offset", "too_large", message)])
        headers = tuple((name, value) for name, value in letter.stored.headers if name != HEADER)
        origin = letter.origin
        if first_place(letter.stored.headers, origin.topic) is None:
            headers = (*headers, first_header(origin.topic, Place(origin.partition, origin.offset)))
        await self._log.append(letter.origin.topic, [Record(letter.stored.key, letter.stored.value, headers)])


def _bounded(key: str) -> str:
    """A key that is no longer than any event's could be."""
    return key if len(key) <= KEPT_BYTES else key[:KEPT_BYTES]


def _letter(stored: Stored) -> DeadLetter:
    for name, value in stored.headers:
        if name == HEADER:
            return DeadLetter(stored, msgspec.json.decode(value, type=Origin))
    # Somebody else's tool wrote it: all we know is where it lies.
    return DeadLetter(stored, Origin(EVENTS, stored.partition, stored.offset, ""))


def _place(cursor: str | None, partitions: int) -> tuple[int, int]:
    if cursor is None:
        return 0, 0
    partition, dot, offset = cursor.partition(".")
    if not (dot and partition.isdecimal() and offset.isdecimal() and len(cursor) < 30 and int(partition) < partitions):
        raise bad_cursor()
    return int(partition), int(offset)
