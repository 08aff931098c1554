"""Lift: documented figures, 40 digits, corners, and what no counts may break."""

import math
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from scipy import stats

from services.domain.stats.counts import Count
from services.domain.stats.lift import (
    DocumentedImpact,
    always_valid_lift,
    documented_impact,
    lift_intervals95,
    lift_report,
    minimum_detectable_lift80,
)
from tests.unit.domain.stats import oracles

EXPOSED, HOLDOUT = (3120, 214), (165, 6)
BILLION = 10**9

counts = (
    st.integers(0, 9)
    .flatmap(lambda decade: st.integers(0, 10**decade))
    .flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))
)
reached = counts.filter(lambda pair: pair[0] > 0)

CORNERS = [
    ((1, 0), (1, 1)),
    ((1, 1), (1, 0)),
    ((1, 1), (1, 1)),
    ((1, 0), (1, 0)),
    ((BILLION, BILLION), (BILLION, 0)),
    ((BILLION, 0), (BILLION, BILLION)),
    ((BILLION, BILLION), (BILLION, BILLION)),
    ((BILLION, 0), (BILLION, 0)),
    ((BILLION, 60_000_000), (200, 10)),
    ((200, 10), (BILLION, BILLION)),
    ((200, 0), (BILLION, 1)),
    ((BILLION, 1), (1, 0)),
    ((1, 1), (BILLION, 0)),
    ((8794, 8792), (2, 2)),
    ((75_555_029, 1), (666_910, 0)),
    ((18, 18), (1, 0)),
]


def test_the_documented_reply() -> None:
    """214/3120 against 6/165: lift .885 from the rounded rates (.886 from the others)."""
    assert DocumentedImpact(0.0686, 0.0364, 0.885, False) == documented_impact(EXPOSED, HOLDOUT)


@pytest.mark.parametrize(
    ("exposed", "holdout", "lift"),
    [
        ((100, 5), (100, 0), None),  # H = 0
        ((0, 0), (100, 5), None),
        ((100, 5), (0, 0), None),
        ((100, 0), (100, 5), -1.0),
        ((100, 5), (100, 5), 0.0),
        ((10_000, 201), (10_000, 200), 0.005),  # exactly 1/200
        ((10_000, 2001), (10_000, 2000), 0.001),  # half away from zero
        ((10_000, 1999), (10_000, 2000), -0.001),
        ((10**6, 200_049), (10_000, 2000), 0.0),
        ((10_000, 9_999_9 // 10), (BILLION, 1), None),  # a holdout rate that rounds to 0
    ],
)
def test_lifts_have_three_decimals(exposed: Count, holdout: Count, lift: float | None) -> None:
    """Half away from zero in integers; None where the holdout's rounded rate is 0 or a cohort is empty."""
    assert lift == documented_impact(exposed, holdout).lift


def test_a_lift_is_never_minus_zero() -> None:
    """A hair below 0 rounds to 0.0."""
    lift = documented_impact((10_000, 9_999), (10_000, 10_000)).lift

    assert lift is not None
    assert 1.0 == math.copysign(1.0, lift)


@pytest.mark.parametrize(("exposed", "holdout", "underpowered"), [(99, 100, True), (100, 99, True), (100, 100, False)])
def test_below_a_hundred_is_underpowered(exposed: int, holdout: int, underpowered: bool) -> None:
    """Either cohort."""
    assert underpowered == documented_impact((exposed, 5), (holdout, 5)).underpowered


def test_the_worked_example_has_its_figures() -> None:
    """Interval, chance and increment of 214/3120 against 6/165, noted beforehand to 9 and more digits."""
    found = lift_report(EXPOSED, HOLDOUT)

    assert found is not None
    assert found.lift_interval95 == pytest.approx((-0.077928843, 3.516103207), abs=6e-10)
    assert found.probability_positive == pytest.approx(0.955749461213, abs=6e-13)
    assert found.incremental_estimate == pytest.approx(100.545, abs=5e-4)
    assert found.incremental_interval95 == pytest.approx((-17.6020, 172.7735), abs=5.1e-5)


@pytest.mark.parametrize(
    ("exposed", "holdout"),
    [
        (EXPOSED, HOLDOUT),
        ((40, 0), (30, 0)),
        ((1_000_000, 999_999), (1_000_000, 999_980)),
        ((BILLION, 60_000_000), (BILLION, 59_990_000)),
        ((200, 0), (BILLION, 1)),
        ((20, 20), (25, 1)),
        ((1, 1), (1, 0)),
    ],
)
def test_the_lift_interval_is_a_pair_of_quantiles_to_forty_digits(exposed: Count, holdout: Count) -> None:
    """P(theta_E / theta_H - 1 <= end) = .025 and .975."""
    more, less = (oracles.Beta(mpf(s) + 0.5, mpf(n - s) + 0.5) for n, s in (exposed, holdout))
    found = lift_report(exposed, holdout)

    assert found is not None
    below = [float(oracles.ratio_below(more, less, 1 + mpf(end))) for end in found.lift_interval95]
    # The last digit of an end that is near 0 against a width of 1e-9 is worth more than ours.
    assert below == pytest.approx([0.025, 0.975], abs=1e-9)
    assert float(1 - oracles.ratio_below(more, less, 1)) == pytest.approx(found.probability_positive, abs=1e-10)


@pytest.mark.parametrize(
    ("exposed", "holdout"),
    [
        (EXPOSED, HOLDOUT),
        ((BILLION, 60_000_000), (BILLION, 59_990_000)),
        ((5000, 10), (4000, 0)),
        ((900, 100), (800, 300)),
    ],
)
def test_the_increment_is_a_pair_of_quantiles_to_forty_digits(exposed: Count, holdout: Count) -> None:
    """P(theta_E - theta_H <= end / n_E) = .025 and .975."""
    more, less = (oracles.Beta(mpf(s) + 0.5, mpf(n - s) + 0.5) for n, s in (exposed, holdout))
    found = lift_report(exposed, holdout)

    assert found is not None
    ends = [mpf(end) / exposed[0] for end in found.incremental_interval95]
    assert [float(oracles.difference_below(more, less, end)) for end in ends] == pytest.approx([0.025, 0.975], abs=1e-9)


def test_the_corner_of_one_against_none() -> None:
    """1/1 against 0/1: both posteriors end where the other's range does; by mpmath's own quadrature."""
    mp.dps = 25
    found = lift_report((1, 1), (1, 0))
    assert found is not None

    def density(x: oracles.Number) -> oracles.Number:
        """Of Beta(1/2, 3/2), the holdout."""
        return mp.sqrt((1 - x) / x) * 2 / mp.pi

    def exposed(x: oracles.Number) -> oracles.Number:
        """F of Beta(3/2, 1/2), in closed form."""
        return 2 / mp.pi * (mp.asin(mp.sqrt(x)) - mp.sqrt(x * (1 - x))) if x < 1 else mpf(1)

    for end, level in zip(found.incremental_interval95, (0.025, 0.975), strict=True):
        shift = mpf(end)
        bounds = [0, 1 - shift, 1] if shift >= 0 else [-shift, 1]
        below = mp.quad(lambda x, shift=shift: density(x) * exposed(x + shift), bounds)
        assert level == pytest.approx(float(below), abs=1e-10)


@pytest.mark.parametrize(("exposed", "holdout"), CORNERS)
def test_corners_stay_finite_and_ordered(exposed: Count, holdout: Count) -> None:
    """None, all, one and 1e9 against each other."""
    found, valid = lift_report(exposed, holdout), always_valid_lift(exposed, holdout)

    assert found is not None
    assert valid is not None
    assert -1 <= found.lift_interval95[0] < found.lift_interval95[1] < math.inf
    assert -exposed[0] <= found.incremental_interval95[0] < found.incremental_interval95[1] <= exposed[0]
    assert 0 <= found.probability_positive <= 1
    assert all(end is None or math.isfinite(end) for end in valid.interval95)


@settings(max_examples=40, deadline=None)
@given(reached, reached)
def test_positive_with_certainty_exactly_when_the_interval_is(exposed: Count, holdout: Count) -> None:
    """P(theta_E > theta_H) >= .975 iff the whole interval lies above 0; the increment agrees."""
    found = lift_report(exposed, holdout)

    assert found is not None
    low, high = found.lift_interval95
    if abs(found.probability_positive - 0.975) > 1e-8:
        assert (found.probability_positive > 0.975) == (low > 0) == (found.incremental_interval95[0] > 0)
    if abs(found.probability_positive - 0.025) > 1e-8:
        assert (found.probability_positive < 0.025) == (high < 0) == (found.incremental_interval95[1] < 0)


@settings(max_examples=25, deadline=None)
@given(reached, reached)
def test_exchanged_cohorts_mirror_the_numbers(exposed: Count, holdout: Count) -> None:
    """Ratios invert, chances complement."""
    found, mirrored = lift_report(exposed, holdout), lift_report(holdout, exposed)

    assert found is not None
    assert mirrored is not None
    assert found.probability_positive + mirrored.probability_positive == pytest.approx(1, abs=1e-10)
    assert math.log1p(found.lift_interval95[1]) == pytest.approx(
        -math.log1p(mirrored.lift_interval95[0]), rel=1e-6, abs=1e-10
    )


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(reached, reached), max_size=20))
def test_many_intervals_at_once_are_as_one_by_one(pairs: list[tuple[Count, Count]]) -> None:
    """A batch gives what single reports give."""
    reports = [report for pair in pairs if (report := lift_report(*pair)) is not None]

    found = list(chain.from_iterable(lift_intervals95(pairs)))

    assert found == pytest.approx(
        list(chain.from_iterable(one.lift_interval95 for one in reports)), rel=1e-9, abs=1e-10
    )


@pytest.mark.parametrize(("exposed", "holdout"), [((0, 0), HOLDOUT), (EXPOSED, (0, 0))])
def test_an_empty_cohort_has_no_lift(exposed: Count, holdout: Count) -> None:
    """None from every function, ValueError from the batch, which has no place for it."""
    assert lift_report(exposed, holdout) is None
    assert always_valid_lift(exposed, holdout) is None
    assert minimum_detectable_lift80(exposed, holdout) is None
    with pytest.raises(ValueError, match="empty"):
        lift_intervals95([(exposed, holdout)])


def test_the_always_valid_lift_has_its_documented_figures() -> None:
    """Exact below 20 conversions, asymptotic from there on."""
    few, many = always_valid_lift(EXPOSED, HOLDOUT), always_valid_lift((6240, 428), (330, 24))

    assert few is not None
    assert many is not None
    assert ("exact", "asymptotic") == (few.method, many.method)
    assert few.interval95 == pytest.approx((-0.5604, 17.2932), abs=5.1e-5)
    assert many.interval95 == pytest.approx((-0.48958, 0.74259), abs=5.1e-6)


def test_without_holdout_conversions_the_always_valid_lift_is_unbounded() -> None:
    """No upper end where the holdout's rate may be 0."""
    found = always_valid_lift((1000, 50), (100, 0))

    assert found is not None
    assert found.interval95[1] is None


def test_rates_near_one_are_not_certain() -> None:
    """Where nearly all converted the asymptotic variance is 0 and says nothing: the exact sets speak."""
    found = always_valid_lift((1000, 1000), (100, 100))

    assert found is not None
    assert "exact" == found.method
    assert found.interval95[0] < 0 < found.interval95[1]  # type: ignore[operator]


@settings(max_examples=60, deadline=None)
@given(reached, reached)
def test_the_always_valid_lift_holds_the_observed_one(exposed: Count, holdout: Count) -> None:
    """Whatever the method."""
    found = always_valid_lift(exposed, holdout)

    assert found is not None
    low, high = found.interval95
    if holdout[1]:
        observed = exposed[1] * holdout[0] / (exposed[0] * holdout[1]) - 1
        assert low <= observed + 1e-9 * (1 + abs(observed))
        assert high is None or observed <= high + 1e-9 * (1 + abs(observed))


def test_the_detectable_lift_has_its_documented_figure() -> None:
    """1.15206, and the normal test has power .8 there."""
    found = minimum_detectable_lift80(EXPOSED, HOLDOUT)

    assert found == pytest.approx(1.15206, abs=5e-6)
    assert found is not None
    rate = 6 / 165
    error = math.sqrt(rate * (1 - rate) * (1 / 3120 + 1 / 165))
    power = stats.norm.sf(stats.norm.ppf(0.975) - rate * found / error) + stats.norm.cdf(
        stats.norm.ppf(0.025) - rate * found / error
    )
    assert 0.8 == pytest.approx(power, abs=1e-4)


def test_without_holdout_conversions_nothing_is_detectable() -> None:
    """None, not infinity; and 0 where everybody converts anyway."""
    assert minimum_detectable_lift80((1000, 50), (100, 0)) is None
    assert 0.0 == minimum_detectable_lift80((1000, 50), (100, 100))


def test_a_million_draws_agree() -> None:
    """Posterior draws of both cohorts, within their own noise."""
    rng = np.random.default_rng(20261124)
    more, less = (rng.beta(s + 0.5, n - s + 0.5, 1_000_000) for n, s in (EXPOSED, HOLDOUT))
    found = lift_report(EXPOSED, HOLDOUT)

    assert found is not None
    assert found.lift_interval95 == pytest.approx(np.quantile(more / less - 1, [0.025, 0.975]).tolist(), abs=0.02)
    assert found.probability_positive == pytest.approx(float((more > less).mean()), abs=0.001)
