"""Signing in and out, and who one is.

Source: contract 1, Who may call.
"""

from datetime import UTC, datetime
from email.utils import format_datetime

from aiohttp import web
from journeys.authoring.v1.workspace_service_pb2 import SignInRequest, SignOutRequest

from gateway.auth import COOKIE
from gateway.context import AUTHENTICATOR, CONTEXT, OPTIONS, WORKSPACES, caller
from gateway.declaration import Role, route
from gateway.dto.workspace import Me
from gateway.errors import unauthenticated
from gateway.reading import body_of
from gateway.replies import nothing, resource_reply


@route("POST", "/api/session", role=Role.PUBLIC, body="SignIn", status=204)
async def sign_in(request: web.Request) -> web.Response:
    """Sign in: the session comes as a cookie.

    204 + Set-Cookie; 400; 401.
    """
    body = await body_of(request)
    message = SignInRequest(email=body["email"], password=body["password"])
    reply = await request.app[WORKSPACES].SignIn(message)
    response = nothing()
    expires = datetime.fromtimestamp(min(reply.expires_at_ms // 1000, 253_402_300_799), UTC)
    _set_cookie(request, response, reply.session_token, format_datetime(expires, usegmt=True))
    response.headers["Cache-Control"] = "no-store"
    return response


@route("DELETE", "/api/session", role=Role.VIEWER, status=204)
async def sign_out(request: web.Request) -> web.Response:
    """Sign out: the session ends at once.

    204; 401.
    """
    token = request[CONTEXT].session_token
    if token is None:
        raise unauthenticated("There is no session to end: the request came with an API key.")
    try:
        await request.app[WORKSPACES].SignOut(SignOutRequest(session_token=token))
    finally:
        request.app[AUTHENTICATOR].forget()
    response = nothing()
    _set_cookie(request, response, "", "Thu, 01 Jan 1970 00:00:00 GMT")
    return response


@route("GET", "/api/me", role=Role.VIEWER, reply=Me)
async def me(request: web.Request) -> web.Response:
    """Who the caller is.

    200; 401.
    """
    return resource_reply(Me.from_caller(caller(request)))


def _set_cookie(request: web.Request, response: web.Response, value: str, expires: str) -> None:
    public = request.app[OPTIONS].public_url or ""
    forwarded = request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower()
    secure = request.secure or forwarded == "https" or public.startswith("https://")
    parts = [f"{COOKIE}={value}", f"Expires={expires}", "Path=/", "HttpOnly", "SameSite=Lax"]
    if secure:
        parts.append("Secure")
    response.headers["Set-Cookie"] = "; ".join(parts)
