"""JSON as bytes: read once, kept canonical.

Law: what is stored and compared is the canonical form (sorted names, no white space), so that two texts of one
value are one value. Whatever the bytes, reading gives a value or a fault, never an exception.
"""

from typing import Any

import msgspec

from services.domain.errors import Fault
from services.domain.journey.model import Json

_DECODER = msgspec.json.Decoder()
_ENCODER = msgspec.json.Encoder(order="sorted")


def read_json(text: bytes, path: str) -> tuple[Json, list[Fault]]:
    """The value, or None and a fault at `path`."""
    try:
        return _DECODER.decode(text), []
    except (msgspec.DecodeError, RecursionError) as failure:
        what = "It is nested too deeply." if isinstance(failure, RecursionError) else str(failure)
        return None, [Fault(path, "invalid_json", f"This is no JSON. {what}")]


def canonical(value: Any) -> bytes:
    """The canonical bytes of a value that was read and found sound."""
    return _ENCODER.encode(value)
