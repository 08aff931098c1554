"""What a handler may ask of the application and of its own request.

Law: handlers reach services through the stubs kept here, and know the caller only through `caller(request)`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.declaration import Role, Route
from gateway.errors import invalid_at, not_found, unauthenticated
from gateway.gathering import Gathering
from services.infra.health import Health
from services.infra.telemetry import Telemetry

if TYPE_CHECKING:  # the generated async stubs exist for the checker alone
    from journeys.analytics.v1.analytics_service_pb2_grpc import AnalyticsServiceAsyncStub
    from journeys.analytics.v1.report_service_pb2_grpc import ReportServiceAsyncStub
    from journeys.authoring.v1.authoring_service_pb2_grpc import AuthoringServiceAsyncStub
    from journeys.authoring.v1.body_service_pb2_grpc import BodyServiceAsyncStub
    from journeys.authoring.v1.draft_service_pb2_grpc import DraftServiceAsyncStub
    from journeys.authoring.v1.migration_service_pb2_grpc import MigrationServiceAsyncStub
    from journeys.authoring.v1.template_service_pb2_grpc import TemplateServiceAsyncStub
    from journeys.authoring.v1.workspace_service_pb2_grpc import WorkspaceServiceAsyncStub
    from journeys.runtime.v1.backtest_service_pb2_grpc import BacktestServiceAsyncStub
    from journeys.runtime.v1.dead_letter_service_pb2_grpc import DeadLetterServiceAsyncStub
    from journeys.runtime.v1.erasure_service_pb2_grpc import ErasureServiceAsyncStub
    from journeys.runtime.v1.profile_service_pb2_grpc import ProfileServiceAsyncStub
    from journeys.runtime.v1.runtime_service_pb2_grpc import ClockServiceAsyncStub, RuntimeServiceAsyncStub
    from journeys.runtime.v1.simulation_service_pb2_grpc import SimulationServiceAsyncStub
    from journeys.runtime.v1.subject_service_pb2_grpc import SubjectServiceAsyncStub
    from journeys.runtime.v1.why_service_pb2_grpc import WhyServiceAsyncStub

    from gateway.auth import Authenticator

MAX_ID_BYTES: Final = 200  # of end users and events (contract 2.3)
MAX_PATH_ID: Final = 4000  # an execution id holds two of those, escaped
MAX_QUERY_TEXT: Final = 4000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `user_id` is a member's, or an API key's; `email` is empty for a key."""

    workspace: str
    workspace_name: str
    user_id: str
    email: str
    role: Role


@dataclass(slots=True)
class Context:
    """One request on its way: its id, its route (None where there is none), and its caller once known."""

    request_id: str
    route: Route | None
    caller: Caller | None = None
    session_token: str | None = None  # of the cookie the caller came with
    body: bytes | None = None  # where it had to be read before the handler asks


@dataclass(frozen=True, slots=True)
class Options:
    """How this gateway was set up."""

    public_url: str | None = None
    version: str = ""
    documents: Mapping[str, bytes] = field(default_factory=dict)  # pages and openapi.json, made once


AUTHORING: Final[web.AppKey["AuthoringServiceAsyncStub"]] = web.AppKey("authoring")
WORKSPACES: Final[web.AppKey["WorkspaceServiceAsyncStub"]] = web.AppKey("workspaces")
DEAD_LETTERS: Final[web.AppKey["DeadLetterServiceAsyncStub"]] = web.AppKey("dead_letters")
WHY: Final[web.AppKey["WhyServiceAsyncStub"]] = web.AppKey("why")
BACKTESTS: Final[web.AppKey["BacktestServiceAsyncStub"]] = web.AppKey("backtests")
BODIES: Final[web.AppKey["BodyServiceAsyncStub"]] = web.AppKey("bodies")
PROFILES: Final[web.AppKey["ProfileServiceAsyncStub"]] = web.AppKey("profiles")
RUNTIME: Final[web.AppKey["RuntimeServiceAsyncStub"]] = web.AppKey("runtime")
ERASURES: Final[web.AppKey["ErasureServiceAsyncStub"]] = web.AppKey("erasures")
GATHERING: Final = web.AppKey("gathering", Gathering)
TEMPLATES: Final[web.AppKey["TemplateServiceAsyncStub"]] = web.AppKey("templates")
MIGRATION: Final[web.AppKey["MigrationServiceAsyncStub"]] = web.AppKey("migration")
SUBJECTS: Final[web.AppKey["SubjectServiceAsyncStub"]] = web.AppKey("subjects")
DRAFTS: Final[web.AppKey["DraftServiceAsyncStub"]] = web.AppKey("drafts")
SIMULATIONS: Final[web.AppKey["SimulationServiceAsyncStub"]] = web.AppKey("simulations")
ANALYTICS: Final[web.AppKey["AnalyticsServiceAsyncStub"]] = web.AppKey("analytics")
REPORTS: Final[web.AppKey["ReportServiceAsyncStub"]] = web.AppKey("reports")
CLOCK: Final[web.AppKey["ClockServiceAsyncStub"]] = web.AppKey("clock")
HEALTH: Final[web.AppKey[Health]] = web.AppKey("health", Health)
AUTHENTICATOR: Final[web.AppKey["Authenticator"]] = web.AppKey("authenticator")
OPTIONS: Final[web.AppKey[Options]] = web.AppKey("options")
TELEMETRY: Final[web.AppKey[Telemetry]] = web.AppKey("telemetry")

CONTEXT: Final = web.RequestKey("context", Context)


def caller(request: web.Request) -> Caller:
    """The caller of a route that is not public."""
    known = request[CONTEXT].caller
    if known is None:
        raise unauthenticated("Sign in, or send an API key.")
    return known


def workspace(request: web.Request) -> str:
    """The project key of the caller's workspace."""
    return caller(request).workspace


def path_id(request: web.Request, name: str = "id") -> str:
    """An id from the path, decoded, slashes and all. What cannot be an id is 404, as any other unknown one."""
    text: str = request.match_info[name]
    if len(text) > MAX_PATH_ID or not _is_text(text):
        raise not_found()
    return text


def query_text(request: web.Request, name: str) -> str | None:
    """A filter from the query; None where it is absent or empty."""
    text: str | None = request.query.get(name)
    if text is not None and (len(text) > MAX_QUERY_TEXT or not _is_text(text)):
        raise invalid_at(f"/{name}", "not_allowed", f"{name} is too long or not UTF-8.")
    return text or None


def _is_text(text: str) -> bool:
    # A request line with bytes that are no UTF-8 arrives with lone surrogates, which protobuf refuses.
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
