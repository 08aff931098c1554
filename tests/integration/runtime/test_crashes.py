"""Killed anywhere, started again: nothing accepted is lost, nothing is sent twice."""

from collections import Counter
from functools import partial

import pytest
from journeys.events.v1.execution_record_pb2 import ExecutionRecord

from services.domain.execution.lifecycle import Status
from services.runtime.collections import EXECUTION_RECORDS
from services.runtime.senders.port import Promise
from tests.support.failpoints import Failpoint, Where
from tests.support.journeys import WORKSPACE, publish_journey
from tests.support.walking import DAY, EXIT, TRIGGER, await_step, send_step
from tests.support.world import RecordingSender, World, a_world

STEPS = [
    {**TRIGGER, "next": "hello"},
    send_step("hello", "set"),
    {"id": "set", "type": "update_profile", "set": {"greeted": True}, "next": "w"},
    await_step("w", "activated", "P3D", "congrats", "nudge"),
    send_step("congrats", "exit"),
    send_step("nudge", "exit"),
    EXIT,
]
PEOPLE = ("ann", "bob", "cleo")
CALLS = 26  # of the scenario without a crash; the sweep below stops where a failpoint is no longer reached


async def scenario(world: World) -> None:
    """Everybody signs up, ann activates, the others time out. What is not acknowledged is posted again."""
    for user in PEOPLE:
        await world.post("signed_up", user, f"s-{user}")
    await world.settle()
    await world.advance(DAY)
    await world.post("activated", "ann", "a-ann")
    await world.advance(4 * DAY)


@pytest.mark.parametrize("promise", [Promise.OWN_STORE, Promise.AT_MOST_ONCE])
@pytest.mark.parametrize("where", list(Where))
async def test_killed_at_every_write_and_append(where: Where, promise: Promise) -> None:
    """Sweeps the failpoint over every call of the scenario and checks the invariants after each restart."""
    reached = 0
    for at in range(1, 200):
        failpoint = Failpoint()
        sender = RecordingSender(promise)
        async with a_world({"email": sender}, failpoint) as world:
            await publish_journey(world.log, STEPS, goal=("activated", 7))
            for user in PEOPLE:
                body = b'{"addresses": {"email": "%s@example.com"}}' % user.encode()
                await world.runtime.subjects.put(WORKSPACE, user, body, None)
            failpoint.arm(at, where)
            if not await world.survive(failpoint, partial(scenario, world)):
                break
            reached += 1
            await invariants(world, sender, promise, f"{where.value} call {at}")

    assert reached >= CALLS


async def invariants(world: World, sender: RecordingSender, promise: Promise, when: str) -> None:
    """One decision each; every run ended; no message twice, none missing; history and log agree."""
    executions = await world.executions()
    assert [f"act__v1__{user}__s-{user}" for user in PEOPLE] == [one.execution_id for one in executions], when
    assert {Status.SUCCEEDED} == {one.status for one in executions}, when
    assert {None} == {one.due_at for one in executions}, when
    assert all(not one.intents and not one.outbox for one in executions), when

    messages = {one.key: one.status for one in await world.messages()}
    ended = {one.subject_id: [entry.action for entry in one.history] for one in executions}
    for one in executions:
        # A crash may push the activation behind the timeout's turn, never make both ways be taken.
        second = "congrats-1" if "wait.fired" in ended[one.subject_id] else "nudge-1"
        assert {"hello-1", second} == set(one.results), when
        for intent, result in one.results.items():
            assert result.state == messages[f"{one.execution_id}-{intent}"], when
            assert result.state in ({"sent"} if promise is Promise.OWN_STORE else {"sent", "unknown"}), when
    assert 2 * len(PEOPLE) == len(messages), when

    calls = Counter(message.message_id for message in sender.calls)
    assert not calls or 1 == max(calls.values()), when
    for user in PEOPLE:
        assert {"greeted": True} == (await world.runtime.subjects.get(WORKSPACE, user)).attributes, when

    published = {
        entry.id
        for stored in world.log.all(EXECUTION_RECORDS)
        for entry in ExecutionRecord.FromString(stored.value).entries
    }
    for one in executions:
        said = {entry.id for entry in one.history if entry.action != "profile.updated"}
        assert said <= published, when
