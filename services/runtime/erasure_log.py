"""Removing one person's records from the log.

Law: records are found by the keyed hash of their key alone, in the person's own partition; in topics of nobody in
particular by what they say. Of the catalogue the newest record of a key stays: it is how a thing is now, and its
author's to change. Source: runtime design 12.
"""

from typing import Final

import msgspec
from google.protobuf.message import DecodeError
from journeys.events.v1.authoring_record_pb2 import AuditRecord, CatalogueRecord

from services.domain.mentions import Person
from services.infra.log.port import Log, Place, Stored
from services.runtime.collections import AUDIT, CATALOGUE, COMMANDS, DEAD_LETTERS, EVENTS, EXECUTION_RECORDS

AT_ONCE: Final = 300
READ_AT_ONCE: Final = 500
OWN: Final = (EVENTS, COMMANDS, DEAD_LETTERS, EXECUTION_RECORDS)
SHARED: Final = (AUDIT, CATALOGUE)


class LogEraser:
    """Removes records. Raises LogUnavailable."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def __call__(self, person: Person) -> tuple[int, int | None]:
        """Remove the person's records from every topic; how many, and until when those stay that cannot be removed."""
        own = person.slot % self._log.partitions
        erased, until = 0, None
        for topic in (*OWN, *SHARED):
            kept = (await self._log.erase(topic, [])).retained_until
            if kept is not None:
                until = max(until or 0, kept)
                continue
            for partition in range(self._log.partitions) if topic in SHARED else (own,):
                places = await self._places(topic, partition, person)
                for at in range(0, len(places), AT_ONCE):
                    erased += (await self._log.erase(topic, places[at : at + AT_ONCE])).count
        return erased, until

    async def _places(self, topic: str, partition: int, person: Person) -> list[Place]:
        """Where records stand that are the person's, or (of what is no single person's) name them."""
        found: list[Place] = []
        newest: dict[str, Place] = {}  # of the catalogue: the record that says how a thing is now
        offset = 0
        while part := await self._log.read(topic, partition, offset, READ_AT_ONCE):
            offset = part[-1].offset + 1
            for one in part:
                if topic == CATALOGUE:
                    if one.key in newest:
                        found.append(newest.pop(one.key))
                    if _names_in_catalogue(one, person):
                        newest[one.key] = Place(one.partition, one.offset)
                elif person.is_keyed_by(one.key) if topic != AUDIT else _names_in_audit(one, person):
                    found.append(Place(one.partition, one.offset))
        return found


def _names_in_audit(stored: Stored, person: Person) -> bool:
    try:
        record = AuditRecord.FromString(stored.value)
        return (
            record.workspace == person.workspace
            and bool(record.metadata_json)
            and person.is_in(msgspec.json.decode(record.metadata_json))
        )
    except (DecodeError, msgspec.DecodeError):
        return False


def _names_in_catalogue(stored: Stored, person: Person) -> bool:
    try:
        record = CatalogueRecord.FromString(stored.value)
    except DecodeError:
        return False
    return record.workspace == person.workspace and any(map(person.is_named_by, record.audience.subject_ids))
