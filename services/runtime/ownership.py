"""Which partitions are ours, since when, and what that lets us take for granted.

Law: at every assignment a partition's epoch rises by a guarded write; every document we write carries it, so a
former owner's writes miss. Records below the end the log had when we were assigned may have been handled by
somebody before; later ones cannot. Source: runtime design 9.
"""

from collections.abc import Iterable, Mapping, Sequence

from services.infra.documents.port import Documents, Insert, Outcome, Replace
from services.infra.log.port import Log
from services.runtime.collections import COMMANDS, EVENTS, OWNERS, Owner
from services.runtime.work import CommandItem, EventItem, Item


class Ownership:
    """The partitions this process owns, with their epochs."""

    def __init__(self, documents: Documents, log: Log) -> None:
        self._documents = documents
        self._log = log
        self._epochs: dict[int, int] = {}
        self._ends: dict[tuple[str, int], int] = {}

    async def assigned(self, partitions: Sequence[int]) -> None:
        """Take partitions over: raise their epochs, remember where the log ended."""
        for topic in (EVENTS, COMMANDS):
            ends = await self._log.ends(topic)
            self._ends.update(((topic, p), ends.get(p, 0)) for p in partitions)
        waiting = list(partitions)
        while waiting:
            known = await self._documents.get_many(OWNERS, [str(p) for p in waiting])
            owners = [_raised(p, known) for p in waiting]
            outcomes = await self._documents.write_many(
                [Replace(OWNERS, owner) if owner.revision > 1 else Insert(OWNERS, owner) for owner in owners]
            )
            lost = []
            for partition, owner, outcome in zip(waiting, owners, outcomes, strict=True):
                if outcome is Outcome.APPLIED:
                    self._epochs[partition] = owner.epoch
                else:
                    lost.append(partition)
            waiting = lost

    async def revoked(self, partitions: Sequence[int]) -> None:
        """Let partitions go."""
        for partition in partitions:
            self._epochs.pop(partition, None)

    def mine(self) -> Iterable[int]:
        """The partitions owned now."""
        return self._epochs.keys()

    def epoch(self, slot: int) -> int:
        """The epoch of the partition a slot lies in; 0 where it is not ours, which no document accepts."""
        return self._epochs.get(slot % self._log.partitions, 0)

    def is_certain(self, items: Sequence[Item]) -> bool:
        """Whether none of these records can have been handled before us."""
        for item in items:
            payload = item.payload
            if isinstance(payload, EventItem | CommandItem):
                stored = payload.stored
                if stored.offset < self._ends.get((stored.topic, stored.partition), 1 << 62):
                    return False
        return True


def _raised(partition: int, known: Mapping[str, Owner]) -> Owner:
    before = known.get(str(partition))
    if before is None:
        return Owner(key=str(partition), epoch=1, revision=1)
    return Owner(key=str(partition), epoch=before.epoch + 1, revision=before.revision + 1)
