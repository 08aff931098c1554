"""Speaks ErasureService, and asks the other services' for their part.

Law: nothing is decided here. A service that does not answer makes the whole wait: a person is forgotten everywhere or
not yet.
"""

from collections.abc import Callable
from typing import Any

import grpc
from journeys.analytics.v1 import erasure_service_pb2 as analytics_pb
from journeys.analytics.v1 import erasure_service_pb2_grpc as analytics_rpc
from journeys.authoring.v1 import erasure_service_pb2 as authoring_pb
from journeys.authoring.v1 import erasure_service_pb2_grpc as authoring_rpc
from journeys.runtime.v1 import erasure_service_pb2 as pb
from journeys.runtime.v1 import erasure_service_pb2_grpc as rpc

from services.domain.errors import Unavailable
from services.infra.grpc.channel import connect
from services.runtime.erasure import Asked, Elsewhere, Erasures
from services.runtime.erasure_documents import DONE, Receipt

PEER_SECONDS = 100.0
NAME = "journeys.runtime.v1.ErasureService"
Address = Callable[[], str | None]
Context = grpc.aio.ServicerContext[Any, Any]


class ErasureServicer(rpc.ErasureServiceServicer):
    """Serves forgetting and its receipts."""

    def __init__(self, erasures: Erasures) -> None:
        self._erasures = erasures

    async def ForgetEndUser(self, request: pb.ForgetEndUserRequest, context: Context) -> pb.ForgetEndUserResponse:
        receipt, is_first = await self._erasures(request.workspace, request.end_user_id)
        return pb.ForgetEndUserResponse(erasure=_erasure(receipt, with_counts=is_first))

    async def GetErasure(self, request: pb.GetErasureRequest, context: Context) -> pb.GetErasureResponse:
        receipt, remaining, reinstated_at = await self._erasures.receipt(request.receipt_id)
        return pb.GetErasureResponse(
            erasure=_erasure(receipt, with_counts=True),
            is_done=receipt.phase == DONE,
            remaining=remaining,
            reinstated_at_ms=reinstated_at,
        )


class Peers:
    """The other services, each where its address says; None: it is not there, and has nothing of anybody."""

    def __init__(self, authoring: Address, analytics: Address) -> None:
        self._authoring = authoring
        self._analytics = analytics
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def __call__(self, asked: Asked) -> Elsewhere:
        """Have both forget the person. Raises Unavailable."""
        person = asked.person
        audience_entries = answers = audit_entries = 0
        try:
            if (address := self._authoring()) is not None:
                authoring: Any = authoring_rpc.ErasureServiceStub(self._channel(address))
                request = authoring_pb.EraseSubjectRequest(
                    workspace=person.workspace,
                    subject_key=person.key,
                    receipt_id=asked.receipt_id,
                    answers_only=asked.is_again,
                )
                erased = await authoring.EraseSubject(request, timeout=PEER_SECONDS)
                audience_entries, answers = erased.audience_entries, erased.answers
            if (address := self._analytics()) is not None:
                analytics: Any = analytics_rpc.ErasureServiceStub(self._channel(address))
                audit_entries = (
                    await analytics.EraseSubject(
                        analytics_pb.EraseSubjectRequest(
                            workspace=person.workspace,
                            subject_key=person.key,
                            subject_secret=person.secret,
                            receipt_id=asked.receipt_id,
                            address_hashes=asked.address_hashes,
                        ),
                        timeout=PEER_SECONDS,
                    )
                ).entries
        except grpc.aio.AioRpcError as error:
            raise Unavailable(
                f"A service that has to forget the person does not answer: {error.code().name}."
            ) from error
        return Elsewhere(audience_entries, audit_entries, answers)

    async def close(self) -> None:
        """Let go of the connections."""
        for channel in self._channels.values():
            await channel.close()

    def _channel(self, address: str) -> grpc.aio.Channel:
        if address not in self._channels:
            self._channels[address] = connect(address)
        return self._channels[address]


def _erasure(receipt: Receipt, *, with_counts: bool) -> pb.Erasure:
    counts = pb.ErasedCounts()
    if with_counts:
        counts = pb.ErasedCounts(
            executions=receipt.executions,
            messages=receipt.messages,
            in_app=receipt.in_app,
            events=receipt.events,
            profile=receipt.profile,
            audience_entries=receipt.audience_entries,
            audit_entries=receipt.audit_entries,
        )
    return pb.Erasure(
        receipt_id=receipt.key,
        forgotten_at_ms=receipt.forgotten_at,
        stopped=receipt.stopped if with_counts else 0,
        erased=counts,
        retained_until_ms=receipt.retained_until,
    )
