"""What analytics knows of one execution, and how two reports of it become one.

Law: `join` is commutative, associative and idempotent, so reports may come late, twice, out of order or not at
all, and the facts end up the same. `counts_of` depends on a fact alone, so every sum can be recounted.

    member              how two are joined
    visits              per step the larger number
    results             per visit the stronger: pending < unknown < skipped < failed < sent
    arms                set once per step, with the least moment of conversion
    goals, failures     union
    status, waiting     those of the later transition; within one, the end wins

An end absorbs, so the later transition never undoes it, except where an operator has the failed step repeated:
then the execution runs again, and its failure stays counted under the visit at which it happened.
Source: runtime design 11; contract 4, step-stats.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

V = TypeVar("V")
K = TypeVar("K", int, str)

RUNNING = "RUNNING"
ENDED = frozenset({"SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED", "REFUSED", "HOLDOUT"})
OUTSIDE = frozenset({"REFUSED", "HOLDOUT"})  # they never entered a step

_STRENGTH = {"pending": 0, "unknown": 1, "skipped": 2, "failed": 3, "sent": 4}
_SETTLED = frozenset(_STRENGTH) - {"pending"}


class Goal(msgspec.Struct, frozen=True, order=True, gc=False):
    """What counts as a conversion: the event, how long after, and since when the journey has had this goal (0: ever)."""

    event_name: str
    window_ms: int
    since: int = 0


class Arm(msgspec.Struct, frozen=True, order=True, gc=False):
    """The arm an execution was routed to: how, with which probability, by which allocation, and when.

    `goal` None: a random arm, which nobody learns from. `converted_at` is the least moment that counts.
    """

    arm_id: str
    mode: str
    propensity: float
    snapshot_id: str = ""
    routed_at: int = 0
    goal: Goal | None = None
    converted_at: int | None = None


class Fact(msgspec.Struct, kw_only=True, gc=False):
    """What is known of one execution, refused start or held-out start. Times in ms UTC."""

    key: str
    revision: int = 0
    partition: int
    workspace: str
    journey_id: str
    version: int
    execution_id: str
    subject_key: str
    end_user_id: str
    started_at: int
    status: str = RUNNING
    transition: int = 0
    waiting_step: str = ""
    visits: dict[str, int] = {}
    results: dict[str, str] = {}  # "<step>-<visit>": state
    arms: dict[str, Arm] = {}
    goals: list[int] = []  # ascending, each once
    failures: list[str] = []  # "<step>-<visit>" at which it failed; ascending, each once
    goal: Goal | None = None  # under which it started; with the next, said alike by all reports
    holdout_share: float = 0.0


# How many visits of a step were executed, skipped, failed, and how many wait in it.
Counts = tuple[int, int, int, int]


def join(one: Fact, other: Fact) -> Fact:
    """Both reports of one execution as one; `one` itself where the other adds nothing.

    Identity and revision are those of `one`: reports of one execution agree in the former.
    """
    visits = _merged(one.visits, other.visits, max)
    results = _merged(one.results, other.results, _stronger)
    arms = _merged(one.arms, other.arms, _earlier)
    goals = _united(one.goals, other.goals)
    failures = _united(one.failures, other.failures)
    newest = _newer(one, other)
    if (
        visits is one.visits
        and results is one.results
        and arms is one.arms
        and goals is one.goals
        and failures is one.failures
        and (newest is one or _newness(newest) == _newness(one))
    ):
        return one
    return Fact(
        key=one.key,
        revision=one.revision,
        partition=one.partition,
        workspace=one.workspace,
        journey_id=one.journey_id,
        version=one.version,
        execution_id=one.execution_id,
        subject_key=one.subject_key,
        end_user_id=one.end_user_id,
        started_at=one.started_at,
        status=newest.status,
        transition=newest.transition,
        waiting_step=newest.waiting_step,
        visits=visits,
        results=results,
        arms=arms,
        goals=goals,
        failures=failures,
        goal=one.goal,
        holdout_share=one.holdout_share,
    )


def counts_of(fact: Fact) -> dict[str, Counts]:
    """What one execution adds to the statistics of each step.

    A visit with a result counts as that result says; a `pending` one (a send that is still open) counts nowhere.
    A step without any result was executed at each visit, except that the step somebody waits in counts its last
    visit as waiting, and a visit at which the execution failed counts as failed. Whoever was stopped or timed out
    in a wait has left it: executed.
    """
    if fact.status in OUTSIDE:
        return {}
    tallies = _by_result(fact.results)
    for name in fact.failures:
        if fact.results.get(name) not in _SETTLED:
            _tally(tallies, name).broken += 1
    counts: dict[str, Counts] = {}
    for step, visits in fact.visits.items():
        tally = tallies.pop(step, None)
        is_waiting = fact.waiting_step == step and fact.status not in ENDED
        if tally is None:
            counts[step] = (max(visits - is_waiting, 0), 0, 0, int(is_waiting))
            continue
        waiting = int(is_waiting and tally.last < visits)
        executed = tally.executed if tally.has_results else max(visits - waiting - tally.broken, 0)
        counts[step] = (executed, tally.skipped, tally.failed + tally.broken, waiting)
    for step, tally in tallies.items():  # their visits have not been reported yet
        counts[step] = (tally.executed, tally.skipped, tally.failed + tally.broken, 0)
    return counts


class _Tally:
    """What is known of one step beside its visits. `last`: the last visit with a settled result."""

    __slots__ = ("broken", "executed", "failed", "has_results", "last", "skipped")

    def __init__(self) -> None:
        self.executed = self.skipped = self.failed = self.broken = self.last = 0
        self.has_results = False


def _by_result(results: Mapping[str, str]) -> dict[str, _Tally]:
    tallies: dict[str, _Tally] = {}
    for name, state in results.items():
        if state not in _STRENGTH:
            continue
        tally = _tally(tallies, name)
        tally.has_results = True
        if state not in _SETTLED:
            continue
        visit = name.rpartition("-")[2]
        tally.last = max(tally.last, int(visit) if visit.isdecimal() and len(visit) < 10 else 0)
        if state == "skipped":
            tally.skipped += 1
        elif state == "failed":
            tally.failed += 1
        else:
            tally.executed += 1
    return tallies


def _tally(tallies: dict[str, _Tally], name: str) -> _Tally:
    step = name.rpartition("-")[0]
    tally = tallies.get(step)
    if tally is None:
        tally = tallies[step] = _Tally()
    return tally


def _merged(one: dict[str, V], other: Mapping[str, V], better: Callable[[V, V], V]) -> dict[str, V]:
    merged = one
    for name, value in other.items():
        known = one.get(name)
        if known == value:
            continue
        chosen = value if known is None else better(known, value)
        if chosen != known:
            if merged is one:
                merged = dict(one)
            merged[name] = chosen
    return merged


def _united(one: list[K], other: list[K]) -> list[K]:
    return sorted(set(one).union(other)) if other and not set(one).issuperset(other) else one


def _newer(one: Fact, other: Fact) -> Fact:
    if one.transition != other.transition:
        return one if one.transition > other.transition else other
    return max(one, other, key=_newness)


def _newness(fact: Fact) -> tuple[int, bool, str, str]:
    return fact.transition, fact.status in ENDED, fact.status, fact.waiting_step


def _earlier(one: Arm, other: Arm) -> Arm:
    """Two reports of one routing differ in the conversion alone; were they to in more, the order must not matter."""
    moments = [at for at in (one.converted_at, other.converted_at) if at is not None]
    routing = min(_routing(one), _routing(other), key=msgspec.json.encode)
    return msgspec.structs.replace(routing, converted_at=min(moments, default=None))


def _routing(arm: Arm) -> Arm:
    return arm if arm.converted_at is None else msgspec.structs.replace(arm, converted_at=None)


def _stronger(one: str, other: str) -> str:
    return max(one, other, key=lambda state: (_STRENGTH.get(state, -1), state))
