"""Sample ratio: documented figures, one-step predictions, edges."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import gammaln

from services.domain.stats.sample_ratio import Stretch, sample_ratio

BILLION = 10**9
shares = st.sampled_from([0.001, 0.05, 0.1, 0.5, 0.95])
stretches = st.lists(
    st.builds(Stretch, shares, st.integers(0, 9), st.integers(0, 400), st.integers(0, 60)), max_size=8
).map(lambda found: sorted(found, key=lambda one: one.day))


def test_as_configured() -> None:
    """165 of 3285 at .05: p = .9521, log E = -.14216."""
    found = sample_ratio([Stretch(0.05, 0, 3120, 165)])

    assert 0.05 == found.expected_holdout_share
    assert found.p_value == pytest.approx(0.9521, abs=5e-5)
    assert math.log(found.e_value) == pytest.approx(-0.14216, abs=5e-6)
    assert (True, False) == (found.ok, found.confirmed)


def test_too_many_held_out() -> None:
    """212 of 3332: p = .00030768, not ok, log E = 1.41855, not confirmed."""
    found = sample_ratio([Stretch(0.05, 0, 3120, 212)])

    assert found.p_value == pytest.approx(0.00030768, abs=5e-9)
    assert found.p_value == pytest.approx(
        float(stats.chisquare([212, 3120], [3332 * 0.05, 3332 * 0.95]).pvalue), rel=1e-12
    )
    assert math.log(found.e_value) == pytest.approx(1.41855, abs=5e-6)
    assert (False, False) == (found.ok, found.confirmed)


def test_the_evidence_is_a_product_of_predictions() -> None:
    """Person by person: predicted by what came before, against the configured share."""
    sides = [k % 16 == 0 for k in range(3332)]
    weights, total, logarithm = [500.0, 9500.0], 10_000.0, 0.0
    for held in sides:
        seen = weights[0] if held else weights[1]
        logarithm += math.log(seen / total) - math.log(0.05 if held else 0.95)
        weights[0 if held else 1] += 1
        total += 1

    found = sample_ratio([Stretch(0.05, 0, sides.count(False), sides.count(True))])

    assert logarithm == pytest.approx(math.log(found.e_value), abs=1e-10)


@settings(max_examples=80, deadline=None)
@given(shares, st.integers(0, 10**5), st.integers(0, 10**5))
def test_the_evidence_is_the_documented_formula(share: float, exposed: int, holdout: int) -> None:
    """By plain differences of gammaln, as far as those reach."""
    a, n = (1e4 * share, 1e4 * (1 - share)), (holdout, exposed)
    plain = gammaln(1e4) - gammaln(1e4 + sum(n))
    plain += sum(gammaln(a_i + n_i) - gammaln(a_i) for a_i, n_i in zip(a, n, strict=True))
    plain -= holdout * math.log(share) + exposed * math.log(1 - share)

    found = sample_ratio([Stretch(share, 0, exposed, holdout)])

    if -600 < plain < 600:
        assert math.log(found.e_value) == pytest.approx(float(plain), abs=1e-7)


def test_stretches_multiply_and_days_of_one_share_add() -> None:
    """A changed share starts anew; the same share on another day goes on."""
    first, second = sample_ratio([Stretch(0.05, 0, 900, 60)]), sample_ratio([Stretch(0.1, 1, 800, 120)])

    changed = sample_ratio([Stretch(0.05, 0, 900, 60), Stretch(0.1, 1, 800, 120)])
    same = sample_ratio([Stretch(0.05, 0, 400, 30), Stretch(0.05, 1, 500, 30)])

    assert changed.e_value == pytest.approx(first.e_value * second.e_value, rel=1e-9)
    assert changed.expected_holdout_share == pytest.approx((960 * 0.05 + 920 * 0.1) / 1880)
    assert same.e_value == pytest.approx(first.e_value, rel=1e-9)


def test_once_confirmed_stays_confirmed() -> None:
    """The maximum over day ends counts, not today's value."""
    found = sample_ratio([Stretch(0.05, 0, 900, 150), Stretch(0.05, 1, 9000, 330), Stretch(0.05, 2, 9000, 480)])

    assert found.e_value < 1000
    assert found.confirmed


def test_only_the_ends_of_days_count() -> None:
    """What a day's second stretch takes back was never looked at."""
    found = sample_ratio([Stretch(0.05, 0, 900, 150), Stretch(0.05, 0, 9000, 330)])

    assert not found.confirmed


@pytest.mark.parametrize(
    ("given_stretches", "share"),
    [([], 0.0), ([Stretch(0.05, 0, 0, 0)], 0.0), ([Stretch(0.0, 0, 50, 0)], 0.0), ([Stretch(1.0, 0, 0, 50)], 1.0)],
)
def test_nothing_to_split_is_fine(given_stretches: list[Stretch], share: float) -> None:
    """Nobody, nobody held out, everybody held out: p value 1, evidence 1."""
    found = sample_ratio(given_stretches)

    assert (share, 1.0, True, 1.0, False) == (
        found.expected_holdout_share, found.p_value, found.ok, found.e_value, found.confirmed
    )  # fmt: skip


def test_a_billion_is_neither_infinite_nor_blurred() -> None:
    """The e-value stops at 1e300; a small deviation keeps its digits."""
    huge, small = (
        sample_ratio([Stretch(0.05, 0, BILLION, BILLION)]),
        sample_ratio([Stretch(0.05, 0, 950_000_000, 50_000_000)]),
    )

    assert huge.e_value == pytest.approx(1e300)
    assert (0.0, True) == (huge.p_value, huge.confirmed)
    # No deviation at all: half the log of the growth of certainty, 1e4 to 1e9 + 1e4.
    assert math.log(small.e_value) == pytest.approx(0.5 * math.log(1e4 / (1e9 + 1e4)), abs=2e-4)


@settings(max_examples=80, deadline=None)
@given(stretches)
def test_any_stretches_give_numbers(given_stretches: list[Stretch]) -> None:
    """p in [0, 1], e-value finite and positive or 0, share between the configured ones."""
    found = sample_ratio(given_stretches)

    assert 0 <= found.p_value <= 1
    assert 0 <= found.e_value <= 1e300 * (1 + 1e-9)
    assert 0 <= found.expected_holdout_share <= 1
    assert found.ok == (found.p_value >= 0.001)
    assert all(a.day <= b.day for a, b in pairwise(given_stretches))


@pytest.mark.parametrize(
    "given_stretches",
    [
        [Stretch(1.2, 0, 1, 1)],
        [Stretch(math.nan, 0, 1, 1)],
        [Stretch(0.1, 0, -1, 1)],
        [Stretch(0.1, 2, 1, 1), Stretch(0.1, 1, 1, 1)],
    ],
)
def test_impossible_stretches_are_refused(given_stretches: list[Stretch]) -> None:
    """Shares outside [0, 1], negative counts, days that go back."""
    with pytest.raises(ValueError, match=r"share|counts|order"):
        sample_ratio(given_stretches)
