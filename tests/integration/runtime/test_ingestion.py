"""What a producer is told: an event is a duplicate if its id stands for another one, and for no other reason."""

from collections.abc import Sequence

import pytest

from services.infra.log.port import Place, Record
from services.runtime.collections import EVENTS
from tests.support.journeys import publish_journey
from tests.support.walking import EXIT, TRIGGER, send_step
from tests.support.world import World, a_world

STEPS = [{**TRIGGER, "next": "mail"}, send_step("mail", "exit"), EXIT]


def decide_before_the_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane that is quicker than the ingestion: what is appended has its record before the append returns."""
    append = world.log.append

    async def appended(topic: str, records: Sequence[Record]) -> list[Place]:
        places = await append(topic, records)
        if topic == EVENTS:
            await world.settle()
        return places

    monkeypatch.setattr(world.log, "append", appended)


async def test_an_event_that_was_decided_before_its_answer_is_no_duplicate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lane has kept its record by then: at its own place in the log, so it is the same event."""
    async with a_world() as world:
        await publish_journey(world.log, STEPS)
        decide_before_the_answer(world, monkeypatch)

        told = [await world.post("signed_up", "ann", "e1") for _ in range(2)]

        assert [(1, 0), (1, 1)] == told
        assert 1 == len(await world.executions())
