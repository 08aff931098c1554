"""What counts may look like."""

from collections.abc import Sequence
from operator import index

# (reached, goals) of one arm, cohort or day.
Count = tuple[int, int]
MOST = 10**9
# The self-checks: finer panels are tried where one misses by more than the first, an error is raised beyond the second.
WELL, BARELY = 1e-11, 1e-9
FINEST = 8  # every panel halved three times


class Unsolved(ArithmeticError):
    """The numbers would not have been right to the promised digits; raised instead of returning them."""


def checked(reached: int, goals: int) -> Count:
    """The same two as plain ints. Raises ValueError unless 0 <= goals <= reached <= 1e9, TypeError unless whole."""
    n, s = index(reached), index(goals)
    if not 0 <= s <= n <= MOST:
        raise ValueError(f"counts must satisfy 0 <= goals <= reached <= {MOST}, not goals={s}, reached={n}")
    return n, s


def all_checked(counts: Sequence[Count]) -> tuple[Count, ...]:
    """Every pair checked, in order. Raises like `checked`, and ValueError if there is none."""
    if not counts:
        raise ValueError("there must be at least one pair of counts")
    return tuple(checked(reached, goals) for reached, goals in counts)
