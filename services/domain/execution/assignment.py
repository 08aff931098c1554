"""Draws that only their parts decide: random arms, arms in cold start, and the holdout.

Law: the same person gets the same answer, today and after a restart; nothing here remembers.
Source: statistics design 2.1 and 4.5.
"""

from collections.abc import Sequence

from services.domain.ids import uniform
from services.domain.journey.model import Arm


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
