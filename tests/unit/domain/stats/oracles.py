"""The same numbers by other ways: 40 digits, exact fractions, brute grids. Slow, and simple enough to believe.

Nothing here uses an incomplete beta function or any of our own formulas. With 40 digits the densities are summed by the
trapezoidal rule over the logit axis, which converges exponentially for a smooth function that dies out at both ends,
and distribution functions are gathered from one point to the next by Gauss-Legendre.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from mpmath import mp, mpf
from numpy.polynomial.legendre import leggauss

DIGITS = 40
NODES = 24
Number = Any  # mpmath has no types


class Beta:
    """Beta(a, b) to 40 digits, over the logit axis."""

    def __init__(self, a: Number, b: Number) -> None:
        mp.dps = DIGITS
        self.a, self.b = mpf(a), mpf(b)
        self.constant = mp.loggamma(self.a + self.b) - mp.loggamma(self.a) - mp.loggamma(self.b)
        self.spread = mp.sqrt(mp.psi(1, self.a) + mp.psi(1, self.b))

    def density(self, t: Number) -> Number:
        """x^a (1-x)^b / B(a, b) at x = expit(t)."""
        log_x, log_rest = -mp.log1p(mp.exp(-t)), -mp.log1p(mp.exp(t))
        return mp.exp(self.constant + self.a * log_x + self.b * log_rest)

    def grid(self, finer: int = 1) -> list[Number]:
        """Equidistant points that hold all but 1e-30 of the mass."""
        step = min(self.spread / 5, mpf("0.4")) / finer
        middle = mp.log(self.a / self.b)
        least = self.density(middle) * mpf(10) ** -30
        low, high = middle, middle
        while self.density(low) > least:
            low -= step
        while self.density(high) > least:
            high += step
        return [low + k * step for k in range(int(mp.nint((high - low) / step)) + 1)]

    def below(self, points: Sequence[Number]) -> list[Number]:
        """F at rising points of the logit axis."""
        own = self.grid()
        nodes = _legendre()

        def mass(start: Number, end: Number) -> Number:
            half, middle = (end - start) / 2, (end + start) / 2
            return half * sum(weight * self.density(middle + half * node) for node, weight in nodes)

        # Far before and behind its own points there is nothing; between, no stretch longer than a step of its own.
        found, total, at = [], mpf(0), own[0]
        step = own[1] - own[0]
        for point in points:
            end = min(max(point, at), own[-1])
            parts = int(mp.ceil((end - at) / (2 * step)))
            for k in range(parts):
                total += mass(at + (end - at) * k / parts, at + (end - at) * (k + 1) / parts)
            at = end
            found.append(total)
        return found


def integral(grid: Sequence[Number], values: Sequence[Number]) -> Number:
    """Trapezoidal rule over an equidistant grid at whose ends nothing is left."""
    return (grid[1] - grid[0]) * sum(values)


def best(arms: Sequence[tuple[int, int]]) -> tuple[list[Number], list[Number]]:
    """P(best) and expected loss of arms (reached, goals) of similar widths."""
    betas = [Beta(goals + 1, reached - goals + 1) for reached, goals in arms]
    step = min(min(beta.spread for beta in betas) / 5, mpf("0.4"))
    low, high = min(beta.grid()[0] for beta in betas), max(beta.grid()[-1] for beta in betas)
    grid = [low + k * step for k in range(int((high - low) / step) + 2)]
    below = [beta.below(grid) for beta in betas]
    probabilities, losses = [], []
    for i, beta in enumerate(betas):
        others = [mp.fprod(curve[k] for j, curve in enumerate(below) if j != i) for k in range(len(grid))]
        probabilities.append(integral(grid, [beta.density(t) * other for t, other in zip(grid, others, strict=True)]))
        losses.append(
            integral(
                grid,
                [below[i][k] * (1 - others[k]) / (2 + mp.exp(t) + mp.exp(-t)) for k, t in enumerate(grid)],
            )
        )
    return probabilities, losses


def ratio_below(upper: Beta, lower: Beta, ratio: Number) -> Number:
    """P(upper <= ratio * lower), summed over the one whose argument never exceeds 1."""
    ratio = mpf(ratio)
    if ratio >= 1:
        grid = upper.grid(2)
        curve = lower.below([_logit(_expit(t) / ratio) for t in grid])
        return integral(grid, [upper.density(t) * (1 - f) for t, f in zip(grid, curve, strict=True)])
    grid = lower.grid(2)
    curve = upper.below([_logit(_expit(t) * ratio) for t in grid])
    return integral(grid, [lower.density(t) * f for t, f in zip(grid, curve, strict=True)])


def difference_below(more: Beta, less: Beta, distance: Number) -> Number:
    """P(more - less <= distance), where neither reaches 1 - |distance|."""
    distance = mpf(distance)
    if distance < 0:
        return 1 - difference_below(less, more, -distance)
    grid = less.grid(2)
    curve = more.below([_logit(_expit(t) + distance) for t in grid])
    return integral(grid, [less.density(t) * f for t, f in zip(grid, curve, strict=True)])


def all_below(others: Sequence[Beta], one: Beta, factor: Number) -> Number:
    """P(every other <= factor * one), where one never exceeds 1 / factor."""
    grid = one.grid(2)
    points = [_logit(_expit(t) * mpf(factor)) for t in grid]
    curves = [other.below(points) for other in others]
    return integral(grid, [one.density(t) * mp.fprod(c[k] for c in curves) for k, t in enumerate(grid)])


def exact_best(arms: Sequence[tuple[int, int]]) -> tuple[list[Fraction], list[Fraction]]:
    """P(best) and expected loss as fractions: for whole counts all curves are polynomials."""
    densities = [_beta_polynomial(reached, goals) for reached, goals in arms]
    curves = [_integrated(density) for density in densities]
    everything = _product(curves)
    probabilities, losses = [], []
    for i, density in enumerate(densities):
        others = _product([curve for j, curve in enumerate(curves) if j != i])
        probabilities.append(sum(_integrated(_product([density, others])), Fraction(0)))
        losses.append(sum(_integrated(curves[i]), Fraction(0)) - sum(_integrated(everything), Fraction(0)))
    return probabilities, losses


def beats(first: tuple[int, int], second: tuple[int, int]) -> Number:
    """P(second > first) by the finite sum of Miller for whole counts (reached, goals)."""
    mp.dps = DIGITS
    a_a, b_a, a_b, b_b = first[1] + 1, first[0] - first[1] + 1, second[1] + 1, second[0] - second[1] + 1
    log_beta: Callable[[int, int], Number] = lambda a, b: mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)  # noqa: E731
    return mp.fsum(
        mp.exp(log_beta(a_a + i, b_a + b_b) - mp.log(b_b + i) - log_beta(1 + i, b_b) - log_beta(a_a, b_a))
        for i in range(a_b)
    )


def _legendre() -> list[tuple[Number, Number]]:
    """Nodes and weights of Gauss-Legendre, polished by Newton's steps from double precision."""
    if not _NODES:
        for start in leggauss(NODES)[0].tolist():
            x = mpf(start)
            for _ in range(4):
                above, below = mp.legendre(NODES, x), mp.legendre(NODES - 1, x)
                slope = NODES * (x * above - below) / (x * x - 1)
                x -= above / slope
            _NODES.append((x, 2 / ((1 - x * x) * slope * slope)))
    return _NODES


_NODES: list[tuple[Number, Number]] = []


def _expit(t: Number) -> Number:
    return 1 / (1 + mp.exp(-t))


def _logit(x: Number) -> Number:
    return mp.log(x / (1 - x)) if x < 1 else mpf(10) ** 6


Polynomial = list[Fraction]


def _beta_polynomial(reached: int, goals: int) -> Polynomial:
    """(n + 1) C(n, s) x^s (1 - x)^(n - s)."""
    plain = _product([[Fraction(0), Fraction(1)]] * goals + [[Fraction(1), Fraction(-1)]] * (reached - goals))
    scale = 1 / sum(_integrated(plain), Fraction(0))
    return [scale * coefficient for coefficient in plain]


def _integrated(polynomial: Polynomial) -> Polynomial:
    return [Fraction(0)] + [coefficient / (k + 1) for k, coefficient in enumerate(polynomial)]


def _product(factors: Sequence[Polynomial]) -> Polynomial:
    result = [Fraction(1)]
    for factor in factors:
        longer = [Fraction(0)] * (len(result) + len(factor) - 1)
        for i, left in enumerate(result):
            for j, right in enumerate(factor):
                longer[i + j] += left * right
        result = longer
    return result
