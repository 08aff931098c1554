"""Two runtimes on one broker and one document server: they share the work, and one that is gone loses nothing."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from journeys.events.v1.customer_event_pb2 import CustomerEvent

from services.domain.execution.lifecycle import Status
from services.infra.documents.mongo import MongoDocuments
from services.infra.documents.port import Outcome, Write
from services.runtime.collections import EXECUTIONS, MESSAGES
from tests.support.journeys import WORKSPACE
from tests.support.servers import OwnPlace, servers
from tests.support.walking import EXIT, TRIGGER, await_step, send_step
from tests.support.workers import (
    LEASED,
    SHORT_LEASE_MS,
    FileSender,
    Machines,
    OtherProcess,
    Worker,
    a_worker,
    eventually,
)
from tests.support.world import RecordingSender

pytestmark = [pytest.mark.integration, pytest.mark.slow]

STEPS = [
    {**TRIGGER, "next": "hello"},
    send_step("hello", "set"),
    {"id": "set", "type": "update_profile", "set": {"greeted": True}, "next": "w"},
    await_step("w", "activated", "P3D", "congrats", "nudge"),
    send_step("congrats", "exit"),
    send_step("nudge", "exit"),
    EXIT,
]
PEOPLE, BATCH = 120, 10
PARTITIONS = 16
MOVED_SECONDS = 15.0


@pytest.fixture(autouse=True)
def _short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody was at when they died waits for the end of its lease."""
    for module in LEASED:
        monkeypatch.setattr(module, "LEASE_MS", SHORT_LEASE_MS)


@pytest.fixture
async def machines() -> AsyncIterator[Machines]:
    """Topics and a database of the test's own, with a published journey."""
    own = OwnPlace(servers())
    made = Machines(own.mongodb, own.servers.kafka, own.name)
    await made.migrate(STEPS)
    yield made
    await own.remove()


async def shares(worker: Worker, part: float, seconds: float = 90.0) -> None:
    """The worker owns that part of the partitions."""

    async def is_so() -> None:
        assert part == worker.runtime.ownership.share()

    await eventually(is_so, seconds)


async def stand(worker: Worker, people: int, status: Status) -> None:
    """All of them are in the journey, once each, and nothing of it is promised, unpublished or unacknowledged."""

    async def all_stand() -> None:
        found = await worker.executions()
        assert {(status, 0, 0): people} == Counter((one.status, len(one.intents), len(one.outbox)) for one in found)
        assert people == len({one.subject_id for one in found})

    await eventually(all_stand)


async def message_states(worker: Worker) -> Counter[str]:
    """How many messages stand how."""
    return Counter(one.status for one in (await worker.documents.scan(MESSAGES, "", limit=10_000)).items)


async def test_a_worker_is_killed_and_the_other_finishes_everything(machines: Machines, tmp_path: Path) -> None:
    """kill -9 in the middle of the work: the other owns all in under 15 s; nobody is forgotten, nobody written to
    twice.
    """
    sender = FileSender(tmp_path / "sent")
    other = OtherProcess(machines, tmp_path / "sent", tmp_path / "said")
    try:
        async with a_worker(machines, sender) as worker:
            await shares(worker, 0.5)
            await worker.import_people(range(PEOPLE))
            for start in range(0, PEOPLE // 2, BATCH):
                await worker.post("signed_up", range(start, start + BATCH))
            other.send(signal.SIGKILL)
            began = asyncio.get_running_loop().time()
            posting = asyncio.create_task(worker.post("signed_up", range(PEOPLE // 2, PEOPLE)))
            await shares(worker, 1.0, MOVED_SECONDS)
            moved = asyncio.get_running_loop().time() - began
            await posting
            await worker.post("signed_up", range(PEOPLE))  # as whoever is not sure would
            await stand(worker, PEOPLE, Status.RUNNING)
            await worker.post("activated", range(PEOPLE))
            await stand(worker, PEOPLE, Status.SUCCEEDED)
            states = await message_states(worker)
    finally:
        other.kill()

    print(f"BENCH its partitions were the other's {moved:.1f} s after kill -9")
    sent = Counter(sender.sent())
    assert {1} == set(sent.values())
    # Whose call was cut by the kill is shown as such, and never called again.
    assert 2 * PEOPLE == states["sent"] + states["unknown"] == states.total()
    assert states["sent"] <= len(sent) <= states.total()


async def test_a_worker_that_is_stopped_and_continued_does_no_harm(machines: Machines, tmp_path: Path) -> None:
    """It stops in front of a write of executions. The others take over and finish them; then it goes on with that
    write, which the store refuses, and with whatever it believes to own.
    """
    sender = FileSender(tmp_path / "sent")
    other = OtherProcess(machines, tmp_path / "sent", tmp_path / "said")
    try:
        async with a_worker(machines, sender) as worker:
            await shares(worker, 0.5)
            await worker.import_people(range(PEOPLE))
            await worker.post("signed_up", range(PEOPLE))
            await stand(worker, PEOPLE, Status.RUNNING)
            other.send(signal.SIGUSR1)
            await worker.post("activated", range(PEOPLE // 2))

            async def has_stopped() -> None:
                assert other.is_stopped()

            await eventually(has_stopped)
            await worker.post("activated", range(PEOPLE // 2, PEOPLE))
            await shares(worker, 1.0)
            await stand(worker, PEOPLE, Status.SUCCEEDED)
            before = await worker.executions()
            other.send(signal.SIGCONT)
            await shares(worker, 0.5)
            after = await worker.executions()
            await worker.post("signed_up", range(PEOPLE, PEOPLE + BATCH))  # and it works on as before

            async def all_stand() -> None:
                assert PEOPLE + BATCH == len(await worker.executions())

            await eventually(all_stand)
            assert other.end() == 0
    finally:
        other.kill()

    assert "the zombie's write: conflict\n" in other.said()
    assert "local member_id was not recognized; resetting and re-joining group" in other.said()
    assert before == after
    sent = Counter(sender.sent())
    assert {1} == set(sent.values())
    assert 2 * PEOPLE == len(sent)


async def test_a_third_one_joins_and_leaves_under_load(machines: Machines) -> None:
    """Partitions move twice while people sign up; nobody is forgotten, nobody is greeted twice."""
    async with a_worker(machines) as one, a_worker(machines) as two:
        guest = Worker(machines, RecordingSender())

        async def has_work() -> None:
            assert guest.runtime.ownership.share() * PARTITIONS > 3
            assert guest.runtime.engine.unfinished

        async def come_and_go() -> None:
            await guest.runtime.open()
            await eventually(has_work)
            await guest.close()

        visit = asyncio.create_task(come_and_go())
        posted = 0
        while posted < PEOPLE or not visit.done():
            if sum(worker.runtime.engine.unfinished for worker in (one, two, guest)) > 5 * BATCH:
                await asyncio.sleep(0.05)  # under load, not under more and more of it
                continue
            await one.post("signed_up", range(posted, posted + BATCH))
            posted += BATCH
        await visit
        await stand(one, posted, Status.RUNNING)

        async def all_acknowledged() -> None:
            assert 0 == sum(len(worker.runtime.acks) for worker in (one, two))

        await eventually(all_acknowledged)
        # Nobody has an address, so every greeting was skipped, once.
        histories = [[entry.action for entry in run.history] for run in await one.executions()]

    assert {1} == {actions.count("send.skipped") for actions in histories}


class HeldDocuments(MongoDocuments):
    """A store whose next write of executions waits until it is let go."""

    def __init__(self, uri: str, database: str) -> None:
        super().__init__(uri, database)
        self.is_armed = False
        self.is_held, self.let_go = asyncio.Event(), asyncio.Event()

    async def write_many(self, writes: Sequence[Write]) -> list[Outcome]:
        if self.is_armed and any(write.collection is EXECUTIONS for write in writes):
            self.is_armed = False
            self.is_held.set()
            await self.let_go.wait()
        return await super().write_many(writes)


async def test_partitions_are_taken_away_in_the_middle_of_a_batch(machines: Machines) -> None:
    """The batch is planned and not yet written when another worker joins and takes half of the partitions; the write
    comes only after that one has taken them over and done their part.
    """
    sender = RecordingSender()
    held = HeldDocuments(machines.mongodb, machines.database)
    async with a_worker(machines, sender, held) as one:
        await one.import_people(range(PEOPLE))
        held.is_armed = True
        await one.post("signed_up", range(PEOPLE))
        await held.is_held.wait()
        async with a_worker(machines, sender) as two:
            await shares(two, 0.5)
            seen = two.runtime.ownership

            async def theirs_are_done() -> None:
                found = await two.executions()
                theirs = [run for run in found if seen.epoch(run.slot)]
                assert PEOPLE // 4 < len(theirs)

            await eventually(theirs_are_done)
            held.let_go.set()
            await stand(two, PEOPLE, Status.RUNNING)
            await two.post("activated", range(PEOPLE))
            await stand(two, PEOPLE, Status.SUCCEEDED)

    handed = Counter((message.end_user_id, message.step_id) for message in sender.calls)
    assert {(f"usr_{i}", step): 1 for i in range(PEOPLE) for step in ("hello", "congrats")} == handed


async def test_a_command_is_answered_whoever_owns_the_person(machines: Machines) -> None:
    """The process that is asked need not be the one that does it."""
    async with a_worker(machines) as one, a_worker(machines) as other:
        answers = [
            await worker.runtime.commands.start(
                WORKSPACE, "act", CustomerEvent(id=f"m-{i}", end_user_id=f"usr_{i}"), "manual", "tester"
            )
            for i, worker in enumerate([one, other] * 8)
        ]

    assert [True] * 16 == [started for _, started, _ in answers]
