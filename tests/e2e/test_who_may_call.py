"""Sessions, roles, members, API keys, workspaces. Contract 1."""

from typing import Any

import pytest

from tests.e2e.server import Client, Server, by_bearer, by_key, by_session
from tests.e2e.words import World, attr, end, seg, trigger, unique

PASSWORD = "correct horse battery"


def sign_in(server: Server, email: str, password: str = PASSWORD) -> Client:
    """A client with a fresh session."""
    reply = server.anyone.post("/api/session", {"email": email, "password": password})
    reply.ok(204)
    token = reply.headers["set-cookie"].split(";")[0].removeprefix("session=")
    return by_session(server.port, token)


@pytest.fixture
def member(apart: World) -> dict[str, Any]:
    """An editor of a workspace of its own."""
    body = {"email": f"{unique('ed')}@example.com", "role": "editor", "password": PASSWORD}
    added: dict[str, Any] = apart.api.post("/api/workspace/members", body).ok(201)
    return added


class TestSessions:
    """POST and DELETE /api/session, and what a cookie is good for."""

    def test_the_bootstrap_token_is_the_owners_session(self, api: Client) -> None:
        """The first start makes pk_demo and its owner."""
        me = api.get("/api/me").ok()

        assert {"userId", "email", "role", "projectKey", "workspaceName"} <= me.keys()
        assert ("owner", "pk_demo") == (me["role"], me["projectKey"])

    def test_signing_in_sets_a_guarded_cookie(self, server: Server, member: dict[str, Any]) -> None:
        """HttpOnly and SameSite=Lax; Secure only behind TLS."""
        body = {"email": member["email"], "password": PASSWORD}
        reply = server.anyone.post("/api/session", body)
        reply.ok(204)
        behind_tls = server.anyone.post("/api/session", body, headers={"X-Forwarded-Proto": "https"})

        cookie = reply.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert "Secure" not in cookie
        assert "Secure" in behind_tls.headers["set-cookie"]

    def test_a_session_is_its_member(self, server: Server, member: dict[str, Any]) -> None:
        """GET /api/me says who; the address is compared without case."""
        me = sign_in(server, member["email"].upper()).get("/api/me").ok()

        assert (member["userId"], "editor") == (me["userId"], me["role"])

    def test_signing_out_revokes(self, server: Server, member: dict[str, Any]) -> None:
        """The token is of no use afterwards."""
        client = sign_in(server, member["email"])
        client.delete("/api/session").ok(204)

        client.get("/api/journeys").problem(401, "unauthenticated")

    @pytest.mark.parametrize("body", [{"password": "x"}, {"email": 1, "password": "x"}, [], {"email": "a", "x": 1}])
    def test_a_malformed_sign_in_is_invalid(self, server: Server, body: Any) -> None:
        """400 with paths, no hint about accounts."""
        server.anyone.post("/api/session", body).problem(400, "validation_error")

    def test_a_wrong_password_and_an_unknown_address_look_alike(self, server: Server, member: dict[str, Any]) -> None:
        """401 either way, with the same words."""
        wrong = server.anyone.post("/api/session", {"email": member["email"], "password": "wrong password"})
        unknown = server.anyone.post("/api/session", {"email": "nobody@example.com", "password": "wrong password"})

        assert wrong.problem(401)["detail"] == unknown.problem(401)["detail"]

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Cookie": "session=nonsense"},
            {"Cookie": "session="},
            {"Cookie": "other=1; session=%7F"},
            {"x-api-key": "nonsense"},
            {"Authorization": "Bearer nonsense"},
            {"Cookie": "session=" + "x" * 5000},
        ],
    )
    def test_without_credentials_nothing_is_shown(self, server: Server, headers: dict[str, str]) -> None:
        """401, on every method."""
        for method, path in (
            ("GET", "/api/journeys"),
            ("POST", "/api/events"),
            ("PATCH", "/api/workspace"),
            ("GET", "/api/me"),
            ("PUT", "/api/subjects/x"),
            ("DELETE", "/api/audiences/x"),
        ):
            server.anyone.request(method, path, headers=headers).problem(401, "unauthenticated")

    def test_unsafe_methods_need_a_page_of_ours_or_none(self, api: Client) -> None:
        """A cookie sent along from another site is refused; same-origin and curl are not."""
        body = {"name": "x", "eventName": "y"}
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
            api.post("/api/journey-triggers", body, headers=headers).problem(403, "cross_site_request")
            api.get("/api/journeys", headers=headers).ok()
        for headers in ({"Origin": f"http://127.0.0.1:{api.port}"}, {"Sec-Fetch-Site": "same-origin"}):
            api.post("/api/journey-triggers", body, headers=headers).ok(201)

    def test_an_api_key_needs_no_origin(self, server: Server, apart: World) -> None:
        """Cross-site requests carry cookies, not keys."""
        key = apart.api.post("/api/workspace/api-keys", {"name": "k"}).ok(201)["secret"]
        client = by_key(server.port, key)

        body = {"name": "x", "eventName": "y"}
        client.post("/api/journey-triggers", body, headers={"Origin": "https://elsewhere.example"}).ok(201)


class TestRoles:
    """owner > editor > viewer."""

    @pytest.mark.parametrize("role", ["editor", "viewer"])
    @pytest.mark.parametrize("kind", ["member", "key"])
    def test_what_each_role_may(self, server: Server, apart: World, role: str, kind: str) -> None:
        """Viewers read; editors do all but settings, members and keys."""
        if kind == "member":
            email = f"{unique(role)}@example.com"
            apart.api.post("/api/workspace/members", {"email": email, "role": role, "password": PASSWORD}).ok(201)
            client = sign_in(server, email)
        else:
            secret = apart.api.post("/api/workspace/api-keys", {"name": "k", "role": role}).ok(201)["secret"]
            client = by_key(server.port, secret)
        journey = apart.journey([trigger("exit"), end()], event=unique("ev"))
        audience = apart.audience(attr("a", "exists"))

        for path in (
            "/api/journeys",
            f"/api/journeys/{journey}",
            f"/api/journeys/{journey}/executions",
            f"/api/journeys/{journey}/audit",
            f"/api/journeys/{journey}/step-stats",
            "/api/audiences",
            "/api/communications",
            "/api/journey-triggers",
            "/api/subjects",
            "/api/suppressions",
            "/api/messages",
            "/api/workspace",
            "/api/me",
        ):
            client.get(path).ok()
        writes: list[tuple[str, str, Any]] = [
            ("POST", "/api/journeys", {"name": "x"}),
            ("PATCH", f"/api/journeys/{journey}", {"description": "x"}),
            ("POST", f"/api/journeys/{journey}/pause", {}),
            ("POST", f"/api/journeys/{journey}/resume", {}),
            ("POST", "/api/journey-triggers", {"name": "x", "eventName": "y"}),
            ("POST", "/api/audiences", {"name": "x", "subjectIds": []}),
            ("PATCH", f"/api/audiences/{audience}", {"name": "y"}),
            ("POST", "/api/communications", {"name": "x", "commType": "marketing", "channel": "email"}),
            ("PUT", f"/api/subjects/{unique('u')}", {}),
            ("PUT", f"/api/suppressions/{unique('u')}@example.com", {}),
            ("POST", "/api/events", {"type": "x", "endUserId": "y"}),
            ("POST", f"/api/journeys/{journey}/executions", {"endUserId": "y"}),
        ]
        for method, path, body in writes:
            reply = client.request(method, path, body)
            if role == "viewer":
                reply.problem(403, "forbidden")
            else:
                assert reply.status in (200, 201, 202), (reply.what, reply.body)
        for method, path, body in (
            ("PATCH", "/api/workspace", {"name": "x"}),
            ("GET", "/api/workspace/members", None),
            ("POST", "/api/workspace/members", {"email": "a@example.com", "role": "viewer", "password": PASSWORD}),
            ("GET", "/api/workspace/api-keys", None),
            ("POST", "/api/workspace/api-keys", {"name": "x"}),
            ("DELETE", "/api/workspace/api-keys/x", None),
            ("DELETE", "/api/workspace/members/x", None),
        ):
            client.request(method, path, body).problem(403, "forbidden")


class TestMembers:
    """Owner-only: who may sign in."""

    def test_adding_shows_the_member_without_the_password(self, apart: World) -> None:
        """201 with userId, email and role, and in the list."""
        body = {"email": f"{unique('new')}@example.com", "role": "viewer", "password": PASSWORD}
        added = apart.api.post("/api/workspace/members", body).ok(201)

        assert {"userId", "email", "role"} == added.keys()
        assert added in apart.api.all_of("/api/workspace/members")
        assert 2 == len(apart.api.all_of("/api/workspace/members?limit=1"))

    @pytest.mark.parametrize(
        ("change", "path"),
        [
            ({"email": "no address"}, "/email"),
            ({"role": "king"}, "/role"),
            ({"password": 5}, "/password"),
            ({"password": ""}, "/password"),
            ({"extra": 1}, "/extra"),
        ],
    )
    def test_a_malformed_member_is_refused(self, apart: World, change: dict[str, Any], path: str) -> None:
        """400 with the path."""
        body = {"email": f"{unique('new')}@example.com", "role": "viewer", "password": PASSWORD, **change}
        problem = apart.api.post("/api/workspace/members", body).problem(400, "validation_error")

        assert path in {fault["path"] for fault in problem["errors"]}

    def test_one_address_is_one_member(self, apart: World, member: dict[str, Any]) -> None:
        """The same address again, in another case, is a conflict."""
        body = {"email": member["email"].upper(), "role": "viewer", "password": PASSWORD}

        apart.api.post("/api/workspace/members", body).problem(409, "id_taken")

    def test_another_role_acts_at_once(self, server: Server, apart: World, member: dict[str, Any]) -> None:
        """The next request of an open session is judged by the new role."""
        client = sign_in(server, member["email"])
        client.post("/api/journeys", {"name": "x"}).ok(201)
        changed = apart.api.patch(f"/api/workspace/members/{member['userId']}", {"role": "viewer"}).ok()

        assert "viewer" == changed["role"]
        client.post("/api/journeys", {"name": "x"}).problem(403, "forbidden")

    def test_removal_ends_sessions_at_once(self, server: Server, apart: World, member: dict[str, Any]) -> None:
        """Neither the session nor the password is good any more."""
        client = sign_in(server, member["email"])
        apart.api.delete(f"/api/workspace/members/{member['userId']}").ok(204)

        client.get("/api/me").problem(401, "unauthenticated")
        server.anyone.post("/api/session", {"email": member["email"], "password": PASSWORD}).problem(401)
        apart.api.delete(f"/api/workspace/members/{member['userId']}").problem(404, "not_found")

    def test_the_last_owner_stays(self, apart: World) -> None:
        """Neither removal nor another role: 409 last_owner."""
        me = apart.api.get("/api/me").ok()["userId"]

        apart.api.delete(f"/api/workspace/members/{me}").problem(409, "last_owner")
        apart.api.patch(f"/api/workspace/members/{me}", {"role": "editor"}).problem(409, "last_owner")

    def test_with_a_second_owner_the_first_can_go(self, server: Server, apart: World) -> None:
        """The bootstrap session of the removed owner ends as well."""
        email = f"{unique('second')}@example.com"
        apart.api.post("/api/workspace/members", {"email": email, "role": "owner", "password": PASSWORD}).ok(201)
        second = sign_in(server, email)
        first = apart.api.get("/api/me").ok()["userId"]
        second.delete(f"/api/workspace/members/{first}").ok(204)

        apart.api.get("/api/me").problem(401)
        assert [email] == [one["email"] for one in second.get("/api/workspace/members").ok()]


class TestApiKeys:
    """Owner-only: keys for programs."""

    def test_the_secret_is_shown_once(self, server: Server, apart: World) -> None:
        """201 with the secret; the list never has it; the default role is editor."""
        made = apart.api.post("/api/workspace/api-keys", {"name": "CI"}).ok(201)

        assert {"id", "name", "role", "secret", "createdAt"} == made.keys()
        assert "editor" == made["role"]
        (listed,) = apart.api.all_of("/api/workspace/api-keys")
        assert {key: value for key, value in made.items() if key != "secret"} == listed
        assert apart.key == by_key(server.port, made["secret"]).get("/api/me").ok()["projectKey"]

    def test_a_deleted_key_stops_at_once(self, server: Server, apart: World) -> None:
        """401 from the next request on."""
        made = apart.api.post("/api/workspace/api-keys", {"name": "CI"}).ok(201)
        client = by_key(server.port, made["secret"])
        client.get("/api/journeys").ok()
        apart.api.delete(f"/api/workspace/api-keys/{made['id']}").ok(204)

        client.get("/api/journeys").problem(401, "unauthenticated")
        apart.api.delete(f"/api/workspace/api-keys/{made['id']}").problem(404, "not_found")

    @pytest.mark.parametrize(
        "body", [{}, {"name": ""}, {"name": "x", "role": "owner"}, {"name": "x", "secret": "mine"}]
    )
    def test_a_malformed_key_is_refused(self, apart: World, body: dict[str, Any]) -> None:
        """No key is an owner, and nobody chooses a secret."""
        apart.api.post("/api/workspace/api-keys", body).problem(400, "validation_error")


class TestWorkspaces:
    """More than one, and none sees another's things."""

    def test_the_internal_route_makes_one(self, server: Server) -> None:
        """201 with its key, its owner and a session."""
        email = f"{unique('boss')}@example.com"
        body = {
            "name": "Shop",
            "projectKey": unique("pk").replace("-", "_"),
            "ownerEmail": email,
            "ownerPassword": PASSWORD,
        }
        made = server.internal.post("/api/journeys/internal/workspaces", body).ok(201)

        assert {"projectKey", "name", "ownerUserId", "sessionToken"} == made.keys()
        assert body["projectKey"] == made["projectKey"]
        me = by_session(server.port, made["sessionToken"]).get("/api/me").ok()
        assert (made["ownerUserId"], "owner", "Shop") == (me["userId"], me["role"], me["workspaceName"])
        assert me == sign_in(server, email).get("/api/me").ok()

    def test_asked_twice_under_one_key_it_makes_one(self, server: Server) -> None:
        """Idempotency-Key: the first answer again, still not to be stored by anybody on the way; another body is 422."""
        body = {"name": "Shop", "ownerEmail": f"{unique('boss')}@example.com"}
        key = {"Idempotency-Key": unique("k")}
        path = "/api/journeys/internal/workspaces"
        first, second = (server.internal.post(path, body, headers=key) for _ in range(2))

        assert first.ok(201) == second.ok(201)
        assert "no-store" == second.headers["cache-control"]
        server.internal.post(path, {**body, "name": "Other"}, headers=key).problem(422, "idempotency_key_reused")

    def test_a_key_is_taken_once(self, server: Server) -> None:
        """409 id_taken."""
        body = {"name": "Demo", "projectKey": "pk_demo", "ownerEmail": f"{unique('x')}@example.com"}

        server.internal.post("/api/journeys/internal/workspaces", body).problem(409, "id_taken")

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"name": "x"},
            {"name": "x", "ownerEmail": "none"},
            {"name": 1, "ownerEmail": "a@example.com"},
            {"name": "x", "ownerEmail": "a@example.com", "projectKey": "Has Space/"},
            {"name": "x", "ownerEmail": "a@example.com", "foo": 1},
        ],
    )
    def test_a_malformed_workspace_is_refused(self, server: Server, body: dict[str, Any]) -> None:
        """400 with paths."""
        server.internal.post("/api/journeys/internal/workspaces", body).problem(400, "validation_error")

    def test_nothing_of_one_is_there_for_another(self, world: World, apart: World) -> None:
        """404 not_found, never 403: one cannot even tell that it exists."""
        event = unique("ev")
        journey = world.journey([trigger("exit"), end()], event=event)
        execution = world.walk(journey, event)
        person = execution["endUserId"]
        contract, audience, comm = world.contract(), world.audience(subject_ids=[]), world.comm()
        world.api.put(f"/api/suppressions/{person}@example.com", {}).ok(201)
        foreign = apart.api
        one = f"/api/journeys/{journey}"
        run = f"{one}/executions/{seg(execution['executionId'])}"

        for path in (
            one,
            f"{one}/versions",
            f"{one}/versions/1",
            f"{one}/audit",
            f"{one}/executions",
            f"{one}/step-stats",
            run,
            f"/api/journey-triggers/{contract}",
            f"/api/audiences/{audience}",
            f"/api/communications/{comm}",
            f"/api/subjects/{person}",
            f"/api/suppressions/{person}@example.com",
        ):
            foreign.get(path).problem(404, "not_found")
        for method, path, body in (
            ("PATCH", one, {"name": "mine"}),
            ("POST", f"{one}/publish", {}),
            ("POST", f"{one}/pause", {}),
            ("POST", f"{one}/archive", {}),
            ("POST", f"{one}/executions", {"endUserId": "x"}),
            ("POST", f"{run}/abort", {}),
            ("POST", f"{run}/retry", {}),
            ("PATCH", f"/api/journey-triggers/{contract}", {"name": "mine"}),
            ("DELETE", f"/api/journey-triggers/{contract}", None),
            ("PATCH", f"/api/audiences/{audience}", {"name": "mine"}),
            ("DELETE", f"/api/audiences/{audience}", None),
            ("POST", f"/api/audiences/{audience}/evaluate", {"subjectId": "x"}),
            ("PATCH", f"/api/communications/{comm}", {"name": "mine"}),
            ("DELETE", f"/api/communications/{comm}", None),
            ("PATCH", f"/api/subjects/{person}", {"locale": "de"}),
            ("DELETE", f"/api/suppressions/{person}@example.com", None),
        ):
            foreign.request(method, path, body).problem(404, "not_found")
        for path in (
            "/api/journeys",
            "/api/audiences",
            "/api/communications",
            "/api/journey-triggers",
            "/api/subjects",
            "/api/suppressions",
            "/api/messages",
            f"/api/messages?endUserId={person}",
            f"/api/subjects?q={person}",
        ):
            assert [] == foreign.get(path).ok(), path

    def test_ids_are_taken_per_workspace(self, world: World, apart: World) -> None:
        """The same journey, communication and person may be in both."""
        name = unique("same")
        for one in (world, apart):
            one.draft(id=name)
            one.api.put(f"/api/subjects/{name}", {"attributes": {"of": one.key}}).ok(201)

        assert world.key == world.profile(name)["attributes"]["of"]
        assert apart.key == apart.profile(name)["attributes"]["of"]

    def test_an_event_starts_nobody_elsewhere(self, world: World, apart: World) -> None:
        """One event name in two workspaces; the event belongs to the one it was posted to."""
        event, person = unique("ev"), unique("usr")
        here = world.journey([trigger("exit"), end()], event=event)
        there = apart.journey([trigger("exit"), end()], event=event)
        world.walk(here, event, person)

        assert [] == apart.executions(there)


class TestBearer:
    """/api/journeys/internal/* belongs to whoever has a key of the server."""

    def test_every_listed_key_is_good(self, server: Server) -> None:
        """Comma separated, for rotation: the answer is about the body, not the caller."""
        for key in server.sync_keys:
            client = by_bearer(server.port, key)
            client.post("/api/journeys/internal/dispatch", {}).problem(400, "validation_error")

    @pytest.mark.parametrize("header", ["", "Bearer ", "Bearer x", "Basic x", "bearer", "Bearer \u00e9"])
    @pytest.mark.parametrize("route", ["start-execution", "dispatch", "workspaces", "forget-end-user"])
    def test_any_other_header_is_not(self, server: Server, header: str, route: str) -> None:
        """401 before anything is said about the body."""
        headers = {"Authorization": header} if header else {}

        reply = server.anyone.post(f"/api/journeys/internal/{route}", {}, headers=headers)
        reply.problem(401, "unauthenticated")

    def test_sessions_and_keys_are_not_good_there(self, server: Server, apart: World) -> None:
        """Not even the owner's."""
        key = apart.api.post("/api/workspace/api-keys", {"name": "k"}).ok(201)["secret"]

        for client in (server.owner, by_key(server.port, key), by_bearer(server.port, server.token)):
            client.post("/api/journeys/internal/dispatch", {}).problem(401, "unauthenticated")

    def test_and_the_bearer_is_good_nowhere_else(self, server: Server) -> None:
        """It belongs to no workspace."""
        server.internal.get("/api/journeys").problem(401, "unauthenticated")
