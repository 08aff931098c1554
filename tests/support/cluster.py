"""The product as separate processes on real servers: authoring, analytics, runtimes (two, unless told) and a gateway."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.server import ROOT, Client, by_bearer, by_session, eventually
from tests.support.ports import server_ports
from tests.support.servers import OwnPlace

READY_SECONDS = 180.0
RUNTIMES = ("runtime", "runtime-2")


class Cluster:
    """Processes over a database and topics of their own. The gateway speaks to the first runtime."""

    def __init__(self, place: OwnPlace, runtimes: Sequence[str] = RUNTIMES) -> None:
        self._runtimes = tuple(runtimes)
        self._folder = Path(tempfile.mkdtemp(prefix="journeys-cluster-"))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logged: dict[str, int] = {}  # what a process wrote begins there in its log
        ports = server_ports(3 + len(self._runtimes))
        self.port = ports[-1]
        self._listen = dict(zip(("authoring", "analytics", *self._runtimes), ports, strict=False))
        self._sync_key = f"sync-{secrets.token_hex(12)}"
        store, log = place.settings
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("JOURNEYS_")},
            "JOURNEYS_STORE": store,
            "JOURNEYS_LOG": log,
            "JOURNEYS_AUTHORING_ADDRESS": f"127.0.0.1:{self._listen['authoring']}",
            "JOURNEYS_ANALYTICS_ADDRESS": f"127.0.0.1:{self._listen['analytics']}",
            "JOURNEYS_RUNTIME_ADDRESS": f"127.0.0.1:{self._listen['runtime']}",
            "JOURNEYS_HTTP_PORT": str(self.port),
            "SYNC_API_KEY": self._sync_key,
        }

    def start(self) -> "Cluster":
        """Migrate, start everything, and wait until the gateway says that all of it is ready."""
        journeys = str(Path(sys.executable).with_name("journeys"))
        done = subprocess.run(
            [journeys, "migrate"], env=self._environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return self.whole()

    def whole(self) -> "Cluster":
        """Start what does not run, and wait until all of it is ready."""
        for name in ("authoring", "analytics", *self._runtimes):
            if name not in self._processes:
                self.begin(name)
        if "gateway" not in self._processes:
            self._begin("gateway", "gateway", {})
        eventually(self._is_ready, seconds=READY_SECONDS)
        return self

    @property
    def internal(self) -> Client:
        """Our own machinery."""
        return by_bearer(self.port, self._sync_key)

    def begin(self, name: str) -> None:
        """Start one service."""
        module = f"services.{name.partition('-')[0]}"
        self._begin(name, module, {"JOURNEYS_LISTEN": f"127.0.0.1:{self._listen[name]}"})

    def kill(self, name: str) -> None:
        """kill -9."""
        self.send(name, signal.SIGKILL)
        self._processes.pop(name).wait(30)

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal."""
        self._processes[name].send_signal(number)

    def stop(self, name: str) -> int:
        """Ask one to stop; its exit status."""
        self.send(name, signal.SIGTERM)
        return self._processes.pop(name).wait(30)

    def workspace(self) -> Client:
        """The owner of a new workspace in which nobody is held out."""
        body = {"name": "Cluster", "ownerEmail": "owner@example.com"}
        made = self.internal.post("/api/journeys/internal/workspaces", body).ok(201)
        owner = by_session(self.port, made["sessionToken"])
        owner.patch("/api/workspace", {"holdout": {"percent": 0}}).ok()
        return owner

    def pids(self) -> dict[str, int]:
        """The processes that run, by name."""
        return {name: process.pid for name, process in self._processes.items()}

    def log(self, name: str) -> str:
        """What a process wrote."""
        return (self._folder / f"{name}.log").read_text(errors="replace")

    def close(self) -> None:
        """End everything."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait(30)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _begin(self, name: str, module: str, more: dict[str, str]) -> None:
        with (self._folder / f"{name}.log").open("ab") as output:
            self._logged[name] = output.tell()
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**self._environment, **more},
                cwd=ROOT,
            )

    def _is_ready(self) -> bool:
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with {process.returncode}: {self.log(name)[-2000:]}")
            # Each says so when it is open: the gateway asks only one of several runtimes.
            written = (self._folder / f"{name}.log").read_bytes()[self._logged[name] :]
            if b"listens on" not in written and name != "gateway":
                return False
        try:
            return Client(self.port).get("/readyz", timeout=5).status == 200
        except OSError:
            return False
