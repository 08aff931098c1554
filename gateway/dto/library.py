"""Trigger contracts, audiences and communications as the contract shows them (section 3)."""

from typing import Any, Literal, Self

import msgspec
from journeys.authoring.v1 import library_pb2 as pb

from gateway.dto.shown import UNSET, Dto, JsonObject, Predicate, Raw, Time, UnsetType, json_object, optional
from gateway.times import rfc3339


class TriggerContract(Dto, kw_only=True):
    """Which events start journeys, and where in them the subject is found."""

    id: str
    project_key: str
    name: str
    event_name: str
    subject_field_path: str
    recipient_email_field_path: str | None
    version_at: Time

    @classmethod
    def from_proto(cls, contract: pb.TriggerContract) -> Self:
        """A contract."""
        return cls(
            id=contract.id,
            project_key=contract.project_key,
            name=contract.name,
            event_name=contract.event_name,
            subject_field_path=contract.subject_field_path,
            recipient_email_field_path=optional(contract, "recipient_email_field_path"),
            version_at=rfc3339(contract.version_at_ms),
        )


class Audience(Dto, kw_only=True):
    """A named set of subjects: `predicate` or `subjectIds`."""

    id: str
    project_key: str
    name: str
    description: str
    subject_type: Literal["end_user"] = "end_user"
    predicate: Predicate | UnsetType = UNSET
    subject_ids: list[str] | UnsetType = UNSET
    created_at: Time
    updated_at: Time

    @classmethod
    def from_proto(cls, audience: pb.Audience) -> Self:
        """An audience, by predicate where it has one."""
        is_dynamic = audience.HasField("predicate_json")
        return cls(
            id=audience.id,
            project_key=audience.project_key,
            name=audience.name,
            description=audience.description,
            predicate=Raw(audience.predicate_json) if is_dynamic else UNSET,
            subject_ids=UNSET if is_dynamic else list(audience.subject_ids),
            created_at=rfc3339(audience.created_at_ms),
            updated_at=rfc3339(audience.updated_at_ms),
        )


class Evaluation(Dto, kw_only=True):
    """Whether a subject belongs to an audience, and which leaf said so."""

    matches: bool
    explanation: JsonObject


class _Content(msgspec.Struct, rename={"from_": "from"}):
    subject: str | UnsetType | None = UNSET
    body: str | UnsetType | None = UNSET
    text: str | UnsetType | None = UNSET
    title: str | UnsetType | None = UNSET
    data: Raw | UnsetType = UNSET
    from_: str | UnsetType | None = UNSET


class Communication(Dto, kw_only=True, rename=lambda name: {"comm_type": "commType", "from_": "from"}.get(name, name)):
    """A message template, a version."""

    id: str
    name: str
    comm_type: Literal["marketing", "transactional"]
    channel: Literal["email", "in_app_push", "mobile_push"]
    version: int
    subject: str | UnsetType | None = UNSET
    body: str | UnsetType | None = UNSET
    text: str | UnsetType | None = UNSET
    title: str | UnsetType | None = UNSET
    data: JsonObject | UnsetType = UNSET
    from_: str | UnsetType | None = UNSET
    status: Literal["active", "archived"]

    @classmethod
    def from_proto(cls, communication: pb.Communication) -> Self:
        """A communication with its content as the author wrote it."""
        content = msgspec.json.decode(communication.content_json or b"{}", type=_Content)
        members: dict[str, Any] = {name: getattr(content, name) for name in content.__struct_fields__}
        return cls(
            id=communication.id,
            name=communication.name,
            comm_type=communication.comm_type,  # type: ignore[arg-type]  # authoring knows these two
            channel=communication.channel,  # type: ignore[arg-type]  # and these three
            version=communication.version,
            status=communication.status,  # type: ignore[arg-type]  # and these two
            **members,
        )


def evaluation(matches: bool, explanation: bytes) -> Evaluation:
    """The answer of an evaluation."""
    return Evaluation(matches=matches, explanation=json_object(explanation))
