"""What a server costs that has nothing to do."""

import time
from collections.abc import Iterator

from tests.benchmarks.served import served

SECONDS = 10


def figures() -> Iterator[tuple[str, float, str]]:
    """idle.cpu_percent (of one core), idle.rss_mb"""
    with served() as server:
        server.call("GET", "/api/journeys")
        time.sleep(2)
        before = server.status()
        time.sleep(SECONDS)
        after = server.status()
        yield "idle.cpu_percent", (after["cpu_ms"] - before["cpu_ms"]) / (SECONDS * 10), "%"
        yield "idle.rss_mb", after["rss_kb"] / 1024, "MB"
