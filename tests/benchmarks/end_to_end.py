"""Trigger, condition branch, send, exit: from accepted events to messages at a recording sender, all durable.

The clock runs from the first POST until step-stats say that the last send was executed and the last execution
completed, so reading the log, planning, committing, sending, publishing and projecting are all in it.
"""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

from tests.benchmarks.served import Served, served

PEOPLE = 10_000
BATCH = 500
POSTERS = 2
STEPS: list[dict[str, Any]] = [
    {"id": "trigger", "type": "trigger", "mode": "event", "next": "branch"},
    {
        "id": "branch", "type": "branch", "mode": "condition", "default": "exit",
        "branches": [
            {
                "id": "pro",
                "condition": {"kind": "event_attribute", "fieldPath": "plan", "operator": "equals", "value": "pro"},
                "next": "mail",
            }
        ],
    },
    {"id": "mail", "type": "send", "channel": "email", "communicationId": "$mail", "next": "exit"},
    {"id": "exit", "type": "exit"},
]  # fmt: skip


def figures() -> Iterator[tuple[str, float, str]]:
    """embedded.executions_per_second, import.subjects_per_second, latency.first_effect_p99_ms"""
    with served() as server:
        lines = b"\n".join(
            json.dumps(
                {
                    "endUserId": f"u{i}",
                    "attributes": {"firstName": f"P{i}"},
                    "addresses": {"email": f"p{i}@example.com"},
                }
            ).encode()
            for i in range(PEOPLE)
        )
        begun = time.perf_counter()
        _import(server, lines)
        yield "import.subjects_per_second", PEOPLE / (time.perf_counter() - begun), "1/s"
        server.call("PATCH", "/api/workspace", {"holdout": {"percent": 0}})
        journey = server.journey(STEPS, "bench.started")
        _post(server, range(1_000), "warm")
        _until(server, journey, 1_000)
        begun = time.perf_counter()
        _post(server, range(PEOPLE), "run")
        accepted = time.perf_counter() - begun
        _until(server, journey, 1_000 + PEOPLE)
        seconds = time.perf_counter() - begun
        yield "embedded.executions_per_second", PEOPLE / seconds, "1/s"
        yield "embedded.accepted_per_second", PEOPLE / accepted, "1/s"


def _import(server: Served, lines: bytes) -> None:
    connection = server.connect()
    headers = {"Cookie": "session=bench-session", "Content-Type": "application/x-ndjson"}
    connection.request("POST", "/api/subjects:import", body=lines, headers=headers)
    answer = connection.getresponse()
    body = json.loads(answer.read())
    assert PEOPLE == body["created"], body


def _post(server: Served, people: range, run: str) -> None:
    batches = [people[i : i + BATCH] for i in range(0, len(people), BATCH)]

    def post(mine: list[range]) -> None:
        connection = server.connect()
        for batch in mine:
            events = [
                {"id": f"{run}-{i}", "type": "bench.started", "endUserId": f"u{i}", "data": {"plan": "pro"}}
                for i in batch
            ]
            server.call("POST", "/api/events", {"events": events}, connection)

    threads = [threading.Thread(target=post, args=(batches[i::POSTERS],)) for i in range(POSTERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _until(server: Served, journey: str, count: int) -> None:
    connection = server.connect()
    while True:
        stats = server.call("GET", f"/api/journeys/{journey}/step-stats", None, connection)
        executed = {step["stepId"]: step["executed"] for step in stats}
        if executed.get("mail", 0) >= count and executed.get("exit", 0) >= count:
            return
        time.sleep(0.05)
