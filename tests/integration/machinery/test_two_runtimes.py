"""Two runtimes on one broker and one document server: they share the work, and one that is gone loses nothing."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import pytest
from journeys.events.v1.customer_event_pb2 import CustomerEvent

from services.domain.execution.execution import Execution
from services.domain.execution.lifecycle import Status
from services.infra.clock import SystemClock
from services.infra.documents.mongo import MongoDocuments
from services.infra.documents.port import Documents
from services.infra.log.kafka import KafkaLog
from services.runtime.app import Runtime
from services.runtime.collections import EXECUTIONS, MESSAGES, MessageDocument
from tests.support.journeys import WORKSPACE, publish_journey, publish_workspace
from tests.support.servers import OwnPlace, servers
from tests.support.walking import EXIT, TRIGGER, await_step, send_step

pytestmark = [pytest.mark.integration, pytest.mark.slow]

STEPS = [
    {**TRIGGER, "next": "hello"},
    send_step("hello", "set"),
    {"id": "set", "type": "update_profile", "set": {"greeted": True}, "next": "w"},
    await_step("w", "activated", "P3D", "congrats", "nudge"),
    send_step("congrats", "exit"),
    send_step("nudge", "exit"),
    EXIT,
]
PEOPLE = 400
# A promise of a process that was killed is seen to when its lease ends, at most 30 s later.
PATIENT = 120.0
T = TypeVar("T")


async def eventually(look: Callable[[], Awaitable[T]], seconds: float = PATIENT) -> T:
    """What `look` returns once it raises no AssertionError any more."""
    until = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            return await look()
        except AssertionError:
            if asyncio.get_running_loop().time() > until:
                raise
        await asyncio.sleep(0.1)


class Worker:
    """A runtime with connections of its own, as a process would have."""

    def __init__(self, place: OwnPlace) -> None:
        clock = SystemClock()
        self.documents = MongoDocuments(place.mongodb, place.database)
        self.log = KafkaLog(place.kafka(), now_ms=clock.now_ms)
        self.runtime = Runtime(self.documents, self.log, clock)

    async def post(self, event_type: str, people: range) -> int:
        """Accept an event of each of these people; how many were known."""
        events = [
            CustomerEvent(
                id=f"{event_type}-{i}", type=event_type, end_user_id=f"usr_{i}", data_json=json.dumps({"n": i}).encode()
            )
            for i in people
        ]
        return len(await self.runtime.ingestion(WORKSPACE, events))

    async def close(self) -> None:
        """Leave in good order."""
        await self.runtime.close()
        await self.leave()

    async def kill(self) -> None:
        """Finish nothing."""
        await self.runtime.kill()
        await self.leave()

    async def leave(self) -> None:
        """Let the connections go."""
        await self.log.close()
        await self.documents.close()

    def partitions(self) -> int:
        """How many it owns and acts on."""
        return round(self.runtime.ownership.share() * 16)


@pytest.fixture
async def place() -> AsyncIterator[OwnPlace]:
    """A migrated database and topics with one published journey."""
    own = OwnPlace(servers())
    documents, log = MongoDocuments(own.mongodb, own.database), KafkaLog(own.kafka(), now_ms=SystemClock().now_ms)
    await documents.migrate(Runtime.collections)
    await log.migrate(Runtime.topics)
    await log.open(Runtime.topics)
    await publish_workspace(log)
    await publish_journey(log, STEPS)
    await log.close()
    await documents.close()
    yield own
    await own.remove()


async def executions(documents: Documents) -> list[Execution]:
    """All of them."""
    return (await documents.scan(EXECUTIONS, "", limit=10_000)).items


async def messages(documents: Documents) -> list[MessageDocument]:
    """All of them."""
    return (await documents.scan(MESSAGES, "", limit=10_000)).items


async def test_one_is_killed_and_the_other_finishes_everything(place: OwnPlace) -> None:
    """Every person is decided once and greeted once, and what they did later reaches them, whoever owns them by then."""
    one, other = Worker(place), Worker(place)
    await one.runtime.open()
    await other.runtime.open()

    async def is_shared() -> None:
        assert [8, 8] == [one.partitions(), other.partitions()]

    await eventually(is_shared)
    for user in range(PEOPLE):
        body = b'{"addresses": {"email": "usr_%d@example.com"}}' % user
        await one.runtime.subjects.put(WORKSPACE, f"usr_{user}", body, None)
    for start in range(0, PEOPLE, 50):
        await one.post("signed_up", range(start, start + 50))
        if start == PEOPLE // 2:
            await one.kill()
            one = other
    again = await other.post("signed_up", range(PEOPLE))

    async def all_wait() -> None:
        found = await executions(other.documents)
        assert {("w", Status.RUNNING, 0): PEOPLE} == Counter((e.step_id, e.status, len(e.intents)) for e in found)
        assert {"sent": PEOPLE} == Counter(message.status for message in await messages(other.documents))

    await eventually(all_wait)
    await other.post("activated", range(0, PEOPLE, 2))

    async def half_ended() -> None:
        found = await executions(other.documents)
        assert {Status.RUNNING: PEOPLE // 2, Status.SUCCEEDED: PEOPLE // 2} == Counter(one.status for one in found)
        assert {"hello": PEOPLE, "congrats": PEOPLE // 2} == Counter(
            message.step_id for message in await messages(other.documents)
        )

    await eventually(half_ended)
    assert (PEOPLE, 16) == (again, other.partitions())
    await other.close()


async def test_a_third_one_joins_and_leaves_under_load(place: OwnPlace) -> None:
    """Partitions move twice while people sign up; nobody is forgotten, nobody is greeted twice."""
    workers = [Worker(place), Worker(place)]
    for worker in workers:
        await worker.runtime.open()
    guest = Worker(place)

    async def has_work() -> None:
        assert guest.partitions() > 3
        assert guest.runtime.engine.unfinished

    async def come_and_go() -> None:
        await guest.runtime.open()
        await eventually(has_work)
        await guest.close()

    visit = asyncio.create_task(come_and_go())
    posted = 0
    while posted < PEOPLE or not visit.done():
        await workers[0].post("signed_up", range(posted, posted + 10))
        posted += 10
    await visit

    async def all_wait() -> None:
        found = await executions(workers[0].documents)
        assert posted == len(found)
        assert {("w", Status.RUNNING, 0)} == {(e.step_id, e.status, len(e.intents)) for e in found}
        assert 0 == sum(len(worker.runtime.acks) for worker in workers)

    await eventually(all_wait)
    # Nobody has an address, so every greeting was skipped, once.
    histories = [[entry.action for entry in one.history] for one in await executions(workers[0].documents)]
    assert {1} == {actions.count("send.skipped") for actions in histories}
    for worker in workers:
        await worker.close()


async def test_a_command_is_answered_whoever_owns_the_person(place: OwnPlace) -> None:
    """The process that is asked need not be the one that does it."""
    one, other = Worker(place), Worker(place)
    await one.runtime.open()
    await other.runtime.open()

    answers = [
        await worker.runtime.commands.start(
            WORKSPACE, "act", CustomerEvent(id=f"m-{i}", end_user_id=f"usr_{i}"), "manual", "tester"
        )
        for i, worker in enumerate([one, other] * 8)
    ]

    assert [True] * 16 == [started for _, started, _ in answers]
    await one.close()
    await other.close()
