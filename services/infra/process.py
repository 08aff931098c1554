"""One service as a process of its own: settings, machinery, a gRPC server, signals.

Law: a process is ready when its service is open, and gone within 15 s of SIGTERM with everything it acknowledged
kept. Source: contract 7 (process manners).
"""

import asyncio
import gc
import signal
import sys
import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import structlog

from services.infra.clock import Clock, SystemClock
from services.infra.documents.port import Documents, StoreUnavailable
from services.infra.grpc.server import Server
from services.infra.log.port import Log, LogUnavailable
from services.infra.machinery import machinery
from services.infra.settings import ServiceSettings, SettingsInvalid
from services.infra.sqlite.engine import CannotOpen
from services.infra.telemetry import Telemetry, set_up_logging

logger = structlog.get_logger(__name__)
Registration = tuple[Callable[[Any, Any], None], Any, str]


class Service(Protocol):
    """What every service's app offers."""

    name: str

    async def open(self) -> None:
        """Begin."""

    def servicers(self) -> Sequence[Registration]:
        """What the server is given."""

    async def close(self) -> None:
        """End."""


Make = Callable[[Documents, Log, Clock, ServiceSettings, Telemetry], Service]


def run_alone(settings_class: type[ServiceSettings], make: Make) -> int:
    """Serve until SIGTERM or SIGINT; the exit status.

    With the embedded store the process has a file, and so a world, of its own: several services that are to work
    together need a store and a log that processes can share, or `journeys serve`.
    """
    try:
        settings = settings_class.load()
    except SettingsInvalid as error:
        sys.stderr.writelines(f"{line}\n" for line in error.lines)
        return 2
    set_up_logging(settings.log_level, settings.log_format)
    try:
        with asyncio.Runner(loop_factory=_loop) as runner:
            return runner.run(_serve(settings, make))
    except (CannotOpen, OSError, StoreUnavailable, LogUnavailable) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _loop() -> asyncio.AbstractEventLoop:
    """The faster loop, where it has a wheel."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _share_the_interpreter() -> None:
    """Modules and classes are never garbage, and what a cycle allocates is freed by counting references alone."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


async def _serve(settings: ServiceSettings, make: Make) -> int:
    zoneinfo.reset_tzpath(to=[])
    stop, died = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.set_exception_handler(exit_on_a_dead_loop(stop, died))
    clock, telemetry = SystemClock(), Telemetry(process=True)
    async with machinery(settings.store, settings.log_address, settings.data_dir, clock.now_ms) as (documents, log):
        service = make(documents, log, clock, settings, telemetry)
        await service.open()
        server = Server(service.name, telemetry=telemetry)
        try:
            for register, servicer, name in service.servicers():
                server.add(register, servicer, name)
            address = await server.start(settings.listen)
            _share_the_interpreter()
            await server.serving(True)
            sys.stdout.write(f"{service.name} listens on {address}\n")
            sys.stdout.flush()
            await stop.wait()
        finally:
            await server.stop(grace=5.0)
            await service.close()
    return 1 if died.is_set() else 0


def exit_on_a_dead_loop(
    stop: asyncio.Event, died: asyncio.Event
) -> Callable[[asyncio.AbstractEventLoop, Mapping[str, Any]], None]:
    """A service whose loop ended by an error must not go on looking well: the process ends, with status 1 so that
    whoever looks after it starts another.
    """

    def handle(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        error = context.get("exception")
        logger.error("loop.error", message=context.get("message"), error=repr(error), exc_info=error)
        if str(context.get("message", "")).startswith("a loop of"):
            died.set()
            stop.set()

    return handle
