"""Turns matured counts into allocations, and tells them.

Law: an allocation is a function of counts and of the branch; equal counts, equal id. It is stored before it is told,
so whoever finds its id finds it. A branch in which any arm is below its floor has none. A new one comes when the
floor is reached and when matured counts have changed, at most every 15 minutes of the clock.
Source: statistics design 2.1.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from services.analytics.branch_performance import BranchCounts, count_branch
from services.analytics.counts import Counts
from services.analytics.journeys import ALLOCATED, Journey, Journeys, allocation_key
from services.analytics.repositories import Allocation, Allocations, ArmCount, Day, Unsettled
from services.domain.execution.assignment import branch_digest, snapshot_id
from services.domain.journey.model import BranchAdaptive
from services.domain.stats.routing import routing_weights
from services.infra.clock import Clock
from services.infra.documents.port import Documents, StoreUnavailable
from services.infra.log.port import Log, LogUnavailable, Record, partition_of

CADENCE_MS = 900_000
VERSIONS = 5  # of the newest versions, whose branches people may still come to
PAUSE_SECONDS = 0.25  # between looks while counts keep changing
OTHERS_SECONDS = 5.0  # between looks where other processes project a share of the counts

_log = structlog.get_logger(__name__)
Tell = Callable[[Allocation], bytes]


class Allocator:
    """Looks after the journeys whose partition this process projects."""

    def __init__(
        self,
        documents: Documents,
        log: Log,
        journeys: Journeys,
        counts: Counts,
        clock: Clock,
        *,
        owns: Callable[[int], bool],
        has_all: Callable[[], bool],
        tell: Tell,
    ) -> None:
        self._allocations = Allocations(documents)
        self._log = log
        self._journeys = journeys
        self._counts = counts
        self._clock = clock
        self._owns = owns
        self._has_all = has_all
        self._tell = tell
        self._dirty: set[tuple[str, str]] = set()
        self._due: dict[tuple[str, str], int] = {}  # when a journey has to be looked at of its own accord
        self._seen = -1  # the state of the catalogue that was looked at
        self._had_all = False
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._is_looking = False

    def wrote(self, days: Sequence[Day]) -> None:
        """The projector has written these."""
        for day in days:
            if day.arms:
                self._dirty.add((day.workspace, day.journey_id))
        if self._dirty:
            self._wake.set()

    async def idle(self) -> bool:
        """Whether every change of the counts, and of the journeys, has been looked at."""
        await self._journeys.refresh()
        if self._dirty or self._is_looking or self._seen != self._journeys.authored or self._has_due():
            self._hurry.set()
            self._wake.set()
            return False
        return True

    def next_due(self) -> int | None:
        """When matured counts change next, or may be told next."""
        return min(self._due.values(), default=None)

    async def run(self) -> None:
        """Look whenever something changed or is due, until cancelled."""
        while True:
            try:
                await self._look()
            except (StoreUnavailable, LogUnavailable, Unsettled) as error:
                _log.warning("allocator.waits", error=str(error))
                await asyncio.sleep(PAUSE_SECONDS)
            except Exception:  # noqa: BLE001  the outermost loop: routing goes on with the last allocations
                _log.exception("allocator.failed")
                await asyncio.sleep(PAUSE_SECONDS)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), PAUSE_SECONDS)
            self._hurry.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._clock.wait(self._wake, self.next_due()), OTHERS_SECONDS)

    async def _look(self) -> None:
        self._is_looking = True
        self._wake.clear()
        try:
            await self._journeys.refresh()
            authored, places = self._journeys.authored, self._places()
            for place in places:
                self._dirty.discard(place)
                try:
                    await self._look_at(*place)
                except (StoreUnavailable, LogUnavailable, Unsettled):
                    self._dirty.add(place)
                    raise
                except Exception:  # noqa: BLE001  one journey's numbers must not stop its neighbours
                    _log.exception("allocation.failed", workspace=place[0], journey=place[1])
                    self._due.pop(place, None)  # until its counts change again; it goes on with the last allocation
            self._seen = max(authored, self._seen)
        finally:
            self._is_looking = False

    def _places(self) -> list[tuple[str, str]]:
        learning = self._journeys.learning()
        had_all, self._had_all = self._had_all, self._has_all()
        if had_all and self._had_all and self._seen == self._journeys.authored:
            now = self._clock.now_ms()
            learning = [place for place in learning if place in self._dirty or self._due.get(place, now + 1) <= now]
        self._dirty.intersection_update(learning)
        ours = [place for place in learning if self._owns(partition_of(f"{place[0]}:{place[1]}", self._log.partitions))]
        if not self._had_all:
            self._due = {place: at for place, at in self._due.items() if place in ours}
        self._dirty.intersection_update(ours)
        return ours

    def _has_due(self) -> bool:
        due = self.next_due()
        return due is not None and due <= self._clock.now_ms()

    async def _look_at(self, workspace: str, journey_id: str) -> None:
        journey = self._journeys.get(workspace, journey_id)
        if journey is None:
            return
        counts = await self._counts.of(workspace, journey_id)
        now = self._clock.now_ms()
        moments: list[int] = []
        for step in journey.shapes(VERSIONS):
            found = count_branch(journey, counts, step, now)
            held = self._journeys.allocation(workspace, journey_id, step)
            wanted = None if found.is_cold(step) else made(journey, step, found, now)
            if wanted is None:
                if held is not None:
                    await self._say(allocation_key(workspace, journey_id, step), b"")
                continue
            if held is None or (wanted.snapshot_id != held.snapshot_id and now - held.as_of >= CADENCE_MS):
                await self._allocations.keep(wanted)
                await self._say(allocation_key(workspace, journey_id, step), self._tell(wanted))
                held = wanted
            earliest = held.as_of + CADENCE_MS
            if wanted.snapshot_id != held.snapshot_id:
                moments.append(earliest)
            elif found.next_maturity is not None:
                moments.append(max(earliest, found.next_maturity))
        if moments:
            self._due[workspace, journey_id] = min(moments)
        else:
            self._due.pop((workspace, journey_id), None)

    async def _say(self, key: str, value: bytes) -> None:
        await self._log.append(ALLOCATED, [Record(key, value)])
        await self._journeys.refresh()


def made(journey: Journey, step: BranchAdaptive, found: BranchCounts, now: int) -> Allocation:
    """The allocation that a branch's matured counts ask for."""
    counts = found.matured(step)
    weights = routing_weights(counts, step.exploration_floor)
    arms = tuple(
        ArmCount(arm.id, n, s, w, p)
        for arm, (n, s), w, p in zip(step.arms, counts, weights.win, weights.weights, strict=True)
    )
    head = journey.head
    told = [{"armId": arm.arm_id, "n": arm.n, "s": arm.s, "w": arm.w, "p": arm.p} for arm in arms]
    name = snapshot_id(head.id, step.id, told, "adaptive")
    return Allocation(
        key=f"{head.workspace}:{name}",
        workspace=head.workspace,
        journey_id=head.id,
        step_id=step.id,
        branch=branch_digest(step),
        snapshot_id=name,
        arms=arms,
        as_of=now,
    )
