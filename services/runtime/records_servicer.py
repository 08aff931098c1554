"""Speaks RecordsService: what is stored of executions, for whoever proves that a projection equals it."""

from typing import Any

import grpc
from journeys.runtime.v1 import records_service_pb2 as pb
from journeys.runtime.v1 import records_service_pb2_grpc as rpc

from services.runtime.convert import page_from_proto
from services.runtime.queries import Queries
from services.runtime.records import message_of

RECORDS_SHOWN = 500

Context = grpc.aio.ServicerContext[Any, Any]


class RecordsServicer(rpc.RecordsServiceServicer):
    """Serves pages of execution records."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def ListExecutionRecords(
        self, request: pb.ListExecutionRecordsRequest, context: Context
    ) -> pb.ListExecutionRecordsResponse:
        page = await self._queries.counted(
            request.workspace, request.journey_id, page_from_proto(request.page, RECORDS_SHOWN)
        )
        return pb.ListExecutionRecordsResponse(
            records=[message_of(execution, ()) for execution in page.items], next_cursor=page.cursor
        )
