"""Bodies against their schemas."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.schemas import COMPONENTS, UNIONS
from gateway.schemas.predicate import OPERATORS
from gateway.schemas.words import Union
from gateway.shapes import SHAPES

LEAF = {"kind": "attribute", "fieldPath": "plan", "operator": "equals", "value": "pro"}
STEPS: list[dict[str, Any]] = [
    {"id": "t1", "type": "trigger", "filter": LEAF, "next": "a"},
    {"id": "t2", "type": "trigger", "mode": "audience_entry", "backfill": False, "next": "a"},
    {"id": "t3", "type": "trigger", "mode": "schedule", "at": "2026-04-30T13:00:00.000Z", "next": "a"},
    {"id": "t4", "type": "trigger", "mode": "schedule", "rrule": "FREQ=DAILY", "timezone": "UTC", "next": "a"},
    {"id": "t5", "type": "trigger", "mode": "manual", "next": "a"},
    {"id": "w1", "type": "wait", "mode": "duration", "duration": "P1W", "next": "a", "name": "x"},
    {"id": "w2", "type": "wait", "mode": "until_time", "localTime": "09:30", "weekdays": ["mon"], "next": "a"},
    {"id": "w3", "type": "wait", "mode": "until_time", "attribute": "renewalAt", "offset": "-P7D", "next": "a"},
    {
        "id": "w4",
        "type": "wait",
        "mode": "until_event",
        "eventName": "e",
        "match": {"orderId": "event.orderId"},
        "filter": LEAF,
        "timeout": "P1D",
        "onTimeout": "a",
        "next": "a",
    },
    {"id": "w5", "type": "wait", "mode": "until_condition", "condition": LEAF, "timeout": "P1D", "onTimeout": "a"},
    {"id": "b1", "type": "branch", "mode": "condition", "branches": [{"id": "y", "condition": LEAF, "next": "a"}]},
    {"id": "b2", "type": "branch", "mode": "random", "arms": [{"id": "y", "weight": 0.5, "next": "a"}]},
    {
        "id": "b3",
        "type": "branch",
        "mode": "adaptive",
        "arms": [{"id": "y", "next": "a"}],
        "optimizationGoal": {"eventName": "e"},
        "minSampleFloor": 50,
        "explorationFloor": 0.1,
    },
    {"id": "s1", "type": "send", "channel": "email", "communicationId": "c", "onFailure": "fail", "next": "a"},
    {
        "id": "h1",
        "type": "webhook",
        "method": "POST",
        "url": "https://example.com",
        "headers": {"X-A": "1"},
        "body": {"who": ["{{ subject.name }}", 1, None]},
        "timeout": "PT5S",
        "retries": 1,
        "saveAs": "answer",
        "onFailure": "continue",
        "next": "a",
    },
    {"id": "u1", "type": "update_profile", "set": {"a": True, "b": "{{ x }}"}, "next": "a"},
    {"id": "a", "type": "exit", "reason": "done", "position": {"x": 1, "y": -40.5}},
]


def faults(component: str, value: Any) -> dict[str, str]:
    """Path -> code."""
    return {fault.path: fault.code for fault in SHAPES.faults(component, value)}


def journey(*steps: Any) -> dict[str, Any]:
    """A body with these steps."""
    return {"name": "X", "steps": list(steps)}


def test_every_step_of_the_contract_has_its_shape() -> None:
    """All types and modes with all their members."""
    assert {} == faults("JourneyCreate", journey(*STEPS))


def test_all_faults_are_told_at_once() -> None:
    """An unknown member by its own path, a missing one by the path it should have, a wrong type by its place."""
    body = {
        "goalEventWindowDays": "x",
        "foo": 1,
        "id": "Upper",
        "settings": {"reentry": {"mode": "sometimes"}, "exitOn": [{"eventName": 1}]},
        "steps": [{"id": "a", "type": "wait", "mode": "duration", "duration": "P1D", "dealy": 1}],
    }

    found = faults("JourneyCreate", body)

    assert {
        "/name": "missing_member",
        "/goalEventWindowDays": "wrong_type",
        "/foo": "unknown_member",
        "/id": "bad_pattern",
        "/settings/reentry/mode": "not_allowed",
        "/settings/exitOn/0/eventName": "wrong_type",
        "/steps/0/dealy": "unknown_member",
    } == found


@pytest.mark.parametrize(
    ("step", "found"),
    [
        ({"id": "a"}, {"/steps/0/type": "missing_member"}),
        ({"id": "a", "type": "teleport"}, {"/steps/0/type": "not_allowed"}),
        ({"id": "a", "type": 7}, {"/steps/0/type": "wrong_type"}),
        ({"id": "a", "type": None}, {"/steps/0/type": "wrong_type"}),
        ({"id": "a", "type": "wait"}, {"/steps/0/mode": "missing_member"}),
        ({"id": "a", "type": "wait", "mode": "forever"}, {"/steps/0/mode": "not_allowed"}),
        ({"id": "a", "type": "exit", "mode": "x"}, {"/steps/0/mode": "unknown_member"}),
        ({"type": "exit"}, {"/steps/0/id": "missing_member"}),
        ({"id": "has space", "type": "exit"}, {"/steps/0/id": "bad_pattern"}),
        ({"id": "", "type": "exit"}, {"/steps/0/id": "bad_pattern"}),
        ({"id": "x" * 65, "type": "exit"}, {"/steps/0/id": "bad_pattern"}),
        ({"id": "a\n", "type": "exit"}, {"/steps/0/id": "bad_pattern"}),
        ({"id": "a", "type": "send", "channel": "sms"}, {"/steps/0/channel": "not_allowed"}),
        ({"id": "a", "type": "exit", "a/b~c": 1}, {"/steps/0/a~1b~0c": "unknown_member"}),
        ({"id": "a", "type": "update_profile", "set": []}, {"/steps/0/set": "wrong_type"}),
        ("exit", {"/steps/0": "wrong_type"}),
        (None, {"/steps/0": "wrong_type"}),
    ],
)
def test_a_step_is_held_to_the_schema_of_its_type_and_mode(step: Any, found: dict[str, str]) -> None:
    """The union is closed, and its faults are told where they are."""
    assert found == faults("JourneyCreate", journey(step))


def test_an_incomplete_draft_has_no_fault_of_shape() -> None:
    """What is missing for publishing is the domain's to say, as warnings."""
    steps = [
        {"id": "w", "type": "wait", "mode": "duration"},
        {"id": "b", "type": "branch", "mode": "random", "arms": []},
        {"id": "s", "type": "send"},
        {"id": "c", "type": "branch", "mode": "condition", "branches": [{"condition": {"kind": "attribute"}}]},
    ]

    assert {} == faults("JourneyCreate", journey(*steps))


@pytest.mark.parametrize(
    ("predicate", "found"),
    [
        ({}, {"/kind": "missing_member"}),
        ({"kind": "sparkle"}, {"/kind": "not_allowed"}),
        ({"kind": "attribute", "operator": "resembles"}, {"/operator": "not_allowed"}),
        (
            {"kind": "and", "clauses": [LEAF, {"kind": "nope"}, 3]},
            {"/clauses/1/kind": "not_allowed", "/clauses/2": "wrong_type"},
        ),
        ({"kind": "not", "clause": {**LEAF, "x": 1}}, {"/clause/x": "unknown_member"}),
        (
            {"kind": "event_fired", "eventName": 1, "window": {"type": "since_start", "days": 1}, "where": []},
            {"/eventName": "wrong_type", "/window/days": "unknown_member", "/where": "wrong_type"},
        ),
        ({"kind": "received", "stepId": "s", "status": "eaten"}, {"/status": "not_allowed"}),
        ([], {"": "wrong_type"}),
    ],
)
def test_a_predicate_is_held_to_its_kind(predicate: Any, found: dict[str, str]) -> None:
    """At any depth."""
    assert found == faults("Predicate", predicate)


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_is_known(operator: str) -> None:
    """Of contract 3."""
    assert {} == faults("Predicate", {"kind": "context", "fieldPath": "a", "operator": operator, "value": None})


def test_a_predicate_is_read_as_deep_as_a_body_can_be() -> None:
    """A fault at the bottom has its pointer; whether 32 levels are kept is the domain's to say."""
    predicate: Any = {"kind": "nope"}
    for _ in range(60):
        predicate = {"kind": "not", "clause": predicate}

    assert {"/clause" * 60 + "/kind": "not_allowed"} == faults("Predicate", predicate)


@pytest.mark.parametrize(
    ("component", "body"),
    [
        ("JourneyUpdate", {"id": 1, "version": [], "status": {}, "draft": None, "latestVersion": "x", "warnings": 0}),
        ("JourneyUpdate", {"projectKey": "x", "createdAt": 1, "publishedAt": None, "goalSince": None, "etag": "x"}),
        ("TriggerContractUpdate", {"id": "x", "projectKey": "x", "versionAt": "x"}),
        (
            "AudienceUpdate",
            {"id": "x", "projectKey": "x", "createdAt": "x", "updatedAt": "x", "subjectType": "end_user"},
        ),
        ("CommunicationUpdate", {"id": "x", "version": 3, "status": "active"}),
        ("SubjectPut", {"endUserId": "x", "createdAt": "x"}),
        ("SubjectPatch", {"endUserId": "x"}),
        ("SuppressionPut", {"address": "x", "createdAt": "x"}),
        ("WorkspaceUpdate", {"projectKey": "x", "etag": "x"}),
        ("MemberUpdate", {"role": "owner", "userId": "x", "email": "x"}),
    ],
)
def test_what_only_the_server_writes_can_be_sent_back(component: str, body: dict[str, Any]) -> None:
    """Whatever it holds; it is ignored."""
    assert {} == faults(component, body)


@pytest.mark.parametrize("member", ["name", "description", "steps", "settings", "goalEventWindowDays"])
def test_null_is_no_value_for_what_always_has_one(member: str) -> None:
    """References and the goal may be null, these may not."""
    assert {f"/{member}": "wrong_type"} == faults("JourneyUpdate", {member: None})
    assert {} == faults("JourneyUpdate", {"audienceId": None, "triggerContractId": None, "goalEventName": None})


@pytest.mark.parametrize("days", [0, -1, 366, 1e300])
def test_a_goal_window_has_its_range(days: float) -> None:
    """More than nothing, at most a year."""
    assert {"/goalEventWindowDays": "out_of_range"} == faults("JourneyUpdate", {"goalEventWindowDays": days})


def test_a_sender_is_chosen_by_its_type() -> None:
    """A union that may be null, inside an object that may be null."""
    good = {
        "email": {"type": "outbox"},
        "in_app_push": None,
        "mobile_push": {"type": "http", "url": "u", "idempotent": True},
    }

    assert {} == faults("WorkspaceUpdate", {"senders": good})
    assert {} == faults("WorkspaceUpdate", {"senders": None, "quietHours": None, "maxJourneys": None})
    assert {"/senders/email/type": "not_allowed"} == faults("WorkspaceUpdate", {"senders": {"email": {"type": "fax"}}})


def test_the_examples_have_the_shapes_of_the_contract() -> None:
    """The five templates and the win-back, whole."""
    paths = sorted((Path(__file__).parents[3] / "examples" / "journeys").glob("*.json"))

    assert 6 <= len(paths)

    for path in paths:
        sample = json.loads(path.read_text())
        found = [SHAPES.faults("JourneyCreate", sample["journey"])]
        for component, noun in (
            ("CommunicationCreate", "communications"),
            ("AudienceCreate", "audiences"),
            ("TriggerContractCreate", "triggerContracts"),
        ):
            found += [SHAPES.faults(component, body) for body in sample[noun].values()]

        assert not any(found), (path.name, found)


def test_every_choice_of_a_union_is_a_component() -> None:
    """And its tag's values are those under which it is chosen."""
    stack: list[Union | str] = list(UNIONS.values())
    while stack:
        item = stack.pop()
        if isinstance(item, Union):
            stack.extend(item.choices.values())
        else:
            assert item in COMPONENTS


@settings(deadline=None)
@given(
    st.sampled_from(sorted(COMPONENTS)),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["name", "steps", "type", "mode", "kind", "clauses", "id"]) | st.text(), inner
            )
        ),
        max_leaves=20,
    ),
)
def test_any_json_is_taken_or_refused(component: str, value: Any) -> None:
    """Nothing makes the check itself fail, and every fault has a pointer that is one."""
    for fault in SHAPES.faults(component, value):
        assert fault.path == "" or fault.path.startswith("/")
