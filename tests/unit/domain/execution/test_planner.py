"""The planner: what happens next to a person."""

from collections.abc import Mapping

import pytest

from services.domain.execution.caps import FrequencyCap
from services.domain.execution.execution import Goal, GoalReached
from services.domain.execution.lifecycle import Status
from services.domain.execution.planner import STEP_BUDGET, plan
from services.domain.execution.triggers import Abort, Profile, Retry, Rules, TimerDue, View
from services.domain.execution.version import Version
from services.domain.journey.predicate import PastEvent
from tests.support.walking import (
    DAY,
    EXIT,
    HOUR,
    MINUTE,
    T0,
    TRIGGER,
    actions,
    after,
    await_step,
    event,
    occasion,
    send_step,
    settled,
    start,
    then,
    version_of,
    view_of,
    wait_step,
)

PRO = {"kind": "attribute", "fieldPath": "plan", "operator": "equals", "value": "pro"}


def branch(*cases: tuple[str, Mapping[str, object], str], default: str) -> dict[str, object]:
    return {
        "id": "branch", "type": "branch", "mode": "condition", "default": default,
        "branches": [{"id": name, "condition": condition, "next": target} for name, condition, target in cases],
    }  # fmt: skip


class TestToTheNextWait:
    """Branches, updates, sends and the exit are walked in memory, as one write."""

    def test_branch_send_and_exit_are_one_plan(self) -> None:
        """A start runs to the end where nothing has to be waited for, and promises its send."""
        version = version_of(
            [
                {**TRIGGER, "next": "branch"},
                branch(("pro", PRO, "mail"), default="exit"),
                send_step("mail", "exit"),
                EXIT,
            ]
        )

        made = start(version)

        assert Status.SUCCEEDED == made.execution.status
        assert ["execution.started", "branch.routed", "execution.completed"] == actions(made.execution)
        assert ("mail-1",) == made.promised
        assert "claimed" == made.intents["mail-1"].state

    def test_the_default_is_taken_when_no_case_holds(self) -> None:
        """A condition branch falls through to its default and says so."""
        version = version_of(
            [{**TRIGGER, "next": "branch"}, branch(("pro", PRO, "x"), default="exit"), {**EXIT, "id": "x"}, EXIT]
        )

        made = start(version, view_of(profile=Profile("usr_a", {"plan": "free"})))

        routed = made.execution.history[1]
        assert ("branch.routed", {"mode": "condition", "chosen": "default"}) == (routed.action, routed.detail)
        assert "exit" == made.execution.step_id

    def test_a_profile_update_is_seen_by_the_steps_behind_it(self) -> None:
        """Later conditions of the same plan read the profile as it will be."""
        version = version_of(
            [
                {**TRIGGER, "next": "set"},
                {"id": "set", "type": "update_profile", "set": {"plan": "pro", "deep.er": 1}, "next": "branch"},
                branch(("pro", PRO, "yes"), default="exit"),
                {"id": "yes", "type": "exit", "reason": "pro"},
                EXIT,
            ]
        )

        made = start(version, view_of(profile=Profile("usr_a", {"plan": "free"})))

        assert "pro" == made.execution.exit_reason
        assert {"plan": "pro", "deep.er": 1} == made.intents["set-1"].values

    def test_an_update_is_history_but_no_audit_entry(self) -> None:
        """The audit catalogue has no word for it, so it does not go to the log."""
        version = version_of(
            [
                {**TRIGGER, "next": "set"},
                {"id": "set", "type": "update_profile", "set": {"a": "{{ x }}"}, "next": "exit"},
                EXIT,
            ]
        )

        made = start(version)

        assert "profile.updated" in actions(made.execution)
        assert "profile.updated" not in [entry.action for entry in made.execution.outbox]
        assert {"a": "<{{ x }}>"} == made.intents["set-1"].values

    def test_a_random_arm_is_the_same_on_every_pass(self) -> None:
        """The draw depends on journey, step and subject alone."""
        arms = [{"id": "a", "weight": 1, "next": "x"}, {"id": "b", "weight": 1, "next": "exit"}]
        version = version_of(
            [
                {**TRIGGER, "next": "split"},
                {"id": "split", "type": "branch", "mode": "random", "arms": arms},
                {**EXIT, "id": "x"},
                EXIT,
            ]
        )

        one, two = start(version, on=occasion("evt_1")), start(version, on=occasion("evt_2"))

        assert one.execution.arms["split"] == two.execution.arms["split"]
        assert 0.5 == one.execution.arms["split"].propensity

    def test_a_path_without_end_is_stopped(self) -> None:
        """A cycle that publish would have refused fails by its budget instead of spinning."""
        version = version_of(
            [{**TRIGGER, "next": "a"}, {"id": "a", "type": "update_profile", "set": {"n": 1}, "next": "a"}]
        )

        made = start(version)

        assert Status.FAILED == made.execution.status
        assert {"reason": "step_budget"} == made.execution.history[-1].detail
        assert STEP_BUDGET > made.execution.visits["a"] - 1


class TestWaits:
    """Waiting for a length of time, or for an event with a timeout."""

    def test_a_wait_ends_exactly_when_it_is_due(self) -> None:
        """However late the timer is looked at, history shows the moment it was due."""
        version = version_of([{**TRIGGER, "next": "w"}, wait_step("w", "PT30M", "exit"), EXIT])

        made = start(version)
        done = after(version, made.execution, 3 * HOUR)

        assert T0 + 30 * MINUTE == made.execution.step_due_at
        assert ["execution.started", "wait.started", "wait.fired", "execution.completed"] == actions(done)
        assert T0 + 30 * MINUTE == done.ended_at

    def test_a_chain_of_waits_fires_each_at_its_own_time(self) -> None:
        """After a long outage one look fires them all, in order."""
        version = version_of(
            [{**TRIGGER, "next": "a"}, wait_step("a", "P1D", "b"), wait_step("b", "P1D", "exit"), EXIT]
        )

        done = after(version, start(version).execution, 10 * DAY)

        fired = [entry.at - T0 for entry in done.history if entry.action == "wait.fired"]
        assert [DAY, 2 * DAY] == fired

    def test_the_awaited_event_wakes(self) -> None:
        """next is taken, and history names the event."""
        version = version_of(
            [{**TRIGGER, "next": "w"}, await_step("w", "opened", "P3D", "yes", "exit"), {**EXIT, "id": "yes"}, EXIT]
        )

        done = then(version, start(version).execution, event("e2", "opened", T0 + HOUR, 11))

        assert "yes" == done.step_id
        assert {"firedBy": "event", "eventId": "e2", "eventName": "opened"} == done.history[-2].detail

    def test_the_timeout_takes_the_other_way(self) -> None:
        """onTimeout is taken at the moment of the timeout."""
        version = version_of(
            [{**TRIGGER, "next": "w"}, await_step("w", "opened", "P3D", "yes", "exit"), {**EXIT, "id": "yes"}, EXIT]
        )

        done = after(version, start(version).execution, 3 * DAY)

        assert ("exit", T0 + 3 * DAY) == (done.step_id, done.ended_at)
        assert "wait.timed_out" in actions(done)

    @pytest.mark.parametrize(
        ("data", "moves"), [({"orderId": 7}, True), ({"orderId": "7"}, False), ({"orderId": 8}, False), ({}, False)]
    )
    def test_match_pairs_must_agree(self, data: dict[str, object], moves: bool) -> None:
        """Only the event of the same order wakes; text and number are different keys."""
        step = await_step("w", "paid", "P3D", "exit", "exit", match={"orderId": "event.orderId"})
        version = version_of([{**TRIGGER, "next": "w"}, step, EXIT])
        waiting = start(version, on=occasion(data={"orderId": 7})).execution

        made = plan(version, waiting, event("e2", "paid", T0 + 1, 11, **data), view_of(), 2)

        assert moves == (made is not None)

    def test_a_filter_reads_the_awaited_event(self) -> None:
        """event_attribute leaves of a wait's filter look at the event that came."""
        big = {"kind": "event_attribute", "fieldPath": "total", "operator": "gte", "value": 10}
        version = version_of(
            [{**TRIGGER, "next": "w"}, await_step("w", "paid", "P3D", "exit", "exit", filter=big), EXIT]
        )
        waiting = start(version, on=occasion(data={"total": 99})).execution

        assert plan(version, waiting, event("e2", "paid", T0 + 1, 11, total=9), view_of(), 2) is None
        assert plan(version, waiting, event("e3", "paid", T0 + 2, 12, total=10), view_of(), 2) is not None

    def test_an_event_from_before_the_wait_does_not_wake_it(self) -> None:
        """A redelivered event that once had no effect must not meet a wait that a timer opened later."""
        version = version_of(
            [
                {**TRIGGER, "next": "a"},
                wait_step("a", "P1D", "w"),
                await_step("w", "opened", "P3D", "exit", "exit"),
                EXIT,
            ]
        )
        waiting = after(version, start(version).execution, DAY)

        old = event("e2", "opened", T0 + HOUR, 11)

        assert "w" == waiting.step_id
        assert plan(version, waiting, old, view_of(), 3) is None


class TestRepeats:
    """A trigger that was applied has no effect."""

    def test_the_same_event_again_moves_nothing(self) -> None:
        """Redelivery is harmless: watermark and id both say so."""
        version = version_of(
            [
                {**TRIGGER, "next": "w"},
                await_step("w", "n", "P3D", "v", "exit"),
                await_step("v", "n", "P3D", "exit", "exit"),
                EXIT,
            ]
        )
        came = event("e2", "n", T0 + 1, 11)
        once = then(version, start(version).execution, came)

        assert "v" == once.step_id
        assert plan(version, once, came, view_of(), 3) is None

    def test_the_triggering_event_does_not_wake_its_own_run(self) -> None:
        """A run that waits for the name it was started by is not woken by its own start."""
        version = version_of([{**TRIGGER, "next": "w"}, await_step("w", "signed_up", "P3D", "exit", "exit"), EXIT])
        waiting = start(version, offset=10).execution

        assert plan(version, waiting, event("evt_1", "signed_up", T0, 10), view_of(), 2) is None

    def test_a_timer_that_is_not_due_moves_nothing(self) -> None:
        """Harmless to ask."""
        version = version_of([{**TRIGGER, "next": "w"}, wait_step("w", "PT1H", "exit"), EXIT])

        assert plan(version, start(version).execution, TimerDue(T0 + 1), view_of(), 2) is None

    def test_entry_ids_go_on_where_two_triggers_share_a_write(self) -> None:
        """Planned before one write, entries keep ids of their own."""
        version = version_of([{**TRIGGER, "next": "w"}, await_step("w", "n", "P3D", "exit", "exit"), EXIT])
        made = start(version)

        both = plan(version, made.execution, event("e2", "n", T0 + 1, 11), view_of(), 1)

        assert both is not None
        ids = [entry.id for entry in both.execution.history]
        assert len(ids) == len(set(ids))
        assert all(":1:" in entry_id for entry_id in ids)


class TestGate:
    """What must hold before a send."""

    @pytest.mark.parametrize(
        ("view", "reason"),
        [
            (view_of(suppressed=frozenset({"ann@example.com"})), "suppression_match"),
            (view_of(profile=Profile("usr_a", email="a@x.org", global_opt_out=True)), "opt_out"),
            (view_of(profile=Profile("usr_a", email="a@x.org", preferences={"email": False})), "opt_out"),
            (view_of(profile=Profile("usr_a")), "no_address"),
        ],
    )
    def test_a_refused_send_is_skipped_with_its_reason(self, view: object, reason: str) -> None:
        """The person goes on; all checks are listed in order, and nothing is promised."""
        version = version_of([{**TRIGGER, "next": "mail"}, send_step("mail", "exit"), EXIT])

        made = start(version, view)  # type: ignore[arg-type]

        skipped = made.execution.history[1]
        assert ("send.skipped", reason) == (skipped.action, skipped.detail["reason"])
        assert ["suppression", "opt_out", "address", "quiet_hours", "frequency_cap"] == [
            check["check"] for check in skipped.detail["checks"]
        ]
        assert Status.SUCCEEDED == made.execution.status
        assert () == made.promised
        assert "skipped" == made.execution.results["mail-1"].state

    def test_the_address_of_the_event_counts(self) -> None:
        """Where the event brings an address, the profile needs none."""
        version = version_of([{**TRIGGER, "next": "mail"}, send_step("mail", "exit"), EXIT])

        made = start(version, view_of(profile=Profile("usr_a")), on=occasion(email="other@x.org"))

        assert ("mail-1",) == made.promised


class TestFailingSends:
    """A send with onFailure "fail" decides what follows."""

    def test_the_walk_stops_until_the_send_has_ended(self) -> None:
        """Sent: it goes on."""
        version = version_of([{**TRIGGER, "next": "mail"}, send_step("mail", "exit", onFailure="fail"), EXIT])
        waiting = start(version).execution

        done = then(version, waiting, settled("mail-1", "sent", T0 + 5))

        assert Status.RUNNING == waiting.status
        assert Status.SUCCEEDED == done.status
        assert not done.intents

    def test_a_failed_send_fails_the_execution(self) -> None:
        """Failed: it ends here, and an operator's retry sends it again under a new visit."""
        version = version_of([{**TRIGGER, "next": "mail"}, send_step("mail", "exit", onFailure="fail"), EXIT])
        waiting = start(version).execution

        failed = then(version, waiting, settled("mail-1", "failed", T0 + 5))
        again = plan(version, failed, Retry("usr_op", T0 + HOUR), view_of(), failed.transition + 1)

        assert (Status.FAILED, "mail") == (failed.status, failed.failed_step_id)
        assert again is not None
        assert ("mail-2",) == again.promised


class TestGoals:
    """Conversions."""

    def test_the_first_goal_within_the_window_counts_once(self) -> None:
        """Also after the end, also for a person who came back twice."""
        version = version_of([{**TRIGGER, "next": "exit"}, EXIT])
        done = start(version, goal=Goal("bought", 7 * DAY)).execution

        first = then(version, done, event("e2", "bought", T0 + DAY, 11))

        assert (GoalReached("e2", T0 + DAY),) == first.goals
        assert Status.SUCCEEDED == first.status
        assert plan(version, first, event("e3", "bought", T0 + 2 * DAY, 12), view_of(), 3) is None

    def test_a_goal_outside_the_window_does_not_count(self) -> None:
        """The window ends where the contract says."""
        version = version_of([{**TRIGGER, "next": "exit"}, EXIT])
        done = start(version, goal=Goal("bought", DAY)).execution

        assert plan(version, done, event("e2", "bought", T0 + DAY + 1, 11), view_of(), 2) is None

    def test_exit_on_goal_leaves_at_any_step(self) -> None:
        """History and status say why."""
        version = version_of([{**TRIGGER, "next": "w"}, wait_step("w", "P9D", "exit"), EXIT], {"exitOnGoal": True})
        waiting = start(version, goal=Goal("bought", 7 * DAY)).execution

        done = then(version, waiting, event("e2", "bought", T0 + DAY, 11))

        assert (Status.SUCCEEDED, "goal") == (done.status, done.exit_reason)
        assert done.due_at == done.outbox_due_at


class TestLeaving:
    """Ways out that are not a step."""

    def test_exit_on_is_keyed(self) -> None:
        """One order's exit must not end the other order's run."""
        rules = {"exitOn": [{"eventName": "cancelled", "match": {"orderId": "event.orderId"}}]}
        version = version_of([{**TRIGGER, "next": "w"}, wait_step("w", "P9D", "exit"), EXIT], rules)
        waiting = start(version, on=occasion(data={"orderId": 1})).execution

        assert plan(version, waiting, event("e2", "cancelled", T0 + 1, 11, orderId=2), view_of(), 2) is None
        assert "exit_on" == then(version, waiting, event("e3", "cancelled", T0 + 2, 12, orderId=1)).exit_reason

    def test_max_duration_times_out(self) -> None:
        """At its own moment, before a later timer."""
        version = version_of([{**TRIGGER, "next": "w"}, wait_step("w", "P9D", "exit"), EXIT], {"maxDuration": "P2D"})

        done = after(version, start(version).execution, 30 * DAY)

        assert (Status.TIMED_OUT, T0 + 2 * DAY) == (done.status, done.ended_at)

    def test_an_abort_ends_and_is_absorbed_afterwards(self) -> None:
        """A second abort finds nothing to end."""
        version = version_of([{**TRIGGER, "next": "w"}, wait_step("w", "P9D", "exit"), EXIT])
        abort = Abort("usr_op", "aborted", T0 + HOUR)

        done = then(version, start(version).execution, abort)

        assert (Status.ABORTED, None) == (done.status, done.step_due_at)
        assert plan(version, done, abort, view_of(), 3) is None

    def test_whatever_touches_an_archived_journey_ends_its_runs(self) -> None:
        """A start that was under way while the journey was archived does not go on."""
        version = version_of([{**TRIGGER, "next": "w"}, wait_step("w", "PT1H", "exit"), EXIT])

        done = after(version, start(version).execution, HOUR, view_of(journey_status="archived"))

        assert Status.ABORTED == done.status


class TestSinceStart:
    """Conditions over the person's past."""

    def test_the_triggering_event_is_no_event_since_the_start(self) -> None:
        """Counting begins behind the event that started the run."""
        fired = {"kind": "event_fired", "eventName": "signed_up", "window": {"type": "since_start"}}
        version = version_of(
            [{**TRIGGER, "next": "branch"}, branch(("y", fired, "x"), default="exit"), {**EXIT, "id": "x"}, EXIT]
        )
        own, other = PastEvent("evt_1", "signed_up", T0), PastEvent("evt_0", "signed_up", T0)

        assert "exit" == start(version, view_of(events=lambda name: [own])).execution.step_id
        assert "x" == start(version, view_of(events=lambda name: [own, other])).execution.step_id


def test_history_keeps_the_last_entries_and_counts_the_rest() -> None:
    """A long walk does not make its document grow without end."""
    steps = [
        {**TRIGGER, "next": "w0"},
        *(wait_step(f"w{i}", "PT1M", f"w{i + 1}") for i in range(50)),
        {**EXIT, "id": "w50"},
    ]
    version = version_of(steps)

    done = after(version, start(version).execution, DAY)

    assert (64, 38) == (len(done.history), done.history_dropped)


class TestUntilCondition:
    """Waiting for a condition that time alone may make true."""

    def away(self, timeout: str = "P9D") -> Version:
        """Until somebody was not there for two days."""
        gone = {"kind": "event_not_fired", "eventName": "visit", "window": {"type": "last_n_days", "days": 2}}
        step = {
            "id": "w", "type": "wait", "mode": "until_condition", "condition": gone, "timeout": timeout,
            "next": "exit", "onTimeout": "late",
        }  # fmt: skip
        return version_of([{**TRIGGER, "next": "w"}, step, EXIT, {**EXIT, "id": "late"}])

    def seen(self, *days: int) -> View:
        """What the history knows of visits, in days after the start."""
        return view_of(events=lambda name: [PastEvent(str(at), "visit", T0 + at * DAY) for at in days])

    def test_the_end_of_a_window_is_an_alarm(self) -> None:
        """Two days after the last visit; at that moment it is so."""
        version = self.away()
        made = start(version, self.seen(0)).execution

        assert T0 + 2 * DAY + 1 == made.step_due_at
        done = after(version, made, 3 * DAY, self.seen(0))
        assert ("exit", T0 + 2 * DAY + 1) == (done.step_id, done.ended_at)
        assert {"firedBy": "condition"} in [entry.detail for entry in done.history if entry.action == "wait.fired"]

    def test_an_alarm_that_rings_too_early_sets_the_next(self) -> None:
        """Another visit came meanwhile: nothing is written for it, the alarm sees to itself."""
        version = self.away()
        made = start(version, self.seen(0)).execution
        assert plan(version, made, event("e2", "visit", T0 + DAY, 11), self.seen(0, 1), 2) is None
        moved = after(version, made, 2 * DAY + HOUR, self.seen(0, 1))

        assert ("w", T0 + 3 * DAY + 1) == (moved.step_id, moved.step_due_at)

    def test_the_timeout_is_none_the_later(self) -> None:
        """Whichever comes first."""
        version = self.away("P1D")
        made = start(version, self.seen(0)).execution

        assert T0 + DAY == made.step_due_at
        assert "late" == after(version, made, 5 * DAY, self.seen(0)).step_id


class TestLateness:
    """Steps that nobody was there to decide in time."""

    MAIL = ({**TRIGGER, "next": "w"}, wait_step("w", "PT1H", "mail"), send_step("mail", "exit"), EXIT)

    @pytest.mark.parametrize(("late_ms", "asked_for"), [(60_000, HOUR), (60_001, HOUR + 60_001), (DAY, HOUR + DAY)])
    def test_a_gate_is_asked_for_the_present_beyond_a_minute(self, late_ms: int, asked_for: int) -> None:
        """Within one, for the moment of the step: a busy process decides like an idle one."""
        version = version_of(self.MAIL)
        caps = Rules(frequency_caps=(FrequencyCap(5, DAY),))
        now = T0 + HOUR + late_ms
        made = start(version, view_of(rules=caps)).execution
        made_late = plan(version, made, TimerDue(now), view_of(rules=caps, now=now), 2)

        assert made_late is not None
        assert [T0 + asked_for] == [one.at for one in made_late.reserved]
        assert T0 + HOUR in [one.at for one in made_late.execution.history if one.action == "wait.fired"]


def received(status: str, step_id: str = "mail") -> dict[str, object]:
    """What became of a message."""
    return {"kind": "received", "stepId": step_id, "status": status}


DRAW = {
    "id": "draw", "type": "branch", "mode": "random",
    "arms": [{"id": "a", "weight": 1, "next": "branch"}, {"id": "b", "weight": 1, "next": "branch"}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("between", "condition", "stops"),
    [
        ([], received("sent"), True),
        ([], {"kind": "not", "clause": received("failed")}, True),
        ([DRAW], received("sent"), True),
        ([{"id": "set", "type": "update_profile", "set": {"n": 1}, "next": "branch"}], received("failed"), True),
        ([wait_step("wait", "PT1H", "branch")], received("sent"), False),
        ([], received("opened"), False),
        ([], received("sent", "other"), False),
        ([], PRO, False),
    ],
)
def test_a_send_stops_where_a_branch_asks_how_it_ended(
    between: list[dict[str, object]], condition: Mapping[str, object], stops: bool
) -> None:
    """Before any wait, for what our own call says; what a provider says comes when it comes."""
    steps = [
        {**TRIGGER, "next": "mail"},
        send_step("mail", str(between[0]["id"]) if between else "branch"),
        *between,
        branch(("yes", condition, "exit"), default="exit"),
        EXIT,
    ]

    made = start(version_of(steps)).execution

    assert stops == (made.wait is not None and made.wait.mode == "result")


@pytest.mark.parametrize(("state", "expected"), [("sent", "good"), ("failed", "exit")])
def test_the_branch_is_taken_once_the_send_has_ended(state: str, expected: str) -> None:
    """With `onFailure: continue` a failure is an end like another."""
    steps = [
        {**TRIGGER, "next": "mail"},
        send_step("mail", "branch"),
        branch(("yes", received("sent"), "good"), default="exit"),
        EXIT,
        {**EXIT, "id": "good"},
    ]
    version = version_of(steps)

    done = then(version, start(version).execution, settled("mail-1", state, T0 + 1))

    assert (Status.SUCCEEDED, expected) == (done.status, done.step_id)
