"""Win probabilities to routing weights."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.domain.stats.arms import compare_arms
from services.domain.stats.counts import Count


@dataclass(frozen=True, slots=True)
class RoutingWeights:
    """A snapshot's numbers in the order of the arms: `win` P(arm is best), `weights` what subjects are routed by.

    Each sums to 1 up to rounding (1e-12); every weight is at least exploration_floor / K.
    """

    win: tuple[float, ...]
    weights: tuple[float, ...]


def routing_weights(counts: Sequence[Count], exploration_floor: float) -> RoutingWeights:
    """Thompson weights of a branch from matured (reached, goals): p_i = e / K + (1 - e) P(arm i is best).

    One pair per arm, 0 <= goals <= reached <= 1e9; 0 <= exploration_floor <= 1 is the share e, in total, that is
    spread evenly; else ValueError. P(best) is the probability with which one posterior draw an arm would choose it,
    so p_i is the exact propensity of Thompson sampling with a floor. Raises as `compare_arms`.
    Source: Thompson 1933 by way of `compare_arms`.
    """
    if not 0.0 <= exploration_floor <= 1.0:
        raise ValueError(f"an exploration floor lies in [0, 1], not at {exploration_floor}")
    win = compare_arms(counts).probability_best
    even = exploration_floor / len(win)
    return RoutingWeights(win, tuple(even + (1.0 - exploration_floor) * probability for probability in win))
