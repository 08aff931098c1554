"""What an arm of a branch leads to, as one digest: whether an author changed what an arm does.

Law: names and places on the canvas do not count, nor does what every arm leads to. Communications count by their
versions. Source: statistics design 2.2.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

Json = Any
_UNSEEN = frozenset({"name", "position"})


def content_hash(steps: Sequence[Mapping[str, Json]], branch_id: str, arm_id: str, versions: Mapping[str, int]) -> str:
    """SHA-256, in hex, of the steps that this arm leads to and not every arm does.

    `steps` as an author wrote them; `versions` of the communications they name. Of a branch or arm that is not
    there: the digest of no steps.
    """
    by_id = {step.get("id"): step for step in steps}
    branch = by_id.get(branch_id) or {}
    reached = {arm.get("id"): _reached(arm.get("next"), by_id) for arm in branch.get("arms") or ()}
    shared = frozenset.intersection(*reached.values()) if reached else frozenset()
    own = reached.get(arm_id, frozenset()) - shared
    return hashlib.sha256(_canonical([_shown(step, versions) for step in steps if step.get("id") in own])).hexdigest()


def _reached(start: str | None, by_id: Mapping[str | None, Mapping[str, Json]]) -> frozenset[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        step_id = waiting.pop()
        if step_id is None or step_id in found or step_id not in by_id:
            continue
        found.add(step_id)
        step = by_id[step_id]
        waiting += [step.get("next"), step.get("onTimeout"), step.get("default")]
        waiting += [way.get("next") for name in ("branches", "arms") for way in step.get(name) or ()]
    return frozenset(found)


def _shown(step: Mapping[str, Json], versions: Mapping[str, int]) -> dict[str, Json]:
    shown = {name: value for name, value in step.items() if name not in _UNSEEN}
    if (communication := step.get("communicationId")) is not None:
        shown["communicationVersion"] = versions.get(communication)
    return shown


def _canonical(value: Json) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
