"""Alarms of memberships: time alone changes who belongs where an audience counts in a rolling window.

Law: nobody is polled. Each person's next possible change is an alarm in the store; when it rings the person's lane
is asked, by the log, to look again, and that look moves the alarm. Rung twice, it changes nothing.
Source: runtime design 5.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog
from journeys.events.v1.command_record_pb2 import CommandRecord, LookCommand

from services.infra.clock import Clock
from services.infra.documents.port import Documents, StoreUnavailable
from services.infra.log.port import Log, LogUnavailable, Record
from services.runtime.collections import COMMANDS, MEMBERSHIPS, Membership
from services.runtime.lanes import log_key

PAGE = 500
LONGEST_SLEEP_MS = 30_000
AGAIN_MS = 30_000  # an alarm that was rung and not answered is rung again after that
logger = structlog.get_logger(__name__)


class Memberships:
    """Sleeps until the next alarm of the lanes that are ours, then has the person looked at."""

    def __init__(self, documents: Documents, log: Log, clock: Clock, lanes: Callable[[], Sequence[tuple[int]]]) -> None:
        self._lanes = lanes
        self._documents = documents
        self._log = log
        self._clock = clock
        self._wake = asyncio.Event()
        self._next: int | None = None
        self._rung: dict[str, tuple[int, int]] = {}  # key -> the alarm's moment, and when it was rung

    def hint(self, due_at: int) -> None:
        """An alarm was written; wake earlier if it is the next."""
        if self._next is None or due_at < self._next:
            self._next = due_at
            self._wake.set()

    def look_again(self) -> None:
        """Other lanes are ours than before."""
        self._next = None
        self._wake.set()

    async def run(self) -> None:
        """Ring alarms until cancelled."""
        while True:
            try:
                rang = await self._ring()
                least = None if rang else await self.next_due()
            except (StoreUnavailable, LogUnavailable) as error:
                logger.warning("memberships.unavailable", error=str(error))
                await asyncio.sleep(0.2)
                continue
            now = self._clock.now_ms()
            if rang or (least is not None and least <= now):
                self._next = now + 50  # those that were rung are being looked at
            else:
                self._next = now + LONGEST_SLEEP_MS if least is None else min(least, now + LONGEST_SLEEP_MS)
            self._wake.clear()
            await self._clock.wait(self._wake, self._next)

    async def idle(self) -> bool:
        """Whether no alarm waits to be answered."""
        least = await self.next_due()
        if least is None or least > self._clock.now_ms():
            return True
        self._wake.set()
        return False

    async def next_due(self) -> int | None:
        """The next alarm."""
        return await self._documents.least(MEMBERSHIPS, "due", self._lanes())

    async def _ring(self) -> bool:
        now = self._clock.now_ms()
        found = await self._documents.scan_prefixes(MEMBERSHIPS, "due", self._lanes(), high=now + 1, limit=PAGE)
        fresh = [one for one in found if self._is_unanswered(one, now)]
        if fresh:
            await self._log.append(COMMANDS, [_look(one) for one in fresh])
            if len(self._rung) > 10 * PAGE:
                self._rung = {key: rung for key, rung in self._rung.items() if rung[1] + AGAIN_MS > now}
            self._rung.update((one.key, (one.due_at or 0, now)) for one in fresh)
        return bool(fresh)

    def _is_unanswered(self, membership: Membership, now: int) -> bool:
        rung = self._rung.get(membership.key)
        return rung is None or rung[0] != membership.due_at or rung[1] + AGAIN_MS <= now


def _look(membership: Membership) -> Record:
    command = CommandRecord(
        id=f"{membership.key}:{membership.due_at}",
        workspace=membership.workspace,
        end_user_id=membership.end_user_id,
        look=LookCommand(journey_id=membership.journey_id, due_ms=membership.due_at or 0),
    )
    return Record(log_key(membership.workspace, membership.end_user_id), command.SerializeToString())
