"""kill -9 at any moment, started again on the same data: nothing acknowledged is lost, nothing is sent twice.

Three witnesses that do not know of each other: those who ask keep their own log of what was acknowledged, the
sender's file holds what was really sent, and the server tells what it thinks. Afterwards they have to agree.
JOURNEYS_KILL_ROUNDS and JOURNEYS_KILL_SEED make longer and other runs. Source: runtime design 8 and 16 (T4).
"""

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from services.analytics.facts import Fact, counts_of
from services.analytics.repositories import COUNTERS, FACTS, ROWS, Row
from services.analytics.repositories import Counter as Counts
from services.domain.execution.execution import Execution
from services.domain.execution.lifecycle import Status
from services.infra.documents.port import Collection
from services.infra.documents.sqlite import SqliteDocuments
from services.infra.sqlite.engine import open_engine
from services.runtime.collections import EXECUTIONS
from services.runtime.senders.port import Promise
from tests.e2e.asking import CLIENTS, DRAFTS, JOURNEYS, SENDS, World, furnish
from tests.e2e.crashing import START_SECONDS, Server, eventually

T = TypeVar("T")

SEED = int(os.environ.get("JOURNEYS_KILL_SEED", "20260430"))
DRAIN_SECONDS = 40.0
SOON_SECONDS = 15.0
FEWEST_ROUNDS, ROUNDS_SECONDS = 3, 30.0


def killed_again_and_again(world: World, rounds: int, seed: str) -> None:
    """Everybody asks while the server is killed and started, now and then before it is ready."""
    server, chance = world.server, random.Random(seed)
    server.start()
    furnish(server)
    clients = [kind(world, seed) for kind in CLIENTS]
    for client in clients:
        client.start()
    try:
        begun = time.monotonic()
        for done in range(rounds):
            if (
                done >= FEWEST_ROUNDS
                and time.monotonic() - begun > ROUNDS_SECONDS
                and "JOURNEYS_KILL_ROUNDS" not in os.environ
            ):
                break  # where others use the machine a start takes its time
            time.sleep(
                chance.uniform(0.3, 1.5) + 2 * (done % 5 == 3)
            )  # the moment varies, and one in five may catch up
            server.kill()
            if chance.random() < 0.3:
                server.spawn()
                time.sleep(chance.uniform(0.3, 1.0) * server.restart_seconds[-1])
                server.kill()
            server.start()
            assert not world.faults, world.faults
    finally:
        world.over.set()
        for client in clients:
            client.join(START_SECONDS)
            assert not client.is_alive(), f"{client.name} still waits for an answer"
    assert not world.faults, world.faults


@dataclass
class Told:
    """What the server says at the end."""

    settle_seconds: float
    executions: dict[str, dict[str, Any]]
    messages: dict[str, dict[str, Any]]
    stats: dict[str, dict[str, dict[str, int]]]  # of each journey, each step
    audit: dict[str, list[dict[str, Any]]]
    draft: dict[str, Any]
    versions: list[int]
    made: list[str]


def told(world: World) -> Told:
    """Let everybody arrive and every send be settled and counted, then ask for everything."""
    line = world.server.line()

    def is_at_rest() -> bool:
        running = [line.get(f"/api/journeys/{name}/executions?status=RUNNING&limit=1") for name in JOURNEYS]
        return not any(running) and world.sends <= sum(
            one["status"] != "sending" for one in line.pages("/api/messages?limit=500")
        )

    def stats() -> dict[str, dict[str, dict[str, int]]]:
        return {name: {one["stepId"]: one for one in line.get(f"/api/journeys/{name}/step-stats")} for name in JOURNEYS}

    def sends_counted() -> int:
        return sum(step["executed"] for steps in stats().values() for key, step in steps.items() if key in SENDS)

    def knows_its_sends(execution: str) -> bool:
        history = line.get(f"/api/journeys/{execution.partition('__')[0]}/executions/{execution}")["history"]
        return sent[execution] == sum(entry["event"] in ("send.executed", "send.unknown") for entry in history)

    begun = time.monotonic()
    eventually(is_at_rest, DRAIN_SECONDS, "the end of every execution and send")
    settle_seconds = time.monotonic() - begun
    executions = [one for name in JOURNEYS for one in line.pages(f"/api/journeys/{name}/executions?limit=500")]
    messages = list(line.pages("/api/messages?limit=500"))
    sent = Counter(one["executionId"] for one in messages)
    for one in executions:
        eventually(partial(knows_its_sends, one["executionId"]), DRAIN_SECONDS, f"the history of {one['executionId']}")
    eventually(lambda: sends_counted() >= len(messages), DRAIN_SECONDS, f"step-stats to count {len(messages)} sends")
    assert len(executions) == len({one["executionId"] for one in executions})
    assert len(messages) == len({one["messageId"] for one in messages})
    return Told(
        settle_seconds=settle_seconds,
        executions={one["executionId"]: one for one in executions},
        messages={one["messageId"]: one for one in messages},
        stats=stats(),
        audit={name: list(line.pages(f"/api/journeys/{name}/audit?limit=500")) for name in (*JOURNEYS, *DRAFTS)},
        draft=line.get("/api/journeys/draft"),
        versions=[one["version"] for one in line.pages("/api/journeys/often/versions?limit=500")],
        made=[one["id"] for one in line.pages("/api/journeys?limit=500") if one["id"].startswith("made-")],
    )


@dataclass
class Kept:
    """What lies in the store once the server has ended."""

    executions: list[Execution]
    facts: list[Fact]
    counters: list[Counts]
    rows: list[Row]


def kept(server: Server) -> Kept:
    """Read the data folder that nobody serves any more."""

    async def read() -> Kept:
        engine = await open_engine(server.data)
        documents = SqliteDocuments(engine)
        await documents.open([EXECUTIONS, FACTS, COUNTERS, ROWS])

        async def everything(collection: Collection[T]) -> list[T]:
            found, after = [], None
            while True:
                page = await documents.scan(collection, "", after=after, limit=1000)
                found += page.items
                if (after := page.cursor) is None:
                    return found

        try:
            return Kept(
                await everything(EXECUTIONS),
                await everything(FACTS),
                await everything(COUNTERS),
                await everything(ROWS),
            )
        finally:
            await documents.close()
            await engine.close()

    return asyncio.run(read())


def one_decision_for_each_acknowledged_event(world: World, said: Told, stored: Kept) -> None:
    """I1 and I2: what was accepted has its one execution, nothing else has any, a pause keeps its word."""
    assert world.starts == said.executions.keys()
    decided = Counter((one.journey_id, one.trigger.event_id) for one in stored.executions)
    assert {1} == set(decided.values())
    assert world.kept_out == {one.execution_id for one in stored.executions if one.status is Status.REFUSED}
    assert world.starts | world.kept_out == {one.execution_id for one in stored.executions}


def everybody_arrived(said: Told, stored: Kept) -> None:
    """No timer and no awaited event was lost: every execution has ended, an order by its own two events; I9.

    And soon: what a killed process had promised is seen to by the next one, not only when its leases have run out.
    """
    assert said.settle_seconds < SOON_SECONDS
    assert {"SUCCEEDED"} == {one["status"] for one in said.executions.values()}
    owing = [one.execution_id for one in stored.executions if one.due_at or one.intents or one.outbox or one.wait]
    assert not owing
    for one in stored.executions:
        actions = Counter(entry.action for entry in one.history)
        match one.journey_id:
            case "order":
                number = one.trigger.event_id[1:]
                fired = [entry.detail.get("eventId") for entry in one.history if entry.action == "wait.fired"]
                assert [f"p{number}", f"d{number}"] == fired, one.execution_id
                assert {"receipt-1"} == one.results.keys(), one.execution_id
            case "walk":
                second = "nudge-1" if actions["wait.timed_out"] else "congrats-1"
                assert {"hello-1", second} == {name for name in one.results if not name.startswith("greeted")}
                assert 2 == actions["wait.fired"] + actions["wait.timed_out"], one.execution_id
            case "refer":
                assert {"welcome-1"} == one.results.keys(), one.execution_id
            case _:
                assert not one.results


def sent_as_promised(server: Server, promise: Promise, said: Told, stored: Kept, left: Counter[str]) -> Counter[str]:
    """I3 and I4: one message for each send that history knows; what left is what the promise allows."""
    expected = {f"{one.execution_id}-{name}" for one in stored.executions for name in one.results if name[:-2] in SENDS}
    assert expected == said.messages.keys()
    results = {f"{one.execution_id}-{name}": it.state for one in stored.executions for name, it in one.results.items()}
    assert {name: one["status"] for name, one in said.messages.items()} == {name: results[name] for name in expected}
    status = Counter(one["status"] for one in said.messages.values())
    assert left.keys() <= expected, "something left that nobody asked for"
    if promise is Promise.OWN_STORE:
        assert {"sent": len(expected)} == status
        assert not left
    elif promise is Promise.AT_MOST_ONCE:
        assert {1} == set(left.values()), "sent twice"
        assert {"sent", "unknown"} >= status.keys()
        assert expected - left.keys() <= {name for name, one in said.messages.items() if one["status"] == "unknown"}
        assert status["unknown"] < 200 * server.kills, "a message is in doubt only where a kill met it"
    else:
        assert {"sent": len(expected)} == status
        assert expected == left.keys()
        assert max(left.values()) <= server.kills + 1, "again only after a kill"
    return status


def no_edit_is_lost(world: World, said: Told) -> None:
    """The draft shows the last acknowledged edit, or one that was done and not acknowledged any more."""
    number, updated_at = world.edits[-1]
    assert number <= int(said.draft["description"].split()[1]) <= world.edited
    assert updated_at <= said.draft["updatedAt"]
    assert sorted(world.made) == sorted(said.made)
    assert list(range(world.publishes, 0, -1)) == said.versions


def audit_has_every_act_once(world: World, said: Told, stored: Kept) -> None:
    """Authors' acts and the entries of executions."""
    edits = [one for one in said.audit["draft"] if one["action"] == "edited"]
    assert len(edits) == int(said.draft["description"].split()[1])
    assert len(edits) == len({one["timestamp"] for one in edits})
    assert {updated_at for _, updated_at in world.edits} <= {one["timestamp"] for one in edits}
    assert {"created": 1, "published": world.publishes, "edited": world.publishes} == Counter(
        one["action"] for one in said.audit["often"]
    )
    gate = Counter(one["action"] for one in said.audit["gate"])
    assert (world.pauses, world.pauses) == (gate["paused"], gate["resumed"])
    assert len(world.kept_out) == gate["trigger.blocked"]
    assert len(stored.rows) == len({one.entry_id for one in stored.rows})
    for name in JOURNEYS:
        mine = Counter(
            (one["metadata"]["executionId"], one["action"], one["metadata"]["stepId"])
            for one in said.audit[name]
            if "executionId" in one.get("metadata", {}) and one["action"] != "trigger.blocked"
        )
        history = Counter(
            (one.execution_id, entry.action, entry.step_id)
            for one in stored.executions
            if one.journey_id == name and one.status is not Status.REFUSED
            for entry in one.history
            if entry.action != "profile.updated"
        )
        assert history == mine


def counts_equal_a_recount(said: Told, stored: Kept) -> None:
    """Step-stats from the executions themselves; facts and counters of analytics from one another; I7."""
    counted: dict[str, dict[str, Counter[str]]] = {name: {} for name in JOURNEYS}
    for one in stored.executions:
        for step, visits in one.visits.items() if one.status is not Status.REFUSED else ():
            counted[one.journey_id].setdefault(step, Counter())["executed"] += visits
    shown = {
        name: {key: Counter({k: n for k, n in step.items() if k != "stepId" and n}) for key, step in steps.items()}
        for name, steps in said.stats.items()
    }
    assert counted == {name: {key: step for key, step in steps.items() if step} for name, steps in shown.items()}

    assert {one.key for one in stored.executions} == {fact.key for fact in stored.facts}
    sums: dict[str, dict[str, list[int]]] = {}
    for fact in stored.facts:
        steps = sums.setdefault(f"{fact.workspace}:{fact.journey_id}:{fact.partition}", {})
        for step, counts in counts_of(fact).items():
            steps[step] = [a + b for a, b in zip(steps.get(step, [0, 0, 0, 0]), counts, strict=True)]
    written = {counter.key: counter.steps for counter in stored.counters}
    assert {key: steps for key, steps in sums.items() if steps} == {key: it for key, it in written.items() if it}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("promise", "rounds"), [(Promise.AT_MOST_ONCE, 7), (Promise.AT_LEAST_ONCE, 4), (Promise.OWN_STORE, 4)]
)
def test_kills_lose_nothing_and_send_nothing_twice(
    promise: Promise, rounds: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Killed at random moments while events, starts, edits, pauses and timers go on; then everything agrees."""
    rounds = int(os.environ.get("JOURNEYS_KILL_ROUNDS", rounds))
    command = ("-m", "tests.e2e.crashing", str(tmp_path), promise.value) if promise is not Promise.OWN_STORE else ()
    server = Server(tmp_path, command=command)
    world = World(server)
    try:
        killed_again_and_again(world, rounds, f"{SEED} {promise.value}")
        said = told(world)
        assert 0 == server.stop()
    finally:
        server.close()
    stored = kept(server)

    one_decision_for_each_acknowledged_event(world, said, stored)
    everybody_arrived(said, stored)
    left = (server.folder / "sends").read_text().split() if (server.folder / "sends").exists() else []
    statuses = sent_as_promised(server, promise, said, stored, Counter(left))
    no_edit_is_lost(world, said)
    audit_has_every_act_once(world, said, stored)
    counts_equal_a_recount(said, stored)
    figures = {
        "kills": server.kills,
        "executions": len(stored.executions),
        "messages": dict(statuses),
        "calls": len(left),
        "edits": len(world.edits),
        "unanswered": world.repeated,
        "settle_seconds": round(said.settle_seconds, 1),
        "restart_seconds": [round(seconds, 2) for seconds in server.restart_seconds],
    }
    record_property("figures", figures)
    print(promise.value, json.dumps(figures))
