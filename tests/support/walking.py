"""Versions, executions and views for tests of the planner, made from the JSON an author would write."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from services.domain.execution import admission
from services.domain.execution.execution import Execution, Goal, Occasion, Result
from services.domain.execution.planner import Plan, plan
from services.domain.execution.triggers import Acknowledged, EventCame, Profile, Settled, Start, TimerDue, Trigger, View
from services.domain.execution.version import Contract, Version, compile_version
from services.domain.journey.model import Graph
from services.domain.journey.reading import read_settings, read_steps

T0 = 1_777_554_000_000
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
TOPIC = "journeys.events.v1"
Steps = Sequence[Mapping[str, Any]]

TRIGGER = {"id": "trigger", "type": "trigger", "mode": "event"}
EXIT = {"id": "exit", "type": "exit"}


def version_of(
    steps: Steps,
    settings: Mapping[str, Any] | None = None,
    *,
    audience_id: str | None = None,
    contract: Contract | None = None,
) -> Version:
    """The steps as a version; faults in them are the test's own."""
    read, step_faults = read_steps(list(steps), "/steps")
    rules, setting_faults = read_settings(dict(settings or {}), "/settings")
    assert not step_faults, step_faults
    assert not setting_faults, setting_faults
    return compile_version("ws", "act", 1, "Activation", Graph(read, rules), audience_id, contract)


def view_of(**more: Any) -> View:
    """A calm view: published, no holdout, a person with an address who has opted in."""
    base = View(
        profile=Profile("usr_a", {"firstName": "Ann", "plan": "pro"}, email="ann@example.com"),
        zone="UTC",
        journey_status="published",
        salt="salt",
        holdout_percent=0,
        audience=lambda audience_id: None,
        events=lambda name: (),
        render=lambda template, values: f"<{template}>",
    )
    return replace(base, **more)


def occasion(event_id: str = "evt_1", data: Mapping[str, Any] | None = None, **more: Any) -> Occasion:
    """A triggering event at T0."""
    return Occasion(event_id=event_id, type="signed_up", data=data or {}, at=T0, received_at=T0, **more)


def start(
    version: Version,
    view: View | None = None,
    *,
    on: Occasion | None = None,
    goal: Goal | None = None,
    offset: int = 10,
    now: int = T0,
) -> Plan:
    """Decide a start."""
    came = on or occasion()
    fresh = admission.fresh(version, came, "usr_a", slot=308, subject_secret=b"0" * 32, goal=goal, now=now)
    made = plan(version, fresh, Start(came, now, (TOPIC, offset)), view or view_of(), 1)
    assert made is not None
    return made


def event(event_id: str, name: str, at: int, offset: int, **data: Any) -> EventCame:
    """A later event, received when it happened."""
    return EventCame(event_id, name, data, at=at, received_at=at, appended_at=at, position=(TOPIC, offset))


def settled(intent: str, state: str, at: int) -> Acknowledged:
    """The news that one send ended."""
    return Acknowledged(at, (Settled(intent, Result(state, at)),))


def then(version: Version, execution: Execution, trigger: Trigger, view: View | None = None) -> Execution:
    """The execution after a trigger that moves it."""
    made = plan(version, execution, trigger, view or view_of(), execution.transition + 1)
    assert made is not None, f"{type(trigger).__name__} moved nothing"
    return made.execution


def after(version: Version, execution: Execution, ms: int, view: View | None = None) -> Execution:
    """The execution once its timers up to T0 + ms have fired."""
    return then(version, execution, TimerDue(T0 + ms), view)


def actions(execution: Execution) -> list[str]:
    """What history says, in order."""
    return [entry.action for entry in execution.history]


def send_step(step_id: str, then_step: str, **more: Any) -> dict[str, Any]:
    """A send step."""
    return {
        "id": step_id, "type": "send", "channel": "email", "communicationId": "c1", "next": then_step, **more
    }  # fmt: skip


def wait_step(step_id: str, duration: str, then_step: str) -> dict[str, Any]:
    """A wait for a length of time."""
    return {"id": step_id, "type": "wait", "mode": "duration", "duration": duration, "next": then_step}


def await_step(step_id: str, name: str, timeout: str, then_step: str, on_timeout: str, **more: Any) -> dict[str, Any]:
    """A wait for an event."""
    return {
        "id": step_id, "type": "wait", "mode": "until_event", "eventName": name, "timeout": timeout,
        "onTimeout": on_timeout, "next": then_step, **more,
    }  # fmt: skip
