"""Several processes on Kafka and a document server: the same totals as one process on one file, whoever dies."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server import ROOT, Client, Server, eventually
from tests.e2e.words import World, end, send, trigger, wait_event
from tests.support.cluster import Cluster
from tests.support.servers import OwnPlace, servers

pytestmark = [pytest.mark.integration, pytest.mark.slow]

EXAMPLES = ROOT / "examples"
SETTLE_SECONDS = 180.0
AWAKE_SECONDS = 50.0
Totals = dict[str, Any]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A running one."""
    place = OwnPlace(servers())
    made = Cluster(place)
    try:
        yield made.start()
    finally:
        made.close()
        asyncio.run(place.remove())


@pytest.fixture
def embedded() -> Iterator[Server]:
    """One process on one file."""
    made = Server({"JOURNEYS_DEV_CLOCK": None})
    try:
        yield made.start()
    finally:
        made.close()


def begun(client: Client, events: tuple[str, ...], later: str) -> dict[str, str]:
    """A journey for each event, with a send before and behind a wait; ids by event."""
    client.patch("/api/workspace", {"holdout": {"percent": 0}}).ok()
    world = World(client)
    found = {}
    for event in events:
        hello, thanks = world.comm(), world.comm()
        steps = [
            trigger("hello"),
            send("hello", hello, "w"),
            wait_event("w", later, "P30D", "thanks", "exit"),
            send("thanks", thanks, "exit"),
            end(),
        ]
        found[event] = world.journey(steps, event=event)
    return found


def cli(port: int, client: Client, *arguments: str) -> "subprocess.Popen[str]":
    """The `journeys` command, running."""
    session = client._headers["Cookie"].partition("=")[2]
    environment = {**os.environ, "JOURNEYS_URL": f"http://127.0.0.1:{port}", "JOURNEYS_SESSION": session}
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("journeys")), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def totals(client: Client, journeys: dict[str, str]) -> Totals:
    """Everything that can be counted, by event."""
    world = World(client)
    found: Totals = {}
    for event, journey in journeys.items():
        runs = world.executions(journey)
        stats = {
            step: [counts[name] for name in ("executed", "skipped", "failed", "waiting")]
            for step, counts in world.step_stats(journey).items()
        }
        messages = Counter(
            f"{message['stepId']} {message['status']}" for message in world.messages(journeyId=journey, limit="500")
        )
        found[event] = {
            "runs": dict(Counter(run["status"] for run in runs)),
            "stats": stats,
            "messages": dict(messages),
        }
    return found


def step_stats(client: Client, journeys: dict[str, str]) -> Totals:
    """The cheapest of the totals, and the last to be right."""
    return {event: World(client).step_stats(journey) for event, journey in journeys.items()}


def same_after_a_while(client: Client, journeys: dict[str, str], wanted: Totals) -> Totals:
    """Wait until the step stats are as wanted, asking seldom: the stand-in has one core, and work to do."""
    until = time.monotonic() + SETTLE_SECONDS
    while step_stats(client, journeys) != wanted and time.monotonic() < until:
        time.sleep(2.0)
    return step_stats(client, journeys)


def at_rest(client: Client, journeys: dict[str, str]) -> Totals:
    """The totals when they have not changed for a while."""
    before: Totals = {}
    since = time.monotonic()
    until = since + SETTLE_SECONDS
    while time.monotonic() < until:
        now = totals(client, journeys)
        if now != before:
            before, since = now, time.monotonic()
        elif time.monotonic() - since > 3.0:
            return now
        time.sleep(0.3)
    raise AssertionError("the totals did not come to rest")


@pytest.mark.parametrize("fate", ["killed", "stopped for 40 s"])
def test_the_messy_file_gives_the_same_totals_whatever_befalls_a_worker(
    cluster: Cluster, embedded: Server, fate: str
) -> None:
    """5,000 lines over HTTP and Kafka; one of two runtimes dies, or sleeps for so long that the group does without it,
    and wakes up believing that it owns what it owned. Every sum is exact.
    """
    file = EXAMPLES / "events" / "messy-5000.ndjson"
    expected = json.loads((EXAMPLES / "events" / "messy-5000.expected.json").read_text())
    by_type = Counter(expected["validUnique"]["byType"])
    # All lines are sent; the journeys listen to three types of some hundreds of events each.
    names = tuple(sorted(by_type, key=lambda name: by_type[name])[-4:-1])
    people = str(EXAMPLES / "people" / "people-1000.ndjson")

    owner = embedded.owner
    plain = begun(owner, names, names[0])
    for arguments in (("subjects", "import", people), ("events", "send", str(file), "--output", "json")):
        running = cli(embedded.port, owner, *arguments)
        said = running.communicate(timeout=300)[0]
    first = json.loads(said)
    wanted = at_rest(owner, plain)

    client = cluster.workspace()
    spread = begun(client, names, names[0])
    cli(cluster.port, client, "subjects", "import", people).communicate(timeout=300)
    sending = cli(cluster.port, client, "events", "send", str(file), "--output", "json")
    # Killed while there is work: when the first executions are there and the file is not at its end.
    eventually(lambda: World(client).executions(spread[names[-1]]), seconds=60)
    assert sending.poll() is None
    killed_at = time.monotonic()
    if fate == "killed":
        cluster.kill("runtime-2")
    else:
        cluster.send("runtime-2", signal.SIGSTOP)
        threading.Timer(40.0, cluster.send, ("runtime-2", signal.SIGCONT)).start()
    second = json.loads(sending.communicate(timeout=300)[0])

    if fate != "killed":
        time.sleep(max(0.0, killed_at + AWAKE_SECONDS - time.monotonic()))  # it has to have had its chance to do harm
    found = same_after_a_while(client, spread, step_stats(owner, plain))
    print(f"BENCH all sums exact {time.monotonic() - killed_at:.1f} s after it was {fate}")
    assert step_stats(owner, plain) == found
    assert wanted == totals(client, spread)
    assert (expected["accepted"], expected["duplicates"]["total"]) == (first["accepted"], first["duplicates"])
    # A request that took too long was sent again, and its events were duplicates then.
    assert expected["accepted"] == second["accepted"]
    assert expected["duplicates"]["total"] <= second["duplicates"]


def test_every_process_ends_in_good_order(cluster: Cluster) -> None:
    """SIGTERM: within 15 s, with status 0, whichever it is."""
    statuses = {}
    for name in ("gateway", "runtime-2", "runtime", "analytics", "authoring"):
        begun_at = time.monotonic()
        statuses[name] = cluster.stop(name)
        assert time.monotonic() - begun_at < 15, name

    assert {0} == set(statuses.values()), statuses
