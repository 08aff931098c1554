"""The two ports in memory: for tests that need no file, with places where a test can make them fail.

Law: they keep every promise of `services.infra.documents.port` and `services.infra.log.port` within one process.
Documents and records are copied on their way in and out, so nobody shares a value with the store; every call gives
the loop a turn, so that whoever forgot a guard is caught.
"""

import asyncio
import base64
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from services.infra.documents import newer
from services.infra.documents.port import (
    BadCursor,
    Collection,
    Delete,
    DuplicateKey,
    Insert,
    Outcome,
    Page,
    Replace,
    StaleRevision,
    StoreUnavailable,
    Value,
    Write,
)
from services.infra.log.port import (
    Erased,
    Listener,
    LogUnavailable,
    Place,
    Record,
    Stored,
    Subscription,
    Topic,
    partition_of,
)

T = TypeVar("T")
Entry = tuple[tuple[Value, ...], str]  # the values of an index's fields, and the key


class MemoryDocuments:
    """A document store that lives as long as the object; `close` and `open` keep what is stored.

    `fault` is asked before each write and may raise; `unavailable` makes every call raise StoreUnavailable.
    """

    def __init__(self) -> None:
        self.unavailable = False
        self.fault: Callable[[Write], None] | None = None
        self.writes = 0
        self._known: set[str] = set()
        self._stored: dict[str, dict[str, bytes]] = {}
        self._schemas: dict[tuple[str, str], int] = {}  # of documents above the first schema

    async def open(self, collections: Sequence[Collection[Any]]) -> None:
        await self._turn()
        for collection in collections:
            self._known.add(collection.name)
            self._stored.setdefault(collection.name, {})

    async def migrate(self, collections: Sequence[Collection[Any]]) -> list[str]:
        await self.open(collections)
        return []

    async def close(self) -> None:
        await asyncio.sleep(0)

    async def get(self, collection: Collection[T], key: str) -> T | None:
        await self._turn()
        if self._is_newer(collection, key):
            raise newer.met(collection.name, key)
        body = self._rows(collection).get(key)
        return None if body is None else _decode(collection, body)

    async def get_many(self, collection: Collection[T], keys: Sequence[str]) -> dict[str, T]:
        await self._turn()
        rows = self._rows(collection)
        return {key: _decode(collection, rows[key]) for key in keys if key in rows and self._is_known(collection, key)}

    async def insert(self, collection: Collection[T], document: T) -> None:
        await self._turn()
        if self._apply(Insert(collection, document)) is not Outcome.APPLIED:
            raise DuplicateKey(collection.name, getattr(document, collection.key))

    async def replace(self, collection: Collection[T], document: T) -> None:
        await self._turn()
        if self._apply(Replace(collection, document)) is not Outcome.APPLIED:
            raise StaleRevision(collection.name, getattr(document, collection.key))

    async def delete(self, collection: Collection[T], key: str, revision: int | None = None) -> None:
        await self._turn()
        if self._apply(Delete(collection, key, revision)) is not Outcome.APPLIED:
            raise StaleRevision(collection.name, key)

    async def write_many(self, writes: Sequence[Write]) -> list[Outcome]:
        names = [(write.collection.name, _key_of(write)) for write in writes]
        if len(set(names)) < len(names):
            raise ValueError("two writes to one key")
        await self._turn()
        outcomes = []
        for write in writes:
            try:
                outcomes.append(self._apply(write))
            except StoreUnavailable:
                outcomes.append(Outcome.FAILED)
        return outcomes

    async def scan(
        self,
        collection: Collection[T],
        index: str,
        equals: Sequence[Value] = (),
        *,
        low: Value | None = None,
        high: Value | None = None,
        after: str | None = None,
        limit: int = 100,
        descending: bool = False,
    ) -> Page[T]:
        await self._turn()
        entries = [
            entry
            for entry in self._entries(collection, index, equals)
            if (low is None or _next(entry, equals) >= low) and (high is None or _next(entry, equals) < high)
        ]
        if descending:
            entries.reverse()
        scan = _name_of(collection.name, index, tuple(equals), low, high, descending)
        start = 0
        if after is not None:
            last = _read_cursor(after, scan)
            start = sum(1 for entry in entries if (entry >= last if descending else entry <= last))
        page = entries[start : start + limit]
        rows = self._rows(collection)
        more = start + limit < len(entries)
        return Page([_decode(collection, rows[key]) for _, key in page], _cursor(page[-1], scan) if more else None)

    async def scan_prefixes(
        self,
        collection: Collection[T],
        index: str,
        prefixes: Sequence[Sequence[Value]],
        *,
        low: int | None = None,
        high: int,
        limit: int,
    ) -> list[T]:
        await self._turn()
        found = [
            (_next(entry, prefix), entry[1])
            for prefix in prefixes
            for entry in self._entries(collection, index, prefix)
            if _next(entry, prefix) < high and (low is None or _next(entry, prefix) >= low)
        ]
        rows = self._rows(collection)
        return [_decode(collection, rows[key]) for _, key in sorted(found)[:limit]]

    async def least(self, collection: Collection[T], index: str, prefixes: Sequence[Sequence[Value]]) -> int | None:
        await self._turn()
        return min(
            (_next(entry, prefix) for prefix in prefixes for entry in self._entries(collection, index, prefix)),
            default=None,
        )

    async def scan_many(
        self,
        collection: Collection[T],
        index: str,
        queries: Sequence[tuple[Sequence[Value], Value | None]],
        *,
        limit: int,
    ) -> list[list[T]]:
        await self._turn()
        rows = self._rows(collection)
        found = []
        for equals, low in queries:
            entries = self._entries(collection, index, equals)
            keys = [key for values, key in entries if low is None or _next((values, key), equals) >= low]
            found.append([_decode(collection, rows[key]) for key in keys[:limit]])
        return found

    async def count_by(
        self, collection: Collection[T], index: str, equals: Sequence[Value] = ()
    ) -> Mapping[Value, int]:
        await self._turn()
        counts: dict[Value, int] = {}
        for entry in self._entries(collection, index, equals):
            value = _next(entry, equals)
            counts[value] = counts.get(value, 0) + 1
        return counts

    async def scrub(self) -> bool:
        await self._turn()
        return True

    def everything(self) -> dict[str, dict[str, bytes]]:
        """Every stored body by collection and key; for tests that look for what must not be there."""
        return self._stored

    def peek(self, collection: Collection[T], key: str) -> T:
        """The document of a key that is there, without waiting; for assertions and forced orders."""
        return _decode(collection, self._rows(collection)[key])

    def put(self, collection: Collection[T], document: T) -> None:
        """Store a document whatever was there; for forced orders."""
        self._rows(collection)[getattr(document, collection.key)] = msgspec.msgpack.encode(document)

    async def _turn(self) -> None:
        await asyncio.sleep(0)
        if self.unavailable:
            raise StoreUnavailable("the test says so")

    def _rows(self, collection: Collection[Any]) -> dict[str, bytes]:
        if collection.name not in self._known:
            raise LookupError(f"the collection {collection.name!r} was not opened")
        return self._stored[collection.name]

    def _apply(self, write: Write) -> Outcome:
        if self.fault is not None:
            self.fault(write)
        rows, key = self._rows(write.collection), _key_of(write)
        if self._is_newer(write.collection, key) and not isinstance(write, Delete):
            return Outcome.DUPLICATE if isinstance(write, Insert) else Outcome.CONFLICT
        held = None if key not in rows else _decode(write.collection, rows[key])
        match write:
            case Insert():
                if held is not None:
                    return Outcome.DUPLICATE
            case Replace():
                if held is None or not _may_replace(write.collection, held, write.document):
                    return Outcome.CONFLICT
            case Delete(collection, _, revision):
                if held is not None and revision is not None and getattr(held, collection.revision) != revision:
                    return Outcome.CONFLICT
                self.writes += 1
                rows.pop(key, None)
                self._schemas.pop((collection.name, key), None)
                return Outcome.APPLIED
        self.writes += 1
        rows[key] = msgspec.msgpack.encode(write.document)
        if write.collection.schema > 1:
            self._schemas[write.collection.name, key] = write.collection.schema
        return Outcome.APPLIED

    def _is_newer(self, collection: Collection[Any], key: str) -> bool:
        return self._schemas.get((collection.name, key), 1) > collection.schema

    def _is_known(self, collection: Collection[Any], key: str) -> bool:
        if not self._is_newer(collection, key):
            return True
        newer.pass_over(collection.name, key)
        return False

    def _entries(self, collection: Collection[Any], index: str, equals: Sequence[Value]) -> list[Entry]:
        """The index's entries under `equals`, in order."""
        rows = self._rows(collection)
        if index == "":
            if equals:
                raise ValueError("the order of keys has no fields to be equal")
            return sorted(((), key) for key in rows if self._is_known(collection, key))
        fields = {known.name: known.fields for known in collection.indexes}[index]
        entries = []
        for key, body in rows.items():
            document = _decode(collection, body)  # also a newer one: no test's is of another shape
            values = tuple(getattr(document, name) for name in fields)
            if None not in values and values[: len(equals)] == tuple(equals) and self._is_known(collection, key):
                entries.append((values, key))
        return sorted(entries)


class MemoryLog:
    """A log that lives as long as the object. `unavailable` makes appends raise LogUnavailable; `fault` may raise itself.

    Members of one group share the partitions in ranges, in the order in which they joined.
    """

    def __init__(self, partitions: int = 16, now_ms: Callable[[], int] | None = None) -> None:
        self.partitions = partitions
        self.unavailable = False
        self.fault: Callable[[str, Sequence[Record]], None] | None = None
        self._now_ms = now_ms or (lambda: time.time_ns() // 1_000_000)
        self._topics: dict[str, list[list[Stored | None]]] = {}  # by partition and offset; None: erased
        self._compacted: set[str] = set()
        self._committed: dict[tuple[str, str, int], int] = {}
        self._groups: dict[str, list[_MemorySubscription]] = {}
        self._appended = asyncio.Event()

    async def open(self, topics: Sequence[Topic]) -> None:
        await asyncio.sleep(0)
        for topic in topics:
            self._topics.setdefault(topic.name, [[] for _ in range(self.partitions)])
            if topic.compacted:
                self._compacted.add(topic.name)

    async def migrate(self, topics: Sequence[Topic]) -> list[str]:
        await self.open(topics)
        return []

    async def append(self, topic: str, records: Sequence[Record]) -> list[Place]:
        await asyncio.sleep(0)
        if self.unavailable:
            raise LogUnavailable("the test says so")
        if self.fault is not None:
            self.fault(topic, records)
        places, now_ms = [], self._now_ms()
        for record in records:
            chosen = record.partition
            partition = partition_of(record.key, self.partitions) if chosen is None else chosen
            rows = self._topics[topic][partition]
            rows.append(Stored(topic, partition, len(rows), record.key, record.value, record.headers, now_ms))
            places.append(Place(partition, len(rows) - 1))
        self._appended.set()
        self._appended = asyncio.Event()
        return places

    async def subscribe(self, topics: Sequence[str], group: str, listener: Listener | None = None) -> Subscription:
        for topic in topics:
            self._topics[topic]  # known, or the caller forgot to open it
        member = _MemorySubscription(self, tuple(topics), group, listener)
        await self._deal(group, [*self._groups.get(group, []), member])
        return member

    async def ends(self, topic: str) -> dict[int, int]:
        await asyncio.sleep(0)
        return {partition: len(rows) for partition, rows in enumerate(self._topics[topic])}

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Stored]:
        await asyncio.sleep(0)
        found: list[Stored] = []
        for stored in self._topics[topic][partition][max(offset, 0) :]:
            if len(found) == limit:
                break
            if stored is not None:
                found.append(stored)
        return found

    async def erase(self, topic: str, places: Sequence[Place]) -> Erased:
        await asyncio.sleep(0)
        count = 0
        for place in places:
            rows = self._topics[topic][place.partition]
            if 0 <= place.offset < len(rows) and rows[place.offset] is not None:
                rows[place.offset] = None
                count += 1
        return Erased(count)

    async def trim(self, topic: str, before: int) -> int:
        await asyncio.sleep(0)
        if topic in self._compacted:
            raise ValueError("a compacted topic is not trimmed")
        groups = {group for group, members in self._groups.items() if any(topic in one._topics for one in members)}
        groups |= {group for group, name, _ in self._committed if name == topic}
        count = 0
        for partition, rows in enumerate(self._topics[topic]):
            end = min((self._committed.get((group, topic, partition), 0) for group in groups), default=len(rows))
            for offset, stored in enumerate(rows[:end]):
                if stored is not None and stored.appended_at < before:
                    rows[offset] = None
                    count += 1
        return count

    async def scrub(self) -> bool:
        await asyncio.sleep(0)
        return True

    async def close(self) -> None:
        await asyncio.sleep(0)

    def all(self, topic: str) -> list[Stored]:
        """Every record of a topic, by partition and offset; for assertions."""
        return [stored for rows in self._topics.get(topic, []) for stored in rows if stored is not None]

    async def _deal(self, group: str, members: "list[_MemorySubscription]") -> None:
        """Hand the partitions out anew: all are given back before any is given out."""
        for member in self._groups.get(group, []):
            await member.lose()
        self._groups[group] = members
        for i, member in enumerate(members):
            share = range(self.partitions * i // len(members), self.partitions * (i + 1) // len(members))
            await member.gain(list(share))


class _MemorySubscription:
    def __init__(self, log: MemoryLog, topics: tuple[str, ...], group: str, listener: Listener | None) -> None:
        self._log = log
        self._topics = topics
        self._group = group
        self._listener = listener
        self._paused = False
        self._next: dict[tuple[str, int], int] = {}

    async def gain(self, partitions: Sequence[int]) -> None:
        if self._listener is not None:
            await self._listener.assigned(partitions)
        committed = self._log._committed
        self._next = {
            (topic, partition): committed.get((self._group, topic, partition), 0)
            for topic in self._topics
            for partition in partitions
        }

    async def lose(self) -> None:
        held = sorted({partition for _, partition in self._next})
        if self._listener is not None and held:
            await self._listener.revoked(held)
        self._next = {}

    async def poll(self, max_records: int, timeout: float) -> list[Stored]:
        try:
            async with asyncio.timeout(timeout):
                while True:
                    appended = self._log._appended
                    await asyncio.sleep(0)
                    if found := self._take(max_records):
                        return found
                    await appended.wait()
        except TimeoutError:
            return []

    def _take(self, max_records: int) -> list[Stored]:
        found: list[Stored] = []
        for (topic, partition), offset in self._next.items():
            if self._paused or len(found) == max_records:
                break
            rows = self._log._topics[topic][partition][offset : offset + max_records - len(found)]
            self._next[topic, partition] = offset + len(rows)
            found.extend(stored for stored in rows if stored is not None)
        return found

    async def commit(self, positions: Mapping[tuple[str, int], int]) -> None:
        await asyncio.sleep(0)
        for (topic, partition), offset in positions.items():
            self._log._committed[self._group, topic, partition] = offset

    def lag(self) -> int:
        return sum(len(self._log._topics[topic][partition]) - at for (topic, partition), at in self._next.items())

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._log._appended.set()
        self._log._appended = asyncio.Event()

    async def close(self) -> None:
        members = self._log._groups.get(self._group, [])
        if self in members:
            await self._log._deal(self._group, [member for member in members if member is not self])
        self._next = {}


def _decode(collection: Collection[T], body: bytes) -> T:
    return msgspec.msgpack.decode(body, type=collection.type)


def _key_of(write: Write) -> str:
    key: str = write.key if isinstance(write, Delete) else getattr(write.document, write.collection.key)
    return key


def _may_replace(collection: Collection[T], held: T, new: T) -> bool:
    if getattr(held, collection.revision) != getattr(new, collection.revision) - 1:
        return False
    return collection.epoch is None or getattr(held, collection.epoch) <= getattr(new, collection.epoch)


def _next(entry: Entry, equals: Sequence[Value]) -> Any:
    """The value after the equal ones; where there is none, the key."""
    values, key = entry
    return values[len(equals)] if len(equals) < len(values) else key


def _name_of(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def _cursor(entry: Entry, scan: str) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode((scan, *entry))).decode()


def _read_cursor(cursor: str, scan: str) -> Entry:
    try:
        body = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True)
        name, values, key = msgspec.msgpack.decode(body, type=tuple[str, tuple[str | int, ...], str])
    except (ValueError, msgspec.DecodeError):
        raise BadCursor(cursor) from None
    if name != scan:
        raise BadCursor(cursor)
    return values, key
