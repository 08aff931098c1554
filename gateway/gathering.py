"""Single events of many callers, sent to the runtime together.

Law: nobody waits for company. While a call is under way the events that arrive gather, and the next call takes
them all; each caller is answered for their own event, and only after the call has said that it is durable.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from journeys.events.v1.customer_event_pb2 import CustomerEvent
from journeys.runtime.v1.runtime_service_pb2 import IngestEventsRequest

if TYPE_CHECKING:
    from journeys.runtime.v1.runtime_service_pb2_grpc import RuntimeServiceAsyncStub

MOST_AT_ONCE: Final = 500


class Gathering:
    """One queue a workspace; calls of different workspaces go side by side."""

    def __init__(self, runtime: "RuntimeServiceAsyncStub") -> None:
        self._runtime = runtime
        self._waiting: dict[str, deque[tuple[CustomerEvent, asyncio.Future[bool]]]] = {}
        self._callers: set[asyncio.Task[None]] = set()

    async def is_known(self, workspace: str, event: CustomerEvent) -> bool:
        """Take one event; once it is durable, whether its id had been taken before. Raises what the call raises."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        queue = self._waiting.get(workspace)
        if queue is None:
            queue = self._waiting[workspace] = deque()
            caller = asyncio.create_task(self._call(workspace, queue))
            self._callers.add(caller)
            caller.add_done_callback(self._callers.discard)
        queue.append((event, answer))
        return await answer

    async def _call(self, workspace: str, queue: "deque[tuple[CustomerEvent, asyncio.Future[bool]]]") -> None:
        while queue:
            batch = [queue.popleft() for _ in range(min(MOST_AT_ONCE, len(queue)))]
            request = IngestEventsRequest(workspace=workspace, events=[event for event, _ in batch])
            try:
                reply = await self._runtime.IngestEvents(request)
            except Exception as error:  # noqa: BLE001  # every caller of the batch gets it, and answers by it
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            known = set(reply.duplicate_indexes)
            for index, (_, answer) in enumerate(batch):
                if not answer.done():
                    answer.set_result(index in known)
        del self._waiting[workspace]
