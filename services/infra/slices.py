"""Letting others have the loop.

Law: work over many things says between two of them that it could pause. It does so once it has had the loop for a
slice, so whoever came meanwhile waits for a slice and not for all of it.
"""

import asyncio
import time


class Slices:
    """Counts how long the loop was ours since the last pause. `seconds` is the length of a slice."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = time.monotonic() + seconds

    async def pause(self) -> None:
        """Let others have a turn if the slice is over; to be called where nothing is half done."""
        if time.monotonic() > self._until:
            await asyncio.sleep(0)
            self._until = time.monotonic() + self._seconds
