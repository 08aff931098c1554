"""What makes two objects, or two bundles, the same one.

Law: a hash covers content alone: what the object is, never where it was put, nor what was found wrong with it. So an
object translated alone and one translated beside its neighbours are the same object.
Source: the migration design, 6.
"""

import hashlib
from collections.abc import Mapping
from typing import Final

from services.authoring.json_text import canonical
from services.domain.journey.model import Json

# The hash itself, the object's id in the workspace it was put into, and verdicts, which depend on the neighbours.
NOT_CONTENT: Final = frozenset({"contentHash", "targetId", "completeness", "publishBlockers"})


def content_hash(thing: Mapping[str, Json]) -> str:
    """64 hex digits of the SHA-256 of an object's content in canonical JSON."""
    content = {name: value for name, value in thing.items() if name not in NOT_CONTENT}
    return hashlib.sha256(canonical(content)).hexdigest()


def bundle_id(bundle: Mapping[str, Json]) -> str:
    """`bndl_` and 32 hex digits of the SHA-256 of the canonical bundle without its own `bundleId`."""
    content = {name: value for name, value in bundle.items() if name != "bundleId"}
    return f"bndl_{hashlib.sha256(canonical(content)).hexdigest()[:32]}"
