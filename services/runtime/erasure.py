"""Forgetting a person: everything readable goes, counts stay, a keyed mark and a receipt remain.

Law: the mark comes first, and from then on the lane takes nothing of the person in. What is removed is counted
before it is removed, so a crash changes no count. Each phase may be done again from its beginning, and knows the
person by their keyed hash alone; the id is in the command, which the log keeps until the phase that erases it there.

    count -> delete -> elsewhere -> log -> tell -> scrub -> done ... looked at again after 10 minutes and 24 hours

A command that was not finished is read again after a restart. Once its own record may be gone (from `log` on) the
receipt is found by `run`, which also looks again for what a process added that did not know of the mark yet. That is
housekeeping: it keeps nobody from moving a clock on. Source: runtime design 12; contract 6.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from uuid import uuid4
from weakref import WeakValueDictionary

import msgspec
import structlog
from journeys.events.v1.authoring_record_pb2 import AuditRecord
from journeys.events.v1.command_record_pb2 import CommandRecord, ForgetCommand

from services.domain.errors import Invalid, Late, Missing, Unavailable
from services.domain.execution.eligibility import normal
from services.domain.execution.execution import FOREVER, Execution
from services.domain.execution.lifecycle import Status
from services.domain.mentions import Person
from services.infra.clock import Clock
from services.infra.documents import newer
from services.infra.documents.port import (
    Collection,
    Delete,
    Documents,
    Insert,
    NewerDocument,
    Outcome,
    Replace,
    StoreUnavailable,
    Write,
)
from services.infra.log.port import Log, LogUnavailable, Place, Record
from services.infra.patience import patiently
from services.runtime.acts import SYSTEM, Acts
from services.runtime.catalog import Catalog, WorkspaceInfo
from services.runtime.collections import (
    AUDIT,
    COLLECTIONS,
    COMMAND_RESULTS,
    COMMANDS,
    EVENT_RECORDS,
    EVENTS,
    EXECUTION_RECORDS,
    EXECUTIONS,
    LEDGERS,
    MESSAGES,
    EventRecord,
)
from services.runtime.engine import Engine
from services.runtime.erasure_documents import (
    DONE,
    ERASURES,
    HIDDEN_SUPPRESSIONS,
    RECEIPTS,
    SPENT_EVENTS,
    Erasure,
    HiddenSuppression,
    Marks,
    Receipt,
    SpentEvent,
    hidden_key,
    spent_key,
    start_of,
)
from services.runtime.erasure_log import LogEraser
from services.runtime.lanes import Subject, log_key, subject_of
from services.runtime.profiles import end_user_id_fault
from services.runtime.records import record_of
from services.runtime.subject_documents import SUBJECTS, SUPPRESSIONS, subject_document_key, suppression_key
from services.runtime.work import CommandItem

PAGE: Final = 300  # others wait for a page: 10 ms; with 500 it was 40 ms on a busy machine
ANSWER_SECONDS: Final = 110.0  # a hundred thousand executions take half of it
EFFECT_SECONDS: Final = 5.0  # how long a send that is under way is waited for
RECHECK_MS: Final = (600_000, 86_400_000)  # after the forgetting
IN_APP: Final = "in_app_push"
_LATE: Final = frozenset({"log", "tell", "scrub"})  # the command may be gone from the log
_BY_SUBJECT: Final = tuple(one for one in COLLECTIONS if any(index.name == "by_subject" for index in one.indexes))
_HIDDEN: Final = frozenset({Status.REFUSED, Status.HOLDOUT})  # decisions, but no executions anybody was shown
T = TypeVar("T")
logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the other services are asked. `is_again`: a later look, when lists are their authors' own again."""

    receipt_id: str
    person: Person
    address_hashes: Sequence[str]
    is_again: bool


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What the other services removed."""

    audience_entries: int = 0
    audit_entries: int = 0
    answers: int = 0  # that were kept for repeats of a request


class Erasures:
    """Forgets people. `elsewhere` asks the other services; it may raise Unavailable, and is asked again."""

    def __init__(
        self,
        documents: Documents,
        log: Log,
        catalog: Catalog,
        clock: Clock,
        *,
        marks: Marks,
        engine: Engine,
        acts: Acts,
        elsewhere: Callable[[Asked], Awaitable[Elsewhere]],
    ) -> None:
        self._documents = documents
        self._log = log
        self._catalog = catalog
        self._clock = clock
        self._marks = marks
        self._engine = engine
        self._acts = acts
        self._elsewhere = elsewhere
        self._erase_log = LogEraser(log)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._wake = asyncio.Event()
        self._progress = asyncio.Event()
        self._at_work = 0
        self._has_resumed = False

    # -- asking

    async def __call__(self, workspace: str, end_user_id: str) -> tuple[Receipt, bool]:
        """Forget the person: the receipt, and whether it was made for this call. Raises Missing, Invalid, Late."""
        info = await self._catalog.known(workspace)
        if info is None:
            raise Missing("workspace", workspace)
        if fault := end_user_id_fault(end_user_id):
            raise Invalid("validation_error", "That is no end user's id.", [fault])
        subject = subject_of(workspace, info.subject_secret, end_user_id)
        receipt_id = f"fgt-{uuid4().hex}"
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if await self._standing(subject.key) is None:
                    command = CommandRecord(
                        id=receipt_id,
                        workspace=workspace,
                        end_user_id=end_user_id,
                        forget=ForgetCommand(receipt_id=receipt_id),
                    )
                    key = log_key(workspace, end_user_id)
                    await self._log.append(COMMANDS, [Record(key, command.SerializeToString())])
                while True:
                    receipt = await self._standing(subject.key)
                    if receipt is not None and receipt.phase == DONE:
                        return receipt, receipt.key == receipt_id
                    # The lane may be another process's, so the store is asked as well.
                    try:
                        await asyncio.wait_for(self._progress.wait(), 0.25)
                    except TimeoutError:
                        pass
        except TimeoutError:
            raise Late("The person is being forgotten; ask again.") from None

    async def receipt(self, receipt_id: str) -> tuple[Receipt, int, int | None]:
        """A receipt, how many documents of that person there are now, since when they are known again.

        Raises Missing.
        """
        receipt = await self._documents.get(RECEIPTS, receipt_id)
        if receipt is None:
            raise Missing("receipt", receipt_id)
        mark = await self._documents.get(ERASURES, receipt.subject_key)
        remaining = int(await self._documents.get(LEDGERS, receipt.subject_key) is not None)
        for collection in _BY_SUBJECT:
            remaining += await self._count_of(collection, receipt.subject_key)
        return receipt, remaining, mark.reinstated_at if mark is not None else None

    # -- doing

    async def in_lane(self, item: CommandItem) -> None:
        """See a command through, in its person's lane. Raises StoreUnavailable, LogUnavailable, Unavailable."""
        command = item.command
        info = await self._catalog.known(command.workspace)
        if info is None:
            return
        subject = subject_of(command.workspace, info.subject_secret, command.end_user_id)
        # What a newer version wrote of the person has to go too: until somebody can read it, the forgetting waits.
        with newer.refused(), patiently():
            async with self._turn(subject.key):
                receipt = await self._begun(subject, command.forget.receipt_id)
                await self._through(receipt, info, subject.end_user_id)

    async def run(self) -> None:
        """Finish what a former process left, and look again at what was forgotten, until cancelled."""
        while True:
            try:
                self._wake.clear()
                next_at = await self.look()
            except (StoreUnavailable, LogUnavailable, Unavailable) as error:
                logger.warning("erasures.wait", error=str(error))
                await asyncio.sleep(1.0)
            except Exception:  # the outermost loop: one receipt that cannot be seen to stops nothing else
                logger.exception("erasures.failed")
                await asyncio.sleep(1.0)
            else:
                await self._clock.wait(self._wake, next_at)

    async def look(self) -> int | None:
        """Do what is due now; when something will be due next."""
        cursor: str | None = None
        waiting: NewerDocument | None = None
        while True:
            high = None if not self._has_resumed else self._clock.now_ms() + 1
            page = await self._documents.scan(RECEIPTS, "due", high=high, after=cursor, limit=PAGE)
            for receipt in page.items:
                try:
                    with newer.refused(), patiently():
                        await self._look_at(receipt)
                except NewerDocument as error:
                    waiting = error  # nobody else waits with it
            if (cursor := page.cursor) is None:
                break
        if waiting is not None:
            raise waiting
        self._has_resumed = True
        first = await self._documents.scan(RECEIPTS, "due", limit=1)
        return first.items[0].next_at if first.items else None

    def idle(self) -> bool:
        """Whether nobody is being forgotten right now."""
        return self._at_work == 0

    async def _look_at(self, seen: Receipt) -> None:
        info = await self._catalog.known(seen.workspace)
        if info is None:
            return
        async with self._turn(seen.subject_key):
            receipt = await self._documents.get(RECEIPTS, seen.key)
            if receipt is None or receipt.next_at is None:
                return
            if receipt.phase in _LATE:
                receipt = await self._through(receipt, info, None)
            if receipt.next_at is not None and receipt.next_at <= self._clock.now_ms():
                await self._again(receipt, info)

    async def _again(self, receipt: Receipt, info: WorkspaceInfo) -> None:
        """Look for what came from somebody who did not know of the mark yet."""
        mark = await self._documents.get(ERASURES, receipt.subject_key)
        person = _person(receipt, info)
        if mark is not None and mark.reinstated_at is None and mark.receipt_id == receipt.key:
            found = await self._delete_all(person, None, set())
            other = await self._elsewhere(Asked(receipt.key, person, (), is_again=True))
            erased, _ = await self._erase_log(person)
            if found or erased or other.answers:
                logger.warning("erasures.found_more", documents=found, records=erased, answers=other.answers)
                await asyncio.gather(self._documents.scrub(), self._log.scrub())
        later = [at for ms in RECHECK_MS if (at := receipt.forgotten_at + ms) > self._clock.now_ms()]
        await self._save(receipt, next_at=min(later, default=None))

    async def _begun(self, subject: Subject, receipt_id: str) -> Receipt:
        """The receipt of a person who is forgotten now; made, with the mark, where there is none."""
        while True:
            mark = await self._documents.get(ERASURES, subject.key)
            if mark is not None and mark.reinstated_at is None:
                receipt = await self._documents.get(RECEIPTS, mark.receipt_id)
                if receipt is not None:
                    return receipt
            now = self._clock.now_ms()
            fresh = Receipt(
                key=receipt_id,
                workspace=subject.workspace,
                subject_key=subject.key,
                forgotten_at=now,
                phase="count",
                next_at=now + RECHECK_MS[0],
            )
            # The receipt first: a mark without one could not be seen through.
            await self._documents.write_many([Insert(RECEIPTS, fresh)])
            receipt = await self._documents.get(RECEIPTS, receipt_id) or fresh
            if receipt.phase == DONE:
                return receipt  # a command that was seen through and is read again: they may be known again since
            again = Erasure(
                key=subject.key,
                workspace=subject.workspace,
                receipt_id=receipt_id,
                forgotten_at=receipt.forgotten_at,
                revision=mark.revision + 1 if mark else 1,
            )
            write: Write = Replace(ERASURES, again) if mark else Insert(ERASURES, again)
            [outcome] = await self._documents.write_many([write])
            if outcome is Outcome.APPLIED:
                self._wake.set()
                return receipt

    async def _through(self, receipt: Receipt, info: WorkspaceInfo, end_user_id: str | None) -> Receipt:
        """Phase after phase, until it is done."""
        person = _person(receipt, info)
        while receipt.phase != DONE:
            match receipt.phase:
                case "count":
                    receipt = await self._count(receipt, person, end_user_id)
                case "delete":
                    self._marks.note(person.key)  # what still comes back from a provider is nobody's from here on
                    hashes = set(receipt.address_hashes)
                    await self._delete_all(person, end_user_id, hashes)
                    receipt = await self._save(receipt, phase="elsewhere", address_hashes=tuple(sorted(hashes)))
                case "elsewhere":
                    asked = Asked(receipt.key, person, receipt.address_hashes, is_again=False)
                    other = await self._elsewhere(asked)
                    receipt = await self._save(
                        receipt,
                        phase="log",
                        audience_entries=other.audience_entries,
                        audit_entries=other.audit_entries,
                        address_hashes=(),
                    )
                case "log":
                    _, until = await self._erase_log(person)
                    receipt = await self._save(receipt, phase="tell", retained_until=until)
                case "tell":
                    await self._log.append(AUDIT, [_told(receipt)])
                    receipt = await self._save(receipt, phase="scrub")
                case _:
                    await asyncio.gather(self._documents.scrub(), self._log.scrub())
                    receipt = await self._save(receipt, phase=DONE)
        logger.info("subject.forgotten", receipt_id=receipt.key, executions=receipt.executions)
        self._progress.set()
        self._progress = asyncio.Event()
        return receipt

    # -- the phases

    async def _count(self, receipt: Receipt, person: Person, end_user_id: str | None) -> Receipt:
        """What there is, and which suppressed addresses are the person's: those are hidden before they are lost."""
        await self._let_end(person)
        messages = in_app = 0
        addresses: set[str] = set()
        # Whoever runs is open for ever, and is counted by the index; of those that ended the hidden ones are not.
        stopped = (await self._documents.count_by(EXECUTIONS, "open", (person.key,))).get(FOREVER, 0)
        executions = stopped
        async for one in self._all_of(EXECUTIONS, person, "open", high=FOREVER):
            executions += one.status not in _HIDDEN
        async for message in self._all_of(MESSAGES, person):
            in_app += message.channel == IN_APP
            messages += message.channel != IN_APP
            addresses.update(message.addresses)
        events = await self._count_of(EVENT_RECORDS, person.key)
        profile = None
        if end_user_id is not None:
            profile = await self._documents.get(SUBJECTS, subject_document_key(person.workspace, end_user_id))
        if profile is not None:
            addresses.update((*profile.mobile_push, *filter(None, (profile.email,))))
        return await self._save(
            receipt,
            phase="delete",
            executions=executions,
            stopped=stopped,
            messages=messages,
            in_app=in_app,
            events=events,
            profile=int(profile is not None),
            address_hashes=tuple(await self._hide(person, sorted(addresses))),
        )

    async def _let_end(self, person: Person) -> None:
        """Sends that are under way end first, and are counted and removed with the rest."""
        for _ in range(int(EFFECT_SECONDS / 0.02)):
            if not any(map(person.is_named_by, self._engine.effects_under_way())):
                return
            await asyncio.sleep(0.02)

    async def _hide(self, person: Person, addresses: Sequence[str]) -> list[str]:
        """Keep suppressions of these addresses under a keyed hash alone; how the audit names those addresses."""
        hashes: list[str] = []
        for at in range(0, len(addresses), PAGE):
            keys = {suppression_key(person.workspace, one): one for one in addresses[at : at + PAGE]}
            found = await self._documents.get_many(SUPPRESSIONS, list(keys))
            hidden = {hidden_key(person.workspace, person.secret, keys[key]): one for key, one in found.items()}
            inserts = [
                Insert(HIDDEN_SUPPRESSIONS, HiddenSuppression(key=key, reason=one.reason, created_at=one.created_at))
                for key, one in hidden.items()
            ]
            if inserts:
                await self._write(inserts)
                await self._write([Delete(SUPPRESSIONS, key) for key in found])
            hashes += [await self._acts.hash_of(person.workspace, normal(address)) for address in keys.values()]
        return hashes

    async def _delete_all(self, person: Person, end_user_id: str | None, hashes: set[str]) -> int:
        """Remove every document of the person; how many there were. `hashes` takes up names of addresses."""
        removed = await self._stop_executions(person, hashes)
        await self._spend_events(person)
        for collection in _BY_SUBJECT:
            if collection is not EXECUTIONS:
                removed += await self._delete_of(collection, person)
        if await self._documents.get(LEDGERS, person.key) is not None:
            await self._write([Delete(LEDGERS, person.key)])
            removed += 1
        removed += await self._delete_where(COMMAND_RESULTS, "", (), lambda one: person.is_named_by(one.execution_id))
        if end_user_id is None:
            return removed + await self._delete_where(
                SUBJECTS, "by_id", (person.workspace,), lambda one: person.is_named_by(one.end_user_id)
            )
        key = subject_document_key(person.workspace, end_user_id)
        if await self._documents.get(SUBJECTS, key) is not None:
            await self._write([Delete(SUBJECTS, key)])
            removed += 1
        return removed

    async def _stop_executions(self, person: Person, hashes: set[str]) -> int:
        """Stop by deleting, page by page, under the guard of the transition that was read.

        What was not told yet is told before it goes: totals are made of it. That they were stopped is analytics' to
        note, when it forgets who it was.
        """
        removed = 0
        while True:
            page = await self._documents.scan(EXECUTIONS, "by_subject", (person.key,), limit=PAGE)
            if not page.items:
                return removed
            if records := [record_of(one, one.outbox) for one in page.items if one.outbox]:
                await self._log.append(EXECUTION_RECORDS, records)
            await self._clean_events(page.items, person)
            await self._spend(person, [start_of(one.journey_id, one.trigger.event_id) for one in page.items])
            hashes.update(
                await self._hide(person, sorted({one.trigger.email for one in page.items if one.trigger.email}))
            )
            outcomes = await self._documents.write_many(
                [Delete(EXECUTIONS, one.key, one.transition) for one in page.items]
            )
            # One that was written meanwhile is read again with the next page.
            removed += sum(outcome is Outcome.APPLIED for outcome in outcomes)
            self._engine.drop(one.key for one in page.items)

    async def _spend_events(self, person: Person) -> None:
        """Note the ids of the person's events before the records go: met again, they decide nothing anew."""
        ids: list[str] = []
        async for record in self._all_of(EVENT_RECORDS, person):
            ids.append(record.event_id)
            if len(ids) == PAGE:
                await self._spend(person, ids)
                ids = []
        await self._spend(person, ids)

    async def _spend(self, person: Person, ids: Sequence[str]) -> None:
        keys = dict.fromkeys(spent_key(person.key, person.secret, one) for one in ids)
        if keys:
            await self._write([Insert(SPENT_EVENTS, SpentEvent(key=key)) for key in keys])

    async def _clean_events(self, executions: Sequence[Execution], person: Person) -> None:
        """Events that started these executions and are not recorded as the person's: nobody's go, others' lose the name."""
        keys = {f"{one.workspace_id}:{one.trigger.event_id}" for one in executions if self._may_be_anothers(one)}
        while keys:
            found = await self._documents.get_many(EVENT_RECORDS, list(keys))
            strangers = [record for record in found.values() if record.subject_key != person.key]
            named = [(record, data) for record in strangers if person.is_in(data := _json_of(record))]
            if not named:
                return
            await self._log.erase(EVENTS, [Place(record.partition, record.offset) for record, _ in named])
            outcomes = await self._write([_cleaned(record, data, person) for record, data in named])
            # A repeat was counted in it meanwhile, perhaps: the name is looked for again.
            lost = zip(named, outcomes, strict=True)
            keys = {record.key for (record, _), outcome in lost if outcome is Outcome.CONFLICT}

    def _may_be_anothers(self, one: Execution) -> bool:
        """Whether the event that started it may be recorded under somebody else, or under nobody."""
        version = self._catalog.version(one.workspace_id, one.journey_id, one.journey_version)
        contract = version.contract if version is not None else None
        return version is None or (contract is not None and contract.subject_path != ("endUserId",))

    # -- the stores

    async def _all_of(
        self, collection: Collection[T], person: Person, index: str = "by_subject", high: int | None = None
    ) -> AsyncIterator[T]:
        cursor: str | None = None
        while True:
            page = await self._documents.scan(collection, index, (person.key,), high=high, after=cursor, limit=PAGE)
            for one in page.items:
                yield one
            if (cursor := page.cursor) is None:
                return

    async def _count_of(self, collection: Collection[Any], subject_key: str) -> int:
        return sum((await self._documents.count_by(collection, "by_subject", (subject_key,))).values())

    async def _delete_of(self, collection: Collection[Any], person: Person) -> int:
        removed = 0
        while True:
            page = await self._documents.scan(collection, "by_subject", (person.key,), limit=PAGE)
            if not page.items:
                return removed
            await self._write([Delete(collection, getattr(one, collection.key)) for one in page.items])
            removed += len(page.items)

    async def _delete_where(
        self, collection: Collection[T], index: str, equals: Sequence[str], is_theirs: Callable[[T], bool]
    ) -> int:
        removed, cursor = 0, None
        while True:
            page = await self._documents.scan(collection, index, equals, after=cursor, limit=PAGE)
            gone = [getattr(one, collection.key) for one in page.items if is_theirs(one)]
            if gone:
                await self._write([Delete(collection, key) for key in gone])
                removed += len(gone)
            if (cursor := page.cursor) is None:
                return removed

    async def _write(self, writes: Sequence[Write]) -> list[Outcome]:
        """All of them, or raise StoreUnavailable; a duplicate or a conflict is somebody's who was as far as this."""
        outcomes = await self._documents.write_many(writes)
        for outcome in outcomes:
            if outcome in (Outcome.FAILED, Outcome.IN_DOUBT):
                raise StoreUnavailable("some of a person's documents could not be removed")
        return outcomes

    async def _save(self, receipt: Receipt, **members: Any) -> Receipt:
        """The receipt as stored; where another process came further, its receipt."""
        after = msgspec.structs.replace(receipt, revision=receipt.revision + 1, **members)
        [outcome] = await self._documents.write_many([Replace(RECEIPTS, after)])
        if outcome is Outcome.APPLIED:
            return after
        current = await self._documents.get(RECEIPTS, receipt.key)
        if current is None or outcome is not Outcome.CONFLICT:
            raise StoreUnavailable("the receipt could not be written")
        return current

    async def _standing(self, subject_key: str) -> Receipt | None:
        """The receipt of a person who is forgotten now."""
        mark = await self._documents.get(ERASURES, subject_key)
        if mark is None or mark.reinstated_at is not None:
            return None
        return await self._documents.get(RECEIPTS, mark.receipt_id)

    @asynccontextmanager
    async def _turn(self, subject_key: str) -> AsyncIterator[None]:
        """Lane and later looks do not work on one person at a time."""
        self._at_work += 1
        try:
            async with self._turns.setdefault(subject_key, asyncio.Lock()):
                yield
        finally:
            self._at_work -= 1


def _person(receipt: Receipt, info: WorkspaceInfo) -> Person:
    return Person(receipt.workspace, receipt.subject_key, info.subject_secret)


def _told(receipt: Receipt) -> Record:
    """The workspace's audit says that somebody was forgotten, and not who."""
    metadata = {"receiptId": receipt.key, "stopped": receipt.stopped, "executions": receipt.executions}
    record = AuditRecord(
        id=f"{receipt.key}:forgotten",
        workspace=receipt.workspace,
        at_ms=receipt.forgotten_at,
        actor=SYSTEM,
        action="subject.forgotten",
        metadata_json=msgspec.json.encode(metadata),
    )
    return Record(f"{receipt.workspace}:", record.SerializeToString())


def _cleaned(record: EventRecord, data: Any, person: Person) -> Write:
    if record.subject_key is None:
        return Delete(EVENT_RECORDS, record.key)
    kept = msgspec.json.encode(person.without(data, "forgotten"))
    return Replace(EVENT_RECORDS, msgspec.structs.replace(record, data_json=kept, revision=record.revision + 1))


def _json_of(record: EventRecord) -> Any:
    try:
        return msgspec.json.decode(record.data_json)
    except msgspec.DecodeError:
        return None
