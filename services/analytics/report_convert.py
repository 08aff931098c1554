"""Reports, allocations and what authors published, in two alphabets: values here, protos on the wire and in the log."""

from collections.abc import Sequence

from google.protobuf.message import DecodeError
from journeys.analytics.v1 import analytics_service_pb2 as analytics
from journeys.analytics.v1 import report_service_pb2 as pb
from journeys.events.v1.allocation_record_pb2 import AllocationRecord, ArmAllocation
from journeys.events.v1.authoring_record_pb2 import CatalogueRecord
from journeys.events.v1.execution_record_pb2 import ExecutionRecord

from services.analytics.branch_performance import ArmPerformance, BranchPerformance
from services.analytics.follower import Unreadable
from services.analytics.impact import METHOD_VERSION, Cohorts, Impact, ImpactDay
from services.analytics.journeys import Change, JourneyHead, VersionContent
from services.analytics.recount import Recounted
from services.analytics.repositories import Allocation, ArmCount
from services.analytics.watching import ExecutionChanged, Happening
from services.domain.stats.corrected import Corrected
from services.domain.times import DAY_MS
from services.infra.log.port import Stored

SHOWN = frozenset({"RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"})


def change_from_record(stored: Stored) -> Change:
    """What a record of the catalogue says of journeys; None for any other. Raises Unreadable."""
    try:
        record = CatalogueRecord.FromString(stored.value)
    except DecodeError as error:
        raise Unreadable("not a CatalogueRecord") from error
    match record.WhichOneof("what"):
        case "journey":
            journey = record.journey
            return JourneyHead(
                workspace=record.workspace,
                id=journey.id,
                latest_version=journey.latest_version,
                goal_event=journey.goal_event_name if journey.HasField("goal_event_name") else None,
                window_ms=round(journey.goal_event_window_days * DAY_MS),
                since=journey.goal_since_ms,
            )
        case "version":
            version = record.version
            return VersionContent(
                workspace=record.workspace,
                journey_id=version.journey_id,
                number=version.version,
                steps_json=version.steps_json,
                communications={pinned.id: pinned.version for pinned in version.communications},
                reset_arms=frozenset((arm.step_id, arm.arm_id) for arm in version.reset_arms),
            )
        case _:
            return None


def allocation_from_record(stored: Stored) -> Allocation:
    """An allocation as it was told. Raises Unreadable."""
    try:
        record = AllocationRecord.FromString(stored.value)
    except DecodeError as error:
        raise Unreadable("not an AllocationRecord") from error
    return Allocation(
        key=f"{record.workspace}:{record.snapshot_id}",
        workspace=record.workspace,
        journey_id=record.journey_id,
        step_id=record.step_id,
        branch=record.branch,
        snapshot_id=record.snapshot_id,
        arms=tuple(ArmCount(arm.arm_id, arm.reached, arm.goals, arm.win, arm.propensity) for arm in record.arms),
        as_of=record.as_of_ms,
    )


def allocation_to_bytes(allocation: Allocation) -> bytes:
    """An allocation as it is told."""
    return AllocationRecord(
        workspace=allocation.workspace,
        journey_id=allocation.journey_id,
        step_id=allocation.step_id,
        branch=allocation.branch,
        snapshot_id=allocation.snapshot_id,
        arms=[
            ArmAllocation(arm_id=arm.arm_id, reached=arm.n, goals=arm.s, win=arm.w, propensity=arm.p)
            for arm in allocation.arms
        ],
        as_of_ms=allocation.as_of,
    ).SerializeToString()


def execution_from_record(stored: Stored, workspace: str, journey_id: str) -> ExecutionChanged | None:
    """An execution of that journey as a record tells it; None for another's, and for what is not shown."""
    try:
        record = ExecutionRecord.FromString(stored.value)
    except DecodeError:
        return None
    state = record.state
    if (record.workspace, record.journey_id) != (workspace, journey_id) or (state.status or "RUNNING") not in SHOWN:
        return None
    return ExecutionChanged(
        execution_id=record.execution_id,
        end_user_id=record.end_user_id,
        status=state.status or "RUNNING",
        started_at=record.started_at_ms,
        ended_at=state.ended_at_ms if state.HasField("ended_at_ms") else None,
        current_step_id=state.current_step_id,
        version=record.version,
    )


def branches_to_proto(branches: Sequence[BranchPerformance]) -> pb.GetBranchPerformanceResponse:
    """Branch performance."""
    return pb.GetBranchPerformanceResponse(branches=[_branch(branch) for branch in branches])


def impact_to_proto(impact: Impact) -> pb.GetCalibratedImpactResponse:
    """Calibrated impact."""
    documented, lift, ratio = impact.documented, impact.lift, impact.sample_ratio
    always = impact.always_valid
    return pb.GetCalibratedImpactResponse(
        triggered=_triggered(impact.counts),
        converted=_converted(impact.counts),
        exposure_rate=documented.exposure_rate,
        holdout_rate=documented.holdout_rate,
        lift=documented.lift,
        underpowered=documented.underpowered,
        daily_trend=[_day(day) for day in impact.trend],
        goal_event_name=impact.goal_event,
        matured_triggered=_triggered(impact.matured),
        matured_converted=_converted(impact.matured),
        lift_credible_interval95=None if lift is None else _interval(lift.lift_interval95),
        probability_positive=None if lift is None else lift.probability_positive,
        incremental_conversions=None
        if lift is None
        else pb.Incremental(estimate=lift.incremental_estimate, interval95=_interval(lift.incremental_interval95)),
        always_valid_lift_interval95=None if always is None else _interval(always.interval95),
        minimum_detectable_lift80=impact.detectable,
        sample_ratio=pb.SampleRatio(
            expected_holdout_share=ratio.expected_holdout_share,
            p_value=ratio.p_value,
            ok=ratio.ok,
            e_value=ratio.e_value,
            confirmed=ratio.confirmed,
        ),
        method=pb.Method(
            prior="jeffreys",
            unit="execution",
            always_valid_lift=None if always is None else always.method,
            repeat_share=impact.repeat_share,
            version=METHOD_VERSION,
        ),
        as_of_ms=impact.as_of,
        goal_since_ms=impact.since,
    )


def recounted_to_proto(found: Recounted) -> pb.RecountStatsResponse:
    """What a recount found."""
    return pb.RecountStatsResponse(
        facts=found.facts,
        executions=found.executions,
        without_execution=found.without_execution,
        counts=found.counts,
        differences=[
            pb.Difference(source=one.source, what=one.what, stored=one.stored, counted=one.counted)
            for one in found.differences
        ],
    )


def happening_to_proto(happening: Happening) -> pb.WatchJourneyResponse:
    """One event of the live stream."""
    what = happening.what
    if isinstance(what, ExecutionChanged):
        changed = pb.ExecutionChanged(
            execution_id=what.execution_id,
            end_user_id=what.end_user_id,
            status=what.status,
            started_at_ms=what.started_at,
            ended_at_ms=what.ended_at,
            current_step_id=what.current_step_id,
            version=what.version,
        )
        return pb.WatchJourneyResponse(id=happening.id, execution=changed)
    steps = [
        analytics.StepStats(step_id=step, executed=c.executed, skipped=c.skipped, failed=c.failed, waiting=c.waiting)
        for step, c in what.items()
    ]
    return pb.WatchJourneyResponse(id=happening.id, stats=pb.StatsChanged(steps=steps))


def _branch(branch: BranchPerformance) -> pb.BranchPerformance:
    check, drift = branch.allocation_check, branch.drift
    return pb.BranchPerformance(
        step_id=branch.step_id,
        arms=[_arm(arm) for arm in branch.arms],
        leader=branch.leader,
        potential_value_remaining95=branch.potential_value_remaining95,
        allocation_check=None if check is None else pb.AllocationCheck(p_value=check.p_value, ok=check.ok),
        drift=None if drift is None else pb.Drift(p_value=drift.p_value, detected=drift.detected),
        snapshot_id=branch.snapshot_id,
        mode=branch.mode,
        as_of_ms=branch.as_of,
        goal_event_name=branch.goal_event,
    )


def _arm(arm: ArmPerformance) -> pb.ArmPerformance:
    corrected = arm.corrected
    return pb.ArmPerformance(
        arm_id=arm.arm_id,
        subjects_reached=arm.reached,
        goal_events=arm.goals,
        rate=arm.rate,
        credible_interval95=None if arm.interval95 is None else _interval(arm.interval95),
        cold_start=arm.is_cold,
        probability_best=arm.probability_best,
        expected_loss=arm.expected_loss,
        sampling_weight=arm.sampling_weight,
        matured=_counted(arm.matured),
        pending=_counted(arm.pending),
        always_valid_interval95=_interval(arm.always_valid_interval95),
        corrected=pb.Corrected(rate=corrected.rate, interval95=_interval(corrected.interval95), method=corrected.method)
        if isinstance(corrected, Corrected)
        else None,
        corrected_reason=corrected if isinstance(corrected, str) else None,
        content_changed_in_version=arm.content_changed_in,
        reset_in_version=arm.reset_in,
    )


def _day(day: ImpactDay) -> pb.ImpactDay:
    documented = day.documented
    return pb.ImpactDay(
        date=day.date,
        triggered=_triggered(day.counts),
        converted=_converted(day.counts),
        exposure_rate=documented.exposure_rate,
        holdout_rate=documented.holdout_rate,
        lift=documented.lift,
        mature=day.is_mature,
    )


def _triggered(cohorts: Cohorts) -> pb.Cohorts:
    return pb.Cohorts(exposed=cohorts.exposed[0], holdout=cohorts.holdout[0])


def _converted(cohorts: Cohorts) -> pb.Cohorts:
    return pb.Cohorts(exposed=cohorts.exposed[1], holdout=cohorts.holdout[1])


def _counted(count: tuple[int, int]) -> pb.Counted:
    return pb.Counted(reached=count[0], goals=count[1])


def _interval(bounds: tuple[float, float | None]) -> pb.Interval:
    return pb.Interval(low=bounds[0], high=bounds[1])
