"""A refused body names everything that is wrong with it: what its shape shows and what it means. Contract 1, Errors."""

import pytest

from tests.e2e.server import Server, fault_paths
from tests.e2e.words import Json, World, end, trigger

MIXED: list[tuple[str, str, Json, set[str]]] = [
    (
        "POST",
        "/api/journeys",
        {
            "name": " ",
            "id": "Not An Id",
            "foo": 1,
            "goalEventName": "",
            "steps": [
                {"id": "w", "type": "wait", "mode": "duration", "duration": "P1M", "next": "x"},
                {"id": "t", "type": "teleport"},
            ],
            "settings": {"timezone": "Mars/Olympus", "sendRate": {"perSecond": "x"}},
        },
        {
            "/name",
            "/id",
            "/foo",
            "/goalEventName",
            "/steps/0/duration",
            "/steps/1/type",
            "/settings/timezone",
            "/settings/sendRate/perSecond",
        },
    ),
    (
        "PATCH",
        "/api/journeys/@journey",
        {
            "updatedAt": "yesterday",
            "description": 5,
            "steps": [{"id": "w", "type": "wait", "mode": "duration", "duration": "3d"}],
        },
        {"/updatedAt", "/description", "/steps/0/duration"},
    ),
    (
        "POST",
        "/api/journey-triggers",
        {"name": 5, "subjectFieldPath": "a..b", "recipientEmailFieldPath": ""},
        {"/name", "/eventName", "/subjectFieldPath", "/recipientEmailFieldPath"},
    ),
    ("POST", "/api/audiences", {}, {"/name", "/predicate"}),
    (
        "POST",
        "/api/audiences",
        {"name": 5, "subjectIds": [5, "x" * 201], "predicate": {"kind": "event_fired", "eventName": ""}},
        {"/name", "/subjectIds", "/subjectIds/0", "/subjectIds/1", "/predicate/eventName", "/predicate/window"},
    ),
    (
        "POST",
        "/api/communications",
        {"name": "C", "commType": "spam", "subject": "{{ a", "from": "a\nb", "foo": 1},
        {"/commType", "/channel", "/subject", "/from", "/foo"},
    ),
    (
        "PUT",
        "/api/subjects/every-fault",
        {"foo": 1, "timezone": "Mars", "addresses": {"email": "no mail", "sms": 5}, "globalOptOut": "x"},
        {"/foo", "/timezone", "/addresses/email", "/addresses/sms", "/globalOptOut"},
    ),
    (
        "PATCH",
        "/api/subjects/every-fault",
        {"foo": None, "timezone": "Mars", "attributes": 5},
        {"/foo", "/timezone", "/attributes"},
    ),
    (
        "PATCH",
        "/api/workspace",
        {
            "foo": 1,
            "timezone": "Mars",
            "holdout": {"percent": 150},
            "dailyCap": {"max": "x"},
            "senders": {
                "email": {"type": "smtp", "port": "x"},
                "mobile_push": {"type": "http", "headers": {"a b": ""}},
            },
        },
        {
            "/foo",
            "/timezone",
            "/holdout/percent",
            "/dailyCap/max",
            "/senders/email/host",
            "/senders/email/port",
            "/senders/mobile_push/headers/a b",
        },
    ),
    (
        "POST",
        "/api/workspace/members",
        {"email": "nobody", "role": "king", "password": ""},
        {"/email", "/role", "/password"},
    ),
    (
        "POST",
        "/api/journeys/@journey/executions",
        {"endUserId": "é" * 101, "data": 5, "foo": 1},
        {"/endUserId", "/data", "/foo"},
    ),
]


@pytest.mark.parametrize(("method", "path", "body", "paths"), MIXED)
def test_everything_at_once(world: World, method: str, path: str, body: Json, paths: set[str]) -> None:
    """Each place once, whichever side of the wire sees what is wrong there; and nothing is done."""
    journey = world.draft([trigger("exit"), end()])
    before = world.show(journey)
    reply = world.api.request(method, path.replace("@journey", journey), body)
    problem = reply.problem(400, "validation_error")

    assert paths <= fault_paths(problem)
    assert len(fault_paths(problem)) == len(problem["errors"])
    assert before == world.show(journey)


def test_what_was_read_can_be_sent_back_with_a_fault(world: World) -> None:
    """Members that only the server writes are no faults beside a real one."""
    journey, person = world.draft(), world.person()
    for path, change in (
        (f"/api/journeys/{journey}", {"goalEventWindowDays": "x"}),
        (f"/api/subjects/{person}", {"globalOptOut": "x"}),
        (f"/api/journey-triggers/{world.contract()}", {"eventName": 5}),
        (f"/api/audiences/{world.audience(subject_ids=[])}", {"subjectType": "account"}),
        (f"/api/communications/{world.comm()}", {"commType": "spam"}),
        ("/api/workspace", {"maxJourneys": "x"}),
    ):
        problem = world.api.patch(path, {**world.api.get(path).ok(), **change}).problem(400, "validation_error")

        assert {f"/{name}" for name in change} == fault_paths(problem), path


def test_internal_bodies_too(server: Server) -> None:
    """Making a workspace; starting somebody."""
    new = {"name": 5, "projectKey": "Not A Key", "ownerEmail": "nobody", "ownerPassword": "", "foo": 1}
    start = {"projectKey": "pk_demo", "endUserId": "x" * 201, "eventId": 5}
    made = server.internal.post("/api/journeys/internal/workspaces", new).problem(400, "validation_error")
    begun = server.internal.post("/api/journeys/internal/start-execution", start).problem(400, "validation_error")

    assert {"/name", "/projectKey", "/ownerEmail", "/ownerPassword", "/foo"} == fault_paths(made)
    assert {"/journeyId", "/endUserId", "/eventId"} == fault_paths(begun)
