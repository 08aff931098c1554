"""A bracketed root finder, for many distribution functions at once."""

from collections.abc import Callable

import numpy as np
from scipy.special import ndtri

from services.domain.stats.counts import BARELY, FINEST, WELL, Unsolved
from services.domain.stats.posteriors import Floats

_STEPS = 60
# Normal scores from the level: the step that is then made leaves about the square of it.
_SETTLED = 1e-6
# ... or as near as the digits of the root allow.
_NEAR, _DIGITS = 0.1, 4e-16
_FLAT = 1e-9  # below this and above 1 minus this steps crawl
_PATIENCE = 10
_TRUSTED = 4.0  # widths that a step may go
_DENSITY = 1 / np.sqrt(2 * np.pi)

# Value, derivative, and by how much the self-check misses, each (equations,).
Curve = tuple[Floats, Floats, Floats]


def solved_quantiles(
    curve: Callable[[Floats, int], Curve],
    level: Floats,
    start: Floats,
    width: Floats,
    lowest: float = -np.inf,
    highest: float = np.inf,
) -> Floats:
    """Where distribution functions reach their levels: Newton's steps in the scale of normal scores, kept in brackets.

    `curve(at, finer)` at points `at` (equations,), with panels `finer` times as fine; `level` in (0, 1); `start` is a
    guess and `width` > 0 its scale; solutions lie in [lowest, highest]. In normal scores a posterior's curve is nearly
    straight, so three or four steps do. Panels are halved where the self-check misses; Unsolved where it still does,
    or after 60 steps. Error about 1e-12 in normal scores, or what the curve's own noise makes of it.
    """
    finer = 1
    while True:
        found, missed = _newton(lambda at: curve(at, finer), level, start, width, lowest, highest)  # noqa: B023
        if missed <= WELL or (finer == FINEST and missed <= BARELY):
            return found
        if finer == FINEST:
            raise Unsolved(f"a distribution function misses its check by {missed:.1e}")
        finer *= 2


def _newton(
    curve: Callable[[Floats], Curve], level: Floats, start: Floats, width: Floats, lowest: float, highest: float
) -> tuple[Floats, float]:
    """The roots, and the largest miss on the last step."""
    score = ndtri(level)
    low, high = np.full_like(start, lowest), np.full_like(start, highest)
    at, reach = np.clip(start, lowest, highest), _TRUSTED * width
    for count in range(_STEPS):
        value, slope, missed = curve(at)
        low, high = np.where(value < level, at, low), np.where(value > level, at, high)
        reached = ndtri(np.clip(value, 1e-300, 1.0 - 1e-16))
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            step = (score - reached) * (_DENSITY * np.exp(-0.5 * reached * reached)) / slope
            there = at + step
        # By the score, not by the step: far out in a tail steps are small as well, for want of a density.
        distance = np.abs(score - reached)
        settled = (distance <= _SETTLED) | ((distance <= _NEAR) & (np.abs(step) <= _DIGITS * np.abs(at)))
        if settled.all():
            return np.clip(there, lowest, highest), float(missed.max())
        # From a flat place, outside of what is known, too far, not a number, or slow: halve the bracket, or look further
        # out where there is none yet.
        sane = (there > low) & (there < high) & (np.abs(step) <= reach) & (value > _FLAT) & (value < 1 - _FLAT)
        if count > _PATIENCE and count % 2:
            sane &= ~(np.isfinite(low) & np.isfinite(high))
        outside = ~sane & ~settled
        reach = np.where(outside, 2.0 * reach, reach)
        with np.errstate(invalid="ignore"):
            middle = np.where(
                np.isfinite(low) & np.isfinite(high),
                0.5 * (low + high),
                np.clip(np.where(value < level, at + reach, at - reach), lowest, highest),
            )
        at = np.where(outside, middle, np.where(settled, at, there))
    raise Unsolved(f"no quantile found within {_STEPS} steps")
