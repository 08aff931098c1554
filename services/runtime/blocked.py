"""What the audit says of starts that a whole journey did not make: one line for all of its people.

Law: a line has an id of its own making, so that told twice it is there once.
Source: contract 2 (audit, `trigger.blocked`).
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from journeys.events.v1.authoring_record_pb2 import AuditRecord

from services.infra.log.port import Record


def blocked(workspace: str, journey_id: str, name: str, at: int, metadata: Mapping[str, Any]) -> Record:
    """The record of a `trigger.blocked`; `name` tells it from the journey's others."""
    record = AuditRecord(
        id=f"{workspace}:{journey_id}:{name}",
        workspace=workspace,
        journey_id=journey_id,
        at_ms=at,
        actor="system",
        action="trigger.blocked",
        metadata_json=msgspec.json.encode(metadata),
    )
    return Record(f"{workspace}:{journey_id}", record.SerializeToString())
