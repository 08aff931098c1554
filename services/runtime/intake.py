"""From the log into the lanes.

Law: before a batch is decoded the catalogue is read to its end, so that an acknowledged pause or publish
precedes every event posted after it. An offset is committed only when everything below it has been seen to. A
record that cannot be read is kept as a dead letter with its reason, and stops nobody.
Source: runtime design 4.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import structlog
from google.protobuf.message import DecodeError
from journeys.events.v1.authoring_record_pb2 import AuditRecord
from journeys.events.v1.command_record_pb2 import CommandRecord, StartCommand
from journeys.events.v1.customer_event_pb2 import CustomerEvent

from services.domain.execution.paths import envelope
from services.domain.execution.repeats import Position
from services.domain.execution.version import Version
from services.domain.ids import MAX_ID_BYTES
from services.domain.journey.paths import event_value
from services.domain.times import DAY_MS
from services.infra.clock import Clock
from services.infra.documents.port import Documents, StoreUnavailable
from services.infra.log.port import Log, LogUnavailable, Place, Record, Stored, Subscription, partition_of
from services.runtime import guards
from services.runtime.catalog import Catalog
from services.runtime.collections import AUDIT, COMMANDS, DEAD_LETTERS, EVENT_RECORDS, EVENTS, EventRecord
from services.runtime.dead_letters import buried
from services.runtime.desk import data_of
from services.runtime.engine import Engine
from services.runtime.erasure_documents import Marks
from services.runtime.ingestion import event_record
from services.runtime.lanes import log_key, subject_of
from services.runtime.producers import Unreadable, event_in
from services.runtime.refused_starts import refused_starts
from services.runtime.repeats import CountRepeats, Repeat, position_in
from services.runtime.replays import first_place
from services.runtime.work import CommandItem, EventItem

BATCH = 500
COMMIT_SECONDS = 1.0
# Between the beginnings of two batches from a broker, which answers at once with the one record it has: each batch asks
# broker and store some questions, however few records it has, and a process that is asked nothing else asks them 70
# times a second. Whoever comes alone does not wait.
GATHER_SECONDS = 0.02
REPLAY_HORIZON_MS = 30 * DAY_MS  # an event older than that starts nobody before a person has looked at it
UNEXPECTED_SECONDS = 1.0
logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Progress:
    """Offsets of one partition in the order they were polled; those at the front that are done can be committed."""

    waiting: deque[tuple[int, "asyncio.Future[None]"]] = field(default_factory=deque)
    next_offset: int | None = None
    committed: int | None = None

    def advance(self) -> bool:
        """Move over what is done; whether there is something to commit."""
        while self.waiting and self.waiting[0][1].done():
            self.next_offset = self.waiting.popleft()[0] + 1
        return self.next_offset != self.committed


class Intake:
    """Polls events and commands, and follows them until they are done."""

    def __init__(
        self,
        documents: Documents,
        log: Log,
        catalog: Catalog,
        engine: Engine,
        clock: Clock,
        marks: Marks,
        count_repeats: CountRepeats,
        *,
        gather_seconds: float = 0.0,
    ) -> None:
        self._marks = marks
        self._count_repeats = count_repeats
        self._gather_seconds = gather_seconds
        self._counting: set[asyncio.Task[None]] = set()
        self._documents = documents
        self._log = log
        self._catalog = catalog
        self._engine = engine
        self._clock = clock
        self._subscription: Subscription | None = None
        self._progress: dict[tuple[str, int], _Progress] = {}
        self._in_lanes: dict[str, tuple[Stored, asyncio.Future[None]]] = {}  # events whose records may not be written
        self._is_handling = False
        self._deal = 0  # rises when partitions are taken away: what was polled before is not ours to commit

    async def run(self, subscription: Subscription) -> None:
        """Handle batch after batch, until cancelled."""
        self._subscription = subscription
        committer = asyncio.create_task(self._commit_now_and_then())
        next_at = 0.0
        try:
            while True:
                if (left := next_at - time.monotonic()) > 0:
                    await asyncio.sleep(left)
                try:
                    stored = await subscription.poll(BATCH, 1.0)
                except (StoreUnavailable, LogUnavailable) as error:
                    logger.warning("intake.cannot_poll", error=str(error))
                    await asyncio.sleep(0.5)
                    continue
                if not stored:
                    continue
                self._is_handling = True
                if len(stored) < BATCH:
                    next_at = time.monotonic() + self._gather_seconds
                try:
                    await self._see_through(stored)
                finally:
                    self._is_handling = False
                await self._engine.room()
        finally:
            committer.cancel()
            for counting in self._counting:
                counting.cancel()  # their offsets are not committed: whoever comes next reads them again

    def is_idle(self) -> bool:
        """Whether everything appended has been handed to the lanes."""
        return not self._is_handling and self._subscription is not None and self._subscription.lag() == 0

    def has_counted(self) -> bool:
        """Whether every repeat that was met is written down."""
        return not self._counting

    async def commit(self) -> None:
        """Commit how far everything has been seen to."""
        positions = {
            place: progress.next_offset
            for place, progress in self._progress.items()
            if progress.advance() and progress.next_offset is not None
        }
        if positions and self._subscription is not None:
            await self._subscription.commit(positions)
            for place, offset in positions.items():
                if place in self._progress:
                    self._progress[place].committed = offset

    def stop_taking(self) -> None:
        """Partitions are about to be taken away: what is being handled now is not followed any further."""
        self._deal += 1

    def forget(self, partitions: Sequence[int]) -> None:
        """Partitions are somebody else's: they begin at what was committed."""
        gone = set(partitions)
        self._progress = {place: one for place, one in self._progress.items() if place[1] not in gone}

    async def _see_through(self, stored: Sequence[Stored]) -> None:
        deal = self._deal
        while deal == self._deal:
            try:
                await self._catalog.refresh()
                await self._handle(stored, deal)
                return
            except (StoreUnavailable, LogUnavailable) as error:
                logger.warning("intake.unavailable", records=len(stored), error=str(error))
                await asyncio.sleep(0.2)
            except Exception:  # an outermost loop: nothing is passed over, and what ails only for a moment passes
                logger.exception("intake.failed", records=len(stored))
                await asyncio.sleep(UNEXPECTED_SECONDS)

    async def _handle(self, stored: Sequence[Stored], deal: int) -> None:
        events: list[tuple[Stored, CustomerEvent]] = []
        commands: list[tuple[Stored, CommandRecord]] = []
        dead: list[tuple[Stored, str]] = []
        astray: list[Record] = []
        oldest = self._clock.now_ms() - REPLAY_HORIZON_MS
        for one in stored:
            try:
                if one.topic == COMMANDS:
                    commands.append((one, CommandRecord.FromString(one.value)))
                    continue
                event = event_in(one)
                if one.appended_at < oldest:
                    raise Unreadable("It was appended more than 30 days ago: whoever sent it counts on it no more.")
                if self._catalog.workspace(event.project_key) is None:
                    raise Unreadable("There is no such workspace.")
                home = log_key(event.project_key, event.end_user_id or event.id)
                if partition_of(home, self._log.partitions) == one.partition:
                    events.append((one, event))
                else:
                    # A foreign partitioner, or a key that names somebody else: only the owner of the person's
                    # partition may decide. Its event id makes it the same event there.
                    if not event.HasField("moved_from"):
                        event.moved_from.partition, event.moved_from.offset = one.partition, one.offset
                    astray.append(Record(home, event.SerializeToString()))
            except DecodeError:
                dead.append((one, "The command cannot be decoded."))
            except Unreadable as error:
                dead.append((one, error.reason))
        if dead:
            await self._bury(dead)
        if astray:
            logger.info("intake.moved", records=len(astray))
            await self._log.append(EVENTS, astray)
        keys = [f"{event.project_key}:{event.id}" for _, event in events]
        # Asked before the store is: whatever leaves the lanes meanwhile has its record there.
        in_lanes = {key: self._in_lanes[key] for key in keys if key in self._in_lanes}
        known = await self._documents.get_many(EVENT_RECORDS, keys) if keys else {}
        spent = await self._spent([event for (_, event), key in zip(events, keys, strict=True) if key not in known])
        done: dict[tuple[str, int, int], asyncio.Future[None]] = {}
        seen: dict[str, Stored] = {}
        again: list[tuple[Stored, Repeat]] = []
        for (one, event), key in zip(events, keys, strict=True):
            record = known.get(key)
            if key in in_lanes:
                first, routed = in_lanes[key]
                if first == one:  # this batch is handled again, since a part of it failed
                    done[one.topic, one.partition, one.offset] = routed
                else:  # a producer's duplicate that the first's record could not stop yet
                    again.append((one, _repeat(key, event, one)))
                continue
            if key in seen or (
                record is not None and not guards.is_redelivery(record, one, first_place(one.headers, one.topic))
            ):
                again.append((one, _repeat(key, event, one)))
                continue  # a producer's duplicate: the first decided
            if key in spent:
                continue  # the first decided, before the person was forgotten
            seen[key] = one
            future = await self._route(one, event, key, record)
            if future is not None:
                done[one.topic, one.partition, one.offset] = future
                self._in_lanes[key] = one, future
                future.add_done_callback(lambda _, key=key: self._in_lanes.pop(key, None))  # type: ignore[misc]
        for one, command in commands:
            done[one.topic, one.partition, one.offset] = self._engine.submit(
                command.workspace, command.end_user_id, CommandItem(one, command)
            )
        if again:
            done |= self._count(again)
        if deal != self._deal:
            return  # whoever owns the partitions now reads these records again; a position of ours would skip others
        finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        finished.set_result(None)
        for one in stored:
            progress = self._progress.setdefault((one.topic, one.partition), _Progress())
            progress.waiting.append((one.offset, done.get((one.topic, one.partition, one.offset), finished)))

    def _count(self, again: Sequence[tuple[Stored, Repeat]]) -> dict[tuple[str, int, int], "asyncio.Future[None]"]:
        """Count repeats once the first ones' records are written; done then, by place."""
        firsts = [self._in_lanes[one.key][1] for _, one in again if one.key in self._in_lanes]
        self._counting.add(task := asyncio.create_task(self._see_counted([repeat for _, repeat in again], firsts)))
        task.add_done_callback(self._counting.discard)
        return {(one.topic, one.partition, one.offset): task for one, _ in again}

    async def _see_counted(self, again: Sequence[Repeat], firsts: Sequence["asyncio.Future[None]"]) -> None:
        if firsts:
            await asyncio.wait(firsts)
        while True:
            try:
                return await self._count_repeats(again)
            except StoreUnavailable as error:
                logger.warning("intake.cannot_count", repeats=len(again), error=str(error))
                await asyncio.sleep(0.2)

    async def _spent(self, unknown: Sequence[CustomerEvent]) -> set[str]:
        """Keys of events that were decided before their person was forgotten. Only a producer of its own sends them."""
        found: set[str] = set()
        by_workspace: dict[str, list[CustomerEvent]] = {}
        for event in unknown:
            if event.end_user_id:
                by_workspace.setdefault(event.project_key, []).append(event)
        for workspace, events in by_workspace.items():
            info = self._catalog.workspace(workspace)
            if info is None:
                continue
            secret = info.subject_secret
            asked = [(subject_of(workspace, secret, event.end_user_id).key, secret, event.id) for event in events]
            found |= {f"{workspace}:{event_id}" for event_id in await self._marks.spent(asked)}
        return found

    async def _route(
        self, stored: Stored, event: CustomerEvent, key: str, known: EventRecord | None
    ) -> "asyncio.Future[None] | None":
        workspace = event.project_key
        info = self._catalog.workspace(workspace)
        if info is None:
            return None
        starters = self._catalog.starters(workspace, event.type)
        is_heard = self._catalog.is_heard(workspace, event.type)
        if not is_heard and known is not None:
            return None  # nobody listens, and the record is there already
        record = known or event_record(
            key, event, info.subject_secret, stored.partition, stored.offset, _moved_from(event)
        )
        own: list[Version] = []
        elsewhere: list[tuple[Version, str]] = []
        missing: list[Record] = []
        if starters:
            stated = event.timestamp_ms if event.HasField("timestamp_ms") else None
            came = envelope(
                event.id, event.type, event.end_user_id, data_of(event.data_json), stated, event.received_ms
            )
            for version in starters:
                subject = _subject_in(version, came)
                if subject is None:
                    missing.append(_subject_missing(version, event))
                elif subject == event.end_user_id:
                    own.append(version)
                else:
                    elsewhere.append((version, subject))
        if missing:
            await self._log.append(AUDIT, missing)
        if elsewhere and await self._start_elsewhere(elsewhere, event, info.subject_secret):
            # Nobody's event, but for somebody who was forgotten: nothing of it stays.
            await self._documents.delete(EVENT_RECORDS, key)
            await self._log.erase(stored.topic, [Place(stored.partition, stored.offset)])
            return None
        if not event.end_user_id and known is not None:
            return None
        # Nobody's event still goes through a lane where its record has to be written.
        person = event.end_user_id or f"\x00{event.id}"
        return self._engine.submit(workspace, person, EventItem(stored, event, record, known is not None, tuple(own)))

    async def _start_elsewhere(
        self, starts: Sequence[tuple[Version, str]], event: CustomerEvent, secret: bytes
    ) -> bool:
        """Ask the lanes of the people an event names; whether it names, and came from, nobody but the forgotten."""
        gone = await self._marks.forgotten([(version.workspace_id, subject) for version, subject in starts])
        kept = [(version, subject) for version, subject in starts if (version.workspace_id, subject) not in gone]
        if refused := [version for version, subject in starts if (version.workspace_id, subject) in gone]:
            records = refused_starts(refused, secret, event.id, event.type, event.received_ms)
            await self._log.append(AUDIT, records)
        if kept:
            await self._log.append(COMMANDS, [_start_elsewhere(version, event, subject) for version, subject in kept])
        return bool(refused) and not kept and not event.end_user_id

    async def _bury(self, dead: Sequence[tuple[Stored, str]]) -> None:
        records = []
        for one, reason in dead:
            logger.warning("intake.dead_letter", topic=one.topic, partition=one.partition, offset=one.offset)
            records.append(buried(one, reason))
        await self._log.append(DEAD_LETTERS, records)

    async def _commit_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            try:
                await self.commit()
            except LogUnavailable as error:
                logger.warning("intake.cannot_commit", error=str(error))
            except Exception:  # a loop that ended here would let what is done pile up, and nobody would notice
                logger.exception("intake.cannot_commit")


def _moved_from(event: CustomerEvent) -> Position | None:
    moved = event.moved_from if event.HasField("moved_from") else None
    return None if moved is None else (f"{EVENTS}:{moved.partition}", moved.offset)


def _repeat(key: str, event: CustomerEvent, stored: Stored) -> Repeat:
    """That one, by where its producer wrote it: moved twice, since a process was killed meanwhile, it is one repeat."""
    return Repeat(key, event.received_ms, _moved_from(event) or position_in(stored))


def _subject_in(version: Version, came: dict[str, object]) -> str | None:
    path = version.contract.subject_path if version.contract else ("endUserId",)
    found = event_value(came, path)
    is_id = isinstance(found, str) and 0 < len(found.encode()) <= MAX_ID_BYTES
    return found if is_id else None


def _subject_missing(version: Version, event: CustomerEvent) -> Record:
    record = AuditRecord(
        id=f"{version.workspace_id}:{version.journey_id}:{event.id}:subject_missing",
        workspace=version.workspace_id,
        journey_id=version.journey_id,
        at_ms=event.received_ms,
        actor="system",
        action="trigger.blocked",
        metadata_json=msgspec.json.encode(
            {"reason": "subject_missing", "eventId": event.id, "eventType": event.type, "version": version.number}
        ),
    )
    return Record(f"{version.workspace_id}:{version.journey_id}", record.SerializeToString())


def _start_elsewhere(version: Version, event: CustomerEvent, subject: str) -> Record:
    command = CommandRecord(
        id=f"{version.workspace_id}:{version.journey_id}:{event.id}:start",
        workspace=version.workspace_id,
        end_user_id=subject,
        start=StartCommand(journey_id=version.journey_id, event=event, source="event", version=version.number),
    )
    return Record(log_key(version.workspace_id, subject), command.SerializeToString())
