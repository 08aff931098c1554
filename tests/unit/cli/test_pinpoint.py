"""`journeys pinpoint`: what is sent, and what is written."""

import json
from pathlib import Path

import pytest

from journeys_client import MockTransport
from tests.unit.cli.conftest import Run

ROUTE = "/api/journeys/internal/translate-pinpoint"
ANSWER = {
    "bundle": {"kind": "journey-import-bundle", "journeys": [{"name": "Größe", "ref": "journey:1"}]},
    "summary": {"journeys": {"total": 1}},
}


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch) -> MockTransport:
    """A server that translates."""
    monkeypatch.setenv("SYNC_API_KEY", "k")
    made = MockTransport()
    made.on("POST", ROUTE, json=ANSWER)
    return made


def test_the_file_goes_as_it_is(run: Run, tmp_path: Path, transport: MockTransport) -> None:
    """With members that stand twice, without the byte order mark; the summary is printed, the bundle written."""
    export, out = tmp_path / "export.json", tmp_path / "out.json"
    export.write_bytes(b'\xef\xbb\xbf{"Name": "a", "Name": "b"}')

    ran = run(
        "pinpoint", "translate", str(export), "-o", str(out), "--options", '{"sms": "webhook"}', transport=transport
    )
    assert (0, "") == (ran.status, ran.err)
    assert b'{"projectKey": "pk_demo", "export": {"Name": "a", "Name": "b"}, "options": {"sms": "webhook"}}' == (
        transport.calls[0].content
    )
    assert ANSWER["summary"] == json.loads(ran.out)
    assert ANSWER["bundle"] == json.loads(out.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "start"), [("r.md", "# Pinpoint project"), ("r.html", "<!doctype html>")])
def test_a_report_is_written_beside_it(
    run: Run, tmp_path: Path, transport: MockTransport, name: str, start: str
) -> None:
    """In the form that its name says."""
    (tmp_path / "export.json").write_text("{}")
    paths = (str(tmp_path / "export.json"), "-o", str(tmp_path / "out.json"), "--report", str(tmp_path / name))

    ran = run("pinpoint", "translate", *paths, transport=transport)
    assert 0 == ran.status
    assert (tmp_path / name).read_text(encoding="utf-8").startswith(start)
    assert "Größe" in (tmp_path / name).read_text(encoding="utf-8")


def test_a_report_of_another_kind_is_refused_before_anything_is_asked(
    run: Run, tmp_path: Path, transport: MockTransport
) -> None:
    """Exit status 2."""
    (tmp_path / "export.json").write_text("{}")
    paths = (str(tmp_path / "export.json"), "-o", str(tmp_path / "out.json"), "--report", "r.pdf")

    ran = run("pinpoint", "translate", *paths, transport=transport)
    assert (2, []) == (ran.status, transport.calls)
    assert not (tmp_path / "out.json").exists()


def test_a_report_can_be_made_of_a_bundle_alone(run: Run, tmp_path: Path) -> None:
    """Without a server."""
    (tmp_path / "bundle.json").write_text(json.dumps(ANSWER["bundle"]), encoding="utf-8")

    ran = run("pinpoint", "report", str(tmp_path / "bundle.json"), "-o", str(tmp_path / "r.md"))
    assert 0 == ran.status
    assert "## Größe" in (tmp_path / "r.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", ["[]", "no json"])
def test_what_is_no_bundle_has_no_report(run: Run, tmp_path: Path, content: str) -> None:
    """One line says so."""
    (tmp_path / "bundle.json").write_text(content)

    ran = run("pinpoint", "report", str(tmp_path / "bundle.json"), "-o", str(tmp_path / "r.md"))
    assert 1 == ran.status
    assert "bundle.json" in ran.err
