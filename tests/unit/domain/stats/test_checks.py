"""Allocation check, drift, corrected rate: documented figures, scipy's tests, raw rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from services.domain.stats.checks import Epoch, allocation_check, drift
from services.domain.stats.corrected import ArmEpoch, Corrected, corrected_rate

EPOCHS = [Epoch((1 / 3, 1 / 3, 1 / 3), (205, 196, 199)), Epoch((0.30, 0.05, 0.65), (247, 33, 520))]
ARM = [ArmEpoch(600, 196, 9, 1 / 3), ArmEpoch(800, 33, 1, 0.05)]


def test_the_allocation_check_has_its_documented_figure() -> None:
    """X = .8883216, p = .64136."""
    found = allocation_check(EPOCHS)

    assert found is not None
    assert found.p_value == pytest.approx(float(stats.chi2(2).sf(0.8883216)), abs=5e-8)
    assert found.p_value == pytest.approx(0.64136, abs=5e-6)
    assert found.ok


def test_one_constant_split_is_pearsons() -> None:
    """As scipy.stats.chisquare, also when told in two epochs."""
    once, twice = (
        allocation_check([Epoch((0.2, 0.5, 0.3), (230, 480, 290))]),
        allocation_check([Epoch((0.2, 0.5, 0.3), (130, 280, 90)), Epoch((0.2, 0.5, 0.3), (100, 200, 200))]),
    )

    assert once is not None
    assert once.p_value == pytest.approx(float(stats.chisquare([230, 480, 290], [200, 500, 300]).pvalue), rel=1e-12)
    assert twice is not None
    assert twice.p_value == pytest.approx(once.p_value, rel=1e-9)


def test_a_wrong_split_is_found() -> None:
    """Promised 5 %, given 12 %."""
    found = allocation_check([Epoch((0.95, 0.05), (880, 120))])

    assert found is not None
    assert not found.ok


def test_an_arm_that_came_later_is_checked_from_then_on() -> None:
    """Propensity 0 in an epoch leaves the arm, and what it may have got, out of that epoch."""
    with_stray = allocation_check([Epoch((0.5, 0.5, 0.0), (100, 110, 3)), Epoch((0.4, 0.4, 0.2), (200, 190, 110))])
    without = allocation_check([Epoch((0.5, 0.5, 0.0), (100, 110, 0)), Epoch((0.4, 0.4, 0.2), (200, 190, 110))])

    assert with_stray is not None
    assert with_stray == without


def test_arms_that_never_met_are_compared_within_their_groups() -> None:
    """Two pairs in two epochs: two degrees of freedom, the sum of both tests."""
    found = allocation_check(
        [Epoch((0.5, 0.5, 0.0, 0.0), (120, 90, 0, 0)), Epoch((0.0, 0.0, 0.5, 0.5), (0, 0, 100, 130))]
    )

    first, second = stats.chisquare([120, 90]).statistic, stats.chisquare([100, 130]).statistic
    assert found is not None
    assert found.p_value == pytest.approx(float(stats.chi2(2).sf(first + second)), rel=1e-9)


@pytest.mark.parametrize(
    "epochs",
    [
        [],
        [Epoch((1.0,), (500,))],
        [Epoch((0.5, 0.5), (10, 12))],
        [Epoch((0.999, 0.001), (500, 0))],
        [Epoch((1.0, 0.0), (500, 0))],
    ],
)
def test_too_little_to_tell_is_none(epochs: list[Epoch]) -> None:
    """No epochs, one arm, a variance below 10, a split without any chance."""
    assert allocation_check(epochs) is None


@pytest.mark.parametrize(
    "epochs",
    [[Epoch((0.5, 0.6), (1, 1))], [Epoch((0.5, 0.5), (1, 1)), Epoch((1.0,), (1,))], [Epoch((1.5, -0.5), (1, 1))]],
)
def test_impossible_epochs_are_refused(epochs: list[Epoch]) -> None:
    """Propensities that are none, or arms that differ."""
    with pytest.raises(ValueError, match="propensit"):
        allocation_check(epochs)


def test_drift_has_its_documented_figure() -> None:
    """9/180, 14/240, 6/150, 22/260: X = 4.0657080, p as scipy's contingency table has it."""
    days = [(180, 9), (240, 14), (150, 6), (260, 22)]
    table = [[s for _, s in days], [n - s for n, s in days]]

    found = drift([days])

    assert found is not None
    assert found.p_value == pytest.approx(float(stats.chi2(3).sf(4.0657080)), abs=5e-8)
    assert found.p_value == pytest.approx(float(stats.chi2_contingency(table, correction=False).pvalue), rel=1e-12)
    assert not found.detected


def test_the_smallest_of_several_arms_counts_for_all() -> None:
    """Bonferroni: twice the p value with two arms, never above 1."""
    days = [(180, 9), (240, 14), (150, 6), (260, 22)]
    alone, beside, both = drift([days]), drift([days, [(1000, 50), (1000, 50)]]), drift([[(1000, 50), (1000, 50)]] * 3)

    assert alone is not None
    assert beside is not None
    assert both is not None
    assert beside.p_value == pytest.approx(2 * alone.p_value)
    assert 1.0 == both.p_value


def test_small_days_are_merged_with_their_neighbours() -> None:
    """Days that expect fewer than 5 conversions make groups together, the rest joins the last."""
    found = drift([[(50, 3), (50, 3), (50, 2), (50, 8), (50, 1)]])

    table = [[6, 11], [94, 139]]
    assert found is not None
    assert found.p_value == pytest.approx(float(stats.chi2_contingency(table, correction=False).pvalue), rel=1e-12)


def test_a_changed_rate_is_detected() -> None:
    """From 10 % to 3 % half way."""
    found = drift([[(200, 20)] * 15 + [(200, 6)] * 15])

    assert found is not None
    assert found.detected


@pytest.mark.parametrize(
    "arms", [[], [[]], [[(100, 0), (100, 0)]], [[(100, 100)] * 3], [[(100, 6)]], [[(10, 1), (10, 1)]]]
)
def test_without_two_groups_there_is_no_drift(arms: list[list[tuple[int, int]]]) -> None:
    """Nothing, nobody converted, everybody did, one group only."""
    assert drift(arms) is None


def test_the_corrected_rate_has_its_documented_figures() -> None:
    """Q = .0429076479, se .0191047349."""
    found = corrected_rate(ARM)

    assert isinstance(found, Corrected)
    assert found.rate == pytest.approx(0.0429076479, abs=5e-11)
    assert (found.interval95[1] - found.rate) / 1.959964 == pytest.approx(0.0191047349, abs=4e-9)
    assert "aipw" == found.method


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(300, 900), st.floats(0.05, 1.0), st.floats(0.05, 0.5)), min_size=1, max_size=6),
    st.integers(0, 2**31),
)
def test_single_scores_give_the_same(plan: list[tuple[int, float, float]], seed: int) -> None:
    """One score for each subject, mean and variance from the rows."""
    rng = np.random.default_rng(seed)
    epochs, scores, reached, goals = [], [], 0, 0
    for routed, propensity, rate in plan:
        chosen = rng.random(routed) < propensity
        converted = (rng.random(routed) < rate) & chosen
        guess = (goals + 1) / (reached + 2)
        scores.append(guess + chosen * (converted - guess) / propensity)
        epochs.append(ArmEpoch(routed, int(chosen.sum()), int(converted.sum()), propensity))
        reached, goals = reached + int(chosen.sum()), goals + int(converted.sum())
    rows = np.concatenate(scores)

    found = corrected_rate(epochs)

    if reached < 200 or goals < 5:
        assert "too_few_matured" == found
    else:
        assert isinstance(found, Corrected)
        half = 1.959964 * np.sqrt(((rows - rows.mean()) ** 2).sum()) / len(rows)
        assert found.rate == pytest.approx(min(1.0, rows.mean()), abs=1e-12)
        assert found.interval95 == pytest.approx((max(0, rows.mean() - half), min(1, rows.mean() + half)), abs=1e-12)


@pytest.mark.parametrize(
    ("epochs", "reason"),
    [
        ([], "too_few_matured"),
        ([ArmEpoch(600, 199, 50, 1 / 3)], "too_few_matured"),
        ([ArmEpoch(600, 300, 4, 0.5)], "too_few_matured"),
        ([ArmEpoch(600, 300, 40, 0.5), ArmEpoch(600, 3, 0, 0.0149)], "propensity_below_0.015"),
    ],
)
def test_why_there_is_no_corrected_rate(epochs: list[ArmEpoch], reason: str) -> None:
    """The reason, not a number."""
    assert reason == corrected_rate(epochs)


def test_an_epoch_without_anybody_says_nothing() -> None:
    """Not even by its propensity."""
    assert corrected_rate(ARM) == corrected_rate([ARM[0], ArmEpoch(0, 0, 0, 0.001), ARM[1]])


@pytest.mark.parametrize("epoch", [ArmEpoch(5, 6, 0, 0.5), ArmEpoch(5, 4, 5, 0.5), ArmEpoch(5, 4, 1, 1.5)])
def test_impossible_arm_epochs_are_refused(epoch: ArmEpoch) -> None:
    """More reached than routed, more goals than reached, a propensity that is none."""
    with pytest.raises(ValueError, match=r"counts|propensity"):
        corrected_rate([epoch])
