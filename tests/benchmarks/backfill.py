"""The first publish of a journey over an audience: everybody present enters.

The clock runs from the answer to publish until step-stats count the last of them, so looking at everybody, the
commands, the entries, the memberships, their publication and their projection are all in it. A second journey over
the same people is published while one event after another starts somebody in a third: `backfill.triggered_p99_ms` is
how long that takes from POST to execution meanwhile, `backfill.calm_p99_ms` the same on a server that does nothing
else.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

from tests.benchmarks.end_to_end import STEPS
from tests.benchmarks.served import Served, served

PEOPLE = 20_000
LINES = 5_000
PROBES = 40
ENTRY: list[dict[str, Any]] = [
    {"id": "trigger", "type": "trigger", "mode": "audience_entry", "next": "exit"},
    {"id": "exit", "type": "exit"},
]


def figures() -> Iterator[tuple[str, float, str]]:
    """backfill.subjects_per_second, backfill.triggered_p99_ms, backfill.calm_p99_ms"""
    with served() as server:
        server.call("PATCH", "/api/workspace", {"holdout": {"percent": 0}})
        for first in range(0, PEOPLE, LINES):
            lines = [{"endUserId": f"u{i}", "attributes": {"plan": "pro"}} for i in range(first, first + LINES)]
            _import(server, b"\n".join(json.dumps(line).encode() for line in lines))
        other = server.journey(STEPS, "bench.probed")
        calm = [_probe(server, other, f"calm{i}") for i in range(PROBES)]
        predicate = {"kind": "attribute", "fieldPath": "plan", "operator": "equals", "value": "pro"}
        audience = server.call("POST", "/api/audiences", {"name": "Bench", "predicate": predicate})["id"]
        begun = time.perf_counter()
        journey = _published(server, audience)
        while not _is_done(server, journey):
            time.sleep(0.05)
        yield "backfill.subjects_per_second", PEOPLE / (time.perf_counter() - begun), "1/s"
        journey, probes = _published(server, audience), list[float]()
        while not _is_done(server, journey):
            probes.append(_probe(server, other, f"busy{len(probes)}"))
            time.sleep(0.05)
        yield "backfill.calm_p99_ms", _p99(calm), "ms"
        yield "backfill.triggered_p99_ms", _p99(probes), "ms"


def _published(server: Served, audience: str) -> str:
    journey = str(server.call("POST", "/api/journeys", {"name": "Bench", "audienceId": audience, "steps": ENTRY})["id"])
    server.call("POST", f"/api/journeys/{journey}/publish")
    return journey


def _is_done(server: Served, journey: str) -> bool:
    stats = server.call("GET", f"/api/journeys/{journey}/step-stats")
    return bool({step["stepId"]: step["executed"] for step in stats}.get("exit", 0) >= PEOPLE)


def _probe(server: Served, journey: str, user: str) -> float:
    """Milliseconds from an event to the message it leads to."""
    begun = time.perf_counter()
    event = {"id": f"e-{user}", "type": "bench.probed", "endUserId": user, "data": {"plan": "pro"}}
    server.call("POST", "/api/events", event)
    connection = server.connect()
    while not server.call("GET", f"/api/journeys/{journey}/executions?endUserId={user}", None, connection):
        time.sleep(0.002)
    return (time.perf_counter() - begun) * 1_000


def _p99(figures_ms: list[float]) -> float:
    return sorted(figures_ms)[int(0.99 * (len(figures_ms) - 1))]


def _import(server: Served, lines: bytes) -> None:
    connection = server.connect()
    headers = {"Cookie": "session=bench-session", "Content-Type": "application/x-ndjson"}
    connection.request("POST", "/api/subjects:import", body=lines, headers=headers)
    assert LINES == json.loads(connection.getresponse().read())["created"]
