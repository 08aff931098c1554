"""Which partitions are ours, since when, and what that lets us take for granted.

Law: at every assignment a partition's epoch rises by a guarded write; every document we write carries it, so a
former owner's writes miss. Records below the end the log had when we were assigned may have been handled by
somebody before; later ones cannot. Whoever meets a newer epoch than its own acts on nothing of that partition
until the group has dealt anew, or has confirmed the deal it made. Source: runtime design 3 and 9.
"""

import time
from collections.abc import Mapping, Sequence

import structlog

from services.domain.ids import LANES
from services.infra.documents import newer
from services.infra.documents.port import Documents, Insert, Outcome, Replace
from services.infra.log.port import Log
from services.runtime.collections import COMMANDS, EVENTS, OWNERS, Owner
from services.runtime.replays import first_place
from services.runtime.work import CommandItem, EventItem, Item

RETAKE_SECONDS = 3.0  # by then a group would have told a member that was left out
logger = structlog.get_logger(__name__)


class Ownership:
    """The partitions dealt to this process, with their epochs. `is_alone`: nobody else can be at work on the store."""

    def __init__(self, documents: Documents, log: Log, *, is_alone: bool = True) -> None:
        self.is_alone = is_alone
        self._documents = documents
        self._log = log
        self._epochs: dict[int, int] = {}
        self._fenced: dict[int, float] = {}  # dealt to us, but somebody has a newer epoch: since when (monotonic)
        self._ends: dict[tuple[str, int], int] = {}

    async def assigned(self, partitions: Sequence[int]) -> None:
        """Take partitions over: raise their epochs, remember where the log ended. May be repeated.

        Raises NewerDocument where a newer version of this program keeps the epochs: then nothing is ours.
        """
        for topic in (EVENTS, COMMANDS):
            ends = await self._log.ends(topic)
            self._ends.update(((topic, p), ends.get(p, 0)) for p in partitions)
        waiting = list(partitions)
        while waiting:
            with newer.refused():
                known = await self._documents.get_many(OWNERS, [str(p) for p in waiting])
            owners = [_raised(p, known) for p in waiting]
            outcomes = await self._documents.write_many(
                [Replace(OWNERS, owner) if owner.revision > 1 else Insert(OWNERS, owner) for owner in owners]
            )
            lost = []
            for partition, owner, outcome in zip(waiting, owners, outcomes, strict=True):
                if outcome is Outcome.APPLIED:
                    self._epochs[partition] = owner.epoch
                    self._fenced.pop(partition, None)
                else:
                    lost.append(partition)
            waiting = lost

    async def revoked(self, partitions: Sequence[int]) -> None:
        """Let partitions go."""
        for partition in partitions:
            self._epochs.pop(partition, None)
            self._fenced.pop(partition, None)

    def fenced(self, slot: int) -> None:
        """A newer epoch than ours was met: act on nothing of that partition."""
        partition = slot % self._log.partitions
        if self._epochs.pop(partition, None) is not None:
            self._fenced[partition] = time.monotonic()
            logger.warning("ownership.fenced", partition=partition)

    async def retake(self) -> None:
        """Take over again what the group leaves with us though somebody had a newer epoch for a moment.

        Of two deals in quick succession the former owner may be the last one to raise the epoch.
        """
        before = time.monotonic() - RETAKE_SECONDS
        if ready := [partition for partition, since in self._fenced.items() if since <= before]:
            await self.assigned(ready)

    def is_ours(self, slot: int) -> bool:
        """Whether the partition a slot (or a lane) lies in was dealt to us."""
        partition = slot % self._log.partitions
        return partition in self._epochs or partition in self._fenced

    def lanes(self) -> list[tuple[int]]:
        """The lanes of our partitions, as prefixes of an index: a slot's lane tells its partition."""
        return [(lane,) for lane in range(LANES) if lane % self._log.partitions in self._epochs]

    def share(self) -> float:
        """Our part of all partitions, above 0."""
        return max(len(self._epochs), 1) / self._log.partitions

    def epoch(self, slot: int) -> int:
        """The epoch of the partition a slot lies in; 0 where we may not act, which no document accepts."""
        return self._epochs.get(slot % self._log.partitions, 0)

    def is_certain(self, items: Sequence[Item]) -> bool:
        """Whether none of these records can have been handled before us."""
        for item in items:
            payload = item.payload
            if isinstance(payload, EventItem | CommandItem):
                stored = payload.stored
                if stored is None:
                    continue  # asked by ourselves
                if stored.offset < self._ends.get((stored.topic, stored.partition), 1 << 62):
                    return False
                if first_place(stored.headers, stored.topic) is not None:
                    return False  # it was set aside, perhaps after a crash in which its first copy was decided
        return True


def _raised(partition: int, known: Mapping[str, Owner]) -> Owner:
    before = known.get(str(partition))
    if before is None:
        return Owner(key=str(partition), epoch=1, revision=1)
    return Owner(key=str(partition), epoch=before.epoch + 1, revision=before.revision + 1)
