"""A gRPC server with what every service of ours has: health, reflection, limits, errors, figures.

Law: a servicer raises; nothing but this file turns what it raised into a status. What was not foreseen goes to
the log with its traceback and to the caller as `internal` with the request id, never with a detail.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.domain.errors import Fault, Kind, Late, Refused, Unavailable, Unbuilt
from services.infra.documents.port import NewerDocument, StoreUnavailable
from services.infra.grpc import caller
from services.infra.grpc.errors import RETRY_AFTER, Refusal, Status, refusal_of, status_of
from services.infra.grpc.limits import SIZES
from services.infra.log.port import LogUnavailable
from services.infra.telemetry import Telemetry

S = TypeVar("S")
Method = Callable[[Any, Any], Any]

DEADLINE_SECONDS: Final = 30.0
MAX_SOCKET_PATH_BYTES: Final = 107  # sun_path in sys/un.h, less its final zero

_OPTIONS: Final = (
    *SIZES,
    ("grpc.so_reuseport", 0),  # a second server on the port must fail, not take half of the calls
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),  # or our own clients' keepalive is punished
    ("grpc.keepalive_permit_without_calls", 1),
)
# Clients learn of new pods when they connect again; calls in flight may end first.
_OVER_THE_NETWORK: Final = (
    ("grpc.max_connection_age_ms", 300_000),
    ("grpc.max_connection_age_grace_ms", 30_000),
)

_log = structlog.get_logger(__name__)


class Server:
    """A server of one or more services. Add servicers, start, stop; it is not started twice."""

    def __init__(self, name: str, *, telemetry: Telemetry | None = None) -> None:
        self.name = name
        self.telemetry = telemetry or Telemetry()
        self._adding: list[Callable[[grpc.aio.Server], None]] = []
        self._services: list[str] = []
        self._server: grpc.aio.Server | None = None
        self._health = health.aio.HealthServicer()
        self._ready = True

    def add(self, register: Callable[[S, grpc.aio.Server], None], servicer: S, full_service_name: str) -> None:
        """Serve `servicer`; `register` is the generated add_XServicer_to_server. Before start only."""
        if self._server is not None:
            raise RuntimeError(f"{self.name} is already started")
        self._adding.append(lambda server: register(servicer, server))
        self._services.append(full_service_name)

    async def start(self, address: str) -> str:
        """Listen at `unix:/path` or `host:port` (port 0: any free one) and return the address as clients need it.

        Raises OSError if the address cannot be had. Health says SERVING from now on, unless `serving(False)` came first.
        """
        socket = address.removeprefix("unix:") if address.startswith("unix:") else None
        if socket is not None and len(socket.encode()) > MAX_SOCKET_PATH_BYTES:
            raise OSError(f"the socket path {socket!r} is longer than {MAX_SOCKET_PATH_BYTES} bytes")
        options = _OPTIONS if socket is not None else _OPTIONS + _OVER_THE_NETWORK
        server = grpc.aio.server(interceptors=[_Interceptor(self.telemetry)], options=options)
        for add in self._adding:
            add(server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        try:
            port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"{self.name} cannot listen at {address}") from error
        self._server = server
        await self.serving(self._ready)
        await server.start()
        return address if socket is not None else f"{address.rpartition(':')[0]}:{port}"

    async def serving(self, ready: bool) -> None:
        """Tell health checks whether calls are welcome, overall and for each service."""
        self._ready = ready
        code = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *self._services):
            await self._health.set(service, code)

    async def stop(self, grace: float) -> None:
        """Say NOT_SERVING, refuse new calls, let those in flight end within `grace` seconds. May be repeated."""
        await self._health.enter_graceful_shutdown()
        if self._server is not None:
            await self._server.stop(grace)


class _Interceptor(grpc.aio.ServerInterceptor):
    """Wraps every unary method once. Streams (health's Watch, reflection) pass: they have no deadline of ours."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._figures = telemetry.histogram(
            "rpc_server_duration_seconds", "Calls served, by method and status.", ("method", "code")
        )
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None or handler.request_streaming or handler.response_streaming:
                return handler
            wrapped = self._wrapped[method] = grpc.unary_unary_rpc_method_handler(
                _Served(method, handler.unary_unary, self._figures).__call__,
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            )
        return wrapped


class _Served:
    """One method as it is served: who asks, until when, how it ended."""

    def __init__(self, name: str, method: Method, figures: Any) -> None:
        self._name = name.removeprefix("/")
        self._method = method
        self._figures = figures
        self._by_code: dict[str, Any] = {}  # .labels() costs more than .observe()

    async def __call__(self, request: Any, context: Any) -> Any:
        began = time.perf_counter()
        request_id = self._introduce(context)
        code, is_noted = "OK", False
        try:
            return await self._in_time(request, context)
        except asyncio.CancelledError:
            code = "CANCELLED"
            raise
        except grpc.aio.AbortError:
            code = "ABORTED_BY_SERVICER"
            raise
        except Exception as error:  # noqa: BLE001  # the outermost place of a call: whatever came becomes a status
            status = self._status(error, request_id)
            code, is_noted = status.code.name, True
            self._note(code, began)  # before the caller can know: figures are never behind the answers
            await context.abort(status.code, status.message, status.trailing)
        finally:
            if not is_noted:
                self._note(code, began)

    def _note(self, code: str, began: float) -> None:
        seconds = time.perf_counter() - began
        self._observe(code, seconds)
        _log.debug("rpc", method=self._name, code=code, seconds=round(seconds, 6), actor=caller.actor.get())

    def _introduce(self, context: Any) -> str:
        # Each call is a task with a context of its own: nothing has to be put back.
        request_id = actor = ""
        for key, value in context.invocation_metadata() or ():
            if key == caller.REQUEST_ID:
                request_id = caller.decoded(value)
            elif key == caller.ACTOR:
                actor = caller.decoded(value)
        request_id = request_id or caller.new_request_id()
        caller.request_id.set(request_id)
        caller.actor.set(actor)
        structlog.contextvars.bind_contextvars(request_id=request_id)
        return request_id

    async def _in_time(self, request: Any, context: Any) -> Any:
        if context.time_remaining() is not None:
            return await self._answer(request, context)  # gRPC itself ends the call at its deadline
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self._answer(request, context)

    async def _answer(self, request: Any, context: Any) -> Any:
        answer = self._method(request, context)
        # Only what a servicer did not override is not async: it raises NotImplementedError.
        return await answer if asyncio.iscoroutine(answer) else answer

    def _status(self, error: Exception, request_id: str) -> Status:
        match error:
            case Refused():
                refused = error
            case NewerDocument():
                _log.warning("rpc.newer_document", method=self._name, error=str(error))
                refused = Unavailable("A newer version of this program wrote what is asked for; update this one.")
            case StoreUnavailable() | LogUnavailable():
                _log.warning("rpc.unavailable", method=self._name, error=str(error))
                refused = Unavailable("What is stored cannot be reached now; try again.")
            case TimeoutError():
                refused = Late()
            case NotImplementedError():
                refused = Unbuilt("This call")
            case grpc.aio.AioRpcError():
                refused = _Relayed(refusal_of(error))
            case _:
                refused = Refused("internal", f"Something went wrong inside; the log has it under {request_id}.")
        if refused.kind is Kind.BUG:
            _log.error("rpc.failed", method=self._name, exc_info=error)
        return status_of(refused)

    def _observe(self, code: str, seconds: float) -> None:
        figure = self._by_code.get(code)
        if figure is None:
            figure = self._by_code[code] = self._figures.labels(self._name, code)
        figure.observe(seconds)


class _Relayed(Refused):
    """What a peer refused while it was asked on behalf of this call."""

    def __init__(self, refusal: Refusal) -> None:
        metadata = dict(refusal.metadata)
        if refusal.retry_after_seconds is not None:
            metadata[RETRY_AFTER] = str(refusal.retry_after_seconds)
        super().__init__(refusal.reason, refusal.message, [Fault(*fault) for fault in refusal.faults], metadata)
        self.kind = Kind(refusal.kind)
