"""Print the calibration tables of docs/statistics: does each interval cover, does each test hold its rate?

    python scripts/statistics_tables.py                      all tables, some minutes
    python scripts/statistics_tables.py regret lift          some of them
    python scripts/statistics_tables.py --quick              tiny sizes, seconds: only to see that the program runs
    python scripts/statistics_tables.py --write              into docs/statistics as well

Everything is drawn from numpy's default generator with the seed below and concluded by `services.domain.stats`, the
code that the product runs. The tables name what is expected; nothing here fails on a number.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from services.domain.stats.arms import compare_many
from services.domain.stats.checks import Epoch, allocation_check, drift
from services.domain.stats.corrected import ArmEpoch, Corrected, corrected_rate
from services.domain.stats.lift import always_valid_lift, lift_intervals95, minimum_detectable_lift80
from services.domain.stats.rates import always_valid_interval95, credible_interval95
from services.domain.stats.sample_ratio import Stretch, sample_ratio

SEED = 20261124
FOLDER = Path(__file__).resolve().parent.parent / "docs" / "statistics"
DAYS, ARRIVALS, WINDOW, FLOOR = 60, 200, 7, 200

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """One table: its title, what was done, the head and the rows."""

    title: str
    text: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def __str__(self) -> str:
        lines = [f"## {self.title}", "", self.text, "", _line(self.head), _line(["---"] * len(self.head))]
        return "\n".join([*lines, *(_line(row) for row in self.rows), ""])


def main(arguments: Sequence[str]) -> int:
    """Print the chosen tables."""
    parser = argparse.ArgumentParser(description="Print the calibration tables of docs/statistics.")
    parser.add_argument("names", nargs="*", help="tables to print; all if none is named")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only to see that the program runs")
    parser.add_argument("--write", action="store_true", help="write docs/statistics/<table>.md as well")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args(arguments)
    for name in options.names or TABLES:
        begun = time.perf_counter()
        tables = list(TABLES[name](options.quick, options.seed))
        command = (
            f"python scripts/statistics_tables.py {name}{' --quick' if options.quick else ''} --seed {options.seed}"
        )
        page = "\n".join([f"# {HEADINGS[name]}", "", f"Made by `{command}`.", "", *map(str, tables)])
        print(page, flush=True)
        print(f"({name}: {time.perf_counter() - begun:.0f} s)\n", file=sys.stderr, flush=True)
        if options.write:
            (FOLDER / f"{name}.md").write_text(page)
    return 0


# --- the journey protocol ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """Many runs of the protocol at once: (days, runs, arms) each; regret (runs,)."""

    propensities: Floats
    reached: Ints
    goals: Ints
    regret: Floats


def protocol(rates: Sequence[float], speeds: Sequence[float], feed: str, floor: float, runs: int, seed: int) -> Run:
    """60 days of 200 arrivals, a snapshot at each day's start; `feed` says what the posterior is fed with.

    An arm converts with its rate within 7 days, j days after routing with probability proportional to q (1 - q)^j.
    matured: cohorts whose window has closed; pending: all, those not yet converted as failures; bound: no delay.
    """
    rng = np.random.default_rng(seed)
    mu, arms = np.array(rates), len(rates)
    delays = np.array([[q * (1 - q) ** j for j in range(WINDOW)] for q in speeds])
    delays /= delays.sum(axis=1, keepdims=True)
    reached, goals = np.zeros((DAYS, runs, arms), np.int64), np.zeros((DAYS, runs, arms), np.int64)
    booked = np.zeros((DAYS + WINDOW, runs, arms), np.int64)
    propensities = np.empty((DAYS, runs, arms))
    for day in range(DAYS):
        known = slice(0, max(0, day - WINDOW + 1)) if feed == "matured" else slice(0, day)
        seen_n = reached[known].sum(axis=0)
        seen_s = booked[:day].sum(axis=0) if feed == "pending" else goals[known].sum(axis=0)
        weights = _weights(seen_n, seen_s, floor)
        cold = (reached[:day].sum(axis=0) < FLOOR).any(axis=1)
        propensities[day] = np.where(cold[:, None], 1 / arms, weights)
        reached[day] = rng.multinomial(ARRIVALS, propensities[day])
        goals[day] = rng.binomial(reached[day], mu)
        for arm in range(arms):
            booked[day : day + WINDOW, :, arm] += rng.multinomial(goals[day, :, arm], delays[arm]).T
    regret = (reached.sum(axis=0) * (mu.max() - mu)).sum(axis=1)
    return Run(propensities, reached, goals, regret)


def _weights(reached: Ints, goals: Ints, floor: float) -> Floats:
    """The product's routing weights for every run."""
    branches = [list(zip(n, s, strict=True)) for n, s in zip(reached.tolist(), goals.tolist(), strict=True)]
    wins = np.array([comparison.probability_best for comparison in compare_many(branches)])
    wins = floor / wins.shape[1] + (1 - floor) * wins
    return wins / wins.sum(axis=1, keepdims=True)


def regret(quick: bool, seed: int) -> Iterator[Table]:
    """The regret of section "journey protocol": what routing costs against always choosing the best arm."""
    runs = 4 if quick else 1600
    main, close = (0.0718, 0.0455, 0.055), (0.055, 0.05, 0.05)
    columns = [(main, (0.3,) * 3), (main, (0.05, 0.6, 0.6)), (close, (0.05, 0.6, 0.6))]
    wanted = {
        ("matured", 0.0): (45.7, 45.6, 30.1),
        ("matured", 0.05): (51.5, 52.0, 30.9),
        ("pending", 0.0): (44.5, 72.4, 39.6),
    }
    rows = []
    for feed, floor in (("bound", 0.0), ("matured", 0.0), ("matured", 0.05), ("pending", 0.0)):
        cells = []
        for k, (rates, speeds) in enumerate(columns):
            if feed == "bound" and k:
                cells.append("")
                continue
            lost = protocol(rates, speeds, feed, floor, runs, seed).regret
            before = wanted.get((feed, floor), (34.6,) * 3)[k]
            cells.append(f"{lost.mean():.1f} ± {lost.std() / runs**0.5:.2f} ({lost.mean() / before - 1:+.1%})")
        rows.append((f"{feed}, e = {floor:g}", *cells))
    rows.append(("uniform allocation", *(f"{ARRIVALS * DAYS * (max(r) - sum(r) / 3):.1f}" for r, _ in columns)))
    text = (
        f"Regret in conversions over {DAYS} days of {ARRIVALS} arrivals, window {WINDOW} days, floor {FLOOR}, {runs:,} runs; "
        "mean ± standard error (difference to the prototype's figure). *matured* is the product's way; e = .05 is what users "
        "get by default. Columns: rates .0718/.0455/.055, all arms equally fast (q = .3); the best arm slow (q = .05, others "
        ".6); the same with rates .055/.05/.05. Weights by `compare_many`, the product's snapshot code."
    )
    yield Table(
        "Journey protocol", text, ("posterior fed with", "equally fast", "best arm slow", "slow, close rates"), rows
    )


def adaptive(quick: bool, seed: int) -> Iterator[Table]:
    """What adaptive routing does to intervals and tests."""
    runs = 4 if quick else 1500
    rates = (0.06, 0.045, 0.05)
    run = protocol(rates, (0.3,) * 3, "matured", 0.05, runs, seed)
    total_n, total_s = run.reached.sum(axis=0), run.goals.sum(axis=0)
    plain, corrected, covered, covered_plain, ever_missed, missing = ([[] for _ in rates] for _ in range(6))
    checks, drifts = [], []
    for r in range(runs):
        propensities, reached, goals = run.propensities[:, r], run.reached[:, r], run.goals[:, r]
        # A snapshot a day; the cold-start days are one epoch.
        epochs = [Epoch(tuple(p), tuple(n)) for p, n in zip(propensities.tolist(), reached.tolist(), strict=True)]
        if (check := allocation_check(epochs)) is not None:
            checks.append(check.p_value)
        if (
            changed := drift([list(zip(reached[:, k].tolist(), goals[:, k].tolist(), strict=True)) for k in range(3)])
        ) is not None:
            drifts.append(changed.p_value)
        sums_n, sums_s = reached.cumsum(axis=0).tolist(), goals.cumsum(axis=0).tolist()
        for k, rate in enumerate(rates):
            n, s = int(total_n[r, k]), int(total_s[r, k])
            plain[k].append(s / n)
            low, high = credible_interval95(s, n)
            covered_plain[k].append(low <= rate <= high)
            valid = (always_valid_interval95(sums_s[d][k], sums_n[d][k]) for d in range(DAYS))
            ever_missed[k].append(any(not low <= rate <= high for low, high in valid))
            found = corrected_rate(
                [
                    ArmEpoch(ARRIVALS, n, s, p)
                    for n, s, p in zip(
                        reached[:, k].tolist(), goals[:, k].tolist(), propensities[:, k].tolist(), strict=True
                    )
                ]
            )
            missing[k].append(not isinstance(found, Corrected))
            if isinstance(found, Corrected):
                corrected[k].append(found.rate)
                covered[k].append(found.interval95[0] <= rate <= found.interval95[1])
    setting = (
        f"Arms .06/.045/.05, e = .05, {DAYS} days of {ARRIVALS}, floor {FLOOR}, fed with matured counts, {runs:,} runs."
    )
    yield Table(
        "Rates under adaptive routing",
        setting
        + " Relative bias of the mean, and how often the 95 % interval covers; `corrected` where it is not null.",
        ("arm", "plain bias", "credibleInterval95 covers", "corrected bias", "corrected covers", "corrected null"),
        [
            (
                f"{rate:g}",
                f"{np.mean(plain[k]) / rate - 1:+.1%}",
                _share(covered_plain[k]),
                f"{np.mean(corrected[k]) / rate - 1:+.1%}" if corrected[k] else "",
                _share(covered[k]),
                f"{np.mean(missing[k]):.1%}",
            )
            for k, rate in enumerate(rates)
        ],
    )
    yield Table(
        "alwaysValidInterval95 under adaptive routing",
        setting
        + " Share of runs in which the interval of the arm misses its rate on any of the 60 evenings; below 5 % is promised.",
        ("arm", "missed on any day"),
        [(f"{rate:g}", _share(ever_missed[k])) for k, rate in enumerate(rates)],
    )
    yield Table(
        "A/A rates under adaptive routing",
        setting + " Nothing was wrong in any run: share of p values below the level, ± standard error.",
        ("test", "below .05", "below .01", "below .001"),
        [("allocationCheck", *_levels(checks)), ("drift (Bonferroni over 3 arms)", *_levels(drifts))],
    )


def rates(quick: bool, seed: int) -> Iterator[Table]:
    """Intervals of one rate."""
    rows = []
    for n in (200, 620) if quick else (200, 620, 2000, 10_000):
        cells = []
        for rate in (0.01, 0.03, 0.06, 0.2, 0.5):
            s = np.arange(n + 1)
            log_mass = (
                gammaln(n + 1) - gammaln(s + 1) - gammaln(n - s + 1) + s * np.log(rate) + (n - s) * np.log1p(-rate)
            )
            likely = np.flatnonzero(log_mass > -35)
            inside = [low <= rate <= high for low, high in (credible_interval95(int(k), n) for k in likely)]
            cells.append(f"{np.exp(log_mass[likely])[inside].sum():.3f}")
        rows.append((f"{n:,}", *cells))
    text = (
        "Exact: the binomial probability of all counts whose interval (rounded to 4 decimals, as shown) holds the rate."
    )
    yield Table(
        "credibleInterval95, fixed number of subjects", text, ("reached", ".01", ".03", ".06", ".2", ".5"), rows
    )

    runs, looks, step = (4, 5, 20) if quick else (2000, 100, 20)
    rng = np.random.default_rng(seed)
    found = []
    for rate in (0.01, 0.06, 0.2):
        sums = rng.binomial(step, rate, (runs, looks)).cumsum(axis=1).tolist()
        reached = [step * (look + 1) for look in range(looks)]
        pairs = [[(s, n) for s, n in zip(row, reached, strict=True)] for row in sums]
        valid = [any(not _holds(always_valid_interval95(s, n), rate) for s, n in row) for row in pairs]
        plain = [any(not _holds(credible_interval95(s, n), rate) for s, n in row) for row in pairs]
        found.append((f"{rate:g}", _share(valid), _share(plain)))
    text = (
        f"Share of {runs:,} runs in which the interval misses at any of {looks} looks, one after each {step} subjects."
    )
    yield Table(
        "Looking again and again at one rate", text, ("rate", "alwaysValidInterval95", "credibleInterval95"), found
    )


def lift(quick: bool, seed: int) -> Iterator[Table]:
    """Intervals of the lift."""
    rng = np.random.default_rng(seed)
    runs = 8 if quick else 4000
    rows = []
    for exposed_rate, holdout_rate, exposed_n, holdout_n in (
        (0.08, 0.05, 1900, 100),
        (0.05, 0.05, 4000, 200),
        (0.12, 0.12, 950, 50),
        (0.12, 0.12, 950, 100),
        (0.02, 0.015, 9500, 500),
        (0.02, 0.015, 19_000, 1000),
        (0.0686, 0.05, 6240, 330),
        (0.3, 0.2, 900, 100),
        (0.3, 0.3, 500, 500),
        (0.9, 0.8, 950, 50),
        (0.002, 0.001, 1_000_000, 50_000),
    ):
        e, h = rng.binomial(exposed_n, exposed_rate, runs), rng.binomial(holdout_n, holdout_rate, runs)
        found = np.array(
            lift_intervals95([((exposed_n, s), (holdout_n, z)) for s, z in zip(e.tolist(), h.tolist(), strict=True)])
        )
        truth = exposed_rate / holdout_rate - 1
        below, above = truth < found[:, 0], truth > found[:, 1]
        rows.append(
            (
                f"{exposed_rate:g} / {holdout_rate:g}",
                f"{exposed_n:,} / {holdout_n:,}",
                f"{holdout_n * holdout_rate:g}",
                f"{below.mean():.3f}",
                f"{above.mean():.3f}",
                _share(~(below | above)),
            )
        )
    text = (
        f"{runs:,} runs each. How often the true lift lies below and above the interval (2.5 % each would be even), and in it. "
        "Accepted: 94 to 96 % from 10 expected holdout conversions on."
    )
    head = ("rates", "subjects", "expected holdout conversions", "below", "above", "covers")
    yield Table("liftCredibleInterval95", text, head, rows)

    runs, looks, step = (2, 5, 100) if quick else (1000, 300, 100)
    rows = []
    for exposed_rate, holdout_rate, share in ((0.06, 0.06, 0.05), (0.06, 0.04, 0.05), (0.3, 0.2, 0.1)):
        holdout_n = rng.binomial(step, share, (runs, looks))
        h = rng.binomial(holdout_n, holdout_rate).cumsum(axis=1)
        e = rng.binomial(step - holdout_n, exposed_rate).cumsum(axis=1)
        holdout_n, exposed_n = holdout_n.cumsum(axis=1), (step - holdout_n).cumsum(axis=1)
        truth = exposed_rate / holdout_rate - 1
        missed, naive = np.zeros(runs, bool), np.zeros(runs, bool)
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.sqrt(1 / e - 1 / exposed_n + 1 / h - 1 / holdout_n)
            distance = np.abs(np.log(e / exposed_n) - np.log(h / holdout_n) - np.log1p(truth))
        naive = ((distance > 1.959964 * spread) & (h > 0) & (e > 0)).any(axis=1)
        for run in range(runs):
            for look in range(looks):
                valid = always_valid_lift(
                    (int(exposed_n[run, look]), int(e[run, look])), (int(holdout_n[run, look]), int(h[run, look]))
                )
                if valid is None:
                    continue
                low, high = valid.interval95
                if truth < low or (high is not None and truth > high):
                    missed[run] = True
                    break
        rows.append((f"{exposed_rate:g} / {holdout_rate:g}", f"{share:.0%}", _share(missed), _share(naive)))
    text = (
        f"Share of {runs:,} runs in which the interval misses at any of {looks} looks, one after each {step} subjects."
    )
    yield Table(
        "Looking again and again at the lift",
        text,
        ("rates", "holdout", "alwaysValidLiftInterval95", "plain log-ratio interval"),
        rows,
    )

    runs = 8 if quick else 4000
    rows = []
    for holdout_rate, exposed_n, holdout_n in (
        (0.05, 19_000, 1000),
        (0.05, 9000, 1000),
        (0.1, 5000, 5000),
        (0.02, 50_000, 5000),
    ):
        detectable = minimum_detectable_lift80((exposed_n, 0), (holdout_n, round(holdout_n * holdout_rate)))
        assert detectable is not None
        raised = holdout_rate * (1 + detectable)
        e, h = rng.binomial(exposed_n, raised, runs), rng.binomial(holdout_n, holdout_rate, runs)
        error = np.sqrt(holdout_rate * (1 - holdout_rate) * (1 / exposed_n + 1 / holdout_n))
        by_test = np.abs(e / exposed_n - h / holdout_n) > 1.959964 * error
        found = np.array(
            lift_intervals95([((exposed_n, s), (holdout_n, z)) for s, z in zip(e.tolist(), h.tolist(), strict=True)])
        )
        rows.append(
            (
                f"{holdout_rate:g}",
                f"{exposed_n:,} / {holdout_n:,}",
                f"{detectable:+.1%}",
                _share(by_test),
                _share(found[:, 0] > 0),
            )
        )
    text = (
        f"{runs:,} runs each with a true lift of exactly `minimumDetectableLift80`: how often the test that the formula is "
        "written for rejects (80 % promised), and how often the whole `liftCredibleInterval95` lies above 0."
    )
    yield Table(
        "minimumDetectableLift80", text, ("holdout rate", "subjects", "lift", "test rejects", "interval above 0"), rows
    )


def splits(quick: bool, seed: int) -> Iterator[Table]:
    """A/A rates of the checks where nothing is wrong, and what they find where something is."""
    rng = np.random.default_rng(seed)
    runs, days = (8, 5) if quick else (5000, 60)
    rows = []
    for share, true_share, daily in (
        (0.05, 0.05, 55),
        (0.1, 0.1, 200),
        (0.5, 0.5, 200),
        (0.05, 0.065, 200),
        (0.1, 0.12, 200),
    ):
        holdouts = rng.binomial(daily, true_share, (runs, days)).tolist()
        found = [sample_ratio([Stretch(share, d, daily - h, h) for d, h in enumerate(row)]) for row in holdouts]
        label = f"{share:g} (in truth {true_share:g})" if share != true_share else f"{share:g}"
        rows.append(
            (
                label,
                f"{daily * days:,}",
                *_levels([one.p_value for one in found]),
                _share([one.confirmed for one in found]),
            )
        )
    text = f"{runs:,} runs of {days} days. p value: one look at the end. confirmed: the e-value reached 1000 on any day (at most .001 where nothing is wrong)."
    yield Table(
        "sampleRatio", text, ("configured share", "subjects", "below .05", "below .01", "below .001", "confirmed"), rows
    )

    rows = []
    for label, arms, change in (
        ("3 arms of .05, 70 a day", 3, 0.0),
        ("1 arm of .05, 70 a day", 1, 0.0),
        ("3 arms, one falls to .03 half way", 3, -0.02),
    ):
        reached = rng.poisson(70, (runs, arms, days))
        truth = np.full((arms, days), 0.05)
        truth[0, days // 2 :] += change
        goals = rng.binomial(reached, truth)
        found = [
            drift([list(zip(n, s, strict=True)) for n, s in zip(a, b, strict=True)])
            for a, b in zip(reached.tolist(), goals.tolist(), strict=True)
        ]
        rows.append((label, *_levels([one.p_value for one in found if one is not None])))
    text = f"{runs:,} runs of {days} days. Share of p values below the level; `detected` is the last column."
    yield Table("drift", text, ("arms", "below .05", "below .01", "below .001"), rows)


TABLES: dict[str, Callable[[bool, int], Iterator[Table]]] = {
    "rates": rates,
    "lift": lift,
    "splits": splits,
    "adaptive": adaptive,
    "regret": regret,
}
HEADINGS = {
    "rates": "Intervals of a rate",
    "lift": "Intervals of the lift",
    "splits": "Sample ratio and drift",
    "adaptive": "Under adaptive routing",
    "regret": "What routing costs",
}


def _holds(interval: tuple[float, float], value: float) -> bool:
    return interval[0] <= value <= interval[1]


def _share(hits: Sequence[bool] | npt.NDArray[np.bool_]) -> str:
    if not len(hits):
        return ""
    share = float(np.mean(hits))
    return f"{share:.3f} ± {(share * (1 - share) / len(hits)) ** 0.5:.3f}"


def _levels(p_values: Sequence[float]) -> tuple[str, str, str]:
    below = np.array(p_values)
    return _share(below < 0.05), _share(below < 0.01), _share(below < 0.001)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
