"""How each arm of the adaptive branches does.

Law: counts come from `counts`, numbers from `services.domain.stats`; here they meet. Documented members count
everybody who was routed, additional ones those whose window has closed.
Source: contract 4; statistics design 2.2, 2.3 and 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.analytics.counts import Counts, JourneyCounts
from services.analytics.follower import Follower
from services.analytics.journeys import Journey, JourneyHead, Journeys, branches_of
from services.analytics.repositories import Allocation, Allocations
from services.analytics.tallies import ArmGroup
from services.domain.journey.model import BranchAdaptive
from services.domain.stats.arms import compare_many, potential_value_remaining95
from services.domain.stats.checks import Check, Drift, Epoch, allocation_check, drift
from services.domain.stats.corrected import ArmEpoch, Corrected, corrected_rate
from services.domain.stats.rates import always_valid_interval95, credible_interval95, rounded_rate
from services.infra.clock import Clock
from services.infra.documents.port import Documents

FRESH_SECONDS = 0.2
NO_EXPLORATION = "propensity_below_0.015"
Count = tuple[int, int]


@dataclass(slots=True)
class Cell:
    """One arm in one epoch: everybody, and whose window has closed."""

    n: int = 0
    s: int = 0
    matured_n: int = 0
    matured_s: int = 0

    def add(self, counts: tuple[int, int, int, int]) -> None:
        """Add counts of more buckets."""
        self.n += counts[0]
        self.s += counts[1]
        self.matured_n += counts[2]
        self.matured_s += counts[3]


@dataclass(slots=True)
class BranchCounts:
    """The counts of one branch. `epochs`: by allocation, with the arms in each; `days`: by arm and content."""

    arms: dict[str, Cell] = field(default_factory=dict)
    epochs: dict[str, dict[str, Cell]] = field(default_factory=dict)
    checked: dict[str, dict[str, Cell]] = field(default_factory=dict)  # since the last reset of any arm
    days: dict[tuple[str, str], dict[int, list[int]]] = field(default_factory=dict)
    next_maturity: int | None = None

    def of(self, arm_id: str) -> Cell:
        """The counts of an arm; zeros where nobody came by."""
        return self.arms.get(arm_id) or Cell()

    def matured(self, step: BranchAdaptive) -> list[Count]:
        """Matured counts in the order of the arms."""
        return [(cell.matured_n, cell.matured_s) for cell in (self.of(arm.id) for arm in step.arms)]

    def is_cold(self, step: BranchAdaptive) -> bool:
        """Whether any arm has been reached by fewer than the floor."""
        return any(self.of(arm.id).n < step.min_sample_floor for arm in step.arms)


@dataclass(frozen=True, slots=True)
class ArmPerformance:
    """One arm. `interval95` None and `is_cold`: below the floor. `corrected` is a rate or the reason for none."""

    arm_id: str
    reached: int
    goals: int
    rate: float
    interval95: tuple[float, float] | None
    is_cold: bool
    probability_best: float
    expected_loss: float
    sampling_weight: float
    matured: Count
    pending: Count
    always_valid_interval95: tuple[float, float]
    corrected: Corrected | str
    content_changed_in: int | None
    reset_in: int | None


@dataclass(frozen=True, slots=True)
class BranchPerformance:
    """One branch with its arms in the order of the version."""

    step_id: str
    goal_event: str | None
    arms: tuple[ArmPerformance, ...]
    leader: str
    potential_value_remaining95: float
    allocation_check: Check | None
    drift: Drift | None
    snapshot_id: str | None
    mode: str
    as_of: int


@dataclass(slots=True)
class _Kept:
    stamp: tuple[int, int]
    until: int | None
    report: list[BranchPerformance]


class GetBranchPerformance:
    """Every adaptive branch of a journey. What was in the log when it was asked is counted, as far as 0.2 s allow."""

    def __init__(
        self, documents: Documents, journeys: Journeys, counts: Counts, executions: Follower, clock: Clock
    ) -> None:
        self._allocations = Allocations(documents)
        self._journeys = journeys
        self._counts = counts
        self._executions = executions
        self._clock = clock
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._epochs: dict[tuple[str, str], Allocation] = {}  # they never change

    async def __call__(self, workspace: str, journey_id: str, draft_steps: bytes = b"") -> list[BranchPerformance]:
        await self._executions.drain(FRESH_SECONDS)
        await self._journeys.refresh()
        now = self._clock.now_ms()
        journey = self._journeys.get(workspace, journey_id)
        if journey is None:
            return _untouched(workspace, journey_id, draft_steps, now)
        counts = await self._counts.of(workspace, journey_id)
        stamp, place = (counts.stamp, self._journeys.revision), (workspace, journey_id)
        kept = self._kept.get(place)
        if kept is not None and kept.stamp == stamp and (kept.until is None or now < kept.until):
            return kept.report
        branches = [(step, count_branch(journey, counts, step, now)) for step in journey.branches()]
        latest = journey.head.latest_version
        branches = [(step, found) for step, found in branches if journey.arms_in(latest, step.id) or found.arms]
        await self._learn(workspace, [found for _, found in branches])
        report = self._report(journey, branches, now)
        moments = [found.next_maturity for _, found in branches if found.next_maturity is not None]
        if len(self._kept) > 1_000:
            self._kept.clear()
        self._kept[place] = _Kept(stamp, min(moments, default=None), report)
        return report

    async def _learn(self, workspace: str, branches: Sequence[BranchCounts]) -> None:
        """Read the allocations by which these were routed."""
        wanted = {name for found in branches for name in found.epochs if not is_equal_shares(name)}
        unknown = [name for name in wanted if (workspace, name) not in self._epochs]
        if len(self._epochs) > 100_000:
            self._epochs.clear()
            unknown = list(wanted)
        for name, allocation in (await self._allocations.known(workspace, unknown)).items():
            self._epochs[workspace, name] = allocation

    def _report(
        self, journey: Journey, branches: Sequence[tuple[BranchAdaptive, BranchCounts]], now: int
    ) -> list[BranchPerformance]:
        matured = [found.matured(step) for step, found in branches]
        comparisons = compare_many(matured) if matured else []
        report: list[BranchPerformance] = []
        for (step, found), counts, compared in zip(branches, matured, comparisons, strict=True):
            held = self._journeys.allocation(journey.head.workspace, journey.head.id, step)
            weights = {arm.arm_id: arm.p for arm in held.arms} if held is not None else {}
            shares = self._shares(journey, step, found)
            arms = tuple(
                _arm(
                    journey,
                    step,
                    found,
                    arm.id,
                    probability_best=compared.probability_best[i],
                    expected_loss=compared.expected_loss[i],
                    weight=weights.get(arm.id, 1 / len(step.arms)),
                    shares=shares,
                )
                for i, arm in enumerate(step.arms)
            )
            report.append(
                BranchPerformance(
                    step_id=step.id,
                    goal_event=journey.goal_of(step),
                    arms=arms,
                    leader=step.arms[compared.leader].id,
                    potential_value_remaining95=potential_value_remaining95(counts),
                    allocation_check=_checked(found, shares),
                    drift=drift([_in_order(days) for days in found.days.values()]) if found.days else None,
                    snapshot_id=None if held is None else held.snapshot_id,
                    mode="cold_start" if held is None else "adaptive",
                    as_of=now if held is None else held.as_of,
                )
            )
        return report

    def _shares(self, journey: Journey, step: BranchAdaptive, found: BranchCounts) -> dict[str, dict[str, float]]:
        """By epoch, in order of time: the propensity of each arm."""
        began: dict[str, tuple[int, int]] = {}
        shares: dict[str, dict[str, float]] = {}
        for name in found.epochs:
            if is_equal_shares(name):
                arms = journey.arms_in(int(name[1:]), step.id)
                began[name] = 0, int(name[1:])
                shares[name] = dict.fromkeys(arms, 1 / len(arms)) if arms else {}
            elif (allocation := self._epochs.get((journey.head.workspace, name))) is not None:
                began[name] = allocation.as_of, 0
                shares[name] = {arm.arm_id: arm.p for arm in allocation.arms}
        return {name: shares[name] for name in sorted(shares, key=lambda name: (began[name], name))}


def count_branch(journey: Journey, counts: JourneyCounts, step: BranchAdaptive, now: int) -> BranchCounts:
    """What is counted of a branch: its present goal, its present arms, each since it was reset."""
    found = BranchCounts()
    event, since = journey.goal_of(step), journey.head.since
    arms = {arm.id for arm in step.arms}
    resets = {arm_id: journey.reset_in(step.id, arm_id) or 0 for arm_id in arms}
    newest_reset = max(resets.values(), default=0)
    soonest: int | None = None
    for day, held in counts.days.items():
        for counted in held.arms.get(step.id, ()):
            group = counted.group
            if group.goal_event != event or group.since != since:
                continue
            is_ours = group.arm_id in arms and group.version >= resets[group.arm_id]
            if not is_ours and group.version < newest_reset:
                continue
            sums = counted.at(group.window_ms, now)
            _cell(found.epochs, group).add(sums)
            if group.version >= newest_reset:
                _cell(found.checked, group).add(sums)
            if not is_ours:
                continue
            found.arms.setdefault(group.arm_id, Cell()).add(sums)
            soonest = counted.next_maturity(group.window_ms, now, soonest)
            if sums[2]:
                content = group.arm_id, journey.content_of(group.version, step.id, group.arm_id)
                pair = found.days.setdefault(content, {}).setdefault(day, [0, 0])
                pair[0] += sums[2]
                pair[1] += sums[3]
    found.next_maturity = soonest
    return found


def is_equal_shares(epoch: str) -> bool:
    """Whether an epoch is no allocation but the cold start of a version."""
    return epoch[:1] == "v" and epoch[1:].isdecimal()


def _cell(epochs: dict[str, dict[str, Cell]], group: ArmGroup) -> Cell:
    return epochs.setdefault(group.epoch, {}).setdefault(group.arm_id, Cell())


def _arm(
    journey: Journey,
    step: BranchAdaptive,
    found: BranchCounts,
    arm_id: str,
    *,
    probability_best: float,
    expected_loss: float,
    weight: float,
    shares: dict[str, dict[str, float]],
) -> ArmPerformance:
    cell = found.of(arm_id)
    is_cold = cell.n < step.min_sample_floor
    return ArmPerformance(
        arm_id=arm_id,
        reached=cell.n,
        goals=cell.s,
        rate=rounded_rate(cell.s, cell.n),
        interval95=None if is_cold else credible_interval95(cell.s, cell.n),
        is_cold=is_cold,
        probability_best=probability_best,
        expected_loss=expected_loss,
        sampling_weight=weight,
        matured=(cell.matured_n, cell.matured_s),
        pending=(cell.n - cell.matured_n, cell.s - cell.matured_s),
        always_valid_interval95=always_valid_interval95(cell.matured_s, cell.matured_n),
        corrected=_corrected(step, found, arm_id, shares),
        content_changed_in=journey.content_changed_in(step.id, arm_id),
        reset_in=journey.reset_in(step.id, arm_id),
    )


def _corrected(
    step: BranchAdaptive, found: BranchCounts, arm_id: str, shares: dict[str, dict[str, float]]
) -> Corrected | str:
    """The rate freed of the bias of adaptive routing. Without exploration there is none, whatever the shares were."""
    if step.exploration_floor == 0:
        return NO_EXPLORATION
    epochs: list[ArmEpoch] = []
    for name, propensities in shares.items():
        cells, propensity = found.epochs[name], propensities.get(arm_id, 0.0)
        routed = sum(cell.matured_n for cell in cells.values())
        if propensity == 0.0 or routed == 0:
            continue  # the arm was not there yet, or nobody has matured
        cell = cells.get(arm_id) or Cell()
        epochs.append(ArmEpoch(routed, cell.matured_n, cell.matured_s, propensity))
    return corrected_rate(epochs)


def _checked(found: BranchCounts, shares: dict[str, dict[str, float]]) -> Check | None:
    known = {name: cells for name, cells in found.checked.items() if shares.get(name)}
    arms = sorted({arm_id for name in known for arm_id in shares[name]})
    epochs = [
        Epoch(
            tuple(shares[name].get(arm_id, 0.0) for arm_id in arms),
            tuple(cells[arm_id].n if arm_id in cells else 0 for arm_id in arms),
        )
        for name, cells in known.items()
    ]
    return allocation_check(epochs) if epochs and len(arms) > 1 else None


def _in_order(days: dict[int, list[int]]) -> list[Count]:
    return [(n, s) for _, (n, s) in sorted(days.items())]


def _untouched(workspace: str, journey_id: str, draft_steps: bytes, now: int) -> list[BranchPerformance]:
    """The branches of a journey that was never published: nobody has come by."""
    journey = Journey(JourneyHead(workspace, journey_id, 0, None, 0, 0), {})
    report: list[BranchPerformance] = []
    for step in branches_of(draft_steps):
        if not step.arms:
            continue
        found = BranchCounts()
        compared = compare_many([found.matured(step)])[0]
        arms = tuple(
            _arm(
                journey,
                step,
                found,
                arm.id,
                probability_best=compared.probability_best[i],
                expected_loss=compared.expected_loss[i],
                weight=1 / len(step.arms),
                shares={},
            )
            for i, arm in enumerate(step.arms)
        )
        report.append(
            BranchPerformance(
                step_id=step.id,
                goal_event=step.goal_event_name,
                arms=arms,
                leader=step.arms[compared.leader].id,
                potential_value_remaining95=potential_value_remaining95(found.matured(step)),
                allocation_check=None,
                drift=None,
                snapshot_id=None,
                mode="cold_start",
                as_of=now,
            )
        )
    return report
