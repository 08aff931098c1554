"""Arms: probabilities and losses against 40 digits, fractions, finite sums and brute force; edges and properties."""

import math
from hashlib import blake2b
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import betaincinv

from services.domain.stats import arms as arms_module
from services.domain.stats.arms import compare_arms, compare_many, potential_value_remaining95
from services.domain.stats.counts import Count
from services.domain.stats.routing import routing_weights
from tests.unit.domain.stats import oracles

EXAMPLE = [(620, 37), (655, 22), (598, 41)]
BILLION = 10**9

# Whole decades, so that tiny and huge arms meet.
counts = (
    st.integers(0, 9)
    .flatmap(lambda decade: st.integers(0, 10**decade))
    .flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))
)
branches = st.lists(counts, min_size=1, max_size=5)


def test_the_worked_example_has_its_figures() -> None:
    """Three arms, against 40-digit quadrature noted beforehand."""
    found = compare_arms(EXAMPLE)

    assert found.probability_best == pytest.approx((0.263722120788, 0.000613589150, 0.735664290062), abs=5e-13)
    assert found.expected_loss == pytest.approx((0.011169991060, 0.037255628299, 0.002263238649), abs=5e-13)
    assert 2 == found.leader


@pytest.mark.parametrize(
    "arms",
    [
        EXAMPLE,
        [(50, 0), (60, 0), (40, 1)],
        [(200, 200), (180, 179)],
        [(BILLION, 60_000_000), (BILLION, 60_010_000), (BILLION - 5, 59_990_000)],
        [(1_000_000, 0), (1_200_000, 1)],
        [(400, 10), (410, 60)],
    ],
)
def test_forty_digits_agree(arms: list[Count]) -> None:
    """Probabilities within 1e-10, losses within 1e-9 of themselves."""
    probabilities, losses = oracles.best(arms)

    found = compare_arms(arms)

    assert found.probability_best == pytest.approx([float(p) for p in probabilities], abs=1e-10, rel=0)
    assert found.expected_loss == pytest.approx([float(loss) for loss in losses], rel=1e-9, abs=1e-18)


@pytest.mark.parametrize(
    "arms",
    [
        [(0, 0), (3, 0), (1, 1)],
        [(0, 0), (0, 0)],
        [(1, 0), (1, 1)],
        [(5, 5), (4, 0), (3, 2), (6, 1)],
        [(7, 7), (7, 7), (7, 7)],
        [(2, 0), (2, 0), (2, 0), (2, 0), (9, 0)],
    ],
)
def test_fractions_agree_for_tiny_counts(arms: list[Count]) -> None:
    """Whole counts make polynomials, which are integrated exactly."""
    probabilities, losses = oracles.exact_best(arms)

    found = compare_arms(arms)

    assert found.probability_best == pytest.approx([float(p) for p in probabilities], rel=1e-12)
    assert found.expected_loss == pytest.approx([float(loss) for loss in losses], rel=1e-12)


def test_the_documented_fractions() -> None:
    """0/0, 0/3, 1/1 win with 34/105, 1/35, 68/105."""
    assert compare_arms([(0, 0), (3, 0), (1, 1)]).probability_best == pytest.approx(
        (34 / 105, 1 / 35, 68 / 105), abs=1e-14
    )


@pytest.mark.parametrize(("first", "second"), [((620, 37), (598, 41)), ((90, 0), (80, 3)), ((2000, 1900), (500, 480))])
def test_the_finite_sum_agrees(first: Count, second: Count) -> None:
    """Two arms, by Miller's sum."""
    assert compare_arms([first, second]).probability_best[1] == pytest.approx(
        float(oracles.beats(first, second)), abs=1e-12
    )


def test_the_finite_sum_has_its_documented_figure() -> None:
    """37/620 against 41/598: .7360448888."""
    assert 0.7360448888 == pytest.approx(compare_arms([(620, 37), (598, 41)]).probability_best[1], abs=5e-11)


def test_a_brute_grid_over_both_rates_agrees() -> None:
    """Every pair of 3,000 by 3,000 cells, summed."""
    rates = (np.arange(3000) + 0.5) / 3000
    first, second = (stats.beta(s + 1, n - s + 1).pdf(rates) / 3000 for n, s in ((40, 8), (30, 9)))
    joint = first[:, None] * second[None, :]
    difference = rates[:, None] - rates[None, :]

    found = compare_arms([(40, 8), (30, 9)])

    assert found.probability_best[0] == pytest.approx(
        joint[difference > 0].sum() + joint[difference == 0].sum() / 2, abs=1e-6
    )
    assert found.expected_loss[0] == pytest.approx(-(joint * np.minimum(difference, 0)).sum(), abs=1e-6)


def test_highest_of_one_posterior_draw_an_arm_follows_the_win_probabilities() -> None:
    """Hashed draws through betaincinv, the highest wins: 60,000 ids fit the weights."""
    digests = [blake2b(f"usr_{k}".encode(), digest_size=24).digest() for k in range(60_000)]
    draws = np.frombuffer(b"".join(digests), dtype=">u8").reshape(-1, 3) / 2**64
    theta = np.stack([betaincinv(s + 1, n - s + 1, draws[:, k]) for k, (n, s) in enumerate(EXAMPLE)])
    wins = np.bincount(theta.argmax(axis=0), minlength=3)

    expected = np.array(compare_arms(EXAMPLE).probability_best) * len(digests)

    assert stats.chisquare(wins, expected * (wins.sum() / expected.sum())).pvalue > 0.001


@pytest.mark.parametrize("arms", [[(0, 0)] * 3, [(50, 0)] * 50, [(50, 50)] * 50, [(50, 0)] * 200, [(BILLION, 7)] * 4])
def test_equal_arms_are_equal(arms: list[Count]) -> None:
    """1/K each within 1e-10, exactly equal among themselves; the first leads."""
    found = compare_arms(arms)

    assert found.probability_best == pytest.approx([1 / len(arms)] * len(arms), abs=1e-10)
    assert 1 == len(set(found.probability_best)) == len(set(found.expected_loss))
    assert 0 == found.leader


def test_one_arm_is_best() -> None:
    """Nothing to lose where there is no choice."""
    found = compare_arms([(10, 3)])

    assert ((1.0,), (0.0,), 0) == (found.probability_best, found.expected_loss, found.leader)


def test_far_apart_arms_lose_their_distance() -> None:
    """All of 1e9 beside none of 1e9."""
    found = compare_arms([(BILLION, BILLION), (BILLION, 0)])

    assert found.probability_best == pytest.approx((1, 0), abs=1e-15)
    assert found.expected_loss == pytest.approx((0, 1), abs=1e-8)


def test_two_hundred_beside_a_billion() -> None:
    """A wide and a very narrow posterior: the narrow one is a point to the wide one."""
    wide = stats.beta(11, 191)

    found = compare_arms([(200, 10), (BILLION, 60_000_000)])

    assert found.probability_best[0] == pytest.approx(wide.sf(0.06), abs=1e-5)
    assert found.probability_best[0] == pytest.approx(0.3343236866888543, abs=1e-10)


@settings(max_examples=60, deadline=None)
@given(branches)
def test_probabilities_sum_to_one_and_losses_differ_by_the_means(arms: list[Count]) -> None:
    """E[max - theta_i] - E[max - theta_j] is the difference of the posterior means, at every size."""
    found = compare_arms(arms)

    assert math.fsum(found.probability_best) == pytest.approx(1, abs=1e-10)
    assert all(0 <= p <= 1 + 1e-12 for p in found.probability_best)
    assert all(0 <= loss <= 1 for loss in found.expected_loss)
    means = [(s + 1) / (n + 2) for n, s in arms]
    for mean, loss in zip(means, found.expected_loss, strict=True):
        assert loss - found.expected_loss[0] == pytest.approx(means[0] - mean, abs=1e-10)


@settings(max_examples=25, deadline=None)
@given(st.lists(counts, min_size=2, max_size=3))
def test_the_order_of_the_arms_changes_nothing(arms: list[Count]) -> None:
    """Each permutation gives the very same doubles, permuted."""
    found = dict(zip(arms, compare_arms(arms).probability_best, strict=True))

    for order in permutations(arms):
        assert [found[arm] for arm in order] == list(compare_arms(order).probability_best)


@settings(max_examples=30, deadline=None)
@given(branches.filter(lambda arms: len(arms) > 1 and arms[0][1] < arms[0][0]))
def test_one_more_conversion_never_makes_an_arm_worse(arms: list[Count]) -> None:
    """P(best) rises with the arm's own goals."""
    better = [(arms[0][0], arms[0][1] + 1), *arms[1:]]

    assert compare_arms(better).probability_best[0] >= compare_arms(arms).probability_best[0] - 1e-10


@settings(max_examples=15, deadline=None)
@given(st.lists(branches, max_size=6))
def test_many_at_once_are_as_one_by_one(several: list[list[Count]]) -> None:
    """A batch gives what single calls give, up to the last digits."""
    together = compare_many(several)

    for arms, found in zip(several, together, strict=True):
        arms_module._memory.clear()
        alone = compare_arms(arms)
        assert found.probability_best == pytest.approx(alone.probability_best, abs=1e-11)
        assert found.expected_loss == pytest.approx(alone.expected_loss, abs=1e-11)


def test_counts_seen_before_are_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """In any order of the arms, alone or among others; and the memory does not grow without end."""
    monkeypatch.setattr(arms_module, "_memory", {})
    monkeypatch.setattr(arms_module, "_REMEMBERED", 3)
    before = compare_arms(EXAMPLE)
    computed: list[object] = []

    def counted(keys: list[tuple[Count, ...]]) -> list[dict[Count, tuple[float, float]]]:
        computed.extend(keys)
        return [dict.fromkeys(key, (0.5, 0.0)) for key in keys]

    monkeypatch.setattr(arms_module, "_solved_branches", counted)

    assert before == compare_arms(EXAMPLE)
    assert before.probability_best[::-1] == compare_many([EXAMPLE[::-1]])[0].probability_best
    assert [] == computed
    compare_many([[(n, 0), (n, 1)] for n in range(1, 9)])
    assert 3 >= len(arms_module._memory)


@pytest.mark.parametrize("arms", [[], [(3, 4)], [(-1, 0)], [(BILLION + 1, 0)], [(3, -1)]])
def test_impossible_counts_are_refused(arms: list[Count]) -> None:
    """More goals than reached, negative, above 1e9, or no arm."""
    with pytest.raises(ValueError, match="must"):
        compare_arms(arms)


def test_the_value_remaining_has_its_documented_figure() -> None:
    """.24632193, and 1e6 posterior draws say the same within their noise."""
    rng = np.random.default_rng(20261124)
    draws = np.stack([rng.beta(s + 1, n - s + 1, 1_000_000) for n, s in EXAMPLE])
    by_draws = float(np.quantile(draws.max(axis=0) / draws[2] - 1, 0.95))

    found = potential_value_remaining95(EXAMPLE)

    assert 0.24632193 == pytest.approx(found, abs=5e-9)
    assert by_draws == pytest.approx(found, abs=0.003)


@pytest.mark.parametrize("arms", [EXAMPLE, [(BILLION, 60_000_000), (BILLION, 60_000_100)], [(300, 0), (310, 0)]])
def test_the_value_remaining_is_a_quantile_to_forty_digits(arms: list[Count]) -> None:
    """P(max <= (1 + v) leader) = .95 at the v that was found."""
    found = compare_arms(arms)
    betas = [oracles.Beta(s + 1, n - s + 1) for n, s in arms]
    leader = betas.pop(found.leader)

    covered = oracles.all_below(betas, leader, 1 + potential_value_remaining95(arms))

    assert 0.95 == pytest.approx(float(covered), abs=1e-9)


def test_nothing_remains_where_the_leader_is_certain() -> None:
    """0 from a win probability of .95 on, and with one arm."""
    assert 0.0 == potential_value_remaining95([(1000, 900), (1000, 10)])
    assert 0.0 == potential_value_remaining95([(5, 1)])


@pytest.mark.parametrize("arms", [[(0, 0)] * 2, [(1, 1)] * 50, [(BILLION, 0)] * 3, [(200, 10), (BILLION, 60_000_000)]])
def test_the_value_remaining_is_finite_at_the_edges(arms: list[Count]) -> None:
    """A number, whatever the counts."""
    assert 0 <= potential_value_remaining95(arms) < 1e6


def test_routing_weights_have_their_documented_figures() -> None:
    """e = .05 over the worked example."""
    found = routing_weights(EXAMPLE, 0.05)

    assert found.weights == pytest.approx((0.267202681, 0.017249576, 0.715547742), abs=5e-10)
    assert found.win == compare_arms(EXAMPLE).probability_best


@settings(max_examples=40, deadline=None)
@given(branches, st.floats(0, 1))
def test_routing_weights_keep_their_floor_and_sum(arms: list[Count], floor: float) -> None:
    """Each at least e / K, together 1."""
    found = routing_weights(arms, floor)

    assert math.fsum(found.weights) == pytest.approx(1, abs=1e-10)
    assert min(found.weights) >= floor / len(arms) - 1e-15


@pytest.mark.parametrize("floor", [-0.1, 1.1, math.nan])
def test_an_impossible_floor_is_refused(floor: float) -> None:
    """A share lies in [0, 1]."""
    with pytest.raises(ValueError, match="floor"):
        routing_weights(EXAMPLE, floor)
