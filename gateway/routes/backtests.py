"""Backtests: a version walked by recorded events, without consequences.

Source: contract 5.
"""

from typing import Any

from aiohttp import web
from journeys.runtime.v1.backtest_service_pb2 import (
    CancelBacktestRequest,
    GetBacktestRequest,
    StartBacktestRequest,
)

from gateway.context import BACKTESTS, path_id, workspace
from gateway.declaration import Role, route
from gateway.dto.backtests import Backtest, BacktestStarted
from gateway.errors import invalid
from gateway.pointers import Fault
from gateway.reading import body_of
from gateway.replies import json_reply, nothing, segment
from gateway.routes.simulation import runnable_of
from gateway.times import ms_of

_PATH = "/api/journeys/{id}/backtests"
_ONE = _PATH + "/{backtestId}"


@route("POST", _PATH, role=Role.EDITOR, body="BacktestStart", status=202, reply=BacktestStarted, creates=True)
async def start_backtest(request: web.Request) -> web.Response:
    """Walk a version by the events that were received in a stretch of time; in the background.

    202 {"backtestId"}; 400 validation_error, graph_invalid; 404; 429 rate_limited.
    """
    body = await body_of(request)
    moments = _moments(body)
    key, journey_id = workspace(request), path_id(request)
    runnable, _ = await runnable_of(request, body)
    message = StartBacktestRequest(
        workspace=key, journey_id=journey_id, runnable=runnable, from_ms=moments["from"], to_ms=moments["to"]
    )
    reply = await request.app[BACKTESTS].StartBacktest(message)
    location = f"/api/journeys/{segment(journey_id)}/backtests/{reply.backtest_id}"
    return json_reply(BacktestStarted(backtest_id=reply.backtest_id), status=202, location=location)


@route("GET", _ONE, role=Role.VIEWER, reply=Backtest)
async def get_backtest(request: web.Request) -> web.Response:
    """How far a backtest is, and what came of it.

    200 {"status", "progress", "result"?}; 404.
    """
    message = GetBacktestRequest(
        workspace=workspace(request), journey_id=path_id(request), backtest_id=path_id(request, "backtestId")
    )
    return json_reply(Backtest.from_proto(await request.app[BACKTESTS].GetBacktest(message)))


@route("DELETE", _ONE, role=Role.EDITOR, status=204)
async def cancel_backtest(request: web.Request) -> web.Response:
    """Cancel a backtest; one that has ended stays as it is.

    204; 404.
    """
    message = CancelBacktestRequest(
        workspace=workspace(request), journey_id=path_id(request), backtest_id=path_id(request, "backtestId")
    )
    await request.app[BACKTESTS].CancelBacktest(message)
    return nothing()


def _moments(body: dict[str, Any]) -> dict[str, int]:
    found: dict[str, int] = {}
    faults: list[Fault] = []
    for name in ("from", "to"):
        try:
            found[name] = ms_of(body[name])
        except ValueError:
            faults.append(Fault(f"/{name}", "bad_time", f"{name} is an RFC 3339 time in UTC."))
    if faults:
        raise invalid(faults)
    return found
