"""Somebody who takes a path: made of what the search found, and led along by events that come when they are needed.

Law: nothing is decided here; the planner walks, and whoever asks compares where it came. What no request can say
(a preference, what a provider said, what a webhook answered) is written down as an assumption.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, Final

from services.domain.execution.execution import Execution
from services.domain.execution.explore_solving import Contradiction, Literal, Literals, Solver, Unknown, Wish
from services.domain.execution.paths import rooted
from services.domain.execution.simulate import SENT, Answer, ScriptedEvent
from services.domain.execution.triggers import Profile, View
from services.domain.execution.version import Version
from services.domain.execution.walk import put_at
from services.domain.journey.model import (
    Compare,
    EventFired,
    Predicate,
    Send,
    WaitUntilCondition,
    WaitUntilEvent,
    Webhook,
)
from services.domain.journey.predicate import Audience, PastEvent
from services.domain.times import DAY_MS, SECOND_MS

SOON: Final = SECOND_MS


@dataclass(frozen=True, slots=True)
class Told:
    """An event of an example; `after` in ms from the start."""

    type: str
    data: Mapping[str, Any]
    after: int = 0


@dataclass(frozen=True, slots=True)
class Needed:
    """So many events of a name have to lie in the window when the segment is decided."""

    segment: int
    name: str
    count: int
    days: float | None
    data: Mapping[str, Any]


@dataclass(slots=True)
class Model:
    """What has to be so."""

    attributes: dict[str, Any] = field(default_factory=dict)
    trigger: dict[str, Any] = field(default_factory=dict)
    awaited: dict[str, dict[str, Any]] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    needed: list[Needed] = field(default_factory=list)
    opted: dict[str, bool] = field(default_factory=dict)
    members: dict[str, bool] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)
    received: dict[tuple[str, str], bool] = field(default_factory=dict)
    assumes: list[Mapping[str, Any]] = field(default_factory=list)


def model_of(solver: Solver, literals: Literals) -> Model | None:
    """Values for all variables; None where an event's own conditions could not be met."""
    model = Model()
    for variable, asked in literals.items():
        found, value = solver.value_of(variable, asked)
        if not found:
            return None
        match variable:
            case ("attribute", path, _) if value is not None:
                put_at(model.attributes, path, value)
            case ("trigger", path) if value is not None:
                put_at(model.trigger, path, value)
            case ("awaited", step_id, path) if value is not None:
                put_at(model.awaited.setdefault(step_id, {}), path, value)
            case ("context", path) if value is not None:
                put_at(model.context, path, value)
                model.assumes.append({"kind": "context", "path": ".".join(path), "value": value})
            case ("events", name, days, _, segment):
                leaf = asked[0].leaf
                data = _data_of(solver, leaf.where) if isinstance(leaf, EventFired) and value else {}
                if data is None:
                    return None
                if value:
                    model.needed.append(Needed(segment, name, value, days, data))
            case ("opted", channel, _):
                model.opted[channel] = value
                if not value:
                    model.assumes.append({"kind": "channel_opted_out", "channel": channel})
            case ("member", audience_id):
                model.members[audience_id] = value
                if value:
                    model.assumes.append({"kind": "in_segment", "audienceId": audience_id})
            case ("result", step_id):
                model.results[step_id] = value
                if value == "failed":
                    model.assumes.append({"kind": "received", "stepId": step_id, "status": "failed"})
            case ("received", step_id, status, _):
                model.received[step_id, status] = value
                if value:
                    model.assumes.append({"kind": "received", "stepId": step_id, "status": status})
            case _:
                pass
    return model


@dataclass(slots=True)
class Example:
    """A model on its way: what was told so far. `trigger` is the event that starts it, where it has data."""

    model: Model
    told: list[Told] = field(default_factory=list)
    trigger: Told | None = None


class Guide:
    """Script and world of one example. `ways` names the way out of each step of the path, `waits` its waits in order.

    `passed` are waits that nobody has to wait in (a moment that is past, an attribute that is missing): what has to
    happen in them happens in the one before, or before the start.
    """

    def __init__(
        self,
        version: Version,
        ways: Mapping[str, str],
        waits: Sequence[str],
        passed: Set[str],
        example: Example,
        fresh: Execution,
    ) -> None:
        self._segments = {step_id: i + 1 for i, step_id in enumerate(waits)}
        self._moved = _moved(waits, passed)
        self.waited: set[str] = set()
        self._version = version
        self._ways = ways
        self._example = example
        self._fresh = fresh
        self._profile = Profile(fresh.subject_id)
        self._step: str | None = None
        self._queue: list[ScriptedEvent] = []
        self._happened: list[tuple[str, int]] = []
        self._count = 0

    def fresh(self) -> Execution:
        """The execution with the trigger event that the example needs."""
        data = self._example.model.trigger
        if data:
            self._example.trigger = Told(self._fresh.trigger.type, data)
        return replace(self._fresh, trigger=replace(self._fresh.trigger, data=data))

    def view(self, view: View, audience: Any) -> View:
        """The view of the example's person, with the events of their past."""
        model, start = self._example.model, self._fresh.started_at
        past: list[PastEvent] = []
        for need in model.needed:
            if self._moved.get(need.segment, need.segment) == 0 and need.days is not None:
                own = int(need.name == self._fresh.trigger.type and self._fresh.trigger.source == "event")
                at = start - min(60 * SECOND_MS, max(1, round(need.days * DAY_MS / 2)))
                for _ in range(need.count - (own if not need.data else 0)):
                    past.append(PastEvent(f"past-{len(past)}", need.name, at, need.data))
                    self._example.told.append(Told(need.name, need.data, at - start))
                    self._happened.append((need.name, at))
        attributes = model.attributes
        email = attributes.get("email", view.profile.email)
        self._profile = replace(
            view.profile,
            attributes=attributes,
            email=email if isinstance(email, str) else None,
            preferences={channel: False for channel, is_in in model.opted.items() if not is_in},
        )

        def members(name: str) -> Audience | None:
            if name in model.members:
                return Audience(subject_ids=frozenset({self._fresh.subject_id} if model.members[name] else ()))
            found: Audience | None = audience(name)
            return found

        return replace(
            view,
            profile=self._profile,
            audience=members,
            events=lambda name: [one for one in past if one.type == name],
            received=lambda step, status: model.received.get((step, status), False),
            allocation=lambda step: None,
        )

    # -- the script

    def next(self, execution: Execution, now: int, due_at: int | None) -> ScriptedEvent | None:
        """What has to come while this wait lasts."""
        wait = execution.wait
        if wait is not None and wait.step_id != self._step:
            self._step = wait.step_id
            self.waited.add(wait.step_id)
            self._fill_queue(execution, wait.step_id, now, due_at)
        return self._queue[0] if self._queue else None

    def take(self) -> None:
        """It came."""
        event = self._queue.pop(0)
        self._happened.append((event.type, event.at))
        self._example.told.append(Told(event.type, event.data, event.at - self._fresh.started_at))

    def _fill_queue(self, execution: Execution, step_id: str, now: int, due_at: int | None) -> None:
        step = self._version.steps.get(step_id)
        way = self._ways.get(step_id)
        at = now + SOON if due_at is None else max(now, min(now + SOON, due_at - 1))
        is_early = isinstance(step, WaitUntilCondition) or (isinstance(step, WaitUntilEvent) and way == "event")
        decided_at = at if is_early or due_at is None else due_at
        for need in self._example.model.needed:
            if self._moved.get(need.segment, need.segment) != self._segments.get(step_id):
                continue
            since = self._fresh.started_at if need.days is None else decided_at - round(need.days * DAY_MS)
            there = sum(1 for name, when in self._happened if name == need.name and since <= when <= decided_at)
            when = at if is_early else max(now, decided_at - 1)
            self._queue.extend(self._event(need.name, need.data, when) for _ in range(need.count - there))
        if isinstance(step, WaitUntilEvent) and way == "event":
            data = dict(self._example.model.awaited.get(step_id, {}))
            for theirs, ours in step.match:
                value = rooted(execution, self._profile, self._version.name, ours)
                if value is not None:
                    put_at(data, theirs[1:] if len(theirs) > 1 and theirs[0] == "data" else theirs, value)
            self._queue.append(self._event(step.event_name, data, at))

    def _event(self, name: str, data: Mapping[str, Any], at: int) -> ScriptedEvent:
        self._count += 1
        return ScriptedEvent(f"example-{self._count}", name, data, at)

    # -- the world

    def send(self, execution: Execution, key: str, step: Send, profile: Profile, now: int) -> Answer:
        """Sent, unless the example needs it to fail."""
        failed = self._example.model.results.get(step.id) == "failed"
        return Answer("failed", "assumed") if failed else SENT

    def call(self, execution: Execution, key: str, step: Webhook, profile: Profile, now: int) -> Answer:
        """Answered with what later conditions need."""
        return SENT if step.save_as is None else Answer(json=self._example.model.context.get(step.save_as))

    def set_profile(self, step_id: str, values: Mapping[str, Any], now: int) -> None:
        """Nothing to note."""


def _moved(waits: Sequence[str], passed: Set[str]) -> dict[int, int]:
    """Where the needs of each segment are met: in the last wait so far that is one."""
    last, moved = 0, {}
    for i, step_id in enumerate(waits):
        last = last if step_id in passed else i + 1
        moved[i + 1] = last
    return moved


def _data_of(solver: Solver, where: Predicate | None) -> dict[str, Any] | None:
    """Data of a counted event under its own conditions, which look at that event alone."""
    if where is None:
        return {}

    def resolve(leaf: Any, wanted: bool, context: Any) -> Any:
        if not isinstance(leaf, Compare):
            return False
        path = leaf.path[1:] if len(leaf.path) > 1 and leaf.path[0] == "data" else leaf.path
        return ("data", path), Literal(leaf, wanted)

    inner = Solver(resolve, solver.zone, solver.budget)
    solved = inner.solve([Wish(where, True)])
    if isinstance(solved, Contradiction | Unknown):
        return None
    data: dict[str, Any] = {}
    for variable, asked in solved.items():
        found, value = inner.value_of(variable, asked)
        if found and value is not None:
            put_at(data, variable[1], value)
    return data
