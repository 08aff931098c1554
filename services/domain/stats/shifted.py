"""Distribution functions of ratios and differences of Beta variables, on one shared logit axis.

Two posteriors meet in one integral by writing both as functions of one axis, chosen so that neither gets a kink or
an end-point singularity where the other one's range ends; that keeps corners exact (all converted against none).
"""

import numpy as np
import numpy.typing as npt

from services.domain.stats.posteriors import Floats, Posteriors, expit_pair, panels

# Twice the log of the mass left out, and as much again for rates of 1e-9: a range that a root of an exponential fills.
_FAR = 120.0


def without_each(below: Floats, above: Floats) -> tuple[Floats, Floats]:
    """Product of F_j over j != i, and 1 minus it, for each i along the first axis, from the F_j and the 1 - F_j.

    The complement is gathered by 1 - FG = (1 - F) + F (1 - G): positive terms, no cancellation.
    """
    product, complement = np.empty_like(below), np.empty_like(below)
    product[0], complement[0] = 1.0, 0.0
    for k in range(1, len(below)):
        np.multiply(product[k - 1], below[k - 1], out=product[k])
        complement[k] = complement[k - 1] + product[k - 1] * above[k - 1]
    behind, behind_complement = below[-1], above[-1]
    for k in range(len(below) - 2, -1, -1):
        complement[k] += product[k] * behind_complement
        product[k] *= behind
        behind_complement = behind_complement + behind * above[k]
        behind = behind * below[k]
    return product, complement


def ratio_curve(
    others: Posteriors, one: Posteriors, log_ratio: Floats, finer: int = 1
) -> tuple[Floats, Floats, Floats]:
    """P(every other <= r * one) for r = exp(log_ratio) >= 1, its derivative by log r, and the self-check's miss.

    `others` (problems, arms), `one` and `log_ratio` (problems,); all three results (problems,). On the others' axis
    one = x / r, so its argument never exceeds 1; what lies above 1 / r always wins.
    """
    x, complement = expit_pair(one.knots)
    rest = complement - np.expm1(log_ratio)[:, None] * x
    fits = rest > 0
    mapped = np.log(x) - np.log(np.where(fits, rest, 1.0)) + log_ratio[:, None]
    highest = others.knots[..., -1].max(axis=-1)[:, None]
    knots = np.concatenate((others.knots.reshape(len(mapped), -1), np.where(fits, mapped, highest)), axis=-1)
    axis = panels(knots, finer)

    shrunk = np.exp(-log_ratio)[:, None, None]
    lost = -np.expm1(-log_ratio)[:, None, None]
    one_rest = lost + axis.complement * shrunk
    one_density = one.density(axis.x * shrunk, one_rest) / one_rest  # over log r; over t it is this times 1 - x
    over_t = one_density * axis.complement
    if others.a.shape[1] == 1:  # most of the time, and worth half the time
        density = others[:, 0].density(axis.x, axis.complement)
        below, mass = axis.below(density)
        value, slope = axis.integral(over_t * below) / mass, axis.integral(one_density * density) / mass
        missed = np.abs(mass - 1.0)
    else:
        densities = np.stack([others[:, k].density(axis.x, axis.complement) for k in range(others.a.shape[1])])
        below, above, masses = axis.tails(densities)
        scale = 1.0 / masses[..., None, None]
        below, above = np.minimum(below * scale, 1.0), np.minimum(above * scale, 1.0)
        without, _ = without_each(below, above)
        value = axis.integral(over_t * without[0] * below[0])
        slope = axis.integral(one_density * (densities * scale * without).sum(axis=0))
        missed = np.abs(masses - 1.0).max(axis=0)

    beyond = np.zeros(len(mapped))
    cut = np.flatnonzero(~fits.all(axis=1))
    if cut.size:
        last, last_rest = expit_pair(knots[cut].max(axis=-1))
        shrink, loss = shrunk[cut, 0, 0], lost[cut, 0, 0]
        beyond[cut] = _mass(one[cut], np.maximum(one.knots[cut], _logit(last * shrink, loss + last_rest * shrink)))
    missed = np.maximum(missed, np.abs(axis.integral(over_t) + beyond - 1.0))
    return value + beyond, slope, missed


def difference_curve(
    more: Posteriors, less: Posteriors, distance: Floats, finer: int = 1
) -> tuple[Floats, Floats, Floats]:
    """P(more <= less + d) for 0 <= d < 1, its derivative by d, and the self-check's miss; all (problems,).

    On the axis t with s = expit(t): less = (1 - d) s and more = d + (1 - d) s, so that both ends of both ranges are
    tails of the axis. What lies of `less` above 1 - d always wins, and what lies of `more` below d.
    """
    d = distance[:, None]
    less_x, less_complement = expit_pair(less.knots)
    more_x, more_complement = expit_pair(more.knots)
    own, own_fits = _log_quotient(less_x, less_complement - d)
    other, other_fits = _log_quotient(more_complement, more_x - d)
    other = -other
    less_cut, more_cut = np.any(~own_fits, axis=1), np.any(~other_fits, axis=1)
    low, high = np.minimum(own[:, 0], _FAR), own[:, -1]
    low = np.where(more_cut, low, np.minimum(low, other[:, 0]))
    high = np.maximum(np.where(less_cut, high, np.maximum(high, other[:, -1])), low)
    axis = panels(np.clip(np.concatenate((own, other), axis=-1), low[:, None], high[:, None]), finer)

    kept, d = (1.0 - d)[..., None], d[..., None]
    less_at, less_rest = kept * axis.x, d + kept * axis.complement
    more_at, more_rest = d + kept * axis.x, kept * axis.complement
    less_density = less.density(less_at, less_rest) * axis.complement / less_rest
    on_logit = more.density(more_at, more_rest)
    more_density = on_logit * axis.x / more_at

    beyond, base = np.zeros(len(low)), np.zeros(len(low))
    if (cut := np.flatnonzero(less_cut)).size:
        d, (x, complement) = distance[cut], expit_pair(high[cut])
        end = _logit((1.0 - d) * x, d + (1.0 - d) * complement)
        beyond[cut] = _mass(less[cut], np.maximum(less.knots[cut], end))
    if (cut := np.flatnonzero(more_cut)).size:
        d, (x, complement) = distance[cut], expit_pair(low[cut])
        end = _logit(d + (1.0 - d) * x, (1.0 - d) * complement)
        base[cut] = _mass(more[cut], np.minimum(more.knots[cut], end))
    rising, more_mass = axis.below(more_density)
    value = beyond + axis.integral(less_density * np.minimum(base[:, None, None] + rising, 1.0))
    slope = axis.integral(less_density * on_logit / (more_at * more_rest))
    missed = np.maximum(np.abs(base + more_mass - 1.0), np.abs(axis.integral(less_density) + beyond - 1.0))
    return value, slope, missed


def _log_quotient(x: Floats, rest: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """log(x / rest), and far out where there is no rest; where there is some."""
    fits = rest > 0
    return np.where(fits, np.minimum(np.log(x) - np.log(np.where(fits, rest, 1.0)), _FAR), _FAR), fits


def _logit(x: Floats, complement: Floats) -> Floats:
    return np.asarray(np.log(x) - np.log(complement))[:, None]


def _mass(one: Posteriors, knots: Floats) -> Floats:
    """The mass between the knots, which are the posterior's own or cut at an end.

    Gathered from the density like everything else: scipy's betainc is 1e-7 off at (1/2, 1e9).
    """
    axis = panels(knots)
    return axis.integral(one.density(axis.x, axis.complement))
