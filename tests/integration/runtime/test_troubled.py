"""What cannot be handled, and what another process knows better: neighbours go on, and nothing is done twice."""

import asyncio
import json

import pytest
from journeys.events.v1.command_record_pb2 import CommandRecord
from journeys.events.v1.customer_event_pb2 import CustomerEvent

from services.domain.execution.lifecycle import Status
from services.infra.log.port import Record, Stored
from services.runtime import engine
from services.runtime.collections import COMMANDS, DEAD_LETTERS, EVENTS
from services.runtime.desk import Desk
from services.runtime.lanes import log_key, subject_of
from services.runtime.work import AckItem, CommandItem, DueItem, EventItem
from tests.support.journeys import WORKSPACE, publish_journey
from tests.support.walking import EXIT, MINUTE, TRIGGER, send_step
from tests.support.world import RecordingSender, World, a_world

STEPS = [{**TRIGGER, "next": "mail"}, send_step("mail", "exit"), EXIT]
PROFILE = json.dumps({"addresses": {"email": "ann@example.com"}}).encode()


def message(user: str, event_id: str, data: bytes) -> Record:
    """An event as our own service writes it, whoever did."""
    event = CustomerEvent(
        id=event_id, type="signed_up", end_user_id=user, project_key=WORKSPACE, received_ms=1, data_json=data
    )
    return Record(log_key(WORKSPACE, user), event.SerializeToString())


async def started(world: World) -> list[str]:
    return [one.subject_id for one in await world.executions()]


@pytest.mark.parametrize("data", [b"\xff", b"{", b"[]", b"[" * 5_000])
async def test_data_that_is_no_object_is_a_dead_letter_even_in_a_message_of_ours(data: bytes) -> None:
    """Whoever may write to the topic can write it, and neither the intake nor the lanes may stop at it."""
    async with a_world() as world:
        await publish_journey(world.log, STEPS)

        await world.log.append(EVENTS, [message("ann", "e1", data), message("ben", "e2", b'{"plan": "pro"}')])
        await world.settle()

        assert ["ben"] == await started(world)
        assert 1 == len(world.log.all(DEAD_LETTERS))


async def test_a_text_that_is_no_unicode_costs_its_neighbours_nothing() -> None:
    """It is an object, and still cannot be read: the event counts without its data."""
    async with a_world() as world:
        await publish_journey(world.log, STEPS)

        await world.log.append(EVENTS, [message("ann", "e1", b'{"x": "\\ud800"}'), message("ben", "e2", b"{}")])
        await world.settle()

        assert "ben" in await started(world)


async def test_a_record_whose_planning_fails_is_set_aside_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cycle's others, and the person's own other events, are handled; it is kept as a dead letter."""
    planned = Desk.event

    def failing(desk: Desk, item: EventItem) -> None:
        if item.event.id == "e2":
            raise KeyError("a fault of ours")
        planned(desk, item)

    monkeypatch.setattr(Desk, "event", failing)
    async with a_world() as world:
        await publish_journey(world.log, STEPS)

        await world.log.append(EVENTS, [message("ann", name, b"{}") for name in ("e1", "e2", "e3")])
        await world.log.append(EVENTS, [message("ben", "e4", b"{}")])
        await world.settle()

        assert ["ann", "ann", "ben"] == await started(world)
        assert ["e2"] == [CustomerEvent.FromString(one.value).id for one in world.log.all(DEAD_LETTERS)]


async def test_whoever_another_process_made_known_again_gets_each_message_once() -> None:
    """The process that forgot them does not hear of it; the mark tells."""
    sender = RecordingSender()
    async with a_world({"email": sender}) as world:
        await publish_journey(world.log, STEPS)
        await world.runtime.subjects.put(WORKSPACE, "ann", PROFILE, None)
        await world.runtime.erasures(WORKSPACE, "ann")
        world.clock.move(MINUTE)
        await world.runtime.subjects.put(WORKSPACE, "ann", PROFILE, None)
        info = world.runtime.catalog.workspace(WORKSPACE)
        assert info is not None
        world.runtime.marks.note(subject_of(WORKSPACE, info.subject_secret, "ann").key)

        world.clock.move(MINUTE)
        await world.post("signed_up", "ann", "e1")
        await world.advance(5 * MINUTE)

        assert 1 == len(sender.calls)
        assert ["sent"] == [one.status for one in await world.messages()]
        assert [Status.SUCCEEDED] == [one.status for one in await world.executions()]


async def test_a_forget_that_is_read_again_forgets_nobody_who_came_back() -> None:
    """Where records cannot be removed from the log, the command is read again after a crash before its commit."""
    async with a_world() as world:
        await world.runtime.subjects.put(WORKSPACE, "ann", PROFILE, None)
        receipt, _ = await world.runtime.erasures(WORKSPACE, "ann")
        world.clock.move(MINUTE)
        await world.runtime.subjects.put(WORKSPACE, "ann", PROFILE, None)

        command = CommandRecord(id=receipt.key, workspace=WORKSPACE, end_user_id="ann")
        command.forget.receipt_id = receipt.key
        stored = Stored(COMMANDS, 0, 0, log_key(WORKSPACE, "ann"), command.SerializeToString(), (), 0)
        await world.runtime.erasures.in_lane(CommandItem(stored, command))

        assert set() == await world.runtime.marks.forgotten([(WORKSPACE, "ann")])


async def test_others_have_the_loop_while_one_person_with_many_events_is_planned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planning is cut in slices; with slices of no length everybody else has a turn behind each event."""
    monkeypatch.setattr(engine, "SLICE_SECONDS", 0.0)
    turns: list[int] = []
    planned = Desk.event
    turn = 0

    def noting(desk: Desk, item: EventItem) -> None:
        turns.append(turn)
        planned(desk, item)

    monkeypatch.setattr(Desk, "event", noting)
    async with a_world() as world:
        await publish_journey(world.log, STEPS)
        await world.log.append(EVENTS, [message("ann", f"e{i}", b"{}") for i in range(50)])
        while len(turns) < 50:
            turn += 1
            await asyncio.sleep(0)
        await world.settle()

    assert 50 == len(set(turns))


async def test_of_three_places_one_is_for_those_who_can_wait() -> None:
    """Whom an event concerns comes first and goes alone; acknowledgements are come to though others never stop."""
    async with a_world() as world:
        lanes = world.runtime.engine
        lanes.submit(WORKSPACE, "ann", AckItem("a", 0, is_urgent=False))
        taken = []
        cycles = [asyncio.get_running_loop().create_future() for _ in range(3)]
        for user, cycle in zip(("ben", "cleo", "dan"), cycles, strict=True):
            lanes.submit(WORKSPACE, user, DueItem(user, 0))
            batch, is_patient = lanes._take() or ({}, False)
            taken.append(([name for _, name in batch], is_patient))
            lanes._cycles.add(cycle)  # type: ignore[arg-type]  # a cycle that has not ended
        lanes._cycles.clear()
        lanes.unfinished = 0

        assert [(["ben"], False), (["cleo"], False), (["ann"], True)] == taken
