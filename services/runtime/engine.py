"""The lanes: load, plan, commit, act, batch after batch.

Law: one person's items are never in two cycles at once. A cycle writes first and acts afterwards: outbox to the
log, sends to the dispatcher, profile updates to the profile. The engine contains no `if` about journeys.
Source: runtime design 4, 6 and 7.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import ContextVar

import structlog

from services.domain.errors import Unavailable
from services.domain.execution.execution import Execution, Intent, Result
from services.domain.execution.lifecycle import Status
from services.domain.execution.triggers import Profile, Settled
from services.infra.clock import Clock
from services.infra.documents import newer
from services.infra.documents.port import (
    Delete,
    Documents,
    Insert,
    NewerDocument,
    Outcome,
    StoreUnavailable,
    Write,
)
from services.infra.log.port import Log, LogUnavailable, Record
from services.infra.slices import Slices
from services.runtime import guards
from services.runtime.acknowledging import acknowledged, is_plain
from services.runtime.acks import Acks
from services.runtime.catalog import Catalog
from services.runtime.collections import (
    AUDIT,
    COMMAND_RESULTS,
    COMMANDS,
    DEAD_LETTERS,
    EVENT_RECORDS,
    EXECUTION_RECORDS,
    CommandResult,
    EventRecord,
)
from services.runtime.dead_letters import buried
from services.runtime.desk import Desk, Held, Loaded, RenderAt
from services.runtime.dispatcher import Dispatcher, Send, send_of
from services.runtime.hook_calls import HookCall, HookCalls
from services.runtime.lanes import slot_of, subject_of
from services.runtime.loading import Asked, asked, load
from services.runtime.ownership import Ownership
from services.runtime.rates import Rates
from services.runtime.records import command_record, record_of
from services.runtime.subject_documents import SUBJECTS, SubjectDocument, empty_subject
from services.runtime.subjects import Subjects
from services.runtime.work import CLOSE_SECONDS, AckItem, CommandItem, DueItem, EventItem, Item, Payload

CYCLE = 500
CYCLES_IN_FLIGHT = 3
HAND_OVER_SECONDS, FINISH_SECONDS = 5.0, 3.5
BULK = 200  # people of a sweep in a cycle of their own: short enough that whoever comes meanwhile waits little
BULK_BESIDE = 50  # of them while others come, so that a busy server goes on with them too
ACKS = 400  # executions in a cycle of acknowledgements alone
FEW = 50  # people who go alone rather than with any of those
WANTED_SECONDS = 0.25
RECENT = 5_000
ACK_SECONDS = 1.0
FLUSHED = 250  # acknowledgements at a stretch, twenty times a second
MOST_TRIES = 50
SLICE_SECONDS = 0.005  # at a stretch: a person may have a thousand items, a cycle hundreds of people
PATIENT_SECONDS = 0.001  # the same of what can wait: who comes meanwhile waits that long at every turn of theirs
MOST_TROUBLE = 3  # tries of a record that makes planning itself fail
MOST_UNFINISHED = 4_000
logger = structlog.get_logger(__name__)
Person = tuple[str, str]
_in_cycle: ContextVar[bool] = ContextVar("in_cycle", default=False)


class Engine:
    """Takes items of work and sees each through. See the module."""

    def __init__(
        self,
        documents: Documents,
        log: Log,
        catalog: Catalog,
        clock: Clock,
        *,
        dispatcher: Dispatcher,
        hooks: HookCalls,
        subjects: Subjects,
        acks: Acks,
        ownership: Ownership,
        render: RenderAt,
    ) -> None:
        self._documents = documents
        self._log = log
        self._catalog = catalog
        self._clock = clock
        self._dispatcher = dispatcher
        self._hooks = hooks
        hooks.on_settled = dispatcher.on_settled = self._hasten
        self._subjects = subjects
        self._acks = acks
        self._ownership = ownership
        self._render = render
        self._rates = Rates()
        self._pending: dict[Person, list[Item]] = {}
        # Whom a cycle takes up next, by rank: everybody else, acknowledgements, those who are asked about in bulk.
        # A person may stand in several, and twice: what counts is what is pending.
        self._ready: deque[Person] = deque()
        self._acked: deque[Person] = deque()
        self._later: deque[Person] = deque()
        self._queues = (self._ready, self._acked, self._later)
        self._wanted_at = 0.0  # when somebody else came last (monotonic)
        self._busy: set[Person] = set()
        self._cycles: set[asyncio.Task[None]] = set()
        self._patient: set[asyncio.Task[None]] = set()  # those of them that have acknowledgements or bulk in them
        self._cycles_allowed = CYCLES_IN_FLIGHT
        self._forgetting: set[asyncio.Task[None]] = set()
        self.on_forget: Callable[[CommandItem], Awaitable[None]] = _nobody_forgets
        self._wake = asyncio.Event()
        self._emptied = asyncio.Event()
        self._recent: OrderedDict[str, Execution] = OrderedDict()
        self._flushed: set[str] = set()  # keys whose acknowledgements are on their way
        self._replies: dict[str, asyncio.Future[CommandResult]] = {}
        self._seen: dict[str, asyncio.Future[None]] = {}  # by command id
        self.on_due: Callable[[int], None] = lambda due_at: None  # told of every alarm that was written
        self.on_look_due: Callable[[int], None] = lambda due_at: None  # and of every alarm of a membership
        self.unfinished = 0

    # -- asking

    def submit(self, workspace: str, end_user_id: str, payload: Payload) -> "asyncio.Future[None]":
        """Queue one item; the future ends when it needs no more care."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        item = Item(workspace, end_user_id, payload, done)
        if not item.rank:
            self._wanted_at = time.monotonic()
        self.unfinished += 1
        self._enqueue([item])
        return done

    def expect(self, command_id: str) -> "asyncio.Future[CommandResult]":
        """The reply to a command that is about to be appended."""
        reply: asyncio.Future[CommandResult] = asyncio.get_running_loop().create_future()
        self._replies[command_id] = reply
        reply.add_done_callback(lambda _: self._replies.pop(command_id, None))
        return reply

    def seen(self, command_id: str, workspace: str, end_user_id: str) -> "asyncio.Future[None] | None":
        """Done when the lane is through with a command that is about to be appended.

        None where that cannot be waited for: no audience is watched, the lane is another process's, or who asks is
        at work in it themselves.
        """
        info = self._catalog.workspace(workspace)
        if info is None or not self._catalog.watches(workspace) or _in_cycle.get():
            return None
        if not self._ownership.epoch(subject_of(workspace, info.subject_secret, end_user_id).slot):
            return None
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._seen[command_id] = done
        done.add_done_callback(lambda _: self._seen.pop(command_id, None))
        return done

    def is_idle(self) -> bool:
        """Nothing queued, planned, acted on or waiting to be acknowledged."""
        is_acting = not (self._dispatcher.is_idle() and self._hooks.is_idle())
        is_working = bool(self._cycles or self._forgetting)
        return self.unfinished == 0 and not is_working and not is_acting and not len(self._acks)

    async def room(self, most: int = MOST_UNFINISHED) -> None:
        """Wait while the lanes hold more than that: what is not taken stays in the log."""
        while self.unfinished > most:
            self._emptied.clear()
            await self._emptied.wait()

    async def passed(self) -> None:
        """Wait until the cycles now in flight have ended: what they were planned on may be out of date."""
        if self._cycles:
            await asyncio.wait(set(self._cycles))

    def latest(self, key: str) -> Execution | None:
        """An execution as we last wrote it, if that was not long ago."""
        return self._recent.get(key)

    def has_followed_up(self, key: str) -> bool:
        """Whether nothing that was learned of an execution waits to be written."""
        return self._acks.of(key) is None

    # -- running

    async def run(self) -> None:
        """Start cycles while there is work and room, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while (taken := self._take()) is not None:
                batch, is_patient = taken
                if not batch:
                    continue
                task = asyncio.create_task(self._cycle(batch))
                self._cycles.add(task)
                if is_patient:
                    self._patient.add(task)
                task.add_done_callback(self._ended)

    def _is_wanted(self) -> bool:
        """Whether single events, commands or timers came just now."""
        return time.monotonic() - self._wanted_at < WANTED_SECONDS

    async def flush_acks(self) -> None:
        """Write acknowledgements that nothing else carried within a second, until cancelled."""
        while True:
            await self._dispatcher.settled.wait()
            self._dispatcher.settled.clear()
            while len(self._acks):
                await asyncio.sleep(ACK_SECONDS / 20)
                self.flush(time.monotonic() - ACK_SECONDS, FLUSHED)

    def flush(self, before: float, most: int = 4 * CYCLE) -> None:
        """Queue writes for the acknowledgements known since before that moment (monotonic seconds), `most` new ones."""
        for key, ack in self._acks.ripe(before, 4 * CYCLE):
            if key not in self._flushed:
                if (most := most - 1) < 0:
                    return
                self._flushed.add(key)
                self.submit(ack.workspace, ack.end_user_id, AckItem(key, self._clock.now_ms(), is_urgent=False))

    def kill(self) -> None:
        """Drop cycles in flight where they stand."""
        for cycle in (*self._cycles, *self._forgetting):
            cycle.cancel()

    async def settle(self) -> None:
        """Partitions are about to be handed over: finish what can be, then begin nothing more and let cycles end.

        What is not acknowledged now waits for its lease at its next owner.
        """
        until = time.monotonic() + FINISH_SECONDS
        while (self.unfinished or len(self._acks)) and time.monotonic() < until:
            self.flush(float("inf"))
            await asyncio.sleep(0.01)
        self._cycles_allowed = 0
        if self._cycles:
            await asyncio.wait(set(self._cycles), timeout=HAND_OVER_SECONDS - FINISH_SECONDS)

    def resume(self) -> None:
        """Begin cycles again. Items of partitions that are not ours any more are dropped: their records come again,
        to whoever owns them now.
        """
        self._rates.share = self._ownership.share()
        self._cycles_allowed = CYCLES_IN_FLIGHT
        for person in list(self._pending):
            if person not in self._busy and not self._is_ours(person):
                self._drop(self._pending.pop(person))
        self._wake.set()

    async def close(self) -> None:
        """Let cycles in flight end."""
        if running := self._cycles | self._forgetting:
            await asyncio.wait(running, timeout=CLOSE_SECONDS)
        for task in self._forgetting:
            task.cancel()  # its command is read again after the restart

    # -- one cycle

    async def _cycle(self, batch: dict[Person, list[Item]]) -> None:
        again: list[Item] = []
        _in_cycle.set(True)  # for this task, and what it begins
        try:
            again = await self._work(batch)
        except (StoreUnavailable, LogUnavailable) as error:
            logger.warning("cycle.unavailable", subjects=len(batch), error=str(error))
            await asyncio.sleep(0.2)
            again = [item for items in batch.values() for item in items if not item.done.done()]
        except Exception:  # the outermost place: what failed is tried again, later and later, and given up visibly
            logger.exception("cycle.failed", subjects=len(batch))
            await asyncio.sleep(0.2)
            again = [item for items in batch.values() for item in items if not item.done.done()]
        finally:
            for person in batch:
                self._busy.discard(person)
            self._enqueue(self._worth_trying(again), first=True)
            for person in batch:
                if waiting := self._pending.get(person):
                    self._queues[_rank_of(waiting)].append(person)
            self._wake.set()

    async def _work(self, batch: dict[Person, list[Item]]) -> list[Item]:
        """Load, plan, commit, act; beside that, what only has to be noted. Returns items to be planned again."""
        plain = {person: items for person, items in batch.items() if self._is_plain(person, items)}
        if not plain:
            return await self._see_through(batch)
        if len(plain) == len(batch):
            return await self._note(plain)
        noting = asyncio.create_task(self._note(plain))
        try:
            again = await self._see_through({person: items for person, items in batch.items() if person not in plain})
        finally:
            await asyncio.wait([noting])
        return again + noting.result()

    def _slices(self, batch: dict[Person, list[Item]]) -> Slices:
        is_patient = all(item.rank for items in batch.values() for item in items)
        return Slices(PATIENT_SECONDS if is_patient and self._is_wanted() else SLICE_SECONDS)

    def _is_plain(self, person: Person, items: Sequence[Item]) -> bool:
        epoch = self._ownership.epoch(_slot_of(*person))
        return all(
            isinstance(item.payload, AckItem) and is_plain(self._recent.get(item.payload.key), epoch) for item in items
        )

    async def _note(self, batch: dict[Person, list[Item]]) -> list[Item]:
        """Write what is known of executions to which nothing else happens."""
        items = [
            (item.payload.key, item) for mine in batch.values() for item in mine if isinstance(item.payload, AckItem)
        ]
        executions = [self._recent[key] for key in dict(items)]
        slices = self._slices(batch)
        written, others = await acknowledged(
            self._documents, self._catalog, self._acks, executions, self._clock.now_ms(), slices.pause
        )
        for execution in written:
            await slices.pause()
            self._remember(execution)
            if execution.due_at is not None:
                self.on_due(execution.due_at)
        for key in others:
            self._recent.pop(key, None)  # read next time
        self._finish([item for key, item in items if key not in others])
        return [item for key, item in items if key in others]

    async def _see_through(self, batch: dict[Person, list[Item]]) -> list[Item]:
        """Load, plan, commit, act. Returns items to be planned again."""
        needs: list[Asked] = []
        again: list[Item] = []
        for (workspace, end_user_id), items in batch.items():
            if not self._is_ours((workspace, end_user_id)):
                self._drop(items)
                continue
            info = self._catalog.workspace(workspace)
            if info is None:
                self._finish(items)  # a workspace that does not exist: the intake has dead-lettered its events
                continue
            subject = subject_of(workspace, info.subject_secret, end_user_id)
            certain = self._ownership.is_certain(items) and not any(item.tries for item in items)
            needs.append(asked(subject, info, items, self._catalog, certain))
        if self._catalog.has_adaptive():
            await self._catalog.allocations.refresh()
        now = self._clock.now_ms()
        needs, loaded, newer_ones = await self._load(needs, now)
        for need, newer_one in newer_ones:
            await self._park(need, newer_one)
        needs, loaded, fenced = self._unfenced(needs, loaded)
        again.extend(fenced)
        claimed_at = time.monotonic()
        desks: list[tuple[Asked, Desk, SubjectDocument | None]] = []
        troubled: list[tuple[Asked, Exception]] = []
        # Before anybody else comes to do anything: whatever is dealt anew meanwhile, these are the epochs we looked at.
        epochs = [self._ownership.epoch(need.subject.slot) for need in needs]
        slices = self._slices(batch)
        for need, (read, profile), epoch in zip(needs, loaded, epochs, strict=True):
            await slices.pause()
            try:
                desk = Desk(read, self._catalog, self._render, self._acks, self._rates, epoch, now)
                await self._plan(need, desk, now, slices)
            except Exception as error:  # noqa: BLE001  # one bad record must not stop the others; it is told below
                logger.warning("lane.failed", subject_key=need.subject.key, error=repr(error.__cause__ or error))
                troubled.append((need, error))
                continue
            desks.append((need, desk, profile))
        lost = await self._take_places([desk for _, desk, _ in desks])
        applied = await self._commit([one for one in desks if one[1] not in lost], lost, now, slices)
        await self._act(applied, claimed_at, slices)
        if refused := [record for _, desk, _ in desks for record in desk.blocked]:
            await self._log.append(AUDIT, refused)
        lost |= await self._note_members([desk for _, desk, _ in desks if desk not in lost])
        for need, reason in troubled:
            again.extend(await self._set_aside(need.items, reason))
        if fenced:
            await asyncio.sleep(0.2)  # until the group has dealt anew, trying at once would be trying all the time
        for need, desk, _ in desks:
            if desk in lost:
                again.extend(need.items)
                continue
            for result in desk.results:
                self._reply(result)
            self._finish(need.items)
        return again

    async def _load(
        self, needs: list[Asked], now: int
    ) -> tuple[list[Asked], list[tuple[Loaded, SubjectDocument | None]], list[tuple[Asked, NewerDocument]]]:
        """Read for these people; apart from them those of whom a document is of a newer version of this program."""
        try:
            with newer.refused():
                return needs, await load(self._documents, self._catalog, needs, self._recent, now), []
        except NewerDocument as error:
            if len(needs) == 1:
                return [], [], [(needs[0], error)]
        half = len(needs) // 2  # who it is shows in the half that fails again: seldom, and then for few
        first, second = await self._load(needs[:half], now), await self._load(needs[half:], now)
        return first[0] + second[0], first[1] + second[1], first[2] + second[2]

    async def _park(self, need: Asked, error: NewerDocument) -> None:
        """Keep what came for somebody whom this version cannot decide for: as dead letters, to be replayed once it is
        updated. Their alarms ring again; a command's caller is told.
        """
        records = [item for item in need.items if isinstance(item.payload, EventItem | CommandItem)]
        logger.error(
            "lane.parked",
            subject_key=need.subject.key,
            collection=error.collection,
            key=error.key,
            records=len(records),
        )
        reason = (
            f"A newer version of this program wrote a document of {error.collection}: replay this after the update."
        )
        letters = [
            buried(item.payload.stored, reason)
            for item in records
            if isinstance(item.payload, EventItem | CommandItem) and item.payload.stored is not None
        ]
        if letters:
            await self._log.append(DEAD_LETTERS, letters)
        for item in records:
            if isinstance(item.payload, CommandItem):
                self._refuse(item.payload.command.id, error)
        self._drop(need.items)

    async def _set_aside(self, items: Sequence[Item], error: Exception) -> list[Item]:
        """Keep the record that cannot be handled, tried again and again, as a dead letter; the items to be planned again."""
        bad = [error.item] if isinstance(error, _Unplannable) else list(items)
        if min(item.tries for item in bad) < MOST_TROUBLE:
            return list(items)
        logger.error("lane.set_aside", items=len(bad), exc_info=error)
        reason = f"It could not be handled: {type(error.__cause__ or error).__name__}."
        records = []
        for payload in (item.payload for item in bad):
            if isinstance(payload, CommandItem) and payload.stored is None:
                # Asked by ourselves. From the log it comes here again, and can be kept with its place.
                await self._log.append(COMMANDS, [command_record(payload.command)])
            elif isinstance(payload, EventItem | CommandItem) and payload.stored is not None:
                records.append(buried(payload.stored, reason))
        if records:
            await self._log.append(DEAD_LETTERS, records)
        self._finish(bad)  # a timer or an acknowledgement among them is found again by its alarm
        return [item for item in items if item not in bad]

    async def _take_places(self, desks: Sequence[Desk]) -> set[Desk]:
        """Write the ledgers of whoever took a place under a cap; the desks that lost theirs to somebody else.

        First, so that no intent is ever stored whose place is not. Source: runtime design 7.
        """
        taken = [(desk, write) for desk in desks if (write := desk.ledger_write()) is not None]
        if not taken:
            return set()
        outcomes = await self._documents.write_many([write for _, write in taken])
        return {desk for (desk, _), outcome in zip(taken, outcomes, strict=True) if outcome is not Outcome.APPLIED}

    async def _commit(
        self, desks: Sequence[tuple[Asked, Desk, SubjectDocument | None]], lost: set[Desk], now: int, slices: Slices
    ) -> list[tuple[Desk, Held]]:
        """One guarded write per execution, all in one bulk; those applied. Desks with another outcome are lost."""
        writes: list[Write] = []
        owners: list[tuple[Desk, Held] | None] = []
        for need, desk, profile in desks:
            await slices.pause()
            changed = desk.writes()
            for held, write in changed:
                writes.append(write)
                owners.append((desk, held))
            extra: list[Write] = [
                Insert(EVENT_RECORDS, record) for record in _unrecorded(need.items) if record.key not in desk.dropped
            ]
            extra.extend(Delete(EVENT_RECORDS, key) for key, is_recorded in desk.dropped.items() if is_recorded)
            extra.extend(Insert(COMMAND_RESULTS, result) for result in _first_answers(desk.results))
            if profile is None and any(not held.stored and held.execution.refusal is None for held, _ in changed):
                extra.append(Insert(SUBJECTS, empty_subject(need.subject.workspace, need.subject.end_user_id, now)))
            writes.extend(extra)
            owners.extend([None] * len(extra))
        outcomes = await self._documents.write_many(writes) if writes else []
        unread = {desk for need, desk, _ in desks if not any(item.tries for item in need.items)}
        applied: list[tuple[Desk, Held]] = []
        for owner, outcome in zip(owners, outcomes, strict=True):
            if owner is None:
                continue
            desk, held = owner
            if outcome is Outcome.APPLIED:
                applied.append((desk, held))
            elif outcome is not Outcome.DUPLICATE or desk.results or desk in unread:
                # A start that was decided before is decided. It is planned again: with the former decision loaded it
                # answers `duplicate`, or is counted as a repeat. Once, where nobody waits for the answer.
                lost.add(desk)
                self._recent.pop(held.execution.key, None)
        return applied

    async def _note_members(self, desks: Sequence[Desk]) -> set[Desk]:
        """Write what became known of memberships, behind the entries; the desks that lost theirs to somebody else."""
        noted = [(desk, write) for desk in desks for write in desk.membership_writes()]
        if not noted:
            return set()
        outcomes = await self._documents.write_many([write for _, write in noted])
        lost = set()
        for (desk, write), outcome in zip(noted, outcomes, strict=True):
            if outcome is not Outcome.APPLIED:
                lost.add(desk)
            elif not isinstance(write, Delete) and write.document.due_at is not None:
                self.on_look_due(write.document.due_at)
        return lost

    async def _plan(self, need: Asked, desk: Desk, now: int, slices: Slices) -> None:
        for item in sorted(need.items, key=_moment_of):
            await slices.pause()
            try:
                self._plan_one(item, desk, now)
            except Exception as error:
                raise _Unplannable(item) from error

    def _plan_one(self, item: Item, desk: Desk, now: int) -> None:
        if desk.refuses(item.payload):
            return
        match item.payload:
            case EventItem() as event:
                desk.event(event)
            case CommandItem() as command:
                desk.command(command, now)
            case DueItem() as due:
                held = desk.due(due, now)
                if held is not None and not self._ownership.is_alone:
                    held.is_inherited = False  # its former owner may be alive, and still at work on what it promised
                if held is not None:
                    desk.reclaim(held, now, self._holds)
            case AckItem():
                pass  # the desk has applied what is known

    async def _act(self, applied: Sequence[tuple[Desk, Held]], claimed_at: float, slices: Slices) -> None:
        """After the commit: remember, publish, send."""
        records: list[Record] = []
        published: list[Held] = []
        sends: list[Send] = []
        calls: list[HookCall] = []
        effects: list[tuple[Execution, str, Intent]] = []
        for desk, held in applied:
            await slices.pause()
            execution = held.execution
            self._acks.written(execution.key, held.acked_entries, held.acked_intents)
            self._remember(execution)
            if execution.due_at is not None:
                self.on_due(execution.due_at)
            if execution.outbox:
                records.append(record_of(execution, execution.outbox))
                published.append(held)
            for key in held.promised:
                intent = execution.intents.get(key)
                if intent is None:
                    continue
                if intent.kind == "profile":
                    effects.append((execution, key, intent))
                elif intent.kind == "webhook":
                    calls.append(HookCall(execution, key, intent, desk.profile, claimed_at))
                else:
                    sends.append(self._send(execution, key, intent, desk.profile, claimed_at))
        await self._dispatcher.submit(sends)
        await self._hooks.submit(calls)
        if records:
            await self._log.append(EXECUTION_RECORDS, records)
            moment = time.monotonic()
            for held in published:
                one = held.execution
                entry_ids = [entry.id for entry in one.outbox]
                self._acks.publish(one.key, one.workspace_id, one.subject_id, entry_ids, moment)
        for execution, key, intent in effects:
            await self._apply_to_profile(execution, key, intent)
        if records or effects:
            self._dispatcher.settled.set()

    def _holds(self, effect_id: str) -> bool:
        return self._dispatcher.holds(effect_id) or self._hooks.holds(effect_id)

    def _hasten(self, execution: Execution) -> None:
        """Somebody stands still until this is written."""
        if execution.key not in self._flushed:
            self._flushed.add(execution.key)
            self.submit(execution.workspace_id, execution.subject_id, AckItem(execution.key, self._clock.now_ms()))

    def _send(self, execution: Execution, key: str, intent: Intent, profile: Profile, claimed_at: float) -> Send:
        return send_of(execution, key, intent.channel or "", profile, claimed_at, is_repeat=intent.attempts > 0)

    async def _apply_to_profile(self, execution: Execution, key: str, intent: Intent) -> None:
        effect_id = f"{execution.execution_id}-{key}"
        await self._subjects.apply_effect(
            execution.workspace_id, execution.subject_id, effect_id, dict(intent.values or {})
        )
        now = self._clock.now_ms()
        settled = Settled(key, Result("sent", now))
        self._acks.settle(execution.key, execution.workspace_id, execution.subject_id, settled, time.monotonic())

    # -- ownership

    def _is_ours(self, person: Person) -> bool:
        return self._ownership.is_ours(_slot_of(*person))

    def _drop(self, items: Sequence[Item]) -> None:
        """Forget work that is somebody else's now."""
        for item in items:
            if isinstance(item.payload, AckItem):
                self._acks.forget(item.payload.key)
            if isinstance(item.payload, AckItem | DueItem):
                self._recent.pop(item.payload.key, None)
            if isinstance(item.payload, CommandItem) and item.payload.stored is None:
                item.done.cancel()  # whoever asked has to ask somebody else
        self._finish(items)

    def _unfenced(
        self, needs: Sequence[Asked], loaded: Sequence[tuple[Loaded, SubjectDocument | None]]
    ) -> tuple[list[Asked], list[tuple[Loaded, SubjectDocument | None]], list[Item]]:
        """Those we may plan for, and the items of the others: somebody has a newer epoch than ours, or we have none."""
        kept: list[tuple[Asked, tuple[Loaded, SubjectDocument | None]]] = []
        fenced: list[Item] = []
        for need, found in zip(needs, loaded, strict=True):
            slot = _slot_of(need.subject.workspace, need.subject.end_user_id)
            epoch = self._ownership.epoch(slot)
            is_newer = guards.is_of_a_newer_owner(epoch, found[0].executions.values(), found[0].ledger)
            if epoch and is_newer:
                self._ownership.fenced(slot)
            if not epoch or is_newer:
                fenced.extend(need.items)
            else:
                kept.append((need, found))
        return [need for need, _ in kept], [found for _, found in kept], fenced

    # -- book-keeping

    def _enqueue(self, items: Sequence[Item], *, first: bool = False) -> None:
        for item in items:
            person = (item.workspace, item.end_user_id)
            waiting = self._pending.get(person)
            if waiting is None:
                self._pending[person] = [item]
                if person not in self._busy:
                    self._queues[item.rank].append(person)
                continue
            if all(item.rank < one.rank for one in waiting):
                self._queues[item.rank].append(person)  # is wanted sooner than before
            if first:
                waiting.insert(0, item)
            else:
                waiting.append(item)
        if items:
            self._wake.set()

    def _take(self) -> tuple[dict[Person, list[Item]], bool] | None:
        """The next cycle's people, and whether any of them can wait; None: no cycle is to begin.

        Those whom single events or timers concern come before acknowledgements and a sweep's people. A few of them go
        alone, many take some of the others along; and one cycle of the others is always under way, or nobody would
        come to them on a server that is always busy. Were it two, the place for whoever comes next would be taken.
        """
        free = self._cycles_allowed - len(self._cycles)
        is_owed = bool(self._acked or self._later) and not self._patient
        batch: dict[Person, list[Item]] = {}
        if free > (1 if is_owed else 0) and self._ready:
            self._take_from(self._ready, CYCLE - min(len(self._acked), CYCLE // 2), batch)
            if (wanted := len(batch)) < FEW:
                return batch, False
            self._take_from(self._acked, wanted, batch)
            self._take_from(self._later, BULK_BESIDE, batch)
            return batch, len(batch) > wanted
        is_wanted = bool(self._ready) or self._is_wanted()
        if free > (0 if is_owed else 1) and (is_owed or not is_wanted) and (self._acked or self._later):
            self._take_from(self._acked, BULK_BESIDE if is_wanted else ACKS, batch)
            self._take_from(self._later, BULK_BESIDE if is_wanted else BULK, batch)
            return batch, True
        return None

    def _take_from(self, people: deque[Person], most: int, batch: dict[Person, list[Item]]) -> None:
        count = 0
        while people and count < most:
            person = people.popleft()
            if person in self._busy:
                continue
            items = self._pending.pop(person, None)
            if items and any(isinstance(item.payload, CommandItem) and item.payload.is_forget for item in items):
                self._begin_forgetting(person, items)
            elif items:
                batch[person] = items
                self._busy.add(person)
                count += len(items)

    def _begin_forgetting(self, person: Person, items: list[Item]) -> None:
        self._busy.add(person)
        task = asyncio.create_task(self._forget(person, items))
        self._forgetting.add(task)
        task.add_done_callback(self._forgetting.discard)

    async def _forget(self, person: Person, items: list[Item]) -> None:
        """See to the forgetting alone, outside of cycles: it may take a minute, and nobody else is to wait for it.

        What else waited in the lane comes after it, and meets the mark.
        """
        again: list[Item] = []
        try:
            for item in items:
                if not isinstance(item.payload, CommandItem) or not item.payload.is_forget:
                    again.append(item)
                    continue
                try:
                    await self.on_forget(item.payload)
                    self._finish([item])
                except (StoreUnavailable, LogUnavailable, Unavailable) as error:
                    logger.warning("forget.waits", error=str(error))
                    again.append(item)
                except Exception:  # it is tried again for ever, visibly: the law asks for it
                    logger.exception("forget.failed")
                    again.append(item)
            if any(isinstance(item.payload, CommandItem) and item.payload.is_forget for item in again):
                await asyncio.sleep(1.0)
        finally:
            self._busy.discard(person)
            for item in reversed(again):
                self._enqueue([item], first=True)
            if waiting := self._pending.get(person):
                self._queues[_rank_of(waiting)].append(person)
            self._wake.set()

    def drop(self, keys: Iterable[str]) -> None:
        """These executions are gone."""
        for key in keys:
            self._recent.pop(key, None)
            self._acks.forget(key)

    def effects_under_way(self) -> list[str]:
        """The ids of the sends and calls that are in our hands right now."""
        return [*self._dispatcher.held(), *self._hooks.held()]

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._cycles.discard(task)
        self._patient.discard(task)
        self._wake.set()

    def _finish(self, items: Sequence[Item]) -> None:
        for item in items:
            self.unfinished -= 1
            if not item.done.done():
                item.done.set_result(None)
            if isinstance(item.payload, AckItem):
                self._flushed.discard(item.payload.key)
            if self._seen and isinstance(item.payload, CommandItem):
                seen = self._seen.get(item.payload.command.id)
                if seen is not None and not seen.done():
                    seen.set_result(None)
        self._emptied.set()

    def _worth_trying(self, items: Sequence[Item]) -> list[Item]:
        kept = []
        for item in items:
            item.tries += 1
            if item.tries > MOST_TRIES and not isinstance(item.payload, EventItem | CommandItem):
                # A timer or an acknowledgement is found again by its alarm; a record of the log is never dropped.
                self._finish([item])
            else:
                kept.append(item)
        return kept

    def _remember(self, execution: Execution) -> None:
        if execution.status is Status.REFUSED:
            return
        self._recent[execution.key] = execution
        self._recent.move_to_end(execution.key)
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)

    def _refuse(self, command_id: str, error: Exception) -> None:
        reply = self._replies.get(command_id)
        if reply is not None and not reply.done():
            reply.set_exception(error)

    def _reply(self, result: CommandResult) -> None:
        reply = self._replies.get(result.key)
        if reply is not None and not reply.done():
            reply.set_result(result)


class _Unplannable(Exception):
    """Planning this item failed; the cause says how."""

    def __init__(self, item: Item) -> None:
        super().__init__()
        self.item = item


def _moment_of(item: Item) -> int:
    return item.payload.at


def _rank_of(waiting: Sequence[Item]) -> int:
    """How soon a person is wanted: as soon as what of theirs is wanted soonest."""
    return min(item.rank for item in waiting)


async def _nobody_forgets(item: CommandItem) -> None:
    raise Unavailable("Nobody here forgets anybody.")


def _slot_of(workspace: str, end_user_id: str) -> int:
    """Where a lane's records lie: nobody's event lies, and so is handled, where its own id sends it."""
    return slot_of(workspace, end_user_id.removeprefix("\x00"))


def _unrecorded(items: Sequence[Item]) -> list[EventRecord]:
    """Records that nobody wrote yet, each once: a repeat of one key in a bulk would stop all of its neighbours."""
    found: dict[str, EventRecord] = {}
    for item in items:
        if isinstance(item.payload, EventItem) and not item.payload.is_recorded:
            found.setdefault(item.payload.record.key, item.payload.record)
    return list(found.values())


def _first_answers(results: Sequence[CommandResult]) -> list[CommandResult]:
    """The first reply to each command: one that stands in the log twice (its event was read again after a crash) may
    be asked twice in one cycle.
    """
    found: dict[str, CommandResult] = {}
    for result in results:
        found.setdefault(result.key, result)
    return list(found.values())
