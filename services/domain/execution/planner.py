"""What happens next to a subject: the one function that decides.

Law: `plan` is pure. The same version, execution, trigger and view give the same plan, byte for byte; a trigger
that was applied gives None; an execution that is over only takes goals and late results. A plan runs to the
next wait in memory, so branches, profile updates, sends and the exit are one write.
Source: runtime design 6; contract 2.1 to 2.3 and 5.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.domain.execution.admission import admit
from services.domain.execution.caps import Reservation
from services.domain.execution.execution import Execution, Intent, Result
from services.domain.execution.lifecycle import TRANSITIONS, Cause, Status
from services.domain.execution.paths import envelope, rooted
from services.domain.execution.steps import Stop, claim_due, enter_step, follow, next_look, resume_send
from services.domain.execution.triggers import (
    Abort,
    Acknowledged,
    EventCame,
    ProfileChanged,
    Retry,
    Settled,
    Start,
    TimerDue,
    Trigger,
    View,
)
from services.domain.execution.version import Version
from services.domain.execution.walk import Walk, reach_goals
from services.domain.journey.model import Send, WaitUntilCondition, WaitUntilEvent, Webhook
from services.domain.journey.paths import event_value

STEP_BUDGET = 2_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What to write, and what to do once it is written.

    `promised` are the keys of the intents this plan made: only the writer whose write applied acts on them.
    `reserved` are the places it took under the caps: they are written before the execution is.
    """

    execution: Execution
    promised: tuple[str, ...]
    reserved: tuple[Reservation, ...] = ()

    @property
    def intents(self) -> dict[str, Intent]:
        """The promised intents themselves."""
        return {key: self.execution.intents[key] for key in self.promised if key in self.execution.intents}


def plan(version: Version, execution: Execution, trigger: Trigger, view: View, transition: int) -> Plan | None:
    """Decide what a trigger does to an execution; None if nothing.

    For a Start, `execution` is the fresh one made by `admission.fresh`. `transition` is the number the write
    will carry: one above the stored one, also when several triggers are planned before one write.
    """
    before = None if isinstance(trigger, Start) else execution.status
    if (before, _cause(trigger)) not in TRANSITIONS:
        return None
    walk = Walk(version, execution, view, transition)
    if before is not Status.RUNNING and isinstance(trigger, TimerDue) and not execution.intents:
        return None
    if before is Status.RUNNING and view.journey_status == "archived" and isinstance(trigger, EventCame | TimerDue):
        # A start that was under way while the journey was archived: whatever touches it ends it.
        trigger = Abort("system", "archived", trigger.received_at if isinstance(trigger, EventCame) else trigger.now)
    moved, now = _move(walk, trigger)
    if not moved:
        return None
    return Plan(walk.finished(now), tuple(walk.promised), tuple(walk.reserved))


def may_move(version: Version, execution: Execution, event_type: str) -> bool:
    """Whether an event of that name can do anything to an execution of a journey that is not archived.

    What `plan` would say at a hundredth of its price: a person may have thousands open.
    """
    goal, wait = execution.goal, execution.wait
    return (
        event_type in version.awaited_names
        or (goal is not None and goal.event_name == event_type)
        or (wait is not None and wait.mode == "until_condition")
    )


def _move(walk: Walk, trigger: Trigger) -> tuple[bool, int]:
    """Whether the trigger did anything, and the moment it belongs to."""
    match trigger:
        case Start():
            return _start(walk, trigger), trigger.now
        case EventCame():
            return _event(walk, trigger), trigger.received_at
        case TimerDue():
            return _timers(walk, trigger.now), trigger.now
        case Acknowledged():
            return _acknowledged(walk, trigger), trigger.now
        case ProfileChanged():
            return _look_again(walk, trigger.now), trigger.now
        case Abort():
            return _abort(walk, trigger), trigger.now
        case Retry():
            return _retry(walk, trigger), trigger.now


def _cause(trigger: Trigger) -> Cause:
    match trigger:
        case Start():
            return Cause.START
        case EventCame():
            return Cause.EVENT
        case TimerDue():
            return Cause.TIMER
        case Acknowledged():
            return Cause.SETTLED
        case ProfileChanged():
            return Cause.PROFILE
        case Abort():
            return Cause.ABORT
        case Retry():
            return Cause.RETRY


def _start(walk: Walk, trigger: Start) -> bool:
    if trigger.position is not None:
        walk.seen(trigger.position)
    walk.applied_ids = (trigger.occasion.event_id,)
    if admit(walk, trigger):
        entry = walk.version.entry
        walk.note(trigger.now, entry.id, "execution.started", _origin(trigger))
        walk.deadline_at = trigger.now + walk.version.graph.settings.max_duration_ms
        _go(walk, entry.id, trigger.now)
    return True


def _origin(trigger: Start) -> dict[str, Any]:
    occasion = trigger.occasion
    return {"eventId": occasion.event_id, "eventType": occasion.type, "source": occasion.source}


def _event(walk: Walk, event: EventCame) -> bool:
    """Goal, then exitOn, then the wait: each only once, and none by the event that started the execution."""
    execution = walk.before
    topic, offset = event.position
    if offset <= execution.watermarks.get(topic, -1) or event.id in execution.applied_ids:
        return False
    came = envelope(event.id, event.type, execution.subject_id, event.data, event.stated_at, event.received_at)
    had_goal = bool(walk.goals)
    moved = reach_goals(walk, event.id, event.type, event.at, event.received_at)
    has_goal = bool(walk.goals) and not had_goal
    if has_goal and walk.status is Status.RUNNING and walk.version.graph.settings.exit_on_goal:
        _leave(walk, event.received_at, "goal")
    if walk.status is Status.RUNNING and _exits_on(walk, event, came):
        _leave(walk, event.received_at, "exit_on")
        moved = True
    if walk.status is Status.RUNNING and _wakes(walk, event, came):
        step = walk.version.steps[walk.step_id]
        assert isinstance(step, WaitUntilEvent)
        walk.close_wait()
        walk.note(
            event.received_at, step.id, "wait.fired", {"firedBy": "event", "eventId": event.id, "eventName": event.type}
        )
        _go(walk, step.next, event.received_at)
        moved = True
    if walk.status is Status.RUNNING:
        moved = _look_again(walk, event.received_at) or moved
    if moved:
        walk.applied(event.id, event.position)
    return moved


def _look_again(walk: Walk, now: int) -> bool:
    """A condition that is waited for may hold now."""
    wait = walk.wait
    if wait is None or wait.mode != "until_condition":
        return False
    step = walk.version.steps[wait.step_id]
    if not isinstance(step, WaitUntilCondition):
        return False
    if not walk.version.conditions[step.id, ""](walk.facts(None, now)):
        look_at, alarm = next_look(walk, step, now, wait.until), walk.step_due_at
        if alarm is not None and now < alarm and (look_at is None or alarm <= look_at):
            return False  # an alarm that rings too early sets the next one
        walk.step_due_at = look_at
        return look_at != alarm
    walk.close_wait()
    walk.note(now, step.id, "wait.fired", {"firedBy": "condition"})
    _go(walk, step.next, now)
    return True


def _leave(walk: Walk, at: int, reason: str) -> None:
    walk.exit_reason = reason
    walk.note(at, walk.step_id, "execution.completed", {"reason": reason})
    walk.end(Status.SUCCEEDED, at)


def _exits_on(walk: Walk, event: EventCame, came: Mapping[str, Any]) -> bool:
    return any(
        rule.event_name == event.type and _matches(walk, rule.match, came)
        for rule in walk.version.graph.settings.exit_on
    )


def _wakes(walk: Walk, event: EventCame, came: Mapping[str, Any]) -> bool:
    wait = walk.wait
    if wait is None or wait.mode != "until_event" or wait.event_name != event.type:
        return False
    if event.appended_at < wait.since:
        return False  # it was there before the wait was opened: conditions have seen it, waits must not
    step = walk.version.steps[wait.step_id]
    if not isinstance(step, WaitUntilEvent) or not _matches(walk, step.match, came):
        return False
    condition = walk.version.conditions.get((step.id, ""))
    return condition is None or condition(walk.facts(came, event.received_at))


def _matches(walk: Walk, pairs: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...], came: Mapping[str, Any]) -> bool:
    for theirs, ours in pairs:
        value = event_value(came, theirs)
        wanted = rooted(walk.before, walk.profile, walk.version.name, ours)
        if value is None or wanted is None or not _same(value, wanted):
            return False
    return True


def _same(one: Any, other: Any) -> bool:
    # 1 == True in Python, but not in JSON.
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _timers(walk: Walk, now: int) -> bool:
    """Fire every timer at or before `now`, each at its own time; a chain of waits may have several."""
    moved = claim_due(walk, now)
    while walk.status is Status.RUNNING:
        step_due, deadline = walk.step_due_at, walk.deadline_at
        if deadline is not None and deadline <= now and (step_due is None or deadline <= step_due):
            walk.note(deadline, walk.step_id, "execution.timed_out", {})
            walk.end(Status.TIMED_OUT, deadline)
            return True
        if step_due is None or step_due > now:
            return moved
        moved = True
        wait = walk.wait
        step = walk.version.steps[walk.step_id]
        if wait is not None and wait.mode == "until_condition" and (wait.until is None or step_due < wait.until):
            _look_again(walk, step_due)
            continue
        walk.close_wait()
        if isinstance(step, WaitUntilEvent | WaitUntilCondition):
            walk.note(step_due, step.id, "wait.timed_out", {"firedBy": "timeout"})
            _go(walk, step.on_timeout, step_due)
        elif isinstance(step, Send) and wait is not None and wait.mode == "quiet_hours":
            _on(walk, resume_send(walk, step, step_due), step_due)
        else:
            walk.note(step_due, walk.step_id, "wait.fired", {"firedBy": "time"})
            _go(walk, follow(step), step_due)
    return moved


def _acknowledged(walk: Walk, trigger: Acknowledged) -> bool:
    """Take note of what happened; the log's copy of an entry is enough."""
    moved = walk.has_published(trigger.published)
    for settled in trigger.settled:
        moved = _settled(walk, settled, trigger.now) or moved
    if walk.status is Status.RUNNING and trigger.settled and walk.version.received_steps:
        moved = _look_again(walk, trigger.now) or moved  # a condition may have waited for just this
    return moved


def _settled(walk: Walk, settled: Settled, now: int) -> bool:
    """A send ended. A step with onFailure "fail" goes on or ends here."""
    key, result = settled.intent, settled.result
    if key not in walk.intents and not _may_correct(walk.results.get(key), result):
        return False
    if settled.retry_at is not None:
        walk.put_off(key, settled.retry_at)
        return True
    walk.settle(key, result)
    if settled.entry is not None:
        walk.remember(settled.entry)
    wait = walk.wait
    if walk.status is Status.RUNNING and wait is not None and wait.mode == "result" and wait.intent == key:
        step = walk.version.steps[wait.step_id]
        walk.close_wait()
        if isinstance(step, Webhook) and step.save_as and result.state == "sent":
            walk.save(step.save_as, settled.answer)
        if result.state == "failed" and isinstance(step, Send | Webhook) and step.on_failure == "fail":
            walk.failed_step_id = step.id
            walk.note(
                now,
                step.id,
                "execution.failed",
                {"reason": f"{'send' if isinstance(step, Send) else 'webhook'}_failed"},
            )
            walk.end(Status.FAILED, now)
        else:
            _go(walk, follow(step), now)
    return True


def _may_correct(known: Result | None, result: Result) -> bool:
    """Only a send in doubt may still be told how it ended."""
    return known is not None and known.state == "unknown" and result.state != "unknown"


def _abort(walk: Walk, trigger: Abort) -> bool:
    walk.note(trigger.now, walk.step_id, "execution.aborted", {"reason": trigger.reason, "by": trigger.actor})
    walk.end(Status.ABORTED, trigger.now)
    # A send not yet claimed is taken back; one that is under way ends as it ends.
    for key, intent in list(walk.intents.items()):
        if intent.state == "new":
            walk.settle(key, Result("skipped", trigger.now, "aborted"))
    return True


def _retry(walk: Walk, trigger: Retry) -> bool:
    """A parked execution plans its timers again; a failed one repeats the step that failed."""
    if walk.parked:
        walk.parked, walk.attempts, walk.last_error, walk.retry_at = False, 0, None, None
        _timers(walk, trigger.now)
        return True
    if walk.status is not Status.FAILED or walk.failed_step_id is None:
        return False
    step_id = walk.failed_step_id
    walk.status, walk.failed_step_id, walk.ended_at, walk.exit_reason = Status.RUNNING, None, None, None
    walk.open_until = 1 << 53
    walk.deadline_at = trigger.now + walk.version.graph.settings.max_duration_ms
    _go(walk, step_id, trigger.now)
    return True


def _on(walk: Walk, way: str | Stop | None, now: int) -> None:
    """Go on where a step that had been stopped in leads, unless it stops again."""
    if not isinstance(way, Stop):
        _go(walk, way, now)


def _go(walk: Walk, step_id: str | None, now: int) -> None:
    """Walk from step to step until something has to be waited for or the execution is over."""
    for _ in range(STEP_BUDGET):
        step = walk.version.steps.get(step_id) if step_id is not None else None
        if step is None:
            _fail(walk, "next_unresolved", now)
            return
        match enter_step(walk, step, now):
            case Stop():
                return
            case next_id:
                step_id = next_id
    _fail(walk, "step_budget", now)


def _fail(walk: Walk, reason: str, now: int) -> None:
    walk.failed_step_id = walk.step_id
    walk.note(now, walk.step_id, "execution.failed", {"reason": reason})
    walk.end(Status.FAILED, now)
