"""The product as a process of its own, and a client that speaks to it as a customer's program would.

Law: nothing here looks into the product; what these tests know, anybody can learn over HTTP.
"""

import http.client
import json as jsonlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 60.0
T = TypeVar("T")
_UNSET: Any = object()


def eventually(look: Callable[[], T], *, seconds: float = 10.0) -> T:
    """What `look` returns once it is truthy and raises no AssertionError any more."""
    end = time.monotonic() + seconds
    pause = 0.01
    while True:
        complaint = "it stayed empty"
        try:
            if found := look():
                return found
        except AssertionError as error:
            complaint = str(error)
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {complaint}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)


class Reply:
    """An answer: `body` is the decoded JSON, else the text."""

    def __init__(self, what: str, status: int, headers: Mapping[str, str], raw: bytes) -> None:
        self.what = what
        self.status = status
        self.headers = headers
        self.raw = raw
        self.body: Any = raw.decode("utf-8", "replace")
        if "json" in headers.get("content-type", "") and raw:
            self.body = jsonlib.loads(raw)

    def ok(self, status: int = 200) -> Any:
        """The body of an answer of exactly that status."""
        assert status == self.status, f"{self.what} answered {self.status}, expected {status}: {self._shown()}"
        return self.body

    def problem(self, status: int, code: str | None = None) -> Any:
        """The body of a refusal, which has the shape that every refusal has."""
        body = self.ok(status)
        assert "application/problem+json" == self.headers["content-type"], self.what
        assert {"type", "title", "status", "detail", "instance", "code", "requestId"} <= body.keys(), self._shown()
        assert status == body["status"]
        assert body["requestId"] == self.headers["x-request-id"]
        assert re.fullmatch(r"[a-z][a-z_]*", body["code"])
        for fault in body.get("errors", []):
            assert {"path", "code", "message"} == fault.keys()
            assert fault["path"] == "" or fault["path"].startswith("/")
        if code is not None:
            assert code == body["code"], f"{self.what}: {self._shown()}"
        return body

    def refused(self) -> Any:
        """The body of any refusal that is the caller's fault."""
        assert 400 <= self.status < 500, f"{self.what} answered {self.status}: {self._shown()}"
        return self.problem(self.status)

    def next_path(self) -> str | None:
        """Where the Link header says the next page is."""
        found = re.search(r'<([^>]*)>\s*;\s*rel="next"', self.headers.get("link", ""))
        if found is None:
            return None
        parts = urlsplit(found[1])
        return f"{parts.path}?{parts.query}"

    def _shown(self) -> str:
        return str(self.body)[:600]


def fault_codes(problem: Mapping[str, Any]) -> list[str]:
    """The codes of a problem's faults, in order."""
    return [fault["code"] for fault in problem.get("errors", [])]


def fault_paths(problem: Mapping[str, Any]) -> set[str]:
    """Where a problem's faults are."""
    return {fault["path"] for fault in problem.get("errors", [])}


class Client:
    """Requests with one set of credentials, each on a fresh connection."""

    def __init__(self, port: int, headers: Mapping[str, str] | None = None) -> None:
        self.port = port
        self._headers = dict(headers or {})

    def request(
        self,
        method: str,
        path: str,
        json: Any = _UNSET,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60.0,
    ) -> Reply:
        """One request. `raw` is sent as it is."""
        sent = {**self._headers}
        body = raw
        if json is not _UNSET:
            body = jsonlib.dumps(json).encode()
            sent["Content-Type"] = "application/json"
        sent.update(headers or {})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            try:
                connection.request(method, path, body=body, headers=sent)
            except (BrokenPipeError, ConnectionResetError):
                if body is None or len(body) < 100_000:
                    raise  # a large body may be refused before it was read: the answer is there all the same
            answer = connection.getresponse()
            got = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(f"{method} {path[:120]}", answer.status, got, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **more: Any) -> Reply:
        """GET."""
        return self.request("GET", path, **more)

    def post(self, path: str, json: Any = _UNSET, **more: Any) -> Reply:
        """POST."""
        return self.request("POST", path, json, **more)

    def put(self, path: str, json: Any = _UNSET, **more: Any) -> Reply:
        """PUT."""
        return self.request("PUT", path, json, **more)

    def patch(self, path: str, json: Any = _UNSET, **more: Any) -> Reply:
        """PATCH."""
        return self.request("PATCH", path, json, **more)

    def delete(self, path: str, **more: Any) -> Reply:
        """DELETE."""
        return self.request("DELETE", path, **more)

    def all_of(self, path: str) -> list[Any]:
        """Every item of a list, page after page."""
        items: list[Any] = []
        onward: str | None = path
        while onward is not None:
            reply = self.get(onward)
            page = reply.ok()
            assert isinstance(page, list), f"{onward}: a list is a bare array"
            items += page
            onward = reply.next_path()
        return items


def by_session(port: int, token: str) -> Client:
    """A client with a session cookie."""
    return Client(port, {"Cookie": f"session={token}"})


def by_key(port: int, key: str) -> Client:
    """A client with an API key."""
    return Client(port, {"x-api-key": key})


def by_bearer(port: int, key: str) -> Client:
    """A client of the internal routes."""
    return Client(port, {"Authorization": f"Bearer {key}"})


class Server:
    """One server process with a data folder of its own. `env`: None unsets a variable."""

    def __init__(self, env: Mapping[str, str | None] | None = None) -> None:
        self.port = _free_port()
        self.token = f"owner-{secrets.token_hex(12)}"
        self.sync_keys = (f"sync-{secrets.token_hex(12)}", f"spare-{secrets.token_hex(12)}")
        self.folder = Path(tempfile.mkdtemp(prefix="journeys-e2e-"))
        self._env = dict(env or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def owner(self) -> Client:
        """The owner of the first workspace."""
        return by_session(self.port, self.token)

    @property
    def internal(self) -> Client:
        """Our own machinery."""
        return by_bearer(self.port, self.sync_keys[0])

    @property
    def anyone(self) -> Client:
        """Somebody without credentials."""
        return Client(self.port)

    def start(self) -> "Server":
        """Start, and wait until it is ready."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("JOURNEYS_")}
        env |= {
            "JOURNEYS_BOOTSTRAP_TOKEN": self.token,
            "SYNC_API_KEY": ",".join(self.sync_keys),
            "JOURNEYS_DEV_CLOCK": "1",
        }
        for name, value in self._env.items():
            env.pop(name, None)
            if value is not None:
                env[name] = value
        command = [str(Path(sys.executable).with_name("journeys")), "serve", "--port", str(self.port)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--data", str(self.folder / "data")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                cwd=ROOT,
            )
        eventually(self._is_ready, seconds=READY_SECONDS)
        return self

    def kill(self) -> None:
        """End it where it stands."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to stop; its exit status."""
        return self._end(signal.SIGTERM)

    def close(self) -> None:
        """End it and remove its folder."""
        self._end(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """What it wrote."""
        return (self.folder / "log").read_text(errors="replace")

    def _end(self, number: int) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(timeout=30)

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the server ended with {self._process.returncode}: {self.log()[-2000:]}")
        try:
            return self.anyone.get("/readyz", timeout=5).status == 200
        except OSError:
            return False


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port
