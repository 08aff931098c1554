"""Routing and reports: one decision of an adaptive branch, and a journey's page of numbers.

The page is five branches of three arms and the impact, over a month of 6,000 people with windows of a week, from the
counts to the JSON of the replies. Warm: nothing has changed since the last time. Changed: somebody was routed meanwhile.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from journeys.analytics.v1 import report_service_pb2 as pb
from journeys.events.v1.execution_record_pb2 import ArmChoice, ExecutionRecord, GoalRecord

from gateway.dto.reports import BranchPerformance, CalibratedImpact
from services.analytics.app import Analytics
from services.analytics.audit import EXECUTIONS
from services.analytics.report_servicer import ReportServicer
from services.domain.execution.assignment import Snapshot, adaptive_arm
from services.domain.ids import uniform
from services.domain.journey.model import Arm
from services.domain.times import DAY_MS
from services.infra.clock import ManualClock
from services.infra.documents.port import Documents
from services.infra.log.port import Log
from services.infra.machinery import machinery
from tests.unit.analytics.learning import publish, routed
from tests.unit.analytics.reports import T0, eventually, record

BRANCHES, ARMS, PEOPLE, PAGES, ROUNDS = 5, ("a", "b", "c"), 6_000, 40, 20_000
WINDOW_DAYS = 7
GOAL = GoalRecord(event_name="bought", window_ms=WINDOW_DAYS * DAY_MS, since_ms=1)


def figures() -> Iterator[tuple[str, float, str]]:
    """stats.choice_microseconds, stats.page_milliseconds, stats.page_changed_milliseconds"""
    yield "stats.choice_microseconds", _choice() * 1e6, "us"
    warm, changed = asyncio.run(_page())
    yield "stats.page_milliseconds", warm * 1e3, "ms"
    yield "stats.page_changed_milliseconds", changed * 1e3, "ms"


def _choice() -> float:
    arms = tuple(Arm(name, "exit") for name in ARMS)
    snapshot = Snapshot("act:pick:0", ARMS, (0.267202681, 0.017249576, 0.715547743), T0)
    ids = [f"act__v1__usr_{i}__evt_{i}" for i in range(ROUNDS)]

    def choose() -> None:
        for execution_id in ids:
            adaptive_arm(arms, snapshot, "act", 1, "pick", execution_id)

    return min(_timed(choose) for _ in range(5)) / ROUNDS


async def _page() -> tuple[float, float]:
    clock = ManualClock(T0)
    with tempfile.TemporaryDirectory() as folder:
        async with machinery("memory", "memory", Path(folder), clock.now_ms) as (documents, log):
            return await _pages(documents, log, clock)


async def _pages(documents: Documents, log: Log, clock: ManualClock) -> tuple[float, float]:
    app = Analytics(documents, log, clock)
    await app.open()
    await publish(log, _steps(), window_days=WINDOW_DAYS)
    for at in range(0, PEOPLE, 500):
        await log.append(EXECUTIONS, [record(_person(i)) for i in range(at, at + 500)])
        await eventually(app.idle, 60)
    reports = next(one for _, one, _ in app.servicers() if isinstance(one, ReportServicer))
    await _shown(reports)
    warm = [await _shown(reports) for _ in range(PAGES)]
    changed: list[float] = []
    for i in range(PEOPLE, PEOPLE + PAGES):
        await log.append(EXECUTIONS, [record(_person(i))])
        await eventually(app.idle)
        changed.append(await _shown(reports))
    await app.close()
    return min(warm), min(changed)


async def _shown(reports: ReportServicer) -> float:
    """CPU seconds for both replies, as the gateway would send them."""
    begun = time.process_time()
    branches = await reports.GetBranchPerformance(
        pb.GetBranchPerformanceRequest(workspace="pk_demo", journey_id="act"), None
    )
    impact = await reports.GetCalibratedImpact(
        pb.GetCalibratedImpactRequest(workspace="pk_demo", journey_id="act"), None
    )
    msgspec.json.encode([BranchPerformance.from_proto(branch) for branch in branches.branches])
    msgspec.json.encode(CalibratedImpact.from_proto(impact))
    return time.process_time() - begun


def _steps() -> list[dict[str, object]]:
    steps: list[dict[str, object]] = [{"id": "trigger", "type": "trigger", "mode": "event", "next": "pick0"}]
    for i in range(BRANCHES):
        to = f"pick{i + 1}" if i + 1 < BRANCHES else "exit"
        arms = [{"id": name, "next": to} for name in ARMS]
        steps.append({"id": f"pick{i}", "type": "branch", "mode": "adaptive", "arms": arms})
    return [*steps, {"id": "exit", "type": "exit"}]


def _person(i: int) -> ExecutionRecord:
    at = T0 - 30 * DAY_MS + i * 30 * DAY_MS // PEOPLE
    bought = at + DAY_MS if uniform("bought", str(i)) < 0.1 else None
    status = "HOLDOUT" if uniform("held", str(i)) < 0.05 else "SUCCEEDED"
    message = routed(f"p{i}", None, at=at, bought_at=bought, status=status, share=0.05, goal=GOAL)
    for branch in range(BRANCHES if status != "HOLDOUT" else 0):
        arm = ARMS[int(3 * uniform("arm", str(branch), str(i)))]
        message.state.arms[f"pick{branch}"].CopyFrom(
            ArmChoice(
                arm_id=arm,
                mode="cold_start",
                propensity=1 / 3,
                routed_at_ms=at,
                goal=GOAL,
                converted_at_ms=bought,
            )
        )
    return message


def _timed(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun
