"""What in a page of a SQLite file is no content: free space inside b-tree pages, unused pages, ends of overflow chains.

Law: everything here is decided from the bytes of one state of the file. Where a page is not what it seems to be,
nothing of it is called free. Zeros may stand wherever this module says so: no reader of the file looks there.
Source: sqlite.org/fileformat2.html, sections 1.3, 1.5, 1.6.
"""

import struct
from collections.abc import Callable, Iterator

PAGE_BYTES = 4096
LOCK_PAGE = (1 << 30) // PAGE_BYTES + 1  # SQLite's locks lie there, and nothing else
# Beyond, the first byte of an overflow page (of the next page's number) could be that of a b-tree page.
MOST_PAGES = 2 << 24

_INTERIOR_INDEX, _INTERIOR_TABLE, _LEAF_INDEX, _LEAF_TABLE = 2, 5, 10, 13
_HEADERS = {_INTERIOR_INDEX: 12, _INTERIOR_TABLE: 12, _LEAF_INDEX: 8, _LEAF_TABLE: 8}
# Payload up to which a cell lies in its page alone, and what stays there at least of a longer one (section 1.6).
_MOST_LOCAL_OF_TABLE = PAGE_BYTES - 35
_MOST_LOCAL_OF_INDEX = (PAGE_BYTES - 12) * 64 // 255 - 23
_LEAST_LOCAL = (PAGE_BYTES - 12) * 32 // 255 - 23
_IN_OVERFLOW = PAGE_BYTES - 4
_ZEROS = bytes(PAGE_BYTES)
_head_of = struct.Struct(">BHHH").unpack_from
_number_of = struct.Struct(">I").unpack_from

Read = Callable[[int], bytes]  # a page by its number, which begins with 1
Range = tuple[int, int]


class UnknownLayout(Exception):
    """The file is laid out in a way that we never write."""


def check_layout(first_page: bytes) -> int:
    """How many pages the file has, by its header. Raises UnknownLayout."""
    page_bytes, reserved = struct.unpack_from(">H", first_page, 16)[0], first_page[20]
    pages, largest_root = _number_of(first_page, 28)[0], _number_of(first_page, 52)[0]
    if page_bytes != PAGE_BYTES or reserved or largest_root or not 0 < pages < MOST_PAGES:
        raise UnknownLayout(f"pages of {page_bytes} bytes, {reserved} reserved, {pages} of them")
    return int(pages)


def unused_pages(first_page: bytes, read: Read) -> Iterator[tuple[int, bytes]]:
    """Every unused page as it should be: trunks without what is behind their list, leaves without anything.

    Raises UnknownLayout where the list leads outside of the file or in a circle.
    """
    pages = _number_of(first_page, 28)[0]
    number, left = _number_of(first_page, 32)[0], _number_of(first_page, 36)[0]
    while number:
        trunk = read(number)
        following, count = struct.unpack_from(">II", trunk)
        leaves = struct.unpack_from(f">{count}I", trunk, 8) if count <= PAGE_BYTES // 4 - 2 else ()
        left -= 1 + count
        if left < 0 or len(leaves) != count or not all(1 < leaf <= pages for leaf in (number, *leaves)):
            raise UnknownLayout("the list of unused pages is no list")
        end = 8 + 4 * count
        yield number, trunk[:end] + _ZEROS[end:]
        for leaf in leaves:
            yield leaf, _ZEROS
        number = following


def free_ranges(page: bytes, number: int) -> list[Range]:
    """Where in a b-tree page there are no cells and yet bytes other than zero; of any other page nothing.

    Pieces of up to three bytes between cells are not listed anywhere, and are left as they are.
    """
    start = 100 if number == 1 else 0
    kind, free, cells, content = _head_of(page, start)
    if kind not in _HEADERS:
        return []
    begin = start + _HEADERS[kind] + 2 * cells
    if not begin <= content <= PAGE_BYTES:
        return []
    found = []
    if page[begin:content] != _ZEROS[: content - begin]:
        found.append((begin, content))
    while free:
        if not content <= free <= PAGE_BYTES - 4:
            return []
        following, size = struct.unpack_from(">HH", page, free)
        end = free + size
        if size < 4 or end > PAGE_BYTES or (following and following < end):
            return []
        if page[free + 4 : end] != _ZEROS[: size - 4]:
            found.append((free + 4, end))
        free = following
    return found


def without(page: bytes, ranges: list[Range]) -> bytes:
    """The page with zeros there."""
    clean = bytearray(page)
    for begin, end in ranges:
        clean[begin:end] = _ZEROS[: end - begin]
    return bytes(clean)


def overflows(page: bytes, number: int) -> list[tuple[int, int]]:
    """The chains that begin in a b-tree page: (first page, bytes in the chain)."""
    start = 100 if number == 1 else 0
    kind, _, cells, _ = _head_of(page, start)
    if kind not in _HEADERS or kind == _INTERIOR_TABLE:
        return []
    is_table = kind == _LEAF_TABLE
    most = _MOST_LOCAL_OF_TABLE if is_table else _MOST_LOCAL_OF_INDEX
    skipped = 4 if kind == _INTERIOR_INDEX else 0
    if start + _HEADERS[kind] + 2 * cells > PAGE_BYTES:
        return []
    places = struct.unpack_from(f">{cells}H", page, start + _HEADERS[kind])
    found = []
    # A length of one byte, or of two whose first says less than that, lies in the page: nearly all do.
    two = 0x80 | most >> 7
    for place in places:
        at = place + skipped
        if at + 2 > PAGE_BYTES or page[at] < 0x80 or (page[at] < two and page[at + 1] < 0x80):
            continue
        payload, at = _varint(page, at)
        if payload <= most:
            continue
        if is_table:
            _, at = _varint(page, at)
        local = _LEAST_LOCAL + (payload - _LEAST_LOCAL) % _IN_OVERFLOW
        if local > most:
            local = _LEAST_LOCAL
        if at + local + 4 <= PAGE_BYTES:
            found.append((_number_of(page, at + local)[0], payload - local))
    return found


def chain_of(first: int, size: int, pages: int, read: Read) -> Iterator[tuple[int, bytes, int]]:
    """The pages of a chain: number, bytes, and where in it the payload ends. Stops where it is not one."""
    number = first
    while size > 0 and 1 < number <= pages:
        page = read(number)
        used = min(size, _IN_OVERFLOW)
        yield number, page, 4 + used
        size -= used
        (number,) = _number_of(page)


def _varint(page: bytes, at: int) -> tuple[int, int]:
    value = 0
    for i in range(8):
        byte = page[at + i] if at + i < PAGE_BYTES else 0
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + i + 1
    last = page[at + 8] if at + 8 < PAGE_BYTES else 0
    return value << 8 | last, at + 9
