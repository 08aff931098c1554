"""Executions as the rest of the house hears of them: records on `journeys.executions.v1`.

Law: a record carries the whole state and the entries that are new, so duplicates, gaps and order do no harm.
Source: runtime design 11.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from journeys.events.v1.command_record_pb2 import CommandRecord
from journeys.events.v1.execution_record_pb2 import (
    ArmChoice,
    ExecutionRecord,
    ExecutionState,
    GoalRecord,
    HistoryRecord,
)

from services.domain.execution import execution as domain
from services.domain.execution.execution import Entry, Execution
from services.infra.log.port import Record
from services.runtime.lanes import log_key

_json = msgspec.json.Encoder()


def command_record(command: CommandRecord) -> Record:
    """The log record of a command, in its person's partition."""
    return Record(log_key(command.workspace, command.end_user_id), command.SerializeToString())


def record_of(execution: Execution, entries: Iterable[Entry], results: Mapping[str, str] | None = None) -> Record:
    """The log record of an execution's state with some entries; `results` are those settled since the write."""
    message = message_of(execution, entries, results)
    return Record(log_key(execution.workspace_id, execution.subject_id), message.SerializeToString())


def message_of(
    execution: Execution, entries: Iterable[Entry], results: Mapping[str, str] | None = None
) -> ExecutionRecord:
    """The same as a message."""
    states = {key: result.state for key, result in execution.results.items()}
    for key, intent in execution.intents.items():
        if intent.kind != "profile":
            states.setdefault(key, "pending")
    wait = execution.wait
    if wait is not None and wait.mode == "quiet_hours":
        states[f"{wait.step_id}-{execution.visits[wait.step_id]}"] = "pending"
    states.update(results or {})
    return ExecutionRecord(
        key=execution.key,
        workspace=execution.workspace_id,
        journey_id=execution.journey_id,
        version=execution.journey_version,
        execution_id=execution.execution_id,
        subject_key=execution.subject_key,
        end_user_id=execution.subject_id,
        started_at_ms=execution.started_at,
        state=ExecutionState(
            status=execution.status,
            visits=execution.visits,
            results=states,
            waiting_step_id=wait.step_id if wait and wait.mode not in ("result", "quiet_hours") else "",
            transition=execution.transition,
            goals_ms=[goal.at for goal in execution.goals],
            arms={step: _arm(arm) for step, arm in execution.arms.items()},
            failed_step_id=execution.failed_step_id or "",
            current_step_id=execution.step_id,
            ended_at_ms=execution.ended_at,
        ),
        goal=_goal(execution.goal),
        holdout_share=execution.holdout_share,
        entries=[
            HistoryRecord(
                id=entry.id,
                at_ms=entry.at,
                step_id=entry.step_id,
                action=entry.action,
                metadata_json=_json.encode(metadata_of(execution, entry)),
                actor=str(entry.detail.get("by", "")),
            )
            for entry in entries
        ],
    )


def _arm(arm: domain.ArmChoice) -> ArmChoice:
    return ArmChoice(
        arm_id=arm.arm_id,
        mode=arm.mode,
        propensity=arm.propensity,
        snapshot_id=arm.snapshot_id or "",
        routed_at_ms=arm.routed_at,
        goal=_goal(arm.goal),
        converted_at_ms=arm.converted_at,
    )


def _goal(goal: domain.Goal | None) -> GoalRecord | None:
    if goal is None:
        return None
    return GoalRecord(event_name=goal.event_name, window_ms=goal.window_ms, since_ms=goal.since or 0)


def metadata_of(execution: Execution, entry: Entry) -> dict[str, Any]:
    """What an entry says beside what the record itself names (execution, step, person)."""
    return {"version": execution.journey_version, **entry.detail}
