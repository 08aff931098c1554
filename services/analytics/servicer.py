"""Speaks AnalyticsService: protos in, protos out, nothing decided."""

from typing import Any

from journeys.analytics.v1 import analytics_service_pb2 as pb
from journeys.analytics.v1 import analytics_service_pb2_grpc as rpc

from services.analytics.audit import ListAudit
from services.analytics.convert import page_to_proto, query_from_proto, stats_to_proto
from services.analytics.step_stats import GetStepStats


class AnalyticsServicer(rpc.AnalyticsServiceServicer):
    """Raises the domain's errors; the server's interceptor turns them into statuses."""

    def __init__(self, list_audit: ListAudit, get_step_stats: GetStepStats) -> None:
        self._list_audit = list_audit
        self._get_step_stats = get_step_stats

    async def ListAudit(self, request: pb.ListAuditRequest, context: Any) -> pb.ListAuditResponse:
        return page_to_proto(await self._list_audit(query_from_proto(request)))

    async def GetStepStats(self, request: pb.GetStepStatsRequest, context: Any) -> pb.GetStepStatsResponse:
        return stats_to_proto(await self._get_step_stats(request.workspace, request.journey_id))
