"""Laws of the planner, over generated journeys and scripts."""

from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.execution.execution import Execution, Goal
from services.domain.execution.lifecycle import TRANSITIONS, Cause, Status, can_follow
from services.domain.execution.planner import plan
from services.domain.execution.triggers import Abort, Acknowledged, EventCame, ProfileChanged, Retry, TimerDue, Trigger
from tests.support.walking import (
    DAY,
    HOUR,
    T0,
    TRIGGER,
    await_step,
    event,
    occasion,
    send_step,
    settled,
    start,
    version_of,
    view_of,
    wait_step,
)

NAMES = ("a", "b", "bought")


@st.composite
def graphs(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A sound graph: every step leads to a later one, the last is an exit."""
    count = draw(st.integers(1, 8))
    steps: list[dict[str, Any]] = [{**TRIGGER, "next": "s0"}]
    for i in range(count):
        later = st.integers(i + 1, count).map(lambda j: f"s{j}")
        name, one, other = f"s{i}", draw(later), draw(later)
        kind = draw(st.sampled_from(["wait", "await", "branch", "random", "send", "fail", "set", "exit"]))
        match kind:
            case "wait":
                steps.append(wait_step(name, draw(st.sampled_from(["PT1H", "P1D", "PT0S"])), one))
            case "await":
                steps.append(await_step(name, draw(st.sampled_from(NAMES)), "P2D", one, other))
            case "branch":
                fired = {
                    "kind": "attribute",
                    "fieldPath": "plan",
                    "operator": "equals",
                    "value": draw(st.sampled_from(["pro", "x"])),
                }
                steps.append({"id": name, "type": "branch", "mode": "condition", "default": other, "branches": [{"id": "y", "condition": fired, "next": one}]})  # fmt: skip
            case "random":
                arms = [{"id": "a", "weight": 1, "next": one}, {"id": "b", "weight": 2, "next": other}]
                steps.append({"id": name, "type": "branch", "mode": "random", "arms": arms})
            case "send":
                steps.append(send_step(name, one))
            case "fail":
                steps.append(send_step(name, one, onFailure="fail"))
            case "set":
                steps.append({"id": name, "type": "update_profile", "set": {"plan": "pro"}, "next": one})
            case _:
                steps.append({"id": name, "type": "exit"})
    return [*steps, {"id": f"s{count}", "type": "exit"}]


@st.composite
def scripts(draw: st.DrawFn) -> list[Trigger]:
    """Triggers in the order of their moments and places."""
    found: list[Trigger] = []
    at = T0
    for i in range(draw(st.integers(0, 10))):
        at += draw(st.sampled_from([1, HOUR, DAY]))
        kind = draw(st.sampled_from(["event", "timer", "settled", "abort", "retry"]))
        match kind:
            case "event":
                found.append(event(f"e{i}", draw(st.sampled_from(NAMES)), at, 11 + i))
            case "timer":
                found.append(TimerDue(at))
            case "settled":
                state = draw(st.sampled_from(["sent", "failed", "unknown"]))
                found.append(settled(f"s{draw(st.integers(0, 7))}-1", state, at))
            case "abort":
                found.append(Abort("usr_op", "aborted", at))
            case _:
                found.append(Retry("usr_op", at))
    return found


def walked(steps: list[dict[str, Any]], script: list[Trigger]) -> list[tuple[Trigger, Execution, Execution | None]]:
    version, view = version_of(steps, {"exitOnGoal": True}), view_of()
    execution = start(version, goal=Goal("bought", 7 * DAY), on=occasion()).execution
    seen: list[tuple[Trigger, Execution, Execution | None]] = []
    for trigger in script:
        made = plan(version, execution, trigger, view, execution.transition + 1)
        seen.append((trigger, execution, made.execution if made else None))
        execution = made.execution if made else execution
    return seen


CAUSES = {
    EventCame: Cause.EVENT,
    TimerDue: Cause.TIMER,
    Acknowledged: Cause.SETTLED,
    Abort: Cause.ABORT,
    Retry: Cause.RETRY,
}


@given(graphs(), scripts())
def test_same_input_same_plan(steps: list[dict[str, Any]], script: list[Trigger]) -> None:
    """Two planners that were told the same agree byte for byte."""
    one, two = walked(steps, script), walked(steps, script)

    assert msgspec.msgpack.encode([after for _, _, after in one]) == msgspec.msgpack.encode(
        [after for _, _, after in two]
    )


@given(graphs(), scripts())
def test_every_step_is_a_row_of_the_table(steps: list[dict[str, Any]], script: list[Trigger]) -> None:
    """No status changes but along the table, and what has ended does not walk again (but by an operator's retry)."""
    for trigger, before, after in walked(steps, script):
        if after is not None:
            assert can_follow(before.status, CAUSES[type(trigger)], after.status)


@given(graphs(), scripts())
def test_a_repeated_trigger_does_nothing(steps: list[dict[str, Any]], script: list[Trigger]) -> None:
    """Whatever was applied, met again, promises nothing and moves nothing."""
    version, view = version_of(steps, {"exitOnGoal": True}), view_of()
    for trigger, _, after in walked(steps, script):
        if after is not None and not isinstance(trigger, Retry):
            assert plan(version, after, trigger, view, after.transition + 1) is None


@given(graphs(), scripts())
def test_whatever_is_outstanding_has_an_alarm(steps: list[dict[str, Any]], script: list[Trigger]) -> None:
    """No intent, wait, deadline or unpublished entry without `due_at` at or before it."""
    for _, _, after in walked(steps, script):
        if after is None:
            continue
        alarms = [
            after.step_due_at,
            after.deadline_at,
            after.outbox_due_at,
            *(i.lease_until for i in after.intents.values()),
        ]
        outstanding = [alarm for alarm in alarms if alarm is not None]
        assert after.due_at == (min(outstanding) if outstanding else None)


@given(graphs(), scripts())
def test_entries_and_transitions_only_grow(steps: list[dict[str, Any]], script: list[Trigger]) -> None:
    """Ids are unique, and every write raises the guard by one."""
    for _, before, after in walked(steps, script):
        if after is not None:
            assert before.transition + 1 == after.transition
            ids = [entry.id for entry in after.history]
            assert len(ids) == len(set(ids))


# A start makes an execution; it never meets one.
MET = [cause.value for cause in Cause if cause is not Cause.START]
LISTED = {(before.value, cause.value) for before, cause in TRANSITIONS if before is not None}
REFUSED = sorted(set(product([status.value for status in Status], MET)) - LISTED)


@pytest.mark.parametrize(("status", "cause"), REFUSED)
def test_a_trigger_without_a_row_is_absorbed(status: str, cause: str) -> None:
    """Whatever the table does not list leaves the execution as it was."""
    version = version_of([{**TRIGGER, "next": "w"}, wait_step("w", "P1D", "x"), {"id": "x", "type": "exit"}])
    execution = msgspec.convert({**msgspec.to_builtins(start(version).execution), "status": status}, Execution)
    triggers: dict[str, Trigger] = {
        "event": event("e9", "a", T0 + 1, 99),
        "timer": TimerDue(T0 + 9 * DAY),
        "settled": settled("s-1", "sent", T0),
        "profile": ProfileChanged(T0),
        "abort": Abort("usr_op", "aborted", T0),
        "retry": Retry("usr_op", T0),
    }

    assert plan(version, execution, triggers[cause], view_of(), 2) is None
