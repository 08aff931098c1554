"""One member of a Kafka group.

Law: a member has the same partitions of every topic, for which the assignor has to be the range one: with
round-robin and three members, 16 of 16 partitions had their topics at different members [measured]. Every deal
takes all partitions away before it gives any. The listener is told of what is given within `poll` or `subscribe`,
where its failure is seen, and before the first record of it is handed out; of what is taken, while the driver
waits. Source: runtime design 9.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import CommitFailedError, ConsumerStoppedError, IllegalStateError, KafkaError

from services.infra.log.port import Listener, LogUnavailable, Stored

if TYPE_CHECKING:
    from services.infra.log.kafka import KafkaLog

Spot = tuple[str, int]  # topic and partition, as we call them

ANSWER_SECONDS = 10.0
JOIN_SECONDS = 60.0
SESSION_MS = 10_000  # a member that is killed is missed after this, less one heartbeat
HEARTBEAT_MS = 1_000
REBALANCE_MS = 15_000  # how long a hand-over may take before its member is left out
# Whoever waits for a database shall not lose its partitions to a neighbour that waits for the same database.
MOST_IDLE_MS = 3_600_000

logger = logging.getLogger(__name__)


class KafkaSubscription(ConsumerRebalanceListener):  # type: ignore[misc]  # the driver ships no types
    """See `services.infra.log.port.Subscription`. One task polls it."""

    def __init__(self, log: "KafkaLog", topics: Sequence[str], group: str, listener: Listener | None) -> None:
        self.group = group
        self._log = log
        self._topics = tuple(topics)
        self._listener = listener
        instance = log.address.instance
        self._consumer: Any = AIOKafkaConsumer(
            group_id=log.address.stored(group),
            group_instance_id=f"{instance}.{group}" if instance else None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            partition_assignment_strategy=(RangePartitionAssignor,),
            session_timeout_ms=log.session_ms,
            heartbeat_interval_ms=HEARTBEAT_MS,
            rebalance_timeout_ms=REBALANCE_MS,
            max_poll_interval_ms=MOST_IDLE_MS,
            **log.address.options(),
        )
        self._telling = asyncio.Lock()  # the listener hears one thing after the other
        self._dealt: frozenset[Any] | None = None  # ours, and the listener does not know it yet
        self._told: tuple[int, ...] | None = None
        self._mine: frozenset[Any] = frozenset()  # what `_told` says, of every topic
        self._positions: dict[Any, int] = {}
        self._news = asyncio.Event()
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._is_closed = False

    async def start(self) -> None:
        """Join, and tell the listener what is ours."""
        self._consumer.subscribe([self._log.address.stored(topic) for topic in self._topics], listener=self)
        try:
            async with asyncio.timeout(JOIN_SECONDS):
                await self._consumer.start()
                while self._told is None:
                    await self._news.wait()
                    self._news.clear()
                    await self._take_over()
        except TimeoutError:
            raise LogUnavailable(f"the group {self.group} dealt nothing within {JOIN_SECONDS:g} s") from None
        except KafkaError as error:
            raise LogUnavailable(f"the group {self.group} cannot be joined: {error}") from error

    async def poll(self, max_records: int, timeout: float) -> list[Stored]:
        """See the port. Raises LogUnavailable after the close."""
        if max_records < 1:
            raise ValueError(f"a poll asks for at least one record, not {max_records}")
        if self._is_closed:
            raise LogUnavailable("the subscription is closed")
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        while True:
            left = deadline - clock()
            if not self._resumed.is_set():
                if not await _happens(self._resumed, left):
                    return []
                continue
            await self._take_over()
            try:
                taken = await self._consumer.getmany(timeout_ms=max(int(left * 1000), 0), max_records=max_records)
            except ConsumerStoppedError:
                return []
            except KafkaError as error:
                raise LogUnavailable(f"the group {self.group} reads nothing: {error}") from error
            if taken and not await self._are_ours(taken):
                continue  # they were taken away while the listener was told of them, and come again to whoever has them
            if taken:
                return self._handed_out(taken)
            if deadline - clock() <= 0 or self._ended():
                return []

    async def commit(self, positions: Mapping[Spot, int]) -> None:
        """See the port. What is not ours any more is left to its owner, who reads it again."""
        if self._is_closed:
            raise LogUnavailable("the subscription is closed")
        spots = {TopicPartition(self._log.address.stored(topic), p): at for (topic, p), at in positions.items()}
        mine = {spot: offset for spot, offset in spots.items() if spot in self._mine}
        if not mine:
            return
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._consumer.commit(mine)
        except (CommitFailedError, IllegalStateError) as error:
            logger.warning("the group %s has dealt anew, a commit is refused: %s", self.group, error)
        except TimeoutError:
            raise LogUnavailable(f"no broker took a commit within {ANSWER_SECONDS:g} s") from None
        except KafkaError as error:
            raise LogUnavailable(f"the group {self.group} cannot commit: {error}") from error

    def lag(self) -> int:
        """See the port. Of what others appended it knows what the last fetch told."""
        return sum(max(self._end_of(spot) - self._positions.get(spot, 0), 0) for spot in self._mine)

    def pause(self) -> None:
        """See the port. What is fetched already waits; the fetches stop when a partition's buffer is full."""
        self._resumed.clear()

    def resume(self) -> None:
        """See the port."""
        self._resumed.set()

    async def close(self) -> None:
        """See the port. Idempotent."""
        if self._is_closed:
            return
        try:
            await self._hand_over()
        finally:
            self._is_closed = True
            self._resumed.set()
            self._log.forget(self)
            with suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._consumer.stop()

    # -- told by the driver

    async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """All that we had is taken away; the driver waits for this, and goes on heartbeating."""
        self._dealt = None
        await self._hand_over()

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """This is ours now. No heartbeat is sent before this returns, hence no work here."""
        self._dealt = frozenset(assigned)
        self._news.set()

    # -- telling

    async def _take_over(self) -> None:
        """Tell the listener what is ours, if it does not know. Raises what the listener raises."""
        async with self._telling:
            dealt = self._dealt
            if dealt is None:
                return  # nothing new, or taken away again meanwhile
            partitions = tuple(sorted({spot.partition for spot in dealt}))
            if len(dealt) != len(partitions) * len(self._topics):
                logger.error("the group %s deals a partition's topics to different members", self.group)
            positions = await self._start_of(dealt)
            if self._listener is not None:
                await self._listener.assigned(partitions)
            self._told, self._mine, self._positions = partitions, dealt, positions
            if self._dealt is dealt:
                self._dealt = None

    async def _hand_over(self) -> None:
        """Tell the listener that everything is taken away."""
        async with self._telling:
            told, self._told = self._told, None
            try:
                if told is not None and self._listener is not None:
                    await self._listener.revoked(told)
            finally:
                self._mine, self._positions = frozenset(), {}

    async def _start_of(self, spots: frozenset[Any]) -> dict[Any, int]:
        """Where reading begins: the committed offset, or the beginning."""
        if not spots:
            return {}
        listed = list(spots)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                begins = await self._consumer.beginning_offsets(listed)
                ends = await self._consumer.end_offsets(listed)
                committed = await asyncio.gather(*(self._consumer.committed(spot) for spot in listed))
        except TimeoutError:
            raise LogUnavailable("no broker tells where the group stands") from None
        except KafkaError as error:
            raise LogUnavailable(f"no broker tells where the group stands: {error}") from error
        for spot, end in ends.items():
            self._log.note_end(self._spot(spot), end)
        return {spot: max(begins[spot], at or 0) for spot, at in zip(listed, committed, strict=True)}

    async def _are_ours(self, taken: Mapping[Any, Any]) -> bool:
        """Whether the listener knows of all these; it is told first where it does not."""
        while not taken.keys() <= self._mine:
            if self._dealt is None:
                return False
            await self._take_over()
        return True

    def _ended(self) -> bool:
        return self._is_closed

    def _handed_out(self, taken: Mapping[Any, Sequence[Any]]) -> list[Stored]:
        found = []
        for spot, records in taken.items():
            self._positions[spot] = records[-1].offset + 1
            found += [self._log.stored(record) for record in records]
        return found

    def _end_of(self, spot: Any) -> int:
        known = self._log.end_of(self._spot(spot))
        if spot in self._consumer.assignment():
            return max(known, self._consumer.highwater(spot) or 0)
        return known

    def _spot(self, spot: Any) -> Spot:
        prefix = len(self._log.address.stored("")) if self._log.address.prefix else 0
        return spot.topic[prefix:], spot.partition


async def _happens(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(max(seconds, 0)):
            await event.wait()
    except TimeoutError:
        return False
    return True
