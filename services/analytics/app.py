"""Analytics put together: the only place in it where concrete things are chosen."""

from collections.abc import Callable
from typing import Any

from journeys.analytics.v1 import analytics_service_pb2 as pb
from journeys.analytics.v1 import analytics_service_pb2_grpc as rpc

from services.analytics.audit import ACTS, EXECUTIONS, Acts, Freshness, ListAudit
from services.analytics.convert import act_from_record, observed_from_record
from services.analytics.follower import Follower
from services.analytics.projector import Projector
from services.analytics.repositories import COLLECTIONS
from services.analytics.servicer import AnalyticsServicer
from services.analytics.step_stats import GetStepStats
from services.infra.clock import Clock
from services.infra.documents.port import Collection, Documents
from services.infra.log.port import Log, Topic
from services.infra.telemetry import Telemetry


class Analytics:
    """The analytics service over whichever store and log it is given.

    Executions and acts are followed by two members of two groups, so that an author's act is in the timeline at
    once, also while a mass start is being projected or counters are being recounted.
    """

    name = "analytics"
    collections: tuple[Collection[Any], ...] = COLLECTIONS
    topics: tuple[Topic, ...] = (Topic(EXECUTIONS), Topic(ACTS))

    def __init__(self, documents: Documents, log: Log, clock: Clock, *, telemetry: Telemetry | None = None) -> None:
        self._documents, self._log = documents, log
        figures = telemetry or Telemetry()
        projector, acts = Projector(documents, observed_from_record), Acts(documents, act_from_record)
        self._executions = Follower(log, [EXECUTIONS], "analytics", projector, figures)
        self._acts = Follower(log, [ACTS], "analytics-acts", acts, figures)
        self._servicer = AnalyticsServicer(
            ListAudit(documents, Freshness(log, documents, self._acts), self._executions),
            GetStepStats(documents, self._executions, log.partitions),
        )

    async def open(self) -> None:
        """Make collections and topics known and begin to project."""
        await self._documents.open(self.collections)
        await self._log.open(self.topics)
        await self._acts.open()
        await self._executions.open()

    def servicers(self) -> list[tuple[Callable[..., None], object, str]]:
        """For each service: how to add it to a server, what to add, and its full name."""
        name = pb.DESCRIPTOR.services_by_name["AnalyticsService"].full_name
        return [(rpc.add_AnalyticsServiceServicer_to_server, self._servicer, name)]

    async def idle(self) -> bool:
        """Whether everything appended to its topics has been projected."""
        return self._executions.is_idle() and self._acts.is_idle()

    async def next_due(self) -> int | None:
        """When it has to do something of its own accord: never."""
        return None

    async def close(self) -> None:
        """Finish the batches in hand. The store and the log belong to whoever gave them."""
        await self._executions.close()
        await self._acts.close()
