"""Whole audiences start at the moments of a schedule: everybody once for each, and nobody for what came too late."""

import asyncio
import json
from functools import partial
from typing import Any

import pytest
from journeys.events.v1.authoring_record_pb2 import AuditRecord

from services.domain.times import format_time, parse_time
from services.infra.log.port import Record
from services.runtime.collections import AUDIT, CATALOGUE, SWEEPS
from tests.support.failpoints import Failpoint, Where
from tests.support.journeys import (
    WORKSPACE,
    delete_audience,
    publish_audience,
    publish_journey,
    publish_list,
    set_status,
    workspace_record,
)
from tests.support.memory import MemoryDocuments
from tests.support.walking import DAY, EXIT, HOUR, MINUTE, wait_step
from tests.support.world import World, a_world

START = 1_777_554_000_000  # 2026-04-30T13:00:00Z
PRO = {"kind": "attribute", "fieldPath": "plan", "operator": "equals", "value": "pro"}


async def put(world: World, user: str, **attributes: Any) -> None:
    """A profile with these attributes."""
    await world.runtime.subjects.put(WORKSPACE, user, json.dumps({"attributes": attributes}).encode(), None)


async def publish(world: World, audience_id: str | None = None, version: int = 1, **trigger: Any) -> None:
    """A journey with this schedule."""
    step = {"id": "trigger", "type": "trigger", "mode": "schedule", "next": "exit", **trigger}
    await publish_journey(world.log, [step, EXIT], event=None, audience_id=audience_id, version=version)


async def started(world: World, user: str | None = None) -> list[tuple[str, str]]:
    """(person, when) of every execution."""
    found = [(one.subject_id, format_time(one.started_at)) for one in await world.executions()]
    return sorted(one for one in found if user is None or one[0] == user)


async def told(world: World) -> list[dict[str, Any]]:
    """What the audit says was blocked."""
    found: list[dict[str, Any]] = []
    for partition, end in (await world.log.ends(AUDIT)).items():
        for stored in await world.log.read(AUDIT, partition, 0, end):
            record = AuditRecord.FromString(stored.value)
            found.append({"action": record.action, **json.loads(record.metadata_json)})
    return found


class TestAt:
    """One moment."""

    async def test_every_subject_starts_at_the_instant_without_an_audience(self) -> None:
        """Their executions bear the moment itself, and what they are told is when."""
        async with a_world() as world:
            for user in ("ann", "bob"):
                await put(world, user)
            await publish(world, at="2026-05-01T09:00:00Z")
            await world.advance(DAY)

            assert [("ann", "2026-05-01T09:00:00.000Z"), ("bob", "2026-05-01T09:00:00.000Z")] == await started(world)
            trigger = (await world.executions())[0].trigger
            assert ("schedule", "schedule", "schedule-20260501T090000.000Z") == (
                trigger.source,
                trigger.type,
                trigger.event_id,
            )
            assert {"occurrence": "2026-05-01T09:00:00.000Z"} == trigger.data
            assert await world.runtime.next_due() is None

    async def test_local_time_is_read_in_the_zone(self) -> None:
        """The trigger's own; else the workspace's."""
        async with a_world() as world:
            await put(world, "ann")
            await publish(world, at="2026-05-01T09:00", timezone="Asia/Tokyo")
            await world.advance(DAY)

            assert [("ann", "2026-05-01T00:00:00.000Z")] == await started(world)

    async def test_the_workspace_gives_the_zone(self) -> None:
        """Where nobody nearer does."""
        async with a_world() as world:
            record = workspace_record({"timezone": "America/New_York", "holdout": {"percent": 0}})
            name = f"{WORKSPACE}:workspace:{WORKSPACE}"
            await world.log.append(CATALOGUE, [Record(name, record.SerializeToString())])
            await put(world, "ann")
            await publish(world, at="2026-05-01T09:00:00")
            await world.advance(DAY)

            assert [("ann", "2026-05-01T13:00:00.000Z")] == await started(world)

    async def test_members_of_the_audience_alone_start(self) -> None:
        """Whoever belongs when the moment comes, not when it was published."""
        async with a_world() as world:
            await put(world, "ann", plan="free")
            await put(world, "bob", plan="pro")
            await publish_audience(world.log, "aud", PRO)
            await publish(world, "aud", at="2026-05-01T09:00:00Z")
            await world.settle()
            await put(world, "ann", plan="pro")
            await put(world, "bob", plan="free")
            await world.advance(DAY)

            assert [("ann", "2026-05-01T09:00:00.000Z")] == await started(world)

    async def test_a_list_starts_those_on_it(self) -> None:
        """Known or not."""
        async with a_world() as world:
            await publish_list(world.log, "aud", ["ann", "bob"])
            await publish(world, "aud", at="2026-05-01T09:00:00Z")
            await world.advance(DAY)

            assert ["ann", "bob"] == [user for user, _ in await started(world)]

    async def test_a_deleted_audience_is_told_once(self) -> None:
        """Nobody starts."""
        async with a_world() as world:
            await put(world, "ann", plan="pro")
            await publish_audience(world.log, "aud", PRO)
            await publish(world, "aud", at="2026-05-01T09:00:00Z")
            await world.settle()
            await delete_audience(world.log, "aud")
            await world.advance(DAY)

            assert [] == await started(world)
            expected = {
                "action": "trigger.blocked",
                "reason": "audience_missing",
                "occurrence": "2026-05-01T09:00:00.000Z",
            }
            assert [expected] == await told(world)


class TestRule:
    """Moment after moment."""

    async def test_nine_in_the_morning_stays_nine_over_a_change_of_clocks(self) -> None:
        """New York goes to winter time on the first of November 2026."""
        async with a_world() as world:
            await put(world, "ann")
            world.clock.move(parse_time("2026-10-30T15:00:00Z") - world.clock.now_ms())
            await publish(world, rrule="FREQ=DAILY;BYHOUR=9", timezone="America/New_York")
            await world.advance(3 * DAY)

            hours = ["2026-10-31T13:00:00.000Z", "2026-11-01T14:00:00.000Z", "2026-11-02T14:00:00.000Z"]
            assert [("ann", at) for at in hours] == await started(world)

    async def test_moments_come_in_order_with_what_they_start(self) -> None:
        """A wait of an hour in each."""
        async with a_world() as world:
            await put(world, "ann")
            step = {"id": "trigger", "type": "trigger", "mode": "schedule", "rrule": "FREQ=DAILY", "next": "w"}
            await publish_journey(world.log, [step, wait_step("w", "PT1H", "exit"), EXIT], event=None)
            await world.advance(3 * DAY)

            found = [(one.started_at, one.ended_at) for one in await world.executions()]
            midnight = parse_time("2026-05-01T00:00:00Z")
            expected = [(midnight + i * DAY, midnight + i * DAY + HOUR) for i in range(3)]
            assert expected == sorted(found, key=lambda one: one[0])

    async def test_a_count_counts_from_the_first_moment_to_come(self) -> None:
        """Two of them, though nine o'clock of the first day had passed."""
        async with a_world() as world:
            await put(world, "ann")
            await publish(world, rrule="FREQ=DAILY;BYHOUR=9;COUNT=2")
            await world.advance(5 * DAY)

            assert ["2026-05-01T09:00:00.000Z", "2026-05-02T09:00:00.000Z"] == [at for _, at in await started(world)]

    async def test_publishing_the_same_rule_again_repeats_nothing(self) -> None:
        """Another rule begins with its own first moment."""
        async with a_world() as world:
            await put(world, "ann")
            await publish(world, rrule="FREQ=DAILY;BYHOUR=9")
            await world.advance(DAY)
            await publish(world, version=2, rrule="FREQ=DAILY;BYHOUR=9")
            await world.advance(HOUR)
            assert 1 == len(await started(world))

            await publish(world, version=3, rrule="FREQ=DAILY;BYHOUR=18")
            await world.advance(DAY)
            assert ["2026-05-01T09:00:00.000Z", "2026-05-01T18:00:00.000Z"] == [at for _, at in await started(world)]

    async def test_a_paused_journey_passes_its_moments_over(self) -> None:
        """They are told, and not made up for; the next one comes."""
        async with a_world() as world:
            await put(world, "ann")
            await publish(world, rrule="FREQ=DAILY;BYHOUR=9")
            await world.settle()
            await set_status(world.log, "act", 1, "paused")
            await world.advance(2 * DAY)
            await set_status(world.log, "act", 1, "published")
            await world.advance(DAY)

            assert [("ann", "2026-05-03T09:00:00.000Z")] == await started(world)
            assert ["journey_paused", "journey_paused"] == [one["reason"] for one in await told(world)]

    async def test_an_archived_journey_fires_no_more(self) -> None:
        """Its alarm is silenced when it rings."""
        async with a_world() as world:
            await put(world, "ann")
            await publish(world, rrule="FREQ=DAILY")
            await world.settle()
            await set_status(world.log, "act", 1, "archived")
            await world.advance(3 * DAY)

            assert [] == await started(world)
            assert await world.runtime.next_due() is None


class TestMissed:
    """The server was down when it came."""

    async def test_the_last_moment_is_made_up_for(self) -> None:
        """At the time it is made; those before it are passed over, and told."""
        async with a_world() as world:
            await put(world, "ann")
            await publish(world, rrule="FREQ=DAILY;BYHOUR=9")
            await world.settle()
            await world.runtime.kill()
            world.clock.move(3 * DAY)
            await world.restart()
            await world.settle()

            (one,) = await world.executions()
            assert ("schedule-20260503T090000.000Z", START + 3 * DAY) == (one.trigger.event_id, one.started_at)
            expected = {"reason": "occurrence_missed", "occurrence": "2026-05-02T09:00:00.000Z", "occurrences": 2}
            assert [{"action": "trigger.blocked", **expected}] == await told(world)

    async def test_a_moment_more_than_twelve_hours_ago_is_not(self) -> None:
        """It is told."""
        async with a_world() as world:
            await put(world, "ann")
            await publish(world, at="2026-05-01T09:00:00Z")
            await world.settle()
            await world.runtime.kill()
            world.clock.move(20 * HOUR + 12 * HOUR + 1)
            await world.restart()
            await world.settle()

            assert [] == await started(world)
            assert ["occurrence_missed"] == [one["reason"] for one in await told(world)]

    async def test_a_few_seconds_late_is_not_late(self) -> None:
        """Executions bear the moment itself."""
        async with a_world() as world:
            await put(world, "ann")
            await publish(world, at="2026-05-01T09:00:00Z")
            await world.settle()
            await world.runtime.kill()
            world.clock.move(20 * HOUR + MINUTE)
            await world.restart()
            await world.settle()

            assert [("ann", "2026-05-01T09:00:00.000Z")] == await started(world)


async def scenario(world: World) -> None:
    """Two days of a daily schedule."""
    await publish(world, "aud", rrule="FREQ=DAILY;BYHOUR=9")
    await world.advance(max(0, START + 2 * DAY - world.clock.now_ms()))


@pytest.mark.parametrize("where", list(Where))
async def test_killed_anywhere_everybody_starts_once_a_moment(where: Where) -> None:
    """At every bulk write and every append in turn."""
    reached = 0
    for at in range(1, 200):
        failpoint = Failpoint()
        async with a_world(failpoint=failpoint) as world:
            for user in ("ann", "bob"):
                await put(world, user, plan="pro")
            await put(world, "cleo", plan="free")
            await publish_audience(world.log, "aud", PRO)
            failpoint.arm(at, where)
            if not await world.survive(failpoint, partial(scenario, world)):
                break
            reached += 1
            await world.settle()
            moments = ("2026-05-01T09:00:00.000Z", "2026-05-02T09:00:00.000Z")
            expected = [(user, moment) for user in ("ann", "bob") for moment in moments]
            assert expected == await started(world), f"{where.value} call {at}"
    assert reached >= 6


async def test_killed_between_the_sweep_and_the_alarm_the_moment_is_made_once() -> None:
    """The sweep is stored, the alarm is not moved: after the restart it rings again and finds the sweep, or its starts."""
    async with a_world() as world:
        for user in ("ann", "bob"):
            await put(world, user)
        await publish(world, rrule="FREQ=DAILY;BYHOUR=9")
        await world.settle()
        hung = world.runtime.schedules._documents = Hanging(world.documents)
        world.clock.move(parse_time("2026-05-01T09:00:00Z") - START)
        await asyncio.wait_for(hung.reached.wait(), 10)
        assert 1 == len((await world.documents.scan(SWEEPS, "open", (1,))).items)
        await world.restart()
        await world.settle()
        await world.advance(HOUR)

        assert [("ann", "2026-05-01T09:00:00.000Z"), ("bob", "2026-05-01T09:00:00.000Z")] == await started(world)


async def test_killed_before_the_cursor_moves_a_page_is_asked_for_again() -> None:
    """And nobody starts twice."""
    async with a_world() as world:
        for user in ("ann", "bob"):
            await put(world, user)
        await publish(world, at="2026-05-01T09:00:00Z")
        await world.settle()
        hung = world.runtime.sweeps._documents = Hanging(world.documents)
        world.clock.move(parse_time("2026-05-01T09:00:00Z") - START)
        await asyncio.wait_for(hung.reached.wait(), 10)
        await world.restart()
        await world.settle()

        assert ["ann", "bob"] == [user for user, _ in await started(world)]


class Hanging:
    """Documents whose replacement, or deletion, of one is never answered, as where the process dies before it."""

    def __init__(self, documents: MemoryDocuments) -> None:
        self.reached = asyncio.Event()
        self._documents = documents

    def __getattr__(self, name: str) -> Any:
        return getattr(self._documents, name)

    async def replace(self, *given: Any) -> None:
        self.reached.set()
        await asyncio.get_running_loop().create_future()

    delete = replace
