"""Speaks ReportService: protos in, protos out, nothing decided."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from journeys.analytics.v1 import report_service_pb2 as pb
from journeys.analytics.v1 import report_service_pb2_grpc as rpc

from services.analytics.branch_performance import GetBranchPerformance
from services.analytics.impact import GetCalibratedImpact
from services.analytics.recount import RecountStats
from services.analytics.report_convert import (
    branches_to_proto,
    happening_to_proto,
    impact_to_proto,
    recounted_to_proto,
)
from services.analytics.watching import TooSlow, Watching
from services.infra.documents.port import StoreUnavailable
from services.infra.log.port import LogUnavailable


class ReportServicer(rpc.ReportServiceServicer):
    """Raises the domain's errors; the server's interceptor turns them into statuses."""

    def __init__(
        self, branches: GetBranchPerformance, impact: GetCalibratedImpact, recount: RecountStats, watching: Watching
    ) -> None:
        self._branches = branches
        self._impact = impact
        self._recount = recount
        self._watching = watching

    async def GetBranchPerformance(
        self, request: pb.GetBranchPerformanceRequest, context: Any
    ) -> pb.GetBranchPerformanceResponse:
        return branches_to_proto(await self._branches(request.workspace, request.journey_id, request.draft_steps_json))

    async def GetCalibratedImpact(
        self, request: pb.GetCalibratedImpactRequest, context: Any
    ) -> pb.GetCalibratedImpactResponse:
        return impact_to_proto(await self._impact(request.workspace, request.journey_id))

    async def RecountStats(self, request: pb.RecountStatsRequest, context: Any) -> pb.RecountStatsResponse:
        return recounted_to_proto(await self._recount(request.workspace, request.journey_id))

    async def WatchJourney(
        self, request: pb.WatchJourneyRequest, context: Any
    ) -> AsyncIterator[pb.WatchJourneyResponse]:
        # A stream passes by the interceptor, so its end is made a status here.
        after = request.after if request.HasField("after") else None
        try:
            async for happening in self._watching.watch(request.workspace, request.journey_id, after):
                yield happening_to_proto(happening)
        except TooSlow:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "The reader was too slow.")
        except (LogUnavailable, StoreUnavailable):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "What is stored cannot be read now.")
