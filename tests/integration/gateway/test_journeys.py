"""Journeys over the wire: what is asked of authoring, and how its answer is shown."""

import json
from typing import Any

import pytest
from journeys.authoring.v1 import authoring_service_pb2 as api
from journeys.authoring.v1.journey_pb2 import Draft, Journey, Version
from journeys.type.v1.page_pb2 import Fault

from tests.integration.gateway.backend import Backend, Client

DRAFT = Journey(
    id="act-onb-2026",
    project_key="pk_demo",
    name="Activation",
    status="draft",
    draft=Draft(updated_at_ms=1_777_554_000_001),
    goal_event_window_days=7.0,
    settings_json=b"{}",
    steps_json=b'[{"id":"exit","type":"exit"}]',
    warnings=[Fault(path="/steps/0/next", code="next_unresolved", message="No.")],
    created_at_ms=1_777_554_000_000,
    updated_at_ms=1_777_554_000_001,
    etag="r1",
)
PUBLISHED = Journey(
    id="j",
    project_key="pk_demo",
    name="J",
    description="d",
    status="published",
    latest_version=3,
    audience_id="aud",
    trigger_contract_id="trig",
    goal_event_name="activated",
    goal_event_window_days=2.5,
    goal_since_ms=1_777_554_000_000,
    settings_json=b'{"exitOnGoal":true}',
    steps_json=b"[]",
    created_at_ms=1_777_554_000_000,
    updated_at_ms=1_777_554_000_000,
    published_at_ms=1_777_554_000_000,
    etag="r2",
)
AT, AFTER = "2026-04-30T13:00:00.000Z", "2026-04-30T13:00:00.001Z"


async def test_a_draft_is_shown_to_the_letter(client: Client, backend: Backend) -> None:
    """Contract 2: null where nothing is set, zero values present, nothing else."""
    backend.answers["GetJourney"] = api.GetJourneyResponse(journey=DRAFT)

    reply = await client.get("/api/journeys/act-onb-2026")

    assert {
        "id": "act-onb-2026",
        "projectKey": "pk_demo",
        "name": "Activation",
        "description": "",
        "status": "draft",
        "version": "draft",
        "latestVersion": None,
        "draft": {"basedOnVersion": None, "updatedAt": AFTER},
        "audienceId": None,
        "triggerContractId": None,
        "goalEventName": None,
        "goalEventWindowDays": 7,
        "goalSince": None,
        "settings": {},
        "steps": [{"id": "exit", "type": "exit"}],
        "warnings": [{"path": "/steps/0/next", "code": "next_unresolved", "message": "No."}],
        "createdAt": AT,
        "updatedAt": AFTER,
        "publishedAt": None,
    } == reply.json
    assert b'"goalEventWindowDays":7,' in reply.body
    assert ('"r1"', "application/json") == (reply.headers["ETag"], reply.headers["Content-Type"])


async def test_a_published_journey_shows_its_number(client: Client, backend: Backend) -> None:
    """No draft pointer, the goal and the references as they are."""
    backend.answers["GetJourney"] = api.GetJourneyResponse(journey=PUBLISHED)

    shown = (await client.get("/api/journeys/j")).json

    assert (3, 3, None, 2.5, AT, AT) == (
        shown["version"],
        shown["latestVersion"],
        shown["draft"],
        shown["goalEventWindowDays"],
        shown["goalSince"],
        shown["publishedAt"],
    )


async def test_lists_are_bare_arrays_with_a_link(client: Client, backend: Backend) -> None:
    """Without steps; the link keeps the other filters and hands the cursor on."""
    backend.answers["ListJourneys"] = api.ListJourneysResponse(journeys=[DRAFT, PUBLISHED], next_cursor="a/b+c=")

    reply = await client.get("/api/journeys?limit=2")
    link = reply.headers["Link"]
    await client.get(link[1 : link.index(">")])

    assert ["act-onb-2026", "j"] == [journey["id"] for journey in reply.json]
    assert not any("steps" in journey for journey in reply.json)
    assert link.endswith('; rel="next"')
    first, second = backend.requests("ListJourneys")
    assert (2, False) == (first.page.limit, first.page.HasField("cursor"))
    assert (2, "a/b+c=") == (second.page.limit, second.page.cursor)


async def test_the_last_page_has_no_link(client: Client, backend: Backend) -> None:
    """And a page without `limit` has a hundred."""
    backend.answers["ListJourneys"] = api.ListJourneysResponse()

    reply = await client.get("/api/journeys")

    assert ([], False, 100) == (reply.json, "Link" in reply.headers, backend.last("ListJourneys").page.limit)


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=501", "limit=-1", "limit=abc", "limit=", "limit=1.0", "limit=%D9%A1", f"limit={'9' * 5000}"],
)
async def test_a_limit_outside_its_range_is_refused(client: Client, query: str) -> None:
    """400 with the path /limit."""
    reply = await client.get(f"/api/journeys?{query}")

    assert (400, "validation_error", ["/limit"]) == (reply.status, reply.json["code"], reply.paths)


async def test_making_a_journey(client: Client, backend: Backend) -> None:
    """201, Location, and only what an author may set goes on."""
    backend.answers["CreateJourney"] = api.CreateJourneyResponse(journey=DRAFT)
    steps = [{"id": "x", "type": "exit"}]
    body = {
        "name": "Activation 🎈",
        "id": "act-onb-2026",
        "audienceId": None,
        "goalEventName": "g",
        "goalEventWindowDays": 14,
        "steps": steps,
        "settings": {"exitOnGoal": True},
        "status": "published",
        "version": 9,
    }

    reply = await client.post("/api/journeys", body)
    asked = backend.last("CreateJourney")

    assert (201, "/api/journeys/act-onb-2026", '"r1"') == (
        reply.status,
        reply.headers["Location"],
        reply.headers["ETag"],
    )
    assert ("pk_demo", "act-onb-2026", "Activation 🎈", "g", 14.0, True) == (
        asked.workspace,
        asked.id,
        asked.changes.name,
        asked.changes.goal_event_name,
        asked.changes.goal_event_window_days,
        asked.changes.clear_audience_id,
    )
    assert (steps, {"exitOnGoal": True}) == (
        json.loads(asked.changes.steps_json),
        json.loads(asked.changes.settings_json),
    )
    assert not asked.changes.HasField("description")


async def test_what_was_read_can_be_sent_back(client: Client, backend: Backend) -> None:
    """Everything the server writes is ignored, `updatedAt` is the guard, null clears."""
    backend.answers["GetJourney"] = api.GetJourneyResponse(journey=DRAFT)
    backend.answers["UpdateJourney"] = api.UpdateJourneyResponse(journey=DRAFT)
    read = (await client.get("/api/journeys/act-onb-2026")).json

    reply = await client.patch("/api/journeys/act-onb-2026", {**read, "name": "B", "id": "other"})
    asked = backend.last("UpdateJourney")

    assert (200, "act-onb-2026", "B", DRAFT.updated_at_ms) == (
        reply.status,
        asked.id,
        asked.changes.name,
        asked.updated_at_ms,
    )
    assert asked.changes.clear_trigger_contract_id
    assert not asked.HasField("etag")


async def test_a_time_that_is_none_is_a_fault(client: Client) -> None:
    """At /updatedAt."""
    reply = await client.patch("/api/journeys/a", {"updatedAt": "yesterday"})

    assert (400, ["/updatedAt"]) == (reply.status, reply.paths)


@pytest.mark.parametrize(
    ("header", "etag"), [('"r1"', "r1"), ('W/"r1"', "r1"), ("*", None), ('""', ""), (' "r1" ', "r1")]
)
async def test_if_match_is_handed_on(client: Client, backend: Backend, header: str, etag: str | None) -> None:
    """As the service knows it."""
    backend.answers["UpdateJourney"] = api.UpdateJourneyResponse(journey=DRAFT)
    backend.answers["PublishJourney"] = api.PublishJourneyResponse(journey=PUBLISHED, version=4)

    await client.patch("/api/journeys/a", {"name": "B"}, headers={"If-Match": header})
    await client.post("/api/journeys/a/publish", headers={"If-Match": header})

    for asked in (backend.last("UpdateJourney"), backend.last("PublishJourney")):
        assert etag == (asked.etag if asked.HasField("etag") else None)


async def test_an_if_match_that_is_no_tag_is_refused(client: Client, backend: Backend) -> None:
    """Nor is half a one, or one beside `*`; odd characters match nothing."""
    for header, status in (
        ("r1", 400),
        ('"a", b', 400),
        ('"a" "b"', 400),
        ('"a", *', 400),
        (", ,", 400),
        ('"\u00fc"', 412),
    ):
        reply = await client.patch("/api/journeys/a", {"name": "B"}, headers={"If-Match": header})

        assert status == reply.status
    assert [] == backend.requests("UpdateJourney")


async def test_of_several_tags_the_current_one_is_guarded(client: Client, backend: Backend) -> None:
    """RFC 9110 allows a list, over several lines too: one of them is current, or it is 412 and nothing is asked."""
    backend.answers["GetJourney"] = api.GetJourneyResponse(journey=DRAFT)
    backend.answers["UpdateJourney"] = api.UpdateJourneyResponse(journey=DRAFT)

    right = await client.patch("/api/journeys/a", {"name": "B"}, headers={"If-Match": f'"x", "{DRAFT.etag}",W/"y"'})
    wrong = await client.patch("/api/journeys/a", {"name": "B"}, headers={"If-Match": '"x", "y"'})

    assert (200, 412) == (right.status, wrong.status)
    assert [DRAFT.etag] == [asked.etag for asked in backend.requests("UpdateJourney")]


@pytest.mark.parametrize("verb", ["pause", "resume", "archive"])
async def test_a_verb_shows_the_journey(client: Client, backend: Backend, verb: str) -> None:
    """And honours If-Match though its RPC does not: 412 before anything happens."""
    method = f"{verb.capitalize()}Journey"
    backend.answers["GetJourney"] = api.GetJourneyResponse(journey=PUBLISHED)
    backend.answers[method] = getattr(api, f"{method}Response")(journey=PUBLISHED)

    plain = await client.post(f"/api/journeys/j/{verb}")
    right = await client.post(f"/api/journeys/j/{verb}", headers={"If-Match": '"r2"'})
    wrong = await client.post(f"/api/journeys/j/{verb}", headers={"If-Match": '"r1"'})

    assert (200, 200, 412) == (plain.status, right.status, wrong.status)
    assert "precondition_failed" == wrong.json["code"]
    assert 2 == len(backend.requests(method))


async def test_publishing(client: Client, backend: Backend) -> None:
    """With no body, an empty one, or arms to count anew; the answer is the pointer."""
    backend.answers["PublishJourney"] = api.PublishJourneyResponse(journey=PUBLISHED, version=4)

    for body in (None, {}, {"resetArms": [{"stepId": "b", "armId": "x"}]}):
        reply = await client.post("/api/journeys/j/publish", body)

        assert (200, {"id": "j", "version": 4}) == (reply.status, reply.json)
    assert [("b", "x")] == [(arm.step_id, arm.arm_id) for arm in backend.last("PublishJourney").reset_arms]
    wrong = await client.post("/api/journeys/j/publish", {"resetArms": [{"stepId": 1}], "x": 1})
    assert {"/resetArms/0/stepId", "/resetArms/0/armId", "/x"} == set(wrong.paths)


async def test_versions(client: Client, backend: Backend) -> None:
    """Listed and read; what is no number is 404."""
    version = Version(
        journey_id="j",
        version=1,
        published_at_ms=1_777_554_000_000,
        published_by="usr-a",
        steps_json=b"[]",
        settings_json=b"{}",
        name="J",
        communications={"c": 2},
    )
    backend.answers["ListVersions"] = api.ListVersionsResponse(versions=[version])
    backend.answers["GetVersion"] = api.GetVersionResponse(version=version)

    listed, one = await client.get("/api/journeys/j/versions"), await client.get("/api/journeys/j/versions/1")

    assert listed.json == [one.json]
    assert (1, AT, "usr-a", {"c": 2}, [], None) == tuple(
        one.json[name] for name in ("version", "publishedAt", "publishedBy", "communications", "steps", "audienceId")
    )
    for odd in ("x", "-1", "1.0", "9" * 30, "%D9%A1"):
        assert 404 == (await client.get(f"/api/journeys/j/versions/{odd}")).status


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("a%2Fb", "a/b"),
        ("a%2fb", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("%7Bid%7D", "{id}"),
        ("%C3%BC%F0%9F%8E%88", "ü🎈"),
        ("a+b%20c", "a+b c"),
        ("%2E%2E", ".."),
        ("a%00b", "a\x00b"),
        ("a%0Ab", "a\nb"),
        ("a%3Fb%23c", "a?b#c"),
    ],
)
async def test_an_id_may_hold_anything(client: Client, backend: Backend, sent: str, meant: str) -> None:
    """Percent-decoded once, slashes too."""
    backend.answers["GetJourney"] = api.GetJourneyResponse(journey=DRAFT)

    reply = await client.get(f"/api/journeys/{sent}")

    assert (200, meant) == (reply.status, backend.last("GetJourney").id)


async def test_an_id_that_cannot_be_is_unknown(client: Client, backend: Backend) -> None:
    """404 without asking: too long for any id."""
    reply: Any = await client.get(f"/api/journeys/{'x' * 5000}")

    assert (404, []) == (reply.status, backend.requests("GetJourney"))
