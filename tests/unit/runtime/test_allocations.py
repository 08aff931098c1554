"""The allocations a runtime knows: the last that was told of each branch."""

import pytest
from journeys.events.v1.allocation_record_pb2 import AllocationRecord, ArmAllocation

from services.domain.execution.assignment import branch_digest
from services.domain.journey.model import Arm, BranchAdaptive
from services.infra.log.port import LogUnavailable, Record
from services.runtime.allocations import Allocations
from services.runtime.collections import TOPICS
from tests.support.memory import MemoryLog

STEP = BranchAdaptive("pick", (Arm("a", None), Arm("b", None)))
KEY = f"ws:act:pick:{branch_digest(STEP)}"


async def opened() -> tuple[MemoryLog, Allocations]:
    log = MemoryLog()
    await log.open(TOPICS)
    return log, Allocations(log)


def told(name: str, share: float) -> Record:
    arms = [ArmAllocation(arm_id="a", propensity=share), ArmAllocation(arm_id="b", propensity=1 - share)]
    return Record(KEY, AllocationRecord(workspace="ws", snapshot_id=name, arms=arms).SerializeToString())


async def append(log: MemoryLog, *records: Record) -> None:
    await log.append("journeys.allocations.v1", records)


async def test_the_last_one_counts() -> None:
    """For the branch it was told of."""
    log, allocations = await opened()
    await append(log, told("s1", 0.5), told("s2", 0.25))
    await allocations.refresh()

    found = allocations.of("ws", "act", STEP)

    assert found is not None
    assert ("s2", ("a", "b"), (0.25, 0.75)) == (found.id, found.arm_ids, found.propensities)
    assert allocations.of("other", "act", STEP) is None
    assert allocations.of("ws", "act", BranchAdaptive("pick", (Arm("a", None), Arm("c", None)))) is None


async def test_a_tombstone_puts_the_branch_back_into_cold_start() -> None:
    """As if nothing had been told."""
    log, allocations = await opened()
    await append(log, told("s1", 0.5), Record(KEY, b""))

    await allocations.refresh()

    assert allocations.of("ws", "act", STEP) is None


async def test_what_cannot_be_read_is_passed_over() -> None:
    """Its neighbours are known."""
    log, allocations = await opened()
    await append(
        log,
        Record(KEY, b"\xff\xff"),
        told("s1", 0.5),
        Record(KEY, AllocationRecord(workspace="ws").SerializeToString()),
    )

    await allocations.refresh()

    assert (found := allocations.of("ws", "act", STEP)) is not None
    assert "s1" == found.id


async def test_the_last_ones_are_kept_while_the_log_is_away() -> None:
    """Whoever has to know says so; what is known stays known."""
    log, allocations = await opened()
    await append(log, told("s1", 0.5))
    await allocations.refresh()

    async def away(topic: str) -> dict[int, int]:
        raise LogUnavailable("away")

    log.ends = away  # type: ignore[method-assign]  # the log of this test alone
    with pytest.raises(LogUnavailable):
        await allocations.refresh()

    assert allocations.of("ws", "act", STEP) is not None


async def test_nothing_is_read_twice() -> None:
    """A refresh without news costs a look at the ends."""
    log, allocations = await opened()
    await append(log, told("s1", 0.5))
    await allocations.refresh()
    reads = []
    read = log.read

    async def counted(topic: str, partition: int, offset: int, limit: int) -> list[object]:
        reads.append(offset)
        return list(await read(topic, partition, offset, limit))

    log.read = counted  # type: ignore[assignment,method-assign]  # the log of this test alone
    await allocations.refresh()

    assert [] == reads
