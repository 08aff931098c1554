"""The cheap question before an event is planned for an execution: where it says no, the plan would too."""

import pytest

from services.domain.execution.execution import Goal
from services.domain.execution.planner import may_move, plan
from services.domain.execution.triggers import Profile
from tests.support.walking import DAY, EXIT, HOUR, T0, TRIGGER, await_step, event, start, version_of, view_of, wait_step

NAMES = ("activated", "bought", "cancelled", "arm_goal", "signed_up", "other")
CONDITION = {"kind": "attribute", "fieldPath": "plan", "operator": "equals", "value": "free"}
FORMS = {
    "waits for time": [wait_step("w", "P1D", "exit")],
    "waits for an event": [await_step("w", "activated", "P3D", "exit", "exit")],
    "waits for a condition": [
        {
            "id": "w", "type": "wait", "mode": "until_condition", "condition": CONDITION,
            "timeout": "P3D", "onTimeout": "exit", "next": "exit",
        }
    ],
    "stood at a branch that learns": [
        {
            "id": "b", "type": "branch", "mode": "adaptive", "optimizationGoal": {"eventName": "arm_goal"},
            "arms": [{"id": "a", "next": "w"}, {"id": "z", "next": "w"}],
        },
        wait_step("w", "P1D", "exit"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("goal", [None, Goal("bought", DAY)])
def test_an_event_that_may_not_move_an_execution_does_not(form: str, goal: Goal | None) -> None:
    """Whatever its standing, and whatever it would have been counted for."""
    steps = FORMS[form]
    version = version_of([{**TRIGGER, "next": steps[0]["id"]}, *steps, EXIT], {"exitOn": [{"eventName": "cancelled"}]})
    free = view_of(profile=Profile("usr_a", {"plan": "free"}))  # whoever waits for it is woken by any event
    execution = start(version, goal=goal).execution

    moving = {
        name
        for offset, name in enumerate(NAMES, 10)
        if plan(version, execution, event(f"e{offset}", name, T0 + HOUR, offset), free, 2) is not None
    }

    assert moving
    assert moving <= {name for name in NAMES if may_move(version, execution, name)}
