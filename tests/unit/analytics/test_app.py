"""Analytics as a whole, over ports in memory: what was acknowledged can be read."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from journeys.analytics.v1 import analytics_service_pb2 as pb
from journeys.events.v1.execution_record_pb2 import ExecutionRecord
from journeys.type.v1.page_pb2 import Page

from services.analytics import audit
from services.analytics.app import Analytics
from services.analytics.audit import ACTS, EXECUTIONS
from services.analytics.servicer import AnalyticsServicer
from services.domain.errors import Invalid
from services.infra.clock import ManualClock
from services.infra.log.port import Record
from tests.support.memory import MemoryDocuments, MemoryLog
from tests.unit.analytics.reports import T0, act, entry, eventually, record, report


class Scene:
    """A store, a log, and analytics processes over them."""

    def __init__(self) -> None:
        self.documents, self.log = MemoryDocuments(), MemoryLog()
        self.running: list[Analytics] = []

    async def start(self) -> Analytics:
        app = Analytics(self.documents, self.log, ManualClock())
        await app.open()
        self.running.append(app)
        return app

    async def report(self, *messages: ExecutionRecord) -> None:
        await self.log.append(EXECUTIONS, [record(message) for message in messages])

    async def acts(self, *records: Record) -> None:
        await self.log.append(ACTS, records)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    for app in made.running:
        await app.close()


def servicer_of(app: Analytics) -> AnalyticsServicer:
    return next(one for _, one, _ in app.servicers() if isinstance(one, AnalyticsServicer))


async def audit_of(app: Analytics, journey: str = "act", **more: str) -> list[str]:
    request = pb.ListAuditRequest(workspace="pk_demo", journey_id=journey, **more)  # type: ignore[arg-type]
    return [entry.id for entry in (await servicer_of(app).ListAudit(request, None)).entries]


async def stats_of(app: Analytics, journey: str = "act") -> dict[str, Sequence[int]]:
    reply = await servicer_of(app).GetStepStats(pb.GetStepStatsRequest(workspace="pk_demo", journey_id=journey), None)
    return {step.step_id: (step.executed, step.skipped, step.failed, step.waiting) for step in reply.steps}


async def test_an_acknowledged_act_is_in_the_next_answer(scene: Scene) -> None:
    """Every time, without waiting for anything but the projector."""
    app = await scene.start()

    for i in range(30):
        await scene.acts(act(f"a{i}", T0 + i))
        assert f"a{i}" == (await audit_of(app))[0]


async def test_an_act_is_visible_after_a_restart(scene: Scene) -> None:
    """Appended while nobody was there to project it, or projected before."""
    first = await scene.start()
    await scene.acts(act("a1"))
    await audit_of(first)
    await first.close()
    await scene.acts(act("a2", T0 + 1))

    second = await scene.start()

    assert ["a2", "a1"] == await audit_of(second)


async def test_who_has_nothing_to_wait_for_does_not_wait(scene: Scene) -> None:
    """After a restart the position is known from the store, not from the next record."""
    first = await scene.start()
    await scene.acts(act("a1"))
    await eventually(first.idle)
    await first.close()
    second = await scene.start()

    async with asyncio.timeout(audit.ACTS_SECONDS / 4):
        assert ["a1"] == await audit_of(second)


async def test_a_process_that_owns_another_partition_waits_for_its_owner(scene: Scene) -> None:
    """Whichever of two processes is asked."""
    apps = [await scene.start(), await scene.start()]

    for i in range(8):
        await scene.acts(act(f"a{i}", journey=f"j{i}"))
        assert [[f"a{i}"], [f"a{i}"]] == [await audit_of(app, f"j{i}") for app in apps]


async def test_it_answers_although_the_projector_is_stuck(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what there is, after two seconds (here: a tenth)."""
    monkeypatch.setattr(audit, "ACTS_SECONDS", 0.1)
    app = await scene.start()
    await scene.acts(act("a1"))
    await eventually(app.idle)

    def refuse(write: object) -> None:
        raise RuntimeError("stuck")

    scene.documents.fault = refuse
    await scene.acts(act("a2", T0 + 1))

    stuck = await audit_of(app)
    scene.documents.fault = None
    await eventually(app.idle)

    assert ["a1"] == stuck
    assert ["a2", "a1"] == await audit_of(app)


async def test_acts_do_not_wait_behind_a_mass_start(scene: Scene) -> None:
    """Two topics, two readers."""
    app = await scene.start()
    await scene.report(*[report(f"k{i}", user=f"u{i}", visits={"trigger": 1}) for i in range(3000)])
    await scene.acts(act("a1"))

    assert ["a1"] == await audit_of(app)


async def test_counts_follow_the_reports(scene: Scene) -> None:
    """Over all partitions, one journey each."""
    app = await scene.start()
    people = [f"u{i}" for i in range(40)]
    await scene.report(*[report(u, user=u, visits={"trigger": 1, "wait": 1}, waiting="wait") for u in people])
    waiting = await stats_of(app)

    done = {"trigger": 1, "wait": 1, "exit": 1}
    await scene.report(*[report(u, user=u, status="SUCCEEDED", transition=2, visits=done) for u in people[:15]])
    left = await stats_of(app)

    assert {"trigger": (40, 0, 0, 0), "wait": (0, 0, 0, 40)} == waiting
    assert {"trigger": (40, 0, 0, 0), "wait": (15, 0, 0, 25), "exit": (15, 0, 0, 0)} == left
    assert {} == await stats_of(app, "other")


async def test_entries_and_acts_are_one_timeline(scene: Scene) -> None:
    """By time."""
    app = await scene.start()
    await scene.acts(act("published", T0))
    await scene.report(report(entries=[entry("k:1:0", T0 + 1), entry("k:1:1", T0 + 1)]))
    await scene.acts(act("paused", T0 + 2))
    await eventually(app.idle)

    assert ["paused", "k:1:1", "k:1:0", "published"] == await audit_of(app)
    assert ["k:1:1", "k:1:0"] == await audit_of(app, actor="system")


async def test_pages_travel_over_the_wire(scene: Scene) -> None:
    """A cursor of one reply leads to the next; a foreign one is refused."""
    app = await scene.start()
    await scene.acts(*[act(f"a{i}", T0 + i) for i in range(5)])
    ask = servicer_of(app).ListAudit
    first = await ask(pb.ListAuditRequest(workspace="pk_demo", journey_id="act", page=Page(limit=3)), None)
    again = Page(limit=3, cursor=first.next_cursor)
    second = await ask(pb.ListAuditRequest(workspace="pk_demo", journey_id="act", page=again), None)

    assert ["a4", "a3", "a2", "a1", "a0"] == [entry.id for entry in [*first.entries, *second.entries]]
    assert not second.HasField("next_cursor")
    with pytest.raises(Invalid):
        await ask(pb.ListAuditRequest(workspace="pk_demo", journey_id="act", page=Page(cursor="?")), None)


async def test_the_workspace_has_a_timeline_of_its_own(scene: Scene) -> None:
    """Acts of no journey."""
    app = await scene.start()
    await scene.acts(act("member.added", journey=""), act("a1"))

    assert ["member.added"] == await audit_of(app, "")


async def test_two_processes_share_the_partitions_and_the_counts_agree(scene: Scene) -> None:
    """One joins in the middle, one leaves: nothing is counted twice."""

    async def wave(number: int) -> None:
        await scene.report(*[report(f"{number}-{i}", user=f"u{i}", visits={"trigger": 1}) for i in range(50)])

    first = await scene.start()
    await wave(0)
    await wave(1)
    second = await scene.start()
    await wave(2)
    await wave(3)
    await first.close()
    await wave(4)
    await eventually(second.idle)

    assert {"trigger": (250, 0, 0, 0)} == await stats_of(second)


async def test_idle_means_everything_is_projected(scene: Scene) -> None:
    """The development clock relies on it."""
    app = await scene.start()
    await eventually(app.idle)
    await scene.report(report(visits={"trigger": 1}))

    busy = await app.idle()
    await eventually(app.idle)

    assert not busy
    assert await app.next_due() is None
    assert {"trigger": (1, 0, 0, 0)} == await stats_of(app)


async def test_a_full_disk_delays_and_loses_nothing(scene: Scene) -> None:
    """The projector waits for the store and goes on where it was."""
    app = await scene.start()
    await eventually(app.idle)
    scene.documents.unavailable = True
    await scene.report(report(visits={"trigger": 1}, entries=[entry("k:1:0")]))
    await asyncio.sleep(0.05)
    scene.documents.unavailable = False
    await eventually(app.idle)

    assert {"trigger": (1, 0, 0, 0)} == await stats_of(app)
    assert ["k:1:0"] == await audit_of(app)
