"""Ports that die at a chosen call: before it, in the middle of it, or behind it.

Law: what a dead process had applied stays applied; what it had not never happens. A call at which it dies never
returns, as after kill -9.
"""

import asyncio
from collections.abc import Sequence
from enum import Enum

from services.infra.documents.port import Outcome, Write
from services.infra.log.port import Erased, Place, Record
from tests.support.memory import MemoryDocuments, MemoryLog


class Where(Enum):
    """At which side of the call."""

    BEFORE = "before"
    HALFWAY = "halfway"
    BEHIND = "behind"


class Failpoint:
    """Counts calls; at the chosen one the process is dead."""

    def __init__(self) -> None:
        self.calls = 0
        self.at: int | None = None
        self.where = Where.BEFORE
        self.died = asyncio.Event()

    def arm(self, at: int, where: Where) -> None:
        """Die at the `at`-th call from now on."""
        self.calls, self.at, self.where = 0, at, where
        self.died.clear()

    def disarm(self) -> None:
        """Live."""
        self.at = None

    def is_hit(self) -> bool:
        """Whether this call is the one."""
        self.calls += 1
        return self.at is not None and self.calls == self.at

    async def die(self) -> None:
        """Never come back."""
        self.died.set()
        await asyncio.get_running_loop().create_future()


class MortalDocuments(MemoryDocuments):
    """Documents whose bulk writes can be the last thing a process does."""

    def __init__(self, failpoint: Failpoint) -> None:
        super().__init__()
        self._failpoint = failpoint

    async def write_many(self, writes: Sequence[Write]) -> list[Outcome]:
        if not self._failpoint.is_hit():
            return await super().write_many(writes)
        where = self._failpoint.where
        if where is Where.HALFWAY:
            await super().write_many(writes[: len(writes) // 2])
        elif where is Where.BEHIND:
            await super().write_many(writes)
        await self._failpoint.die()
        raise AssertionError


class MortalLog(MemoryLog):
    """A log whose appends, erasures and scrubs can be the last thing a process does."""

    def __init__(self, failpoint: Failpoint, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self._failpoint = failpoint

    async def append(self, topic: str, records: Sequence[Record]) -> list[Place]:
        if not self._failpoint.is_hit():
            return await super().append(topic, records)
        if self._failpoint.where is Where.BEHIND:
            await super().append(topic, records)
        await self._failpoint.die()
        raise AssertionError

    async def erase(self, topic: str, places: Sequence[Place]) -> Erased:
        if not places or not self._failpoint.is_hit():
            return await super().erase(topic, places)
        where = self._failpoint.where
        if where is not Where.BEFORE:
            await super().erase(topic, places[: len(places) // 2] if where is Where.HALFWAY else places)
        await self._failpoint.die()
        raise AssertionError

    async def scrub(self) -> bool:
        if self._failpoint.is_hit():
            await self._failpoint.die()
        return await super().scrub()
