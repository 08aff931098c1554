"""The working copy of an execution while one trigger is planned.

Law: everything that changes in a plan goes through here, so that what is stored, what history says and what is
asked of the world are always made together. Nothing outlives the plan but the value `finished` returns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from services.domain.execution.caps import Reservation
from services.domain.execution.execution import (
    APPLIED_KEPT,
    GATES_KEPT,
    HISTORY_KEPT,
    LEASE_MS,
    ArmChoice,
    Entry,
    Execution,
    GoalReached,
    Intent,
    Result,
    Wait,
    altered,
    judged,
    least_due,
)
from services.domain.execution.lifecycle import Status
from services.domain.execution.paths import envelope_of
from services.domain.execution.triggers import View
from services.domain.execution.version import Version
from services.domain.journey.paths import event_value
from services.domain.journey.predicate import Facts

LATE_MS = 60_000  # a step decided within this time after its moment counts as decided in time
RETENTION_MS = 730 * 86_400_000  # two years: longer than the longest run and a yearly comparison
REFUSED_MS = 30 * 86_400_000  # of starts that were decided against: `why` shows them for that long
# Entries that only the execution's own history shows: the audit catalogue of contract 2 does not list them.
PRIVATE_ACTIONS = frozenset({"profile.updated"})


class Walk:
    """A mutable execution. `transition` is the one its write will carry."""

    def __init__(self, version: Version, execution: Execution, view: View, transition: int) -> None:
        self.version = version
        self.before = execution
        self.view = view
        self.transition = transition
        self.profile = view.profile
        self.status = execution.status
        self.step_id = execution.step_id
        self.wait = execution.wait
        self.step_due_at = execution.step_due_at
        self.deadline_at = execution.deadline_at
        self.retry_at = execution.retry_at
        self.visits = dict(execution.visits)
        self.arms = dict(execution.arms)
        self.context = execution.context
        self.intents = dict(execution.intents)
        self.results = dict(execution.results)
        self.goals = execution.goals
        self.history = list(execution.history)
        self.history_dropped = execution.history_dropped
        self.outbox = list(execution.outbox)
        self.watermarks = dict(execution.watermarks)
        self.applied_ids = execution.applied_ids
        self.ended_at = execution.ended_at
        self.open_until = execution.open_until
        self.exit_reason = execution.exit_reason
        self.failed_step_id = execution.failed_step_id
        self.refusal = execution.refusal
        self.holdout_share = execution.holdout_share
        self.gates = dict(execution.gates)
        self.parked = execution.parked
        self.attempts = execution.attempts
        self.last_error = execution.last_error
        self.promised: list[str] = []  # keys of intents made by this plan
        self.reserved: list[Reservation] = []  # places under the caps taken by this plan
        prefix = f"{execution.key}:{transition}:"
        # Two triggers may be planned before one write: numbering goes on where the first stopped.
        self._next_entry = sum(1 for entry in execution.history if entry.id.startswith(prefix))

    def note(self, at: int, step_id: str, action: str, detail: Mapping[str, Any]) -> None:
        """Write history; what the audit shows also goes to the outbox."""
        if self.view.witness is not None:
            self.view.witness.noted(step_id, at, action, detail)
        entry = Entry(f"{self.before.key}:{self.transition}:{self._next_entry}", at, step_id, action, detail)
        self._next_entry += 1
        self.history.append(entry)
        if action not in PRIVATE_ACTIONS:
            self.outbox.append(entry)

    def judge(self, key: str, step_id: str, at: int, checks: Sequence[Mapping[str, Any]]) -> None:
        """Keep what a gate said: of the start under "", of a send under its step and visit; the last answer of each."""
        if self.view.witness is not None:
            self.view.witness.judged(step_id, at, checks)
        self.gates.pop(key, None)
        self.gates[key] = judged(checks)
        while len(self.gates) > GATES_KEPT:
            del self.gates[next(iter(self.gates))]

    def remember(self, entry: Entry) -> None:
        """Write history only: the log has this entry already."""
        self.history.append(entry)

    def enter(self, step_id: str, at: int) -> int:
        """Stand on a step; returns which visit this is."""
        if self.view.witness is not None:
            self.view.witness.entered(step_id, at)
        visit = self.visits.get(step_id, 0) + 1
        self.visits[step_id] = visit
        self.step_id = step_id
        return visit

    def open_wait(self, wait: Wait, due_at: int | None) -> None:
        """Stop here until the timer or something else comes."""
        self.wait = wait
        self.step_due_at = due_at

    def close_wait(self) -> None:
        """Whatever was waited for has come."""
        self.wait = None
        self.step_due_at = None

    def promise(self, key: str, intent: Intent) -> None:
        """Ask the world for something, in the same write as the state that needs it."""
        self.intents[key] = intent
        self.promised.append(key)

    def save(self, name: str, answer: Any) -> None:
        """Keep a webhook's answer for the steps behind it."""
        self.context = {**self.context, name: answer}

    def put_off(self, key: str, until: int) -> None:
        """An intent is claimed no sooner than that."""
        self.intents[key] = replace(self.intents[key], state="new", lease_until=until, retry_at=until)

    def gate(self) -> View:
        """The view with what this plan has changed: the profile, and the places it has taken under the caps."""
        if self.profile is self.view.profile and not self.reserved:
            return self.view
        return replace(self.view, profile=self.profile, reservations=(*self.view.reservations, *self.reserved))

    def present(self, now: int) -> int:
        """The moment a gate is asked for: that of the step, or the present one where nobody was there to ask in time.

        Within a minute a step is in time, so that its decisions do not hang on how busy the process was.
        """
        return self.view.now if self.view.now - now > LATE_MS else now

    def settle(self, key: str, result: Result) -> None:
        """Note how an intent ended. Profile updates leave no result: the profile itself shows them."""
        intent = self.intents.pop(key, None)
        if intent is None or intent.kind != "profile":
            self.results[key] = result

    def end(self, status: Status, at: int) -> None:
        """Walk no further; goals are still taken until their window closes."""
        self.status = status
        self.close_wait()
        self.deadline_at = None
        self.retry_at = None
        self.ended_at = at
        self.open_until = max(at, _windows_end(self))

    def facts(self, event: Mapping[str, Any] | None, now: int) -> Facts:
        """What a condition may look at now. `event` None: the triggering one."""
        trigger = self.before.trigger
        view = self.view
        return Facts(
            now=now,
            zone=view.zone,
            attributes=self.profile.attributes,
            event=envelope_of(trigger, self.before.subject_id) if event is None else event,
            context=self.context,
            # Counting begins at the event's own time: a late trigger must not lose what came meanwhile.
            started_at=min(trigger.at, self.before.started_at),
            trigger_event_id=trigger.event_id,
            events=view.events,
            audience=view.audience,
            end_user_id=self.before.subject_id,
            preferences=self.profile.preferences,
            global_opt_out=self.profile.global_opt_out,
            received=self._received,
        )

    def set_attributes(self, values: Mapping[str, Any]) -> None:
        """Later steps of this plan see the profile as it will be."""
        merged = dict(self.profile.attributes)
        for path, value in values.items():
            put_at(merged, tuple(path.split(".")), value)
        self.profile = replace(self.profile, attributes=merged)

    def applied(self, event_id: str, position: tuple[str, int] | None) -> None:
        """This event had its effect; met again, it has none."""
        self.applied_ids = (*self.applied_ids, event_id)[-APPLIED_KEPT:]
        if position is not None:
            self.seen(position)

    def seen(self, position: tuple[str, int]) -> None:
        """Raise the watermark."""
        topic, offset = position
        self.watermarks[topic] = max(offset, self.watermarks.get(topic, -1))

    def has_published(self, entry_ids: frozenset[str]) -> bool:
        """The log has these entries; whether any of them was still in the outbox."""
        left = [entry for entry in self.outbox if entry.id not in entry_ids]
        moved = len(left) < len(self.outbox)
        self.outbox = left
        return moved

    def finished(self, now: int) -> Execution:
        """The next state as a value."""
        before = self.before
        dropped = max(0, len(self.history) - HISTORY_KEPT)
        for key in self.promised:
            if key in self.intents:
                self.intents[key] = replace(self.intents[key], lease_until=now + LEASE_MS)
        # What was there before keeps its lease; what is new gets one.
        outbox_due_at = None
        if self.outbox:
            outbox_due_at = before.outbox_due_at if len(self.outbox) <= len(before.outbox) else now + LEASE_MS
            outbox_due_at = outbox_due_at or now + LEASE_MS
        return altered(
            before,
            transition=self.transition,
            status=self.status,
            step_id=self.step_id,
            wait=self.wait,
            step_due_at=self.step_due_at,
            deadline_at=self.deadline_at,
            retry_at=self.retry_at,
            due_at=least_due(
                self.parked, self.retry_at, self.step_due_at, self.deadline_at, outbox_due_at, self.intents
            ),
            visits=self.visits,
            arms=self.arms,
            context=self.context,
            intents=self.intents,
            results=self.results,
            goals=self.goals,
            history=tuple(self.history[dropped:]),
            history_dropped=self.history_dropped + dropped,
            outbox=tuple(self.outbox),
            outbox_due_at=outbox_due_at,
            watermarks=self.watermarks,
            applied_ids=self.applied_ids,
            ended_at=self.ended_at,
            open_until=self.open_until,
            expire_at=self._expires(),
            exit_reason=self.exit_reason,
            failed_step_id=self.failed_step_id,
            refusal=self.refusal,
            holdout_share=self.holdout_share,
            gates=self.gates,
            parked=self.parked,
            attempts=self.attempts,
            last_error=self.last_error,
        )

    def _expires(self) -> int | None:
        if self.ended_at is None:
            return None
        if self.status is Status.REFUSED:
            return self.ended_at + REFUSED_MS
        return max(self.ended_at, self.open_until) + RETENTION_MS

    def _received(self, step_id: str, status: str) -> bool:
        results = [result for key, result in self.results.items() if key.rpartition("-")[0] == step_id]
        if status in ("sent", "failed"):
            return any(result.state == status for result in results)
        return self.view.received(step_id, status)


def reach_goals(walk: Walk, event_id: str, event_name: str, at: int, noted_at: int) -> bool:
    """Credit an event to the journey's goal and to the arms whose window holds it; whether that changed anything.

    Both ends of a window are in it. Each goal counts once, at the least moment of an event that qualifies, so
    events that come late or in another order give the same. Source: statistics design 5.1.
    """
    goal, started_at = walk.before.goal, walk.before.started_at
    moved = is_new = False
    if goal is not None and event_name == goal.event_name and started_at <= at <= started_at + goal.window_ms:
        is_new = not walk.goals
        if is_new or at < walk.goals[0].at:
            walk.goals = (GoalReached(event_id, at),)
            moved = True
    credited: list[dict[str, str]] = []
    for step_id, arm in walk.arms.items():
        own = arm.goal
        if own is None or event_name != own.event_name or not arm.routed_at <= at <= arm.routed_at + own.window_ms:
            continue
        if arm.converted_at is None:
            credited.append({"stepId": step_id, "armId": arm.arm_id})
        if arm.converted_at is None or at < arm.converted_at:
            walk.arms[step_id] = replace(arm, converted_at=at)
            moved = True
    if is_new or credited:
        detail: dict[str, Any] = {"eventId": event_id, "eventName": event_name}
        if credited:
            detail["arms"] = credited
        walk.note(noted_at, walk.step_id, "goal.reached", detail)
    elif moved:  # an earlier event came late: whoever counts has to hear of it, the timeline has the goal already
        walk.note(noted_at, walk.step_id, "goal.moved", {"eventId": event_id, "eventName": event_name})
    return moved


def _windows_end(walk: Walk) -> int:
    """One millisecond behind the latest window in which an event may still count; 0 where none may."""
    goal = walk.before.goal
    ends = [walk.before.started_at + goal.window_ms + 1] if goal is not None else []
    ends += [arm.routed_at + arm.goal.window_ms + 1 for arm in walk.arms.values() if arm.goal is not None]
    return max(ends, default=0)


def choose(walk: Walk, step_id: str, choice: ArmChoice) -> None:
    """Keep the arm with the execution: the written decision wins for ever."""
    walk.arms[step_id] = choice


def concurrency_value(path: tuple[str, ...] | None, data: Mapping[str, Any]) -> Any:
    """The value by which entries of one person are kept apart; None where there is no key or no value."""
    return None if path is None else event_value({"data": data}, path)


def put_at(target: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set a member at a dotted path, making objects on the way and copying what it passes."""
    for name in path[:-1]:
        inner = target.get(name)
        target[name] = dict(inner) if isinstance(inner, Mapping) else {}
        target = target[name]
    target[path[-1]] = value


def recipient(version: Version, data: Mapping[str, Any]) -> str | None:
    """The address that the event brings for this execution's mails."""
    path = version.contract.email_path if version.contract else None
    if path is None:
        return None
    found = event_value({"data": data}, path)
    return found if isinstance(found, str) and found else None
