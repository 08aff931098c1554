"""A projector that is killed: facts, counters and timeline agree with the log all the same."""

import asyncio
import sys
from pathlib import Path
from typing import TypeVar

from journeys.events.v1.execution_record_pb2 import ExecutionRecord

from services.analytics.audit import EXECUTIONS
from services.analytics.facts import counts_of
from services.analytics.repositories import COUNTERS, FACTS, ROWS
from services.infra.documents.port import Collection
from services.infra.documents.sqlite import SqliteDocuments
from tests.integration.analytics.test_served import Running
from tests.unit.analytics.reports import eventually

T = TypeVar("T")

KILLS = 4
SECONDS_ALIVE = 0.4


async def everything(documents: SqliteDocuments, collection: Collection[T]) -> list[T]:
    """All documents of a collection."""
    found: list[T] = []
    after: str | None = None
    while True:
        page = await documents.scan(collection, "", after=after, limit=1000)
        found += page.items
        if (after := page.cursor) is None:
            return found


async def test_after_kills_everything_agrees(tmp_path: Path) -> None:
    """Killed four times in the middle of projecting, then run to the end."""
    for _ in range(KILLS):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.integration.analytics.child", str(tmp_path), stdout=asyncio.subprocess.PIPE
        )
        assert child.stdout is not None
        assert b"ready\n" == await asyncio.wait_for(child.stdout.readline(), 30)
        await asyncio.sleep(SECONDS_ALIVE)  # the moment of the kill is what varies
        child.kill()
        await child.wait()

    async with Running(tmp_path) as running:
        await eventually(running.app.idle, 60)
        ends = await running.log.ends(EXECUTIONS)
        told = [
            ExecutionRecord.FromString(stored.value)
            for partition, end in ends.items()
            for stored in await running.log.read(EXECUTIONS, partition, 0, end + 1)
        ]
        facts = await everything(running.documents, FACTS)
        counters = await everything(running.documents, COUNTERS)
        rows = await everything(running.documents, ROWS)

    sums: dict[str, dict[str, list[int]]] = {}
    for fact in facts:
        steps = sums.setdefault(f"{fact.workspace}:{fact.journey_id}:{fact.partition}", {})
        for step, counts in counts_of(fact).items():
            steps[step] = [a + b for a, b in zip(steps.get(step, [0, 0, 0, 0]), counts, strict=True)]
    assert len(told) > 100
    assert {message.key for message in told} == {fact.key for fact in facts}
    assert {entry.id for message in told for entry in message.entries} == {row.entry_id for row in rows}
    assert len(rows) == len({row.entry_id for row in rows})
    stored = {counter.key: counter.steps for counter in counters}
    assert {key: {s: c for s, c in steps.items() if any(c)} for key, steps in sums.items()} == stored
