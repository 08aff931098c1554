"""Time that a developer moves by hand, and everything that follows it.

Law: time jumps from one due moment to the next and never over one. Before each jump everything that was accepted
or became due has been handled, so what a timer starts is seen by the timers after it.

    advance(d):  settle -> least due <= target? -> move there -> settle -> ... -> move to the target -> settle

The clock is real time plus an offset; while work is done at a moment, real milliseconds pass and are counted. A
timer that must be exact plans with the moment it was due, not with the clock.
Source: runtime design 5, contract 7.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import structlog

from services.domain.errors import Late
from services.infra.clock import SystemClock

# So many jumps go to the exact moment; after them everything due within a second is fired together. A hundred
# thousand timers spread over an hour are then 3,600 jumps instead of as many as there are timers.
EXACT_JUMPS: Final = 1_000
TOGETHER_MS: Final = 1_000
# How long a component may sit idle on something that is due before we say that it will never handle it.
PATIENCE_SECONDS: Final = 10.0
# Pauses between looks, in seconds: first the loop's other tasks run, then a thread or a disk gets its time.
_PAUSES: Final = (0.0, 0.0, 0.0, 0.001, 0.001, 0.002, 0.003, 0.005)
_YIELDS: Final = 6  # rounds of the loop in which whoever waits for the clock wakes up and begins

_log = structlog.get_logger(__name__)


class Component(Protocol):
    """Something that works when time passes."""

    name: str

    async def idle(self) -> bool:
        """Whether nothing accepted is unhandled: no lag, no cycle running, nothing in a queue."""

    async def next_due(self) -> int | None:
        """The least moment (ms since 1970) at which there is something to do; None: there is none.

        A moment that has come counts until it is handled. Housekeeping that comes round for ever is left out:
        every round would be a stop on the way.
        """


class DevClock:
    """Moves a SystemClock for all components at once. `save` stores the clock's offset in ms."""

    def __init__(
        self,
        clock: SystemClock,
        components: Sequence[Component],
        *,
        save: Callable[[int], Awaitable[None]],
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._clock = clock
        self._components = tuple(components)
        self._save = save
        self._patience = patience_seconds
        self._turn = asyncio.Lock()

    async def advance(self, ms: int) -> int:
        """Move time forward by `ms` >= 0, firing what is due in order, and return the time it is then (ms).

        Concurrent calls take turns. Raises ValueError for a negative `ms`, and Late if a component does not
        handle what is due; the time reached so far stays.
        """
        if ms < 0:
            raise ValueError("time does not go back")
        async with self._turn:
            target = self._clock.now_ms() + ms
            # First, so that a crash on the way leaves a later clock and never one before what is already stored.
            await self._save(self._clock.offset_ms + ms)
            try:
                jumps = await self._travel(target)
            finally:
                await asyncio.shield(self._save(self._clock.offset_ms))
            now = self._clock.now_ms()
            _log.info("clock.advanced", by_ms=ms, now=now, jumps=jumps)
            return now

    async def _travel(self, target: int) -> int:
        jumps = 0
        due = await self._settled()
        while due is not None and due <= target:
            jumps += 1
            self._move_to(due if jumps <= EXACT_JUMPS else min(due + TOGETHER_MS - 1, target))
            due = await self._settled()
        self._move_to(target)
        await self._settled()
        return jumps

    def _move_to(self, moment: int) -> None:
        # Real time may have carried the clock there already.
        self._clock.move(max(0, moment - self._clock.now_ms()))

    async def _settled(self) -> int | None:
        """Wait until all components are idle twice in a row with nothing due; return the least moment to come."""
        quiet, look, waiting_since = 0, 0, time.monotonic()
        while True:
            for _ in range(_YIELDS):
                await asyncio.sleep(0)
            if pause := _PAUSES[min(look, len(_PAUSES) - 1)]:
                await asyncio.sleep(pause)
            look += 1
            if not await self._all_idle():
                quiet, waiting_since = 0, time.monotonic()
                continue
            due, name = await self._least()
            if due is not None and due <= self._clock.now_ms():
                quiet = 0
                if time.monotonic() - waiting_since > self._patience:
                    raise Late(f"{name} does not handle what was due at {due}.")
                continue
            quiet += 1
            look = 0
            if quiet == 2:
                return due

    async def _all_idle(self) -> bool:
        for component in self._components:
            if not await component.idle():
                return False
        return True

    async def _least(self) -> tuple[int | None, str]:
        least: int | None = None
        name = ""
        for component in self._components:
            due = await component.next_due()
            if due is not None and (least is None or due < least):
                least, name = due, component.name
        return least, name
