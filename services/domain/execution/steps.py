"""What entering each kind of step means.

Law: one function per kind, closed by `assert_never`; each either says which step follows or stops.
"""

from typing import Any, assert_never

from services.domain.execution.assignment import random_arm
from services.domain.execution.eligibility import send_verdict
from services.domain.execution.execution import LEASE_MS, ArmChoice, Intent, Result, Wait
from services.domain.execution.lifecycle import Status
from services.domain.execution.paths import template_values
from services.domain.execution.walk import Walk, choose
from services.domain.journey.model import (
    BranchAdaptive,
    BranchCondition,
    BranchRandom,
    Exit,
    Send,
    Step,
    Trigger,
    UpdateProfile,
    WaitDuration,
    WaitUntilCondition,
    WaitUntilEvent,
    WaitUntilTime,
    Webhook,
)
from services.domain.times import format_time


class Stop:
    """The walk ends here for now: a wait was opened, or the execution is over."""


STOP = Stop()


def enter_step(walk: Walk, step: Step, now: int) -> str | Stop | None:
    """Enter a step; the id of the next one, or Stop."""
    visit = walk.enter(step.id)
    match step:
        case Trigger():
            return step.next
        case WaitDuration():
            until = now + step.duration_ms
            walk.open_wait(Wait(step.id, "duration", since=now, until=until), until)
            walk.note(now, step.id, "wait.started", {"mode": "duration", "until": format_time(until)})
            return STOP
        case WaitUntilEvent():
            return _until_event(walk, step, now)
        case BranchCondition():
            return _condition(walk, step, now)
        case BranchRandom():
            arm, propensity = random_arm(step.arms, walk.before.journey_id, step.id, walk.before.subject_id)
            choose(walk, step.id, ArmChoice(arm.id, "random", propensity))
            _routed(walk, step.id, now, "random", arm.id, {"armId": arm.id, "propensity": propensity})
            return arm.next
        case Send():
            return _send(walk, step, visit, now)
        case UpdateProfile():
            return _update_profile(walk, step, visit, now)
        case Exit():
            walk.exit_reason = step.reason
            walk.note(now, step.id, "execution.completed", {"reason": step.reason} if step.reason else {})
            walk.end(Status.SUCCEEDED, now)
            return STOP
        case WaitUntilTime() | WaitUntilCondition() | BranchAdaptive() | Webhook():
            # Publish refuses these until they are built; an execution that meets one all the same fails visibly.
            walk.failed_step_id = step.id
            walk.note(now, step.id, "execution.failed", {"reason": "not_yet_supported"})
            walk.end(Status.FAILED, now)
            return STOP
        case _:
            assert_never(step)


def follow(step: Step) -> str | None:
    """The step that comes after one that was waited in."""
    match step:
        case BranchCondition() | BranchRandom() | BranchAdaptive() | Exit():
            return None
        case _:
            return step.next


def _until_event(walk: Walk, step: WaitUntilEvent, now: int) -> Stop:
    until = None if step.timeout_ms is None else now + step.timeout_ms
    walk.open_wait(Wait(step.id, "until_event", since=now, until=until, event_name=step.event_name), until)
    detail: dict[str, Any] = {"mode": "until_event", "eventName": step.event_name}
    if until is not None:
        detail["until"] = format_time(until)
    walk.note(now, step.id, "wait.started", detail)
    return STOP


def _condition(walk: Walk, step: BranchCondition, now: int) -> str | None:
    facts = walk.facts(None, now)
    for case in step.cases:
        if walk.version.conditions[step.id, case.id](facts):
            _routed(walk, step.id, now, "condition", case.id, {})
            return case.next
    _routed(walk, step.id, now, "condition", "default", {})
    return step.default


def _routed(walk: Walk, step_id: str, now: int, mode: str, chosen: str, more: dict[str, Any]) -> None:
    walk.note(now, step_id, "branch.routed", {"mode": mode, "chosen": chosen, **more})


def _send(walk: Walk, step: Send, visit: int, now: int) -> str | Stop | None:
    key = f"{step.id}-{visit}"
    verdict = send_verdict(step.channel, walk.before.trigger.email, walk.view)
    if verdict.reason is not None:
        walk.settle(key, Result("skipped", now, verdict.reason))
        detail = {"reason": verdict.reason, "channel": step.channel, "checks": list(verdict.checks)}
        walk.note(now, step.id, "send.skipped", detail)
        return step.next
    walk.promise(key, Intent("send", step.id, "claimed", now + LEASE_MS, channel=step.channel))
    if step.on_failure == "fail":
        walk.open_wait(Wait(step.id, "result", since=now, intent=key), None)
        return STOP
    return step.next


def _update_profile(walk: Walk, step: UpdateProfile, visit: int, now: int) -> str | None:
    """Values are rendered now, so that later steps and the stored profile agree on them."""
    values: dict[str, Any] = {}
    faults: dict[str, str] = {}
    roots = template_values(walk.before, walk.profile, walk.version.name)
    for path, value in step.set.items():
        if isinstance(value, str) and ("{{" in value or "{%" in value):
            try:
                values[path] = walk.view.render(value, roots)
            except ValueError as error:
                faults[path] = str(error)
        else:
            values[path] = value
    walk.set_attributes(values)
    if values:
        key = f"{step.id}-{visit}"
        walk.promise(key, Intent("profile", step.id, "claimed", now + LEASE_MS, values=values))
    detail: dict[str, Any] = {"set": sorted(values)}
    if faults:
        detail["faults"] = faults
    walk.note(now, step.id, "profile.updated", detail)
    return step.next
