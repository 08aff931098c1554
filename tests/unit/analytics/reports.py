"""Execution records as the runtime would append them, for tests of the projections."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from journeys.events.v1.authoring_record_pb2 import AuditRecord
from journeys.events.v1.execution_record_pb2 import ExecutionRecord, ExecutionState, HistoryRecord

from services.analytics.audit import ACTS, EXECUTIONS
from services.analytics.convert import observed_from_record
from services.analytics.facts import Fact
from services.infra.log.port import Record, Stored, partition_of

PARTITIONS = 16
T0 = 1_777_554_000_000


def report(
    key: str = "0134abc",
    *,
    status: str = "RUNNING",
    transition: int = 1,
    visits: Mapping[str, int] | None = None,
    results: Mapping[str, str] | None = None,
    waiting: str = "",
    failed: str = "",
    goals: Sequence[int] = (),
    workspace: str = "pk_demo",
    journey: str = "act",
    user: str = "usr_a",
    execution: str | None = None,
    entries: Sequence[HistoryRecord] = (),
) -> ExecutionRecord:
    """One report of one execution."""
    return ExecutionRecord(
        key=key,
        workspace=workspace,
        journey_id=journey,
        version=3,
        execution_id=execution or f"{journey}__v3__{user}__{key}",
        subject_key="0134subject",
        end_user_id=user,
        started_at_ms=T0,
        state=ExecutionState(
            status=status,
            visits=visits or {},
            results=results or {},
            waiting_step_id=waiting,
            transition=transition,
            goals_ms=list(goals),
            failed_step_id=failed,
        ),
        entries=list(entries),
    )


def entry(
    entry_id: str, at: int = T0, action: str = "wait.fired", step: str = "wait", metadata: bytes = b""
) -> HistoryRecord:
    """One line of history."""
    return HistoryRecord(id=entry_id, at_ms=at, step_id=step, action=action, metadata_json=metadata)


def act(
    act_id: str,
    at: int = T0,
    action: str = "edited",
    actor: str = "usr_owner",
    journey: str = "act",
    workspace: str = "pk_demo",
    metadata: bytes = b"",
) -> Record:
    """One authoring act, as a record of its topic."""
    message = AuditRecord(
        id=act_id, workspace=workspace, journey_id=journey, at_ms=at, actor=actor, action=action, metadata_json=metadata
    )
    return Record(f"{workspace}:{journey}", message.SerializeToString())


def record(message: ExecutionRecord) -> Record:
    """A report as a record of its topic."""
    return Record(f"{message.workspace}:{message.end_user_id}", message.SerializeToString())


def stored(message: ExecutionRecord, offset: int = 0) -> Stored:
    """A report as it is read."""
    made = record(message)
    return Stored(EXECUTIONS, partition_of(made.key, PARTITIONS), offset, made.key, made.value, (), T0)


def stored_act(made: Record, offset: int = 0) -> Stored:
    """An act as it is read."""
    return Stored(ACTS, partition_of(made.key, PARTITIONS), offset, made.key, made.value, (), T0)


def fact(message: ExecutionRecord) -> Fact:
    """A report as facts."""
    return observed_from_record(stored(message)).fact


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> None:
    """Give the loop turns until `condition` holds."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.001)
