"""Events that nobody listens to, in batches of 500, and single posts from 32 connections: accepted means durable."""

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.benchmarks.served import Served, served

EVENTS = 40_000
BATCH = 500
SINGLES = 6_000
CONNECTIONS = 32


def figures() -> Iterator[tuple[str, float, str]]:
    """gateway.events_per_second, intake.unmatched_events_per_second, gateway.requests_per_second"""
    with served() as server:
        batches = [
            {"events": [_event(f"e{j}", j) for j in range(first, first + BATCH)]} for first in range(0, EVENTS, BATCH)
        ]
        seconds = _side_by_side(server, 4, batches)
        yield "gateway.events_per_second", EVENTS / seconds, "1/s"
        yield "intake.unmatched_events_per_second", EVENTS / seconds, "1/s"
        seconds = _side_by_side(server, CONNECTIONS, [_event(f"s{i}", i) for i in range(SINGLES)])
        yield "gateway.requests_per_second", SINGLES / seconds, "1/s"


def _event(event_id: str, number: int) -> dict[str, Any]:
    return {
        "id": event_id,
        "type": "page.viewed",
        "endUserId": f"u{number % 5000}",
        "data": {"path": "/x", "n": number},
    }


def _side_by_side(server: Served, connections: int, bodies: Sequence[Mapping[str, Any]]) -> float:
    """Post all bodies over so many connections; seconds until the last was answered."""
    encoded = [json.dumps(body).encode() for body in bodies]

    def work(mine: Sequence[bytes]) -> None:
        connection = server.connect()
        for body in mine:
            server.call("POST", "/api/events", body, connection)

    threads = [threading.Thread(target=work, args=(encoded[i::connections],)) for i in range(connections)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begun
