"""Forgetting who a fact is about, while what happened stays counted.

Law: no number changes. A fact keeps its key and the keyed hash of the person, by which first facts are told from
later ones; it loses the ids. Rows that say how an execution began and ended stay under a name that leads to nobody,
with what is no personal context; those of its steps go, which the counts hold; and so do the person's own acts (preferences, suppressions). The mark stays, so that what is said late or again is
taken in without the person. Counted before it is changed, and rows before their facts, so that a crash changes no
count and leaves nothing behind. Source: runtime design 12; contract 6.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Any, Final, cast

import msgspec
from journeys.events.v1.execution_record_pb2 import ExecutionRecord, ExecutionState, HistoryRecord

from services.analytics.facts import RUNNING, Fact
from services.analytics.follower import Follower
from services.analytics.repositories import (
    ERASED,
    FACTS,
    ROWS,
    Erased,
    Row,
    Unsettled,
    row_key,
    write_of,
)
from services.domain import ids
from services.domain.errors import Unavailable
from services.domain.mentions import Person
from services.infra.clock import Clock
from services.infra.documents.port import Delete, Documents, Insert, Outcome, Replace, Write
from services.infra.log.port import Log, Record
from services.infra.patience import patiently

PAGE: Final = 300
DRAIN_SECONDS: Final = 60.0
PERSONAL: Final = ("preferences.", "suppression.")  # acts that are the person's own, or about their address
NOBODY: Final = "forgotten"
SYSTEM: Final = "system"
EXECUTIONS: Final = "journeys.executions.v1"
# Of an execution's rows these are kept, without the person: when it began, how it ended. The steps are in the counts.
KEPT: Final = ("execution.", "holdout.", "trigger.", "goal.")
_STOPPED: Final = b'{"reason":"subject_forgotten"}'


class EraseSubject:
    """Forgets one person. Raises Unavailable while the topics are not projected as far as they reach."""

    def __init__(
        self,
        documents: Documents,
        clock: Clock,
        executions: Follower,
        acts: Follower,
        log: Log,
        recount: Callable[[Sequence[int]], None],
    ) -> None:
        self._log = log
        self._recount = recount
        self._documents = documents
        self._clock = clock
        self._executions = executions
        self._acts = acts

    async def __call__(self, person: Person, receipt_id: str, address_hashes: Collection[str]) -> int:
        """How many entries of the timeline were removed or lost the person; under one receipt always the same."""
        with patiently():
            return await self._erase(person, receipt_id, address_hashes)

    async def _erase(self, person: Person, receipt_id: str, address_hashes: Collection[str]) -> int:
        # What is in the log is taken in first: it is counted, and it is about to be erased there.
        if not (await self._executions.drain(DRAIN_SECONDS) and await self._acts.drain(DRAIN_SECONDS)):
            raise Unavailable("Analytics is behind; try again.")
        mark = await self._marked(person, receipt_id)
        heads = await self._heads(person)
        if mark.entries is None:
            mark = await self._counted(mark, await self._count(person, heads, address_hashes))
        for head in heads:
            await self._clean_rows(person, head)
        async for page in self._acts_of(person, address_hashes):
            await self._write([_cleaned_act(row, person) for row in page])
        await self._clean_facts(person, self._clock.now_ms())
        return mark.entries or 0

    async def _marked(self, person: Person, receipt_id: str) -> Erased:
        """The mark, made or moved to now: what started before is anonymous."""
        while True:
            mark = await self._documents.get(ERASED, person.key) or Erased(key=person.key, receipt_id=receipt_id, at=0)
            if mark.receipt_id != receipt_id:
                mark.receipt_id, mark.entries = receipt_id, None
            mark.at = max(mark.at, self._clock.now_ms())
            if await self._apply(write_of(ERASED, mark)):
                return mark

    async def _counted(self, mark: Erased, entries: int) -> Erased:
        while True:
            mark.entries = entries
            if await self._apply(write_of(ERASED, mark)):
                return mark
            found = await self._documents.get(ERASED, mark.key)
            if found is None or found.entries is not None:
                return found or mark
            mark = found

    async def _heads(self, person: Person) -> list[str]:
        """How the keys of the person's rows begin: `<workspace>:<journey>__v<n>__<person>__`, one for each version."""
        heads: set[str] = set()
        async for page in self._facts_of(person):
            heads.update(
                f"{fact.workspace}:{'__'.join(fact.execution_id.split('__')[:3])}__"
                for fact in page
                if fact.execution_id
            )
        return sorted(heads)

    async def _count(self, person: Person, heads: Sequence[str], address_hashes: Collection[str]) -> int:
        count = 0
        for head in heads:
            async for rows in self._rows(head, _behind(head)):
                count += len(rows)
        async for rows in self._acts_of(person, address_hashes):
            count += len(rows)
        return count

    async def _clean_rows(self, person: Person, head: str) -> None:
        while True:
            page = await self._documents.scan(ROWS, "", low=head, high=_behind(head), limit=PAGE)
            if not page.items:
                return
            writes: list[Write] = []
            for row in page.items:
                name = row.execution_id or ""
                fact_key = ids.execution_key(person.slot, person.secret, person.workspace, name)
                writes.append(Delete(ROWS, row.key))
                if row.action.startswith(KEPT):
                    writes.append(Insert(ROWS, without_person(row, fact_key)))
            await self._write(writes)

    async def _clean_facts(self, person: Person, now: int) -> None:
        """Take the ids out; whoever still ran was stopped. Sums follow: here by counting anew, elsewhere by the log."""
        partition = person.slot % self._log.partitions
        is_ours = self._executions.owns(partition)
        is_clean, is_changed = False, False
        while not is_clean:
            is_clean = True
            async for page in self._facts_of(person):
                left = [fact for fact in page if fact.execution_id]
                running = [fact for fact in left if fact.status == RUNNING]
                is_changed = is_changed or bool(running)
                if running and not is_ours:
                    records = [stop_record(fact, now) for fact in running]
                    await self._log.append(EXECUTIONS, records)
                cleaned = [anonymous(stopped(fact) if is_ours else fact) for fact in left]
                rows: list[Write] = [Insert(ROWS, stop_row(fact, now)) for fact in running] if is_ours else []
                writes = [*(write_of(FACTS, fact) for fact in cleaned), *rows]
                outcomes = await self._documents.write_many(writes) if writes else []
                is_clean = is_clean and all(one is Outcome.APPLIED for one in outcomes[: len(cleaned)])
        if is_changed and is_ours:
            async with self._executions.at_rest():
                self._recount([partition])
            await self._executions.drain(DRAIN_SECONDS)

    async def _facts_of(self, person: Person) -> AsyncIterator[list[Fact]]:
        """Those of the person, page by page, journey by journey."""
        partition = person.slot % self._log.partitions
        for journey in await self._documents.count_by(FACTS, "by_person", (partition,)):
            after: str | None = None
            equals = (partition, journey, person.key)
            while True:
                page = await self._documents.scan(FACTS, "by_person", equals, after=after, limit=PAGE)
                yield page.items
                if (after := page.cursor) is None:
                    break

    async def _acts_of(self, person: Person, address_hashes: Collection[str]) -> AsyncIterator[list[Row]]:
        """Acts of the workspace and its journeys that name the person or an address of theirs."""
        hashes = frozenset(address_hashes)
        head = row_key(person.workspace, "", "")
        async for rows in self._rows(head, f"{head[:-1]};"):  # ";" follows ":"
            found = [row for row in rows if row.metadata and _names(row, person, hashes)]
            if found:
                yield found

    async def _rows(self, low: str, high: str) -> AsyncIterator[list[Row]]:
        after: str | None = None
        while True:
            page = await self._documents.scan(ROWS, "", low=low, high=high, after=after, limit=2 * PAGE)
            yield page.items
            if (after := page.cursor) is None:
                return

    async def _apply(self, write: Write) -> bool:
        [outcome] = await self._documents.write_many([write])
        return outcome is Outcome.APPLIED

    async def _write(self, writes: Sequence[Write]) -> None:
        for outcome in await self._documents.write_many(writes):
            if outcome in (Outcome.FAILED, Outcome.IN_DOUBT):
                raise Unsettled("some rows of a person were not cleaned")


class Forgotten:
    """Looks at what comes in: of people who were forgotten, it is taken in without them."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def clean(self, facts: Mapping[str, Fact], rows: Mapping[str, Row]) -> tuple[dict[str, Fact], dict[str, Row]]:
        """The same reports and rows, those of forgotten people without ids. Keys of rows may change."""
        keys = list(dict.fromkeys(fact.subject_key for fact in facts.values() if fact.subject_key))
        marks = await self._documents.get_many(ERASED, keys) if keys else {}
        gone = {
            fact.execution_id: fact
            for fact in facts.values()
            if fact.subject_key in marks and fact.started_at <= marks[fact.subject_key].at
        }
        if not gone:
            return dict(facts), dict(rows)
        kept: dict[str, Row] = {}
        for row in rows.values():
            fact = gone.get(row.execution_id or "")
            if fact is None:
                kept.setdefault(row.key, row)
            elif row.action.startswith(KEPT):
                clean = without_person(row, fact.key)
                kept.setdefault(clean.key, clean)
        return {key: anonymous(fact) if fact.execution_id in gone else fact for key, fact in facts.items()}, kept


def anonymous(fact: Fact) -> Fact:
    """The fact without the ids; what it counts is the same."""
    return msgspec.structs.replace(fact, execution_id="", end_user_id="")


def stopped(fact: Fact) -> Fact:
    """The fact of somebody who ran: they have left where they waited."""
    if fact.status != RUNNING:
        return fact
    return msgspec.structs.replace(fact, status="ABORTED", transition=fact.transition + 1, waiting_step="")


def stop_row(fact: Fact, now: int) -> Row:
    """That an execution was stopped, in a journey's timeline, and not whose."""
    return Row(
        key=row_key(fact.workspace, f"{NOBODY}-{fact.key}", f"{fact.key}:{fact.transition + 1}:{NOBODY}"),
        journey=f"{fact.workspace}:{fact.journey_id}",
        at_ms=now,
        seq=0,
        actor=SYSTEM,
        action="execution.aborted",
        metadata=_STOPPED,
    )


def stop_record(fact: Fact, now: int) -> Record:
    """The same as a report, for whoever projects the partition."""
    report = ExecutionRecord(
        key=fact.key,
        workspace=fact.workspace,
        journey_id=fact.journey_id,
        version=fact.version,
        execution_id=f"{NOBODY}-{fact.key}",
        subject_key=fact.subject_key,
        started_at_ms=fact.started_at,
        state=ExecutionState(status="ABORTED", transition=fact.transition + 1, visits=fact.visits),
        entries=[
            HistoryRecord(
                id=f"{fact.key}:{fact.transition + 1}:{NOBODY}",
                at_ms=now,
                action="execution.aborted",
                metadata_json=_STOPPED,
            )
        ],
    )
    return Record(fact.key, report.SerializeToString(), partition=fact.partition)


def without_person(row: Row, fact_key: str) -> Row:
    """A row of an execution under a name that leads to nobody, without personal context. Always the same one."""
    execution_id = row.execution_id or ""
    workspace = row.key.partition(":")[0]
    name = f"{NOBODY}-{fact_key}"
    entry_id = row.entry_id.replace(execution_id, name) if execution_id else row.entry_id
    return msgspec.structs.replace(
        row,
        key=row_key(workspace, name, entry_id),
        revision=1,
        end_user_id="",
        metadata=_kept(row.metadata),
    )


class _Kept(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    """What an entry may keep: how something went, and nothing of what the person or their event said."""

    reason: str | None = None
    mode: str | None = None
    arm_id: str | None = None
    arm: str | None = None
    branch: str | None = None
    chosen: str | None = None
    propensity: float | None = None
    channel: str | None = None
    status: str | int | None = None
    attempts: int | None = None


_read = msgspec.json.Decoder(_Kept).decode


def _kept(metadata: bytes) -> bytes:
    if not metadata:
        return b""
    try:
        kept = msgspec.json.encode(_read(metadata))
    except msgspec.MsgspecError:
        return b""  # not as we write it: rather nothing than something that says too much
    return b"" if kept == b"{}" else kept


def _names(row: Row, person: Person, hashes: Collection[str]) -> bool:
    members = _object(row.metadata)
    return members.get("addressHash") in hashes or person.is_in(members)


def _cleaned_act(row: Row, person: Person) -> Write:
    if row.action.startswith(PERSONAL):
        return Delete(ROWS, row.key)
    members = person.without(_object(row.metadata), NOBODY)
    return Replace(ROWS, msgspec.structs.replace(row, metadata=msgspec.json.encode(members), revision=row.revision + 1))


def _object(metadata: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(metadata) if metadata else {}
    except msgspec.DecodeError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _behind(head: str) -> str:
    """Above every key that begins so: ids are escaped, so what follows is ASCII."""
    return f"{head}\x7f"
