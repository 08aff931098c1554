"""The producers of the README and of examples/, run as they stand there: what they write starts executions."""

import asyncio
import json
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.infra.clock import SystemClock
from services.infra.log.port import partition_of
from services.runtime.collections import DEAD_LETTERS, EVENTS
from services.runtime.dead_letters import DeadLetters
from services.runtime.paging import PageRequest
from services.runtime.why import Why
from tests.support.journeys import WORKSPACE
from tests.support.servers import OwnPlace, servers
from tests.support.walking import EXIT, TRIGGER, await_step
from tests.support.workers import Machines, Worker, a_producer, a_worker, eventually

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[3]
PRODUCER = ROOT / "examples" / "producers" / "produce.py"
STEPS = [{**TRIGGER, "next": "w"}, await_step("w", "activated", "P3D", "exit", "exit"), EXIT]
LINES = [
    {"id": "py-1", "type": "signed_up", "endUserId": "usr_ada", "data": {"plan": "pro"}},
    {"id": "py-2", "type": "signed_up", "endUserId": "usr_Änne", "timestamp": "2026-01-31T10:00:00.125Z"},
    {"id": "py-1", "type": "signed_up", "endUserId": "usr_ada", "data": {"plan": "free"}},  # its duplicate
    {"id": "py-3", "type": "signed_up", "endUserId": "usr_bob", "data": {}},
]


@pytest.fixture
async def worker() -> AsyncIterator[tuple[Machines, Worker]]:
    """A runtime with a published journey."""
    own = OwnPlace(servers())
    machines = Machines(own.mongodb, own.servers.kafka, own.name)
    await machines.migrate(STEPS)
    async with a_worker(machines) as running:
        yield machines, running
    await own.remove()


async def run(*command: str, said: bytes = b"") -> tuple[int, str]:
    """A command with that standard input; its status and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate(said)
    return process.returncode or 0, output.decode()


@pytest.mark.parametrize("mode", [[], ["--binary"]], ids=["structured", "binary"])
async def test_the_python_producer_starts_executions(
    worker: tuple[Machines, Worker], tmp_path: Path, mode: list[str]
) -> None:
    """Each event once, with its data and its own time; a line that is no event is named, and the others are sent."""
    machines, runtime = worker
    file = tmp_path / "events.ndjson"
    file.write_text("\n".join([*map(json.dumps, LINES), '{"id": "no type"}']))
    at = ["--log", machines.kafka.servers[0], "--topic", machines.kafka.stored(EVENTS)]

    status, said = await run(sys.executable, str(PRODUCER), *at, "--workspace", WORKSPACE, *mode, str(file))

    async def all_started() -> dict[str, tuple[str, object, int]]:
        found = {one.subject_id: one.trigger for one in await runtime.executions()}
        assert {"usr_ada", "usr_Änne", "usr_bob"} == found.keys()
        return {user: (one.event_id, one.data, one.at) for user, one in found.items()}

    async def what_came_again_is_told() -> list[str]:
        why = Why(runtime.documents, runtime.runtime.catalog, SystemClock())
        page = await why.decisions(WORKSPACE, "act", "usr_ada", PageRequest(10))
        told = [one.outcome for one in page.items]
        assert "duplicate" in told
        return told

    started = await eventually(all_started)
    assert ["duplicate", "started"] == await eventually(what_came_again_is_told)
    assert (1, "4 written, 1 left out") == (status, said.splitlines()[-1])
    assert ("py-1", {"plan": "pro"}) == started["usr_ada"][:2]
    assert 1_769_853_600_125 == started["usr_Änne"][2]
    assert [] == (await DeadLetters(runtime.log).listed(PageRequest(10))).items


async def test_the_console_producer_of_the_readme_starts_an_execution(worker: tuple[Machines, Worker]) -> None:
    """The lines of the README with this test's addresses."""
    machines, runtime = worker
    blocks = re.findall(r"```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (script,) = [block for block in blocks if "ConsoleProducer" in block]
    own = {
        "$HOME/.cache/journeys-local": _cache(),
        "pk_demo": WORKSPACE,
        "127.0.0.1:19092": machines.kafka.servers[0],
        "user.signed_up": "signed_up",
        EVENTS: machines.kafka.stored(EVENTS),
    }
    assert all(text in script for text in own), "the README says it otherwise"
    for text, ours in own.items():
        script = script.replace(text, ours)
    assert shutil.which("java"), "the broker needed it too"

    status, said = await run("sh", "-c", script)

    async def is_started() -> None:
        found = [(one.subject_id, one.trigger.event_id) for one in await runtime.executions()]
        assert [("usr_ada", "evt_1")] == found, said

    assert status == 0, said
    await eventually(is_started)


async def test_what_a_producer_gets_wrong_is_kept_with_its_reason(worker: tuple[Machines, Worker]) -> None:
    """A workspace that is not there is a dead letter for each event, and nothing else happens."""
    machines, runtime = worker
    at = ["--log", machines.kafka.servers[0], "--topic", machines.kafka.stored(EVENTS)]
    lines = "\n".join(map(json.dumps, LINES)).encode()

    status, _ = await run(sys.executable, str(PRODUCER), *at, "--workspace", "pk_nobody", said=lines)

    async def all_dead() -> list[str]:
        found = (await DeadLetters(runtime.log).listed(PageRequest(10))).items
        assert len(LINES) == len(found)
        return [one.origin.reason for one in found]

    reasons = await eventually(all_dead)
    assert status == 0
    assert {"There is no such workspace.": len(LINES)} == Counter(reasons)
    assert sum((await runtime.log.ends(DEAD_LETTERS)).values()) == len(LINES)
    assert [] == await runtime.executions()


async def test_a_foreign_partitioners_records_start_who_they_name_once(worker: tuple[Machines, Worker]) -> None:
    """A library that hashes otherwise writes each event to a partition that is not its person's, and once more to
    another one.
    """
    machines, runtime = worker
    people = [f"usr_{i}" for i in range(20)]
    async with a_producer(machines) as produce:
        for person in people:
            key = f"{WORKSPACE}:{person}"
            home = partition_of(key, machines.kafka.partitions)
            event = {"specversion": "1.0", "id": f"e-{person}", "source": "/t", "type": "signed_up"}
            for away in (1, 2):
                astray = (home + away) % machines.kafka.partitions
                await produce(key.encode(), json.dumps(event).encode(), partition=astray)

    async def all_started() -> None:
        assert people == sorted((one.subject_id for one in await runtime.executions()), key=people.index)
        assert await runtime.runtime.idle()

    await eventually(all_started)
    ends = await runtime.log.ends(EVENTS)
    moved = [
        (person, partition)
        for partition, end in ends.items()
        for one in await runtime.log.read(EVENTS, partition, 0, max(end, 1))
        if (person := one.key.partition(":")[2]) and partition == partition_of(one.key, machines.kafka.partitions)
    ]
    assert set(people) == {person for person, _ in moved}
    assert [] == (await DeadLetters(runtime.log).listed(PageRequest(10))).items


def _cache() -> str:
    """Where the jars are: as deploy/local/local.py decides it."""
    own = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "journeys-local"
    return os.environ.get("JOURNEYS_LOCAL_CACHE") or str(own)
