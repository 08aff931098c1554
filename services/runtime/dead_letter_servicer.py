"""Speaks DeadLetterService: records that could not be read."""

from typing import Any

import grpc
from journeys.runtime.v1 import dead_letter_service_pb2 as pb
from journeys.runtime.v1 import dead_letter_service_pb2_grpc as rpc

from services.runtime.convert import page_from_proto
from services.runtime.dead_letters import DeadLetter, DeadLetters

SHOWN = 100

Context = grpc.aio.ServicerContext[Any, Any]


class DeadLetterServicer(rpc.DeadLetterServiceServicer):
    """Serves pages of dead letters, and replays single ones."""

    def __init__(self, letters: DeadLetters) -> None:
        self._letters = letters

    async def ListDeadLetters(self, request: pb.ListDeadLettersRequest, context: Context) -> pb.ListDeadLettersResponse:
        """See the proto."""
        page = await self._letters.listed(page_from_proto(request.page, SHOWN))
        return pb.ListDeadLettersResponse(letters=[_shown(one) for one in page.items], next_cursor=page.cursor)

    async def ReplayDeadLetter(
        self, request: pb.ReplayDeadLetterRequest, context: Context
    ) -> pb.ReplayDeadLetterResponse:
        """See the proto."""
        await self._letters.replay(request.partition, request.offset)
        return pb.ReplayDeadLetterResponse()


def _shown(letter: DeadLetter) -> pb.DeadLetter:
    stored, origin = letter.stored, letter.origin
    return pb.DeadLetter(
        partition=stored.partition,
        offset=stored.offset,
        at_ms=stored.appended_at,
        source_topic=origin.topic,
        source_partition=origin.partition,
        source_offset=origin.offset,
        reason=origin.reason,
        key=stored.key,
        value=stored.value,
    )
