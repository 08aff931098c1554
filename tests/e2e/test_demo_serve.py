"""`make run`: a filled workspace, and three lines that work as printed. Then the command against that server."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server import eventually

EXAMPLES = Path(__file__).parents[2] / "examples"
COMMAND = [sys.executable, "-m", "journeys_cli"]


class Demo:
    """`journeys serve --demo` on a directory of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start it and wait until it has said everything; returns what it said."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("JOURNEYS_", "SYNC_API_KEY"))}
        with self.out.open("wb") as out, (self.folder / "err").open("wb") as err:
            self._process = subprocess.Popen(
                [*COMMAND, "serve", "--demo", "--data", str(self.folder / "data"), "--port", "0"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment,
                cwd=self.folder,
            )
        eventually(lambda: self.out.read_text().count("  curl ") == 3, seconds=60)
        return self.out.read_text()

    def stop(self) -> int:
        """SIGTERM; returns its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(20)

    def close(self) -> None:
        """However it stands, it ends."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A started one."""
    made = Demo(tmp_path_factory.mktemp("demo"))
    try:
        made.start()
        yield made
    finally:
        made.close()


def lines_of(said: str) -> list[str]:
    return [line.strip() for line in said.splitlines() if line.startswith("  curl ")]


def place_of(said: str) -> tuple[str, str]:
    """Address and session."""
    found = re.search(r"address  (\S+)\n  session  (\S+)\n", said)
    assert found is not None, said
    return found[1], found[2]


def shell(line: str) -> Any:
    """What a line gives when it is pasted into a shell."""
    ran = subprocess.run(
        ["/bin/sh", "-c", line.replace("curl ", "curl -sS ", 1)], capture_output=True, text=True, check=False
    )
    assert (0, "") == (ran.returncode, ran.stderr)
    return json.loads(ran.stdout)


def journeys(demo: Demo, *arguments: str) -> subprocess.CompletedProcess[str]:
    url, session = place_of(demo.out.read_text())
    environment = {**os.environ, "JOURNEYS_URL": url, "JOURNEYS_SESSION": session}
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, env=environment)


def test_people_are_walking_when_it_is_ready(demo: Demo) -> None:
    """Some wait, some have activated; all within a second or so."""
    said = demo.out.read_text()

    assert "51 people imported, journey 'welcome' published.\n37 people waiting in it; " in said


def test_the_three_lines_work_as_printed(demo: Demo) -> None:
    """Somebody signs up, an execution waits, a mail was sent."""
    post, executions, messages = lines_of(demo.out.read_text())

    assert {"received": 1, "duplicates": 0, "errors": []} == shell(post)
    eventually(lambda: [m for m in shell(messages) if m["subject"] == "Welcome aboard, Robin"])
    mine = [run for run in shell(executions) if run["endUserId"] == "usr_you"]
    assert ["RUNNING"] == [run["status"] for run in mine]


def test_the_command_shows_the_same(demo: Demo) -> None:
    """Tables and JSON of a real server."""
    listed = json.loads(journeys(demo, "list", "-o", "json").stdout)
    stats = {row["stepId"]: row for row in json.loads(journeys(demo, "stats", "welcome", "-o", "json").stdout)}

    assert [("welcome", "published", 1)] == [(j["id"], j["status"], j["version"]) for j in listed]
    assert stats["welcome"]["executed"] + stats["welcome"]["skipped"] >= 50
    for arguments in (["show", "welcome"], ["executions", "welcome"], ["audit", "welcome", "--limit", "300"], ["list"]):
        ran = journeys(demo, *arguments)

        assert (0, "") == (ran.returncode, ran.stderr)
        assert len(ran.stdout.splitlines()) > 1


def test_steering_from_the_command(demo: Demo) -> None:
    """Pause, resume; a publish without draft is a conflict; what is not built says so."""
    assert [0, 0, 3, 1] == [
        journeys(demo, *arguments).returncode
        for arguments in (
            ["pause", "welcome"],
            ["resume", "welcome"],
            ["publish", "welcome"],
            ["show", "no-such-journey"],
        )
    ]


def test_a_second_run_of_a_file_is_all_duplicates(demo: Demo) -> None:
    """But for the events without id, as the sample says."""
    expected = json.loads((EXAMPLES / "events" / "messy-5000.expected.json").read_text(encoding="utf-8"))
    file = str(EXAMPLES / "events" / "messy-5000.ndjson")
    people = journeys(demo, "subjects", "import", str(EXAMPLES / "people" / "people-1000.ndjson"))
    first, second = (journeys(demo, "events", "send", file, "--output", "json") for _ in range(2))

    assert (0, "lines read  1,000") == (people.returncode, people.stdout.splitlines()[0])
    assert [1, 1] == [first.returncode, second.returncode]
    assert "journeys: 29 lines of 5,000 refused\n" == first.stderr
    counts, again = json.loads(first.stdout), json.loads(second.stdout)
    assert expected["accepted"] == counts["accepted"]
    assert expected["duplicates"]["total"] == counts["duplicates"]
    assert expected["malformed"]["byKind"] == counts["refused"]["byReason"]
    assert expected["secondRun"]["accepted"] == again["accepted"]
    assert expected["secondRun"]["duplicates"] == again["duplicates"]


def test_it_can_be_stopped_and_started_again(tmp_path: Path) -> None:
    """The second start prints the same session and adds nothing."""
    demo = Demo(tmp_path)
    try:
        first = demo.start()
        stopped_at = time.monotonic()
        assert 0 == demo.stop()
        assert time.monotonic() - stopped_at < 15

        second = demo.start()

        assert place_of(first)[1] == place_of(second)[1]
        assert "The workspace is as you left it" in second
        assert 50 == len({run["endUserId"] for run in shell(lines_of(second)[1])})
    finally:
        demo.close()
