"""Runtimes on a real broker and document server, within the test's own process or beside it.

`python -m tests.support.workers MONGODB KAFKA NAME FILE` is one that appends to FILE what it sends, until SIGTERM.
SIGUSR1 makes it a zombie to be: the next time it is about to replace executions it stops itself, and what the store
says to that write when it is continued is the line "the zombie's write: ...".
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from aiokafka import AIOKafkaProducer
from journeys.events.v1.customer_event_pb2 import CustomerEvent

from services.domain.execution import steps as steps_module
from services.domain.execution import walk
from services.domain.execution.execution import Execution
from services.infra.clock import SystemClock
from services.infra.documents.mongo import MongoDocuments
from services.infra.documents.port import Outcome, Replace, StoreUnavailable, Write
from services.infra.log.kafka import KafkaLog
from services.infra.log.kafka_address import KafkaAddress, read_address
from services.infra.log.port import LogUnavailable
from services.infra.telemetry import set_up_logging
from services.runtime import desk, dispatcher, hook_calls, timers
from services.runtime.app import Runtime
from services.runtime.collections import EVENTS, EXECUTIONS
from services.runtime.senders.port import OutgoingMessage
from tests.support.journeys import WORKSPACE, Steps, publish_journey, publish_workspace
from tests.support.world import RecordingSender

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
# A promise of a process that was killed is seen to when its lease ends, at most 30 s later.
PATIENT = 90.0
SHORT_LEASE_MS = 8_000
# Whoever reads the length of a lease by its name.
LEASED = (desk, dispatcher, hook_calls, steps_module, timers, walk)


async def eventually(look: Callable[[], Awaitable[T]], seconds: float = PATIENT) -> T:
    """What `look` returns once it raises neither an AssertionError nor that something is away."""
    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    while True:
        try:
            return await look()
        except (AssertionError, StoreUnavailable, LogUnavailable):
            if clock() > until:
                raise
        await asyncio.sleep(0.1)


class Machines:
    """Where a broker and a document server are, and what of them is the test's."""

    def __init__(self, mongodb: str, kafka: str, name: str) -> None:
        self.mongodb, self.database = mongodb, name
        self.kafka: KafkaAddress = read_address(f"{kafka.rstrip('/')}/{name}?partitions=16")

    async def migrate(self, steps: Steps) -> None:
        """Collections, topics, a workspace and one published journey."""
        documents = MongoDocuments(self.mongodb, self.database)
        log = KafkaLog(self.kafka, now_ms=SystemClock().now_ms)
        try:
            await documents.migrate(Runtime.collections)
            await log.migrate(Runtime.topics)
            await log.open(Runtime.topics)
            await publish_workspace(log)
            await publish_journey(log, steps)
        finally:
            await log.close()
            await documents.close()


class Worker:
    """A runtime with connections of its own, as a process would have. `sender` gets its e-mails."""

    def __init__(self, machines: Machines, sender: RecordingSender, documents: MongoDocuments | None = None) -> None:
        clock = SystemClock()
        self.documents = documents or MongoDocuments(machines.mongodb, machines.database)
        self.log = KafkaLog(machines.kafka, now_ms=clock.now_ms)
        self.runtime = Runtime(self.documents, self.log, clock, senders={"email": sender})

    async def post(self, event_type: str, people: Iterable[int]) -> None:
        """Accept an event of each of these people, asking again where the answer is "not now"."""
        events = [
            CustomerEvent(
                id=f"{event_type}-{i}", type=event_type, end_user_id=f"usr_{i}", data_json=json.dumps({"n": i}).encode()
            )
            for i in people
        ]
        await eventually(lambda: self.runtime.ingestion(WORKSPACE, events))

    async def import_people(self, people: Iterable[int]) -> None:
        """People who can be written to."""
        for i in people:
            body = b'{"addresses": {"email": "usr_%d@example.com"}}' % i
            await self.runtime.subjects.put(WORKSPACE, f"usr_{i}", body, None)

    async def executions(self) -> list[Execution]:
        """All of them."""
        return (await self.documents.scan(EXECUTIONS, "", limit=10_000)).items

    async def close(self) -> None:
        """Leave in good order."""
        await self.runtime.close()
        await self.leave()

    async def leave(self) -> None:
        """Let the connections go."""
        await self.log.close()
        await self.documents.close()


@asynccontextmanager
async def a_worker(
    machines: Machines, sender: RecordingSender | None = None, documents: MongoDocuments | None = None
) -> AsyncIterator[Worker]:
    """A running one. `documents`: its store, if it is a special one."""
    worker = Worker(machines, sender or RecordingSender(), documents)
    await worker.runtime.open()
    try:
        yield worker
    finally:
        await worker.close()


@asynccontextmanager
async def a_producer(machines: Machines, **options: Any) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """A foreign producer: `await produce(key, value, headers=..., partition=...)` on the events topic."""
    producer = AIOKafkaProducer(**machines.kafka.options(), acks="all", **options)
    await producer.start()

    async def produce(key: bytes | None, value: bytes | None, **more: Any) -> Any:
        return await producer.send_and_wait(machines.kafka.stored(EVENTS), value, key, **more)

    try:
        yield produce
    finally:
        await producer.stop()


class FileSender(RecordingSender):
    """Writes the id of every message it is handed to a file that several processes append to. Dedupes nothing."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    async def send(self, message: OutgoingMessage) -> None:
        """A line, written at once."""
        with self._path.open("a") as file:
            file.write(f"{message.message_id}\n")

    def sent(self) -> list[str]:
        """Every message id that anybody was handed, as often as it was."""
        return self._path.read_text().splitlines() if self._path.exists() else []


class OtherProcess:
    """A worker in a process of its own, to be stopped, continued and killed. Its leases are short."""

    def __init__(self, machines: Machines, sent: Path, said: Path) -> None:
        self._said = said
        given = [machines.mongodb, f"kafka://{','.join(machines.kafka.servers)}", machines.database, str(sent)]
        with said.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.workers", *given],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=ROOT,
            )

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def said(self) -> str:
        """What it wrote so far."""
        return self._said.read_text()

    def is_stopped(self) -> bool:
        """Whether it does not run because of a SIGSTOP."""
        return Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def end(self) -> int:
        """SIGTERM; its exit status."""
        self.send(signal.SIGTERM)
        return self._process.wait(30)

    def kill(self) -> None:
        """kill -9, if it still runs."""
        self._process.kill()
        self._process.wait(30)


class _ZombieToBe(MongoDocuments):
    """Stops its process in front of a write of executions, when it was told to."""

    is_told = False

    async def write_many(self, writes: Sequence[Write]) -> list[Outcome]:
        places = [i for i, one in enumerate(writes) if isinstance(one, Replace) and one.collection is EXECUTIONS]
        if not (self.is_told and places):
            return await super().write_many(writes)
        self.is_told = False
        os.kill(os.getpid(), signal.SIGSTOP)
        outcomes = await super().write_many(writes)
        sys.stdout.write(f"the zombie's write: {' '.join(sorted({outcomes[i].value for i in places}))}\n")
        sys.stdout.flush()
        return outcomes


async def _work(mongodb: str, kafka: str, name: str, sent: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    for module in LEASED:
        vars(module)["LEASE_MS"] = SHORT_LEASE_MS
    documents = _ZombieToBe(mongodb, name)
    loop.add_signal_handler(signal.SIGUSR1, setattr, documents, "is_told", True)
    async with a_worker(Machines(mongodb, kafka, name), FileSender(Path(sent)), documents):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    set_up_logging("info", "json")
    asyncio.run(_work(*sys.argv[1:]))
