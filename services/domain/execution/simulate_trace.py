"""What a dry run shows: one entry a step, with its gate, its wait, its branch and where it led.

Law: the trace is what the planner said while it decided, in its order; nothing is decided or looked up again. A
draft is walked as far as it goes: a faulty step, or one that is entered a second time, ends the run there.
Source: contract 5.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.domain.execution.execution import Execution
from services.domain.execution.lifecycle import Status
from services.domain.execution.simulate import DryRun
from services.domain.execution.version import Version
from services.domain.journey.model import (
    BranchAdaptive,
    BranchCondition,
    BranchRandom,
    Exit,
    Send,
    Step,
    Trigger,
    UpdateProfile,
    WaitUntilCondition,
    WaitUntilEvent,
    Webhook,
)
from services.domain.times import parse_time

OVERRIDES = ("opt_out", "suppression", "frequency_cap", "holdout")
Faults = Mapping[str, str]  # step id -> the code of what is wrong with the step itself


class Halted(Exception):
    """A draft's fault ends the run before the step `step_id` is walked."""

    def __init__(self, step_id: str, code: str) -> None:
        super().__init__(f"{step_id}: {code}")
        self.step_id = step_id
        self.code = code


@dataclass(slots=True)
class TraceEntry:
    """One step of the way. `decision`: executed (would happen), skipped (a gate said no), blocked (does not go on).

    `wait`: mode, and as far as known until and firedBy. `branch`: mode, chosen, and for arms armId, propensity,
    weights. `at` and `deferred_until` are ms.
    """

    at: int
    step_id: str
    type: str
    decision: str = "executed"
    reason: str | None = None
    checks: Sequence[Mapping[str, Any]] = ()
    wait: dict[str, Any] | None = None
    branch: dict[str, Any] | None = None
    deferred_until: int | None = None
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """How a dry run went. `outcome`: completed, blocked (trace[0] says why), failed; `reason` where there is one.

    `checks` are those of trigger time. `execution` is how it stood at the end, None where a fault of a draft ended
    it in the middle of a plan.
    """

    outcome: str
    reason: str | None
    checks: tuple[Mapping[str, Any], ...]
    entries: tuple[TraceEntry, ...]
    execution: Execution | None


@dataclass(slots=True)
class Tracer:
    """The witness that writes the trace."""

    version: Version
    faults: Faults = field(default_factory=dict)
    checks: tuple[Mapping[str, Any], ...] = ()
    entries: list[TraceEntry] = field(default_factory=list)
    seen: dict[str, TraceEntry] = field(default_factory=dict)

    def entered(self, step_id: str, at: int) -> None:
        """A new entry; the one before leads here. Raises Halted for a step that cannot be walked."""
        self._lead(step_id)
        step = self.version.steps[step_id]
        if step_id in self.seen:
            raise Halted(step_id, "cycle")
        entry = TraceEntry(at, step_id, kind_of(step))
        if isinstance(step, Trigger):
            entry.checks = self.checks
        self.entries.append(entry)
        self.seen[step_id] = entry
        if step_id in self.faults:
            raise Halted(step_id, self.faults[step_id])

    def noted(self, step_id: str, at: int, action: str, detail: Mapping[str, Any]) -> None:
        """What history says goes to the entry of its step."""
        entry = self.seen.get(step_id)
        if entry is None:
            return
        match action:
            case "wait.started":
                entry.wait = {name: detail[name] for name in ("mode", "until", "eventName", "reason") if name in detail}
            case "wait.fired" | "wait.timed_out":
                entry.wait = {**(entry.wait or {}), "firedBy": detail["firedBy"]}
                if "eventId" in detail:
                    entry.wait["eventId"] = detail["eventId"]
            case "branch.routed":
                entry.branch = self._branch(step_id, detail)
            case "send.deferred":
                entry.deferred_until = parse_time(detail["until"])
            case "send.skipped":
                entry.decision, entry.reason = "skipped", detail["reason"]
            case "execution.completed":
                self._left(entry, step_id, at, detail)
            case "execution.timed_out":
                self._put_off(entry)
                self.entries.append(TraceEntry(at, step_id, "exit", reason="timed_out"))
            case "execution.failed":
                if detail.get("reason") in ("next_unresolved", "step_budget"):
                    self._lead(None)
            case _:
                pass

    def judged(self, step_id: str, at: int, checks: Sequence[Mapping[str, Any]]) -> None:
        """The gate's answer; of a send that was put off the last one, at the time it was given."""
        if not step_id:
            self.checks = tuple(checks)
            return
        entry = self.seen[step_id]
        entry.at, entry.checks = at, checks

    def _left(self, entry: TraceEntry, step_id: str, at: int, detail: Mapping[str, Any]) -> None:
        step = self.version.steps[step_id]
        if isinstance(step, Exit):
            entry.reason = detail.get("reason")
            return
        self._put_off(entry)
        self.entries.append(TraceEntry(at, step_id, "exit", reason=detail.get("reason")))

    def _put_off(self, entry: TraceEntry) -> None:
        """A send that still waited for the morning when the run ended never went out."""
        if entry.deferred_until is not None and entry.at < entry.deferred_until:
            entry.decision, entry.reason = "skipped", "quiet_hours"

    def _lead(self, step_id: str | None) -> None:
        if self.entries:
            self.entries[-1].next = step_id

    def _branch(self, step_id: str, detail: Mapping[str, Any]) -> dict[str, Any]:
        told = {name: value for name, value in detail.items() if name not in ("version", "by")}
        step = self.version.steps[step_id]
        if "weights" not in told and isinstance(step, BranchRandom | BranchAdaptive):
            is_random = isinstance(step, BranchRandom)
            told["weights"] = {arm.id: arm.weight if is_random else 1 / len(step.arms) for arm in step.arms}
        if isinstance(step, BranchAdaptive):  # its author's word; the audit keeps how the arm was drawn
            if told.get("mode") == "cold_start":
                told["coldStart"] = True
            told["mode"] = "adaptive"
        return told


def simulate(run: DryRun, fresh: Execution, tracer: Tracer) -> Trace:
    """Walk a dry run whose view has `tracer` as its witness, to its end or to the first fault that stands in its way."""
    try:
        execution = run.walk(fresh)
    except Halted as halt:
        entry = tracer.seen.get(halt.step_id)
        if halt.code == "cycle" or entry is None:
            entry = TraceEntry(tracer.entries[-1].at, halt.step_id, kind_of(run.version.steps[halt.step_id]))
            tracer.entries.append(entry)
        entry.decision, entry.reason = "blocked", halt.code
        return Trace("failed", halt.code, tracer.checks, tuple(tracer.entries), None)
    outcome, reason = _outcome(execution, tracer)
    return Trace(outcome, reason, tracer.checks, tuple(tracer.entries), execution)


def kind_of(step: Step) -> str:
    """The `type` an author writes for the step."""
    match step:
        case Trigger():
            return "trigger"
        case BranchCondition() | BranchRandom() | BranchAdaptive():
            return "branch"
        case Send():
            return "send"
        case Webhook():
            return "webhook"
        case UpdateProfile():
            return "update_profile"
        case Exit():
            return "exit"
        case _:
            return "wait"


def _outcome(execution: Execution, tracer: Tracer) -> tuple[str, str | None]:
    match execution.status:
        case Status.REFUSED | Status.HOLDOUT:
            reason = execution.refusal.reason if execution.refusal else None
            entry = tracer.version.entry
            blocked = TraceEntry(execution.started_at, entry.id, kind_of(entry), "blocked", reason, tracer.checks)
            tracer.entries.append(blocked)
            return "blocked", reason
        case Status.SUCCEEDED:
            return "completed", execution.exit_reason
        case Status.TIMED_OUT:
            step = tracer.version.steps.get(execution.step_id)
            endless = isinstance(step, WaitUntilEvent | WaitUntilCondition) and step.timeout_ms is None
            return "failed", "timeout_missing" if endless else "timed_out"
        case Status.FAILED:
            failed = [entry.detail.get("reason") for entry in execution.history if entry.action == "execution.failed"]
            reason = str(failed[-1]) if failed else "failed"
            last = tracer.entries[-1]
            last.reason = last.reason or reason
            if reason != "next_unresolved" and last.decision == "executed":
                last.decision = "blocked"
            return "failed", reason
        case _:
            return "failed", "unfinished"
