"""Our routing and lift beside MABWiser's and GrowthBook's, on the same data in the same run.

    python scripts/statistics_peers.py             what `make bench-stats-peers` runs; a minute or two
    python scripts/statistics_peers.py --quick     tiny sizes, only to see that it runs

The peers live in a virtual environment of their own (their numpy is older than ours) below the user's cache folder and
answer over pipes. A peer that cannot be installed is named with the reason; the others are compared all the same.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

PINS = {"mabwiser": "mabwiser==2.7.4", "gbstats": "gbstats==0.8.0"}
SEED = 20261124
RATES, SPEED = (0.0718, 0.0455, 0.055), 0.3
DAYS, ARRIVALS, WINDOW, FLOOR = 60, 200, 7, 200
ARMS = [(620, 37), (655, 22), (598, 41)]
PAIRS = [
    ((3120, 214), (165, 6)),
    ((6240, 428), (330, 24)),
    ((950, 70), (50, 1)),
    ((950, 70), (50, 0)),
    ((5000, 60), (5000, 45)),
]
# exposed and holdout rate, subjects of each
CELLS = [(0.08, 0.05, 1900, 100), (0.05, 0.05, 4000, 200), (0.02, 0.015, 9500, 500), (0.3, 0.2, 900, 100)]


def main() -> int:
    """Install, ask, print."""
    parser = argparse.ArgumentParser(description="Compare with MABWiser and GrowthBook's stats wheel.")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, only to see that it runs")
    parser.add_argument("--inside", choices=sorted(PINS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        json.dump(INSIDE[options.inside](json.load(sys.stdin)), sys.stdout)
        return 0

    python, missing = installed()
    for name, reason in missing.items():
        print(f"{PINS[name]} is not compared: {reason}\n")
    runs = 4 if options.quick else 400
    print(f"Seed {SEED}. Versions: {', '.join(pin for name, pin in PINS.items() if name not in missing)}.\n")
    compared_routing(None if "mabwiser" in missing else python, runs)
    compared_lift(None if "gbstats" in missing else python, 20 if options.quick else 2000)
    return 0


def installed() -> tuple[Path, dict[str, str]]:
    """The peers' interpreter, and why which of them is not there."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adaptive-journeys" / "peers"
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        print("Making the peers' environment ...", file=sys.stderr)
        venv.create(folder, with_pip=True)
    missing = {}
    for name, pin in PINS.items():
        wanted = [
            python,
            "-c",
            f"from importlib.metadata import version; assert version('{name}') == '{pin.split('==')[1]}'",
        ]
        if subprocess.run(wanted, capture_output=True, check=False).returncode == 0:
            continue
        command = [python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
        done = subprocess.run([*command, "--only-binary", ":all:", pin], capture_output=True, text=True, check=False)
        if done.returncode:
            missing[name] = (done.stderr.strip().splitlines() or ["pip failed and said nothing"])[-1]
    return python, missing


def asked(python: Path, peer: str, request: dict[str, Any]) -> Any:
    """A peer's answer, from its own interpreter."""
    command = [python, __file__, "--inside", peer]
    done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{peer} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def compared_routing(python: Path | None, runs: int) -> None:
    """Regret of the journey protocol, and P(best) of one branch."""
    import statistics_tables

    from services.domain.stats.arms import compare_arms, compare_many

    rows = []
    for label, floor in (("here, e = 0", 0.0), ("here, e = .05 (default)", 0.05)):
        begun = time.perf_counter()
        lost = statistics_tables.protocol(RATES, (SPEED,) * 3, "matured", floor, runs, SEED).regret
        spent = time.perf_counter() - begun
        rows.append(
            (label, f"{lost.mean():.1f} ± {lost.std() / runs**0.5:.1f}", f"{spent / runs / DAYS * 1e6:.0f} a snapshot")
        )
    if python:
        answer = asked(python, "mabwiser", {"runs": runs, "arms": ARMS})
        lost = answer["regret"]
        mean = sum(lost) / runs
        error = (sum((one - mean) ** 2 for one in lost) / runs / runs) ** 0.5
        rows.append(
            ("MABWiser ThompsonSampling", f"{mean:.1f} ± {error:.1f}", f"{answer['us_per_decision']:.0f} a decision")
        )
    title = f"Regret: journey protocol, rates {RATES}, {DAYS} days of {ARRIVALS}, matured counts, {runs} runs"
    table(title, ("", "regret", "us"), rows)

    begun = time.perf_counter()
    compare_many([[(n + 1, s) for n, s in ARMS]])
    spent = (time.perf_counter() - begun) * 1e6
    shown = ", ".join(f"{p:.6f}" for p in compare_arms(ARMS).probability_best)
    rows = [("here, exact", shown, f"{spent:.0f}")]
    if python:
        shown = ", ".join(f"{p:.6f}" for p in answer["best"])
        rows.append(("MABWiser, 10,000 draws", shown, f"{answer['best_us']:.0f}"))
    table(f"P(best) of {ARMS} (reached, goals)", ("", "P(best)", "us"), rows)


def compared_lift(python: Path | None, runs: int) -> None:
    """Lift intervals of some counts, and how often they cover."""
    import numpy as np

    from services.domain.stats.lift import lift_intervals95, lift_report

    found = python and asked(python, "gbstats", {"pairs": PAIRS})
    rows = []
    for k, (exposed, holdout) in enumerate(PAIRS):
        report = lift_report(exposed, holdout)
        assert report is not None
        low, high = report.lift_interval95
        row = [
            f"{exposed[1]}/{exposed[0]} against {holdout[1]}/{holdout[0]}",
            f"[{low:.3f}, {high:.3f}]",
            f"{report.probability_positive:.4f}",
        ]
        if found:
            low, high, chance, error = found["results"][k]
            row += [error] * 2 if error else [f"[{low:.3f}, {high:.3f}]", f"{chance:.4f}"]
        rows.append(tuple(row))
    head = ("converted / triggered", "here: lift 95 %", "P(> 0)")
    table("Lift", (*head, "GrowthBook: lift 95 %", "chance to win") if found else head, rows)

    rng = np.random.default_rng(SEED)
    rows = []
    for exposed_rate, holdout_rate, exposed_n, holdout_n in CELLS:
        e, h = (
            rng.binomial(exposed_n, exposed_rate, runs).tolist(),
            rng.binomial(holdout_n, holdout_rate, runs).tolist(),
        )
        pairs = [((exposed_n, s), (holdout_n, z)) for s, z in zip(e, h, strict=True)]
        truth = exposed_rate / holdout_rate - 1
        begun = time.perf_counter()
        ours = np.array(lift_intervals95(pairs))
        spent = (time.perf_counter() - begun) / runs * 1e6
        row = [f"{exposed_rate:g} / {holdout_rate:g}, {exposed_n} / {holdout_n}", misses(truth, ours), f"{spent:.0f}"]
        if python:
            answer = asked(python, "gbstats", {"pairs": pairs})
            theirs = np.array([[low, high] for low, high, _, _ in answer["results"]])
            row += [misses(truth, theirs), f"{(theirs[:, 0] < -1).mean():.3f}", f"{answer['us']:.0f}"]
        rows.append(tuple(row))
    head = ("rates, subjects", "here: truth below / above", "us")
    peer = ("GrowthBook: truth below / above", "reaches below -100 %", "us")
    table(
        f"Misses of the 95 % lift interval, {runs} runs (2.5 % on either side would be right)",
        (*head, *peer) if python else head,
        rows,
    )


def misses(truth: float, found: Any) -> str:
    """Shares of intervals that lie above and below the truth."""
    return f"{(truth < found[:, 0]).mean():.3f} / {(truth > found[:, 1]).mean():.3f}"


def table(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print a table."""
    print(f"## {title}\n")
    for row in (head, ("---",) * len(head), *rows):
        print("| " + " | ".join(row) + " |")
    print(flush=True)


# --- what runs in the peers' interpreter, which knows nothing of ours -------------------------------------------------


def inside_mabwiser(request: dict[str, Any]) -> dict[str, Any]:
    """The journey protocol with MABWiser's Thompson sampling, one decision a subject, fed with matured rows."""
    import numpy as np
    from mabwiser.mab import MAB, LearningPolicy

    names = [0, 1, 2]
    lost, spent, decisions = [], 0.0, 0
    for run in range(request["runs"]):
        rng = np.random.default_rng([SEED, run])
        bandit = MAB(arms=names, learning_policy=LearningPolicy.ThompsonSampling(), seed=run)
        cohorts: list[Any] = []
        reached = np.zeros(3, int)
        for day in range(DAYS):
            if day >= WINDOW:
                arms, rewards = cohorts[day - WINDOW]
                learn = bandit.fit if day == WINDOW else bandit.partial_fit
                begun = time.perf_counter()
                learn(arms, rewards)
                spent += time.perf_counter() - begun
            if (reached < FLOOR).any() or day < WINDOW:
                chosen = rng.integers(0, 3, ARRIVALS)
            else:
                begun = time.perf_counter()
                chosen = np.array([bandit.predict() for _ in range(ARRIVALS)])
                spent += time.perf_counter() - begun
                decisions += ARRIVALS
            cohorts.append((chosen, (rng.random(ARRIVALS) < np.array(RATES)[chosen]).astype(int)))
            reached += np.bincount(chosen, minlength=3)
        lost.append(float((reached * (max(RATES) - np.array(RATES))).sum()))

    bandit = MAB(arms=names, learning_policy=LearningPolicy.ThompsonSampling(), seed=SEED)
    rows = [(arm, k < s) for arm, (n, s) in enumerate(request["arms"]) for k in range(n)]
    bandit.fit(np.array([arm for arm, _ in rows]), np.array([int(hit) for _, hit in rows]))
    begun = time.perf_counter()
    wins = np.bincount([bandit.predict() for _ in range(10_000)], minlength=3) / 10_000
    best_us = (time.perf_counter() - begun) * 1e6
    return {
        "regret": lost,
        "us_per_decision": spent / max(decisions, 1) * 1e6,
        "best": wins.tolist(),
        "best_us": best_us,
    }


def inside_gbstats(request: dict[str, Any]) -> dict[str, Any]:
    """GrowthBook's Bayesian test of relative effect with its default flat prior."""
    import warnings

    from gbstats.bayesian.tests import EffectBayesianABTest
    from gbstats.models.statistics import ProportionStatistic

    warnings.simplefilter("ignore")
    results, begun = [], time.perf_counter()
    for (exposed_n, exposed_s), (holdout_n, holdout_s) in request["pairs"]:
        control, treated = (
            ProportionStatistic(n=holdout_n, sum=holdout_s),
            ProportionStatistic(n=exposed_n, sum=exposed_s),
        )
        found = EffectBayesianABTest(control, treated).compute_result()
        low, high = found.ci
        results.append((float(low), float(high), float(found.chance_to_win), found.error_message or ""))
    return {"results": results, "us": (time.perf_counter() - begun) / len(results) * 1e6}


INSIDE: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"mabwiser": inside_mabwiser, "gbstats": inside_gbstats}


if __name__ == "__main__":
    sys.exit(main())
