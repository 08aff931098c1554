"""A rate freed of the bias that adaptive routing gives it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

from services.domain.stats.counts import checked

Uncorrected = Literal["propensity_below_0.015", "too_few_matured"]

_LEAST_PROPENSITY = 0.015
_LEAST_REACHED, _LEAST_GOALS = 200, 5
_SCORE = 1.959964


@dataclass(frozen=True, slots=True)
class ArmEpoch:
    """One arm in the time of one snapshot, matured subjects only.

    `routed` subjects came to the branch, `reached` of them to this arm, which was chosen with probability
    `propensity`; `goals` of those converted. 0 <= goals <= reached <= routed <= 1e9, 0 <= propensity <= 1.
    """

    routed: int
    reached: int
    goals: int
    propensity: float


@dataclass(frozen=True, slots=True)
class Corrected:
    """An arm's corrected rate with its 95 % interval, full doubles in [0, 1]."""

    rate: float
    interval95: tuple[float, float]
    method: Literal["aipw"] = "aipw"


def corrected_rate(epochs: Sequence[ArmEpoch]) -> Corrected | Uncorrected:
    """The arm's rate by augmented inverse-propensity weighting, or the reason why there is none.

    `epochs` in order of time, cold start included (propensity 1/K); ValueError for impossible numbers. Per epoch
    n routed to the branch, N to the arm, S converted, p its propensity, m = (S + 1) / (N + 2) over earlier epochs:
    Q = sum [n m + (S - N m) / p] / sum n, its variance from the squares of the same scores, Q +- 1.959964 sqrt V cut
    to [0, 1]. Reasons: an epoch (in which anybody came) with p below .015; fewer than 200 reached or 5 converted.
    Source: AIPW scores after Hadad et al. 2021, arXiv 1911.02768, with equal weights; m looks only back, so each
    score is unbiased given the past.
    """
    came = [_checked(epoch) for epoch in epochs if _checked(epoch).routed]
    if any(epoch.propensity < _LEAST_PROPENSITY for epoch in came):
        return "propensity_below_0.015"
    if sum(epoch.reached for epoch in came) < _LEAST_REACHED or sum(epoch.goals for epoch in came) < _LEAST_GOALS:
        return "too_few_matured"

    guesses: list[float] = []
    reached = goals = 0
    for epoch in came:
        guesses.append((goals + 1) / (reached + 2))
        reached, goals = reached + epoch.reached, goals + epoch.goals
    total = sum(epoch.routed for epoch in came)
    scores = sum(
        epoch.routed * guess + (epoch.goals - epoch.reached * guess) / epoch.propensity
        for epoch, guess in zip(came, guesses, strict=True)
    )
    rate = scores / total
    squares = 0.0
    for epoch, guess in zip(came, guesses, strict=True):
        converted, unconverted = guess + (1 - guess) / epoch.propensity, guess - guess / epoch.propensity
        squares += epoch.goals * (converted - rate) ** 2
        squares += (epoch.reached - epoch.goals) * (unconverted - rate) ** 2
        squares += (epoch.routed - epoch.reached) * (guess - rate) ** 2
    half = _SCORE * sqrt(squares) / total
    return Corrected(_cut(rate), (_cut(rate - half), _cut(rate + half)))


def _checked(epoch: ArmEpoch) -> ArmEpoch:
    checked(epoch.reached, epoch.goals)
    checked(epoch.routed, epoch.reached)
    if not 0.0 <= epoch.propensity <= 1.0:
        raise ValueError(f"a propensity lies in [0, 1], not at {epoch.propensity}")
    return epoch


def _cut(value: float) -> float:
    return min(1.0, max(0.0, value))
