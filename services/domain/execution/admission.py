"""May this person enter this journey now?

Law: a start is decided once. What says no is kept as an execution that never runs, under the key the execution
would have had, so that a repeat finds the first decision. Order and reasons: contract 2.3 and 5.
"""

from collections.abc import Mapping
from typing import Any

from services.domain import ids
from services.domain.execution.assignment import is_held_out
from services.domain.execution.eligibility import stands
from services.domain.execution.execution import Execution, Goal, Occasion, Refusal
from services.domain.execution.lifecycle import Status
from services.domain.execution.triggers import Former, Start
from services.domain.execution.version import AUDIENCE, Version
from services.domain.execution.walk import Walk, concurrency_value
from services.domain.journey import model
from services.domain.journey.model import InSegment, Json, Predicate, Reentry
from services.domain.journey.predicate import Facts, explain

_SHOWN_TEXT = 200
_SHOWN_ITEMS = 256  # as many as a predicate has leaves
# Refusals that the audit shows; a filter or an audience that says no is seen by `why` only.
AUDITED = frozenset({"journey_paused", "audience_missing", "reentry_limit", "subject_missing", "subject_forgotten"})


def fresh(
    version: Version,
    occasion: Occasion,
    end_user_id: str,
    *,
    slot: int,
    subject_secret: bytes,
    goal: Goal | None,
    now: int,
    owner_epoch: int = 0,
) -> Execution:
    """An execution before its first decision. Its key is its identity: journey, version, person, event."""
    execution_id = ids.execution_id(version.journey_id, version.number, end_user_id, occasion.event_id)
    return Execution(
        key=ids.execution_key(slot, subject_secret, version.workspace_id, execution_id),
        slot=slot,
        lane=ids.lane_of(slot),
        subject_key=ids.subject_key(slot, subject_secret, end_user_id),
        workspace_id=version.workspace_id,
        execution_id=execution_id,
        journey_id=version.journey_id,
        journey_version=version.number,
        subject_id=end_user_id,
        trigger=occasion,
        started_at=now,
        step_id=version.entry.id,
        goal=goal,
        owner_epoch=owner_epoch,
    )


def admit(walk: Walk, trigger: Start) -> bool:
    """Run the checks of trigger time; whether the person enters. What says no is written into the walk."""
    checks: list[Mapping[str, Any]] = []
    reason = _reason(walk, trigger, checks)
    walk.holdout_share = min(max(walk.view.holdout_percent / 100, 0.0), 1.0)
    walk.judge("", "", trigger.now, checks)
    if reason is None:
        return True
    if reason == "holdout_membership":
        walk.note(trigger.now, walk.step_id, "holdout.counted", {"percent": walk.view.holdout_percent})
        walk.end(Status.HOLDOUT, trigger.now)
    else:
        if reason in AUDITED:
            walk.note(trigger.now, walk.step_id, "trigger.blocked", {"reason": reason})
        walk.end(Status.REFUSED, trigger.now)
        walk.open_until = trigger.now
    walk.refusal = Refusal(reason)
    return False


def _reason(walk: Walk, trigger: Start, checks: list[Mapping[str, Any]]) -> str | None:
    version, view = walk.version, walk.view

    def check(name: str, passed: bool, reason: str, inputs: Mapping[str, Any]) -> str | None:
        told: Mapping[str, Any] = {"check": name, "passed": passed, "inputs": inputs}
        if not passed:
            told = stands({**told, "reason": reason}, view.overrides)
        checks.append(told)
        return None if passed or "overridden" in told else reason

    closed = "journey_paused" if view.journey_status == "paused" else "journey_archived"
    if reason := check("journey_paused", view.journey_status == "published", closed, {"status": view.journey_status}):
        return reason
    condition = version.conditions.get((version.entry.id, ""))
    if condition is not None:
        facts = walk.facts(None, trigger.now)
        passed = condition(facts)
        entry = version.entry
        inputs = _told(
            entry.filter if isinstance(entry, model.Trigger) else None,
            facts,
            passed,
            {"eventId": trigger.occasion.event_id},
        )
        if reason := check("trigger_filter", passed, "trigger_filter", inputs):
            return reason
    if version.audience_id is not None:
        named = {"audienceId": version.audience_id}
        if view.audience(version.audience_id) is None:
            return check("audience", False, "audience_missing", named)
        facts = walk.facts(None, trigger.now)
        member = version.conditions[AUDIENCE, ""](facts)
        inputs = _told(InSegment(version.audience_id), facts, member, named)
        if reason := check("audience", member, "audience_mismatch", inputs):
            return reason
    rule = version.graph.settings.reentry
    entries = [former for former in view.formers if former.key != walk.before.key]
    if reason := check(
        "reentry",
        may_enter(rule, trigger, entries),
        "reentry_limit",
        {"mode": rule.mode, "formerEntries": len(entries)},
    ):
        return reason
    held = is_held_out(view.holdout_percent, view.salt, walk.before.subject_id)
    return check("holdout", not held, "holdout_membership", {"percent": view.holdout_percent})


def _told(predicate: Predicate | None, facts: Facts, passed: bool, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs of a check; where a predicate said no, with which part did, and the values it found."""
    if passed or predicate is None:
        return inputs
    return {**inputs, "explanation": _short(explain(predicate, facts))}


def _short(value: Json) -> Json:
    """An explanation without the bulk of what it found: it is kept with every refusal. Its depth is a predicate's."""
    match value:
        case str() if len(value) > _SHOWN_TEXT:
            return value[:_SHOWN_TEXT] + "..."
        case dict():
            return {name: _short(member) for name, member in value.items()}
        case list():
            return [_short(item) for item in value[:_SHOWN_ITEMS]]
        case _:
            return value


def may_enter(rule: Reentry, trigger: Start, formers: list[Former]) -> bool:
    """Whether the journey's re-entry rule lets the person in, given their earlier entries."""
    if rule.concurrency_key is not None:
        wanted = concurrency_value(rule.concurrency_key, trigger.occasion.data)
        formers = [one for one in formers if concurrency_value(rule.concurrency_key, one.data) == wanted]
    if rule.mode == "once" and formers:
        return False
    if rule.mode == "after_exit" and any(one.is_running for one in formers):
        return False
    if rule.min_interval_ms is not None and formers:
        return max(one.started_at for one in formers) + rule.min_interval_ms <= trigger.now
    return True
