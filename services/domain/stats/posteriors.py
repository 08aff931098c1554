"""Beta posteriors on the logit axis: densities, breakpoints, panels and tails.

Law: everything is integrated over t = log(x / (1 - x)). The density there, x^a (1-x)^b / B(a, b), has no
singularity at an end, also for a = 1/2, and its width is seen by the panels at every n from 0 to 1e9.

Cumulative curves come from the densities themselves: within a panel the polynomial through the 16 values is
integrated exactly, panels are added up from the nearer end. All terms are positive, so both tails keep their relative
precision, and it costs 10 ns a value where an incomplete beta function costs 200 to 2,000. That the panels see the
densities well enough is checked against the exact normaliser (`Posteriors.peak`), which the panels know nothing of.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.polynomial.legendre import legvander
from scipy.special import gammaln, polygamma, psi, roots_legendre

Floats = npt.NDArray[np.float64]
Row = slice | int | npt.NDArray[np.intp] | None  # of the first dimensions; None adds one

NODES = 16
# Curves with 50 equal arms are narrower than any one arm; sparser points are 3e-6 off there.
_SPREADS = np.array([-7.5, -5.0, -3.3, -2.0, -0.7, 0.7, 2.0, 3.3, 5.0, 7.5])
_LOG_OMITTED = float(np.log(1e-18))  # the mass left out beyond either end
# A panel spans about a factor of e^5 in density: tails keep 9 digits of their own. At e^12 they keep 10 decimals.
TAIL_DIGITS, TAIL_DECIMALS = 5.0, 12.0
# expit has poles at +-i pi: at 3, the curve of Beta(1/2, 1/2) is 6e-9 off. Between far-apart posteriors, too, x (1 - x)
# must be seen.
_LONGEST = 2.0
_POSITIONS, _WEIGHTS = (np.asarray(part, dtype=np.float64) for part in roots_legendre(NODES))


@dataclass(frozen=True, slots=True)
class Posteriors:
    """Many Beta(a, b): all members but `knots` of one shape.

    `mean` and `rest` are a/(a+b) and b/(a+b); `peak` is the logarithm of the density over t at the mean;
    `knots` (shape + (breakpoints,)) rise from the 1e-18 quantile to its mirror image.
    """

    a: Floats
    b: Floats
    mean: Floats
    rest: Floats
    peak: Floats
    knots: Floats

    def log_density(self, x: Floats, complement: Floats) -> Floats:
        """Logarithm of the density over t at x = expit(t), given also 1 - x, of shape (posteriors..., panels, nodes).

        Differences from the mean, not of gammaln: those lose 6 digits at n = 1e9.
        """
        a, b, mean, rest, peak = (
            member[..., None, None] for member in (self.a, self.b, self.mean, self.rest, self.peak)
        )
        rare = mean < 0.5
        if rare.all():
            from_mean = x - mean
        else:
            from_mean = np.where(rare, x - mean, rest - complement)
        logarithm = _log_ratio(x, from_mean, mean)
        logarithm *= a
        logarithm += peak
        other = _log_ratio(complement, np.negative(from_mean, out=from_mean), rest)
        other *= b
        logarithm += other
        return logarithm

    def density(self, x: Floats, complement: Floats) -> Floats:
        """The density over t, as `log_density`."""
        logarithm = self.log_density(x, complement)
        return np.exp(logarithm, out=logarithm)

    def where(self, chosen: npt.NDArray[np.bool_], other: "Posteriors") -> "Posteriors":
        """These where `chosen`, the other ones elsewhere; both of the shape of `chosen`."""
        knots = max(self.knots.shape[-1], other.knots.shape[-1])
        return Posteriors(
            np.where(chosen, self.a, other.a),
            np.where(chosen, self.b, other.b),
            np.where(chosen, self.mean, other.mean),
            np.where(chosen, self.rest, other.rest),
            np.where(chosen, self.peak, other.peak),
            np.where(chosen[..., None], _padded(self.knots, knots), _padded(other.knots, knots)),
        )

    def __getitem__(self, rows: Row | npt.NDArray[np.bool_] | tuple[Row, ...]) -> "Posteriors":
        """Those of the given rows (an index of the first dimensions)."""
        return Posteriors(
            self.a[rows], self.b[rows], self.mean[rows], self.rest[rows], self.peak[rows], self.knots[rows]
        )


def posteriors(a: npt.ArrayLike, b: npt.ArrayLike, decay: float = TAIL_DIGITS) -> Posteriors:
    """Beta(a, b), elementwise; .5 <= a, b <= 1e9 + 1. Panels between their knots decay by about e^`decay` at most."""
    a, b = np.broadcast_arrays(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64))
    both = np.stack((a, b))
    mean, rest = both / (a + b)
    # The exact value of m^a (1-m)^b / B(a, b): Stirling's leading terms cancel, what he neglects is added.
    beyond = _beyond_stirling(np.stack((a, b, a + b)))
    peak = 0.5 * np.log(a * rest / (2 * np.pi)) + beyond[2] - beyond[0] - beyond[1]

    centre = psi(a) - psi(b)
    spread = np.sqrt(polygamma(1, a) + polygamma(1, b))
    ends = _left_end(both, both[::-1], np.stack((mean, rest)), np.stack((rest, mean)), peak, centre, spread)
    left, right = ends[0][..., None], -ends[1][..., None]
    inner = np.clip(centre[..., None] + spread[..., None] * _SPREADS, left, right)
    coarse = np.concatenate((left, inner, right), axis=-1)
    unknotted = Posteriors(a, b, mean, rest, peak, coarse)
    levels = unknotted.log_density(*(part[..., None] for part in expit_pair(coarse)))[..., 0]
    return Posteriors(a, b, mean, rest, peak, _refined(coarse, levels, decay))


@dataclass(frozen=True, slots=True)
class Panels:
    """Panels of Gauss-Legendre nodes on an axis, for many problems at once.

    `t`, `x`, `complement` (problems, panels, nodes): the nodes, expit(t) and expit(-t);
    `half` (problems, panels): half the panels' widths. Problems with fewer panels than others have some of width 0.
    """

    t: Floats
    x: Floats
    complement: Floats
    half: Floats

    def integral(self, values: Floats) -> Floats:
        """The integral of values (..., problems, panels, nodes): (..., problems)."""
        return np.asarray(((values @ _WEIGHTS) * self.half).sum(axis=-1))

    def below(self, density: Floats) -> tuple[Floats, Floats]:
        """Integrals of a density from the left end to each node, and in all.

        Shapes (..., problems, panels, nodes) and (..., problems).
        """
        masses = density @ _WEIGHTS
        masses *= self.half
        return self._gathered(density, np.cumsum(masses[..., :-1], axis=-1), _FROM_LEFT), masses.sum(axis=-1)

    def tails(self, density: Floats) -> tuple[Floats, Floats, Floats]:
        """Integrals of a density from the left end to each node, from each node to the right end, and in all."""
        lower, mass = self.below(density)
        masses = (density @ _WEIGHTS) * self.half
        after = np.cumsum(masses[..., :0:-1], axis=-1)[..., ::-1]
        return lower, self._gathered(density, after, _TO_RIGHT), mass

    def _gathered(self, density: Floats, finished: Floats, within: Floats) -> Floats:
        """What whole panels before each panel hold, and the share of its own; rounding leaves nothing below 0."""
        curve = density @ within
        curve *= self.half[..., None]
        if within is _FROM_LEFT:
            curve[..., 1:, :] += finished[..., None]
        else:
            curve[..., :-1, :] += finished[..., None]
        return np.maximum(curve, 0.0, out=curve)


def panels(knots: Floats, finer: int = 1) -> Panels:
    """Panels between the given breakpoints (problems, breakpoints), in any order, none longer than 2 / finer.

    `finer` splits every panel into that many more.
    """
    edges = np.sort(knots, axis=-1)
    width = np.diff(edges, axis=-1)
    parts = np.ceil(width * (finer / _LONGEST)).astype(np.intp)
    np.maximum(parts, np.where(width > 0, finer, 0), out=parts)
    left, piece = _subdivided(edges, parts)
    half = 0.5 * piece
    middle = left + half
    t = middle[..., None] + half[..., None] * _POSITIONS
    x, complement = expit_pair(t)
    return Panels(t, x, complement, half)


def expit_pair(t: Floats) -> tuple[Floats, Floats]:
    """expit(t) and expit(-t) for |t| < 700, each with full relative precision (several times as fast as scipy's)."""
    grown = np.exp(t)
    complement = 1.0 / (1.0 + grown)
    return grown * complement, complement


def _log_ratio(value: Floats, from_mean: Floats, mean: Floats) -> Floats:
    """log(value / mean): by log1p of the difference down to half the mean, and below by the logarithm of the rest."""
    inverse = 1.0 / mean
    near = from_mean * inverse
    np.maximum(near, -0.5, out=near)
    np.log1p(near, out=near)
    far = value * (2.0 * inverse)
    np.minimum(far, 1.0, out=far)
    near += np.log(far, out=far)
    return near


def _beyond_stirling(x: Floats) -> Floats:
    """lnGamma(x) - [(x - 1/2) ln x - x + ln(2 pi) / 2]: Abramowitz & Stegun 6.1.41 from 10 on, the difference below."""
    far = np.maximum(x, 10.0)
    square = 1.0 / (far * far)
    series = (
        1 / 12
        - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square * (1 / 1188 - square * 691 / 360360))))
    ) / far
    near = np.minimum(x, 10.0)
    return np.where(x < 10.0, gammaln(near) - ((near - 0.5) * np.log(near) - near + 0.5 * np.log(2 * np.pi)), series)


def _left_end(a: Floats, b: Floats, mean: Floats, rest: Floats, peak: Floats, centre: Floats, spread: Floats) -> Floats:
    """Where the left tail is about 1e-18; the second row is the mirrored problem.

    The log density is concave and the tail below t at most density / slope, so Newton's steps come from the left
    and never leave it; an end a little too far out costs nothing.
    """
    # From 8 spreads out, or, where that is far too far (a double exponential would take Newton back by 1 a step),
    # from Bernstein's bound.
    n = a + b
    reach = rest + np.sqrt(-2 * _LOG_OMITTED * mean * rest / n) - 4 / 3 * _LOG_OMITTED / n
    bound = np.where(reach < 1, np.log1p(-np.minimum(reach, 1 - 1e-9)) - np.log(reach), -np.inf)
    t = np.maximum(np.stack((centre, -centre)) - 8.0 * spread, bound)
    for _ in range(6):
        x, complement = expit_pair(t)
        slope = a * complement - b * x
        level = peak + a * (np.log(x) - np.log(mean)) + b * (np.log(complement) - np.log(rest))
        t = t - (level - np.log(slope) - _LOG_OMITTED) / slope
    return t


def _refined(knots: Floats, levels: Floats, decay: float) -> Floats:
    """More breakpoints, where a log density changes much between two; equal ones pad where fewer are needed."""
    parts = np.ceil(np.abs(np.diff(levels, axis=-1)) / decay).astype(np.intp)
    flat = knots.reshape(-1, knots.shape[-1])
    left, _ = _subdivided(flat, np.maximum(parts, 1).reshape(len(flat), -1))
    return np.concatenate((left, flat[:, -1:]), axis=-1).reshape(*knots.shape[:-1], -1)


def _subdivided(edges: Floats, parts: npt.NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Left ends and widths of the pieces when each interval between rising edges is cut into so many equal parts.

    (problems, edges) and (problems, edges - 1) to (problems, most pieces) twice; pieces of width 0 at the last edge pad.
    """
    flat, totals = parts.ravel(), parts.sum(axis=-1)
    owner = np.repeat(np.arange(flat.size), flat)  # of each piece, the interval it is cut from
    count = np.arange(owner.size)
    nth = count - np.repeat(np.cumsum(flat) - flat, flat)
    place = (owner // parts.shape[-1], count - np.repeat(np.cumsum(totals) - totals, totals))
    cut = (np.diff(edges, axis=-1).ravel() / np.maximum(flat, 1))[owner]
    widths = np.zeros((len(edges), max(int(totals.max(initial=1)), 1)))
    lefts = np.repeat(edges[:, -1:], widths.shape[-1], axis=-1)
    widths[place] = cut
    lefts[place] = edges[:, :-1].ravel()[owner] + nth * cut
    return lefts, widths


def _padded(knots: Floats, size: int) -> Floats:
    missing = size - knots.shape[-1]
    return np.concatenate((knots, np.repeat(knots[..., -1:], missing, axis=-1)), axis=-1) if missing else knots


def _from_left() -> Floats:
    """Matrix M: values at the nodes @ M = integrals of their polynomial from -1 to each node."""
    degrees = np.arange(NODES)
    basis = legvander(_POSITIONS, NODES)
    rising = np.empty((NODES, NODES))  # [degree, node]: integral of the Legendre polynomial up to the node
    rising[0] = _POSITIONS + 1.0
    rising[1:] = (basis[:, 2:] - basis[:, : NODES - 1]).T / (2 * degrees[1:, None] + 1)
    coefficients = _WEIGHTS[:, None] * basis[:, :NODES] * (degrees + 0.5)
    return np.asarray(coefficients @ rising)


_FROM_LEFT = _from_left()
_TO_RIGHT = np.ascontiguousarray(_FROM_LEFT[::-1, ::-1])  # by symmetry, so that right tails are sums of their own
