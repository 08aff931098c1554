"""Reports of people who were routed, journeys they were routed in, and analytics over both, for tests of the numbers."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from journeys.events.v1.authoring_record_pb2 import (
    ArmReset,
    CatalogueRecord,
    JourneyRecord,
    PinnedCommunication,
    VersionRecord,
)
from journeys.events.v1.execution_record_pb2 import ArmChoice, ExecutionRecord, ExecutionState, GoalRecord

from services.analytics.convert import observed_from_record
from services.analytics.facts import Fact
from services.analytics.journeys import CATALOGUE, Journeys
from services.analytics.projector import Projector
from services.analytics.report_convert import allocation_from_record, change_from_record
from services.analytics.repositories import COLLECTIONS
from services.domain.times import DAY_MS
from services.infra.log.port import Log, Record
from tests.support.memory import MemoryDocuments
from tests.unit.analytics.reports import PARTITIONS, T0, stored

WINDOW_MS = 2 * DAY_MS
GOAL = GoalRecord(event_name="bought", window_ms=WINDOW_MS, since_ms=1)
STEPS: Sequence[Mapping[str, Any]] = [
    {"id": "trigger", "type": "trigger", "mode": "event", "next": "pick"},
    {
        "id": "pick",
        "type": "branch",
        "mode": "adaptive",
        "minSampleFloor": 2,
        "arms": [{"id": "a", "next": "exit"}, {"id": "b", "next": "exit"}],
    },
    {"id": "exit", "type": "exit"},
]


def routed(
    name: str,
    arm: str | None = "a",
    *,
    at: int = T0,
    bought_at: int | None = None,
    person: str | None = None,
    status: str = "SUCCEEDED",
    transition: int = 1,
    version: int = 1,
    snapshot: str = "",
    propensity: float = 0.5,
    share: float = 0.1,
    goal: GoalRecord | None = GOAL,
    workspace: str = "pk_demo",
) -> ExecutionRecord:
    """One report of somebody who started at `at` and was routed at once."""
    user = person or name
    choice = ArmChoice(
        arm_id=arm or "",
        mode="adaptive" if snapshot else "cold_start",
        propensity=propensity,
        snapshot_id=snapshot,
        routed_at_ms=at,
        goal=goal,
        converted_at_ms=bought_at,
    )
    return ExecutionRecord(
        key=f"key-{name}",
        workspace=workspace,
        journey_id="act",
        version=version,
        execution_id=f"act__v{version}__{user}__{name}",
        subject_key=f"subject-{user}",
        end_user_id=user,
        started_at_ms=at,
        goal=goal,
        holdout_share=share,
        state=ExecutionState(
            status=status,
            transition=transition,
            visits={} if status in ("HOLDOUT", "REFUSED") else {"trigger": 1, "pick": 1, "exit": 1},
            goals_ms=[] if bought_at is None else [bought_at],
            arms={} if arm is None or status in ("HOLDOUT", "REFUSED") else {"pick": choice},
        ),
    )


def fact_of(message: ExecutionRecord) -> Fact:
    """A report as a fact."""
    return observed_from_record(stored(message)).fact


async def opened() -> MemoryDocuments:
    """An empty store."""
    documents = MemoryDocuments()
    await documents.open(COLLECTIONS)
    return documents


async def projecting(documents: MemoryDocuments, now: int = 0) -> Projector:
    """A projector that owns and has counted everything."""
    projector = Projector(documents, observed_from_record, now_ms=lambda: now)
    projector.own(range(PARTITIONS))
    while await projector.catch_up():
        pass
    return projector


async def publish(
    log: Log,
    steps: Sequence[Mapping[str, Any]] = STEPS,
    *,
    version: int = 1,
    goal: str | None = "bought",
    window_days: float = 2,
    since: int = 1,
    resets: Iterable[tuple[str, str]] = (),
    communications: Mapping[str, int] | None = None,
) -> None:
    """A version and the journey's head, as the authoring service tells them."""
    content = VersionRecord(
        journey_id="act",
        version=version,
        steps_json=json.dumps(steps).encode(),
        reset_arms=[ArmReset(step_id=step, arm_id=arm) for step, arm in resets],
        communications=[PinnedCommunication(id=name, version=n) for name, n in (communications or {}).items()],
    )
    head = JourneyRecord(
        id="act", status="published", latest_version=version, goal_event_name=goal, goal_event_window_days=window_days
    )
    if goal is not None:
        head.goal_since_ms = since
    records = [
        CatalogueRecord(workspace="pk_demo", version=content),
        CatalogueRecord(workspace="pk_demo", journey=head),
    ]
    keys = (f"pk_demo:version:act:{version}", "pk_demo:journey:act")
    await log.append(
        CATALOGUE, [Record(key, record.SerializeToString()) for key, record in zip(keys, records, strict=True)]
    )


def journeys_of(log: Log) -> Journeys:
    """What analytics knows of what was published."""
    return Journeys(log, change_from_record, allocation_from_record)
