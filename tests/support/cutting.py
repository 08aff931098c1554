"""A proxy in front of a document server that loses what it is told to lose."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum

WRITES = (b"\x02insert\x00", b"\x02update\x00", b"\x02delete\x00")


class Loss(Enum):
    """What gets lost of a write: its request, which then never arrives, or its reply."""

    REQUEST = "request"
    REPLY = "reply"


class CuttingProxy:
    """Passes messages on; the next `losses` are taken from the writes that come, and end their connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.losses: list[Loss] = []
        self.lost = 0
        self._open: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client."""
        task: asyncio.Task[None] = asyncio.current_task()  # type: ignore[assignment]  # there is one in a coroutine
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._port)
        self._open[task] = writer, upstream
        try:
            while True:
                request = await _message(reader)
                loss = self.losses.pop(0) if self.losses and any(write in request for write in WRITES) else None
                if loss is Loss.REQUEST:
                    self.lost += 1
                    return
                upstream.write(request)
                await upstream.drain()
                reply = await _message(upstream_reader)
                if loss is Loss.REPLY:
                    self.lost += 1
                    return
                writer.write(reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            upstream.close()
            writer.close()
            del self._open[task]

    async def end(self) -> None:
        """Close what is open."""
        for writers in list(self._open.values()):
            for writer in writers:
                writer.close()
        if self._open:
            await asyncio.wait(list(self._open))


@asynccontextmanager
async def a_cutting_proxy(port: int) -> AsyncIterator[tuple[CuttingProxy, int]]:
    """A running one, and its port."""
    proxy = CuttingProxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    try:
        yield proxy, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await proxy.end()


async def _message(reader: asyncio.StreamReader) -> bytes:
    """One message of MongoDB's wire protocol: its length comes first."""
    head = await reader.readexactly(4)
    (length,) = struct.unpack("<i", head)
    return head + await reader.readexactly(length - 4)
