"""The server itself: health, figures, the API's description, the development clock.

Source: contract 7.
"""

from aiohttp import web
from journeys.runtime.v1.runtime_service_pb2 import AdvanceClockRequest

from gateway.context import CLOCK, HEALTH, OPTIONS, TELEMETRY
from gateway.declaration import Role, route
from gateway.dto.running import Now
from gateway.errors import Problem, invalid_at
from gateway.pages import home as home_page
from gateway.reading import body_of
from gateway.replies import json_reply
from gateway.times import duration_ms, rfc3339
from services.infra.telemetry import CONTENT_TYPE

ADVANCE_SECONDS = 600.0  # everything that falls due in months may have to happen first
MAX_ADVANCE_DAYS = 3660
_DAY_MS = 86_400_000


@route("GET", "/healthz", role=Role.PUBLIC)
async def healthz(request: web.Request) -> web.Response:
    """Whether this process is alive.

    200.
    """
    return json_reply({"status": "ok"})


@route("GET", "/readyz", role=Role.PUBLIC)
async def readyz(request: web.Request) -> web.Response:
    """Whether the services behind it answer.

    200; 503 with what does not.
    """
    answers = await request.app[HEALTH].check()
    silent = {name: answer for name, answer in answers.items() if answer is not None}
    if silent:
        detail = f"Not ready: {', '.join(sorted(silent))}."
        raise Problem(503, "unavailable", detail, headers={"Retry-After": "1"}, members={"services": sorted(silent)})
    return json_reply({"status": "ready", "services": sorted(answers)})


@route("GET", "/metrics", role=Role.PUBLIC, reply_media="text/plain")
async def metrics(request: web.Request) -> web.Response:
    """Figures for Prometheus.

    200.
    """
    return web.Response(body=request.app[TELEMETRY].render(), headers={"Content-Type": CONTENT_TYPE})


@route("GET", "/api/openapi.json", role=Role.PUBLIC, noun="server")
async def openapi(request: web.Request) -> web.Response:
    """This API as OpenAPI 3.1.

    200.
    """
    return web.Response(body=request.app[OPTIONS].documents["openapi"], content_type="application/json")


@route("GET", "/docs", role=Role.PUBLIC, reply_media="text/html")
async def docs(request: web.Request) -> web.Response:
    """This API as a page to read, offline.

    200.
    """
    return _page(request.app[OPTIONS].documents["docs"])


@route("GET", "/", role=Role.PUBLIC, reply_media="text/html")
async def home(request: web.Request) -> web.Response:
    """Where to begin.

    200.
    """
    options = request.app[OPTIONS]
    return _page(home_page(options.version, options.public_url or f"{request.scheme}://{request.host}"))


@route("POST", "/api/dev/clock", role=Role.EDITOR, noun="server", body="ClockAdvance", reply=Now, development=True)
async def advance_clock(request: web.Request) -> web.Response:
    """Move the development clock: what is due on the way happens first, each at its own time.

    200 {"now"}; 400 unsupported_duration; 404 unless the development clock is on.
    """
    text = (await body_of(request))["advance"]
    try:
        advance = duration_ms(text)
    except ValueError as error:
        code = "unsupported_duration" if "month" in str(error) else "bad_duration"
        reason = "unsupported_duration" if "month" in str(error) else "validation_error"
        raise invalid_at("/advance", code, f"advance: {error}.", reason=reason) from None
    if advance > MAX_ADVANCE_DAYS * _DAY_MS:
        raise invalid_at("/advance", "out_of_range", f"The clock moves at most {MAX_ADVANCE_DAYS} days at once.")
    reply = await request.app[CLOCK].AdvanceClock(AdvanceClockRequest(advance_ms=advance), timeout=ADVANCE_SECONDS)
    return json_reply(Now(now=rfc3339(reply.now_ms)))


def _page(body: bytes) -> web.Response:
    return web.Response(
        body=body,
        headers={
            "Content-Type": "text/html; charset=utf-8",
            # Nothing is loaded from anywhere, and nothing may be.
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
            "Referrer-Policy": "no-referrer",
        },
    )
