"""The event log over Apache Kafka.

Law: an append is acknowledged when all replicas in sync have it, and a call that takes too long is in doubt, which
is answered as "cannot now": whoever repeats it appends again, and readers know a repeat by its id. Offsets are
committed by the reader's word alone. Topics are made by `migrate` and by nothing else; they carry the broker's
time, and all have the same partitions. This module, `kafka_subscription` and `kafka_refusal` are aiokafka's
only users.
Source: runtime design 9; infrastructure 2.2.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    TopicAlreadyExistsError,
    for_code,
)

from services.infra.log.kafka_address import KafkaAddress
from services.infra.log.kafka_refusal import refusal_of
from services.infra.log.kafka_subscription import ANSWER_SECONDS, SESSION_MS, KafkaSubscription, Spot
from services.infra.log.port import (
    Erased,
    Listener,
    LogUnavailable,
    NoTopics,
    Place,
    Record,
    Stored,
    Topic,
    partition_of,
)

R = TypeVar("R")

CONNECT_SECONDS = 60.0  # a broker may start after us
APPEND_SECONDS = 6.0  # well below the 10 s in which a caller of ours wants its answer
# So long after a broker has let an append wait for nothing the next ones are refused at once. A caller of ours repeats
# what is refused three times within a second: were each of them to wait as long, its time would run out and it would
# be told that nobody knows, instead of "not now".
REFUSED_SECONDS = 1.5
SELDOM_SECONDS = 10.0
READ_WAIT_MS = 10  # a read knows that there is something: a broker that waits for more delays it
RECORD_BYTES = 8 << 20  # an event of 5 MB, with room for what is around it
DAY_MS = 86_400_000
# Events are replayed from 30 days back (runtime design 4); a segment goes when its newest record is that old.
RETENTION_MS, SEGMENT_MS = 35 * DAY_MS, DAY_MS
_FOREVER = 1 << 53

logger = logging.getLogger(__name__)
_TALKERS = ("client", "conn", "producer.sender", "consumer.fetcher", "consumer.group_coordinator", "cluster")


class _Seldom(logging.Filter):
    """Each line of the driver once in ten seconds: while a broker is away it says the same many times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        name, now = f"{record.name} {record.msg}", time.monotonic()
        if now - self._said.get(name, -SELDOM_SECONDS) < SELDOM_SECONDS:
            return False
        self._said[name] = now
        return True


_seldom = _Seldom()
for _talker in _TALKERS:
    logging.getLogger(f"aiokafka.{_talker}").addFilter(_seldom)


class KafkaLog:
    """A log in a Kafka cluster; made within the loop that uses it. A topic that was not opened is a LookupError."""

    def __init__(self, address: KafkaAddress, *, now_ms: Callable[[], int], session_ms: int = SESSION_MS) -> None:
        self.partitions = address.partitions
        self.address = address
        self.session_ms = session_ms
        self._now_ms = now_ms
        self._topics: dict[str, Topic] = {}
        self._ends: dict[Spot, int] = {}  # as far as we know of them
        self._producer: Any = None
        self._reader: Any = None
        self._connecting = asyncio.Lock()
        self._reading = asyncio.Lock()
        self._subscriptions: list[KafkaSubscription] = []
        self._is_closed = False
        self._refused_until = 0.0  # monotonic

    # -- topics

    async def open(self, topics: Sequence[Topic]) -> None:
        """See the port. Waits for a broker that is not there yet; looks, and changes nothing."""
        await self._connect()
        found = await self._with_admin(lambda admin: self._described(admin, topics))
        missing = [topic.name for topic in topics if found.get(topic.name, 0) == 0]
        others = [
            f"{topic.name} has {found[topic.name]} partitions, not {self.partitions}"
            for topic in topics
            if found.get(topic.name, 0) not in (0, self.partitions)
        ]
        if missing or others:
            lines = [*others, *([f"the log lacks the topics {', '.join(missing)}"] if missing else [])]
            raise NoTopics(f"run `journeys migrate` first: {'; '.join(lines)}")
        self._topics.update({topic.name: topic for topic in topics})

    async def migrate(self, topics: Sequence[Topic]) -> list[str]:
        """See the port."""
        return await self._with_admin(lambda admin: self._create(admin, topics))

    async def _create(self, admin: Any, topics: Sequence[Topic]) -> list[str]:
        found = await self._described(admin, topics)
        others = [name for name, partitions in found.items() if partitions != self.partitions]
        if others:
            raise ValueError(
                f"the partitions of a topic are chosen once: {', '.join(others)} have other ones than {self.partitions}"
            )
        missing = [topic for topic in topics if topic.name not in found]
        if not missing:
            return []
        brokers = len((await admin.describe_cluster())["brokers"])
        replication = self.address.replication or min(3, brokers)
        answer = await admin.create_topics(
            [
                NewTopic(
                    self.address.stored(topic.name),
                    self.partitions,
                    replication,
                    topic_configs=_configs(topic, replication),
                )
                for topic in missing
            ]
        )
        for name, code, *_ in answer.topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:  # two may migrate at once
                raise LogUnavailable(f"the topic {name} cannot be made: {for_code(code).description}")
        await self._await_leaders(admin, missing)
        return [
            f"made the topic {topic.name} with {self.partitions} partitions, {replication} of each" for topic in missing
        ]

    async def _await_leaders(self, admin: Any, topics: Sequence[Topic]) -> None:
        async with asyncio.timeout(ANSWER_SECONDS):
            while len(await self._described(admin, topics)) < len(topics):  # noqa: ASYNC110  the broker tells nobody
                await asyncio.sleep(0.05)

    async def _described(self, admin: Any, topics: Sequence[Topic]) -> dict[str, int]:
        """Those of the topics that exist and have all their leaders, with their partitions."""
        names = {self.address.stored(topic.name): topic.name for topic in topics}
        present = [name for name in await admin.list_topics() if name in names]  # asking for others might make them
        described = await admin.describe_topics(present) if present else []
        return {
            names[one["topic"]]: len(one["partitions"])
            for one in described
            if one["error_code"] == 0 and all(partition["leader"] >= 0 for partition in one["partitions"])
        }

    # -- appending

    async def append(self, topic: str, records: Sequence[Record]) -> list[Place]:
        """See the port. A record that is too large is a ValueError; LogUnavailable leaves in doubt what was kept."""
        self._check(topic)
        if not records:
            return []
        partitions = [
            partition_of(record.key, self.partitions) if record.partition is None else record.partition
            for record in records
        ]
        if not 0 <= min(partitions) <= max(partitions) < self.partitions:
            raise ValueError(f"the partitions are 0 to {self.partitions - 1}: {sorted(set(partitions))}")
        for record in records:
            if len(record.value) > RECORD_BYTES - 4096:
                raise ValueError(f"a record of {len(record.value)} bytes is too large for the log")
        if time.monotonic() < self._refused_until:
            raise LogUnavailable("no broker confirms what is appended")
        try:
            async with asyncio.timeout(APPEND_SECONDS):
                return await self._append(topic, records, partitions)
        except TimeoutError:
            self._refused_until = time.monotonic() + REFUSED_SECONDS
            raise LogUnavailable(f"no broker confirmed an append within {APPEND_SECONDS:g} s") from None
        except MessageSizeTooLargeError as error:
            raise ValueError("a record is too large for the log") from error
        except KafkaError as error:
            raise LogUnavailable(f"the log takes nothing: {error}") from error

    async def _append(self, topic: str, records: Sequence[Record], partitions: Sequence[int]) -> list[Place]:
        stored = self.address.stored(topic)
        waiting = [
            await self._producer.send(
                stored, record.value, record.key.encode(), partition, headers=list(record.headers)
            )
            for record, partition in zip(records, partitions, strict=True)
        ]
        confirmed = await asyncio.gather(*waiting)
        for one in confirmed:
            self.note_end((topic, one.partition), one.offset + 1)
        return [Place(one.partition, one.offset) for one in confirmed]

    # -- reading

    async def subscribe(self, topics: Sequence[str], group: str, listener: Listener | None = None) -> KafkaSubscription:
        """See the port. Returns when the group has dealt its partitions and the listener knows them."""
        for topic in topics:
            self._check(topic)
        subscription = KafkaSubscription(self, topics, group, listener)
        self._subscriptions.append(subscription)
        try:
            await subscription.start()
        except BaseException:
            with suppress(Exception):
                await subscription.close()
            raise
        return subscription

    async def ends(self, topic: str) -> dict[int, int]:
        """See the port."""
        self._check(topic)
        spots = [TopicPartition(self.address.stored(topic), partition) for partition in range(self.partitions)]
        ends = await self._answer(self._reader.end_offsets(spots))
        for spot, end in ends.items():
            self.note_end((topic, spot.partition), end)
        return {spot.partition: end for spot, end in ends.items()}

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Stored]:
        """See the port. One after the other: a reader stands at one place."""
        self._check(topic)
        if limit < 1:
            return []
        spot = TopicPartition(self.address.stored(topic), partition)
        async with self._reading:
            return await self._answer(self._read(spot, offset, limit))

    async def _read(self, spot: Any, offset: int, limit: int) -> list[Stored]:
        end = (await self._reader.end_offsets([spot]))[spot]
        start = max(offset, (await self._reader.beginning_offsets([spot]))[spot])
        if start >= end:
            return []
        self._reader.assign([spot])
        self._reader.seek(spot, start)
        found: list[Stored] = []
        while len(found) < limit and await self._reader.position(spot) < end:
            part = await self._reader.getmany(spot, timeout_ms=1000, max_records=limit - len(found))
            found += [self.stored(one) for one in part.get(spot, ())]
        # Else it would go on asking, and the next read would wait for the end of that question.
        self._reader.pause(spot)
        return found

    # -- what a broker does with what is old

    async def erase(self, topic: str, places: Sequence[Place]) -> Erased:
        """See the port: a broker removes whole segments when they are old enough, and says here when."""
        self._check(topic)
        configs = await self._with_admin(lambda admin: self._configs_of(admin, topic))
        kept, rolled = int(configs.get("retention.ms", "-1")), int(configs.get("segment.ms", "0"))
        if kept < 0 or "delete" not in configs.get("cleanup.policy", "delete"):
            return Erased(0, _FOREVER)
        return Erased(0, self._now_ms() + kept + rolled)

    async def trim(self, topic: str, before: int) -> int:
        """See the port: the topic's own retention does it."""
        self._check(topic)
        if self._topics[topic].compacted:
            raise ValueError(f"{topic} is compacted: what is old may be all there is of a key")
        return 0

    async def scrub(self) -> bool:
        """See the port: the broker keeps its files as it likes."""
        return False

    async def _configs_of(self, admin: Any, topic: str) -> dict[str, str]:
        asked = ConfigResource(ConfigResourceType.TOPIC, self.address.stored(topic))
        (answer,) = await admin.describe_configs([asked])
        ((code, message, _, _, entries),) = answer.resources
        if code:
            raise LogUnavailable(f"the broker does not tell how {topic} is kept: {message}")
        return {entry[0]: entry[1] for entry in entries}

    # -- the cluster

    async def close(self) -> None:
        """See the port."""
        if self._is_closed:
            return
        for subscription in list(self._subscriptions):
            await subscription.close()
        self._is_closed = True
        for client in (self._producer, self._reader):
            if client is not None:
                with suppress(KafkaError, TimeoutError):
                    async with asyncio.timeout(ANSWER_SECONDS):
                        await client.stop()

    def forget(self, subscription: KafkaSubscription) -> None:
        """The subscription has ended."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def stored(self, record: Any) -> Stored:
        """A record as its readers see it. Foreign producers may leave out the key or the value."""
        prefix = len(self.address.stored("")) if self.address.prefix else 0
        return Stored(
            record.topic[prefix:],
            record.partition,
            record.offset,
            (record.key or b"").decode(errors="replace"),
            record.value or b"",
            tuple((name, value or b"") for name, value in record.headers),
            record.timestamp,
        )

    def end_of(self, spot: Spot) -> int:
        """The end of a partition as far as we know it."""
        return self._ends.get(spot, 0)

    def note_end(self, spot: Spot, end: int) -> None:
        if end > self._ends.get(spot, 0):
            self._ends[spot] = end

    def _check(self, topic: str) -> None:
        if self._is_closed:
            raise LogUnavailable("the log is closed")
        if topic not in self._topics:
            raise LookupError(f"the topic {topic!r} was not opened")

    async def _connect(self) -> None:
        if self._is_closed:
            raise LogUnavailable("the log is closed")
        async with self._connecting:
            if self._producer is None:
                self._producer = await self._started(
                    lambda: AIOKafkaProducer(
                        acks="all",
                        enable_idempotence=True,
                        max_batch_size=256 << 10,
                        max_request_size=RECORD_BYTES,
                        **self.address.options(),
                    )
                )
            if self._reader is None:
                self._reader = await self._started(
                    lambda: AIOKafkaConsumer(
                        enable_auto_commit=False,
                        auto_offset_reset="earliest",
                        fetch_max_wait_ms=READ_WAIT_MS,
                        **self.address.options(),
                    )
                )

    async def _started(self, make: Callable[[], Any]) -> Any:
        """A client that is connected; tried for a while, since a broker may start after us."""
        until = asyncio.get_running_loop().time() + CONNECT_SECONDS
        while True:
            client = make()
            try:
                await client.start()
                return client
            except (KafkaError, OSError) as error:
                with suppress(Exception):
                    await client.stop()
                if refusal := await refusal_of(self.address):
                    raise LogUnavailable(f"the log lets us not in: {refusal}") from error
                if asyncio.get_running_loop().time() > until:
                    raise LogUnavailable(f"no broker answers: {error}") from error
                logger.warning("the log waits for a broker: %s", error)
                await asyncio.sleep(1.0)

    async def _with_admin(self, job: Callable[[Any], Awaitable[R]]) -> R:
        admin = await self._started(lambda: AIOKafkaAdminClient(**self.address.options()))
        try:
            return await self._answer(job(admin))
        finally:
            await admin.close()

    async def _answer(self, question: Awaitable[R]) -> R:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await question
        except TimeoutError:
            raise LogUnavailable(f"no broker answered within {ANSWER_SECONDS:g} s") from None
        except KafkaError as error:
            raise LogUnavailable(f"the log cannot be asked: {error}") from error


def _configs(topic: Topic, replication: int) -> dict[str, str]:
    """How a topic is kept."""
    configs = {
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(RECORD_BYTES),
        "min.insync.replicas": str(max(1, replication - 1)),
        "segment.ms": str(SEGMENT_MS),
    }
    if topic.compacted:
        return {**configs, "cleanup.policy": "compact"}
    return {**configs, "cleanup.policy": "delete", "retention.ms": str(RETENTION_MS)}
