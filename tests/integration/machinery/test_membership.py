"""A member of the log's group that keeps its name over a restart: JOURNEYS_INSTANCE, as a pod of a StatefulSet has it."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from services.infra.clock import SystemClock
from services.infra.log.kafka import KafkaLog
from services.infra.log.kafka_address import read_address
from services.infra.log.port import Listener, Record, Topic
from tests.e2e.server import ROOT
from tests.support.servers import OwnPlace, servers
from tests.support.workers import eventually

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TOPIC = Topic("test.members.v1")
PARTITIONS = 4

# A member by its settings alone; it says what it was dealt and what it read, until it is killed.
MEMBER = """
import asyncio
from services.infra.clock import SystemClock
from services.infra.log.kafka import KafkaLog
from services.infra.log.kafka_address import read_address
from services.infra.log.port import Listener, Topic
from services.infra.settings import RuntimeSettings

async def main():
    log = KafkaLog(read_address(RuntimeSettings.load().log_address), now_ms=SystemClock().now_ms)
    await log.open([Topic("test.members.v1")])
    async def assigned(partitions):
        print("dealt", *partitions, flush=True)
    async def revoked(partitions):
        pass
    reader = await log.subscribe(["test.members.v1"], "members", Listener(assigned, revoked))
    while True:
        found = await reader.poll(100, 0.5)
        for one in found:
            print("read", one.partition, one.value.decode(), flush=True)
        if found:
            await reader.commit({(one.topic, one.partition): one.offset + 1 for one in found})

asyncio.run(main())
"""


class Member:
    """A process that is a member."""

    def __init__(self, place: OwnPlace, instance: str, said: Path) -> None:
        self._said = said
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("JOURNEYS_")},
            "JOURNEYS_STORE": "mongodb://localhost:1/x",
            "JOURNEYS_LOG": f"{place.settings[1]}?partitions={PARTITIONS}",
            "JOURNEYS_INSTANCE": instance,
        }
        with said.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", MEMBER], env=environment, cwd=ROOT, stdout=output, stderr=subprocess.DEVNULL
            )

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait(30)

    def lines(self, what: str) -> list[str]:
        """What it said of that, so far."""
        return [line for line in self._said.read_text().splitlines() if line.startswith(what)]

    def partitions(self) -> set[int]:
        """What it was dealt last."""
        return {int(number) for number in self.lines("dealt")[-1].split()[1:]}


async def test_a_killed_member_that_comes_back_in_time_disturbs_nobody(tmp_path: Path) -> None:
    """It goes on with its own partitions; the other one is never asked to hand over anything."""
    place = OwnPlace(servers())
    address = read_address(f"{place.settings[1]}?partitions={PARTITIONS}&instance=steady")
    log = KafkaLog(address, now_ms=SystemClock().now_ms)
    told: list[str] = []

    async def assigned(partitions: Sequence[int]) -> None:
        told.append(f"dealt {len(partitions)}")

    async def revoked(partitions: Sequence[int]) -> None:
        told.append("taken")

    async def follow() -> None:
        while True:
            await reader.poll(100, 0.2)

    members: list[Member] = []
    try:
        await log.migrate([TOPIC])
        await log.open([TOPIC])
        reader = await log.subscribe([TOPIC.name], "members", Listener(assigned, revoked))
        following = asyncio.create_task(follow())
        members.append(Member(place, "mortal", tmp_path / "first"))

        async def is_shared() -> None:
            assert "dealt 2" in told[-1:]
            assert members[-1].lines("dealt")

        await eventually(is_shared)
        before, theirs = list(told), members[0].partitions()
        members[0].kill()
        members.append(Member(place, "mortal", tmp_path / "second"))
        await log.append(TOPIC.name, [Record("k", b"after", partition=partition) for partition in range(PARTITIONS)])

        async def goes_on() -> None:
            assert len(theirs) == len(members[1].lines("read"))

        await eventually(goes_on)
        after, undisturbed = members[1].partitions(), list(told)
        following.cancel()
    finally:
        for member in members:
            member.kill()
        await log.close()
        await place.remove()

    assert theirs == after
    assert before == undisturbed
