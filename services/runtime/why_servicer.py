"""Speaks WhyService: what was decided about a person."""

from typing import Any

import grpc
from journeys.runtime.v1 import why_service_pb2 as pb
from journeys.runtime.v1 import why_service_pb2_grpc as rpc

from services.runtime.convert import page_from_proto
from services.runtime.simulation_servicer import check_to_proto, step_to_proto
from services.runtime.why import Decision, Why

SHOWN = 100

Context = grpc.aio.ServicerContext[Any, Any]


class WhyServicer(rpc.WhyServiceServicer):
    """Serves pages of decisions."""

    def __init__(self, why: Why) -> None:
        self._why = why

    async def ListDecisions(self, request: pb.ListDecisionsRequest, context: Context) -> pb.ListDecisionsResponse:
        """See the proto."""
        page = await self._why.decisions(
            request.workspace,
            request.journey_id,
            request.end_user_id,
            page_from_proto(request.page, SHOWN),
            request.event_id if request.HasField("event_id") else None,
        )
        return pb.ListDecisionsResponse(decisions=[_shown(one) for one in page.items], next_cursor=page.cursor)


def _shown(decision: Decision) -> pb.Decision:
    return pb.Decision(
        at_ms=decision.at,
        event_id=decision.event_id,
        event_type=decision.event_type,
        version=decision.version,
        outcome=decision.outcome,
        reason=decision.reason,
        execution_id=decision.execution_id,
        checks=[check_to_proto(check) for check in decision.checks],
        steps=[step_to_proto(step, {}) for step in decision.steps],
    )
