"""What the numbers say, as the contract shows it (section 4), with the additional members of the statistics design."""

from typing import Literal, Self

from journeys.analytics.v1 import report_service_pb2 as pb

from gateway.dto.running import arn_of
from gateway.dto.shown import UNSET, Dto, Time, UnsetType, optional, optional_time, or_unset
from gateway.times import rfc3339

Interval = tuple[float, float]
OpenInterval = tuple[float, float | None]


class Counted(Dto, kw_only=True):
    """Subjects and conversions of an arm."""

    subjects_reached: int
    goal_events: int


class Corrected(Dto, kw_only=True):
    """A rate freed of the bias of adaptive routing."""

    rate: float
    interval95: Interval
    method: Literal["aipw"]


class AllocationCheck(Dto, kw_only=True):
    """Whether people were split as the shares say."""

    p_value: float
    ok: bool


class Drift(Dto, kw_only=True):
    """Whether an arm's rate changed over time."""

    p_value: float
    detected: bool


class ArmPerformance(Dto, kw_only=True):
    """One arm. The first six members count everybody, the others whose window has closed."""

    arm_id: str
    subjects_reached: int
    goal_events: int
    rate: float
    credible_interval95: Interval | UnsetType = UNSET
    cold_start: Literal[True] | UnsetType = UNSET
    probability_best: float
    expected_loss: float
    sampling_weight: float
    matured: Counted
    pending: Counted
    always_valid_interval95: Interval
    corrected: Corrected | None
    corrected_reason: str | UnsetType = UNSET
    content_changed_in_version: int | UnsetType = UNSET
    reset_in_version: int | UnsetType = UNSET

    @classmethod
    def from_proto(cls, arm: pb.ArmPerformance) -> Self:
        """An arm."""
        interval = arm.credible_interval95
        return cls(
            arm_id=arm.arm_id,
            subjects_reached=arm.subjects_reached,
            goal_events=arm.goal_events,
            rate=arm.rate,
            credible_interval95=(interval.low, interval.high) if arm.HasField("credible_interval95") else UNSET,
            cold_start=True if arm.cold_start else UNSET,
            probability_best=arm.probability_best,
            expected_loss=arm.expected_loss,
            sampling_weight=arm.sampling_weight,
            matured=_counted(arm.matured),
            pending=_counted(arm.pending),
            always_valid_interval95=(arm.always_valid_interval95.low, arm.always_valid_interval95.high),
            corrected=_corrected(arm.corrected) if arm.HasField("corrected") else None,
            corrected_reason=or_unset(optional(arm, "corrected_reason")),
            content_changed_in_version=or_unset(optional(arm, "content_changed_in_version")),
            reset_in_version=or_unset(optional(arm, "reset_in_version")),
        )


class BranchPerformance(Dto, kw_only=True):
    """One adaptive branch with its arms in the order of the version."""

    step_id: str
    arms: list[ArmPerformance]
    goal_event_name: str | None
    leader: str
    potential_value_remaining95: float
    allocation_check: AllocationCheck | None
    drift: Drift | None
    snapshot_id: str | None
    mode: Literal["cold_start", "adaptive"]
    as_of: Time

    @classmethod
    def from_proto(cls, branch: pb.BranchPerformance) -> Self:
        """A branch."""
        check, drift = branch.allocation_check, branch.drift
        return cls(
            step_id=branch.step_id,
            arms=[ArmPerformance.from_proto(arm) for arm in branch.arms],
            goal_event_name=optional(branch, "goal_event_name"),
            leader=branch.leader,
            potential_value_remaining95=branch.potential_value_remaining95,
            allocation_check=AllocationCheck(p_value=check.p_value, ok=check.ok)
            if branch.HasField("allocation_check")
            else None,
            drift=Drift(p_value=drift.p_value, detected=drift.detected) if branch.HasField("drift") else None,
            snapshot_id=optional(branch, "snapshot_id"),
            mode=branch.mode,  # type: ignore[arg-type]  # analytics knows these two
            as_of=rfc3339(branch.as_of_ms),
        )


class Cohorts(Dto, kw_only=True):
    """A count by cohort."""

    exposed: int
    holdout: int


class ImpactDay(Dto, kw_only=True):
    """One UTC day of triggers; `mature` once every window that began on it has closed."""

    date: str
    triggered: Cohorts
    converted: Cohorts
    exposure_rate: float
    holdout_rate: float
    lift: float | None
    mature: bool


class Matured(Dto, kw_only=True):
    """The counts of those whose window has closed."""

    triggered: Cohorts
    converted: Cohorts


class Incremental(Dto, kw_only=True):
    """Conversions the journey brought."""

    estimate: float
    interval95: Interval


class SampleRatio(Dto, kw_only=True):
    """Whether the holdout is as large as configured."""

    expected_holdout_share: float
    p_value: float
    ok: bool
    e_value: float
    confirmed: bool


class Method(Dto, kw_only=True):
    """How the additional members were computed. Above a `repeatShare` of .05 the intervals are too narrow."""

    prior: Literal["jeffreys"]
    unit: Literal["execution"]
    always_valid_lift: Literal["exact", "asymptotic"] | None
    repeat_share: float
    version: str


class CalibratedImpact(Dto, kw_only=True):
    """Exposed against held out since the goal was set."""

    triggered: Cohorts
    converted: Cohorts
    exposure_rate: float
    holdout_rate: float
    lift: float | None
    underpowered: bool
    daily_trend: list[ImpactDay]
    goal_event_name: str | None
    goal_since: Time | None
    matured: Matured
    lift_credible_interval95: Interval | None
    probability_positive: float | None
    incremental_conversions: Incremental | None
    always_valid_lift_interval95: OpenInterval | None
    minimum_detectable_lift80: float | None
    sample_ratio: SampleRatio
    method: Method
    as_of: Time

    @classmethod
    def from_proto(cls, impact: pb.GetCalibratedImpactResponse) -> Self:
        """The report."""
        lift, always = impact.lift_credible_interval95, impact.always_valid_lift_interval95
        ratio, method = impact.sample_ratio, impact.method
        return cls(
            triggered=_cohorts(impact.triggered),
            converted=_cohorts(impact.converted),
            exposure_rate=impact.exposure_rate,
            holdout_rate=impact.holdout_rate,
            lift=optional(impact, "lift"),
            underpowered=impact.underpowered,
            daily_trend=[_day(day) for day in impact.daily_trend],
            goal_event_name=optional(impact, "goal_event_name"),
            goal_since=optional_time(impact, "goal_since_ms"),
            matured=Matured(triggered=_cohorts(impact.matured_triggered), converted=_cohorts(impact.matured_converted)),
            lift_credible_interval95=(lift.low, lift.high) if impact.HasField("lift_credible_interval95") else None,
            probability_positive=optional(impact, "probability_positive"),
            incremental_conversions=_incremental(impact.incremental_conversions)
            if impact.HasField("incremental_conversions")
            else None,
            always_valid_lift_interval95=(always.low, optional(always, "high"))
            if impact.HasField("always_valid_lift_interval95")
            else None,
            minimum_detectable_lift80=optional(impact, "minimum_detectable_lift80"),
            sample_ratio=SampleRatio(
                expected_holdout_share=ratio.expected_holdout_share,
                p_value=ratio.p_value,
                ok=ratio.ok,
                e_value=ratio.e_value,
                confirmed=ratio.confirmed,
            ),
            method=Method(
                prior=method.prior,  # type: ignore[arg-type]  # analytics knows one
                unit=method.unit,  # type: ignore[arg-type]  # analytics knows one
                always_valid_lift=optional(method, "always_valid_lift"),
                repeat_share=method.repeat_share,
                version=method.version,
            ),
            as_of=rfc3339(impact.as_of_ms),
        )


class Difference(Dto, kw_only=True):
    """A count that is stored otherwise than it is when counted anew."""

    source: Literal["facts", "executions"]
    what: str
    stored: int
    counted: int


class Recounted(Dto, kw_only=True):
    """What a recount found; `agrees` where nothing differs."""

    agrees: bool
    facts: int
    executions: int
    without_execution: int
    counts: int
    differences: list[Difference]

    @classmethod
    def from_proto(cls, reply: pb.RecountStatsResponse) -> Self:
        """The answer of a recount."""
        return cls(
            agrees=not reply.differences,
            facts=reply.facts,
            executions=reply.executions,
            without_execution=reply.without_execution,
            counts=reply.counts,
            differences=[
                Difference(
                    source=one.source,  # type: ignore[arg-type]  # analytics knows these two
                    what=one.what,
                    stored=one.stored,
                    counted=one.counted,
                )
                for one in reply.differences
            ],
        )


class ExecutionEvent(Dto, kw_only=True):
    """An execution as it is now: an `execution` event of the live stream."""

    execution_arn: str | None
    execution_id: str
    journey_id: str
    end_user_id: str
    status: str
    started_at: Time
    ended_at: Time | UnsetType = UNSET
    current_step_id: str
    version: int
    correlation_id: str

    @classmethod
    def from_proto(cls, journey_id: str, changed: pb.ExecutionChanged) -> Self:
        """An execution."""
        return cls(
            execution_arn=arn_of(changed.execution_id),
            execution_id=changed.execution_id,
            journey_id=journey_id,
            end_user_id=changed.end_user_id,
            status=changed.status,
            started_at=rfc3339(changed.started_at_ms),
            ended_at=or_unset(optional_time(changed, "ended_at_ms")),
            current_step_id=changed.current_step_id,
            version=changed.version,
            correlation_id=f"{changed.execution_id}-{changed.current_step_id}",
        )


def _counted(counted: pb.Counted) -> Counted:
    return Counted(subjects_reached=counted.reached, goal_events=counted.goals)


def _corrected(corrected: pb.Corrected) -> Corrected:
    interval = corrected.interval95
    return Corrected(rate=corrected.rate, interval95=(interval.low, interval.high), method="aipw")


def _incremental(incremental: pb.Incremental) -> Incremental:
    interval = incremental.interval95
    return Incremental(estimate=incremental.estimate, interval95=(interval.low, interval.high))


def _cohorts(cohorts: pb.Cohorts) -> Cohorts:
    return Cohorts(exposed=cohorts.exposed, holdout=cohorts.holdout)


def _day(day: pb.ImpactDay) -> ImpactDay:
    return ImpactDay(
        date=day.date,
        triggered=_cohorts(day.triggered),
        converted=_cohorts(day.converted),
        exposure_rate=day.exposure_rate,
        holdout_rate=day.holdout_rate,
        lift=optional(day, "lift"),
        mature=day.mature,
    )
