"""A server of our own for the length of a command: a child process on a free port."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from journeys_cli.outcome import Failed
from journeys_cli.text import printable

if TYPE_CHECKING:
    from journeys_client import Client

READY_SECONDS = 60.0
STOP_SECONDS = 15.0
_OURS = ("JOURNEYS_", "SYNC_API_KEY")


@dataclass(frozen=True, slots=True)
class LocalServer:
    """Where it is, and its owner's session."""

    url: str
    session: str


@contextmanager
def local_server(data: Path | None, log: Path) -> Iterator[LocalServer]:
    """Run a server with a development clock until the block ends; it keeps its data in `data`, or in memory.

    Raises Failed, with the last line of its log, if it does not get ready or is gone at the end.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = LocalServer(f"http://127.0.0.1:{port}", secrets.token_urlsafe(24))
    # The settings of this terminal's own server are not meant for this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    environment |= {
        "JOURNEYS_BOOTSTRAP_TOKEN": server.session,
        "JOURNEYS_DEV_CLOCK": "1",
        "JOURNEYS_LOG_LEVEL": "warning",
    }
    keep = ["--memory"] if data is None else ["--data", str(data)]
    command = [sys.executable, "-m", "journeys_cli", "serve", "--port", str(port), *keep]
    with log.open("wb") as output:
        # A session of its own: Ctrl-C reaches us alone, and we end it in order.
        process = subprocess.Popen(  # noqa: S603 - our own interpreter with fixed arguments
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    try:
        _await_ready(server, process, log)
        try:
            yield server
        except Exception as error:
            if process.poll() is not None:
                raise Failed(f"the server stopped: {_last_line(log)}") from error
            raise
    finally:
        _stop(process)


def local_client(server: LocalServer) -> "Client":
    """A client for it that asks no proxy, whatever the environment says."""
    import httpx2

    from journeys_client import Client

    return Client(server.url, session=server.session, timeout=120.0, transport=httpx2.HTTPTransport())


def _await_ready(server: LocalServer, process: "subprocess.Popen[bytes]", log: Path) -> None:
    import httpx2

    deadline = time.monotonic() + READY_SECONDS
    with httpx2.Client(base_url=server.url, transport=httpx2.HTTPTransport(), timeout=5.0) as http:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if http.get("/readyz").status_code == 200:
                    return
            except httpx2.HTTPError:
                pass
            time.sleep(0.05)
    state = f"was not ready in {READY_SECONDS:.0f} seconds" if process.poll() is None else "did not start"
    raise Failed(f"the server {state}: {_last_line(log)}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_line(log: Path) -> str:
    lines = log.read_bytes()[-4_000:].decode("utf-8", "replace").split("\n")
    return next((printable(line.strip()) for line in reversed(lines) if line.strip()), "it said nothing")
