"""Many alarms: pages, ties, and what is read ahead of its time."""

import pytest

from services.domain.execution.lifecycle import Status
from services.runtime import timers
from tests.support.journeys import publish_journey
from tests.support.walking import EXIT, TRIGGER, wait_step
from tests.support.world import World, a_world

PEOPLE = 24
MINUTE = 60_000


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timers, "PAGE", 5)
    monkeypatch.setattr(timers, "MOST_RINGING", 10)
    monkeypatch.setattr(timers, "TICK_SECONDS", 0.0)


async def _waiting(world: World, apart_ms: int) -> None:
    await publish_journey(world.log, [{**TRIGGER, "next": "w"}, wait_step("w", "PT1H", "exit"), EXIT])
    for number in range(PEOPLE):
        await world.post("signed_up", f"u{number}", f"e{number}")
        world.clock.move(apart_ms)
    await world.settle()


async def _ended(world: World) -> set[tuple[Status, int]]:
    """How each ended, and how long after its start, ms."""
    return {(one.status, (one.ended_at or 0) - one.started_at) for one in await world.executions()}


async def test_more_alarms_of_one_moment_than_fit_a_page_all_ring() -> None:
    """They are the same page again until they have moved, and no reason to stand still."""
    async with a_world() as world:
        await _waiting(world, 0)

        await world.advance(60 * MINUTE)

        assert {(Status.SUCCEEDED, 60 * MINUTE)} == await _ended(world)


async def test_each_alarm_rings_at_its_own_time_though_many_are_read_at_once() -> None:
    """What is read ahead waits for its moment."""
    async with a_world() as world:
        await _waiting(world, 70)

        await world.advance(61 * MINUTE)

        assert {(Status.SUCCEEDED, 60 * MINUTE)} == await _ended(world)


async def test_a_backlog_of_many_pages_is_seen_to_while_time_stands_still() -> None:
    """After an outage everything is overdue."""
    async with a_world() as world:
        await _waiting(world, 1_000)

        world.clock.move(120 * MINUTE)
        await world.settle()

        assert {Status.SUCCEEDED} == {status for status, _ in await _ended(world)}


async def test_the_alarms_of_a_second_are_asked_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of 64 lanes is asked about them once, and not at each alarm."""
    async with a_world() as world:
        monkeypatch.setattr(timers, "PAGE", 500)
        await _waiting(world, 10)
        world.clock.move(60 * MINUTE - PEOPLE * 10 - 100)
        await world.settle()
        asked = _counted(monkeypatch)

        for _ in range(PEOPLE + 12):
            world.clock.move(10)
            await world.settle()

        assert {(Status.SUCCEEDED, 60 * MINUTE)} == await _ended(world)
        assert asked["pages"] <= 3


def _counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often a page of alarms is asked for from now on; what `next_due` asks is not counted."""
    asked = {"pages": 0}
    ask = timers.Timers._look

    async def look(self: timers.Timers, now: int) -> None:
        asked["pages"] += 1
        await ask(self, now)

    monkeypatch.setattr(timers.Timers, "_look", look)
    return asked
