"""Events in: accepted once they are durable in the log.

Law: the append comes before the record that marks the id as seen. Killed in between, the producer's retry is
appended again and the intake drops it; the other way round an acknowledged retry could be lost.
Source: runtime design 4.
"""

from collections.abc import Sequence
from uuid import uuid4

from journeys.events.v1.customer_event_pb2 import CustomerEvent

from services.domain.errors import Missing
from services.infra.clock import Clock
from services.infra.documents.port import Documents, Insert, Outcome
from services.infra.log.port import Log, Record
from services.runtime import guards
from services.runtime.catalog import Catalog
from services.runtime.collections import AUDIT, EVENT_RECORDS, EVENTS, EventRecord
from services.runtime.erasure_documents import Marks
from services.runtime.lanes import log_key, subject_of
from services.runtime.refused_starts import refused_starts


class Ingestion:
    """Takes well-formed events of one workspace; answers which of them were known."""

    def __init__(self, documents: Documents, log: Log, catalog: Catalog, clock: Clock, marks: Marks) -> None:
        self._marks = marks
        self._documents = documents
        self._log = log
        self._catalog = catalog
        self._clock = clock

    async def __call__(self, workspace: str, events: Sequence[CustomerEvent]) -> list[int]:
        """Append what is new; the indexes of those that were known.

        Raises Missing (workspace), LogUnavailable, StoreUnavailable.
        """
        info = self._catalog.workspace(workspace)
        if info is None:
            await self._catalog.refresh()
            info = self._catalog.workspace(workspace)
            if info is None:
                raise Missing("workspace", workspace)
        now = self._clock.now_ms()
        fresh: dict[str, int] = {}
        duplicates: list[int] = []
        for index, event in enumerate(events):
            if not event.id:
                event.id = uuid4().hex
            if fresh.setdefault(f"{workspace}:{event.id}", index) != index:
                duplicates.append(index)
        known = await self._documents.get_many(EVENT_RECORDS, list(fresh))
        duplicates.extend(fresh.pop(key) for key in known)
        duplicates.extend(await self._refuse_the_forgotten(workspace, info.subject_secret, events, fresh, now))
        if not fresh:
            return duplicates
        records = []
        for index in fresh.values():
            event = events[index]
            event.project_key = workspace
            event.received_ms = now
            # Nobody's event goes where its id sends it: there is no order to keep.
            records.append(Record(log_key(workspace, event.end_user_id or event.id), event.SerializeToString()))
        places = await self._log.append(EVENTS, records)
        outcomes = await self._documents.write_many(
            [
                Insert(EVENT_RECORDS, event_record(key, events[index], info.subject_secret, at.partition, at.offset))
                for (key, index), at in zip(fresh.items(), places, strict=True)
            ]
        )
        # Two requests with one id at once: both are in the log, and the intake drops the later one.
        lost = zip(fresh.values(), outcomes, strict=True)
        duplicates.extend(index for index, outcome in lost if outcome is Outcome.DUPLICATE)
        return duplicates

    async def _refuse_the_forgotten(
        self, workspace: str, secret: bytes, events: Sequence[CustomerEvent], fresh: dict[str, int], now: int
    ) -> list[int]:
        """Take out of `fresh` what is of people who were forgotten: none of it reaches the log or the store.

        It was received, so it is no fault; that it started nothing is in the audit. Returned are the indexes of what
        was decided before they were forgotten: whoever is known again is not started by it a second time.
        """
        keys = {
            key: subject_of(workspace, secret, events[index].end_user_id).key
            for key, index in fresh.items()
            if events[index].end_user_id
        }
        marks = await self._marks.among(keys.values())
        if not marks:
            return []
        duplicates: list[int] = []
        spent = await self._marks.spent(
            (subject_key, secret, events[fresh[key]].id) for key, subject_key in keys.items() if subject_key in marks
        )
        refused: list[Record] = []
        for key, subject_key in keys.items():
            event = events[fresh[key]]
            at = min(event.timestamp_ms, now) if event.HasField("timestamp_ms") else now
            if subject_key in marks and guards.is_forgotten(marks[subject_key].known_from, at, now):
                starters = self._catalog.starters(workspace, event.type)
                refused += refused_starts(starters, secret, event.id, event.type, now)
                del fresh[key]
            elif event.id in spent:
                duplicates.append(fresh.pop(key))
        if refused:
            await self._log.append(AUDIT, refused)
        return duplicates


def event_record(key: str, event: CustomerEvent, secret: bytes, partition: int, offset: int) -> EventRecord:
    """The record of an event at its place in the log."""
    received = event.received_ms
    stated = event.timestamp_ms if event.HasField("timestamp_ms") else None
    subject = subject_of(event.project_key, secret, event.end_user_id) if event.end_user_id else None
    return EventRecord(
        key=key,
        event_id=event.id,
        name=event.type,
        at=received if stated is None else min(stated, received),
        received_at=received,
        partition=partition,
        offset=offset,
        subject_key=subject.key if subject else None,
        stated_at=stated,
        data_json=event.data_json or b"{}",
        end_user_id=event.end_user_id or None,
    )
