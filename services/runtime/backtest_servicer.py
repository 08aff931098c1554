"""Speaks BacktestService: proto in, proto out."""

from typing import Any

import grpc
from journeys.runtime.v1 import backtest_service_pb2 as pb
from journeys.runtime.v1 import backtest_service_pb2_grpc as rpc

from services.runtime.backtests import Backtests, Window
from services.runtime.simulation_servicer import walkable_from_proto

Context = grpc.aio.ServicerContext[Any, Any]


class BacktestServicer(rpc.BacktestServiceServicer):
    """Starts, shows and cancels backtests."""

    def __init__(self, backtests: Backtests) -> None:
        self._backtests = backtests

    async def StartBacktest(self, request: pb.StartBacktestRequest, context: Context) -> pb.StartBacktestResponse:
        """See the proto."""
        backtest_id = await self._backtests.start(
            request.workspace,
            request.journey_id,
            walkable_from_proto(request.workspace, request.runnable),
            Window(request.from_ms, request.to_ms),
        )
        return pb.StartBacktestResponse(backtest_id=backtest_id)

    async def GetBacktest(self, request: pb.GetBacktestRequest, context: Context) -> pb.GetBacktestResponse:
        """See the proto."""
        found = await self._backtests.get(request.workspace, request.journey_id, request.backtest_id)
        return pb.GetBacktestResponse(
            status=found.status, progress=found.progress, result_json=found.result_json, error=found.error
        )

    async def CancelBacktest(self, request: pb.CancelBacktestRequest, context: Context) -> pb.CancelBacktestResponse:
        """See the proto."""
        await self._backtests.cancel(request.workspace, request.journey_id, request.backtest_id)
        return pb.CancelBacktestResponse()
