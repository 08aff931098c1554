"""Rates and their intervals: documented figures, closed forms, and edges from 0 to 1e9."""

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from scipy import stats

from services.domain.stats.rates import always_valid_interval95, credible_interval95, rounded_rate

BILLION = 10**9
counts = (
    st.integers(0, 9)
    .flatmap(lambda decade: st.integers(0, 10**decade))
    .flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
)


@pytest.mark.parametrize(
    ("goals", "reached", "rate"),
    [
        (37, 620, 0.0597),
        (1, 160, 0.0063),
        (0, 0, 0.0),
        (0, 9, 0.0),
        (9, 9, 1.0),
        (1, 3, 0.3333),
        (BILLION, BILLION, 1.0),
    ],
)
def test_rates_have_four_decimals(goals: int, reached: int, rate: float) -> None:
    """Half away from zero on the exact fraction; 1/160 = .00625 is .0063."""
    assert rate == rounded_rate(goals, reached)


@given(counts)
def test_a_rounded_rate_is_the_nearest(pair: tuple[int, int]) -> None:
    """Within half a ten-thousandth of the fraction, and above it at exactly half."""
    goals, reached = pair
    rate = Fraction(round(rounded_rate(goals, reached) * 10_000), 10_000)

    assert -Fraction(1, 20_000) < rate - Fraction(goals, max(reached, 1)) <= Fraction(1, 20_000)


def test_the_documented_interval() -> None:
    """37 of 620 under Beta(1, 1)."""
    assert (0.0437, 0.0812) == credible_interval95(37, 620)


@pytest.mark.parametrize(("goals", "reached"), [(22, 655), (0, 0), (0, 50), (50, 50), (1, 2), (60_000, 1_000_000)])
def test_the_interval_is_that_of_scipy_stats(goals: int, reached: int) -> None:
    """Equal tails of Beta(s + 1, n - s + 1)."""
    expected = stats.beta(goals + 1, reached - goals + 1).ppf([0.025, 0.975])

    assert credible_interval95(goals, reached) == pytest.approx(expected.tolist(), abs=5.1e-5)


def test_the_interval_inverts_a_binomial_tail() -> None:
    """P(Bin(n + 1, p) >= s + 1) = .025 at the lower end, which rounds to what is shown."""
    assert 0.025 == pytest.approx(stats.binom(621, 0.0436630442).sf(37), abs=1e-9)
    assert 0.0437 == credible_interval95(37, 620)[0]


def test_the_always_valid_interval_has_its_documented_figures() -> None:
    """37/620, and the closed form of 0/90."""
    assert always_valid_interval95(37, 620) == pytest.approx((0.030980284, 0.100997698), abs=5e-10)
    assert always_valid_interval95(0, 90) == pytest.approx((0, 1 - (0.05 / 91) ** (1 / 90)), abs=1e-15)
    assert (0.0, 1.0) == always_valid_interval95(0, 0)


@pytest.mark.parametrize(
    ("goals", "reached"),
    [
        (37, 620),
        (1, 2),
        (1, 3),
        (1, 200),
        (199, 200),
        (5, 10**6),
        (60_000_000, BILLION),
        (1, BILLION),
        (BILLION - 1, BILLION),
    ],
)
def test_the_density_at_the_ends_is_a_twentieth(goals: int, reached: int) -> None:
    """log density = log .05 to 40 digits, unless the end is at 0 or 1."""
    mp.dps = 40
    a, b = mpf(goals + 1), mpf(reached - goals + 1)
    constant = mp.loggamma(a + b) - mp.loggamma(a) - mp.loggamma(b)
    for end in always_valid_interval95(goals, reached):
        # The slope says what the last digit of a double may do to the density.
        x = mpf(end)
        if x == 1:
            continue
        slack = 2e-16 * abs(goals - (goals + (reached - goals)) * x) / (1 - x) + 1e-9
        assert float(constant + goals * mp.log(x) + (reached - goals) * mp.log(1 - x)) == pytest.approx(
            math.log(0.05), abs=float(slack)
        )


@settings(max_examples=150, deadline=None)
@given(counts)
def test_the_interval_lies_in_the_always_valid_one(pair: tuple[int, int]) -> None:
    """Looking at all times costs width; both hold the rate and lie in [0, 1]."""
    goals, reached = pair
    low, high = credible_interval95(goals, reached)
    valid_low, valid_high = always_valid_interval95(goals, reached)

    assert 0 <= valid_low <= low + 5.1e-5
    assert high - 5.1e-5 <= valid_high <= 1
    assert valid_low <= goals / max(reached, 1) <= valid_high


@settings(max_examples=80, deadline=None)
@given(counts.filter(lambda pair: pair[0] < pair[1]))
def test_one_more_conversion_moves_both_intervals_up(pair: tuple[int, int]) -> None:
    """Ends are monotone in the goals."""
    goals, reached = pair
    for interval in (credible_interval95, always_valid_interval95):
        assert all(a <= b + 1e-15 for a, b in zip(interval(goals, reached), interval(goals + 1, reached), strict=True))


@pytest.mark.parametrize(("goals", "reached"), [(2, 1), (-1, 3), (0, -1), (0, BILLION + 1)])
def test_impossible_counts_are_refused(goals: int, reached: int) -> None:
    """By every function of a rate."""
    for function in (rounded_rate, credible_interval95, always_valid_interval95):
        with pytest.raises(ValueError, match="counts must satisfy"):
            function(goals, reached)
