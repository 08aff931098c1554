"""Pages of lists: how many, what passes, and how large."""

from collections.abc import Callable

import msgspec
import pytest

from services.infra.documents.port import Collection, Documents, Index
from services.infra.grpc.limits import MAX_PAGE_BYTES
from services.runtime.paging import WEIGHED, PageRequest, page_of
from tests.support.memory import MemoryDocuments


class Thing(msgspec.Struct, frozen=True):
    """Something in a list."""

    key: str
    house: str = "h"
    bytes: int = 1
    revision: int = 1


THINGS = Collection("things", Thing, indexes=(Index("by_key", ("house", "key")),))


async def stored(sizes: list[int]) -> Documents:
    """A store with things of these sizes, in this order."""
    documents = MemoryDocuments()
    await documents.open([THINGS])
    for i, size in enumerate(sizes):
        await documents.insert(THINGS, Thing(f"{i:04}", bytes=size))
    return documents


async def pages(documents: Documents, limit: int, keep: Callable[[Thing], bool] | None = None) -> list[list[int]]:
    """The sizes on each page, to the end."""
    found: list[list[int]] = []
    cursor: str | None = None
    while cursor is not None or not found:
        page = await page_of(
            documents, THINGS, "by_key", ("h",), PageRequest(limit, cursor), keep, weigh=lambda thing: thing.bytes
        )
        found.append([thing.bytes for thing in page.items])
        cursor = page.cursor
        assert len(found) < 50
    return found


HALF, ALL = MAX_PAGE_BYTES // 2, MAX_PAGE_BYTES


@pytest.mark.parametrize(
    ("sizes", "limit", "expected"),
    [
        ([HALF, HALF, 1, HALF], 10, [[HALF, HALF], [1, HALF]]),
        ([ALL * 2, 1, ALL * 3], 10, [[ALL * 2], [1], [ALL * 3]]),
        ([1, 1, 1], 2, [[1, 1], [1]]),
        ([1] * WEIGHED + [ALL, 1], 500, [[1] * WEIGHED, [ALL], [1]]),
    ],
)
async def test_a_page_ends_where_it_is_heavy_enough(sizes: list[int], limit: int, expected: list[list[int]]) -> None:
    """Nothing is left out or shown twice; what is too heavy for any page has one to itself."""
    assert expected == await pages(await stored(sizes), limit)


async def test_what_is_not_kept_weighs_nothing() -> None:
    """A stretch of which nothing passes is looked through, however heavy it is."""
    documents = await stored([ALL] * (WEIGHED + 5) + [7])

    assert [[7]] == [page for page in await pages(documents, 500, lambda thing: thing.bytes == 7) if page]
