"""Analytics as it is served: a SQLite file below, gRPC above."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from journeys.analytics.v1 import analytics_service_pb2 as pb
from journeys.analytics.v1 import analytics_service_pb2_grpc as rpc
from journeys.type.v1.page_pb2 import Page

from services.analytics.app import Analytics
from services.analytics.audit import ACTS, EXECUTIONS
from services.infra.clock import SystemClock
from services.infra.documents.sqlite import SqliteDocuments
from services.infra.grpc.server import Server
from services.infra.log.sqlite import SqliteLog
from services.infra.sqlite.engine import open_engine
from tests.unit.analytics.reports import T0, act, entry, eventually, record, report

TIMEOUT = 10.0


class Running:
    """One process' worth of analytics over a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def __aenter__(self) -> "Running":
        clock = SystemClock()
        self.engine = await open_engine(self._folder)
        self.documents, self.log = SqliteDocuments(self.engine), SqliteLog(self.engine, now_ms=clock.now_ms)
        self.app = Analytics(self.documents, self.log, clock)
        await self.app.open()
        self.server = Server("analytics")
        for add, servicer, name in self.app.servicers():
            self.server.add(add, servicer, name)
        self.channel = grpc.aio.insecure_channel(await self.server.start("127.0.0.1:0"))
        self.stub = rpc.AnalyticsServiceStub(self.channel)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.channel.close()
        await self.server.stop(0)
        await self.app.close()
        await self.log.close()
        await self.documents.close()
        await self.engine.close()

    async def audit(self, **more: object) -> pb.ListAuditResponse:
        request = pb.ListAuditRequest(workspace="pk_demo", journey_id="act", **more)  # type: ignore[arg-type]
        reply: pb.ListAuditResponse = await self.stub.ListAudit(request, timeout=TIMEOUT)
        return reply

    async def stats(self) -> dict[str, tuple[int, int, int, int]]:
        request = pb.GetStepStatsRequest(workspace="pk_demo", journey_id="act")
        reply: pb.GetStepStatsResponse = await self.stub.GetStepStats(request, timeout=TIMEOUT)
        return {step.step_id: (step.executed, step.skipped, step.failed, step.waiting) for step in reply.steps}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with Running(tmp_path) as made:
        yield made


async def test_what_happened_is_told(running: Running) -> None:
    """Acts and entries in one timeline, people in their steps."""
    visits = {"trigger": 1, "wait": 1}
    await running.log.append(ACTS, [act("a1", T0)])
    await running.log.append(
        EXECUTIONS,
        [record(report(visits=visits, waiting="wait", entries=[entry("k:1:0", T0 + 1, "execution.started")]))],
    )
    await eventually(running.app.idle)

    reply = await running.audit()

    assert ["execution.started", "edited"] == [shown.action for shown in reply.entries]
    assert not reply.HasField("next_cursor")
    assert {"trigger": (1, 0, 0, 0), "wait": (0, 0, 0, 1)} == await running.stats()


async def test_an_acknowledged_act_is_in_the_next_answer(running: Running) -> None:
    """The append returned, so the reader sees it."""
    for i in range(20):
        await running.log.append(ACTS, [act(f"a{i}", T0 + i)])
        assert f"a{i}" == (await running.audit(page=Page(limit=1))).entries[0].id


async def test_pages_filters_and_places_work_on_the_real_store(running: Running) -> None:
    """700 entries of one millisecond among others, newest first, 100 a page; one person's; one execution's."""
    await running.log.append(ACTS, [act("old", T0 - 1), act("new", T0 + 1)])
    people = [f"u{i}" for i in range(70)]
    await running.log.append(
        EXECUTIONS,
        [record(report(u, user=u, entries=[entry(f"{u}:1:{n}") for n in range(10)])) for u in people],
    )
    await eventually(running.app.idle)

    found, cursor, pages = [], None, 0
    while pages == 0 or cursor is not None:
        page = Page(limit=100) if cursor is None else Page(limit=100, cursor=cursor)
        reply = await running.audit(page=page)
        found += [shown.id for shown in reply.entries]
        cursor, pages = (reply.next_cursor if reply.HasField("next_cursor") else None), pages + 1
    one = await running.audit(execution_id="act__v3__u7__u7")

    assert 8 == pages
    assert ("new", "old", 702) == (found[0], found[-1], len(set(found)))
    assert [f"u7:1:{n}" for n in reversed(range(10))] == [shown.id for shown in one.entries]
    assert ["new", "old"] == [shown.id for shown in (await running.audit(actor="usr_owner")).entries]
    assert [] == list((await running.audit(action_prefix="send.")).entries)


async def test_a_foreign_cursor_is_an_invalid_argument(running: Running) -> None:
    """With our details, not as an internal error."""
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await running.audit(page=Page(limit=10, cursor="nonsense"))

    assert grpc.StatusCode.INVALID_ARGUMENT == refusal.value.code()


async def test_a_restart_goes_on_and_counts_nothing_twice(tmp_path: Path) -> None:
    """Three runs over one folder; what came while nobody projected is projected then."""
    for run in range(3):
        async with Running(tmp_path) as running:
            await running.log.append(ACTS, [act(f"a{run}", T0 + run)])
            await running.log.append(
                EXECUTIONS, [record(report(f"k{run}-{i}", user=f"u{i}", visits={"trigger": 1})) for i in range(600)]
            )
            if run == 0:
                await running.app.close()  # the rest of this run nobody is there
                await running.log.append(ACTS, [act("alone", T0 + 10)])
            else:
                await eventually(running.app.idle)

    async with Running(tmp_path) as running:
        assert ["alone", "a2", "a1", "a0"] == [shown.id for shown in (await running.audit()).entries]
        assert {"trigger": (1800, 0, 0, 0)} == await running.stats()
