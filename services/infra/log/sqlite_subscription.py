"""A group's reading of some topics: all partitions, in the order of appending.

Law: nothing is handed out twice, nothing is left out, and whoever waits is woken by the append itself. What was
just committed comes from memory; whoever is behind reads the file until they have caught up.
"""

import asyncio
import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

import apsw

from services.infra.log import sqlite_positions
from services.infra.log.port import Listener, LogUnavailable, Stored

if TYPE_CHECKING:
    from services.infra.log.sqlite import SqliteLog, TopicState

Numbered = tuple[int, Stored]


@dataclass(slots=True)
class _Reading:
    """How far one topic is read: by the log's number, and by the offset each partition gives next."""

    topic: "TopicState"
    after: int
    positions: list[int]

    @property
    def is_behind(self) -> bool:
        """Whether what follows has to be read from the file."""
        return self.after < self.topic.tail.floor


class SqliteSubscription:
    """See `services.infra.log.port.Subscription`. One task polls it."""

    def __init__(
        self, log: "SqliteLog", group: str, topics: "Mapping[str, TopicState]", listener: Listener | None
    ) -> None:
        self.group = group
        self.topics = dict(topics)
        self._log = log
        self._listener = listener
        self._readings: list[_Reading] = []
        self._wake = asyncio.Event()
        self._is_paused = False
        self._is_closed = False
        self._is_handing_over = False

    async def start(self) -> None:
        """Take the partitions over, and begin where the group stopped."""
        for state in self.topics.values():
            state.readers.append(self)  # from here on, what is appended stays in memory
        if self._listener is not None:
            await self._listener.assigned(range(self._log.partitions))
        floors = {topic: state.tail.floor for topic, state in self.topics.items()}
        found = await self._log.query(lambda connection: self._begin(connection, floors))
        self._readings = [
            _Reading(state, after, positions)
            for state, (after, positions) in zip(self.topics.values(), found, strict=True)
        ]

    def _begin(self, connection: apsw.Connection, floors: Mapping[str, int]) -> list[tuple[int, list[int]]]:
        found = []
        for topic, state in self.topics.items():
            positions = sqlite_positions.read(connection, self.group, topic, self._log.partitions)
            after = state.table.seq_before(connection, positions)
            found.append((floors[topic] if after is None else after, positions))
        return found

    async def poll(self, max_records: int, timeout: float) -> list[Stored]:
        """See the port. Raises LogUnavailable after the close."""
        if max_records < 1:
            raise ValueError(f"a poll asks for at least one record, not {max_records}")
        if self._is_closed:
            raise LogUnavailable("the subscription is closed")
        deadline = asyncio.get_running_loop().time() + timeout
        while not self._is_closed:
            self._wake.clear()  # before looking: what is appended from here on is not missed
            if not self._is_paused and (found := await self._take(max_records)):
                return found
            try:
                async with asyncio.timeout_at(deadline):
                    await self._wake.wait()
            except TimeoutError:
                break
        return []

    async def commit(self, positions: Mapping[tuple[str, int], int]) -> None:
        """See the port. Lost positions repeat records, so no commit waits for the disk."""
        if self._is_closed and not self._is_handing_over:
            raise LogUnavailable("the subscription is closed")
        self._log.put_positions(self.group, dict(positions))

    def lag(self) -> int:
        """See the port. Before anything was polled, gaps left by compaction count as records."""
        return sum(
            max(end - position, 0)
            for reading in self._readings
            for end, position in zip(reading.topic.ends, reading.positions, strict=True)
        )

    def pause(self) -> None:
        """See the port."""
        self._is_paused = True

    def resume(self) -> None:
        """See the port."""
        self._is_paused = False
        self._wake.set()

    def wake(self) -> None:
        """Something was appended."""
        self._wake.set()

    async def close(self) -> None:
        """See the port: what was committed is written, a poll that waits returns nothing. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        self._wake.set()
        try:
            if self._listener is not None:
                self._is_handing_over = True  # what it has seen to by now it may still commit
                await self._listener.revoked(range(self._log.partitions))
                self._is_handing_over = False
            await self._log.flush_or_warn()
        finally:
            self.leave()

    def leave(self) -> None:
        """Let go of the topics. Idempotent."""
        for state in self.topics.values():
            if self in state.readers:
                state.readers.remove(self)
            if not state.readers:
                state.tail.drop_all()
        self._log.forget(self)

    async def _take(self, limit: int) -> list[Stored]:
        """The next records; empty only where there are none."""
        while True:
            if any(reading.is_behind for reading in self._readings):
                parts, heads = await self._read_file(limit)
            else:
                parts, heads = [reading.topic.tail.after(reading.after, limit) for reading in self._readings], None
            found = self._advance(parts, limit)
            if heads is not None:
                self._catch_up(parts, heads, limit)
            if found:
                return found
            if not any(parts) and not any(reading.is_behind for reading in self._readings):
                if heads is None:
                    # All that came is read, and what is missing up to the ends was erased before anybody came to it.
                    for reading in self._readings:
                        reading.positions = [
                            max(pair) for pair in zip(reading.positions, reading.topic.ends, strict=True)
                        ]
                return []

    async def _read_file(self, limit: int) -> tuple[list[list[Numbered]], list[tuple[int, list[int]]]]:
        """Records of every topic from the file, and how far each topic reached before they were read."""
        asked = [(reading.topic.table, reading.after) for reading in self._readings]
        heads = [(reading.topic.tail.floor, list(reading.topic.ends)) for reading in self._readings]
        parts = await self._log.query(
            lambda connection: [table.in_order(connection, after, limit) for table, after in asked]
        )
        return parts, heads

    def _advance(self, parts: list[list[Numbered]], limit: int) -> list[Stored]:
        """Merge by number and move on past what is handed out; drop what the group had committed."""
        if len(parts) == 1:
            merged = [(number, stored, self._readings[0]) for number, stored in parts[0]]
        else:
            ways = [
                [(number, stored, reading) for number, stored in part]
                for part, reading in zip(parts, self._readings, strict=True)
            ]
            merged = list(heapq.merge(*ways, key=itemgetter(0)))
        found: list[Stored] = []
        for number, stored, reading in merged[:limit]:
            reading.after = number
            if stored.offset >= reading.positions[stored.partition]:
                reading.positions[stored.partition] = stored.offset + 1
                found.append(stored)
        for reading in self._readings:
            tail = reading.topic.tail
            if len(reading.topic.readers) == 1 and reading.after > tail.floor:
                tail.drop(reading.after)
        return found

    def _catch_up(self, parts: list[list[Numbered]], heads: list[tuple[int, list[int]]], limit: int) -> None:
        """A part that was shorter than asked and is used up holds all there was: gaps behind it are no lag."""
        for reading, part, (floor, ends) in zip(self._readings, parts, heads, strict=True):
            if len(part) < limit and (not part or reading.after >= part[-1][0]):
                reading.after = max(reading.after, floor)
                reading.positions = [max(pair) for pair in zip(reading.positions, ends, strict=True)]
