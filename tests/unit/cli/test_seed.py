"""What `journeys serve --demo` puts into a fresh workspace, and what it prints."""

import json
import shlex
from functools import partial
from pathlib import Path

import pytest

import journeys_client
from journeys_cli.seed import GUEST, Seeded, instructions, seed, seed_and_tell
from journeys_client import Client
from tests.unit.cli.fake_server import FakeServer


def test_a_fresh_workspace_has_people_walking() -> None:
    """Imported, published, signed up, and some of them active."""
    server = FakeServer()
    with Client(transport=server) as client:
        seeded = seed(client)

    assert Seeded("welcome", people=51, waiting=3) == seeded
    assert "published" == server.journey("welcome")["status"]
    assert {"user.signed_up": 50, "activated": 13} == {
        kind: sum(event["type"] == kind for _, event in server.posted) for kind in ("user.signed_up", "activated")
    }


def test_the_guest_is_known_and_has_not_signed_up() -> None:
    """So that the first curl line starts something, and a mail has somewhere to go."""
    server = FakeServer()
    with Client(transport=server) as client:
        seed(client)

    known = {person["endUserId"]: person for person in map(json.loads, server.people)}
    assert known[GUEST]["addresses"]["email"]
    assert GUEST not in {event["endUserId"] for _, event in server.posted}


def test_filling_twice_is_filling_once() -> None:
    """A second start leaves everything alone, the reader's changes too."""
    server = FakeServer()
    with Client(transport=server) as client:
        seed(client)
        before = len(server.posted), len(server.asked("POST", "/api/subjects:import"))
        client.journeys.create({"name": "The reader's"})
        again = seed(client)

    assert Seeded("welcome", people=0, waiting=3) == again
    assert before == (len(server.posted), len(server.asked("POST", "/api/subjects:import")))


def test_a_workspace_in_use_is_left_alone() -> None:
    """Somebody works there."""
    server = FakeServer()
    with Client(transport=server) as client:
        client.journeys.create({"name": "Mine"})
        seeded = seed(client)

    assert Seeded(None) == seeded
    assert [] == server.posted
    assert {} == server.workspace


def test_the_three_lines_are_shell_commands() -> None:
    """They work as printed: quoted, whole, and signed in."""
    lines = [
        line for line in instructions("http://h:1", "a'b", Seeded("welcome", 51, 37)) if line.startswith("  curl ")
    ]
    post, executions, messages = map(shlex.split, lines)

    assert 3 == len(lines)
    assert all("Cookie: session=a'b" in words for words in (post, executions, messages))
    assert {"type": "user.signed_up", "endUserId": GUEST} == json.loads(post[post.index("-d") + 1])
    assert "http://h:1/api/events" in post
    assert "http://h:1/api/journeys/welcome/executions" in executions
    assert f"http://h:1/api/messages?endUserId={GUEST}" in messages


class TestAtTheStart:
    """What the reader sees when the server is ready."""

    @pytest.fixture
    def server(self, monkeypatch: pytest.MonkeyPatch) -> FakeServer:
        server = FakeServer()

        def client(url: str, *, session: str, transport: object) -> Client:
            return Client(url, session=session, transport=server)

        monkeypatch.setattr(journeys_client, "Client", client)
        return server

    def test_the_session_is_kept_for_the_next_start(
        self, server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The server knows it only when it makes the workspace; nobody else may read the file."""
        seed_and_tell("http://h:1", "tok", keep_in=tmp_path)
        first = capsys.readouterr().out
        seed_and_tell("http://h:1", None, keep_in=tmp_path)
        second = capsys.readouterr().out

        assert "51 people imported, journey 'welcome' published." in first
        assert "The workspace is as you left it" in second
        assert all("  session  tok\n" in shown for shown in (first, second))
        assert 0o600 == (tmp_path / "demo-session").stat().st_mode & 0o777

    def test_without_a_session_it_says_where_it_was_shown(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A workspace that was made before."""
        seed_and_tell("http://h:1", None)

        assert "owner's session was shown when it was made" in capsys.readouterr().out

    def test_a_server_that_cannot_be_filled_still_serves(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """One line on stderr, nothing raised."""
        monkeypatch.setattr(journeys_client, "Client", partial(Client, retries=journeys_client.Retries(attempts=0)))
        seed_and_tell("http://127.0.0.1:9", "tok")
        captured = capsys.readouterr()

        assert captured.err.startswith("The demo workspace could not be filled: no answer from")
        assert "" == captured.out
