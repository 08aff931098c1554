"""A runtime on memory ports and a clock that a test moves: the real code, without files, sockets or sleeping."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from journeys.events.v1.customer_event_pb2 import CustomerEvent

from services.domain.execution.execution import Execution
from services.infra.clock import ManualClock
from services.runtime.app import Runtime
from services.runtime.collections import EXECUTIONS, MESSAGES, MessageDocument
from services.runtime.senders.port import OutgoingMessage, Promise, Sender
from tests.support.failpoints import Failpoint, MortalDocuments, MortalLog
from tests.support.journeys import WORKSPACE, publish_workspace
from tests.support.memory import MemoryDocuments, MemoryLog

LOOKS = 20_000


class RecordingSender:
    """Writes down every call and dedupes nothing. `fault` may raise for a message."""

    def __init__(self, promise: Promise = Promise.AT_MOST_ONCE) -> None:
        self.promise = promise
        self.at_once = 500
        self.calls: list[OutgoingMessage] = []
        self.fault: Exception | None = None

    async def send(self, message: OutgoingMessage) -> None:
        self.calls.append(message)
        if self.fault is not None:
            raise self.fault


class World:
    """One runtime process and what it stands on; `restart` puts a new process on the same store."""

    def __init__(self, senders: Mapping[str, Sender] | None = None, failpoint: Failpoint | None = None) -> None:
        self.clock = ManualClock()
        self.documents = MortalDocuments(failpoint) if failpoint else MemoryDocuments()
        self.log = MortalLog(failpoint, 16, self.clock.now_ms) if failpoint else MemoryLog(16, self.clock.now_ms)
        self.senders = senders
        self.allow_private_hosts: tuple[str, ...] = ("127.0.0.1",)
        self.runtime = self._made()

    async def post(self, event_type: str, user: str | None, event_id: str, **data: Any) -> tuple[int, int]:
        """Accept one event; (received, duplicates)."""
        event = CustomerEvent(id=event_id, type=event_type, data_json=json.dumps(data).encode())
        if user is not None:
            event.end_user_id = user
        return 1, len(await self.runtime.ingestion(WORKSPACE, [event]))

    async def settle(self) -> None:
        """Let everything accepted be handled, acted on and acknowledged."""
        calm = 0
        for _ in range(LOOKS):
            calm = calm + 1 if await self.runtime.idle() else 0
            if calm == 3:
                return
            await asyncio.sleep(0)
        raise AssertionError("the runtime did not come to rest")

    async def advance(self, ms: int) -> None:
        """Move time, firing what is due in order, each at its own time."""
        target = self.clock.now_ms() + ms
        await self.settle()
        while (due := await self.runtime.next_due()) is not None and due <= target:
            self.clock.move(max(0, due - self.clock.now_ms()))
            await self.settle()
        self.clock.move(target - self.clock.now_ms())
        await self.settle()

    async def restart(self, *, gracefully: bool = False) -> None:
        """End the process (killed unless `gracefully`) and start another."""
        if gracefully:
            await self.runtime.close()
        else:
            await self.runtime.kill()
        self.runtime = self._made()
        await self.runtime.open()

    async def survive(self, failpoint: Failpoint, scenario: Callable[[], Awaitable[None]]) -> bool:
        """Run a scenario; if the process dies in it, start another and run it again, as producers would.

        Whether it died.
        """
        running = asyncio.ensure_future(scenario())
        died = asyncio.ensure_future(failpoint.died.wait())
        await asyncio.wait([running, died], return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        if not failpoint.died.is_set():
            await running
            return False
        running.cancel()
        failpoint.disarm()
        await self.restart()
        await self.settle()
        await scenario()
        return True

    async def executions(self) -> list[Execution]:
        """All decisions, refused ones too, by execution id."""
        page = await self.documents.scan(EXECUTIONS, "", limit=10_000)
        return sorted(page.items, key=lambda one: one.execution_id)

    async def messages(self) -> list[MessageDocument]:
        """All messages, by id."""
        return sorted((await self.documents.scan(MESSAGES, "", limit=10_000)).items, key=lambda one: one.key)

    def _made(self) -> Runtime:
        return Runtime(
            self.documents,
            self.log,
            self.clock,
            senders=self.senders,
            is_alone=True,
            allow_private_hosts=self.allow_private_hosts,
        )


@asynccontextmanager
async def a_world(
    senders: Mapping[str, Sender] | None = None, failpoint: Failpoint | None = None
) -> AsyncIterator[World]:
    """An open world with its workspace published."""
    world = World(senders, failpoint)
    await world.documents.open(Runtime.collections)
    await world.log.open(Runtime.topics)
    await publish_workspace(world.log)
    await world.runtime.open()
    try:
        yield world
    finally:
        await world.runtime.close()
