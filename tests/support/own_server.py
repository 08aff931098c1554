"""A broker or document server of one test's own, to be killed and started again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ports import server_ports
from tests.support.servers import servers

LOCAL = Path(__file__).resolve().parents[2] / "deploy" / "local" / "local.py"
READY_SECONDS = 200.0


class OwnServer:
    """`log` or `store`, started as `make up` does, with its data in a folder of the test's."""

    def __init__(self, which: str, folder: Path) -> None:
        servers()  # skips where there are no servers to be had
        if which == "store" and os.environ.get("MONGODB_URI"):
            pytest.skip("MONGODB_URI names a server that is not ours to kill")
        self.which = which
        self._folder = folder
        (self.port,) = server_ports(neighbours=2)  # the broker's controller takes the second

    @property
    def mongodb(self) -> str:
        """The address of a document server."""
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"

    @property
    def kafka(self) -> str:
        """The address of a broker."""
        return f"kafka://127.0.0.1:{self.port}"

    def start(self) -> "OwnServer":
        """Start on whatever data there is, and wait until it answers."""
        self._local("up", self.which)
        return self

    def kill(self) -> None:
        """kill -9."""
        self.send(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(int((self._folder / f"{self.which}.pid").read_text()), number)

    def close(self) -> None:
        """End it."""
        self._local("down")

    def _local(self, *arguments: str) -> None:
        port = {"log": "JOURNEYS_KAFKA_PORT", "store": "JOURNEYS_MONGO_PORT"}[self.which]
        environment = {**os.environ, "JOURNEYS_LOCAL_STATE": str(self._folder), port: str(self.port)}
        done = subprocess.run(
            [sys.executable, str(LOCAL), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=READY_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
