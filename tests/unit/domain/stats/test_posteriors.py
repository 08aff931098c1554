"""The ground under arms and lift: tails against scipy, and the self-check that guards every number."""

import numpy as np
import pytest
from scipy.special import betainc
from scipy.stats import norm

from services.domain.stats import arms, roots
from services.domain.stats.counts import Unsolved
from services.domain.stats.posteriors import Panels, Posteriors, panels, posteriors


@pytest.mark.parametrize(
    ("a", "b"), [(38.0, 584.0), (0.5, 0.5), (1.0, 1.0), (1.5, 0.5), (3.0, 90.0), (1e3, 1e4), (6e5, 9.4e6)]
)
def test_both_tails_are_those_of_the_incomplete_beta_function(a: float, b: float) -> None:
    """Absolutely within 1e-11, relatively within 1e-8 down to 1e-9."""
    found = posteriors([a], [b])
    axis = panels(found.knots)
    below, above, mass = axis.tails(found.density(axis.x, axis.complement))
    left = axis.x < a / (a + b)
    exact_below, exact_above = betainc(a, b, axis.x), betainc(b, a, axis.complement)

    assert mass[0] == pytest.approx(1, abs=1e-11)
    assert below[left] == pytest.approx(exact_below[left], abs=1e-11, rel=0)
    assert above[~left] == pytest.approx(exact_above[~left], abs=1e-11, rel=0)
    for ours, theirs in ((below[left], exact_below[left]), (above[~left], exact_above[~left])):
        assert ours[theirs > 1e-9] == pytest.approx(theirs[theirs > 1e-9], rel=1e-8)


@pytest.mark.parametrize(
    ("a", "b"), [(0.5, 1e9 + 0.5), (1.0, 1e9 + 1), (6e7, 9.4e8), (5e8, 5e8), (1e9 + 0.5, 0.5), (0.5, 0.5)]
)
def test_the_mass_is_one_up_to_a_billion(a: float, b: float) -> None:
    """The exact normaliser and the panels know nothing of each other."""
    found = posteriors([a], [b])
    axis = panels(found.knots)

    assert axis.integral(found.density(axis.x, axis.complement))[0] == pytest.approx(1, abs=1e-11)


def test_panels_follow_one_another() -> None:
    """Each starts where the former ends, none is longer than 2, and finer ones are shorter."""
    knots = posteriors([5.0, 2e5], [40.0, 1.0]).knots
    for finer in (1, 4):
        axis = panels(knots, finer)
        middles = (axis.t[..., :1] + axis.t[..., -1:])[..., 0] / 2
        used = axis.half > 0

        assert 2 * axis.half.max() <= 2 / finer + 1e-12
        for row in range(2):
            ends = (middles + axis.half)[row][used[row]]
            starts = (middles - axis.half)[row][used[row]]
            assert starts[1:] == pytest.approx(ends[:-1], abs=1e-9)


def test_a_density_that_the_panels_do_not_see_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a wrong number: breakpoints that miss an arm end in Unsolved."""
    found = posteriors([61.0], [941.0]).knots

    def blind(knots: np.ndarray, finer: int = 1) -> Panels:
        return panels(np.repeat(found + 3.0, len(knots), axis=0), finer)

    monkeypatch.setattr(arms, "panels", blind)
    monkeypatch.setattr(arms, "_memory", {})

    with pytest.raises(Unsolved, match="miss their check"):
        arms.compare_many([[(1000, 60), (1000, 61)]])


def test_finer_panels_are_tried_before_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Panels that are too coarse at first are halved until the check holds."""
    asked: list[int] = []

    def coarse(knots: np.ndarray, finer: int = 1) -> Panels:
        asked.append(finer)
        return panels(np.stack([knots.min(axis=-1), knots.max(axis=-1)], axis=-1) if finer == 1 else knots, finer)

    monkeypatch.setattr(arms, "panels", coarse)
    monkeypatch.setattr(arms, "_memory", {})
    found = arms.compare_many([[(100_000, 6_000), (100_000, 6_100)]])[0]

    assert [1, 2] == asked[:2]
    assert sum(found.probability_best) == pytest.approx(1, abs=1e-11)


def test_quantiles_of_a_known_curve() -> None:
    """The root finder on a normal's own curve, from a bad start."""

    def curve(at: np.ndarray, _finer: int) -> roots.Curve:
        return norm.cdf(at, 3, 0.5), norm.pdf(at, 3, 0.5), np.zeros_like(at)

    levels = np.array([0.025, 0.5, 0.975])
    found = roots.solved_quantiles(curve, levels, np.array([-4.0, 40.0, 3.1]), np.ones(3))

    assert found == pytest.approx(norm.ppf(levels, 3, 0.5), abs=1e-11)


def test_a_flat_place_is_not_taken_for_a_root() -> None:
    """Far out steps are 0 for want of a density; the search goes on from there."""

    def curve(at: np.ndarray, _finer: int) -> roots.Curve:
        return norm.cdf(at), norm.pdf(at), np.zeros_like(at)

    found = roots.solved_quantiles(curve, np.array([0.025]), np.array([-60.0]), np.ones(1))

    assert found[0] == pytest.approx(norm.ppf(0.025), abs=1e-11)


def test_a_curve_that_misses_its_check_is_an_error() -> None:
    """However fine the panels."""

    def curve(at: np.ndarray, _finer: int) -> roots.Curve:
        return 1 / (1 + np.exp(-at)), np.exp(-at) / (1 + np.exp(-at)) ** 2, np.full_like(at, 1e-6)

    with pytest.raises(Unsolved, match="misses its check"):
        roots.solved_quantiles(curve, np.array([0.3]), np.zeros(1), np.ones(1))


def test_a_curve_that_never_reaches_its_level_is_an_error() -> None:
    """Sixty steps, no endless loop."""

    def curve(at: np.ndarray, _finer: int) -> roots.Curve:
        return np.full_like(at, 0.5), np.full_like(at, 1e-3), np.zeros_like(at)

    with pytest.raises(Unsolved, match="60 steps"):
        roots.solved_quantiles(curve, np.array([0.9]), np.zeros(1), np.ones(1))


def test_chosen_rows_come_from_either() -> None:
    """`where` mixes two sets of posteriors, breakpoints padded to one length."""
    first, second = posteriors([1.0, 50.0], [30.0, 900.0]), posteriors([0.5, 3e6], [0.5, 5e7])
    mixed: Posteriors = first.where(np.array([True, False]), second)

    assert [1.0, 3e6] == mixed.a.tolist()
    for row, source in enumerate((first, second)):
        assert set(source.knots[row]) == set(mixed.knots[row])
