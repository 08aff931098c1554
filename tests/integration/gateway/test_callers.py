"""Who may call: every route against every role."""

import tempfile
from pathlib import Path

import pytest
from journeys.authoring.v1.workspace_service_pb2 import (
    CreateApiKeyResponse,
    RemoveMemberResponse,
    SignInResponse,
    SignOutResponse,
)

from gateway.declaration import RANK, Role, Route
from gateway.routes import ALL
from services.domain.errors import UnknownCaller
from tests.integration.gateway.backend import SYNC_KEYS, Backend, Client, bearer, gateway_over

WORKSPACE_ROUTES = [route for route in ALL if route.role not in (Role.PUBLIC, Role.INTERNAL)]
INTERNAL_ROUTES = [route for route in ALL if route.role is Role.INTERNAL]


def path_of(route: Route) -> str:
    """The path with something in every place."""
    path = route.path
    for name in route.parameters:
        path = path.replace(f"{{{name}}}", "1")
    return path


@pytest.mark.parametrize("route", WORKSPACE_ROUTES, ids=lambda route: route.name)
async def test_a_route_is_for_its_role_and_those_above(client: Client, route: Route) -> None:
    """Nobody: 401. A lesser role: 403 forbidden. Its own and higher ones get past the door."""
    path = path_of(route)
    assert 401 == (await client.ask(route.method, path, role=None)).status
    assert 401 == (await client.ask(route.method, path, role="stranger")).status
    assert 401 == (await client.ask(route.method, path, role=None, headers=bearer())).status
    for role in (Role.VIEWER, Role.EDITOR, Role.OWNER):
        for sent in ({"Cookie": f"session={role}"}, {"X-Api-Key": str(role)}):
            reply = await client.ask(route.method, path, role=None, headers=sent)
            if RANK[role] < RANK[route.role]:
                assert (403, "forbidden") == (reply.status, reply.json["code"])
            elif route.name != "sign_out":
                assert reply.status not in (401, 403), reply.body


@pytest.mark.parametrize("route", INTERNAL_ROUTES, ids=lambda route: route.name)
async def test_an_internal_route_is_for_the_server_s_own_keys(client: Client, route: Route) -> None:
    """Any of them, and no session."""
    path = path_of(route)
    for headers in ({}, bearer("wrong"), {"X-Api-Key": "owner"}, {"Authorization": "Basic x"}):
        assert 401 == (await client.ask(route.method, path, headers=headers)).status
    for key in SYNC_KEYS:
        reply = await client.ask(route.method, path, role=None, headers=bearer(key))
        assert reply.status not in (401, 403)


@pytest.mark.parametrize("route", [route for route in ALL if not route.built], ids=lambda route: route.name)
async def test_what_is_not_built_says_so(client: Client, route: Route) -> None:
    """501 not_implemented to whoever may call, whatever the body."""
    headers = bearer() if route.role is Role.INTERNAL else {}
    for raw in (None, b"{broken", b"[]"):
        raw = raw if route.method == "POST" else None
        reply = await client.ask(route.method, path_of(route), raw=raw, headers=headers)

        assert (501, "not_implemented") == (reply.status, reply.json["code"])


async def test_without_keys_the_internal_routes_are_shut(backend: Backend) -> None:
    """401 always."""
    with tempfile.TemporaryDirectory(prefix="gw-") as folder:
        async with gateway_over(backend, Path(folder), sync_keys=()) as client:
            for headers in ({}, bearer(""), bearer("x")):
                reply = await client.post("/api/journeys/internal/dispatch", {}, role=None, headers=headers)

                assert 401 == reply.status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 415),
        ({"Sec-Fetch-Site": "same-origin"}, 415),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
async def test_another_site_cannot_use_a_session(client: Client, headers: dict[str, str], status: int) -> None:
    """Unsafe methods under a cookie need a page of ours, or no page; a key is not sent by browsers.

    Who is let in is told that this body is none.
    """
    unsafe = await client.post("/api/journeys/a/simulate", headers=headers)
    read = await client.get("/api/me", headers=headers)
    by_key = await client.post("/api/journeys/a/simulate", role=None, headers={"X-Api-Key": "owner", **headers})

    assert (status, 200, 415) == (unsafe.status, read.status, by_key.status)
    if status == 403:
        assert "cross_site_request" == unsafe.json["code"]


async def test_the_gateway_s_own_origin_is_no_other_site(client: Client) -> None:
    """What a browser sends from our pages."""
    reply = await client.post("/api/journeys/a/simulate", headers={"Origin": client.url})

    assert 415 == reply.status  # it was let in, and its body looked at


async def test_signing_in_gives_a_cookie_that_scripts_cannot_read(client: Client, backend: Backend) -> None:
    """HttpOnly, SameSite=Lax, to the moment the session ends; Secure behind TLS."""
    backend.answers["SignIn"] = SignInResponse(session_token="tok", expires_at_ms=1_777_554_000_000)
    body = {"email": "a@b.example", "password": "p"}

    reply = await client.post("/api/session", body, role=None)
    behind_tls = await client.post("/api/session", body, role=None, headers={"X-Forwarded-Proto": "https"})

    cookie = "session=tok; Expires=Thu, 30 Apr 2026 13:00:00 GMT; Path=/; HttpOnly; SameSite=Lax"
    assert (204, b"", cookie) == (reply.status, reply.body, reply.headers["Set-Cookie"])
    assert f"{cookie}; Secure" == behind_tls.headers["Set-Cookie"]


async def test_wrong_passwords_are_401(client: Client, backend: Backend) -> None:
    """And a malformed body is 400 before anybody is asked."""
    backend.answers["SignIn"] = UnknownCaller("unauthenticated", "Unknown e-mail or wrong password.")

    reply = await client.post("/api/session", {"email": "a", "password": "b"}, role=None)
    malformed = await client.post("/api/session", {"email": 1}, role=None)

    assert (401, "unauthenticated") == (reply.status, reply.json["code"])
    assert {"/email", "/password"} == set(malformed.paths)
    assert 1 == len(backend.requests("SignIn"))


async def test_a_session_that_was_ended_ends_at_once(client: Client, backend: Backend) -> None:
    """Though the answer about it was still fresh."""
    backend.answers["SignOut"] = SignOutResponse()
    assert 200 == (await client.get("/api/me")).status
    assert 1 == len(backend.requests("Authenticate"))

    out = await client.ask("DELETE", "/api/session")
    backend.answers["Authenticate"] = UnknownCaller("unauthenticated", "Ended.")
    after = await client.get("/api/me")

    assert (204, 401) == (out.status, after.status)
    assert "owner" == backend.last("SignOut").session_token
    assert out.headers["Set-Cookie"].startswith("session=; Expires=Thu, 01 Jan 1970")


async def test_a_removed_member_and_a_deleted_key_stop_at_once(client: Client, backend: Backend) -> None:
    """Whoever removes them through this gateway need not wait."""
    backend.answers["RemoveMember"] = RemoveMemberResponse()
    backend.answers["CreateApiKey"] = CreateApiKeyResponse(secret="s")
    await client.get("/api/me", role="viewer")
    await client.ask("DELETE", "/api/workspace/members/usr-viewer")
    before = len(backend.requests("Authenticate"))
    await client.get("/api/me", role="viewer")

    assert before + 1 == len(backend.requests("Authenticate"))


async def test_me_is_who_calls(client: Client) -> None:
    """A member with an address, a key without."""
    member, key = await client.get("/api/me"), await client.get("/api/me", role=None, headers={"X-Api-Key": "viewer"})

    assert {
        "userId": "usr-owner",
        "email": "owner@example.com",
        "role": "owner",
        "projectKey": "pk_demo",
        "workspaceName": "Demo",
    } == member.json
    assert (None, "viewer") == (key.json["email"], key.json["role"])
