"""Published journeys for tests of the runtime: catalogue records as the authoring service would append them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from journeys.events.v1.authoring_record_pb2 import (
    AudienceRecord,
    CatalogueRecord,
    JourneyRecord,
    PinnedCommunication,
    PinnedContract,
    VersionRecord,
    WorkspaceRecord,
)

from services.infra.log.port import Log, Record
from services.runtime.collections import CATALOGUE

WORKSPACE = "pk_test"
Steps = Sequence[Mapping[str, Any]]


async def publish_workspace(log: Log, *, holdout: float = 0, timezone: str = "UTC") -> None:
    """A workspace with no holdout unless asked."""
    record = workspace_record({"timezone": timezone, "holdout": {"percent": holdout}})
    await log.append(CATALOGUE, [Record(f"{WORKSPACE}:workspace:{WORKSPACE}", record.SerializeToString())])


def workspace_record(settings: Mapping[str, Any]) -> CatalogueRecord:
    """A workspace with these settings."""
    record = WorkspaceRecord(
        name="Test", settings_json=json.dumps(settings).encode(), salt="salt", subject_secret=b"0" * 32
    )
    return CatalogueRecord(workspace=WORKSPACE, workspace_record=record)


async def publish_journey(
    log: Log,
    steps: Steps,
    *,
    journey_id: str = "act",
    version: int = 1,
    event: str | None = "signed_up",
    subject_path: str = "endUserId",
    email_path: str | None = None,
    settings: Mapping[str, Any] | None = None,
    audience_id: str | None = None,
    goal: tuple[str, float] | None = None,
    status: str = "published",
) -> None:
    """A version and its journey, with one pinned communication per communicationId that the steps name."""
    names = {step["communicationId"] for step in steps if step["type"] == "send"}
    record = VersionRecord(
        journey_id=journey_id,
        version=version,
        steps_json=json.dumps(steps).encode(),
        settings_json=json.dumps(settings or {}).encode(),
        name="Activation",
        communications=[
            PinnedCommunication(
                id=name,
                version=1,
                name=name,
                channel="email",
                comm_type="marketing",
                content_json=json.dumps(
                    {"subject": f"{name} {{{{ subject.firstName }}}}", "body": "<p>Hi</p>"}
                ).encode(),
            )
            for name in sorted(names)
        ],
    )
    if audience_id is not None:
        record.audience_id = audience_id
    if event is not None:
        contract = PinnedContract(id="c", event_name=event, subject_field_path=subject_path, version_at_ms=1)
        if email_path is not None:
            contract.recipient_email_field_path = email_path
        record.trigger_contract.CopyFrom(contract)
    await _append(log, "version", f"{journey_id}:{version}", CatalogueRecord(workspace=WORKSPACE, version=record))
    await set_status(log, journey_id, version, status, goal)


async def set_status(
    log: Log, journey_id: str, version: int, status: str, goal: tuple[str, float] | None = None
) -> None:
    """The journey's head."""
    record = JourneyRecord(id=journey_id, name="Activation", status=status, latest_version=version)
    record.goal_event_window_days = 7
    if goal is not None:
        record.goal_event_name, record.goal_event_window_days = goal
    await _append(log, "journey", journey_id, CatalogueRecord(workspace=WORKSPACE, journey=record))


async def publish_audience(log: Log, audience_id: str, predicate: Mapping[str, Any]) -> None:
    """An audience by predicate."""
    record = AudienceRecord(id=audience_id, name=audience_id, predicate_json=json.dumps(predicate).encode())
    await _append(log, "audience", audience_id, CatalogueRecord(workspace=WORKSPACE, audience=record))


async def publish_list(log: Log, audience_id: str, subject_ids: Sequence[str]) -> None:
    """An audience by list."""
    record = AudienceRecord(id=audience_id, name=audience_id, subject_ids=subject_ids)
    await _append(log, "audience", audience_id, CatalogueRecord(workspace=WORKSPACE, audience=record))


async def delete_audience(log: Log, audience_id: str) -> None:
    """An audience that is no more."""
    await log.append(CATALOGUE, [Record(f"{WORKSPACE}:audience:{audience_id}", b"")])


async def _append(log: Log, kind: str, name: str, record: CatalogueRecord) -> None:
    await log.append(CATALOGUE, [Record(f"{WORKSPACE}:{kind}:{name}", record.SerializeToString())])
