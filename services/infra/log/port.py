"""The event-log port: durable appends, partitioned reads, explicit commits.

Law: a record's partition is a function of its key (`partition_of`), equal to Kafka's own default, so a
producer in any language and this process agree on who owns a person.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Topic:
    """A named log. `compacted`: of the records of one key only the newest has to be kept."""

    name: str
    compacted: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """What is appended. `key` decides the partition; `headers` are names and bytes."""

    key: str
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None  # only where the key's own partition must be overruled


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as it is read: where it stands, and when it was appended (ms UTC, the log's own clock)."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    appended_at: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where an appended record stands."""

    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Erased:
    """What became of an erase: how many records are gone, and until when (ms UTC) those stay that cannot go."""

    count: int
    retained_until: int | None = None


class LogUnavailable(Exception):
    """The log cannot take or give records now; nothing was acknowledged."""


class NoTopics(LogUnavailable):
    """The log lacks topics, or has them with other partitions: `journeys migrate` has not run, or an older one has."""


@dataclass(frozen=True, slots=True)
class Listener:
    """What a subscriber wants to know of ownership: called before the first record and before the hand-over."""

    assigned: Callable[[Sequence[int]], Awaitable[None]]
    revoked: Callable[[Sequence[int]], Awaitable[None]]


class Subscription(Protocol):
    """A reader of a group over one or more topics with the same partitions."""

    async def poll(self, max_records: int, timeout: float) -> list[Stored]:
        """Up to `max_records` not yet polled, in order within each partition; waits at most `timeout` seconds."""

    async def commit(self, positions: Mapping[tuple[str, int], int]) -> None:
        """(topic, partition) -> the offset to read next after a restart. Durable at the latest with the next append."""

    def lag(self) -> int:
        """Records appended and not yet polled by this subscription, as far as known here."""

    def pause(self) -> None:
        """Deliver nothing until `resume`; ownership is kept."""

    def resume(self) -> None:
        """Go on delivering."""

    async def close(self) -> None:
        """Leave the group."""


class Log(Protocol):
    """An event log. All methods may raise LogUnavailable."""

    partitions: int

    async def open(self, topics: Sequence[Topic]) -> None:
        """Make the topics known (and, in the embedded log, present). Idempotent.

        Raises NoTopics, naming what is missing, where `migrate` has to come first.
        """

    async def migrate(self, topics: Sequence[Topic]) -> list[str]:
        """Make the topics present. Idempotent; raises ValueError where one has other partitions.

        What was changed, a line each. An operator's step: no service calls it.
        """

    async def append(self, topic: str, records: Sequence[Record]) -> list[Place]:
        """Append all, in order within a key; durable on return."""

    async def subscribe(self, topics: Sequence[str], group: str, listener: Listener | None = None) -> Subscription:
        """Join a group; begins at the committed offsets, or at the beginning."""

    async def ends(self, topic: str) -> dict[int, int]:
        """The offset the next record of each partition will get."""

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Stored]:
        """Records from `offset` on without a group; short when there are no more (gaps are possible: compaction)."""

    async def erase(self, topic: str, places: Sequence[Place]) -> Erased:
        """Remove these records for ever; their offsets are not given again, those not there are passed over.

        A log that cannot remove single records removes none and says when its retention has removed whatever is in
        the topic now; it says so for no places as well, so that nobody reads a topic in vain.
        """

    async def trim(self, topic: str, before: int) -> int:
        """Remove what was appended before that moment (ms UTC) and committed by every group; how many went.

        0 where the log has a retention of its own. ValueError for a compacted topic.
        """

    async def scrub(self) -> bool:
        """Make what was erased, trimmed or compacted before this call unreadable in the log's own files as well.

        False where the machinery keeps its files as it likes (a broker).
        """

    async def close(self) -> None:
        """Finish what was acknowledged and let go."""


@lru_cache(maxsize=65536)
def partition_of(key: str, partitions: int) -> int:
    """The partition of a key: Kafka's default, (murmur2(utf8(key)) & 0x7fffffff) % partitions.

    3 us in pure Python, hence the cache: the same people come again.
    """
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """Kafka's murmur2 (seed 0x9747b28c) as an unsigned 32-bit integer.

    Source: org.apache.kafka.common.utils.Utils.murmur2; the same constants as A. Appleby's MurmurHash2.
    """
    m, length = 0x5BD1E995, len(data)
    h = 0x9747B28C ^ length
    end = length & ~3
    for i in range(0, end, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & 0xFFFFFFFF
        k = (k ^ (k >> 24)) * m & 0xFFFFFFFF
        h = (h * m & 0xFFFFFFFF) ^ k
    if tail := data[end:]:
        h = (h ^ int.from_bytes(tail, "little")) * m & 0xFFFFFFFF
    h = (h ^ (h >> 13)) * m & 0xFFFFFFFF
    return h ^ (h >> 15)
