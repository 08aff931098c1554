"""More than can be done: it stays in the log, in a bounded part of memory, and is done when there is room again."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial

import pytest

from services.domain.execution.lifecycle import Status
from services.infra.documents.mongo import MongoDocuments
from services.infra.documents.port import Outcome, Write
from services.infra.log.port import Stored
from services.runtime import dispatcher, intake
from services.runtime.collections import EVENTS, EXECUTIONS
from services.runtime.senders.port import OutgoingMessage
from tests.support.journeys import WORKSPACE
from tests.support.servers import OwnPlace, servers
from tests.support.walking import EXIT, TRIGGER, await_step, send_step
from tests.support.workers import Machines, Worker, a_producer, a_worker, eventually
from tests.support.world import RecordingSender

pytestmark = pytest.mark.integration

STEPS = [{**TRIGGER, "next": "hello"}, send_step("hello", "w"), await_step("w", "x", "P3D", "exit", "exit"), EXIT]
PEOPLE, POLLED, MOST = 300, 20, 40


@pytest.fixture
async def machines(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Machines]:
    """Topics and a database of the test's own, with a published journey; and little room."""
    monkeypatch.setattr(intake, "BATCH", POLLED)
    monkeypatch.setattr(dispatcher, "CAPACITY", MOST)
    own = OwnPlace(servers())
    made = Machines(own.mongodb, own.servers.kafka, own.name)
    await made.migrate(STEPS)
    yield made
    await own.remove()


async def write_to_the_log(machines: Machines) -> None:
    """A sign-up of everybody, faster than anybody can handle."""
    async with a_producer(machines) as produce:
        for i in range(PEOPLE):
            event = {"specversion": "1.0", "id": f"e{i}", "source": "/t", "type": "signed_up", "data": {}}
            await produce(f"{WORKSPACE}:usr_{i}".encode(), json.dumps(event).encode())


class Taken:
    """How many events the worker has taken from the log."""

    def __init__(self, worker: Worker) -> None:
        self.count = 0
        subscription = worker.runtime._subscription
        assert subscription is not None
        self._poll = subscription.poll
        subscription.poll = self._counted  # type: ignore[method-assign]

    async def _counted(self, max_records: int, timeout: float) -> list[Stored]:
        polled = await self._poll(max_records, timeout)
        self.count += sum(one.topic == EVENTS for one in polled)
        return polled

    async def at_rest(self) -> int:
        """Once it has not changed for a while."""
        before, since = 0, 0.0
        clock = asyncio.get_running_loop().time
        while not (before and clock() - since > 2.0):
            if self.count != before:
                before, since = self.count, clock()
            await asyncio.sleep(0.05)
        return before


async def all_wait(worker: Worker) -> None:
    """Everybody is in the journey, once, and nothing of it is promised."""

    async def is_so() -> None:
        found = await worker.executions()
        assert {(Status.RUNNING, 0): PEOPLE} == Counter((one.status, len(one.intents)) for one in found)

    await eventually(is_so)


class SlowDocuments(MongoDocuments):
    """A store that takes executions only while it is open."""

    def __init__(self, uri: str, database: str) -> None:
        super().__init__(uri, database)
        self.opened = asyncio.Event()

    async def write_many(self, writes: list[Write]) -> list[Outcome]:  # type: ignore[override]  # as it is called
        if any(write.collection is EXECUTIONS for write in writes):
            await self.opened.wait()
        return await super().write_many(writes)


class SlowSender(RecordingSender):
    """One that answers only while it is open."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = asyncio.Event()

    async def send(self, message: OutgoingMessage) -> None:
        await self.opened.wait()
        await super().send(message)


async def test_a_slow_database_makes_the_consumer_pause(machines: Machines) -> None:
    """What the lanes cannot hold stays in the log; once the store answers all of it is done, once."""
    slow, sender = SlowDocuments(machines.mongodb, machines.database), RecordingSender()
    async with a_worker(machines, sender, slow) as worker:
        worker.runtime.engine.room = partial(worker.runtime.engine.room, MOST)  # type: ignore[method-assign]
        slow.opened.set()
        await worker.import_people(range(PEOPLE))
        slow.opened.clear()
        taken = Taken(worker)
        await write_to_the_log(machines)
        count = await taken.at_rest()
        held = worker.runtime.engine.unfinished
        slow.opened.set()
        await all_wait(worker)

    assert count <= MOST + POLLED
    assert held <= MOST + POLLED
    assert {(f"usr_{i}", "hello"): 1 for i in range(PEOPLE)} == Counter(
        (message.end_user_id, message.step_id) for message in sender.calls
    )


async def test_a_slow_sender_makes_the_consumer_pause(machines: Machines) -> None:
    """So many sends wait for it, and so many people behind them; nobody else is taken from the log."""
    sender = SlowSender()
    async with a_worker(machines, sender) as worker:
        worker.runtime.engine.room = partial(worker.runtime.engine.room, MOST)  # type: ignore[method-assign]
        await worker.import_people(range(PEOPLE))
        taken = Taken(worker)
        await write_to_the_log(machines)
        count = await taken.at_rest()
        held = len(worker.runtime.dispatcher.held())
        sender.opened.set()
        await all_wait(worker)

    # A cycle hands over what it has once there is room at all.
    assert held <= MOST + 3 * POLLED
    assert count <= held + MOST + POLLED
    assert {(f"usr_{i}", "hello"): 1 for i in range(PEOPLE)} == Counter(
        (message.end_user_id, message.step_id) for message in sender.calls
    )
