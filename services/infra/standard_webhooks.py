"""How a call of ours proves who makes it, and that a repeat is one: Standard Webhooks.

Law: the signed bytes are the sent bytes. The id is the idempotency key: the same on every repeat, while the
timestamp, and with it the signature, is each attempt's own.
Source: contract 3, "Webhooks out"; Standard Webhooks 1.0.0, "Signature scheme".
"""

import base64
import binascii
import hashlib
import hmac
from typing import Final

PREFIX: Final = "whsec_"


class BadSecret(Exception):
    """A secret that nothing can be signed with; the sentence never holds it."""


def signed_headers(webhook_id: str, now_ms: int, body: bytes, secret: str | None) -> dict[str, str]:
    """The headers of one attempt; without a secret, without a signature. Raises BadSecret."""
    timestamp = str(now_ms // 1000)
    headers = {"webhook-id": webhook_id, "webhook-timestamp": timestamp, "Idempotency-Key": webhook_id}
    if secret is not None:
        headers["webhook-signature"] = signature(webhook_id, timestamp, body, secret)
    return headers


def signature(webhook_id: str, timestamp: str, body: bytes, secret: str) -> str:
    """`v1,<base64 HMAC-SHA256 of "id.timestamp.body">`. Raises BadSecret."""
    signed = b".".join((webhook_id.encode(), timestamp.encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key_of(secret), signed, hashlib.sha256)).decode()


def key_of(secret: str) -> bytes:
    """The key in a secret: what `whsec_` announces as base64, else the text itself. Raises BadSecret."""
    key = secret.encode()
    if secret.startswith(PREFIX):
        encoded = secret.removeprefix(PREFIX)
        try:
            key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise BadSecret(f"What follows {PREFIX} in the webhook secret is no base64.") from None
    if not key:
        raise BadSecret("The webhook secret is empty.")
    return key
