"""Executions, messages, audit entries and step counts as the contract shows them (sections 2, 3, 4 and 6)."""

from collections.abc import Iterable
from typing import Literal, Self

import msgspec
from journeys.analytics.v1 import analytics_service_pb2 as analytics
from journeys.runtime.v1 import runtime_service_pb2 as pb

from gateway.dto.shown import (
    UNSET,
    Dto,
    JsonObject,
    Raw,
    Time,
    UnsetType,
    json_object,
    optional,
    optional_time,
    or_unset,
)
from gateway.times import rfc3339

ARN_PREFIX = "arn:aws:states:us-east-1:0:execution:disp:"
STATUSES = ("RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED")
Status = Literal["RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"]


def arn_of(execution_id: str) -> str | None:
    """The ARN of an execution; None where there is no execution."""
    return ARN_PREFIX + execution_id if execution_id else None


class HistoryEntry(Dto, kw_only=True):
    """One thing that happened to an execution."""

    at: Time
    step_id: str
    event: str
    detail: JsonObject


class Execution(Dto, kw_only=True):
    """One run of one version for one person from one event."""

    execution_arn: str | None
    execution_id: str
    journey_id: str
    end_user_id: str
    status: Status
    started_at: Time
    ended_at: Time | UnsetType = UNSET
    current_step_id: str
    version: int
    correlation_id: str

    @classmethod
    def from_proto(cls, execution: pb.Execution) -> Self:
        """An execution as lists show it."""
        return cls(
            execution_arn=arn_of(execution.execution_id),
            execution_id=execution.execution_id,
            journey_id=execution.journey_id,
            end_user_id=execution.end_user_id,
            status=execution.status,  # type: ignore[arg-type]  # the runtime knows these five
            started_at=rfc3339(execution.started_at_ms),
            ended_at=or_unset(optional_time(execution, "ended_at_ms")),
            current_step_id=execution.current_step_id,
            version=execution.version,
            correlation_id=execution.correlation_id,
        )


class ExecutionDetail(Execution, kw_only=True):
    """An execution with its history."""

    history: list[HistoryEntry]
    due: Time | None
    context: JsonObject
    exit_reason: str | None

    @classmethod
    def from_proto(cls, execution: pb.Execution) -> Self:
        """An execution with everything."""
        shown = Execution.from_proto(execution)
        return cls(
            **{name: getattr(shown, name) for name in Execution.__struct_fields__},
            history=[
                HistoryEntry(
                    at=rfc3339(entry.at_ms),
                    step_id=entry.step_id,
                    event=entry.event,
                    detail=json_object(entry.detail_json),
                )
                for entry in execution.history
            ],
            due=optional_time(execution, "due_ms"),
            context=json_object(execution.context_json),
            exit_reason=optional(execution, "exit_reason"),
        )


class Started(Dto, kw_only=True):
    """Whether a start came about, and why not."""

    execution_arn: str | None
    execution_id: str | None
    started: bool
    reason: str | UnsetType = UNSET

    @classmethod
    def from_proto(cls, reply: pb.StartExecutionResponse) -> Self:
        """The answer of a start."""
        return cls(
            execution_arn=arn_of(reply.execution_id),
            execution_id=reply.execution_id or None,
            started=reply.started,
            reason=or_unset(optional(reply, "reason")),
        )


class Dispatched(Dto, kw_only=True):
    """Where an execution stands after whatever was due."""

    execution_arn: str | None
    status: Status
    current_step_id: str
    advanced: bool

    @classmethod
    def from_proto(cls, reply: pb.DispatchExecutionResponse) -> Self:
        """The answer of a dispatch."""
        return cls(
            execution_arn=arn_of(reply.execution.execution_id),
            status=reply.execution.status,  # type: ignore[arg-type]  # the runtime knows these five
            current_step_id=reply.execution.current_step_id,
            advanced=reply.advanced,
        )


class Message(Dto, kw_only=True):
    """What was sent; the address is masked."""

    message_id: str
    execution_id: str
    journey_id: str
    step_id: str
    end_user_id: str
    channel: str
    status: Literal["sending", "sent", "failed", "unknown"]
    to: str
    subject: str
    title: str
    body: str
    text: str
    sent_at: Time | None
    idempotency_key: str

    @classmethod
    def from_proto(cls, message: pb.Message) -> Self:
        """A message."""
        return cls(
            message_id=message.message_id,
            execution_id=message.execution_id,
            journey_id=message.journey_id,
            step_id=message.step_id,
            end_user_id=message.end_user_id,
            channel=message.channel,
            status=message.status,  # type: ignore[arg-type]  # the runtime knows these four
            to=message.to,
            subject=message.subject,
            title=message.title,
            body=message.body,
            text=message.text,
            sent_at=optional_time(message, "sent_at_ms"),
            idempotency_key=message.idempotency_key,
        )


class MessageEvent(Dto, kw_only=True):
    """What a provider said of a message; `permanent` of a bounce."""

    type: str
    at: Time
    permanent: bool


class MessageEvents(Dto, kw_only=True):
    """All that providers said of a message, oldest first."""

    message_id: str
    events: list[MessageEvent]

    @classmethod
    def from_proto(cls, message_id: str, reply: pb.RecordMessageEventResponse) -> Self:
        """The answer to feedback."""
        events = [
            MessageEvent(type=event.type, at=rfc3339(event.at_ms), permanent=event.permanent) for event in reply.events
        ]
        return cls(message_id=message_id, events=events)


class InAppMessage(Dto, kw_only=True):
    """A message in a person's in-app store."""

    message_id: str
    title: str
    body: str
    data: JsonObject
    sent_at: Time
    read_at: Time | None
    journey_id: str
    step_id: str

    @classmethod
    def from_proto(cls, message: pb.InAppMessage) -> Self:
        """A message."""
        return cls(
            message_id=message.message_id,
            title=message.title,
            body=message.body,
            data=json_object(message.data_json),
            sent_at=rfc3339(message.sent_at_ms),
            read_at=optional_time(message, "read_at_ms"),
            journey_id=message.journey_id,
            step_id=message.step_id,
        )


class AuditEntry(Dto, kw_only=True):
    """One line of a journey's timeline, or of the workspace's."""

    timestamp: Time
    actor: str
    action: str
    metadata: JsonObject | UnsetType = UNSET

    @classmethod
    def from_proto(cls, entry: analytics.AuditEntry) -> Self:
        """An entry; metadata only where there is some."""
        metadata = entry.metadata_json
        return cls(
            timestamp=rfc3339(entry.at_ms),
            actor=entry.actor,
            action=entry.action,
            metadata=Raw(metadata) if metadata and metadata != b"{}" else UNSET,
        )


class StepStats(Dto, kw_only=True):
    """How many executions a step has executed, skipped and failed, and how many wait in it."""

    step_id: str
    executed: int
    skipped: int
    failed: int
    waiting: int

    @classmethod
    def from_proto(cls, stats: analytics.StepStats) -> Self:
        """The counts of one step."""
        return cls(
            step_id=stats.step_id,
            executed=stats.executed,
            skipped=stats.skipped,
            failed=stats.failed,
            waiting=stats.waiting,
        )


def every_step(steps_json: bytes, counted: Iterable[analytics.StepStats]) -> list[StepStats]:
    """The counts of a journey's steps in their order, zeros where nobody came by; last those of earlier versions."""
    known = {stats.step_id: StepStats.from_proto(stats) for stats in counted}
    steps: list[str] = [step["id"] for step in msgspec.json.decode(steps_json or b"[]")]
    shown = {step: known.get(step) or StepStats.from_proto(analytics.StepStats(step_id=step)) for step in steps}
    return list({**shown, **known}.values())


class IntakeFault(Dto, kw_only=True):
    """Why an event of a batch was refused."""

    index: int
    code: str
    message: str


class Taken(Dto, kw_only=True):
    """What became of a batch: `received` counts the well-formed events, duplicates included."""

    received: int
    duplicates: int
    errors: list[IntakeFault]


class Now(Dto, kw_only=True):
    """What the development clock shows."""

    now: Time
