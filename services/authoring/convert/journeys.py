"""Journeys and their versions."""

from journeys.authoring.v1 import authoring_service_pb2 as pb
from journeys.authoring.v1 import journey_pb2 as nouns
from journeys.type.v1 import page_pb2

from services.authoring.changes import UNSET, Absent, JourneyChanges
from services.authoring.read_journeys import JourneyView
from services.authoring.repositories import ArmReset, Version
from services.domain.times import format_time

DEFAULT_LIMIT = 100  # contract 1, limits


def page_from_proto(page: page_pb2.Page) -> tuple[int, str | None]:
    """How many and from where; no limit means the default."""
    return page.limit or DEFAULT_LIMIT, page.cursor if page.HasField("cursor") else None


def changes_from_proto(changes: nouns.JourneyChanges) -> JourneyChanges:
    """What the author sent; a `clear_` member is null."""

    def nullable(name: str) -> str | Absent | None:
        if getattr(changes, f"clear_{name}"):
            return None
        return getattr(changes, name) if changes.HasField(name) else UNSET  # type: ignore[arg-type]  # field names

    return JourneyChanges(
        name=changes.name if changes.HasField("name") else UNSET,
        description=changes.description if changes.HasField("description") else UNSET,
        audience_id=nullable("audience_id"),
        trigger_contract_id=nullable("trigger_contract_id"),
        goal_event_name=nullable("goal_event_name"),
        goal_event_window_days=changes.goal_event_window_days if changes.HasField("goal_event_window_days") else UNSET,
        steps_json=changes.steps_json if changes.HasField("steps_json") else UNSET,
        settings_json=changes.settings_json if changes.HasField("settings_json") else UNSET,
    )


def arms_from_proto(request: pb.PublishJourneyRequest) -> tuple[ArmReset, ...]:
    """The arms that shall count anew."""
    return tuple(ArmReset(arm.step_id, arm.arm_id) for arm in request.reset_arms)


def journey_to_proto(view: JourneyView) -> nouns.Journey:
    """A journey as its authors see it."""
    journey = view.journey
    message = nouns.Journey(
        id=journey.id,
        project_key=journey.workspace,
        name=journey.name,
        description=journey.description,
        status=journey.state.value,
        latest_version=journey.latest_version,
        audience_id=journey.audience_id,
        trigger_contract_id=journey.trigger_contract_id,
        goal_event_name=journey.goal_event_name,
        goal_event_window_days=journey.goal_event_window_days,
        goal_since_ms=journey.goal_since_ms,
        settings_json=journey.settings_json,
        steps_json=view.steps_json or b"",
        warnings=[page_pb2.Fault(path=fault.path, code=fault.code, message=fault.message) for fault in view.warnings],
        created_at_ms=journey.created_at_ms,
        updated_at_ms=journey.updated_at_ms,
        published_at_ms=journey.published_at_ms,
        etag=view.etag,
    )
    if journey.draft is not None:
        draft = journey.draft
        message.draft.CopyFrom(nouns.Draft(based_on_version=draft.based_on_version, updated_at_ms=draft.updated_at_ms))
    return message


def version_to_proto(version: Version) -> nouns.Version:
    """A published snapshot."""
    contract = version.trigger_contract
    return nouns.Version(
        journey_id=version.journey_id,
        version=version.version,
        published_at_ms=version.published_at_ms,
        published_by=version.published_by,
        steps_json=version.steps_json,
        settings_json=version.settings_json,
        audience_id=version.audience_id,
        trigger_contract_id=None if contract is None else contract.id,
        trigger_contract_version_at=None if contract is None else format_time(contract.version_at_ms),
        name=version.name,
        communications={one.id: one.version for one in version.communications},
        reset_arms=[nouns.ArmReset(step_id=arm.step_id, arm_id=arm.arm_id) for arm in version.reset_arms],
    )
