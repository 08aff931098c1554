"""Pages of lists: what is asked for, and a page of what passes a test.

Law: a cursor is opaque and says where looking ended, not where the last thing shown stood, so a page may hold
fewer than asked for and still have a next one. Looking is bounded.
Source: contract 1, Limits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from services.domain.errors import Fault, Invalid
from services.infra.documents.port import BadCursor, Collection, Documents, Page, Value
from services.infra.grpc.limits import MAX_PAGE_BYTES

MAX_LIMIT = 500
STRIDE = 500  # looked at in one read, once the first has not sufficed
WEIGHED = 100  # the same of documents that may have a megabyte each
MOST_LOOKED_AT = 20_000  # in one page: some 100 ms

T = TypeVar("T")
_ENCODE = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which part of a list is wanted. Raises Invalid for a limit outside 1 to 500."""

    limit: int
    cursor: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MAX_LIMIT:
            message = f"The limit must be 1 to {MAX_LIMIT}."
            raise Invalid("validation_error", message, [Fault("/limit", "out_of_range", message)])


async def page_of(
    documents: Documents,
    collection: Collection[T],
    index: str,
    equals: Sequence[Value],
    page: PageRequest,
    keep: Callable[[T], bool] | None = None,
    *,
    descending: bool = False,
    weigh: Callable[[T], int] | None = None,
) -> Page[T]:
    """Documents under `equals` that pass `keep`, in index order. Raises Invalid for a foreign cursor.

    The store's cursors stand between its own pages, so what would overfill ours is read a second time, shorter. With
    `weigh`, which gives a document's bytes, a page of large ones holds fewer than asked for.
    """
    found: list[T] = []
    cursor, looked_at, stride = page.cursor, 0, page.limit if weigh is None else min(page.limit, WEIGHED)
    size, is_full = 0, False

    async def look(limit: int) -> tuple[Page[T], list[T]]:
        part = await documents.scan(collection, index, equals, after=cursor, limit=limit, descending=descending)
        return part, part.items if keep is None else [item for item in part.items if keep(item)]

    try:
        while True:
            part, hits = await look(stride)
            room = page.limit - len(found)
            if weigh is not None:
                fitting, size, is_full = _fitting(hits[:room], weigh, size, is_first=not found)
                room = fitting if is_full else room
                if room == 0:
                    return Page(found, cursor)
            if len(hits) > room:
                last = hits[room - 1]
                part, hits = await look(next(i for i, item in enumerate(part.items) if item is last) + 1)
            found += hits
            cursor, looked_at = part.cursor, looked_at + len(part.items)
            stride = STRIDE if weigh is None else WEIGHED
            if cursor is None or is_full or len(found) >= page.limit or looked_at >= MOST_LOOKED_AT:
                return Page(found, cursor)
    except BadCursor:
        raise bad_cursor() from None


def bytes_of(document: object) -> int:
    """What a document weighs in a page."""
    return len(_ENCODE(document))


def _fitting(hits: Sequence[T], weigh: Callable[[T], int], size: int, *, is_first: bool) -> tuple[int, int, bool]:
    """How many of these go into a page, its bytes then, and whether it is full. The first one goes in, whatever it is."""
    for i, item in enumerate(hits):
        weight = weigh(item)
        if size + weight > MAX_PAGE_BYTES and not (is_first and i == 0):
            return i, size, True
        size += weight
    return len(hits), size, False


def bad_cursor() -> Invalid:
    """The refusal of a cursor that this list did not hand out."""
    message = "The cursor is none of this list's; begin again without one."
    return Invalid("validation_error", message, [Fault("/cursor", "bad_cursor", message)])
