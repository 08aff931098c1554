"""Backtests as the contract shows them (section 5)."""

from typing import Literal, Self

from journeys.runtime.v1 import backtest_service_pb2 as pb

from gateway.dto.shown import UNSET, Dto, Raw, UnsetType


class BacktestStarted(Dto, kw_only=True):
    """Where to ask for it."""

    backtest_id: str


class Backtest(Dto, kw_only=True):
    """How far it is, 0 to 1, and once it is done what came of it.

    `result`: events, entered, reached {stepId: n}, gated {reason: n}, messagesPerDay [{date, count}],
    differenceToVersion {version, entered, reached, messages} or null, eventsLeftOut.
    """

    status: Literal["running", "done", "failed", "cancelled"]
    progress: float
    result: Raw | UnsetType = UNSET
    error: str | UnsetType = UNSET

    @classmethod
    def from_proto(cls, backtest: pb.GetBacktestResponse) -> Self:
        """A backtest."""
        return cls(
            status=backtest.status,  # type: ignore[arg-type]  # the runtime knows these four
            progress=backtest.progress,
            result=Raw(backtest.result_json) if backtest.result_json else UNSET,
            error=backtest.error or UNSET,
        )
