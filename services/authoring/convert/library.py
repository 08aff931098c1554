"""Trigger contracts, audiences, communications; stored answers."""

from journeys.authoring.v1 import authoring_service_pb2 as pb
from journeys.authoring.v1 import library_pb2 as nouns

from services.authoring.audiences import AudienceChanges
from services.authoring.changes import UNSET
from services.authoring.communications import CommunicationChanges
from services.authoring.names import etag_of
from services.authoring.repositories import Audience, Communication, StoredAnswer, TriggerContract
from services.authoring.trigger_contracts import ContractChanges


def new_contract_from_proto(request: pb.CreateTriggerContractRequest) -> ContractChanges:
    """The members of a new contract; what is needed and empty counts as missing."""
    return ContractChanges(
        name=request.name or UNSET,
        event_name=request.event_name or UNSET,
        subject_field_path=request.subject_field_path if request.HasField("subject_field_path") else UNSET,
        recipient_email_field_path=request.recipient_email_field_path
        if request.HasField("recipient_email_field_path")
        else UNSET,
    )


def contract_changes_from_proto(request: pb.UpdateTriggerContractRequest) -> ContractChanges:
    """The members to change."""
    email_path = request.recipient_email_field_path if request.HasField("recipient_email_field_path") else UNSET
    return ContractChanges(
        name=request.name if request.HasField("name") else UNSET,
        event_name=request.event_name if request.HasField("event_name") else UNSET,
        subject_field_path=request.subject_field_path if request.HasField("subject_field_path") else UNSET,
        recipient_email_field_path=None if request.clear_recipient_email_field_path else email_path,
    )


def contract_to_proto(contract: TriggerContract) -> nouns.TriggerContract:
    """A contract as its authors see it."""
    return nouns.TriggerContract(
        id=contract.id,
        project_key=contract.workspace,
        name=contract.name,
        event_name=contract.event_name,
        subject_field_path=contract.subject_field_path,
        recipient_email_field_path=contract.recipient_email_field_path,
        version_at_ms=contract.version_at_ms,
        etag=etag_of(contract.version_at_ms),
    )


def new_audience_from_proto(request: pb.CreateAudienceRequest) -> AudienceChanges:
    """The members of a new audience."""
    return AudienceChanges(
        name=request.name or UNSET,
        description=request.description if request.HasField("description") else UNSET,
        predicate_json=request.predicate_json if request.HasField("predicate_json") else UNSET,
        subject_ids=list(request.subject_ids.ids) if request.HasField("subject_ids") else UNSET,
    )


def audience_changes_from_proto(request: pb.UpdateAudienceRequest) -> AudienceChanges:
    """The members to change."""
    return AudienceChanges(
        name=request.name if request.HasField("name") else UNSET,
        description=request.description if request.HasField("description") else UNSET,
        predicate_json=request.predicate_json if request.HasField("predicate_json") else UNSET,
        subject_ids=list(request.subject_ids.ids) if request.HasField("subject_ids") else UNSET,
    )


def audience_to_proto(audience: Audience) -> nouns.Audience:
    """An audience as its authors see it."""
    return nouns.Audience(
        id=audience.id,
        project_key=audience.workspace,
        name=audience.name,
        description=audience.description,
        predicate_json=audience.predicate_json,
        subject_ids=audience.subject_ids,
        created_at_ms=audience.created_at_ms,
        updated_at_ms=audience.updated_at_ms,
        etag=etag_of(audience.updated_at_ms),
    )


def new_communication_from_proto(request: pb.CreateCommunicationRequest) -> CommunicationChanges:
    """The members of a new communication."""
    return CommunicationChanges(
        name=request.name or UNSET,
        comm_type=request.comm_type or UNSET,
        channel=request.channel or UNSET,
        content_json=request.content_json or UNSET,
    )


def communication_changes_from_proto(request: pb.UpdateCommunicationRequest) -> CommunicationChanges:
    """The members to change."""
    return CommunicationChanges(
        name=request.name if request.HasField("name") else UNSET,
        comm_type=request.comm_type if request.HasField("comm_type") else UNSET,
        content_json=request.content_json if request.HasField("content_json") else UNSET,
        status=request.status if request.HasField("status") else UNSET,
    )


def communication_to_proto(communication: Communication) -> nouns.Communication:
    """A communication as its authors see it."""
    return nouns.Communication(
        id=communication.id,
        name=communication.name,
        comm_type=communication.comm_type,
        channel=communication.channel,
        version=communication.version,
        content_json=communication.content_json,
        status=communication.status,
        etag=etag_of(communication.updated_at_ms),
    )


def answer_to_proto(answer: StoredAnswer | None) -> pb.StoredAnswer | None:
    """An answer that was kept."""
    if answer is None:
        return None
    return pb.StoredAnswer(
        status=answer.status, content_type=answer.content_type, body=answer.body, headers=answer.headers
    )


def answer_from_proto(request: pb.SettleIdempotencyKeyRequest) -> StoredAnswer | None:
    """An answer to keep."""
    if not request.HasField("answer"):
        return None
    answer = request.answer
    return StoredAnswer(
        status=answer.status, content_type=answer.content_type, body=answer.body, headers=dict(answer.headers)
    )
