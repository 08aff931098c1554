"""Clocks: the same promises whether time passes by itself or is moved."""

import asyncio
import time

import pytest

from services.infra.clock import Clock, ManualClock, SystemClock, moment


@pytest.fixture(params=["system", "manual"])
def clock(request: pytest.FixtureRequest) -> SystemClock | ManualClock:
    return SystemClock() if request.param == "system" else ManualClock()


async def test_a_moment_that_has_come_is_not_waited_for(clock: Clock) -> None:
    """wait answers False at once when the clock is there already."""
    assert await clock.wait(asyncio.Event(), clock.now_ms()) is False


async def test_an_event_that_is_set_is_not_waited_for(clock: Clock) -> None:
    """wait answers True at once, even if the moment has come too, and leaves the event set."""
    event = asyncio.Event()
    event.set()

    assert await clock.wait(event, clock.now_ms()) is True
    assert event.is_set()


async def test_an_event_ends_a_wait_without_end(clock: Clock) -> None:
    """until_ms None waits for the event alone."""
    event = asyncio.Event()
    waiting = asyncio.create_task(clock.wait(event, None))
    await asyncio.sleep(0)
    event.set()

    assert await waiting is True


async def test_moving_wakes_who_waits_for_that_moment(clock: SystemClock | ManualClock) -> None:
    """A wait of a day ends when the clock is moved by a day, and not by less."""
    day = 86_400_000
    waiting = asyncio.create_task(clock.wait(asyncio.Event(), clock.now_ms() + day))
    await asyncio.sleep(0)
    clock.move(day // 2)
    for _ in range(10):
        await asyncio.sleep(0)
    early = waiting.done()
    clock.move(day // 2)

    assert (False, False) == (early, await waiting)


def test_time_does_not_go_back(clock: SystemClock | ManualClock) -> None:
    """A negative move is refused and changes nothing."""
    before = clock.now_ms()
    with pytest.raises(ValueError, match="does not go back"):
        clock.move(-1)

    assert 0 <= clock.now_ms() - before < 1_000


def test_the_system_clock_is_the_machine_s_plus_its_offset() -> None:
    """offset_ms is kept, added, and readable: the development clock stores it."""
    clock = SystemClock(offset_ms=5_000)
    clock.move(2_000)

    assert 7_000 == clock.offset_ms
    assert abs(clock.now_ms() - time.time() * 1000 - 7_000) < 1_000


async def test_the_system_clock_also_passes_by_itself() -> None:
    """A short wait ends without anybody moving the clock."""
    clock = SystemClock()

    assert await clock.wait(asyncio.Event(), clock.now_ms() + 5) is False


def test_the_manual_clock_stands_still() -> None:
    """Two readings are equal."""
    clock = ManualClock(42)

    assert (42, 42) == (clock.now_ms(), clock.now_ms())


def test_a_moment_is_aware_and_exact() -> None:
    """Milliseconds survive the way to a datetime."""
    assert "2026-04-30T13:00:00.123000+00:00" == moment(1_777_554_000_123).isoformat()
