"""`journeys serve --only`: some parts in this process, the others elsewhere."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from services import all_in_one
from services.all_in_one import serve
from tests.e2e.server import ROOT, Client, by_session, eventually
from tests.e2e.words import World, end, send, trigger, wait_event
from tests.support.servers import OwnPlace, servers

STORE, LOG = "mongodb://127.0.0.1:1/x", "kafka://127.0.0.1:1"
TOKEN = "a-session-of-the-test"


class TestRefused:
    """What cannot be meant is said before anything starts, all of it at once, with status 2."""

    @pytest.fixture(autouse=True)
    def _nothing_starts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(all_in_one, "_serve")

    @pytest.mark.parametrize("only", ["", " , "])
    def test_no_part_at_all(self, only: str, capsys: pytest.CaptureFixture[str]) -> None:
        """It says which there are."""
        assert 2 == serve(only=only)
        assert "authoring, runtime, analytics, gateway" in capsys.readouterr().err

    def test_parts_that_there_are_not(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Each by its name, once."""
        assert 2 == serve(only="runtime,runtme,Gateway,runtme", store=STORE, log=LOG)
        said = capsys.readouterr().err.splitlines()
        assert ["--only: runtme is none of", "--only: Gateway is none of"] == [
            line.partition(" auth")[0] for line in said
        ]

    def test_services_without_servers_that_all_can_reach(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A file is one process's."""
        assert 2 == serve(only="authoring,runtime")
        said = capsys.readouterr().err
        assert "--store mongodb://... (it is embedded)" in said
        assert "--log kafka://... (it is embedded)" in said

    def test_faults_of_the_option_and_of_the_settings_together(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever mends one would meet the next otherwise."""
        monkeypatch.setenv("JOURNEYS_RUNTIME_ADDRESS", "nowhere")
        monkeypatch.setenv("JOURNEYS_LISTEN_HOST", "no host!")

        assert 2 == serve(only="nothing", store="mysql://x")
        said = capsys.readouterr().err
        for name in ("--only: nothing", "JOURNEYS_STORE", "JOURNEYS_RUNTIME_ADDRESS", "JOURNEYS_LISTEN_HOST"):
            assert name in said

    def test_a_clock_that_the_others_would_not_follow(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also for the gateway alone, which needs neither store nor log."""
        monkeypatch.setenv("JOURNEYS_DEV_CLOCK", "1")

        assert 2 == serve(only="gateway")
        assert ["JOURNEYS_DEV_CLOCK"] == [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()]


class TestLeftFolders:
    """Folders of sockets in the temporary directory, which a server that is killed cannot remove."""

    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        """One with a socket, old enough; the socket answers as long as the test has it."""
        short = Path(tempfile.mkdtemp())  # a socket's path is short
        monkeypatch.setattr(tempfile, "tempdir", str(short))
        made = short / "journeys-left"
        made.mkdir()
        yield made
        for path in (*made.glob("*"), made, short):
            if path.is_dir():
                path.rmdir()
            elif path.exists():
                path.unlink()

    def test_one_where_nobody_answers_goes(self, folder: Path) -> None:
        """The next start clears it away."""
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(folder / "runtime"))
        os.utime(folder, (0, 0))

        all_in_one._clear_away()

        assert not folder.exists()

    def test_one_where_somebody_answers_stays(self, folder: Path) -> None:
        """Another server of this machine."""
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(folder / "runtime"))
            one.listen()
            os.utime(folder, (0, 0))
            all_in_one._clear_away()

        assert folder.exists()

    def test_one_with_anything_else_in_it_stays(self, folder: Path) -> None:
        """It is not ours, whatever it is called."""
        (folder / "thesis.txt").touch()
        os.utime(folder, (0, 0))

        all_in_one._clear_away()

        assert folder.exists()


@pytest.mark.integration
@pytest.mark.slow
def test_two_processes_make_one_server(tmp_path: Path) -> None:
    """Authors and reports here, people and the gateway there: a journey is made, walked, and counted."""
    place = OwnPlace(servers())
    ports = _free_ports(4)
    store, log = place.settings
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("JOURNEYS_")},
        "JOURNEYS_STORE": store,
        "JOURNEYS_LOG": log,
        "JOURNEYS_BOOTSTRAP_TOKEN": TOKEN,
        "JOURNEYS_AUTHORING_ADDRESS": f"127.0.0.1:{ports[0]}",
        "JOURNEYS_RUNTIME_ADDRESS": f"127.0.0.1:{ports[1]}",
        "JOURNEYS_ANALYTICS_ADDRESS": f"unix:{tmp_path}/analytics"
        if len(str(tmp_path)) < 80
        else f"127.0.0.1:{ports[2]}",
        "JOURNEYS_HTTP_PORT": str(ports[3]),
    }
    journeys = str(Path(sys.executable).with_name("journeys"))
    subprocess.run([journeys, "migrate"], env=environment, check=True, capture_output=True, timeout=120)
    processes = []
    try:
        for only in ("authoring,analytics", "gateway,runtime"):
            with (tmp_path / f"{only}.log").open("wb") as output:
                command = [journeys, "serve", "--only", only]
                processes.append(
                    subprocess.Popen(command, env=environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
                )
        client = by_session(ports[3], TOKEN)
        eventually(lambda: _is_ready(client), seconds=90)
        client.patch("/api/workspace", {"holdout": {"percent": 0}}).ok()
        world = World(client)
        mail = world.comm()
        steps = [trigger("hi"), send("hi", mail, "w"), wait_event("w", "done", "P3D", "exit", "exit"), end()]
        journey = world.journey(steps, event="came")
        client.put("/api/subjects/ann", {"addresses": {"email": "ann@example.com"}}).ok(201)
        client.post("/api/events", {"type": "came", "endUserId": "ann"}).ok(202)
        eventually(lambda: world.step_stats(journey).get("hi", {}).get("executed") == 1, seconds=60)
        for process in processes:
            process.terminate()
        statuses = [process.wait(30) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait(30)

    first, second = ((tmp_path / f"{only}.log").read_text() for only in ("authoring,analytics", "gateway,runtime"))
    assert [0, 0] == statuses
    assert f"authoring listens on 127.0.0.1:{ports[0]}" in first
    assert "the gateway is another process" in first
    assert f"Listening on http://127.0.0.1:{ports[3]}" in second


def _is_ready(client: Client) -> bool:
    try:
        return client.get("/readyz").status == 200
    except OSError:
        return False


def _free_ports(count: int) -> list[int]:
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
