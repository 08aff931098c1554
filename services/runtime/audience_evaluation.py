"""Whether a person belongs to an audience now, and why.

Law: the same predicate, evaluated by the same code as at trigger time, over everything it may count. Reads only.
Source: contract 3, Audiences and Predicate.
"""

from collections.abc import Sequence
from typing import Any

from services.domain.errors import Missing
from services.domain.journey.model import InSegment
from services.domain.journey.needs import Needs, needs_of
from services.domain.journey.predicate import Facts, PastEvent, explain
from services.domain.times import DAY_MS
from services.infra.clock import Clock
from services.infra.documents.port import Documents
from services.runtime.catalog import Catalog
from services.runtime.collections import EVENT_RECORDS, EventRecord
from services.runtime.desk import data_of
from services.runtime.lanes import subject_of
from services.runtime.subject_documents import SUBJECTS, subject_document_key

READ_AT_ONCE = 1_000
MOST_EVENTS = 10_000  # of one name, the newest: as many as at trigger time


class AudienceEvaluation:
    """Evaluates one person against one audience."""

    def __init__(self, documents: Documents, catalog: Catalog, clock: Clock) -> None:
        self._documents = documents
        self._catalog = catalog
        self._clock = clock

    async def evaluate(self, workspace: str, audience_id: str, end_user_id: str) -> tuple[bool, dict[str, Any]]:
        """Whether the person belongs, and the explanation. Raises Missing (audience or subject).

        Outside of an execution there is nothing to count from: `since_start` windows and `received` do not hold.
        """
        await self._catalog.refresh()
        info = self._catalog.workspace(workspace)
        if info is None or self._catalog.audience(workspace, audience_id) is None:
            raise Missing("audience", audience_id)
        document = await self._documents.get(SUBJECTS, subject_document_key(workspace, end_user_id))
        if document is None:
            raise Missing("subject", end_user_id)
        now = self._clock.now_ms()
        membership = InSegment(audience_id)
        needs = needs_of(membership, lambda name: self._catalog.audience(workspace, name))
        history = await self._history(subject_of(workspace, info.subject_secret, end_user_id).key, needs, now)
        facts = Facts(
            now=now,
            zone=document.timezone or info.timezone,
            attributes=document.attributes,
            events=lambda name: history.get(name, ()),
            audience=lambda name: self._catalog.audience(workspace, name),
            end_user_id=end_user_id,
            preferences=document.preferences,
            global_opt_out=document.global_opt_out,
        )
        told = explain(membership, facts)
        # The audience itself was asked for by name; what is of interest is its predicate.
        return told["result"], told.get("explanation", told)

    async def _history(self, subject_key: str, needs: Needs, now: int) -> dict[str, Sequence[PastEvent]]:
        days: dict[str, float] = {}
        for name, back in needs.windows:
            if back is not None:  # None: since a start, which there is not
                days[name] = max(back, days.get(name, 0))
        return {name: await self._events(subject_key, name, now - round(back * DAY_MS)) for name, back in days.items()}

    async def _events(self, subject_key: str, name: str, since: int) -> Sequence[PastEvent]:
        found: list[PastEvent] = []
        cursor: str | None = None
        while len(found) < MOST_EVENTS:
            page = await self._documents.scan(
                EVENT_RECORDS,
                "by_subject",
                (subject_key, name),
                low=since,
                after=cursor,
                limit=READ_AT_ONCE,
                descending=True,
            )
            found += [_past(record) for record in page.items]
            cursor = page.cursor
            if cursor is None:
                break
        return found


def _past(record: EventRecord) -> PastEvent:
    return PastEvent(record.event_id, record.name, record.at, data_of(record.data_json))
