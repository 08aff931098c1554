"""Speaks ErasureService: proto in, proto out."""

from typing import Any

import grpc
from journeys.analytics.v1 import erasure_service_pb2 as pb
from journeys.analytics.v1 import erasure_service_pb2_grpc as rpc

from services.analytics.erasure import EraseSubject
from services.domain.mentions import Person

NAME = "journeys.analytics.v1.ErasureService"
Context = grpc.aio.ServicerContext[Any, Any]


class ErasureServicer(rpc.ErasureServiceServicer):
    """Serves the runtime, which forgets people."""

    def __init__(self, erase: EraseSubject) -> None:
        self._erase = erase

    async def EraseSubject(self, request: pb.EraseSubjectRequest, context: Context) -> pb.EraseSubjectResponse:
        person = Person(request.workspace, request.subject_key, request.subject_secret)
        return pb.EraseSubjectResponse(
            entries=await self._erase(person, request.receipt_id, set(request.address_hashes))
        )
