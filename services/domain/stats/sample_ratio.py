"""Is the holdout as large as configured?"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, log1p, pi

from scipy.special import gammaincc, gammaln

from services.domain.stats.counts import checked

_ALARM = 0.001
_CONFIRMED = 1000.0
# Weight of the promised share in the mixture, in subjects: deviations of about 1 % of it are found soonest.
_CONCENTRATION = 1e4
_LARGEST = log(1e300)
_STIRLING_FROM = 10.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """Persons by first trigger on one day under one configured holdout share: how many fell on each side.

    `share` is a fraction in [0, 1]; `day` any running number of the day; 0 <= exposed, holdout <= 1e9.
    """

    share: float
    day: int
    exposed: int
    holdout: int


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """`ok` iff `p_value` >= .001; `confirmed` iff the e-value reached 1000 at the end of any day.

    `expected_holdout_share` is the mean configured share, 0 where nobody was triggered; `e_value` at most 1e300.
    """

    expected_holdout_share: float
    p_value: float
    ok: bool
    e_value: float
    confirmed: bool


def sample_ratio(stretches: Sequence[Stretch]) -> SampleRatio:
    """Test the two cohorts' sizes against the configured share; `stretches` in order of time.

    Several stretches may share a day, neighbours with one share are taken together. ValueError for shares outside
    [0, 1], impossible counts, or days that go back. `p_value` is for one look: X = (N_H - sum pi)^2 / sum pi (1 - pi),
    1 degree of freedom, 1 where nobody was triggered or every share is 0 or 1 (people under those are left out).
    `e_value` is for looking every day: P(it ever reaches 1000) <= 1/1000 while the split is as configured.
    Source: Pearson's chi-square; Lindon & Malek, arXiv 2011.03567, Dirichlet mixture with 1e4 times the shares.
    """
    total = 0
    above = distance = variance = 0.0  # above: sum of shares less the first one, exact while it never changed
    closed, share, exposed, holdout = 0.0, -1.0, 0, 0  # log e-value of ended stretches; the present one
    logarithm, highest = 0.0, 0.0
    last_day: int | None = None
    for stretch in stretches:
        here = checked(stretch.exposed, 0)[0] + checked(stretch.holdout, 0)[0]
        if not 0.0 <= stretch.share <= 1.0:
            raise ValueError(f"a share lies in [0, 1], not at {stretch.share}")
        if last_day is not None and stretch.day != last_day:
            if stretch.day < last_day:
                raise ValueError("stretches must be in order of time")
            highest = max(highest, logarithm)
        last_day = stretch.day
        total += here
        above += here * (stretch.share - stretches[0].share)
        if not 0.0 < stretch.share < 1.0:
            continue
        distance += stretch.holdout - here * stretch.share
        variance += here * stretch.share * (1 - stretch.share)
        if stretch.share != share:
            closed, share, exposed, holdout = logarithm, stretch.share, 0, 0
        exposed, holdout = exposed + stretch.exposed, holdout + stretch.holdout
        logarithm = closed + _log_evidence(holdout, exposed, share)
    highest = max(highest, logarithm)
    p_value = float(gammaincc(0.5, distance * distance / variance / 2)) if variance else 1.0
    return SampleRatio(
        expected_holdout_share=stretches[0].share + above / total if total else 0.0,
        p_value=p_value,
        ok=p_value >= _ALARM,
        e_value=exp(min(logarithm, _LARGEST)),
        confirmed=highest >= log(_CONFIRMED),
    )


def _log_evidence(holdout: int, exposed: int, share: float) -> float:
    """log E of one share: lnG(A) - lnG(A + n) + sum_i [lnG(A_i + n_i) - lnG(A_i) - n_i ln p_i], A_i = 1e4 p_i.

    With Stirling's formula the large terms are N times the divergence of the observed from the promised shares, which
    is summed by log1p; the plain difference of gammaln would lose 6 digits at 1e9.
    """
    n = holdout + exposed
    promised = (_CONCENTRATION * share, _CONCENTRATION * (1 - share))
    seen = (promised[0] + holdout, promised[1] + exposed)
    whole = _CONCENTRATION + n
    excess = holdout - n * share  # of one side; the other's is its opposite
    divergence = seen[0] * log1p(excess / (whole * share)) + seen[1] * log1p(-excess / (whole * (1 - share)))
    return (
        divergence
        + 0.5 * (log(_CONCENTRATION * share * (1 - share)) - log(seen[0] / whole * seen[1]))
        + (_beyond_stirling(seen[0]) + _beyond_stirling(seen[1]) - _beyond_stirling(whole))
        - (_beyond_stirling(promised[0]) + _beyond_stirling(promised[1]) - _beyond_stirling(_CONCENTRATION))
    )


def _beyond_stirling(x: float) -> float:
    """lnG(x) less Stirling's formula: Abramowitz & Stegun 6.1.41 from 10 on."""
    if x < _STIRLING_FROM:
        return float(gammaln(x)) - ((x - 0.5) * log(x) - x + 0.5 * log(2 * pi))
    square = 1 / (x * x)
    return (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188)))) / x
