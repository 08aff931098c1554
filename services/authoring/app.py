"""Authoring put together: the only place in it where concrete things are chosen."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog
from journeys.authoring.v1 import authoring_service_pb2 as authoring_pb
from journeys.authoring.v1 import authoring_service_pb2_grpc as authoring_rpc
from journeys.authoring.v1 import body_service_pb2_grpc as body_rpc
from journeys.authoring.v1 import draft_service_pb2 as draft_pb
from journeys.authoring.v1 import draft_service_pb2_grpc as draft_rpc
from journeys.authoring.v1 import erasure_service_pb2_grpc as erasure_rpc
from journeys.authoring.v1 import migration_service_pb2 as migration_pb
from journeys.authoring.v1 import migration_service_pb2_grpc as migration_rpc
from journeys.authoring.v1 import template_service_pb2_grpc as template_rpc
from journeys.authoring.v1 import workspace_service_pb2 as workspace_pb
from journeys.authoring.v1 import workspace_service_pb2_grpc as workspace_rpc
from msgspec.structs import replace

from services.authoring.api_keys import ApiKeys
from services.authoring.audiences import Audiences
from services.authoring.communications import Communications
from services.authoring.convert.records import TOPICS, audience_records, journey_records, workspace_records
from services.authoring.create_journey import CreateJourney
from services.authoring.edit_journey import EditJourney
from services.authoring.erasure import EraseSubject
from services.authoring.idempotency import Idempotency
from services.authoring.importing.applying import Applying, Writers
from services.authoring.importing.export_bundle import ExportBundle
from services.authoring.importing.import_bundle import ImportBundle
from services.authoring.importing.planning import Planner
from services.authoring.importing.records import IMPORTS
from services.authoring.importing.targets import Targets
from services.authoring.logins import Logins
from services.authoring.members import Members
from services.authoring.outbox import Kind, Outbox
from services.authoring.passwords import Argon2Passwords, Passwords
from services.authoring.publish import Publish
from services.authoring.read_journeys import Journeys
from services.authoring.repositories import (
    AUDIENCES,
    COLLECTIONS,
    JOURNEYS,
    VERSIONS,
    WORKSPACES,
    Audience,
    Journey,
    with_contracts,
)
from services.authoring.runnable import GetRunnable
from services.authoring.servicer import AuthoringServicer, DraftServicer, MigrationServicer, WorkspaceServicer
from services.authoring.servicer.authoring_servicer import UseCases
from services.authoring.servicer.body_servicer import NAME as BODY_SERVICE
from services.authoring.servicer.body_servicer import BodyServicer
from services.authoring.servicer.erasure_servicer import NAME as ERASURE_SERVICE
from services.authoring.servicer.erasure_servicer import ErasureServicer
from services.authoring.servicer.migration_servicer import MigrationUseCases
from services.authoring.servicer.template_servicer import NAME as TEMPLATE_SERVICE
from services.authoring.servicer.template_servicer import TemplateServicer
from services.authoring.servicer.workspace_servicer import WorkspaceUseCases
from services.authoring.sessions import Sessions
from services.authoring.steer import Steer
from services.authoring.templates.use_template import UseTemplate
from services.authoring.translate_pinpoint import TranslatePinpoint
from services.authoring.trigger_contracts import TriggerContracts
from services.authoring.workspaces import Workspaces
from services.infra.clock import Clock
from services.infra.documents.port import Collection, Documents, Insert, StoreUnavailable
from services.infra.log.port import Log, Topic
from services.infra.telemetry import Telemetry

WEEK_MS = 7 * 86_400_000
SWEEP_SECONDS = 600.0

_log = structlog.get_logger(__name__)


def real_ms() -> int:
    """The machine's own time, which no developer moves: sessions end by it."""
    return time.time_ns() // 1_000_000


class Authoring:
    """The authoring service over whichever store and log it is given."""

    name = "authoring"
    collections: tuple[Collection[Any], ...] = (*COLLECTIONS, IMPORTS)
    topics: tuple[Topic, ...] = TOPICS

    def __init__(
        self,
        documents: Documents,
        log: Log,
        clock: Clock,
        *,
        session_ttl_ms: int = WEEK_MS,
        telemetry: Telemetry | None = None,
        passwords: Passwords | None = None,
        real_ms: Callable[[], int] = real_ms,
    ) -> None:
        self._documents, self._log = documents, log
        self.outbox = Outbox(documents, log, KINDS, telemetry)
        self.journeys = Journeys(documents)
        self.create_journey = CreateJourney(documents, self.outbox, self.journeys, clock)
        self.edit_journey = EditJourney(self.outbox, self.journeys, clock)
        self.publish = Publish(documents, self.outbox, self.journeys, clock)
        self.runnable = GetRunnable(documents, self.journeys, clock)
        self.steer = Steer(self.outbox, self.journeys, clock)
        self.trigger_contracts = TriggerContracts(documents, clock)
        self.audiences = Audiences(documents, self.outbox, clock)
        self.communications = Communications(documents, clock)
        targets = Targets(documents, self.journeys)
        self.writers = Writers(
            self.create_journey, self.edit_journey, self.trigger_contracts, self.audiences, self.communications
        )
        applying = Applying(documents, targets, self.writers, clock)
        self.import_bundle = ImportBundle(documents, self.outbox, Planner(documents, targets), applying, clock)
        self.export_bundle = ExportBundle(documents, targets)
        self.use_template = UseTemplate(targets, self.journeys, self.writers)
        self.idempotency = Idempotency(documents, clock)
        self.erase_subject = EraseSubject(documents, self.outbox, clock)
        logins, passwords = Logins(documents, real_ms), passwords or Argon2Passwords()
        self.workspaces = Workspaces(documents, self.outbox, logins, passwords, clock, real_ms, session_ttl_ms)
        self.sessions = Sessions(documents, logins, passwords, real_ms, session_ttl_ms)
        self.members = Members(self.workspaces, self.outbox, logins, passwords, clock)
        self.api_keys = ApiKeys(self.workspaces, self.outbox, clock)
        self.translate_pinpoint = TranslatePinpoint(clock)
        self._sweeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Make collections and topics known, and tell what an earlier process wrote and did not tell."""
        await self._documents.open(self.collections)
        await self._log.open(self.topics)
        await self.outbox.open()
        self._sweeper = asyncio.create_task(self._sweep(), name="authoring sweeper")

    def servicers(self) -> list[tuple[Callable[..., None], object, str]]:
        """For each service: how to add it to a server, what to add, and its full name."""
        authoring = AuthoringServicer(
            UseCases(
                self.journeys,
                self.create_journey,
                self.edit_journey,
                self.publish,
                self.steer,
                self.trigger_contracts,
                self.audiences,
                self.communications,
                self.idempotency,
            )
        )
        workspaces = WorkspaceServicer(WorkspaceUseCases(self.workspaces, self.sessions, self.members, self.api_keys))
        migration = MigrationServicer(
            MigrationUseCases(self.translate_pinpoint, self.import_bundle, self.export_bundle)
        )
        names = {
            **authoring_pb.DESCRIPTOR.services_by_name,
            **migration_pb.DESCRIPTOR.services_by_name,
            **draft_pb.DESCRIPTOR.services_by_name,
            **workspace_pb.DESCRIPTOR.services_by_name,
        }
        return [
            (authoring_rpc.add_AuthoringServiceServicer_to_server, authoring, names["AuthoringService"].full_name),
            (
                template_rpc.add_TemplateServiceServicer_to_server,
                TemplateServicer(self.use_template),
                TEMPLATE_SERVICE,
            ),
            (migration_rpc.add_MigrationServiceServicer_to_server, migration, names["MigrationService"].full_name),
            (body_rpc.add_BodyServiceServicer_to_server, BodyServicer(), BODY_SERVICE),
            (erasure_rpc.add_ErasureServiceServicer_to_server, ErasureServicer(self.erase_subject), ERASURE_SERVICE),
            (
                draft_rpc.add_DraftServiceServicer_to_server,
                DraftServicer(self.runnable),
                names["DraftService"].full_name,
            ),
            (workspace_rpc.add_WorkspaceServiceServicer_to_server, workspaces, names["WorkspaceService"].full_name),
        ]

    async def idle(self) -> bool:
        """Whether everything written has been told."""
        return self.outbox.is_idle()

    async def next_due(self) -> int | None:
        """When it has to do something of its own accord: never."""
        return None

    async def close(self) -> None:
        """Finish what is being written and told. The store and the log belong to whoever gave them."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
            self._sweeper = None
        await self.outbox.close()

    async def _sweep(self) -> None:
        while True:
            try:
                await self.idempotency.sweep()
                await self.sessions.sweep()
            except StoreUnavailable as error:
                _log.warning("sweep.waits", error=str(error))
            await asyncio.sleep(SWEEP_SECONDS)


def _cleared_journey(journey: Journey) -> Journey:
    return replace(journey, outbox=(), outbox_open=None, pending_version=None)


def _version_of(journey: Journey) -> list[Insert[Any]]:
    return [] if journey.pending_version is None else [Insert(VERSIONS, journey.pending_version)]


def _is_gone(audience: Audience) -> bool:
    return audience.listed_at_ms is None


KINDS: tuple[Kind[Any], ...] = (
    Kind(JOURNEYS, journey_records, inserts=_version_of, cleared=_cleared_journey, indexed=with_contracts),
    Kind(AUDIENCES, audience_records, is_gone=_is_gone),
    Kind(WORKSPACES, workspace_records),
)
