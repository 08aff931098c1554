"""Producers that write to the log themselves: what they mean is done once, what means nothing is kept and named."""

import json

import pytest
from journeys.events.v1.customer_event_pb2 import CustomerEvent

from services.domain.errors import Invalid, Missing
from services.infra.log.port import Record, partition_of
from services.runtime.collections import CATALOGUE, DEAD_LETTERS, EVENT_RECORDS, EVENTS
from services.runtime.dead_letters import DeadLetters
from services.runtime.lanes import log_key
from services.runtime.paging import PageRequest
from tests.support.journeys import WORKSPACE, publish_journey, workspace_record
from tests.support.walking import DAY, EXIT, TRIGGER, send_step
from tests.support.world import World, a_world

STEPS = [{**TRIGGER, "next": "mail"}, send_step("mail", "exit"), EXIT]


def cloud_event(person: str, event_id: str, *, partition: int | None = None) -> Record:
    """A structured CloudEvent, as a console producer writes it."""
    value = {"specversion": "1.0", "id": event_id, "type": "signed_up", "source": "/shop", "data": {"plan": "pro"}}
    return Record(log_key(WORKSPACE, person), json.dumps(value).encode(), partition=partition)


async def starts(world: World) -> list[str]:
    return [one.execution_id for one in await world.executions()]


async def test_a_cloud_event_starts_who_its_key_names() -> None:
    async with a_world() as world:
        await publish_journey(world.log, STEPS)
        await world.log.append(EVENTS, [cloud_event("ann", "e1")])
        await world.settle()
        (run,) = await world.executions()

        assert ("ann", "e1", {"plan": "pro"}) == (run.subject_id, run.trigger.event_id, run.trigger.data)


async def test_a_record_in_the_wrong_partition_is_decided_once_by_the_owner_of_the_right_one() -> None:
    """A foreign partitioner wrote it, twice; the API got the same event too."""
    async with a_world() as world:
        await publish_journey(world.log, STEPS)
        home = partition_of(log_key(WORKSPACE, "ann"), world.log.partitions)
        wrong = (home + 1) % world.log.partitions
        await world.log.append(EVENTS, [cloud_event("ann", "e1", partition=wrong)] * 2)
        await world.settle()
        await world.post("signed_up", "ann", "e1", plan="pro")
        await world.settle()

        assert 1 == len(await starts(world))
        assert {home} == {one.partition for one in await world.log.read(EVENTS, home, 0, 10)}


async def test_a_message_whose_key_names_somebody_else_reaches_its_own_person() -> None:
    """Our own message names a person; the key another one's partition. The message of our own service is believed."""
    event = CustomerEvent(id="e1", type="signed_up", end_user_id="ann", project_key=WORKSPACE, received_ms=1)
    async with a_world() as world:
        await publish_journey(world.log, STEPS)
        strangers = (f"u{number}" for number in range(100))
        home = partition_of(log_key(WORKSPACE, "ann"), 16)
        other = next(one for one in strangers if partition_of(log_key(WORKSPACE, one), 16) != home)
        await world.log.append(EVENTS, [Record(log_key(WORKSPACE, other), event.SerializeToString())])
        await world.settle()

        assert ["ann"] == [one.subject_id for one in await world.executions()]


async def test_what_cannot_be_read_costs_its_neighbours_nothing() -> None:
    """Each goes to the dead letters with where it lay and why; the events beside it start."""
    async with a_world() as world:
        await publish_journey(world.log, STEPS)
        bad = [
            Record("pk_nobody:ann", cloud_event("ann", "e9").value),
            Record(log_key(WORKSPACE, "ann"), b"\xff\xff"),
            Record("no colon", cloud_event("ann", "e8").value),
        ]
        await world.log.append(EVENTS, [cloud_event("ann", "e1"), *bad, cloud_event("ann", "e2")])
        await world.settle()
        letters = (await DeadLetters(world.log).listed(PageRequest(10))).items

        assert 2 == len(await starts(world))
        assert {
            ("pk_nobody:ann", "There is no such workspace."),
            ("no colon", "The key is not <projectKey>:<endUserId>."),
            (log_key(WORKSPACE, "ann"), "The value is neither a CloudEvent nor a CustomerEvent."),
        } == {(one.stored.key, one.origin.reason) for one in letters}
        assert {EVENTS} == {one.origin.topic for one in letters}
        for one in letters:
            (source,) = await world.log.read(EVENTS, one.origin.partition, one.origin.offset, 1)
            assert (source.key, source.value) == (one.stored.key, one.stored.value)


async def test_what_waited_for_more_than_thirty_days_starts_nobody_until_it_is_replayed() -> None:
    """Nobody was there to read it. Whoever replays it means it; what waited for less starts as ever."""
    async with a_world() as world:
        await publish_journey(world.log, STEPS)
        await world.settle()
        await world.runtime.kill()
        await world.log.append(EVENTS, [cloud_event("ann", "e1")])
        world.clock.move(2 * DAY)
        await world.log.append(EVENTS, [cloud_event("bob", "e2")])
        world.clock.move(29 * DAY)
        await world.restart()
        await world.settle()
        began = [one.subject_id for one in await world.executions()]
        letters = DeadLetters(world.log)
        (letter,) = (await letters.listed(PageRequest(10))).items
        await letters.replay(letter.stored.partition, letter.stored.offset)
        await world.settle()

        assert ["bob"] == began
        assert "It was appended more than 30 days ago" in letter.origin.reason
        assert {"ann", "bob"} == {one.subject_id for one in await world.executions()}


async def test_a_dead_letter_that_is_replayed_is_read_again() -> None:
    """Its workspace exists now: it is recorded, and replayed once more it is a duplicate."""
    async with a_world() as world:
        record = Record("pk_later:ann", cloud_event("ann", "e1").value)
        await world.log.append(EVENTS, [record])
        await world.settle()
        letters = DeadLetters(world.log)
        (letter,) = (await letters.listed(PageRequest(10))).items
        late = workspace_record({"timezone": "UTC", "holdout": {"percent": 0}})
        late.workspace = "pk_later"
        await world.log.append(CATALOGUE, [Record("pk_later:workspace:pk_later", late.SerializeToString())])
        for _ in range(2):
            await letters.replay(letter.stored.partition, letter.stored.offset)
            await world.settle()

        assert await world.documents.get(EVENT_RECORDS, "pk_later:e1") is not None
        assert 1 == len((await letters.listed(PageRequest(10))).items)


async def test_pages_show_every_letter_once() -> None:
    async with a_world() as world:
        people = [f"u{number}" for number in range(25)]
        await world.log.append(EVENTS, [Record(f"pk_nobody:{one}", b"{}") for one in people])
        await world.settle()
        letters, shown, cursor = DeadLetters(world.log), [], None
        while True:
            page = await letters.listed(PageRequest(4, cursor))
            shown += [one.stored.key for one in page.items]
            if (cursor := page.cursor) is None:
                break

        assert sorted(f"pk_nobody:{one}" for one in people) == sorted(shown)


@pytest.mark.parametrize("cursor", ["", "x", "1", "99.0", "0.-1", "0.1.2", "1" * 40 + ".1"])
async def test_a_foreign_cursor_is_refused(cursor: str) -> None:
    async with a_world() as world:
        with pytest.raises(Invalid):
            await DeadLetters(world.log).listed(PageRequest(4, cursor))


@pytest.mark.parametrize(("partition", "offset"), [(0, 0), (-1, 0), (99, 0), (0, 5)])
async def test_what_is_not_there_cannot_be_replayed(partition: int, offset: int) -> None:
    async with a_world() as world:
        with pytest.raises(Missing):
            await DeadLetters(world.log).replay(partition, offset)
        assert not await world.log.read(DEAD_LETTERS, 0, 0, 1)
