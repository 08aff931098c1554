"""The tokens in links that let a person decide, without signing in, what they are sent.

Law: whoever holds a token may see and change the preferences of one person of one workspace until it expires, and
nothing else. It is signed, not secret: it says nothing that the message around it does not say.

    base64url( MessagePack [version, workspace, end-user id, channel, expiry in days] + HMAC-SHA256 of it )

The key of the HMAC is derived from the workspace's subject secret, so a token of another workspace is none.
Source: RFC 8058, section 4 (an opaque, hard-to-forge component); RFC 2104.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

import msgspec

from services.domain.times import DAY_MS

LIFE_DAYS: Final = 400
MAX_TOKEN: Final = 2_000  # characters; ids have at most 200 bytes
_FORM: Final = 1
_MAC_BYTES: Final = 32
_PURPOSE: Final = b"journeys preferences v1"
_Parts = tuple[int, str, str, str, int]
_decode = msgspec.msgpack.Decoder(_Parts).decode


class BadToken(ValueError):
    """No token of ours."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a token says: whose preferences, and the channel of the message its link stood in. Times are ms."""

    workspace: str
    end_user_id: str
    channel: str
    expires_at: int


def token_of(secret: bytes, workspace: str, end_user_id: str, channel: str, now_ms: int) -> str:
    """A token that is good for 400 days. Within one day it is the same one, so a repeated rendering is too."""
    day = now_ms // DAY_MS + 1 + LIFE_DAYS
    parts: _Parts = (_FORM, workspace, end_user_id, channel, day)
    said = msgspec.msgpack.encode(parts)
    return _written(said + _signature(secret, said))


def workspace_in(token: str) -> str:
    """Which workspace a token claims to be of, unproven. Raises BadToken."""
    return _opened(token)[1][1]


def claim_of(secret: bytes, token: str) -> Claim:
    """What a token of that workspace says; whether it has expired is for the caller to see. Raises BadToken."""
    said, (_, workspace, end_user_id, channel, day), signature = _opened(token)
    if not hmac.compare_digest(signature, _signature(secret, said)):
        raise BadToken
    return Claim(workspace, end_user_id, channel, day * DAY_MS)


def _opened(token: str) -> tuple[bytes, _Parts, bytes]:
    if not (0 < len(token) <= MAX_TOKEN and token.isascii()):
        raise BadToken
    try:
        body = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        said, signature = body[:-_MAC_BYTES], body[-_MAC_BYTES:]
        parts = _decode(said)
    except (ValueError, msgspec.MsgspecError):
        raise BadToken from None
    if parts[0] != _FORM or _written(body) != token:  # base64 has idle bits: one token has one spelling
        raise BadToken
    return said, parts, signature


def _written(body: bytes) -> str:
    return base64.urlsafe_b64encode(body).decode().rstrip("=")


def _signature(secret: bytes, said: bytes) -> bytes:
    key = hmac.digest(secret, _PURPOSE, hashlib.sha256)
    return hmac.digest(key, said, hashlib.sha256)
