"""What stands in the log twice, and what a former process promised: seen to once, and at once."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from journeys.events.v1.command_record_pb2 import CommandRecord, StartCommand
from journeys.events.v1.customer_event_pb2 import CustomerEvent

from services.infra.documents.port import Outcome, StoreUnavailable, Write
from services.infra.log.port import Record
from services.runtime.collections import COMMANDS, EVENTS, EXECUTIONS, MESSAGES
from services.runtime.lanes import log_key
from tests.support.journeys import WORKSPACE, publish_journey
from tests.support.walking import EXIT, TRIGGER, send_step, wait_step
from tests.support.world import World, a_world

MAIL_AND_WAIT = [{**TRIGGER, "next": "mail"}, send_step("mail", "w"), wait_step("w", "PT1S", "exit"), EXIT]


@contextmanager
def refusing(world: World, is_refused: Callable[[Sequence[Write]], bool]) -> Iterator[None]:
    """Some bulks of writes fail, as on a full disk."""
    really = world.documents.write_many

    async def write_many(writes: Sequence[Write]) -> list[Outcome]:
        if is_refused(writes):
            raise StoreUnavailable("full")
        return await really(writes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.documents, "write_many", write_many)
        yield


async def until(condition: Callable[[], bool]) -> None:
    """Give the loop turns until something holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def has_handled_everything(world: World) -> bool:
    """Nothing waits to be read, planned or sent; acknowledgements may."""
    runtime = world.runtime
    return runtime.intake.is_idle() and runtime.engine.unfinished == 0 and runtime.dispatcher.is_idle()


async def test_an_event_that_a_full_store_let_into_the_log_three_times_is_decided_once() -> None:
    """Its producer repeats, and no record says yet that it is known: the first is in a lane, the others are dropped."""
    event = CustomerEvent(id="e1", type="signed_up", end_user_id="ann", project_key=WORKSPACE, received_ms=1)
    record = Record(log_key(WORKSPACE, "ann"), event.SerializeToString())
    async with a_world() as world:
        await publish_journey(world.log, MAIL_AND_WAIT)
        with refusing(world, lambda writes: True):
            for _ in range(3):
                await world.log.append(EVENTS, [record])
                await until(world.runtime.intake.is_idle)
        await until(lambda: has_handled_everything(world))
        await world.settle()

        assert ["act__v1__ann__e1"] == [one.execution_id for one in await world.executions()]


async def test_a_command_that_stands_in_the_log_twice_is_done_once() -> None:
    """A crash had its event read again; both are handled in one cycle, and nobody's work stops for it."""
    event = CustomerEvent(id="e1", type="signed_up", end_user_id="bob", project_key=WORKSPACE, received_ms=1)
    start = StartCommand(journey_id="act", event=event, source="event", version=1)
    command = CommandRecord(id="c1", workspace=WORKSPACE, end_user_id="ann", start=start)
    record = Record(log_key(WORKSPACE, "ann"), command.SerializeToString())
    async with a_world() as world:
        await publish_journey(world.log, MAIL_AND_WAIT)
        await world.log.append(COMMANDS, [record, record])
        await until(lambda: has_handled_everything(world))
        await world.settle()

        assert ["act__v1__ann__e1"] == [one.execution_id for one in await world.executions()]


async def test_what_a_killed_process_promised_does_not_wait_for_its_lease_where_a_timer_rings_too() -> None:
    """The successor's first write fires the timer and makes the execution its own; the send is claimed all the same."""
    async with a_world() as world:
        await publish_journey(world.log, MAIL_AND_WAIT)
        await world.runtime.subjects.put(WORKSPACE, "ann", b'{"addresses": {"email": "ann@example.com"}}', None)
        with refusing(world, lambda writes: any(write.collection is MESSAGES for write in writes)):
            await world.post("signed_up", "ann", "e1")
            await until(lambda: has_handled_everything(world))
            assert (1, 0) == (len(await world.executions()), len(await world.messages()))
            await world.runtime.kill()
        world.clock.move(2_000)
        await world.restart()
        await world.settle()

        assert ["sent"] == [one.status for one in await world.messages()]
        assert [None] == [one.due_at for one in await world.executions()]


async def test_an_offset_is_committed_only_when_its_event_was_seen_to() -> None:
    """Killed while the event's execution could not be written yet, the successor reads the event again."""
    async with a_world() as world:
        await publish_journey(world.log, MAIL_AND_WAIT)
        with refusing(world, lambda writes: any(write.collection is EXECUTIONS for write in writes)):
            await world.post("signed_up", "ann", "e1")
            await until(world.runtime.intake.is_idle)
            await world.runtime.intake.commit()
            await world.runtime.kill()
        await world.restart()
        await world.settle()

        assert ["act__v1__ann__e1"] == [one.execution_id for one in await world.executions()]
