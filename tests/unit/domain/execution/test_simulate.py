"""The driver of dry runs and its trace."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from services.domain.execution import admission
from services.domain.execution.execution import Execution
from services.domain.execution.lifecycle import Status
from services.domain.execution.quiet_hours import QuietHours
from services.domain.execution.simulate import SENT, Answer, DryRun, FixedScript, ScriptedEvent
from services.domain.execution.simulate_trace import Trace, TraceEntry, Tracer, simulate
from services.domain.execution.triggers import Profile, Rules
from services.domain.execution.version import Version
from services.domain.journey.model import Send, Webhook
from services.domain.times import format_time
from tests.support.walking import (
    DAY,
    EXIT,
    HOUR,
    MINUTE,
    T0,
    TRIGGER,
    await_step,
    occasion,
    send_step,
    version_of,
    view_of,
    wait_step,
)


@dataclass
class Outside:
    """Takes everything and writes it down."""

    answer: Answer = SENT
    seen: list[str] = field(default_factory=list)

    def send(self, execution: Execution, key: str, step: Send, profile: Profile, now: int) -> Answer:
        self.seen.append(f"send {key} {profile.attributes.get('plan')}")
        return self.answer

    def call(self, execution: Execution, key: str, step: Webhook, profile: Profile, now: int) -> Answer:
        self.seen.append(f"call {key}")
        return self.answer

    def set_profile(self, step_id: str, values: Mapping[str, Any], now: int) -> None:
        self.seen.append(f"set {dict(values)}")


def fill(template: str, values: Mapping[str, Any], now: int) -> str:
    return f"{template}@{now - T0}"


def dry(
    version: Version,
    *events: tuple[str, int],
    outside: Outside | None = None,
    faults: Mapping[str, str] | None = None,
    **view: Any,
) -> Trace:
    """Walk it; events are (type, ms after the start)."""
    tracer = Tracer(version, faults or {})
    script = FixedScript(ScriptedEvent(f"e{i}", name, {}, T0 + after) for i, (name, after) in enumerate(events))
    run = DryRun(version, replace(view_of(**view), witness=tracer), outside or Outside(), fill, script)
    fresh = admission.fresh(version, occasion(), "usr_a", slot=1, subject_secret=b"0" * 32, goal=None, now=T0)
    return simulate(run, fresh, tracer)


def told(trace: Trace) -> list[tuple[str, str, int]]:
    """Step, decision and time after the start."""
    return [(entry.step_id, entry.decision, entry.at - T0) for entry in trace.entries]


def one(trace: Trace, step: str) -> TraceEntry:
    """The entry of a step."""
    (entry,) = [entry for entry in trace.entries if entry.step_id == step]
    return entry


WAITING = [
    {**TRIGGER, "next": "w"},
    await_step("w", "paid", "P1D", "good", "late"),
    {**EXIT, "id": "good"},
    {**EXIT, "id": "late"},
]


class TestTime:
    """Virtual time."""

    def test_time_goes_from_alarm_to_alarm(self) -> None:
        """Each wait ends at its own time."""
        steps = [{**TRIGGER, "next": "a"}, wait_step("a", "PT1H", "b"), wait_step("b", "P1D", "exit"), EXIT]
        trace = dry(version_of(steps))

        assert [("trigger", 0), ("a", 0), ("b", HOUR), ("exit", HOUR + DAY)] == [(s, at) for s, _, at in told(trace)]
        assert ["a", "b", "exit", None] == [entry.next for entry in trace.entries]

    def test_of_an_alarm_and_an_event_at_one_moment_the_alarm_comes_first(self) -> None:
        """As where a clock fires what is due before anybody posts."""
        assert "late" == dry(version_of(WAITING), ("paid", DAY)).entries[-1].step_id
        assert "good" == dry(version_of(WAITING), ("paid", DAY - 1)).entries[-1].step_id

    def test_events_come_in_the_order_of_their_times(self) -> None:
        """Whatever order they were written in."""
        trace = dry(version_of(WAITING), ("other", 2 * HOUR), ("paid", HOUR))

        assert HOUR == trace.entries[-1].at - T0

    def test_an_execution_that_waits_too_long_times_out(self) -> None:
        """And has failed."""
        steps = [{**TRIGGER, "next": "a"}, wait_step("a", "P9D", "exit"), EXIT]
        trace = dry(version_of(steps, {"maxDuration": "P2D"}))

        assert ("failed", "timed_out") == (trace.outcome, trace.reason)
        assert ("a", "executed", 2 * DAY) == told(trace)[-1]

    def test_it_leaves_where_the_settings_say(self) -> None:
        """exitOn, at any step."""
        trace = dry(version_of(WAITING, {"exitOn": [{"eventName": "left"}]}), ("left", MINUTE))

        assert ("completed", "exit_on") == (trace.outcome, trace.reason)
        assert ("w", "exit", "exit_on") == (trace.entries[-1].step_id, trace.entries[-1].type, trace.entries[-1].reason)

    def test_a_thousand_webhooks_in_a_row_are_no_deeper_than_one(self) -> None:
        """Each stops the walk; nothing calls itself."""
        steps: list[dict[str, Any]] = [{**TRIGGER, "next": "h0"}]
        hook = {"type": "webhook", "url": "https://x.example"}
        steps += [{"id": f"h{i}", **hook, "next": f"h{i + 1}"} for i in range(1500)]
        outside = Outside()
        trace = dry(version_of([*steps, {**EXIT, "id": "h1500"}]), outside=outside)

        assert "completed" == trace.outcome
        assert 1500 == len(outside.seen)


class TestEffects:
    """What the world would see."""

    def test_a_message_is_made_after_its_plan_with_the_profile_it_left(self) -> None:
        """As the dispatcher makes it."""
        steps = [
            {**TRIGGER, "next": "m"},
            send_step("m", "u"),
            {"id": "u", "type": "update_profile", "set": {"plan": "{{ x }}"}, "next": "exit"},
            EXIT,
        ]
        outside = Outside()
        dry(version_of(steps), outside=outside)

        assert ["set {'plan': '{{ x }}@0'}", "send m-1 {{ x }}@0"] == outside.seen

    def test_a_send_that_fails_may_end_it(self) -> None:
        """onFailure fail."""
        steps = [{**TRIGGER, "next": "m"}, send_step("m", "exit", onFailure="fail"), EXIT]
        trace = dry(version_of(steps), outside=Outside(Answer("failed", "no")))

        assert ("failed", "send_failed") == (trace.outcome, trace.reason)

    def test_an_answer_is_there_for_later_conditions(self) -> None:
        """saveAs."""
        kept = {"kind": "context", "fieldPath": "r.ok", "operator": "equals", "value": True}
        steps: list[Mapping[str, Any]] = [
            {**TRIGGER, "next": "h"},
            {"id": "h", "type": "webhook", "url": "https://x.example", "saveAs": "r", "next": "b"},
            {
                "id": "b",
                "type": "branch",
                "mode": "condition",
                "branches": [{"id": "ok", "condition": kept, "next": "good"}],
                "default": "exit",
            },
            {**EXIT, "id": "good"},
            EXIT,
        ]
        trace = dry(version_of(steps), outside=Outside(Answer(json={"ok": True})))

        assert "good" == trace.entries[-1].step_id

    def test_sends_of_one_run_count_under_the_caps(self) -> None:
        """The second of a day is one too many."""
        steps = [{**TRIGGER, "next": "a"}, send_step("a", "b"), send_step("b", "exit"), EXIT]
        trace = dry(version_of(steps), rules=Rules(daily_cap=1))

        assert ["executed", "skipped"] == [one(trace, "a").decision, one(trace, "b").decision]
        assert "daily_cap_exceeded" == one(trace, "b").reason


class TestGates:
    """Checks and overrides."""

    STEPS: Sequence[Mapping[str, Any]] = [{**TRIGGER, "next": "m"}, send_step("m", "exit"), EXIT]
    OPTED_OUT = Profile("usr_a", {}, email="a@example.com", global_opt_out=True)

    def test_an_override_passes_over_a_refusal_and_says_so(self) -> None:
        """The check itself still says no."""
        trace = dry(version_of(self.STEPS), profile=self.OPTED_OUT, overrides=frozenset({"opt_out"}))
        check = one(trace, "m").checks[1]

        assert "executed" == one(trace, "m").decision
        assert (False, "opt_out", True) == (check["passed"], check["reason"], check["overridden"])

    def test_an_override_of_another_gate_changes_nothing(self) -> None:
        """Each has its own name."""
        trace = dry(version_of(self.STEPS), profile=self.OPTED_OUT, overrides=frozenset({"suppression", "holdout"}))

        assert ("skipped", "opt_out") == (one(trace, "m").decision, one(trace, "m").reason)

    @pytest.mark.parametrize(
        ("overrides", "outcome"), [(frozenset(), "blocked"), (frozenset({"holdout"}), "completed")]
    )
    def test_the_holdout_can_be_passed_over(self, overrides: frozenset[str], outcome: str) -> None:
        """At trigger time, with the check to see."""
        trace = dry(version_of(self.STEPS), holdout_percent=100, overrides=overrides)

        assert outcome == trace.outcome
        assert ("holdout", False) == (trace.checks[-1]["check"], trace.checks[-1]["passed"])

    def test_a_send_in_the_night_is_one_entry_in_the_morning(self) -> None:
        """With the checks of the morning."""
        trace = dry(version_of(self.STEPS), rules=Rules(quiet_hours=QuietHours("00:00", "23:00")))
        entry = one(trace, "m")

        assert entry.deferred_until == entry.at
        assert all(check["passed"] for check in entry.checks)
        assert format_time(entry.at).endswith("T23:00:00.000Z")

    def test_who_leaves_in_the_night_is_not_sent_anything(self) -> None:
        """The send never happened."""
        trace = dry(
            version_of(self.STEPS, {"exitOn": [{"eventName": "left"}]}),
            ("left", MINUTE),
            rules=Rules(quiet_hours=QuietHours("00:00", "23:00")),
        )

        assert [("m", "skipped", "quiet_hours"), ("m", "executed", "exit_on")] == [
            (entry.step_id, entry.decision, entry.reason) for entry in trace.entries[1:]
        ]


class TestFaults:
    """Drafts run as far as they go."""

    def test_a_faulty_step_ends_the_run(self) -> None:
        """With its code; what came before is shown."""
        steps = [{**TRIGGER, "next": "a"}, wait_step("a", "P1D", "m"), send_step("m", "exit"), EXIT]
        trace = dry(version_of(steps), faults={"m": "communication_not_found"})

        assert ("failed", "communication_not_found", None) == (trace.outcome, trace.reason, trace.execution)
        assert [("trigger", "executed"), ("a", "executed"), ("m", "blocked")] == [(s, d) for s, d, _ in told(trace)]

    @pytest.mark.parametrize("steps", [["a", "b"], ["a"]], ids=["two", "one"])
    def test_a_circle_ends_where_it_closes(self, steps: list[str]) -> None:
        """Also one without a wait in it."""
        ring = [
            {"id": name, "type": "update_profile", "set": {"x": 1}, "next": steps[(i + 1) % len(steps)]}
            for i, name in enumerate(steps)
        ]
        trace = dry(version_of([{**TRIGGER, "next": "a"}, *ring]))

        assert ("failed", "cycle") == (trace.outcome, trace.reason)
        assert ["trigger", *steps, "a"] == [entry.step_id for entry in trace.entries]

    def test_a_way_to_nowhere_is_the_last_step(self) -> None:
        """next_unresolved."""
        trace = dry(version_of([{**TRIGGER, "next": "gone"}]))

        assert ("failed", "next_unresolved") == (trace.outcome, trace.reason)
        assert trace.execution is not None
        assert Status.FAILED == trace.execution.status
