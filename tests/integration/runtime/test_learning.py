"""Runtime and analytics together: a branch that learns, whatever dies in between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services.analytics.app import Analytics
from services.analytics.convert import fact_from_record
from services.analytics.facts import Fact
from services.analytics.recount import Recounted, RecountStats
from services.domain.execution.execution import ArmChoice
from services.infra.grpc.server import Server
from services.runtime.paging import PageRequest
from services.runtime.records import message_of
from tests.support.failpoints import Failpoint, Where
from tests.support.journeys import WORKSPACE, publish_journey
from tests.support.walking import DAY, EXIT, HOUR, TRIGGER, wait_step
from tests.support.world import World, a_world

PICK: dict[str, Any] = {
    "id": "pick", "type": "branch", "mode": "adaptive", "minSampleFloor": 2,
    "arms": [{"id": "a", "next": "exit"}, {"id": "b", "next": "exit"}],
}  # fmt: skip
STEPS = [{**TRIGGER, "next": "w"}, wait_step("w", "PT1H", "pick"), PICK, EXIT]
AT_ONCE = [{**TRIGGER, "next": "pick"}, PICK, EXIT]
PEOPLE = [f"usr{i}" for i in range(4)]


class Pair:
    """A runtime and an analytics on one store and one log."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.analytics = self._made()

    async def settle(self) -> None:
        """Until both have nothing to do."""
        calm = 0
        for _ in range(20_000):
            is_calm = await self.analytics.idle() and await self.world.runtime.idle()
            calm = calm + 1 if is_calm else 0
            if calm == 2:
                return
            for _ in range(20):  # the store in memory makes every look at the timers dear
                await asyncio.sleep(0)
        raise AssertionError("they did not come to rest")

    async def advance(self, ms: int) -> None:
        """Move time; whatever is due in either happens at its moment."""
        clock = self.world.clock
        target = clock.now_ms() + ms
        await self.settle()
        while True:
            dues = [await self.world.runtime.next_due(), await self.analytics.next_due()]
            due = min((one for one in dues if one is not None), default=None)
            if due is None or due > target:
                break
            clock.move(max(0, due - clock.now_ms()))
            await self.settle()
        clock.move(target - clock.now_ms())
        await self.settle()

    async def succeed(self) -> None:
        """Both processes are dead; others take their place."""
        await abandon(self.analytics)
        await self.world.restart()
        self.analytics = self._made()
        await self.analytics.open()

    async def recount(self) -> Recounted:
        """See RecountStats; executions are read from their store."""
        queries = self.world.runtime.queries

        async def read(workspace: str, journey_id: str) -> AsyncIterator[list[Fact]]:
            page = await queries.counted(workspace, journey_id, PageRequest(500, None))
            yield [fact_from_record(message_of(one, ())) for one in page.items]

        recount = RecountStats(self.world.documents, self.analytics._executions, self.world.log.partitions, read)
        return await recount(WORKSPACE, "act")

    async def arms(self) -> dict[str, ArmChoice]:
        """Everybody's arm."""
        return {one.subject_id: one.arms["pick"] for one in await self.world.executions() if "pick" in one.arms}

    def _made(self) -> Analytics:
        return Analytics(self.world.documents, self.world.log, self.world.clock)


async def abandon(analytics: Analytics) -> None:
    """End it where it stands, as kill -9 would; the groups notice."""
    followers = [analytics._executions, analytics._acts]
    tasks = [analytics._allocating, *(follower._task for follower in followers)]
    for task in tasks:
        if task is not None:
            task.cancel()
    await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)
    for follower in followers:
        if follower._subscription is not None:
            await follower._subscription.close()


@asynccontextmanager
async def a_pair(failpoint: Failpoint | None = None) -> AsyncIterator[Pair]:
    """Both, open."""
    async with a_world(None, failpoint) as world:
        pair = Pair(world)
        await pair.analytics.open()
        try:
            yield pair
        finally:
            await abandon(pair.analytics)


async def scenario(pair: Pair) -> None:
    """Everybody comes, is routed after an hour, and some buy: at once, late, twice. Repeated as producers would."""
    for who in PEOPLE:
        await pair.world.post("came", who, f"in-{who}")
    await pair.advance(2 * HOUR)
    for who in PEOPLE[::2]:
        await pair.world.post("bought", who, f"buy-{who}")
        await pair.world.post("bought", who, f"again-{who}")
    await pair.advance(3 * DAY)
    for who in PEOPLE:
        await pair.world.post("came", who, f"back-{who}")
    await pair.advance(2 * HOUR)


@pytest.mark.parametrize("where", list(Where))
async def test_killed_anywhere_the_counts_equal_a_recount(where: Where) -> None:
    """Sweeps the failpoint over every fifth write and append of both; arms are never drawn anew."""
    reached = 0
    for at in range(1, 400, 5):
        failpoint = Failpoint()
        async with a_pair(failpoint) as pair:
            await publish_journey(pair.world.log, STEPS, event="came", goal=("bought", 2))
            failpoint.arm(at, where)
            running = asyncio.ensure_future(scenario(pair))
            died = asyncio.ensure_future(failpoint.died.wait())
            await asyncio.wait([running, died], return_when=asyncio.FIRST_COMPLETED)
            died.cancel()
            if failpoint.died.is_set():
                running.cancel()
                failpoint.disarm()
                before = await pair.arms()
                await pair.succeed()
                await scenario(pair)
                after = await pair.arms()
                assert before.items() <= {who: _routed(arm, before.get(who)) for who, arm in after.items()}.items()
            else:
                await running

            found = await pair.recount()
            assert () == found.differences, f"{where.value} call {at}"
            assert len(PEOPLE) <= found.executions
        if not failpoint.died.is_set():
            break
        reached += 1

    assert reached >= 12


def _routed(arm: ArmChoice, before: ArmChoice | None) -> ArmChoice | None:
    """The stored routing; a conversion may have come since."""
    same = before is not None and (arm.arm_id, arm.propensity, arm.snapshot_id, arm.routed_at) == (
        before.arm_id,
        before.propensity,
        before.snapshot_id,
        before.routed_at,
    )
    return before if same else arm


async def test_what_is_learned_routes_the_next_person() -> None:
    """By the snapshot of the matured counts, stored with the execution; the same after a restart."""
    async with a_pair() as pair:
        await publish_journey(pair.world.log, AT_ONCE, event="came", goal=("bought", 1))
        for i in range(40):
            await pair.world.post("came", f"usr{i}", f"in-{i}")
        await pair.settle()
        for who, arm in (await pair.arms()).items():
            if arm.arm_id == "b":
                await pair.world.post("bought", who, f"buy-{who}")
        await pair.advance(2 * DAY)
        await pair.succeed()
        await pair.settle()

        for i in range(100, 130):
            await pair.world.post("came", f"usr{i}", f"in-{i}")
        await pair.settle()

        later = [arm for who, arm in (await pair.arms()).items() if int(who[3:]) >= 100]
        assert {"adaptive"} == {arm.mode for arm in later}
        assert 1 == len({arm.snapshot_id for arm in later})
        assert {0.025, 0.975} >= {round(arm.propensity, 6) for arm in later}
        assert sum(arm.arm_id == "b" for arm in later) > 25


async def test_without_analytics_routing_goes_on_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last snapshot of a branch that has one, equal shares for another; asked over the wire whether it is there."""
    monkeypatch.setattr("services.runtime.app.ANALYTICS_SECONDS", 0.05)
    async with a_pair() as pair:
        await publish_journey(pair.world.log, AT_ONCE, event="came", goal=("bought", 1))
        for i in range(40):
            await pair.world.post("came", f"usr{i}", f"in-{i}")
        await pair.settle()
        server = Server("analytics")
        for register, servicer, name in pair.analytics.servicers():
            server.add(register, servicer, name)
        address = await server.start(f"unix:{tmp_path}/analytics")
        runtime = pair.world.runtime
        runtime._analytics_address = lambda: address

        assert await runtime._reaches_analytics()
        await server.stop(0)
        async with asyncio.timeout(10):
            while runtime.catalog.allocations.is_renewed:
                await asyncio.sleep(0.001)
        await publish_journey(pair.world.log, AT_ONCE, journey_id="new", event="began", goal=("bought", 1))
        await pair.world.post("came", "late", "in-late")
        await pair.world.post("began", "late", "began-late")
        await pair.settle()

        late = {one.journey_id: one for one in await pair.world.executions() if one.subject_id == "late"}
        assert ("fallback", True) == (late["act"].arms["pick"].mode, bool(late["act"].arms["pick"].snapshot_id))
        assert ("fallback", None, 0.5) == (
            late["new"].arms["pick"].mode,
            late["new"].arms["pick"].snapshot_id,
            late["new"].arms["pick"].propensity,
        )
        assert all(
            "fallback" == entry.detail["mode"]
            for one in late.values()
            for entry in one.history
            if entry.action == "branch.routed"
        )
