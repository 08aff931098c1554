"""Looking at journeys and their versions.

Law: writes nothing. A version is there as soon as the head says so, also in the moment before it has a document of
its own.
"""

import asyncio
from dataclasses import dataclass

from services.authoring.names import etag_of
from services.authoring.repositories import (
    JOURNEYS,
    VERSIONS,
    Journey,
    Slice,
    Version,
    found,
    key_of,
    listed,
)
from services.authoring.review import review
from services.domain.errors import Fault, Missing
from services.infra.documents.port import Documents
from services.infra.grpc.limits import MAX_PAGE_BYTES


@dataclass(frozen=True, slots=True)
class JourneyView:
    """A journey as its authors see it; without `steps_json` in lists."""

    journey: Journey
    steps_json: bytes | None
    warnings: tuple[Fault, ...]

    @property
    def etag(self) -> str:
        """Changes with every write an author can see."""
        return etag_of(self.journey.updated_at_ms)


@dataclass(frozen=True, slots=True)
class Journeys:
    """Reads journeys. Raises Missing; Invalid for a bad limit or cursor."""

    documents: Documents

    async def load(self, workspace: str, journey_id: str) -> Journey:
        """The stored journey."""
        return await found(self.documents, JOURNEYS, "journey", workspace, journey_id)

    async def view(self, journey: Journey) -> JourneyView:
        """The journey with the steps of its draft or latest version, and the draft's warnings."""
        if journey.draft is not None:
            reviewed = await review(self.documents, journey, journey.draft)
            return JourneyView(journey, journey.draft.steps_json, reviewed.faults)
        version = await self.version_of(journey, journey.latest_version)
        return JourneyView(journey, version.steps_json, ())

    async def get(self, workspace: str, journey_id: str) -> JourneyView:
        """One journey."""
        return await self.view(await self.load(workspace, journey_id))

    async def page(self, workspace: str, limit: int, cursor: str | None) -> Slice[JourneyView]:
        """Journeys, newest first, without steps."""
        page = await listed(self.documents, JOURNEYS, "by_creation", (workspace,), limit, cursor)
        views: list[JourneyView] = []
        size = 0
        for journey in page.items:
            warnings: tuple[Fault, ...] = ()
            if journey.draft is not None:
                warnings = (await review(self.documents, journey, journey.draft)).faults
                await asyncio.sleep(0)  # a page of large drafts must not hold up everybody else
            size += sum(len(fault.path) + len(fault.message) for fault in warnings)
            if size > MAX_PAGE_BYTES and views:  # a large draft may have more to say than it holds
                page = await listed(self.documents, JOURNEYS, "by_creation", (workspace,), len(views), cursor)
                break
            views.append(JourneyView(journey, None, warnings))
        return Slice(views, page.cursor)

    async def version(self, workspace: str, journey_id: str, number: int) -> Version:
        """One version of a journey."""
        return await self.version_of(await self.load(workspace, journey_id), number)

    async def version_of(self, journey: Journey, number: int) -> Version:
        """The same, of a journey already loaded."""
        if journey.pending_version is not None and journey.pending_version.version == number:
            return journey.pending_version
        version = await self.documents.get(VERSIONS, key_of(journey.workspace, journey.id, number))
        if version is None:
            raise Missing("version", f"{journey.id}/{number}")
        return version

    async def versions(self, workspace: str, journey_id: str, limit: int, cursor: str | None) -> Slice[Version]:
        """The versions of a journey, newest first."""
        journey = await self.load(workspace, journey_id)
        page = await listed(self.documents, VERSIONS, "by_journey", (journey.key,), limit, cursor)
        pending = journey.pending_version
        if pending is None or cursor is not None or any(one.version == pending.version for one in page.items):
            return page
        return Slice([pending, *page.items], page.cursor)
