"""The demo against a stand-in for the server: what it sends when, and what it makes of the answers."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from journeys_cli import child, examples
from journeys_cli.child import LocalServer
from journeys_cli.demo import perform, read_story
from journeys_cli.demo_report import Report
from journeys_cli.events import Counts
from journeys_cli.outcome import Failed
from journeys_cli.timeline import SAME_MOMENT
from journeys_client import Client
from tests.unit.cli.conftest import Run
from tests.unit.cli.fake_server import FakeServer

EXAMPLES = Path(__file__).parents[3] / "examples"
EVENTS = EXAMPLES / "events"


def performed(server: FakeServer, events: Path | None = None, journeys: Path | None = None) -> Report:
    story = read_story(events, None, journeys)
    with Client(transport=server) as client:
        return perform(client, story)


class TestOnTheMessySample:
    """The default: 5,000 lines as they come in real life."""

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls) -> FakeServer:
        return FakeServer()

    @pytest.fixture(scope="class")
    @classmethod
    def report(cls, server: FakeServer) -> dict[str, Any]:
        return performed(server).as_json()

    def test_every_count_is_the_expected_one(self, report: dict[str, Any]) -> None:
        """What the file holds, and what the server made of it."""
        expected = json.loads((EVENTS / "messy-5000.expected.json").read_text(encoding="utf-8"))

        assert {name: value for name, value in expected.items() if name in report["file"]} == report["file"]
        assert {"secondRun", "subjects"} == expected.keys() - report["file"].keys()
        assert expected["accepted"] == report["server"]["accepted"]
        assert expected["duplicates"]["total"] == report["server"]["duplicates"]
        assert expected["malformed"]["byKind"] == report["server"]["refusedByReason"]

    def test_the_people_it_speaks_of_are_found_and_imported(self, server: FakeServer, report: dict[str, Any]) -> None:
        """By their ids, not by the file's name."""
        assert str(EXAMPLES / "people" / "people-1000.ndjson") == report["people"]
        assert 1000 == len(server.people)

    def test_nobody_is_held_out(self, server: FakeServer, report: dict[str, Any]) -> None:
        """Everybody of the file shall be seen walking."""
        assert report
        assert {"holdout": {"percent": 0}} == server.workspace

    def test_every_journey_is_published(self, report: dict[str, Any]) -> None:
        """Six of them."""
        assert [1] * 6 == [journey["version"] for journey in report["journeys"]]
        assert not [journey for journey in report["journeys"] if "refused" in journey]

    def test_no_event_is_posted_much_before_its_time(self, server: FakeServer, report: dict[str, Any]) -> None:
        """The clock has come to within an hour of it, and stands wherever it must for one that came late."""
        early = [
            datetime.fromisoformat(event["timestamp"]) - posted_at
            for posted_at, event in server.posted
            if "timestamp" in event
        ]

        assert max(early) <= SAME_MOMENT
        assert 4866 == len(early)
        assert report["shiftDays"] % 7 == 0

    def test_ninety_days_pass_after_the_last(self, server: FakeServer, report: dict[str, Any]) -> None:
        """So that the waits which it opened come to their end."""
        assert report
        assert timedelta(days=90) <= server.now - server.posted[-1][0] < timedelta(days=91)

    def test_references_became_ids(self, server: FakeServer, report: dict[str, Any]) -> None:
        """No `$ref:` reaches the server."""
        assert report
        assert not [asked for asked in server.calls if asked.method == "POST" and b"$ref:" in asked.content]


def test_a_file_of_our_own_with_people_unknown(tmp_path: Path) -> None:
    """Without people to import and without times: posted where the clock stands."""
    file = tmp_path / "own.ndjson"
    file.write_text('{"type": "user.signed_up", "endUserId": "somebody"}\n{"type": "user.signed_up"}\n')
    server = FakeServer()
    report = performed(server, file).as_json()

    assert (None, None) == (report["people"], report["imported"])
    assert 2 == report["server"]["accepted"]
    assert [1] == [journey["executions"]["total"] for journey in report["journeys"] if journey["executions"]["total"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"type":"a","timestamp":"1970-01-01T00:00:00Z"}\n{"type":"a","timestamp":"2026-01-01T00:00:00Z"}',
            "ten years",
        ),
    ],
)
def test_a_file_that_cannot_be_walked_is_refused_before_anything_starts(
    tmp_path: Path, content: str, message: str
) -> None:
    """With its name."""
    file = tmp_path / "own.ndjson"
    file.write_text(content)
    with pytest.raises(Failed, match=message):
        read_story(file, None, None)


def test_a_directory_without_journeys_is_refused(tmp_path: Path) -> None:
    """Before a server is started."""
    with pytest.raises(Failed, match="holds no journey files"):
        read_story(None, None, tmp_path)


class TestCommand:
    """`journeys demo` from the outside, with the server replaced."""

    @pytest.fixture(autouse=True)
    def server(self, monkeypatch: pytest.MonkeyPatch) -> FakeServer:
        server = FakeServer()

        @contextmanager
        def started(data: Path | None, log: Path) -> Iterator[LocalServer]:
            yield LocalServer("http://x", "the-session")

        monkeypatch.setattr(child, "local_server", started)
        monkeypatch.setattr(child, "local_client", lambda local: Client(local.url, transport=server))
        return server

    @staticmethod
    def events(tmp_path: Path) -> str:
        file = tmp_path / "own.ndjson"
        signed_up = '{"type":"user.signed_up","endUserId":"u","id":"1","timestamp":"2026-03-01T10:00:00.000Z"}\n'
        file.write_text(signed_up * 2 + "?\n")
        return str(file)

    def test_the_tables(self, run: Run, tmp_path: Path) -> None:
        """As a newcomer sees them."""
        ran = run("demo", "--events", self.events(tmp_path))
        name = tmp_path / "own.ndjson"

        assert (0, "") == (ran.status, ran.err)
        assert (
            f"EVENTS  {name}\n"
            "lines read             3\n"
            "accepted               2\n"
            "  of these duplicates  1\n"
            "refused                1\n"
            "  broken_json          1\n"
            "\n"
            "EXECUTIONS\n"
            "JOURNEY                EXECUTIONS  SUCCEEDED  REACHED GOAL\n"
            "Activation Onboarding           1          1             2\n"
            "Expansion Nudge                 0          0             0\n"
            "Purchase win-back               0          0             0\n"
            "Renewal QBR                     0          0             0\n"
            "Trial Conversion                0          0             0\n"
            "Win-back                        0          0             0\n"
            "\n"
            "MESSAGES\n"
            "CHANNEL      STATUS  MESSAGES\n"
            "email        sent           1\n"
            "mobile_push  failed         1\n"
            "\n"
            "WHERE PEOPLE WAIT\n"
            "JOURNEY                STEP  AT THE LAST EVENT  90 DAYS LATER\n"
            "Activation Onboarding  exit                  3              3\n"
        ) == ran.out.partition("\n\n0 seconds")[0].replace("\r", "") + "\n"

    def test_json(self, run: Run, tmp_path: Path) -> None:
        """The same for programs, and nothing else on stdout."""
        ran = run("demo", "--events", self.events(tmp_path), "--json")
        report = json.loads(ran.out)

        assert {"accepted": 2, "duplicates": 1, "refusedByReason": {"broken_json": 1}} == report["server"]
        assert {"email": {"sent": 1}, "mobile_push": {"failed": 1}} == report["messages"]
        assert {"SUCCEEDED": 1} == report["journeys"][0]["executions"]["byStatus"]
        assert {"exit": 3} == report["journeys"][0]["waitingAtEnd"]

    def test_a_journey_that_is_not_published_fails_the_command(
        self, run: Run, tmp_path: Path, server: FakeServer
    ) -> None:
        """After the tables: the example is wrong, not the release."""
        folder = tmp_path / "journeys"
        folder.mkdir()
        document = json.loads((EXAMPLES / "welcome.json").read_text(encoding="utf-8"))
        (folder / "welcome.json").write_text(json.dumps(document))
        fault = {"path": "/steps/1/next", "code": "cycle", "message": "welcome, plan."}
        server._routes = [route for route in server._routes if not route.pattern.fullmatch("/api/journeys/x/publish")]
        server.on("POST", "/api/journeys/*/publish", status=400, json={"code": "graph_invalid", "errors": [fault]})
        ran = run("demo", "--events", self.events(tmp_path), "--journeys", str(folder))

        assert (1, "journeys: Welcome: cycle welcome, plan.\n") == (ran.status, ran.err)
        assert "not published: cycle" in ran.out

    def test_data_can_be_kept_in_a_fresh_directory_only(self, run: Run, tmp_path: Path) -> None:
        """What is in another one might be somebody's."""
        kept = tmp_path / "kept"
        ran = run("demo", "--events", self.events(tmp_path), "--data", str(kept))

        assert f"JOURNEYS_DEV_CLOCK=1 journeys serve --data {kept}/data\nwith the session the-session\n" in ran.out

        (kept / "x").touch()
        ran = run("demo", "--events", self.events(tmp_path), "--data", str(kept))

        assert (1, f"journeys: {kept}: is not empty; the demo begins on a fresh directory\n") == (ran.status, ran.err)


class TestLocalServer:
    """The child process."""

    def test_one_that_does_not_start_says_why(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The last line of its log is ours."""
        monkeypatch.setattr(sys, "executable", "/bin/false")
        with (
            pytest.raises(Failed, match="did not start: it said nothing"),
            child.local_server(tmp_path, tmp_path / "log"),
        ):
            pass

    def test_the_last_line_of_a_log_is_found(self, tmp_path: Path) -> None:
        """Blank lines and control characters aside."""
        (tmp_path / "log").write_bytes(b"first\nThe directory is in use.\x1b[0m\n\n")

        assert "The directory is in use.\\x1b[0m" == child._last_line(tmp_path / "log")


class TestInstall:
    """A journey file becomes a journey."""

    @staticmethod
    def document() -> dict[str, Any]:
        return examples.read_journey_file(EXAMPLES / "welcome.json")

    def test_a_broken_first_try_is_completed(self) -> None:
        """Everything that is there is used; nothing is made twice."""
        server = FakeServer()
        with Client(transport=server) as client:
            first = examples.install(client, self.document())
            again = examples.install(client, self.document())

        assert ("welcome", 1) == (first.id, first.version)
        assert first == again
        assert [3, 1, 1] == [len(server.lists[name]) for name in ("communications", "journey-triggers", "journeys")]

    def test_a_reference_to_nothing_is_told(self) -> None:
        """With its name."""
        document = self.document()
        del document["communications"]["call"]
        with Client(transport=FakeServer()) as client, pytest.raises(Failed, match="nothing is called 'call'"):
            examples.install(client, document)

    def test_a_reference_is_read_by_the_member_it_stands_in(self) -> None:
        """An audience and a communication may have the same name."""
        ids = {"communications": {"x": "c1"}, "audiences": {"x": "a1"}, "triggerContracts": {}}
        value = {"communicationId": "$ref:x", "filter": [{"audienceId": "$ref:x"}], "name": "x"}

        assert {"communicationId": "c1", "filter": [{"audienceId": "a1"}], "name": "x"} == examples.resolved(value, ids)

    @pytest.mark.parametrize("content", ["?", "[]", "{}"])
    def test_a_file_that_is_none_is_told(self, tmp_path: Path, content: str) -> None:
        """With its path."""
        (tmp_path / "j.json").write_text(content)
        with pytest.raises(Failed, match=r"j\.json"):
            examples.read_journey_file(tmp_path / "j.json")


def test_counts_put_the_most_frequent_reason_first() -> None:
    """Whoever mends a file begins there."""
    counts = Counts(refused=[(1, "a", ""), (2, "b", ""), (3, "b", "")])

    assert ["b", "a"] == list(counts.by_reason())
