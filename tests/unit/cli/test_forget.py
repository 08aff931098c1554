"""`journeys forget ID`."""

import pytest

from journeys_client import MockTransport
from tests.unit.cli.conftest import Run

ROUTE = "/api/journeys/internal/forget-end-user"
RECEIPT = {
    "receiptId": "fgt-1",
    "forgottenAt": "2030-01-02T03:04:05.000Z",
    "stopped": 2,
    "erased": {
        "executions": 3,
        "messages": 4,
        "inApp": 0,
        "events": 5,
        "profile": 1,
        "audienceEntries": 1,
        "auditEntries": 9,
    },
}


def server() -> MockTransport:
    transport = MockTransport()
    transport.on("POST", ROUTE, answer=lambda asked: (200, RECEIPT))
    transport.on("GET", "/api/me", answer=lambda asked: (200, {"userId": "u", "projectKey": "pk_own"}))
    return transport


def test_it_needs_the_shared_secret(run: Run) -> None:
    """Before anything is sent."""
    transport = server()

    ran = run("forget", "usr_a", "--project-key", "pk_demo", transport=transport)

    assert (1, "journeys: this command needs the server's SYNC_API_KEY in the environment\n") == (ran.status, ran.err)
    assert [] == transport.calls


def test_it_prints_the_receipt(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stopped and how much of each was erased; nobody is asked where there is no terminal."""
    transport = server()
    monkeypatch.setenv("SYNC_API_KEY", "k")

    ran = run("forget", "usr_a", "--project-key", "pk_demo", transport=transport)

    assert 0 == ran.status, ran.err
    assert {"projectKey": "pk_demo", "endUserId": "usr_a"} == transport.calls[0].json()
    assert ["receipt", "fgt-1"] == ran.out.splitlines()[0].split()
    assert "audit entries" in ran.out


def test_the_workspace_is_the_sessions_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it is named."""
    transport = server()
    monkeypatch.setenv("SYNC_API_KEY", "k")

    run("forget", "usr_a", "--session", "token", transport=transport)

    assert "pk_own" == transport.calls[-1].json()["projectKey"]


def test_without_either_it_is_not_known_where(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong usage: status 2 and one line."""
    monkeypatch.setenv("SYNC_API_KEY", "k")

    ran = run("forget", "usr_a", transport=server())

    line = "journeys: name the workspace by --project-key, or sign in with --session or --api-key\n"
    assert (2, line) == (ran.status, ran.err)
