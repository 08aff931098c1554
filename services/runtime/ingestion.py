"""Events in: accepted once they are durable in the log.

Law: the append comes before the record that marks the id as seen. Killed in between, the producer's retry is
appended again and the intake drops it; the other way round an acknowledged retry could be lost. What is known is
counted as a repeat, for `why`; that the count cannot be written refuses nobody.
Source: runtime design 4.
"""

from collections.abc import Sequence
from uuid import uuid4

import structlog
from journeys.events.v1.customer_event_pb2 import CustomerEvent

from services.domain.errors import Missing
from services.domain.execution.repeats import Position, begun
from services.infra.clock import Clock
from services.infra.documents.port import Documents, Insert, Outcome, StoreUnavailable
from services.infra.log.port import Log, Record
from services.runtime import guards
from services.runtime.catalog import Catalog
from services.runtime.collections import AUDIT, EVENT_RECORDS, EVENTS, EventRecord
from services.runtime.erasure_documents import Marks
from services.runtime.lanes import log_key, subject_of
from services.runtime.refused_starts import refused_starts
from services.runtime.repeats import CountRepeats, Repeat

logger = structlog.get_logger(__name__)


class Ingestion:
    """Takes well-formed events of one workspace; answers which of them were known."""

    def __init__(
        self,
        documents: Documents,
        log: Log,
        catalog: Catalog,
        clock: Clock,
        marks: Marks,
        count_repeats: CountRepeats,
    ) -> None:
        self._marks = marks
        self._count_repeats = count_repeats
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
        again: list[Repeat] = []
        for index, event in enumerate(events):
            if not event.id:
                event.id = uuid4().hex
            key = f"{workspace}:{event.id}"
            if fresh.setdefault(key, index) != index:
                duplicates.append(index)
                again.append(Repeat(key, now))
        known = await self._documents.get_many(EVENT_RECORDS, list(fresh))
        duplicates.extend(fresh.pop(key) for key in known)
        again.extend(Repeat(key, now) for key in known)
        duplicates.extend(await self._refuse_the_forgotten(workspace, info.subject_secret, events, fresh, now))
        if fresh:
            duplicates.extend(await self._take_in(workspace, info.subject_secret, events, fresh, now))
        if again:
            try:
                await self._count_repeats(again)
            except StoreUnavailable as error:
                logger.warning("ingestion.repeats_not_counted", repeats=len(again), error=str(error))
        return duplicates

    async def _take_in(
        self, workspace: str, secret: bytes, events: Sequence[CustomerEvent], fresh: dict[str, int], now: int
    ) -> list[int]:
        """Append, then record what is new; the indexes of what another request appended at the same time."""
        records = []
        for index in fresh.values():
            event = events[index]
            event.project_key = workspace
            event.received_ms = now
            # Nobody's event goes where its id sends it: there is no order to keep.
            records.append(Record(log_key(workspace, event.end_user_id or event.id), event.SerializeToString()))
        places = await self._log.append(EVENTS, records)
        written = [
            event_record(key, events[index], secret, at.partition, at.offset)
            for (key, index), at in zip(fresh.items(), places, strict=True)
        ]
        outcomes = await self._documents.write_many([Insert(EVENT_RECORDS, record) for record in written])
        taken = [record for record, outcome in zip(written, outcomes, strict=True) if outcome is Outcome.DUPLICATE]
        if taken:
            # The lane was quicker and has kept the very record; or two requests had one id at once: then both are in
            # the log, and the intake drops the later one, and counts it.
            kept = await self._documents.get_many(EVENT_RECORDS, [record.key for record in taken])
            return [fresh[one.key] for one in taken if not _is_of_one_place(one, kept.get(one.key))]
        return []

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


def _is_of_one_place(one: EventRecord, other: EventRecord | None) -> bool:
    return other is not None and (one.partition, one.offset) == (other.partition, other.offset)


def event_record(
    key: str,
    event: CustomerEvent,
    secret: bytes,
    partition: int,
    offset: int,
    moved_from: Position | None = None,
) -> EventRecord:
    """The record of an event at its place in the log; `moved_from`: where its producer wrote it, if not there."""
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
        repeats=None if moved_from is None else begun(moved_from),
    )
