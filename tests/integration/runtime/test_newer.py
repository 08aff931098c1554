"""Documents that a newer version of this program wrote: what comes for their people waits for the update, aloud."""

import asyncio
import dataclasses
import json
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from journeys.events.v1.customer_event_pb2 import CustomerEvent
from structlog.testing import capture_logs

from services.domain.execution.lifecycle import Status
from services.infra.documents import newer
from services.infra.documents.port import Collection, NewerDocument
from services.infra.documents.sqlite import SqliteDocuments
from services.infra.log.port import Record
from services.infra.sqlite.engine import open_engine
from services.runtime.app import Runtime
from services.runtime.collections import DEAD_LETTERS, EVENTS, EXECUTIONS
from services.runtime.dead_letters import DeadLetters
from services.runtime.lanes import log_key
from services.runtime.paging import PageRequest
from services.runtime.subject_documents import SUBJECTS
from tests.support.journeys import WORKSPACE, publish_journey, publish_workspace
from tests.support.walking import DAY, EXIT, TRIGGER, await_step, send_step
from tests.support.world import RecordingSender, World

STEPS = [
    {**TRIGGER, "next": "hello"},
    send_step("hello", "w"),
    await_step("w", "activated", "P3D", "congrats", "late"),
    send_step("congrats", "exit"),
    send_step("late", "exit"),
    EXIT,
]


@pytest.fixture(params=["memory", "sqlite"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """Ann and Ben wait in a journey."""
    newer.forget_what_was_told()
    engine = await open_engine(tmp_path) if request.param == "sqlite" else None
    made = World({"email": RecordingSender()})
    if engine is not None:
        made.documents = SqliteDocuments(engine)  # type: ignore[assignment]  # the world asks for no more than the port
        made.runtime = made._made()
    await made.documents.open(Runtime.collections)
    await made.log.open(Runtime.topics)
    await publish_workspace(made.log)
    await publish_journey(made.log, STEPS)
    await made.runtime.open()
    for user in ("ann", "ben"):
        profile = json.dumps({"addresses": {"email": f"{user}@example.com"}}).encode()
        await made.runtime.subjects.put(WORKSPACE, user, profile, None)
        await made.post("signed_up", user, f"signed_up-{user}")
    await made.settle()
    yield made
    await made.runtime.close()
    if engine is not None:
        await engine.close()


async def written_by_a_newer_version(world: World, collection: Collection[Any], user: str) -> Any:
    """The user's document of that collection, written once more by the next version. It is returned."""
    page = await world.documents.scan(collection, "", limit=100)
    field = "subject_id" if collection is EXECUTIONS else "end_user_id"
    (held,) = [one for one in page.items if getattr(one, field) == user]
    revision = {collection.revision: getattr(held, collection.revision) + 1}
    change = msgspec.structs.replace if isinstance(held, msgspec.Struct) else dataclasses.replace
    later = change(held, **revision)
    raised = dataclasses.replace(collection, schema=collection.schema + 1)
    await world.documents.open([raised])
    await world.documents.replace(raised, later)
    await world.documents.open([collection])
    return later


async def as_stored(world: World, collection: Collection[Any], document: Any) -> Any:
    """What the next version would read in its place."""
    raised = dataclasses.replace(collection, schema=collection.schema + 1)
    await world.documents.open([raised])
    return await world.documents.get(raised, getattr(document, collection.key))


def sent(world: World) -> list[tuple[str, str]]:
    """Who was sent which message, in order."""
    assert world.senders is not None
    sender = world.senders["email"]
    assert isinstance(sender, RecordingSender)
    return sorted((call.end_user_id, call.step_id) for call in sender.calls)


async def test_who_has_a_newer_execution_is_parked_and_the_neighbours_go_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """One line in the log, a dead letter with its reason, nothing written over; replayed after the update it counts."""
    held = await written_by_a_newer_version(world, EXECUTIONS, "ann")

    with caplog.at_level(logging.ERROR), capture_logs() as said:
        await world.post("activated", "ann", "activated-ann")
        await world.post("activated", "ben", "activated-ben")
        await world.settle()
    (letter,) = (await DeadLetters(world.log).listed(PageRequest(10))).items
    before_update = sent(world)
    stored = await as_stored(world, EXECUTIONS, held)
    await updated(world, held)
    await DeadLetters(world.log).replay(letter.stored.partition, letter.stored.offset)
    await world.settle()

    assert held == stored
    assert [("ann", "hello"), ("ben", "congrats"), ("ben", "hello")] == before_update
    assert "activated-ann" == CustomerEvent.FromString(letter.stored.value).id
    assert "newer version of this program wrote a document of executions" in letter.origin.reason
    assert [("executions", held.key, 1)] == [
        (line["collection"], line["key"], line["records"]) for line in said if line["event"] == "lane.parked"
    ]
    assert 1 == caplog.text.count("was written by a newer version of this program")
    assert [Status.SUCCEEDED] * 2 == [one.status for one in await executions(world)]
    assert [("ann", "congrats"), ("ann", "hello"), ("ben", "congrats"), ("ben", "hello")] == sent(world)


async def test_a_letter_that_is_replayed_too_early_is_parked_again_and_counts_once(world: World) -> None:
    """Whoever replays all letters, twice, does no harm."""
    held = await written_by_a_newer_version(world, EXECUTIONS, "ann")
    await world.post("activated", "ann", "activated-ann")
    await world.settle()
    await replay_all(world)
    await updated(world, held)

    await replay_all(world)
    await world.settle()

    assert [("ann", "congrats"), ("ann", "hello"), ("ben", "hello")] == sent(world)
    assert 2 == len(world.log.all(DEAD_LETTERS))


async def test_a_producers_duplicate_of_a_parked_event_is_still_a_duplicate(world: World) -> None:
    """Only the letter is the event."""
    await written_by_a_newer_version(world, EXECUTIONS, "ann")
    await world.post("activated", "ann", "activated-ann")
    await world.settle()

    duplicate = CustomerEvent(id="activated-ann", type="activated", end_user_id="ann", project_key=WORKSPACE)
    await world.log.append(EVENTS, [Record(log_key(WORKSPACE, "ann"), duplicate.SerializeToString())])
    await world.settle()

    assert 1 == len(world.log.all(DEAD_LETTERS))


async def test_who_has_a_newer_profile_is_not_decided_for(world: World) -> None:
    """Not by an event, and not by a timer; a caller is told so. The profile stays as it is."""
    held = await written_by_a_newer_version(world, SUBJECTS, "ann")

    await world.post("activated", "ann", "activated-ann")
    await world.advance(4 * DAY)
    with pytest.raises(NewerDocument):
        await world.runtime.subjects.put(WORKSPACE, "ann", b'{"attributes": {}}', None)

    assert [("ann", "hello"), ("ben", "hello"), ("ben", "late")] == sent(world)
    assert held == await as_stored(world, SUBJECTS, held)


async def test_a_command_for_somebody_parked_is_refused_at_once(world: World) -> None:
    """Nobody waits for a reply that does not come; the command is a dead letter like an event."""
    held = await written_by_a_newer_version(world, SUBJECTS, "ann")
    (mine,) = [one for one in await executions(world) if one.subject_id == "ann"]

    with pytest.raises(NewerDocument):
        await world.runtime.commands.abort(WORKSPACE, mine.journey_id, mine.execution_id, "usr_1")
    await updated(world, held, SUBJECTS)
    await replay_all(world)
    await world.settle()

    assert Status.ABORTED == {one.subject_id: one.status for one in await executions(world)}["ann"]


async def test_a_forget_waits_for_the_update(world: World) -> None:
    """It says so, and removes what a newer version wrote as soon as it can be read."""
    held = await written_by_a_newer_version(world, EXECUTIONS, "ann")
    with capture_logs() as said:
        forgetting = asyncio.create_task(world.runtime.erasures(WORKSPACE, "ann"))
        while not any(line["event"] in ("forget.waits", "erasures.wait") for line in said):
            await asyncio.sleep(0)
    waited = not forgetting.done()
    await updated(world, held)
    await forgetting

    assert waited
    assert ["ben"] == [one.subject_id for one in await executions(world)]


async def executions(world: World) -> list[Any]:
    """All of them, by person."""
    found = (await world.documents.scan(EXECUTIONS, "", limit=100)).items
    return sorted(found, key=lambda one: one.subject_id)


async def replay_all(world: World) -> None:
    """As `journeys dlq replay` does with each."""
    letters = DeadLetters(world.log)
    for one in (await letters.listed(PageRequest(100))).items:
        await letters.replay(one.stored.partition, one.stored.offset)
    await world.settle()


async def updated(world: World, held: Any, collection: Collection[Any] = EXECUTIONS) -> None:
    """The program is as new as the document: here, the document becomes as old as the program."""
    documents: Any = world.documents
    if isinstance(documents, SqliteDocuments):
        await documents.open([collection])
        await documents._engine.write(_make_older, f'"doc_{collection.name}"')
    else:
        documents._schemas.pop((collection.name, getattr(held, collection.key)))


def _make_older(connection: apsw.Connection, tables: Sequence[str]) -> list[None]:
    for table in tables:
        connection.execute(f"update {table} set schema = 1")
    return [None for _ in tables]
