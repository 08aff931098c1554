"""What goes wrong around a runtime: nothing is lost, nothing is sent twice, it says so, and goes on by itself."""

import asyncio
import json
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import MessageSizeTooLargeError
from journeys.events.v1.customer_event_pb2 import CustomerEvent
from pymongo import AsyncMongoClient
from structlog.testing import capture_logs

from services.domain.errors import Invalid
from services.domain.execution.lifecycle import Status
from services.infra.documents import newer
from services.infra.log.port import LogUnavailable
from services.runtime.app import GROUP
from services.runtime.collections import COMMANDS, EVENTS, EXECUTIONS
from services.runtime.dead_letters import DeadLetter, DeadLetters
from services.runtime.paging import PageRequest
from tests.support.journeys import WORKSPACE
from tests.support.own_server import OwnServer
from tests.support.servers import OwnPlace, servers
from tests.support.walking import EXIT, TRIGGER, await_step, send_step
from tests.support.workers import (
    LEASED,
    SHORT_LEASE_MS,
    Machines,
    Worker,
    a_producer,
    a_worker,
    eventually,
)
from tests.support.world import RecordingSender

pytestmark = [pytest.mark.integration, pytest.mark.slow]

STEPS = [
    {**TRIGGER, "next": "hello"},
    send_step("hello", "w"),
    await_step("w", "activated", "P3D", "congrats", "exit"),
    send_step("congrats", "exit"),
    EXIT,
]
PEOPLE = 60
PARTITIONS = 16
GONE_SECONDS = 20.0


@pytest.fixture
async def machines() -> AsyncIterator[Machines]:
    """Topics and a database of the test's own on the common servers, with a published journey."""
    own = OwnPlace(servers())
    made = Machines(own.mongodb, own.servers.kafka, own.name)
    await made.migrate(STEPS)
    yield made
    await own.remove()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[OwnServer]:
    """A broker to be killed. It runs."""
    server = OwnServer("log", tmp_path / "broker").start()
    yield server
    server.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[OwnServer]:
    """A document server to be killed. It runs."""
    server = OwnServer("store", tmp_path / "store").start()
    yield server
    server.close()


async def stands(worker: Worker, people: int, status: Status) -> None:
    """All these people are in the journey, once each, and nothing about them is promised or unpublished."""

    async def all_stand() -> None:
        found = await worker.executions()
        assert {(status, 0): people} == Counter((one.status, len(one.intents)) for one in found)
        assert people == len({one.subject_id for one in found})

    await eventually(all_stand)


def steps_sent(sender: RecordingSender) -> Counter[tuple[str, str]]:
    """How often each person was handed each message."""
    return Counter((message.end_user_id, message.step_id) for message in sender.calls)


def once(step: str, people: int) -> dict[tuple[str, str], int]:
    """Everybody one message of that step."""
    return {(f"usr_{i}", step): 1 for i in range(people)}


async def dead_letters(worker: Worker, count: int) -> list[DeadLetter]:
    """All of them, once there are so many."""

    async def all_dead() -> list[DeadLetter]:
        found = (await DeadLetters(worker.log).listed(PageRequest(500))).items
        assert count == len(found), [one.origin for one in found]
        return found

    return await eventually(all_dead)


def cloud_event(event_id: str, event_type: str = "signed_up", **data: Any) -> bytes:
    """A structured CloudEvent."""
    return json.dumps({"specversion": "1.0", "id": event_id, "source": "/t", "type": event_type, "data": data}).encode()


class TestGone:
    """Servers that are not there. Leases are short, since what was under way waits for their end."""

    @pytest.fixture(autouse=True)
    def _short_leases(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in LEASED:
            monkeypatch.setattr(module, "LEASE_MS", SHORT_LEASE_MS)

    async def test_a_broker_that_comes_late_and_leaves_for_a_while(
        self, broker: OwnServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A worker that starts first waits and says so; one that loses its broker refuses, waits, and goes on."""
        own = OwnPlace(servers())
        machines = Machines(own.mongodb, broker.kafka, own.name)
        await machines.migrate(STEPS)
        sender = RecordingSender()
        worker = Worker(machines, sender)
        broker.kill()
        with caplog.at_level(logging.WARNING):
            opening = asyncio.create_task(worker.runtime.open())

            async def waits() -> None:
                assert "the log waits for a broker" in caplog.text

            await eventually(waits)
        await asyncio.to_thread(broker.start)
        await opening
        await worker.import_people(range(PEOPLE))
        posting = asyncio.create_task(worker.post("signed_up", range(PEOPLE)))
        while not sender.calls:
            await asyncio.sleep(0.01)
        broker.kill()
        with pytest.raises(LogUnavailable):
            await worker.runtime.ingestion(WORKSPACE, [CustomerEvent(id="x", type="other", end_user_id="usr_0")])
        await asyncio.sleep(GONE_SECONDS)  # so long that sessions end and drivers give up what they know
        await asyncio.to_thread(broker.start)
        await posting
        await stands(worker, PEOPLE, Status.RUNNING)
        await worker.post("activated", range(PEOPLE))
        await stands(worker, PEOPLE, Status.SUCCEEDED)
        await worker.close()

        assert once("hello", PEOPLE) | once("congrats", PEOPLE) == steps_sent(sender)

    async def test_a_document_server_that_leaves_for_a_while(self, store: OwnServer) -> None:
        """Killed in the middle of the work and back once the worker has noticed: what was accepted is done, once."""
        own = OwnPlace(servers())
        machines = Machines(store.mongodb, own.servers.kafka, own.name)
        await machines.migrate(STEPS)
        sender = RecordingSender()
        with capture_logs() as said:
            async with a_worker(machines, sender) as worker:
                await worker.import_people(range(PEOPLE))
                for start in range(0, PEOPLE, 10):
                    await worker.post("signed_up", range(start, start + 10))
                while not sender.calls:
                    await asyncio.sleep(0.01)
                store.kill()
                posting = asyncio.create_task(worker.post("activated", range(PEOPLE)))
                noticed = ("cycle.unavailable", "intake.unavailable")
                while not any(line["event"] in noticed for line in said):
                    await asyncio.sleep(0.05)
                await asyncio.sleep(GONE_SECONDS)
                await asyncio.to_thread(store.start)
                await posting
                await stands(worker, PEOPLE, Status.SUCCEEDED)

        assert once("hello", PEOPLE) | once("congrats", PEOPLE) == steps_sent(sender)


class TestStrangeRecords:
    """What producers may write."""

    async def test_garbage_stops_nobody(self, machines: Machines) -> None:
        """On every partition: random bytes, no key, no value, half an event. Each is a dead letter with a reason."""
        dice = random.Random(5)
        good = cloud_event("good")
        strange: list[tuple[bytes | None, bytes | None]] = [
            (b"pk_test:usr_x", bytes([0xFF, *dice.randbytes(200)])),
            (b"\xff\xfe\x00:\x80", good),
            (None, good),
            (b"pk_test:usr_x", None),
            (b"", b""),
            (b"pk_test:usr_x", good[: len(good) // 2]),
            (b"pk_test:usr_x", b"[" * 100_000),
            (b"pk_test:usr_x", b"{" + b'"a":' * 2_000),
            (b"pk_test:" + b"x" * 300, good),
            (b"pk_test:usr_x", cloud_event("e", data=[1e400])),
            (b"pk_test:usr_x", b'{"specversion":"1.0","id":"e","source":"/t","type":"t","time":"yesterday"}'),
        ]
        sender = RecordingSender()
        async with a_worker(machines, sender) as worker:
            await worker.import_people(range(PEOPLE))
            async with a_producer(machines) as produce:
                for partition in range(PARTITIONS):
                    for key, value in strange:
                        await produce(key, value, partition=partition, headers=[("x", b"\xff"), ("", b"")])
                for i in range(PEOPLE):
                    await produce(f"{WORKSPACE}:usr_{i}".encode(), cloud_event(f"e{i}"))
            letters = await dead_letters(worker, len(strange) * PARTITIONS)
            await stands(worker, PEOPLE, Status.RUNNING)

        assert all(letter.origin.topic == EVENTS and letter.origin.reason for letter in letters)
        assert set(range(PARTITIONS)) == {letter.origin.partition for letter in letters}
        assert once("hello", PEOPLE) == steps_sent(sender)

    async def test_a_record_of_5_mb_is_kept_in_part(self, machines: Machines) -> None:
        """Its beginning becomes a dead letter; one of 9 MB the broker takes only packed."""
        key, large = f"{WORKSPACE}:usr_0".encode(), cloud_event("large", text="x" * 5_000_000)
        async with a_worker(machines) as worker:
            async with a_producer(machines, max_request_size=16 << 20) as produce:
                with pytest.raises(MessageSizeTooLargeError):
                    await produce(key, cloud_event("larger", text="x" * 9_000_000))
                await produce(key, large)
                await produce(key, cloud_event("small"))
            (letter,) = await dead_letters(worker, 1)
            await stands(worker, 1, Status.RUNNING)
            with pytest.raises(Invalid, match="only the beginning"):
                await DeadLetters(worker.log).replay(letter.stored.partition, letter.stored.offset)

        assert len(large) == letter.origin.size
        assert large.startswith(letter.stored.value)
        assert letter.origin.reason.startswith("The record is larger")

    async def test_a_duplicate_of_every_record_means_nothing(self, machines: Machines) -> None:
        """Everything is written twice, then read a second time from the beginning by a worker that knows nothing."""
        sender = RecordingSender()

        async def write_twice(event_type: str) -> None:
            async with a_producer(machines) as produce:
                for i in range(PEOPLE):
                    for _ in range(2):
                        key, value = f"{WORKSPACE}:usr_{i}".encode(), cloud_event(f"{event_type}-{i}", event_type)
                        await produce(key, value)

        async with a_worker(machines, sender) as worker:
            await worker.import_people(range(PEOPLE))
            await write_twice("signed_up")
            await stands(worker, PEOPLE, Status.RUNNING)
            await write_twice("activated")
            await stands(worker, PEOPLE, Status.SUCCEEDED)
        await begin_again(machines)
        async with a_worker(machines, sender) as worker:

            async def all_read() -> None:
                assert await worker.runtime.idle()

            await eventually(all_read)
            await stands(worker, PEOPLE, Status.SUCCEEDED)
            letters = await dead_letters(worker, 0)

        assert once("hello", PEOPLE) | once("congrats", PEOPLE) == steps_sent(sender)
        assert [] == letters


async def begin_again(machines: Machines) -> None:
    """Set the group's offsets to the beginning, as an operator's mistake would. Nobody is in the group."""
    consumer = AIOKafkaConsumer(**machines.kafka.options(), group_id=machines.kafka.stored(GROUP))
    spots = [TopicPartition(machines.kafka.stored(topic), p) for topic in (EVENTS, COMMANDS) for p in range(PARTITIONS)]
    await consumer.start()
    try:
        consumer.assign(spots)
        await consumer.commit(dict.fromkeys(spots, 0))
    finally:
        await consumer.stop()


async def test_a_document_of_a_newer_version_is_left_alone(
    machines: Machines, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said aloud which; nothing is written over it, whoever is beside it goes on, and what comes for its person
    is a dead letter, which counts once it is replayed after the update.
    """
    newer.forget_what_was_told()
    sender = RecordingSender()
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(machines.mongodb)
    executions = client[machines.database]["executions"]
    async with a_worker(machines, sender) as worker:
        await worker.import_people(range(2))
        await worker.post("signed_up", range(2))
        await stands(worker, 2, Status.RUNNING)
    await executions.update_one({"subject_id": "usr_0"}, {"$set": {"_schema": 99, "due_at": 1}})
    before = await executions.find_one({"subject_id": "usr_0"})
    async with a_worker(machines, sender) as worker:
        lanes = worker.runtime.ownership.lanes()
        due = await worker.documents.scan_prefixes(EXECUTIONS, "due", lanes, high=1 << 50, limit=1)
        with caplog.at_level(logging.WARNING):
            await worker.post("activated", range(2))
            # The same event again starts nothing anew in its place.
            async with a_producer(machines) as produce:
                await produce(f"{WORKSPACE}:usr_0".encode(), cloud_event("signed_up-0"))
            await stands(worker, 1, Status.SUCCEEDED)
            (letter,) = await dead_letters(worker, 1)
    after = await executions.find_one({"subject_id": "usr_0"})
    await executions.update_one({"subject_id": "usr_0"}, {"$set": {"_schema": 1}})  # as an update of the program would
    before_update = steps_sent(sender)
    async with a_worker(machines, sender) as worker:
        await DeadLetters(worker.log).replay(letter.stored.partition, letter.stored.offset)
        await stands(worker, 2, Status.SUCCEEDED)
    await client.close()

    assert before is not None
    assert before == after
    assert ["usr_1"] == [one.subject_id for one in due]
    assert 1 == caplog.text.count("written by a newer version")
    assert letter.origin.reason.startswith("A newer version of this program wrote a document of executions")
    assert {("usr_0", "hello"): 1, ("usr_1", "hello"): 1, ("usr_1", "congrats"): 1} == before_update
    assert once("hello", 2) | once("congrats", 2) == steps_sent(sender)
