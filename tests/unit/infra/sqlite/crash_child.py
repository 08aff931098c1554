"""A process that writes until it is killed: `python -m tests.unit.infra.sqlite.crash_child <folder> <round>`.

Each line it prints was acknowledged before it was printed: `doc <key> <revision>`, `log <offset> <value>`, and
`done <offset>`: a position that was committed before the append on the line before.
"""

import asyncio
import os
import sys
from pathlib import Path

import msgspec

from services.infra.documents.port import Collection, Index, Insert, Replace, Write
from services.infra.documents.sqlite import SqliteDocuments
from services.infra.log.port import Record, Topic
from services.infra.log.sqlite import SqliteLog
from services.infra.sqlite.engine import open_engine


class Thing(msgspec.Struct, frozen=True):
    """A document with an index."""

    key: str
    due_at: int
    revision: int = 1
    body: str = "x" * 500


THINGS = Collection("things", Thing, indexes=(Index("due", ("due_at",)),))
EVENTS = Topic("events")
PARTITION = 3


def say(*words: object) -> None:
    """One line, in one system call."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def write_forever(folder: Path, turn: str) -> None:
    """Eight who insert and replace in bulks, one who appends and commits."""
    engine = await open_engine(folder)
    documents, log = SqliteDocuments(engine), SqliteLog(engine, now_ms=lambda: 0)
    await documents.open([THINGS])
    await log.open([EVENTS])

    async def write(name: int) -> None:
        number = 0
        while True:
            things = [Thing(f"{turn}.{name}.{number + i}", number + i) for i in range(1 + number % 7)]
            inserts: list[Write] = [Insert(THINGS, thing) for thing in things]
            await documents.write_many(inserts)
            for thing in things:
                say("doc", thing.key, 1)
            replaces: list[Write] = [
                Replace(THINGS, msgspec.structs.replace(thing, revision=2)) for thing in things[::2]
            ]
            await documents.write_many(replaces)
            for thing in things[::2]:
                say("doc", thing.key, 2)
            number += len(things)

    async def append() -> None:
        subscription = await log.subscribe([EVENTS.name], "g")
        number = 0
        while True:
            done = max((stored.offset + 1 for stored in await subscription.poll(100, 0)), default=0)
            if done:
                await subscription.commit({(EVENTS.name, PARTITION): done})
            value = f"{turn}.{number}"
            (place,) = await log.append(EVENTS.name, [Record("k", value.encode(), partition=PARTITION)])
            say("log", place.offset, value)
            if done:
                say("done", done)
            number += 1

    await asyncio.gather(append(), *(write(name) for name in range(8)))


if __name__ == "__main__":
    asyncio.run(write_forever(Path(sys.argv[1]), sys.argv[2]))
