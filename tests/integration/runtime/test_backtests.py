"""Backtests on their way: cancelled, interrupted by the end of a process, and bounded for one person."""

import json

import pytest

from services.domain.errors import Missing, TooMuch
from services.domain.ids import subject_key
from services.infra.documents.port import Insert
from services.runtime import backtests as module
from services.runtime.backtests import SIDE_BY_SIDE, Window
from services.runtime.collections import EVENT_RECORDS, EventRecord
from services.runtime.lanes import slot_of
from services.runtime.simulation import Walkable
from tests.support.journeys import WORKSPACE, publish_journey
from tests.support.walking import EXIT, TRIGGER
from tests.support.world import World, a_world

STEPS = [{**TRIGGER, "next": "exit"}, EXIT]
HOUR = 3_600_000


async def recorded(world: World, people: int, each: int = 1) -> Window:
    """Events of so many people, and the hour they lie in."""
    now = world.clock.now_ms()
    await publish_journey(world.log, STEPS)
    await world.documents.write_many(
        [
            Insert(
                EVENT_RECORDS,
                EventRecord(
                    key=f"{WORKSPACE}:{person}-{event}", event_id=f"{person}-{event}", name="signed_up",
                    at=now + event, received_at=now + event, partition=0, offset=0,
                    subject_key=subject_key(slot_of(WORKSPACE, f"u{person}"), b"0" * 32, f"u{person}"),
                    end_user_id=f"u{person}",
                ),
            )
            for person in range(people)
            for event in range(each)
        ]
    )  # fmt: skip
    return Window(now, now + HOUR)


async def begun(world: World, window: Window) -> str:
    return await world.runtime.backtests.start(WORKSPACE, "act", Walkable(number=1), window)


async def status(world: World, name: str) -> str:
    return (await world.runtime.backtests.get(WORKSPACE, "act", name)).status


async def ended(world: World, name: str) -> dict[str, object]:
    """Its result, once no task of it is left."""
    task = next(task for key, task in world.runtime.backtests._tasks.items() if key.endswith(name))
    await task
    document = await world.runtime.backtests.get(WORKSPACE, "act", name)
    result: dict[str, object] = json.loads(document.result_json)
    return result


async def test_one_that_runs_is_cancelled_for_good() -> None:
    async with a_world() as world:
        name = await begun(world, await recorded(world, 500))
        assert "running" == await status(world, name)
        await world.runtime.backtests.cancel(WORKSPACE, "act", name)
        await world.runtime.backtests.close()

        assert "cancelled" == await status(world, name)


async def test_one_whose_process_ended_has_failed() -> None:
    """The next process of the store says so; nobody goes on with it."""
    async with a_world() as world:
        name = await begun(world, await recorded(world, 500))
        await world.restart()

        assert "failed" == await status(world, name)


async def test_so_many_run_side_by_side_and_no_more() -> None:
    async with a_world() as world:
        window = await recorded(world, 500)
        for _ in range(SIDE_BY_SIDE):
            await begun(world, window)

        with pytest.raises(TooMuch):
            await begun(world, window)


async def test_of_somebody_with_too_many_events_the_rest_is_left_out_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_EVENTS_OF_ONE", 10)
    async with a_world() as world:
        name = await begun(world, await recorded(world, people=2, each=25))
        result = await ended(world, name)

        assert (50, 20, 30) == (result["events"], result["entered"], result["eventsLeftOut"])


async def test_another_journeys_is_not_found() -> None:
    async with a_world() as world:
        name = await begun(world, await recorded(world, 1))

        with pytest.raises(Missing):
            await world.runtime.backtests.get(WORKSPACE, "other", name)
