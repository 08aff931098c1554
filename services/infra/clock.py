"""The one clock all code uses.

Law: nobody else asks the system for the time of day. Components take a Clock, so a test or a developer can
move time and every wait, lease, window and timestamp follows.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Time of day in milliseconds since 1970, UTC, and a way to wait for it."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01T00:00:00Z."""

    async def wait(self, event: asyncio.Event, until_ms: int | None) -> bool:
        """Wait until `event` is set (True) or the clock has reached `until_ms` (False). Does not clear the event."""


class SystemClock:
    """The machine's clock, plus an offset that only moves forward (0 unless this is a development clock)."""

    def __init__(self, offset_ms: int = 0) -> None:
        self.offset_ms = offset_ms
        self._moved = asyncio.Event()

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.offset_ms

    def move(self, by_ms: int) -> None:
        """Move time forward; everybody who waits looks again. Negative: ValueError."""
        if by_ms < 0:
            raise ValueError("time does not go back")
        self.offset_ms += by_ms
        self._moved.set()
        self._moved = asyncio.Event()

    async def wait(self, event: asyncio.Event, until_ms: int | None) -> bool:
        while True:
            if event.is_set():
                return True
            left = None if until_ms is None else (until_ms - self.now_ms()) / 1000
            if left is not None and left <= 0:
                return False
            await _first_of(event, self._moved, left)


class ManualClock:
    """A clock for tests: stands still until it is moved."""

    def __init__(self, now_ms: int = 1_777_554_000_000) -> None:
        self._now_ms = now_ms
        self._moved = asyncio.Event()

    def now_ms(self) -> int:
        return self._now_ms

    def move(self, by_ms: int) -> None:
        """Move time forward; everybody who waits looks again."""
        if by_ms < 0:
            raise ValueError("time does not go back")
        self._now_ms += by_ms
        self._moved.set()
        self._moved = asyncio.Event()

    async def wait(self, event: asyncio.Event, until_ms: int | None) -> bool:
        while True:
            if event.is_set():
                return True
            if until_ms is not None and self._now_ms >= until_ms:
                return False
            await _first_of(event, self._moved, None)


def moment(ms: int) -> datetime:
    """Milliseconds since 1970 as an aware UTC datetime."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)


async def _first_of(one: asyncio.Event, other: asyncio.Event, seconds: float | None) -> None:
    tasks = [asyncio.ensure_future(one.wait()), asyncio.ensure_future(other.wait())]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
