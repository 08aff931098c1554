"""`make bench-distributed`: the workload of end_to_end with a process for each service, on Kafka and a document server.

    python -m tests.benchmarks.distributed [--people N] [--seconds N] [--timers N] [--due N]

Everything shares this machine's cores: the four services, the broker, the document server and this program. The first
line says which document server it was; a stand-in's figure is nobody else's.

    store      guarded writes in bulks of 500 through our adapter, before anything else runs: the server's own ceiling
    flow       events over HTTP until step-stats count the last send, as in end_to_end; CPU of each process meanwhile
    latency    CloudEvents straight to Kafka at half of that rate: from the broker's time to the message's
    timers     executions that wait, of which some are due within one minute: from due to the message's time, and how
               much of that is beyond what the store allows, had it nothing else to do than their writes

--due is by default what half of the measured rate does in a minute, and all of --timers at most.
"""

import argparse
import asyncio
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from journeys.events.v1.authoring_record_pb2 import CatalogueRecord
from pymongo import MongoClient

from services.domain import ids
from services.domain.execution.execution import Execution
from services.infra.clock import SystemClock
from services.infra.documents.mongo import MongoDocuments
from services.infra.documents.port import Collection, Index, Insert, Outcome, Replace
from services.infra.log.kafka import KafkaLog
from services.runtime.collections import CATALOGUE, EVENTS, EXECUTIONS
from services.runtime.lanes import subject_of
from tests.benchmarks.end_to_end import STEPS
from tests.e2e.server import Client
from tests.support.cluster import Cluster
from tests.support.servers import OwnPlace, servers

Figure = tuple[str, float, str]
BULK = 500
CEILING_SECONDS = 6.0
MINUTE_MS = 60_000
IN_FLIGHT = 4  # bulks at once
LINGER_MS = 5  # of the producer that measures latency: Kafka's own default
WRITES = 6  # of one execution: itself twice, its message, its facts twice, rows of the timeline
WAIT: list[dict[str, Any]] = [
    {"id": "trigger", "type": "trigger", "mode": "event", "next": "wait"},
    {"id": "wait", "type": "wait", "mode": "duration", "duration": "P1D", "next": "mail"},
    {"id": "mail", "type": "send", "channel": "email", "communicationId": "$mail", "next": "exit"},
    {"id": "exit", "type": "exit"},
]


class Row(msgspec.Struct, frozen=True):
    """Half a kilobyte, as a waiting execution without its history is."""

    key: str
    lane: int
    due_at: int
    filling: str = "x" * 420
    revision: int = 1
    epoch: int = 1


ROWS = Collection("bench_rows", Row, epoch="epoch", indexes=(Index("due", ("lane", "due_at")),))


def figures(given: argparse.Namespace, place: OwnPlace) -> Iterator[Figure]:
    """All of them, in the order of the module's list."""
    ceiling, cpu = asyncio.run(_ceiling(place))
    yield "distributed.store_guarded_writes_per_second", ceiling, "1/s"
    if cpu is not None:
        yield "distributed.store_cpu_microseconds_per_guarded_write", cpu, "us"
    cluster = Cluster(place, ["runtime"])
    try:
        cluster.start()
        yield from _with_cluster(given, place, cluster, ceiling)
    finally:
        cluster.close()


def _with_cluster(given: argparse.Namespace, place: OwnPlace, cluster: Cluster, ceiling: float) -> Iterator[Figure]:
    client = cluster.workspace()
    project = client.get("/api/workspace").ok()["projectKey"]
    _import(client, given.people)
    journey = _journey(client, STEPS, "bench.started")
    _post(client, range(given.people // 10), "warm")
    _until(client, journey, given.people // 10)

    before, begun = _cpu(cluster.pids()), time.perf_counter()
    _post(client, range(given.people), "run")
    _until(client, journey, given.people + given.people // 10)
    seconds = time.perf_counter() - begun
    rate = given.people / seconds
    yield "distributed.executions_per_second", rate, "1/s"
    for name, spent in _cpu(cluster.pids()).items():
        yield f"distributed.cpu_seconds_per_execution.{name}", (spent - before[name]) / given.people, "s"

    sent = max(int(rate / 2 * given.seconds), 10)
    before = _cpu(cluster.pids())
    asyncio.run(_produce(place, project, sent, rate / 2))
    _until(client, journey, given.people + given.people // 10 + sent)
    taken = _first_effects(place, journey)
    yield "latency.load_per_second", rate / 2, "1/s"
    yield "latency.first_effect_p50_ms", _part(taken, 0.5), "ms"
    yield "latency.first_effect_p99_ms", _part(taken, 0.99), "ms"
    for name, spent in _cpu(cluster.pids()).items():
        yield f"latency.cpu_seconds_per_execution.{name}", (spent - before[name]) / sent, "s"

    yield from _timers(given, place, client, project, int(rate / 2 * 60), cluster, ceiling)
    yield "runtime.rss_megabytes", _rss(cluster.pids()["runtime"]), "MB"


# -- the store's own ceiling


async def _ceiling(place: OwnPlace) -> tuple[float, float | None]:
    """Guarded replaces a second, bulks of 500, some of them in flight; and the server's CPU for each, us."""
    documents = MongoDocuments(place.mongodb, place.database)
    await documents.migrate([ROWS])
    await documents.open([ROWS])
    rows = [Row(f"k{i:05}", i % 64, i) for i in range(IN_FLIGHT * 4 * BULK)]
    for start in range(0, len(rows), BULK):
        await documents.write_many([Insert(ROWS, row) for row in rows[start : start + BULK]])
    before, begun = _cpu({}), time.perf_counter()
    share = len(rows) // IN_FLIGHT
    parts = [rows[start : start + share] for start in range(0, len(rows), share)]
    written = sum(await asyncio.gather(*(_replace(documents, part, begun + CEILING_SECONDS) for part in parts)))
    rate = written / (time.perf_counter() - begun)
    after = _cpu({})
    await documents.close()
    server = "store_server"
    return rate, (after[server] - before[server]) / written * 1e6 if server in after else None


async def _replace(documents: MongoDocuments, rows: list[Row], until: float) -> int:
    """Bulk after bulk over these rows; how many documents were written."""
    written = 0
    while time.perf_counter() < until:
        start = written % len(rows)
        part = [
            msgspec.structs.replace(row, revision=row.revision + 1, due_at=row.due_at + 1)
            for row in rows[start : start + BULK]
        ]
        outcomes = await documents.write_many([Replace(ROWS, row) for row in part])
        assert set(outcomes) == {Outcome.APPLIED}
        rows[start : start + BULK] = part
        written += BULK
    return written


# -- over HTTP


def _import(client: Client, people: int) -> None:
    for start in range(0, people, BULK):
        lines = [
            json.dumps({"endUserId": f"u{i}", "addresses": {"email": f"p{i}@example.com"}}).encode()
            for i in range(start, min(start + BULK, people))
        ]
        body, headers = b"\n".join(lines), {"Content-Type": "application/x-ndjson"}
        client.post("/api/subjects:import", raw=body, headers=headers, timeout=300).ok()


def _journey(client: Client, steps: Sequence[dict[str, Any]], event: str) -> str:
    content = {"subject": "Hello", "body": "<p>Hi {{ event.plan }}</p>", "text": "Hi"}
    mail = client.post(
        "/api/communications", {"name": "Bench", "commType": "marketing", "channel": "email", **content}
    ).ok(201)["id"]
    contract = client.post("/api/journey-triggers", {"name": event, "eventName": event}).ok(201)["id"]
    filled = json.loads(json.dumps(steps).replace("$mail", mail))
    body = {"name": event, "triggerContractId": contract, "steps": filled}
    made = client.post("/api/journeys", body).ok(201)["id"]
    client.post(f"/api/journeys/{made}/publish").ok()
    return str(made)


def _post(client: Client, people: range, run: str, event: str = "bench.started") -> None:
    for start in range(0, len(people), BULK):
        events = [
            {"id": f"{run}-{i}", "type": event, "endUserId": f"u{i}", "data": {"plan": "pro"}}
            for i in people[start : start + BULK]
        ]
        client.post("/api/events", {"events": events}, timeout=120).ok(202)


def _until(client: Client, journey: str, count: int) -> None:
    while True:
        stats = client.get(f"/api/journeys/{journey}/step-stats").ok()
        executed = {step["stepId"]: step["executed"] for step in stats}
        if min(executed.get("mail", 0), executed.get("exit", 0)) >= count:
            return
        time.sleep(0.2)


# -- straight to Kafka


async def _produce(place: OwnPlace, project: str, count: int, rate: float) -> None:
    """So many events, evenly."""
    address = place.kafka()
    producer = AIOKafkaProducer(**address.options(), acks="all", enable_idempotence=True, linger_ms=LINGER_MS)
    await producer.start()
    begun = time.perf_counter()
    try:
        waiting = []
        for i in range(count):
            await asyncio.sleep(max(begun + i / rate - time.perf_counter(), 0))
            event = {"specversion": "1.0", "id": f"kafka-{i}", "source": "/bench", "type": "bench.started"}
            value = json.dumps({**event, "data": {"plan": "pro"}}).encode()
            waiting.append(await producer.send(address.stored(EVENTS), value, f"{project}:u{i}".encode()))
        await asyncio.gather(*waiting)
    finally:
        await producer.stop()


def _first_effects(place: OwnPlace, journey: str) -> list[float]:
    """Milliseconds from the broker's time of an event to the moment its message was handed over."""
    with _database(place) as client:
        stored = client[place.database]
        came = {
            one["execution_id"]: one["trigger"]["received_at"]
            for one in stored["executions"].find({"journey_id": journey}, {"execution_id": 1, "trigger": 1})
            if one["trigger"]["event_id"].startswith("kafka-")
        }
        handed = stored["messages"].find({"journey_id": journey}, {"execution_id": 1, "at": 1, "sent_at": 1})
        return [
            (one.get("sent_at") or one["at"]) - came[one["execution_id"]]
            for one in handed
            if one["execution_id"] in came
        ]


# -- timers


def _timers(
    given: argparse.Namespace,
    place: OwnPlace,
    client: Client,
    project: str,
    able: int,
    cluster: Cluster,
    ceiling: float,
) -> Iterator[Figure]:
    due = min(given.due or able, given.timers)
    _import(client, due)
    journey = _journey(client, WAIT, "bench.waited")
    _post(client, range(1), "pattern", "bench.waited")
    with _database(place) as mongo:
        executions = mongo[place.database]["executions"]
        while executions.count_documents({"journey_id": journey, "outbox_due_at": None}) < 1:
            time.sleep(0.1)
    begins = asyncio.run(_plant(place, project, journey, given.timers, due))
    before, peak = _cpu(cluster.pids()), 0.0
    while time.time() * 1000 < begins + MINUTE_MS:
        peak = max(peak, _rss(cluster.pids()["runtime"]))
        time.sleep(1)
    _until(client, journey, due)
    peak = max(peak, _rss(cluster.pids()["runtime"]))
    spent = {name: now - before[name] for name, now in _cpu(cluster.pids()).items()}
    with _database(place) as mongo:
        handed = mongo[place.database]["messages"].find({"journey_id": journey})
        came = {one["end_user_id"]: one.get("sent_at") or one["at"] for one in handed}
    late = [came[f"u{i}"] - _due_of(begins, i, due) for i in range(due)]
    allowed = _allowed([_due_of(begins, i, due) for i in range(due)], 1000 * WRITES / ceiling)
    yield "timers.waiting", given.timers, "executions"
    yield "timers.due_in_a_minute", due, "executions"
    yield "timers.drained_per_second", due / ((max(came.values()) - begins) / 1000), "1/s"
    yield "timers.lateness_p50_ms", _part(late, 0.5), "ms"
    yield "timers.lateness_p99_ms", _part(late, 0.99), "ms"
    yield "timers.store_allows_p99_ms", _part(allowed, 0.99), "ms"
    beyond = [max(one - of_store, 0.0) for one, of_store in zip(late, allowed, strict=True)]
    yield "timers.beyond_the_store_p99_ms", _part(beyond, 0.99), "ms"
    yield "timers.runtime_rss_megabytes", peak, "MB"
    for name, seconds in spent.items():
        yield f"timers.cpu_seconds_per_execution.{name}", seconds / due, "s"


def _allowed(due: Sequence[int], each_ms: float) -> list[float]:
    """How late each would be, were a server that takes so long for one the only thing that takes time."""
    late, free = [], 0.0
    for at in due:
        free = max(free, at) + each_ms
        late.append(free - at)
    return late


def _due_of(begins: int, number: int, due: int) -> int:
    return begins + number * MINUTE_MS // due


async def _plant(place: OwnPlace, project: str, journey: str, waiting: int, due: int) -> int:
    """Copies of the execution that waits: those of the first people due one after the other in the minute that begins
    at the moment this returns (ms), those of everybody else tomorrow.

    Written as the runtime would have: it would take the runtime minutes to get there.
    """
    documents, log = MongoDocuments(place.mongodb, place.database), KafkaLog(place.kafka(), now_ms=SystemClock().now_ms)
    await documents.open([EXECUTIONS])
    secret = await _secret(log, project)
    found = (await documents.scan(EXECUTIONS, "by_journey", (project, journey))).items
    pattern = next(one for one in found if one.wait is not None)

    async def plant(numbers: range, due_of: Callable[[int], int]) -> None:
        for start in range(0, len(numbers), BULK):
            copies = [_copy(pattern, project, secret, i, due_of(i)) for i in numbers[start : start + BULK]]
            outcomes = await documents.write_many([Insert(EXECUTIONS, one) for one in copies])
            assert set(outcomes) == {Outcome.APPLIED}

    tomorrow = SystemClock().now_ms() + 86_400_000
    await plant(range(due, waiting), lambda _: tomorrow)
    # The runtime looks for alarms it does not know of every half minute: it has to meet these before the first is due.
    begins = SystemClock().now_ms() + 35_000 + due * 3
    await plant(range(due), lambda i: _due_of(begins, i, due))
    assert SystemClock().now_ms() + 31_000 < begins, "planting took so long that the first alarms would be late"
    await log.close()
    await documents.close()
    return begins


def _copy(pattern: Execution, project: str, secret: bytes, number: int, due_at: int) -> Execution:
    user, event = f"u{number}", f"planted-{number}"
    subject = subject_of(project, secret, user)
    name = ids.execution_id(pattern.journey_id, pattern.journey_version, user, event)
    assert pattern.wait is not None
    return replace(
        pattern,
        key=ids.execution_key(subject.slot, secret, project, name),
        execution_id=name,
        subject_id=user,
        subject_key=subject.key,
        slot=subject.slot,
        lane=ids.lane_of(subject.slot),
        trigger=replace(pattern.trigger, event_id=event),
        applied_ids=(event,),
        wait=replace(pattern.wait, until=due_at),
        step_due_at=due_at,
        due_at=due_at,
        owner_epoch=0,
    )


async def _secret(log: KafkaLog, project: str) -> bytes:
    from services.runtime.app import Runtime

    await log.open([topic for topic in Runtime.topics if topic.name == CATALOGUE])
    for partition, end in (await log.ends(CATALOGUE)).items():
        for one in await log.read(CATALOGUE, partition, 0, end):
            record = CatalogueRecord.FromString(one.value)
            if record.workspace == project and record.workspace_record.subject_secret:
                return bytes(record.workspace_record.subject_secret)
    raise LookupError(f"the catalogue has no workspace {project}")


# -- what processes cost


def _cpu(pids: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds so far of these processes, of the servers where they are known, and of this program."""
    found = dict(pids)
    state = os.environ.get("JOURNEYS_TEST_STATE")
    for name in ("log", "store"):
        if state and (file := Path(state) / f"{name}.pid").exists():
            found[f"{name}_server"] = int(file.read_text())
    return {**{name: _spent(pid) for name, pid in found.items()}, "client": time.process_time()}


def _spent(pid: int) -> float:
    ticks = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")


def _rss(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def _database(place: OwnPlace) -> MongoClient[dict[str, Any]]:
    return MongoClient(place.mongodb)


def _part(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)] if values else math.nan


def main() -> int:
    """Print BENCH lines."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--people", type=int, default=2_000, help="executions of the flow (2000)")
    options.add_argument("--seconds", type=float, default=20.0, help="how long latency is measured (20)")
    options.add_argument("--timers", type=int, default=10_000, help="executions that wait (10000; the aim: 100000)")
    options.add_argument("--due", type=int, default=0, help="of them due in one minute (half of the measured rate)")
    given = options.parse_args()
    place = OwnPlace(servers())
    with _database(place) as client:
        version = client.admin.command("buildInfo")["version"]
    kind = os.environ.get("JOURNEYS_TEST_STORE_KIND", "unknown: not started by deploy/local")
    sys.stdout.write(f"BENCH document_server {kind}; it reports version {version}\n")
    try:
        for name, value, unit in figures(given, place):
            sys.stdout.write(f"BENCH {name} {value:g} {unit}\n")
            sys.stdout.flush()
    finally:
        asyncio.run(place.remove())
    return 0


if __name__ == "__main__":
    sys.exit(main())
