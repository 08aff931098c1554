"""The audit of starts that were refused because the person was forgotten.

Law: an entry names the journey and says why, and nothing by which the person could be found: neither their id nor
the event's, which its sender may have made of it. Told twice, it is there once.
Source: contract 2.3 and 6.
"""

from collections.abc import Iterable

import msgspec
from journeys.events.v1.authoring_record_pb2 import AuditRecord

from services.domain import ids
from services.domain.execution.version import Version
from services.infra.log.port import Record

REASON = "subject_forgotten"


def refused_starts(versions: Iterable[Version], secret: bytes, event_id: str, event_type: str, at: int) -> list[Record]:
    """One record for each version that would have been started."""
    name = ids.subject_key(0, secret, f"refused:{event_id}")
    return [
        Record(
            f"{version.workspace_id}:{version.journey_id}",
            AuditRecord(
                id=f"{name}:{version.journey_id}:{REASON}",
                workspace=version.workspace_id,
                journey_id=version.journey_id,
                at_ms=at,
                actor="system",
                action="trigger.blocked",
                metadata_json=msgspec.json.encode(
                    {"reason": REASON, "eventType": event_type, "version": version.number}
                ),
            ).SerializeToString(),
        )
        for version in versions
    ]
