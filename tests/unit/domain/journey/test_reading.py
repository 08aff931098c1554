"""Steps and settings out of JSON: what is read, what is refused, and where."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.errors import Fault
from services.domain.journey.model import (
    NO_DURATION_MS,
    UNWRITTEN,
    Arm,
    BranchAdaptive,
    BranchCondition,
    BranchRandom,
    Case,
    ExitOn,
    Reentry,
    Send,
    Settings,
    Trigger,
    WaitDuration,
    WaitUntilCondition,
    WaitUntilEvent,
    WaitUntilTime,
    Webhook,
)
from services.domain.journey.reading import read_settings, read_steps
from services.domain.times import DAY_MS, HOUR_MS, parse_time
from tests.unit.domain.journey.making import ALL_SETTINGS, ALL_STEPS, ANY_JSON, end, resolve, steps_of, wait

EXAMPLES = sorted((Path(__file__).parents[4] / "examples/journeys").glob("*.json"))


def faults_at(*steps: Any) -> list[tuple[str, str]]:
    return [(fault.path, fault.code) for fault in read_steps(list(steps))[1]]


def test_there_are_examples() -> None:
    """Six of them; an empty folder would prove nothing."""
    assert 6 == len(EXAMPLES)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_journey_reads_without_faults(path: Path) -> None:
    """The journeys we ship are journeys."""
    journey = json.loads(path.read_text())["journey"]

    steps, faults = read_steps(journey["steps"])
    _, settings_faults = read_settings(journey["settings"])

    assert [] == faults + settings_faults
    assert [step["id"] for step in journey["steps"]] == [step.id for step in steps]


def test_every_kind_and_mode_is_read() -> None:
    """Members land where the planner looks for them."""
    steps = {step.id: step for step in steps_of(*ALL_STEPS)}

    assert len(ALL_STEPS) == len(steps)
    assert Trigger("t", "event", "w1") == steps["t"]
    assert Trigger("t2", "audience_entry", "w1", backfill=False) == steps["t2"]
    at = parse_time("2026-04-30T13:00:00Z")
    assert Trigger("t3", "schedule", "w1", at=at, timezone="Asia/Tokyo") == steps["t3"]
    assert Trigger("t4", "schedule", "w1", rrule="FREQ=DAILY") == steps["t4"]
    assert WaitDuration("w1", HOUR_MS // 2, "w2") == steps["w1"]
    assert WaitUntilTime("w2", "w3", local_time="09:30", weekdays=("mon", "fri")) == steps["w2"]
    assert WaitUntilTime("w2a", "w3", attribute=("trial", "endsAt"), offset_days=-7) == steps["w2a"]
    assert WaitUntilTime("w2b", "w3", at=at - 2 * HOUR_MS) == steps["w2b"]
    assert isinstance(steps["w3"], WaitUntilEvent)
    assert ((("data", "orderId"), ("event", "orderId")),) == steps["w3"].match
    assert (3 * DAY_MS, "b1") == (steps["w3"].timeout_ms, steps["w3"].on_timeout)
    assert isinstance(steps["b2"], BranchRandom)
    assert (Arm("a", "b3", 1), Arm("b", "h", 3.5)) == steps["b2"].arms
    assert BranchAdaptive("b3", (Arm("a", "s"), Arm("b", "h")), "bought", 50, 0.1) == steps["b3"]
    assert Send("s", "email", "hello", "u", "fail") == steps["s"]
    assert isinstance(steps["h"], Webhook)
    assert ("PUT", 5_000, 1, "answer") == (
        steps["h"].method,
        steps["h"].timeout_ms,
        steps["h"].retries,
        steps["h"].save_as,
    )


def test_what_is_left_out_has_its_documented_default() -> None:
    """Contract 2.1: POST, ten seconds, three retries, a floor of 200, a twentieth, continue."""
    hook, adaptive, sent = steps_of(
        {"id": "h", "type": "webhook", "url": "https://x.example"},
        {"id": "b", "type": "branch", "mode": "adaptive", "arms": []},
        {"id": "s", "type": "send", "channel": "email"},
    )

    assert Webhook("h", "https://x.example", None) == hook
    assert ("POST", 10_000, 3, "continue") == (hook.method, hook.timeout_ms, hook.retries, hook.on_failure)
    assert (200, 0.05) == (adaptive.min_sample_floor, adaptive.exploration_floor)  # type: ignore[union-attr]
    assert "continue" == sent.on_failure  # type: ignore[union-attr]


def test_an_incomplete_draft_is_no_malformed_one() -> None:
    """What is merely missing is found at publish; a null is a missing member."""
    steps = steps_of(
        {"id": "t", "type": "trigger", "mode": "schedule", "next": None},
        {"id": "w", "type": "wait", "mode": "duration"},
        {"id": "e", "type": "wait", "mode": "until_event"},
        {"id": "c", "type": "wait", "mode": "until_condition", "timeout": None},
        {"id": "u", "type": "wait", "mode": "until_time"},
        {"id": "b", "type": "branch", "mode": "condition", "branches": [{"id": "y"}]},
        {"id": "r", "type": "branch", "mode": "random"},
        {"id": "a", "type": "branch", "mode": "adaptive", "arms": [{"id": "one"}], "optimizationGoal": {}},
        {"id": "s", "type": "send", "communicationId": None},
        {"id": "h", "type": "webhook"},
        {"id": "p", "type": "update_profile"},
        {"id": "x", "type": "exit", "reason": None, "name": None, "position": None},
    )

    assert WaitDuration("w", NO_DURATION_MS, None) == steps[1]
    assert WaitUntilEvent("e", "", None, None, None) == steps[2]
    assert isinstance(steps[3], WaitUntilCondition)
    assert steps[3].condition is UNWRITTEN
    assert BranchCondition("b", (Case("y", UNWRITTEN, None),), None) == steps[5]
    assert Send("s", "", "", None) == steps[8]
    assert ((), []) == read_steps([])


@pytest.mark.parametrize(
    ("step", "path", "code"),
    [
        ("exit", "/steps/0", "wrong_type"),
        ({"type": "exit"}, "/steps/0/id", "missing_member"),
        ({"id": "a"}, "/steps/0/type", "missing_member"),
        ({"id": "a", "type": None}, "/steps/0/type", "missing_member"),
        ({"id": "a", "type": 7}, "/steps/0/type", "wrong_type"),
        ({"id": "a", "type": "teleport"}, "/steps/0/type", "unknown_step_type"),
        ({"id": "a", "type": "wait", "next": "x"}, "/steps/0/mode", "missing_member"),
        ({"id": "a", "type": "wait", "mode": "forever"}, "/steps/0/mode", "unknown_mode"),
        ({"id": "a", "type": "trigger", "mode": "psychic"}, "/steps/0/mode", "unknown_mode"),
        ({"id": "a", "type": "trigger", "mode": 1}, "/steps/0/mode", "wrong_type"),
        ({"id": "a", "type": "trigger", "mode": "psychic", "future": 1}, "/steps/0/mode", "unknown_mode"),
        ({"id": "a", "type": "exit", "mode": "fast"}, "/steps/0/mode", "unknown_member"),
        ({**wait("a", "x"), "dealy": 1}, "/steps/0/dealy", "unknown_member"),
        ({**wait("a", "x"), "a/b~c": 1}, "/steps/0/a~1b~0c", "unknown_member"),
        ({**wait("a", "x"), "\ud800": 1}, "/steps/0/\\ud800", "unknown_member"),
        ({**wait("a", "x"), "timeout": "P1D"}, "/steps/0/timeout", "unknown_member"),
        (wait("has space", "x"), "/steps/0/id", "bad_pattern"),
        (wait("", "x"), "/steps/0/id", "bad_pattern"),
        (wait("x" * 65, "x"), "/steps/0/id", "bad_pattern"),
        (wait("ü", "x"), "/steps/0/id", "bad_pattern"),
        (wait("a\n", "x"), "/steps/0/id", "bad_pattern"),
        ({**wait("a", "x"), "next": 5}, "/steps/0/next", "wrong_type"),
        ({**wait("a", "x"), "next": "\udfff"}, "/steps/0/next", "bad_text"),
        ({**wait("a", "x"), "duration": "P1M"}, "/steps/0/duration", "unsupported_duration"),
        ({**wait("a", "x"), "duration": "3d"}, "/steps/0/duration", "bad_duration"),
        ({**wait("a", "x"), "duration": "-P1D"}, "/steps/0/duration", "bad_duration"),
        ({**wait("a", "x"), "duration": "P9999D"}, "/steps/0/duration", "out_of_range"),
        ({**wait("a", "x"), "name": ["n"]}, "/steps/0/name", "wrong_type"),
        ({**wait("a", "x"), "position": {"x": 1}}, "/steps/0/position/y", "missing_member"),
        ({**wait("a", "x"), "position": {"x": 1, "y": float("nan")}}, "/steps/0/position/y", "out_of_range"),
        ({**wait("a", "x"), "position": {"x": True, "y": 0}}, "/steps/0/position/x", "wrong_type"),
        ({"id": "a", "type": "send", "channel": "sms"}, "/steps/0/channel", "unknown_value"),
        ({"id": "a", "type": "send", "onFailure": "explode"}, "/steps/0/onFailure", "unknown_value"),
        ({"id": "a", "type": "wait", "mode": "until_time", "at": "noon"}, "/steps/0/at", "bad_time"),
        ({"id": "a", "type": "wait", "mode": "until_time", "localTime": "24:00"}, "/steps/0/localTime", "bad_pattern"),
        (
            {"id": "a", "type": "wait", "mode": "until_time", "weekdays": ["Mon"]},
            "/steps/0/weekdays/0",
            "unknown_value",
        ),
        ({"id": "a", "type": "wait", "mode": "until_time", "attribute": "a..b"}, "/steps/0/attribute", "bad_path"),
        (
            {"id": "a", "type": "wait", "mode": "until_time", "attribute": "a", "localTime": "09:00"},
            "/steps/0/attribute",
            "conflicting_members",
        ),
        (
            {"id": "a", "type": "wait", "mode": "until_time", "localTime": "09:00", "offset": "P1D"},
            "/steps/0/offset",
            "conflicting_members",
        ),
        (
            {"id": "a", "type": "wait", "mode": "until_event", "match": {"id": "orderId"}},
            "/steps/0/match/id",
            "bad_path",
        ),
        ({"id": "a", "type": "wait", "mode": "until_event", "match": {"a.": "event.a"}}, "/steps/0/match", "bad_path"),
        (
            {"id": "a", "type": "wait", "mode": "until_event", "match": {"a": None}},
            "/steps/0/match/a",
            "missing_member",
        ),
        ({"id": "a", "type": "trigger", "filter": []}, "/steps/0/filter", "wrong_type"),
        (
            {"id": "a", "type": "trigger", "mode": "schedule", "timezone": "Mars"},
            "/steps/0/timezone",
            "unknown_timezone",
        ),
        (
            {"id": "a", "type": "trigger", "mode": "schedule", "rrule": "FREQ=DAILY", "at": "2026-01-01T00:00:00Z"},
            "/steps/0/rrule",
            "conflicting_members",
        ),
        ({"id": "a", "type": "branch", "mode": "random", "arms": {}}, "/steps/0/arms", "wrong_type"),
        ({"id": "a", "type": "branch", "mode": "random", "arms": [{}]}, "/steps/0/arms/0/id", "missing_member"),
        (
            {"id": "a", "type": "branch", "mode": "random", "arms": [{"id": "a", "weight": -1}]},
            "/steps/0/arms/0/weight",
            "out_of_range",
        ),
        (
            {"id": "a", "type": "branch", "mode": "adaptive", "arms": [{"id": "a", "weight": 1}]},
            "/steps/0/arms/0/weight",
            "unknown_member",
        ),
        (
            {"id": "a", "type": "branch", "mode": "adaptive", "explorationFloor": 1.01},
            "/steps/0/explorationFloor",
            "out_of_range",
        ),
        (
            {"id": "a", "type": "branch", "mode": "adaptive", "minSampleFloor": 1.5},
            "/steps/0/minSampleFloor",
            "wrong_type",
        ),
        ({"id": "a", "type": "webhook", "url": 5}, "/steps/0/url", "wrong_type"),
        ({"id": "a", "type": "webhook", "url": "https://a\r\nb"}, "/steps/0/url", "bad_pattern"),
        ({"id": "a", "type": "webhook", "headers": {"X/A": "b\r\nc"}}, "/steps/0/headers/X~1A", "bad_pattern"),
        ({"id": "a", "type": "webhook", "headers": {"X": 1}}, "/steps/0/headers/X", "wrong_type"),
        ({"id": "a", "type": "webhook", "timeout": "PT0S"}, "/steps/0/timeout", "out_of_range"),
        ({"id": "a", "type": "webhook", "body": {"a": [2**63]}}, "/steps/0/body/a/0", "out_of_range"),
        ({"id": "a", "type": "webhook", "body": [float("inf")]}, "/steps/0/body/0", "out_of_range"),
        ({"id": "a", "type": "webhook", "body": {"k": "\ud800"}}, "/steps/0/body/k", "bad_text"),
        ({"id": "a", "type": "update_profile", "set": {"a": [10**400]}}, "/steps/0/set/a/0", "out_of_range"),
        ({"id": "a", "type": "update_profile", "set": {"": 1}}, "/steps/0/set", "bad_path"),
    ],
)
def test_what_is_malformed_is_refused_where_it_stands(step: Any, path: str, code: str) -> None:
    """One thing wrong, one fault, at its member."""
    assert [(path, code)] == faults_at(step)


@pytest.mark.parametrize("bad", ["P1M", "P1Y", "3d", "P", "P9999D"])
def test_a_fault_of_a_duration_says_duration(bad: str) -> None:
    """The author must see which notion is meant."""
    _, faults = read_steps([{**wait("a", "x"), "duration": bad}])

    assert all("duration" in fault.message for fault in faults)
    assert 1 == len(faults)


def test_all_faults_are_found_in_one_pass() -> None:
    """An author mends everything at once."""
    steps = [
        {"id": "a b", "type": "wait", "mode": "duration", "duration": 3, "next": [], "foo": 1},
        {"id": "b", "type": "nope", "name": 5},
        end(),
        {"id": "c", "type": "trigger", "filter": {"kind": "and", "clauses": [{"kind": "x"}, 5]}},
    ]

    expected = {
        ("/steps/0/id", "bad_pattern"),
        ("/steps/0/duration", "wrong_type"),
        ("/steps/0/next", "wrong_type"),
        ("/steps/0/foo", "unknown_member"),
        ("/steps/1/name", "wrong_type"),
        ("/steps/1/type", "unknown_step_type"),
        ("/steps/3/filter/clauses/0/kind", "unknown_kind"),
        ("/steps/3/filter/clauses/1", "wrong_type"),
    }
    assert expected == set(faults_at(*steps))


@pytest.mark.parametrize("json", [None, "exit", {"a": 1}, 5, True])
def test_steps_that_are_no_list_are_refused(json: Any) -> None:
    """With the path of the whole."""
    assert ((), ["/steps"]) == (read_steps(json)[0], [fault.path for fault in read_steps(json)[1]])


def test_json_nested_64_deep_is_read_and_deeper_is_not() -> None:
    """Depth is counted in one value; the fault names an ancestor near enough to be shown."""
    hook = {"id": "h", "type": "webhook", "body": nested(64)}

    assert [] == faults_at(hook)
    assert [("/steps/0/body" + "/0" * 64, "too_deep")] == faults_at({**hook, "body": nested(65)})
    assert [("/steps/0/body" + "/0" * 64, "too_deep")] == faults_at({**hook, "body": nested(50_000)})


def test_a_pointer_into_free_json_does_not_outgrow_its_document() -> None:
    """A long name, and many faults under it: each path would repeat the name."""
    _, faults = read_steps([{"id": "h", "type": "webhook", "body": {"k" * 5_000: [float("nan")] * 5_000}}])

    assert 100 == len(faults)
    assert {"/steps/0/body"} == {fault.path for fault in faults}


def test_settings_are_read() -> None:
    """Contract 2.2, all members."""
    settings, faults = read_settings(ALL_SETTINGS)

    assert [] == faults
    assert (
        Settings(
            Reentry("after_exit", DAY_MS, ("data", "orderId")),
            (ExitOn("cancelled"), ExitOn("paid", ((("orderId",), ("event", "data", "orderId")),))),
            True,
            90 * DAY_MS,
            "Europe/Berlin",
            50,
        )
        == settings
    )


@pytest.mark.parametrize("json", [None, {}, dict.fromkeys(ALL_SETTINGS)])
def test_settings_left_out_are_the_defaults(json: Any) -> None:
    """Re-entry at every event, a year at most."""
    assert (Settings(), []) == read_settings(json)
    assert 365 * DAY_MS == Settings().max_duration_ms


@pytest.mark.parametrize(
    ("json", "path", "code"),
    [
        ([], "/settings", "wrong_type"),
        ({"foo": 1}, "/settings/foo", "unknown_member"),
        ({"reentry": "once"}, "/settings/reentry", "wrong_type"),
        ({"reentry": {"mode": "twice"}}, "/settings/reentry/mode", "unknown_mode"),
        ({"reentry": {"max": 1}}, "/settings/reentry/max", "unknown_member"),
        ({"reentry": {"minInterval": "P1M"}}, "/settings/reentry/minInterval", "unsupported_duration"),
        ({"reentry": {"concurrencyKey": "."}}, "/settings/reentry/concurrencyKey", "bad_path"),
        ({"exitOn": [{}]}, "/settings/exitOn/0/eventName", "missing_member"),
        ({"exitOn": [{"eventName": "a", "when": 1}]}, "/settings/exitOn/0/when", "unknown_member"),
        ({"exitOnGoal": 1}, "/settings/exitOnGoal", "wrong_type"),
        ({"maxDuration": "PT0S"}, "/settings/maxDuration", "out_of_range"),
        ({"timezone": "Europe/Atlantis"}, "/settings/timezone", "unknown_timezone"),
        ({"timezone": 1}, "/settings/timezone", "wrong_type"),
        ({"sendRate": {}}, "/settings/sendRate/perSecond", "missing_member"),
        ({"sendRate": {"perSecond": 0}}, "/settings/sendRate/perSecond", "out_of_range"),
        ({"sendRate": {"perSecond": "5"}}, "/settings/sendRate/perSecond", "wrong_type"),
    ],
)
def test_malformed_settings_are_refused_where_they_stand(json: Any, path: str, code: str) -> None:
    """One thing wrong, one fault."""
    assert [(path, code)] == [(fault.path, fault.code) for fault in read_settings(json)[1]]


@given(ANY_JSON)
def test_reading_never_raises(json: Any) -> None:
    """Whatever the JSON: values and faults, and every fault can be sent as UTF-8."""
    faults = [*read_steps(json)[1], *read_steps([json])[1], *read_settings(json)[1]]

    assert all(can_be_sent(fault) for fault in faults)


@given(st.data())
def test_one_spoilt_value_is_read_or_refused_near_its_place(data: st.DataObject) -> None:
    """Put any JSON anywhere into sound steps: no raise, and every path leads to a member or to where one is missing."""
    steps = copy.deepcopy(ALL_STEPS)
    places = [(owner, name) for owner in containers(steps) for name in names_in(owner)]
    owner, name = data.draw(st.sampled_from(places))
    owner[name] = data.draw(ANY_JSON)

    _, faults = read_steps(steps)

    for fault in faults:
        assert can_be_sent(fault)
        if "\\ud" not in fault.path:
            parent = resolve({"steps": steps}, fault.path.rpartition("/")[0])
            assert isinstance(parent, dict | list)


def can_be_sent(fault: Fault) -> bool:
    return bool(fault.path.encode() and fault.message.encode() and fault.code.isidentifier())


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


def containers(value: Any) -> list[Any]:
    if not isinstance(value, dict | list):
        return []
    return [value, *(inner for name in names_in(value) for inner in containers(value[name]))]


def names_in(owner: Any) -> list[Any]:
    return list(owner) if isinstance(owner, dict) else list(range(len(owner)))
