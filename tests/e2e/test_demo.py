"""`journeys demo` as a newcomer runs it: a process of its own, on real input."""

import json
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
DAY = timedelta(days=1)
CUSTOMERS = 150  # of 2,357; all of them take minutes


def demo(*arguments: str) -> Any:
    """Run the demo to its end and read its counts."""
    command = [sys.executable, "-m", "journeys_cli", "demo", "--json", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)

    assert (0, "") == (ran.returncode, ran.stderr)
    return json.loads(ran.stdout)


def expected_of(name: str) -> Any:
    return json.loads((EXAMPLES / "events" / f"{name}.expected.json").read_text(encoding="utf-8"))


def executed(journey: Any) -> dict[str, int]:
    """How often each step was executed or skipped: how many people went through it."""
    return {step: counts["executed"] + counts["skipped"] for step, counts in journey["steps"].items()}


@pytest.mark.slow
class TestTheDefault:
    """5,000 lines with everything that goes wrong in real life."""

    @pytest.fixture(scope="class")
    @classmethod
    def report(cls) -> Any:
        return demo()

    def test_every_count_of_the_file_is_the_expected_one(self, report: Any) -> None:
        """Read by us, and taken by the server."""
        expected = expected_of("messy-5000")

        assert {name: value for name, value in expected.items() if name in report["file"]} == report["file"]
        assert expected["accepted"] == report["server"]["accepted"]
        assert expected["duplicates"]["total"] == report["server"]["duplicates"]
        assert expected["malformed"]["byKind"] == report["server"]["refusedByReason"]

    def test_all_people_are_imported(self, report: Any) -> None:
        """Also those with hostile names and ids."""
        assert (1000, 0) == (report["imported"]["created"], report["imported"]["errorCount"])

    def test_each_journey_started_once_for_each_of_its_events(self, report: Any) -> None:
        """Duplicates start nothing; a journey entered once per person has as many people as it has events here."""
        expected = expected_of("messy-5000")["validUnique"]["byType"]
        started = {journey["name"]: journey["executions"]["total"] for journey in report["journeys"]}

        assert expected["user.signed_up"] == started["Activation Onboarding"]
        assert expected["purchase.completed"] == started["Purchase win-back"]

    def test_everybody_has_come_to_an_end(self, report: Any) -> None:
        """Ninety days after the last event nobody waits any more, and nothing failed."""
        for journey in report["journeys"]:
            assert journey["executions"]["byStatus"].keys() <= {"SUCCEEDED"}
            assert {} == journey["waitingAtEnd"]

    def test_the_counts_agree_with_each_other(self, report: Any) -> None:
        """Who entered has left; a message was sent for each send that was executed."""
        for journey in (journey for journey in report["journeys"] if journey["executions"]["total"]):
            steps = executed(journey)

            assert journey["executions"]["total"] == steps["trigger"]
            assert journey["executions"]["total"] >= sum(n for step, n in steps.items() if step.startswith("exit"))
        welcome = next(j for j in report["journeys"] if j["name"] == "Activation Onboarding")["steps"]
        assert report["messages"]["email"]["sent"] >= welcome["welcome"]["executed"] + welcome["re-engage"]["executed"]


@pytest.mark.slow
def test_the_purchase_win_back_runs_for_real_buyers(tmp_path: Path) -> None:
    """Some of CDNOW's customers, all their purchases; the counts are walked by a rule of a few lines."""
    lines = (EXAMPLES / "events" / "cdnow-purchases.ndjson").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    chosen = set(sorted({event["endUserId"] for event in events})[:CUSTOMERS])
    events = [event for event in events if event["endUserId"] in chosen]
    file = tmp_path / "buyers.ndjson"
    file.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    report = demo("--events", str(file))

    journey = next(journey for journey in report["journeys"] if journey["name"] == "Purchase win-back")
    steps = executed(journey)
    assert walked(events) == {
        "started": journey["executions"]["total"],
        "nextPurchaseInTime": steps["exit-bought"],
        "timedOut": steps["value"],
        "sendPremium": steps["send-premium"],
        "sendOfferOrReminder": steps["send-offer"] + steps["send-reminder"],
        "returnedAfterSend": steps["exit-returned"],
        "notReturned": steps["exit-away"],
        "converted": journey["goalReached"],
    }
    assert len(events) == report["server"]["accepted"]
    assert {"sent": steps["value"]} == report["messages"]["email"]


def walked(events: list[Any]) -> dict[str, int]:
    """The win-back's rules over purchases in the order of time, as the samples state them."""
    out: Counter[str] = Counter()
    waiting: defaultdict[str, list[tuple[datetime, float]]] = defaultdict(list)
    for event in (event for event in events if event["type"] == "purchase.completed"):
        now = datetime.fromisoformat(event["timestamp"])
        for started, amount in waiting.pop(event["endUserId"], []):
            count(out, now - started, amount)
        if event["data"]["amount"] > 0:
            out["started"] += 1
            waiting[event["endUserId"]].append((now, event["data"]["amount"]))
    for _, amount in [run for runs in waiting.values() for run in runs]:
        count(out, 1000 * DAY, amount)
    return dict(out)


def count(out: Counter[str], age: timedelta, amount: float) -> None:
    """What became of one execution whose person bought again after `age`."""
    out["converted"] += age <= 30 * DAY
    out["nextPurchaseInTime"] += age < 60 * DAY
    if age >= 60 * DAY:
        out["timedOut"] += 1
        out["sendPremium"] += amount >= 50
        out["sendOfferOrReminder"] += amount < 50
        out["returnedAfterSend"] += age < 90 * DAY
        out["notReturned"] += age >= 90 * DAY
