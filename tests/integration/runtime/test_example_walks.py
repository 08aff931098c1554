"""Every walk that an example journey documents: the steps entered in order, and the messages sent."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.domain.execution.lifecycle import Status
from services.domain.times import format_time, parse_duration
from tests.support.journeys import WORKSPACE, publish_audience, publish_journey
from tests.support.world import World, a_world

FILES = sorted((Path(__file__).parents[3] / "examples" / "journeys").glob("*.json"))
EXAMPLES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FILES}
WALKS = [
    pytest.param(example, walk, id=f"{name}: {walk['name']}")
    for name, example in EXAMPLES.items()
    for walk in example["walks"]
]
USER = "usr_walker"


@pytest.mark.parametrize(("example", "walk"), WALKS)
async def test_a_documented_walk_is_walked(example: dict[str, Any], walk: dict[str, Any]) -> None:
    """Steps and messages are those written beside the journey; an empty path means: does not start."""
    async with a_world() as world:
        await publish(world, example)
        await put(world, walk.get("subject"))
        began = world.clock.now_ms()
        for number, event in enumerate(walk["events"]):
            await world.advance(began + parse_duration(event["after"]) - world.clock.now_ms())
            await world.post(event["type"], USER, f"e{number}", **moved(event.get("data") or {}, began))
            await world.settle()
        # No further than needed: a month after its end an execution is removed.
        while (due := await world.runtime.next_due()) is not None:
            await world.advance(due - world.clock.now_ms())

        first = next((one for one in await world.executions() if one.trigger.event_id == "e0"), None)
        messages = [
            name_of(example, message.step_id)
            for message in sorted(await world.messages(), key=lambda message: message.at)
            if message.execution_id == (first.execution_id if first else None)
        ]

    if not walk["path"]:
        assert first is None or first.status is Status.REFUSED
        assert [] == messages
        return
    assert first is not None
    assert fits(walk["path"], list(first.visits))
    assert fits(walk["messages"], messages)
    assert Status.SUCCEEDED == first.status


async def publish(world: World, example: dict[str, Any]) -> None:
    """The journey with its audience and its contract."""
    journey = example["journey"]
    audience = journey.get("audienceId", "").removeprefix("$ref:") or None
    if audience is not None:
        await publish_audience(world.log, audience, example["audiences"][audience]["predicate"])
    contract = example["triggerContracts"][journey["triggerContractId"].removeprefix("$ref:")]
    await publish_journey(
        world.log,
        journey["steps"],
        event=contract["eventName"],
        subject_path=contract["subjectFieldPath"],
        settings=journey.get("settings"),
        audience_id=audience,
        goal=(journey["goalEventName"], journey.get("goalEventWindowDays", 7)) if "goalEventName" in journey else None,
    )


async def put(world: World, subject: dict[str, Any] | None) -> None:
    """The walk's person: with an e-mail address and in UTC unless it says otherwise."""
    profile = {"addresses": {"email": "walker@example.org"}, "timezone": "UTC", **(subject or {})}
    await world.runtime.subjects.put(WORKSPACE, USER, json.dumps(profile).encode(), None)


def moved(data: dict[str, Any], began: int) -> dict[str, Any]:
    """`$at:P14D` is the first event's time plus 14 days."""
    return {
        name: format_time(began + parse_duration(value[4:]))
        if isinstance(value, str) and value.startswith("$at:")
        else value
        for name, value in data.items()
    }


def name_of(example: dict[str, Any], step_id: str) -> str:
    """The communication a step sends, as the file calls it."""
    step = next(step for step in example["journey"]["steps"] if step["id"] == step_id)
    return str(step["communicationId"]).removeprefix("$ref:")


def fits(expected: list[Any], found: list[str]) -> bool:
    """Equal, where a list stands for one of its names."""
    return len(expected) == len(found) and all(
        one == two or (isinstance(one, list) and two in one) for one, two in zip(expected, found, strict=True)
    )
