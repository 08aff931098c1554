"""One process with every service: what a newcomer runs, what tests run, and what a small company may run.

Law: nothing happens here that the separate processes do not do as well. The services meet on the wire, over
sockets in a folder of their own; this file alone chooses the machinery they share. With `--only` some parts run here,
each at its own address, and reach the others at theirs.
"""

import asyncio
import errno
import gc
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import time
import zoneinfo
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is imported: one thread, little memory

import grpc
import msgspec
import structlog
from journeys.authoring.v1.workspace_service_pb2 import (
    AuthenticateRequest,
    CreateWorkspaceRequest,
    GetWorkspaceRequest,
)
from journeys.authoring.v1.workspace_service_pb2_grpc import WorkspaceServiceStub
from journeys.runtime.v1.runtime_service_pb2 import AdvanceClockRequest, AdvanceClockResponse
from journeys.runtime.v1.runtime_service_pb2_grpc import ClockServiceServicer, add_ClockServiceServicer_to_server

from gateway.app import make_app
from gateway.server import GatewayRunner, start
from services.analytics.app import Analytics
from services.authoring.app import Authoring
from services.infra.clock import SystemClock
from services.infra.devclock import DevClock
from services.infra.documents.port import Collection, Documents, Insert, Replace, StoreUnavailable
from services.infra.grpc.channel import connect
from services.infra.grpc.errors import refusal_of
from services.infra.grpc.server import Server
from services.infra.log.port import LogUnavailable
from services.infra.machinery import is_shared, machinery
from services.infra.process import exit_on_a_dead_loop
from services.infra.settings import ServeSettings, SettingsInvalid
from services.infra.sqlite.engine import CannotOpen
from services.infra.telemetry import Telemetry, set_up_logging
from services.runtime.app import Runtime
from services.runtime.senders.port import Sender

if TYPE_CHECKING:
    from journeys.authoring.v1.workspace_service_pb2_grpc import WorkspaceServiceAsyncStub

PROJECT_KEY = "pk_demo"
SERVICES = ("authoring", "runtime", "analytics")
PARTS = (*SERVICES, "gateway")
_FOLDER, _FRESH_SECONDS = "journeys-", 60.0  # of sockets, in the temporary directory
DRAIN_SECONDS = 12.0
logger = structlog.get_logger(__name__)
Ready = Callable[[str, str | None], None]


class ClockDocument(msgspec.Struct, frozen=True, kw_only=True):
    """How far the development clock is ahead of the real one; it never goes back, also over restarts."""

    key: str
    offset_ms: int
    revision: int


CLOCKS: Collection[ClockDocument] = Collection("development_clock", ClockDocument)


@dataclass(frozen=True, slots=True)
class Running:
    """A started all-in-one: where it answers, and the owner's session if it was made just now.

    `url` is empty without a gateway; `listening` are the services that others may call.
    """

    url: str
    new_session: str | None
    listening: Mapping[str, str] = field(default_factory=dict)


def serve(
    port: int | None = None,
    data: str | None = None,
    memory: bool = False,
    store: str | None = None,
    log: str | None = None,
    only: str | None = None,
    on_ready: Ready | None = None,
) -> int:
    """Run until SIGTERM or SIGINT; the exit status. `on_ready` is called in a thread with address and session.

    `only` names some of `PARTS`, with commas; the others run elsewhere.
    """
    parts, lines = _parts_of(only)
    try:
        settings = ServeSettings.load(
            http_port=port,
            data_dir=data,
            store="memory" if memory else store,
            log="memory" if memory else log,
        )
    except SettingsInvalid as error:
        return _refused([*lines, *error.lines])
    if lines := [*lines, *_misfits(settings, parts)]:
        return _refused(lines)
    set_up_logging(settings.log_level, settings.log_format)
    try:
        return asyncio.run(_serve(settings, parts, on_ready))
    except CannotOpen as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except (OSError, StoreUnavailable, LogUnavailable) as error:
        is_taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        what = f"port {settings.http_port} is taken by another program" if is_taken else error
        sys.stderr.write(f"The server cannot start: {what}\n")
        return 1


def _refused(lines: Sequence[str]) -> int:
    sys.stderr.writelines(f"{line}\n" for line in lines)
    return 2


def _parts_of(only: str | None) -> tuple[tuple[str, ...], list[str]]:
    """The parts that `--only` names, and what is wrong with it."""
    if only is None:
        return PARTS, []
    named = [name.strip() for name in only.split(",") if name.strip()]
    lines = [f"--only: {name} is none of {', '.join(PARTS)}" for name in dict.fromkeys(named) if name not in PARTS]
    if not named:
        lines.append(f"--only: name some of {', '.join(PARTS)}, with commas between")
    return tuple(part for part in PARTS if part in named), lines


def _misfits(settings: ServeSettings, parts: Sequence[str]) -> list[str]:
    """What of the settings does not go with these parts."""
    lines = []
    is_whole = len(parts) == len(PARTS)
    if not is_whole and set(parts) & set(SERVICES):
        for name, scheme, setting in (("store", "mongodb", settings.store), ("log", "kafka", settings.log)):
            if not is_shared(setting):
                lines.append(
                    f"--only: the parts of several processes need a {name} that all of them can reach:"
                    f" --{name} {scheme}://... (it is {setting})"
                )
    if settings.dev_clock and (not is_whole or is_shared(settings.store) or is_shared(settings.log)):
        lines.append("JOURNEYS_DEV_CLOCK: no other process would follow it; it needs the embedded store and log")
    return lines


async def _serve(settings: ServeSettings, parts: Sequence[str], on_ready: Ready | None) -> int:
    stop, died = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.set_exception_handler(exit_on_a_dead_loop(stop, died))
    async with running(settings, parts=parts) as at:
        if at.new_session is not None and settings.bootstrap_token is None:
            _say(f"Owner's session of workspace {PROJECT_KEY}: {at.new_session}")
        for name, address in at.listening.items():
            _say(f"{name} listens on {address}")
        _say(f"Listening on {at.url}" if at.url else "Ready; the gateway is another process.")
        if on_ready is not None and at.url:
            token = settings.bootstrap_token.get_secret_value() if settings.bootstrap_token else at.new_session
            await asyncio.get_running_loop().run_in_executor(None, on_ready, at.url, token)
        await stop.wait()
    return 1 if died.is_set() else 0


@asynccontextmanager
async def running(
    settings: ServeSettings, senders: Mapping[str, Sender] | None = None, *, parts: Sequence[str] = PARTS
) -> AsyncIterator[Running]:
    """Everything, from the store to the gateway; on leaving it drains and closes in the opposite order.

    Of some parts alone: those, each at its own address.
    """
    _share_the_interpreter()
    zoneinfo.reset_tzpath(to=[])  # the zones we ship, not those of whatever host this is
    telemetry = Telemetry(process=True)
    is_whole = len(parts) == len(PARTS)
    site = _Site(settings)
    addresses = {} if is_whole else {name: getattr(settings, f"{name}_address") for name in SERVICES}
    async with AsyncExitStack() as opened:
        servers: list[Server] = []
        if set(parts) & set(SERVICES):
            begin = _services(settings, senders, parts, site, addresses, telemetry)
            servers = await opened.enter_async_context(begin)
        session = await _bootstrap(addresses["authoring"], settings) if "authoring" in parts else None
        url = ""
        if "gateway" in parts:
            url = await opened.enter_async_context(_gateway(settings, addresses, telemetry))
            site.url = settings.public_url or url
        for server in servers:
            await server.serving(True)
        listening = {} if is_whole else {server.name: addresses[server.name] for server in servers}
        yield Running(url, session, listening)


@asynccontextmanager
async def _services(
    settings: ServeSettings,
    senders: Mapping[str, Sender] | None,
    parts: Sequence[str],
    site: "_Site",
    addresses: dict[str, str],
    telemetry: Telemetry,
) -> AsyncIterator[list[Server]]:
    """The services among these parts, over one store and log; `addresses` learns where they listen."""
    clock = SystemClock()
    is_whole = len(parts) == len(PARTS)
    async with machinery(settings.store, settings.log_address, settings.data_dir, clock.now_ms) as (documents, log):
        await documents.open([CLOCKS])
        kept = await documents.get(CLOCKS, "offset")
        if kept is not None and settings.dev_clock:
            clock.move(kept.offset_ms)
        ttl = int(settings.session_ttl.total_seconds() * 1000)
        authoring = Authoring(documents, log, clock, session_ttl_ms=ttl, telemetry=telemetry)
        runtime = Runtime(
            documents,
            log,
            clock,
            senders=senders,
            is_alone=not is_shared(settings.log) and not is_shared(settings.store),
            allow_private_hosts=settings.allow_private_hosts,
            telemetry=telemetry,
            public_url=lambda: site.url,
            analytics=lambda: addresses.get("analytics"),
            authoring=lambda: addresses.get("authoring"),
        )
        analytics = Analytics(documents, log, clock, telemetry=telemetry, runtime=lambda: addresses.get("runtime"))
        _clear_away()
        folder = tempfile.mkdtemp(prefix=_FOLDER)
        servers: list[Server] = []
        opened: list[Authoring | Runtime | Analytics] = []
        try:
            for service in (authoring, analytics, runtime):
                if service.name not in parts:
                    continue
                await service.open()
                opened.append(service)
                server = Server(service.name, telemetry=telemetry)
                for register, servicer, name in service.servicers():
                    server.add(register, servicer, name)
                if service is runtime and settings.dev_clock:
                    dev_clock = DevClock(clock, [authoring, runtime, analytics], save=_saving(documents))
                    server.add(add_ClockServiceServicer_to_server, _ClockServicer(dev_clock), _CLOCK_SERVICE)
                listen = f"unix:{folder}/{service.name}" if is_whole else _listen(settings, service.name)
                addresses[service.name] = await server.start(listen)
                servers.append(server)
            yield servers
        finally:
            for server in reversed(servers):
                await server.stop(grace=2.0)
            for service in reversed(opened):
                await service.close()
            shutil.rmtree(folder, ignore_errors=True)


def _clear_away() -> None:
    """Remove the folders of sockets that servers left which were killed: nobody answers there."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        try:
            is_ours = folder.stat().st_uid == os.getuid() and not folder.is_symlink()
            is_new = time.time() - folder.stat().st_mtime < _FRESH_SECONDS  # somebody may be about to listen
            sockets = list(folder.iterdir()) if is_ours and not is_new else []
        except OSError:
            continue  # somebody else's, or gone by now
        if sockets and all(one.is_socket() and one.name in SERVICES and _is_dead(one) for one in sockets):
            shutil.rmtree(folder, ignore_errors=True)


def _is_dead(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(1.0)
        try:
            one.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return False


def _listen(settings: ServeSettings, name: str) -> str:
    """Where a part listens that other processes reach at its address, which may be a name of several machines."""
    address: str = getattr(settings, f"{name}_address")
    return address if address.startswith("unix:") else f"{settings.listen_host}:{address.rpartition(':')[2]}"


class _Site:
    """Where people find us: what the settings say, else the address the gateway has, or will have once it is up."""

    def __init__(self, settings: ServeSettings) -> None:
        self.url = settings.public_url or f"http://{settings.http_host}:{settings.http_port}"


@asynccontextmanager
async def _gateway(settings: ServeSettings, addresses: Mapping[str, str], telemetry: Telemetry) -> AsyncIterator[str]:
    app = make_app(
        authoring=addresses["authoring"],
        runtime=addresses["runtime"],
        analytics=addresses["analytics"],
        clock=addresses["runtime"] if settings.dev_clock else None,
        sync_keys=[key.get_secret_value() for key in settings.sync_api_key],
        public_url=settings.public_url,
        telemetry=telemetry,
    )
    runner = GatewayRunner(app, drain_seconds=DRAIN_SECONDS / 2)
    try:
        yield await start(runner, settings.http_host, settings.http_port)
    finally:
        await runner.cleanup()


async def _bootstrap(authoring: str, settings: ServeSettings) -> str | None:
    """The first start makes the workspace; later ones find it. Returns the owner's session if it was made now."""
    channel = connect(authoring)
    try:
        stub = WorkspaceServiceStub(channel)
        try:
            await stub.GetWorkspace(GetWorkspaceRequest(workspace=PROJECT_KEY))
            if settings.bootstrap_token is not None:
                await _check_token(stub, settings.bootstrap_token.get_secret_value())
            return None
        except grpc.aio.AioRpcError as error:
            if refusal_of(error).reason != "not_found":
                raise
        given = settings.bootstrap_token
        token = given.get_secret_value() if given else secrets.token_urlsafe(24)
        try:
            reply = await stub.CreateWorkspace(
                CreateWorkspaceRequest(
                    name="Demo", project_key=PROJECT_KEY, owner_email="owner@example.com", session_token=token
                )
            )
        except grpc.aio.AioRpcError as error:
            if refusal_of(error).reason != "id_taken":
                raise
            return None  # another process was faster
        return str(reply.session_token or token)
    finally:
        await channel.close()


async def _check_token(stub: "WorkspaceServiceAsyncStub", token: str) -> None:
    """Say it where the token in the environment lets nobody in: it counts at the first start alone."""
    try:
        await stub.Authenticate(AuthenticateRequest(session_token=token))
    except grpc.aio.AioRpcError as error:
        if refusal_of(error).reason != "unauthenticated":
            raise
        logger.warning(
            "bootstrap_token.unused", why="the workspace was made with another one, or its session was ended"
        )


def _share_the_interpreter() -> None:
    """Modules and classes are never garbage, and what a cycle allocates is freed by counting references alone.

    Three runs of each, in turn: 0.68-0.81 ms CPU an execution; with the collector's defaults 1.02-1.22.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    # The store's writer asks for the interpreter's lock at every statement; by default a busy loop keeps it for
    # 5 ms each time. Three runs of each, in turn: 1,530-1,830 executions a second; with the default 1,420-1,510.
    sys.setswitchinterval(0.0005)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class _ClockServicer(ClockServiceServicer):
    """Moves the development clock."""

    def __init__(self, clock: DevClock) -> None:
        self._clock = clock

    async def AdvanceClock(self, request: AdvanceClockRequest, context: Any) -> AdvanceClockResponse:
        """See the proto."""
        return AdvanceClockResponse(now_ms=await self._clock.advance(request.advance_ms))


_CLOCK_SERVICE = "journeys.runtime.v1.ClockService"


def _saving(documents: Documents) -> Callable[[int], Awaitable[None]]:
    async def save(offset_ms: int) -> None:
        before = await documents.get(CLOCKS, "offset")
        revision = before.revision + 1 if before else 1
        document = ClockDocument(key="offset", offset_ms=offset_ms, revision=revision)
        await documents.write_many([Replace(CLOCKS, document) if before else Insert(CLOCKS, document)])

    return save
