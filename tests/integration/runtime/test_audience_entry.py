"""People start on becoming members: noticed whatever the reason, once each time, and nobody is started twice."""

import asyncio
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
from journeys.events.v1.command_record_pb2 import CommandRecord

from services.domain.execution.lifecycle import Status
from services.runtime.collections import MEMBERSHIPS, SWEEPS, Membership, Sweep
from services.runtime.sweeps import Sweeps
from tests.support.failpoints import Failpoint, Where
from tests.support.journeys import (
    WORKSPACE,
    delete_audience,
    publish_audience,
    publish_journey,
    publish_list,
    set_status,
)
from tests.support.walking import DAY, EXIT, HOUR, TRIGGER, wait_step
from tests.support.world import World, a_world

ENTRY = {"id": "trigger", "type": "trigger", "mode": "audience_entry", "next": "exit"}
PRO = {"kind": "attribute", "fieldPath": "plan", "operator": "equals", "value": "pro"}


def fired(name: str, days: float, kind: str = "event_fired", **more: Any) -> dict[str, Any]:
    """An event in, or missing from, the last days."""
    return {"kind": kind, "eventName": name, "window": {"type": "last_n_days", "days": days}, **more}


async def put(world: World, user: str, **attributes: Any) -> None:
    """A profile with these attributes."""
    await world.runtime.subjects.put(WORKSPACE, user, json.dumps({"attributes": attributes}).encode(), None)


async def publish(world: World, predicate: Mapping[str, Any], **more: Any) -> None:
    """The audience, and a journey that people enter with it."""
    await publish_audience(world.log, "aud", predicate)
    await publish_journey(world.log, [{**ENTRY, **more.pop("entry", {})}, EXIT], event=None, audience_id="aud", **more)


async def entries(world: World, user: str | None = None) -> list[tuple[str, str, str]]:
    """(person, event id, status) of every decision, in order."""
    return [
        (one.subject_id, one.trigger.event_id, one.status.value)
        for one in await world.executions()
        if user is None or one.subject_id == user
    ]


async def until(world: World, holds: Callable[[], bool]) -> None:
    """Let the others work until something is so."""
    for _ in range(20_000):
        if holds():
            return
        await world.runtime.idle()
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")


async def memberships(world: World) -> dict[str, Membership]:
    """What is known, by person."""
    page = await world.documents.scan(MEMBERSHIPS, "", limit=1_000)
    return {one.end_user_id: one for one in page.items}


async def test_present_members_enter_at_the_first_publish() -> None:
    """And nobody else; their occasion names the audience."""
    async with a_world() as world:
        for user, plan in (("ann", "pro"), ("bob", "free"), ("cleo", "pro")):
            await put(world, user, plan=plan)
        await publish(world, PRO)
        await world.settle()

        assert [("ann", "audience_entry-1", "SUCCEEDED"), ("cleo", "audience_entry-1", "SUCCEEDED")] == await entries(
            world
        )
        trigger = (await world.executions())[0].trigger
        assert ("audience_entry", "audience_entry") == (trigger.source, trigger.type)
        assert {"audienceId": "aud"} == trigger.data


async def test_without_backfill_those_present_are_noted_and_do_not_enter() -> None:
    """They enter when they come back."""
    async with a_world() as world:
        await put(world, "ann", plan="pro")
        await publish(world, PRO, entry={"backfill": False})
        await world.settle()
        assert [] == await entries(world)
        assert (await memberships(world))["ann"].is_member

        await put(world, "ann", plan="free")
        await put(world, "ann", plan="pro")
        await world.settle()

        assert ["audience_entry-1"] == [event for _, event, _ in await entries(world)]


async def test_without_backfill_whoever_was_present_and_comes_by_before_they_are_noted_does_not_enter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An event, or a change of their profile, while the sweep is on its way to them; who becomes a member enters."""
    look = Sweeps._page_of_members
    may_go_on = asyncio.Event()

    async def slowly(sweeps: Sweeps, sweep: Sweep, now: int) -> tuple[Sweep, list[CommandRecord]]:
        await may_go_on.wait()
        return await look(sweeps, sweep, now)

    monkeypatch.setattr(Sweeps, "_page_of_members", slowly)
    async with a_world() as world:
        for user in ("ann", "bob"):
            await put(world, user, plan="pro")
        await put(world, "cleo", plan="free")
        await publish(world, {"kind": "or", "clauses": [PRO, fired("login", 1)]}, entry={"backfill": False})
        await until(world, lambda: any(one.kind == "members" for one in (world.runtime.sweeps._open or {}).values()))
        await put(world, "ann", plan="pro", city="Ulm")
        for user in ("bob", "cleo"):
            await world.post("login", user, f"l-{user}")
        world.clock.move(HOUR)
        await put(world, "dan", plan="pro")
        await until(world, lambda: world.runtime.intake.is_idle() and not world.runtime.engine.unfinished)
        may_go_on.set()
        await world.settle()

        assert ["cleo", "dan"] == [user for user, _, _ in await entries(world)]


async def test_leaving_and_coming_back_is_a_new_entry() -> None:
    """A change that leaves membership as it was is none."""
    async with a_world() as world:
        await publish(world, PRO)
        for plan in ("free", "pro", "pro", "free", "free", "pro"):
            await put(world, "ann", plan=plan)
            await world.settle()

        assert ["audience_entry-1", "audience_entry-2"] == [event for _, event, _ in await entries(world)]


async def test_a_new_entry_is_subject_to_re_entry() -> None:
    """`once` refuses the second."""
    async with a_world() as world:
        await publish(world, PRO, settings={"reentry": {"mode": "once"}})
        for plan in ("pro", "free", "pro"):
            await put(world, "ann", plan=plan)
            await world.settle()

        assert ["SUCCEEDED", "REFUSED"] == [status for _, _, status in await entries(world)]


async def test_an_event_that_the_audience_counts_makes_a_member() -> None:
    """The second login within the week; others count nothing."""
    async with a_world() as world:
        await publish(world, fired("login", 7, atLeast=2))
        await world.post("login", "ann", "l1")
        await world.post("other", "ann", "o1")
        await world.settle()
        assert [] == await entries(world)

        await world.post("login", "ann", "l2")
        await world.settle()

        assert [("ann", "audience_entry-1", "SUCCEEDED")] == await entries(world)


async def test_a_window_that_passes_takes_membership_away() -> None:
    """At the millisecond at which the event leaves it, without anybody doing anything."""
    async with a_world() as world:
        await publish(world, fired("login", 7))
        await world.post("login", "ann", "l1")
        await world.settle()
        begun = world.clock.now_ms()
        await world.advance(7 * DAY)
        assert (await memberships(world))["ann"].is_member

        await world.advance(1)
        left = (await memberships(world))["ann"]
        assert not left.is_member
        assert left.due_at is None
        assert begun + 7 * DAY + 1 == left.changed_at

        await world.post("login", "ann", "l2")
        await world.settle()
        assert ["audience_entry-1", "audience_entry-2"] == [event for _, event, _ in await entries(world)]


async def test_silence_makes_a_member_at_its_own_time() -> None:
    """Whoever has not opened for fourteen days; each open puts it off."""
    async with a_world() as world:
        await publish(world, {"kind": "and", "clauses": [PRO, fired("opened", 14, "event_not_fired")]})
        await world.post("opened", "ann", "o1")
        await put(world, "ann", plan="pro")
        await world.settle()
        await world.advance(10 * DAY)
        await world.post("opened", "ann", "o2")
        await world.settle()
        opened = world.clock.now_ms()
        await world.advance(14 * DAY)
        assert [] == await entries(world)

        await world.advance(30 * DAY)

        (one,) = await world.executions()
        assert opened + 14 * DAY + 1 == one.started_at


async def test_an_edited_audience_acts_at_once() -> None:
    """Those it lets in enter; those it leaves out are members no more."""
    async with a_world() as world:
        for user, plan in (("ann", "pro"), ("bob", "free")):
            await put(world, user, plan=plan)
        await publish(world, PRO)
        await world.settle()

        await publish_audience(world.log, "aud", {**PRO, "value": "free"})
        await world.settle()
        assert [("ann", "audience_entry-1"), ("bob", "audience_entry-1")] == [one[:2] for one in await entries(world)]
        known = await memberships(world)
        assert (False, True) == (known["ann"].is_member, known["bob"].is_member)

        await publish_audience(world.log, "aud", {"kind": "or", "clauses": [PRO, {**PRO, "value": "free"}]})
        await world.settle()
        assert ["audience_entry-1", "audience_entry-2"] == [event for _, event, _ in await entries(world, "ann")]
        assert 1 == len(await entries(world, "bob"))


async def test_an_audience_inside_the_audience_counts() -> None:
    """Edited, it acts as the outer one would; deleted, nobody can say who belongs, and all stays as it was."""
    async with a_world() as world:
        await put(world, "ann", plan="free")
        await publish_audience(world.log, "inner", PRO)
        await publish(world, {"kind": "in_segment", "audienceId": "inner"})
        await world.settle()
        assert [] == await entries(world)

        await publish_audience(world.log, "inner", {**PRO, "value": "free"})
        await world.settle()
        assert 1 == len(await entries(world))

        await delete_audience(world.log, "inner")
        await put(world, "ann", plan="other")
        await world.settle()
        assert (await memberships(world))["ann"].is_member

        await publish_audience(world.log, "inner", {**PRO, "value": "free"})
        await world.settle()
        assert not (await memberships(world))["ann"].is_member
        assert 1 == len(await entries(world))


async def test_people_on_a_list_enter_whether_they_are_known_or_not() -> None:
    """Those added later enter then; those struck off are members no more."""
    async with a_world() as world:
        await publish_list(world.log, "aud", ["ann", "bob"])
        await publish_journey(world.log, [ENTRY, EXIT], event=None, audience_id="aud")
        await world.settle()
        assert ["ann", "bob"] == [user for user, _, _ in await entries(world)]

        await publish_list(world.log, "aud", ["bob", "cleo"])
        await world.settle()
        assert ["ann", "bob", "cleo"] == [user for user, _, _ in await entries(world)]

        await publish_list(world.log, "aud", ["ann"])
        await world.settle()
        assert 2 == len(await entries(world, "ann"))


async def test_a_step_that_updates_the_profile_makes_a_member() -> None:
    """Of another journey's audience."""
    async with a_world() as world:
        await publish(world, PRO)
        steps: list[dict[str, Any]] = [
            {**TRIGGER, "next": "set"},
            {"id": "set", "type": "update_profile", "set": {"plan": "pro"}, "next": "exit"},
            EXIT,
        ]
        await publish_journey(world.log, steps, journey_id="other")
        await world.post("signed_up", "ann", "s1")
        await world.settle()

        assert {"signed_up", "audience_entry"} == {one.trigger.type for one in await world.executions()}


async def test_preferences_count() -> None:
    """Opting in makes a member of those who are opted in."""
    async with a_world() as world:
        body = {"channelPreferences": {"email": False}}
        await world.runtime.subjects.put(WORKSPACE, "ann", json.dumps(body).encode(), None)
        await publish(world, {"kind": "channel_opted_in", "channel": "email"})
        await world.settle()
        assert [] == await entries(world)

        await world.runtime.subjects.put(WORKSPACE, "ann", b'{"channelPreferences": {"email": true}}', None)
        await world.settle()
        assert 1 == len(await entries(world))


async def test_while_paused_whoever_becomes_a_member_is_refused() -> None:
    """As an event would be: resuming starts nobody who was turned away."""
    async with a_world() as world:
        await publish(world, PRO)
        await world.settle()
        await set_status(world.log, "act", 1, "paused")
        await put(world, "ann", plan="pro")
        await world.settle()
        await set_status(world.log, "act", 1, "published")
        await world.settle()

        assert [("ann", "audience_entry-1", "REFUSED")] == await entries(world)


async def test_a_backfill_stands_still_while_its_journey_is_paused() -> None:
    """And is made when it is resumed."""
    async with a_world() as world:
        await put(world, "ann", plan="pro")
        await publish(world, PRO, status="paused")
        await world.settle()
        assert [] == await entries(world)

        await set_status(world.log, "act", 1, "published")
        await world.settle()
        assert [("ann", "audience_entry-1", "SUCCEEDED")] == await entries(world)


async def test_publishing_again_starts_nobody() -> None:
    """Members are members already; another audience lets its own in."""
    async with a_world() as world:
        await put(world, "ann", plan="pro")
        await put(world, "bob", plan="free")
        await publish(world, PRO)
        await world.settle()
        await publish_journey(world.log, [ENTRY, EXIT], event=None, audience_id="aud", version=2)
        await world.settle()
        assert 1 == len(await entries(world))

        await publish_audience(world.log, "everybody", {"kind": "and", "clauses": []})
        await publish_journey(world.log, [ENTRY, EXIT], event=None, audience_id="everybody", version=3)
        await world.settle()
        assert ["ann", "bob"] == [user for user, _, _ in await entries(world)]


async def test_an_archived_journey_watches_nobody() -> None:
    """Alarms that were set are silenced."""
    async with a_world() as world:
        await publish(world, fired("login", 7))
        await world.post("login", "ann", "l1")
        await world.settle()
        await set_status(world.log, "act", 1, "archived")
        await world.advance(8 * DAY)

        assert (await memberships(world))["ann"].due_at is None
        assert await world.runtime.next_due() is None


async def test_a_backfill_goes_page_by_page_and_tells_how_far_it_came() -> None:
    """1,200 people: five pages; the sweep's document counts them."""
    async with a_world() as world:
        lines = [
            json.dumps({"endUserId": f"u{i:04}", "attributes": {"plan": "pro" if i % 2 else "free"}}).encode()
            for i in range(1_200)
        ]
        for at in range(0, len(lines), 600):
            await world.runtime.subjects.import_batch(WORKSPACE, lines[at : at + 600])
        await publish(world, PRO)
        await world.settle()

        assert 600 == len(await entries(world))
        sweep = await world.documents.get(SWEEPS, f"{WORKSPACE}:act:members")
        assert sweep is not None
        assert (True, 1_200, 600) == (sweep.done, sweep.seen, sweep.asked)


async def test_a_person_of_a_backfill_waits_behind_whom_an_event_concerns() -> None:
    """The lanes take those first whom single events concern."""
    async with a_world() as world:
        engine = world.runtime.engine
        lines = [json.dumps({"endUserId": f"u{i:04}", "attributes": {"plan": "pro"}}).encode() for i in range(800)]
        await world.runtime.subjects.import_batch(WORKSPACE, lines)
        await publish_journey(world.log, [{**TRIGGER, "next": "exit"}, EXIT], journey_id="other")
        await publish(world, PRO)
        await until(world, lambda: engine.unfinished > 300)
        await world.post("signed_up", "zoe", "s1")
        await until(world, lambda: engine.unfinished == 0 or any("zoe" in person for person in engine._busy))
        ahead = len(await entries(world))
        await world.settle()

        assert 800 > ahead
        assert 801 == len(await entries(world))


async def scenario(world: World) -> None:
    """Publish over three members, one of whom leaves and comes back while time goes on."""
    await publish(world, {"kind": "or", "clauses": [PRO, fired("login", 1)]})
    await world.settle()
    if "dan" not in await memberships(world):
        await world.post("login", "dan", "l1")
    await world.settle()
    await world.advance(2 * DAY)
    await world.post("login", "dan", "l2")
    await world.settle()


@pytest.mark.parametrize("where", list(Where))
async def test_killed_anywhere_everybody_enters_once_each_time(where: Where) -> None:
    """At every bulk write and every append in turn."""
    reached = 0
    for at in range(1, 200):
        failpoint = Failpoint()
        async with a_world(failpoint=failpoint) as world:
            for user in ("ann", "bob", "cleo"):
                await put(world, user, plan="pro")
            failpoint.arm(at, where)
            if not await world.survive(failpoint, partial(scenario, world)):
                break
            reached += 1
            await world.settle()
            found = [one[:2] for one in await entries(world)]
            once = [(user, "audience_entry-1") for user in ("ann", "bob", "cleo")]
            twice = [("dan", "audience_entry-1"), ("dan", "audience_entry-2")]
            assert [*once, *twice] == found, f"{where.value} call {at}"
            assert all(one.status is Status.SUCCEEDED for one in await world.executions())
    assert reached >= 8


async def test_restarted_it_goes_on_watching() -> None:
    """Alarms, memberships and what was swept are in the store."""
    async with a_world() as world:
        await put(world, "ann", plan="pro")
        await publish(world, {"kind": "or", "clauses": [PRO, fired("login", 1)]})
        await world.post("login", "bob", "l1")
        await world.settle()
        await world.restart()
        await world.advance(2 * DAY)
        await world.post("login", "bob", "l2")
        await world.settle()

        assert ["audience_entry-1"] == [event for _, event, _ in await entries(world, "ann")]
        assert ["audience_entry-1", "audience_entry-2"] == [event for _, event, _ in await entries(world, "bob")]


async def test_what_a_member_does_next_happens_in_order() -> None:
    """A backfilled person waits like anybody else."""
    async with a_world() as world:
        await put(world, "ann", plan="pro")
        steps = [{**ENTRY, "next": "w"}, wait_step("w", "PT1H", "exit"), EXIT]
        await publish_audience(world.log, "aud", PRO)
        await publish_journey(world.log, steps, event=None, audience_id="aud")
        await world.advance(HOUR)

        (one,) = await world.executions()
        assert one.started_at + HOUR == one.ended_at
