"""The event log over the embedded engine: it shares the documents' file, and so their commits.

Law: a record is shown to nobody before its commit. Offsets are dense in the order of appending and are never
given twice, also not after the newest record of a partition was deleted. One process owns all partitions.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import apsw

from services.infra.log import sqlite_positions
from services.infra.log.port import Erased, Listener, LogUnavailable, Place, Record, Stored, Topic, partition_of
from services.infra.log.sqlite_positions import Positions
from services.infra.log.sqlite_subscription import SqliteSubscription
from services.infra.log.sqlite_table import Line, TopicTable, one
from services.infra.log.tail import Tail
from services.infra.sqlite.engine import Engine, Unavailable
from services.infra.sqlite.group import Handler

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

COMMIT_SECONDS = 1.0
TRIMMED_AT_ONCE = 1_000
TAIL_BYTES = 2 << 20  # for each topic that somebody reads

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Append:
    """What one caller appends: records and the partition of each."""

    topic: "TopicState"
    records: Sequence[Record]
    partitions: Sequence[int]


@dataclass(frozen=True, slots=True)
class _Appended:
    """What became of an append: the lines' numbers begin at `first`."""

    topic: "TopicState"
    first: int
    lines: Sequence[Line]


@dataclass(frozen=True, slots=True)
class _Erase:
    """What one caller erases: (partition, offset) of each record."""

    table: TopicTable
    places: Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Trim:
    """A part of a topic that may go: up to a number, and in each partition below an offset (None: no bound)."""

    table: TopicTable
    last: int
    limits: Sequence[int | None]


@dataclass(slots=True, eq=False)
class TopicState:
    """A topic as the loop knows it: what is committed, and who reads it."""

    table: TopicTable
    ends: list[int]
    tail: Tail
    readers: list[SqliteSubscription] = field(default_factory=list)


class SqliteLog:
    """A log in the engine's database. `now_ms` stamps each record as it is written; it is called in another thread.

    `close` leaves the engine open: it belongs to whoever opened it. A topic that was not opened is a LookupError.
    """

    def __init__(self, engine: Engine, partitions: int = 16, *, now_ms: Callable[[], int]) -> None:
        if not 1 <= partitions <= 999:
            raise ValueError(f"a topic has 1 to 999 partitions, not {partitions}")
        self.partitions = partitions
        self._engine = engine
        self._now_ms = now_ms
        self._topics: dict[str, TopicState] = {}
        self._subscriptions: list[SqliteSubscription] = []
        self._positions = Positions()
        self._flush_timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._is_closed = False
        # Where handlers run, and nowhere else:
        self._seq = 0
        self._next: dict[str, list[int]] = {}  # the offsets each partition gives next; forgotten when one was not used
        engine.watch(self._after_group)

    async def open(self, topics: Sequence[Topic]) -> None:
        """See the port. Raises ValueError if the log was made with another number of partitions."""
        new = [TopicTable(topic.name, topic.compacted) for topic in topics if topic.name not in self._topics]
        for table, (seq, ends) in zip(new, await self._write(self._create, new), strict=True):
            self._topics.setdefault(table.topic, TopicState(table, ends, Tail(seq, TAIL_BYTES)))

    async def migrate(self, topics: Sequence[Topic]) -> list[str]:
        """See the port. Opening does it: one process has the file."""
        await self.open(topics)
        return []

    async def append(self, topic: str, records: Sequence[Record]) -> list[Place]:
        """See the port. The records of one call are written all or not at all."""
        state = self.state_of(topic)
        if not records:
            return []
        partitions = [
            partition_of(record.key, self.partitions) if record.partition is None else record.partition
            for record in records
        ]
        if not 0 <= min(partitions) <= max(partitions) < self.partitions:
            raise ValueError(f"the partitions are 0 to {self.partitions - 1}: {sorted(set(partitions))}")
        appended = await self._write(
            self._append,
            _Append(state, records, partitions),
            rows=len(records),
            size=sum(len(record.value) for record in records),
            arrived=self._arrived,
        )
        return [Place(line[1], line[2]) for line in appended.lines]

    async def subscribe(
        self, topics: Sequence[str], group: str, listener: Listener | None = None
    ) -> SqliteSubscription:
        """See the port. A group has one member here: ValueError while another one reads one of the topics."""
        states = {topic: self.state_of(topic) for topic in topics}
        for other in self._subscriptions:
            if other.group == group and not states.keys().isdisjoint(other.topics):
                raise ValueError(f"the group {group!r} reads {sorted(states.keys() & set(other.topics))} already")
        subscription = SqliteSubscription(self, group, states, listener)
        self._subscriptions.append(subscription)  # before anything is awaited: of two that join, the second is refused
        try:
            await self.flush()
            await subscription.start()
        except BaseException:
            subscription.leave()
            raise
        return subscription

    async def ends(self, topic: str) -> dict[int, int]:
        """See the port."""
        self._check_open()
        return dict(enumerate(self.state_of(topic).ends))

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Stored]:
        """See the port."""
        table = self.state_of(topic).table
        if limit < 1:
            return []
        return await self.query(lambda connection: table.in_partition(connection, partition, offset, limit))

    async def erase(self, topic: str, places: Sequence[Place]) -> Erased:
        """See the port. Whoever reads along may still be given what was erased before they came to it."""
        state = self.state_of(topic)
        if not places:
            return Erased(0)
        item = _Erase(state.table, [(place.partition, place.offset) for place in places])
        return Erased(await self._write(_erase, item, rows=len(places)))

    async def trim(self, topic: str, before: int) -> int:
        """See the port; in small transactions, between which others write."""
        state = self.state_of(topic)
        if state.table.is_compacted:
            raise ValueError(f"a compacted topic is not trimmed: {topic!r}")
        await self.flush()
        last = await self.query(lambda connection: state.table.last_before(connection, before))
        readers = {reader.group for reader in state.readers}
        limits = await self.query(
            lambda connection: sqlite_positions.least(connection, topic, self.partitions, readers)
        )
        removed = 0
        while last is not None:
            part = await self._write(_trim, _Trim(state.table, last, limits), rows=TRIMMED_AT_ONCE)
            removed += part
            if part < TRIMMED_AT_ONCE:
                break
        return removed

    async def scrub(self) -> bool:
        """See the port; shared with the documents' where both are asked at once."""
        self._check_open()
        try:
            await self._engine.scrub()
        except Unavailable as error:
            raise LogUnavailable(str(error)) from error
        return True

    async def close(self) -> None:
        """See the port; positions committed so far are written."""
        if self._is_closed:
            return
        for subscription in list(self._subscriptions):
            await subscription.close()
        await self.flush_or_warn()
        self._is_closed = True
        if self._flush_timer is not None:
            self._flush_timer.cancel()

    # For subscriptions.

    def state_of(self, topic: str) -> TopicState:
        """What is known of a topic. Raises LookupError."""
        if topic not in self._topics:
            raise LookupError(f"the topic {topic!r} was not opened")
        return self._topics[topic]

    async def query(self, job: Callable[[apsw.Connection], ResultT]) -> ResultT:
        """Run a read on the engine."""
        self._check_open()
        try:
            return await self._engine.read(job)
        except Unavailable as error:
            raise LogUnavailable(str(error)) from error

    def put_positions(self, group: str, positions: dict[tuple[str, int], int]) -> None:
        """Remember a group's positions; they are written with the next append or within a second."""
        self._check_open()
        self._positions.put({(group, topic, partition): offset for (topic, partition), offset in positions.items()})
        self._flush_later()

    async def flush(self) -> None:
        """Write the positions that wait."""
        if self._positions:
            await self._write(self._write_positions, None)

    async def flush_or_warn(self) -> bool:
        """Write the positions that wait; if that cannot be, records will repeat, which is no reason to fail."""
        try:
            await self.flush()
            return True
        except LogUnavailable as error:
            logger.warning("positions are not written: %s", error)
            return False

    def forget(self, subscription: SqliteSubscription) -> None:
        """The subscription has ended."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    # On the loop.

    def _arrived(self, appended: _Appended) -> None:
        """Records are committed: those who read the topic get them."""
        topic = appended.topic
        for line in appended.lines:
            topic.ends[line[1]] = line[2] + 1
        if topic.readers:
            topic.tail.add(appended.first, [topic.table.stored(line) for line in appended.lines])
        else:
            topic.tail.drop(appended.first + len(appended.lines) - 1)
        for reader in topic.readers:
            reader.wake()

    def _flush_later(self) -> None:
        if self._flush_timer is None and not self._is_closed:
            self._flush_timer = asyncio.get_running_loop().call_later(COMMIT_SECONDS, self._start_flush)

    def _start_flush(self) -> None:
        self._flush_timer = None
        if self._positions and not self._is_closed:
            self._flushing = asyncio.get_running_loop().create_task(self._flush_or_repeat())

    async def _flush_or_repeat(self) -> None:
        if not await self.flush_or_warn():
            self._flush_later()

    def _check_open(self) -> None:
        if self._is_closed:
            raise LogUnavailable("the log is closed")

    async def _write(self, handler: Handler[ItemT, ResultT], item: ItemT, **more: Any) -> ResultT:
        self._check_open()
        try:
            return await self._engine.write(handler, item, **more)
        except Unavailable as error:
            raise LogUnavailable(str(error)) from error

    # Where handlers run.

    def _create(
        self, connection: apsw.Connection, callers: Sequence[Sequence[TopicTable]]
    ) -> list[list[tuple[int, list[int]]]]:
        connection.execute(
            "create table if not exists logmeta_counters (topic text not null, partition integer not null,"
            " next integer not null, primary key (topic, partition)) without rowid;"
            "create table if not exists logmeta_settings (partitions integer not null)"
        )
        sqlite_positions.create(connection)
        found = one(connection, "select partitions from logmeta_settings")
        if found is None:
            connection.execute("insert into logmeta_settings values (?)", (self.partitions,))
        elif found != self.partitions:
            raise ValueError(f"the log was made with {found} partitions, not {self.partitions}")
        answers = []
        for tables in callers:
            for table in tables:
                table.create(connection)
                self._seq = max(self._seq, table.last_seq(connection))
            answers.append(tables)
        return [[(self._seq, table.next_offsets(connection, self.partitions)) for table in each] for each in answers]

    def _append(self, connection: apsw.Connection, appends: Sequence[_Append]) -> list[_Appended]:
        """Give every record its place and write them, topic by topic. A handler of the engine."""
        self._write_positions(connection, ())
        by_topic: dict[str, list[int]] = {}
        for i, append in enumerate(appends):
            by_topic.setdefault(append.topic.table.topic, []).append(i)
        answers: dict[int, _Appended] = {}
        try:
            for topic, places in by_topic.items():
                table = appends[places[0]].topic.table
                if topic not in self._next:
                    self._next[topic] = table.next_offsets(connection, self.partitions)
                lines: list[Line] = []
                for i in places:
                    mine = self._lines(appends[i], self._next[topic])
                    answers[i] = _Appended(appends[i].topic, mine[0][0], mine)
                    lines += mine
                table.insert(connection, lines)
        except BaseException:
            self._after_group(False)
            raise
        return [answers[i] for i in range(len(appends))]

    def _lines(self, append: _Append, offsets: list[int]) -> list[Line]:
        now = self._now_ms()
        lines: list[Line] = []
        for record, partition in zip(append.records, append.partitions, strict=True):
            self._seq += 1
            lines.append((self._seq, partition, offsets[partition], now, record.key, record.value, record.headers))
            offsets[partition] += 1
        return lines

    def _write_positions(self, connection: apsw.Connection, callers: Sequence[None]) -> list[None]:
        self._positions.write(connection)
        return [None for _ in callers]

    def _after_group(self, is_committed: bool) -> None:
        """A transaction ended. Numbers may have gaps; offsets that nobody got are given again."""
        self._positions.settle(is_committed)
        if not is_committed:
            self._next = {}


def _erase(connection: apsw.Connection, callers: Sequence[_Erase]) -> list[int]:
    """A handler of the engine: how many records each caller erased."""
    return [item.table.erase(connection, item.places) for item in callers]


def _trim(connection: apsw.Connection, callers: Sequence[_Trim]) -> list[int]:
    """A handler of the engine: how many records went for each caller."""
    return [item.table.trim(connection, item.last, item.limits, TRIMMED_AT_ONCE) for item in callers]
