"""Allocations, reports, recounts: from reports of the log to what is told."""

import math
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from journeys.analytics.v1 import report_service_pb2 as pb
from journeys.events.v1.allocation_record_pb2 import AllocationRecord
from journeys.events.v1.execution_record_pb2 import ExecutionRecord, GoalRecord

from services.analytics.app import Analytics
from services.analytics.audit import EXECUTIONS
from services.analytics.facts import Fact
from services.analytics.journeys import ALLOCATED
from services.analytics.recount import RecountStats
from services.analytics.report_servicer import ReportServicer
from services.analytics.repositories import ALLOCATIONS, DAYS, FACTS, ROWS
from services.domain.stats.routing import routing_weights
from services.domain.times import DAY_MS
from services.infra.clock import ManualClock
from services.infra.documents.port import StoreUnavailable, Write
from services.infra.log.port import Record
from tests.support.memory import MemoryDocuments, MemoryLog
from tests.unit.analytics.learning import STEPS, WINDOW_MS, fact_of, publish, routed
from tests.unit.analytics.reports import T0, entry, eventually, record

QUARTER = 900_000


class Scene:
    """Analytics over ports in memory and a clock that a test moves."""

    def __init__(self) -> None:
        self.clock = ManualClock(T0)
        self.documents, self.log = MemoryDocuments(), MemoryLog(16, self.clock.now_ms)
        self.app = Analytics(self.documents, self.log, self.clock)

    async def open(self) -> None:
        await self.app.open()

    async def told(self, *messages: ExecutionRecord) -> None:
        await self.log.append(EXECUTIONS, [record(message) for message in messages])
        await self.settle()

    async def settle(self) -> None:
        await eventually(self.app.idle)

    async def move(self, ms: int) -> None:
        self.clock.move(ms)
        await self.settle()

    @property
    def reports(self) -> ReportServicer:
        return next(one for _, one, _ in self.app.servicers() if isinstance(one, ReportServicer))

    async def branch(self) -> pb.BranchPerformance:
        request = pb.GetBranchPerformanceRequest(workspace="pk_demo", journey_id="act")
        (branch,) = (await self.reports.GetBranchPerformance(request, None)).branches
        return branch

    async def impact(self) -> pb.GetCalibratedImpactResponse:
        request = pb.GetCalibratedImpactRequest(workspace="pk_demo", journey_id="act")
        return await self.reports.GetCalibratedImpact(request, None)

    def allocations(self) -> list[AllocationRecord | None]:
        """What was told, oldest first; None: the branch went back into cold start."""
        told = sorted(self.log.all(ALLOCATED), key=lambda one: one.offset)
        return [AllocationRecord.FromString(one.value) if one.value else None for one in told]


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    await made.open()
    yield made
    await made.app.close()


def people(arm: str, count: int, *, buyers: int = 0, at: int = T0, **more: Any) -> list[ExecutionRecord]:
    return [
        routed(f"{arm}{at}-{i}", arm, at=at, bought_at=at + 1 if i < buyers else None, **more) for i in range(count)
    ]


class TestAllocations:
    """When an allocation is made, and from what."""

    async def test_none_while_any_arm_is_below_its_floor(self, scene: Scene) -> None:
        """However many went the other way."""
        await publish(scene.log)
        await scene.told(*people("a", 9), *people("b", 1))

        assert [] == scene.allocations()
        assert ("cold_start", False) == ((shown := await scene.branch()).mode, shown.HasField("snapshot_id"))

    async def test_the_first_when_the_floor_is_reached(self, scene: Scene) -> None:
        """With nothing matured yet every arm is as good as the other; it is kept under its id."""
        await publish(scene.log)
        await scene.told(*people("a", 2, buyers=2), *people("b", 2))

        (made,) = scene.allocations()

        assert made is not None
        assert [("a", 0, 0), ("b", 0, 0)] == [(arm.arm_id, arm.reached, arm.goals) for arm in made.arms]
        assert [0.5, 0.5] == pytest.approx([arm.propensity for arm in made.arms])
        kept = scene.documents.peek(ALLOCATIONS, f"pk_demo:{made.snapshot_id}")
        assert [arm.propensity for arm in made.arms] == [arm.p for arm in kept.arms]

    async def test_another_when_windows_close(self, scene: Scene) -> None:
        """At its own moment, which the development clock is told of; from matured counts alone."""
        await publish(scene.log)
        await scene.told(*people("a", 40, buyers=20), *people("b", 40))
        closes = (T0 // QUARTER + 1) * QUARTER + WINDOW_MS + 1

        assert closes == await scene.app.next_due()
        await scene.move(closes - T0 - 1)
        assert 1 == len(scene.allocations())
        await scene.move(1)

        made = scene.allocations()[-1]
        assert made is not None
        weights = routing_weights([(40, 20), (40, 0)], 0.05).weights
        assert list(weights) == [arm.propensity for arm in made.arms]
        assert await scene.app.next_due() is None

    async def test_at_most_every_quarter_of_an_hour(self, scene: Scene) -> None:
        """Late conversions change matured counts: the next allocation waits, and is due."""
        await publish(scene.log)
        first = people("a", 4), people("b", 4)
        await scene.told(*first[0], *first[1])
        await scene.move(WINDOW_MS + QUARTER + 1)
        made_at = scene.clock.now_ms()
        before = len(scene.allocations())

        await scene.told(*people("a", 4, buyers=3, transition=2))

        assert before == len(scene.allocations())
        assert made_at + QUARTER == await scene.app.next_due()
        await scene.move(QUARTER)
        assert before + 1 == len(scene.allocations())

    async def test_equal_counts_are_not_told_again(self, scene: Scene) -> None:
        """More people on the way change nothing that has matured."""
        await publish(scene.log)
        await scene.told(*people("a", 3), *people("b", 3))
        await scene.move(QUARTER)

        await scene.told(*people("a", 3, at=T0 + QUARTER), *people("b", 3, at=T0 + QUARTER))

        assert 1 == len(scene.allocations())

    async def test_a_new_arm_puts_the_branch_back_into_cold_start(self, scene: Scene) -> None:
        """The version's own branch; people of the former version go on by theirs."""
        await publish(scene.log)
        await scene.told(*people("a", 3), *people("b", 3))
        arms = [*STEPS[1]["arms"], {"id": "c", "next": "exit"}]

        await publish(scene.log, [STEPS[0], {**STEPS[1], "arms": arms}, STEPS[2]], version=2)
        await scene.settle()

        assert "cold_start" == (await scene.branch()).mode
        assert 1 == len(scene.allocations())

    async def test_a_new_goal_is_learned_from_the_beginning(self, scene: Scene) -> None:
        """The old allocation is withdrawn."""
        await publish(scene.log)
        await scene.told(*people("a", 3), *people("b", 3))

        await publish(scene.log, goal="other", since=T0 + 1)
        await scene.settle()

        assert scene.allocations()[-1] is None

    async def test_a_successor_finds_what_was_told(self, scene: Scene) -> None:
        """And tells nothing anew."""
        await publish(scene.log)
        await scene.told(*people("a", 3), *people("b", 3))
        await scene.app.close()

        scene.app = Analytics(scene.documents, scene.log, scene.clock)
        await scene.open()
        await scene.settle()

        assert 1 == len(scene.allocations())
        assert "adaptive" == (await scene.branch()).mode

    async def test_it_waits_for_a_store_that_is_full(self, scene: Scene) -> None:
        """Nothing is told that is not stored."""
        await publish(scene.log)

        def refuse(write: Write) -> None:
            if write.collection is ALLOCATIONS:
                raise StoreUnavailable("full")

        scene.documents.fault = refuse
        await scene.log.append(EXECUTIONS, [record(message) for message in [*people("a", 3), *people("b", 3)]])
        for _ in range(50):
            assert not await scene.app.idle()
        assert [] == scene.allocations()
        scene.documents.fault = None
        await scene.settle()

        assert 1 == len(scene.allocations())


class TestBranchPerformance:
    """What is told of a branch."""

    async def test_matured_and_pending_stand_side_by_side(self, scene: Scene) -> None:
        """Early conversions of open windows are in neither matured number."""
        await publish(scene.log)
        old, new = T0 - 5 * DAY_MS, T0
        await scene.told(
            *people("a", 10, buyers=4, at=old), *people("a", 5, buyers=5, at=new), *people("b", 10, at=old)
        )

        arm = (await scene.branch()).arms[0]

        assert (15, 9, 0.6) == (arm.subjects_reached, arm.goal_events, arm.rate)
        assert (10, 4, 5, 5) == (arm.matured.reached, arm.matured.goals, arm.pending.reached, arm.pending.goals)
        assert arm.probability_best > 0.95

    async def test_a_window_that_closes_is_seen_without_a_write(self, scene: Scene) -> None:
        """Maturity is a function of time; kept reports know when they end."""
        await publish(scene.log)
        await scene.told(*people("a", 3))
        assert 3 == (await scene.branch()).arms[0].pending.reached

        await scene.move(WINDOW_MS + QUARTER + 1)

        assert 3 == (await scene.branch()).arms[0].matured.reached

    async def test_reset_arms_count_from_their_version_on(self, scene: Scene) -> None:
        """The others go on."""
        await publish(scene.log)
        await scene.told(*people("a", 3), *people("b", 3))
        await publish(scene.log, version=2, resets=[("pick", "a")])
        await scene.told(*people("a", 1, at=T0 + 1, version=2))

        branch = await scene.branch()

        assert [1, 3] == [arm.subjects_reached for arm in branch.arms]
        assert [2, 0] == [arm.reset_in_version for arm in branch.arms]

    async def test_epochs_are_checked_and_corrected_by_their_shares(self, scene: Scene) -> None:
        """Equal shares, then an allocation: people split as promised pass, and the corrected rate is there."""
        await publish(scene.log)
        old = T0 - 9 * DAY_MS
        cold = [*people("a", 300, buyers=90, at=old), *people("b", 300, buyers=30, at=old)]
        await scene.told(*cold)
        made = scene.allocations()[-1]
        assert made is not None
        share = {arm.arm_id: arm.propensity for arm in made.arms}
        later = [
            *people("a", 190, buyers=57, at=old + DAY_MS, snapshot=made.snapshot_id, propensity=share["a"]),
            *people("b", 5, at=old + DAY_MS, snapshot=made.snapshot_id, propensity=share["b"]),
        ]
        await scene.told(*later)

        branch = await scene.branch()

        assert branch.allocation_check.ok
        corrected = branch.arms[0].corrected
        assert 0.3 == pytest.approx(corrected.rate, abs=0.02)
        assert corrected.interval95.low < corrected.rate < corrected.interval95.high

    async def test_a_split_that_was_not_promised_is_found(self, scene: Scene) -> None:
        """Equal shares that came out 300 to 100."""
        await publish(scene.log)
        await scene.told(*people("a", 300), *people("b", 100))

        assert not (await scene.branch()).allocation_check.ok

    async def test_without_exploration_nothing_is_corrected(self, scene: Scene) -> None:
        """There may be arms that nobody could be sent to."""
        await publish(scene.log, [STEPS[0], {**STEPS[1], "explorationFloor": 0}, STEPS[2]])
        await scene.told(*people("a", 3), *people("b", 3))

        arm = (await scene.branch()).arms[0]

        assert not arm.HasField("corrected")
        assert arm.corrected_reason

    async def test_a_branch_that_is_gone_is_shown_while_it_has_counts(self, scene: Scene) -> None:
        """Behind those of the latest version."""
        await publish(scene.log)
        await scene.told(*people("a", 3))
        await publish(scene.log, [{**STEPS[0], "next": "exit"}, STEPS[2]], version=2)
        await scene.settle()

        assert ("pick", 3) == ((branch := await scene.branch()).step_id, branch.arms[0].subjects_reached)

    async def test_a_changed_text_is_a_changed_arm(self, scene: Scene) -> None:
        """By the version of the communication that the new version pinned."""
        mail = {"id": "m", "type": "send", "channel": "email", "communicationId": "c1", "next": "exit"}
        arms = [{"id": "a", "next": "m"}, {"id": "b", "next": "exit"}]
        steps = [STEPS[0], {**STEPS[1], "arms": arms}, mail, STEPS[2]]
        await publish(scene.log, steps, communications={"c1": 1})
        await publish(scene.log, steps, version=2, communications={"c1": 4})
        await scene.settle()

        assert [2, 0] == [arm.content_changed_in_version for arm in (await scene.branch()).arms]

    @pytest.mark.parametrize(("reached", "goals"), [(0, 0), (1, 0), (1, 1), (7, 0), (7, 7)])
    async def test_no_count_makes_a_number_that_is_none(self, scene: Scene, reached: int, goals: int) -> None:
        """None or all converted, one or nobody."""
        await publish(scene.log)
        await scene.told(*people("a", reached, buyers=goals, at=T0 - 5 * DAY_MS))

        branch = await scene.branch()

        numbers = [
            number
            for arm in branch.arms
            for number in (arm.rate, arm.probability_best, arm.expected_loss, arm.sampling_weight)
        ]
        assert all(math.isfinite(number) for number in [*numbers, branch.potential_value_remaining95])


class TestImpact:
    """What is told of a journey."""

    async def test_cohorts_days_and_maturity(self, scene: Scene) -> None:
        """Documented members count everybody, additional ones the matured."""
        await publish(scene.log)
        old = T0 - 5 * DAY_MS
        await scene.told(
            *people("a", 20, buyers=8, at=old),
            *people("a", 4, buyers=1),
            *people("h", 5, buyers=1, at=old, status="HOLDOUT"),
        )

        found = await scene.impact()

        assert (24, 5, 9, 1) == (
            found.triggered.exposed,
            found.triggered.holdout,
            found.converted.exposed,
            found.converted.holdout,
        )
        assert (20, 5, 8, 1) == (
            found.matured_triggered.exposed,
            found.matured_triggered.holdout,
            found.matured_converted.exposed,
            found.matured_converted.holdout,
        )
        assert (0.375, 0.2, 0.875) == (found.exposure_rate, found.holdout_rate, found.lift)
        assert [(25, True), (4, False)] == [
            (day.triggered.exposed + day.triggered.holdout, day.mature)
            for day in found.daily_trend
            if day.triggered.exposed
        ]
        assert found.lift_credible_interval95.low < found.lift_credible_interval95.high
        assert found.sample_ratio.expected_holdout_share == pytest.approx(0.1)

    async def test_what_started_before_the_goal_is_left_out(self, scene: Scene) -> None:
        """Under the same event's name too, which the journey had before."""
        await publish(scene.log, since=T0)
        newer = GoalRecord(event_name="bought", window_ms=WINDOW_MS, since_ms=T0)
        await scene.told(*people("a", 3, at=T0 - 5), *people("b", 2, at=T0, goal=newer))

        assert 2 == (await scene.impact()).triggered.exposed

    async def test_an_unpublished_journey_has_zeros(self, scene: Scene) -> None:
        """And no goal that anybody could have reached."""
        found = await scene.impact()

        assert (0, False, 30) == (found.triggered.exposed, found.HasField("goal_event_name"), len(found.daily_trend))
        assert found.sample_ratio.ok


class TestRecount:
    """RecountStats: stored counts, facts and executions."""

    @staticmethod
    def recount(scene: Scene, executions: Sequence[ExecutionRecord]) -> RecountStats:
        async def read(workspace: str, journey_id: str) -> AsyncIterator[list[Fact]]:
            yield [fact_of(message) for message in executions]

        return RecountStats(scene.documents, scene.app._executions, scene.log.partitions, read)

    async def test_it_agrees(self, scene: Scene) -> None:
        """Held-out starts, conversions and repeats included."""
        told = [
            *people("a", 3, buyers=1),
            routed("e1", "b", person="u"),
            routed("e2", "b", person="u", at=T0 + DAY_MS),
            routed("h", status="HOLDOUT"),
        ]
        await scene.told(*told)

        found = await self.recount(scene, told)("pk_demo", "act")

        assert ((), 6, 6, 0) == (found.differences, found.facts, found.executions, found.without_execution)
        assert found.counts > 5

    async def test_a_fact_whose_execution_is_gone_still_counts(self, scene: Scene) -> None:
        """By retention, or because the person was forgotten."""
        told = people("a", 3)
        await scene.told(*told)

        found = await self.recount(scene, told[1:])("pk_demo", "act")

        assert ((), 1) == (found.differences, found.without_execution)

    async def test_a_stored_count_that_is_wrong_is_found(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        """By facts and by executions."""
        monkeypatch.setattr("services.analytics.recount.ACKNOWLEDGED_SECONDS", 0)
        told = people("a", 1)
        await scene.told(*told)
        (day,) = (await scene.documents.scan(DAYS, "")).items
        next(iter(day.arms.values()))[T0 // QUARTER] = [5, 0]
        scene.documents.put(DAYS, day)

        found = await self.recount(scene, told)("pk_demo", "act")

        assert [("facts", 5, 1), ("executions", 5, 1)] == [
            (one.source, one.stored, one.counted) for one in found.differences
        ]

    async def test_an_execution_that_says_otherwise_is_found(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A conversion that the log never told."""
        monkeypatch.setattr("services.analytics.recount.ACKNOWLEDGED_SECONDS", 0)
        await scene.told(*people("a", 1))

        found = await self.recount(scene, people("a", 1, buyers=1))("pk_demo", "act")

        assert {"executions"} == {one.source for one in found.differences}


async def test_what_only_counts_is_not_in_the_timeline(scene: Scene) -> None:
    """A goal that moved to an earlier event: the fact has its moment, the timeline one goal."""
    moved = routed("u", bought_at=T0 + 5, transition=2)
    moved.entries.extend([entry("k:2:0", action="goal.moved"), entry("k:2:1", action="goal.reached")])
    await scene.told(routed("u", bought_at=T0 + 9), moved)

    (fact,) = (await scene.documents.scan(FACTS, "")).items
    rows = (await scene.documents.scan(ROWS, "")).items

    assert ([T0 + 5, T0 + 9], T0 + 5) == (fact.goals, fact.arms["pick"].converted_at)
    assert ["goal.reached"] == [row.action for row in rows]


async def test_a_record_that_cannot_be_read_stops_nobody(scene: Scene) -> None:
    """Of the catalogue and of the allocations."""
    await scene.log.append(ALLOCATED, [Record("pk_demo:act:pick:x", b"\xff")])
    await scene.log.append("journeys.authoring.v1", [Record("pk_demo:journey:act", b"\xff")])
    await publish(scene.log)
    await scene.told(*people("a", 3))

    assert 3 == (await scene.branch()).arms[0].subjects_reached


async def test_of_two_processes_one_makes_the_allocation(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever projects the journey's partition, from counts that both have made."""
    monkeypatch.setattr("services.analytics.allocator.OTHERS_SECONDS", 0.01)
    monkeypatch.setattr("services.analytics.allocator.PAUSE_SECONDS", 0.001)
    monkeypatch.setattr("services.analytics.counts.OTHERS_SECONDS", 0)
    other = Analytics(scene.documents, scene.log, scene.clock)
    await other.open()
    try:
        await publish(scene.log)
        await scene.log.append(EXECUTIONS, [record(message) for message in [*people("a", 9), *people("b", 9)]])

        async def is_made() -> bool:
            return bool(scene.allocations())

        await eventually(is_made)
        await eventually(scene.app.idle)
        await eventually(other.idle)
        reports = [
            (await servicer.GetBranchPerformance(request, None)).branches[0]
            for app in (scene.app, other)
            for _, servicer, _ in app.servicers()
            if isinstance(servicer, ReportServicer)
            for request in [pb.GetBranchPerformanceRequest(workspace="pk_demo", journey_id="act")]
        ]

        assert 1 == len(scene.allocations())
        assert [["adaptive", 9, 9]] * 2 == [
            [branch.mode, *(arm.subjects_reached for arm in branch.arms)] for branch in reports
        ]
    finally:
        await other.close()
