"""What the journey is good for: exposed against held out, since its goal was set.

Law: counts come from `counts`, numbers from `services.domain.stats`; here they meet. Documented members count
everybody, additional ones those whose window has closed. Source: contract 4; statistics design 4.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from services.analytics.counts import Counts, JourneyCounts
from services.analytics.follower import Follower
from services.analytics.journeys import JourneyHead, Journeys
from services.analytics.tallies import EXPOSED, HOLDOUT
from services.domain.stats.lift import (
    AlwaysValidLift,
    DocumentedImpact,
    LiftReport,
    always_valid_lift,
    documented_impact,
    lift_report,
    minimum_detectable_lift80,
)
from services.domain.stats.sample_ratio import SampleRatio, Stretch, sample_ratio
from services.domain.times import DAY_MS
from services.infra.clock import Clock

FRESH_SECONDS = 0.2
TREND_DAYS = 30
METHOD_VERSION = "1"
Count = tuple[int, int]  # triggered, converted
_NOBODY = (0, 0)


@dataclass(frozen=True, slots=True)
class Cohorts:
    """Triggered and converted, by cohort."""

    exposed: Count = _NOBODY
    holdout: Count = _NOBODY


@dataclass(frozen=True, slots=True)
class ImpactDay:
    """One UTC day of triggers. `is_mature`: every window that began on it has closed."""

    date: str
    counts: Cohorts
    documented: DocumentedImpact
    is_mature: bool


@dataclass(frozen=True, slots=True)
class Impact:
    """The whole report. `lift`, `always_valid` and `detectable` are None where a cohort is too empty to say."""

    goal_event: str | None
    since: int | None
    counts: Cohorts
    documented: DocumentedImpact
    trend: tuple[ImpactDay, ...]
    matured: Cohorts
    lift: LiftReport | None
    always_valid: AlwaysValidLift | None
    detectable: float | None
    sample_ratio: SampleRatio
    repeat_share: float
    as_of: int


@dataclass(slots=True)
class _Sums:
    """Triggered and converted of everybody and of the matured, by cohort."""

    all: dict[str, list[int]] = field(default_factory=lambda: {EXPOSED: [0, 0], HOLDOUT: [0, 0]})
    matured: dict[str, list[int]] = field(default_factory=lambda: {EXPOSED: [0, 0], HOLDOUT: [0, 0]})

    def add(self, cohort: str, counts: tuple[int, int, int, int]) -> None:
        """Add counts of more buckets."""
        for held, (n, s) in ((self.all, counts[:2]), (self.matured, counts[2:])):
            held[cohort][0] += n
            held[cohort][1] += s


class GetCalibratedImpact:
    """The report of one journey. What was in the log when it was asked is counted, as far as 0.2 s allow."""

    def __init__(self, journeys: Journeys, counts: Counts, executions: Follower, clock: Clock) -> None:
        self._journeys = journeys
        self._counts = counts
        self._executions = executions
        self._clock = clock

    async def __call__(self, workspace: str, journey_id: str) -> Impact:
        await self._executions.drain(FRESH_SECONDS)
        await self._journeys.refresh()
        now = self._clock.now_ms()
        journey = self._journeys.get(workspace, journey_id)
        if journey is None or journey.head.goal_event is None:
            return impact_of(None, JourneyCounts(), now)
        return impact_of(journey.head, await self._counts.of(workspace, journey_id), now)


def impact_of(head: JourneyHead | None, counts: JourneyCounts, now: int) -> Impact:
    """The report from counts; zeros where there is no goal (`head` None)."""
    sums, days, stretches = _Sums(), dict[int, _Sums](), list[Stretch]()
    for day, held in counts.days.items() if head is not None else ():
        assert head is not None
        for counted in held.starts:
            start = counted.group
            if start.goal_event == head.goal_event and start.since == head.since:
                found = counted.at(start.window_ms, now)
                sums.add(start.cohort, found)
                days.setdefault(day, _Sums()).add(start.cohort, found)
        for first, (exposed, holdout) in sorted(held.firsts.items()):
            if first.since == head.since:
                stretches.append(Stretch(first.share, day, exposed, holdout))
    everybody, matured = _cohorts(sums.all), _cohorts(sums.matured)
    persons = sum(stretch.exposed + stretch.holdout for stretch in stretches)
    starts = everybody.exposed[0] + everybody.holdout[0]
    window_ms = head.window_ms if head is not None else 0
    return Impact(
        goal_event=None if head is None else head.goal_event,
        since=None if head is None or head.since == 0 else head.since,
        counts=everybody,
        documented=documented_impact(everybody.exposed, everybody.holdout),
        trend=tuple(_trend(days, window_ms, now)),
        matured=matured,
        lift=lift_report(matured.exposed, matured.holdout),
        always_valid=always_valid_lift(matured.exposed, matured.holdout),
        detectable=minimum_detectable_lift80(matured.exposed, matured.holdout),
        sample_ratio=sample_ratio(stretches),
        repeat_share=1 - persons / starts if starts else 0.0,
        as_of=now,
    )


def _trend(days: dict[int, _Sums], window_ms: int, now: int) -> Iterable[ImpactDay]:
    today = now // DAY_MS
    for day in range(today - TREND_DAYS + 1, today + 1):
        sums = days.get(day)
        counts = Cohorts() if sums is None else _cohorts(sums.all)
        yield ImpactDay(
            date=(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).date().isoformat(),
            counts=counts,
            documented=documented_impact(counts.exposed, counts.holdout),
            is_mature=(day + 1) * DAY_MS + window_ms <= now,
        )


def _cohorts(sums: dict[str, list[int]]) -> Cohorts:
    return Cohorts((sums[EXPOSED][0], sums[EXPOSED][1]), (sums[HOLDOUT][0], sums[HOLDOUT][1]))
