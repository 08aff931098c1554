"""Counting the events that came again, in the record of the first.

Law: nothing is decided here, and whoever knows of no repeat pays nothing. A repeat is counted only beside the record
that made it one: of an event that was forgotten, or is too old, no repeat is kept either. The store's guard keeps two
who count at once from losing one; what comes while a count is being written goes into the next, so a flood of one id
is one write at a time.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog

from services.domain.execution.repeats import Position, counted
from services.infra.documents.port import Documents, Outcome, Replace, StoreUnavailable
from services.infra.log.port import Stored
from services.runtime.collections import EVENT_RECORDS, EventRecord

MOST_TRIES = 20
logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Repeat:
    """An event that came again: the key of its record, when it came, and by which record of the log, if by one."""

    key: str
    at: int
    position: Position | None = None


@dataclass(slots=True)
class _Batch:
    repeats: list[Repeat] = field(default_factory=list)
    is_written: bool = False


class CountRepeats:
    """Notes repeats; durable on return. Raises StoreUnavailable."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._next = _Batch()
        self._turn = asyncio.Lock()

    async def __call__(self, repeats: Iterable[Repeat]) -> None:
        """Count them."""
        batch = self._next
        batch.repeats.extend(repeats)
        if not batch.repeats:
            return
        async with self._turn:
            if batch.is_written:
                return
            if batch is self._next:
                self._next = _Batch()
            await self._write(batch.repeats)
            batch.is_written = True

    async def _write(self, repeats: Sequence[Repeat]) -> None:
        by_key: dict[str, list[Repeat]] = {}
        for repeat in repeats:
            by_key.setdefault(repeat.key, []).append(repeat)
        for _ in range(MOST_TRIES):
            found = await self._documents.get_many(EVENT_RECORDS, list(by_key))
            after = {key: _with(record, by_key[key]) for key, record in found.items()}
            changed = {key: record for key, record in after.items() if record is not found[key]}
            if not changed:
                return
            outcomes = await self._documents.write_many([Replace(EVENT_RECORDS, one) for one in changed.values()])
            # Somebody else counted, or erased, meanwhile. One in doubt is asked again: at worst it counts one too many.
            again = [key for key, outcome in zip(changed, outcomes, strict=True) if outcome is not Outcome.APPLIED]
            if not again:
                return
            by_key = {key: by_key[key] for key in again}
        raise StoreUnavailable(f"{len(by_key)} repeats could not be counted")


def position_in(stored: Stored) -> Position:
    """Where a record of the log lies, as repeats name it."""
    return f"{stored.topic}:{stored.partition}", stored.offset


def _with(record: EventRecord, repeats: Sequence[Repeat]) -> EventRecord:
    before = record.repeats
    for repeat in repeats:
        before = counted(before, repeat.at, repeat.position) or before
    if before is record.repeats:
        return record
    return msgspec.structs.replace(record, repeats=before, revision=record.revision + 1)
