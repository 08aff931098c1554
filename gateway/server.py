"""HTTP on a port, with aiohttp's own refusals as problems.

A request line that is none, headers beyond the limits and the like never reach a handler: aiohttp answers them
itself, in text or HTML. `GatewayRunner` is aiohttp's AppRunner with a protocol that answers problem+json.
"""

from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

from aiohttp import web

from gateway.context import Context
from gateway.errors import Problem, bug, problem_of, problem_reply
from gateway.middleware import headers_of_all

DRAIN_SECONDS: Final = 10.0  # of the 15 a process has to end after SIGTERM


class GatewayRunner(web.AppRunner):
    """Serves the gateway's application; `cleanup` stops accepting and lets what is under way finish."""

    def __init__(self, app: web.Application, *, drain_seconds: float = DRAIN_SECONDS) -> None:
        super().__init__(app, access_log=None, handle_signals=False, shutdown_timeout=drain_seconds)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made)


class _Server(web.Server):
    """The server aiohttp made, with our protocol for its connections."""

    def __init__(self, made: web.Server) -> None:
        super().__init__(made.request_handler, request_factory=made.request_factory, loop=made._loop, **made._kwargs)

    def __call__(self) -> web.RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)


class _Protocol(web.RequestHandler):
    """A connection whose refusals are problems."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What aiohttp answers where no handler was reached, or where one failed after our middleware."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun; nothing can be added")
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            problem = Problem(status, "bad_request", "This is no HTTP request that can be taken.")
        else:
            problem = bug()
            self.log_exception("gateway.bug", exc_info=exc)
        response = _answer(request, problem)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **more: Any) -> None:
        """Log it, unless it is the caller's doing, such as a body that cannot be unpacked to its end."""
        error = more.get("exc_info")
        if not isinstance(error, BaseException) or problem_of(error) is None:
            super().log_exception(*args, **more)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write the answer; an exception of aiohttp's that passed by the middleware (417) becomes a problem."""
        if isinstance(resp, web.HTTPException):
            resp = _answer(request, problem_of(resp) or bug())
        return await super().finish_response(request, resp, start_time)


def _answer(request: web.BaseRequest, problem: Problem) -> web.Response:
    context = Context(uuid4().hex, None)
    response = problem_reply(problem, request.rel_url.raw_path, context.request_id)
    response.headers.update(headers_of_all(context))
    return response


async def start(runner: web.AppRunner, host: str, port: int) -> str:
    """Listen; returns the address, with the port that was chosen where `port` is 0."""
    await runner.setup()
    site = web.TCPSite(runner, host, port, backlog=1024)
    await site.start()
    bound: Any = runner.addresses[0]
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{bound[1]}"
