"""Adaptive branches and goals: which way a person is sent, and what is credited to whom."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.execution.assignment import Snapshot, adaptive_arm, branch_digest, cold_arm, snapshot_id
from services.domain.execution.execution import Execution, Goal, GoalReached
from services.domain.execution.lifecycle import Status
from services.domain.execution.planner import plan
from services.domain.execution.triggers import Abort, EventCame, View
from services.domain.execution.version import Version
from services.domain.ids import uniform
from services.domain.journey.model import Arm, BranchAdaptive
from tests.support.walking import (
    DAY,
    EXIT,
    HOUR,
    T0,
    TOPIC,
    TRIGGER,
    after,
    event,
    start,
    then,
    version_of,
    view_of,
    wait_step,
)

ARMS = (Arm("a", None), Arm("b", None), Arm("c", None))
WEIGHTS = (0.267202681, 0.017249576, 0.715547742)
PICK = {
    "id": "pick", "type": "branch", "mode": "adaptive",
    "arms": [{"id": "a", "next": "exit"}, {"id": "b", "next": "exit"}],
}  # fmt: skip
GOAL = Goal("bought", 2 * DAY, since=7)


def picking(**more: Any) -> Version:
    return version_of([{**TRIGGER, "next": "pick"}, {**PICK, **more}, EXIT])


def by(snapshot: Snapshot | None, **more: Any) -> View:
    return view_of(allocation=lambda step: snapshot, **more)


def all_to(arm_id: str) -> Snapshot:
    return Snapshot("act:pick:0", ("a", "b"), (1.0, 0.0) if arm_id == "a" else (0.0, 1.0), T0)


class TestDraws:
    """Which arm a hash draws."""

    def test_the_example_of_the_design(self) -> None:
        """Statistics design 2.1: u = .8608320060901067, the third arm."""
        execution = "jrn-demo__v2__usr_17__evt_900"
        snapshot = Snapshot("s", ("a", "b", "c"), WEIGHTS, T0)

        arm, propensity = adaptive_arm(ARMS, snapshot, "jrn-demo", 2, "pick-offer", execution)

        assert 0.8608320060901067 == uniform("pex.ts.v1", "jrn-demo", "2", "pick-offer", execution)
        assert ("c", WEIGHTS[2]) == (arm.id, propensity)

    def test_the_example_of_cold_start(self) -> None:
        """usr_17 draws .9976383581649624, third of three."""
        assert 0.9976383581649624 == uniform("pex.cold.v1", "jrn-demo", "pick-offer", "usr_17")
        assert ("c", 1 / 3) == (
            (drawn := cold_arm(ARMS, "jrn-demo", "pick-offer", "usr_17"))[0].id,
            drawn[1],
        )

    @given(st.lists(st.integers(0, 1000), min_size=1, max_size=8).filter(any), st.integers())
    def test_the_last_arm_takes_what_rounding_leaves(self, shares: list[int], seed: int) -> None:
        """Whatever the weights, some arm is drawn, and never one of probability 0 but by that."""
        weights = tuple(share / sum(shares) for share in shares)
        arms = tuple(Arm(str(i), None) for i in range(len(weights)))
        snapshot = Snapshot("s", tuple(arm.id for arm in arms), weights, T0)

        arm, propensity = adaptive_arm(arms, snapshot, "j", 1, "s", str(seed))

        assert weights[int(arm.id)] == propensity
        assert propensity > 0 or arm is arms[-1]

    def test_shares_are_kept_over_many_draws(self) -> None:
        """Of 20,000 executions each arm gets its weight, within four standard errors."""
        snapshot = Snapshot("s", ("a", "b", "c"), WEIGHTS, T0)
        counts = dict.fromkeys("abc", 0)
        for i in range(20_000):
            counts[adaptive_arm(ARMS, snapshot, "j", 1, "s", f"e{i}")[0].id] += 1

        for name, weight in zip("abc", WEIGHTS, strict=True):
            assert abs(counts[name] - 20_000 * weight) < 4 * (20_000 * weight * (1 - weight)) ** 0.5


class TestNames:
    """What allocations and branches are called."""

    def test_equal_counts_have_equal_ids(self) -> None:
        """And other counts another one; the moment does not matter."""
        told = [{"armId": "a", "n": 3, "s": 1, "w": 1.0, "p": 1.0}]
        other = [{**told[0], "n": 4}]

        assert snapshot_id("j", "s", told, "adaptive") == snapshot_id("j", "s", [dict(told[0])], "adaptive")
        assert snapshot_id("j", "s", told, "adaptive") != snapshot_id("j", "s", other, "adaptive")
        assert snapshot_id("j", "s", told, "adaptive").startswith("j:s:")

    def test_a_branch_is_told_apart_by_arms_and_rules(self) -> None:
        """Where an arm leads to does not matter."""
        step = BranchAdaptive("s", (Arm("a", "x"), Arm("b", "y")))

        assert branch_digest(step) == branch_digest(replace(step, id="t", arms=(Arm("a", "z"), Arm("b", None))))
        assert 5 == len(
            {
                branch_digest(one)
                for one in (
                    step,
                    replace(step, arms=step.arms[::-1]),
                    replace(step, min_sample_floor=7),
                    replace(step, exploration_floor=0.1),
                    replace(step, goal_event_name="read"),
                )
            }
        )


class TestRouting:
    """What is stored of a routing, in the write that routes."""

    def test_in_cold_start(self) -> None:
        """Equal shares, no snapshot, the goal the execution started under."""
        routed = start(picking(), goal=GOAL).execution

        choice = routed.arms["pick"]
        assert ("cold_start", 0.5, None, T0, GOAL) == (
            choice.mode,
            choice.propensity,
            choice.snapshot_id,
            choice.routed_at,
            choice.goal,
        )

    def test_by_a_snapshot(self) -> None:
        """Its id and the weight of the arm, in history too."""
        routed = start(picking(), by(all_to("b"))).execution

        choice, entry = routed.arms["pick"], routed.history[1]
        assert ("b", "adaptive", 1.0, "act:pick:0") == (
            choice.arm_id,
            choice.mode,
            choice.propensity,
            choice.snapshot_id,
        )
        assert ("b", "adaptive", 1.0, "act:pick:0", {"a": 0.0, "b": 1.0}) == tuple(
            entry.detail[name] for name in ("armId", "mode", "propensity", "snapshotId", "weights")
        )

    def test_without_anybody_who_learns(self) -> None:
        """The last snapshot, else equal shares; either is said to be a fallback."""
        last = start(picking(), by(all_to("b"), is_learning=False)).execution.arms["pick"]
        none = start(picking(), by(None, is_learning=False)).execution

        assert ("b", "fallback", "act:pick:0") == (last.arm_id, last.mode, last.snapshot_id)
        assert ("fallback", 0.5, None) == (
            none.arms["pick"].mode,
            none.arms["pick"].propensity,
            none.arms["pick"].snapshot_id,
        )
        assert "fallback" == none.history[1].detail["mode"]

    def test_a_later_pass_takes_the_stored_arm(self) -> None:
        """Whatever the allocation is by then."""
        version = version_of([{**TRIGGER, "next": "w"}, wait_step("w", "PT1H", "pick"), PICK, EXIT])
        waiting = start(version).execution
        chosen = start(picking(), by(all_to("a"))).execution.arms
        again = replace(waiting, arms=chosen)

        done = after(version, again, HOUR, by(all_to("b")))

        assert chosen == done.arms
        assert "a" == done.history[-2].detail["armId"]

    def test_a_goal_of_the_branch_replaces_the_event_alone(self) -> None:
        """The window stays the journey's, or the workspace's where the journey has no goal."""
        version = picking(optimizationGoal={"eventName": "read"})

        with_goal = start(version, goal=GOAL).execution.arms["pick"].goal
        without = start(version, view_of(goal_window_ms=DAY)).execution.arms["pick"].goal

        assert (Goal("read", 2 * DAY, since=7), Goal("read", DAY)) == (with_goal, without)
        assert "read" in version.awaited_names

    def test_the_share_of_the_holdout_is_kept(self) -> None:
        """Of who is in and of who is held out."""
        version = picking()

        inside = start(version, view_of(holdout_percent=0.5)).execution
        outside = start(version, view_of(holdout_percent=100)).execution

        assert (Status.SUCCEEDED, 0.005) == (inside.status, inside.holdout_share)
        assert (Status.HOLDOUT, 1.0) == (outside.status, outside.holdout_share)


def late(version: Version, execution: Execution, name: str, at: int, offset: int = 11) -> Execution | None:
    """The execution after an event that is received long after it happened; None if that changes nothing."""
    came = EventCame(
        f"e{offset}", name, {}, at=at, received_at=T0 + 30 * DAY, appended_at=T0 + 30 * DAY, position=(TOPIC, offset)
    )
    made = plan(version, execution, came, view_of(), execution.transition + 1)
    return None if made is None else made.execution


class TestAttribution:
    """Which events count, for the execution and for its arms."""

    @pytest.mark.parametrize(("at", "counts"), [(-1, False), (0, True), (2 * DAY, True), (2 * DAY + 1, False)])
    def test_both_ends_of_the_window_are_in_it(self, at: int, counts: bool) -> None:
        """To the millisecond, for the execution and for an arm routed at its start."""
        version = picking()
        done = start(version, goal=GOAL).execution

        found = late(version, done, "bought", T0 + at)

        assert counts == (found is not None)
        if found is not None:
            assert (T0 + at, T0 + at) == (found.goals[0].at, found.arms["pick"].converted_at)

    def test_an_arm_behind_a_wait_keeps_its_whole_window(self) -> None:
        """An event may count for the arm alone."""
        version = version_of([{**TRIGGER, "next": "w"}, wait_step("w", "P1D", "pick"), PICK, EXIT])
        done = after(version, start(version, goal=GOAL).execution, DAY)

        found = late(version, done, "bought", T0 + 3 * DAY)

        assert found is not None
        assert ((), T0 + 3 * DAY) == (found.goals, found.arms["pick"].converted_at)
        assert [{"stepId": "pick", "armId": found.arms["pick"].arm_id}] == found.history[-1].detail["arms"]

    def test_an_event_before_the_routing_is_the_executions_alone(self) -> None:
        """Nobody credits an arm for what happened before it."""
        version = version_of([{**TRIGGER, "next": "w"}, wait_step("w", "P1D", "pick"), PICK, EXIT])
        waiting = then(version, start(version, goal=GOAL).execution, event("e2", "bought", T0 + HOUR, 11))

        done = after(version, waiting, DAY)

        assert (GoalReached("e2", T0 + HOUR),) == done.goals
        assert done.arms["pick"].converted_at is None

    def test_it_is_open_until_the_last_window_closes(self) -> None:
        """The arm's, where it closes later; also after a conversion, since an earlier event may come."""
        version = version_of([{**TRIGGER, "next": "w"}, wait_step("w", "P1D", "pick"), PICK, EXIT])
        done = after(version, start(version, goal=GOAL).execution, DAY)

        found = late(version, done, "bought", T0 + 2 * DAY)

        assert T0 + 3 * DAY + 1 == done.open_until
        assert found is not None
        assert done.open_until == found.open_until

    @given(st.permutations([HOUR, 5 * HOUR, DAY]))
    def test_the_least_moment_counts_in_any_order(self, moments: list[int]) -> None:
        """One conversion, one entry, the same moment whatever came first."""
        version = picking()
        execution = start(version, goal=GOAL).execution
        for offset, at in enumerate(moments, 11):
            execution = late(version, execution, "bought", T0 + at, offset) or execution

        assert [T0 + HOUR] == [goal.at for goal in execution.goals]
        assert T0 + HOUR == execution.arms["pick"].converted_at
        assert 1 == sum(entry.action == "goal.reached" for entry in execution.history)

    def test_an_earlier_event_that_comes_late_is_told(self) -> None:
        """Not as another goal: who counts learns of the moment."""
        version = picking()
        first = late(version, start(version, goal=GOAL).execution, "bought", T0 + DAY, 11)
        assert first is not None

        second = late(version, first, "bought", T0 + HOUR, 12)

        assert second is not None
        assert "goal.moved" == second.outbox[-1].action
        assert (GoalReached("e12", T0 + HOUR),) == second.goals

    def test_the_same_event_changes_nothing_twice(self) -> None:
        """Met again at its place, or at another one."""
        version = picking()
        first = then(version, start(version, goal=GOAL).execution, event("e2", "bought", T0 + HOUR, 11))

        for offset in (11, 12):
            assert plan(version, first, event("e2", "bought", T0 + HOUR, offset), view_of(), 3) is None

    def test_held_out_and_aborted_people_convert_too(self) -> None:
        """Intention to treat."""
        version = version_of([{**TRIGGER, "next": "w"}, wait_step("w", "P9D", "exit"), EXIT])
        held = start(version, view_of(holdout_percent=100), goal=GOAL).execution
        aborted = then(version, start(version, goal=GOAL).execution, Abort("usr_op", "aborted", T0 + HOUR))

        for execution in (held, aborted):
            found = late(version, execution, "bought", T0 + DAY)
            assert found is not None
            assert [T0 + DAY] == [goal.at for goal in found.goals]
