"""The counts of a journey over all partitions, kept between reports.

Law: the store is the truth. What the projector wrote is read again before the next report; where another process
projects a share of the partitions, everything is read again after two seconds.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from services.analytics.day_sums import Buckets, total
from services.analytics.repositories import Day, Days
from services.analytics.tallies import QUARTERS, ArmGroup, FirstGroup, StartGroup, last_bucket_of, matures_at
from services.infra.documents.port import Documents

KEPT = 256  # journeys
G = TypeVar("G")
OTHERS_SECONDS = 2.0  # how old the counts of partitions may be that another process projects


@dataclass(slots=True)
class GroupCounts(Generic[G]):
    """One group of one day: its buckets, and all of them added up."""

    group: G
    day: int
    buckets: Buckets
    n: int
    s: int

    def at(self, window_ms: int, now: int) -> tuple[int, int, int, int]:
        """Subjects and conversions of everybody, then of those who have matured."""
        if matures_at(last_bucket_of(self.day), window_ms) <= now:
            return self.n, self.s, self.n, self.s
        if matures_at(self.day * QUARTERS, window_ms) > now:
            return self.n, self.s, 0, 0
        matured = total(counts for bucket, counts in self.buckets.items() if matures_at(bucket, window_ms) <= now)
        return self.n, self.s, matured[0], matured[1]

    def next_maturity(self, window_ms: int, now: int, before: int | None) -> int | None:
        """When its next bucket matures, or `before` if that is sooner; None: neither."""
        if matures_at(last_bucket_of(self.day), window_ms) <= now:
            return before
        if before is not None and matures_at(self.day * QUARTERS, window_ms) >= before:
            return before
        upcoming = [at for bucket in self.buckets if (at := matures_at(bucket, window_ms)) > now]
        return min(upcoming if before is None else [*upcoming, before], default=None)


@dataclass(slots=True)
class DayCounts:
    """One UTC day over all partitions. `arms` by step."""

    arms: dict[str, list[GroupCounts[ArmGroup]]] = field(default_factory=dict)
    starts: list[GroupCounts[StartGroup]] = field(default_factory=list)
    firsts: dict[FirstGroup, list[int]] = field(default_factory=dict)


@dataclass(slots=True)
class JourneyCounts:
    """Every day of one journey, oldest first. `stamp` changes whenever any of them does."""

    days: dict[int, DayCounts] = field(default_factory=dict)
    stamp: int = 0


@dataclass(slots=True)
class _Entry:
    counts: JourneyCounts = field(default_factory=JourneyCounts)
    documents: dict[int, dict[int, Day]] = field(default_factory=dict)  # day -> partition
    written: set[str] = field(default_factory=set)  # keys to be read again
    read_at: float | None = None  # monotonic seconds
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Counts:
    """Counts by journey. `has_all` says whether every partition is projected by this process."""

    def __init__(self, documents: Documents, has_all: Callable[[], bool]) -> None:
        self._days = Days(documents)
        self._has_all = has_all
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._stamp = 0

    def wrote(self, days: Sequence[Day]) -> None:
        """The projector has written these."""
        for day in days:
            entry = self._entries.get((day.workspace, day.journey_id))
            if entry is not None:
                entry.written.add(day.key)

    async def of(self, workspace: str, journey_id: str) -> JourneyCounts:
        """All counts of a journey as they are stored now; not to be changed."""
        place = workspace, journey_id
        entry = self._entries.setdefault(place, _Entry())
        self._entries.move_to_end(place)
        while len(self._entries) > KEPT:
            self._entries.popitem(last=False)
        async with entry.turn:
            old = entry.read_at is None or (not self._has_all() and time.monotonic() - entry.read_at > OTHERS_SECONDS)
            if old:
                entry.written.clear()
                read = await self._days.of_journey(workspace, journey_id)
                entry.read_at = time.monotonic()
            elif entry.written:
                keys, entry.written = entry.written, set()
                read = list((await self._days.known(sorted(keys))).values())
            else:
                return entry.counts
            self._merge(entry, read)
        return entry.counts

    def _merge(self, entry: _Entry, read: Iterable[Day]) -> None:
        touched: set[int] = set()
        for document in read:
            partitions = entry.documents.setdefault(document.day, {})
            known = partitions.get(document.partition)
            if known is None or known.revision != document.revision:
                partitions[document.partition] = document
                touched.add(document.day)
        if not touched:
            return
        self._stamp += 1
        days = {**entry.counts.days, **{day: merged(entry.documents[day].values()) for day in touched}}
        entry.counts = JourneyCounts(dict(sorted(days.items())), self._stamp)


def merged(documents: Iterable[Day]) -> DayCounts:
    """The documents of one day as one."""
    found = DayCounts()
    arms: dict[str, Buckets] = {}
    starts: dict[str, Buckets] = {}
    day = 0
    for document in documents:
        day = document.day
        for name, buckets in document.arms.items():
            _add(arms.setdefault(name, {}), buckets)
        for name, buckets in document.starts.items():
            _add(starts.setdefault(name, {}), buckets)
        for name, (exposed, holdout) in document.firsts.items():
            held = found.firsts.setdefault(FirstGroup.named(name), [0, 0])
            held[0] += exposed
            held[1] += holdout
    for name, buckets in arms.items():
        group = ArmGroup.named(name)
        found.arms.setdefault(group.step_id, []).append(GroupCounts(group, day, buckets, *total(buckets.values())))
    for name, buckets in starts.items():
        found.starts.append(GroupCounts(StartGroup.named(name), day, buckets, *total(buckets.values())))
    return found


def _add(held: Buckets, more: Buckets) -> None:
    for bucket, (n, s) in more.items():
        sums = held.setdefault(bucket, [0, 0])
        sums[0] += n
        sums[1] += s
