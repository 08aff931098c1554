"""What every event log promises: one suite over all adapters, each promise once."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence

import pytest

from services.infra.log.port import Listener, Log, Place, Record, Stored, Subscription, Topic, murmur2, partition_of
from tests.contract.conftest import PARTITIONS, House

EVENTS = Topic("test.events.v1")
OTHERS = Topic("test.others.v1")
STATES = Topic("test.states.v1", compacted=True)
PATIENT = 30.0  # a poll that waits this long was not woken


@pytest.fixture
async def events(log: Log) -> AsyncIterator[Log]:
    """A log with the three topics, and nothing in them."""
    await log.open([EVENTS, OTHERS, STATES])
    yield log
    await log.close()


def record(key: str, value: str = "") -> Record:
    """A record with a text as its value."""
    return Record(key, value.encode())


def values_of(records: Sequence[Stored]) -> list[str]:
    """The texts of records, as they came."""
    return [stored.value.decode() for stored in records]


def positions_after(records: Sequence[Stored]) -> dict[tuple[str, int], int]:
    """What to commit when all these are done."""
    return {(stored.topic, stored.partition): stored.offset + 1 for stored in records}


async def drained(subscription: Subscription, max_records: int = 100) -> list[Stored]:
    """Everything there is now. Records that are known to be there may still be on their way."""
    found: list[Stored] = []
    deadline = asyncio.get_running_loop().time() + PATIENT / 2
    while True:
        records = await subscription.poll(max_records, 0.01)
        found += records
        if not records and (subscription.lag() == 0 or asyncio.get_running_loop().time() > deadline):
            return found


async def waiting(subscription: Subscription) -> "asyncio.Task[list[Stored]]":
    """A poll that has nothing to hand out yet."""
    poll = asyncio.create_task(subscription.poll(100, PATIENT))
    for _ in range(20):
        await asyncio.sleep(0)

    assert not poll.done()

    return poll


class TestPartitionOf:
    """partition_of(key): Kafka's own choice."""

    @pytest.mark.parametrize(
        ("key", "hashed"),
        [
            ("21", -973932308),
            ("foobar", -790332482),
            ("a-little-bit-long-string", -985981536),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ],
    )
    def test_murmur2_is_kafkas(self, key: str, hashed: int) -> None:
        """The values of org.apache.kafka.common.utils.UtilsTest.testMurmur2."""
        assert hashed & 0xFFFFFFFF == murmur2(key.encode())

    def test_a_known_person_has_a_known_slot(self) -> None:
        """Stored ids hold it, so it is for ever."""
        assert (308, 308 % 16) == (partition_of("pk_demo:usr_a", 1024), partition_of("pk_demo:usr_a", 16))


class TestAppend:
    """append(records): durable, in order within a key."""

    async def test_offsets_are_dense_in_each_partition(self, events: Log) -> None:
        """Every record says where it stands, and the next one of its partition stands beside it."""
        places: dict[int, list[int]] = defaultdict(list)

        for call in range(3):
            for place in await events.append(EVENTS.name, [record(f"k{i}", str(call)) for i in range(50)]):
                places[place.partition].append(place.offset)

        assert {partition: list(range(len(offsets))) for partition, offsets in places.items()} == places

    async def test_the_key_decides_the_partition(self, events: Log) -> None:
        """As it would in Kafka."""
        keys = [f"pk_demo:usr_{i}" for i in range(40)]

        places = await events.append(EVENTS.name, [record(key) for key in keys])

        assert [partition_of(key, PARTITIONS) for key in keys] == [place.partition for place in places]

    async def test_a_record_may_overrule_its_key(self, events: Log) -> None:
        """For records about a partition."""
        assert [Place(11, 0)] == await events.append(EVENTS.name, [Record("k", b"", partition=11)])

    async def test_a_record_comes_back_as_it_was(self, events: Log, house: House) -> None:
        """Key, value, headers, and when it was appended by the log's clock."""
        sent = Record("k\u00e9y", b"\x00\xff", (("trace", b"\x01"), ("trace", b"")))
        house.clock.move(1234)

        (place,) = await events.append(EVENTS.name, [sent])

        (found,) = await events.read(EVENTS.name, place.partition, 0, 10)
        now = house.clock.now_ms() if house.is_on_time else found.appended_at
        assert Stored(EVENTS.name, place.partition, place.offset, sent.key, sent.value, sent.headers, now) == found

    async def test_topics_count_for_themselves(self, events: Log) -> None:
        """An offset means something within its topic alone."""
        await events.append(EVENTS.name, [record("k"), record("k")])

        assert [Place(partition_of("k", PARTITIONS), 0)] == await events.append(OTHERS.name, [record("k")])

    async def test_no_records_no_places(self, events: Log) -> None:
        """An empty append is legal."""
        assert [] == await events.append(EVENTS.name, [])

    async def test_a_topic_nobody_opened_is_a_mistake(self, log: Log) -> None:
        """Topics are declared, not made by a typing error."""
        with pytest.raises(LookupError):
            await log.append("test.typo.v1", [record("k")])

    async def test_appends_side_by_side_keep_their_own_order(self, events: Log) -> None:
        """Each caller's records of one key stay in order, and no place is given twice."""
        places = await asyncio.gather(
            *(events.append(EVENTS.name, [record("k", f"{i}.{j}") for j in range(5)]) for i in range(20))
        )

        stored = await events.read(EVENTS.name, partition_of("k", PARTITIONS), 0, 1000)
        assert (list(range(100)), [[place.offset for place in part] for part in places]) == (
            sorted(place.offset for part in places for place in part),
            [[record.offset for record in stored if record.value.startswith(b"%d." % i)] for i in range(20)],
        )


class TestRead:
    """read and ends: a partition without a group."""

    async def test_reading_begins_at_the_offset_and_ends_at_the_limit(self, events: Log) -> None:
        """And is short where there is no more."""
        await events.append(EVENTS.name, [record("k", str(i)) for i in range(10)])
        partition = partition_of("k", PARTITIONS)

        assert (["3", "4"], ["8", "9"], [], []) == (
            values_of(await events.read(EVENTS.name, partition, 3, 2)),
            values_of(await events.read(EVENTS.name, partition, 8, 100)),
            await events.read(EVENTS.name, partition, 10, 100),
            await events.read(EVENTS.name, (partition + 1) % PARTITIONS, 0, 100),
        )

    async def test_ends_are_the_offsets_to_come(self, events: Log) -> None:
        """For every partition, empty ones too."""
        await events.append(EVENTS.name, [Record("k", b"", partition=2), Record("k", b"", partition=2)])

        assert {partition: 2 if partition == 2 else 0 for partition in range(PARTITIONS)} == await events.ends(
            EVENTS.name
        )


class TestPoll:
    """subscribe and poll: what was not yet handed out."""

    async def test_a_new_group_begins_at_the_beginning(self, events: Log) -> None:
        """Everything comes once, in order within each key."""
        sent = [record(f"k{i % 7}", str(i)) for i in range(100)]
        await events.append(EVENTS.name, sent)
        subscription = await events.subscribe([EVENTS.name], "g")

        found = await drained(subscription, 9)

        by_key = {key: [one for one in sent if one.key == key] for key in {one.key for one in sent}}
        assert {key: [one.value for one in part] for key, part in by_key.items()} == {
            key: [one.value for one in found if one.key == key] for key in by_key
        }

    async def test_no_poll_hands_out_more_than_asked(self, events: Log) -> None:
        """A batch is the caller's to size."""
        await events.append(EVENTS.name, [record(f"k{i}") for i in range(20)])
        subscription = await events.subscribe([EVENTS.name], "g")

        sizes = [len(await subscription.poll(8, PATIENT))]
        while subscription.lag():
            sizes.append(len(await subscription.poll(8, PATIENT)))

        assert (20, 8) == (sum(sizes), max(sizes))

    async def test_several_topics_are_one_subscription(self, events: Log) -> None:
        """Each record says which topic it is of."""
        await events.append(EVENTS.name, [record("k", "event")])
        await events.append(OTHERS.name, [record("k", "other")])
        subscription = await events.subscribe([EVENTS.name, OTHERS.name], "g")

        assert {(EVENTS.name, b"event"), (OTHERS.name, b"other")} == {
            (stored.topic, stored.value) for stored in await drained(subscription)
        }

    async def test_an_append_wakes_whoever_waits(self, events: Log) -> None:
        """At once, not at the next look."""
        subscription = await events.subscribe([EVENTS.name], "g")
        poll = await waiting(subscription)

        await events.append(EVENTS.name, [record("k", "here")])

        assert ["here"] == values_of(await asyncio.wait_for(poll, PATIENT / 2))

    async def test_no_append_is_missed_between_two_polls(self, events: Log) -> None:
        """Whoever polls in a loop gets every record, however the appends fall."""
        subscription = await events.subscribe([EVENTS.name], "g")

        async def append() -> None:
            for i in range(200):
                await events.append(EVENTS.name, [record(f"k{i % 5}", str(i))])

        appending = asyncio.create_task(append())
        found: list[Stored] = []
        while len(found) < 200:
            records = await subscription.poll(7, PATIENT)
            assert records
            found += records
        await appending

        assert list(range(200)) == sorted(int(value) for value in values_of(found))

    async def test_without_records_the_time_runs_out(self, events: Log) -> None:
        """An empty poll is an answer."""
        subscription = await events.subscribe([EVENTS.name], "g")

        assert [] == await subscription.poll(10, 0.01)

    async def test_two_groups_do_not_know_of_each_other(self, events: Log) -> None:
        """Each gets everything, and each commits for itself."""
        one = await events.subscribe([EVENTS.name], "one")
        await events.append(EVENTS.name, [record("k", "1"), record("k", "2")])
        other = await events.subscribe([EVENTS.name], "other")

        found = [await drained(one), await drained(other)]
        await one.commit(positions_after(found[0]))
        await other.close()
        again = await events.subscribe([EVENTS.name], "other")

        assert [["1", "2"]] * 3 == [values_of(part) for part in (*found, await drained(again))]

    async def test_a_slow_reader_of_a_busy_topic_misses_nothing(self, events: Log) -> None:
        """However much was appended since the last poll."""
        subscription = await events.subscribe([EVENTS.name], "g")
        await events.append(EVENTS.name, [record("first", "first")])
        assert ["first"] == values_of(await subscription.poll(1, PATIENT))

        for _ in range(6):
            await events.append(EVENTS.name, [Record(f"k{i % 50}", b"x" * 1000) for i in range(1000)])

        found = await drained(subscription, 700)
        assert (6000, 6000) == (len(found), len({(stored.partition, stored.offset) for stored in found}))


class TestCommit:
    """commit(positions): where to go on after a restart."""

    async def test_a_group_goes_on_where_it_committed(self, events: Log) -> None:
        """After the commit come the records behind it, in every partition."""
        await events.append(EVENTS.name, [record(f"k{i}", str(i)) for i in range(30)])
        subscription = await events.subscribe([EVENTS.name], "g")
        done = await subscription.poll(12, PATIENT)
        await subscription.commit(positions_after(done))
        await drained(subscription)
        await subscription.close()

        again = await events.subscribe([EVENTS.name], "g")

        rest = values_of(await drained(again))
        assert sorted(set(map(str, range(30))) - set(values_of(done))) == sorted(rest)

    async def test_what_was_not_committed_comes_again(self, events: Log) -> None:
        """At least once."""
        await events.append(EVENTS.name, [record("k", "1"), record("k", "2")])
        subscription = await events.subscribe([EVENTS.name], "g")
        await drained(subscription)
        await subscription.close()

        again = await events.subscribe([EVENTS.name], "g")

        assert ["1", "2"] == values_of(await drained(again))

    async def test_a_position_in_the_middle_of_a_batch_is_kept(self, events: Log) -> None:
        """Whoever commits what is done gets the rest, not the batch."""
        await events.append(EVENTS.name, [record("k", str(i)) for i in range(10)])
        subscription = await events.subscribe([EVENTS.name], "g")
        await drained(subscription)
        await subscription.commit({(EVENTS.name, partition_of("k", PARTITIONS)): 4})
        await subscription.close()

        again = await events.subscribe([EVENTS.name], "g")

        assert ["4", "5", "6", "7", "8", "9"] == values_of(await drained(again))

    async def test_partitions_are_committed_each_for_itself(self, events: Log) -> None:
        """One that is far ahead does not bring its records again because another one is behind."""
        await events.append(EVENTS.name, [Record("k", str(i).encode(), partition=i % 2) for i in range(20)])
        subscription = await events.subscribe([EVENTS.name], "g")
        await drained(subscription)
        await subscription.commit({(EVENTS.name, 0): 9, (EVENTS.name, 1): 2})
        await subscription.close()

        again = await events.subscribe([EVENTS.name], "g")

        assert ({"18", *map(str, range(5, 20, 2))}, 0) == (set(values_of(await drained(again))), again.lag())


class TestListener:
    """Listener: what a subscriber learns of ownership."""

    async def test_all_partitions_come_before_the_first_record_and_go_at_the_end(self, events: Log) -> None:
        """Alone in the group, it owns everything; told once each."""
        told: list[tuple[str, list[int]]] = []

        async def assigned(partitions: Sequence[int]) -> None:
            told.append(("assigned", list(partitions)))

        async def revoked(partitions: Sequence[int]) -> None:
            told.append(("revoked", list(partitions)))

        await events.append(EVENTS.name, [record("k", "1")])
        subscription = await events.subscribe([EVENTS.name], "g", Listener(assigned, revoked))
        told_before = list(told)
        await drained(subscription)
        await subscription.close()

        everything = list(range(PARTITIONS))
        assert ([("assigned", everything)], [("assigned", everything), ("revoked", everything)]) == (told_before, told)

    async def test_what_a_listener_commits_while_it_hands_over_counts(self, events: Log) -> None:
        """The end of a subscription is told before it is one: what was seen to by then comes to nobody again."""
        done: dict[tuple[str, int], int] = {}
        held: list[Subscription] = []

        async def assigned(partitions: Sequence[int]) -> None:
            pass

        async def revoked(partitions: Sequence[int]) -> None:
            await held[0].commit(done)

        await events.append(EVENTS.name, [record("k", "1")])
        held.append(await events.subscribe([EVENTS.name], "g", Listener(assigned, revoked)))
        done.update(positions_after(await held[0].poll(10, PATIENT)))
        await held[0].close()

        again = await events.subscribe([EVENTS.name], "g")

        assert ([], 0) == (await drained(again), again.lag())


class TestPause:
    """pause and resume: back-pressure without giving anything up."""

    async def test_a_paused_subscription_hands_out_nothing(self, events: Log) -> None:
        """And after `resume` everything that came meanwhile."""
        subscription = await events.subscribe([EVENTS.name], "g")
        subscription.pause()
        await events.append(EVENTS.name, [record("k", "1")])
        paused = await subscription.poll(10, 0.01)

        subscription.resume()

        assert ([], ["1"]) == (paused, values_of(await subscription.poll(10, PATIENT)))

    async def test_resuming_wakes_whoever_waits(self, events: Log) -> None:
        """The poll that began while paused goes on."""
        subscription = await events.subscribe([EVENTS.name], "g")
        subscription.pause()
        await events.append(EVENTS.name, [record("k", "1")])
        poll = await waiting(subscription)

        subscription.resume()

        assert ["1"] == values_of(await asyncio.wait_for(poll, PATIENT / 2))


class TestLag:
    """lag(): how much is waiting."""

    async def test_lag_counts_what_was_appended_and_not_polled(self, events: Log) -> None:
        """It falls with each poll, to nothing; what the group had committed never counts."""
        await events.append(EVENTS.name, [record(f"k{i}") for i in range(10)])
        subscription = await events.subscribe([EVENTS.name], "g")
        lags = [subscription.lag()]
        await subscription.commit(positions_after(await subscription.poll(4, PATIENT)))
        lags.append(subscription.lag())
        await drained(subscription)
        lags.append(subscription.lag())
        await subscription.close()

        again = await events.subscribe([EVENTS.name], "g")

        assert ([10, 6, 0], 6) == (lags, again.lag())

    async def test_an_append_is_seen_in_the_lag(self, events: Log) -> None:
        """At the latest when it is acknowledged."""
        subscription = await events.subscribe([EVENTS.name], "g")

        await events.append(EVENTS.name, [record("k"), record("l")])

        assert 2 == subscription.lag()


class TestCompaction:
    """A compacted topic: of the records of one key only the newest has to be kept."""

    async def test_the_newest_record_of_each_key_is_kept(self, events: Log, house: House) -> None:
        """Where compaction is done at once, the older ones are gone; offsets have gaps and are not given again."""
        await events.append(STATES.name, [record("a", "1"), record("b", "1"), record("a", "2")])
        await events.append(STATES.name, [record("a", "3")])
        subscription = await events.subscribe([STATES.name], "g")

        found = await drained(subscription)

        newest = {stored.key: stored.value.decode() for stored in found}
        assert ({"a": "3", "b": "1"}, 2 if house.compacts else 4, 0) == (newest, len(found), subscription.lag())

    async def test_an_offset_is_never_given_twice(self, events: Log) -> None:
        """Also when compaction took the records in between."""
        places = [(await events.append(STATES.name, [record("a", str(i))]))[0].offset for i in range(5)]

        assert [0, 1, 2, 3, 4] == places

    async def test_a_record_without_value_is_kept(self, events: Log) -> None:
        """It says that the key is gone; whoever reads from the beginning has to learn it."""
        await events.append(STATES.name, [record("a", "1")])
        await events.append(STATES.name, [record("a", "")])

        found = await drained(await events.subscribe([STATES.name], "g"))

        assert b"" == found[-1].value

    async def test_whoever_reads_along_gets_the_newest(self, events: Log) -> None:
        """What was overtaken before the poll may come or not; the last one comes."""
        subscription = await events.subscribe([STATES.name], "g")
        for i in range(10):
            await events.append(STATES.name, [record("a", str(i))])

        assert "9" == values_of(await drained(subscription))[-1]


class TestDurability:
    """What was acknowledged is there after reopening."""

    async def test_records_positions_and_ends_outlive_the_process(self, lasting_house: House) -> None:
        """A group goes on where it was; the offsets go on where they were."""
        _, log = await lasting_house.open()
        await log.open([EVENTS, STATES])
        await log.append(EVENTS.name, [record("k", str(i)) for i in range(5)])
        await log.append(STATES.name, [record("k", str(i)) for i in range(5)])
        subscription = await log.subscribe([EVENTS.name], "g")
        await subscription.commit(positions_after(await subscription.poll(3, PATIENT)))
        await lasting_house.close()

        _, log = await lasting_house.open()
        await log.open([EVENTS, STATES])
        again = await log.subscribe([EVENTS.name], "g")
        places = [*await log.append(EVENTS.name, [record("k", "5")]), *await log.append(STATES.name, [record("k")])]

        partition = partition_of("k", PARTITIONS)
        assert (["3", "4", "5"], [Place(partition, 5)] * 2) == (values_of(await drained(again)), places)

    async def test_without_a_commit_everything_comes_again(self, lasting_house: House) -> None:
        """A crash between reading and committing repeats, it does not lose."""
        _, log = await lasting_house.open()
        await log.open([EVENTS])
        await log.append(EVENTS.name, [record("k", "1")])
        await (await log.subscribe([EVENTS.name], "g")).poll(10, PATIENT)
        await lasting_house.close()

        _, log = await lasting_house.open()
        await log.open([EVENTS])

        assert ["1"] == values_of(await drained(await log.subscribe([EVENTS.name], "g")))


async def can_erase(log: Log) -> bool:
    """Whether single records can go; a broker says until when it keeps them instead."""
    return (await log.erase(EVENTS.name, [])).retained_until is None


class TestErase:
    """erase(topic, places): what nobody may read any more."""

    async def test_an_erased_record_is_read_by_nobody(self, events: Log) -> None:
        """It is gone for reads and for groups that come later, its neighbours stay; or the log says until when."""
        places = await events.append(EVENTS.name, [record("anna", "1"), record("anna", "2"), record("anna", "3")])

        erased = await events.erase(EVENTS.name, [places[1]])

        left = await events.read(EVENTS.name, places[0].partition, 0, 10)
        later = await drained(await events.subscribe([EVENTS.name], "later"))
        if erased.retained_until is None:
            assert (1, ["1", "3"], ["1", "3"]) == (erased.count, values_of(left), values_of(later))
        else:
            assert (0, ["1", "2", "3"], ["1", "2", "3"]) == (erased.count, values_of(left), values_of(later))

    async def test_the_offset_of_an_erased_record_is_not_given_again(self, events: Log) -> None:
        """Also that of the newest one: a position must not mean two records."""
        (place,) = await events.append(EVENTS.name, [record("anna", "1")])
        await events.erase(EVENTS.name, [place])

        (next_place,) = await events.append(EVENTS.name, [record("anna", "2")])

        assert place.offset + 1 == next_place.offset

    async def test_erasing_again_is_harmless(self, events: Log) -> None:
        """What is not there is passed over, so an erase that was interrupted is repeated."""
        places = await events.append(EVENTS.name, [record("anna", "1"), record("anna", "2")])
        first = await events.erase(EVENTS.name, places[:1])

        again = await events.erase(EVENTS.name, places)

        assert (2 if await can_erase(events) else 0) == first.count + again.count

    async def test_a_reader_goes_on_over_a_gap(self, events: Log) -> None:
        """A group that comes to an erased place finds what follows it, and then nothing is outstanding."""
        places = await events.append(EVENTS.name, [record("anna", "1"), record("anna", "2")])
        await events.erase(EVENTS.name, places[:1])
        reader = await events.subscribe([EVENTS.name], "readers")

        found = await drained(reader)

        assert ("2", 0) == (values_of(found)[-1], reader.lag())

    async def test_a_topic_of_which_all_is_erased_is_at_its_end(self, events: Log) -> None:
        """Nobody waits for records that are gone."""
        places = await events.append(EVENTS.name, [record("anna", "1"), record("ben", "2")])
        await events.erase(EVENTS.name, places)
        reader = await events.subscribe([EVENTS.name], "readers")

        await drained(reader)

        assert 0 == reader.lag()

    async def test_a_scrub_leaves_what_is_there(self, events: Log) -> None:
        """Whatever it does to files, every record that was not erased is read as before."""
        places = await events.append(EVENTS.name, [record("anna", "1"), record("anna", "2")])
        await events.erase(EVENTS.name, places[:1])

        await events.scrub()

        assert "2" == values_of(await events.read(EVENTS.name, places[0].partition, 0, 10))[-1]


class TestTrim:
    """trim(topic, before): what is old and done with goes."""

    async def test_what_is_old_and_committed_goes(self, events: Log, house: House) -> None:
        """Records from that moment on stay, and so does everything where the log keeps its own retention."""
        await events.append(EVENTS.name, [record("anna", "old")])
        house.clock.move(1_000)
        moment = house.clock.now_ms()
        places = await events.append(EVENTS.name, [record("anna", "new")])
        reader = await events.subscribe([EVENTS.name], "readers")
        await reader.commit(positions_after(await drained(reader)))

        count = await events.trim(EVENTS.name, moment)

        left = values_of(await events.read(EVENTS.name, places[0].partition, 0, 10))
        assert ((1, ["new"]) if await can_erase(events) else (0, ["old", "new"])) == (count, left)

    async def test_what_a_group_has_not_committed_stays(self, events: Log, house: House) -> None:
        """However old it is: of two groups the slower counts."""
        places = await events.append(EVENTS.name, [record("anna", "1"), record("anna", "2")])
        quick, slow = [await events.subscribe([EVENTS.name], name) for name in ("quick", "slow")]
        await quick.commit({(EVENTS.name, places[0].partition): 2})
        await slow.commit({(EVENTS.name, places[0].partition): 1})
        house.clock.move(1_000)

        await events.trim(EVENTS.name, house.clock.now_ms())

        assert ["2"] == values_of(await events.read(EVENTS.name, places[0].partition, 0, 10))[-1:]

    async def test_a_topic_without_readers_goes_by_age_alone(self, events: Log, house: House) -> None:
        """Dead letters wait for nobody."""
        places = await events.append(OTHERS.name, [record(f"key-{i}", str(i)) for i in range(3)])
        house.clock.move(1_000)

        count = await events.trim(OTHERS.name, house.clock.now_ms())

        left = [await events.read(OTHERS.name, place.partition, 0, 10) for place in places]
        assert not await can_erase(events) or (3, [[], [], []]) == (count, left)

    async def test_more_than_a_page_goes(self, events: Log, house: House) -> None:
        """However many there are."""
        await events.append(OTHERS.name, [record(f"key-{i}") for i in range(2_500)])
        house.clock.move(1_000)
        await events.append(OTHERS.name, [record("fresh")])

        count = await events.trim(OTHERS.name, house.clock.now_ms())

        assert (2_500 if await can_erase(events) else 0) == count

    async def test_a_compacted_topic_is_not_trimmed(self, events: Log, house: House) -> None:
        """The newest record of a key is the truth, however old it is."""
        with pytest.raises(ValueError, match="compacted"):
            await events.trim(STATES.name, house.clock.now_ms())
