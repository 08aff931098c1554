"""Acknowledgements that nothing else carries are written without reading anything, where that is safe."""

import asyncio

import pytest

from services.domain.execution.execution import Execution, altered
from services.domain.execution.lifecycle import Status
from services.runtime import engine
from services.runtime.collections import EXECUTIONS
from services.runtime.loading import load
from tests.support.journeys import WORKSPACE, publish_journey
from tests.support.walking import EXIT, TRIGGER, send_step, wait_step
from tests.support.world import World, a_world

WAITING = [{**TRIGGER, "next": "w"}, wait_step("w", "PT1H", "exit"), EXIT]


async def one(world: World) -> Execution:
    """The only execution."""
    (found,) = await world.executions()
    return found


async def test_it_is_taken_note_of_without_a_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """An execution as we wrote it last: its entries are in the log, and its alarm is its wait's again."""
    loaded: list[int] = []

    async def counting(*args: object) -> object:
        loaded.append(len(args[2]))  # type: ignore[arg-type]  # those who are asked for
        return await load(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "load", counting)
    async with a_world() as world:
        await publish_journey(world.log, WAITING)
        await world.post("signed_up", "ann", "e1")
        await world.settle()
        found = await one(world)

        assert [1] == loaded
        assert ((), None, 2) == (found.outbox, found.outbox_due_at, found.transition)
        assert found.step_due_at == found.due_at


async def test_a_send_that_is_waited_for_moves_the_person_on() -> None:
    """There is more to do than to take note: it takes the way of everybody else."""
    async with a_world() as world:
        await publish_journey(
            world.log, [{**TRIGGER, "next": "mail"}, send_step("mail", "exit", onFailure="fail"), EXIT]
        )
        await world.runtime.subjects.put(WORKSPACE, "ann", b'{"addresses": {"email": "a@example.com"}}', None)
        await world.post("signed_up", "ann", "e1")
        await world.settle()

        assert (Status.SUCCEEDED, {"mail-1": "sent"}) == (
            (found := await one(world)).status,
            {key: result.state for key, result in found.results.items()},
        )


async def test_a_send_that_is_waited_for_is_noted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody stands still until then, so it does not wait for company."""
    monkeypatch.setattr(engine, "ACK_SECONDS", 3_600.0)
    async with a_world() as world:
        asked = {"kind": "received", "stepId": "mail", "status": "sent"}
        ways = [{"id": "sent", "condition": asked, "next": "exit"}]
        split = {"id": "split", "type": "branch", "mode": "condition", "branches": ways, "default": "other"}
        steps = [{**TRIGGER, "next": "mail"}, send_step("mail", "split"), split, EXIT, {**EXIT, "id": "other"}]
        await publish_journey(world.log, steps)
        await world.runtime.subjects.put(WORKSPACE, "ann", b'{"addresses": {"email": "a@example.com"}}', None)
        await world.post("signed_up", "ann", "e1")
        for _ in range(20_000):
            found = await world.executions()
            if found and found[0].status is Status.SUCCEEDED:
                break
            await asyncio.sleep(0)

        assert "exit" == (await one(world)).step_id


async def test_what_somebody_else_wrote_meanwhile_is_not_written_over() -> None:
    """The guard misses, the execution is read, and the acknowledgement joins what stands there."""
    async with a_world() as world:
        await publish_journey(world.log, WAITING)
        lanes = world.runtime.engine
        remember = lanes._remember

        def outdated(execution: Execution) -> None:
            if execution.transition == 1:
                execution = altered(execution, transition=0)  # as it was before somebody else's write
            remember(execution)

        lanes._remember = outdated  # type: ignore[method-assign]
        await world.post("signed_up", "ann", "e1")
        await world.settle()
        found = await one(world)

        assert ((), 2) == (found.outbox, found.transition)
        assert found == await world.documents.get(EXECUTIONS, found.key)


async def test_of_a_former_epoch_nothing_is_remembered() -> None:
    """Whoever took over in between reads before it writes."""
    async with a_world() as world:
        await publish_journey(world.log, WAITING)
        await world.post("signed_up", "ann", "e1")
        await world.settle()
        before = await one(world)
        await world.runtime.ownership.assigned(range(world.log.partitions))
        await world.post("signed_up", "ann", "e2")
        await world.settle()

        first, second = await world.executions()
        assert before == first
        assert second.owner_epoch == before.owner_epoch + 1
        assert () == second.outbox
