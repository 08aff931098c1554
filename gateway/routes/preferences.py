"""The page on which people say what they want to be sent, reached by a link in a message.

Law: whoever has the link needs no script, no cookie and no account; a GET changes nothing, since programs follow
links too. No page here is kept, listed or framed by anybody, and none tells another site where it was left from.
Source: contract 3, Subjects; RFC 8058.
"""

from typing import Any

import grpc
from aiohttp import web
from journeys.runtime.v1.subject_service_pb2 import (
    ChangePreferencesRequest,
    ChannelPreference,
    GetPreferencesRequest,
    UnsubscribeRequest,
)

from gateway import pages
from gateway.context import SUBJECTS, path_id
from gateway.declaration import Role, route
from gateway.errors import invalid_at, problem_of
from gateway.reading import FORMS, form_of

_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex, nofollow",
    "Referrer-Policy": "no-referrer",  # the address is the key
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
}


@route("GET", "/preferences/{token}", role=Role.PUBLIC, noun="preferences", reply_media="text/html")
async def show_preferences(request: web.Request) -> web.Response:
    """Show what the person takes, with a form to change it.

    200; 404 no link of ours; 410 it has expired.
    """
    try:
        reply = await request.app[SUBJECTS].GetPreferences(GetPreferencesRequest(token=path_id(request, "token")))
    except grpc.aio.AioRpcError as error:
        return _refused(error)
    return _page(pages.preferences(reply.preferences))


@route(
    "POST",
    "/preferences/{token}",
    role=Role.PUBLIC,
    noun="preferences",
    body="PreferencesForm",
    media=FORMS,
    reply_media="text/html",
)
async def change_preferences(request: web.Request) -> web.Response:
    """Change what the person takes; `List-Unsubscribe=One-Click` opts out of the channel of the link's message.

    200; 400; 404 no link of ours; 410 it has expired.
    """
    token, fields = path_id(request, "token"), await form_of(request)
    subjects = request.app[SUBJECTS]
    shown = [value for name, value in fields if name == "shown"]
    preferences: Any
    try:
        if ("List-Unsubscribe", "One-Click") in fields:
            preferences = (await subjects.Unsubscribe(UnsubscribeRequest(token=token))).preferences
        elif shown:
            # An unchecked box is not sent, so the form says which it had.
            taken = {value for name, value in fields if name == "channel"}
            message = ChangePreferencesRequest(
                token=token,
                channels=[ChannelPreference(channel=name, opted_in=name in taken) for name in shown],
                global_opt_out=any(name == "global" for name, _ in fields),
            )
            preferences = (await subjects.ChangePreferences(message)).preferences
        else:
            raise invalid_at("", "missing_member", "This is neither the page's form nor a one-click unsubscribe.")
    except grpc.aio.AioRpcError as error:
        return _refused(error)
    return _page(pages.preferences(preferences, notice="Saved. This is what you will receive from now on."))


def _refused(error: grpc.aio.AioRpcError) -> web.Response:
    """A page instead of a problem where a person followed a link that leads nowhere; anything else is raised."""
    problem = problem_of(error)
    if problem is None or problem.status not in (404, 410):
        raise error
    return _page(pages.dead_link(is_expired=problem.status == 410), status=problem.status)


def _page(body: bytes, *, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, headers=_HEADERS)
