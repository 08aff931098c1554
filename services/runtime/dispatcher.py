"""Effects on the world: sends whose intent is durable.

Law: nothing is called that no written intent asks for; the message's insert is the gate before the call; a
call in doubt ends as its sender promises. A slow or failing provider never holds the log.
Source: runtime design 7.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
import structlog

from services.domain.execution.execution import LEASE_MS, Entry, Execution, Result
from services.domain.execution.triggers import Profile, Settled
from services.domain.messaging.masking import masked_address
from services.domain.messaging.retry import RetryAt, retry_schedule
from services.infra.clock import Clock
from services.infra.documents.port import Delete, Documents, Insert, Outcome, Replace, StoreUnavailable, Write
from services.infra.liquid import render
from services.infra.log.port import Log, LogUnavailable, Record
from services.runtime import guards
from services.runtime.acks import Acks
from services.runtime.catalog import Catalog
from services.runtime.collections import EXECUTION_RECORDS, MESSAGES, MessageDocument
from services.runtime.erasure_documents import Erasure, Marks
from services.runtime.gaps import Gaps
from services.runtime.records import record_of
from services.runtime.rendering import CannotRender, outgoing
from services.runtime.senders.choice import Senders
from services.runtime.senders.outcomes import Temporary
from services.runtime.senders.port import OutgoingMessage, Promise, Sender, SendFailed
from services.runtime.work import CLOSE_SECONDS

BATCH = 500
CAPACITY = 10_000
logger = structlog.get_logger(__name__)
Links = Callable[[str, str, str, int], str]  # workspace, end user, channel, now in ms -> the preferences page


@dataclass(frozen=True, slots=True)
class Send:
    """One claimed intent. `is_repeat`: its lease ran out before, so the message store is asked first."""

    execution: Execution
    intent: str
    step_id: str
    channel: str
    profile: Profile
    claimed_at: float
    is_repeat: bool
    # What its texts print and nobody has, once they are rendered.
    missing: dict[str, None] = field(default_factory=dict, compare=False)

    @property
    def attempts(self) -> int:
        """How many calls there have been, this one included."""
        intent = self.execution.intents.get(self.intent)
        return 1 if intent is None else intent.attempts + 1

    @property
    def send_id(self) -> str:
        """`<executionId>-<stepId>-<visit>`."""
        return f"{self.execution.execution_id}-{self.intent}"


@dataclass(slots=True)
class _Ended:
    send: Send
    state: str
    at: int
    reason: str | None = None


_Call = tuple[Send, OutgoingMessage, MessageDocument]


class Dispatcher:
    """Takes claimed sends and settles them, in batches."""

    def __init__(
        self,
        documents: Documents,
        log: Log,
        catalog: Catalog,
        clock: Clock,
        acks: Acks,
        senders: Senders,
        given: Mapping[str, Sender] | None = None,
        links: Links = lambda workspace, end_user_id, channel, now_ms: "",
        marks: Marks | None = None,
        gaps: Gaps | None = None,
    ) -> None:
        self._gaps = gaps or Gaps()
        self._documents = documents
        self._log = log
        self._catalog = catalog
        self._clock = clock
        self._acks = acks
        self._given = dict(given or {})
        self._senders = senders
        self._links = links
        self._marks = marks
        self._queue: deque[Send] = deque()
        self._held: set[str] = set()
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._calls: set[asyncio.Task[None]] = set()
        self._is_closing = False
        self.settled = asyncio.Event()  # set when an acknowledgement was noted
        self.on_settled: Callable[[Execution], None] = lambda execution: None  # told of every send that is waited for

    def holds(self, send_id: str) -> bool:
        """Whether that send is in our hands right now."""
        return send_id in self._held

    def held(self) -> frozenset[str]:
        """The ids of those sends."""
        return frozenset(self._held)

    def is_idle(self) -> bool:
        """Nothing queued, nothing under way."""
        return not self._held

    async def submit(self, sends: list[Send]) -> None:
        """Take claimed sends; waits while as many as we may hold are queued or under way."""
        if not sends:
            return
        await self._room.wait()
        for send in sends:
            self._held.add(send.send_id)
        self._queue.extend(sends)
        if len(self._held) >= CAPACITY:
            self._room.clear()
        self._filled.set()

    async def run(self) -> None:
        """Settle batch after batch, until cancelled."""
        while True:
            await self._filled.wait()
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            if not self._queue:
                self._filled.clear()
            try:
                await self._settle(batch)
            except (StoreUnavailable, LogUnavailable) as error:
                # The intents keep their leases: they are found again when these run out.
                logger.warning("dispatch.unavailable", sends=len(batch), error=str(error))
                self._release(batch)
                await asyncio.sleep(0.2)

    async def close(self) -> None:
        """Begin no further call; let those under way end."""
        self._is_closing = True
        if self._calls:
            await asyncio.wait(self._calls, timeout=CLOSE_SECONDS)

    def _begin(self, call: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(call)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _settle(self, batch: list[Send]) -> None:
        late = {send.send_id for send in batch if self._is_late(send)}
        if late:
            self._release([send for send in batch if send.send_id in late])
            batch = [send for send in batch if send.send_id not in late]
        batch = await self._without_the_forgotten(batch)
        ended: list[_Ended] = []
        repeats = [send.send_id for send in batch if send.is_repeat]
        known = await self._documents.get_many(MESSAGES, repeats) if repeats else {}
        own: list[tuple[Send, MessageDocument]] = []
        calls: list[_Call] = []
        for send in batch:
            sender = self._sender(send)
            message = known.get(send.send_id)
            if not guards.may_call(message) and message is not None:
                if message.status != "sending":
                    ended.append(_Ended(send, message.status, message.sent_at or message.at, message.reason))
                    continue
                if sender.promise is Promise.AT_MOST_ONCE and not message.is_refused_for_now:
                    ended.append(await self._give_up(send, message))
                    continue
            try:
                rendered = self._render(send)
            except CannotRender as error:
                document = self._document(send, None, "failed", str(error))
                own.append((send, document))
                continue
            if sender.promise is Promise.OWN_STORE:
                own.append((send, self._document(send, rendered, "sent", None)))
            else:
                calls.append((send, rendered, message or self._document(send, rendered, "sending", None)))
        ended += await self._keep(own)
        await self._finish(ended)
        for sender in {id(self._sender(call[0])): self._sender(call[0]) for call in calls}.values():
            mine = [call for call in calls if self._sender(call[0]) is sender]
            self._begin(self._call_in_turn(sender, mine, known))

    async def _without_the_forgotten(self, batch: list[Send]) -> list[Send]:
        """Looked at before the gate insert: what was promised to somebody who was forgotten since is not kept."""
        if self._marks is None or not batch:
            return batch
        marks = await self._marks.among(send.execution.subject_key for send in batch)
        gone = [send for send in batch if _is_gone(send, marks)] if marks else []
        self._release(gone)
        return [send for send in batch if send not in gone] if gone else batch

    async def _keep(self, own: list[tuple[Send, MessageDocument]]) -> list[_Ended]:
        """Messages whose insert is the whole send, or that failed before any call."""
        if not own:
            return []
        outcomes = await self._documents.write_many([Insert(MESSAGES, document) for _, document in own])
        ended = []
        for (send, document), outcome in zip(own, outcomes, strict=True):
            if outcome in (Outcome.APPLIED, Outcome.DUPLICATE):
                ended.append(_Ended(send, document.status, document.sent_at or document.at, document.reason))
            else:
                self._release([send])
        return ended

    async def _call_in_turn(self, sender: Sender, calls: Sequence[_Call], known: Mapping[str, MessageDocument]) -> None:
        """Pass the gate and call, as many side by side as the sender takes, outside the log's way.

        A message whose gate is shut has to be called: those that would have to queue keep theirs open.
        """
        for first in range(0, len(calls), sender.at_once):
            ripe: list[_Call] = []
            for call in calls[first : first + sender.at_once]:
                if self._is_closing or self._is_late(call[0]):
                    self._release([call[0]])
                else:
                    ripe.append(call)
            try:
                passed = await self._through_the_gate(ripe, known)
            except StoreUnavailable as error:
                logger.warning("dispatch.unavailable", sends=len(ripe), error=str(error))
                self._release([call[0] for call in ripe])
                continue
            await asyncio.gather(*(self._call_one(sender, *call) for call in passed))

    async def _through_the_gate(self, calls: Sequence[_Call], known: Mapping[str, MessageDocument]) -> list[_Call]:
        writes: list[Write] = []
        gated: list[_Call] = []
        passed: list[_Call] = []
        for send, message, document in calls:
            before = known.get(send.send_id)
            if before is None:
                writes.append(Insert(MESSAGES, document))
                gated.append((send, message, document))
            elif before.is_refused_for_now:
                # It may be called again, but only once the gate is shut behind us.
                shut = _changed(before, is_refused_for_now=False)
                writes.append(Replace(MESSAGES, shut))
                gated.append((send, message, shut))
            else:
                passed.append((send, message, document))  # at least once: the same key again
        outcomes = await self._documents.write_many(writes) if writes else []
        for call, outcome in zip(gated, outcomes, strict=True):
            if outcome is Outcome.APPLIED:
                passed.append(call)
            else:
                self._release([call[0]])
        return passed

    async def _call_one(self, sender: Sender, send: Send, message: OutgoingMessage, document: MessageDocument) -> None:
        state, reason = "sent", None
        try:
            try:
                await sender.send(message)
            except SendFailed as error:
                state, reason = "failed", str(error)
            except Temporary as refusal:
                now = self._clock.now_ms()
                match retry_schedule(send.attempts, document.at, now, refusal.retry_after):
                    case RetryAt(at=again_at):
                        await self._put_off(send, document, again_at, refusal.reason)
                        return
                    case _:
                        state, reason = "failed", refusal.reason
            except Exception as error:  # noqa: BLE001  # a vendor's fault of any kind leaves the call in doubt
                logger.warning("send.in_doubt", send_id=send.send_id, error=type(error).__name__)
                if sender.promise is Promise.AT_LEAST_ONCE:
                    self._release([send])  # the lease runs out, then again under the same key
                    return
                state, reason = "unknown", type(error).__name__
            at = self._clock.now_ms()
            await self._update(document, state, at, reason)
            await self._finish([_Ended(send, state, at, reason)])
        except (StoreUnavailable, LogUnavailable):
            self._release([send])

    async def _put_off(self, send: Send, document: MessageDocument, again_at: int, reason: str) -> None:
        """Certainly not sent: the gate opens again, and the intent waits for its turn in its execution."""
        await self._documents.write_many(
            [Replace(MESSAGES, _changed(document, is_refused_for_now=True, reason=reason))]
        )
        one, now = send.execution, self._clock.now_ms()
        settled = Settled(send.intent, Result("failed", now, reason), retry_at=again_at)
        self._acks.settle(one.key, one.workspace_id, one.subject_id, settled, time.monotonic())
        self._release([send])
        self.settled.set()

    async def _give_up(self, send: Send, message: MessageDocument) -> _Ended:
        """Somebody called and nobody knows how it ended: say so, for ever."""
        at = self._clock.now_ms()
        await self._update(message, "unknown", at, "in_doubt")
        return _Ended(send, "unknown", at, "in_doubt")

    async def _update(self, document: MessageDocument, state: str, at: int, reason: str | None) -> None:
        while True:
            changed = msgspec.structs.replace(
                document,
                status=state,
                sent_at=at if state == "sent" else None,
                reason=reason,
                revision=document.revision + 1,
            )
            [outcome] = await self._documents.write_many([Replace(MESSAGES, changed)])
            if outcome is not Outcome.CONFLICT:
                return
            # A provider's feedback came before the provider's answer.
            current = await self._documents.get(MESSAGES, document.key)
            if current is None or current.status != "sending":
                return
            document = current

    async def _finish(self, ended: list[_Ended]) -> None:
        """Publish what became of the sends, then note it for the executions' next write."""
        if self._marks is not None:
            late = [one for one in ended if await self._was_forgotten(one.send.execution, self._marks)]
            await self._forget_again([one.send for one in late])
            ended = [one for one in ended if one not in late]
        if not ended:
            return
        records: list[Record] = []
        notes: list[tuple[_Ended, Entry]] = []
        for one in ended:
            send = one.send
            detail: dict[str, Any] = {"channel": send.channel, "messageId": send.send_id}
            if one.reason is not None:
                detail["reason"] = one.reason
            detail |= self._gaps.told(send.missing)
            action = {"sent": "send.executed", "failed": "send.failed"}.get(one.state, "send.unknown")
            entry = Entry(f"{send.send_id}:{one.state}", one.at, send.step_id, action, detail)
            notes.append((one, entry))
            records.append(record_of(send.execution, [entry], {send.intent: one.state}))
        await self._log.append(EXECUTION_RECORDS, records)
        now = time.monotonic()
        for one, entry in notes:
            execution = one.send.execution
            settled = Settled(one.send.intent, Result(one.state, one.at, one.reason), entry)
            self._acks.settle(execution.key, execution.workspace_id, execution.subject_id, settled, now)
            if execution.wait is not None and execution.wait.intent == one.send.intent:
                self.on_settled(execution)
        self._release([one.send for one, _ in notes])
        self.settled.set()

    async def _was_forgotten(self, execution: Execution, marks: Marks) -> bool:
        return await marks.is_gone(execution.subject_key, execution.started_at)

    async def _forget_again(self, sends: list[Send]) -> None:
        """They were under way while their person was forgotten: their messages go as well."""
        if sends:
            await self._documents.write_many([Delete(MESSAGES, send.send_id) for send in sends])
            self._release(sends)

    def _render(self, send: Send) -> OutgoingMessage:
        execution = send.execution
        version = self._catalog.version(execution.workspace_id, execution.journey_id, execution.journey_version)
        step = version.steps.get(send.step_id) if version else None
        communication = getattr(step, "communication_id", "")
        pinned = self._catalog.communication(
            execution.workspace_id, execution.journey_id, execution.journey_version, communication
        )
        if pinned is None or version is None:
            raise CannotRender(f"the version pins no communication {communication!r}")
        now = self._clock.now_ms()
        link = self._links(execution.workspace_id, execution.subject_id, send.channel, now)
        fill = partial(render, missing=send.missing)
        return outgoing(
            execution, send.send_id, send.step_id, send.channel, pinned, send.profile, version.name, now, link, fill
        )

    def _document(
        self, send: Send, message: OutgoingMessage | None, status: str, reason: str | None
    ) -> MessageDocument:
        execution, now = send.execution, self._clock.now_ms()
        return MessageDocument(
            key=send.send_id,
            workspace=execution.workspace_id,
            journey_id=execution.journey_id,
            journey_version=execution.journey_version,
            execution_id=execution.execution_id,
            subject_key=execution.subject_key,
            end_user_id=execution.subject_id,
            step_id=send.step_id,
            channel=send.channel,
            status=status,
            to=", ".join(masked_address(one) for one in message.to) if message else "",
            at=now,
            subject=message.subject if message else "",
            body=message.body if message else "",
            text=message.text if message else "",
            title=message.title if message else "",
            data=dict(message.data) if message else {},
            addresses=message.to if message else (),
            sent_at=now if status == "sent" else None,
            reason=reason,
        )

    def _sender(self, send: Send) -> Sender:
        """What the process was given for the channel, else what the workspace has set."""
        given = self._given.get(send.channel)
        if given is not None:
            return given
        info = self._catalog.workspace(send.execution.workspace_id)
        return self._senders.of(info.settings.get("senders") if info else None, send.channel)

    def _is_late(self, send: Send) -> bool:
        """Too late to begin: the lease is found again when it runs out."""
        return not guards.may_still_act(send.claimed_at, time.monotonic(), LEASE_MS / 1000)

    def _release(self, sends: list[Send]) -> None:
        for send in sends:
            self._held.discard(send.send_id)
        if len(self._held) < CAPACITY:
            self._room.set()


def _changed(document: MessageDocument, **members: Any) -> MessageDocument:
    return msgspec.structs.replace(document, revision=document.revision + 1, **members)


def send_of(
    execution: Execution, intent: str, channel: str, profile: Profile, claimed_at: float, is_repeat: bool
) -> Send:
    """The send that an intent of an execution asks for."""
    step_id = execution.intents[intent].step_id
    return Send(execution, intent, step_id, channel, profile, claimed_at, is_repeat)


def _is_gone(send: Send, marks: Mapping[str, Erasure]) -> bool:
    mark = marks.get(send.execution.subject_key)
    return mark is not None and send.execution.started_at < mark.known_from
