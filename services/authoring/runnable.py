"""What a dry run walks: a draft as publishing it now would pin it, or which published version is meant.

Law: writes nothing. The same review that a publish would make says what is wrong with the draft.
Source: contract 5 (`version`).
"""

from dataclasses import dataclass

from services.authoring.names import later
from services.authoring.publish import version_of
from services.authoring.read_journeys import Journeys
from services.authoring.repositories import Version
from services.authoring.review import review
from services.domain.errors import Fault, Invalid, Missing, NotNow
from services.infra.clock import Clock
from services.infra.documents.port import Documents


@dataclass(frozen=True, slots=True)
class Runnable:
    """Either the number of a version, or a draft with its faults."""

    number: int | None = None
    draft: Version | None = None
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class GetRunnable:
    """Find what is to be walked. Raises Missing, NotNow (no_draft), Invalid."""

    documents: Documents
    journeys: Journeys
    clock: Clock

    async def __call__(self, workspace: str, journey_id: str, version: str, actor: str) -> Runnable:
        """`version`: draft, latest or a number; empty: the draft if there is one, else the latest."""
        journey = await self.journeys.load(workspace, journey_id)
        draft = journey.draft
        if version == "draft" and draft is None:
            raise NotNow("no_draft", "There is no draft.")
        if draft is not None and version in ("", "draft"):
            reviewed = await review(self.documents, journey, draft)
            now = later(self.clock.now_ms(), journey.updated_at_ms)
            return Runnable(draft=version_of(journey, draft, reviewed, now, actor), faults=reviewed.faults)
        number = journey.latest_version if version in ("", "latest") else _number(version)
        if not 1 <= number <= journey.latest_version:
            raise Missing("version", f"{journey_id}/{version or 'latest'}")
        return Runnable(number=number)


def _number(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= 18:
        return int(text)
    message = "A version is draft, latest or a number."
    raise Invalid("validation_error", message, [Fault("/version", "not_allowed", message)])
