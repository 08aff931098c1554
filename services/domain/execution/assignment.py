"""Draws that only their parts decide: random arms, adaptive arms, and the holdout.

Law: the same person gets the same answer, today and after a restart; nothing here remembers.
Source: statistics design 2.1 and 4.5.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from services.domain.ids import uniform
from services.domain.journey.model import Arm, BranchAdaptive


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One allocation of an adaptive branch: the shares its arms are drawn by, under the id it keeps for ever.

    `arm_ids` and `propensities` in the order of the version; the latter sum to 1.
    """

    id: str
    arm_ids: tuple[str, ...]
    propensities: tuple[float, ...]
    as_of: int
    bounds: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bounds", tuple(accumulate(self.propensities)))


def branch_digest(step: BranchAdaptive) -> str:
    """What versions have to agree in to share an allocation: arms in their order, floors, and the branch's own goal."""
    parts = [[arm.id for arm in step.arms], step.min_sample_floor, step.exploration_floor, step.goal_event_name]
    return hashlib.sha256(_canonical(parts)).hexdigest()[:16]


def snapshot_id(journey_id: str, step_id: str, arms: Sequence[Mapping[str, Any]], mode: str) -> str:
    """`<journeyId>:<stepId>:<16 hex>`: equal counts, equal id. Source: statistics design 2.1, step 2."""
    rest = {"journeyId": journey_id, "stepId": step_id, "arms": list(arms), "mode": mode}
    return f"{journey_id}:{step_id}:{hashlib.sha256(_canonical(rest)).hexdigest()[:16]}"


def adaptive_arm(
    arms: Sequence[Arm], snapshot: Snapshot, journey_id: str, version: int, step_id: str, execution_id: str
) -> tuple[Arm, float]:
    """The arm that a snapshot draws for an execution, and its propensity. Source: statistics design 2.1, step 3.

    `arms` are those of the version, which the snapshot must be of; the last arm takes what rounding leaves.
    """
    u = uniform("pex.ts.v1", journey_id, str(version), step_id, execution_id)
    i = min(bisect_right(snapshot.bounds, u), len(arms) - 1)
    return arms[i], snapshot.propensities[i]


def random_arm(arms: Sequence[Arm], journey_id: str, step_id: str, end_user_id: str) -> tuple[Arm, float]:
    """The arm a subject gets at a random branch, and its probability. Sticky over versions and visits."""
    total = sum(arm.weight for arm in arms)
    u = uniform("pex.random.v1", journey_id, step_id, end_user_id) * total
    reached = 0.0
    for arm in arms:
        reached += arm.weight
        if u < reached:
            return arm, arm.weight / total
    last = next(arm for arm in reversed(arms) if arm.weight > 0)
    return last, last.weight / total


def cold_arm(arms: Sequence[Arm], journey_id: str, step_id: str, end_user_id: str) -> tuple[Arm, float]:
    """The arm of an adaptive branch that has not learned yet: round robin by hash, each with probability 1/K.

    The same person always gets the same arm, over versions and events; weights do not count.
    """
    u = uniform("pex.cold.v1", journey_id, step_id, end_user_id)
    return arms[min(int(len(arms) * u), len(arms) - 1)], 1 / len(arms)


def is_held_out(percent: float, salt: str, end_user_id: str) -> bool:
    """Whether a subject is in the holdout. Nested: whoever is held out at 5 % is held out at 10 %."""
    return percent >= 100 or uniform("pex.holdout.v1", salt, end_user_id) < percent / 100


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
