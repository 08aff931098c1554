"""The command in this process, with a stand-in for the server."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest

import journeys_client
from journeys_cli.__main__ import main
from journeys_client import Client, MockTransport


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command left: its exit status, its output, its one line of complaint."""

    status: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command with these arguments; `transport` answers its calls."""
    for name in ("JOURNEYS_URL", "JOURNEYS_SESSION", "JOURNEYS_API_KEY", "SYNC_API_KEY", "JOURNEYS_DEBUG"):
        monkeypatch.delenv(name, raising=False)

    def command(*arguments: str, transport: MockTransport | None = None) -> Ran:
        stand_in = MockTransport() if transport is None else transport
        monkeypatch.setattr(journeys_client, "Client", partial(Client, transport=stand_in))
        capsys.readouterr()
        status = main(list(arguments))
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return command
