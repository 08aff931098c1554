"""Alarms: finds executions whose `due_at` has come and hands them to their lanes.

Law: no claims: firing is the guarded write that moves the alarm. What is read ahead of its time is a hint of what to
look at and when, no more; everything is asked for from the beginning again when an alarm was written that lies before
what was read, when one that rang did not move, when other lanes are ours, and every half minute.
Source: runtime design 5.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from services.domain.execution.execution import LEASE_MS, Execution
from services.infra.clock import Clock
from services.infra.documents.port import Documents, StoreUnavailable
from services.runtime.collections import EXECUTIONS
from services.runtime.engine import Engine
from services.runtime.work import DueItem

PAGE = 500
MOST_RINGING = 2 * PAGE  # so that the next page is read while one is seen to
# A server that is asked about 64 lanes has better to do than to be asked at every alarm.
AHEAD_MS = 1_000
EARLY_MS = 250  # the next ones are asked for so long before what was read ends
TICK_SECONDS = 0.02  # of alarms that follow each other closely, those of so long ring together
AGAIN_MS = 100  # an alarm that rang and has not moved
LONGEST_SLEEP_MS = 30_000
QUIET_MS = 30_000
MOST_RECOVERED = 10_000  # at once, in memory; with more overdue than that, what is left comes with its own alarm
logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Alarm:
    key: str
    workspace: str
    end_user_id: str
    due_at: int
    transition: int


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
        self._agenda: deque[_Alarm] = deque()  # read and not rung yet, by time
        self._known_until: int | None = None  # whatever is due before is in the agenda or rings; None: ask for all
        self._look_at = 0
        self._look_for_all_at = 0
        self._span_ms = LONGEST_SLEEP_MS  # how much of a backlog is asked for at once
        self._is_crowded = False  # a page full of alarms of one moment: what rings comes again and again
        self._hinted: int | None = None
        self._is_looking = False
        self._ringing: set[str] = set()
        self._unsure: list[_Alarm] = []  # rang, and whether they moved is not known
        self._quiet: dict[str, int] = {}  # executions whose alarm moved nothing: left alone for a while
        engine.on_due = self.hint

    def look_again(self) -> None:
        """Other lanes are ours than before."""
        self._agenda.clear()
        self._look_for_all_at = self._look_at = 0
        self._wake.set()

    def hint(self, due_at: int) -> None:
        """An alarm was written; wake earlier if it comes before what is known."""
        if self._hinted is None or due_at < self._hinted:
            self._hinted = due_at
            if self._is_looking or self._known_until is None or due_at < self._known_until:
                self._wake.set()

    async def run(self) -> None:
        """Ring alarms until cancelled."""
        while True:
            self._wake.clear()
            try:
                if self._unsure:
                    await self._settle()
                now = self._clock.now_ms()
                self._heed(now)
                if now >= self._look_at and len(self._agenda) < PAGE:
                    self._is_looking = True
                    try:
                        await self._look(now)
                    finally:
                        self._is_looking = False
            except StoreUnavailable as error:
                logger.warning("timers.unavailable", error=str(error))
                await asyncio.sleep(0.2)
                continue
            now = self._clock.now_ms()
            if self._ring(now) and self._agenda and self._agenda[0].due_at < now + TICK_SECONDS * 1000:
                await asyncio.sleep(TICK_SECONDS)
            elif not self._unsure:
                await self._clock.wait(self._wake, self._next())

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
        return not (self._ringing or self._unsure) and (least is None or least > self._clock.now_ms())

    async def next_due(self) -> int | None:
        """The next alarm that can move anything."""
        least = await self._documents.least(EXECUTIONS, "due", self._lanes())
        if least is None or least > self._clock.now_ms():
            return least
        now = self._clock.now_ms()
        found = await self._documents.scan_prefixes(EXECUTIONS, "due", self._lanes(), high=now + 1, limit=PAGE)
        return min((one.due_at or 0 for one in found if not self._is_quiet(one.key, now)), default=None)

    def _next(self) -> int:
        """When there is something to do."""
        moments = [self._look_at] if len(self._agenda) < PAGE else []
        if self._agenda and len(self._ringing) < MOST_RINGING:
            moments.append(self._agenda[0].due_at)
        return min(moments, default=self._clock.now_ms() + LONGEST_SLEEP_MS)  # woken by what rings

    def _heed(self, now: int) -> None:
        """Take note of alarms that were written since: one before what was read is in no agenda."""
        hinted, self._hinted = self._hinted, None
        if hinted is not None and (self._known_until is None or hinted < self._known_until):
            self._look_for_all(hinted)
        if now >= self._look_for_all_at:
            self._known_until = None
            self._look_at = min(self._look_at, now)

    def _look_for_all(self, at: int) -> None:
        self._look_for_all_at = min(self._look_for_all_at, at)
        self._look_at = min(self._look_at, at)

    async def _look(self, now: int) -> None:
        """Read what is due by then, and behind the agenda what is next."""
        low, ahead = self._known_until, now + AHEAD_MS + 1
        if low is None:
            self._agenda.clear()
            self._look_for_all_at = now + LONGEST_SLEEP_MS
            self._span_ms = LONGEST_SLEEP_MS
        high = ahead if low is None else min(ahead, low + self._span_ms)
        known = {alarm.key for alarm in self._agenda} | self._ringing
        limit = PAGE if low is not None and not self._is_crowded else PAGE + len(known) + len(self._quiet)
        found: list[Execution] = []
        if low is None or low < high:
            found = await self._documents.scan_prefixes(
                EXECUTIONS, "due", self._lanes(), low=low, high=high, limit=limit
            )
        self._agenda.extend(
            _Alarm(one.key, one.workspace_id, one.subject_id, one.due_at or 0, one.transition)
            for one in found
            if one.key not in known and one.key not in self._ringing and not self._is_quiet(one.key, now)
        )
        if len(found) >= limit:
            first, last = found[0].due_at or 0, found[-1].due_at or 0
            self._is_crowded = first == last
            self._span_ms = 2 * max(last - first, 1)
            self._known_until = last
            self._look_at = now
            return
        self._is_crowded = False
        self._known_until = high
        self._span_ms = min(2 * self._span_ms, LONGEST_SLEEP_MS)
        self._look_at = high - EARLY_MS if high == ahead else now
        if high == ahead and not self._agenda:
            await self._look_far(now, high)

    async def _look_far(self, now: int, low: int) -> None:
        """Find when the next one is due.

        Not the very least of all: a server that is asked for that may have to read much.
        """
        until = now + LONGEST_SLEEP_MS
        soon = await self._documents.scan_prefixes(EXECUTIONS, "due", self._lanes(), low=low, high=until, limit=1)
        self._known_until = (soon[0].due_at or until) if soon else until
        self._look_at = max(self._known_until - EARLY_MS, now + 1)

    def _ring(self, now: int) -> bool:
        """Hand over what is due; whether anything was."""
        rang = False
        while self._agenda and self._agenda[0].due_at <= now and len(self._ringing) < MOST_RINGING:
            alarm = self._agenda.popleft()
            if alarm.key in self._ringing or self._has_moved(alarm):
                continue
            self._ringing.add(alarm.key)
            done = self._engine.submit(alarm.workspace, alarm.end_user_id, DueItem(alarm.key, alarm.due_at))
            done.add_done_callback(partial(self._rung, alarm))
            rang = True
        return rang

    def _rung(self, alarm: _Alarm, done: "asyncio.Future[None]") -> None:
        self._ringing.discard(alarm.key)
        if not self._has_moved(alarm):
            self._unsure.append(alarm)
        self._wake.set()

    def _has_moved(self, alarm: _Alarm) -> bool:
        """Whether we have written the execution since its alarm was read."""
        latest = self._engine.latest(alarm.key)
        return latest is not None and latest.transition > alarm.transition

    async def _settle(self) -> None:
        """Look at what rang and may not have moved."""
        unsure, self._unsure = self._unsure, []
        now = self._clock.now_ms()
        try:
            after = await self._documents.get_many(EXECUTIONS, [alarm.key for alarm in unsure])
        except StoreUnavailable:
            self._unsure += unsure
            raise
        for alarm in unsure:
            one = after.get(alarm.key)
            if one is None or one.transition != alarm.transition:
                continue
            if self._engine.has_followed_up(alarm.key):
                logger.error("timers.moved_nothing", execution_id=one.execution_id, due_at=one.due_at)
                self._quiet[alarm.key] = now + QUIET_MS
            self._look_for_all(now + AGAIN_MS)
        if len(self._quiet) > 10 * PAGE:
            self._quiet = {key: until for key, until in self._quiet.items() if until > now}

    def _is_quiet(self, key: str, now: int) -> bool:
        return self._quiet.get(key, 0) > now
