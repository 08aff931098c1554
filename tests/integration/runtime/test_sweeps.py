"""How sweeps ask: lanes of ours in memory, those of others through the log, and a cursor that waits for both."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from journeys.events.v1.command_record_pb2 import CommandRecord, LookCommand

from services.runtime import sweeps
from services.runtime.collections import COMMANDS, SWEEPS
from services.runtime.dead_letters import DeadLetters
from services.runtime.desk import Desk
from services.runtime.lanes import slot_of
from services.runtime.paging import PageRequest
from services.runtime.work import CommandItem
from tests.support.journeys import WORKSPACE, publish_audience, publish_journey
from tests.support.walking import EXIT
from tests.support.world import World, a_world

ENTRY = {"id": "trigger", "type": "trigger", "mode": "audience_entry", "next": "exit"}
PRO = {"kind": "attribute", "fieldPath": "plan", "operator": "equals", "value": "pro"}
PEOPLE = ("ann", "bob", "cleo")


async def publish(world: World) -> None:
    """A journey over three members."""
    for user in PEOPLE:
        await world.runtime.subjects.put(WORKSPACE, user, json.dumps({"attributes": {"plan": "pro"}}).encode(), None)
    await world.settle()
    await publish_audience(world.log, "aud", PRO)
    await publish_journey(world.log, [ENTRY, EXIT], event=None, audience_id="aud")


async def entered(world: World) -> list[str]:
    """Who entered, each time they did."""
    return [one.subject_id for one in await world.executions()]


async def asked_through_the_log(world: World) -> list[str]:
    """Whom commands in the log concern."""
    lists = [await world.log.read(COMMANDS, partition, 0, 100) for partition in range(world.log.partitions)]
    return sorted(CommandRecord.FromString(stored.value).end_user_id for found in lists for stored in found)


async def until(world: World, holds: Callable[[], bool]) -> None:
    """Let the others work until something is so."""
    for _ in range(20_000):
        if holds():
            return
        await world.runtime.idle()
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")


def is_not_ann(slot: int) -> bool:
    """A process that has every partition but hers."""
    return slot != slot_of(WORKSPACE, "ann")


async def test_our_own_lanes_are_asked_without_the_log() -> None:
    """Nothing is appended for whom this process looks after."""
    async with a_world() as world:
        await publish(world)
        await world.settle()

        assert list(PEOPLE) == await entered(world)
        assert [] == await asked_through_the_log(world)


async def test_people_of_others_are_asked_through_the_log() -> None:
    """Whoever owns their partition reads it there."""
    async with a_world() as world:
        world.runtime.sweeps._is_ours = is_not_ann
        await publish(world)
        await world.settle()

        assert list(PEOPLE) == await entered(world)
        assert ["ann"] == await asked_through_the_log(world)


async def test_who_is_dealt_to_somebody_else_meanwhile_is_asked_through_the_log() -> None:
    """The lane lets go of what it was asked, and the sweep asks whoever has it now."""
    async with a_world() as world:
        hand, lanes = world.runtime.sweeps._hand, world.runtime.engine

        def handed(command: CommandRecord) -> "asyncio.Future[None]":
            if command.end_user_id != "ann":
                return hand(command)
            lost = asyncio.get_running_loop().create_future()
            lost.cancel()
            return lost

        world.runtime.sweeps._hand = handed
        await publish(world)
        await world.settle()
        lanes._is_ours = lambda person: person[1] != "bob"  # type: ignore[method-assign]
        item = CommandItem(None, CommandRecord(id="x", look=LookCommand(journey_id="act")))
        future = lanes.submit(WORKSPACE, "bob", item)
        await until(world, future.done)

        assert list(PEOPLE) == await entered(world)
        assert ["ann"] == await asked_through_the_log(world)
        assert future.cancelled()


async def test_the_cursor_waits_for_the_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while the first page is in them, the sweep begins with it again."""
    monkeypatch.setattr(sweeps, "PAGE", 1)
    async with a_world() as world:
        handed: list[str] = []

        def never(command: CommandRecord) -> "asyncio.Future[None]":
            handed.append(command.end_user_id)
            return asyncio.get_running_loop().create_future()

        world.runtime.sweeps._hand = never
        await publish(world)
        await until(world, lambda: len(handed) == 2)  # the next page is read meanwhile
        stored = await world.documents.get(SWEEPS, f"{WORKSPACE}:act:members")
        await world.restart()
        await world.settle()

        assert ["ann", "bob"] == handed
        assert stored is not None
        assert (None, 0) == (stored.cursor, stored.seen)
        assert list(PEOPLE) == await entered(world)


async def test_one_lane_that_stands_still_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who is being forgotten, say: after a while they are asked through the log, and the sweep goes on."""
    monkeypatch.setattr(sweeps, "PATIENCE_SECONDS", 0.0)
    async with a_world() as world:
        hand = world.runtime.sweeps._hand

        def handed(command: CommandRecord) -> "asyncio.Future[None]":
            is_stuck = command.end_user_id == "ann"
            return asyncio.get_running_loop().create_future() if is_stuck else hand(command)

        world.runtime.sweeps._hand = handed
        await publish(world)
        await world.settle()
        sweep = await world.documents.get(SWEEPS, f"{WORKSPACE}:act:members")

        assert sweep is not None
        assert sweep.done
        assert "ann" in await asked_through_the_log(world)
        assert list(PEOPLE) == await entered(world)


async def test_whom_a_lane_cannot_handle_becomes_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked in memory there is no record to keep, so it is asked through the log; the others enter."""
    look = Desk.look

    def failing(desk: Desk, *args: Any, **more: Any) -> None:
        if desk._loaded.subject.end_user_id == "bob":
            raise RuntimeError("nobody can")
        look(desk, *args, **more)

    monkeypatch.setattr(Desk, "look", failing)
    async with a_world() as world:
        await publish(world)
        await world.settle()
        letters = (await DeadLetters(world.log).listed(PageRequest(10))).items
        sweep = await world.documents.get(SWEEPS, f"{WORKSPACE}:act:members")

    assert ["ann", "cleo"] == await entered(world)
    assert ["bob"] == [CommandRecord.FromString(one.stored.value).end_user_id for one in letters]
    assert sweep is not None
    assert sweep.done
