"""The people of a workspace a page at a time, and who of them belongs to an audience.

Law: reads only, by the page. A page ends at a cursor that stays good when people come and go. Whoever has a profile,
or stands on a list, is there; a person of whom only events are known comes with their next event.
Source: contract 3, Audiences.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from services.domain.execution.membership import next_change
from services.domain.journey.predicate import Audience, Facts, PastEvent
from services.infra.documents.port import Documents
from services.infra.slices import Slices
from services.runtime.catalog import Catalog
from services.runtime.collections import EVENT_RECORDS, MEMBERSHIPS
from services.runtime.desk import data_of
from services.runtime.lanes import subject_of
from services.runtime.subject_documents import SUBJECTS, SubjectDocument, subject_document_key
from services.runtime.watches import Belonging

SLICE_SECONDS = 0.001
MOST_EVENTS = 10_000  # of one person under one name, as at trigger time


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody of a page; `document` is None where no profile is there, or none was needed."""

    end_user_id: str
    document: SubjectDocument | None = None


class Populations:
    """Pages of people. See the module."""

    def __init__(self, documents: Documents, catalog: Catalog) -> None:
        self._documents = documents
        self._catalog = catalog
        self._sorted: dict[tuple[str, str], tuple[Audience, list[str]]] = {}

    async def of_workspace(self, workspace: str, cursor: str | None, limit: int) -> tuple[list[Person], str | None]:
        """Everybody with a profile, by id."""
        page = await self._documents.scan(SUBJECTS, "by_id", (workspace,), after=cursor, limit=limit)
        return [Person(one.end_user_id, one) for one in page.items], page.cursor

    def of_list(
        self, workspace: str, audience_id: str, audience: Audience, after: str | None, limit: int
    ) -> tuple[list[Person], str | None]:
        """The people of a list, by id; the cursor is the last id."""
        known = self._sorted.get((workspace, audience_id))
        if known is None or known[0] is not audience:
            known = self._sorted[workspace, audience_id] = audience, sorted(audience.subject_ids)
        names = known[1]
        begin = 0 if after is None else bisect_right(names, after)
        page = names[begin : begin + limit]
        return [Person(name) for name in page], page[-1] if begin + limit < len(names) else None

    async def of_members(
        self, workspace: str, journey_id: str, cursor: str | None, limit: int
    ) -> tuple[list[Person], str | None]:
        """Everybody of whom a journey knows whether they belong, with their profiles."""
        page = await self._documents.scan(MEMBERSHIPS, "by_journey", (workspace, journey_id), after=cursor, limit=limit)
        keys = {subject_document_key(workspace, one.end_user_id): one.end_user_id for one in page.items}
        profiles = await self._documents.get_many(SUBJECTS, list(keys)) if keys else {}
        return [Person(name, profiles.get(key)) for key, name in keys.items()], page.cursor

    async def belonging(
        self, workspace: str, who: Belonging, people: Sequence[Person], now: int
    ) -> list[tuple[bool, int | None]]:
        """For each person whether they belong, and when time alone may change that (ms)."""
        info = self._catalog.workspace(workspace)
        if info is None or not people:
            return [(False, None)] * len(people)
        histories: defaultdict[int, dict[str, list[PastEvent]]] = defaultdict(dict)
        if who.windows:
            since = dict.fromkeys(who.event_names, now)
            for window in who.windows:
                since[window.event_name] = min(since[window.event_name], now - window.length_ms)
            subjects = [subject_of(workspace, info.subject_secret, person.end_user_id).key for person in people]
            queries = [(i, name, (key, name)) for i, key in enumerate(subjects) for name in since]
            pages = await self._documents.scan_many(
                EVENT_RECORDS, "by_subject", [(equals, since[name]) for _, name, equals in queries], limit=MOST_EVENTS
            )
            for (i, name, _), records in zip(queries, pages, strict=True):
                histories[i][name] = [
                    PastEvent(one.event_id, one.name, one.at, data_of(one.data_json))
                    for one in records
                    if one.received_at <= now
                ]
        found = []
        slices = Slices(SLICE_SECONDS)
        for i, person in enumerate(people):
            await slices.pause()
            document, history = person.document, histories.get(i, {})
            facts = Facts(
                now=now,
                zone=(document.timezone if document else None) or info.timezone,
                attributes=document.attributes if document else {},
                events=lambda name, history=history: history.get(name, ()),  # type: ignore[misc]
                audience=lambda audience_id: self._catalog.audience(workspace, audience_id),
                end_user_id=person.end_user_id,
                preferences=document.preferences if document else {},
                global_opt_out=document.global_opt_out if document else False,
            )
            found.append((who.holds(facts), next_change(who.windows, facts) if who.windows else None))
        return found
