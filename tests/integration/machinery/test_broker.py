"""The log when its broker dies and comes back: what was acknowledged is there, in order, and nobody has to restart."""

import asyncio
from pathlib import Path

import pytest

from services.infra.clock import SystemClock
from services.infra.log.kafka import KafkaLog
from services.infra.log.kafka_address import read_address
from services.infra.log.port import Listener, LogUnavailable, NoTopics, Record, Topic
from tests.support.own_server import OwnServer
from tests.support.servers import OwnPlace, servers

pytestmark = [pytest.mark.integration, pytest.mark.slow]

EVENTS = Topic("test.events.v1")


async def test_what_was_acknowledged_outlives_kill_9(tmp_path: Path) -> None:
    """Appends and a reader go on over a broker that is killed; every acknowledged record comes, in order."""
    server = OwnServer("log", tmp_path).start()
    log = KafkaLog(read_address(f"{server.kafka}?partitions=4"), now_ms=SystemClock().now_ms)
    await log.migrate([EVENTS])
    await log.open([EVENTS])
    reader = await log.subscribe([EVENTS.name], "readers")
    acknowledged: list[int] = []
    refused = 0
    read: list[int] = []
    stop, appended = asyncio.Event(), asyncio.Event()

    async def append() -> None:
        nonlocal refused
        number = 0
        while not stop.is_set():
            try:
                await log.append(EVENTS.name, [Record("one-key", b"%d" % number)])
                acknowledged.append(number)
                number += 1
            except LogUnavailable:
                refused += 1  # in doubt: appended again
        appended.set()

    async def follow() -> None:
        while not appended.is_set() or reader.lag():
            read.extend(int(one.value) for one in await reader.poll(500, 0.2))

    working = [asyncio.create_task(append()), asyncio.create_task(follow())]
    while len(acknowledged) < 200:
        await asyncio.sleep(0.01)
    server.kill()
    while not refused:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(server.start)
    before = len(acknowledged)
    while len(acknowledged) < before + 200:
        await asyncio.sleep(0.01)
    stop.set()
    await asyncio.gather(*working)
    await log.close()
    server.close()

    assert refused
    assert acknowledged == sorted(set(read) & set(acknowledged))
    firsts = list(dict.fromkeys(read))
    assert firsts == sorted(firsts)


async def test_a_log_that_was_not_migrated_says_what_is_missing() -> None:
    """By name, with what to do; other partitions than it was told are a mistake that migrating does not mend."""
    place = OwnPlace(servers())
    log, other = (KafkaLog(place.kafka(partitions), now_ms=SystemClock().now_ms) for partitions in (4, 8))
    try:
        with pytest.raises(NoTopics, match=r"journeys migrate.*test\.events\.v1"):
            await log.open([EVENTS])
        made = [await log.migrate([EVENTS]), await log.migrate([EVENTS])]
        await log.open([EVENTS])
        with pytest.raises(NoTopics, match="has 4 partitions, not 8"):
            await other.open([EVENTS])
        with pytest.raises(ValueError, match="chosen once"):
            await other.migrate([EVENTS])
    finally:
        await log.close()
        await other.close()
        await place.remove()
    assert [1, 0] == [len(lines) for lines in made]


async def test_a_listener_that_fails_is_asked_again_before_any_record() -> None:
    """A deal that cannot be taken up now, since the store is away, is taken up later and nothing is read until then."""
    place = OwnPlace(servers())
    log = KafkaLog(place.kafka(4), now_ms=SystemClock().now_ms)
    told: list[str] = []

    async def assigned(partitions: object) -> None:
        told.append("asked")
        if told.count("asked") == 2:
            raise LogUnavailable("the test says so")

    async def revoked(partitions: object) -> None:
        told.append("revoked")

    try:
        await log.migrate([EVENTS])
        await log.open([EVENTS])
        one = await log.subscribe([EVENTS.name], "readers", Listener(assigned, revoked))
        second = await KafkaLog.subscribe(log, [EVENTS.name], "readers")  # makes the group deal anew
        failures = 0
        await log.append(EVENTS.name, [Record("k", b"%d" % i, partition=i % 4) for i in range(8)])
        read: list[bytes] = []
        while len(read) < 8:
            try:
                read += [record.value for record in await one.poll(10, 0.1)]
            except LogUnavailable:
                failures += 1
                assert not read
            read += [record.value for record in await second.poll(10, 0.1)]
    finally:
        await log.close()
        await place.remove()
    assert (1, 8) == (failures, len(set(read)))
