"""A server in a process of its own for benchmarks: embedded, durable, with a recording sender for e-mail.

`python -m tests.benchmarks.served FOLDER` prints its address and runs until SIGTERM.
"""

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TOKEN = "bench-session"


class Served:
    """Talks to the child."""

    def __init__(self, process: "subprocess.Popen[str]", url: str) -> None:
        self.process = process
        self.host = urlsplit(url).netloc

    def connect(self) -> http.client.HTTPConnection:
        """A connection of its own, for a thread."""
        return http.client.HTTPConnection(self.host, timeout=60)

    def call(self, method: str, path: str, body: object = None, at: http.client.HTTPConnection | None = None) -> Any:
        """One request; the decoded answer. Raises RuntimeError for anything but 2xx."""
        connection = at or self.connect()
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Cookie": f"session={TOKEN}", "Content-Type": "application/json"}
        connection.request(method, path, body=data, headers=headers)
        answer = connection.getresponse()
        raw = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {raw[:300]!r}")
        return json.loads(raw) if raw else None

    def journey(self, steps: list[dict[str, Any]], event: str) -> str:
        """Publish a journey that listens to `event`; `$mail` stands for a communication."""
        mail = self.call(
            "POST",
            "/api/communications",
            {
                "name": "Bench", "commType": "marketing", "channel": "email",
                "subject": "Hello {{ subject.firstName }}", "body": "<p>Hi {{ event.plan }}</p>", "text": "Hi",
            },
        )["id"]  # fmt: skip
        contract = self.call("POST", "/api/journey-triggers", {"name": "Bench", "eventName": event})["id"]
        text = json.dumps({"name": "Bench", "triggerContractId": contract, "steps": steps}).replace("$mail", mail)
        made = self.call("POST", "/api/journeys", text.encode())["id"]
        self.call("POST", f"/api/journeys/{made}/publish")
        return str(made)

    def status(self) -> dict[str, int]:
        """CPU time (ms) and resident memory (kB) of the child."""
        ticks = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        rss = next(
            line for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines() if "VmRSS" in line
        )
        cpu = (int(ticks[11]) + int(ticks[12])) * 1000 // os.sysconf("SC_CLK_TCK")
        return {"cpu_ms": cpu, "rss_kb": int(rss.split()[1])}


@contextmanager
def served() -> Iterator[Served]:
    """A fresh server; its folder is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="journeys-bench-") as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.served", folder], stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            yield Served(process, url)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


async def _serve(folder: str) -> None:
    from services.all_in_one import running
    from services.infra.settings import ServeSettings
    from services.infra.telemetry import set_up_logging
    from tests.support.world import RecordingSender

    set_up_logging("error")
    settings = ServeSettings.load(data_dir=folder, http_port=0, bootstrap_token=TOKEN, log_level="error")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with running(settings, senders={"email": RecordingSender()}) as at:
        sys.stdout.write(at.url + "\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
