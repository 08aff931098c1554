"""What the embedded store and log can take: `python -m tests.benchmarks.storage`.

Documents of some 900 bytes with two indexes, in a SQLite file that syncs every commit. `at 500` means calls of 500
writes, two in flight, so that one gathers while the other commits. To compare: runtime design, section 3, measured
inserts at 1 / 100 / 500 per commit 260-2,500 / 47,600 / 36,300 a second, guarded updates 340-1,960 / 16,300 /
26,200; they were single statements on a bare connection, these go through the port and its codecs.
"""

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from services.infra.documents.port import Collection, Index, Insert, Outcome, Replace, Write
from services.infra.documents.sqlite import SqliteDocuments
from services.infra.log.port import Record, Topic
from services.infra.log.sqlite import SqliteLog
from services.infra.sqlite.engine import Engine, open_engine

Figure = tuple[str, float, str]
SIZES = (1, 100, 500)
DOCUMENTS = 40_000
RECORDS = 100_000


class Person(msgspec.Struct, frozen=True):
    """A document as large as a waiting execution."""

    key: str
    lane: int
    due_at: int
    subject: str
    open_until: int
    revision: int
    epoch: int
    history: str


PEOPLE = Collection(
    "people",
    Person,
    epoch="epoch",
    indexes=(Index("due", ("lane", "due_at")), Index("subject", ("subject", "open_until"))),
)
EVENTS = Topic("events")


def figures() -> Iterator[Figure]:
    """One file for all of it, in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        yield from asyncio.run(_all(Path(folder)))


async def _all(folder: Path) -> list[Figure]:
    engine = await open_engine(folder)
    try:
        return [*await _documents(engine), *await _log(engine)]
    finally:
        await engine.close()


async def _documents(engine: Engine) -> list[Figure]:
    documents = SqliteDocuments(engine)
    await documents.open([PEOPLE])
    found: list[Figure] = []
    people: list[Person] = []
    draw = random.Random(1)
    for size in SIZES:
        fresh = [_person(draw) for _ in range(DOCUMENTS if size > 1 else 500)]
        writes: list[Write] = [Insert(PEOPLE, person) for person in fresh]
        seconds = await _written(documents, writes, size)
        found.append((f"store_inserts_at_{size}", len(fresh) / seconds, "documents/s"))
        people += fresh
    for size in SIZES:
        draw.shuffle(people)
        chosen = people[: DOCUMENTS if size > 1 else 500]
        chosen = [msgspec.structs.replace(one, revision=one.revision + 1, due_at=one.due_at + 1) for one in chosen]
        people[: len(chosen)] = chosen
        seconds = await _written(documents, [Replace(PEOPLE, person) for person in chosen], size)
        found.append((f"store_guarded_updates_at_{size}", len(chosen) / seconds, "documents/s"))

    singles = [_person(draw) for _ in range(10_000)]
    seconds = await _in_flight([lambda one=one: documents.insert(PEOPLE, one) for one in singles], 64)  # type: ignore[misc]
    found.append(("store_inserts_of_64_callers", len(singles) / seconds, "documents/s"))

    batches = [[person.key for person in draw.sample(people, 250)] for _ in range(40)]
    seconds = await _in_flight([lambda keys=keys: documents.get_many(PEOPLE, keys) for keys in batches], 1)  # type: ignore[misc]
    found.append(("store_get_many_per_key", seconds / 250 / 40 * 1e6, "us"))
    found.append(("store_busy_loop_500_updates_worst", await _beside_a_busy_loop(documents, people, draw), "ms"))
    return found


async def _beside_a_busy_loop(documents: SqliteDocuments, people: list[Person], draw: random.Random) -> float:
    """The slowest of 40 bulks while the loop has work all the time: each step of a statement would cost 5 ms."""
    ends = asyncio.Event()

    async def work() -> None:
        while not ends.is_set():
            sum(range(20_000))
            await asyncio.sleep(0)

    worker, slowest = asyncio.create_task(work()), 0.0
    for _ in range(40):
        draw.shuffle(people)
        people[:500] = [msgspec.structs.replace(one, revision=one.revision + 1) for one in people[:500]]
        slowest = max(slowest, await _written(documents, [Replace(PEOPLE, person) for person in people[:500]], 500))
    ends.set()
    await worker
    return slowest * 1000


async def _log(engine: Engine) -> list[Figure]:
    log = SqliteLog(engine, now_ms=lambda: time.time_ns() // 1_000_000)
    await log.open([EVENTS])
    found: list[Figure] = []
    for size in SIZES:
        records = [Record(f"pk_demo:usr_{i % 5000}", b"x" * 300) for i in range(RECORDS if size > 1 else 500)]
        calls = [records[i : i + size] for i in range(0, len(records), size)]
        seconds = await _in_flight([lambda call=call: log.append(EVENTS.name, call) for call in calls], 2)  # type: ignore[misc]
        found.append((f"log_appends_at_{size}", len(records) / seconds, "records/s"))

    subscription = await log.subscribe([EVENTS.name], "behind")
    began, read = time.perf_counter(), 0
    while records_read := await subscription.poll(500, 0):
        read += len(records_read)
    found.append(("log_polls_from_file", read / (time.perf_counter() - began), "records/s"))

    took = 0.0
    for _ in range(50):
        await log.append(EVENTS.name, [Record(f"pk_demo:usr_{i}", b"x" * 300) for i in range(500)])
        began = time.perf_counter()
        read = len(await subscription.poll(500, 1))
        took += time.perf_counter() - began
    found.append(("log_polls_at_the_head", 50 * read / took, "records/s"))
    await log.close()
    return found


async def _written(documents: SqliteDocuments, writes: Sequence[Write], size: int) -> float:
    async def call(part: Sequence[Write]) -> None:
        outcomes = await documents.write_many(part)
        assert outcomes == [Outcome.APPLIED] * len(part)

    parts = [writes[i : i + size] for i in range(0, len(writes), size)]
    return await _in_flight([lambda part=part: call(part) for part in parts], 1 if size == 1 else 2)  # type: ignore[misc]


async def _in_flight(calls: Sequence[Callable[[], Awaitable[object]]], width: int) -> float:
    """Seconds until all are done, `width` at a time."""
    waiting = iter(calls)

    async def one_after_the_other() -> None:
        for call in waiting:
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(one_after_the_other() for _ in range(width)))
    return time.perf_counter() - began


def _person(draw: random.Random) -> Person:
    slot = draw.randrange(1024)
    subject = f"{slot:04x}{draw.randbytes(12).hex()}"
    key = f"{slot:04x}{draw.randbytes(12).hex()}"
    return Person(key, slot % 64, 1_777_554_000_000 + draw.randrange(10**8), subject, 1 << 53, 1, 7, "h" * 750)


if __name__ == "__main__":
    for name, value, unit in figures():
        sys.stdout.write(f"BENCH {name} {value:g} {unit}\n")
