"""Codes that no other test says: each has an export that brings it about, with the verdict of the table."""

from typing import Any

import pytest

from services.authoring.pinpoint.codes import APPROXIMATED, UNSUPPORTED
from tests.support.pinpoint import Made, email, event, journey, split, user_is, wait

TWO = [{"Percentage": 50, "NextActivity": "b"}, {"Percentage": 50}]
EARLY = {"EvaluationWaitTime": {"WaitFor": "P1D"}}

REACHED: list[tuple[str, str, str, Any, dict[str, Any]]] = [
    ("activity_type_ambiguous", "warning", APPROXIMATED, journey({"a": {**wait("P1D"), **email()}}), {}),
    (
        "audience_demographic",
        "warning",
        APPROXIMATED,
        journey(
            {"a": split({"SegmentDimensions": {"Demographic": {"Channel": {"Values": ["EMAIL"]}}}}, "b"), "b": email()}
        ),
        {},
    ),
    (
        "audience_exclusive_absent",
        "warning",
        APPROXIMATED,
        journey({"a": split(user_is("plan", "pro", how="EXCLUSIVE"), "b"), "b": email()}),
        {},
    ),
    (
        "channel_settings_dropped",
        "info",
        UNSUPPORTED,
        journey({"a": email()}, JourneyChannelSettings={"ConnectCampaignArn": "arn:aws:connect:x"}),
        {},
    ),
    (
        "condition_event_unmapped",
        "warning",
        APPROXIMATED,
        journey({"a": split(event("_custom.unheard"), "b"), "b": email()}),
        {},
    ),
    (
        "duplicate_journey",
        "warning",
        UNSUPPORTED,
        {"Item": [journey({"a": email()}), journey({"a": email()}, Name="Again")]},
        {},
    ),
    (
        "evaluation_wait_early",
        "warning",
        APPROXIMATED,
        journey(
            {
                "a": email("b"),
                "b": split(event("_email.open", of="a"), "c", "d", **EARLY),
                "c": email(),
                "d": email(),
            }
        ),
        {"evaluationWait": "early"},
    ),
    (
        "holdout_as_branch",
        "warning",
        APPROXIMATED,
        journey({"a": {"Holdout": {"Percentage": 10, "NextActivity": "b"}}, "b": email()}),
        {},
    ),
    (
        "random_split_adaptive",
        "warning",
        APPROXIMATED,
        journey({"a": {"RandomSplit": {"Branches": TWO}}, "b": email()}),
        {"randomSplit": "adaptive"},
    ),
    (
        "random_split_static",
        "info",
        APPROXIMATED,
        journey({"a": {"RandomSplit": {"Branches": TWO}}, "b": email()}),
        {},
    ),
    (
        "schedule_end",
        "warning",
        APPROXIMATED,
        journey({"a": email()}, Schedule={"EndTime": "2027-01-01T00:00:00Z"}),
        {},
    ),
    ("wait_invalid_duration", "error", APPROXIMATED, journey({"a": wait("soon")}), {}),
]


@pytest.mark.parametrize(("code", "severity", "verdict", "export", "options"), REACHED, ids=[one[0] for one in REACHED])
def test_it_is_said(code: str, severity: str, verdict: str, export: Any, options: dict[str, Any]) -> None:
    """Where it applies, and as publish and the fidelity report take it."""
    said = Made(export, **options).said(code)

    assert {(severity, verdict)} == {(one["severity"], one["verdict"]) for one in said}


def test_a_consoles_test_of_a_journey_is_skipped_unless_it_is_asked_for() -> None:
    """And kept aside whole."""
    export = journey({"a": email()}, Name="Test-of something")

    skipped, taken = Made(export), Made(export, includeTestJourneys=True)

    assert ([], 1, [export]) == (
        skipped.bundle["journeys"],
        skipped.codes["journey_skipped_test"],
        [one["payload"] for one in skipped.bundle["unsupported"]],
    )
    assert (1, 0) == (len(taken.bundle["journeys"]), taken.codes["journey_skipped_test"])
