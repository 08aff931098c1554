"""Endpoints of Pinpoint as profiles. Pinpoint design 3.3."""

import json
from typing import Any

import pytest

from gateway import endpoints
from gateway.endpoints import Endpoints, TooMany, is_endpoint, person_of, profile_of


def endpoint(key: str = "e1", user: str | None = "u1", **more: Any) -> dict[str, Any]:
    """One line of an export."""
    own = {} if user is None else {"User": {"UserId": user, "UserAttributes": {}}}
    return {"Id": key, "ChannelType": "EMAIL", "Address": "a@example.com", "OptOut": "NONE", **own, **more}


@pytest.mark.parametrize(
    ("line", "is_one"),
    [
        (endpoint(), True),
        ({"Id": "x", "EffectiveDate": "2025-01-01T00:00:00Z"}, True),
        ({"endUserId": "x", "attributes": {}}, False),
        ({"Id": "x"}, False),
        ({"Id": 3, "ChannelType": "EMAIL"}, False),
    ],
)
def test_an_endpoint_is_told_by_its_shape(line: dict[str, Any], is_one: bool) -> None:
    """A profile of ours is never taken for one."""
    assert is_one == is_endpoint(line)


@pytest.mark.parametrize(("user", "name"), [("u1", "u1"), (None, "e1"), ("", "e1")])
def test_a_person_is_the_user_or_else_the_endpoint(user: str | None, name: str) -> None:
    """Anonymous endpoints are people of their own."""
    assert name == person_of(endpoint(user=user))


def test_the_newest_wins_member_by_member() -> None:
    """Whatever the order of the lines; what only an older one knows stays."""
    held = Endpoints()
    for line, (date, attributes) in enumerate(
        [("2025-03-01T00:00:00Z", {"a": ["new"]}), ("2025-01-01T00:00:00Z", {"a": ["old"], "b": ["kept", "both"]})], 1
    ):
        one = endpoint(f"e{line}", EffectiveDate=date, Attributes=attributes)
        held.take(line, one, json.dumps(one).encode())

    [(line, text)] = list(held.profiles())
    assert (1, {"a": "new", "b": ["kept", "both"]}) == (line, json.loads(text)["attributes"])


def test_a_users_attribute_wins_over_an_endpoints() -> None:
    """They share one profile here."""
    one = endpoint(Attributes={"plan": ["endpoint"]}, Metrics={"n": 2.0})
    one["User"]["UserAttributes"] = {"plan": ["user"]}

    assert {"plan": "user", "n": 2.0} == profile_of("u1", [one])["attributes"]


def test_push_tokens_are_those_that_may_be_used() -> None:
    """Neither the inactive nor the opted-out; one that is opted in is enough for the channel."""
    lines = [
        endpoint("p1", ChannelType="GCM", Address="t1"),
        endpoint("p2", ChannelType="APNS", Address="t2", OptOut="ALL"),
        endpoint("p3", ChannelType="APNS", Address="t3", EndpointStatus="INACTIVE"),
    ]

    found = profile_of("u1", lines)
    assert ({"mobile_push": ["t1"]}, {"mobile_push": True}) == (found["addresses"], found["channelPreferences"])


def test_an_opt_out_from_mail_is_a_preference() -> None:
    """The address is kept."""
    found = profile_of("u1", [endpoint(OptOut="ALL")])

    assert ({"email": "a@example.com"}, {"email": False}) == (found["addresses"], found["channelPreferences"])


@pytest.mark.parametrize(
    ("zone", "kept"), [("Europe/Madrid", "Europe/Madrid"), ("Mars/Base", None), ("", None), (3, None)]
)
def test_a_zone_that_is_none_is_left_out(zone: Any, kept: str | None) -> None:
    """Rather than the whole person refused."""
    assert kept == profile_of("u1", [endpoint(Demographic={"Timezone": zone})]).get("timezone")


@pytest.mark.parametrize("member", ["User", "Attributes", "Metrics", "Demographic", "Location", "Address", "OptOut"])
@pytest.mark.parametrize("value", [None, 3, "x", [], {"a": None}])
def test_any_value_anywhere_makes_a_profile(member: str, value: Any) -> None:
    """Never an exception."""
    assert "u1" == profile_of("u1", [endpoint(**{member: value})])["endUserId"]


def test_more_than_is_held_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender is told to send them in parts."""
    monkeypatch.setattr(endpoints, "MAX_HELD", 10)

    with pytest.raises(TooMany):
        Endpoints().take(1, endpoint(), b"x" * 11)
