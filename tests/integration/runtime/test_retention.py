"""What is old goes, by the service's own clock; what a decision still to come may read stays."""

from pathlib import Path
from typing import Any

import pytest
from journeys.events.v1.customer_event_pb2 import CustomerEvent

from services.domain.execution.lifecycle import Status
from services.infra.documents.port import Collection
from services.infra.documents.sqlite import SqliteDocuments
from services.infra.log.port import Record
from services.infra.sqlite.engine import open_engine
from services.runtime.collections import (
    COMMAND_RESULTS,
    DEAD_LETTERS,
    EVENT_RECORDS,
    EVENTS,
    EXECUTIONS,
    MESSAGES,
    EventRecord,
)
from tests.support.journeys import WORKSPACE, publish_audience, publish_journey
from tests.support.walking import DAY, EXIT, TRIGGER, await_step, send_step
from tests.support.world import World, a_world

STEPS = [{**TRIGGER, "next": "mail"}, send_step("mail", "exit"), EXIT]
COUNTED = {"kind": "event_fired", "eventName": "signed_up", "window": {"type": "last_n_days", "days": 200}}


async def count(world: World, collection: Collection[Any]) -> int:
    return len((await world.documents.scan(collection, "", limit=1_000)).items)


async def left(world: World, days: float, collection: Collection[Any]) -> int:
    """Move on, sweep as every hour does; how many documents are left. (The hourly round may have come first.)"""
    await world.settle()
    world.clock.move(int(days * DAY))
    await world.runtime.retention.sweep()
    return await count(world, collection)


async def lived(world: World, **more: Any) -> None:
    await publish_journey(world.log, STEPS, **more)
    await world.runtime.subjects.put(WORKSPACE, "ann", b'{"addresses": {"email": "ann@example.com"}}', None)
    await world.post("signed_up", "ann", "e1")
    await world.settle()


async def test_an_execution_goes_two_years_after_its_last_window() -> None:
    """Its goal counts for 7 days, so it is kept for 737."""
    async with a_world() as world:
        await lived(world, goal=("activated", 7))

        assert 1 == await left(world, 736.9, EXECUTIONS)
        assert 0 == await left(world, 0.2, EXECUTIONS)


async def test_a_refused_start_goes_after_thirty_days() -> None:
    """`why` shows it for that long."""
    async with a_world() as world:
        await publish_journey(world.log, [{**TRIGGER, "next": "exit"}, EXIT], status="paused")
        await world.post("signed_up", "ann", "e1")
        await world.settle()
        [one] = await world.executions()
        assert Status.REFUSED is one.status

        assert 1 == await left(world, 29.9, EXECUTIONS)
        assert 0 == await left(world, 0.2, EXECUTIONS)


async def test_what_runs_or_is_outstanding_stays() -> None:
    """However long it takes."""
    async with a_world() as world:
        steps = [{**TRIGGER, "next": "w"}, await_step("w", "activated", "P300D", "exit", "exit"), EXIT]
        await publish_journey(world.log, steps)
        await world.post("signed_up", "ann", "e1")
        await world.settle()
        [one] = await world.executions()
        assert Status.RUNNING is one.status

        assert 1 == await left(world, 200, EXECUTIONS)


async def test_events_go_after_ninety_days() -> None:
    """Nothing looks further back."""
    async with a_world() as world:
        await lived(world)

        assert 1 == await left(world, 89.9, EVENT_RECORDS)
        assert 0 == await left(world, 0.2, EVENT_RECORDS)


async def test_events_stay_as_long_as_a_condition_looks_back() -> None:
    """A day longer than the longest window, be it in an audience or in a version."""
    async with a_world() as world:
        await lived(world)
        await publish_audience(world.log, "loyal", COUNTED)

        assert 1 == await left(world, 200.9, EVENT_RECORDS)
        assert 0 == await left(world, 0.2, EVENT_RECORDS)


async def test_events_stay_as_long_as_an_execution_may_count_them() -> None:
    """`since_start` reaches back as far as a run may last."""
    async with a_world() as world:
        since = {"kind": "event_fired", "eventName": "signed_up", "window": {"type": "since_start"}}
        cases = [{"id": "yes", "condition": since, "next": "exit"}]
        branch = {"id": "b", "type": "branch", "mode": "condition", "branches": cases, "default": "exit"}
        steps: list[dict[str, Any]] = [{**TRIGGER, "next": "b"}, branch, EXIT]
        await publish_journey(world.log, steps, settings={"maxDuration": "P120D"})
        await world.post("signed_up", "ann", "e1")

        assert 1 == await left(world, 120.9, EVENT_RECORDS)
        assert 0 == await left(world, 0.2, EVENT_RECORDS)


async def test_replies_to_commands_go_after_a_day() -> None:
    """Nobody asks again."""
    async with a_world() as world:
        await lived(world)
        event = CustomerEvent(id="by-hand", end_user_id="ann")
        await world.runtime.commands.start(WORKSPACE, "act", event, "manual", "system")

        assert 1 == await left(world, 0.99, COMMAND_RESULTS)
        assert 0 == await left(world, 0.02, COMMAND_RESULTS)


async def test_messages_go_after_two_years() -> None:
    """As the executions they are of."""
    async with a_world() as world:
        await lived(world)

        assert 1 == await left(world, 729.9, MESSAGES)
        assert 0 == await left(world, 0.2, MESSAGES)


async def test_topics_keep_what_may_be_replayed() -> None:
    """Records older than thirty days that every group has read go; dead letters by age alone."""
    async with a_world() as world:
        await lived(world)
        await world.runtime.intake.commit()
        event = CustomerEvent(id="lost", type="x", project_key="pk_nobody", received_ms=1)
        await world.log.append(EVENTS, [_record(event)])
        await world.settle()
        await world.runtime.intake.commit()

        await left(world, 29.9, EXECUTIONS)
        assert (2, 1) == (len(world.log.all(EVENTS)), len(world.log.all(DEAD_LETTERS)))
        await left(world, 0.2, EXECUTIONS)
        assert (0, 0) == (len(world.log.all(EVENTS)), len(world.log.all(DEAD_LETTERS)))


def _record(event: CustomerEvent) -> Record:
    return Record(f"{event.project_key}:{event.id}", event.SerializeToString())


async def test_many_pages_go() -> None:
    """However much there is, in constant memory."""
    async with a_world() as world:
        records = [
            EventRecord(key=f"{WORKSPACE}:{n}", event_id=str(n), name="x", at=1, received_at=n, partition=0, offset=n)
            for n in range(1_700)
        ]
        for record in records:
            world.documents.put(EVENT_RECORDS, record)

        assert 0 == await left(world, 0, EVENT_RECORDS)


async def test_it_keeps_nobody_from_moving_the_clock() -> None:
    """Housekeeping that comes round for ever is no moment to stop at."""
    async with a_world() as world:
        await lived(world)

        await world.advance(400 * DAY)

        assert await world.runtime.next_due() is None


@pytest.mark.parametrize("collection", [EVENT_RECORDS, EXECUTIONS, COMMAND_RESULTS])
async def test_a_file_of_an_earlier_release_gets_the_indexes(collection: Collection[Any], tmp_path: Path) -> None:
    """Opened as it is, with what it holds; an index that it lacked is filled."""
    names = {"by_age", "expiry"}
    fewer = tuple(index for index in collection.indexes if index.name not in names)
    before = Collection(
        collection.name, collection.type, collection.key, collection.revision, collection.epoch, indexes=fewer
    )
    engine = await open_engine(tmp_path)
    old = SqliteDocuments(engine)
    await old.open([before])
    record = EventRecord(key="k", event_id="e", name="x", at=1, received_at=5, partition=0, offset=0)
    if collection is EVENT_RECORDS:
        await old.insert(before, record)
    await engine.close()

    engine = await open_engine(tmp_path)
    new = SqliteDocuments(engine)
    await new.open([collection])
    index = next(one.name for one in collection.indexes if one.name in names)
    page = await new.scan(collection, index, high=6)
    await engine.close()

    assert ([record] if collection is EVENT_RECORDS else []) == page.items
