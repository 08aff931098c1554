"""Speaks DraftService."""

from typing import Any

from journeys.authoring.v1 import draft_service_pb2 as pb
from journeys.authoring.v1 import draft_service_pb2_grpc as rpc
from journeys.type.v1 import page_pb2

from services.authoring.convert.records import version_record
from services.authoring.runnable import GetRunnable
from services.infra.grpc.caller import actor_from


class DraftServicer(rpc.DraftServiceServicer):
    """What dry runs walk."""

    def __init__(self, get_runnable: GetRunnable) -> None:
        self._get_runnable = get_runnable

    async def GetRunnable(self, request: pb.GetRunnableRequest, context: Any) -> pb.GetRunnableResponse:
        found = await self._get_runnable(request.workspace, request.journey_id, request.version, actor_from(context))
        return pb.GetRunnableResponse(
            number=found.number,
            draft=None if found.draft is None else version_record(found.draft),
            faults=[page_pb2.Fault(path=one.path, code=one.code, message=one.message) for one in found.faults],
        )
