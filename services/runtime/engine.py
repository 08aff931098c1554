"""The lanes: load, plan, commit, act, batch after batch.

Law: one person's items are never in two cycles at once. A cycle writes first and acts afterwards: outbox to the
log, sends to the dispatcher, profile updates to the profile. The engine contains no `if` about journeys.
Source: runtime design 4, 6 and 7.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

import structlog

from services.domain.execution.execution import Execution, Intent, Result
from services.domain.execution.lifecycle import Status
from services.domain.execution.triggers import Profile, Settled
from services.infra.clock import Clock
from services.infra.documents.port import Documents, Insert, Outcome, StoreUnavailable, Write
from services.infra.log.port import Log, LogUnavailable, Record
from services.runtime.acks import Acks
from services.runtime.catalog import Catalog
from services.runtime.collections import (
    COMMAND_RESULTS,
    EVENT_RECORDS,
    EXECUTION_RECORDS,
    CommandResult,
    EventRecord,
)
from services.runtime.desk import Desk, Held, RenderAt
from services.runtime.dispatcher import Dispatcher, Send, send_of
from services.runtime.hook_calls import HookCall, HookCalls
from services.runtime.lanes import subject_of
from services.runtime.loading import Asked, asked, load
from services.runtime.ownership import Ownership
from services.runtime.rates import Rates
from services.runtime.records import record_of
from services.runtime.subject_documents import SUBJECTS, SubjectDocument, empty_subject
from services.runtime.subjects import Subjects
from services.runtime.work import CLOSE_SECONDS, AckItem, CommandItem, DueItem, EventItem, Item, Payload

CYCLE = 500
CYCLES_IN_FLIGHT = 3
RECENT = 5_000
ACK_SECONDS = 1.0
MOST_TRIES = 50
MOST_UNFINISHED = 4_000
logger = structlog.get_logger(__name__)
Person = tuple[str, str]


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
        hooks.on_settled = self._hasten
        self._subjects = subjects
        self._acks = acks
        self._ownership = ownership
        self._render = render
        self._rates = Rates()
        self._pending: dict[Person, list[Item]] = {}
        self._ready: deque[Person] = deque()
        self._busy: set[Person] = set()
        self._cycles: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._emptied = asyncio.Event()
        self._recent: OrderedDict[str, Execution] = OrderedDict()
        self._flushed: set[str] = set()  # keys whose acknowledgements are on their way
        self._replies: dict[str, asyncio.Future[CommandResult]] = {}
        self.on_due: Callable[[int], None] = lambda due_at: None  # told of every alarm that was written
        self.unfinished = 0

    # -- asking

    def submit(self, workspace: str, end_user_id: str, payload: Payload) -> "asyncio.Future[None]":
        """Queue one item; the future ends when it needs no more care."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        item = Item(workspace, end_user_id, payload, done)
        self.unfinished += 1
        self._enqueue([item])
        return done

    def expect(self, command_id: str) -> "asyncio.Future[CommandResult]":
        """The reply to a command that is about to be appended."""
        reply: asyncio.Future[CommandResult] = asyncio.get_running_loop().create_future()
        self._replies[command_id] = reply
        reply.add_done_callback(lambda _: self._replies.pop(command_id, None))
        return reply

    def is_idle(self) -> bool:
        """Nothing queued, planned, acted on or waiting to be acknowledged."""
        is_acting = not (self._dispatcher.is_idle() and self._hooks.is_idle())
        return self.unfinished == 0 and not self._cycles and not is_acting and not len(self._acks)

    async def room(self) -> None:
        """Wait while the lanes are full: what is not taken stays in the log."""
        while self.unfinished > MOST_UNFINISHED:
            self._emptied.clear()
            await self._emptied.wait()

    def has_followed_up(self, key: str) -> bool:
        """Whether nothing that was learned of an execution waits to be written."""
        return self._acks.of(key) is None

    # -- running

    async def run(self) -> None:
        """Start cycles while there is work and room, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._ready and len(self._cycles) < CYCLES_IN_FLIGHT:
                batch = self._take()
                task = asyncio.create_task(self._cycle(batch))
                self._cycles.add(task)
                task.add_done_callback(self._ended)

    async def flush_acks(self) -> None:
        """Write acknowledgements that nothing else carried within a second, until cancelled."""
        while True:
            await self._dispatcher.settled.wait()
            self._dispatcher.settled.clear()
            while len(self._acks):
                await asyncio.sleep(ACK_SECONDS / 4)
                self.flush(time.monotonic() - ACK_SECONDS)

    def flush(self, before: float) -> None:
        """Queue writes for the acknowledgements known since before that moment (monotonic seconds)."""
        for key, ack in self._acks.ripe(before, 4 * CYCLE):
            if key not in self._flushed:
                self._flushed.add(key)
                done = self.submit(ack.workspace, ack.end_user_id, AckItem(key, self._clock.now_ms()))
                done.add_done_callback(lambda _, key=key: self._flushed.discard(key))  # type: ignore[misc]

    def kill(self) -> None:
        """Drop cycles in flight where they stand."""
        for cycle in self._cycles:
            cycle.cancel()

    async def close(self) -> None:
        """Let cycles in flight end."""
        if self._cycles:
            await asyncio.wait(self._cycles, timeout=CLOSE_SECONDS)

    # -- one cycle

    async def _cycle(self, batch: dict[Person, list[Item]]) -> None:
        again: list[Item] = []
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
                if self._pending.get(person) and person not in self._ready:
                    self._ready.append(person)
            self._wake.set()

    async def _work(self, batch: dict[Person, list[Item]]) -> list[Item]:
        """Load, plan, commit, act. Returns items to be planned again."""
        needs: list[Asked] = []
        for (workspace, end_user_id), items in batch.items():
            info = self._catalog.workspace(workspace)
            if info is None:
                self._finish(items)  # a workspace that does not exist: the intake has dead-lettered its events
                continue
            subject = subject_of(workspace, info.subject_secret, end_user_id)
            certain = self._ownership.is_certain(items)
            needs.append(asked(subject, info, items, self._catalog, certain))
        now = self._clock.now_ms()
        loaded = await load(self._documents, self._catalog, needs, self._recent, now)
        claimed_at = time.monotonic()
        desks: list[tuple[Asked, Desk, SubjectDocument | None]] = []
        for need, (read, profile) in zip(needs, loaded, strict=True):
            epoch = self._ownership.epoch(need.subject.slot)
            desk = Desk(read, self._catalog, self._render, self._acks, self._rates, epoch, now)
            self._plan(need, desk, now)
            desks.append((need, desk, profile))
        lost = await self._take_places([desk for _, desk, _ in desks])
        applied = await self._commit([one for one in desks if one[1] not in lost], lost, now)
        await self._act(applied, claimed_at)
        again: list[Item] = []
        for need, desk, _ in desks:
            if desk in lost:
                again.extend(need.items)
                continue
            for result in desk.results:
                self._reply(result)
            self._finish(need.items)
        return again

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
        self, desks: Sequence[tuple[Asked, Desk, SubjectDocument | None]], lost: set[Desk], now: int
    ) -> list[tuple[Desk, Held]]:
        """One guarded write per execution, all in one bulk; those applied. Desks with another outcome are lost."""
        writes: list[Write] = []
        owners: list[tuple[Desk, Held] | None] = []
        for need, desk, profile in desks:
            changed = desk.writes()
            for held, write in changed:
                writes.append(write)
                owners.append((desk, held))
            extra: list[Write] = [Insert(EVENT_RECORDS, record) for record in _unrecorded(need.items)]
            extra.extend(Insert(COMMAND_RESULTS, result) for result in _first_answers(desk.results))
            if profile is None and any(not held.stored and held.execution.refusal is None for held, _ in changed):
                extra.append(Insert(SUBJECTS, empty_subject(need.subject.workspace, need.subject.end_user_id, now)))
            writes.extend(extra)
            owners.extend([None] * len(extra))
        outcomes = await self._documents.write_many(writes) if writes else []
        applied: list[tuple[Desk, Held]] = []
        for owner, outcome in zip(owners, outcomes, strict=True):
            if owner is None:
                continue
            desk, held = owner
            if outcome is Outcome.APPLIED:
                applied.append((desk, held))
            elif outcome is not Outcome.DUPLICATE or desk.results:
                # A start by event that was decided before is decided. One that somebody waits for is planned
                # again: with the former decision loaded it answers `duplicate`.
                lost.add(desk)
                self._recent.pop(held.execution.key, None)
        return applied

    def _plan(self, need: Asked, desk: Desk, now: int) -> None:
        for item in sorted(need.items, key=lambda item: item.payload.at):
            match item.payload:
                case EventItem() as event:
                    desk.event(event)
                case CommandItem() as command:
                    desk.command(command, now)
                case DueItem() as due:
                    held = desk.due(due, now)
                    if held is not None:
                        desk.reclaim(held, now, self._holds)
                case AckItem():
                    pass  # the desk has applied what is known

    async def _act(self, applied: Sequence[tuple[Desk, Held]], claimed_at: float) -> None:
        """After the commit: remember, publish, send."""
        records: list[Record] = []
        published: list[Held] = []
        sends: list[Send] = []
        calls: list[HookCall] = []
        effects: list[tuple[Execution, str, Intent]] = []
        for desk, held in applied:
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
        self._hooks.submit(calls)
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
            done = self.submit(
                execution.workspace_id, execution.subject_id, AckItem(execution.key, self._clock.now_ms())
            )
            done.add_done_callback(lambda _: self._flushed.discard(execution.key))

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

    # -- book-keeping

    def _enqueue(self, items: Sequence[Item], *, first: bool = False) -> None:
        for item in items:
            person = (item.workspace, item.end_user_id)
            waiting = self._pending.get(person)
            if waiting is None:
                self._pending[person] = [item]
                if person not in self._busy:
                    self._ready.append(person)
            elif first:
                waiting.insert(0, item)
            else:
                waiting.append(item)
        if items:
            self._wake.set()

    def _take(self) -> dict[Person, list[Item]]:
        batch: dict[Person, list[Item]] = {}
        count = 0
        while self._ready and count < CYCLE:
            person = self._ready.popleft()
            if person in self._busy:
                continue
            items = self._pending.pop(person, None)
            if items:
                batch[person] = items
                self._busy.add(person)
                count += len(items)
        return batch

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._cycles.discard(task)
        self._wake.set()

    def _finish(self, items: Sequence[Item]) -> None:
        for item in items:
            self.unfinished -= 1
            if not item.done.done():
                item.done.set_result(None)
        if self.unfinished <= MOST_UNFINISHED:
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

    def _reply(self, result: CommandResult) -> None:
        reply = self._replies.get(result.key)
        if reply is not None and not reply.done():
            reply.set_result(result)


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
