"""People walking through journeys: log, lanes, timers, sends and acknowledgements together."""

from typing import Any

from journeys.events.v1.execution_record_pb2 import ExecutionRecord

from services.domain.execution.lifecycle import Status
from services.runtime.collections import AUDIT, EXECUTION_RECORDS
from services.runtime.senders.port import Promise, SendFailed
from tests.support.journeys import WORKSPACE, publish_audience, publish_journey, publish_workspace, set_status
from tests.support.walking import DAY, EXIT, HOUR, TRIGGER, await_step, send_step, wait_step
from tests.support.world import RecordingSender, World, a_world

WELCOME = [{**TRIGGER, "next": "mail"}, send_step("mail", "exit"), EXIT]
WAITING = [
    {**TRIGGER, "next": "w"},
    await_step("w", "activated", "P3D", "yes", "mail"),
    send_step("mail", "exit"),
    {**EXIT, "id": "yes"},
    EXIT,
]


async def with_email(world: World, user: str) -> None:
    body = b'{"addresses": {"email": "%s@example.com"}}' % user.encode()
    await world.runtime.subjects.put(WORKSPACE, user, body, None)


async def test_an_event_walks_a_person_to_a_message() -> None:
    """Accepted, decided, committed, sent, acknowledged; nothing is left outstanding."""
    async with a_world() as world:
        await publish_journey(world.log, WELCOME)
        await with_email(world, "ann")
        await world.post("signed_up", "ann", "e1")
        await world.settle()

        [execution], [message] = await world.executions(), await world.messages()

        assert (Status.SUCCEEDED, None, ()) == (execution.status, execution.due_at, execution.outbox)
        assert "sent" == execution.results["mail-1"].state
        assert ("act__v1__ann__e1-mail-1", "sent", "a***@e***.com") == (message.key, message.status, message.to)


async def test_the_same_event_starts_once_whatever_is_published_meanwhile() -> None:
    """First decision counts, also under another version."""
    async with a_world() as world:
        await publish_journey(world.log, WELCOME)
        await world.post("signed_up", "ann", "e1")
        await world.settle()
        await publish_journey(world.log, WELCOME, version=2)

        answers = [await world.post("signed_up", "ann", "e1") for _ in range(5)]
        await world.settle()

        assert [(1, 1)] * 5 == answers
        assert ["act__v1__ann__e1"] == [one.execution_id for one in await world.executions()]


async def test_waits_wake_by_event_and_by_timeout() -> None:
    """The one who activated leaves; the other is written to after three days."""
    async with a_world() as world:
        await publish_journey(world.log, WAITING)
        for user in ("ann", "bob"):
            await with_email(world, user)
            await world.post("signed_up", user, f"s-{user}")
        await world.advance(DAY)
        await world.post("activated", "ann", "a1")
        await world.advance(5 * DAY)

        ann, bob = await world.executions()

        assert ("yes", "exit") == (ann.step_id, bob.step_id)
        assert bob.ended_at == bob.started_at + 3 * DAY
        assert ["act__v1__bob__s-bob-mail-1"] == [one.key for one in await world.messages()]


async def test_an_event_right_behind_the_start_is_not_missed() -> None:
    """Registering and committing are one write in one lane: no event falls between."""
    async with a_world() as world:
        await publish_journey(world.log, WAITING)
        for i in range(50):
            await world.post("signed_up", f"u{i}", f"s{i}")
            await world.post("activated", f"u{i}", f"a{i}")
        await world.settle()

        assert {"yes"} == {one.step_id for one in await world.executions()}


async def test_pause_stops_starts_and_lets_runs_go_on() -> None:
    """A pause that was acknowledged precedes every later event."""
    async with a_world() as world:
        await publish_journey(world.log, WAITING)
        await world.post("signed_up", "ann", "e1")
        await world.settle()
        await set_status(world.log, "act", 1, "paused")
        await world.post("signed_up", "bob", "e2")
        await world.advance(3 * DAY)

        ann, bob = await world.executions()

        assert (Status.SUCCEEDED, Status.REFUSED) == (ann.status, bob.status)
        assert bob.refusal is not None
        assert "journey_paused" == bob.refusal.reason


async def test_archiving_aborts_what_is_in_flight() -> None:
    """A sweep ends every run, each in its own lane."""
    async with a_world() as world:
        await publish_journey(world.log, WAITING)
        for i in range(30):
            await world.post("signed_up", f"u{i}", f"e{i}")
        await world.settle()
        await set_status(world.log, "act", 1, "archived")
        await world.runtime.sweeps.look()
        await world.settle()

        assert {Status.ABORTED} == {one.status for one in await world.executions()}


async def test_an_edited_audience_acts_at_once() -> None:
    """Members are judged when the event comes."""
    async with a_world() as world:
        await publish_audience(
            world.log, "aud", {"kind": "attribute", "fieldPath": "plan", "operator": "equals", "value": "pro"}
        )
        await publish_journey(world.log, WELCOME, audience_id="aud")
        await world.post("signed_up", "ann", "e1")
        await world.settle()
        await publish_audience(world.log, "aud", {"kind": "and", "clauses": []})
        await world.post("signed_up", "ann", "e2")
        await world.settle()

        one, two = await world.executions()

        assert (Status.REFUSED, Status.SUCCEEDED) == (one.status, two.status)


async def test_a_contract_may_find_the_subject_elsewhere_in_the_event() -> None:
    """The start goes to that person's lane; without a subject the audit says so."""
    async with a_world() as world:
        await publish_journey(world.log, WELCOME, subject_path="data.owner")
        await world.post("signed_up", "shop", "e1", owner="ann")
        await world.post("signed_up", "shop", "e2")
        await world.settle()

        [execution] = await world.executions()

        assert "act__v1__ann__e1" == execution.execution_id
        assert 1 == len(world.log.all(AUDIT))


async def test_a_profile_update_reaches_the_profile_once() -> None:
    """Also when the process dies right behind it."""
    steps: list[dict[str, Any]] = [
        {**TRIGGER, "next": "set"},
        {"id": "set", "type": "update_profile", "set": {"seen": "{{ event.n }}"}, "next": "exit"},
        EXIT,
    ]
    async with a_world() as world:
        await publish_journey(world.log, steps)
        await world.post("signed_up", "ann", "e1", n=7)
        await world.settle()
        await world.restart()
        await world.settle()

        profile = await world.runtime.subjects.get(WORKSPACE, "ann")

        assert {"seen": "7"} == profile.attributes


async def test_a_known_failure_is_recorded_and_the_person_goes_on() -> None:
    """A provider that refuses is no reason to stand still."""
    sender = RecordingSender()
    sender.fault = SendFailed("mailbox unknown")
    async with a_world({"email": sender}) as world:
        await publish_journey(world.log, WELCOME)
        await with_email(world, "ann")
        await world.post("signed_up", "ann", "e1")
        await world.settle()

        [execution] = await world.executions()

        assert (Status.SUCCEEDED, "failed") == (execution.status, execution.results["mail-1"].state)


async def test_a_call_in_doubt_is_unknown_and_never_repeated() -> None:
    """At most once means that."""
    sender = RecordingSender(Promise.AT_MOST_ONCE)
    sender.fault = ConnectionResetError()
    async with a_world({"email": sender}) as world:
        await publish_journey(world.log, WELCOME)
        await with_email(world, "ann")
        await world.post("signed_up", "ann", "e1")
        await world.advance(HOUR)

        [execution], [message] = await world.executions(), await world.messages()

        assert ("unknown", "unknown", 1) == (execution.results["mail-1"].state, message.status, len(sender.calls))


async def test_one_execution_that_cannot_be_planned_harms_no_other() -> None:
    """It is tried later and later, then set aside; its neighbours walk on."""
    async with a_world() as world:
        await publish_journey(world.log, [{**TRIGGER, "next": "w"}, wait_step("w", "PT1H", "exit"), EXIT])
        await world.post("signed_up", "ann", "e1")
        await world.post("signed_up", "bob", "e2")
        await world.settle()
        bad = next(one for one in await world.executions() if one.subject_id == "ann")
        version = world.runtime.catalog.version(WORKSPACE, "act", 1)
        assert version is not None
        good_steps = dict(version.steps)

        class Poisoned(dict[str, object]):
            def __getitem__(self, key: str) -> object:
                raise RuntimeError("a bug")

        object.__setattr__(version, "steps", Poisoned(good_steps))
        world.clock.move(HOUR)
        await world.settle()
        object.__setattr__(version, "steps", good_steps)
        after = next(one for one in await world.executions() if one.key == bad.key)
        await world.advance(HOUR)

        assert (1, "RuntimeError: a bug") == (after.attempts, after.last_error)
        assert {Status.SUCCEEDED} == {one.status for one in await world.executions()}


async def test_every_entry_reaches_the_log_once() -> None:
    """What history and the audit's topic say is the same."""
    async with a_world() as world:
        await publish_journey(world.log, WAITING)
        await with_email(world, "ann")
        await world.post("signed_up", "ann", "e1")
        await world.advance(4 * DAY)
        [execution] = await world.executions()

        records = [ExecutionRecord.FromString(one.value) for one in world.log.all(EXECUTION_RECORDS)]
        published = [entry.id for record in records for entry in record.entries]

        assert len(published) == len(set(published))
        assert set(published) == {entry.id for entry in execution.history}


async def test_a_held_out_person_is_counted_and_gets_nothing() -> None:
    """Deterministic, at every start."""
    async with a_world() as world:
        await publish_workspace(world.log, holdout=100)
        await publish_journey(world.log, WELCOME)
        await with_email(world, "ann")
        await world.post("signed_up", "ann", "e1")
        await world.settle()

        [execution] = await world.executions()

        assert Status.HOLDOUT == execution.status
        assert [] == await world.messages()
