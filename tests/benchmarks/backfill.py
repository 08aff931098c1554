"""The first publish of a journey over an audience: everybody present enters.

The clock runs from the answer to publish until step-stats count the last of them, so looking at everybody, the
entries, the memberships, their publication and their projection are all in it. A second journey over the same people
is published while 50 events a second start people in a third: `backfill.triggered_p99_ms` is how long that takes from
POST to execution meanwhile, `backfill.calm_p99_ms` the same on a server that does nothing else, and
`backfill.beside_subjects_per_second` how quickly everybody enters beside it. `BACKFILL_PEOPLE` says how many they are.
"""

import http.client
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.benchmarks.end_to_end import STEPS
from tests.benchmarks.served import Served, served

PEOPLE = int(os.environ.get("BACKFILL_PEOPLE", "20000"))
LINES = 5_000
STARTS_PER_SECOND, POSTERS, PROBED = 50, 4, 5  # every fifth start is followed to its execution
CALM_SECONDS = 8.0
ENTRY: list[dict[str, Any]] = [
    {"id": "trigger", "type": "trigger", "mode": "audience_entry", "next": "exit"},
    {"id": "exit", "type": "exit"},
]


def figures() -> Iterator[tuple[str, float, str]]:
    """backfill.subjects_per_second, .beside_subjects_per_second, .calm_p99_ms, .triggered_p99_ms, .cpu, .rss_mb"""
    with served() as server:
        server.call("PATCH", "/api/workspace", {"holdout": {"percent": 0}})
        for first in range(0, PEOPLE, LINES):
            last = min(first + LINES, PEOPLE)
            lines = [{"endUserId": f"u{i}", "attributes": {"plan": "pro"}} for i in range(first, last)]
            _import(server, b"\n".join(json.dumps(line).encode() for line in lines), last - first)
        other = server.journey(STEPS, "bench.probed")
        predicate = {"kind": "attribute", "fieldPath": "plan", "operator": "equals", "value": "pro"}
        audience = server.call("POST", "/api/audiences", {"name": "Bench", "predicate": predicate})["id"]
        before = server.status()
        seconds = _backfilled(server, audience)
        after = server.status()
        yield "backfill.subjects_per_second", PEOPLE / seconds, "1/s"
        yield "backfill.cpu_microseconds_per_subject", 1_000 * (after["cpu_ms"] - before["cpu_ms"]) / PEOPLE, "us"
        yield "backfill.rss_mb", after["rss_kb"] / 1024, "MB"
        calm = _trickled(server, other, "calm", lambda: time.sleep(CALM_SECONDS))
        beside: list[float] = []
        busy = _trickled(server, other, "busy", lambda: beside.append(_backfilled(server, audience)))
        yield "backfill.beside_subjects_per_second", PEOPLE / beside[0], "1/s"
        yield "backfill.calm_p99_ms", _p99(calm), "ms"
        yield "backfill.triggered_p99_ms", _p99(busy), "ms"


def _backfilled(server: Served, audience: str) -> float:
    """Seconds from publishing a journey over that audience to the last entry's being counted."""
    body = {"name": "Bench", "audienceId": audience, "steps": ENTRY}
    journey = str(server.call("POST", "/api/journeys", body)["id"])
    begun = time.perf_counter()
    server.call("POST", f"/api/journeys/{journey}/publish")
    connection = server.connect()
    while not _is_done(server, journey, connection):
        time.sleep(0.1)
    return time.perf_counter() - begun


def _is_done(server: Served, journey: str, connection: http.client.HTTPConnection) -> bool:
    stats = server.call("GET", f"/api/journeys/{journey}/step-stats", None, connection)
    return bool({step["stepId"]: step["executed"] for step in stats}.get("exit", 0) >= PEOPLE)


def _trickled(server: Served, journey: str, name: str, meanwhile: Callable[[], None]) -> list[float]:
    """Start people at an even pace while something else goes on; the milliseconds of those that were followed."""
    found: list[float] = []
    stop, begun = threading.Event(), time.perf_counter()

    def post(mine: int) -> None:
        connection = server.connect()
        for number in range(mine, 1 << 30, POSTERS):
            if stop.wait(max(0.0, begun + number / STARTS_PER_SECOND - time.perf_counter())):
                return
            taken = _started(server, journey, f"{name}{number}", connection, follow=number % PROBED == 0)
            if taken is not None:
                found.append(taken)

    threads = [threading.Thread(target=post, args=(i,)) for i in range(POSTERS)]
    for thread in threads:
        thread.start()
    try:
        meanwhile()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return found


def _started(
    server: Served, journey: str, user: str, connection: http.client.HTTPConnection, *, follow: bool
) -> float | None:
    """Post an event; milliseconds until its execution is there, where that is followed."""
    begun = time.perf_counter()
    event = {"id": f"e-{user}", "type": "bench.probed", "endUserId": user, "data": {"plan": "pro"}}
    server.call("POST", "/api/events", event, connection)
    if not follow:
        return None
    while not server.call("GET", f"/api/journeys/{journey}/executions?endUserId={user}", None, connection):
        time.sleep(0.002)
    return (time.perf_counter() - begun) * 1_000


def _p99(figures_ms: list[float]) -> float:
    return sorted(figures_ms)[int(0.99 * (len(figures_ms) - 1))]


def _import(server: Served, lines: bytes, count: int) -> None:
    connection = server.connect()
    headers = {"Cookie": "session=bench-session", "Content-Type": "application/x-ndjson"}
    connection.request("POST", "/api/subjects:import", body=lines, headers=headers)
    assert count == json.loads(connection.getresponse().read())["created"]
