"""What the numbers say of a journey, and what happens in it right now.

Source: contract 4; the live stream is Server-Sent Events (HTML standard, section 9.2).
"""

import asyncio
from typing import Any, Final

import grpc
import msgspec
from aiohttp import web
from journeys.analytics.v1.report_service_pb2 import (
    GetBranchPerformanceRequest,
    GetCalibratedImpactRequest,
    RecountStatsRequest,
    WatchJourneyRequest,
    WatchJourneyResponse,
)

from gateway.context import CONTEXT, MAX_QUERY_TEXT, REPORTS, path_id, workspace
from gateway.declaration import Role, route
from gateway.dto.reports import BranchPerformance, CalibratedImpact, ExecutionEvent, Recounted
from gateway.dto.running import every_step
from gateway.middleware import headers_of_all
from gateway.reading import optional_body_of
from gateway.replies import json_reply
from gateway.routes.journeys import load_journey

HEARTBEAT_SECONDS: Final = 15.0
RETRY_MS: Final = 2_000  # how long a browser waits until it comes back
STREAM_SECONDS: Final = 900.0  # then it comes back too, with the id of the last event it had, and signs in again
RECOUNT_SECONDS: Final = 120.0
SLOW_SECONDS = 20.0  # how long a reader may not read at all
CLOSING: Final = web.AppKey("closing", asyncio.Event)

_ENCODE: Final = msgspec.json.Encoder().encode


@route("GET", "/api/journeys/{id}/branch-performance", role=Role.VIEWER, reply=list[BranchPerformance])
async def branch_performance(request: web.Request) -> web.Response:
    """Reach and goal rate of each arm of every adaptive branch.

    200; 404. Arms below their floor have `coldStart: true` and no credible interval.
    """
    journey = await load_journey(request)
    message = GetBranchPerformanceRequest(workspace=workspace(request), journey_id=path_id(request))
    if journey.latest_version == 0:
        message.draft_steps_json = journey.steps_json
    reply = await request.app[REPORTS].GetBranchPerformance(message)
    return json_reply([BranchPerformance.from_proto(branch) for branch in reply.branches])


@route("GET", "/api/journeys/{id}/calibrated-impact", role=Role.VIEWER, reply=CalibratedImpact)
async def calibrated_impact(request: web.Request) -> web.Response:
    """Triggered and converted people, exposed against held out, since the goal was set.

    200; 404. Without a goal: zeros, and `goalEventName` is null.
    """
    await load_journey(request)
    message = GetCalibratedImpactRequest(workspace=workspace(request), journey_id=path_id(request))
    return json_reply(CalibratedImpact.from_proto(await request.app[REPORTS].GetCalibratedImpact(message)))


@route(
    "POST",
    "/api/journeys/{id}/stats/recount",
    role=Role.EDITOR,
    body="Nothing",
    body_required=False,
    reply=Recounted,
)
async def recount_stats(request: web.Request) -> web.Response:
    """Count the journey anew, from facts and from executions, and compare with what is stored.

    200, `agrees: false` with the differences where it does not; 404; 503 unavailable.
    """
    await optional_body_of(request)
    await load_journey(request)
    message = RecountStatsRequest(workspace=workspace(request), journey_id=path_id(request))
    reply = await request.app[REPORTS].RecountStats(message, timeout=RECOUNT_SECONDS)
    return json_reply(Recounted.from_proto(reply))


@route("GET", "/api/journeys/{id}/stream", role=Role.VIEWER, reply_media="text/event-stream")
async def stream(request: web.Request) -> web.StreamResponse:
    """What happens in the journey, as Server-Sent Events: `execution` and `stats`.

    200, an open answer; 404. `Last-Event-ID` goes on behind that event. A comment comes every 15 s where nothing
    else does; a reader who is too slow is cut off and may come back.
    """
    await load_journey(request)
    message = WatchJourneyRequest(workspace=workspace(request), journey_id=path_id(request))
    last = request.headers.get("Last-Event-ID", "")
    if last and last.isascii() and len(last) <= MAX_QUERY_TEXT:
        message.after = last
    call = request.app[REPORTS].WatchJourney(message, timeout=STREAM_SECONDS)
    try:
        first = await call.read()  # what refuses does so before the answer has begun
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers={**headers, **headers_of_all(request[CONTEXT])})
        response.content_type = "text/event-stream"
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        try:
            await _write(request, response, b"retry: %d\n\n" % RETRY_MS)
            await _pass_on(request, response, call, first)
        except (TimeoutError, ConnectionError, grpc.aio.AioRpcError):
            pass  # the reader is gone or too slow, or analytics is: the reader comes back
        return response
    finally:
        call.cancel()


async def _pass_on(
    request: web.Request,
    response: web.StreamResponse,
    call: "grpc.aio.UnaryStreamCall[WatchJourneyRequest, WatchJourneyResponse]",
    first: object,
) -> None:
    closing = asyncio.ensure_future(request.app[CLOSING].wait())
    reading: asyncio.Future[Any] | None = None
    happening: object = first
    try:
        while happening is not grpc.aio.EOF:
            if isinstance(happening, WatchJourneyResponse):
                await _write(request, response, _event(path_id(request), happening, await _steps(request, happening)))
            if reading is None or reading.done():
                reading = asyncio.ensure_future(call.read())
            waiting: set[asyncio.Future[Any]] = {reading, closing}
            await asyncio.wait(waiting, timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if closing.done():
                return
            if reading.done():
                happening = reading.result()
            else:
                happening = None
                await _write(request, response, b":\n\n")
    finally:
        closing.cancel()
        if reading is not None and not reading.done():
            reading.cancel()


async def _write(request: web.Request, response: web.StreamResponse, data: bytes) -> None:
    """Write on, or cut off who does not read: an answer that nobody takes must not be kept for ever."""
    try:
        async with asyncio.timeout(SLOW_SECONDS):
            await response.write(data)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the reader does not read") from None


async def _steps(request: web.Request, happening: WatchJourneyResponse) -> bytes:
    """The journey's steps as they are now, where counts are told: once a second at most, and a publish shows."""
    return (await load_journey(request)).steps_json if happening.HasField("stats") else b""


def _event(journey_id: str, happening: WatchJourneyResponse, steps_json: bytes) -> bytes:
    if happening.WhichOneof("what") == "execution":
        name, data = b"execution", _ENCODE(ExecutionEvent.from_proto(journey_id, happening.execution))
    else:
        name, data = b"stats", _ENCODE(every_step(steps_json, happening.stats.steps))
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (happening.id.encode(), name, data)


async def end_streams(app: web.Application) -> None:
    """Let every stream end: nobody else would, and the process waits for its answers."""
    app[CLOSING].set()
