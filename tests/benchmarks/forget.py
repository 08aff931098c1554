"""Forgetting somebody with very many executions: how long it takes, and what everybody else feels of it.

All services in one process over one SQLite file, as `journeys serve` has them. Somebody else is started every 30 ms,
by an event and by hand; `forget.others_*` is how long both together take while the person is being forgotten,
`forget.calm_*` the same just before. JOURNEYS_BENCH_FORGET says how many executions the person has.
"""

import asyncio
import os
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from journeys.events.v1.customer_event_pb2 import CustomerEvent

from services.analytics.app import Analytics
from services.authoring.app import Authoring
from services.authoring.repositories import WORKSPACES, Workspace
from services.domain import ids
from services.infra.clock import SystemClock
from services.infra.documents.port import Documents, Insert
from services.infra.grpc.server import Server
from services.infra.log.port import Log
from services.infra.machinery import machinery
from services.runtime.app import Runtime
from services.runtime.collections import EXECUTION_RECORDS, EXECUTIONS
from services.runtime.records import record_of
from tests.support.journeys import WORKSPACE, publish_journey, publish_workspace
from tests.support.walking import EXIT, TRIGGER, await_step, send_step

EXECUTIONS_OF_ONE = int(os.environ.get("JOURNEYS_BENCH_FORGET", "100000"))
USER = "usr_many"
SECRET = b"0" * 32
CALM_SECONDS = 6.0
EVERY_SECONDS = 0.03
STEPS = [
    {**TRIGGER, "next": "hello"},
    send_step("hello", "w"),
    await_step("w", "activated", "P3D", "exit", "exit"),
    EXIT,
]


@dataclass(frozen=True, slots=True)
class House:
    """The three services and what they share."""

    runtime: Runtime
    analytics: Analytics
    documents: Documents
    log: Log


def figures() -> Iterator[tuple[str, float, str]]:
    """forget.seconds, forget.cpu_seconds, forget.{calm,others}_{p50,p99,max}_ms, forget.traces_left"""
    with tempfile.TemporaryDirectory(prefix="journeys-bench-") as folder:
        yield from asyncio.run(_run(Path(folder)))


async def _run(folder: Path) -> list[tuple[str, float, str]]:
    sys.setswitchinterval(0.0005)  # as the server does
    async with _house(folder) as house:
        await _lived(house)
        calm, others = list[float](), list[float]()
        await _start_others(house, calm, asyncio.create_task(asyncio.sleep(CALM_SECONDS)))
        began, cpu = time.perf_counter(), time.process_time()
        forgetting = asyncio.create_task(house.runtime.erasures(WORKSPACE, USER))
        await _start_others(house, others, forgetting)
        receipt, _ = await forgetting
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        assert receipt.executions == EXECUTIONS_OF_ONE, receipt
        left = sum(path.read_bytes().count(USER.encode()) for path in folder.iterdir() if path.is_file())
        size = (folder / "store.db").stat().st_size / 1e6
    return [
        ("forget.seconds", took, "s"),
        ("forget.cpu_seconds", cpu, "s"),
        *_spread("forget.calm", calm),
        *_spread("forget.others", others),
        ("forget.traces_left", left, "count"),
        ("forget.file_mb", size, "MB"),
        ("forget.memory_mb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MB"),
    ]


@asynccontextmanager
async def _house(folder: Path) -> AsyncIterator[House]:
    clock = SystemClock()
    addresses: dict[str, str] = {}
    async with machinery("embedded", "embedded", folder, clock.now_ms) as (documents, log):
        authoring = Authoring(documents, log, clock)
        analytics = Analytics(documents, log, clock, runtime=lambda: addresses.get("runtime"))
        runtime = Runtime(
            documents,
            log,
            clock,
            is_alone=True,
            analytics=lambda: addresses.get("analytics"),
            authoring=lambda: addresses.get("authoring"),
        )
        servers: list[Server] = []
        services: tuple[Any, ...] = (authoring, analytics, runtime)
        for service in services:
            await service.open()
            server = Server(service.name)
            for register, servicer, name in service.servicers():
                server.add(register, servicer, name)
            addresses[service.name] = await server.start(f"unix:{folder}/{service.name}.sock")
            servers.append(server)
        try:
            yield House(runtime, analytics, documents, log)
        finally:
            for server in servers:
                await server.stop(grace=1)
            for service in reversed(services):
                await service.close()


async def _lived(house: House) -> None:
    """One run of the person as the engine makes it, and copies of it under other events."""
    workspace = Workspace(
        key=WORKSPACE, workspace=WORKSPACE, created_at_ms=1, name="T", salt="salt", subject_secret=SECRET
    )
    await house.documents.insert(WORKSPACES, workspace)
    await publish_workspace(house.log)
    await publish_journey(house.log, STEPS)
    await house.runtime.ingestion(WORKSPACE, [CustomerEvent(id="e0", type="signed_up", end_user_id=USER)])
    while not await house.runtime.idle():
        await asyncio.sleep(0.05)
    one = (await house.documents.scan(EXECUTIONS, "", limit=1)).items[0]
    for first in range(1, EXECUTIONS_OF_ONE, 1_000):
        inserts, records = [], []
        for n in range(first, min(first + 1_000, EXECUTIONS_OF_ONE)):
            name = ids.execution_id("act", 1, USER, f"m{n}")
            key = ids.execution_key(one.slot, SECRET, WORKSPACE, name)
            entries = tuple(replace(entry, id=f"{key}:1:{i}") for i, entry in enumerate(one.history[:4]))
            copy = replace(
                one,
                key=key,
                execution_id=name,
                trigger=replace(one.trigger, event_id=f"m{n}"),
                history=entries,
                outbox=(),
                transition=3,
                started_at=one.started_at + n,
            )
            inserts.append(Insert(EXECUTIONS, copy))
            records.append(record_of(copy, entries))
        await house.documents.write_many(inserts)
        await house.log.append(EXECUTION_RECORDS, records)
    while not await house.analytics.idle():
        await asyncio.sleep(0.2)


async def _start_others(house: House, seconds: list[float], until: "asyncio.Task[Any]") -> None:
    """Start one after the other until that task is done; how long each took."""
    run = id(seconds)
    while not until.done():
        n, began = len(seconds), time.perf_counter()
        event = CustomerEvent(id=f"o{run}-{n}", type="signed_up", end_user_id=f"other{n}")
        await house.runtime.ingestion(WORKSPACE, [event])
        event = CustomerEvent(id=f"s{run}-{n}", end_user_id=f"other{n}")
        await house.runtime.commands.start(WORKSPACE, "act", event, "internal", "system")
        seconds.append(time.perf_counter() - began)
        await asyncio.sleep(EVERY_SECONDS)


def _spread(name: str, seconds: list[float]) -> Iterator[tuple[str, float, str]]:
    ordered = sorted(seconds)
    yield f"{name}_p50_ms", 1e3 * ordered[len(ordered) // 2], "ms"
    yield f"{name}_p99_ms", 1e3 * ordered[int(len(ordered) * 0.99)], "ms"
    yield f"{name}_max_ms", 1e3 * ordered[-1], "ms"
