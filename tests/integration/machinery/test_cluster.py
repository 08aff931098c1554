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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server import ROOT, Client, Server, by_session, eventually
from tests.e2e.words import World, end, event_attr, send, trigger, unique, wait_event
from tests.support.cluster import Cluster
from tests.support.servers import OwnPlace, servers

# One cluster for all of them: with several workers they have to run at the same one.
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.xdist_group("cluster")]

EXAMPLES = ROOT / "examples"
IS_WHOLE = bool(os.environ.get("JOURNEYS_WHOLE"))
SENT_SECONDS, SETTLE_SECONDS = (1000.0, 1000.0) if IS_WHOLE else (180.0, 240.0)
STOPPED_SECONDS, AWAKE_SECONDS = 40.0, 10.0
BUYERS = 250  # of 2,357; with JOURNEYS_WHOLE=1 all of them, which takes minutes on a slow document server
Totals = dict[str, Any]
Listening = dict[str, str]  # the event a journey starts from -> the journey


@pytest.fixture(scope="module")
def started() -> Iterator[Cluster]:
    """A cluster for all tests of this module."""
    place = OwnPlace(servers())
    made = Cluster(place)
    try:
        yield made.start()
    finally:
        made.close()
        asyncio.run(place.remove())


@pytest.fixture
def cluster(started: Cluster) -> Cluster:
    """It, with all its processes."""
    return started.whole()


@pytest.fixture(scope="module")
def embedded() -> Iterator[Server]:
    """One process on one file."""
    made = Server({"JOURNEYS_DEV_CLOCK": None})
    try:
        yield made.start()
    finally:
        made.close()


def workspace(internal: Client) -> Client:
    """The owner of a new workspace in which nobody is held out."""
    body = {"name": "Messy", "ownerEmail": f"{unique('owner')}@example.com"}
    made = internal.post("/api/journeys/internal/workspaces", body).ok(201)
    owner = by_session(internal.port, made["sessionToken"])
    owner.patch("/api/workspace", {"holdout": {"percent": 0}}).ok()
    return owner


def cli(client: Client, *arguments: str) -> "subprocess.Popen[bytes]":
    """The `journeys` command, running."""
    session = client._headers["Cookie"].partition("=")[2]
    environment = {**os.environ, "JOURNEYS_URL": f"http://127.0.0.1:{client.port}", "JOURNEYS_SESSION": session}
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("journeys")), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )


class Sending:
    """`journeys events send -`: the first half of the lines now, the second when it is asked for."""

    def __init__(self, client: Client, lines: Sequence[bytes]) -> None:
        self._rest = b"".join(lines[len(lines) // 2 :])
        self._process = cli(client, "events", "send", "-", "--output", "json")
        assert self._process.stdin is not None
        self._process.stdin.write(b"".join(lines[: len(lines) // 2]))
        self._process.stdin.flush()

    def go_on(self) -> "threading.Thread":
        """Send the second half."""
        writing = threading.Thread(target=self._write, daemon=True)
        writing.start()
        return writing

    def said(self) -> Any:
        """The counts, when all are sent."""
        return json.loads(self._process.communicate(timeout=SENT_SECONDS)[0])

    def _write(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(self._rest)
        self._process.stdin.flush()


def sent(client: Client, lines: Sequence[bytes]) -> Any:
    """The counts of `journeys events send -`."""
    process = cli(client, "events", "send", "-", "--output", "json")
    return json.loads(process.communicate(b"".join(lines), timeout=SENT_SECONDS)[0])


def import_people(client: Client, lines: Sequence[bytes]) -> None:
    """`journeys subjects import`. Some of the samples' people are malformed on purpose."""
    cli(client, "subjects", "import", "-").communicate(b"".join(lines), timeout=SENT_SECONDS)


# -- counting


def totals(client: Client, journeys: Listening) -> Totals:
    """Everything that can be counted, by the event of the journey."""
    world = World(client)
    found: Totals = {}
    for event, journey in journeys.items():
        runs = world.executions(journey)
        messages = world.messages(journeyId=journey, limit="500")
        audit = world.audit(journey, limit="500")
        found[event] = {
            "started": len(runs),
            "completed": sum(run["status"] == "SUCCEEDED" for run in runs),
            "runs by status": counted(run["status"] for run in runs),
            "messages by channel": counted(one["channel"] for one in messages),
            "messages": counted(f"{one['stepId']} {one['status']}" for one in messages),
            "refused by reason": counted(reason for one in audit if (reason := refusal(one))),
            "audited": counted(one["action"] for one in audit),
            "steps": step_stats(client, {event: journey})[event],
        }
    return found


def counted(names: Any) -> dict[str, int]:
    """How often each, in order."""
    return dict(sorted(Counter(names).items()))


def refusal(entry: Any) -> str | None:
    """Why nobody entered, or nothing was sent."""
    if entry["action"] not in ("trigger.blocked", "send.skipped"):
        return None
    return f"{entry['action']} {entry.get('metadata', {}).get('reason')}"


def step_stats(client: Client, journeys: Listening) -> Totals:
    """The cheapest of the totals, and the last to be right."""
    names = ("executed", "skipped", "failed", "waiting")
    return {
        event: {step: {name: n[name] for name in names} for step, n in World(client).step_stats(journey).items()}
        for event, journey in journeys.items()
    }


def at_rest(client: Client, journeys: Listening) -> Totals:
    """The totals when the step stats have not changed for a while. One process on one file is quick."""
    before: Totals = {}
    since = time.monotonic()
    until = since + SETTLE_SECONDS
    while time.monotonic() < until:
        now = step_stats(client, journeys)
        if now != before:
            before, since = now, time.monotonic()
        elif time.monotonic() - since > 3.0:
            return totals(client, journeys)
        time.sleep(0.3)
    raise AssertionError("the totals did not come to rest")


def same_after_a_while(client: Client, journeys: Listening, wanted: Totals) -> Totals:
    """The totals once the step stats are as wanted; asked for seldom, since a document server has work to do."""
    steps = {event: one["steps"] for event, one in wanted.items()}
    until = time.monotonic() + SETTLE_SECONDS
    while step_stats(client, journeys) != steps and time.monotonic() < until:
        time.sleep(1.0)
    while (found := totals(client, journeys)) != wanted and time.monotonic() < until:
        time.sleep(1.0)
    return found


# -- the files


def lines_of(*path: str) -> list[bytes]:
    """The lines of an example, as they are."""
    return EXAMPLES.joinpath(*path).read_bytes().splitlines(keepends=True)


def messy_journeys(client: Client, events: Sequence[str]) -> Listening:
    """A journey for each event: two channels, a wait between, and one that lets everybody in only once."""
    world = World(client)
    found = {}
    for event in events:
        steps = [
            trigger("hello"),
            send("hello", world.comm(), "push"),
            send("push", world.comm("mobile_push"), "w", channel="mobile_push"),
            wait_event("w", events[0], "P30D", "thanks", "exit"),
            send("thanks", world.comm(), "exit"),
            end(),
        ]
        more = {"settings": {"reentry": {"mode": "once"}}} if event == events[-1] else {}
        found[event] = world.journey(steps, event=event, **more)
    return found


def kill_and_begin_again(cluster: Cluster) -> None:
    """kill -9. Its executions go on at the other runtime."""
    cluster.kill("runtime-2")


def stop_for_a_while(cluster: Cluster) -> None:
    """SIGSTOP for so long that the group does without it, then SIGCONT: it wakes up believing that it owns what it
    owned.
    """
    cluster.send("runtime-2", signal.SIGSTOP)
    try:
        time.sleep(STOPPED_SECONDS)  # a process that does not run has nothing to be asked
    finally:
        cluster.send("runtime-2", signal.SIGCONT)
    time.sleep(AWAKE_SECONDS)  # it has to have had its chance to do harm


@pytest.mark.parametrize(
    ("befall", "count"), [(kill_and_begin_again, 5000), (stop_for_a_while, 1500)], ids=["killed", "stopped for 40 s"]
)
def test_the_messy_file_gives_the_same_totals_whatever_befalls_a_worker(
    cluster: Cluster, embedded: Server, befall: Any, count: int
) -> None:
    """Two runtimes behind Kafka, something befalls one in the middle of the file; every sum is exact."""
    lines = lines_of("events", "messy-5000.ndjson")[:count]
    expected = json.loads((EXAMPLES / "events" / "messy-5000.expected.json").read_text())
    by_type = expected["validUnique"]["byType"]
    # All lines are sent; the journeys listen to three types of some hundreds of events each.
    names = sorted(by_type, key=lambda name: by_type[name])[-4:-1]
    people = lines_of("people", "people-1000.ndjson")

    plain = workspace(embedded.internal)
    alone = messy_journeys(plain, names)
    import_people(plain, people)
    first = sent(plain, lines)
    wanted = at_rest(plain, alone)

    client = workspace(cluster.internal)
    spread = messy_journeys(client, names)
    import_people(client, people)
    sending = Sending(client, lines)
    eventually(lambda: World(client).executions(spread[names[-1]]), seconds=60)
    writing = sending.go_on()
    began = time.monotonic()
    befall(cluster)
    writing.join()
    second = sending.said()
    found = same_after_a_while(client, spread, wanted)
    print(f"BENCH all sums exact {time.monotonic() - began:.1f} s after it befell a worker: {befall.__name__}")

    assert wanted == found
    assert first == second
    if count == len(lines_of("events", "messy-5000.ndjson")):
        told = (second["accepted"], second["duplicates"], second["refused"]["total"])
        assert (expected["accepted"], expected["duplicates"]["total"], expected["malformed"]["total"]) == told
        entered = {event: one["started"] + blocked(one) for event, one in found.items()}
        assert {name: by_type[name] for name in names} == entered


def blocked(one: Totals) -> int:
    """How many events let nobody in."""
    return sum(n for reason, n in one["refused by reason"].items() if reason.startswith("trigger.blocked"))


def test_purchases_of_a_shop_give_the_same_totals_when_a_worker_is_killed(cluster: Cluster, embedded: Server) -> None:
    """CDNOW: each purchase that cost something starts a run, and wakes the runs of that person that wait."""
    lines = lines_of("events", "cdnow-purchases.ndjson")
    buyers = sorted({json.loads(line)["endUserId"] for line in lines})
    chosen = set(buyers if IS_WHOLE else buyers[:BUYERS])
    lines = [line for line in lines if json.loads(line)["endUserId"] in chosen]
    people = [line for line in lines_of("people", "cdnow-people.ndjson") if json.loads(line)["endUserId"] in chosen]

    def journeys(client: Client) -> Listening:
        world = World(client)
        paid = event_attr("data.amount", "gt", 0)
        steps = [
            trigger("bought", filter=paid),
            send("bought", world.comm(), "w"),
            wait_event("w", "purchase.completed", "P60D", "again", "exit"),
            send("again", world.comm(), "exit"),
            end(),
        ]
        return {"purchase.completed": world.journey(steps, event="purchase.completed")}

    plain = workspace(embedded.internal)
    alone = journeys(plain)
    import_people(plain, people)
    first = sent(plain, lines)
    wanted = at_rest(plain, alone)

    client = workspace(cluster.internal)
    spread = journeys(client)
    import_people(client, people)
    sending = Sending(client, lines)
    eventually(lambda: World(client).executions(spread["purchase.completed"]), seconds=60)
    writing = sending.go_on()
    began = time.monotonic()
    kill_and_begin_again(cluster)
    writing.join()
    second = sending.said()
    found = same_after_a_while(client, spread, wanted)
    print(f"BENCH all sums of {len(lines)} lines exact {time.monotonic() - began:.1f} s after a worker was killed")

    started, again = walked(lines)
    assert wanted == found
    assert first == second
    assert (len(lines), 0, 0) == (second["accepted"], second["duplicates"], second["refused"]["total"])
    one = found["purchase.completed"]
    assert (started, again) == (one["started"], one["completed"])
    assert {"email": started + again} == one["messages by channel"]
    if len(chosen) == len(buyers):
        said = json.loads((EXAMPLES / "events" / "cdnow-purchases.expected.json").read_text())
        assert said["purchaseWinBack"]["started"] == started


def walked(lines: Sequence[bytes]) -> tuple[int, int]:
    """How many runs start, and how many of them see another purchase of their person, by a rule of a few lines."""
    started = again = 0
    waiting: Counter[str] = Counter()
    for event in map(json.loads, lines):
        if event["type"] == "purchase.completed":
            again += waiting.pop(event["endUserId"], 0)
            if event["data"]["amount"] > 0:
                started += 1
                waiting[event["endUserId"]] += 1
    return started, again


def test_every_process_ends_in_good_order(cluster: Cluster) -> None:
    """SIGTERM: within 15 s, with status 0, whichever it is."""
    statuses = {}
    for name in ("gateway", "runtime-2", "runtime", "analytics", "authoring"):
        begun_at = time.monotonic()
        statuses[name] = cluster.stop(name)
        assert time.monotonic() - begun_at < 15, name

    assert {0} == set(statuses.values()), statuses
