"""Journeys that start whole audiences at moments of a schedule.

Law: the next moment of each is an alarm in the store. When it comes, the sweep that makes its starts is stored
first, under the moment's own name, and the alarm moved behind it: killed in between, the sweep is found. Moments that
nobody saw come are passed over and said in the audit, the last of them made up for if it is not too old; of a paused
journey nothing is made up for.
Source: runtime design 2.2 and 5; contract 2.1 (trigger, schedule).
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from services.domain.execution.occurrences import (
    PUNCTUAL_MS,
    Come,
    Occurrences,
    Schedule,
    come,
    next_at,
    occurrence_id,
    schedule_of,
    zone_of_schedule,
)
from services.domain.execution.version import Version
from services.domain.ids import lane_of
from services.domain.journey.lifecycle import State
from services.domain.journey.model import Trigger
from services.domain.times import format_time
from services.infra.clock import Clock
from services.infra.documents.port import Documents, DuplicateKey, NewerDocument, StaleRevision, StoreUnavailable
from services.infra.log.port import Log, LogUnavailable
from services.infra.recurrence import occurrences as moments_of
from services.runtime.blocked import blocked
from services.runtime.catalog import Catalog
from services.runtime.collections import AUDIT, SCHEDULES, ScheduleDocument, Sweep
from services.runtime.lanes import slot_of
from services.runtime.sweeps import SCHEDULE, Sweeps

PAGE = 100
LONGEST_SLEEP_MS = 30_000
logger = structlog.get_logger(__name__)


class Schedules:
    """Keeps the next moment of every scheduled journey whose lane is ours, and makes it when it comes."""

    def __init__(
        self,
        documents: Documents,
        log: Log,
        catalog: Catalog,
        clock: Clock,
        sweeps: Sweeps,
        lanes: Callable[[], Sequence[tuple[int]]],
        occurrences: Occurrences = moments_of,
    ) -> None:
        self._lanes = lanes
        self._documents = documents
        self._log = log
        self._catalog = catalog
        self._clock = clock
        self._sweeps = sweeps
        self._occurrences = occurrences
        self._seen_revision = -1
        self._seen: dict[str, int] = {}  # workspaces, as they were when they were taken over
        self._wake = asyncio.Event()
        self._is_busy = False
        sweeps.on_changed = self._wake.set

    def look_again(self) -> None:
        """Other lanes are ours than before."""
        self._seen_revision, self._seen = -1, {}
        self._wake.set()

    async def run(self) -> None:
        """Make what comes, until cancelled."""
        while True:
            try:
                await self.look()
                least = await self.next_due()
            except (StoreUnavailable, LogUnavailable) as error:
                logger.warning("schedules.unavailable", error=str(error))
                await asyncio.sleep(0.2)
                continue
            until = self._clock.now_ms() + LONGEST_SLEEP_MS
            await self._clock.wait(self._wake, until if least is None else min(least, until))
            self._wake.clear()

    async def look(self) -> None:
        """Take over what was published since the last look, and make what has come."""
        self._is_busy = True
        try:
            await self._catalog.refresh()
            revision, seen = self._catalog.revision, self._seen
            if revision != self._seen_revision:
                lanes = set(self._lanes())
                for workspace, changes in self._catalog.changes().items():
                    if seen.get(workspace) == changes:
                        continue
                    for _, version in list(self._catalog.current(workspace)):
                        if (_lane(workspace, version.journey_id),) in lanes:
                            await self._learn(version)
                    seen[workspace] = changes
                if seen is self._seen:  # nothing was dealt anew meanwhile
                    self._seen_revision = revision
            while True:
                now = self._clock.now_ms()
                due = await self._documents.scan_prefixes(SCHEDULES, "due", self._lanes(), high=now + 1, limit=PAGE)
                if not due:
                    return
                for one in due:
                    await self._make(one, now)
        finally:
            self._is_busy = False

    async def idle(self) -> bool:
        """Whether nothing that was published waits to be taken over, and nothing that has come to be made."""
        await self._catalog.refresh()
        least = await self.next_due()
        is_seen = self._catalog.revision == self._seen_revision
        if is_seen and (least is None or least > self._clock.now_ms()):
            return not self._is_busy
        self._wake.set()
        return False

    async def next_due(self) -> int | None:
        """The next moment of any schedule."""
        return await self._documents.least(SCHEDULES, "due", self._lanes())

    async def _learn(self, version: Version) -> None:
        """Begin a schedule that is new, or another one than it was."""
        zone = self._zone(version)
        entry = version.entry
        if not _is_scheduled(version) or not isinstance(entry, Trigger) or zone is None:
            return
        workspace, journey_id = version.workspace_id, version.journey_id
        written = f"{zone} {entry.at} {entry.local_at} {entry.rrule}"
        try:
            known = await self._documents.get(SCHEDULES, f"{workspace}:{journey_id}")
        except NewerDocument:
            return  # whoever wrote it goes on with it
        if known is not None and known.written == written:
            return
        if known is not None and known.version == version.number:
            anchor = self._clock.now_ms()  # another zone: what it would have meant before now was never promised
        else:
            anchor = self._catalog.published_at(workspace, journey_id, version.number)
        schedule, first = await asyncio.to_thread(self._first, entry, zone, anchor)
        document = ScheduleDocument(
            key=f"{workspace}:{journey_id}",
            workspace=workspace,
            journey_id=journey_id,
            lane=_lane(workspace, journey_id),
            version=version.number,
            written=written,
            anchor_at=anchor,
            next_at=first,
            revision=known.revision + 1 if known else 1,
        )
        try:
            await (self._documents.replace if known else self._documents.insert)(SCHEDULES, document)
        except (DuplicateKey, StaleRevision):
            return  # another process was there first
        logger.info("schedule.begun", journey_id=journey_id, version=version.number, next_at=first, zone=schedule.zone)

    def _first(self, entry: Trigger, zone: str, anchor: int) -> tuple[Schedule, int | None]:
        try:
            schedule = schedule_of(entry, zone, anchor, self._occurrences)
            return schedule, next_at(schedule, anchor, self._occurrences)
        except (ValueError, ArithmeticError) as error:  # publish refuses such a rule; whatever got past it fires never
            logger.error("schedule.unreadable", error=str(error))
            return Schedule(zone), None

    async def _make(self, document: ScheduleDocument, now: int) -> None:
        """Answer an alarm: begin the sweep, say what is passed over, and move the alarm."""
        workspace, journey_id, first = document.workspace, document.journey_id, document.next_at
        journey = self._catalog.journey(workspace, journey_id)
        version = next((one for _, one in self._catalog.current(workspace) if one.journey_id == journey_id), None)
        found = Come(None, (), None)
        is_open = journey is not None and journey.status == State.PUBLISHED
        if version is not None and _is_scheduled(version) and first is not None:
            found = await asyncio.to_thread(self._come, version.entry, document, first, now, is_open)
        if found.made is not None:
            is_punctual = now - found.made <= PUNCTUAL_MS
            await self._sweeps.occur(
                Sweep(
                    key=f"{workspace}:{journey_id}:{occurrence_id(found.made)}",
                    workspace=workspace,
                    journey_id=journey_id,
                    cursor=None,
                    done=False,
                    revision=1,
                    kind=SCHEDULE,
                    open=1,
                    occurrence=found.made,
                    at=found.made if is_punctual else None,
                    begun_at=now,
                )
            )
        if found.skipped:
            reason = "occurrence_missed" if is_open else "journey_paused"
            last, count = found.skipped[-1], len(found.skipped)
            metadata = {"reason": reason, "occurrence": format_time(last), "occurrences": count}
            await self._log.append(
                AUDIT, [blocked(workspace, journey_id, f"{occurrence_id(last)}:{reason}", now, metadata)]
            )
            logger.warning("schedule.passed_over", journey_id=journey_id, reason=reason, occurrences=count)
        try:
            await self._documents.replace(SCHEDULES, _moved(document, found.next_at))
        except StaleRevision:
            return  # another process answered, or the journey was published anew

    def _come(self, entry: object, document: ScheduleDocument, first: int, now: int, is_open: bool) -> Come:
        assert isinstance(entry, Trigger)
        zone = document.written.partition(" ")[0]
        try:
            schedule = schedule_of(entry, zone, document.anchor_at, self._occurrences)
            return come(schedule, first, now, self._occurrences, is_open=is_open)
        except (ValueError, ArithmeticError) as error:
            logger.error("schedule.unreadable", journey_id=document.journey_id, error=str(error))
            return Come(None, (), None)

    def _zone(self, version: Version) -> str | None:
        info = self._catalog.workspace(version.workspace_id)
        if info is None or not isinstance(version.entry, Trigger):
            return None
        return zone_of_schedule(version.entry, version.graph.settings, info.timezone)


def _is_scheduled(version: Version) -> bool:
    return isinstance(version.entry, Trigger) and version.entry.mode == SCHEDULE


def _moved(document: ScheduleDocument, next_moment: int | None) -> ScheduleDocument:
    return ScheduleDocument(
        key=document.key,
        workspace=document.workspace,
        journey_id=document.journey_id,
        lane=document.lane,
        version=document.version,
        written=document.written,
        anchor_at=document.anchor_at,
        next_at=next_moment,
        revision=document.revision + 1,
    )


def _lane(workspace: str, journey_id: str) -> int:
    return lane_of(slot_of(workspace, journey_id))
