"""A process that appends reports and projects them until it is killed: `python -m tests.integration.analytics.child DIR`."""

import asyncio
import sys
from pathlib import Path

from journeys.events.v1.execution_record_pb2 import ExecutionRecord

from services.analytics.app import Analytics
from services.analytics.audit import EXECUTIONS
from services.infra.clock import SystemClock
from services.infra.documents.sqlite import SqliteDocuments
from services.infra.log.sqlite import SqliteLog
from services.infra.sqlite.engine import open_engine
from tests.unit.analytics.reports import entry, record, report


def told(person: int, moment: int) -> ExecutionRecord:
    """What is reported of a person at one of three moments: promised and waiting, sent, left."""
    user = f"u{person}"
    done = {"trigger": 1, "welcome": 1, "wait": 1} | ({"exit": 1} if moment == 2 else {})
    return report(
        f"k{person}",
        user=user,
        journey=f"j{person % 3}",
        status="SUCCEEDED" if moment == 2 else "RUNNING",
        transition=moment + 1,
        visits=done,
        results={"welcome-1": "pending" if moment == 0 else "sent"},
        waiting="" if moment == 2 else "wait",
        entries=[entry(f"k{person}:{moment}:{n}") for n in range(2)],
    )


async def main(folder: Path) -> None:
    clock = SystemClock()
    engine = await open_engine(folder)
    log = SqliteLog(engine, now_ms=clock.now_ms)
    app = Analytics(SqliteDocuments(engine), log, clock)
    await app.open()
    first = sum((await log.ends(EXECUTIONS)).values())
    print("ready", flush=True)
    while True:
        moments = [told(first + i, moment) for moment in range(3) for i in range(40)]
        await log.append(EXECUTIONS, [record(message) for message in moments])
        first += 40


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
