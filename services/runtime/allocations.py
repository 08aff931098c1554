"""The newest allocation of every adaptive branch, in memory: what analytics has learned, as routing needs it.

Law: `refresh` is a barrier, as the catalogue's is: what was appended before it was called is known when it returns.
Nothing here asks analytics. The topic keeps the last allocation of each branch, so a runtime that starts alone has
it too; whether it can still be renewed is a flag that somebody else sets, and that history repeats.
Source: statistics design 2.1.
"""

import asyncio
import logging
from collections.abc import Sequence

from services.domain.execution.assignment import Snapshot, branch_digest
from services.domain.journey.model import BranchAdaptive
from services.infra.log.port import Log, Stored
from services.runtime.collections import ALLOCATIONS
from services.runtime.convert import Unreadable, allocation_from_bytes

READ_AT_ONCE = 1_000

_log = logging.getLogger(__name__)


class Allocations:
    """Answers from memory, without waiting; `refresh` alone reads the log."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._positions: dict[int, int] = {}
        self._known: dict[str, Snapshot] = {}  # record key -> the allocation that holds
        self._digests: dict[int, tuple[BranchAdaptive, str]] = {}  # by identity: a version's steps live for ever
        self._reading = asyncio.Lock()
        self.is_renewed = True  # whether whoever makes allocations can be reached

    def of(self, workspace: str, journey_id: str, step: BranchAdaptive) -> Snapshot | None:
        """By which shares a branch is routed now; None in cold start."""
        if not self._known:
            return None
        return self._known.get(f"{workspace}:{journey_id}:{step.id}:{self._digest(step)}")

    async def refresh(self) -> None:
        """Read the topic to its end as of now. Raises LogUnavailable."""
        ends = await self._log.ends(ALLOCATIONS)
        if all(self._positions.get(partition, 0) >= end for partition, end in ends.items()):
            return
        async with self._reading:
            for partition, end in ends.items():
                await self._read(partition, end)

    async def _read(self, partition: int, end: int) -> None:
        offset = self._positions.get(partition, 0)
        while offset < end:
            part = await self._log.read(ALLOCATIONS, partition, offset, READ_AT_ONCE)
            self._apply(part)
            offset = part[-1].offset + 1 if part else end  # empty: the rest was compacted away
        self._positions[partition] = max(offset, self._positions.get(partition, 0))

    def _apply(self, records: Sequence[Stored]) -> None:
        for stored in records:
            if not stored.value:
                self._known.pop(stored.key, None)
                continue
            try:
                self._known[stored.key] = allocation_from_bytes(stored.value)
            except Unreadable as error:
                _log.error("%s/%d/%d is passed over: %s", stored.topic, stored.partition, stored.offset, error)

    def _digest(self, step: BranchAdaptive) -> str:
        known = self._digests.get(id(step))
        if known is None or known[0] is not step:
            if len(self._digests) > 10_000:  # drafts that were tried out, not versions
                self._digests.clear()
            known = self._digests[id(step)] = (step, branch_digest(step))
        return known[1]
