"""Advancing time: what fires, in which order, at which time, and when it is over."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable

import pytest

from services.domain.errors import Late
from services.infra import devclock
from services.infra.clock import SystemClock
from services.infra.devclock import Component, DevClock

MINUTE = 60_000
FEW_MS = 200  # "a few" on a machine that is busy with other tests


class Timers:
    """Fires what is due, and may set new timers meanwhile; `chain` maps a name to (delay, new name)."""

    def __init__(self, clock: SystemClock, fired: list[tuple[str, int, int]], name: str = "timers") -> None:
        self.name = name
        self.chain: dict[str, tuple[int, str]] = {}
        self.then: Callable[[str], None] = lambda _: None
        self._clock = clock
        self._fired = fired
        self._heap: list[tuple[int, str]] = []
        self._wake = asyncio.Event()

    def set(self, due: int, name: str) -> None:
        heapq.heappush(self._heap, (due, name))
        self._wake.set()

    async def idle(self) -> bool:
        return True

    async def next_due(self) -> int | None:
        return self._heap[0][0] if self._heap else None

    async def run(self) -> None:
        while True:
            await self._clock.wait(self._wake, await self.next_due())
            self._wake.clear()
            while self._heap and self._heap[0][0] <= self._clock.now_ms():
                due, name = heapq.heappop(self._heap)
                self._fired.append((name, due, self._clock.now_ms()))
                self.then(name)
                if name in self.chain:
                    delay, follower = self.chain[name]
                    self.set(due + delay, follower)


class Worker:
    """Handles what it is given, one after the other, each taking a little real time in "a thread"."""

    name = "worker"

    def __init__(self) -> None:
        self.handled: list[str] = []
        self.then: Callable[[str], None] = lambda _: None
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._open = 0

    def put(self, item: str) -> None:
        self._open += 1
        self._queue.put_nowait(item)

    async def idle(self) -> bool:
        return self._open == 0

    async def next_due(self) -> int | None:
        return None

    async def run(self) -> None:
        while True:
            item = await self._queue.get()
            await asyncio.sleep(0.003)
            self.handled.append(item)
            self.then(item)
            self._open -= 1


class House:
    """A clock, two sets of timers, a worker and the DevClock that moves them."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.start = self.clock.now_ms()
        self.fired: list[tuple[str, int, int]] = []
        self.saved: list[int] = []
        self.timers = Timers(self.clock, self.fired)
        self.others = Timers(self.clock, self.fired, "others")
        self.worker = Worker()
        self.dev = self.moving(self.timers, self.others, self.worker)

    def moving(self, *components: Component, patience_seconds: float = 5.0) -> DevClock:
        async def save(offset_ms: int) -> None:
            self.saved.append(offset_ms)

        return DevClock(self.clock, components, save=save, patience_seconds=patience_seconds)

    def names(self) -> list[str]:
        return [name for name, _, _ in self.fired]


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    tasks = [asyncio.create_task(it.run()) for it in (house.timers, house.others, house.worker)]
    yield house
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_timers_fire_in_the_order_they_are_due(house: House) -> None:
    """Whatever the order they were set in, and over components."""
    house.timers.set(house.start + 3 * MINUTE, "third")
    house.others.set(house.start + 2 * MINUTE, "second")
    house.timers.set(house.start + 1 * MINUTE, "first")

    await house.dev.advance(5 * MINUTE)

    assert ["first", "second", "third"] == house.names()


async def test_each_timer_sees_its_own_time(house: House) -> None:
    """The clock is at the due moment when a timer fires: never before, and not at the target already."""
    for minute in (1, 2, 3):
        house.timers.set(house.start + minute * MINUTE, str(minute))

    await house.dev.advance(10 * MINUTE)

    assert 3 == len(house.fired)
    assert all(0 <= now - due <= FEW_MS for _, due, now in house.fired)


async def test_a_timer_beyond_the_target_stays(house: House) -> None:
    """Only what is due by the target fires; the rest waits for the next advance."""
    house.timers.set(house.start + 9 * MINUTE, "later")
    await house.dev.advance(5 * MINUTE)
    before = house.names()
    await house.dev.advance(5 * MINUTE)

    assert ([], ["later"]) == (before, house.names())


async def test_a_timer_at_the_target_fires(house: House) -> None:
    """The target belongs to the advance."""
    target = house.clock.now_ms() + MINUTE
    house.timers.set(target, "edge")

    assert await house.dev.advance(MINUTE) >= target
    assert ["edge"] == house.names()


async def test_chained_timers_fire_within_one_advance(house: House) -> None:
    """A timer set by a timer fires too, between the others where it belongs."""
    house.timers.chain = {"a": (MINUTE, "b"), "b": (MINUTE, "c"), "c": (10 * MINUTE, "beyond")}
    house.timers.set(house.start + MINUTE, "a")
    house.others.set(house.start + 2 * MINUTE + 30_000, "between b and c")

    await house.dev.advance(5 * MINUTE)

    assert ["a", "b", "between b and c", "c"] == house.names()


async def test_ties_fire_together(house: House) -> None:
    """Timers of one moment, in one component or in several, all fire at it."""
    due = house.start + MINUTE
    for name in "abc":
        house.timers.set(due, name)
        house.others.set(due, name.upper())

    await house.dev.advance(2 * MINUTE)

    assert sorted("abcABC") == sorted(house.names())
    assert all(0 <= now - due <= FEW_MS for _, due, now in house.fired)


async def test_what_was_accepted_is_handled_before_time_moves(house: House) -> None:
    """Work in a queue is done at the time it was accepted, and may set timers that the advance then fires."""
    seen: list[int] = []

    def then(item: str) -> None:
        seen.append(house.clock.now_ms())
        house.timers.set(house.start + MINUTE, f"after {item}")

    house.worker.then = then
    house.worker.put("event")

    await house.dev.advance(MINUTE)

    assert seen[0] - house.start <= FEW_MS
    assert ["after event"] == house.names()


async def test_an_advance_ends_when_the_last_work_is_done(house: House) -> None:
    """Work that a timer causes in another component is finished when advance returns."""
    house.timers.set(house.start + MINUTE, "send")
    house.others.set(house.start + MINUTE, "send too")
    house.timers.then = house.others.then = house.worker.put

    await house.dev.advance(MINUTE)

    assert ["send", "send too"] == sorted(house.worker.handled)


async def test_the_answer_is_the_time_it_is_then(house: House) -> None:
    """now is the start plus what was asked for, and the clock agrees."""
    now = await house.dev.advance(3 * MINUTE)

    assert 0 <= now - house.start - 3 * MINUTE <= FEW_MS
    assert 0 <= house.clock.now_ms() - now <= FEW_MS


async def test_the_offset_is_saved_before_and_after(house: House) -> None:
    """Before, so that a crash never leaves an earlier clock; after, because real time passed on the way."""
    house.timers.set(house.start + MINUTE, "x")
    await house.dev.advance(2 * MINUTE)

    assert 2 * MINUTE == house.saved[0]
    assert house.clock.offset_ms == house.saved[-1] <= 2 * MINUTE


async def test_advancing_by_nothing_handles_what_is_there(house: House) -> None:
    """advance(0) waits for quiet and moves nothing."""
    house.worker.put("event")
    await house.dev.advance(0)

    assert (["event"], 0) == (house.worker.handled, house.clock.offset_ms)


async def test_time_does_not_go_back(house: House) -> None:
    """A negative advance is refused before anything is saved."""
    with pytest.raises(ValueError, match="does not go back"):
        await house.dev.advance(-1)

    assert [] == house.saved


async def test_two_advances_take_turns(house: House) -> None:
    """Asked at once they add up, and nothing fires twice."""
    for minute in range(1, 11):
        house.timers.set(house.start + minute * MINUTE, str(minute))

    first, second = await asyncio.gather(house.dev.advance(5 * MINUTE), house.dev.advance(5 * MINUTE))

    assert [str(minute) for minute in range(1, 11)] == house.names()
    assert 0 <= second - first - 5 * MINUTE <= FEW_MS


async def test_a_component_that_never_handles_its_due_is_named(house: House) -> None:
    """Nobody waits for ever for a timer that does not fire; the time reached is saved."""

    class Stuck(Timers):
        async def run(self) -> None:
            raise AssertionError("not started")

    stuck = Stuck(house.clock, house.fired, "stuck")
    stuck.set(house.start + MINUTE, "never")
    dev = house.moving(house.timers, stuck, patience_seconds=0.05)

    with pytest.raises(Late, match="stuck does not handle"):
        await dev.advance(5 * MINUTE)

    assert house.clock.offset_ms == house.saved[-1]


async def test_a_cancelled_advance_leaves_the_clock_saved_and_free(house: House) -> None:
    """The caller went away: the time reached is stored, and the next advance is not blocked."""
    house.worker.then = lambda _: house.worker.put("again")
    house.worker.put("again")
    advance = asyncio.create_task(house.dev.advance(MINUTE))
    await asyncio.sleep(0.02)
    advance.cancel()
    with pytest.raises(asyncio.CancelledError):
        await advance
    house.worker.then = lambda _: None

    assert house.clock.offset_ms == house.saved[-1]
    assert await house.dev.advance(MINUTE) >= house.start + MINUTE


async def test_many_dues_are_grouped_by_the_second(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first jumps, timers within a second share one; still none fires early, and all fire."""
    monkeypatch.setattr(devclock, "EXACT_JUMPS", 10)
    moves: list[int] = []
    move = house.clock.move

    def counted(by_ms: int) -> None:
        moves.append(by_ms)
        move(by_ms)

    monkeypatch.setattr(house.clock, "move", counted)
    for i in range(20_000):
        house.timers.set(house.start + 1_000 + 7 * i, str(i))  # 140 s

    await house.dev.advance(5 * MINUTE)

    assert [str(i) for i in range(20_000)] == house.names()
    assert all(0 <= now - due <= 1_000 + FEW_MS for _, due, now in house.fired)
    assert len(moves) <= 160
