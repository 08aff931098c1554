"""A backend of stubs behind a real gateway: real gRPC, real error translation, answers as a test wants them."""

import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yarl
from journeys.analytics.v1 import analytics_service_pb2_grpc as analytics
from journeys.authoring.v1 import authoring_service_pb2_grpc as authoring
from journeys.authoring.v1 import workspace_service_pb2_grpc as workspaces
from journeys.authoring.v1.workspace_service_pb2 import AuthenticateResponse
from journeys.runtime.v1 import runtime_service_pb2_grpc as runtime
from journeys.runtime.v1 import subject_service_pb2_grpc as subjects

from gateway.app import make_app
from gateway.server import GatewayRunner, start
from services.domain.errors import Refused, UnknownCaller
from services.infra.grpc import caller
from services.infra.grpc.server import Server
from services.infra.telemetry import Telemetry

SYNC_KEYS = ("sync-one", "sync-two")
ROLES = ("owner", "editor", "viewer")
Answer = Callable[[Any], Any]


@dataclass
class Call:
    """One call the backend got."""

    method: str
    request: Any
    actor: str
    request_id: str
    request_key: str = ""


@dataclass
class Backend:
    """Answers by method name: a message, an error to raise, or a function of the request. Calls are kept."""

    answers: dict[str, Any] = field(default_factory=dict)
    slow: dict[str, Any] = field(default_factory=dict)  # async functions of the request
    calls: list[Call] = field(default_factory=list)

    def requests(self, method: str) -> list[Any]:
        """What was asked of a method, in order."""
        return [call.request for call in self.calls if call.method == method]

    def last(self, method: str) -> Any:
        """The last request to a method."""
        return self.requests(method)[-1]

    def answer(self, method: str, request: Any, key: str = "") -> Any:
        """What a test wants said."""
        self.calls.append(Call(method, request, caller.actor.get(), caller.request_id.get(), key))
        known = self.answers.get(method)
        if known is None and method == "Authenticate":
            known = _authenticate
        if known is None:
            raise NotImplementedError(method)
        if callable(known):
            known = known(request)
        if isinstance(known, Exception):
            raise known
        return known


def _authenticate(request: Any) -> Any:
    """Session tokens and keys are role names, perhaps with a suffix: `owner`, `viewer-2`."""
    name = request.session_token or request.api_key
    role = name.partition("-")[0]
    if role not in ROLES:
        return UnknownCaller("unauthenticated", "The session is unknown or has ended.")
    email = f"{name}@example.com" if request.session_token else ""
    return AuthenticateResponse(
        workspace="pk_demo", workspace_name="Demo", user_id=f"usr-{name}", email=email, role=role
    )


def _stubbed(servicer: type, backend: Backend) -> Any:
    def method_of(name: str) -> Any:
        async def method(self: Any, request: Any, context: Any) -> Any:
            if name in backend.slow:
                return await backend.slow[name](request)
            return backend.answer(name, request, caller.request_key_from(context))

        return method

    names = [name for name in vars(servicer) if not name.startswith("_")]
    return type(f"Stub{servicer.__name__}", (servicer,), {name: method_of(name) for name in names})()


@dataclass
class Reply:
    """An answer as a test reads it."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def paths(self) -> list[str]:
        """Where the faults of a problem are."""
        return [error["path"] for error in self.json.get("errors", [])]

    @property
    def codes(self) -> list[str]:
        """What the faults of a problem are."""
        return [error["code"] for error in self.json.get("errors", [])]


class Client:
    """Asks the gateway, as its owner unless said otherwise."""

    def __init__(self, url: str, session: aiohttp.ClientSession, runner: GatewayRunner, server: Server) -> None:
        self.url = url
        self.session = session
        self._runner = runner
        self._server = server

    async def stop_gateway(self) -> None:
        """As SIGTERM does."""
        await self._runner.cleanup()

    async def stop_services(self) -> None:
        """Nobody answers any more."""
        await self._server.stop(grace=0)

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        role: str | None = "owner",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request; `path` is sent as it stands, percent signs and all."""
        sent: dict[str, str] = {"Cookie": f"session={role}"} if role is not None else {}
        data = raw
        if body is not None:
            data = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        elif raw is not None:
            sent["Content-Type"] = "application/json"
        sent.update(headers or {})
        url = yarl.URL(self.url + path, encoded=True)
        sending = io.BytesIO(data) if data is not None and len(data) > 500_000 else data
        async with self.session.request(method, url, data=sending, headers=sent, allow_redirects=False) as response:
            return Reply(response.status, response.headers, await response.read())

    async def get(self, path: str, **more: Any) -> Reply:
        """GET."""
        return await self.ask("GET", path, **more)

    async def post(self, path: str, body: Any = None, **more: Any) -> Reply:
        """POST."""
        return await self.ask("POST", path, body, **more)

    async def patch(self, path: str, body: Any = None, **more: Any) -> Reply:
        """PATCH."""
        return await self.ask("PATCH", path, body, **more)


def bearer(key: str = SYNC_KEYS[0]) -> dict[str, str]:
    """The header of the internal routes."""
    return {"Authorization": f"Bearer {key}"}


_SERVICES: dict[str, tuple[Any, type]] = {
    "journeys.authoring.v1.AuthoringService": (
        authoring.add_AuthoringServiceServicer_to_server,
        authoring.AuthoringServiceServicer,
    ),
    "journeys.authoring.v1.WorkspaceService": (
        workspaces.add_WorkspaceServiceServicer_to_server,
        workspaces.WorkspaceServiceServicer,
    ),
    "journeys.runtime.v1.RuntimeService": (
        runtime.add_RuntimeServiceServicer_to_server,
        runtime.RuntimeServiceServicer,
    ),
    "journeys.runtime.v1.ClockService": (runtime.add_ClockServiceServicer_to_server, runtime.ClockServiceServicer),
    "journeys.runtime.v1.SubjectService": (
        subjects.add_SubjectServiceServicer_to_server,
        subjects.SubjectServiceServicer,
    ),
    "journeys.analytics.v1.AnalyticsService": (
        analytics.add_AnalyticsServiceServicer_to_server,
        analytics.AnalyticsServiceServicer,
    ),
}


@asynccontextmanager
async def gateway_over(
    backend: Backend,
    folder: Path,
    *,
    clock: bool = False,
    sync_keys: tuple[str, ...] = SYNC_KEYS,
    public_url: str | None = None,
) -> AsyncIterator[Client]:
    """A gateway on a free port, over stubs in this process."""
    server = Server("stubs")
    for name, (register, servicer) in _SERVICES.items():
        server.add(register, _stubbed(servicer, backend), name)
    address = await server.start(f"unix:{folder}/s")
    app = make_app(
        authoring=address,
        runtime=address,
        analytics=address,
        clock=address if clock else None,
        sync_keys=sync_keys,
        public_url=public_url,
        telemetry=Telemetry(),
    )
    runner = GatewayRunner(app, drain_seconds=5)
    url = await start(runner, "127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            yield Client(url, session, runner, server)
    finally:
        await runner.cleanup()
        await server.stop(grace=0)


__all__ = ["Backend", "Call", "Client", "Refused", "Reply", "bearer", "gateway_over"]
