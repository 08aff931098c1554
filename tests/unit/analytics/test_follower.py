"""The loop between the log and a projection: at least once, never stopped, never losing its place."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from services.analytics import follower as module
from services.analytics.follower import Follower, read_all
from services.infra.documents.port import StoreUnavailable
from services.infra.log.port import Record, Stored, Topic, partition_of
from services.infra.telemetry import Telemetry
from tests.support.memory import MemoryLog
from tests.unit.analytics.reports import eventually

TOPIC = "t"


class Recording:
    """Remembers what it was given; fails as told."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.batches: list[int] = []
        self.unavailable = self.broken = 0  # so many calls fail
        self.owned: set[int] = set()
        self.to_catch_up = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()

    async def take(self, records: Sequence[Stored]) -> None:
        self.entered.set()
        await self.gate.wait()
        if self.unavailable:
            self.unavailable -= 1
            raise StoreUnavailable("the test says so")
        names = [record.value.decode() for record in records]
        if self.broken:
            self.broken -= 1
            raise RuntimeError("the test says so")
        self.taken += names
        self.batches.append(len(records))

    async def catch_up(self) -> bool:
        self.to_catch_up = max(self.to_catch_up - 1, 0)
        return self.to_catch_up > 0

    def is_behind(self) -> bool:
        return self.to_catch_up > 0

    def own(self, partitions: Sequence[int]) -> None:
        self.owned.update(partitions)

    def disown(self, partitions: Sequence[int]) -> None:
        self.owned.difference_update(partitions)


class Scene:
    def __init__(self) -> None:
        self.log = MemoryLog(partitions=4)
        self.members: list[Follower] = []

    async def member(self, projection: Recording) -> Follower:
        await self.log.open([Topic(TOPIC)])
        made = Follower(self.log, [TOPIC], "g", projection, Telemetry())
        self.members.append(made)
        await made.open()
        return made

    async def append(self, *names: str, partition: int | None = None) -> None:
        await self.log.append(TOPIC, [Record(name, name.encode(), partition=partition) for name in names])


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.0005)
    made = Scene()
    yield made
    for member in made.members:
        await member.close()


async def idle(member: Follower) -> bool:
    return member.is_idle()


async def test_everything_appended_is_projected_and_committed(scene: Scene) -> None:
    """And a successor begins where it ended."""
    first, second = Recording(), Recording()
    member = await scene.member(first)
    await scene.append("a", "b", "c")
    await eventually(lambda: idle(member))
    await member.close()

    successor = await scene.member(second)
    await scene.append("d")
    await eventually(lambda: idle(successor))

    assert ["a", "b", "c"] == sorted(first.taken)
    assert ["d"] == second.taken


async def test_a_batch_in_hand_is_not_idle(scene: Scene) -> None:
    """Polled is not projected."""
    projection = Recording()
    projection.gate.clear()
    member = await scene.member(projection)
    await scene.append("a")
    await projection.entered.wait()

    busy = member.is_idle()
    projection.gate.set()
    await eventually(lambda: idle(member))

    assert not busy
    assert ["a"] == projection.taken


async def test_what_is_still_to_be_counted_is_not_idle(scene: Scene) -> None:
    """A start-up counts partitions first."""
    projection = Recording()
    projection.to_catch_up = 5

    member = await scene.member(projection)

    assert not member.is_idle()
    await eventually(lambda: idle(member))


async def test_while_the_store_is_away_the_batch_waits(scene: Scene) -> None:
    """However long: nothing is passed over."""
    projection = Recording()
    projection.unavailable = 8
    member = await scene.member(projection)

    await scene.append("a", "b")
    await eventually(lambda: idle(member))

    assert ["a", "b"] == sorted(projection.taken)


async def test_whatever_the_store_raises_no_record_is_given_up(scene: Scene) -> None:
    """An error nobody foresaw is no reason to lose what was acknowledged."""
    projection = Recording()
    projection.broken = 6
    member = await scene.member(projection)

    await scene.append("a", "b", partition=1)
    await eventually(lambda: idle(member))

    assert ["a", "b"] == projection.taken
    assert {(TOPIC, 1): 2} == member.positions


def test_what_cannot_be_read_is_left_out() -> None:
    """Its neighbours are read."""
    records = [Stored(TOPIC, 0, i, "k", value, (), 0) for i, value in enumerate([b"1", b"x", b"3"])]

    assert [1, 3] == list(read_all(records, lambda record: int(record.value)))


async def test_drain_waits_for_what_was_there_when_asked(scene: Scene) -> None:
    """And says so when it takes too long."""
    projection = Recording()
    projection.gate.clear()
    member = await scene.member(projection)
    await scene.append("a")

    late = await member.drain(0.01)
    waiting = asyncio.create_task(member.drain(5))
    await asyncio.sleep(0)
    projection.gate.set()

    assert not late
    assert await waiting
    assert ["a"] == projection.taken


async def test_partitions_that_are_handed_over_are_projected_once(scene: Scene) -> None:
    """The leaver finishes the batch in hand, the newcomer begins behind it."""
    one, two = Recording(), Recording()
    first = await scene.member(one)
    await scene.append(*[f"a{i}" for i in range(20)])
    await eventually(lambda: idle(first))

    second = await scene.member(two)
    await scene.append(*[f"b{i}" for i in range(20)])
    await eventually(lambda: idle(first))
    await eventually(lambda: idle(second))

    assert {0, 1} == one.owned
    assert {2, 3} == two.owned
    assert sorted([f"a{i}" for i in range(20)] + [f"b{i}" for i in range(20)]) == sorted(one.taken + two.taken)


async def test_a_hand_over_waits_for_the_batch_in_hand(scene: Scene) -> None:
    """Its offsets are not committed by somebody who no longer owns them."""
    one, two = Recording(), Recording()
    one.gate.clear()
    first = await scene.member(one)
    await scene.append(*[f"a{i}" for i in range(20)])
    await one.entered.wait()
    joining = asyncio.create_task(scene.member(two))
    await asyncio.sleep(0.01)

    before = joining.done()
    one.gate.set()
    second = await joining
    await eventually(lambda: idle(first))
    await eventually(lambda: idle(second))

    assert not before
    assert {f"a{i}" for i in range(20)} == {*one.taken, *two.taken}


async def test_what_is_handed_over_while_the_store_is_away_is_left_to_its_new_owner(scene: Scene) -> None:
    """A batch in hand is projected without the partitions that were given up meanwhile."""
    one, two = Recording(), Recording()
    one.unavailable = 1_000_000
    first = await scene.member(one)
    await scene.append(*[f"a{i}" for i in range(20)])
    await one.entered.wait()

    second = await scene.member(two)
    one.unavailable = 0
    await eventually(lambda: idle(first))
    await eventually(lambda: idle(second))

    assert {f"a{i}" for i in range(20)} == {*one.taken, *two.taken}
    assert one.owned == {partition_of(name, 4) for name in one.taken}
    assert two.owned == {partition_of(name, 4) for name in two.taken}


async def test_closing_does_not_wait_for_a_store_that_is_away(scene: Scene) -> None:
    """What is in hand comes again at the next start."""
    projection = Recording()
    projection.unavailable = 1_000_000
    member = await scene.member(projection)
    await scene.append("a")
    await projection.entered.wait()

    async with asyncio.timeout(5):
        await member.close()

    assert [] == projection.taken


async def test_closing_ends_at_once_when_there_is_nothing_to_do(scene: Scene) -> None:
    """It does not wait for the poll to run out."""
    member = await scene.member(Recording())
    await asyncio.sleep(0.01)

    async with asyncio.timeout(module.POLL_SECONDS / 2):
        await member.close()
