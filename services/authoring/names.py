"""Ids and tags: made in one place, checked in one place.

Law: an id that a client may choose fits `[a-z0-9][a-z0-9-]{0,62}`; one that is made fits too. An ETag is opaque
and changes with every write that a client can see.
Source: contract 1 (ETag) and 2.
"""

import hashlib
import re
import secrets
import unicodedata
from collections.abc import Iterator
from typing import Final

from services.domain.errors import Fault, Unmatched

MAX_ID: Final = 63
MAX_TITLE: Final = 500  # characters of a display name
MAX_DESCRIPTION: Final = 1 << 20  # as much as a body holds
ID: Final = re.compile(rf"[a-z0-9][a-z0-9-]{{0,{MAX_ID - 1}}}")
_OTHERS: Final = re.compile(r"[^a-z0-9]+")
_SUFFIX: Final = 7  # "-" and six digits


def id_faults(given: str | None, path: str = "/id") -> list[Fault]:
    """What is wrong with an id that a client chose."""
    if given is None or ID.fullmatch(given):
        return []
    return [Fault(path, "bad_pattern", f"An id fits [a-z0-9][a-z0-9-]{{0,62}}; {given[:80]!r} does not.")]


def title_faults(name: str, path: str = "/name") -> list[Fault]:
    """What is wrong with a display name."""
    if not name.strip():
        return [Fault(path, "missing_member", "The name is missing or empty.")]
    if len(name) > MAX_TITLE:
        return [Fault(path, "out_of_range", f"A name has at most {MAX_TITLE} characters, this one {len(name)}.")]
    return []


def description_faults(text: str, path: str = "/description") -> list[Fault]:
    """What is wrong with a description."""
    if len(text) <= MAX_DESCRIPTION:
        return []
    return [Fault(path, "out_of_range", f"A description has at most {MAX_DESCRIPTION:,} characters.")]


def slug(name: str, fallback: str) -> str:
    """The name as an id without suffix, folded to ASCII: `Welcome Series!` -> `welcome-series`."""
    folded = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return _OTHERS.sub("-", folded).strip("-")[: MAX_ID - _SUFFIX].strip("-") or fallback


def candidates(base: str, made_by: str = "") -> Iterator[str]:
    """Ids to try, one after another: the base, -2, -3, then random ends; ten in all.

    For the same `made_by`, which names a request that may come again, they are the same.
    """
    yield base
    yield f"{base}-2"
    yield f"{base}-3"
    for n in range(7):
        end = hashlib.sha256(f"{made_by} {n}".encode()).hexdigest()[:6] if made_by else secrets.token_hex(3)
        yield f"{base}-{end}"


def etag_of(moment_ms: int) -> str:
    """The tag of an object by the moment (or count) that each visible write moves."""
    return f"{moment_ms:x}"


def require_match(wanted: str | None, current: str) -> None:
    """Raise Unmatched where the caller named another state than the current one (`*`: any)."""
    if wanted is not None and wanted not in (current, "*"):
        raise Unmatched("precondition_failed", "It was changed since it was read.")


def later(now_ms: int, than_ms: int) -> int:
    """Now, or the first millisecond after an earlier moment: moments of one object strictly increase."""
    return max(now_ms, than_ms + 1)
