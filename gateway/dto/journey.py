"""Journeys and versions as the contract shows them (section 2)."""

from typing import Annotated, Literal, Self

from journeys.authoring.v1 import journey_pb2 as pb
from msgspec import Meta

from gateway.dto.shown import (
    UNSET,
    Dto,
    Settings,
    Steps,
    Time,
    UnsetType,
    json_array,
    json_object,
    optional,
    optional_time,
    or_unset,
    whole,
)
from gateway.times import rfc3339


class Warning(Dto, kw_only=True):  # noqa: A001  # the contract's word
    """A fault of a draft, told but not refused."""

    path: str
    code: str
    message: str


class DraftPointer(Dto, kw_only=True):
    """Where a draft came from."""

    based_on_version: int | None
    updated_at: Time


class Journey(Dto, kw_only=True):
    """A journey; `steps`, `settings` and references are the draft's if there is one, else the latest version's."""

    id: str
    project_key: str
    name: str
    description: str
    status: Literal["draft", "published", "paused", "archived"]
    version: Annotated[int | str, Meta(description='"draft" while there is a draft, else the latest number.')]
    latest_version: int | None
    draft: DraftPointer | None
    audience_id: str | None
    trigger_contract_id: str | None
    goal_event_name: str | None
    goal_event_window_days: float | int
    goal_since: Time | None
    settings: Settings
    steps: Steps | UnsetType = UNSET
    warnings: list[Warning]
    created_at: Time
    updated_at: Time
    published_at: Time | None

    @classmethod
    def from_proto(cls, journey: pb.Journey, *, steps: bool = True) -> Self:
        """A journey, in lists without its steps."""
        draft = journey.draft if journey.HasField("draft") else None
        return cls(
            id=journey.id,
            project_key=journey.project_key,
            name=journey.name,
            description=journey.description,
            status=journey.status,  # type: ignore[arg-type]  # authoring knows these four
            version="draft" if draft is not None else journey.latest_version,
            latest_version=journey.latest_version or None,
            draft=None if draft is None else _pointer(draft),
            audience_id=optional(journey, "audience_id"),
            trigger_contract_id=optional(journey, "trigger_contract_id"),
            goal_event_name=optional(journey, "goal_event_name"),
            goal_event_window_days=whole(journey.goal_event_window_days),
            goal_since=optional_time(journey, "goal_since_ms"),
            settings=json_object(journey.settings_json),
            steps=json_array(journey.steps_json) if steps else UNSET,
            warnings=[Warning(path=it.path, code=it.code, message=it.message) for it in journey.warnings],
            created_at=rfc3339(journey.created_at_ms),
            updated_at=rfc3339(journey.updated_at_ms),
            published_at=optional_time(journey, "published_at_ms"),
        )


class ArmReset(Dto, kw_only=True):
    """An arm that counts anew from a version on."""

    step_id: str
    arm_id: str


class Version(Dto, kw_only=True):
    """A published snapshot."""

    journey_id: str
    version: int
    name: str
    published_at: Time
    published_by: str
    audience_id: str | None
    trigger_contract_id: str | None
    trigger_contract_version_at: str | None
    communications: Annotated[dict[str, int], Meta(description="Communication id -> the version that is pinned.")]
    reset_arms: list[ArmReset]
    settings: Settings
    steps: Steps | UnsetType = UNSET

    @classmethod
    def from_proto(cls, version: pb.Version) -> Self:
        """A version, without steps where none came."""
        return cls(
            journey_id=version.journey_id,
            version=version.version,
            name=version.name,
            published_at=rfc3339(version.published_at_ms),
            published_by=version.published_by,
            audience_id=optional(version, "audience_id"),
            trigger_contract_id=optional(version, "trigger_contract_id"),
            trigger_contract_version_at=optional(version, "trigger_contract_version_at"),
            communications=dict(version.communications),
            reset_arms=[ArmReset(step_id=arm.step_id, arm_id=arm.arm_id) for arm in version.reset_arms],
            settings=json_object(version.settings_json),
            steps=or_unset(json_array(version.steps_json) if version.steps_json else None),
        )


class Published(Dto, kw_only=True):
    """The new version's pointer."""

    id: str
    version: int


def _pointer(draft: pb.Draft) -> DraftPointer:
    return DraftPointer(based_on_version=optional(draft, "based_on_version"), updated_at=rfc3339(draft.updated_at_ms))
