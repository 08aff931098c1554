"""Analytics forgets who it was; what happened stays counted."""

import json
from collections.abc import AsyncIterator, Sequence

import pytest
from journeys.analytics.v1 import erasure_service_pb2 as pb
from journeys.events.v1.execution_record_pb2 import ExecutionRecord

from services.analytics.app import Analytics
from services.analytics.audit import ACTS, EXECUTIONS
from services.analytics.erasure_servicer import ErasureServicer
from services.analytics.facts import Fact
from services.analytics.repositories import FACTS, ROWS, Row
from services.domain import ids
from services.infra.clock import ManualClock
from services.infra.log.port import Record, murmur2
from tests.support.memory import MemoryDocuments, MemoryLog
from tests.support.planted import CITY, USER, left_in_documents
from tests.unit.analytics.reports import T0, act, entry, report
from tests.unit.analytics.test_app import stats_of

SECRET = b"s" * 32
SLOT = (murmur2(f"pk_demo:{USER}".encode()) & 0x7FFFFFFF) % ids.SLOTS
KEY = ids.subject_key(SLOT, SECRET, USER)


def run(event: str = "e1", *, user: str = USER, **more: object) -> ExecutionRecord:
    """A report of one of the person's executions, under the key it has in truth."""
    name = ids.execution_id("act", 3, user, event)
    slot = SLOT if user == USER else 0
    key = ids.execution_key(slot, SECRET, "pk_demo", name)
    entries = [
        entry(f"{key}:1:0", action="execution.started", step="trigger", metadata=_json(eventId=event, city=CITY)),
        entry(f"{name}-mail-1:sent", action="send.executed", step="mail", metadata=_json(messageId=f"{name}-mail-1")),
    ]
    made = report(key, user=user, execution=name, entries=entries, **more)  # type: ignore[arg-type]
    made.subject_key = ids.subject_key(slot, SECRET, user)
    return made


def _json(**members: object) -> bytes:
    return json.dumps(members, ensure_ascii=False).encode()


class Scene:
    """One analytics process."""

    def __init__(self) -> None:
        self.documents, self.log, self.clock = MemoryDocuments(), MemoryLog(), ManualClock()
        self.app = Analytics(self.documents, self.log, self.clock)

    async def report(self, *messages: ExecutionRecord) -> None:
        records = [Record(f"pk_demo:{one.end_user_id}", one.SerializeToString()) for one in messages]
        await self.log.append(EXECUTIONS, records)
        await self.app._executions.drain(5)

    async def act(self, *records: Record) -> None:
        await self.log.append(ACTS, records)
        await self.app._acts.drain(5)

    async def erase(self, receipt: str = "r1", hashes: Sequence[str] = ()) -> int:
        servicer = next(one for _, one, _ in self.app.servicers() if isinstance(one, ErasureServicer))
        request = pb.EraseSubjectRequest(
            workspace="pk_demo", subject_key=KEY, subject_secret=SECRET, receipt_id=receipt, address_hashes=hashes
        )
        return int((await servicer.EraseSubject(request, None)).entries)  # type: ignore[arg-type]

    async def facts(self) -> list[Fact]:
        return (await self.documents.scan(FACTS, "", limit=100)).items

    async def rows(self) -> list[Row]:
        return (await self.documents.scan(ROWS, "", limit=100)).items


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    await made.app.open()
    yield made
    await made.app.close()


async def test_no_id_and_no_context_is_left(scene: Scene) -> None:
    """In no collection, in none of its spellings."""
    await scene.report(run("e1"), run("e2", status="SUCCEEDED"))
    assert left_in_documents(scene.documents)

    await scene.erase()

    assert [] == left_in_documents(scene.documents)


async def test_counts_stay_and_whoever_waited_has_left(scene: Scene) -> None:
    """A waiting visit becomes an executed one, as with any execution that is stopped."""
    await scene.report(run("e1", visits={"mail": 1, "w": 1}, waiting="w", results={"mail-1": "sent"}))
    await scene.report(run("e2", visits={"mail": 1, "w": 1}, status="SUCCEEDED", results={"mail-1": "failed"}))
    assert {"mail": (1, 0, 1, 0), "w": (1, 0, 0, 1)} == await stats_of(scene.app)

    await scene.erase()

    assert {"mail": (1, 0, 1, 0), "w": (2, 0, 0, 0)} == await stats_of(scene.app)


async def test_facts_keep_the_keyed_hash(scene: Scene) -> None:
    """First facts are told from later ones by it, so a recount comes to the same."""
    await scene.report(run("e1"))

    await scene.erase()

    [fact] = await scene.facts()
    assert ("", "", KEY, "ABORTED") == (fact.execution_id, fact.end_user_id, fact.subject_key, fact.status)


async def test_the_timeline_says_how_it_began_and_ended_and_not_whose_it_was(scene: Scene) -> None:
    """Steps are in the counts; the stop is noted."""
    await scene.report(run("e1"))

    await scene.erase()

    rows = await scene.rows()
    assert {("execution.started", b""), ("execution.aborted", b'{"reason":"subject_forgotten"}')} == {
        (row.action, row.metadata) for row in rows
    }


async def test_entries_are_counted_once_for_a_receipt(scene: Scene) -> None:
    """A repeat answers the same; under another receipt nothing was left to count."""
    await scene.report(run("e1"), run("e2"))

    assert (4, 4, 0) == (await scene.erase(), await scene.erase(), await scene.erase("r2"))


async def test_what_is_said_again_is_taken_in_without_the_person(scene: Scene) -> None:
    """A replayed or a late report neither brings the ids back nor counts twice."""
    first = run("e1", visits={"w": 1}, waiting="w")
    await scene.report(first)
    await scene.erase()

    await scene.report(first, run("late", visits={"w": 1}, status="SUCCEEDED", transition=9))

    assert [] == left_in_documents(scene.documents)
    assert {"w": (2, 0, 0, 0)} == await stats_of(scene.app)


async def test_what_starts_after_the_return_is_not_anonymous(scene: Scene) -> None:
    """The mark reaches up to the forgetting."""
    await scene.erase()
    again = run("again")
    again.started_at_ms = scene.clock.now_ms() + 1

    await scene.report(again)

    assert [USER] == [fact.end_user_id for fact in await scene.facts()]


async def test_neighbours_keep_their_names(scene: Scene) -> None:
    """Their facts and rows are as they were."""
    await scene.report(run("e1"), run("e1", user="ben"))

    await scene.erase()

    assert ["ben"] == [fact.end_user_id for fact in await scene.facts() if fact.end_user_id]
    assert 2 == sum(row.end_user_id == "ben" for row in await scene.rows())


async def test_the_persons_own_acts_go_and_others_lose_the_name(scene: Scene) -> None:
    """Preferences and suppressions were theirs; that somebody simulated with them stays, without them."""
    await scene.act(
        act("p", action="preferences.changed", journey="", metadata=_json(endUserId=USER, channel="email")),
        act("s", action="suppression.added", journey="", metadata=_json(addressHash="abc")),
        act("sim", action="simulate-with-real-user", metadata=_json(endUserId=USER, version=3)),
        act("o", action="preferences.changed", journey="", metadata=_json(endUserId="ben")),
    )

    assert 3 == await scene.erase(hashes=["abc"])

    rows = {row.entry_id: json.loads(row.metadata) for row in await scene.rows()}
    assert {"sim": {"endUserId": "forgotten", "version": 3}, "o": {"endUserId": "ben"}} == rows


async def test_where_another_process_counts_the_log_tells_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever projects the partition hears of the stop by a report without the person."""
    await scene.report(run("e1", visits={"w": 1}, waiting="w"))
    monkeypatch.setattr(scene.app._executions, "owns", lambda partition: False)

    await scene.erase()
    await scene.app._executions.drain(5)

    assert {"w": (1, 0, 0, 0)} == await stats_of(scene.app)
    assert [] == left_in_documents(scene.documents)
    assert T0 == (await scene.facts())[0].started_at
