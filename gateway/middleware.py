"""What every request goes through: its id, its caller, the translation of what goes wrong, the figures.

    request id -> caller and role -> (Idempotency-Key) -> handler
        |              refusals and bugs become problems here
        +-> access log and metrics, by route, never by path: paths hold people's ids

Law: the one place in this process where any exception at all is caught.
"""

import re
import time
from typing import Final
from uuid import uuid4

import structlog
from aiohttp import web
from prometheus_client import Counter, Histogram

from gateway.auth import identify
from gateway.context import CONTEXT, TELEMETRY, Context
from gateway.declaration import Handler, Role, Route
from gateway.errors import bug, problem_of, problem_reply
from gateway.idempotency import answered_once
from services.infra.grpc.caller import acting

REQUEST_ID: Final = "X-Request-Id"
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})  # asked every few seconds by machines

_log = structlog.get_logger("gateway.access")


class Figures:
    """Requests counted and timed by route."""

    def __init__(self, requests: Counter, seconds: Histogram) -> None:
        self._requests = requests
        self._seconds = seconds
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def note(self, method: str, path: str, status: int, seconds: float) -> None:
        """One request is done."""
        key = (method if method in _METHODS else "other", path, status)
        children = self._children.get(key)
        if children is None:
            children = (self._requests.labels(key[0], path, str(status)), self._seconds.labels(key[0], path))
            self._children[key] = children
        children[0].inc()
        children[1].observe(seconds)


FIGURES: Final = web.AppKey("figures", Figures)
ROUTE_OF: Final[web.AppKey[dict[Handler, Route]]] = web.AppKey("route_of")


def figures_of(app: web.Application) -> Figures:
    """The figures of an application's telemetry."""
    telemetry = app[TELEMETRY]
    return Figures(
        telemetry.counter("gateway_requests", "Requests answered.", ("method", "route", "status")),
        telemetry.histogram("gateway_request_seconds", "Time to answer.", ("method", "route")),
    )


@web.middleware
async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Everything around a handler; always an answer, never an exception."""
    started = time.perf_counter()
    app = request.app
    route = app[ROUTE_OF].get(request.match_info.handler)
    context = Context(request_id_of(request.headers.get(REQUEST_ID)), route)
    request[CONTEXT] = context
    with acting("", context.request_id):
        try:
            response = await _answer(request, handler, context, route)
        except Exception as error:  # noqa: BLE001  # the outermost loop: logged, counted, answered
            problem = problem_of(error)
            if problem is None:
                problem = bug()
                name = type(error).__name__
                _log.error("gateway.bug", error=name, request_id=context.request_id, exc_info=True)
            response = problem_reply(problem, request.rel_url.raw_path, context.request_id)
    response.headers.update(headers_of_all(context))
    seconds = time.perf_counter() - started
    path = route.path if route is not None else "unknown"
    app[FIGURES].note(request.method, path, response.status, seconds)
    if path not in _QUIET:
        _log.info(
            "request",
            method=request.method,
            route=path,
            status=response.status,
            ms=round(seconds * 1000, 1),
            request_id=context.request_id,
            workspace=context.caller.workspace if context.caller is not None else None,
        )
    return response


def headers_of_all(context: Context) -> dict[str, str]:
    """What every answer carries. A stream, which begins before it gets here, sets them itself."""
    return {
        REQUEST_ID: context.request_id,
        "X-Content-Type-Options": "nosniff",
        "Server": "journeys",  # not which Python and which library
    }


def request_id_of(header: str | None) -> str:
    """The client's request id if it is one, else a new one."""
    return header if header is not None and _REQUEST_ID.fullmatch(header) else uuid4().hex


async def _answer(request: web.Request, handler: Handler, context: Context, route: Route | None) -> web.StreamResponse:
    if route is None or route.role is Role.PUBLIC:
        return await handler(request)
    await identify(request, context, route.role)
    assert context.caller is not None
    with acting(context.caller.user_id):
        return await (answered_once(request, context, handler) if route.creates else handler(request))
