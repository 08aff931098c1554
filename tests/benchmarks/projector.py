"""How fast the projector is, and what it costs: `python -m tests.benchmarks.projector [executions]`.

Two records an execution, as the runtime makes them for *trigger, condition branch, send, exit*: the walk with three
entries, then the send's result with one. Batches of 500 go into a SQLite file; the log is left out. At 2,000
executions a second there are 4,000 records a second: 62 us of the loop's thread for each are a quarter of a core.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from journeys.events.v1.execution_record_pb2 import ExecutionRecord, ExecutionState, HistoryRecord

from services.analytics.audit import EXECUTIONS
from services.analytics.convert import observed_from_record
from services.analytics.follower import BATCH
from services.analytics.projector import Projector
from services.analytics.repositories import COLLECTIONS, COUNTERS
from services.infra.documents.sqlite import SqliteDocuments
from services.infra.log.port import Stored, partition_of
from services.infra.sqlite.engine import open_engine

PARTITIONS = 16
T0 = 1_777_554_000_000
JOURNEYS = 3
EXECUTIONS_DEFAULT = 20_000


def records(executions: int) -> Iterator[Stored]:
    """Walks and results in the order in which a busy runtime appends them: results some 250 walks later."""
    offset = 0
    for i in range(executions + 250):
        if i < executions:
            yield _stored(_walk(i), offset)
            offset += 1
        if i >= 250:
            yield _stored(_result(i - 250), offset)
            offset += 1


async def measure(executions: int, folder: Path) -> dict[str, tuple[float, str]]:
    """Project, replay and recount; figures by name, with their units."""
    told = list(records(executions))
    batches = [told[i : i + BATCH] for i in range(0, len(told), BATCH)]
    engine = await open_engine(folder)
    documents = SqliteDocuments(engine)
    await documents.open(COLLECTIONS)
    projector = await _started(documents)

    began, loop, cpu = time.perf_counter(), time.thread_time(), time.process_time()
    for batch in batches:
        await projector.take(batch)
    wall, loop, cpu = time.perf_counter() - began, time.thread_time() - loop, time.process_time() - cpu

    began = time.perf_counter()
    for batch in batches:
        await projector.take(batch)
    replay = time.perf_counter() - began

    began = time.perf_counter()
    await _started(documents)
    recount = time.perf_counter() - began
    sums = (await documents.scan(COUNTERS, "", limit=500)).items
    sent = sum(counter.steps["welcome"][0] for counter in sums)
    await engine.close()
    if sent != executions:
        raise SystemExit(f"{sent} of {executions} sends were counted")
    return {
        "projector.records_per_second": (len(told) / wall, "records/s"),
        "projector.loop_microseconds_per_record": (loop / len(told) * 1e6, "us"),
        "projector.cpu_microseconds_per_record": (cpu / len(told) * 1e6, "us"),
        "projector.replayed_records_per_second": (len(told) / replay, "records/s"),
        "projector.recounted_facts_per_second": (executions / recount, "facts/s"),
        "projector.bytes_per_execution": (sum(f.stat().st_size for f in folder.iterdir()) / executions, "bytes"),
    }


async def _started(documents: SqliteDocuments) -> Projector:
    projector = Projector(documents, observed_from_record)
    projector.own(range(PARTITIONS))
    while await projector.catch_up():
        pass
    return projector


def _walk(i: int) -> ExecutionRecord:
    return _record(
        i,
        1,
        {"welcome-1": "pending"},
        [
            ("execution.started", "trigger", {"version": 3}),
            ("branch.routed", "branch", {"mode": "condition", "chosen": "pro", "version": 3}),
            ("execution.completed", "exit", {"version": 3}),
        ],
    )


def _result(i: int) -> ExecutionRecord:
    detail = {"channel": "email", "messageId": f"{_id(i)}-welcome-1", "version": 3}
    return _record(i, 1, {"welcome-1": "sent"}, [("send.executed", "welcome", detail)])


def _record(
    i: int, transition: int, results: dict[str, str], entries: list[tuple[str, str, dict[str, object]]]
) -> ExecutionRecord:
    key = f"{i % 1024:04x}{i:026x}"
    is_result = entries[0][0] == "send.executed"
    return ExecutionRecord(
        key=key,
        workspace="pk_demo",
        journey_id=f"journey-{i % JOURNEYS}",
        version=3,
        execution_id=_id(i),
        subject_key=f"{i % 1024:04x}subject{i:020x}",
        end_user_id=f"usr_{i}",
        started_at_ms=T0 + i,
        state=ExecutionState(
            status="SUCCEEDED",
            visits={"trigger": 1, "branch": 1, "welcome": 1, "exit": 1},
            results=results,
            transition=transition,
        ),
        entries=[
            HistoryRecord(
                id=f"{_id(i)}-welcome-1:sent" if is_result else f"{key}:{transition}:{n}",
                at_ms=T0 + i,
                step_id=step,
                action=action,
                metadata_json=json.dumps(
                    {"executionId": _id(i), "stepId": step, "correlationId": f"{_id(i)}-{step}", **detail}
                ).encode(),
            )
            for n, (action, step, detail) in enumerate(entries)
        ],
    )


def _id(i: int) -> str:
    return f"journey-{i % JOURNEYS}__v3__usr_{i}__evt_{i}"


def _stored(message: ExecutionRecord, offset: int) -> Stored:
    key = f"{message.workspace}:{message.end_user_id}"
    return Stored(EXECUTIONS, partition_of(key, PARTITIONS), offset, key, message.SerializeToString(), (), T0)


def main() -> None:
    """Print a BENCH line for each figure."""
    executions = int(sys.argv[1]) if len(sys.argv) > 1 else EXECUTIONS_DEFAULT
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(executions, Path(folder)))
    for name, (value, unit) in figures.items():
        print(f"BENCH {name} {value:.1f} {unit}")


if __name__ == "__main__":
    main()
