"""Cursors: where a page ended, in a form callers can only hand back.

Law: a cursor is good for the scan it came from and for nothing else; whatever was changed in it or made up
is BadCursor, never a wrong page. A digest of scan and position stands before the position. It is no secret: a
caller who computes one gets a page they could have asked for anyway.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence

import msgspec

from services.infra.documents.port import BadCursor, Value

_DIGEST_BYTES = 8


def write_cursor(scan: Sequence[object], position: Sequence[Value]) -> str:
    """The cursor of a position within a scan; `scan` is whatever names it: strings, numbers, tuples."""
    body = msgspec.msgpack.encode(position)
    return _text_of(_digest(scan, body) + body)


def read_cursor(cursor: str, scan: Sequence[object]) -> list[Value]:
    """The position in a cursor of that scan. Raises BadCursor for anything `write_cursor` did not make for it."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        whole = base64.b64decode(padded, altchars=b"-_", validate=True)
        digest, body = whole[:_DIGEST_BYTES], whole[_DIGEST_BYTES:]
        if digest != _digest(scan, body) or cursor != _text_of(whole):  # base64 ignores the last bits of some texts
            raise BadCursor("this cursor belongs to another scan, or is broken")
        return msgspec.msgpack.decode(body, type=list[Value])
    except (binascii.Error, UnicodeEncodeError, msgspec.DecodeError):
        raise BadCursor("this is not a cursor") from None


def _text_of(whole: bytes) -> str:
    return base64.urlsafe_b64encode(whole).decode().rstrip("=")


def _digest(scan: Sequence[object], body: bytes) -> bytes:
    return hashlib.blake2b(msgspec.msgpack.encode((scan, body)), digest_size=_DIGEST_BYTES).digest()
