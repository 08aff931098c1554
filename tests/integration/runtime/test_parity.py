"""Dry run and production: the same journey, person and events, walked by both, and what differs is a bug.

Generated journeys have every kind of step, in any order; the person, the workspace's rules and the events are drawn
too. Both stand on one store and one clock, so both read the same snapshot.
"""

import asyncio
import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.domain.execution.execution import Execution
from services.domain.execution.lifecycle import Status
from services.domain.execution.walk import put_at
from services.domain.journey.model import Webhook
from services.infra.log.port import Record
from services.runtime import simulation
from services.runtime.collections import AUDIT, CATALOGUE
from services.runtime.simulation import EVENT_ID, DryRunRequest, Happening, Simulated, Walkable
from services.runtime.webhooks import Called, Render, rendered
from tests.support.journeys import WORKSPACE, publish_audience, publish_journey, workspace_record
from tests.support.walking import DAY, MINUTE
from tests.support.world import World, a_world

PLAN = {"kind": "attribute", "fieldPath": "plan", "operator": "equals", "value": "pro"}
VIP = {"kind": "attribute", "fieldPath": "vip", "operator": "exists"}
BIG = {"kind": "event_attribute", "fieldPath": "total", "operator": "gte", "value": 10}
PAID = {"kind": "event_fired", "eventName": "paid", "window": {"type": "since_start"}, "atLeast": 1}
LOGINS = {"kind": "event_fired", "eventName": "login", "window": {"type": "last_n_days", "days": 2}, "atLeast": 2}
MEMBER = {"kind": "in_segment", "audienceId": "pros"}
OPTED = {"kind": "channel_opted_in", "channel": "email"}
KEPT = {"kind": "context", "fieldPath": "answer.ok", "operator": "equals", "value": True}
CONDITIONS = [PLAN, PLAN, VIP, VIP, BIG, PAID, LOGINS, MEMBER, OPTED, KEPT, {"kind": "not", "clause": PAID}]
LINK = re.compile(r'[^\s"]*/preferences/[^\s"<]+')


@dataclass(frozen=True)
class Scenario:
    """What both walk."""

    steps: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any]
    rules: Mapping[str, Any]
    person: Mapping[str, Any]
    data: Mapping[str, Any]
    events: Sequence[tuple[str, int, Mapping[str, Any]]]  # type, minutes after the start, data


@st.composite
def journeys(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Up to twelve steps, each leading to later ones only."""
    count = draw(st.integers(4, 12))
    names = [f"s{i}" for i in range(count)]
    steps: list[dict[str, Any]] = [
        {"id": "trigger", "type": "trigger", "next": "s0", **({"filter": BIG} if draw(st.integers(0, 7)) == 7 else {})}
    ]
    for i, name in enumerate(names):
        following = [*names[i + 1 :], "exit"]
        later = st.sampled_from([following[0]] * 4 + following[:3])  # long walks meet more
        condition = st.sampled_from(CONDITIONS)
        length = st.sampled_from(["PT10M", "PT13H", "P1D", "P4D"])
        step = draw(
            st.one_of(
                st.builds(lambda d: {"type": "wait", "mode": "duration", "duration": d}, length),
                st.builds(
                    lambda t, days: {"type": "wait", "mode": "until_time", "localTime": t, "weekdays": days},
                    st.sampled_from(["09:00", "23:30"]),
                    st.sampled_from([[], ["mon"], ["sat", "sun"]]),
                ),
                st.builds(
                    lambda o: {"type": "wait", "mode": "until_time", "attribute": "renewal", "offset": o},
                    st.sampled_from(["P1D", "-P7D", "PT3H"]),
                ),
                st.builds(
                    lambda name, timeout, late, more: {
                        "type": "wait", "mode": "until_event", "eventName": name, "timeout": timeout,
                        "onTimeout": late, **more,
                    },
                    st.sampled_from(["paid", "login"]),
                    length,
                    later,
                    st.sampled_from([{}, {"match": {"orderId": "event.orderId"}}, {"filter": BIG}]),
                ),
                st.builds(
                    lambda c, timeout, late: {
                        "type": "wait", "mode": "until_condition", "condition": c, "timeout": timeout, "onTimeout": late
                    },
                    condition,
                    length,
                    later,
                ),
                st.builds(
                    lambda a, b, one, two, rest: {
                        "type": "branch", "mode": "condition", "default": rest,
                        "branches": [
                            {"id": "one", "condition": a, "next": one},
                            {"id": "two", "condition": b, "next": two},
                        ],
                    },
                    condition, condition, later, later, later,
                ),
                st.builds(
                    lambda mode, one, two: {
                        "type": "branch", "mode": mode,
                        "arms": [
                            {"id": "a", "next": one, **({"weight": 1} if mode == "random" else {})},
                            {"id": "b", "next": two, **({"weight": 2} if mode == "random" else {})},
                        ],
                        **({"optimizationGoal": {"eventName": "paid"}} if mode == "adaptive" else {}),
                    },
                    st.sampled_from(["random", "adaptive"]), later, later,
                ),
                st.builds(
                    lambda c, f: {"type": "send", "channel": "email", "communicationId": c, "onFailure": f},
                    st.sampled_from(["c1", "c2"]),
                    st.sampled_from(["continue", "fail"]),
                ),
                st.just({"type": "send", "channel": "in_app_push", "communicationId": "c3"}),
                st.just({
                    "type": "webhook", "url": "https://hooks.example/{{ subject.plan }}",
                    "body": {"n": "{{ event.total }}"}, "saveAs": "answer",
                }),
                st.builds(
                    lambda value: {"type": "update_profile", "set": value},
                    st.sampled_from([{"plan": "pro"}, {"vip": "{{ event.orderId }}"}, {"deep.seen": True}]),
                ),
            )
        )  # fmt: skip
        ways = {} if step["type"] == "branch" else {"next": draw(later)}
        steps.append({"id": name, **step, **ways})
    return [*steps, {"id": "exit", "type": "exit", "reason": "done"}]


SCENARIOS = st.builds(
    Scenario,
    journeys(),
    st.sampled_from(
        [
            *[{}] * 4,
            {"exitOn": [{"eventName": "left"}]},
            {"exitOnGoal": True},
            {"maxDuration": "P3D"},
            {"timezone": "Asia/Tokyo"},
        ]
    ),
    st.sampled_from(
        [
            *[{}] * 4,
            {"quietHours": {"start": "20:00", "end": "08:00"}},
            {"quietHours": {"start": "00:00", "end": "23:59", "behaviour": "skip"}},
            {"dailyCap": {"max": 1}},
            {"frequencyCaps": [{"max": 1, "per": "P2D", "channel": "email"}]},
            {"holdout": {"percent": 100}},
        ]
    ),
    st.fixed_dictionaries(
        {
            "attributes": st.fixed_dictionaries(
                {},
                optional={
                    "plan": st.sampled_from(["pro", "free"]),
                    "firstName": st.sampled_from(["Ann", "Zoë <b>"]),
                    "renewal": st.sampled_from(["2026-05-03", "2026-05-09T10:00:00Z", "soon"]),
                },
            ),
            "addresses": st.sampled_from([{"email": "ann@example.com"}, {}]),
            "timezone": st.sampled_from([None, "America/New_York", "Asia/Kolkata"]),
            "channelPreferences": st.sampled_from([{}, {"email": False}]),
        }
    ),
    st.fixed_dictionaries({"orderId": st.just("o1"), "total": st.sampled_from([5, 50])}),
    st.lists(
        st.tuples(
            st.sampled_from(["paid", "login", "left"]),
            st.integers(0, 9 * 24 * 60),
            st.fixed_dictionaries({"orderId": st.sampled_from(["o1", "o2"]), "total": st.sampled_from([5, 50])}),
        ),
        max_size=8,
    ),
)


class Hooks:
    """A customer's server that takes everything and answers nothing."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    async def call(self, step: Webhook, key: str, render: Render, secret_ref: str | None) -> Called:
        url, _, body = rendered(step, render)
        self.calls.append((url, json.loads(body or b"null")))
        return Called(200, None)


async def walked(scenario: Scenario) -> tuple[Simulated, World, Execution, Hooks]:
    """Walk it dry, then for real."""
    events = sorted(scenario.events, key=lambda event: event[1])
    async with a_world() as world:
        hooks = Hooks()
        world.runtime.hooks._caller = hooks  # type: ignore[assignment]
        rules = workspace_record({"timezone": "Europe/Berlin", "holdout": {"percent": 0}, **scenario.rules})
        key = f"{WORKSPACE}:workspace:{WORKSPACE}"
        await world.log.append(CATALOGUE, [Record(key, rules.SerializeToString())])
        await publish_audience(world.log, "pros", PLAN)
        await publish_journey(world.log, scenario.steps, settings=scenario.settings, goal=("paid", 7))
        await world.runtime.subjects.put(WORKSPACE, "ann", json.dumps(scenario.person).encode(), None)
        await world.settle()
        asked = DryRunRequest(
            WORKSPACE,
            "act",
            Walkable(number=1),
            end_user_id="ann",
            event_data=scenario.data,
            events=[Happening(kind, data, minutes * MINUTE) for kind, minutes, data in events],
        )
        with patch.object(simulation, "mask_of", lambda profile, request: None):
            dry = await world.runtime.simulation(asked, "me")
        await world.post("signed_up", "ann", EVENT_ID, **scenario.data)
        await world.settle()
        passed = 0
        for i, (kind, minutes, data) in enumerate(events):
            await world.advance((minutes - passed) * MINUTE)
            passed = minutes
            await world.post(kind, "ann", f"{EVENT_ID}-{i}", **data)
            await world.settle()
        [execution] = await world.executions()
        while execution.status is Status.RUNNING:
            await world.advance(DAY)  # and no further: what is long over is cleared away
            [execution] = await world.executions()
        return dry, world, execution, hooks


def decisions(execution: Execution) -> list[tuple[Any, ...]]:
    """What the planner noted down; what senders and the time after the end added is left out."""
    outside = ("send.executed", "webhook.executed")
    return [
        (entry.at, entry.step_id, entry.action, entry.detail)
        for entry in execution.history
        if entry.action not in outside and not (entry.action == "goal.reached" and _is_after_end(entry.at, execution))
    ]


def _is_after_end(at: int, execution: Execution) -> bool:
    return execution.ended_at is not None and at >= execution.ended_at


def without_link(text: Any) -> Any:
    """A message without the one part that is only the person's own."""
    return LINK.sub("LINK", text) if isinstance(text, str) else text


TRIGGER = {"id": "trigger", "type": "trigger", "next": "u"}
EXIT = {"id": "exit", "type": "exit"}
ANN: dict[str, Any] = {"attributes": {"plan": "free"}, "addresses": {"email": "ann@example.com"}}
DATA = {"orderId": "o1", "total": 50}
SET_PRO = {"id": "u", "type": "update_profile", "set": {"plan": "pro"}, "next": "w"}
SHORT_WAIT = {"id": "w", "type": "wait", "mode": "duration", "duration": "PT10M", "next": "b"}
IF_PRO = {
    "id": "b", "type": "branch", "mode": "condition", "branches": [{"id": "one", "condition": PLAN, "next": "m"}],
    "default": "exit",
}  # fmt: skip
MAIL = {"id": "m", "type": "send", "channel": "email", "communicationId": "c1", "next": "m2"}
AGAIN = {**MAIL, "id": "m2", "next": "exit"}
UNTIL_PAID = {
    "id": "w", "type": "wait", "mode": "until_condition", "condition": PAID, "timeout": "P1D", "onTimeout": "exit",
    "next": "b",
}  # fmt: skip


@example(
    Scenario([TRIGGER, SET_PRO, SHORT_WAIT, IF_PRO, MAIL, AGAIN, EXIT], {}, {"dailyCap": {"max": 1}}, ANN, DATA, [])
)
@example(Scenario([TRIGGER, SET_PRO, UNTIL_PAID, IF_PRO, MAIL, AGAIN, EXIT], {}, {}, ANN, DATA, [("paid", 5, DATA)]))
@example(
    Scenario(
        [TRIGGER, SET_PRO, SHORT_WAIT, IF_PRO, MAIL, AGAIN, EXIT],
        {"exitOn": [{"eventName": "left"}]},
        {"quietHours": {"start": "00:00", "end": "23:00"}, "dailyCap": {"max": 1}},
        ANN,
        DATA,
        [("left", 600, DATA)],
    )
)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(SCENARIOS)
def test_a_dry_run_and_the_engine_agree(scenario: Scenario) -> None:
    """Decisions, arms, times, results, what was rendered and what the profile became."""

    async def both() -> None:
        dry, world, real, hooks = await walked(scenario)
        simulated = dry.trace.execution
        assert simulated is not None
        messages = {
            message.step_id: (message.channel, without_link(message.subject), without_link(message.body), message.text)
            for message in await world.messages()
        }
        shown = {
            step: (told["channel"], without_link(told.get("subject", "")), without_link(told.get("body", "")), "")
            for step, told in dry.rendered.items()
            if "channel" in told
        }
        profile = dict(scenario.person["attributes"])
        for told in dry.rendered.values():
            for path, value in told.get("set", {}).items():
                put_at(profile, tuple(path.split(".")), value)
        stored = await world.runtime.subjects.get(WORKSPACE, "ann")
        calls = [(told["url"], told.get("body")) for told in dry.rendered.values() if "url" in told]

        assert (real.status, real.step_id, real.ended_at, real.exit_reason) == (
            simulated.status,
            simulated.step_id,
            simulated.ended_at,
            simulated.exit_reason,
        )
        assert decisions(real) == decisions(simulated)
        assert real.arms == simulated.arms or _without_conversions(real) == _without_conversions(simulated)
        assert {key: result.state for key, result in real.results.items()} == {
            key: result.state for key, result in simulated.results.items()
        }
        assert real.refusal == simulated.refusal
        assert messages == shown
        assert hooks.calls == calls
        assert stored.attributes == profile

    asyncio.run(both())


def _without_conversions(execution: Execution) -> dict[str, tuple[str, str, float]]:
    """Arms by what was drawn; what they earn after the end is no part of the walk."""
    return {step: (arm.arm_id, arm.mode, arm.propensity) for step, arm in execution.arms.items()}


async def test_nothing_is_written_but_the_audit_of_a_real_person() -> None:
    """Every collection and every topic, before and after."""
    steps: list[dict[str, Any]] = [
        {"id": "trigger", "type": "trigger", "next": "u"},
        {"id": "u", "type": "update_profile", "set": {"seen": True}, "next": "m"},
        {"id": "m", "type": "send", "channel": "email", "communicationId": "c1", "next": "h"},
        {"id": "h", "type": "webhook", "url": "http://127.0.0.1:9/", "next": "exit"},
        {"id": "exit", "type": "exit"},
    ]
    async with a_world() as world:
        await publish_journey(world.log, steps)
        await world.runtime.subjects.put(WORKSPACE, "ann", b'{"addresses": {"email": "a@example.com"}}', None)
        await world.settle()

        def state() -> tuple[Any, dict[str, int]]:
            topics = {name: sum(len(rows) for rows in parts) for name, parts in world.log._topics.items()}
            return copy.deepcopy(world.documents._stored), topics

        documents, topics = state()
        events = [Happening("signed_up", {}, MINUTE)]
        made_up = DryRunRequest(WORKSPACE, "act", Walkable(number=1), attributes={"a": 1}, events=events)
        ran = await world.runtime.simulation(made_up, "me")
        await world.runtime.exploration(WORKSPACE, "act", Walkable(number=1))
        await world.settle()

        assert "completed" == ran.trace.outcome
        assert (documents, topics) == state()
        real = DryRunRequest(WORKSPACE, "act", Walkable(number=1), end_user_id="ann", overrides=("opt_out",))
        await world.runtime.simulation(real, "me")
        await world.settle()
        after, grown = state()
        assert documents == after
        assert {**topics, AUDIT: topics[AUDIT] + 2} == grown
