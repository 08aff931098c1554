"""What each command asks, and what it prints: tables as people see them, JSON as programs do."""

import json
from pathlib import Path
from typing import Any

import pytest

from journeys_client import MockTransport
from journeys_client.mock import problem
from tests.unit.cli.conftest import Run

JOURNEYS: list[dict[str, Any]] = [
    {
        "id": "act-onb",
        "name": "Activation",
        "status": "published",
        "version": 3,
        "updatedAt": "2026-04-30T13:00:00.000Z",
    },
    {"id": "x", "name": "\x1b[31mRed", "status": "draft", "version": "draft", "updatedAt": "2026-05-01T13:00:00.000Z"},
]


def answering(method: str, path: str, body: Any) -> MockTransport:
    transport = MockTransport()
    transport.on(method, path, json=body)
    return transport


def test_list(run: Run) -> None:
    """A name from outside cannot colour the terminal."""
    ran = run("list", transport=answering("GET", "/api/journeys", JOURNEYS))

    assert (
        "ID       NAME         STATUS     VERSION  UPDATED\n"
        "act-onb  Activation   published  3        2026-04-30T13:00:00.000Z\n"
        "x        \\x1b[31mRed  draft      draft    2026-05-01T13:00:00.000Z\n"
    ) == ran.out
    assert JOURNEYS == json.loads(run("list", "-o", "json", transport=answering("GET", "/api/journeys", JOURNEYS)).out)


def test_show(run: Run) -> None:
    """The journey, where each step leads, and what is wrong with the draft."""
    journey = {
        **JOURNEYS[0],
        "goalEventName": "activated",
        "steps": [
            {"id": "t", "type": "trigger", "mode": "event", "next": "w"},
            {"id": "w", "type": "wait", "mode": "until_event", "onTimeout": "b", "next": "x"},
            {
                "id": "b",
                "type": "branch",
                "mode": "condition",
                "branches": [{"id": "pro", "next": "x"}],
                "default": "gone",
            },
            {"id": "x", "type": "exit"},
        ],
        "warnings": [{"path": "/steps/2/default", "code": "next_unresolved", "message": "No step 'gone'."}],
    }
    ran = run("show", "act-onb", transport=answering("GET", "/api/journeys/act-onb", journey))

    assert (
        "id       act-onb\n"
        "name     Activation\n"
        "status   published\n"
        "version  3\n"
        "goal     activated\n"
        "updated  2026-04-30T13:00:00.000Z\n"
        "\n"
        "STEP  TYPE     MODE         LEADS TO\n"
        "t     trigger  event        w\n"
        "w     wait     until_event  x, b (onTimeout)\n"
        "b     branch   condition    gone (default), x (pro)\n"
        "x     exit\n"
        "\n"
        "WARNING          AT\n"
        "next_unresolved  /steps/2/default  No step 'gone'.\n"
    ) == ran.out


@pytest.mark.parametrize("verb", ["pause", "resume", "archive"])
def test_steering(run: Run, verb: str) -> None:
    """The journey as it is now."""
    transport = answering("POST", f"/api/journeys/act-onb/{verb}", {**JOURNEYS[0], "status": verb})
    ran = run(verb, "act-onb", transport=transport)

    assert f"id       act-onb\nname     Activation\nstatus   {verb}\nversion  3\n" == ran.out


def test_publish(run: Run) -> None:
    """The pointer that the documented answer holds."""
    published = {"id": "act-onb-2026", "version": 4}
    transport = answering("POST", "/api/journeys/act-onb-2026/publish", published)
    ran = run("publish", "act-onb-2026", "--output", "json", transport=transport)

    assert published == json.loads(ran.out)


def test_executions(run: Run) -> None:
    """As many as were asked for, with the filters passed on."""
    rows = [
        {
            "executionId": f"a__v1__usr_{n}__e",
            "endUserId": f"usr_{n}",
            "status": "RUNNING",
            "startedAt": "2026-04-30T13:00:00.000Z",
            "currentStepId": "wait-3d",
            "version": 1,
        }
        for n in range(3)
    ]
    transport = answering("GET", "/api/journeys/a/executions", rows)
    ran = run("executions", "a", "--status", "running", "--person", "usr_0", "--limit", "2", transport=transport)

    assert (
        "STARTED                   PERSON  STATUS   STEP     VERSION  EXECUTION\n"
        "2026-04-30T13:00:00.000Z  usr_0   RUNNING  wait-3d        1  a__v1__usr_0__e\n"
        "2026-04-30T13:00:00.000Z  usr_1   RUNNING  wait-3d        1  a__v1__usr_1__e\n"
    ) == ran.out
    assert {"status": "RUNNING", "endUserId": "usr_0", "limit": "2"} == transport.calls[0].params


def test_stats(run: Run) -> None:
    """Numbers stand under each other."""
    rows = [
        {"stepId": "welcome", "executed": 12345, "skipped": 7, "failed": 0, "waiting": 0},
        {"stepId": "wait", "executed": 9, "skipped": 0, "failed": 0, "waiting": 100},
    ]
    ran = run("stats", "a", transport=answering("GET", "/api/journeys/a/step-stats", rows))

    assert (
        "STEP     EXECUTED  SKIPPED  FAILED  WAITING\n"
        "welcome    12,345        7       0        0\n"
        "wait            9        0       0      100\n"
    ) == ran.out


def test_a_recount_that_agrees(run: Run) -> None:
    """What was counted."""
    found = {
        "agrees": True, "facts": 3, "executions": 2, "withoutExecution": 1, "counts": 12, "differences": [],
    }  # fmt: skip
    ran = run("stats", "recount", "a", transport=answering("POST", "/api/journeys/a/stats/recount", found))

    assert 0 == ran.status
    assert "counts compared" in ran.out


def test_a_recount_that_does_not_fails(run: Run) -> None:
    """Naming the first count that differs."""
    difference = {"source": "facts", "what": "steps/mail/executed", "stored": 5, "counted": 4}
    found = {
        "agrees": False, "facts": 3, "executions": 3, "withoutExecution": 0, "counts": 12, "differences": [difference],
    }  # fmt: skip
    ran = run("stats", "recount", "a", transport=answering("POST", "/api/journeys/a/stats/recount", found))

    assert 1 == ran.status
    assert "steps/mail/executed is stored as 5, and 4 by facts" in ran.err


def test_stats_do_nothing_else(run: Run) -> None:
    """A second name needs `recount` before it."""
    assert 2 == run("stats", "a", "b").status


def test_audit(run: Run) -> None:
    """Details as one line of JSON."""
    rows = [{"timestamp": "T", "actor": "system", "action": "send.executed", "metadata": {"stepId": "welcome"}}]
    transport = answering("GET", "/api/journeys/a/audit", rows)
    ran = run("audit", "a", "--action", "send.", transport=transport)

    assert 'TIME  ACTOR   ACTION         DETAILS\nT     system  send.executed  {"stepId": "welcome"}\n' == ran.out
    assert {"action": "send.", "limit": "200"} == transport.calls[0].params


class TestEventsSend:
    """`journeys events send`."""

    @staticmethod
    def file(tmp_path: Path, content: bytes) -> str:
        path = tmp_path / "events.ndjson"
        path.write_bytes(content)
        return str(path)

    def test_counts_and_refused_lines_are_printed(self, run: Run, tmp_path: Path) -> None:
        """Both what we and what the server refused; exit status 1, everything else sent."""
        file = self.file(tmp_path, b'{"type":"a"}\nnope\n{"type":"b"}\n{"type":""}\n')
        fault = {"index": 2, "code": "too_short", "message": "type is empty."}
        transport = answering("POST", "/api/events", {"received": 2, "duplicates": 1, "errors": [fault]})
        ran = run("events", "send", file, transport=transport)

        assert (
            "lines read             4\n"
            "accepted               2\n"
            "  of these duplicates  1\n"
            "refused                2\n"
            "  broken_json          1\n"
            "  too_short            1\n"
            "\n"
            "line  reason       what is wrong\n"
            "2     broken_json  not JSON (Expecting value: line 1 column 1 (char 0))\n"
            "4     too_short    type is empty.\n"
        ) == ran.out
        assert (1, "journeys: 2 lines of 4 refused\n") == (ran.status, ran.err)
        assert 3 == len(transport.calls[0].json()["events"])

    def test_a_clean_file_exits_0(self, run: Run, tmp_path: Path) -> None:
        """Also as JSON."""
        file = self.file(tmp_path, b'{"type":"a"}\n')
        transport = answering("POST", "/api/events", {"received": 1, "duplicates": 0, "errors": []})
        ran = run("events", "send", file, "--output", "json", transport=transport)

        refused = {"total": 0, "byReason": {}, "lines": []}
        assert {"lines": 1, "accepted": 1, "duplicates": 0, "refused": refused} == json.loads(ran.out)
        assert (0, "") == (ran.status, ran.err)

    def test_what_was_sent_is_told_when_the_server_goes_away(self, run: Run, tmp_path: Path) -> None:
        """The counts up to there, then why it ended."""
        file = self.file(tmp_path, b'{"type":"a"}\n' * 501)
        transport = answering("POST", "/api/events", {"received": 500, "duplicates": 0, "errors": []})
        transport.on("POST", "/api/events", answer=lambda asked: problem(401, "unauthenticated", "Expired."))
        ran = run("events", "send", file, transport=transport)

        assert "accepted               500\n" in ran.out
        assert ran.err.startswith("journeys: 401 unauthenticated: Expired.")
        assert 1 == ran.status

    def test_a_file_that_is_not_there_is_one_line(self, run: Run) -> None:
        """With its name."""
        ran = run("events", "send", "/nowhere/x.ndjson")

        assert (1, "journeys: /nowhere/x.ndjson: No such file or directory\n") == (ran.status, ran.err)


class TestSubjectsImport:
    """`journeys subjects import`."""

    @pytest.mark.parametrize(
        ("name", "options", "kind"),
        [
            ("people.ndjson", [], "application/x-ndjson"),
            ("people.CSV", [], "text/csv"),
            ("people", ["--csv"], "text/csv"),
        ],
    )
    def test_the_kind_follows_the_name(
        self, run: Run, tmp_path: Path, name: str, options: list[str], kind: str
    ) -> None:
        """And the bytes arrive as they were."""
        (tmp_path / name).write_bytes(b"a,b\n" * 50_000)
        counts = {"received": 5, "created": 3, "updated": 2, "errorCount": 0, "errors": []}
        transport = answering("POST", "/api/subjects:import", counts)
        ran = run("subjects", "import", str(tmp_path / name), *options, transport=transport)

        assert (0, "lines read  5\ncreated     3\nupdated     2\nrefused     0\n") == (ran.status, ran.out)
        assert kind == transport.calls[0].headers["content-type"]
        assert b"a,b\n" * 50_000 == transport.calls[0].content

    def test_a_refused_line_is_named(self, run: Run, tmp_path: Path) -> None:
        """Exit status 1."""
        (tmp_path / "p.ndjson").write_bytes(b"{}\n")
        counts = {
            "received": 2,
            "created": 1,
            "updated": 0,
            "errorCount": 1,
            "errors": [{"line": 1, "code": "required", "message": "endUserId is missing."}],
        }
        ran = run(
            "subjects",
            "import",
            str(tmp_path / "p.ndjson"),
            transport=answering("POST", "/api/subjects:import", counts),
        )

        assert ran.out.endswith("line  reason    what is wrong\n1     required  endUserId is missing.\n")
        assert (1, "journeys: 1 line refused\n") == (ran.status, ran.err)


class TestWorkspaceCreate:
    """`journeys workspace create`."""

    def test_it_needs_the_shared_secret(self, run: Run) -> None:
        """Before anything is sent."""
        transport = MockTransport()
        ran = run("workspace", "create", "Shop", "--owner", "o@example.com", transport=transport)

        assert (1, "journeys: this command needs the server's SYNC_API_KEY in the environment\n") == (
            ran.status,
            ran.err,
        )
        assert [] == transport.calls

    def test_it_prints_the_session(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of several valid keys the first is used."""
        monkeypatch.setenv("SYNC_API_KEY", "one, two")
        made = {"projectKey": "pk_1", "name": "Shop", "ownerUserId": "u", "sessionToken": "secret"}
        transport = answering("POST", "/api/journeys/internal/workspaces", made)

        # `run` clears the environment once, before this test set it.
        ran = run("workspace", "create", "Shop", "--owner", "o@example.com", transport=transport)

        assert "project key  pk_1\nname         Shop\nowner        u\nsession      secret\n" == ran.out
        assert "Bearer one" == transport.calls[0].headers["authorization"]


class TestConfigCheck:
    """`journeys config check`."""

    def test_it_hides_secrets(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is in force, fit to be pasted into a question."""
        monkeypatch.setenv("SYNC_API_KEY", "very-secret")
        monkeypatch.setenv("JOURNEYS_HTTP_PORT", "9999")
        ran = run("config", "check")

        assert 0 == ran.status
        assert "very-secret" not in ran.out
        assert "9999" in ran.out

    def test_it_names_everything_that_is_wrong(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """In one line."""
        monkeypatch.setenv("JOURNEYS_HTTP_PORT", "http")
        monkeypatch.setenv("JOURNEYS_LOG_LEVEL", "loud")
        ran = run("config", "check")

        assert 1 == ran.status
        assert "JOURNEYS_HTTP_PORT" in ran.err
        assert "JOURNEYS_LOG_LEVEL" in ran.err
        assert 1 == ran.err.count("\n")


def test_serve_hands_its_options_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And ends with the server's status; only --demo has something to do once it is ready."""
    import sys
    from types import ModuleType

    asked: list[dict[str, Any]] = []
    stand_in = ModuleType("services.all_in_one")

    def serve(**options: Any) -> int:
        asked.append(options)
        return 7

    stand_in.serve = serve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "services.all_in_one", stand_in)
    monkeypatch.setenv("JOURNEYS_LOG_LEVEL", "error")  # which --demo would set otherwise
    ran = run("serve", "--port", "0", "--data", "d", "--demo")
    run("serve", "--memory")

    assert 7 == ran.status
    assert (0, "d", False, None, None, None) == tuple(
        asked[0][k] for k in ("port", "data", "memory", "store", "log", "only")
    )
    assert callable(asked[0]["on_ready"])
    assert asked[1]["on_ready"] is None
    assert asked[1]["memory"]
