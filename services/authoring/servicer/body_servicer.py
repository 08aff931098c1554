"""Speaks BodyService."""

from typing import Any

from journeys.authoring.v1 import body_service_pb2 as pb
from journeys.authoring.v1 import body_service_pb2_grpc as rpc
from journeys.type.v1 import page_pb2

from services.authoring.body_checks import faults_of
from services.authoring.json_text import read_json

NAME: str = pb.DESCRIPTOR.services_by_name["BodyService"].full_name


class BodyServicer(rpc.BodyServiceServicer):
    """What is wrong with bodies beside their shape."""

    async def CheckBody(self, request: pb.CheckBodyRequest, context: Any) -> pb.CheckBodyResponse:
        """See the proto."""
        body, _ = read_json(request.body_json, "")
        faults = faults_of(request.kind, body) if isinstance(body, dict) else []
        return pb.CheckBodyResponse(
            faults=[page_pb2.Fault(path=one.path, code=one.code, message=one.message) for one in faults]
        )
