"""What the embedded log promises beyond the contract."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.infra.log.port import LogUnavailable, Record, Topic
from services.infra.log.sqlite import SqliteLog
from services.infra.sqlite.engine import Engine, open_engine

EVENTS = Topic("events")


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    """An engine over a new file."""
    opened = await open_engine(tmp_path)
    yield opened
    await opened.close()


@pytest.fixture
async def log(engine: Engine) -> AsyncIterator[SqliteLog]:
    """A log with one topic."""
    opened = SqliteLog(engine, now_ms=lambda: 0)
    await opened.open([EVENTS])
    yield opened
    await opened.close()


async def test_the_number_of_partitions_is_for_ever(log: SqliteLog, engine: Engine) -> None:
    """Another number would move every person to another place."""
    with pytest.raises(ValueError, match="made with 16 partitions, not 8"):
        await SqliteLog(engine, 8, now_ms=lambda: 0).open([EVENTS])


async def test_a_group_has_one_member(log: SqliteLog) -> None:
    """Until it leaves: one process owns every partition."""
    first = await log.subscribe(["events"], "g")

    with pytest.raises(ValueError, match=r"'g' reads .'events'. already"):
        await log.subscribe(["events"], "g")

    await first.close()
    second = await log.subscribe(["events"], "g")
    await second.close()
    assert "g" == second.group


async def test_a_partition_there_is_not_is_a_mistake(log: SqliteLog) -> None:
    """Nothing of the call is written."""
    with pytest.raises(ValueError, match="0 to 15"):
        await log.append("events", [Record("a", b""), Record("b", b"", partition=16)])

    assert 0 == sum((await log.ends("events")).values())


async def test_offsets_go_on_after_a_refused_group(log: SqliteLog, engine: Engine) -> None:
    """A full disk leaves no hole and gives no offset twice."""
    await log.append("events", [Record("a", b"", partition=1)])
    await engine.write(lambda connection, items: [connection.pragma("max_page_count", 60) for _ in items], None)
    with pytest.raises(LogUnavailable, match="full"):
        await log.append("events", [Record("a", b"x" * (1 << 20), partition=1)])
    await engine.write(lambda connection, items: [connection.pragma("max_page_count", 1 << 30) for _ in items], None)

    places = await log.append("events", [Record("a", b"", partition=1), Record("a", b"", partition=1)])

    assert ([1, 2], [0, 1, 2]) == (
        [place.offset for place in places],
        [stored.offset for stored in await log.read("events", 1, 0, 10)],
    )


async def test_an_offset_is_not_given_again_when_the_newest_record_was_deleted(log: SqliteLog, engine: Engine) -> None:
    """Whoever deletes: a person who is forgotten may have the last word of a partition."""
    await log.append("events", [Record("a", b"", partition=1) for _ in range(3)])

    await engine.write(
        lambda connection, items: [connection.execute("delete from log_events where offset > 0") for _ in items], None
    )
    again = SqliteLog(engine, now_ms=lambda: 0)
    await again.open([EVENTS])

    assert [3] == [place.offset for place in await again.append("events", [Record("a", b"", partition=1)])]


async def test_a_position_is_written_with_the_next_append(log: SqliteLog, engine: Engine) -> None:
    """Not before: a commit alone costs no sync."""
    subscription = await log.subscribe(["events"], "g")
    groups: list[bool] = []
    engine.watch(groups.append)

    await subscription.commit({("events", 1): 5})
    before = list(groups)
    await log.append("events", [Record("a", b"")])

    found = await engine.read(
        lambda connection: connection.execute("select partition, next from logmeta_positions").fetchall()
    )
    assert ([], [True], [(1, 5)]) == (before, groups, found)


async def test_a_position_alone_is_written_after_a_moment(
    log: SqliteLog, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any append, by a timer."""
    monkeypatch.setattr("services.infra.log.sqlite.COMMIT_SECONDS", 0.0)
    written, loop = asyncio.Event(), asyncio.get_running_loop()

    def tell(is_committed: bool) -> None:
        loop.call_soon_threadsafe(written.set)

    engine.watch(tell)
    subscription = await log.subscribe(["events"], "g")

    await subscription.commit({("events", 1): 5})

    await asyncio.wait_for(written.wait(), 30)
    found = await engine.read(lambda connection: connection.execute("select next from logmeta_positions").fetchall())
    assert [(5,)] == found


async def test_positions_of_a_refused_group_are_written_later(log: SqliteLog, engine: Engine) -> None:
    """They were with an append that found the disk full."""
    subscription = await log.subscribe(["events"], "g")
    await engine.write(lambda connection, items: [connection.pragma("max_page_count", 60) for _ in items], None)
    await subscription.commit({("events", 1): 5})
    with pytest.raises(LogUnavailable):
        await log.append("events", [Record("a", b"x" * (1 << 20))])
    await engine.write(lambda connection, items: [connection.pragma("max_page_count", 1 << 30) for _ in items], None)

    await subscription.close()

    found = await engine.read(lambda connection: connection.execute("select next from logmeta_positions").fetchall())
    assert [(5,)] == found


async def test_a_closed_subscription_ends_its_poll_and_refuses_the_next(log: SqliteLog) -> None:
    """A loop around poll must not spin on it."""
    subscription = await log.subscribe(["events"], "g")
    poll = asyncio.create_task(subscription.poll(10, 30))
    await asyncio.sleep(0)

    await subscription.close()

    assert [] == await poll
    with pytest.raises(LogUnavailable, match="closed"):
        await subscription.poll(10, 0)


async def test_records_come_in_the_order_of_their_appending(log: SqliteLog) -> None:
    """Across partitions and topics, whether they are read from the file or from memory."""
    await log.open([Topic("others")])
    follower = await log.subscribe(["events", "others"], "follower")
    for i in range(300):
        await log.append("others" if i % 3 else "events", [Record(f"k{i}", str(i).encode())])
    latecomer = await log.subscribe(["others", "events"], "latecomer")

    found = [[await one.poll(37, 0) for _ in range(9)] for one in (follower, latecomer)]

    assert [[str(i).encode() for i in range(300)]] * 2 == [
        [stored.value for part in parts for stored in part] for parts in found
    ]


async def test_what_nobody_has_read_yet_is_bounded_in_memory(log: SqliteLog) -> None:
    """A reader who stands still costs 2 MB a topic, and later reads the file."""
    subscription = await log.subscribe(["events"], "g")
    for _ in range(6):
        await log.append("events", [Record(f"k{i}", b"x" * 1000) for i in range(1000)])
    tail = log.state_of("events").tail

    kept = len(tail.after(tail.floor, 10_000))

    assert kept < 2000
    assert 6000 == sum([len(await subscription.poll(1000, 0)) for _ in range(6)])
