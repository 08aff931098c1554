"""The same things in two alphabets: records of the log and messages of the wire; facts and rows here."""

from typing import Any

import msgspec
from google.protobuf.message import DecodeError
from journeys.analytics.v1 import analytics_service_pb2 as pb
from journeys.events.v1.authoring_record_pb2 import AuditRecord
from journeys.events.v1.execution_record_pb2 import ArmChoice, ExecutionRecord, ExecutionState, GoalRecord

from services.analytics.audit import SYSTEM, AuditPage, AuditQuery, is_notable, sequence
from services.analytics.facts import RUNNING, Arm, Fact, Goal
from services.analytics.follower import Unreadable
from services.analytics.projector import Observed
from services.analytics.repositories import Row, row_key
from services.analytics.step_stats import StepCounts
from services.domain.ids import correlation_id
from services.infra.log.port import Stored

DEFAULT_LIMIT = 200  # contract 1, limits
UNLISTED = frozenset({"goal.moved"})  # told with a state that changed; the timeline has nothing to show (contract 2)


def observed_from_record(stored: Stored) -> Observed:
    """What an execution record tells. Raises Unreadable."""
    try:
        record = ExecutionRecord.FromString(stored.value)
    except DecodeError as error:
        raise Unreadable("not an ExecutionRecord") from error
    if not (record.key and record.workspace) or ":" in record.workspace or ":" in record.execution_id:
        raise Unreadable("an ExecutionRecord without key or workspace, or with a colon in an id")
    return Observed(_fact_from_record(record, stored.partition), _rows_from_record(record, stored))


def fact_from_record(record: ExecutionRecord) -> Fact:
    """A record as it is stored elsewhere than in the log, as a fact of no partition yet."""
    return _fact_from_record(record, -1)


def act_from_record(stored: Stored) -> Row:
    """The row of an authoring act. Raises Unreadable."""
    try:
        record = AuditRecord.FromString(stored.value)
    except DecodeError as error:
        raise Unreadable("not an AuditRecord") from error
    if not (record.id and record.workspace) or ":" in record.workspace:
        raise Unreadable("an AuditRecord without id or workspace, or with a colon in the latter")
    journey, actor = f"{record.workspace}:{record.journey_id}", record.actor or SYSTEM
    return Row(
        key=row_key(record.workspace, "", record.id),
        journey=journey,
        notable=journey if is_notable(actor, record.action) else None,
        at_ms=record.at_ms,
        seq=sequence(stored.topic, stored.partition, stored.offset, 0),
        actor=actor,
        action=record.action,
        metadata=record.metadata_json,
    )


def query_from_proto(request: pb.ListAuditRequest) -> AuditQuery:
    """What is asked for; no limit means the default."""
    return AuditQuery(
        workspace=request.workspace,
        journey_id=request.journey_id,
        limit=request.page.limit or DEFAULT_LIMIT,
        cursor=request.page.cursor if request.page.HasField("cursor") else None,
        action_prefix=request.action_prefix or None,
        actor=request.actor or None,
        execution_id=request.execution_id or None,
    )


def page_to_proto(page: AuditPage) -> pb.ListAuditResponse:
    """A page of the timeline."""
    return pb.ListAuditResponse(entries=[_row_to_proto(row) for row in page.rows], next_cursor=page.cursor)


def stats_to_proto(counts: dict[str, StepCounts]) -> pb.GetStepStatsResponse:
    """Step statistics."""
    return pb.GetStepStatsResponse(
        steps=[
            pb.StepStats(step_id=step, executed=c.executed, skipped=c.skipped, failed=c.failed, waiting=c.waiting)
            for step, c in counts.items()
        ]
    )


def _fact_from_record(record: ExecutionRecord, partition: int) -> Fact:
    state: ExecutionState = record.state
    status, visits, failed_step = state.status or RUNNING, dict(state.visits), state.failed_step_id
    failures = [f"{failed_step}-{visits[failed_step]}"] if status == "FAILED" and failed_step in visits else []
    return Fact(
        key=record.key,
        partition=partition,
        workspace=record.workspace,
        journey_id=record.journey_id,
        version=record.version,
        execution_id=record.execution_id,
        subject_key=record.subject_key,
        end_user_id=record.end_user_id,
        started_at=record.started_at_ms,
        status=status,
        transition=state.transition,
        waiting_step=state.waiting_step_id,
        visits=visits,
        results=dict(state.results),
        # Most executions have neither arms nor goals, and asking an empty map for its items costs a microsecond.
        arms={step: _arm(choice) for step, choice in state.arms.items()} if state.arms else {},
        goals=sorted(set(state.goals_ms)) if state.goals_ms else [],
        failures=failures,
        goal=_goal(record.goal) if record.HasField("goal") else None,
        holdout_share=record.holdout_share,
    )


def _arm(choice: ArmChoice) -> Arm:
    return Arm(
        arm_id=choice.arm_id,
        mode=choice.mode,
        propensity=choice.propensity,
        snapshot_id=choice.snapshot_id,
        routed_at=choice.routed_at_ms,
        goal=_goal(choice.goal) if choice.HasField("goal") else None,
        converted_at=choice.converted_at_ms if choice.HasField("converted_at_ms") else None,
    )


def _goal(goal: GoalRecord) -> Goal:
    return Goal(goal.event_name, goal.window_ms, goal.since_ms)


def _rows_from_record(record: ExecutionRecord, stored: Stored) -> list[Row]:
    workspace, execution_id, user = record.workspace, record.execution_id, record.end_user_id
    journey = f"{workspace}:{record.journey_id}"
    rows = []
    for i, entry in enumerate(record.entries):
        if entry.action in UNLISTED:
            continue
        entry_id, action = entry.id or f"{record.key}:{record.state.transition}:{i}", entry.action
        actor = entry.actor or SYSTEM
        row = Row(
            key=row_key(workspace, execution_id, entry_id),
            journey=journey,
            notable=journey if is_notable(actor, action) else None,
            at_ms=entry.at_ms,
            seq=sequence(stored.topic, stored.partition, stored.offset, i),
            actor=actor,
            action=action,
            step_id=entry.step_id,
            end_user_id=user,
            metadata=entry.metadata_json,
        )
        rows.append(row)
    return rows


def _row_to_proto(row: Row) -> pb.AuditEntry:
    metadata = _object(row.metadata)
    if row.execution_id is not None:
        metadata["executionId"] = row.execution_id
        if row.step_id:
            metadata["stepId"] = row.step_id
            metadata["correlationId"] = correlation_id(row.execution_id, row.step_id)
    if row.end_user_id:
        metadata["endUserId"] = row.end_user_id
    if row.action == "branch.routed" and "chosen" in metadata:
        metadata["arm"] = metadata["chosen"]  # the timeline's word (contract 2, audit); history says it in full
    return pb.AuditEntry(
        id=row.entry_id,
        at_ms=row.at_ms,
        actor=row.actor,
        action=row.action,
        metadata_json=msgspec.json.encode(metadata) if metadata else b"",
    )


def _object(raw: bytes) -> dict[str, Any]:
    """A JSON object, or an empty one in the place of anything else: a timeline does not fail for one entry."""
    try:
        value = msgspec.json.decode(raw) if raw else {}
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}
