"""Was the traffic split as promised, and did an arm's rate drift?"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from scipy.special import gammaincc

from services.domain.stats.counts import Count, checked

_ALARM = 0.001
_LEAST_VARIANCE = 10.0
_LEAST_EXPECTED = 5.0
# Directions in which a split varies less than this share of the most are none: arms that never met.
_NONE = 1e-10


@dataclass(frozen=True, slots=True)
class Epoch:
    """The time of one snapshot: the arms' propensities (sum 1) and how many subjects each arm got, same order."""

    propensities: tuple[float, ...]
    routed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """`p_value` in [0, 1]; `ok` iff it is at least .001."""

    p_value: float
    ok: bool


@dataclass(frozen=True, slots=True)
class Drift:
    """`p_value` in [0, 1], corrected for the number of arms; `detected` iff it is below .001."""

    p_value: float
    detected: bool


def allocation_check(epochs: Sequence[Epoch]) -> Check | None:
    """Do the arms' numbers of subjects fit the propensities they were routed by?

    All epochs name the same arms in the same order (propensity 0 and nobody routed where an arm was not there);
    propensities in [0, 1], sum 1 within 1e-6; else ValueError. What an arm of propensity 0 got is left out of its
    epoch. None until every arm's variance is at least 10, and with fewer than two arms.
    d = sum_e (N_e - n_e p_e), V = sum_e n_e (diag p_e - p_e p_e'), X = d' V^-1 d against chi-square with K - 1
    degrees of freedom (fewer where groups of arms never met in an epoch).
    Source: Pearson's chi-square, which one constant split gives; valid under adaptive routing, because given the past
    each epoch's counts are multinomial in its stored propensities.
    """
    if len({len(epoch.propensities) for epoch in epochs} | {len(epoch.routed) for epoch in epochs}) > 1:
        raise ValueError("every epoch must give a propensity and a count for each of the same arms")
    if not epochs or len(epochs[0].propensities) < 2:
        return None
    propensities = np.array([epoch.propensities for epoch in epochs], dtype=np.float64)
    if not (np.all((propensities >= 0) & (propensities <= 1)) and np.all(np.abs(propensities.sum(axis=1) - 1) < 1e-6)):
        raise ValueError("propensities lie in [0, 1] and sum to 1")
    routed = np.array([[checked(n, 0)[0] for n in epoch.routed] for epoch in epochs], dtype=np.float64)
    routed = np.where(propensities > 0, routed, 0.0)
    totals = routed.sum(axis=1)
    expected = totals @ propensities
    variance = np.diag(expected) - (propensities.T * totals) @ propensities
    used = np.flatnonzero((propensities * totals[:, None]).any(axis=0))
    if used.size < 2 or (np.diag(variance)[used] < _LEAST_VARIANCE).any():
        return None
    # Without the last arm, which the others determine; scaled, so that a rare arm's direction is not taken for none.
    rows = used[:-1]
    scale = 1 / np.sqrt(np.diag(variance)[rows])
    distance = (routed.sum(axis=0) - expected)[rows] * scale
    values, vectors = np.linalg.eigh(variance[np.ix_(rows, rows)] * np.outer(scale, scale))
    real = values > _NONE * values[-1]
    statistic = float((((vectors.T @ distance)[real]) ** 2 / values[real]).sum())
    p_value = float(gammaincc(int(real.sum()) / 2, statistic / 2))
    return Check(p_value, p_value >= _ALARM)


def drift(arms: Sequence[Sequence[Count]]) -> Drift | None:
    """Did any arm's rate change over its days? One sequence of (reached, goals) per arm, a pair a matured day.

    0 <= goals <= reached <= 1e9 each, else ValueError. Neighbouring days are merged until each group expects at least
    5 conversions and 5 subjects without; X = sum (s_d - n_d p)^2 / (n_d p (1 - p)), p the pooled rate, against
    chi-square with groups - 1 degrees of freedom; the smallest p value times the number of arms tested (Bonferroni).
    None where no arm can be tested: fewer than two groups of days, or a pooled rate of 0 or 1.
    Source: Pearson's chi-square for homogeneity.
    """
    tested = [p_value for days in arms if (p_value := _homogeneity([checked(*day) for day in days])) is not None]
    if not tested:
        return None
    p_value = min(1.0, len(tested) * min(tested))
    return Drift(p_value, p_value < _ALARM)


def _homogeneity(days: Sequence[Count]) -> float | None:
    total_n, total_s = sum(n for n, _ in days), sum(s for _, s in days)
    if not 0 < total_s < total_n:
        return None
    rate = total_s / total_n
    rarer = min(total_s, total_n - total_s) / total_n
    groups: list[list[int]] = []
    open_n = open_s = 0
    for n, s in days:
        open_n, open_s = open_n + n, open_s + s
        if open_n * rarer >= _LEAST_EXPECTED:
            groups.append([open_n, open_s])
            open_n = open_s = 0
    if open_n and groups:  # too few on their own
        groups[-1][0] += open_n
        groups[-1][1] += open_s
    if len(groups) < 2:
        return None
    statistic = sum((s - n * rate) ** 2 / (n * rate * (1 - rate)) for n, s in groups)
    assert isfinite(statistic)
    return float(gammaincc((len(groups) - 1) / 2, statistic / 2))
