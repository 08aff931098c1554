"""Names of what is translated: refs in the bundle, ids of steps.

Law: a ref is made of the source's identity alone, so that files translated apart name each other.
Source: pinpoint design 2 (Ids) and 5.9.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Final

from services.domain.journey.reading import STEP_ID

MAX_SOURCE_ID: Final = 200
_KEPT: Final = 40
_OTHERS: Final = re.compile(r"[^A-Za-z0-9_.:-]")


def ref_of(application_id: str, kind: str, source_id: str) -> str:
    """`<kind>:` and 20 hex digits of the SHA-256 of `applicationId|kind|sourceId`."""
    digest = hashlib.sha256(f"{application_id}|{kind}|{source_id}".encode()).hexdigest()
    return f"{kind}:{digest[:20]}"


def source_id_of(text: str) -> str:
    """The id of a source as the bundle writes it: as it is, or shortened with 12 hex digits of its hash."""
    return text if len(text) <= MAX_SOURCE_ID else f"{text[:150]}_{_hash(text)}"


def step_ids(activities: Iterable[str]) -> dict[str, str]:
    """The step id of each activity: its own id where a step may have it; else 40 characters, `_`, 12 hex digits."""
    names = list(activities)
    taken = {name for name in names if STEP_ID.fullmatch(name)}
    found = {}
    for name in names:
        found[name] = name if name in taken else free_id(_shortened(name), taken)
        taken.add(found[name])
    return found


def free_id(wanted: str, taken: Iterable[str]) -> str:
    """The id of a step that we add: `wanted`, or with `_2`, `_3`, ... where an activity has it."""
    used = set(taken)
    name, number = _fitting(wanted), 2
    while name in used:
        name, number = _fitting(f"{wanted}_{number}"), number + 1
    return name


def saved_name(step_id: str) -> str:
    """The name under which a webhook's answer is saved: the step's id, without what would part a path."""
    return step_id.replace(".", "_")


def _fitting(name: str) -> str:
    return name if STEP_ID.fullmatch(name) else _shortened(name)


def _shortened(name: str) -> str:
    return f"{_OTHERS.sub('_', name[:_KEPT])}_{_hash(name)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
