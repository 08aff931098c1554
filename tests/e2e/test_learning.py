"""An adaptive journey over many days of the virtual clock: what it promises, checked from outside.

`SUBJECTS` people come by, day after day; some of them buy, more of those that were sent the better way. Everything is
then counted again from the timeline, by formulas written down here a second time. `LEARNING_SUBJECTS=20000` walks the
long form, in half a minute.
"""

import hashlib
import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.server import Server, by_session
from tests.e2e.words import World, end, trigger, unique

SUBJECTS = int(os.environ.get("LEARNING_SUBJECTS", "2000"))
DAYS = 10
FLOOR = 200
RATES = {"plain": 0.05, "bold": 0.30, "loud": 0.10}
ARMS = list(RATES)
HOLDOUT_PERCENT = 10
BOUGHT_ANYWAY = 0.02
Json = dict[str, Any]


def draw(*parts: str) -> float:
    """A number in (0, 1) that its parts decide. Source: statistics design 2.1, step 3."""
    digest = hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) * 2.0**-53 + 2.0**-54


@dataclass
class Run:
    """What was done, and what the timeline says of it."""

    journey: str
    routed: list[Json] = field(default_factory=list)  # metadata of branch.routed, oldest first
    days: list[list[Json]] = field(default_factory=list)
    bought: set[str] = field(default_factory=set)
    held_out: set[str] = field(default_factory=set)
    started: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def run(server: Server) -> tuple[World, Run]:
    """Ten days: people come, are routed, and buy or not; then all windows close."""
    body = {"name": "Learning", "ownerEmail": f"{unique('owner')}@example.com"}
    made = server.internal.post("/api/journeys/internal/workspaces", body).ok(201)
    world = World(by_session(server.port, made["sessionToken"]), server.internal)
    world.api.patch("/api/workspace", {"holdout": {"percent": HOLDOUT_PERCENT}}).ok()
    return world, walk(world)


def walk(world: World) -> Run:
    """See `run`."""
    arms = [{"id": name, "next": "exit"} for name in ARMS]
    pick = {"id": "pick", "type": "branch", "mode": "adaptive", "arms": arms, "minSampleFloor": FLOOR}
    came, bought = unique("came"), unique("bought")
    done = Run(world.journey([trigger("pick"), pick, end()], came, goalEventName=bought, goalEventWindowDays=1))
    for day in range(DAYS):
        people = [f"d{day}-{i}" for i in range(SUBJECTS // DAYS)]
        post(world, [{"id": f"in-{who}", "type": came, "endUserId": who} for who in people])
        world.advance("PT1H")
        routed = [
            entry["metadata"]
            for entry in newest(world, done.journey, "branch.routed", len(people))
            if entry["metadata"]["endUserId"].startswith(f"d{day}-")
        ]
        arm_of = {entry["endUserId"]: entry["armId"] for entry in routed}
        rates = {who: RATES[arm_of[who]] if who in arm_of else BOUGHT_ANYWAY for who in people}
        buyers = [who for who in people if draw("buys", who) < rates[who]]
        post(world, [{"id": f"buy-{who}", "type": bought, "endUserId": who} for who in buyers])
        world.advance("P1DT15M")
        done.routed += reversed(routed)
        done.days.append(routed)
        done.bought.update(buyers)
        done.started.update(arm_of)
        done.held_out.update(set(people) - set(arm_of))
    world.advance("P2D")
    return done


def post(world: World, events: list[Json]) -> None:
    """Post events, a thousand at once."""
    for at in range(0, len(events), 1000):
        world.api.post("/api/events", {"events": events[at : at + 1000]}).ok(202)


def newest(world: World, journey: str, action: str, count: int) -> list[Json]:
    """The newest entries of one action, at least `count` of them if there are."""
    found: list[Json] = []
    path: str | None = f"/api/journeys/{journey}/audit?action={action}&limit=500"
    while path is not None and len(found) < count:
        reply = world.api.get(path)
        found += reply.ok()
        path = reply.next_path()
    return found


def test_shares_are_equal_until_every_arm_has_its_floor(run: tuple[World, Run]) -> None:
    """By hash of the person, each with probability 1/K, whatever was bought meanwhile."""
    _, done = run
    cold = [entry for entry in done.routed if entry["mode"] == "cold_start"]

    assert len(cold) >= FLOOR * len(ARMS)
    assert all(entry["mode"] == "cold_start" for entry in done.routed[: FLOOR * len(ARMS)])
    assert {1 / len(ARMS)} == {entry["propensity"] for entry in cold}
    for entry in cold:
        u = draw("pex.cold.v1", done.journey, "pick", entry["endUserId"])
        assert ARMS[int(len(ARMS) * u)] == entry["armId"]


def test_afterwards_the_allocation_moves_to_the_better_arm(run: tuple[World, Run]) -> None:
    """On the last day most go the way that sells best; the others keep what exploration leaves them."""
    _, done = run
    last = Counter(entry["armId"] for entry in done.days[-1])

    assert {"adaptive"} == {entry["mode"] for entry in done.days[-1]}
    assert last["bold"] > 0.8 * sum(last.values())


def test_every_stored_propensity_is_the_weight_of_its_snapshot(run: tuple[World, Run]) -> None:
    """One snapshot id, one set of weights; the arm is the one its hash draws."""
    _, done = run
    weights: dict[str, Json] = {}
    adaptive = [entry for entry in done.routed if entry["mode"] == "adaptive"]

    assert adaptive
    for entry in adaptive:
        held = weights.setdefault(entry["snapshotId"], entry["weights"])
        assert held == entry["weights"]
        assert held[entry["armId"]] == entry["propensity"]
        u = draw("pex.ts.v1", done.journey, "1", "pick", entry["executionId"])
        assert drawn(held, u) == entry["armId"]
    for held in weights.values():
        assert sum(held.values()) == pytest.approx(1, abs=1e-12)
        assert min(held.values()) >= 0.05 / len(ARMS) - 1e-12


def drawn(weights: Json, u: float) -> str:
    """The first arm whose cumulated weight lies above u, in the order of the version."""
    reached = 0.0
    for name in ARMS:
        reached += weights[name]
        if u < reached:
            return name
    return ARMS[-1]


def test_credit_goes_to_the_stored_arm(run: tuple[World, Run]) -> None:
    """Reach and conversions of each arm are those of the people who were sent there."""
    world, done = run
    reached, goals = Counter[str](), Counter[str]()
    for entry in done.routed:
        reached[entry["armId"]] += 1
        goals[entry["armId"]] += entry["endUserId"] in done.bought

    (branch,) = world.api.get(f"/api/journeys/{done.journey}/branch-performance").ok()

    assert "pick" == branch["stepId"]
    assert [(name, reached[name], goals[name]) for name in ARMS] == [
        (arm["armId"], arm["subjectsReached"], arm["goalEvents"]) for arm in branch["arms"]
    ]
    for arm in branch["arms"]:
        assert {"subjectsReached": reached[arm["armId"]], "goalEvents": goals[arm["armId"]]} == arm["matured"]
        assert {"subjectsReached": 0, "goalEvents": 0} == arm["pending"]
    assert "bold" == branch["leader"]
    assert branch["allocationCheck"]["ok"]


def test_impact_equals_an_independent_recount(run: tuple[World, Run]) -> None:
    """Triggered and converted by cohort, in sum and day by day."""
    world, done = run
    impact = world.api.get(f"/api/journeys/{done.journey}/calibrated-impact").ok()
    exposed, holdout = done.started, done.held_out

    assert {"exposed": len(exposed), "holdout": len(holdout)} == impact["triggered"]
    assert {"exposed": len(exposed & done.bought), "holdout": len(holdout & done.bought)} == impact["converted"]
    assert impact["triggered"] == impact["matured"]["triggered"]
    by_day: dict[str, int] = defaultdict(int)
    for day in impact["dailyTrend"]:
        by_day[day["date"]] += day["triggered"]["exposed"] + day["triggered"]["holdout"]
    assert SUBJECTS == sum(by_day.values())
    assert impact["sampleRatio"]["ok"]
    assert HOLDOUT_PERCENT / 100 == pytest.approx(impact["sampleRatio"]["expectedHoldoutShare"])


def test_a_recount_agrees(run: tuple[World, Run]) -> None:
    """From facts, and from the executions themselves."""
    world, done = run

    found = world.api.post(f"/api/journeys/{done.journey}/stats/recount", timeout=120).ok()

    assert [] == found["differences"]
    assert found["agrees"]
    assert SUBJECTS == found["executions"]
