"""What goes over the wire, for each method: golden pairs of method and path."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from journeys_client import AsyncClient, Client, MockTransport
from journeys_client.call import Reply, given, route
from journeys_client.journeys import Journeys

Asking = Callable[[Client], object]

CALLS: list[tuple[Asking, str, Any]] = [
    (lambda c: c.journeys.get("a"), "GET /api/journeys/a", None),
    (lambda c: c.journeys.create({"name": "A"}), "POST /api/journeys", {"name": "A"}),
    (lambda c: c.journeys.update("a", {"name": "B"}), "PATCH /api/journeys/a", {"name": "B"}),
    (lambda c: c.journeys.publish("a"), "POST /api/journeys/a/publish", None),
    (
        lambda c: c.journeys.publish("a", reset_arms=[{"stepId": "b", "armId": "x"}]),
        "POST /api/journeys/a/publish",
        {"resetArms": [{"stepId": "b", "armId": "x"}]},
    ),
    (lambda c: c.journeys.pause("a"), "POST /api/journeys/a/pause", None),
    (lambda c: c.journeys.resume("a"), "POST /api/journeys/a/resume", None),
    (lambda c: c.journeys.archive("a"), "POST /api/journeys/a/archive", None),
    (lambda c: list(c.journeys.list()), "GET /api/journeys", None),
    (lambda c: list(c.journeys.versions("a")), "GET /api/journeys/a/versions", None),
    (lambda c: c.journeys.version("a", 3), "GET /api/journeys/a/versions/3", None),
    (lambda c: list(c.journeys.audit("a", action="send.")), "GET /api/journeys/a/audit?action=send.", None),
    (lambda c: c.journeys.step_stats("a"), "GET /api/journeys/a/step-stats", None),
    (lambda c: c.journeys.branch_performance("a"), "GET /api/journeys/a/branch-performance", None),
    (lambda c: c.journeys.calibrated_impact("a"), "GET /api/journeys/a/calibrated-impact", None),
    (lambda c: c.journeys.recount_stats("a"), "POST /api/journeys/a/stats/recount", None),
    (lambda c: c.journeys.simulate("a", {"subjectId": "u"}), "POST /api/journeys/a/simulate", {"subjectId": "u"}),
    (lambda c: c.journeys.why("a", end_user_id="u"), "GET /api/journeys/a/why?endUserId=u", None),
    (
        lambda c: list(c.executions.list("a", status="RUNNING", page_size=7)),
        "GET /api/journeys/a/executions?status=RUNNING&limit=7",
        None,
    ),
    (lambda c: c.executions.get("a", "x/y"), "GET /api/journeys/a/executions/x%2Fy", None),
    (lambda c: c.executions.start("a", end_user_id="u"), "POST /api/journeys/a/executions", {"endUserId": "u"}),
    (
        lambda c: c.executions.start("a", end_user_id="u", event_id="e", data={"k": 1}),
        "POST /api/journeys/a/executions",
        {"endUserId": "u", "eventId": "e", "data": {"k": 1}},
    ),
    (lambda c: c.executions.abort("a", "x"), "POST /api/journeys/a/executions/x/abort", None),
    (lambda c: c.executions.retry("a", "x"), "POST /api/journeys/a/executions/x/retry", None),
    (lambda c: list(c.messages.list(end_user_id="u")), "GET /api/messages?endUserId=u", None),
    (lambda c: c.messages.report("m", "opened"), "POST /api/messages/m/events", {"type": "opened"}),
    (lambda c: c.events.post({"type": "t"}), "POST /api/events", {"type": "t"}),
    (lambda c: c.events.post_batch([{"type": "t"}]), "POST /api/events", {"events": [{"type": "t"}]}),
    (lambda c: c.triggers.get("t"), "GET /api/journey-triggers/t", None),
    (lambda c: c.triggers.create({"name": "T"}), "POST /api/journey-triggers", {"name": "T"}),
    (lambda c: c.triggers.update("t", {"name": "U"}), "PATCH /api/journey-triggers/t", {"name": "U"}),
    (lambda c: c.triggers.delete("t"), "DELETE /api/journey-triggers/t", None),
    (lambda c: c.audiences.evaluate("a", subject_id="u"), "POST /api/audiences/a/evaluate", {"subjectId": "u"}),
    (lambda c: c.audiences.delete("a"), "DELETE /api/audiences/a", None),
    (lambda c: c.communications.update("c", {"from": "x"}), "PATCH /api/communications/c", {"from": "x"}),
    (lambda c: c.communications.archive("c"), "DELETE /api/communications/c", None),
    (lambda c: c.subjects.get("../a b"), "GET /api/subjects/..%2Fa%20b", None),
    (lambda c: c.subjects.put("u", {"locale": "en"}), "PUT /api/subjects/u", {"locale": "en"}),
    (lambda c: c.subjects.patch("u", {"locale": None}), "PATCH /api/subjects/u", {"locale": None}),
    (lambda c: list(c.subjects.list(email="a@b")), "GET /api/subjects?email=a%40b", None),
    (lambda c: c.suppressions.put("a@b", reason="asked"), "PUT /api/suppressions/a%40b", {"reason": "asked"}),
    (lambda c: c.suppressions.delete("a@b"), "DELETE /api/suppressions/a%40b", None),
    (lambda c: c.workspace.get(), "GET /api/workspace", None),
    (
        lambda c: c.workspace.update({"holdout": {"percent": 0}}),
        "PATCH /api/workspace",
        {"holdout": {"percent": 0}},
    ),
    (
        lambda c: c.members.create(email="a@b", role="viewer", password="p"),
        "POST /api/workspace/members",
        {"email": "a@b", "role": "viewer", "password": "p"},
    ),
    (lambda c: c.members.update("u", role="owner"), "PATCH /api/workspace/members/u", {"role": "owner"}),
    (lambda c: c.members.delete("u"), "DELETE /api/workspace/members/u", None),
    (lambda c: c.api_keys.create("ci"), "POST /api/workspace/api-keys", {"name": "ci", "role": "editor"}),
    (lambda c: c.api_keys.delete("k"), "DELETE /api/workspace/api-keys/k", None),
    (lambda c: c.session.me(), "GET /api/me", None),
    (lambda c: c.session.sign_out(), "DELETE /api/session", None),
    (lambda c: c.dev_clock.advance("P3D"), "POST /api/dev/clock", {"advance": "P3D"}),
    (
        lambda c: c.internal.create_workspace("W", owner_email="o@x"),
        "POST /api/journeys/internal/workspaces",
        {"name": "W", "ownerEmail": "o@x"},
    ),
    (
        lambda c: c.internal.start_execution(project_key="p", journey_id="j", end_user_id="u", event_id="e"),
        "POST /api/journeys/internal/start-execution",
        {"projectKey": "p", "journeyId": "j", "endUserId": "u", "eventId": "e"},
    ),
    (
        lambda c: c.internal.dispatch(project_key="p", execution_id="x"),
        "POST /api/journeys/internal/dispatch",
        {"projectKey": "p", "executionId": "x"},
    ),
    (
        lambda c: c.internal.forget_end_user(project_key="p", end_user_id="u"),
        "POST /api/journeys/internal/forget-end-user",
        {"projectKey": "p", "endUserId": "u"},
    ),
    (lambda c: c.internal.forget_receipt("r"), "GET /api/journeys/internal/forget-end-user/r", None),
]


@pytest.mark.parametrize(("ask", "line", "body"), CALLS, ids=[line for _, line, _ in CALLS])
def test_a_method_is_this_request(ask: Asking, line: str, body: object) -> None:
    """Method, path with query, and body; the contract is on the right side."""
    transport = MockTransport()
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        for depth in range(2, 8):
            transport.on(method, "/*" * depth, json=[])

    with Client(transport=transport) as client:
        ask(client)

    asked = transport.calls[0]
    query = "&".join(f"{name}={value}" for name, value in asked.params.items()).replace("@", "%40")
    assert line == f"{asked.method} {asked.path}" + (f"?{query}" if query else "")
    assert body == (asked.json() if asked.content else None)


@pytest.mark.parametrize(
    ("sign_in", "expected"),
    [
        ({"session": "s"}, {"cookie": "session=s"}),
        ({"api_key": "k"}, {"x-api-key": "k"}),
        ({"session": "s", "api_key": "k"}, {"cookie": "session=s"}),
        ({"internal_key": "b"}, {}),
    ],
)
def test_a_client_signs_its_calls(sign_in: dict[str, str], expected: dict[str, str]) -> None:
    """By session, else by key; the shared secret is for internal routes alone."""
    transport = MockTransport()
    transport.on("GET", "/api/me", json={})
    with Client(transport=transport, **sign_in) as client:  # type: ignore[arg-type]
        client.session.me()

    names = ("cookie", "x-api-key", "authorization")
    assert expected == {name: value for name, value in transport.calls[0].headers.items() if name in names}


def test_an_internal_call_carries_the_bearer_alone() -> None:
    """A member's session means nothing there."""
    transport = MockTransport()
    transport.on("POST", "/api/journeys/internal/dispatch", json={})
    with Client(transport=transport, session="s", internal_key="b") as client:
        client.internal.dispatch(project_key="p", execution_id="x")

    headers = transport.calls[0].headers
    assert "Bearer b" == headers["authorization"]
    assert "cookie" not in headers


def test_credentials_stay_out_of_representations() -> None:
    """What is printed in a log must not open a workspace."""
    with Client(session="geheim-1", api_key="geheim-2", internal_key="geheim-3") as client:
        assert "geheim" not in repr(client._credentials)


def test_signing_in_gives_the_session_and_changes_nothing_else() -> None:
    """The client that signed in stays who it was."""
    transport = MockTransport()
    transport.on("POST", "/api/session", status=204, headers={"set-cookie": "session=new; HttpOnly; SameSite=Lax"})
    transport.on("GET", "/api/me", json={})
    with Client(transport=transport) as client:
        session = client.session.sign_in(email="a@b", password="p")
        client.session.me()

    assert "new" == session
    assert "cookie" not in transport.calls[1].headers


def test_a_creating_call_can_be_repeated() -> None:
    """Each has a key of its own unless one is given."""
    transport = MockTransport()
    transport.on("POST", "/api/journeys", json={})
    with Client(transport=transport) as client:
        client.journeys.create({"name": "A"})
        client.journeys.create({"name": "A"})
        client.journeys.create({"name": "A"}, idempotency_key="mine")

    first, second, third = (asked.headers["idempotency-key"] for asked in transport.calls)
    assert first != second
    assert "mine" == third


async def test_people_are_streamed_by_both_clients() -> None:
    """The pieces arrive as one body, whatever they came from."""
    transport = MockTransport()
    transport.on("POST", "/api/subjects:import", json={"received": 2})
    with Client(transport=transport) as client:
        client.subjects.import_(iter([b"{}\n", b"{}\n"]))
    async with AsyncClient(transport=transport) as awaiting:
        await awaiting.subjects.import_(piece for piece in [b"{}\n", b"{}\n"])
        await awaiting.subjects.import_(b"{}\n{}\n", content_type="text/csv")

    assert [b"{}\n{}\n"] * 3 == [asked.content for asked in transport.calls]
    assert "text/csv" == transport.calls[2].headers["content-type"]


def test_a_method_of_the_class_can_be_looked_at() -> None:
    """Documentation tools read methods from classes, where there is no client to ask."""
    assert "stale_update" in (Journeys.update.__doc__ or "")
    assert "newest first" in (Journeys.audit.__doc__ or "")


@pytest.mark.parametrize(
    ("name", "segment"),
    [
        ("a/b", "a%2Fb"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("a.b", "a.b"),
        ("100%", "100%25"),
        ("名", "%E5%90%8D"),
        ("?#", "%3F%23"),
    ],
)
def test_an_id_is_one_segment(name: str, segment: str) -> None:
    """Whatever an id is made of, it does not change the route."""
    assert f"/x/{segment}/y" == route("/x/{}/y", name)


def test_absent_parameters_are_not_sent() -> None:
    """None is absent; booleans are words."""
    assert {"a": "1", "b": "true", "c": ""} == given(a=1, b=True, c="", d=None)


@pytest.mark.parametrize(
    ("link", "following"),
    [
        ("", None),
        ('</p?cursor=a%2Fb&limit=5>; rel="next"', ("/p", {"cursor": "a/b", "limit": "5"})),
        ('<http://elsewhere/p?cursor=1>; rel="next"', ("/p", {"cursor": "1"})),
        ('</p?cursor=0>; rel="prev", </p?cursor=2>; title="x, y"; rel=next', ("/p", {"cursor": "2"})),
        ('</p?cursor=0>; rel="prev"', None),
        ("<?cursor=3>; rel=next", ("", {"cursor": "3"})),
    ],
)
def test_the_next_page_is_found_in_link(link: str, following: object) -> None:
    """Path and query only: what we sign stays with the server we were given."""
    assert following == Reply(200, {"link": link}, json.dumps([]).encode()).next_page()
