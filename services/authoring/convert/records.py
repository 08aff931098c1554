"""What the log hears: the catalogue (compacted; the last record of a key counts) and authoring acts.

Law: keys and entry ids are for ever. A catalogue record says all there is to say of its object, so that one record
is enough to know it.
"""

from collections.abc import Sequence

from journeys.events.v1 import authoring_record_pb2 as pb

from services.authoring.json_text import canonical
from services.authoring.repositories import Announced, Audience, Journey, Version, Workspace, key_of
from services.authoring.workspace_settings import settings_of
from services.infra.log.port import Record, Topic

CATALOGUE = Topic("journeys.authoring.v1", compacted=True)
ACTS = Topic("journeys.audit.v1")
TOPICS = (CATALOGUE, ACTS)

Told = list[tuple[str, Record]]


def journey_records(key: str, journey: Journey | None) -> Told:
    """Head, and the version that its write made; then its acts. Journeys are never gone."""
    if journey is None:
        return []
    told: Told = []
    if journey.pending_version is not None:
        told.append(_version(journey.pending_version))
    record = pb.JourneyRecord(
        id=journey.id,
        name=journey.name,
        status=journey.state.value,
        latest_version=journey.latest_version,
        goal_event_name=journey.goal_event_name,
        goal_event_window_days=journey.goal_event_window_days,
        goal_since_ms=journey.goal_since_ms,
    )
    head = pb.CatalogueRecord(workspace=journey.workspace, journey=record)
    told.append(_catalogue(key_of(journey.workspace, "journey", journey.id), head))
    return [*told, *_acts(journey, journey.id)]


def audience_records(key: str, audience: Audience | None) -> Told:
    """The audience, or its end."""
    workspace, _, name = key.partition(":")
    at = key_of(workspace, "audience", name)
    if audience is None or audience.listed_at_ms is None:
        return [(CATALOGUE.name, Record(at, b""))]
    record = pb.AudienceRecord(
        id=audience.id,
        name=audience.name,
        predicate_json=audience.predicate_json,
        subject_ids=audience.subject_ids,
    )
    return [_catalogue(at, pb.CatalogueRecord(workspace=workspace, audience=record))]


def workspace_records(key: str, workspace: Workspace | None) -> Told:
    """The workspace's rules and secrets; then the acts of those who run it. Workspaces are never gone."""
    if workspace is None:
        return []
    record = pb.WorkspaceRecord(
        name=workspace.name,
        settings_json=canonical(settings_of(workspace)),
        salt=workspace.salt,
        subject_secret=workspace.subject_secret,
    )
    told = _catalogue(key_of(key, "workspace", key), pb.CatalogueRecord(workspace=key, workspace_record=record))
    return [told, *_acts(workspace, "")]


def version_record(version: Version) -> pb.VersionRecord:
    """A version with all it pins, as the runtime needs it."""
    contract = version.trigger_contract
    return pb.VersionRecord(
        journey_id=version.journey_id,
        version=version.version,
        steps_json=version.steps_json,
        settings_json=version.settings_json,
        audience_id=version.audience_id,
        trigger_contract=None
        if contract is None
        else pb.PinnedContract(
            id=contract.id,
            event_name=contract.event_name,
            subject_field_path=contract.subject_field_path,
            recipient_email_field_path=contract.recipient_email_field_path,
            version_at_ms=contract.version_at_ms,
        ),
        communications=[
            pb.PinnedCommunication(
                id=one.id,
                version=one.version,
                name=one.name,
                channel=one.channel,
                comm_type=one.comm_type,
                content_json=one.content_json,
            )
            for one in version.communications
        ],
        name=version.name,
        reset_arms=[pb.ArmReset(step_id=arm.step_id, arm_id=arm.arm_id) for arm in version.reset_arms],
    )


def _version(version: Version) -> tuple[str, Record]:
    at = key_of(version.workspace, "version", version.journey_id, version.version)
    return _catalogue(at, pb.CatalogueRecord(workspace=version.workspace, version=version_record(version)))


def _catalogue(key: str, record: pb.CatalogueRecord) -> tuple[str, Record]:
    return CATALOGUE.name, Record(key, record.SerializeToString())


def _acts(document: Announced, journey_id: str) -> Sequence[tuple[str, Record]]:
    return [
        (
            ACTS.name,
            Record(
                key_of(document.workspace, journey_id),
                pb.AuditRecord(
                    id=act.id,
                    workspace=document.workspace,
                    journey_id=journey_id,
                    at_ms=act.at_ms,
                    actor=act.actor,
                    action=act.action,
                    metadata_json=canonical(act.metadata) if act.metadata else b"",
                ).SerializeToString(),
            ),
        )
        for act in document.outbox
    ]
