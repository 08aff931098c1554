"""A real server in a process of its own that tests may kill, and how they talk to it.

`python -m tests.e2e.crashing FOLDER PROMISE` serves the all-in-one on FOLDER/data with a sender for e-mail that
writes every message id to FOLDER/sends, fsynced, and dedupes nothing; with `hanging` for PROMISE it then never
comes back. At its end it says what it had imported.

Law: nothing here shares memory with the server. What a test knows it was told over HTTP, by an exit status, or by
the files that a killed process leaves.
"""

import asyncio
import http.client
import json
import os
import resource
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

STEP_SECONDS = 0.01  # between two looks
REPEAT_SECONDS = 0.05  # between two attempts at a server that does not answer
START_SECONDS = 30.0  # contract 7: ready within
STOP_SECONDS = 15.0  # contract 7: gone within
_OURS = ("JOURNEYS_", "SYNC_API_KEY")


def eventually(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Look again and again until `condition` holds; fail, naming what was waited for, if it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(STEP_SECONDS)


class Unanswered(Exception):
    """The connection broke, or nobody was there: whether it was done is not known."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body) if self.body else None


@dataclass(slots=True)
class Server:
    """One data folder and the process that serves it now. `restart_seconds`: each start, from spawn to ready."""

    folder: Path
    disk: Path | None = None  # where the data folder lies, if elsewhere
    command: tuple[str, ...] = ()  # what to run instead of the plain `journeys serve`
    environment: Mapping[str, str] = field(default_factory=dict)
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    url: str = ""
    restart_seconds: list[float] = field(default_factory=list)
    kills: int = 0
    process: "subprocess.Popen[bytes] | None" = None
    lines: "list[Line]" = field(default_factory=list)

    @property
    def data(self) -> Path:
        """The data folder."""
        return (self.disk or self.folder) / "data"

    @property
    def errors(self) -> str:
        """Everything this folder's servers wrote to stderr."""
        return (self.folder / "stderr").read_text() if (self.folder / "stderr").exists() else ""

    @property
    def output(self) -> str:
        """What the process of now wrote to stdout."""
        return (self.folder / "stdout").read_text()

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.process.poll() is None

    def line(self) -> "Line":
        """A connection that `close` hangs up."""
        self.lines.append(Line(self))
        return self.lines[-1]

    def spawn(self, *options: str, **environment: str) -> "subprocess.Popen[bytes]":
        """Start a process on the folder and do not wait for it."""
        command = self.command or ("-m", "journeys_cli", "serve", "--port", "0", "--data", str(self.data))
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        given = {"JOURNEYS_BOOTSTRAP_TOKEN": self.token, "JOURNEYS_LOG_LEVEL": "warning"}
        self.url = ""
        with (self.folder / "stdout").open("wb") as out, (self.folder / "stderr").open("ab") as err:
            self.process = subprocess.Popen(
                [sys.executable, *command, *options],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=self.folder,
                env={**inherited, **given, **self.environment, **environment},
            )  # fmt: skip
        return self.process

    def refused(self, *options: str, **environment: str) -> tuple[int, str]:
        """Start a process that is not to live: its exit status, and what it wrote to stderr."""
        before = len(self.errors)
        process = self.spawn(*options, **environment)
        status = process.wait(START_SECONDS)
        return status, self.errors[before:]

    def start(self, *options: str, **environment: str) -> "Server":
        """Start a process and wait until it is ready."""
        begun = time.monotonic()
        process = self.spawn(*options, **environment)
        self.await_address(process)
        eventually(self._is_ready, START_SECONDS, "/readyz")
        self.restart_seconds.append(time.monotonic() - begun)
        return self

    def await_address(self, process: "subprocess.Popen[bytes]") -> None:
        """Wait until it says where it listens."""

        def has_said() -> bool:
            assert process.poll() is None, f"the server ended with {process.returncode}: {self.errors[-2000:]}"
            said = [line for line in self.output.splitlines(True) if "http://" in line and line.endswith("\n")]
            self.url = said[-1].split()[-1] if said else ""
            return bool(said)

        eventually(has_said, START_SECONDS, "an address")

    def kill(self) -> None:
        """kill -9, wherever it is."""
        assert self.process is not None
        self.url = ""
        self.process.kill()
        self.process.wait()
        self.kills += 1

    def stop(self) -> int:
        """SIGTERM; the exit status. Fails if it takes longer than promised."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(STOP_SECONDS)
        self.url = ""
        return status

    def close(self) -> None:
        """Leave no process and no connection behind."""
        for line in self.lines:
            line.close()
        if self.process is not None and self.is_running:
            self.process.kill()
            self.process.wait()

    def allow(self, most_bytes: int) -> None:
        """From now on no file may grow beyond this size; -1: any size."""
        assert self.process is not None
        hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (most_bytes, hard))

    def used(self) -> tuple[float, float]:
        """CPU seconds so far, and resident MB."""
        assert self.process is not None
        ticks = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        status = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        rss = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
        return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK"), rss / 1024

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the server ended: {self.errors[-2000:]}"
        line = Line(self)
        try:
            return 200 == line.ask("GET", "/readyz").status
        except Unanswered:
            return False
        finally:
            line.close()


class Line:
    """A connection to whichever process serves now; for one thread."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection: http.client.HTTPConnection | None = None
        self._url = ""

    def ask(self, method: str, path: str, body: object = None, timeout: float = 20.0) -> Answer:
        """One request. Raises Unanswered."""
        url = self._server.url
        if not url:
            raise Unanswered("nobody listens")
        if self._connection is None or url != self._url:
            self.close()
            self._connection, self._url = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout), url
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Cookie": f"session={self._server.token}"}
        if data is not None:
            ndjson = path.startswith("/api/subjects:import")
            headers["Content-Type"] = "application/x-ndjson" if ndjson else "application/json"
        try:
            self._connection.request(method, path, body=data, headers=headers)
            answer = self._connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unanswered(str(error)) from error

    def get(self, path: str) -> Any:
        """A GET that has to succeed."""
        answer = self.ask("GET", path)
        assert 200 == answer.status, f"{path}: {answer.status} {answer.body[:300]!r}"
        return answer.json

    def do(self, method: str, path: str, body: object = None) -> Any:
        """A request that has to succeed."""
        answer = self.ask(method, path, body)
        assert answer.status < 300, f"{method} {path}: {answer.status} {answer.body[:900]!r}"
        return answer.json

    def pages(self, path: str) -> Iterator[Any]:
        """Every item of a list, page after page."""
        following: str | None = path
        while following is not None:
            answer = self.ask("GET", following)
            assert 200 == answer.status, f"{following}: {answer.status} {answer.body[:300]!r}"
            yield from answer.json
            link = answer.headers.get("Link", "")
            following = link[1 : link.index(">")] if link else None
            if following is not None:
                following = following.removeprefix(self._url)

    def insist(self, method: str, path: str, body: object, fit: set[int], seconds: float = 300.0) -> tuple[Answer, int]:
        """Repeat a request until the answer has one of these statuses; also how often nobody answered.

        5xx is a server that cannot just now. 401 is no server of ours: ports are given again.
        """
        deadline, unanswered = time.monotonic() + seconds, 0
        while True:
            try:
                answer = self.ask(method, path, body)
                if answer.status in fit:
                    return answer, unanswered
                if answer.status < 500 and answer.status != 401:
                    raise AssertionError(f"{method} {path}: {answer.status} {answer.body[:900]!r}")
            except Unanswered:
                pass
            unanswered += 1
            assert time.monotonic() < deadline, f"{method} {path} was not answered for {seconds:g} s"
            time.sleep(REPEAT_SECONDS)

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class FileSender:
    """Writes down each message id, durably, and dedupes nothing. A provider's answer takes its time."""

    def __init__(self, path: Path, promise: Any, *, hangs: bool = False) -> None:
        self.promise = promise
        self._answer_seconds = 3600.0 if hangs else 0.004
        self.at_once = 64
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def send(self, message: Any) -> None:
        await asyncio.to_thread(self._write, message.message_id)
        await asyncio.sleep(self._answer_seconds)  # here a kill finds a message that is sent and not yet known to be

    def _write(self, message_id: str) -> None:
        os.write(self._file, message_id.encode() + b"\n")  # one write: a kill leaves a line or none
        os.fsync(self._file)


async def _serve(folder: Path, promise: str) -> None:
    from services.all_in_one import running
    from services.infra.settings import ServeSettings
    from services.infra.telemetry import set_up_logging
    from services.runtime.senders.port import Promise

    set_up_logging("warning", "json")
    settings = ServeSettings.load(data_dir=str(folder / "data"), http_port=0)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    hangs = promise == "hanging"
    sender = FileSender(folder / "sends", Promise.AT_MOST_ONCE if hangs else Promise(promise), hangs=hangs)
    async with running(settings, senders={"email": sender}) as at:
        sys.stdout.write(f"{at.url}\n")
        sys.stdout.flush()
        await stop.wait()
    sys.stdout.write(json.dumps({"modules": sorted(sys.modules)}) + "\n")


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), sys.argv[2]))
