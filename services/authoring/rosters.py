"""Pages of the lists that lie inside one document."""

import base64
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from services.authoring.repositories import Slice, bad_cursor, require_limit

T = TypeVar("T")
Place = tuple[int, str]  # when it was made, and its id


def page_of(items: Sequence[T], place: Callable[[T], Place], limit: int, cursor: str | None) -> Slice[T]:
    """A page, newest first; what is added or removed meanwhile moves nobody's next page.

    Raises Invalid for a bad limit or cursor.
    """
    require_limit(limit)
    left = sorted(items, key=place, reverse=True)
    if cursor is not None:
        last = _read(cursor)
        left = [item for item in left if place(item) < last]
    page = left[:limit]
    if len(left) <= limit:
        return Slice(page)
    return Slice(page, base64.urlsafe_b64encode(msgspec.json.encode(place(page[-1]))).decode())


def _read(cursor: str) -> Place:
    try:
        body = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True)
        at_ms, name = msgspec.json.decode(body, type=Place)
    except ValueError:  # of base64, UTF-8 and msgspec alike
        raise bad_cursor() from None
    return at_ms, name
