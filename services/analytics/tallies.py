"""What one fact adds to the counts of arms and cohorts: by quarter of an hour, summed by day.

Law: `shares_of` depends on a fact alone and never on the time it is asked, so every sum can be recounted; whether a
bucket has matured follows from its place and its window, so no fact is touched when a window closes. Who came first
of one person's facts is the one thing that several facts decide: `first_of`.

    bucket     a quarter of an hour, counted since 1970; it has matured when its end + window < now
    arm group  step, arm, version, goal event, window, since when that goal, epoch
    epoch      the allocation an arm was drawn by, or `v<version>` where shares were equal
    since      of a fact that started before its goal was set: -1, which no report counts

Source: statistics design 3.1, 4.4 and 5.1.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from services.analytics.facts import Fact, Goal
from services.domain.times import DAY_MS

QUARTER_MS = 900_000
QUARTERS = DAY_MS // QUARTER_MS
ARMS, STARTS = "arms", "starts"
EXPOSED, HOLDOUT = "exposed", "holdout"


class ArmGroup(NamedTuple):
    """What subjects of one arm have to agree in to be counted together."""

    step_id: str
    arm_id: str
    version: int
    goal_event: str
    window_ms: int
    since: int
    epoch: str

    @property
    def name(self) -> str:
        """The group as a text, as it is stored."""
        return _named(self)

    @classmethod
    def named(cls, name: str) -> "ArmGroup":
        """The group of a stored text."""
        return cls(*msgspec.json.decode(name))


class StartGroup(NamedTuple):
    """What starts have to agree in to be counted together."""

    cohort: str
    goal_event: str
    window_ms: int
    since: int

    @property
    def name(self) -> str:
        """The group as a text, as it is stored."""
        return _named(self)

    @classmethod
    def named(cls, name: str) -> "StartGroup":
        """The group of a stored text."""
        return cls(*msgspec.json.decode(name))


class FirstGroup(NamedTuple):
    """What persons have to agree in to be counted together: the goal's beginning and the configured share."""

    since: int
    share: float

    @property
    def name(self) -> str:
        """The group as a text, as it is stored."""
        return _named(self)

    @classmethod
    def named(cls, name: str) -> "FirstGroup":
        """The group of a stored text."""
        return cls(*msgspec.json.decode(name))


class Share(NamedTuple):
    """One subject in one bucket of one group; `converted` 0 or 1."""

    section: str
    group: str
    bucket: int
    converted: int


def cohort_of(fact: Fact) -> str | None:
    """exposed, holdout, or None for whoever was not let in."""
    if fact.status == "REFUSED":
        return None
    return HOLDOUT if fact.status == "HOLDOUT" else EXPOSED


def shares_of(fact: Fact) -> list[Share]:
    """Where a fact counts. A fact without goal and adaptive arms counts nowhere."""
    shares: list[Share] = []
    cohort, goal = cohort_of(fact), fact.goal
    if cohort is None:
        return shares
    if goal is not None:
        group = StartGroup(cohort, goal.event_name, goal.window_ms, since_of(fact, goal))
        shares.append(Share(STARTS, group.name, fact.started_at // QUARTER_MS, int(bool(fact.goals))))
    for step_id, arm in fact.arms.items():
        if arm.goal is None:
            continue
        name = ArmGroup(
            step_id,
            arm.arm_id,
            fact.version,
            arm.goal.event_name,
            arm.goal.window_ms,
            since_of(fact, arm.goal),
            arm.snapshot_id or f"v{fact.version}",
        ).name
        shares.append(Share(ARMS, name, arm.routed_at // QUARTER_MS, int(arm.converted_at is not None)))
    return shares


def since_of(fact: Fact, goal: Goal) -> int:
    """Since when the goal has held under which the fact counts; -1 where the fact is older than that."""
    return goal.since if fact.started_at >= goal.since else -1


def person_of(fact: Fact) -> tuple[str, str, str, int] | None:
    """Workspace, journey, person and goal's beginning, among whose facts the first counts; None: it does not count."""
    if fact.goal is None or cohort_of(fact) is None or (since := since_of(fact, fact.goal)) < 0:
        return None
    return fact.workspace, fact.journey_id, fact.subject_key, since


def first_of(facts: Iterable[Fact]) -> Fact | None:
    """The first of one person's facts, by when it started."""
    return min(facts, key=lambda fact: (fact.started_at, fact.key), default=None)


def first_group_of(fact: Fact) -> str:
    """Under which share a person was on their side for the first time."""
    assert fact.goal is not None
    return FirstGroup(since_of(fact, fact.goal), fact.holdout_share).name


def day_of(bucket: int) -> int:
    """The UTC day of a bucket, counted since 1970."""
    return bucket // QUARTERS


def last_bucket_of(day: int) -> int:
    """The bucket into which a day that has matured is summed."""
    return day * QUARTERS + QUARTERS - 1


def matures_at(bucket: int, window_ms: int) -> int:
    """The first moment (ms) at which every subject of a bucket has matured."""
    return (bucket + 1) * QUARTER_MS + window_ms + 1


class PersonByPerson:
    """Finds everybody's first among facts that come person by person, each from old to new, in any portions."""

    def __init__(self) -> None:
        self._place: tuple[str, str] | None = None
        self._seen: set[tuple[str, str, str, int]] = set()

    def firsts(self, facts: Iterable[Fact]) -> Iterator[Fact]:
        """Those of the next facts that are the first of their person."""
        for fact in facts:
            place = fact.journey_id, fact.subject_key
            if place != self._place:
                self._place, self._seen = place, set()
            person = person_of(fact)
            if person is not None and person not in self._seen:
                self._seen.add(person)
                yield fact


def _named(group: tuple[Any, ...]) -> str:
    # As JSON: the name of an event may hold any character that one would part the members by.
    return msgspec.json.encode(group).decode()
