"""Alarms: finds executions whose `due_at` has come and hands them to their lanes.

Law: no claims and no set of what is in flight: firing is the guarded write that moves the alarm. A scan is
repeated only after everything it found has been seen to. Source: runtime design 5.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from services.domain.execution.execution import LEASE_MS
from services.infra.clock import Clock
from services.infra.documents.port import Documents, StoreUnavailable
from services.runtime.collections import EXECUTIONS
from services.runtime.engine import Engine
from services.runtime.work import DueItem

PAGE = 500
LONGEST_SLEEP_MS = 30_000
QUIET_MS = 30_000
MOST_RECOVERED = 10_000  # at once, in memory; with more overdue than that, what is left comes with its own alarm
logger = structlog.get_logger(__name__)


class Timers:
    """Sleeps until the next alarm of the lanes that are ours, then rings it."""

    def __init__(
        self, documents: Documents, engine: Engine, clock: Clock, lanes: Callable[[], Sequence[tuple[int]]]
    ) -> None:
        self._documents = documents
        self._lanes = lanes
        self._engine = engine
        self._clock = clock
        self._wake = asyncio.Event()
        self._next: int | None = None
        self._is_scanning = False
        self._quiet: dict[str, int] = {}  # executions whose alarm moved nothing: left alone for a while
        engine.on_due = self.hint

    def look_again(self) -> None:
        """Other lanes are ours than before."""
        self._next = None
        self._wake.set()

    def hint(self, due_at: int) -> None:
        """An alarm was written; wake earlier if it is the next."""
        if self._next is None or due_at < self._next:
            self._next = due_at
            self._wake.set()

    async def run(self) -> None:
        """Ring alarms until cancelled."""
        while True:
            try:
                await self._ring_all()
                # Only what is due before we look again: a server asked for the very least may have to read much.
                until = self._clock.now_ms() + LONGEST_SLEEP_MS
                soon = await self._documents.scan_prefixes(EXECUTIONS, "due", self._lanes(), high=until, limit=1)
                least = soon[0].due_at if soon else None
            except StoreUnavailable as error:
                logger.warning("timers.unavailable", error=str(error))
                await asyncio.sleep(0.2)
                continue
            now = self._clock.now_ms()
            self._next = now + LONGEST_SLEEP_MS if least is None else max(min(least, now + LONGEST_SLEEP_MS), now + 1)
            if least is not None and least <= now:
                # Alarms that are being seen to by somebody else, or that moved nothing.
                self._next = now + 100
            self._wake.clear()
            await self._clock.wait(self._wake, self._next)

    async def recover(self) -> int:
        """After a restart: see at once to what a former process had promised, without waiting for its leases.

        Only where no other process can still be at work on them.
        """
        found = await self._documents.scan_prefixes(
            EXECUTIONS, "due", self._lanes(), high=self._clock.now_ms() + LEASE_MS + 1, limit=MOST_RECOVERED
        )
        waits = [
            self._engine.submit(one.workspace_id, one.subject_id, DueItem(one.key, one.due_at or 0))
            for one in found
            if one.intents or one.outbox
        ]
        if waits:
            await asyncio.wait(waits)
        return len(waits)

    async def idle(self) -> bool:
        """Whether nothing is due now."""
        least = await self.next_due()
        return not self._is_scanning and (least is None or least > self._clock.now_ms())

    async def next_due(self) -> int | None:
        """The next alarm that can move anything."""
        least = await self._documents.least(EXECUTIONS, "due", self._lanes())
        if least is None or least > self._clock.now_ms():
            return least
        now = self._clock.now_ms()
        found = await self._documents.scan_prefixes(EXECUTIONS, "due", self._lanes(), high=now + 1, limit=PAGE)
        return min((one.due_at or 0 for one in found if not self._is_quiet(one.key, now)), default=None)

    async def _ring_all(self) -> None:
        self._is_scanning = True
        try:
            while True:
                now = self._clock.now_ms()
                found = await self._documents.scan_prefixes(EXECUTIONS, "due", self._lanes(), high=now + 1, limit=PAGE)
                fresh = [one for one in found if not self._is_quiet(one.key, now)]
                if not fresh:
                    return
                waits = [
                    self._engine.submit(one.workspace_id, one.subject_id, DueItem(one.key, one.due_at or 0))
                    for one in fresh
                ]
                await asyncio.wait(waits)
                await self._note_quiet([(one.key, one.transition) for one in fresh], now)
        finally:
            self._is_scanning = False

    async def _note_quiet(self, rung: list[tuple[str, int]], now: int) -> None:
        after = await self._documents.get_many(EXECUTIONS, [key for key, _ in rung])
        for key, transition in rung:
            one = after.get(key)
            if one is not None and one.transition == transition and self._engine.has_followed_up(key):
                logger.error("timers.moved_nothing", execution_id=one.execution_id, due_at=one.due_at)
                self._quiet[key] = now + QUIET_MS
        if len(self._quiet) > 10 * PAGE:
            self._quiet = {key: until for key, until in self._quiet.items() if until > now}

    def _is_quiet(self, key: str, now: int) -> bool:
        return self._quiet.get(key, 0) > now
