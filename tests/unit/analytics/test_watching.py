"""The live stream inside analytics: told once, in order, to whoever keeps up."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.analytics import watching
from services.analytics.app import Analytics
from services.analytics.audit import EXECUTIONS
from services.analytics.watching import ExecutionChanged, Happening, TooSlow, Watching, id_of, places_of
from services.infra.clock import ManualClock
from services.infra.log.port import LogUnavailable
from tests.support.memory import MemoryDocuments, MemoryLog
from tests.unit.analytics.reports import record, report


class Scene:
    """Analytics in memory, and its watching."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.app = Analytics(MemoryDocuments(), self.log, ManualClock())

    @property
    def watching(self) -> Watching:
        return self.app._watching

    async def say(self, *users: str, journey: str = "act", status: str = "RUNNING") -> None:
        await self.log.append(
            EXECUTIONS, [record(report(f"k{user}", user=user, journey=journey, status=status)) for user in users]
        )

    def watch(self, after: str | None = None, journey: str = "act") -> AsyncIterator[Happening]:
        return self.watching.watch("pk_demo", journey, after)


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.001)
    made = Scene()
    await made.app.open()
    yield made
    await made.app.close()


async def told(stream: AsyncIterator[Happening], count: int) -> list[Happening]:
    """The next executions that are told."""
    found: list[Happening] = []
    async with asyncio.timeout(5):
        async for happening in stream:
            if isinstance(happening.what, ExecutionChanged):
                found.append(happening)
            if len(found) == count:
                return found
    return found


def users(happenings: list[Happening]) -> list[str]:
    return sorted(one.what.end_user_id for one in happenings if isinstance(one.what, ExecutionChanged))


async def test_what_comes_is_told_to_everybody_who_watches_that_journey(scene: Scene) -> None:
    """And to nobody else; what is no execution to the outside is not told at all."""
    one, two, other = scene.watch(), scene.watch(), scene.watch(journey="other")
    for stream in (one, two, other):
        await anext(stream)

    await scene.say("u1", "u2")
    await scene.say("u3", status="HOLDOUT")
    await scene.say("u4", journey="other")
    await scene.say("u5")

    assert [["u1", "u2", "u5"]] * 2 == [users(await told(stream, 3)) for stream in (one, two)]
    assert ["u4"] == users(await told(other, 1))


async def test_it_goes_on_behind_an_id(scene: Scene) -> None:
    """Nothing is missed and nothing told twice, whatever came while nobody watched."""
    stream = scene.watch()
    await anext(stream)
    await scene.say(*(f"u{i}" for i in range(20)))
    first = await told(stream, 12)
    await stream.aclose()  # type: ignore[attr-defined]  # an async generator
    await scene.say("late")

    again = await told(scene.watch(first[-1].id), 9)

    assert sorted([*(f"u{i}" for i in range(20)), "late"]) == sorted([*users(first), *users(again)])


@pytest.mark.parametrize("text", ["nonsense", "-1", "zz.1", ""])
async def test_an_id_that_is_none_begins_now(scene: Scene, text: str) -> None:
    """No error: the reader is a browser that cannot help it."""
    await scene.say("before")
    stream = scene.watch(text)
    first = await anext(stream)
    await scene.say("after")

    assert not isinstance(first.what, ExecutionChanged)
    assert ["after"] == users(await told(stream, 1))


async def test_who_is_too_slow_is_let_go(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded: nothing waits for them any more."""
    monkeypatch.setattr(watching, "MOST_WAITING", 10)
    stream = scene.watch()
    await anext(stream)
    await scene.say(*(f"u{i}" for i in range(50)))
    (watcher,) = scene.watching._watchers
    async with asyncio.timeout(5):
        while not watcher.is_too_slow:
            await asyncio.sleep(0)

    with pytest.raises(TooSlow):
        await told(stream, 50)
    assert 0 == len(watcher.waiting)
    assert not scene.watching._watchers


async def test_nobody_reads_the_log_when_nobody_watches(scene: Scene) -> None:
    """The task ends with the last watcher."""
    stream = scene.watch()
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]  # an async generator
    task = scene.watching._task
    assert task is not None

    async with asyncio.timeout(5):
        await task


async def test_streams_end_when_analytics_does(scene: Scene) -> None:
    """So that the process can."""
    stream = scene.watch()
    await anext(stream)
    reading = asyncio.ensure_future(told(stream, 1))
    await asyncio.sleep(0)

    await scene.watching.close()

    async with asyncio.timeout(5):
        assert [] == await reading


async def test_a_log_that_is_away_for_a_while_is_waited_for(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream goes on where it stood."""
    stream = scene.watch()
    await anext(stream)
    ends = scene.log.ends
    away = [3]

    async def failing(topic: str) -> dict[int, int]:
        if topic == EXECUTIONS and away[0]:
            away[0] -= 1
            raise LogUnavailable("away")
        return await ends(topic)

    monkeypatch.setattr(scene.log, "ends", failing)
    await scene.say("u1")

    assert ["u1"] == users(await told(stream, 1))


def test_an_id_says_where_each_partition_stood() -> None:
    """And reads back."""
    places = {0: 12, 1: 0, 2: 255}

    assert "c.0.ff" == id_of(places)
    assert places == places_of(id_of(places))
