"""What happens in a journey, as it happens, for whoever looks on.

Law: the log is read once for all who watch, and only while somebody does. A watcher who is too slow is let go, so
memory is bounded; with the id of the last event they had they go on where they stopped, at any process. An id is how
far each partition had been read.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

import structlog

from services.analytics.audit import EXECUTIONS
from services.analytics.step_stats import GetStepStats, StepCounts
from services.infra.documents.port import StoreUnavailable
from services.infra.log.port import Log, LogUnavailable, Stored

MOST_WAITING = 1_000  # events that may wait for one watcher
MOST_BEHIND = 20_000  # records of one partition that are gone through for one who comes back
READ_AT_ONCE = 500
LOOK_SECONDS = 0.25
STATS_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class TooSlow(Exception):
    """A watcher did not take what happened fast enough."""


@dataclass(frozen=True, slots=True)
class ExecutionChanged:
    """An execution as it is now."""

    execution_id: str
    end_user_id: str
    status: str
    started_at: int
    ended_at: int | None
    current_step_id: str
    version: int


@dataclass(frozen=True, slots=True)
class Happening:
    """One event: an execution that changed, or the journey's step statistics."""

    id: str
    what: ExecutionChanged | dict[str, StepCounts]


Read = Callable[[Stored, str, str], ExecutionChanged | None]  # None: another journey's, or nothing to show


@dataclass(eq=False, slots=True)
class _Watcher:
    workspace: str
    journey_id: str
    places: dict[int, int]  # the next offset of each partition
    waiting: deque[tuple[int, int, ExecutionChanged]] = field(default_factory=deque)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    is_too_slow: bool = False


class Watching:
    """Watches journeys."""

    def __init__(self, log: Log, read: Read, stats: GetStepStats) -> None:
        self._log = log
        self._read = read
        self._stats = stats
        self._watchers: set[_Watcher] = set()
        self._places: dict[int, int] = {}
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False

    async def watch(self, workspace: str, journey_id: str, after: str | None) -> AsyncIterator[Happening]:
        """Events from now on, or from behind that id on; ends when we close. Raises TooSlow, LogUnavailable."""
        watcher = await self._join(workspace, journey_id)
        try:
            if after is not None:
                async for happening in self._missed(watcher, after):
                    yield happening
            yield await self._stats_of(watcher)
            async for happening in self._live(watcher):
                yield happening
        finally:
            self._watchers.discard(watcher)

    async def close(self) -> None:
        """Let everybody go."""
        self._is_closing = True
        for watcher in self._watchers:
            watcher.came.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _join(self, workspace: str, journey_id: str) -> _Watcher:
        async with self._turn:
            if not self._watchers:
                self._places = await self._log.ends(EXECUTIONS)
            watcher = _Watcher(workspace, journey_id, dict(self._places))
            self._watchers.add(watcher)
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._follow(), name="watch executions")
        return watcher

    async def _missed(self, watcher: _Watcher, after: str) -> AsyncIterator[Happening]:
        """What came between the id and the moment at which the watcher joined."""
        joined, former = dict(watcher.places), places_of(after)
        watcher.places = {p: max(min(former.get(p, end), end), end - MOST_BEHIND) for p, end in joined.items()}
        for partition, end in joined.items():
            while (offset := watcher.places[partition]) < end:
                part = await self._log.read(EXECUTIONS, partition, offset, READ_AT_ONCE)
                for stored in part:
                    if stored.offset < end and (changed := self._changed(watcher, stored)) is not None:
                        watcher.places[partition] = stored.offset + 1
                        yield Happening(id_of(watcher.places), changed)
                watcher.places[partition] = min(part[-1].offset + 1, end) if part else end

    async def _live(self, watcher: _Watcher) -> AsyncIterator[Happening]:
        loop = asyncio.get_running_loop()
        stats_at, is_stale = loop.time(), False
        while not self._is_closing:
            watcher.came.clear()
            while watcher.waiting:
                partition, offset, changed = watcher.waiting.popleft()
                watcher.places[partition] = offset + 1
                is_stale = True
                yield Happening(id_of(watcher.places), changed)
            if watcher.is_too_slow:
                raise TooSlow
            if is_stale and loop.time() - stats_at >= STATS_SECONDS:
                stats_at, is_stale = loop.time(), False
                yield await self._stats_of(watcher)
            try:
                async with asyncio.timeout(STATS_SECONDS if is_stale else None):
                    await watcher.came.wait()
            except TimeoutError:
                pass

    async def _stats_of(self, watcher: _Watcher) -> Happening:
        counts = await self._stats(watcher.workspace, watcher.journey_id)
        return Happening(id_of(watcher.places), counts)

    async def _follow(self) -> None:
        while self._watchers:
            try:
                async with self._turn:
                    await self._look()
            except (LogUnavailable, StoreUnavailable) as error:
                _log.warning("watching.waits", error=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        ends = await self._log.ends(EXECUTIONS)
        for partition, end in ends.items():
            while (offset := self._places.get(partition, 0)) < end:
                part = await self._log.read(EXECUTIONS, partition, offset, READ_AT_ONCE)
                for stored in part:
                    for watcher in self._watchers:
                        if (changed := self._changed(watcher, stored)) is not None:
                            self._hand(watcher, stored, changed)
                self._places[partition] = part[-1].offset + 1 if part else end

    def _changed(self, watcher: _Watcher, stored: Stored) -> ExecutionChanged | None:
        # Most records are somebody else's: seen without decoding them.
        if not stored.key.startswith(f"{watcher.workspace}:") or watcher.journey_id.encode() not in stored.value:
            return None
        return self._read(stored, watcher.workspace, watcher.journey_id)

    def _hand(self, watcher: _Watcher, stored: Stored, changed: ExecutionChanged) -> None:
        if len(watcher.waiting) >= MOST_WAITING:
            watcher.is_too_slow = True
        if watcher.is_too_slow:
            watcher.waiting.clear()
        else:
            watcher.waiting.append((stored.partition, stored.offset, changed))
        watcher.came.set()


def id_of(places: Mapping[int, int]) -> str:
    """How far each partition has been read, as an opaque text."""
    return ".".join(f"{places[partition]:x}" for partition in sorted(places))


def places_of(text: str) -> dict[int, int]:
    """What an id says; nothing for a text that is none."""
    try:
        places = {partition: int(offset, 16) for partition, offset in enumerate(text.split("."))}
    except ValueError:
        return {}
    return places if min(places.values()) >= 0 else {}
