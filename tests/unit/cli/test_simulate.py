"""`journeys simulate` and `journeys test`."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from journeys_cli.fixtures import differences
from journeys_client import MockTransport
from journeys_client.mock import problem
from tests.unit.cli.conftest import Run
from tests.unit.cli.test_commands import answering

PATH = "/api/journeys/a/simulate"
RESULT: dict[str, Any] = {
    "journeyId": "a",
    "version": "draft",
    "outcome": "completed",
    "trace": [
        {
            "at": "T1",
            "stepId": "welcome",
            "decision": "skipped",
            "reason": "opt_out",
            "checks": [
                {"check": "suppression", "passed": True},
                {"check": "opt_out", "passed": False, "overridden": False},
            ],
            "rendered": {"subject": "Hi A***"},
        },
        {"at": "T2", "stepId": "wait", "decision": "executed", "wait": {"mode": "duration", "firedBy": "time"}},
        {
            "at": "T3",
            "stepId": "draw",
            "decision": "executed",
            "branch": {"mode": "random", "chosen": "x", "weights": {"x": 1}},
        },
    ],
}


def test_a_simulation_is_printed_as_a_tree(run: Run) -> None:
    """A branch per step, what is known of it under it."""
    transport = answering("POST", PATH, RESULT)
    ran = run(
        "simulate", "a", "--attributes", '{"plan": "pro"}', "--event", '{"type": "t"}',
        "--then", '{"type": "paid", "after": "P1D"}', "--start-at", "T0", transport=transport,
    )  # fmt: skip

    assert (
        "completed  a version draft\n"
        "├─ T1  welcome: skipped (opt_out)\n"
        "│    passed: suppression\n"
        "│    refused: opt_out\n"
        "│    subject: Hi A***\n"
        "├─ T2  wait: executed\n"
        "│    wait: mode duration, firedBy time\n"
        "└─ T3  draw: executed\n"
        "     branch: mode random, chosen x\n"
    ) == ran.out
    assert {
        "subjectAttributes": {"plan": "pro"},
        "event": {"type": "t"},
        "events": [{"type": "paid", "after": "P1D"}],
        "startAt": "T0",
    } == transport.calls[0].json()


def test_a_number_is_sent_as_one(run: Run) -> None:
    """And overrides as a list."""
    transport = answering("POST", PATH, RESULT)
    run("simulate", "a", "--subject", "u", "--version", "2", "--override", "holdout", transport=transport)

    assert {"subjectId": "u", "version": 2, "overrides": ["holdout"]} == transport.calls[0].json()


def test_an_exploration_lists_its_paths(run: Run) -> None:
    """With whoever takes them, and what nobody reaches."""
    result = {
        "journeyId": "a",
        "version": 3,
        "paths": [{"steps": ["trigger", "exit"], "exampleAttributes": {"plan": "pro"}, "exampleEvents": []}],
        "unreachable": ["lost"],
        "deadBranches": [{"stepId": "b", "branchId": "never"}],
        "truncated": False,
    }
    transport = answering("POST", PATH, result)
    ran = run("simulate", "a", "--explore", transport=transport)

    assert (
        "1 path  a version 3\n"
        "└─ trigger > exit\n"
        '     attributes: {"plan": "pro"}\n'
        "unreachable: lost\n"
        "dead branch: b / never\n"
    ) == ran.out
    assert {"mode": "explore"} == transport.calls[0].json()


class TestFixtures:
    """`journeys test FILE...`."""

    @staticmethod
    def file(folder: Path, **expect: Any) -> Path:
        """A fixture of one case."""
        path = folder / "welcome.json"
        case = {"name": "skips", "subjectAttributes": {"a": 1}, "expect": expect}
        path.write_text(json.dumps({"journey": "a", "cases": [case]}))
        return path

    def test_what_goes_as_expected_is_ok(self, run: Run, tmp_path: Path) -> None:
        """Exit status 0; the case was sent without its name and its expectation."""
        transport = answering("POST", PATH, RESULT)
        ran = run("test", str(self.file(tmp_path, steps=["welcome", "wait", "draw"])), transport=transport)

        assert (0, "ok      welcome.json: skips\n", "") == (ran.status, ran.out, ran.err)
        assert {"subjectAttributes": {"a": 1}} == transport.calls[0].json()

    def test_what_goes_otherwise_is_told_and_fails(self, run: Run, tmp_path: Path) -> None:
        """Exit status 1, each difference by its place, and in the report."""
        report = tmp_path / "out.xml"
        file = self.file(tmp_path, outcome="blocked", trace=[{"decision": "executed"}, {}, {}])
        ran = run("test", str(file), "--junit", str(report), transport=answering("POST", PATH, RESULT))
        (suite,) = ElementTree.parse(report).getroot()
        (case,) = suite

        assert (1, "journeys: 1 of 1 case went otherwise\n") == (ran.status, ran.err)
        assert '/outcome: expected "blocked", got "completed"' in ran.out
        assert '/trace/0/decision: expected "executed", got "skipped"' in ran.out
        assert {"name": "welcome.json", "tests": "1", "failures": "1", "errors": "0"} == suite.attrib
        assert "skips" == case.attrib["name"]
        assert "/outcome" in (case[0].text or "")

    def test_a_case_the_server_refuses_fails_alone(self, run: Run, tmp_path: Path) -> None:
        """The others are tried all the same."""
        file = tmp_path / "two.json"
        cases = [{"name": name, "subjectId": name, "expect": {"outcome": "completed"}} for name in ("one", "two")]
        file.write_text(json.dumps({"journey": "a", "cases": cases}))
        transport = MockTransport()
        transport.on("POST", PATH, answer=lambda asked: problem(404, "not_found", "Nobody."))
        ran = run("test", str(file), transport=transport)

        assert 2 == ran.out.count("404 not_found")
        assert 1 == ran.status

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("{", "not JSON"),
            ("[]", "holds no `journey`"),
            ('{"journey": "a"}', "holds no `cases`"),
            ('{"journey": "a", "cases": [{}]}', "case 1 has no `name`"),
            ('{"journey": "a", "cases": [{"name": "x"}]}', "case 1 has no `expect`"),
        ],
    )
    def test_a_file_that_is_none_is_refused_before_anything_is_asked(
        self, run: Run, tmp_path: Path, text: str, complaint: str
    ) -> None:
        """One line, naming the file."""
        file = tmp_path / "bad.json"
        file.write_text(text)
        ran = run("test", str(file))

        assert 1 == ran.status
        assert complaint in ran.err
        assert str(file) in ran.err

    @pytest.mark.parametrize(
        ("expected", "found", "told"),
        [
            ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, []),
            ({"a": True}, {"a": 1}, ["/a: expected true, got 1"]),
            ({"a": 1}, {}, ["/a: expected 1, got nothing"]),
            ({"a": None}, {}, []),
            ({"a": {"b": 1}}, {"a": [1]}, ["/a: expected an object, got [1]"]),
            ({"trace": [{"x": 1}]}, {"trace": []}, ["/trace: expected 1 items, got 0"]),
        ],
    )
    def test_only_what_is_named_is_compared(self, expected: Any, found: Any, told: list[str]) -> None:
        """Members by name, lists in full, true is not 1."""
        assert told == list(differences(expected, found))
