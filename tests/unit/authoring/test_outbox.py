"""Writes and their telling, over crashes, faults and races."""

import asyncio
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from services.authoring.outbox import CLEAR_AFTER_SECONDS
from services.authoring.repositories import JOURNEYS, Journey
from services.domain.journey.lifecycle import Verb
from services.infra.documents.port import Replace, StoreUnavailable, Write
from services.infra.log.port import LogUnavailable, Record
from tests.support.memory import MemoryDocuments, MemoryLog
from tests.unit.authoring.desk import ANN, EXIT, WORKSPACE, Desk


async def stored(desk: Desk, journey_id: str) -> Journey:
    found = await desk.documents.get(JOURNEYS, f"{WORKSPACE}:{journey_id}")
    assert found is not None
    return found


async def test_an_act_is_in_the_log_before_its_answer(desk: Desk) -> None:
    """Head, version and act are there when the call returns."""
    made = await desk.published([EXIT], id="act")

    assert ["created", "published"] == desk.actions("act")
    assert "published" == desk.told("journey:act").journey.status
    assert 1 == desk.told("journey:act").journey.latest_version
    assert made.steps_json == desk.told("version:act:1").version.steps_json
    assert await desk.authoring.idle()


async def test_killed_between_write_and_telling_the_restart_tells_once(desk: Desk) -> None:
    """The document is written, the log never heard: the next start tells, and clears."""
    log = desk.log
    assert isinstance(log, MemoryLog)
    await desk.draft([EXIT], id="act")
    log.unavailable = True
    with pytest.raises(LogUnavailable):
        await desk.authoring.publish(WORKSPACE, "act", ANN)
    assert not await desk.authoring.idle()

    log.unavailable = False
    await desk.killed()

    assert ["created", "published"] == [act.action for act in desk.acts("act")]
    assert 1 == desk.told("version:act:1").version.version
    assert (await stored(desk, "act")).outbox_open is None
    assert 1 == (await desk.authoring.journeys.version(WORKSPACE, "act", 1)).version


async def test_killed_between_catalogue_and_audit_the_restart_tells_the_rest(desk: Desk) -> None:
    """What was told is told again under the same ids."""
    log = desk.log
    assert isinstance(log, MemoryLog)
    await desk.published([EXIT], id="act")

    def fault(topic: str, records: Sequence[Record]) -> None:
        if topic == "journeys.audit.v1":
            raise LogUnavailable("killed here")

    log.fault = fault
    with pytest.raises(LogUnavailable):
        await desk.authoring.steer(WORKSPACE, "act", Verb.PAUSE, ANN)
    log.fault = None
    await desk.killed()

    assert ["created", "published", "paused"] == desk.actions("act")
    assert "paused" == desk.told("journey:act").journey.status


async def test_a_log_that_comes_back_hears_what_it_missed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a restart: the process itself tells later."""
    log = desk.log
    assert isinstance(log, MemoryLog)
    await desk.draft([EXIT], id="act")
    log.unavailable = True
    with pytest.raises(LogUnavailable):
        await desk.edit("act", name="Other")
    log.unavailable = False
    await desk.authoring.outbox.flush()

    assert ["created", "edited"] == desk.actions("act")
    assert await desk.authoring.idle()


async def test_a_write_in_doubt_is_told_if_it_was_applied(desk: Desk) -> None:
    """The store's answer is lost after the write: the caller is told so, and the log hears all the same."""
    documents = desk.documents
    assert isinstance(documents, MemoryDocuments)
    await desk.draft([EXIT], id="act")
    replaced = documents.replace

    async def lost(collection: object, document: object) -> None:
        await replaced(collection, document)  # type: ignore[arg-type]
        raise StoreUnavailable("the reply was lost")

    documents.replace = lost  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await desk.edit("act", name="Other")
    documents.replace = replaced  # type: ignore[method-assign]
    await desk.authoring.outbox.flush()

    assert ["created", "edited"] == desk.actions("act")


async def test_a_caller_who_goes_away_leaves_nothing_untold(desk: Desk) -> None:
    """A deadline passes between the write and the telling: the telling goes on."""
    await desk.draft([EXIT], id="act")
    for turns in range(1, 12):
        call = asyncio.create_task(desk.edit("act", name=f"n{turns}"))
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        while not await desk.authoring.idle():
            await asyncio.sleep(0)

        assert (await stored(desk, "act")).name == desk.told("journey:act").journey.name
        assert (await stored(desk, "act")).outbox == () or (
            (await stored(desk, "act")).outbox[-1].id in {act.id for act in desk.acts("act")}
        )


async def test_what_is_told_is_cleared_and_the_tag_stays(desk: Desk) -> None:
    """Clearing is a write nobody sees: the same updatedAt is still current."""
    view = await desk.published([EXIT], id="act")
    assert (await stored(desk, "act")).pending_version is not None

    await desk.authoring.outbox.flush()
    held = await stored(desk, "act")

    assert (None, (), None) == (held.outbox_open, held.outbox, held.pending_version)
    assert view.etag == (await desk.authoring.journeys.get(WORKSPACE, "act")).etag
    await desk.edit("act", name="Other", updated_at_ms=view.journey.updated_at_ms)


async def test_clearing_happens_by_itself(desk: Desk) -> None:
    """A second later, without a restart or another write."""
    await desk.draft([EXIT], id="act")

    await asyncio.sleep(CLEAR_AFTER_SECONDS + 0.3)

    assert (await stored(desk, "act")).outbox_open is None


async def test_a_write_that_meets_the_clearing_is_made_all_the_same(desk: Desk) -> None:
    """The guard fails because of a write nobody sees: the act is done again on top of it."""
    documents = desk.documents
    assert isinstance(documents, MemoryDocuments)
    view = await desk.draft([EXIT], id="act")
    cleared = False

    def clear_first(write: Write) -> None:
        nonlocal cleared
        if not cleared and isinstance(write, Replace) and getattr(write.document, "name", "") == "Other":
            cleared = True
            documents.fault = None
            held = documents.peek(JOURNEYS, f"{WORKSPACE}:act")
            documents.put(JOURNEYS, replace(held, revision=held.revision + 1, outbox=(), outbox_open=None))

    documents.fault = clear_first
    after = await desk.edit("act", name="Other", updated_at_ms=view.journey.updated_at_ms)

    assert cleared
    assert "Other" == after.journey.name
    assert ["created", "edited"] == desk.actions("act")


async def test_what_another_process_left_is_told_by_the_next_writer(desk: Desk) -> None:
    """The first process is gone before it told; the second writes and tells both acts."""
    log = desk.log
    assert isinstance(log, MemoryLog)
    await desk.published([EXIT], id="act")
    await desk.authoring.outbox.flush()
    other = desk.another()  # not opened anew: it knows nothing of what the first left
    log.unavailable = True
    with pytest.raises(LogUnavailable):
        await desk.edit("act", name="First")
    log.unavailable = False
    await other.steer(WORKSPACE, "act", Verb.PAUSE, ANN)

    assert ["created", "published", "edited", "paused"] == desk.actions("act")
    assert "paused" == desk.told("journey:act").journey.status
    await other.close()


async def test_the_last_record_is_the_last_state_whoever_is_slower(desk: Desk) -> None:
    """Two processes pause and resume at once: what the log says in the end is what the store says."""
    await desk.published([EXIT], id="act")
    other = desk.another()
    for _ in range(20):
        await asyncio.gather(
            desk.authoring.steer(WORKSPACE, "act", Verb.PAUSE, ANN),
            other.steer(WORKSPACE, "act", Verb.RESUME, ANN),
            desk.authoring.steer(WORKSPACE, "act", Verb.RESUME, ANN),
            other.steer(WORKSPACE, "act", Verb.PAUSE, ANN),
        )

        assert (await stored(desk, "act")).state.value == desk.told("journey:act").journey.status
    await other.close()


async def test_entry_ids_are_unique_and_stable(desk: Desk) -> None:
    """Each act has one id, also when it is told twice."""
    made = await desk.published([EXIT], id="act")
    await desk.edit(made.journey.id, name="Other", goal_event_name="bought")
    await desk.killed()

    acts = {act.id: act for act in desk.acts("act")}

    assert 4 == len(acts)
    assert all(act == acts[act.id] for act in desk.acts("act"))


async def test_a_start_tells_many(desk: Desk) -> None:
    """More than a page of outboxes at start: all are told and cleared."""
    log = desk.log
    assert isinstance(log, MemoryLog)
    log.unavailable = True
    for i in range(250):
        with pytest.raises(LogUnavailable):
            await desk.draft([EXIT], id=f"j{i}")
    log.unavailable = False

    await desk.killed()

    assert 250 == sum(key.startswith(f"{WORKSPACE}:journey:") for key in desk.catalogue())
    page = await desk.documents.scan(JOURNEYS, "by_outbox", (1,))
    assert [] == page.items
