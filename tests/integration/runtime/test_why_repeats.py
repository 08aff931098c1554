"""What came again is told beside what was decided: counted once, whoever found it out, and gone with the person."""

import asyncio
from collections.abc import Sequence

import pytest
from journeys.events.v1.customer_event_pb2 import CustomerEvent

from services.infra.documents.port import Outcome, Replace, Write
from services.infra.log.port import Record, partition_of
from services.runtime.collections import EVENT_RECORDS, EVENTS, EXECUTIONS
from services.runtime.lanes import log_key
from services.runtime.paging import PageRequest
from services.runtime.repeats import CountRepeats, Repeat
from services.runtime.why import Decision, Why
from tests.support.journeys import WORKSPACE, publish_journey
from tests.support.walking import EXIT, TRIGGER, wait_step
from tests.support.world import World, a_world

DAY = 86_400_000
STEPS = [{**TRIGGER, "next": "w"}, wait_step("w", "P1D", "exit"), EXIT]


async def told(world: World, person: str = "ann", journey: str = "act", limit: int = 100) -> list[Decision]:
    """All decisions, page by page."""
    why = Why(world.documents, world.runtime.catalog, world.clock)
    found: list[Decision] = []
    cursor: str | None = None
    while True:
        page = await why.decisions(WORKSPACE, journey, person, PageRequest(limit, cursor))
        assert len(page.items) <= limit
        found += page.items
        if (cursor := page.cursor) is None:
            return found


async def outcomes(world: World, person: str = "ann", journey: str = "act") -> list[str]:
    return [one.outcome for one in await told(world, person, journey)]


async def start(world: World, event_id: str, journey: str = "act") -> tuple[str, bool, str | None]:
    event = CustomerEvent(id=event_id, end_user_id="ann")
    return await world.runtime.commands.start(WORKSPACE, journey, event, "internal", "system")


def event_record(person: str, event_id: str, partition: int | None = None) -> Record:
    """What a producer writes to the log itself."""
    event = CustomerEvent(id=event_id, type="signed_up", end_user_id=person)
    return Record(log_key(WORKSPACE, person), event.SerializeToString(), partition=partition)


async def test_an_event_that_is_posted_again_is_a_decision_of_every_journey_that_decided_it() -> None:
    """One started, one refused by its filter, one that hears of other events: nothing of it there."""
    never = {"kind": "attribute", "fieldPath": "vip", "operator": "exists"}
    async with a_world() as world:
        await publish_journey(world.log, STEPS)
        await publish_journey(world.log, [{**TRIGGER, "filter": never, "next": "w"}, *STEPS[1:]], journey_id="vip")
        await publish_journey(world.log, STEPS, journey_id="other", event="paid")
        await world.post("signed_up", "ann", "e1")
        await world.settle()
        first_at = world.clock.now_ms()
        world.clock.move(5_000)
        assert (1, 1) == await world.post("signed_up", "ann", "e1")
        again, first = await told(world)
        again_there, first_there = await told(world, journey="vip")

        assert ("duplicate", "duplicate", first_at + 5_000) == (again.outcome, again.reason, again.at)
        assert (first.event_id, first.event_type) == (again.event_id, again.event_type)
        assert ("started", first_at, first.execution_id) == (first.outcome, first.at, again.execution_id)
        assert [] == list(again.steps)
        assert ["duplicate"] == [check["check"] for check in again.checks]
        assert {"decision": "started", "repeats": 1}.items() <= again.checks[0]["inputs"].items()
        assert ("duplicate", "blocked", None) == (again_there.outcome, first_there.outcome, again_there.execution_id)
        assert [] == await told(world, journey="other")


async def test_repeats_inside_one_batch_count() -> None:
    """Three of one id: one decides, two came again."""
    async with a_world() as world:
        await publish_journey(world.log, STEPS)
        batch = [CustomerEvent(id="e1", type="signed_up", end_user_id="ann") for _ in range(3)]
        assert 2 == len(await world.runtime.ingestion(WORKSPACE, batch))
        await world.settle()

        assert ["duplicate", "duplicate", "started"] == await outcomes(world)


async def test_a_producers_own_repeats_count_however_they_come() -> None:
    """In one batch with the first, behind it, and by a foreign partitioner."""
    async with a_world() as world:
        await publish_journey(world.log, STEPS)
        home = partition_of(log_key(WORKSPACE, "ann"), world.log.partitions)
        await world.log.append(EVENTS, [event_record("ann", "e1")] * 2)
        await world.settle()
        await world.log.append(EVENTS, [event_record("ann", "e1")])
        await world.settle()
        await world.log.append(EVENTS, [event_record("ann", "e1", partition=(home + 1) % world.log.partitions)])
        await world.settle()

        assert ["duplicate"] * 3 + ["started"] == await outcomes(world)


async def test_a_start_that_is_asked_for_again_is_told() -> None:
    """Also one that was refused; another journey's start by that id is its own."""
    async with a_world() as world:
        await publish_journey(world.log, STEPS)
        await publish_journey(world.log, STEPS, journey_id="two")
        first = await start(world, "e1")
        assert (first[0], False, "duplicate") == await start(world, "e1")
        await start(world, "e1", "two")

        assert ["duplicate", "started"] == await outcomes(world)
        assert ["started"] == await outcomes(world, journey="two")


@pytest.mark.parametrize("is_event_first", [True, False])
async def test_an_event_and_a_start_under_one_id_are_one_decision(is_event_first: bool) -> None:
    """Whichever comes first decides; the other one came again, and so does whatever comes after."""
    async with a_world() as world:
        await publish_journey(world.log, STEPS)
        for _ in range(2):
            if is_event_first:
                await world.post("signed_up", "ann", "e1")
                await world.settle()
            await start(world, "e1")
            if not is_event_first:
                await world.post("signed_up", "ann", "e1")
                await world.settle()

        assert ["duplicate"] * 3 + ["started"] == await outcomes(world)


@pytest.mark.parametrize("is_command", [True, False])
async def test_a_record_that_is_read_again_after_a_crash_is_no_repeat(is_command: bool) -> None:
    """Killed before its offset was committed; a repeat's record is counted once, too."""
    async with a_world() as world:
        await publish_journey(world.log, STEPS)
        for _ in range(2):
            if is_command:
                await start(world, "e1")
            else:
                await world.log.append(EVENTS, [event_record("ann", "e1")])
            await world.settle()
            for _ in range(2):
                await world.restart()
                await world.settle()

        assert ["duplicate", "started"] == await outcomes(world)


async def test_a_record_moved_twice_is_no_repeat() -> None:
    """A foreign partitioner wrote it; the process that moved it was killed before it noted that."""
    async with a_world() as world:
        await publish_journey(world.log, STEPS)
        home = partition_of(log_key(WORKSPACE, "ann"), world.log.partitions)
        await world.log.append(EVENTS, [event_record("ann", "e1", partition=(home + 1) % world.log.partitions)])
        await world.settle()
        await world.restart()
        await world.settle()
        copies = await world.log.read(EVENTS, home, 0, 10)

        assert 2 == len(copies)
        assert ["started"] == await outcomes(world)


async def test_however_often_it_comes_the_last_ten_are_told_and_the_record_has_a_bound() -> None:
    """The count is whole."""
    async with a_world() as world:
        await publish_journey(world.log, STEPS)
        await world.post("signed_up", "ann", "e1")
        await world.settle()
        batch = [CustomerEvent(id="e1", type="signed_up", end_user_id="ann") for _ in range(1_000)]
        for _ in range(3):
            world.clock.move(1_000)
            await world.runtime.ingestion(WORKSPACE, batch)
        for _ in range(20):
            await start(world, "e1")
        found = await told(world)

        assert ["duplicate"] * 20 + ["started"] == [one.outcome for one in found]
        assert 3_020 == found[0].checks[0]["inputs"]["repeats"]
        assert sorted((one.at for one in found), reverse=True) == [one.at for one in found]


async def test_pages_go_on_inside_of_what_came_again() -> None:
    """However small they are, each decision is on one page."""
    async with a_world() as world:
        await publish_journey(world.log, STEPS)
        for event_id in ("e1", "e2", "e3"):
            world.clock.move(1_000)
            for _ in range(3):
                await world.post("signed_up", "ann", event_id)
                await world.settle()
        whole = await told(world)

        assert 9 == len(whole)
        for limit in range(1, 10):
            assert whole == await told(world, limit=limit)


async def test_who_counts_at_once_loses_none() -> None:
    """Two processes on one store, and many requests of each."""
    async with a_world() as world:
        await publish_journey(world.log, STEPS)
        await world.post("signed_up", "ann", "e1")
        await world.settle()
        counters = [CountRepeats(world.documents) for _ in range(3)]
        key = f"{WORKSPACE}:e1"
        await asyncio.gather(*(one([Repeat(key, number)]) for one in counters for number in range(50)))
        record = await world.documents.get(EVENT_RECORDS, key)

        assert record is not None
        assert record.repeats is not None
        assert 150 == record.repeats.count


async def test_what_is_told_goes_after_thirty_days_and_what_runs_is_told() -> None:
    """A start is told while it runs and thirty days more; what came again, thirty days."""
    steps = [{**TRIGGER, "next": "w"}, wait_step("w", "P40D", "exit"), EXIT]
    async with a_world() as world:
        await publish_journey(world.log, steps)
        await world.post("signed_up", "ann", "e1")
        await world.advance(DAY)
        await world.post("signed_up", "ann", "e1")
        await world.advance(35 * DAY)
        assert ["started"] == await outcomes(world)
        await world.advance(33 * DAY)
        assert ["started"] == await outcomes(world)
        await world.advance(3 * DAY)
        assert [] == await outcomes(world)
        await world.post("signed_up", "ann", "e1")
        assert ["duplicate"] == await outcomes(world)


async def test_who_is_forgotten_has_no_repeats() -> None:
    """They go with the event's record and the execution; what comes again afterwards leaves nothing."""
    async with a_world() as world:
        await publish_journey(world.log, STEPS)
        for _ in range(2):
            await world.post("signed_up", "ann", "e1")
            await start(world, "e2")
            await world.settle()
        await world.runtime.erasures(WORKSPACE, "ann")
        await world.post("signed_up", "ann", "e1")
        await start(world, "e2")
        await world.settle()

        assert [] == await told(world)
        assert [] == (await world.documents.scan(EVENT_RECORDS, "", limit=10)).items
        assert [] == (await world.documents.scan(EXECUTIONS, "", limit=10)).items


async def test_an_event_that_names_somebody_else_is_told_of_that_person() -> None:
    """Its record is nobody's; the start is theirs."""
    async with a_world() as world:
        await publish_journey(world.log, STEPS, subject_path="friend")
        for _ in range(2):
            await world.post("signed_up", None, "e1", friend="ann")
            await world.settle()

        assert ["duplicate", "started"] == await outcomes(world)


async def test_a_name_goes_from_a_strangers_event_although_it_is_counted_at_that_moment() -> None:
    """The count is written between the eraser's reading of the record and its writing."""
    async with a_world() as world:
        await publish_journey(world.log, STEPS, subject_path="friend")
        await world.post("signed_up", "ben", "e1", friend="ann")
        await world.settle()
        really = world.documents.write_many
        counts = CountRepeats(world.documents)

        async def write_many(writes: Sequence[Write]) -> list[Outcome]:
            if any(isinstance(one, Replace) and one.collection is EVENT_RECORDS for one in writes):
                world.documents.write_many = really  # type: ignore[method-assign]
                await counts([Repeat(f"{WORKSPACE}:e1", 7)])
            return await really(writes)

        world.documents.write_many = write_many  # type: ignore[method-assign]
        await world.runtime.erasures(WORKSPACE, "ann")
        record = await world.documents.get(EVENT_RECORDS, f"{WORKSPACE}:e1")

        assert record is not None
        assert record.repeats is not None
        assert b"ann" not in record.data_json
