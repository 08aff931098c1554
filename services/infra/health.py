"""Whether what we depend on answers: a list of pings.

Law: health asks and reports; it mends nothing and decides nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable

Ping = Callable[[], Awaitable[object]]

PING_SECONDS = 2.0


class Health:
    """Named pings. A ping is an async function that returns when all is well and raises when it is not."""

    def __init__(self) -> None:
        self._pings: dict[str, Ping] = {}

    def add(self, name: str, ping: Ping) -> None:
        """Ask `ping` at each check; a name is taken once."""
        if name in self._pings:
            raise ValueError(f"there is already a ping called {name!r}")
        self._pings[name] = ping

    async def check(self, timeout: float = PING_SECONDS) -> dict[str, str | None]:
        """Ask all at once: the name of each ping, and None or one line saying what is wrong. Never raises."""
        answers = await asyncio.gather(*(_ask(ping, timeout) for ping in self._pings.values()))
        return dict(zip(self._pings, answers, strict=True))


async def _ask(ping: Ping, timeout: float) -> str | None:
    try:
        async with asyncio.timeout(timeout):
            await ping()
    except TimeoutError:
        return f"no answer within {timeout:g} s"
    except Exception as error:  # noqa: BLE001  # whatever a ping raises is its answer
        text = str(error).strip().partition("\n")[0]
        return text or type(error).__name__
    return None
