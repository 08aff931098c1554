"""One execution in virtual time: the same planner, and a world that answers at once.

Law: nothing here decides; `plan` does. Time goes from alarm to alarm and from event to event, an alarm first where
both fall on one millisecond. What a plan promises is settled in the same instant, as `Outside` says. Memory is one
execution and the events that came: whoever watches (`View.witness`) keeps what it wants to keep.
Source: architecture 1; contract 5.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from services.domain.execution.caps import Reservation
from services.domain.execution.execution import Entry, Execution, Result
from services.domain.execution.lifecycle import Status
from services.domain.execution.planner import Plan, plan
from services.domain.execution.triggers import (
    Acknowledged,
    EventCame,
    Profile,
    ProfileChanged,
    Settled,
    Start,
    TimerDue,
    Trigger,
    View,
)
from services.domain.execution.version import Version
from services.domain.execution.walk import put_at
from services.domain.journey.model import Json, Send, Webhook
from services.domain.journey.predicate import PastEvent

TOPIC = "dry-run"  # where the scripted events stand; nothing is appended there
Fill = Callable[[str, Mapping[str, Any], int], str]  # a template, its values, now in ms; raises ValueError


@dataclass(frozen=True, slots=True)
class ScriptedEvent:
    """An event that comes at `at` (ms)."""

    id: str
    type: str
    data: Mapping[str, Any]
    at: int


@dataclass(frozen=True, slots=True)
class Answer:
    """How an effect ends: `state` sent or failed, why it failed, and the JSON a webhook answered."""

    state: str = "sent"
    reason: str | None = None
    json: Json = None


SENT = Answer()


class Outside(Protocol):
    """What stands for the world: it is shown every effect after its plan, and says how it ends."""

    def send(self, execution: Execution, key: str, step: Send, profile: Profile, now: int) -> Answer:
        """A message that would go out. `execution` and `profile` are as the plan left them."""

    def call(self, execution: Execution, key: str, step: Webhook, profile: Profile, now: int) -> Answer:
        """A webhook that would be called."""

    def set_profile(self, step_id: str, values: Mapping[str, Any], now: int) -> None:
        """Attributes that would be set, by dotted path."""


class Script(Protocol):
    """Where the events come from."""

    def next(self, execution: Execution, now: int, due_at: int | None) -> ScriptedEvent | None:
        """The next event that is still to come, none before `now`; asked again until it has been taken.

        `due_at` is the next alarm. The same event is given until `take` is called.
        """

    def take(self) -> None:
        """The event that was given has come."""


class FixedScript:
    """Events in the order of their times."""

    def __init__(self, events: Iterable[ScriptedEvent]) -> None:
        self._rest = sorted(events, key=lambda event: event.at)
        self._index = 0

    def next(self, execution: Execution, now: int, due_at: int | None) -> ScriptedEvent | None:
        """The first that has not come."""
        return self._rest[self._index] if self._index < len(self._rest) else None

    def take(self) -> None:
        """It has."""
        self._index += 1


@dataclass(slots=True)
class DryRun:
    """One run. `view` is the view of the moment of the start, with everything recorded before it.

    Of `view`, the profile, the events and the places under the caps go on with the run.
    """

    version: Version
    view: View
    outside: Outside
    fill: Fill
    script: Script
    profile: Profile = field(init=False)
    came: dict[str, list[PastEvent]] = field(init=False, default_factory=dict)  # by name
    reservations: list[Reservation] = field(init=False)

    def __post_init__(self) -> None:
        self.profile = self.view.profile
        self.reservations = list(self.view.reservations)

    def walk(self, fresh: Execution) -> Execution:
        """From the start to the end. `fresh` comes from `admission.fresh` and starts at its `started_at`.

        Raises what the view's witness or `Outside` raises.
        """
        occasion, now = fresh.trigger, fresh.started_at
        if occasion.source == "event":  # a start by hand leaves no event that conditions could count
            self.meet(PastEvent(occasion.event_id, occasion.type, occasion.at, occasion.data))
        execution = self.after(fresh, Start(occasion, now), now)
        offset = 0
        while execution.status is Status.RUNNING:
            due_at = next_alarm(execution)
            event = self.script.next(execution, now, due_at)
            if event is not None and (due_at is None or event.at < due_at):
                self.script.take()
                now = max(now, event.at)
                self.meet(PastEvent(event.id, event.type, event.at, event.data))
                position = (TOPIC, offset)
                offset += 1
                came = EventCame(
                    event.id, event.type, event.data, at=event.at, received_at=now, appended_at=now, position=position
                )
                execution = self.after(execution, came, now)
            elif due_at is not None:
                now = max(now, due_at)
                execution = self.after(execution, TimerDue(now), now)
            else:
                break  # nothing can happen any more; a running execution has a deadline, so this is never
        return execution

    def meet(self, event: PastEvent) -> None:
        """An event has come: conditions count it from now on."""
        self.came.setdefault(event.type, []).append(event)

    def after(self, execution: Execution, trigger: Trigger, now: int) -> Execution:
        """Plan, and let everything that was promised end, with what follows from that; a queue, so of any length."""
        waiting: deque[Trigger] = deque([trigger])
        while waiting:
            trigger = waiting.popleft()
            transition = 1 if isinstance(trigger, Start) else execution.transition + 1
            made = plan(self.version, execution, trigger, self._view(now), transition)
            if made is not None:
                execution = _told(made.execution)
                waiting.extend(self._consequences(made, execution, now))
        return execution

    def _consequences(self, made: Plan, execution: Execution, now: int) -> Iterator[Trigger]:
        self.reservations.extend(made.reserved)
        promised = made.intents
        if not promised:
            return
        for intent in promised.values():
            if intent.kind == "profile" and intent.values:
                self._set_attributes(intent.step_id, intent.values, now)
        yield Acknowledged(now, tuple(self._ended(execution, key, now) for key in promised))
        if any(intent.kind == "profile" for intent in promised.values()):
            yield ProfileChanged(now)

    def _ended(self, execution: Execution, key: str, now: int) -> Settled:
        intent = execution.intents[key]
        step = self.version.steps[intent.step_id]
        action, answer = "", SENT
        if isinstance(step, Send):
            answer = self.outside.send(execution, key, step, self.profile, now)
            action = "send.executed" if answer.state == "sent" else "send.failed"
        elif isinstance(step, Webhook):
            answer = self.outside.call(execution, key, step, self.profile, now)
            action = "webhook.executed" if answer.state == "sent" else "webhook.failed"
        entry = Entry(f"{execution.execution_id}-{key}:{answer.state}", now, intent.step_id, action, {})
        result = Result(answer.state, now, answer.reason)
        return Settled(key, result, entry if action else None, answer=answer.json)

    def _set_attributes(self, step_id: str, values: Mapping[str, Any], now: int) -> None:
        attributes = dict(self.profile.attributes)
        for path, value in values.items():
            put_at(attributes, tuple(path.split(".")), value)
        self.profile = replace(self.profile, attributes=attributes)
        self.outside.set_profile(step_id, values, now)

    def _view(self, now: int) -> View:
        return replace(
            self.view,
            profile=self.profile,
            events=self._events,
            render=lambda template, values: self.fill(template, values, now),
            reservations=tuple(self.reservations),
        )

    def _events(self, name: str) -> Sequence[PastEvent]:
        return [*self.view.events(name), *self.came.get(name, ())]


def next_alarm(execution: Execution) -> int | None:
    """The next moment at which time alone moves the execution."""
    return min((at for at in (execution.step_due_at, execution.deadline_at) if at is not None), default=None)


def _told(execution: Execution) -> Execution:
    """Nobody has to be told of a dry run, so its outbox is empty."""
    return replace(execution, outbox=(), outbox_due_at=None) if execution.outbox else execution
