"""Events that nobody listens to, in batches of 500, and single posts from 32 connections: accepted means durable."""

import json
import threading
import time
from collections.abc import Iterator

from tests.benchmarks.served import served

EVENTS = 40_000
BATCH = 500
SINGLES = 6_000
CONNECTIONS = 32


def figures() -> Iterator[tuple[str, float, str]]:
    """gateway.events_per_second, intake.unmatched_events_per_second, gateway.requests_per_second"""
    with served() as server:
        bodies = [
            json.dumps(
                {
                    "events": [
                        {
                            "id": f"e{j}",
                            "type": "page.viewed",
                            "endUserId": f"u{j % 5000}",
                            "data": {"path": "/x", "n": j},
                        }
                        for j in range(i, i + BATCH)
                    ]
                }
            ).encode()
            for i in range(0, EVENTS, BATCH)
        ]
        seconds = _side_by_side(
            4, [(lambda at, body=body: server.call("POST", "/api/events", body, at)) for body in bodies], server.connect
        )
        yield "gateway.events_per_second", EVENTS / seconds, "1/s"
        yield "intake.unmatched_events_per_second", EVENTS / seconds, "1/s"
        singles = [
            json.dumps({"id": f"s{i}", "type": "page.viewed", "endUserId": f"u{i % 5000}"}).encode()
            for i in range(SINGLES)
        ]
        seconds = _side_by_side(
            CONNECTIONS,
            [(lambda at, body=body: server.call("POST", "/api/events", body, at)) for body in singles],
            server.connect,
        )
        yield "gateway.requests_per_second", SINGLES / seconds, "1/s"


def _side_by_side(count: int, calls: list, connect: object) -> float:  # type: ignore[type-arg]
    def work(mine: list) -> None:  # type: ignore[type-arg]
        connection = connect()  # type: ignore[operator]
        for call in mine:
            call(connection)

    threads = [threading.Thread(target=work, args=(calls[i::count],)) for i in range(count)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begun
