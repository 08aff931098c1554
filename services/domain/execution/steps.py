"""What entering each kind of step means.

Law: one function per kind, closed by `assert_never`; each either says which step follows or stops.
"""

from dataclasses import replace
from typing import Any, assert_never

from services.domain.execution.assignment import adaptive_arm, cold_arm, random_arm
from services.domain.execution.caps import Reservation
from services.domain.execution.eligibility import Verdict, send_verdict
from services.domain.execution.execution import LEASE_MS, ArmChoice, Goal, Intent, Result, Wait
from services.domain.execution.lifecycle import Status
from services.domain.execution.membership import next_change, windows_in
from services.domain.execution.paths import template_values
from services.domain.execution.quiet_hours import window_end
from services.domain.execution.schedule import until
from services.domain.execution.walk import Walk, choose
from services.domain.ids import send_id
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
from services.domain.journey.paths import value_at
from services.domain.times import format_time


class Stop:
    """The walk ends here for now: a wait was opened, or the execution is over."""


STOP = Stop()


def enter_step(walk: Walk, step: Step, now: int) -> str | Stop | None:
    """Enter a step; the id of the next one, or Stop."""
    visit = walk.enter(step.id, now)
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
            return _random(walk, step, now)
        case Send():
            return _send(walk, step, visit, now)
        case UpdateProfile():
            return _update_profile(walk, step, visit, now)
        case Exit():
            walk.exit_reason = step.reason
            walk.note(now, step.id, "execution.completed", {"reason": step.reason} if step.reason else {})
            walk.end(Status.SUCCEEDED, now)
            return STOP
        case WaitUntilTime():
            return _until_time(walk, step, now)
        case WaitUntilCondition():
            return _until_condition(walk, step, now)
        case BranchAdaptive():
            return _adaptive(walk, step, now)
        case Webhook():
            key = f"{step.id}-{visit}"
            walk.promise(key, Intent("webhook", step.id, "claimed", now + LEASE_MS))
            # What follows may read the answer, so the walk stops until there is one, or none.
            walk.open_wait(Wait(step.id, "result", since=now, intent=key), None)
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


def _until_time(walk: Walk, step: WaitUntilTime, now: int) -> str | Stop | None:
    """The moment is fixed at entry: who moves to another zone while waiting keeps the moment."""
    value = None if step.attribute is None else value_at(walk.profile.attributes, step.attribute)
    fallback = walk.version.graph.settings.timezone or walk.view.zone
    moment = until(step, now, walk.profile.timezone, value, fallback)
    at = now if moment.at is None else moment.at
    detail: dict[str, Any] = {"mode": "until_time", "until": format_time(at)}
    if moment.reason is not None:
        detail["reason"] = moment.reason
    walk.note(now, step.id, "wait.started", detail)
    if at > now:
        walk.open_wait(Wait(step.id, "until_time", since=now, until=at), at)
        return STOP
    walk.note(now, step.id, "wait.fired", {"firedBy": "time"})
    return step.next


def _until_condition(walk: Walk, step: WaitUntilCondition, now: int) -> str | Stop | None:
    until_at = None if step.timeout_ms is None else now + step.timeout_ms
    detail: dict[str, Any] = {"mode": "until_condition"}
    if until_at is not None:
        detail["until"] = format_time(until_at)
    walk.note(now, step.id, "wait.started", detail)
    if walk.version.conditions[step.id, ""](walk.facts(None, now)):
        walk.note(now, step.id, "wait.fired", {"firedBy": "condition"})
        return step.next
    walk.open_wait(Wait(step.id, "until_condition", since=now, until=until_at), next_look(walk, step, now, until_at))
    return STOP


def next_look(walk: Walk, step: WaitUntilCondition, now: int, until_at: int | None) -> int | None:
    """When a condition that is waited for is looked at again although nothing came: at the timeout, or before it
    where a rolling window ends, since then time alone may make it true."""
    change_at = next_change(windows_in(step.condition, walk.view.audience), walk.facts(None, now))
    return min((at for at in (change_at, until_at) if at is not None), default=None)


def _condition(walk: Walk, step: BranchCondition, now: int) -> str | None:
    facts = walk.facts(None, now)
    for case in step.cases:
        if walk.version.conditions[step.id, case.id](facts):
            _routed(walk, step.id, now, "condition", case.id, {})
            return case.next
    _routed(walk, step.id, now, "condition", "default", {})
    return step.default


def _random(walk: Walk, step: BranchRandom, now: int) -> str | None:
    choice = walk.arms.get(step.id)
    if choice is None:
        arm, propensity = random_arm(step.arms, walk.before.journey_id, step.id, walk.before.subject_id)
        choice = ArmChoice(arm.id, "random", propensity, routed_at=now)
        choose(walk, step.id, choice)
    _routed(walk, step.id, now, "random", choice.arm_id, {"armId": choice.arm_id, "propensity": choice.propensity})
    return _way_of(step, choice)


def _adaptive(walk: Walk, step: BranchAdaptive, now: int) -> str | None:
    """The arm this execution has, else a new one: by the allocation, in cold start by hash with equal shares.

    Where allocations cannot be renewed the last one is used, or equal shares, and history says so.
    """
    choice = walk.arms.get(step.id)
    weights: dict[str, float] = {}
    if choice is None:
        before, view = walk.before, walk.view
        snapshot = view.allocation(step)
        if snapshot is None:
            arm, propensity = cold_arm(step.arms, before.journey_id, step.id, before.subject_id)
        else:
            version = before.journey_version
            arm, propensity = adaptive_arm(
                step.arms, snapshot, before.journey_id, version, step.id, before.execution_id
            )
            weights = dict(zip(snapshot.arm_ids, snapshot.propensities, strict=True))
        learned = "cold_start" if snapshot is None else "adaptive"
        choice = ArmChoice(
            arm.id,
            learned if view.is_learning else "fallback",
            propensity,
            snapshot_id=None if snapshot is None else snapshot.id,
            routed_at=now,
            goal=_goal_of(walk, step),
        )
        choose(walk, step.id, choice)
    detail: dict[str, Any] = {"armId": choice.arm_id, "propensity": choice.propensity}
    if choice.snapshot_id is not None:
        detail["snapshotId"] = choice.snapshot_id
    if weights:
        detail["weights"] = weights
    _routed(walk, step.id, now, choice.mode, choice.arm_id, detail)
    return _way_of(step, choice)


def _way_of(step: BranchRandom | BranchAdaptive, choice: ArmChoice) -> str | None:
    return next((arm.next for arm in step.arms if arm.id == choice.arm_id), None)


def _goal_of(walk: Walk, step: BranchAdaptive) -> Goal | None:
    """What counts for the branch: its own event, else the one the execution started under, within that one's window."""
    goal = walk.before.goal
    if step.goal_event_name is None:
        return goal
    if goal is None:
        return Goal(step.goal_event_name, walk.view.goal_window_ms)
    return Goal(step.goal_event_name, goal.window_ms, goal.since)


def _routed(walk: Walk, step_id: str, now: int, mode: str, chosen: str, more: dict[str, Any]) -> None:
    walk.note(now, step_id, "branch.routed", {"mode": mode, "chosen": chosen, **more})


def _send(walk: Walk, step: Send, visit: int, now: int) -> str | Stop | None:
    """Pass the gate, or be put off until the quiet hours end, or be skipped; the person goes on."""
    key = f"{step.id}-{visit}"
    name = send_id(walk.before.execution_id, step.id, visit)
    view = walk.gate()
    # What became due while the server was down is sent now: it is now that it may be night, or one too many.
    present = walk.present(now)
    verdict = send_verdict(step.channel, walk.before.trigger.email, view, present, name)
    walk.judge(key, step.id, now, verdict.checks)
    if verdict.reason == "quiet_hours" and (quiet := view.rules.quiet_hours) and quiet.behaviour == "defer":
        ends_at = window_end(present, view.zone, quiet.start, quiet.end)
        if ends_at is not None:
            walk.note(now, step.id, "send.deferred", {"reason": "quiet_hours", "until": format_time(ends_at)})
            walk.open_wait(Wait(step.id, "quiet_hours", since=now, until=ends_at), ends_at)
            return STOP
    if verdict.reason is not None:
        _skip(walk, step.id, key, step.channel, verdict, now)
        return step.next
    if view.rules.has_caps:
        walk.reserved.append(Reservation(name, walk.before.key, step.channel, present))
    walk.promise(key, Intent("send", step.id, "claimed", now + LEASE_MS, channel=step.channel))
    if step.on_failure == "fail" or step.id in walk.version.asked_at_once:
        # Nobody knows yet how it ends, and what comes next depends on it.
        walk.open_wait(Wait(step.id, "result", since=now, intent=key), None)
        return STOP
    return step.next


def resume_send(walk: Walk, step: Send, now: int) -> str | Stop | None:
    """A send that was put off: the whole gate runs again, for the same visit."""
    return _send(walk, step, walk.visits[step.id], now)


def claim_due(walk: Walk, now: int) -> bool:
    """Sends that had to wait for their turn pass the gate again, and are claimed if it lets them."""
    moved = False
    for key, intent in list(walk.intents.items()):
        if intent.state != "new" or (intent.retry_at or 0) > now:
            continue
        moved = True
        if intent.channel is None:  # a webhook has no gate
            walk.promise(key, replace(intent, state="claimed", retry_at=None, attempts=intent.attempts + 1))
            continue
        name = f"{walk.before.execution_id}-{key}"
        view = walk.gate()
        verdict = send_verdict(intent.channel, walk.before.trigger.email, view, now, name)
        walk.judge(key, intent.step_id, now, verdict.checks)
        quiet = view.rules.quiet_hours
        if verdict.reason == "quiet_hours" and quiet is not None and quiet.behaviour == "defer":
            ends_at = window_end(now, view.zone, quiet.start, quiet.end) or now
            walk.note(now, intent.step_id, "send.deferred", {"reason": "quiet_hours", "until": format_time(ends_at)})
            walk.put_off(key, ends_at)
        elif verdict.reason is not None:
            _skip(walk, intent.step_id, key, intent.channel, verdict, now)
        else:
            walk.promise(key, replace(intent, state="claimed", retry_at=None, attempts=intent.attempts + 1))
    return moved


def _skip(walk: Walk, step_id: str, key: str, channel: str, verdict: Verdict, now: int) -> None:
    reason = verdict.reason or ""
    walk.settle(key, Result("skipped", now, reason))
    detail = {"reason": reason, "channel": channel, "checks": list(verdict.checks)}
    walk.note(now, step_id, "send.skipped", detail)


def _update_profile(walk: Walk, step: UpdateProfile, visit: int, now: int) -> str | None:
    """Values are rendered now, so that later steps and the stored profile agree on them."""
    values: dict[str, Any] = {}
    faults: dict[str, str] = {}
    roots = {**template_values(walk.before, walk.profile, walk.version.name), "context": walk.context}
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
