"""The gateway put together: the only place of it where concrete things are chosen."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from aiohttp import web
from journeys.analytics.v1.analytics_service_pb2_grpc import AnalyticsServiceStub
from journeys.analytics.v1.report_service_pb2_grpc import ReportServiceStub
from journeys.authoring.v1.authoring_service_pb2_grpc import AuthoringServiceStub
from journeys.authoring.v1.body_service_pb2_grpc import BodyServiceStub
from journeys.authoring.v1.draft_service_pb2_grpc import DraftServiceStub
from journeys.authoring.v1.migration_service_pb2_grpc import MigrationServiceStub
from journeys.authoring.v1.template_service_pb2_grpc import TemplateServiceStub
from journeys.authoring.v1.workspace_service_pb2_grpc import WorkspaceServiceStub
from journeys.runtime.v1.backtest_service_pb2_grpc import BacktestServiceStub
from journeys.runtime.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from journeys.runtime.v1.erasure_service_pb2_grpc import ErasureServiceStub
from journeys.runtime.v1.profile_service_pb2_grpc import ProfileServiceStub
from journeys.runtime.v1.runtime_service_pb2_grpc import ClockServiceStub, RuntimeServiceStub
from journeys.runtime.v1.simulation_service_pb2_grpc import SimulationServiceStub
from journeys.runtime.v1.subject_service_pb2_grpc import SubjectServiceStub
from journeys.runtime.v1.why_service_pb2_grpc import WhyServiceStub

from gateway import pages
from gateway.auth import Authenticator
from gateway.context import (
    ANALYTICS,
    AUTHENTICATOR,
    AUTHORING,
    BACKTESTS,
    BODIES,
    CLOCK,
    DEAD_LETTERS,
    DRAFTS,
    ERASURES,
    GATHERING,
    HEALTH,
    MIGRATION,
    OPTIONS,
    PROFILES,
    REPORTS,
    RUNTIME,
    SIMULATIONS,
    SUBJECTS,
    TELEMETRY,
    TEMPLATES,
    WHY,
    WORKSPACES,
    Options,
)
from gateway.declaration import Route
from gateway.gathering import Gathering
from gateway.middleware import FIGURES, ROUTE_OF, figures_of, gate
from gateway.openapi import description_of
from gateway.routes import ALL
from gateway.routes.reports import CLOSING, end_streams
from services.infra.grpc.channel import connect, ping
from services.infra.grpc.limits import MAX_BUNDLE_BYTES
from services.infra.health import Health
from services.infra.telemetry import Telemetry

VERSION: Final = "0.1.0"


def make_app(
    *,
    authoring: str,
    runtime: str,
    analytics: str,
    clock: str | None = None,
    sync_keys: Sequence[str] = (),
    public_url: str | None = None,
    telemetry: Telemetry | None = None,
) -> web.Application:
    """The gateway over services at these gRPC addresses.

    `clock` is where the development clock is served; without it `/api/dev/clock` does not exist. `sync_keys` open
    the internal routes; without any they answer 401 always. Channels are made when the application starts.
    """
    routes = [route for route in ALL if not route.development or clock is not None]
    app = web.Application(middlewares=[gate])
    app[TELEMETRY] = telemetry or Telemetry()
    app[FIGURES] = figures_of(app)
    app[OPTIONS] = Options(
        public_url=public_url,
        version=VERSION,
        documents={
            "openapi": msgspec.json.encode(description_of(routes, VERSION, public_url)),
            "docs": pages.docs(routes, VERSION),
        },
    )
    app[ROUTE_OF] = {route.handler: route for route in routes}
    _add_routes(app, routes)
    addresses = {"authoring": authoring, "runtime": runtime, "analytics": analytics}
    if clock is not None:
        addresses["clock"] = clock
    app[CLOSING] = asyncio.Event()
    app.on_shutdown.append(end_streams)
    app.cleanup_ctx.append(partial(_connections, addresses=addresses, sync_keys=tuple(sync_keys)))
    return app


def _add_routes(app: web.Application, routes: Sequence[Route]) -> None:
    for route in routes:
        # Any character but a slash: aiohttp's own pattern refuses braces, and ids may hold them. %2F is decoded later.
        path = route.path
        for name in route.parameters:
            path = path.replace(f"{{{name}}}", f"{{{name}:[^/]+}}")
        if route.method == "GET":
            app.router.add_get(path, route.handler)  # and HEAD
        else:
            app.router.add_route(route.method, path, route.handler)


async def _connections(
    app: web.Application, addresses: dict[str, str], sync_keys: tuple[str, ...]
) -> AsyncIterator[None]:
    """Channels belong to the loop they are made in, so they are made here, and shared by address."""
    channels = {address: connect(address) for address in set(addresses.values())}
    at = {name: channels[address] for name, address in addresses.items()}
    # Bundles are large; a channel of their own keeps the limit of all others small.
    channels["bundles"] = connect(addresses["authoring"], max_answer_bytes=MAX_BUNDLE_BYTES)
    stubs: dict[web.AppKey[Any], Any] = {
        AUTHORING: AuthoringServiceStub(at["authoring"]),
        WORKSPACES: WorkspaceServiceStub(at["authoring"]),
        TEMPLATES: TemplateServiceStub(at["authoring"]),
        MIGRATION: MigrationServiceStub(channels["bundles"]),
        BODIES: BodyServiceStub(at["authoring"]),
        PROFILES: ProfileServiceStub(at["runtime"]),
        DRAFTS: DraftServiceStub(at["authoring"]),
        SIMULATIONS: SimulationServiceStub(at["runtime"]),
        BACKTESTS: BacktestServiceStub(at["runtime"]),
        DEAD_LETTERS: DeadLetterServiceStub(at["runtime"]),
        WHY: WhyServiceStub(at["runtime"]),
        RUNTIME: RuntimeServiceStub(at["runtime"]),
        ERASURES: ErasureServiceStub(at["runtime"]),
        SUBJECTS: SubjectServiceStub(at["runtime"]),
        ANALYTICS: AnalyticsServiceStub(at["analytics"]),
        REPORTS: ReportServiceStub(at["analytics"]),
    }
    if "clock" in at:
        stubs[CLOCK] = ClockServiceStub(at["clock"])
    for key, stub in stubs.items():
        app[key] = stub
    app[GATHERING] = Gathering(stubs[RUNTIME])
    app[AUTHENTICATOR] = Authenticator(stubs[WORKSPACES], sync_keys)
    app[HEALTH] = health = Health()
    for name in ("authoring", "runtime", "analytics"):
        health.add(name, partial(ping, at[name]))
    yield
    for channel in channels.values():
        await channel.close()
