"""Analytics put together: the only place in it where concrete things are chosen."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
from journeys.analytics.v1 import analytics_service_pb2 as pb
from journeys.analytics.v1 import analytics_service_pb2_grpc as rpc
from journeys.analytics.v1 import erasure_service_pb2_grpc as erasure_rpc
from journeys.analytics.v1 import report_service_pb2 as report_pb
from journeys.analytics.v1 import report_service_pb2_grpc as report_rpc
from journeys.runtime.v1.records_service_pb2 import ListExecutionRecordsRequest
from journeys.runtime.v1.records_service_pb2_grpc import RecordsServiceStub
from journeys.type.v1.page_pb2 import Page

from services.analytics.allocator import Allocator
from services.analytics.audit import ACTS, EXECUTIONS, Acts, Freshness, ListAudit
from services.analytics.branch_performance import GetBranchPerformance
from services.analytics.convert import act_from_record, fact_from_record, observed_from_record
from services.analytics.counts import Counts
from services.analytics.erasure import EraseSubject
from services.analytics.erasure_servicer import NAME as ERASURE_SERVICE
from services.analytics.erasure_servicer import ErasureServicer
from services.analytics.facts import Fact
from services.analytics.follower import Follower
from services.analytics.impact import GetCalibratedImpact
from services.analytics.journeys import ALLOCATED, CATALOGUE, Journeys
from services.analytics.projector import Projector
from services.analytics.recount import PAGE, RecountStats
from services.analytics.report_convert import (
    allocation_from_record,
    allocation_to_bytes,
    change_from_record,
    execution_from_record,
)
from services.analytics.report_servicer import ReportServicer
from services.analytics.repositories import COLLECTIONS, Day
from services.analytics.servicer import AnalyticsServicer
from services.analytics.step_stats import GetStepStats
from services.analytics.watching import Watching
from services.domain.errors import Unavailable
from services.infra.clock import Clock
from services.infra.documents.port import Collection, Documents
from services.infra.grpc.channel import connect
from services.infra.log.port import Log, Topic
from services.infra.telemetry import Telemetry


class Analytics:
    """The analytics service over whichever store and log it is given.

    Executions and acts are followed by two members of two groups, so that an author's act is in the timeline at
    once, also while a mass start is being projected or counters are being recounted.
    """

    name = "analytics"
    collections: tuple[Collection[Any], ...] = COLLECTIONS
    topics: tuple[Topic, ...] = (
        Topic(EXECUTIONS),
        Topic(ACTS),
        Topic(CATALOGUE, compacted=True),
        Topic(ALLOCATED, compacted=True),
    )

    def __init__(
        self,
        documents: Documents,
        log: Log,
        clock: Clock,
        *,
        telemetry: Telemetry | None = None,
        runtime: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`runtime` says where the runtime is served, which a recount asks for its executions."""
        self._documents, self._log = documents, log
        self._runtime_address = runtime
        self._runtime: grpc.aio.Channel | None = None
        figures = telemetry or Telemetry()
        projector = Projector(documents, observed_from_record, now_ms=clock.now_ms, on_days=self._wrote)
        acts = Acts(documents, act_from_record)
        self._executions = Follower(log, [EXECUTIONS], "analytics", projector, figures)
        self._acts = Follower(log, [ACTS], "analytics-acts", acts, figures)
        self._servicer = AnalyticsServicer(
            ListAudit(documents, Freshness(log, documents, self._acts), self._executions),
            GetStepStats(documents, self._executions, log.partitions),
        )
        journeys = Journeys(log, change_from_record, allocation_from_record)
        self._counts = Counts(documents, self._has_all)
        self._allocator = Allocator(
            documents,
            log,
            journeys,
            self._counts,
            clock,
            owns=self._executions.owns,
            has_all=self._has_all,
            tell=allocation_to_bytes,
        )
        self._watching = Watching(log, execution_from_record, GetStepStats(documents, self._executions, log.partitions))
        self._reports = ReportServicer(
            GetBranchPerformance(documents, journeys, self._counts, self._executions, clock),
            GetCalibratedImpact(journeys, self._counts, self._executions, clock),
            RecountStats(documents, self._executions, log.partitions, self._stored_executions),
            self._watching,
        )
        self._erasure = ErasureServicer(
            EraseSubject(documents, clock, self._executions, self._acts, log, projector.recount)
        )
        self._allocating: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Make collections and topics known and begin to project."""
        await self._documents.open(self.collections)
        await self._log.open(self.topics)
        await self._acts.open()
        await self._executions.open()
        self._allocating = asyncio.create_task(self._allocator.run(), name="allocate")

    def servicers(self) -> list[tuple[Callable[..., None], object, str]]:
        """For each service: how to add it to a server, what to add, and its full name."""
        name = pb.DESCRIPTOR.services_by_name["AnalyticsService"].full_name
        reports = report_pb.DESCRIPTOR.services_by_name["ReportService"].full_name
        return [
            (rpc.add_AnalyticsServiceServicer_to_server, self._servicer, name),
            (erasure_rpc.add_ErasureServiceServicer_to_server, self._erasure, ERASURE_SERVICE),
            (report_rpc.add_ReportServiceServicer_to_server, self._reports, reports),
        ]

    async def idle(self) -> bool:
        """Whether everything appended to its topics has been projected, and learned from."""
        return self._executions.is_idle() and self._acts.is_idle() and await self._allocator.idle()

    async def next_due(self) -> int | None:
        """When the next window closes that changes how people are routed, ms."""
        return self._allocator.next_due()

    async def close(self) -> None:
        """Finish the batches in hand. The store and the log belong to whoever gave them."""
        await self._watching.close()
        if self._allocating is not None:
            self._allocating.cancel()
            await asyncio.gather(self._allocating, return_exceptions=True)
        if self._runtime is not None:
            await self._runtime.close()
        await self._executions.close()
        await self._acts.close()

    def _wrote(self, days: Sequence[Day]) -> None:
        self._counts.wrote(days)
        self._allocator.wrote(days)

    def _has_all(self) -> bool:
        return all(self._executions.owns(partition) for partition in range(self._log.partitions))

    async def _stored_executions(self, workspace: str, journey_id: str) -> AsyncIterator[list[Fact]]:
        address = self._runtime_address()
        if address is None:
            raise Unavailable("The runtime cannot be asked: nobody said where it is.")
        if self._runtime is None:
            self._runtime = connect(address)
        stub: Any = RecordsServiceStub(self._runtime)
        page = Page(limit=PAGE)
        while True:
            request = ListExecutionRecordsRequest(workspace=workspace, journey_id=journey_id, page=page)
            reply = await stub.ListExecutionRecords(request)
            yield [fact_from_record(record) for record in reply.records]
            if not reply.HasField("next_cursor"):
                return
            page = Page(limit=PAGE, cursor=reply.next_cursor)
