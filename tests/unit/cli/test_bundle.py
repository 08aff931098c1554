"""`journeys bundle`: what is asked of the server, what is printed, and how it ends."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from journeys_cli.bundle_diff import changes_between
from journeys_client import MockTransport
from journeys_client.mock import problem
from tests.unit.cli.conftest import Run

IMPORT = "/api/journeys/internal/import-bundle"
EXPORT = "/api/journeys/internal/export-bundle"
BUNDLE: dict[str, Any] = {
    "kind": "journey-import-bundle",
    "version": "1.0",
    "source": {"provider": "adaptive-journeys", "applicationId": "pk_demo"},
    "audiences": [{"ref": "audience:a", "name": "A", "subjectIds": ["u1"], "contentHash": "1"}],
    "journeys": [
        {
            "ref": "journey:j",
            "name": "J",
            "description": "",
            "goalEventName": None,
            "contentHash": "2",
            "sourceState": "draft",
            "steps": [
                {"id": "w", "type": "wait", "mode": "duration", "duration": "P3D", "next": "x"},
                {"id": "x", "type": "exit"},
            ],
        }
    ],
}
REPORT: dict[str, Any] = {
    "importId": "imp_1",
    "dryRun": False,
    "counts": {"created": 1, "updated": 0, "unchanged": 1, "skipped": 0, "conflict": 0, "failed": 0},
    "results": [
        {"kind": "audience", "ref": "audience:a", "action": "unchanged", "targetId": "a", "reason": None},
        {"kind": "journey", "ref": "journey:j", "action": "created", "targetId": "j", "reason": None},
    ],
    "idMap": [],
    "blockers": [{"ref": "journey:j", "code": "url_missing", "stepId": "w", "path": "/x", "message": "No url."}],
}


@pytest.fixture(autouse=True)
def key(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's key, set after `run` has cleared the environment."""
    monkeypatch.setenv("SYNC_API_KEY", "k")


def file_of(folder: Path, bundle: Any = BUNDLE, name: str = "b.json") -> str:
    """A bundle as a file."""
    (folder / name).write_text(json.dumps(bundle))
    return str(folder / name)


def changed() -> dict[str, Any]:
    """The bundle with one step changed."""
    bundle = copy.deepcopy(BUNDLE)
    bundle["journeys"][0]["steps"][0]["duration"] = "P5D"
    return bundle


class TestImport:
    """`journeys bundle import`."""

    def test_it_sends_the_file_and_prints_what_was_done(self, run: Run, tmp_path: Path) -> None:
        """What is unchanged is counted only; what stands before a publish is said."""
        transport = MockTransport()
        transport.on("POST", IMPORT, json=REPORT)
        ran = run("bundle", "import", file_of(tmp_path), "--conflict-policy", "copy", transport=transport)
        sent = json.loads(transport.calls[0].content)

        assert (0, "") == (ran.status, ran.err)
        assert "1 created, 1 unchanged" in ran.out
        assert "audience:a" not in ran.out
        assert "journey:j step w: No url. (url_missing)" in ran.out
        assert ("copy", False, True, BUNDLE) == (
            sent["conflictPolicy"],
            sent["dryRun"],
            sent["atomic"],
            sent["bundle"],
        )

    def test_a_dry_run_says_that_it_is_one(self, run: Run, tmp_path: Path) -> None:
        """In what it sends and in what it prints."""
        transport = MockTransport()
        transport.on("POST", IMPORT, json={**REPORT, "dryRun": True})
        ran = run("bundle", "import", file_of(tmp_path), "--dry-run", transport=transport)

        assert "Would be: 1 created" in ran.out
        assert json.loads(transport.calls[0].content)["dryRun"]

    def test_a_conflict_is_exit_status_3(self, run: Run, tmp_path: Path) -> None:
        """As everywhere."""
        transport = MockTransport()
        transport.on("POST", IMPORT, answer=lambda asked: problem(409, "import_conflict", "It was changed here."))
        ran = run("bundle", "import", file_of(tmp_path), "--conflict-policy", "fail", transport=transport)

        assert (3, "") == (ran.status, ran.out)
        assert ran.err.startswith("journeys: 409 import_conflict")

    def test_an_object_that_failed_is_exit_status_1(self, run: Run, tmp_path: Path) -> None:
        """The others were imported all the same."""
        transport = MockTransport()
        counts = {**REPORT["counts"], "failed": 1}
        transport.on("POST", IMPORT, json={**REPORT, "counts": counts})

        assert 1 == run("bundle", "import", file_of(tmp_path), "--partly", transport=transport).status
        assert not json.loads(transport.calls[0].content)["atomic"]

    def test_what_is_no_json_is_said(self, run: Run, tmp_path: Path) -> None:
        """Before anybody is asked."""
        (tmp_path / "x.json").write_text("{")
        ran = run("bundle", "import", str(tmp_path / "x.json"))

        assert 1 == ran.status
        assert "not JSON" in ran.err


class TestExport:
    """`journeys bundle export`."""

    def test_it_writes_a_file_whose_lines_can_be_compared(self, run: Run, tmp_path: Path) -> None:
        """Sorted names, one member a line, a final newline."""
        transport = MockTransport()
        transport.on("POST", EXPORT, json=BUNDLE)
        ran = run("bundle", "export", "-o", str(tmp_path / "out.json"), "--journey", "j", transport=transport)
        text = (tmp_path / "out.json").read_text()

        assert (0, "", "") == (ran.status, ran.out, ran.err)
        assert BUNDLE == json.loads(text)
        assert text.endswith("}\n")
        assert {"projectKey": "pk_demo", "journeyIds": ["j"]} == json.loads(transport.calls[0].content)


class TestDiff:
    """`journeys bundle diff`."""

    def test_two_files_that_say_the_same_differ_in_nothing(self, run: Run, tmp_path: Path) -> None:
        """Hashes, states and what is absent or null do not count."""
        same = copy.deepcopy(BUNDLE)
        same["journeys"][0].update(contentHash="other", sourceState="published", publishBlockers=[])
        same["journeys"][0].pop("goalEventName")
        ran = run("bundle", "diff", file_of(tmp_path), file_of(tmp_path, same, "c.json"))

        assert (0, "", "") == (ran.status, ran.out, ran.err)

    def test_a_change_is_shown_where_it_is_and_ends_with_1(self, run: Run, tmp_path: Path) -> None:
        """As diff does it."""
        ran = run("bundle", "diff", file_of(tmp_path), file_of(tmp_path, changed(), "c.json"))

        assert 1 == ran.status
        assert 'journey:j (J)\n  - /steps/w/duration: "P3D"\n  + /steps/w/duration: "P5D"\n' == ran.out

    def test_a_file_is_compared_with_what_the_server_has(self, run: Run, tmp_path: Path) -> None:
        """From there to the file; what only the server has is left alone by an import, and not shown."""
        there = copy.deepcopy(BUNDLE)
        there["audiences"].append({"ref": "audience:more", "name": "More", "subjectIds": []})
        transport = MockTransport()
        transport.on("POST", EXPORT, json=there)
        ran = run("bundle", "diff", file_of(tmp_path, changed()), "--output", "json", transport=transport)

        assert 1 == ran.status
        assert [("journey:j", "/steps/w/duration", "changed", "P3D", "P5D")] == [
            (one["ref"], one["path"], one["change"], one["before"], one["after"]) for one in json.loads(ran.out)
        ]

    def test_what_is_no_bundle_is_said(self, run: Run, tmp_path: Path) -> None:
        """Not compared with anything."""
        ran = run("bundle", "diff", file_of(tmp_path, {"kind": "other"}), file_of(tmp_path, name="c.json"))

        assert 1 == ran.status
        assert "no bundle" in ran.err


class TestChanges:
    """What differs, member by member."""

    def test_a_step_put_between_others_is_one_addition(self) -> None:
        """The others are known by their ids."""
        after = copy.deepcopy(BUNDLE)
        after["journeys"][0]["steps"].insert(1, {"id": "new", "type": "exit"})

        assert ["/steps/new"] == [change.path for change in changes_between(BUNDLE, after)]

    def test_steps_in_another_order_are_a_change(self) -> None:
        """The first step may be the entry."""
        after = copy.deepcopy(BUNDLE)
        after["journeys"][0]["steps"].reverse()

        assert [["w", "x"], ["x", "w"]] == [
            side for change in changes_between(BUNDLE, after) for side in (change.before, change.after)
        ]

    def test_objects_come_and_go_whole(self) -> None:
        """By their refs."""
        after = copy.deepcopy(BUNDLE)
        after["audiences"][0]["ref"] = "audience:b"

        assert [("audience:a", False, True), ("audience:b", True, False)] == [
            (change.ref, change.is_addition, change.is_removal) for change in changes_between(BUNDLE, after)
        ]

    def test_true_is_not_one(self) -> None:
        """Values of another type differ."""
        before, after = copy.deepcopy(BUNDLE), copy.deepcopy(BUNDLE)
        before["journeys"][0]["settings"] = {"exitOnGoal": True}
        after["journeys"][0]["settings"] = {"exitOnGoal": 1}

        assert ["/settings/exitOnGoal"] == [change.path for change in changes_between(before, after)]
