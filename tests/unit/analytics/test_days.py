"""Counts by day: sums of facts whatever came first, twice, or in the middle of a crash."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journeys.events.v1.execution_record_pb2 import ExecutionRecord

from services.analytics.convert import observed_from_record
from services.analytics.counts import Counts, GroupCounts
from services.analytics.day_sums import DaySums, has_matured
from services.analytics.facts import join
from services.analytics.projector import MOST_OF_A_PERSON, Projector
from services.analytics.recount import counted_anew
from services.analytics.repositories import DAYS, FACTS, Day
from services.analytics.tallies import QUARTERS, ArmGroup, FirstGroup, StartGroup, day_of, matures_at, shares_of
from services.domain.times import DAY_MS
from services.infra.documents.port import StoreUnavailable, Write
from tests.support.memory import MemoryDocuments
from tests.unit.analytics.learning import GOAL, WINDOW_MS, fact_of, opened, projecting, routed
from tests.unit.analytics.reports import PARTITIONS, T0, stored

QUARTER = 900_000


async def days_of(documents: MemoryDocuments) -> list[Day]:
    return (await documents.scan(DAYS, "", limit=5000)).items


async def counted(documents: MemoryDocuments) -> dict[str, int]:
    """What is stored, summed as a recount sums it."""
    sums: dict[str, int] = {}
    for day in await days_of(documents):
        for section, groups in (("arms", day.arms), ("starts", day.starts)):
            for group, buckets in groups.items():
                name = f"{section}/{day.day}/{group}"
                for n, s in buckets.values():
                    sums[f"{name}/n"] = sums.get(f"{name}/n", 0) + n
                    sums[f"{name}/s"] = sums.get(f"{name}/s", 0) + s
        for group, persons in day.firsts.items():
            name = f"firsts/{day.day}/{group}"
            for member, count in zip(("exposed", "holdout"), persons, strict=True):
                sums[f"{name}/{member}"] = sums.get(f"{name}/{member}", 0) + count
    return {name: count for name, count in sums.items() if count}


async def anew(documents: MemoryDocuments) -> dict[str, int]:
    """The same from the facts alone."""
    facts = (await documents.scan(FACTS, "", limit=5000)).items
    return {name: count for name, count in counted_anew(facts).items() if not name.startswith("steps/")}


async def take(projector: Projector, *messages: ExecutionRecord) -> None:
    await projector.take([stored(message) for message in messages])


class TestShares:
    """shares_of(fact): where one fact counts."""

    def test_an_arm_and_a_start(self) -> None:
        """Each in the bucket of its own moment, with the goal it was begun under."""
        shares = shares_of(fact_of(routed("u", "a", at=T0, bought_at=T0 + 5)))

        arm = ArmGroup("pick", "a", 1, "bought", WINDOW_MS, 1, "v1")
        assert [
            ("starts", StartGroup("exposed", "bought", WINDOW_MS, 1).name, T0 // QUARTER, 1),
            ("arms", arm.name, T0 // QUARTER, 1),
        ] == [tuple(share) for share in shares]
        assert arm == ArmGroup.named(arm.name)

    @given(st.text(), st.text(), st.floats(0, 1))
    def test_a_group_reads_back(self, event: str, epoch: str, share: float) -> None:
        """Whatever an event is called."""
        groups = ArmGroup("s", "a", 3, event, 5, -1, epoch), StartGroup("exposed", event, 5, 1), FirstGroup(1, share)

        assert groups == tuple(type(group).named(group.name) for group in groups)

    def test_an_allocation_is_an_epoch_of_its_own(self) -> None:
        """Subjects are counted with those who were drawn by the same shares."""
        share = shares_of(fact_of(routed("u", "a", snapshot="act:pick:1")))[1]

        assert "act:pick:1" == ArmGroup.named(share.group).epoch

    @pytest.mark.parametrize(
        "message",
        [routed("u", status="REFUSED"), routed("u", None, goal=None), routed("u", "a", goal=None)],
    )
    def test_whoever_was_not_let_in_or_has_no_goal_counts_nowhere(self, message: ExecutionRecord) -> None:
        """Neither an arm without a goal (a random one) nor a start without one."""
        assert [] == shares_of(fact_of(message))

    def test_who_started_before_the_goal_was_set_is_counted_apart(self) -> None:
        """No report shows them."""
        goal = type(GOAL)()
        goal.CopyFrom(GOAL)
        goal.since_ms = T0 + 1

        share = shares_of(fact_of(routed("u", None, goal=goal)))[0]

        assert -1 == StartGroup.named(share.group).since

    def test_a_bucket_matures_when_its_last_subject_has(self) -> None:
        """Its end plus the window lies before now."""
        bucket = T0 // QUARTER
        end = (bucket + 1) * QUARTER

        assert end + WINDOW_MS + 1 == matures_at(bucket, WINDOW_MS)
        held = GroupCounts("any", day_of(bucket), {bucket: [1, 1]}, 1, 1)
        assert (1, 1, 0, 0) == held.at(WINDOW_MS, end + WINDOW_MS)
        assert (1, 1, 1, 1) == held.at(WINDOW_MS, end + WINDOW_MS + 1)

    @given(st.dictionaries(st.integers(0, 95), st.integers(1, 9)), st.integers(-2 * DAY_MS, 4 * DAY_MS))
    def test_a_day_matures_bucket_by_bucket(self, counts: dict[int, int], later: int) -> None:
        """Short cuts for whole days say what every bucket says for itself."""
        day, now = day_of(T0 // QUARTER), T0 + later
        buckets = {day * QUARTERS + place: [n, n // 2] for place, n in counts.items()}
        held = GroupCounts("any", day, buckets, sum(counts.values()), sum(n // 2 for n in counts.values()))
        open_at = [at for bucket in buckets if (at := matures_at(bucket, WINDOW_MS)) > now]

        assert sum(n for b, (n, _) in buckets.items() if matures_at(b, WINDOW_MS) <= now) == held.at(WINDOW_MS, now)[2]
        assert min(open_at, default=None) == held.next_maturity(WINDOW_MS, now, None)
        assert min([*open_at, now + 5]) == held.next_maturity(WINDOW_MS, now, now + 5)


class TestFirsts:
    """Persons are counted once, by their first start since the goal was set."""

    async def test_a_person_counts_once(self) -> None:
        """Under the share and on the day of the first."""
        documents = await opened()
        projector = await projecting(documents)

        await take(projector, routed("e1", person="u", at=T0, share=0.1))
        await take(projector, routed("e2", person="u", at=T0 + 3 * DAY_MS, share=0.2))

        firsts = {(day.day, group): held for day in await days_of(documents) for group, held in day.firsts.items()}
        assert {(T0 // DAY_MS, FirstGroup(1, 0.1).name): [1, 0]} == firsts

    async def test_an_earlier_start_that_comes_late_takes_its_place(self) -> None:
        """In another batch, or in the same."""
        documents = await opened()
        projector = await projecting(documents)
        await take(projector, routed("e2", person="u", at=T0 + DAY_MS, status="HOLDOUT", share=0.2))

        await take(projector, routed("e3", person="u", at=T0 + 5), routed("e1", person="u", at=T0))

        firsts = {group: held for day in await days_of(documents) for group, held in day.firsts.items()}
        assert {FirstGroup(1, 0.1).name: [1, 0]} == firsts

    async def test_somebody_who_was_often_turned_away_first(self) -> None:
        """However many refused starts lie before."""
        documents = await opened()
        projector = await projecting(documents)
        refused = [routed(f"r{i}", person="u", at=T0 + i, status="REFUSED") for i in range(2 * MOST_OF_A_PERSON)]
        await take(projector, *refused)

        for i in range(3):
            await take(projector, routed(f"e{i}", person="u", at=T0 + DAY_MS + i))

        assert await anew(documents) == await counted(documents)
        assert [[1, 0]] == [held for day in await days_of(documents) for held in day.firsts.values()]


MESSAGES = st.lists(
    st.builds(
        lambda name, arm, person, hours, bought, status, snapshot, transition: routed(
            f"{name}",
            arm,
            # What a start is does not change: only time goes on.
            person=f"u{name % 4 if person else name}",
            at=T0 + (name % 5) * 7 * 3_600_000,
            bought_at=T0 + (name % 5) * 7 * 3_600_000 + hours if bought else None,
            status=("SUCCEEDED", "HOLDOUT", "REFUSED")[0 if name % 7 else status],
            snapshot=snapshot if name % 2 else "",
            transition=transition,
        ),
        st.integers(0, 30),
        st.just("a"),
        st.just(True),
        st.integers(0, 1000),
        st.booleans(),
        st.just(1),
        st.just("act:pick:1"),
        st.integers(1, 4),
    ),
    min_size=1,
    max_size=40,
)


class TestSums:
    """What is stored equals a recount."""

    @settings(max_examples=40, deadline=None)
    @given(MESSAGES, st.integers(1, 10), st.randoms(use_true_random=False))
    async def test_in_any_order_and_any_batches(self, messages: list[ExecutionRecord], size: int, luck: object) -> None:
        """And said twice."""
        told = [*messages, *messages]
        luck.shuffle(told)  # type: ignore[attr-defined]  # a random.Random
        documents = await opened()
        projector = await projecting(documents)

        for at in range(0, len(told), size):
            await take(projector, *told[at : at + size])

        assert await anew(documents) == await counted(documents)

    @settings(max_examples=30, deadline=None)
    @given(MESSAGES, st.integers(0, 60))
    async def test_after_a_crash_anywhere(self, messages: list[ExecutionRecord], die_after: int) -> None:
        """So many writes came through; the next process reads the same batches again."""
        documents = await opened()
        projector = await projecting(documents)
        left = [die_after]

        def die(write: Write) -> None:
            if left[0] == 0:
                raise StoreUnavailable("killed")
            left[0] -= 1

        documents.fault = die
        half = len(messages) // 2
        for batch in (messages[:half], messages[half:]):
            try:
                await take(projector, *batch)
            except Exception:
                break
        documents.fault = None

        successor = await projecting(documents)
        await take(successor, *messages[:half])
        await take(successor, *messages[half:])

        assert await anew(documents) == await counted(documents)

    async def test_a_day_that_has_matured_is_one_bucket(self) -> None:
        """Which changes nothing that is read, and takes late conversions all the same."""
        documents = await opened()
        await take(await projecting(documents), *[routed(f"u{i}", at=T0 + i * QUARTER) for i in range(3)])
        before = await counted(documents)

        projector = await projecting(documents, now=T0 + 30 * DAY_MS)
        summed = await days_of(documents)
        assert all(day.is_summed for day in summed)
        assert {1} == {len(buckets) for day in summed for buckets in day.arms.values()}
        assert before == await counted(documents)

        await take(projector, routed("u1", at=T0 + QUARTER, bought_at=T0 + QUARTER + 1, transition=2))
        assert await anew(documents) == await counted(documents)

    async def test_an_old_day_is_summed_when_a_new_one_begins(self) -> None:
        """A process that runs for a year does not keep every quarter of it."""
        documents = await opened()
        now = [T0]
        projector = Projector(documents, observed_from_record, now_ms=lambda: now[0])
        projector.own(range(PARTITIONS))
        while await projector.catch_up():
            pass
        await take(projector, routed("e1", person="u", at=T0), routed("e2", person="u", at=T0 + QUARTER))
        (day,) = await days_of(documents)
        assert not day.is_summed
        now[0] = T0 + 9 * DAY_MS

        await take(projector, routed("e3", person="u", at=now[0]))

        old, new = await days_of(documents)
        assert (True, False) == (old.is_summed, new.is_summed)
        assert await anew(documents) == await counted(documents)


def test_a_day_matures_with_its_longest_window() -> None:
    """The whole day, and everything counted in it."""
    sums = DaySums(0)
    sums.move(None, fact_of(routed("u")))
    (day,) = sums.changed()
    end = (T0 // DAY_MS + 1) * DAY_MS

    assert [False, True] == [has_matured(day, end + WINDOW_MS + more) for more in (0, 1)]


async def test_counts_follow_what_was_written() -> None:
    """A report after a batch sees it; between batches nothing is read."""
    documents = await opened()
    counts = Counts(documents, lambda: True)
    projector = Projector(documents, observed_from_record, on_days=counts.wrote)
    projector.own(range(PARTITIONS))
    while await projector.catch_up():
        pass

    empty = await counts.of("pk_demo", "act")
    await take(projector, routed("u1"))
    one = await counts.of("pk_demo", "act")
    await take(projector, routed("u2"))
    two = await counts.of("pk_demo", "act")

    assert [0, 1, 2] == [_starts(found.days) for found in (empty, one, two)]
    assert two is await counts.of("pk_demo", "act")
    assert len({empty.stamp, one.stamp, two.stamp}) == 3


def _starts(days: object) -> int:
    assert isinstance(days, dict)
    return sum(n for day in days.values() for n in [held.n for held in day.starts])


def test_reports_of_one_routing_join_to_the_least_conversion() -> None:
    """In either order."""
    reports: Sequence[ExecutionRecord] = [
        routed("u", bought_at=bought, transition=i) for i, bought in enumerate((None, T0 + 9, T0 + 5), 1)
    ]
    facts = [fact_of(message) for message in reports]

    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        joined = facts[order[0]]
        for i in order[1:]:
            joined = join(joined, facts[i])
        assert T0 + 5 == joined.arms["pick"].converted_at
