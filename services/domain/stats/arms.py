"""Which arm is best, and what choosing another costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import polygamma

from services.domain.stats.counts import BARELY, FINEST, WELL, Count, Unsolved, all_checked
from services.domain.stats.posteriors import Floats, Panels, Posteriors, panels, posteriors
from services.domain.stats.roots import Curve, solved_quantiles
from services.domain.stats.shifted import ratio_curve, without_each

# Values of one array while a batch is computed: about what a core's own cache holds.
_AT_ONCE = 40_000
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class ArmComparison:
    """What the matured counts of a branch say of its arms, each tuple in the order of the arms.

    `probability_best` sums to 1; `expected_loss` is in rate points (0 to 1); `leader` is the index of the
    largest probability, the first on a tie.
    """

    probability_best: tuple[float, ...]
    expected_loss: tuple[float, ...]
    leader: int


# Of a branch's distinct counts, in rising order: (probability, loss) by count.
_Solved = dict[Count, tuple[float, float]]


def compare_arms(counts: Sequence[Count]) -> ArmComparison:
    """Win probabilities and losses of a branch's arms from their matured (reached, goals), uniform priors Beta(1, 1).

    One pair per arm, at least one, 0 <= goals <= reached <= 1e9, else ValueError. Absolute error of a probability
    below 1e-10, relative error of a loss below 1e-9 (losses under 1e-9: absolute error below 1e-18). The order of
    the arms changes nothing, equal arms get equal numbers. Raises Unsolved if the probabilities do not sum to
    1 within 1e-9. Cached by the sorted counts (the last some thousand branches).
    Source: P(theta_i = max), after Scott 2010, "A modern Bayesian look at the multi-armed bandit" (randomized
    probability matching); loss E[max theta - theta_i] by the identity E max = integral of (1 - product of F_j).
    """
    return compare_many([counts])[0]


def compare_many(branches: Sequence[Sequence[Count]]) -> list[ArmComparison]:
    """`compare_arms` of several branches, computed together: several times as fast as one by one. Cached as there.

    Branches may differ in their number of arms; an empty list gives an empty list. Raises as `compare_arms`. Computed
    in other company, a branch's numbers may differ in the last digits (below 1e-11).
    """
    checked = [all_checked(counts) for counts in branches]
    keys = [tuple(sorted(counts)) for counts in checked]
    solved = _solved(keys)
    return [_told(counts, solved[key]) for counts, key in zip(checked, keys, strict=True)]


def potential_value_remaining95(counts: Sequence[Count]) -> float:
    """How much better, as a share of the leader's rate, the best arm is at most, with probability 95 %.

    The v >= 0 with P(max_j theta_j <= (1 + v) theta_leader) = .95 under the posteriors of `compare_arms`; 0 where
    the leader is best with probability .95 or more. Counts and errors as there; relative error below 1e-9. Cached.
    Source: after Scott 2015, value remaining.
    """
    ordered = tuple(sorted(all_checked(counts)))
    solved = _solved([ordered])[ordered]
    leader = max(ordered, key=lambda count: solved[count][0])
    return 0.0 if solved[leader][0] >= 0.95 else _value_remaining(ordered, ordered.index(leader))


def _told(counts: Sequence[Count], solved: _Solved) -> ArmComparison:
    probabilities = tuple(solved[count][0] for count in counts)
    leader = max(range(len(counts)), key=probabilities.__getitem__)  # max keeps the first of equals
    return ArmComparison(probabilities, tuple(solved[count][1] for count in counts), leader)


def _solved(keys: Sequence[tuple[Count, ...]]) -> dict[tuple[Count, ...], _Solved]:
    """Each branch (sorted counts) with its numbers, from memory or computed together with the others of its size."""
    found = {key: known for key in keys if (known := _memory.get(key)) is not None}
    by_size: dict[int, set[tuple[Count, ...]]] = {}
    for key in keys:
        if key not in found:
            by_size.setdefault(len(key), set()).add(key)
    for same_size in by_size.values():
        ordered = sorted(same_size)
        found.update(zip(ordered, _solved_branches(ordered), strict=True))
    if len(_memory) + len(found) > _REMEMBERED:  # forgetting all is simplest, and safe with several threads
        _memory.clear()
    _memory.update(list(found.items())[:_REMEMBERED])
    return found


# By sorted counts. Branches' counts change every few minutes and are read all the time.
_memory: dict[tuple[Count, ...], _Solved] = {}


def _solved_branches(branches: Sequence[tuple[Count, ...]]) -> list[_Solved]:
    """Branches of one size, each sorted."""
    if len(branches[0]) == 1:
        return [{counts[0]: (1.0, 0.0)} for counts in branches]
    reached, goals = np.moveaxis(np.array(branches, dtype=np.float64), -1, 0)
    arms = posteriors(goals + 1.0, reached - goals + 1.0)
    probability, loss = np.empty_like(reached), np.empty_like(reached)
    left = np.arange(len(branches))
    finer = 1
    while left.size:
        missed = np.empty(left.size)
        # About 20 panels of 16 nodes an arm, and each arm is looked at on every arm's panels.
        size = max(1, _AT_ONCE // (320 * finer * reached.shape[1] ** 2))
        for start in range(0, left.size, size):
            rows = left[start : start + size]
            probability[rows], loss[rows], missed[start : start + size] = _integrated(arms[rows], finer)
        worst = float(missed.max())
        left = left[missed > WELL] if finer < FINEST else left[missed > BARELY]
        if left.size and finer == FINEST:
            raise Unsolved(f"win probabilities miss their check by {worst:.1e} for {branches[left[0]]}")
        finer *= 2
    return [
        # Equal arms differ in the last digit by their place in the products; the first speaks for all.
        dict(zip(reversed(counts), reversed(list(zip(wins, losses, strict=True))), strict=True))
        for counts, wins, losses in zip(branches, probability.tolist(), loss.tolist(), strict=True)
    ]


def _integrated(arms: Posteriors, finer: int) -> tuple[Floats, Floats, Floats]:
    """Probabilities and losses (branches, arms), and by how much each branch misses its checks (branches,)."""
    axis = panels(arms.knots.reshape(len(arms.a), -1), finer)
    density, below, above, missed = _curves(arms, axis)
    others_below, others_above = without_each(below, above)
    probability = axis.integral(density * others_below).T
    loss = axis.integral(below * others_above * (axis.x * axis.complement)).T
    return probability, np.minimum(loss, 1.0), np.maximum(missed, np.abs(probability.sum(axis=1) - 1.0))


def _curves(arms: Posteriors, axis: Panels) -> tuple[Floats, Floats, Floats, Floats]:
    """Density, F and 1 - F of every arm (arms, branches, panels, nodes), and by how much a mass misses 1 (branches,).

    The normaliser is exact, so a density that the panels do not see has another mass than 1.
    """
    density = np.stack([arms[:, k].density(axis.x, axis.complement) for k in range(arms.a.shape[1])])
    below, above, mass = axis.tails(density)
    scale = 1.0 / mass[..., None, None]
    below, above = np.minimum(below * scale, 1.0), np.minimum(above * scale, 1.0)
    return density * scale, below, above, np.abs(mass - 1.0).max(axis=0)


@lru_cache(maxsize=_REMEMBERED)
def _value_remaining(counts: tuple[Count, ...], leader: int) -> float:
    """v of `potential_value_remaining95`, where the leader's probability is below .95."""
    reached, goals = np.array(counts, dtype=np.float64).T
    arms = posteriors(goals + 1.0, reached - goals + 1.0)
    others = arms[np.delete(np.arange(len(counts)), leader)][None]
    one = arms[np.array([leader])]

    def curve(log_ratio: Floats, finer: int) -> Curve:
        return ratio_curve(others, one, log_ratio, finer)

    spread = np.sqrt(polygamma(1, one.a) - polygamma(1, one.a + one.b))
    found = solved_quantiles(curve, np.array([0.95]), spread, spread, lowest=0.0)
    return float(np.expm1(found[0]))
