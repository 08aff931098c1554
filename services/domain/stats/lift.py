"""Exposed against holdout."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, log, sqrt
from typing import Literal

import numpy as np
from scipy.special import ndtri, polygamma, psi

from services.domain.stats.counts import BARELY, FINEST, WELL, Count, Unsolved, checked
from services.domain.stats.posteriors import TAIL_DECIMALS, Floats, Posteriors, posteriors
from services.domain.stats.rates import rate_in_ten_thousandths, valid_set
from services.domain.stats.roots import Curve, solved_quantiles
from services.domain.stats.shifted import difference_curve, ratio_curve

Interval = tuple[float, float]
Method = Literal["exact", "asymptotic"]

_FEW = 100  # triggered, below which a report says it is underpowered
_JEFFREYS = 0.5
_LEVELS = np.array([0.025, 0.975])
_EXACT_BELOW = 20  # conversions
# The sample size at which the always-valid interval is narrowest, fixed beforehand.
_BEST_AT = 5000
_RHO_SQUARED = (-2 * log(0.05) + log(1 - 2 * log(0.05))) / _BEST_AT
_POWER_SCORE = float(ndtri(0.975) + ndtri(0.8))
# Lifts of one batch: its arrays then fit a core's own cache.
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class DocumentedImpact:
    """The documented members of calibrated-impact: rates to 4 decimals, lift to 3 or None."""

    exposure_rate: float
    holdout_rate: float
    lift: float | None
    underpowered: bool


@dataclass(frozen=True, slots=True)
class LiftReport:
    """The posterior of the lift and of what it brought, under Jeffreys' prior; full doubles.

    Lifts are shares of the holdout's rate, from -1 up; `incremental_*` are conversions among the exposed.
    """

    lift_interval95: Interval
    probability_positive: float
    incremental_estimate: float
    incremental_interval95: Interval


@dataclass(frozen=True, slots=True)
class AlwaysValidLift:
    """An interval of the lift valid at all looks at once; an upper end of None is unbounded."""

    interval95: tuple[float, float | None]
    method: Method


def documented_impact(exposed: Count, holdout: Count) -> DocumentedImpact:
    """Rates, lift and underpowered as the contract documents them, from (triggered, converted) of each cohort.

    0 <= converted <= triggered <= 1e9, else ValueError. The lift is (E - H) / H of the rates in ten-thousandths, to
    3 decimals, half away from zero, in integers; None where H = 0 or a cohort is empty; never -0.0.
    Source: contract 4, calibrated-impact.
    """
    (exposed_n, exposed_s), (holdout_n, holdout_s) = checked(*exposed), checked(*holdout)
    e = rate_in_ten_thousandths(exposed_s, exposed_n)
    h = rate_in_ten_thousandths(holdout_s, holdout_n)
    lift = None
    if h and exposed_n and holdout_n:
        thousandths = (2000 * abs(e - h) + h) // (2 * h)
        lift = (-thousandths if e < h else thousandths) / 1000
    return DocumentedImpact(e / 10_000, h / 10_000, lift, min(exposed_n, holdout_n) < _FEW)


def lift_report(exposed: Count, holdout: Count) -> LiftReport | None:
    """Interval of the lift, chance that it is positive, conversions it brought. None where a cohort is empty. Cached.

    From matured (triggered, converted) of each cohort, 0 <= converted <= triggered <= 1e9, else ValueError.
    `lift_interval95`: .025 and .975 quantiles of theta_E / theta_H - 1 under independent Beta(s + 1/2, n - s + 1/2);
    `probability_positive`: P(theta_E > theta_H) under the same, so it is at least .975 exactly when the interval lies
    above 0; `incremental_estimate`: n_E (s_E / n_E - s_H / n_H), its interval n_E times quantiles of
    theta_E - theta_H. Errors below 1e-10, or 1e-9 relative. Raises Unsolved where a self-check misses 1e-9.
    Source: Jeffreys' prior for both rates; densities integrated, no delta method, no normal approximation.
    """
    pair = (*checked(*exposed), *checked(*holdout))
    return _reported(pair) if pair[0] and pair[2] else None


def lift_intervals95(pairs: Sequence[tuple[Count, Count]]) -> list[Interval]:
    """`lift_interval95` of several (exposed, holdout) at once, none of them empty; several times as fast as one by one.

    Counts and errors as for `lift_report`; ValueError also for an empty cohort.
    """
    rows = [(*checked(*exposed), *checked(*holdout)) for exposed, holdout in pairs]
    if any(not row[0] or not row[2] for row in rows):
        raise ValueError("an empty cohort has no lift")
    found: list[Interval] = []
    for start in range(0, len(rows), _AT_ONCE):
        exposed, holdout = _cohorts(rows[start : start + _AT_ONCE])
        low, high = _lift_quantiles(exposed, holdout).reshape(-1, 2).T.tolist()
        found += zip(low, high, strict=True)
    return found


def always_valid_lift(exposed: Count, holdout: Count) -> AlwaysValidLift | None:
    """Interval of the lift that holds at all looks at once, with probability 95 %. None where a cohort is empty.

    From matured (triggered, converted), 0 <= converted <= triggered <= 1e9, else ValueError. `exact` with fewer than
    20 conversions, or than 20 without one, in a cohort (there the variance is not yet known): from each cohort's prior-posterior-ratio set at .025 (see `rates`); the upper end is
    None where the holdout's lower end is 0. Else `asymptotic`, on the log ratio, so -1 is never crossed.
    Source: Waudby-Smith et al., arXiv 2103.06476 (asymptotic confidence sequences), rho tuned for 5,000 subjects.
    """
    (exposed_n, exposed_s), (holdout_n, holdout_s) = checked(*exposed), checked(*holdout)
    if not exposed_n or not holdout_n:
        return None
    fewest = min(exposed_s, exposed_n - exposed_s, holdout_s, holdout_n - holdout_s)
    if fewest < _EXACT_BELOW:
        exposed_low, exposed_high = valid_set(exposed_s, exposed_n, 0.025)
        holdout_low, holdout_high = valid_set(holdout_s, holdout_n, 0.025)
        upper = exposed_high / holdout_low - 1 if holdout_low else None
        return AlwaysValidLift((exposed_low / holdout_high - 1, upper), "exact")
    n = exposed_n + holdout_n
    middle = log(exposed_s / exposed_n) - log(holdout_s / holdout_n)
    variance = (exposed_n - exposed_s) / (exposed_s * exposed_n) + (holdout_n - holdout_s) / (holdout_s * holdout_n)
    mixed = n * _RHO_SQUARED
    # se sqrt(n) sqrt(2 (n rho^2 + 1) / (n rho)^2 log(sqrt(n rho^2 + 1) / alpha)), with n under one root.
    half = sqrt(variance * 2 * (mixed + 1) / mixed * log(sqrt(mixed + 1) / 0.05))
    return AlwaysValidLift((exp(middle - half) - 1, exp(middle + half) - 1), "asymptotic")


def minimum_detectable_lift80(exposed: Count, holdout: Count) -> float | None:
    """The lift that a two-sided test at .05 would find with probability .8, at the holdout's rate and these sizes.

    From matured (triggered, converted), as elsewhere; None without holdout conversions or with an empty cohort.
    Source: normal power formula, (z_.975 + z_.8) sqrt(p (1 - p) (1/n_E + 1/n_H)) / p.
    """
    (exposed_n, _), (holdout_n, holdout_s) = checked(*exposed), checked(*holdout)
    if not exposed_n or not holdout_s:
        return None
    return _POWER_SCORE * sqrt((holdout_n - holdout_s) / holdout_s * (1 / exposed_n + 1 / holdout_n))


@lru_cache(maxsize=4096)
def _reported(pair: tuple[int, int, int, int]) -> LiftReport:
    exposed, holdout = _cohorts([pair])
    low, high = np.expm1(_log_ratio_quantiles(exposed, holdout)).tolist()
    exposed_n, exposed_s, holdout_n, holdout_s = pair
    fewer, more = (exposed_n * _difference_quantiles(exposed, holdout)).tolist()
    estimate = (exposed_s * holdout_n - holdout_s * exposed_n) / holdout_n
    return LiftReport((low, high), _probability_positive(exposed, holdout), estimate, (fewer, more))


def _cohorts(rows: Sequence[tuple[int, int, int, int]]) -> tuple[Posteriors, Posteriors]:
    """Posteriors of exposed and holdout, each twice in a row: once for each quantile."""
    exposed_n, exposed_s, holdout_n, holdout_s = np.repeat(np.array(rows, dtype=np.float64), 2, axis=0).T
    return (
        posteriors(exposed_s + _JEFFREYS, exposed_n - exposed_s + _JEFFREYS, TAIL_DECIMALS),
        posteriors(holdout_s + _JEFFREYS, holdout_n - holdout_s + _JEFFREYS, TAIL_DECIMALS),
    )


def _lift_quantiles(exposed: Posteriors, holdout: Posteriors) -> Floats:
    return np.expm1(_log_ratio_quantiles(exposed, holdout))


def _log_ratio_quantiles(exposed: Posteriors, holdout: Posteriors) -> Floats:
    """.025 and .975 quantiles of log(theta_E / theta_H), in turn."""

    def curve(at: Floats, finer: int) -> Curve:
        # Below 0 the holdout is the larger one: P(E <= r H) = 1 - P(H <= E / r).
        rising = at >= 0
        value, slope, missed = ratio_curve(
            exposed.where(rising, holdout)[:, None], holdout.where(rising, exposed), np.abs(at), finer
        )
        return np.where(rising, value, 1.0 - value), slope, missed

    middle = (psi(exposed.a) - psi(exposed.a + exposed.b)) - (psi(holdout.a) - psi(holdout.a + holdout.b))
    spread = np.sqrt(_log_variance(exposed) + _log_variance(holdout))
    level = np.tile(_LEVELS, len(middle) // 2)
    return solved_quantiles(curve, level, middle + spread * ndtri(level), spread)


def _difference_quantiles(exposed: Posteriors, holdout: Posteriors) -> Floats:
    """.025 and .975 quantiles of theta_E - theta_H, in turn."""

    def curve(at: Floats, finer: int) -> Curve:
        # P(E - H <= d) = P(E <= H + d), and below 0 that is 1 - P(H <= E + |d|).
        rising = at >= 0
        value, slope, missed = difference_curve(
            exposed.where(rising, holdout), holdout.where(rising, exposed), np.abs(at), finer
        )
        return np.where(rising, value, 1.0 - value), slope, missed

    middle = exposed.mean - holdout.mean
    spread = np.sqrt(sum(one.mean * one.rest / (one.a + one.b + 1.0) for one in (exposed, holdout)))
    level = np.tile(_LEVELS, len(middle) // 2)
    start = np.clip(middle + spread * ndtri(level), -0.999, 0.999)
    return solved_quantiles(curve, level, start, spread, lowest=-1.0, highest=1.0)


def _probability_positive(exposed: Posteriors, holdout: Posteriors) -> float:
    """P(theta_E > theta_H) = P(H <= E), gathered from positive terms."""
    finer = 1
    while True:
        value, _, missed = ratio_curve(holdout[:1, None], exposed[:1], np.zeros(1), finer)
        if missed[0] <= WELL or (finer == FINEST and missed[0] <= BARELY):
            return float(np.clip(value[0], 0.0, 1.0))
        if finer == FINEST:
            raise Unsolved(f"a win probability misses its check by {missed[0]:.1e}")
        finer *= 2


def _log_variance(one: Posteriors) -> Floats:
    return np.asarray(polygamma(1, one.a) - polygamma(1, one.a + one.b))
