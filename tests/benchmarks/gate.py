"""The gate before a send, for a subject in memory: every check passes, with quiet hours, caps and past sends."""

import time
from collections.abc import Iterator

from services.domain.execution.caps import FrequencyCap, Reservation
from services.domain.execution.eligibility import send_verdict
from services.domain.execution.quiet_hours import QuietHours
from services.domain.execution.triggers import Rules
from tests.support.walking import DAY, HOUR, T0, view_of

RUNS, ROUNDS = 10, 2_000


def figures() -> Iterator[tuple[str, float, str]]:
    """gate.microseconds"""
    caps = (FrequencyCap(max=10, per_ms=7 * DAY, channel="email"), FrequencyCap(max=20, per_ms=30 * DAY))
    sends = tuple(Reservation(f"send-{i}", "key", "email", T0 - i * HOUR) for i in range(1, 9))
    view = view_of(
        zone="Europe/Berlin",
        suppressed=frozenset({"other@example.com"}),
        rules=Rules(QuietHours("22:00", "08:00"), caps, daily_cap=9),
        reservations=sends,
    )
    assert send_verdict("email", None, view, T0, "send-0").reason is None
    # The best of several short runs: what the code costs, not what its neighbours on the machine do.
    yield "gate.microseconds", min(_timed(view) for _ in range(RUNS)) / ROUNDS * 1e6, "us"


def _timed(view: object) -> float:
    begun = time.process_time()
    for _ in range(ROUNDS):
        send_verdict("email", None, view, T0, "send-0")  # type: ignore[arg-type]
    return time.process_time() - begun
