"""A person is forgotten: nothing readable stays, nobody comes back unasked, and a crash anywhere changes nothing."""

import asyncio
import dataclasses
import json
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
import pytest
from journeys.events.v1.authoring_record_pb2 import AuditRecord
from journeys.events.v1.customer_event_pb2 import CustomerEvent

from services.domain import ids
from services.domain.errors import Invalid, Missing, Unavailable
from services.domain.execution.execution import Intent
from services.domain.execution.lifecycle import Status
from services.domain.execution.triggers import Profile
from services.infra.documents.port import Insert
from services.infra.log.port import Record
from services.runtime import erasure
from services.runtime.app import Runtime
from services.runtime.collections import AUDIT, EVENTS, EXECUTIONS
from services.runtime.dispatcher import send_of
from services.runtime.erasure_documents import DONE, RECEIPTS, Receipt
from services.runtime.lanes import log_key
from services.runtime.paging import PageRequest
from services.runtime.refused_starts import REASON
from services.runtime.senders.port import OutgoingMessage, Promise
from services.runtime.subject_documents import SUBJECTS, empty_subject
from tests.support.failpoints import Failpoint, Where
from tests.support.journeys import WORKSPACE, publish_journey, publish_list
from tests.support.planted import EMAIL, ORDER, PROFILE, USER, left_in, left_in_documents, left_in_log
from tests.support.walking import DAY, EXIT, HOUR, MINUTE, TRIGGER, await_step, send_step
from tests.support.world import RecordingSender, World, a_world

STEPS = [
    {**TRIGGER, "next": "hello"},
    send_step("hello", "w"),
    await_step("w", "activated", "P3D", "exit", "exit"),
    EXIT,
]
TOPICS = [topic.name for topic in Runtime.topics]


async def living(world: World, *, runs: int = 2) -> None:
    """A person in the middle of some runs, with a neighbour beside them."""
    await publish_journey(world.log, STEPS, email_path="mail")
    for user, body in ((USER, PROFILE), ("ben", {"addresses": {"email": "ben@example.com"}})):
        await world.runtime.subjects.put(WORKSPACE, user, json.dumps(body).encode(), None)
    for n in range(runs):
        await world.post("signed_up", USER, f"{ORDER}-{n}", city="Plantagenhausen-Überlingen", mail=EMAIL)
        await world.post("signed_up", "ben", f"b-{n}")
    await world.settle()


async def forget(world: World, user: str = USER) -> tuple[Receipt, bool]:
    return await world.runtime.erasures(WORKSPACE, user)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Let the world go on until it is so."""
    for _ in range(2_000):
        if await condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")


def left(world: World) -> list[str]:
    return left_in_documents(world.documents) + left_in_log(world.log, TOPICS)


def audited(world: World, action: str) -> list[AuditRecord]:
    records = [AuditRecord.FromString(one.value) for one in world.log.all(AUDIT)]
    return [record for record in records if record.action == action]


async def put(world: World, user: str = USER) -> None:
    await world.runtime.subjects.put(WORKSPACE, user, json.dumps(PROFILE).encode(), None)


async def test_nothing_of_a_person_in_the_middle_of_a_run_can_be_read() -> None:
    """No collection, no topic: id, address, attributes, event data, in none of their forms."""
    async with a_world() as world:
        await living(world)
        assert left(world)

        await forget(world)

        assert [] == left(world)


async def test_the_receipt_says_what_was_erased() -> None:
    """Executions that ran were stopped; messages, events and the profile are counted."""
    async with a_world() as world:
        await living(world, runs=3)

        receipt, is_first = await forget(world)

        found = (receipt.stopped, receipt.executions, receipt.messages, receipt.events, receipt.profile)
        assert (True, (3, 3, 3, 3, 1)) == (is_first, found)


async def test_neighbours_are_not_touched() -> None:
    """Their executions run on, their messages and events are there."""
    async with a_world() as world:
        await living(world)

        await forget(world)
        await world.post("activated", "ben", "b-activated")
        await world.settle()

        assert {Status.SUCCEEDED} == {one.status for one in await world.executions()}
        assert ["ben", "ben"] == [one.end_user_id for one in await world.messages()]


async def test_asked_twice_the_receipt_is_the_same_and_nothing_was_erased() -> None:
    """A repeat finds the mark."""
    async with a_world() as world:
        await living(world)
        first, _ = await forget(world)

        again, is_first = await forget(world)

        assert (first.key, first.forgotten_at, False) == (again.key, again.forgotten_at, is_first)


async def test_a_person_nobody_has_seen_gets_a_receipt_and_a_mark() -> None:
    """What comes of them later is not taken in either."""
    async with a_world() as world:
        await publish_journey(world.log, STEPS)

        receipt, _ = await forget(world)
        await world.post("signed_up", USER, "e1")
        await world.settle()

        assert (DONE, 0, 0, []) == (receipt.phase, receipt.executions, receipt.events, await world.executions())


async def test_an_unknown_workspace_has_nobody_to_forget() -> None:
    """Missing, as for everything in it."""
    async with a_world() as world:
        with pytest.raises(Missing):
            await world.runtime.erasures("pk_other", USER)


async def test_what_cannot_be_an_id_is_refused() -> None:
    """Empty, or over 200 bytes."""
    async with a_world() as world:
        for user in ("", "x" * 201):
            with pytest.raises(Invalid):
                await world.runtime.erasures(WORKSPACE, user)


async def test_neither_an_old_event_nor_a_new_one_brings_the_person_back() -> None:
    """Posted again under its id, posted anew, or replayed in the log: no execution, no profile, no record."""
    async with a_world() as world:
        await living(world)
        await forget(world)

        await world.post("signed_up", USER, f"{ORDER}-0", city="Plantagenhausen-Überlingen")
        await world.post("signed_up", USER, "another")
        event = CustomerEvent(id="replayed", type="signed_up", end_user_id=USER, project_key=WORKSPACE, received_ms=1)
        await world.log.append(EVENTS, [Record(log_key(WORKSPACE, USER), event.SerializeToString())])
        await world.settle()

        assert {"ben"} == {one.subject_id for one in await world.executions()}
        assert [] == left_in_documents(world.documents)


async def test_a_start_that_was_refused_is_audited_without_the_person() -> None:
    """The journey's timeline says that somebody who was forgotten would have entered, and not who."""
    async with a_world() as world:
        await living(world)
        await forget(world)

        await world.post("signed_up", USER, "another")

        [record] = audited(world, "trigger.blocked")
        metadata = json.loads(record.metadata_json)
        assert ({"reason": REASON, "eventType": "signed_up", "version": 1}, "act") == (metadata, record.journey_id)
        assert [] == left_in("record", record.SerializeToString())


async def test_an_asked_start_is_refused_and_never_reaches_the_log() -> None:
    """By hand or by our own machinery: the reason is told, nothing is stored."""
    async with a_world() as world:
        await living(world)
        await forget(world)
        event = CustomerEvent(id="by-hand", end_user_id=USER)

        _, started, reason = await world.runtime.commands.start(WORKSPACE, "act", event, "manual", "system")

        assert ((False, REASON), []) == ((started, reason), left(world))


async def test_after_a_put_new_events_count_and_old_ones_do_not() -> None:
    """The person is known again from the moment of the PUT: what happened before is not theirs any more."""
    async with a_world() as world:
        await living(world)
        await forget(world)
        before = world.clock.now_ms() - HOUR
        world.clock.move(HOUR)
        await put(world)

        world.clock.move(MINUTE)
        old = CustomerEvent(id="old", type="signed_up", end_user_id=USER, timestamp_ms=before)
        await world.runtime.ingestion(WORKSPACE, [old])
        await world.post("signed_up", USER, "new")
        await world.settle()

        started = [one.trigger.event_id for one in await world.executions() if one.subject_id == USER]
        assert ["new"] == started


async def test_somebody_who_came_back_can_be_forgotten_again() -> None:
    """Under a receipt of its own; the former one still verifies."""
    async with a_world() as world:
        await living(world)
        first, _ = await forget(world)
        await put(world)
        await world.post("signed_up", USER, "new")
        await world.settle()

        second, _ = await forget(world)

        old, _, _ = await world.runtime.erasures.receipt(first.key)
        assert (2, 1, True) == (old.executions, second.executions, first.key != second.key)
        assert [] == left(world)


async def test_an_import_brings_nobody_back() -> None:
    """A list may be older than the person's wish: the line is refused, its neighbours go on."""
    async with a_world() as world:
        await living(world)
        await forget(world)
        lines = [json.dumps({"endUserId": user}).encode() for user in ("cleo", USER)]

        imported = await world.runtime.subjects.import_batch(WORKSPACE, lines)

        assert (1, [(1, "subject_forgotten")]) == (imported.created, [(f.index, f.code) for f in imported.faults])
        assert [] == left_in_documents(world.documents)


async def test_a_suppressed_address_stays_suppressed_and_is_listed_no_more() -> None:
    """Under a keyed hash: whoever has that address next is not written to either."""
    async with a_world() as world:
        await living(world)
        await world.runtime.suppressions.put(WORKSPACE, EMAIL, "complained")

        await forget(world)
        body = {"addresses": {"email": EMAIL.lower()}}
        await world.runtime.subjects.put(WORKSPACE, "heir", json.dumps(body).encode(), None)
        await world.post("signed_up", "heir", "h1")
        await world.settle()

        [heir] = [one for one in await world.executions() if one.subject_id == "heir"]
        listed = await world.runtime.suppressions.list(WORKSPACE, PageRequest(10, None))
        assert ("suppression_match", []) == (heir.results["hello-1"].reason, listed.items)


async def test_a_hidden_suppression_can_be_lifted() -> None:
    """By whoever knows the address; a second time there is none."""
    async with a_world() as world:
        await living(world)
        await world.runtime.suppressions.put(WORKSPACE, EMAIL, "complained")
        await forget(world)

        await world.runtime.suppressions.delete(WORKSPACE, EMAIL.upper())

        assert frozenset() == await world.runtime.suppressions.among(WORKSPACE, [EMAIL])
        with pytest.raises(Missing):
            await world.runtime.suppressions.delete(WORKSPACE, EMAIL)


async def test_an_event_of_nobody_that_started_the_person_goes_too() -> None:
    """Its sender named nobody; the contract found the person in its data."""
    async with a_world() as world:
        await publish_journey(world.log, STEPS, subject_path="data.customer.id")
        await world.post("signed_up", None, "nobodys", customer={"id": USER})
        await world.settle()
        assert [USER] == [one.subject_id for one in await world.executions()]

        await forget(world)
        await world.post("signed_up", None, "nobodys-again", customer={"id": USER})
        await world.settle()

        assert [] == left(world)


async def test_an_event_of_somebody_else_loses_the_name() -> None:
    """Who invited the person keeps the event, without them in it."""
    async with a_world() as world:
        await publish_journey(world.log, STEPS, subject_path="data.invited")
        await world.post("signed_up", "ben", "invitation", invited=USER, note="hello")
        await world.settle()

        await forget(world)

        assert [] == left(world)
        kept = await world.documents.scan(EXECUTIONS, "", limit=10)
        assert [] == kept.items


async def test_lists_of_the_catalogue_that_were_replaced_are_gone() -> None:
    """Only the newest record of a key says how a list is; older ones still name whoever was on it."""
    async with a_world() as world:
        await publish_list(world.log, "vip", ["ben", USER])
        await publish_list(world.log, "vip", ["ben"])
        await world.settle()

        await forget(world)

        assert [] == left(world)


class SlowSender(RecordingSender):
    """A provider that answers when it is told to."""

    def __init__(self) -> None:
        super().__init__(Promise.AT_MOST_ONCE)
        self.answers = asyncio.Event()

    async def send(self, message: OutgoingMessage) -> None:
        await super().send(message)
        await self.answers.wait()


async def test_what_a_provider_answers_too_late_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is still under way when the person is forgotten leaves no message and no record."""
    monkeypatch.setattr(erasure, "EFFECT_SECONDS", 0.04)
    sender = SlowSender()
    async with a_world({"email": sender}) as world:
        await publish_journey(world.log, STEPS)
        await put(world)
        await world.post("signed_up", USER, "e1")
        await eventually(lambda: _has_called(sender))

        await forget(world)
        sender.answers.set()
        await world.settle()

        assert [] == left(world)


async def _has_called(sender: SlowSender) -> bool:
    return bool(sender.calls)


async def test_a_send_that_was_promised_is_not_made_to_somebody_forgotten() -> None:
    """The dispatcher looks at the mark before the gate: what the lane had promised just before is dropped."""
    sender = RecordingSender(Promise.AT_MOST_ONCE)
    async with a_world({"email": sender}) as world:
        await publish_journey(world.log, STEPS)
        await put(world)
        await world.post("signed_up", USER, "e1")
        await world.settle()
        [one] = await world.executions()
        sender.calls.clear()
        await forget(world)
        intent = Intent("send", "hello", "claimed", 1 << 50, channel="email")
        promised = dataclasses.replace(one, intents={"hello-2": intent})

        await world.runtime.dispatcher.submit(
            [send_of(promised, "hello-2", "email", Profile(USER, email=EMAIL), time.monotonic(), is_repeat=False)]
        )
        await world.settle()

        assert ([], []) == (sender.calls, left(world))


async def test_a_zombies_leftovers_are_found_after_ten_minutes() -> None:
    """Documents of a process that had not seen the mark: their profile and their record in the log."""
    async with a_world() as world:
        await living(world)
        receipt, _ = await forget(world)
        profile = empty_subject(WORKSPACE, USER, world.clock.now_ms())
        await world.documents.write_many([Insert(SUBJECTS, profile)])
        event = CustomerEvent(id="late", type="unheard", end_user_id=USER, project_key=WORKSPACE, received_ms=1)
        await world.log.append(EVENTS, [Record(log_key(WORKSPACE, USER), event.SerializeToString())])
        await world.settle()

        await world.advance(11 * MINUTE)

        async def looked_again() -> bool:
            return (await world.runtime.erasures.receipt(receipt.key))[0].next_at != receipt.next_at

        await eventually(looked_again)
        assert [] == left(world)


async def test_after_a_day_nobody_looks_again() -> None:
    """Twice is enough: what is added later meets the mark."""
    async with a_world() as world:
        await living(world)
        receipt, _ = await forget(world)

        for ms in (11 * MINUTE, DAY):
            await world.advance(ms)
            await eventually(partial(_looked, world, receipt.key, world.clock.now_ms()))

        assert (await world.runtime.erasures.receipt(receipt.key))[0].next_at is None


async def _looked(world: World, receipt_id: str, now: int) -> bool:
    receipt, _, _ = await world.runtime.erasures.receipt(receipt_id)
    return receipt.next_at is None or receipt.next_at > now


async def test_nobody_comes_back_while_they_are_being_forgotten() -> None:
    """A PUT in the middle would be half erased, so it has to come again."""
    async with a_world() as world:
        await living(world)
        receipt, _ = await forget(world)
        stored = world.documents.peek(RECEIPTS, receipt.key)
        world.documents.put(RECEIPTS, _unfinished(stored))

        with pytest.raises(Unavailable):
            await put(world)


def _unfinished(receipt: Receipt) -> Receipt:
    return msgspec.structs.replace(receipt, phase="delete")


async def test_verifying_a_receipt_finds_nothing() -> None:
    """Nothing of that person is there, and they are not known again."""
    async with a_world() as world:
        await living(world)
        receipt, _ = await forget(world)

        found, remaining, reinstated_at = await world.runtime.erasures.receipt(receipt.key)

        assert (receipt.key, 0, None) == (found.key, remaining, reinstated_at)


@pytest.mark.parametrize("where", list(Where))
async def test_killed_anywhere_it_finishes_after_the_restart(where: Where) -> None:
    """Every write, append, erasure and scrub in turn is the last thing a process does; counts are those of an
    undisturbed run, and nothing is left.
    """
    reached = 0
    for at in range(1, 60):
        failpoint = Failpoint()
        async with a_world(None, failpoint) as world:
            await living(world)
            failpoint.arm(at, where)
            died = await world.survive(failpoint, partial(_forgotten, world))
            if not died:
                break
            reached += 1
            await world.settle()
            [receipt] = (await world.documents.scan(RECEIPTS, "", limit=10)).items
            counts: Any = (receipt.phase, receipt.stopped, receipt.executions, receipt.messages, receipt.events)
            assert (DONE, 2, 2, 2, 2) == counts, f"{where.value} call {at}"
            assert [] == left(world), f"{where.value} call {at}"

    assert reached >= 12


async def _forgotten(world: World) -> None:
    await forget(world)


async def test_others_go_on_while_somebody_with_many_executions_is_forgotten() -> None:
    """Between two pages everybody else has their turn."""
    async with a_world() as world:
        await living(world, runs=1)
        one = next(one for one in await world.executions() if one.subject_id == USER)
        for n in range(1_200):
            name = ids.execution_id("act", 1, USER, f"many-{n}")
            key = ids.execution_key(one.slot, b"0" * 32, WORKSPACE, name)
            world.documents.put(EXECUTIONS, dataclasses.replace(one, key=key, execution_id=name))
        done: list[str] = []

        async def forgotten() -> None:
            await forget(world)
            done.append("the person")

        async def started() -> None:
            event = CustomerEvent(id="c1", end_user_id="cleo")
            await world.runtime.commands.start(WORKSPACE, "act", event, "internal", "system")
            done.append("somebody else")

        await asyncio.gather(forgotten(), started())

        assert ["somebody else", "the person"] == done
        assert [] == left(world)
