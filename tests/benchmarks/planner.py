"""The planner alone: microseconds a step, for trigger, condition branch, send, exit."""

import time
from collections.abc import Iterator

from tests.support.walking import EXIT, TRIGGER, occasion, send_step, start, version_of, view_of

ROUNDS = 20_000


def figures() -> Iterator[tuple[str, float, str]]:
    """planner.microseconds_per_step"""
    pro = {"kind": "attribute", "fieldPath": "plan", "operator": "equals", "value": "pro"}
    branch = {
        "id": "branch", "type": "branch", "mode": "condition", "default": "exit",
        "branches": [{"id": "pro", "condition": pro, "next": "mail"}],
    }  # fmt: skip
    version = version_of([{**TRIGGER, "next": "branch"}, branch, send_step("mail", "exit"), EXIT])
    view, on = view_of(), occasion()
    start(version, view, on=on)
    begun = time.perf_counter()
    for _ in range(ROUNDS):
        start(version, view, on=on)
    seconds = time.perf_counter() - begun
    yield "planner.microseconds_per_step", seconds / ROUNDS / 4 * 1e6, "us"
