"""The same things in two alphabets: documents and values here, protos on the wire and in the log.

Law: nothing is decided here. Free-form JSON travels as bytes and stays bytes where nobody has to look inside.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from google.protobuf.message import DecodeError
from journeys.events.v1 import authoring_record_pb2 as catalogue
from journeys.events.v1.allocation_record_pb2 import AllocationRecord
from journeys.runtime.v1 import runtime_service_pb2 as runtime
from journeys.runtime.v1 import subject_service_pb2 as subject
from journeys.type.v1.page_pb2 import Page as PageProto

from services.domain import ids
from services.domain.errors import Fault
from services.domain.execution.assignment import Snapshot
from services.domain.execution.execution import Entry, Execution, Goal
from services.domain.execution.lifecycle import Status
from services.domain.execution.version import Contract
from services.domain.journey.paths import read_path
from services.domain.journey.predicate import Audience
from services.domain.journey.reading import read_predicate
from services.domain.times import DAY_MS, is_zone
from services.runtime.catalogue_records import (
    CatalogueChange,
    JourneyInfo,
    NamedAudience,
    PinnedCommunication,
    PublishedVersion,
    WorkspaceInfo,
)
from services.runtime.collections import MessageDocument, MessageEvent
from services.runtime.paging import PageRequest
from services.runtime.rules import rules_of
from services.runtime.subject_documents import SubjectDocument, SuppressionDocument
from services.runtime.subjects import Imported

HOLDOUT_PERCENT = 5.0  # contract 3, Workspace: where the settings do not say


class Unreadable(ValueError):
    """A record of the log that cannot be understood; the sentence says why."""


def page_from_proto(page: PageProto, default_limit: int) -> PageRequest:
    """Which part of a list is wanted; without a limit, as many as the contract shows."""
    return PageRequest(page.limit or default_limit, page.cursor if page.HasField("cursor") else None)


def execution_to_proto(execution: Execution, *, whole: bool = False) -> runtime.Execution:
    """An execution as lists show it; `whole` with history, due time, saved answers and exit reason."""
    message = runtime.Execution(
        execution_id=execution.execution_id,
        journey_id=execution.journey_id,
        version=execution.journey_version,
        end_user_id=execution.subject_id,
        status=execution.status.value,
        started_at_ms=execution.started_at,
        ended_at_ms=execution.ended_at,
        current_step_id=execution.step_id,
        correlation_id=ids.correlation_id(execution.execution_id, execution.step_id),
    )
    if whole:
        # In the order of time: a send's result may have come a moment after what an event of its own time did.
        message.history.extend(entry_to_proto(one) for one in sorted(execution.history, key=lambda one: one.at))
        message.context_json = json_bytes(execution.context)
        if (due := due_of(execution)) is not None:
            message.due_ms = due
        if execution.exit_reason is not None:
            message.exit_reason = execution.exit_reason
    return message


def due_of(execution: Execution) -> int | None:
    """When time alone moves the person on: the wait's timer or timeout, no lease or deadline of ours."""
    return execution.step_due_at if execution.status is Status.RUNNING and not execution.parked else None


def entry_to_proto(entry: Entry) -> runtime.HistoryEntry:
    """One line of a history."""
    return runtime.HistoryEntry(
        at_ms=entry.at, step_id=entry.step_id, event=entry.action, detail_json=json_bytes(entry.detail)
    )


def message_to_proto(document: MessageDocument) -> runtime.Message:
    """A send as it is shown: its address stays masked."""
    return runtime.Message(
        message_id=document.key,
        execution_id=document.execution_id,
        step_id=document.step_id,
        channel=document.channel,
        status=document.status,
        to=document.to,
        subject=document.subject,
        body=document.body,
        sent_at_ms=document.sent_at,
        idempotency_key=document.key,
        journey_id=document.journey_id,
        end_user_id=document.end_user_id,
        title=document.title,
        text=document.text,
    )


def event_to_proto(event: MessageEvent) -> runtime.MessageEvent:
    """What a provider said."""
    return runtime.MessageEvent(type=event.type, at_ms=event.at, permanent=event.permanent)


def in_app_to_proto(document: MessageDocument) -> runtime.InAppMessage:
    """A message as the customer's app shows it."""
    return runtime.InAppMessage(
        message_id=document.key,
        title=document.title,
        body=document.body,
        data_json=json_bytes(document.data),
        sent_at_ms=document.at if document.sent_at is None else document.sent_at,
        read_at_ms=document.read_at,
        journey_id=document.journey_id,
        step_id=document.step_id,
    )


def subject_to_proto(document: SubjectDocument) -> subject.Subject:
    """A person's profile."""
    return subject.Subject(
        end_user_id=document.end_user_id,
        attributes_json=json_bytes(document.attributes),
        email=document.email,
        mobile_push=document.mobile_push,
        timezone=document.timezone,
        locale=document.locale,
        channel_preferences=document.preferences,
        global_opt_out=document.global_opt_out,
        etag=document.etag,
    )


def suppression_to_proto(document: SuppressionDocument) -> subject.Suppression:
    """An address nobody may write to."""
    return subject.Suppression(address=document.address, reason=document.reason, created_at_ms=document.created_at)


def imported_to_proto(imported: Imported) -> subject.ImportSubjectsResponse:
    """What became of a batch."""
    return subject.ImportSubjectsResponse(
        created=imported.created,
        updated=imported.updated,
        faults=[
            subject.ImportFault(index=fault.index, code=fault.code, message=fault.message) for fault in imported.faults
        ],
    )


def catalogue_change_from_bytes(value: bytes) -> CatalogueChange:
    """A record of the catalogue topic. Raises Unreadable."""
    record = catalogue.CatalogueRecord()
    try:
        record.ParseFromString(value)
    except DecodeError as error:
        raise Unreadable(f"no CatalogueRecord: {error}") from None
    what: WorkspaceInfo | JourneyInfo | PublishedVersion | NamedAudience
    try:
        match record.WhichOneof("what"):
            case "workspace_record":
                what = _workspace(record.workspace_record)
            case "journey":
                what = _journey(record.journey)
            case "version":
                what = _version(record.version)
            case "audience":
                what = _audience(record.audience)
            case None:
                raise Unreadable("a record of nothing, or of a kind that is newer than this program")
    except Unreadable:
        raise
    except (ValueError, msgspec.MsgspecError) as error:  # BadPath, JSON that is none
        raise Unreadable(str(error)) from None
    return CatalogueChange(record.workspace, what)


def allocation_from_bytes(value: bytes) -> Snapshot:
    """A record of the allocations topic. Raises Unreadable."""
    record = AllocationRecord()
    try:
        record.ParseFromString(value)
    except DecodeError as error:
        raise Unreadable(f"no AllocationRecord: {error}") from None
    if not record.arms:
        raise Unreadable("an allocation without arms")
    return Snapshot(
        id=record.snapshot_id,
        arm_ids=tuple(arm.arm_id for arm in record.arms),
        propensities=tuple(arm.propensity for arm in record.arms),
        as_of=record.as_of_ms,
    )


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """A JSON object."""
    return msgspec.json.encode(value)


def _workspace(record: catalogue.WorkspaceRecord) -> WorkspaceInfo:
    settings = _object(record.settings_json)
    zone, holdout = settings.get("timezone"), settings.get("holdout")
    percent = holdout.get("percent") if isinstance(holdout, dict) else None
    return WorkspaceInfo(
        name=record.name,
        salt=record.salt,
        subject_secret=record.subject_secret,
        timezone=zone if isinstance(zone, str) and is_zone(zone) else "UTC",
        holdout_percent=float(percent) if isinstance(percent, int | float) else HOLDOUT_PERCENT,
        settings=settings,
        rules=rules_of(settings),
    )


def _journey(record: catalogue.JourneyRecord) -> JourneyInfo:
    goal, since = None, record.goal_since_ms if record.HasField("goal_since_ms") else None
    window_ms = round(record.goal_event_window_days * DAY_MS)
    if record.HasField("goal_event_name"):
        goal = Goal(record.goal_event_name, window_ms, since)
    return JourneyInfo(
        id=record.id,
        name=record.name,
        status=record.status,
        latest_version=record.latest_version,
        goal=goal,
        goal_since_ms=since,
        goal_window_ms=window_ms,
    )


def _version(record: catalogue.VersionRecord) -> PublishedVersion:
    return PublishedVersion(
        journey_id=record.journey_id,
        number=record.version,
        name=record.name,
        steps_json=record.steps_json,
        settings_json=record.settings_json,
        audience_id=record.audience_id if record.HasField("audience_id") else None,
        contract=_contract(record.trigger_contract) if record.HasField("trigger_contract") else None,
        communications={
            pinned.id: PinnedCommunication(
                pinned.id,
                pinned.version,
                pinned.name,
                pinned.channel,
                pinned.comm_type,
                _object(pinned.content_json),
            )
            for pinned in record.communications
        },
    )


def _contract(record: catalogue.PinnedContract) -> Contract:
    email = record.recipient_email_field_path if record.HasField("recipient_email_field_path") else ""
    return Contract(
        event_name=record.event_name,
        subject_path=read_path(record.subject_field_path),
        email_path=read_path(email) if email else None,
    )


def _audience(record: catalogue.AudienceRecord) -> NamedAudience:
    if not record.HasField("predicate_json"):
        return NamedAudience(record.id, Audience(subject_ids=frozenset(record.subject_ids)))
    predicate, faults = read_predicate(msgspec.json.decode(record.predicate_json), "/predicate")
    if predicate is None:
        raise Unreadable(f"the predicate of audience {record.id!r}: {_told(faults)}")
    return NamedAudience(record.id, Audience(predicate))


def _object(data: bytes) -> dict[str, Any]:
    value = msgspec.json.decode(data) if data else {}
    if not isinstance(value, dict):
        raise Unreadable("a member that must be a JSON object is none")
    return value


def _told(faults: list[Fault]) -> str:
    return "; ".join(f"{fault.path}: {fault.message}" for fault in faults[:3]) or "nothing is left of it"
