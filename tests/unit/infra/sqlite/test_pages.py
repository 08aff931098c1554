"""What in a page is no content, and that nothing of a page that contradicts itself is taken for it."""

import struct

import pytest

from services.infra.sqlite.pages import (
    PAGE_BYTES,
    UnknownLayout,
    chain_of,
    check_layout,
    free_ranges,
    overflows,
    unused_pages,
    without,
)


def leaf(cells: list[int], *, free: int = 0, content: int = PAGE_BYTES, kind: int = 13, at: int = 0) -> bytearray:
    """A b-tree page full of old bytes, with that header and those places of cells."""
    page = bytearray(b"x" * PAGE_BYTES)
    struct.pack_into(">BHHHB", page, at, kind, free, len(cells), content, 0)
    struct.pack_into(f">{len(cells)}H", page, at + 8, *cells)
    return page


def header(pages: int = 9, *, trunk: int = 0, unused: int = 0, **more: int) -> bytearray:
    """The first page of a file of ours."""
    page = bytearray(PAGE_BYTES)
    struct.pack_into(">H", page, 16, more.get("page_bytes", PAGE_BYTES))
    page[20] = more.get("reserved", 0)
    struct.pack_into(">III", page, 28, pages, trunk, unused)
    struct.pack_into(">I", page, 52, more.get("largest_root", 0))
    return page


def test_the_gap_and_the_free_blocks_are_free() -> None:
    """Between the places of the cells and the cells, and in each block behind its own four bytes."""
    page = leaf([4000, 3900], free=3950, content=3900)
    struct.pack_into(">HH", page, 3950, 4050, 20)
    struct.pack_into(">HH", page, 4050, 0, 46)

    ranges = free_ranges(bytes(page), 7)

    assert [(12, 3900), (3954, 3970), (4054, 4096)] == ranges
    assert [] == free_ranges(without(bytes(page), ranges), 7)


def test_the_first_page_begins_behind_the_files_header() -> None:
    """Its b-tree stands at byte 100."""
    page = leaf([4000], content=4000, at=100)

    assert [(110, 4000)] == free_ranges(bytes(page), 1)


@pytest.mark.parametrize(
    ("free", "size", "following"),
    [(10, 20, 0), (4095, 20, 0), (3950, 3, 0), (3950, 200, 0), (3950, 20, 3950), (3950, 20, 3960)],
)
def test_of_a_page_that_contradicts_itself_nothing_is_free(free: int, size: int, following: int) -> None:
    """Blocks outside of the content, too small, beyond the page, in a circle, in each other."""
    page = leaf([4000], free=free, content=3900)
    if free < PAGE_BYTES - 4:
        struct.pack_into(">HH", page, free, following, size)

    assert [] == free_ranges(bytes(page), 7)


def test_what_is_no_b_tree_page_has_no_free_ranges() -> None:
    """Overflow pages and trunks begin with a page's number."""
    assert ([], []) == (free_ranges(bytes(PAGE_BYTES), 7), overflows(bytes(PAGE_BYTES), 7))


@pytest.mark.parametrize("payload", [4061, 4062, 5_000, 20_000, 5_000_000])
def test_a_long_row_goes_on_in_a_chain(payload: int) -> None:
    """By the rule of the format; what lies in the page and what lies in the chain are the whole row."""
    size = bytearray()
    left = payload
    while True:
        size.insert(0, left & 0x7F | (0x80 if size else 0))
        left >>= 7
        if not left:
            break
    local = payload if payload <= 4061 else 489 + (payload - 489) % 4092
    local = 489 if local > 4061 else local
    place = PAGE_BYTES - len(size) - 1 - local - (4 if payload > 4061 else 0)
    page = leaf([place], content=place)
    page[place : place + len(size)] = size
    page[place + len(size)] = 1
    struct.pack_into(">I", page, PAGE_BYTES - 4, 42)

    expected = [] if payload <= 4061 else [(42, payload - local)]
    assert expected == overflows(bytes(page), 7)


def test_a_chain_ends_where_its_payload_does() -> None:
    """The last page is used up to there."""
    pages = {2: struct.pack(">I", 3) + b"a" * 4092, 3: struct.pack(">I", 0) + b"b" * 4092}

    assert [(2, 4096), (3, 104)] == [(number, end) for number, _, end in chain_of(2, 4192, 9, pages.__getitem__)]


def test_unused_pages_are_found_through_their_trunks() -> None:
    """Leaves are to be empty, trunks hold their list alone."""
    trunk = struct.pack(">IIII", 0, 2, 5, 6) + b"x" * (PAGE_BYTES - 16)

    found = dict(unused_pages(bytes(header(trunk=4, unused=3)), {4: trunk}.__getitem__))

    assert {4: trunk[:16] + bytes(PAGE_BYTES - 16), 5: bytes(PAGE_BYTES), 6: bytes(PAGE_BYTES)} == found


@pytest.mark.parametrize("trunk", [(4, 1, 5), (0, 1, 10), (0, 1, 1), (0, 9, 5), (0, 5_000, 5)], ids=str)
def test_a_list_of_unused_pages_that_is_none_is_refused(trunk: tuple[int, int, int]) -> None:
    """A circle, pages outside of the file, the first page, more than there are, more than fit."""
    page = struct.pack(">III", *trunk) + bytes(PAGE_BYTES - 12)

    with pytest.raises(UnknownLayout):
        list(unused_pages(bytes(header(trunk=4, unused=2)), {4: page}.__getitem__))


@pytest.mark.parametrize("more", [{"page_bytes": 1024}, {"reserved": 12}, {"largest_root": 3}, {"pages": 0}])
def test_another_layout_is_refused(more: dict[str, int]) -> None:
    """Other pages, reserved bytes, maps of pages, no pages."""
    with pytest.raises(UnknownLayout):
        check_layout(bytes(header(**more)))
