"""Who asks, and under which request id: carried in metadata between processes, in context variables within one.

Law: a call made while a request is served bears that request's actor and id; nobody passes them by hand.
"""

import hashlib
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol
from urllib.parse import quote, unquote

ACTOR = "x-actor"
REQUEST_ID = "x-request-id"
REQUEST_KEY = "x-request-key"
SYSTEM = "system"

actor: ContextVar[str] = ContextVar("actor", default="")
request_id: ContextVar[str] = ContextVar("request_id", default="")
request_key: ContextVar[str] = ContextVar("request_key", default="")
_drawn: ContextVar[list[int]] = ContextVar("drawn")  # how many ids of a repeatable request have been drawn


class Context(Protocol):
    """What is needed of a grpc.aio.ServicerContext."""

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """The pairs the caller sent."""


def actor_from(context: Context) -> str:
    """The user id (or key id) on whose behalf the call was made; "system" where nobody is named."""
    return metadata_value(context, ACTOR) or SYSTEM


def request_key_from(context: Context) -> str:
    """What a request that may be made again is recognised by, however often it comes; "" for any other."""
    return metadata_value(context, REQUEST_KEY)


def metadata_value(context: Context, name: str) -> str:
    """One value of the caller's metadata, decoded; "" where it is absent."""
    for key, value in context.invocation_metadata() or ():
        if key == name:
            return decoded(value)
    return ""


def decoded(value: str | bytes) -> str:
    """A metadata value as it was before `outgoing` wrote it; "" for bytes, which we never send."""
    if isinstance(value, bytes):
        return ""
    return unquote(value) if "%" in value else value


@contextmanager
def acting(actor_id: str, request: str | None = None) -> Iterator[None]:
    """Within the block calls bear this actor and request id (None: the id already held, if any)."""
    before_actor = actor.set(actor_id)
    before_request = request_id.set(request) if request is not None else None
    try:
        yield
    finally:
        actor.reset(before_actor)
        if before_request is not None:
            request_id.reset(before_request)


@contextmanager
def repeatable(key: str) -> Iterator[None]:
    """Within the block calls bear this key, and `drawn_id` gives the same ids in the same order every time."""
    before, drawn = request_key.set(key), _drawn.set([0])
    try:
        yield
    finally:
        request_key.reset(before)
        _drawn.reset(drawn)


def drawn_id() -> str:
    """An id for something the request did not name: a new one, or in a repeatable request the same as before."""
    key = request_key.get()
    if not key:
        return uuid.uuid4().hex
    count = _drawn.get()
    count[0] += 1
    return hashlib.sha256(f"{key} {count[0]}".encode()).hexdigest()[:32]


def outgoing() -> tuple[tuple[str, str], ...]:
    """The metadata pairs of the current actor, if any, and request id, or of a new one: a repeated call keeps it."""
    who, key, request = actor.get(), request_key.get(), request_id.get() or new_request_id()
    pairs: tuple[tuple[str, str], ...] = ((REQUEST_ID, _printable(request)),)
    if who:
        pairs = (*pairs, (ACTOR, _printable(who)))
    return (*pairs, (REQUEST_KEY, _printable(key))) if key else pairs


def new_request_id() -> str:
    """A request id for something nobody has named yet."""
    return uuid.uuid4().hex


def _printable(text: str) -> str:
    # gRPC refuses metadata that is not printable ASCII, and ids come from users.
    if text.isascii() and text.isprintable() and "%" not in text and text == text.strip():
        return text
    return quote(text, safe="", errors="backslashreplace")
