"""Counts a journey anew, from facts and from executions, and says where what is stored disagrees.

Law: nothing is mended here. Stored counts must equal the sums of the facts, and the facts of the executions that are
still there must count as those executions do. What is under way while it counts is given time to settle, twice.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.analytics.day_sums import DaySums, total
from services.analytics.facts import Fact, counts_of
from services.analytics.follower import Follower
from services.analytics.repositories import Counters, Day, Days, Facts
from services.analytics.tallies import PersonByPerson, cohort_of
from services.infra.documents.port import Documents

PAGE = 500
SETTLE_SECONDS = 5.0
ATTEMPTS = 3
ACKNOWLEDGED_SECONDS = 1.2  # longer than the runtime waits until it writes down what happened
MOST_DIFFERENCES = 100

ReadExecutions = Callable[[str, str], AsyncIterator[Sequence[Fact]]]  # of a journey, page by page, as facts
Sums = dict[str, int]


@dataclass(frozen=True, slots=True)
class Difference:
    """One count that is stored otherwise than it is when counted anew from `source` (facts or executions)."""

    source: str
    what: str
    stored: int
    counted: int


@dataclass(frozen=True, slots=True)
class Recounted:
    """What was counted. `without_execution`: facts whose execution is gone. `counts`: how many numbers agree or not."""

    facts: int
    executions: int
    without_execution: int
    counts: int
    differences: tuple[Difference, ...]


class RecountStats:
    """Proves the counts of one journey. Raises Unavailable where the runtime cannot be asked."""

    def __init__(
        self,
        documents: Documents,
        executions: Follower,
        partitions: int,
        read: ReadExecutions,
    ) -> None:
        self._facts, self._counters, self._days = Facts(documents), Counters(documents), Days(documents)
        self._executions = executions
        self._partitions = partitions
        self._read = read

    async def __call__(self, workspace: str, journey_id: str) -> Recounted:
        attempts = 0
        while True:
            await self._executions.drain(SETTLE_SECONDS)
            found = await self._recount(workspace, journey_id)
            attempts += 1
            if not found.differences or attempts == ATTEMPTS:
                return found
            await asyncio.sleep(ACKNOWLEDGED_SECONDS)

    async def _recount(self, workspace: str, journey_id: str) -> Recounted:
        facts = [fact async for page in self._all_facts(workspace, journey_id) for fact in page]
        stored = await self._stored(workspace, journey_id)
        counted = counted_anew(facts)
        differences = list(_differing("facts", stored, counted))
        told = await self._told(workspace, journey_id)
        by_key = {fact.key: fact for fact in facts}
        gone = [fact for fact in facts if fact.key not in told and cohort_of(fact) is not None]
        refused = [fact for fact in facts if cohort_of(fact) is None]
        again = counted_anew([*(_known_as(fact, by_key.get(fact.key)) for fact in told.values()), *gone, *refused])
        differences += _differing("executions", stored, again)
        return Recounted(
            facts=len(facts),
            executions=len(told),
            without_execution=len(gone),
            counts=len(stored.keys() | counted.keys() | again.keys()),
            differences=tuple(differences[:MOST_DIFFERENCES]),
        )

    async def _all_facts(self, workspace: str, journey_id: str) -> AsyncIterator[list[Fact]]:
        for partition in range(self._partitions):
            after: str | None = None
            while True:
                page = await self._facts.of_journey(partition, journey_id, after, PAGE)
                yield [fact for fact in page.items if fact.workspace == workspace]
                if (after := page.cursor) is None:
                    break

    async def _stored(self, workspace: str, journey_id: str) -> Sums:
        sums: Sums = {}
        for counter in await self._counters.of_journey(workspace, journey_id, self._partitions):
            _add_steps(sums, counter.steps)
        _add_days(sums, await self._days.of_journey(workspace, journey_id))
        return _without_zeros(sums)

    async def _told(self, workspace: str, journey_id: str) -> dict[str, Fact]:
        return {fact.key: fact async for page in self._read(workspace, journey_id) for fact in page}


def counted_anew(facts: Sequence[Fact]) -> Sums:
    """Every count of a journey from its facts alone: steps, arms, cohorts, persons; days in one sum each."""
    sums: Sums = {}
    days: dict[int, DaySums] = {}
    for fact in facts:
        _add_steps(sums, {step: list(counts) for step, counts in counts_of(fact).items()})
        days.setdefault(fact.partition, DaySums(fact.partition)).move(None, fact)
    for fact in _firsts(facts):
        days[fact.partition].move_first(None, fact)
    for partition in days.values():
        _add_days(sums, partition.all())
    return _without_zeros(sums)


def _firsts(facts: Iterable[Fact]) -> Iterable[Fact]:
    ordered = sorted(facts, key=lambda fact: (fact.partition, fact.subject_key, fact.started_at, fact.key))
    return PersonByPerson().firsts(ordered)


def _add_steps(sums: Sums, steps: Mapping[str, Sequence[int]]) -> None:
    for step, counts in steps.items():
        for name, count in zip(("executed", "skipped", "failed", "waiting"), counts, strict=True):
            key = f"steps/{step}/{name}"
            sums[key] = sums.get(key, 0) + count


def _add_days(sums: Sums, days: Iterable[Day]) -> None:
    for day in days:
        for section, groups in (("arms", day.arms), ("starts", day.starts)):
            for group, buckets in groups.items():
                name = f"{section}/{day.day}/{group}"
                for member, count in zip(("n", "s"), total(buckets.values()), strict=True):
                    sums[f"{name}/{member}"] = sums.get(f"{name}/{member}", 0) + count
        for group, persons in day.firsts.items():
            name = f"firsts/{day.day}/{group}"
            for member, count in zip(("exposed", "holdout"), persons, strict=True):
                sums[f"{name}/{member}"] = sums.get(f"{name}/{member}", 0) + count


def _without_zeros(sums: Sums) -> Sums:
    return {name: count for name, count in sums.items() if count}


def _differing(source: str, stored: Sums, counted: Sums) -> Iterable[Difference]:
    for name in sorted(stored.keys() | counted.keys()):
        if stored.get(name, 0) != counted.get(name, 0):
            yield Difference(source, name, stored.get(name, 0), counted.get(name, 0))


def _known_as(told: Fact, fact: Fact | None) -> Fact:
    """What an execution says, in the partition of its fact. Only history knows of failures that were repeated."""
    if fact is not None:
        told.partition, told.failures = fact.partition, fact.failures
    return told
