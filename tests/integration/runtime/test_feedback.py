"""What providers and people say of messages, with lanes, timers and dispatcher together."""

import json
from typing import Any

import msgspec
import pytest
from journeys.events.v1.authoring_record_pb2 import AuditRecord

from services.domain.errors import Expired, Invalid, Missing
from services.infra.log.port import Record
from services.runtime.collections import AUDIT, CATALOGUE, MESSAGES
from services.runtime.senders.port import OutgoingMessage, Promise
from tests.support.journeys import WORKSPACE, publish_audience, publish_journey, workspace_record
from tests.support.walking import DAY, EXIT, HOUR, TRIGGER, send_step, wait_step
from tests.support.world import RecordingSender, World, a_world

MAIL = [{**TRIGGER, "next": "mail"}, send_step("mail", "exit"), EXIT]


async def person(world: World, user: str = "ann", **profile: Any) -> None:
    body = {"addresses": {"email": f"{user}@example.com"}, **profile}
    await world.runtime.subjects.put(WORKSPACE, user, json.dumps(body).encode(), None)


async def say(world: World, kind: str, user: str = "ann", **more: Any) -> None:
    """A provider's word about the mail of that start."""
    await world.runtime.messages.record(
        WORKSPACE, f"act__v1__{user}__e-{user}-mail-1", kind, **{"permanent": False, **more}, actor="key"
    )


def acts(world: World) -> list[tuple[str, str, str]]:
    """Actor, source and channel of every change of preferences."""
    records = [AuditRecord.FromString(stored.value) for stored in world.log.all(AUDIT)]
    told = [(one.actor, msgspec.json.decode(one.metadata_json)) for one in records]
    return [(actor, one["source"], one["channel"]) for actor, one in told if "channel" in one]


def received(status: str, step: str = "mail") -> dict[str, str]:
    return {"kind": "received", "stepId": step, "status": status}


async def test_a_one_click_unsubscribe_stops_the_next_send() -> None:
    """By the link that the mail itself carries; it is in the audit, and undoing it by the page works as well."""
    sender = RecordingSender()
    async with a_world({"email": sender}) as world:
        await publish_journey(world.log, MAIL)
        await person(world)
        await world.post("signed_up", "ann", "e-ann")
        await world.settle()
        link = sender.calls[0].unsubscribe_url
        token = link.rpartition("/")[2]
        assert link.startswith("http://127.0.0.1:8080/preferences/")
        assert f'<a href="{link}">' in sender.calls[0].body

        await world.runtime.preferences.unsubscribe(token)
        shown = await world.runtime.preferences.unsubscribe(token)
        await world.post("signed_up", "ann", "e2")
        await world.settle()
        assert 1 == len(sender.calls)
        assert (False, True, True) == tuple(shown.channels.values())
        assert [("subject", "one_click", "email")] == acts(world)

        await world.runtime.preferences.change(token, {"email": True, "mobile_push": False}, None)
        await world.post("signed_up", "ann", "e3")
        await world.settle()
        assert 2 == len(sender.calls)

        await world.runtime.preferences.change(token, {}, True)
        await world.post("signed_up", "ann", "e4")
        await world.settle()
        assert 2 == len(sender.calls)
        assert ["email", "mobile_push", "all"] == [channel for _, _, channel in acts(world)[1:]]


async def test_a_workspace_s_own_address_is_in_its_links() -> None:
    """Instead of the server's; what could break a header is escaped."""
    sender = RecordingSender()
    async with a_world({"email": sender}) as world:
        record = workspace_record({"holdout": {"percent": 0}, "publicUrl": 'https://news.example.com/a"b>/'})
        await world.log.append(CATALOGUE, [Record(f"{WORKSPACE}:workspace:{WORKSPACE}", record.SerializeToString())])
        await publish_journey(world.log, MAIL)
        await person(world)
        await world.post("signed_up", "ann", "e-ann")
        await world.settle()

        assert sender.calls[0].unsubscribe_url.startswith("https://news.example.com/a%22b%3E/preferences/")


async def test_links_end() -> None:
    """After 400 days, with the person, and where a letter is missing."""
    sender = RecordingSender()
    async with a_world({"email": sender}) as world:
        await publish_journey(world.log, MAIL)
        await person(world)
        await world.post("signed_up", "ann", "e-ann")
        await world.settle()
        token = sender.calls[0].unsubscribe_url.rpartition("/")[2]
        preferences = world.runtime.preferences

        for bad in (token[:-4], token[4:], "x", ""):
            with pytest.raises(Missing):
                await preferences.show(bad)
        with pytest.raises(Invalid):
            await preferences.change(token, {"fax": False}, None)
        world.clock.move(400 * DAY - 1)
        assert await preferences.show(token)
        world.clock.move(DAY + 1)
        with pytest.raises(Expired):
            await preferences.unsubscribe(token)


async def test_nobody_is_brought_back_by_a_link() -> None:
    """A person who is not known any more stays so."""
    async with a_world() as world:
        info = await world.runtime.catalog.known(WORKSPACE)
        assert info is not None
        link = world.runtime.dispatcher._links(WORKSPACE, "gone", "email", world.clock.now_ms())

        with pytest.raises(Missing):
            await world.runtime.preferences.unsubscribe(link.rpartition("/")[2])


async def test_a_branch_asks_what_became_of_a_message() -> None:
    """Of this execution's own, by what was known when it came by."""
    ways = [
        {"id": "c", "condition": received("clicked"), "next": "clicked"},
        {"id": "o", "condition": received("opened"), "next": "opened"},
    ]
    steps = [
        {**TRIGGER, "next": "mail"},
        send_step("mail", "wait"),
        wait_step("wait", "P1D", "split"),
        {"id": "split", "type": "branch", "mode": "condition", "branches": ways, "default": "silent"},
        *({**EXIT, "id": name} for name in ("clicked", "opened", "silent")),
    ]
    async with a_world() as world:
        await publish_journey(world.log, steps)
        for user in ("ann", "bob", "cleo"):
            await person(world, user)
            await world.post("signed_up", user, f"e-{user}")
        await world.post("signed_up", "ann", "e2")
        await world.advance(HOUR)
        await say(world, "opened")
        await say(world, "clicked")
        await say(world, "opened", "bob")
        await world.advance(2 * DAY)
        await say(world, "clicked", "cleo")  # too late

        assert {"ann__e-ann": "clicked", "ann__e2": "silent", "bob__e-bob": "opened", "cleo__e-cleo": "silent"} == {
            one.execution_id.removeprefix("act__v1__"): one.step_id for one in await world.executions()
        }


async def test_an_audience_may_ask_too() -> None:
    """A condition that leads into an audience reads the same."""
    case = {"id": "in", "condition": {"kind": "in_segment", "audienceId": "openers"}, "next": "yes"}
    steps = [
        {**TRIGGER, "next": "mail"},
        send_step("mail", "wait"),
        wait_step("wait", "P1D", "split"),
        {"id": "split", "type": "branch", "mode": "condition", "branches": [case], "default": "exit"},
        {**EXIT, "id": "yes"},
        EXIT,
    ]
    async with a_world() as world:
        await publish_audience(world.log, "openers", received("opened"))
        await publish_journey(world.log, steps)
        await person(world)
        await world.post("signed_up", "ann", "e-ann")
        await world.settle()
        await say(world, "opened")
        await world.advance(2 * DAY)

        assert ["yes"] == [one.step_id for one in await world.executions()]


@pytest.mark.parametrize(("status", "after"), [("opened", HOUR), ("sent", 0), ("clicked", 3 * DAY)])
async def test_a_wait_for_a_condition_is_woken_by_feedback(status: str, after: int) -> None:
    """At once: by a provider's word, and by the news that the message is out."""
    step = {
        "id": "w", "type": "wait", "mode": "until_condition", "condition": received(status), "timeout": "P3D",
        "onTimeout": "exit", "next": "exit",
    }  # fmt: skip
    async with a_world() as world:
        await publish_journey(world.log, [{**TRIGGER, "next": "mail"}, send_step("mail", "w"), step, EXIT])
        await person(world)
        await world.post("signed_up", "ann", "e-ann")
        await world.advance(HOUR)
        await say(world, "opened")
        await world.advance(4 * DAY)

        [execution] = await world.executions()

        assert execution.started_at + after == execution.ended_at


async def test_feedback_before_the_provider_s_own_answer_is_kept() -> None:
    """A webhook may be faster than the reply to the call it tells of."""

    class Hasty(RecordingSender):
        async def send(self, message: OutgoingMessage) -> None:
            await super().send(message)
            await say(world, "delivered")

    async with a_world({"email": Hasty(Promise.AT_LEAST_ONCE)}) as world:
        await publish_journey(world.log, MAIL)
        await person(world)
        await world.post("signed_up", "ann", "e-ann")
        await world.settle()
        message = await world.documents.get(MESSAGES, "act__v1__ann__e-ann-mail-1")

        assert message is not None
        assert ("sent", ["delivered"]) == (message.status, [event.type for event in message.events])
        assert ("ann@example.com",) == message.addresses


async def test_a_permanent_bounce_stops_the_next_send() -> None:
    """Whoever else has that address."""
    async with a_world() as world:
        await publish_journey(world.log, MAIL)
        await person(world)
        await person(world, "twin", addresses={"email": "ANN@example.com"})
        await world.post("signed_up", "ann", "e-ann")
        await world.settle()
        await say(world, "bounced", permanent=True)
        await world.post("signed_up", "twin", "e2")
        await world.settle()

        assert [None, "suppression_match"] == [one.results["mail-1"].reason for one in await world.executions()]
