"""The loop that follows topics of the log and hands what it reads to a projection, batch by batch.

Law: offsets are committed after a batch is written, never before, so a crash anywhere means that a batch is
projected again, which is harmless. Nothing is given up because of the store: a batch that it does not take waits
and is projected again. What cannot be read is for the projection to leave out, so that no record stops the loop.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

import structlog

from services.analytics.repositories import Unsettled
from services.infra.documents.port import StoreUnavailable
from services.infra.log.port import Listener, Log, LogUnavailable, Stored, Subscription
from services.infra.telemetry import Telemetry

BATCH = 500
# After a small batch the next one is left to grow, unless somebody waits: at 400 records/s 6 % of a core, not 15 %.
SMALL, GATHER_SECONDS = 100, 0.04
POLL_SECONDS = 1.0  # how long an idle poll waits; new records end it at once
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 5.0  # seconds between attempts, doubling
HANDOVER_SECONDS = 5.0

R = TypeVar("R")

_log = structlog.get_logger(__name__)


class Unreadable(ValueError):
    """A record that says nothing we understand."""


class Projection(Protocol):
    """What becomes of records."""

    async def take(self, records: Sequence[Stored]) -> None:
        """Project a batch, without what cannot be read; or raise and be given all of it again."""

    async def catch_up(self) -> bool:
        """Do a bounded piece of what else is outstanding; True if there is more."""

    def own(self, partitions: Sequence[int]) -> None:
        """These partitions are ours from now on."""

    def disown(self, partitions: Sequence[int]) -> None:
        """These are somebody else's from now on."""

    def is_behind(self) -> bool:
        """Whether `catch_up` has anything to do."""


class Follower:
    """One member of a group that reads topics into a projection."""

    def __init__(
        self, log: Log, topics: Sequence[str], group: str, projection: Projection, telemetry: Telemetry
    ) -> None:
        self._log, self._topics, self._group, self._projection = log, topics, group, projection
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None
        self._owned: set[int] = set()
        self._lock = asyncio.Lock()  # held while a batch is projected: a hand-over waits for it
        self._stop = asyncio.Event()
        self._progress = asyncio.Event()
        self._wanted = asyncio.Event()  # somebody waits for what is not projected yet
        self._polling = False
        self._uncommitted: dict[tuple[str, int], int] = {}
        self._in_hand = 0
        self._done = 0  # records projected since the start
        labels = ("group",)
        self._projected = telemetry.counter("analytics_records_projected", "Records projected.", labels).labels(group)
        self._lag = telemetry.gauge("analytics_lag_records", "Records appended, not yet projected.", labels).labels(
            group
        )
        self.positions: dict[tuple[str, int], int] = {}  # (topic, partition) -> all below is projected

    async def open(self) -> None:
        """Join the group and begin."""
        listener = Listener(self._assigned, self._revoked)
        self._subscription = await self._log.subscribe(self._topics, self._group, listener)
        self._task = asyncio.create_task(self._run(self._subscription), name=f"follow {self._group}")

    async def close(self) -> None:
        """Finish the batch in hand and leave the group."""
        self._stop.set()
        self._wanted.set()
        if self._task is not None:
            if self._polling:
                self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._subscription is not None:
            await self._subscription.close()

    def at_rest(self) -> asyncio.Lock:
        """Held by whoever holds it, nothing is projected."""
        return self._lock

    def owns(self, partition: int) -> bool:
        """Whether this member reads that partition."""
        return partition in self._owned

    def is_idle(self) -> bool:
        """Whether everything appended so far has been projected, as far as known here."""
        if self._outstanding() or self._projection.is_behind():
            self._wanted.set()
            return False
        return True

    async def drain(self, seconds: float) -> bool:
        """Wait until what is in the log now has been projected; False if it took longer."""
        target = self._done + self._outstanding()
        return await self.wait_for(lambda: self._done >= target and not self._projection.is_behind(), seconds)

    async def wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until `condition` holds, asked after each batch; False if it took longer."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._wanted.set()
                    await self._progress.wait()
        except TimeoutError:
            return condition()
        return True

    def _outstanding(self) -> int:
        return self._in_hand + (self._subscription.lag() if self._subscription is not None else 0)

    async def _assigned(self, partitions: Sequence[int]) -> None:
        self._owned.update(partitions)
        self._projection.own(partitions)

    async def _revoked(self, partitions: Sequence[int]) -> None:
        try:
            async with asyncio.timeout(HANDOVER_SECONDS), self._lock:
                self._let_go(partitions)
        except TimeoutError:
            self._let_go(partitions)

    def _let_go(self, partitions: Iterable[int]) -> None:
        gone = set(partitions)
        self._owned -= gone
        self._projection.disown(sorted(gone))
        self.positions = {place: offset for place, offset in self.positions.items() if place[1] not in gone}
        self._uncommitted = {place: offset for place, offset in self._uncommitted.items() if place[1] not in gone}

    async def _run(self, subscription: Subscription) -> None:
        pause = FIRST_PAUSE
        while not self._stop.is_set():
            try:
                more = await self._catch_up()
                batch = await self._poll(subscription, 0 if more else POLL_SECONDS)
                self._in_hand = len(batch)
                if batch and await self._settle(batch):
                    await self._commit(subscription)
                    if len(batch) < SMALL:
                        await self._gather()
                pause = FIRST_PAUSE
            except (StoreUnavailable, LogUnavailable) as error:
                _log.warning("follower.waits", group=self._group, seconds=pause, reason=str(error))
                pause = await self._rest(pause)
            except Exception:  # noqa: BLE001  the outermost loop: whatever it is, the next round may do better
                _log.exception("follower.round_failed", group=self._group)
                pause = await self._rest(pause)
            finally:
                self._in_hand = 0
                self._lag.set(self._outstanding())
                self._tell()

    async def _catch_up(self) -> bool:
        try:
            async with self._lock:
                return await self._projection.catch_up()
        except Exception:  # noqa: BLE001  it is tried again next round and must not hold up the log
            _log.exception("follower.cannot_catch_up", group=self._group)
            return False

    async def _gather(self) -> None:
        self._in_hand = 0
        self._tell()
        self._wanted.clear()
        try:
            await asyncio.wait_for(self._wanted.wait(), GATHER_SECONDS)
        except TimeoutError:
            pass

    async def _poll(self, subscription: Subscription, seconds: float) -> list[Stored]:
        self._polling = True
        try:
            return await subscription.poll(BATCH, seconds)
        finally:
            self._polling = False

    async def _settle(self, batch: Sequence[Stored]) -> bool:
        """Project a batch, whatever it takes; False if we were stopped before."""
        pause = FIRST_PAUSE
        while not self._stop.is_set():
            try:
                async with self._lock:
                    # What was handed over meanwhile comes to its new owner again.
                    mine = [record for record in batch if record.partition in self._owned]
                    await self._projection.take(mine)
                    self._pass(mine)
                self._count(len(batch))
                return True
            except (StoreUnavailable, LogUnavailable, Unsettled) as error:
                _log.warning("follower.waits", group=self._group, seconds=pause, reason=str(error))
            except Exception:  # noqa: BLE001  whatever the store raised: records are never given up for it
                _log.exception("follower.batch_failed", group=self._group, seconds=pause)
            pause = await self._rest(pause)
        return False

    def _pass(self, records: Iterable[Stored]) -> None:
        for record in records:
            place = record.topic, record.partition
            self.positions[place] = self._uncommitted[place] = record.offset + 1

    def _count(self, records: int) -> None:
        self._in_hand -= records
        self._done += records
        self._projected.inc(records)
        self._tell()

    async def _commit(self, subscription: Subscription) -> None:
        places, self._uncommitted = self._uncommitted, {}
        if places:
            await subscription.commit(places)

    async def _rest(self, seconds: float) -> float:
        """Wait by the machine's own time, unless stopped; returns how long to wait next."""
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            pass
        return min(seconds * 2, LONGEST_PAUSE)

    def _tell(self) -> None:
        self._progress.set()
        self._progress = asyncio.Event()


def read_all(records: Iterable[Stored], read: Callable[[Stored], R]) -> Iterator[R]:
    """What the records say; those that cannot be read are logged and left out."""
    for record in records:
        try:
            yield read(record)
        except Exception:  # noqa: BLE001  whatever is wrong with one record must not hold up its neighbours
            _log.exception("record.unreadable", topic=record.topic, partition=record.partition, offset=record.offset)
