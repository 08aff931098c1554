"""Answers: JSON from DTOs, entity tags, pages of lists.

Law: every single resource has an ETag, every further page a Link; nothing else writes these headers.
Source: contract 1; RFC 9110 (ETag, If-Match), RFC 8288 (Link).
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec
from aiohttp import web
from journeys.type.v1.page_pb2 import Page

from gateway.context import query_text
from gateway.declaration import Query
from gateway.errors import Problem, invalid_at

MAX_LIMIT: Final = 500
MEDIA_TYPE: Final = "application/json"
PAGING: Final = (
    Query("limit", "How many at most, 1 to 500.", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}),
    Query("cursor", "Where the previous page ended; from its Link.", {"type": "string"}),
)

_TAG: Final = re.compile(r'(?:W/)?"([^"]*)"')
_TAGS: Final = re.compile(rf"[\s,]*{_TAG.pattern}(?:\s*,[\s,]*{_TAG.pattern})*[\s,]*")  # RFC 9110, 5.6.1 and 13.1.1
_ENCODE: Final = msgspec.json.Encoder().encode


def json_reply(value: Any, *, status: int = 200, location: str | None = None) -> web.Response:
    """An answer that is no resource of its own."""
    return _reply(_ENCODE(value), status, None, location)


def resource_reply(value: Any, *, etag: str = "", status: int = 200, location: str | None = None) -> web.Response:
    """A single resource. Without an etag of the service's its tag is a digest of what is shown."""
    body = _ENCODE(value)
    return _reply(body, status, etag or digest(body), location)


def nothing() -> web.Response:
    """204."""
    return web.Response(status=204)


def list_reply(request: web.Request, items: Sequence[Any], next_cursor: str | None) -> web.Response:
    """A bare array; where there is more, `Link` leads to it with the same filters."""
    response = _reply(_ENCODE(items), 200, None, None)
    link_next(request, response, next_cursor)
    return response


def link_next(request: web.Request, response: web.Response, next_cursor: str | None) -> None:
    """Lead to the next page, where there is one, with the same filters."""
    if next_cursor:
        target = request.rel_url.update_query({"cursor": next_cursor})
        response.headers["Link"] = f'<{target}>; rel="next"'


def page_of(request: web.Request, default: int = 100, *, most: int = MAX_LIMIT) -> Page:
    """Which part of a list is asked for: `most` at a time, whatever the limit. 400 for a limit outside 1 to 500."""
    page = Page(limit=default)
    text = request.query.get("limit")
    if text is not None:
        if not (text.isascii() and text.isdecimal() and len(text) <= 9 and 1 <= int(text) <= MAX_LIMIT):
            raise invalid_at("/limit", "out_of_range", f"limit is a whole number from 1 to {MAX_LIMIT}.")
        page.limit = min(int(text), most)
    if (cursor := query_text(request, "cursor")) is not None:
        page.cursor = cursor
    return page


async def if_match(request: web.Request, current: Callable[[], Awaitable[str]]) -> str | None:
    """The tag of If-Match as the services know it, of several the current one; None where any will do.

    400 for what names no tag; 412 for tags of which none can be, or none of several is, the current one. Whether it
    still is when the change is made, the service sees to.
    """
    wanted = _wanted(request)
    if not wanted:
        return None
    if len(wanted) == 1:
        return wanted[0]
    now = await current()
    if now not in wanted:
        raise unmatched()
    return now


async def require_match(request: web.Request, current: Callable[[], Awaitable[str]]) -> None:
    """412 unless If-Match, where it was sent, names the current tag. For verbs whose RPC does not take one."""
    wanted = _wanted(request)
    if wanted and await current() not in wanted:
        raise unmatched()


def _wanted(request: web.Request) -> list[str]:
    """The tags of If-Match, from all of its lines; none where any will do."""
    header = ", ".join(request.headers.getall("If-Match", ["*"])).strip()
    if header == "*":
        return []
    if not _TAGS.fullmatch(header) or not (tags := _TAG.findall(header)):
        raise invalid_at("", "not_allowed", 'If-Match takes entity tags, such as "abc" or "abc", "def", or *.')
    known = [tag for tag in tags if tag.isascii() and tag.isprintable()]
    if not known:
        raise unmatched()
    return known


def unmatched() -> Problem:
    """412."""
    return Problem(412, "precondition_failed", "It has changed since the state that If-Match names.")


def digest(body: bytes) -> str:
    """The entity tag of what has no revision of its own."""
    return hashlib.blake2b(body, digest_size=12).hexdigest()


def digest_of(value: Any) -> str:
    """The tag `resource_reply` gives a value without an etag."""
    return digest(_ENCODE(value))


def segment(text: str) -> str:
    """A text as one segment of a path."""
    return quote(text, safe="")


def _reply(body: bytes, status: int, etag: str | None, location: str | None) -> web.Response:
    response = web.Response(body=body, status=status, content_type=MEDIA_TYPE)
    if etag is not None:
        response.headers["ETag"] = f'"{etag}"'
    if location is not None:
        response.headers["Location"] = location
    return response
