"""The workspace itself, who may enter it, and signing in."""

from journeys_client.call import Call, Reply, given, route
from journeys_client.journeys import once
from journeys_client.models import ApiKey, AuditEntry, Me, Member, Role, Workspace
from journeys_client.problem import NotUnderstood
from journeys_client.resource import C_co, Pages, Resource, paged, verb

_COOKIE = "session="


class WorkspaceSettings(Resource[C_co]):
    """`client.workspace`."""

    @verb
    def get(self) -> Call[Workspace]:
        """Its settings."""
        return Call("GET", "/api/workspace")

    @verb
    def update(self, changes: Workspace) -> Call[Workspace]:
        """Change some of them; an owner's right."""
        return Call("PATCH", "/api/workspace", json=changes)

    @paged
    def audit(self, *, page_size: int | None = None) -> Pages[AuditEntry]:
        """Who changed settings, members, keys, preferences and suppressions, newest first."""
        return Call("GET", "/api/workspace/audit", given(limit=page_size))


class Members(Resource[C_co]):
    """`client.members`: an owner's right."""

    @paged
    def list(self, *, page_size: int | None = None) -> Pages[Member]:
        """All of the workspace."""
        return Call("GET", "/api/workspace/members", given(limit=page_size))

    @verb
    def create(self, *, email: str, role: Role, password: str, idempotency_key: str | None = None) -> Call[Member]:
        """Let somebody in."""
        body = {"email": email, "role": role, "password": password}
        return Call("POST", "/api/workspace/members", json=body, headers=once(idempotency_key))

    @verb
    def update(self, user_id: str, *, role: Role) -> Call[Member]:
        """Give somebody another role. Raises Problem: last_owner."""
        return Call("PATCH", route("/api/workspace/members/{}", user_id), json={"role": role})

    @verb
    def delete(self, user_id: str) -> Call[None]:
        """Shut somebody out; their sessions end at once. Raises Problem: last_owner."""
        return Call("DELETE", route("/api/workspace/members/{}", user_id))


class ApiKeys(Resource[C_co]):
    """`client.api_keys`: an owner's right."""

    @paged
    def list(self, *, page_size: int | None = None) -> Pages[ApiKey]:
        """All of the workspace, without their secrets."""
        return Call("GET", "/api/workspace/api-keys", given(limit=page_size))

    @verb
    def create(self, name: str, *, role: Role = "editor", idempotency_key: str | None = None) -> Call[ApiKey]:
        """Make one. Its `secret` is in this answer and never again."""
        body = {"name": name, "role": role}
        return Call("POST", "/api/workspace/api-keys", json=body, headers=once(idempotency_key))

    @verb
    def delete(self, key_id: str) -> Call[None]:
        """Revoke it."""
        return Call("DELETE", route("/api/workspace/api-keys/{}", key_id))


class Session(Resource[C_co]):
    """`client.session`."""

    @verb
    def sign_in(self, *, email: str, password: str) -> Call[str]:
        """Sign in; returns the session to make a client with. Raises Problem: unauthenticated."""
        return Call("POST", "/api/session", json={"email": email, "password": password}, read=_session_of)

    @verb
    def sign_out(self) -> Call[None]:
        """End the session of this client."""
        return Call("DELETE", "/api/session")

    @verb
    def me(self) -> Call[Me]:
        """Who this client is."""
        return Call("GET", "/api/me")


def _session_of(reply: Reply) -> str:
    cookie = reply.headers.get("set-cookie", "").partition(";")[0].strip()
    if not cookie.startswith(_COOKIE):
        raise NotUnderstood("the answer to a sign-in holds no session")
    return cookie[len(_COOKIE) :].strip('"')
