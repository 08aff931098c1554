"""Backtesting: recorded events walked a second, and how memory grows with them."""

import asyncio
import json
import resource
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from services.domain.ids import subject_key
from services.infra.documents.port import Insert
from services.infra.machinery import machinery
from services.runtime.app import Runtime
from services.runtime.backtests import Backtests, Window
from services.runtime.collections import EVENT_RECORDS, EventRecord
from services.runtime.lanes import slot_of
from services.runtime.simulation import Walkable
from tests.support.journeys import WORKSPACE, publish_journey
from tests.support.walking import EXIT, TRIGGER, send_step, wait_step
from tests.support.world import a_world

PEOPLE = 10_000
EVENTS_EACH = 10
STEPS = [{**TRIGGER, "next": "mail"}, send_step("mail", "w"), wait_step("w", "P1D", "exit"), EXIT]


def figures() -> Iterator[tuple[str, float, str]]:
    """One in ten events starts the journey: a mail and a wait of a day."""
    yield from asyncio.run(_run())


async def _run() -> list[tuple[str, float, str]]:
    async with a_world() as world, machinery("memory", "memory", Path(), lambda: 0) as (documents, _):
        await documents.open(Runtime.collections)
        await publish_journey(world.log, STEPS)
        runtime = world.runtime
        backtests = Backtests(documents, runtime.catalog, world.clock, runtime.simulation, _plain)
        secret, now = b"0" * 32, world.clock.now_ms()
        for first in range(0, PEOPLE, 500):
            records = [
                _record(f"u{person}", secret, now + event * 60_000, "signed_up" if event == 0 else f"visited_{event}")
                for person in range(first, min(first + 500, PEOPLE))
                for event in range(EVENTS_EACH)
            ]
            await documents.write_many([Insert(EVENT_RECORDS, record) for record in records])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began, cpu = time.perf_counter(), time.process_time()
        name = await backtests.start(WORKSPACE, "act", Walkable(number=1), Window(now, now + 3_600_000))
        while (await backtests.get(WORKSPACE, "act", name)).status == "running":
            await asyncio.sleep(0.05)
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        done = await backtests.get(WORKSPACE, "act", name)
        result = json.loads(done.result_json)
        assert result["entered"] == PEOPLE, result
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return [
        ("backtest.events_per_second", PEOPLE * EVENTS_EACH / took, "events/s"),
        ("backtest.cpu_microseconds_per_event", cpu / (PEOPLE * EVENTS_EACH) * 1e6, "us"),
        ("backtest.memory_grown_mb", grown, "MB"),
    ]


def _record(person: str, secret: bytes, at: int, name: str) -> EventRecord:
    return EventRecord(
        key=f"{WORKSPACE}:{person}-{name}",
        event_id=f"{person}-{name}",
        name=name,
        at=at,
        received_at=at,
        partition=0,
        offset=0,
        subject_key=subject_key(slot_of(WORKSPACE, person), secret, person),
        data_json=b'{"plan": "pro"}',
        end_user_id=person,
    )


def _plain(template: str, values: Mapping[str, Any], now: int) -> str:
    return template
