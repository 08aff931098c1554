"""Quiet hours, caps and waits for moments and conditions, with lanes, ledger and timers together."""

import json
from functools import partial
from typing import Any

import pytest

from services.domain.execution.lifecycle import Status
from services.infra.log.port import Record
from services.runtime.collections import CATALOGUE
from tests.support.failpoints import Failpoint, Where
from tests.support.journeys import WORKSPACE, publish_journey, workspace_record
from tests.support.walking import DAY, EXIT, HOUR, TRIGGER, send_step, wait_step
from tests.support.world import World, a_world

MAIL = [{**TRIGGER, "next": "mail"}, send_step("mail", "exit"), EXIT]
# The manual clock starts at 2026-04-30T13:00:00Z.


async def rule(world: World, **settings: Any) -> None:
    """Give the workspace rules."""
    record = workspace_record({"timezone": "UTC", "holdout": {"percent": 0}, **settings})
    await world.log.append(CATALOGUE, [Record(f"{WORKSPACE}:workspace:{WORKSPACE}", record.SerializeToString())])


async def person(world: World, user: str, **profile: Any) -> None:
    body = {"addresses": {"email": f"{user}@example.com"}, **profile}
    await world.runtime.subjects.put(WORKSPACE, user, json.dumps(body).encode(), None)


async def test_quiet_hours_put_a_send_off_to_the_morning_where_the_person_lives() -> None:
    """13:00 UTC is 22:00 in Tokyo: the message goes at 08:00 there, and the whole gate runs again."""
    async with a_world() as world:
        await rule(world, quietHours={"start": "22:00", "end": "08:00", "behaviour": "defer"})
        await publish_journey(world.log, MAIL)
        for user in ("ken", "mai"):
            await person(world, user, timezone="Asia/Tokyo")
            await world.post("signed_up", user, f"e-{user}")
        await world.advance(HOUR)
        await world.runtime.subjects.patch(WORKSPACE, "mai", b'{"globalOptOut": true}', None)
        assert [] == await world.messages()

        await world.advance(DAY)

        ken, mai = await world.executions()
        [message] = await world.messages()
        assert ken.started_at + 10 * HOUR == ken.ended_at == message.sent_at
        assert "opt_out" == mai.results["mail-1"].reason
        assert ["send.deferred", "send.skipped"] == [e.action for e in mai.history if e.action.startswith("send.")]


async def test_quiet_hours_may_skip() -> None:
    """Where the workspace says so."""
    async with a_world() as world:
        await rule(world, quietHours={"start": "12:00", "end": "14:00", "behaviour": "skip"})
        await publish_journey(world.log, MAIL)
        await person(world, "ann")
        await world.post("signed_up", "ann", "e1")
        await world.settle()

        [execution] = await world.executions()

        assert (Status.SUCCEEDED, "quiet_hours") == (execution.status, execution.results["mail-1"].reason)


async def test_many_executions_of_one_person_at_once_never_pass_one_cap() -> None:
    """Reserved first, on one ledger: of a hundred at once exactly three are sent."""
    async with a_world() as world:
        await rule(world, frequencyCaps=[{"max": 3, "per": "P1D"}])
        await publish_journey(world.log, MAIL)
        await person(world, "ann")
        for i in range(100):
            await world.post("signed_up", "ann", f"e{i}")
        await world.settle()

        states = [one.results["mail-1"] for one in await world.executions()]

        assert 3 == len(await world.messages())
        assert 97 == sum(state.reason == "frequency_cap_exceeded" for state in states)


async def test_a_cap_rolls() -> None:
    """After its time there is room again."""
    async with a_world() as world:
        await rule(world, frequencyCaps=[{"max": 1, "per": "P1D"}], dailyCap={"max": 5})
        await publish_journey(world.log, MAIL)
        await person(world, "ann")
        await world.post("signed_up", "ann", "e1")
        await world.advance(DAY - 1)
        await world.post("signed_up", "ann", "e2")
        await world.advance(1)
        await world.post("signed_up", "ann", "e3")
        await world.settle()

        reasons = [one.results["mail-1"].reason for one in await world.executions()]

        assert [None, "frequency_cap_exceeded", None] == reasons


async def test_messages_sent_before_a_cap_count() -> None:
    """A cap that first appears looks back."""
    async with a_world() as world:
        await publish_journey(world.log, MAIL)
        await person(world, "ann")
        await world.post("signed_up", "ann", "e1")
        await world.settle()
        await rule(world, dailyCap={"max": 1})
        await world.post("signed_up", "ann", "e2")
        await world.settle()

        reasons = [one.results["mail-1"].reason for one in await world.executions()]

        assert [None, "daily_cap_exceeded"] == reasons


@pytest.mark.parametrize("where", list(Where))
async def test_a_cap_holds_over_a_crash_anywhere(where: Where) -> None:
    """Killed between ledger and execution, the own place is found again: never over, never one too few."""
    for at in range(1, 14):
        failpoint = Failpoint()
        async with a_world(failpoint=failpoint) as world:
            await rule(world, frequencyCaps=[{"max": 2, "per": "P1D"}])
            await publish_journey(world.log, MAIL)
            await person(world, "ann")
            failpoint.arm(at, where)
            await world.survive(failpoint, partial(five, world))

            assert 2 == len(await world.messages()), f"{where.value} call {at}"
            assert {Status.SUCCEEDED} == {one.status for one in await world.executions()}


async def five(world: World) -> None:
    for i in range(5):
        await world.post("signed_up", "ann", f"e{i}")
    await world.settle()


async def test_a_wait_for_a_local_time_is_the_persons_own() -> None:
    """Friday 09:30 in Tokyo, wherever the server stands."""
    step = {"id": "w", "type": "wait", "mode": "until_time", "localTime": "09:30", "weekdays": ["fri"], "next": "exit"}
    async with a_world() as world:
        await publish_journey(world.log, [{**TRIGGER, "next": "w"}, step, EXIT])
        await person(world, "ken", timezone="Asia/Tokyo")
        await world.post("signed_up", "ken", "e1")
        await world.advance(DAY)

        [execution] = await world.executions()

        assert execution.started_at + 11 * HOUR + HOUR // 2 == execution.ended_at  # 2026-05-01T00:30:00Z


async def test_a_condition_is_woken_by_a_profile_and_by_an_event() -> None:
    """Not by polling: by what it depends on."""
    condition = {
        "kind": "or",
        "clauses": [
            {"kind": "attribute", "fieldPath": "plan", "operator": "equals", "value": "pro"},
            {"kind": "event_fired", "eventName": "paid", "window": {"type": "since_start"}, "atLeast": 2},
        ],
    }
    step = {
        "id": "w", "type": "wait", "mode": "until_condition", "condition": condition, "timeout": "P3D",
        "onTimeout": "late", "next": "exit",
    }  # fmt: skip
    async with a_world() as world:
        await publish_journey(world.log, [{**TRIGGER, "next": "w"}, step, EXIT, {**EXIT, "id": "late"}])
        for user in ("ann", "bob", "cleo"):
            await person(world, user)
            await world.post("signed_up", user, f"e-{user}")
        await world.advance(HOUR)
        await world.runtime.subjects.patch(WORKSPACE, "ann", b'{"attributes": {"plan": "pro"}}', None)
        await world.post("paid", "bob", "p1")
        await world.advance(HOUR)
        await world.post("paid", "bob", "p2")
        await world.advance(7 * DAY)

        ends = [(one.step_id, (one.ended_at or 0) - one.started_at) for one in await world.executions()]

        assert [("exit", HOUR), ("exit", 2 * HOUR), ("late", 3 * DAY)] == ends


async def test_an_adaptive_branch_in_cold_start_is_round_robin_by_hash() -> None:
    """The same person gets the same arm, with probability 1/K, and it is stored."""
    arms = [{"id": "a", "next": "exit"}, {"id": "b", "next": "x"}]
    steps: list[dict[str, Any]] = [
        {**TRIGGER, "next": "split"},
        {"id": "split", "type": "branch", "mode": "adaptive", "arms": arms},
        EXIT,
        {**EXIT, "id": "x"},
    ]
    async with a_world() as world:
        await publish_journey(world.log, steps, goal=("bought", 7))
        for i in range(40):
            await world.post("signed_up", f"u{i % 20}", f"e{i}")
        await world.settle()

        executions = await world.executions()
        chosen = {one.subject_id: one.arms["split"].arm_id for one in executions}

        assert {0.5} == {one.arms["split"].propensity for one in executions}
        assert {"cold_start"} == {one.arms["split"].mode for one in executions}
        assert all(chosen[one.subject_id] == one.arms["split"].arm_id for one in executions)
        assert {"a", "b"} == set(chosen.values())


async def test_over_the_rate_sends_wait_and_none_is_dropped() -> None:
    """Two a second: ten people are written to within five seconds, each once, the opted-out one not at all."""
    async with a_world() as world:
        await publish_journey(world.log, MAIL, settings={"sendRate": {"perSecond": 2}})
        for i in range(10):
            await person(world, f"u{i}")
            await world.post("signed_up", f"u{i}", f"e{i}")
        await world.settle()
        await world.runtime.subjects.patch(WORKSPACE, "u9", b'{"globalOptOut": true}', None)
        began = world.clock.now_ms()
        await world.advance(10_000)

        sent = sorted((message.sent_at or 0) - began for message in await world.messages())
        executions = await world.executions()

        assert [500 * i for i in range(10)][: len(sent)] == sent
        assert 9 <= len(sent)
        assert {None} == {one.due_at for one in executions}
        assert {Status.SUCCEEDED} == {one.status for one in executions}


async def test_turns_survive_a_crash() -> None:
    """A send that waits for its turn is in its execution, not in anybody's memory."""
    async with a_world() as world:
        await publish_journey(world.log, MAIL, settings={"sendRate": {"perSecond": 1}})
        for i in range(5):
            await person(world, f"u{i}")
            await world.post("signed_up", f"u{i}", f"e{i}")
        await world.settle()
        await world.restart()
        await world.advance(60_000)

        assert 5 == len(await world.messages())


WAITING = [{**TRIGGER, "next": "w"}, wait_step("w", "PT1H", "mail"), send_step("mail", "exit"), EXIT]


async def test_what_became_due_while_nobody_was_there_asks_for_the_time_it_is_now() -> None:
    """Due at 14:00 by day, found at 23:00: the wait ended when it was due, the message goes in the morning."""
    async with a_world() as world:
        await rule(world, quietHours={"start": "22:00", "end": "08:00", "behaviour": "defer"})
        await publish_journey(world.log, WAITING)
        await person(world, "ann")
        await world.post("signed_up", "ann", "e1")
        await world.settle()
        await world.runtime.kill()
        world.clock.move(10 * HOUR)
        await world.restart()
        await world.settle()
        assert [] == await world.messages()
        await world.advance(DAY)

        [execution] = await world.executions()
        [message] = await world.messages()
        fired = [one.at for one in execution.history if one.action == "wait.fired"]
        assert execution.started_at + HOUR in fired
        assert execution.started_at + 19 * HOUR == message.sent_at


async def test_what_became_due_while_nobody_was_there_counts_under_the_cap_when_it_goes() -> None:
    """Two sends an hour apart, both found after a day: they go together, so the second is one too many."""
    steps = [
        {**TRIGGER, "next": "w"},
        wait_step("w", "PT1H", "mail"),
        send_step("mail", "v"),
        wait_step("v", "PT3H", "more"),
        send_step("more", "exit"),
        EXIT,
    ]
    async with a_world() as world:
        await rule(world, frequencyCaps=[{"max": 1, "per": "PT2H"}])
        await publish_journey(world.log, steps)
        await person(world, "ann")
        await world.post("signed_up", "ann", "e1")
        await world.settle()
        await world.runtime.kill()
        world.clock.move(DAY)
        await world.restart()
        await world.settle()

        [execution] = await world.executions()
        assert 1 == len(await world.messages())
        assert "frequency_cap_exceeded" == execution.results["more-1"].reason
