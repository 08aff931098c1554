"""The statistics alone, on one core: arms and lifts a second, fresh counts each time, so nothing comes from a cache."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from services.domain.stats.arms import compare_arms, compare_many
from services.domain.stats.counts import Count
from services.domain.stats.lift import lift_intervals95, lift_report

T = TypeVar("T")
BRANCHES, ARMS, LIFTS, RUNS = 400, 3, 200, 5


def figures() -> Iterator[tuple[str, float, str]]:
    """stats.arms_per_second, stats.lifts_per_second, and both one call at a time."""
    # Branches of up to 1e6 subjects an arm with rates of 1 to 20 %, arms a tenth apart: the integrals overlap.
    rng = np.random.default_rng(20261124)
    branches = [_branch(rng) for _ in range(RUNS * BRANCHES)]
    yield "stats.arms_per_second", BRANCHES * ARMS / _best(branches, BRANCHES, compare_many), "1/s"
    few = [_branch(rng) for _ in range(RUNS * 50)]
    yield "stats.arms_per_second_one_branch_a_call", 50 * ARMS / _best(few, 50, _each_branch), "1/s"
    lifts = [_lift(rng) for _ in range(RUNS * LIFTS)]
    yield "stats.lifts_per_second", LIFTS / _best(lifts, LIFTS, lift_intervals95), "1/s"
    yield "stats.lift_reports_per_second_one_a_call", 50 / _best(lifts[: RUNS * 50], 50, _each_lift), "1/s"


def _branch(rng: np.random.Generator) -> list[Count]:
    rate = rng.uniform(0.01, 0.2)
    sizes = (10 ** rng.uniform(2, 6, ARMS)).astype(int)
    goals = rng.binomial(sizes, np.clip(rate * (1 + 0.1 * rng.standard_normal(ARMS)), 0, 1))
    return list(zip(sizes.tolist(), goals.tolist(), strict=True))


def _lift(rng: np.random.Generator) -> tuple[Count, Count]:
    exposed, rate = int(10 ** rng.uniform(2.5, 6)), rng.uniform(0.01, 0.2)
    holdout = int(exposed * rng.uniform(0.05, 0.3))
    return (exposed, int(rng.binomial(exposed, rate * 1.1))), (holdout, int(rng.binomial(holdout, rate)))


def _each_branch(branches: list[list[Count]]) -> None:
    for branch in branches:
        compare_arms(branch)


def _each_lift(lifts: list[tuple[Count, Count]]) -> None:
    for exposed, holdout in lifts:
        lift_report(exposed, holdout)


def _best(everything: list[T], size: int, work: Callable[[list[T]], object]) -> float:
    """CPU seconds of the fastest portion: what the code costs, not what its neighbours on the machine do."""
    found = []
    for start in range(0, len(everything), size):
        begun = time.process_time()
        work(everything[start : start + size])
        found.append(time.process_time() - begun)
    return min(found)
