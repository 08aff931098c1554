"""A rate and its two intervals."""

from functools import lru_cache
from math import exp, log, log1p, sqrt

import numpy as np
from scipy.special import betaincinv

from services.domain.stats.counts import Unsolved, checked
from services.domain.stats.posteriors import posteriors

_STEPS = 60


def rounded_rate(goals: int, reached: int) -> float:
    """goals / reached to 4 decimals, half away from zero on the exact fraction; 0.0 where nobody was reached.

    0 <= goals <= reached <= 1e9, else ValueError. 1 of 160 is .0063.
    Source: contract 4, branch-performance.
    """
    n, s = checked(reached, goals)
    return rate_in_ten_thousandths(s, n) / 10_000


def rate_in_ten_thousandths(goals: int, reached: int) -> int:
    """`rounded_rate` as an integer; the counts are not checked."""
    return (20_000 * goals + reached) // (2 * reached) if reached else 0


def credible_interval95(goals: int, reached: int) -> tuple[float, float]:
    """Equal-tailed 95 % interval of a rate under the uniform prior Beta(1, 1), rounded to 4 decimals. Cached.

    0 <= goals <= reached <= 1e9, else ValueError; bounds in [0, 1].
    Source: contract 4, branch-performance; quantiles of Beta(goals + 1, reached - goals + 1).
    """
    low, high = _equal_tailed(*checked(reached, goals))
    return round(low, 4), round(high, 4)


def always_valid_interval95(goals: int, reached: int) -> tuple[float, float]:
    """Interval of a rate that covers it at all looks at once with probability 95 %; full doubles in [0, 1]. Cached.

    0 <= goals <= reached <= 1e9, else ValueError. Valid also under adaptive allocation and optional stopping, while
    the rate is constant. The lower end is 0 without goals, the upper end 1 where all converted; [0, 1] where nobody
    was reached. Relative error of the bounds (or of 1 minus them) below 1e-9.
    Source: prior-posterior ratio of Waudby-Smith & Ramdas 2020, arXiv 2006.04347, with the uniform prior: all p at
    which the density of Beta(goals + 1, reached - goals + 1) is at least .05; Ville's inequality.
    """
    return valid_set(*checked(reached, goals)[::-1], 0.05)


@lru_cache(maxsize=4096)
def valid_set(goals: int, reached: int, alpha: float) -> tuple[float, float]:
    """All rates at which the posterior density is at least `alpha`, 0 < alpha < 1; the counts are not checked."""
    if not reached:
        return 0.0, 1.0
    if not goals:
        return 0.0, -np.expm1((log(alpha) - log1p(reached)) / reached).item()
    if goals == reached:
        return float(np.exp((log(alpha) - log1p(reached)) / reached)), 1.0
    # The constant comes from the posterior's exact normaliser over t, where the density is x (1 - x) times as high:
    # at 1e9 a difference of gammaln would lose 6 digits. (s/n - m) / m and its mirror image are exact fractions of n.
    one = posteriors(goals + 1.0, reached - goals + 1.0)
    misses = reached - goals
    shift = (2 * goals - reached) / reached
    height = float(one.peak - np.log(one.mean * one.rest)) - log(alpha)
    height += goals * log1p(shift / (goals + 1)) + misses * log1p(-shift / (misses + 1))
    return _crossing(goals, misses, height, -1), _crossing(goals, misses, height, 1)


def _crossing(goals: int, misses: int, height: float, side: int) -> float:
    """The rate on one side of the peak, where the log likelihood has fallen by `height` > 0.

    Newton's steps over t: the curve is concave, so after at most one step all come from outside.
    """
    n = goals + misses
    rate, rest = goals / n, misses / n
    t = log(goals / misses) + side * sqrt(2 * height * n / goals / misses)
    x = rate
    for _ in range(_STEPS):
        small = exp(-abs(t))
        x, complement = (1 / (1 + small), small / (1 + small)) if t >= 0 else (small / (1 + small), 1 / (1 + small))
        from_rate = x - rate if x < 0.5 else rest - complement
        level = height + goals * _log_ratio(x, from_rate, rate) + misses * _log_ratio(complement, -from_rate, rest)
        step = level / (goals * complement - misses * x)
        t -= step
        if abs(step) <= 1e-14 * (1 + abs(t)):
            return x
    raise Unsolved(f"no crossing found within {_STEPS} steps for {goals} of {n}")


def _log_ratio(value: float, difference: float, base: float) -> float:
    """log(value / base), also where the two are nearly equal."""
    relative = difference / base
    return log1p(relative) if abs(relative) < 0.5 else log(value / base)


@lru_cache(maxsize=4096)
def _equal_tailed(reached: int, goals: int) -> tuple[float, float]:
    low = betaincinv(goals + 1, reached - goals + 1, 0.025)
    high = 1.0 - betaincinv(reached - goals + 1, goals + 1, 0.025)
    return float(low), float(high)
