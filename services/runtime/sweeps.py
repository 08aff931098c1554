"""Work over all executions or all people of a journey: ending an archived one, comparing who belongs, an occurrence.

Law: a sweep is a document with a cursor; killed, it goes on where it stood, and what it repeats does no harm. It
asks by commands, so everything happens in the person's own lane. Lanes of ours are asked in memory, and the cursor is
written only when they have done a page; those of others are asked through the log. A page is asked for when the lanes
have nearly done the one before. Sweeps take turns, a page each. While its journey is paused a sweep of people stands
still.

    archive   an archived journey's executions are ended
    members   who belongs to the audience now is compared with who did: at the first publish, and whenever the
              audience, or another inside it, was changed; who differs is looked at
    schedule  the starts of one occurrence
Source: runtime design 2.2 and 5; contract 2.1 (trigger).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec
import structlog
from journeys.events.v1.command_record_pb2 import CommandRecord, ExecutionCommand, LookCommand, StartCommand
from journeys.events.v1.customer_event_pb2 import CustomerEvent

from services.domain.execution.lifecycle import Status
from services.domain.execution.occurrences import is_stale, occurrence_id
from services.domain.execution.version import Version
from services.domain.journey.lifecycle import State
from services.domain.journey.model import Trigger
from services.domain.times import format_time
from services.infra.clock import Clock
from services.infra.documents.port import Documents, DuplicateKey, NewerDocument, StaleRevision, StoreUnavailable
from services.infra.log.port import Log, LogUnavailable, Record
from services.infra.slices import Slices
from services.infra.telemetry import Telemetry
from services.runtime.blocked import blocked
from services.runtime.catalog import Catalog
from services.runtime.collections import (
    AUDIT,
    COMMANDS,
    EXECUTIONS,
    MEMBERSHIPS,
    SWEEPS,
    Membership,
    Sweep,
    members_key,
)
from services.runtime.desk import membership_key
from services.runtime.lanes import log_key, slot_of, subject_of
from services.runtime.populations import Person, Populations
from services.runtime.records import command_record
from services.runtime.watches import Belonging, Watch, belonging_of

PAGE = 250
TOLD_EVERY = 40  # pages
SLICE_SECONDS = 0.001
PATIENCE_SECONDS = 30.0  # with a page of people in lanes of ours: one of them may be being forgotten
WATCH_SECONDS = 0.25
SCHEDULE = "schedule"
logger = structlog.get_logger(__name__)


async def _no_wait() -> None:
    return None


@dataclass(slots=True)
class _Page:
    """A page whose people were asked for: the sweep behind it, still to be written, and who is being waited for."""

    after: Sweep
    waits: list[tuple[CommandRecord, "asyncio.Future[None]"]] = field(default_factory=list)


class Sweeps:
    """Watches the catalogue and does what its changes ask for of whole journeys.

    `is_ours` says whether a slot was dealt to this process, `hand` puts a command into a lane of ours: its future ends
    when that is through with it, and is cancelled where the lane is somebody else's by then. `pace` returns when there
    is room for another page, `settled` when whatever is being planned now is written.
    """

    def __init__(
        self,
        documents: Documents,
        log: Log,
        catalog: Catalog,
        clock: Clock,
        telemetry: Telemetry,
        *,
        hand: Callable[[CommandRecord], "asyncio.Future[None]"],
        is_ours: Callable[[int], bool] = lambda slot: True,
        pace: Callable[[], Awaitable[None]] = _no_wait,
        settled: Callable[[], Awaitable[None]] = _no_wait,
    ) -> None:
        self._documents = documents
        self._log = log
        self._catalog = catalog
        self._clock = clock
        self._hand = hand
        self._is_ours = is_ours
        self._pace = pace
        self._settled = settled
        self._populations = Populations(documents, catalog)
        self._people = telemetry.counter("runtime_swept_people", "People that sweeps looked at.", ("kind",))
        self._running = telemetry.gauge("runtime_open_sweeps", "Sweeps that are not done.")
        self._seen_revision = -1
        self._seen: dict[str, int] = {}  # workspaces, as they were when they were looked at
        self._finished: set[str] = set()
        self._open: dict[str, Sweep] | None = None  # as they will be written; None: not read from the store yet
        self._asked: dict[str, _Page] = {}  # the page that is in the lanes, by sweep
        self._compared: dict[str, str] = {}  # members sweeps, with the fingerprint they were begun for
        self._is_sweeping = False
        self._wake = asyncio.Event()
        self.on_changed: Callable[[], None] = lambda: None  # told when the catalogue is another one

    def look_again(self) -> None:
        """Other slots are ours than before: what their former owner left is read again."""
        self._open = None
        self._asked.clear()
        self._compared.clear()
        self._seen_revision, self._seen = -1, {}
        self._wake.set()

    async def run(self) -> None:
        """Look again whenever the catalogue changed, until cancelled."""
        while True:
            try:
                await self.look()
            except (StoreUnavailable, LogUnavailable) as error:
                logger.warning("sweeps.unavailable", error=str(error))
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), WATCH_SECONDS)

    async def look(self) -> None:
        """Begin what the catalogue asks for since the last look, and sweep until nothing is left to do."""
        self._is_sweeping = True
        try:
            while True:
                await self._catalog.refresh()
                if self._catalog.revision != self._seen_revision:
                    await self._begin(self._catalog.revision)
                due = [sweep for sweep in (await self._unfinished()).values() if self._can_go(sweep)]
                if not due:
                    for key in list(self._asked):
                        await self._written(key)
                    return
                for sweep in due:
                    await self._pace()
                    await self._turn(sweep)
        finally:
            self._is_sweeping = False

    async def occur(self, sweep: Sweep) -> None:
        """Begin the sweep of an occurrence; one that was begun before goes on, or is done."""
        unfinished = await self._unfinished()
        with suppress(DuplicateKey):
            await self._documents.insert(SWEEPS, sweep)
            unfinished[sweep.key] = sweep
        self._wake.set()

    async def idle(self) -> bool:
        """Whether nothing waits to be swept."""
        await self._catalog.refresh()
        if self._catalog.revision == self._seen_revision and self._open is not None:
            return not self._is_sweeping and not any(self._can_go(sweep) for sweep in self._open.values())
        self._wake.set()
        return False

    async def _unfinished(self) -> dict[str, Sweep]:
        if self._open is None:
            found: dict[str, Sweep] = {}
            cursor: str | None = None
            while True:
                page = await self._documents.scan(SWEEPS, "open", (1,), after=cursor, limit=PAGE)
                found.update((one.key, one) for one in page.items)
                cursor = page.cursor
                if cursor is None:
                    break
            self._open = found
        self._running.set(len(self._open))
        return self._open

    # -- what the catalogue asks for

    async def _begin(self, revision: int) -> None:
        for workspace, journey_id in self._catalog.archived():
            key = f"{workspace}:{journey_id}:archive"
            if key not in self._finished and self._is_ours(slot_of(workspace, journey_id)):
                await self._end_all(key, workspace, journey_id)
                self._finished.add(key)
        seen = self._seen
        for workspace, changes in self._catalog.changes().items():
            for watch in self._catalog.watches(workspace) if seen.get(workspace) != changes else ():
                key = members_key(workspace, watch.journey_id)
                is_ours = self._is_ours(slot_of(workspace, watch.journey_id))
                if is_ours and self._compared.get(key) != watch.fingerprint:
                    await self._compare(key, workspace, watch)
            seen[workspace] = changes
        if seen is self._seen:  # nothing was dealt anew meanwhile
            self._seen_revision = revision
        self.on_changed()

    async def _compare(self, key: str, workspace: str, watch: Watch) -> None:
        """See that a sweep for who belongs now was begun."""
        unfinished = await self._unfinished()
        try:
            known = await self._documents.get(SWEEPS, key)
        except NewerDocument:
            return  # whoever wrote it goes on with it
        if watch.who.fault is not None:
            # Nobody can say who belongs, so nobody enters or leaves; that is told once, and looked at when it is mended.
            name = f"audience_missing:{known.revision if known else 0}"
            metadata = {"reason": "audience_missing", "audienceId": watch.who.audience_id}
            await self._log.append(AUDIT, [blocked(workspace, watch.journey_id, name, self._clock.now_ms(), metadata)])
            if known is not None and known.fingerprint:
                unfinished.pop(key, None)
                await self._documents.replace(SWEEPS, _left(known))
        elif known is None or known.fingerprint != watch.fingerprint:
            await self._settled()
            is_first = known is None or (known.is_first and not known.done)
            sweep = Sweep(
                key=key,
                workspace=workspace,
                journey_id=watch.journey_id,
                cursor=None,
                done=False,
                revision=known.revision + 1 if known else 1,
                kind="members",
                open=1,
                fingerprint=watch.fingerprint,
                is_first=is_first,
                is_recording=is_first and not watch.backfill,
                begun_at=self._clock.now_ms(),
            )
            try:
                await (self._documents.replace if known else self._documents.insert)(SWEEPS, sweep)
            except (DuplicateKey, StaleRevision):
                return  # another process was there first
            unfinished[key] = sweep
        self._compared[key] = watch.fingerprint

    # -- people

    def _can_go(self, sweep: Sweep) -> bool:
        if not self._is_ours(slot_of(sweep.workspace, sweep.journey_id)):
            return False
        journey = self._catalog.journey(sweep.workspace, sweep.journey_id)
        return journey is None or journey.status != State.PAUSED

    async def _turn(self, sweep: Sweep) -> None:
        """Ask for one page of one sweep, see the one before through, and write how far that came."""
        now = self._clock.now_ms()
        version = self._version(sweep)
        commands: list[CommandRecord] = []
        if version is None:  # the journey was archived, or starts people otherwise now
            after = _ended(sweep)
        elif sweep.kind == SCHEDULE:
            after, commands = await self._page_of_starts(sweep, version, now)
        else:
            after, commands = await self._page_of_members(sweep, now)
        after = msgspec.structs.replace(after, revision=sweep.revision + 1)
        waits = await self._ask(commands)
        if sweep.key in self._asked and not await self._written(sweep.key):
            return
        self._asked[sweep.key] = _Page(after, waits)
        if after.open is None and not await self._written(sweep.key):
            return
        unfinished = await self._unfinished()
        self._people.labels(sweep.kind).inc(after.seen - sweep.seen)
        if after.open is None:
            unfinished.pop(sweep.key, None)
        else:
            unfinished[sweep.key] = after
        if after.done or after.seen // (TOLD_EVERY * PAGE) != sweep.seen // (TOLD_EVERY * PAGE):
            logger.info(
                "sweep.done" if after.done else "sweep.progress",
                sweep=sweep.key,
                seen=after.seen,
                asked=after.asked,
                ms=self._clock.now_ms() - sweep.begun_at,
            )

    def _version(self, sweep: Sweep) -> Version | None:
        for _, version in self._catalog.current(sweep.workspace):
            if version.journey_id == sweep.journey_id:
                mode = version.entry.mode if isinstance(version.entry, Trigger) else None
                return version if mode == ("schedule" if sweep.kind == SCHEDULE else "audience_entry") else None
        return None

    async def _written(self, key: str) -> bool:
        """Wait until the lanes have done the page they were asked for, then write it; False: the sweep is not ours."""
        page = self._asked.pop(key, None)
        if page is None:
            return False
        after = page.after
        if pending := [future for _, future in page.waits if not future.done()]:
            await asyncio.wait(pending, timeout=PATIENCE_SECONDS)
        # Dealt to somebody else in between, or so long in coming that nobody else is to wait: asked twice does no harm.
        await self._append([one for one, future in page.waits if future.cancelled() or not future.done()])
        try:
            if after.done and after.kind == SCHEDULE:
                # One for each moment would pile up. Were the moment made again, everybody's start is known.
                await self._documents.delete(SWEEPS, key, after.revision - 1)
            else:
                await self._documents.replace(SWEEPS, after)
        except StaleRevision:
            self._open = None  # somebody else is at it: what is left is read again
            self._asked.pop(key, None)
            return False
        return True

    async def _page_of_members(self, sweep: Sweep, now: int) -> tuple[Sweep, list[CommandRecord]]:
        watches = self._catalog.watches(sweep.workspace)
        watch = next((one for one in watches if one.journey_id == sweep.journey_id), None)
        if watch is None or watch.who.fault is not None or watch.fingerprint != sweep.fingerprint:
            return _left(sweep), []  # it is begun anew with the next look, or when the audience is mended
        people, after = await self._people_of(sweep, watch.who)
        differing = await self._differing(sweep, watch, people, now)
        look = LookCommand(journey_id=sweep.journey_id, is_recording=sweep.is_recording, is_bulk=True)
        commands = [
            CommandRecord(id=f"{sweep.key}:{name}", workspace=sweep.workspace, end_user_id=name, look=look)
            for name in differing
        ]
        if after.done and not sweep.is_second and not sweep.is_first:
            after = msgspec.structs.replace(after, done=False, open=1, is_second=True, cursor=None)
        after = msgspec.structs.replace(after, seen=sweep.seen + len(people), asked=sweep.asked + len(differing))
        return after, commands

    async def _differing(self, sweep: Sweep, watch: Watch, people: list[Person], now: int) -> list[str]:
        """Those whom the lane has to look at: another answer than is known, or an alarm that is not set."""
        info = self._catalog.workspace(sweep.workspace)
        if info is None or not people:
            return []
        keys: list[str] = []
        slices = Slices(SLICE_SECONDS)
        for one in people:
            await slices.pause()
            subject = subject_of(sweep.workspace, info.subject_secret, one.end_user_id)
            keys.append(membership_key(subject, sweep.journey_id))
        known, answers = await asyncio.gather(
            self._documents.get_many(MEMBERSHIPS, keys),
            self._populations.belonging(sweep.workspace, watch.who, people, now),
        )
        return [
            person.end_user_id
            for person, key, answer in zip(people, keys, answers, strict=True)
            if _is_other(known.get(key), *answer)
        ]

    async def _page_of_starts(self, sweep: Sweep, version: Version, now: int) -> tuple[Sweep, list[CommandRecord]]:
        workspace, journey_id = sweep.workspace, sweep.journey_id
        name, shown = occurrence_id(sweep.occurrence), format_time(sweep.occurrence)
        who: Belonging | None = None
        reason = "occurrence_missed" if is_stale(sweep.occurrence, now) else None
        if reason is None and version.audience_id is not None:
            who = belonging_of(version.audience_id, lambda one: self._catalog.audience(workspace, one))
            reason = "audience_missing" if who.fault is not None else None
        if reason is not None:
            metadata = {"reason": reason, "occurrence": shown}
            await self._log.append(AUDIT, [blocked(workspace, journey_id, f"{name}:{reason}", now, metadata)])
            return _ended(sweep), []
        people, after = await self._people_of(sweep, who)
        if who is None:
            asked = people
        else:
            answers = await self._populations.belonging(workspace, who, people, now)
            asked = [person for person, (belongs, _) in zip(people, answers, strict=True) if belongs]
        data = msgspec.json.encode({"occurrence": shown})
        commands = []
        for person in asked:
            event = CustomerEvent(
                id=name,
                type=SCHEDULE,
                end_user_id=person.end_user_id,
                data_json=data,
                project_key=workspace,
                received_ms=now if sweep.at is None else sweep.at,
            )
            start = StartCommand(journey_id=journey_id, event=event, source=SCHEDULE)
            if sweep.at is not None:
                start.at_ms = sweep.at
            commands.append(
                CommandRecord(
                    id=f"{sweep.key}:{person.end_user_id}",
                    workspace=workspace,
                    end_user_id=person.end_user_id,
                    start=start,
                )
            )
        after = msgspec.structs.replace(after, seen=sweep.seen + len(people), asked=sweep.asked + len(asked))
        return after, commands

    async def _people_of(self, sweep: Sweep, who: Belonging | None) -> tuple[list[Person], Sweep]:
        """The next page, and the sweep behind it."""
        audience = self._catalog.audience(sweep.workspace, who.audience_id) if who else None
        is_listed = audience is not None and audience.predicate is None
        cursor = sweep.cursor if sweep.is_listed is is_listed else None  # the audience became one of the other kind
        if sweep.is_second:
            people, cursor = await self._populations.of_members(sweep.workspace, sweep.journey_id, sweep.cursor, PAGE)
            # Whoever stands on the list, or has a profile, was looked at before.
            listed = audience.subject_ids if is_listed and audience else ()
            people = [one for one in people if (one.end_user_id not in listed if is_listed else one.document is None)]
        elif is_listed and audience is not None and who is not None:
            people, cursor = self._populations.of_list(sweep.workspace, who.audience_id, audience, cursor, PAGE)
        else:
            people, cursor = await self._populations.of_workspace(sweep.workspace, cursor, PAGE)
        if cursor is None:
            return people, msgspec.structs.replace(_ended(sweep), is_listed=is_listed)
        return people, msgspec.structs.replace(sweep, cursor=cursor, is_listed=is_listed)

    async def _ask(self, commands: Sequence[CommandRecord]) -> "list[tuple[CommandRecord, asyncio.Future[None]]]":
        """Ask for these; what has to be waited for."""
        ours: list[CommandRecord] = []
        others: list[CommandRecord] = []
        for one in commands:
            (ours if self._is_ours(slot_of(one.workspace, one.end_user_id)) else others).append(one)
        await self._append(others)
        waits = []
        slices = Slices(SLICE_SECONDS)
        for one in ours:
            await slices.pause()
            waits.append((one, self._hand(one)))
        return waits

    async def _append(self, commands: Sequence[CommandRecord]) -> None:
        if commands:
            await self._log.append(COMMANDS, [command_record(one) for one in commands])

    # -- executions

    async def _end_all(self, key: str, workspace: str, journey_id: str) -> None:
        try:
            sweep = await self._documents.get(SWEEPS, key)
        except NewerDocument:
            return  # whoever wrote it goes on with it
        if sweep is None:
            sweep = Sweep(key=key, workspace=workspace, journey_id=journey_id, cursor=None, done=False, revision=1)
            try:
                await self._documents.insert(SWEEPS, sweep)
            except DuplicateKey:
                return  # another process sweeps
        while not sweep.done:
            page = await self._documents.scan(
                EXECUTIONS, "by_journey", (workspace, journey_id), after=sweep.cursor, limit=PAGE
            )
            records = [
                Record(log_key(workspace, one.subject_id), _abort(workspace, one.subject_id, one.execution_id))
                for one in page.items
                if one.status is Status.RUNNING
            ]
            if records:
                await self._log.append(COMMANDS, records)
            sweep = msgspec.structs.replace(
                sweep, cursor=page.cursor, done=page.cursor is None, revision=sweep.revision + 1
            )
            try:
                await self._documents.replace(SWEEPS, sweep)
            except StaleRevision:
                return


def _ended(sweep: Sweep) -> Sweep:
    return msgspec.structs.replace(sweep, done=True, open=None, cursor=None)


def _left(sweep: Sweep) -> Sweep:
    """Given up before its end: the next one begins anew, and as the first one if this was."""
    return msgspec.structs.replace(sweep, open=None, cursor=None, fingerprint="", revision=sweep.revision + 1)


def _is_other(known: Membership | None, belongs: bool, change_at: int | None) -> bool:
    if belongs is not (known is not None and known.is_member):
        return True
    due_at = known.due_at if known is not None else None
    return change_at is not None and (due_at is None or due_at > change_at)


def _abort(workspace: str, end_user_id: str, execution_id: str) -> bytes:
    return CommandRecord(
        id=f"{execution_id}:archived",
        workspace=workspace,
        end_user_id=end_user_id,
        abort=ExecutionCommand(execution_id=execution_id, actor="system", reason="archived"),
    ).SerializeToString()
