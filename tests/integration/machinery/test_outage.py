"""What callers are told while the log takes nothing: "not now", soon and with a time; and nothing is lost or doubled."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.server import Server, eventually
from tests.e2e.words import World, end, trigger, unique
from tests.support.own_server import OwnServer
from tests.support.servers import OwnPlace, servers

pytestmark = [pytest.mark.integration, pytest.mark.slow]

# A caller that is not told sooner gives up by itself.
TOLD_SECONDS = 15.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[OwnServer]:
    """A broker of the test's own. It runs."""
    server = OwnServer("log", tmp_path / "broker").start()
    yield server
    server.close()


@pytest.fixture
def server(broker: OwnServer) -> Iterator[Server]:
    """Everything on one host, on that broker and the common document server."""
    place = OwnPlace(servers())
    at = {"JOURNEYS_STORE": place.settings[0], "JOURNEYS_LOG": f"{broker.kafka}/{place.name}"}
    journeys = str(Path(sys.executable).with_name("journeys"))
    subprocess.run([journeys, "migrate"], env={**os.environ, **at}, check=True, capture_output=True, timeout=120)
    made = Server({"JOURNEYS_DEV_CLOCK": None, **at})
    try:
        yield made.start()
    finally:
        made.close()
        asyncio.run(place.remove_database())


def test_a_log_that_takes_nothing_is_told_as_503_with_a_time(broker: OwnServer, server: Server) -> None:
    """The broker hangs: one event and many are refused with Retry-After, in time. It goes on, and so does everything;
    what was in doubt and is sent again starts once.
    """
    world = World(server.owner)
    event, person = unique("event"), world.person()
    journey = world.journey([trigger("exit"), end()], event=event)
    one = {"id": unique("evt"), "type": event, "endUserId": person}
    many = {"events": [{"id": unique("evt"), "type": event, "endUserId": person} for _ in range(3)]}
    server.owner.post("/api/events", {"type": "other"}).ok(202)

    broker.send(signal.SIGSTOP)
    try:
        refused = []
        for body in (one, many):
            began = time.monotonic()
            refused.append(server.owner.post("/api/events", body))
            assert time.monotonic() - began < TOLD_SECONDS
    finally:
        broker.send(signal.SIGCONT)
    for reply in refused:
        reply.problem(503, "unavailable")
        assert int(reply.headers["retry-after"]) >= 1

    def is_taken() -> bool:
        return all(server.owner.post("/api/events", body).status == 202 for body in (one, many))

    eventually(is_taken, seconds=60)
    eventually(lambda: len(world.executions(journey)) >= 4, seconds=60)
    eventually(lambda: server.owner.get("/readyz").status == 200, seconds=30)
    ended = eventually(lambda: [run for run in world.executions(journey) if run["status"] == "SUCCEEDED"], seconds=30)
    started_by = sorted(run["executionId"].rpartition("__")[2] for run in ended)
    assert sorted([one["id"], *(sent["id"] for sent in many["events"])]) == started_by
