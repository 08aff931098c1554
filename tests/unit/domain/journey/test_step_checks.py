"""What publish asks of each step alone: that it is complete and that everything it names exists."""

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.domain.journey.making import CATALOGUE, attribute, end, found, send


@pytest.mark.parametrize(
    ("communication", "codes"),
    [
        (None, [("/steps/0/communicationId", "communication_not_found")]),
        ("gone", [("/steps/0/communicationId", "communication_not_found")]),
        ("receipt", [("/steps/0/communicationId", "send_step_uses_transactional_comm")]),
        ("old", [("/steps/0/communicationId", "communication_archived")]),
        (
            "old-receipt",
            [
                ("/steps/0/communicationId", "send_step_uses_transactional_comm"),
                ("/steps/0/communicationId", "communication_archived"),
                ("/steps/0/channel", "channel_mismatch"),
            ],
        ),
    ],
)
def test_a_send_step_names_a_marketing_communication(communication: str | None, codes: list[tuple[str, str]]) -> None:
    """That exists, is not archived, and is made for the channel."""
    assert codes == found(send(communicationId=communication), end())


def test_a_send_step_has_a_channel() -> None:
    """A draft may lack it, a version may not."""
    assert [("/steps/0/channel", "channel_missing")] == found(send(channel=None), end())


def test_what_the_journey_names_exists() -> None:
    """Its audience and its trigger contract; naming neither is fine."""
    missing = replace(CATALOGUE, audience_id="gone", trigger_contract_id="lost")
    there = replace(CATALOGUE, audience_id="vip", trigger_contract_id="signup")

    expected = [("/audienceId", "audience_not_found"), ("/triggerContractId", "trigger_contract_not_found")]
    assert expected == found(end(), catalogue=missing)
    assert [] == found(end(), catalogue=there)


CONDITION_PLACES: dict[str, tuple[dict[str, Any], str]] = {
    "filter": ({"id": "t", "type": "trigger", "next": "x"}, "/steps/0/filter"),
    "until_event": (
        {
            "id": "e",
            "type": "wait",
            "mode": "until_event",
            "eventName": "a",
            "timeout": "P1D",
            "onTimeout": "x",
            "next": "x",
        },
        "/steps/0/filter",
    ),
    "until_condition": (
        {"id": "c", "type": "wait", "mode": "until_condition", "timeout": "P1D", "onTimeout": "x", "next": "x"},
        "/steps/0/condition",
    ),
    "branch": (
        {"id": "b", "type": "branch", "mode": "condition", "branches": [{"id": "y", "next": "x"}], "default": "x"},
        "/steps/0/branches/0/condition",
    ),
}


def placed(place: str, condition: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """A step with the condition in that place, and the condition's pointer."""
    step, path = CONDITION_PLACES[place]
    if place == "branch":
        return {**step, "branches": [{**step["branches"][0], "condition": condition}]}, path
    return {**step, path.rpartition("/")[2]: condition}, path


@pytest.mark.parametrize("place", CONDITION_PLACES)
def test_a_condition_is_well_typed_wherever_it_stands(place: str) -> None:
    """With the path of the leaf that is not."""
    step, path = placed(place, {"kind": "not", "clause": attribute("age", "gt", "thirty")})

    assert [(f"{path}/clause/value", "invalid_condition")] == found(step, end())


@pytest.mark.parametrize("place", CONDITION_PLACES)
def test_a_condition_names_what_exists(place: str) -> None:
    """Audiences of the workspace, send steps of the journey."""
    clauses = [
        {"kind": "in_segment", "audienceId": "vip"},
        {"kind": "in_segment", "audienceId": "gone"},
        {"kind": "received", "stepId": "x", "status": "sent"},
        {"kind": "received", "stepId": "nowhere", "status": "sent"},
    ]
    step, path = placed(place, {"kind": "and", "clauses": clauses})

    expected = [
        (f"{path}/clauses/1", "audience_not_found"),
        (f"{path}/clauses/2/stepId", "invalid_condition"),
        (f"{path}/clauses/3/stepId", "invalid_condition"),
    ]
    assert expected == found(step, end())


def test_received_may_name_any_send_step() -> None:
    """It was read with the others, wherever it stands."""
    condition = {"kind": "received", "stepId": "s", "status": "opened"}
    branch, _ = placed("branch", condition)

    assert [] == found(send(goes_to="b"), branch, end())


@pytest.mark.parametrize("place", ["branch", "until_condition"])
def test_a_condition_nobody_wrote_is_invalid(place: str) -> None:
    """An authored empty `or` is not the same, though it is as false."""
    step, path = CONDITION_PLACES[place]
    written, _ = placed(place, {"kind": "or", "clauses": []})

    assert [(path, "invalid_condition")] == found(step, end())
    assert [] == found(written, end())


def test_waits_say_when_they_end() -> None:
    """A duration, a moment, an event's name, a timeout."""
    faults = found(
        {"id": "a", "type": "wait", "mode": "duration", "next": "b"},
        {"id": "b", "type": "wait", "mode": "until_time", "next": "c"},
        {"id": "c", "type": "wait", "mode": "until_event", "next": "d", "onTimeout": "d"},
        {
            "id": "d",
            "type": "wait",
            "mode": "until_condition",
            "condition": attribute("a", "exists"),
            "next": "x",
            "onTimeout": "x",
        },
        end(),
    )

    expected = [
        ("/steps/0/duration", "duration_missing"),
        ("/steps/1", "time_missing"),
        ("/steps/2/eventName", "event_name_missing"),
        ("/steps/2/timeout", "timeout_missing"),
        ("/steps/3/timeout", "timeout_missing"),
    ]
    assert expected == faults


@pytest.mark.parametrize("mode", ["random", "adaptive"])
def test_a_branch_has_two_arms_of_different_ids(mode: str) -> None:
    """Fewer draw nothing, equal ones cannot be told apart in the counts."""
    goal = replace(CATALOGUE, goal_event_name="bought")
    one = {"id": "b", "type": "branch", "mode": mode, "arms": [{"id": "a", "next": "x"}]}
    same = {**one, "arms": [{"id": "a", "next": "x"}] * 3}

    assert [("/steps/0/arms", "arms_missing")] == found(one, end(), catalogue=goal)
    expected = [("/steps/0/arms/1/id", "duplicate_arm_id"), ("/steps/0/arms/2/id", "duplicate_arm_id")]
    assert expected == found(same, end(), catalogue=goal)


def test_some_arm_has_a_weight() -> None:
    """All zero cannot be drawn; no arms at all is another fault."""
    none = {"id": "b", "type": "branch", "mode": "random", "arms": []}
    arms = [{"id": name, "weight": 0, "next": "x"} for name in "ab"]

    assert [("/steps/0/arms", "weights_missing")] == found(
        {"id": "b", "type": "branch", "mode": "random", "arms": arms}, end()
    )

    assert ("/steps/0/arms", "weights_missing") not in found(none, end())


def test_an_adaptive_branch_has_a_goal() -> None:
    """Its own, or the journey's."""
    branch = {
        "id": "b",
        "type": "branch",
        "mode": "adaptive",
        "arms": [{"id": "a", "next": "x"}, {"id": "b", "next": "x"}],
    }

    assert [("/steps/0/optimizationGoal", "goal_missing")] == found(branch, end())
    assert [] == found(branch, end(), catalogue=replace(CATALOGUE, goal_event_name="bought"))
    assert [] == found({**branch, "optimizationGoal": {"eventName": "bought"}}, end())


def test_a_schedule_has_a_time_and_an_entry_an_audience() -> None:
    """What starts nobody is refused; an event trigger without contract is started by hand."""
    assert [("/steps/0", "schedule_missing")] == found(
        {"id": "t", "type": "trigger", "mode": "schedule", "next": "x"}, end()
    )
    entry = {"id": "t", "type": "trigger", "mode": "audience_entry", "next": "x"}
    assert [("/audienceId", "audience_missing")] == found(entry, end())
    assert [] == found(entry, end(), catalogue=replace(CATALOGUE, audience_id="vip"))
    assert [] == found({"id": "t", "type": "trigger", "next": "x"}, end())


def test_templates_compile_wherever_they_stand() -> None:
    """Webhook urls and bodies, attributes that are set; keys and literals are no templates."""
    hook = {
        "id": "h",
        "type": "webhook",
        "url": "https://a.example/{{",
        "body": {"a/b": ["{{ x }}", "{{"], "{{": 1},
        "next": "u",
    }
    update = {"id": "u", "type": "update_profile", "set": {"a": "{{", "b": ["{{"]}, "next": "x"}

    expected = [
        ("/steps/0/url", "invalid_template"),
        ("/steps/0/body/a~1b/1", "invalid_template"),
        ("/steps/1/set/a", "invalid_template"),
    ]
    assert expected == found(hook, update, end())


@pytest.mark.parametrize(
    ("url", "codes"),
    [
        (None, ["url_missing"]),
        ("ftp://a.example", ["invalid_url"]),
        ("//a.example", ["invalid_url"]),
        ("https:///x", ["invalid_url"]),
        ("https://a.example/x", []),
        ("HTTP://a.example", []),
        ("{{ subject.hook }}", []),
        ("https://u:p@a.example/x", ["url_with_credentials"]),
        ("https://u@a.example", ["url_with_credentials"]),
        ("https://{{ event.user }}:p@a.example", ["url_with_credentials"]),
        ("https://a.example/@me?to=b@c", []),
        ("https://{{ event.host | split: '@' | last }}/", []),
        ("{% if a %}https://u:p@a.example{% endif %}", ["url_with_credentials"]),
    ],
)
def test_a_webhook_has_a_web_address(url: str | None, codes: list[str]) -> None:
    """What Liquid makes of it is checked when it is made."""
    assert codes == [code for _, code in found({"id": "h", "type": "webhook", "url": url, "next": "x"}, end())]


def test_an_update_sets_something() -> None:
    """An empty one was forgotten."""
    assert [("/steps/0/set", "nothing_to_set")] == found(
        {"id": "u", "type": "update_profile", "set": {}, "next": "x"}, end()
    )
