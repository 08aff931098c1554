"""Who calls: sessions, API keys, and the bearer keys of our own machinery.

Law: credentials are looked at here and nowhere else; none is logged, kept longer than two seconds or compared in
a time that depends on it.
Source: contract 1, Who may call.
"""

import hmac
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from aiohttp import web
from journeys.authoring.v1.workspace_service_pb2 import AuthenticateRequest

from gateway.context import AUTHENTICATOR, OPTIONS, Caller, Context
from gateway.declaration import RANK, Role
from gateway.errors import forbidden, unauthenticated
from services.infra.grpc.caller import SYSTEM

if TYPE_CHECKING:
    from journeys.authoring.v1.workspace_service_pb2_grpc import WorkspaceServiceAsyncStub

COOKIE: Final = "session"
KEEP_SECONDS: Final = 2.0  # how long a removed member's session may work on through another gateway
MAX_KEPT: Final = 10_000
MAX_CREDENTIAL: Final = 1000
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Authenticator:
    """Asks who a credential belongs to, and remembers the answer for a moment."""

    def __init__(
        self,
        workspaces: "WorkspaceServiceAsyncStub",
        sync_keys: Sequence[str] = (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workspaces = workspaces
        self._sync_keys = tuple(key.encode() for key in sync_keys if key)
        self._now = now
        self._kept: dict[tuple[str, str], tuple[float, Caller]] = {}
        self._round = 0

    async def by_session(self, token: str) -> Caller:
        """The member a session belongs to; 401 for an unknown or ended one."""
        return await self._who("session", token)

    async def by_api_key(self, key: str) -> Caller:
        """The API key as a caller; 401 for an unknown or deleted one."""
        return await self._who("key", key)

    def is_internal(self, header: str | None) -> bool:
        """Whether an Authorization header holds one of our keys. Without any key set: never."""
        scheme, _, token = (header or "").partition(" ")
        given = token.strip().encode("utf-8", "surrogateescape")
        # Every key is compared, so that the time says nothing about which one nearly fitted.
        fits = [hmac.compare_digest(given, key) for key in self._sync_keys]
        return scheme.lower() == "bearer" and any(fits)

    def forget(self) -> None:
        """Drop every answer: a session ended, or a member or key changed."""
        self._kept.clear()
        self._round += 1

    async def _who(self, kind: str, credential: str) -> Caller:
        kept = self._kept.get((kind, credential))
        now = self._now()
        if kept is not None and now < kept[0]:
            return kept[1]
        if not 0 < len(credential) <= MAX_CREDENTIAL or not (credential.isascii() and credential.isprintable()):
            raise unauthenticated("This is no session or key of ours.")
        began = self._round
        if kind == "session":
            request = AuthenticateRequest(session_token=credential)
        else:
            request = AuthenticateRequest(api_key=credential)
        reply = await self._workspaces.Authenticate(request)
        who = Caller(reply.workspace, reply.workspace_name, reply.user_id, reply.email, Role(reply.role))
        if began == self._round:  # else the answer may be from before a removal
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[kind, credential] = (now + KEEP_SECONDS, who)
        return who


async def identify(request: web.Request, context: Context, role: Role) -> None:
    """Find the caller of a route that is not public and hold it to the route's role. 401, 403."""
    authenticator = request.app[AUTHENTICATOR]
    headers = request.headers
    if role is Role.INTERNAL:
        if not authenticator.is_internal(headers.get("Authorization")):
            raise unauthenticated("This route needs one of the server's own keys.", "Bearer")
        context.caller = Caller("", "", SYSTEM, "", Role.INTERNAL)
        return
    if (key := headers.get("X-Api-Key")) is not None:
        context.caller = await authenticator.by_api_key(key)
    elif (token := session_of(headers.get("Cookie"))) is not None:
        if request.method not in SAFE_METHODS and not is_same_site(request):
            raise forbidden("A session cookie is taken from pages of this site only.", "cross_site_request")
        context.session_token = token
        context.caller = await authenticator.by_session(token)
    else:
        raise unauthenticated("Sign in (POST /api/session) or send an API key (x-api-key).")
    if RANK[context.caller.role] < RANK[role]:
        raise forbidden(f"This needs the role {role}; yours is {context.caller.role}.")


def session_of(header: str | None) -> str | None:
    """The session token in a Cookie header."""
    for pair in (header or "").split(";"):
        name, found, value = pair.strip().partition("=")
        if found and name == COOKIE:
            return value.strip('"')
    return None


def is_same_site(request: web.Request) -> bool:
    """Whether a request comes from a page of ours, or from no page at all (curl)."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    ours = request.app[OPTIONS].public_url
    if ours is not None and origin == _origin(ours):
        return True
    # The scheme is not compared: behind a proxy that ends TLS we do not know ours.
    return _authority(origin) == request.headers.get("Host", "").lower() != ""


def _authority(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
