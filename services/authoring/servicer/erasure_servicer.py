"""Speaks ErasureService: proto in, proto out."""

from typing import Any

import grpc
from journeys.authoring.v1 import erasure_service_pb2 as pb
from journeys.authoring.v1 import erasure_service_pb2_grpc as rpc

from services.authoring.erasure import EraseSubject

NAME = "journeys.authoring.v1.ErasureService"
Context = grpc.aio.ServicerContext[Any, Any]


class ErasureServicer(rpc.ErasureServiceServicer):
    """Serves the runtime, which forgets people."""

    def __init__(self, erase: EraseSubject) -> None:
        self._erase = erase

    async def EraseSubject(self, request: pb.EraseSubjectRequest, context: Context) -> pb.EraseSubjectResponse:
        erased = await self._erase(
            request.workspace, request.subject_key, request.receipt_id, answers_only=request.answers_only
        )
        return pb.EraseSubjectResponse(audience_entries=erased.entries, answers=erased.answers)
