"""Trigger contracts. Contract 3."""

import re
from typing import Any

import pytest

from tests.e2e.server import fault_paths
from tests.e2e.words import TIME, World, end, seg, trigger, unique, wait


def test_a_contract_is_kept_as_written(world: World) -> None:
    """Every documented member, and the default of the subject's path."""
    body = {"name": "Sign-up", "eventName": unique("signed_up")}
    reply = world.api.post("/api/journey-triggers", body)
    made = reply.ok(201)

    assert {
        "id",
        "projectKey",
        "name",
        "eventName",
        "subjectFieldPath",
        "recipientEmailFieldPath",
        "versionAt",
    } == made.keys()
    assert ("endUserId", None, world.key) == (
        made["subjectFieldPath"],
        made["recipientEmailFieldPath"],
        made["projectKey"],
    )
    assert re.fullmatch(TIME, made["versionAt"])
    assert f"/api/journey-triggers/{made['id']}" == reply.headers["location"]
    assert made == world.api.get(reply.headers["location"]).ok()
    assert made in world.api.all_of("/api/journey-triggers?limit=3")


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"name": None}, "/name"),
        ({"eventName": ""}, "/eventName"),
        ({"eventName": 5}, "/eventName"),
        ({"subjectFieldPath": ""}, "/subjectFieldPath"),
        ({"subjectFieldPath": "a..b"}, "/subjectFieldPath"),
        ({"recipientEmailFieldPath": ["x"]}, "/recipientEmailFieldPath"),
        ({"subject": "x"}, "/subject"),
        ({"id": "Not An Id"}, "/id"),
    ],
)
def test_a_malformed_contract_is_refused(world: World, change: dict[str, Any], path: str) -> None:
    """400 with the path, on POST and on PATCH."""
    body = {"name": "x", "eventName": "y", **change}
    problem = world.api.post("/api/journey-triggers", body).problem(400, "validation_error")

    assert path in fault_paths(problem)
    if path != "/id":
        made = world.contract()
        problem = world.api.patch(f"/api/journey-triggers/{made}", change).problem(400, "validation_error")
        assert path in fault_paths(problem)


def test_name_and_event_are_required(world: World) -> None:
    """Both are missed at once."""
    problem = world.api.post("/api/journey-triggers", {}).problem(400, "validation_error")

    assert {"/name", "/eventName"} <= fault_paths(problem)


def test_a_patch_makes_a_later_version(world: World) -> None:
    """versionAt strictly grows; what is not in the patch stays; what was read can be sent back."""
    made = world.contract(recipientEmailFieldPath="data.mail")
    before = world.api.get(f"/api/journey-triggers/{made}").ok()
    stamps = [before["versionAt"]]
    after = before
    for name in ("A", "B", "C"):
        after = world.api.patch(f"/api/journey-triggers/{made}", {**before, "name": name}).ok()
        stamps.append(after["versionAt"])
    cleared = world.api.patch(f"/api/journey-triggers/{made}", {"recipientEmailFieldPath": None}).ok()

    assert sorted(set(stamps)) == stamps
    assert ("C", "data.mail") == (after["name"], after["recipientEmailFieldPath"])
    assert ("C", None) == (cleared["name"], cleared["recipientEmailFieldPath"])


def test_a_published_journey_keeps_what_it_pinned(world: World) -> None:
    """After the patch the old event still starts version 1; version 2 listens to the new one."""
    old, new = unique("old"), unique("new")
    contract = world.contract(old)
    journey = world.draft([trigger("exit"), end()], triggerContractId=contract)
    world.publish(journey)
    pinned = world.api.get(f"/api/journey-triggers/{contract}").ok()["versionAt"]
    world.api.patch(f"/api/journey-triggers/{contract}", {"eventName": new}).ok()
    first, second = world.person(), world.person()
    world.event(old, first)
    world.event(new, second)
    world.settle()
    by_pinned = [len(world.executions(journey, person)) for person in (first, second)]
    world.edit(journey, description="again")
    world.publish(journey)
    world.event(old, second)
    world.event(new, second)
    world.settle()

    assert [1, 0] == by_pinned
    assert [2] == [run["version"] for run in world.executions(journey, second)]
    assert pinned == world.api.get(f"/api/journeys/{journey}/versions/1").ok()["triggerContractVersionAt"]
    assert pinned < world.api.get(f"/api/journeys/{journey}/versions/2").ok()["triggerContractVersionAt"]


def test_one_in_use_is_not_deleted(world: World) -> None:
    """By a draft, and by what is published: 409 in_use. Unused ones go."""
    contract = world.contract()
    path = f"/api/journey-triggers/{contract}"
    journey = world.draft([trigger("exit"), end()], triggerContractId=contract)
    world.api.delete(path).problem(409, "in_use")
    world.publish(journey)
    world.api.delete(path).problem(409, "in_use")
    world.edit(journey, triggerContractId=None)
    world.api.delete(path).problem(409, "in_use")
    world.publish(journey)
    world.api.delete(path).ok(204)

    world.api.get(path).problem(404, "not_found")
    world.api.delete(path).problem(404, "not_found")


def test_the_subject_may_be_found_elsewhere(world: World) -> None:
    """In data, with or without the word, and deep inside."""
    for path, data in (
        ("data.customer", {"customer": "@"}),
        ("customer", {"customer": "@"}),
        ("data.order.buyer.id", {"order": {"buyer": {"id": "@"}}}),
    ):
        event, person = unique("ev"), unique("usr")
        journey = world.journey(
            [trigger("exit"), end()], triggerContractId=world.contract(event, subjectFieldPath=path)
        )
        world.event(event, None, _filled(data, person))
        world.settle()

        assert [person] == [run["endUserId"] for run in world.executions(journey)], path


def test_a_person_found_elsewhere_than_the_event_says(world: World) -> None:
    """The contract's path wins over endUserId."""
    event, friend, poster = unique("ev"), unique("usr"), unique("usr")
    journey = world.journey(
        [trigger("exit"), end()], triggerContractId=world.contract(event, subjectFieldPath="data.friend")
    )
    world.event(event, poster, {"friend": friend})
    world.settle()

    assert [friend] == [run["endUserId"] for run in world.executions(journey)]


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"who": ""},
        {"who": 7},
        {"who": None},
        {"who": ["x"]},
        {"who": {"id": "x"}},
        {"who": "x" * 201},
        {"who": "é" * 101},
    ],
)
def test_nobody_found_is_blocked_visibly(world: World, data: dict[str, Any]) -> None:
    """trigger.blocked with subject_missing; nobody starts."""
    event = unique("ev")
    journey = world.journey(
        [trigger("exit"), end()], triggerContractId=world.contract(event, subjectFieldPath="data.who")
    )
    world.event(event, unique("usr"), data)
    world.settle()

    assert [] == world.executions(journey)
    (entry,) = world.audit(journey, action="trigger.blocked")
    assert ("subject_missing", "system") == (entry["metadata"]["reason"], entry["actor"])


def test_a_person_need_not_be_known(world: World) -> None:
    """An empty profile is made at the start."""
    event, person = unique("ev"), unique("stranger")
    journey = world.journey([trigger("exit"), end()], event=event)
    world.api.get(f"/api/subjects/{person}").problem(404)
    world.walk(journey, event, person)

    assert {} == world.profile(person)["attributes"]


@pytest.mark.parametrize("person", ["a/b c", "ünï-旅", "x" * 200, "a__b", "100%", ".", "a?b#c", "a&b=c"])
def test_any_text_up_to_200_bytes_is_an_id(world: World, person: str) -> None:
    """Slashes, other scripts, percent signs: the person starts and can be found by id."""
    event = unique("ev")
    event_id = unique("e/ü")
    journey = world.journey([trigger("w"), wait("w", "PT1H", "exit"), end()], event=event)
    world.event(event, person, id=event_id)
    world.settle()
    (run,) = world.executions(journey, person)

    assert person == run["endUserId"]
    assert re.fullmatch(r"[A-Za-z0-9.~%_-]+", run["executionId"])
    assert run["executionId"].startswith(f"{journey}__v1__")
    assert "RUNNING" == world.detail(journey, run["executionId"])["status"]
    assert person == world.profile(person)["endUserId"]
    world.api.post(f"/api/journeys/{journey}/executions/{seg(run['executionId'])}/abort").ok()


def test_the_events_address_is_used_for_its_mails(world: World) -> None:
    """recipientEmailFieldPath where the event has it, else the profile's."""
    event = unique("ev")
    contract = world.contract(event, recipientEmailFieldPath="data.mail")
    steps = [trigger("s"), {**_mail(world)}, end()]
    journey = world.journey(steps, triggerContractId=contract)
    person = world.person(email="zed@profile-host.example")
    world.event(event, person, {"mail": "quinn@event-host.example"})
    world.event(event, person, {})
    world.settle()

    seen = sorted(message["to"] for message in world.messages(journeyId=journey))
    assert 2 == len(seen)
    assert [("q", True), ("z", True)] == [(to[0], to.endswith("***.example")) for to in seen]


def _mail(world: World) -> dict[str, Any]:
    return {"id": "s", "type": "send", "channel": "email", "communicationId": world.comm(), "next": "exit"}


def _filled(value: Any, person: str) -> Any:
    if isinstance(value, dict):
        return {name: _filled(inner, person) for name, inner in value.items()}
    return person if value == "@" else value
