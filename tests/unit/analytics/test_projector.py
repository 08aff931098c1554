"""The projector: one write a batch, counters that equal a recount, nothing lost or doubled by a crash."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journeys.events.v1.execution_record_pb2 import ExecutionRecord
from msgspec.structs import replace

from services.analytics.convert import observed_from_record
from services.analytics.facts import Fact, counts_of
from services.analytics.projector import Projector
from services.analytics.repositories import COLLECTIONS, COUNTERS, FACTS, ROWS, Counter, Unsettled
from services.infra.documents.port import Insert, NewerDocument, Outcome, Replace, StoreUnavailable, Write
from services.infra.log.port import Stored
from tests.support.memory import MemoryDocuments
from tests.unit.analytics.reports import PARTITIONS, entry, report, stored


class Watched(MemoryDocuments):
    """Remembers each write_many, and can die in the middle of one."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[Write]] = []
        self.die_after: int | None = None  # so many writes of the next batch are applied
        self.meanwhile: Callable[[], Awaitable[None]] | None = None  # done once, before the next batch

    async def write_many(self, writes: Sequence[Write]) -> list[Outcome]:
        if (meanwhile := self.meanwhile) is not None:
            self.meanwhile = None
            await meanwhile()
        self.batches.append(list(writes))
        if self.die_after is not None:
            await super().write_many(writes[: self.die_after])
            raise StoreUnavailable("killed")
        return await super().write_many(writes)


async def opened() -> Watched:
    documents = Watched()
    await documents.open(COLLECTIONS)
    return documents


async def started(documents: MemoryDocuments) -> Projector:
    """A projector that owns every partition and has counted it."""
    projector = Projector(documents, observed_from_record)
    projector.own(range(PARTITIONS))
    while await projector.catch_up():
        pass
    return projector


async def counted(documents: MemoryDocuments) -> dict[str, dict[str, list[int]]]:
    """Every counter document that says something."""
    page = await documents.scan(COUNTERS, "", limit=500)
    return {counter.key: counter.steps for counter in page.items if counter.steps}


async def recounted(documents: MemoryDocuments) -> dict[str, dict[str, list[int]]]:
    """The same from the facts alone."""
    sums: dict[str, dict[str, list[int]]] = {}
    for fact in (await documents.scan(FACTS, "", limit=5000)).items:
        steps = sums.setdefault(f"{fact.workspace}:{fact.journey_id}:{fact.partition}", {})
        for step, counts in counts_of(fact).items():
            held = steps.setdefault(step, [0, 0, 0, 0])
            steps[step] = [a + b for a, b in zip(held, counts, strict=True)]
    steady = {key: {step: sums for step, sums in steps.items() if any(sums)} for key, steps in sums.items()}
    return {key: steps for key, steps in steady.items() if steps}


def first(user: str = "usr_a", **more: Any) -> ExecutionRecord:
    return report(f"k-{user}", user=user, visits={"trigger": 1, "wait": 1}, waiting="wait", **more)


def second(user: str = "usr_a", **more: Any) -> ExecutionRecord:
    visits = {"trigger": 1, "wait": 1, "exit": 1}
    return report(f"k-{user}", user=user, status="SUCCEEDED", transition=2, visits=visits, **more)


class TestTake:
    """take(records): a batch becomes facts, rows and counters."""

    async def test_a_batch_is_one_write(self) -> None:
        """Facts, rows of the timeline and counters travel together, counters last."""
        documents = await opened()
        projector = await started(documents)

        await projector.take([stored(first(u, entries=[entry(f"{u}:1:0")])) for u in ("usr_a", "usr_b")])

        (batch,) = documents.batches
        names = [write.collection.name for write in batch]
        assert [FACTS.name] * 2 + [ROWS.name] * 2 == names[:4]
        assert {COUNTERS.name} == set(names[4:])

    async def test_a_fact_of_a_newer_version_stops_its_batch_before_anything_is_written(self) -> None:
        """The partition waits for the update, which counts everything; nothing is counted twice or lost until then."""
        documents = await opened()
        projector = await started(documents)
        await projector.take([stored(first())])
        newer_facts = dataclasses.replace(FACTS, schema=2)
        (fact,) = (await documents.scan(FACTS, "", limit=5)).items
        await documents.replace(newer_facts, replace(fact, revision=fact.revision + 1))
        documents.batches.clear()

        with pytest.raises(NewerDocument):
            await projector.take([stored(second()), stored(first("usr_b"))])

        assert [] == documents.batches
        assert fact.status == (await documents.get_many(newer_facts, [fact.key]))[fact.key].status

    async def test_only_counters_whose_sums_changed_are_written(self) -> None:
        """A report that moves nobody writes its fact alone."""
        documents = await opened()
        projector = await started(documents)
        await projector.take([stored(first()), stored(first("usr_b", journey="other"))])
        documents.batches.clear()

        await projector.take([stored(first(transition=2, goals=[7]))])

        assert [FACTS.name] == [write.collection.name for write in documents.batches[0]]

    async def test_a_batch_that_tells_nothing_new_writes_nothing(self) -> None:
        """Replay is harmless, and cheap."""
        documents = await opened()
        projector = await started(documents)
        batch = [stored(first()), stored(second())]
        await projector.take(batch)
        documents.batches.clear()

        await projector.take(batch)

        assert [] == documents.batches

    async def test_a_second_report_moves_the_person(self) -> None:
        """What the first one added is taken back."""
        documents = await opened()
        projector = await started(documents)

        await projector.take([stored(first())])
        before = await counted(documents)
        await projector.take([stored(second())])

        (key,) = before
        assert {"trigger": [1, 0, 0, 0], "wait": [0, 0, 0, 1]} == before[key]
        assert {"trigger": [1, 0, 0, 0], "wait": [1, 0, 0, 0], "exit": [1, 0, 0, 0]} == (await counted(documents))[key]

    async def test_an_entry_said_twice_is_one_row(self) -> None:
        """In one batch, in two, grouped differently: the id decides."""
        documents = await opened()
        projector = await started(documents)

        await projector.take(
            [stored(first(entries=[entry("e:1:0"), entry("e:1:1")])), stored(first(entries=[entry("e:1:1")]))]
        )
        await projector.take([stored(second(entries=[entry("e:1:1"), entry("e:2:0")]), offset=9)])

        rows = (await documents.scan(ROWS, "")).items
        assert ["e:1:0", "e:1:1", "e:2:0"] == [row.entry_id for row in rows]

    async def test_an_unreadable_record_does_not_hurt_its_neighbours(self) -> None:
        """It is logged and left out."""
        documents = await opened()
        projector = await started(documents)
        good = stored(first())
        bad = Stored(good.topic, good.partition, 1, "k", b"\xff\xff", (), 0)

        await projector.take([bad, good, stored(report(""))])

        assert ["k-usr_a"] == [fact.key for fact in (await documents.scan(FACTS, "")).items]

    async def test_a_partition_that_is_not_counted_yet_gets_facts_and_is_counted_later(self) -> None:
        """Counting a large partition does not hold up the log."""
        documents = await opened()
        projector = Projector(documents, observed_from_record)
        projector.own(range(PARTITIONS))

        await projector.take([stored(first())])
        early = await counted(documents)
        while await projector.catch_up():
            pass

        assert {} == early
        assert await recounted(documents) == await counted(documents) != {}


class TestCrash:
    """Counters equal a recount, wherever it died."""

    @pytest.mark.parametrize("applied", range(5))
    async def test_a_crash_between_facts_and_counters_is_mended_by_the_next_start(self, applied: int) -> None:
        """Four writes (two facts, two counters): each prefix is what a killed process may leave."""
        documents = await opened()
        projector = await started(documents)
        await projector.take([stored(first("usr_a"))])
        batch = [stored(second("usr_a")), stored(first("usr_b"))]
        documents.die_after = applied
        with pytest.raises(StoreUnavailable):
            await projector.take(batch)
        documents.die_after = None

        successor = await started(documents)
        between = await recounted(documents) == await counted(documents)
        await successor.take(batch)

        assert between
        assert await recounted(documents) == await counted(documents)
        assert [2, 0, 0, 0] == [
            sum(c) for c in zip(*[s["trigger"] for s in (await counted(documents)).values()], strict=True)
        ]

    @pytest.mark.parametrize("applied", range(5))
    async def test_a_write_that_failed_half_way_is_repeated_by_the_same_projector(self, applied: int) -> None:
        """It forgets its sums, projects again and counts anew."""
        documents = await opened()
        projector = await started(documents)
        await projector.take([stored(first("usr_a"))])
        batch = [stored(second("usr_a")), stored(first("usr_b"))]
        documents.die_after = applied
        with pytest.raises(StoreUnavailable):
            await projector.take(batch)
        documents.die_after = None

        behind = projector.is_behind()
        await projector.take(batch)
        while await projector.catch_up():
            pass

        assert behind
        assert await recounted(documents) == await counted(documents)

    async def test_counters_ahead_of_their_facts_are_mended_too(self) -> None:
        """An unordered bulk may have written the counter alone."""
        documents = await opened()
        projector = await started(documents)
        await projector.take([stored(first())])
        (counter,) = (await documents.scan(COUNTERS, "")).items
        counter.revision += 1
        counter.steps = {"trigger": [7, 0, 0, 0], "ghost": [1, 0, 0, 0]}
        await documents.replace(COUNTERS, counter)

        await started(documents)

        assert await recounted(documents) == await counted(documents)

    async def test_a_counter_without_facts_is_emptied(self) -> None:
        """Written by a process that died before its facts were."""
        documents = await opened()
        lost = Counter(
            key="pk_demo:act:3",
            revision=1,
            workspace="pk_demo",
            journey_id="act",
            partition=3,
            steps={"a": [1, 0, 0, 0]},
        )
        await documents.insert(COUNTERS, lost)

        await started(documents)

        assert {} == await counted(documents)

    async def test_nothing_is_written_when_the_sums_agree(self) -> None:
        """An ordinary start."""
        documents = await opened()
        projector = await started(documents)
        await projector.take([stored(first()), stored(first("usr_b"))])
        writes = documents.writes

        await started(documents)

        assert writes == documents.writes

    async def test_of_two_projectors_the_one_that_is_refused_counts_again(self) -> None:
        """A zombie wrote facts and a counter: the owner's next write meets them, and nothing drifts."""
        documents = await opened()
        owner, zombie = await started(documents), await started(documents)
        await zombie.take([stored(first("usr_a"))])

        with pytest.raises(Unsettled):
            await owner.take(
                [stored(first("usr_a", transition=2, goals=[3]), 1), *[stored(first(f"usr_{i}"), 2) for i in range(40)]]
            )
        await owner.take([stored(first("usr_a")), *[stored(first(f"usr_{i}"), 2) for i in range(40)]])
        while await owner.catch_up():
            pass

        assert await recounted(documents) == await counted(documents)

    async def test_a_fact_that_somebody_else_changed_meanwhile_is_joined_again(self) -> None:
        """Between our read and our write another report was joined: the batch is projected once more."""
        documents = await opened()
        projector = await started(documents)
        await projector.take([stored(first())])
        other = await started(documents)
        documents.meanwhile = lambda: other.take([stored(first(transition=2, goals=[5]))])

        with pytest.raises(Unsettled):
            await projector.take([stored(second())])
        await projector.take([stored(second())])
        while await projector.catch_up():
            pass

        (fact,) = (await documents.scan(FACTS, "")).items
        assert ("SUCCEEDED", [5]) == (fact.status, fact.goals)
        assert await recounted(documents) == await counted(documents)


USERS = st.sampled_from(["usr_a", "usr_b", "usr_c", "usr_d"])
MOMENTS = st.tuples(USERS, st.integers(0, 3))


def told(user: str, moment: int) -> ExecutionRecord:
    """What is reported of a person at one of four moments of the same walk."""
    visits = {"trigger": 1, "s": 1, "wait": 1} | ({"exit": 1} if moment == 3 else {})
    results = {"s-1": "pending" if moment == 0 else "sent"}
    status = "SUCCEEDED" if moment == 3 else "RUNNING"
    waiting = "" if moment == 3 else "wait"
    entries = [entry(f"{user}:{n}:0") for n in range(moment + 1)]
    return report(
        user,
        user=user,
        status=status,
        transition=moment + 1,
        visits=visits,
        results=results,
        waiting=waiting,
        entries=entries,
    )


BATCHES = st.lists(st.tuples(st.booleans(), st.lists(MOMENTS, min_size=1, max_size=6)), max_size=6)


@settings(deadline=None, max_examples=60)
@given(BATCHES, st.data())
def test_whatever_comes_in_whatever_order_counters_equal_a_recount(
    batches: list[tuple[bool, list[tuple[str, int]]]], data: st.DataObject
) -> None:
    """Random order, repeats, gaps, and crashes at any write, after which a successor takes over."""

    async def facts_of(documents: MemoryDocuments) -> dict[str, Fact]:
        facts = (await documents.scan(FACTS, "", limit=500)).items
        return {fact.key: replace(fact, revision=0) for fact in facts if fact.key.startswith("usr_")}

    async def scene() -> None:
        documents = await opened()
        projector = await started(documents)
        for crashes, batch in batches:
            records = [stored(told(*moment), i) for i, moment in enumerate(batch)]
            if crashes:
                documents.die_after = data.draw(st.integers(0, 8))
                novelty = stored(report(f"new-{len(documents.batches)}", visits={"trigger": 1}))
                with pytest.raises(StoreUnavailable):
                    await projector.take([*records, novelty])
                documents.die_after = None
                projector = await started(documents)
            await projector.take(records)
            assert await recounted(documents) == await counted(documents)
        straight = await opened()
        await (await started(straight)).take([stored(told(*moment)) for _, batch in batches for moment in batch])
        assert await facts_of(straight) == await facts_of(documents)

    asyncio.run(scene())


async def test_a_large_partition_is_counted_page_by_page() -> None:
    """More facts than a page holds, in one partition."""
    documents = await opened()
    projector = await started(documents)
    for start in range(0, 2500, 500):
        await projector.take([stored(report(f"k{i}", visits={"trigger": 1})) for i in range(start, start + 500)])
    (counter,) = (await documents.scan(COUNTERS, "")).items
    counter.steps, counter.revision = {}, counter.revision + 1
    await documents.replace(COUNTERS, counter)

    await started(documents)

    assert [{"trigger": [2500, 0, 0, 0]}] == list((await counted(documents)).values())


def test_writes_carry_a_revision_one_above() -> None:
    """What is new is inserted, what was read is replaced."""

    async def scene() -> list[type]:
        documents = await opened()
        projector = await started(documents)
        await projector.take([stored(first())])
        await projector.take([stored(second())])
        return [type(write) for batch in documents.batches for write in batch]

    assert [Insert, Insert, Replace, Replace] == asyncio.run(scene())
