"""The planner alone: microseconds a step, for trigger, condition branch, send, exit."""

import time
from collections.abc import Callable, Iterator

from tests.support.walking import EXIT, TRIGGER, occasion, send_step, start, version_of, view_of

RUNS, ROUNDS = 10, 2_000


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
    # The best of several short runs: what the code costs, not what its neighbours on the machine do.
    seconds = min(_timed(lambda: start(version, view, on=on)) for _ in range(RUNS))
    yield "planner.microseconds_per_step", seconds / ROUNDS / 4 * 1e6, "us"


def _timed(work: Callable[[], object]) -> float:
    begun = time.process_time()
    for _ in range(ROUNDS):
        work()
    return time.process_time() - begun
