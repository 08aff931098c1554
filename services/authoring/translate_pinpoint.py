"""Translate a Pinpoint export, beside the event loop and out of its way.

Law: a translation is a process of its own, so that 20 MB of somebody's export neither hold up the people in journeys
nor stay in this process' memory. Few run at a time; who has to wait too long is told to come again.
"""

import asyncio
import sys
from dataclasses import dataclass, field
from typing import Final

import msgspec
import structlog

from services.domain.errors import Fault, Invalid, Late, Unavailable
from services.domain.times import DAY_MS
from services.infra.clock import Clock

AT_ONCE: Final = 1  # a translation takes a whole processor
MAX_WAITING: Final = 8  # requests of up to 20 MB each, held in memory
SECONDS: Final = 60.0
MODULE: Final = "services.authoring.pinpoint"
REFUSED: Final = 3  # as services/authoring/pinpoint/__main__.py says

_log = structlog.get_logger(__name__)


class _Refusal(msgspec.Struct):
    reason: str
    message: str
    faults: list[tuple[str, str, str]]


@dataclass
class TranslatePinpoint:
    """The request's JSON into the answer's. Raises Invalid (invalid_json, validation_error, payload_too_large,
    not_an_export, translation_incomplete), Unavailable, Late.
    """

    clock: Clock
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _waiting: int = 0

    async def __call__(self, request: bytes) -> bytes:
        if self._waiting >= MAX_WAITING:
            raise Unavailable("Other translations are under way.")
        self._waiting += 1
        try:
            async with self._turns:
                return await self._translated(request)
        finally:
            self._waiting -= 1

    async def _translated(self, request: bytes) -> bytes:
        now_ms = self.clock.now_ms()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # the folder in which the server happened to be started is no place for code
            "-m",
            MODULE,
            str(now_ms - now_ms % DAY_MS),  # without `now`, today: the same all day, so that bytes are
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(SECONDS):
                answer, complaint = await process.communicate(request)
        except TimeoutError:
            raise Late("The export takes too long to translate; send it in parts.") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        status = process.returncode or 0
        if status == 0:
            return answer
        if status == REFUSED:
            refusal = msgspec.json.decode(answer, type=_Refusal)
            raise Invalid(refusal.reason, refusal.message, [Fault(*fault) for fault in refusal.faults])
        if status < 0:
            # Stopped from outside, for want of memory most likely.
            _log.warning("translation.stopped", signal=-status)
            raise Unavailable("The translation was stopped.")
        # The export itself is never logged: it holds addresses and account numbers. A traceback holds lines of code.
        lines = complaint.decode("utf-8", "replace").strip().splitlines()
        raise RuntimeError(f"translation failed: {lines[-1].partition(':')[0] if lines else status}")
