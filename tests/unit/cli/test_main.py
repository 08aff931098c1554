"""Exit statuses, the one line on stderr, the global options, and how soon help is there."""

import subprocess
import sys
import time

import pytest

from journeys_cli.__main__ import main
from journeys_cli.connection import hoisted
from journeys_cli.text import counted, printable
from journeys_client import MockTransport
from journeys_client.mock import problem
from tests.unit.cli.conftest import Run

COMMANDS = [
    "serve",
    "demo",
    "list",
    "show",
    "publish",
    "pause",
    "resume",
    "archive",
    "executions",
    "stats",
    "audit",
    "simulate",
    "test",
    "migrate",
    "forget",
    "events",
    "subjects",
    "pinpoint",
    "bundle",
    "workspace",
    "config",
    "dlq",
]


def test_help_names_every_command(run: Run) -> None:
    """Also when nothing was asked for."""
    for arguments in ([], ["--help"]):
        ran = run(*arguments)

        assert (0, "") == (ran.status, ran.err)
        listed = ran.out.partition("Commands:\n")[2]
        assert COMMANDS == [line.split()[0] for line in listed.splitlines() if line.startswith("  ") and line[2] != " "]


def test_help_loads_neither_http_nor_tables_nor_a_server() -> None:
    """Half a second is spent elsewhere; what is slow is imported where it is used."""
    check = (
        "import sys; from journeys_cli.__main__ import main; main(['--help']); "
        "sys.exit(bool({'httpx2', 'rich', 'services', 'pydantic'} & sys.modules.keys()))"
    )
    began = time.monotonic()
    ran = subprocess.run([sys.executable, "-c", check], capture_output=True, check=False)

    assert 0 == ran.returncode, ran.stderr
    assert time.monotonic() - began < 5  # a busy machine; a tenth of a second on an idle one


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nonsense"], "No such command 'nonsense'. (see journeys --help)"),
        (["list", "--nonsense"], "No such option: --nonsense (see journeys list --help)"),
        (["show"], "Missing argument 'ID'. (see journeys show --help)"),
        (["events"], "Missing command. (see journeys events --help)"),
        (
            ["list", "--output", "xml"],
            "Invalid value for '--output' / '-o': 'xml' is not one of 'table', 'json'. (see journeys list --help)",
        ),
        (["list", "--server"], "Option '--server' requires an argument. (see journeys --help)"),
        (
            ["executions", "a", "--limit", "0"],
            "Invalid value for '--limit': Input should be greater than or equal to 1 (see journeys executions --help)",
        ),
        (
            ["executions", "a", "--status", "GONE"],
            "Invalid value for --status: 'GONE' is no status (see journeys executions --help)",
        ),
        (
            ["simulate", "a"],
            "Invalid value for --subject / --attributes: give one of the two (see journeys simulate --help)",
        ),
        (
            ["simulate", "a", "--attributes", "[]"],
            "Invalid value for --attributes: is not a JSON object (see journeys simulate --help)",
        ),
        (
            ["serve", "--memory", "--data", "x"],
            "Invalid value for --memory: does not go together with --data, --store or --log (see journeys serve --help)",
        ),
    ],
)
def test_wrong_usage_is_2_and_one_line(run: Run, arguments: list[str], line: str) -> None:
    """What is wrong, and where to read on."""
    ran = run(*arguments)

    assert (2, "", f"journeys: {line}\n") == (ran.status, ran.out, ran.err)


@pytest.mark.parametrize(
    ("status", "code", "exit_status"),
    [
        (400, "graph_invalid", 1),
        (401, "unauthenticated", 1),
        (403, "forbidden", 1),
        (404, "not_found", 1),
        (409, "illegal_transition", 3),
        (409, "stale_update", 3),
        (412, "precondition_failed", 3),
        (501, "not_implemented", 1),
        (500, "internal", 1),
    ],
)
def test_a_refusal_is_1_and_a_conflict_3(run: Run, status: int, code: str, exit_status: int) -> None:
    """One line with the code, so that a script can look for it."""
    transport = MockTransport()
    transport.on("POST", "/api/journeys/a/pause", answer=lambda asked: problem(status, code, "Because.\nSo."))
    ran = run("pause", "a", transport=transport)

    assert (exit_status, "") == (ran.status, ran.out)
    assert ran.err.startswith(f"journeys: {status} {code}: Because. So.")
    assert 1 == ran.err.count("\n")


@pytest.mark.parametrize(
    ("instance", "hint"),
    [
        ("/api/journeys/a/pause", "(sign in with --session or --api-key, see journeys --help)"),
        ("/api/journeys/internal/dispatch", "(SYNC_API_KEY has to be one of the server's)"),
    ],
)
def test_whoever_is_not_known_hears_how_to_sign_in(run: Run, instance: str, hint: str) -> None:
    """With a session or an API key; the internal routes take the server's own keys instead."""
    transport = MockTransport()
    answer = problem(401, "unauthenticated", "No.", instance=instance)
    transport.on("POST", "/api/journeys/a/pause", answer=lambda asked: answer)

    assert f"journeys: 401 unauthenticated: No. {hint}\n" == run("pause", "a", transport=transport).err


def test_a_server_of_something_else_is_called_so(run: Run) -> None:
    """Its 404 says nothing about journeys."""
    transport = MockTransport()
    transport.on("POST", "/api/journeys/a/pause", answer=lambda asked: (404, b"<html>"))

    assert "journeys: 404 http_404: this is no answer of this API\n" == run("pause", "a", transport=transport).err


def test_every_fault_is_in_the_line(run: Run) -> None:
    """An author sees all of them at once; beyond five they are counted."""
    faults = [{"path": f"/steps/{n}/next", "code": "next_unresolved", "message": f"No step {n}."} for n in range(7)]
    transport = MockTransport()
    transport.on(
        "POST", "/api/journeys/a/publish", answer=lambda a: problem(400, "graph_invalid", "7 faults.", errors=faults)
    )
    ran = run("publish", "a", transport=transport)

    assert ran.err.startswith("journeys: 400 graph_invalid: 7 faults. [/steps/0/next next_unresolved: No step 0.; ")
    assert ran.err.endswith("; and 2 more]\n")


def test_no_server_is_one_line(run: Run) -> None:
    """Where it was looked for is part of it."""
    ran = subprocess.run(
        [sys.executable, "-m", "journeys_cli", "list", "--server", "http://127.0.0.1:9"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (1, "", 1) == (ran.returncode, ran.stdout, ran.stderr.count("\n"))
    assert "no answer from http://127.0.0.1:9" in ran.stderr


@pytest.mark.parametrize("server", ["", "no address", "ftp://x", "http://[::1", "http://x:99999"])
def test_an_address_that_is_none_is_one_line(run: Run, server: str) -> None:
    """Never a traceback, whatever the address."""
    ran = subprocess.run(
        [sys.executable, "-m", "journeys_cli", f"--server={server}", "list"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (1, 1) == (ran.returncode, ran.stderr.count("\n"))
    assert ran.stderr.startswith("journeys: ")


def test_a_reader_who_left_is_no_fault() -> None:
    """`journeys --help | head -1` says nothing on stderr."""
    command = f"{sys.executable} -m journeys_cli --help | true"
    for _ in range(3):
        ran = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)

        assert "" == ran.stderr


def test_an_interrupt_is_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """128 and the signal's number, without a word."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("journeys_cli.journeys.connect", interrupt)
    ran = run("list")

    assert (130, "", "") == (ran.status, ran.out, ran.err)


def test_a_bug_is_one_line_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newcomer sees no traceback; a developer asks for one."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError("oops\nand more")

    monkeypatch.setattr("journeys_cli.journeys.connect", fail)
    ran = run("list")

    assert (1, "journeys: oops and more\n") == (ran.status, ran.err)

    monkeypatch.setenv("JOURNEYS_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["list"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--server", "http://s", "--session", "t", "list"],
        ["list", "--session=t", "--server=http://s"],
        ["list", "--server", "http://s", "-o", "json", "--session", "t"],
    ],
)
def test_global_options_stand_before_or_after(run: Run, arguments: list[str]) -> None:
    """One signs in where one thinks of it."""
    transport = MockTransport()
    transport.on("GET", "/api/journeys", json=[])
    ran = run(*arguments, transport=transport)

    assert 0 == ran.status
    assert "session=t" == transport.calls[0].headers["cookie"]
    assert "s" == transport.calls[0].headers["host"]


def test_global_options_come_from_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And an option overrules them."""
    transport = MockTransport()
    transport.on("GET", "/api/journeys", json=[])
    monkeypatch.setenv("JOURNEYS_URL", "http://from-environment")
    monkeypatch.setenv("JOURNEYS_API_KEY", "key")
    run("list", transport=transport)
    run("list", "--api-key", "other", transport=transport)

    assert ["key", "other"] == [asked.headers["x-api-key"] for asked in transport.calls]
    assert "from-environment" == transport.calls[0].headers["host"]


def test_hoisting_leaves_the_rest_in_order() -> None:
    """After `--` nothing is an option."""
    assert ["--session", "s", "a", "b"] == hoisted(["a", "--session", "s", "b"])
    assert ["a", "--", "--session", "s"] == hoisted(["a", "--", "--session", "s"])
    assert ["--server"] == hoisted(["--server"])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "plain"),
        (None, ""),
        ("A\nB\x1b[2J", "A\\nB\\x1b[2J"),
        ("\u202eevil", "\\u202eevil"),
        ({"a": "ü"}, '{"a": "ü"}'),
        (3, "3"),
    ],
)
def test_text_of_others_does_no_harm(value: object, shown: str) -> None:
    """Nothing moves the cursor or turns the direction of writing."""
    assert shown == printable(value)


def test_numbers_are_written_for_people() -> None:
    """One line, two lines."""
    assert ["1 line", "9,276 lines", "0 people"] == [
        counted(1, "line"),
        counted(9276, "line"),
        counted(0, "person", "people"),
    ]
