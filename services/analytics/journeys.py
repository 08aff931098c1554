"""What analytics must know of what authors published, and which allocations hold: two topics, kept in memory.

Law: `refresh` is a barrier, as everywhere. Versions never change; of a journey and of an allocation the last record
counts. A record that cannot be read is logged and passed over.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec
import structlog

from services.analytics.repositories import Allocation
from services.domain.execution.assignment import branch_digest
from services.domain.journey.content import content_hash
from services.domain.journey.model import BranchAdaptive
from services.domain.journey.reading import read_steps
from services.infra.log.port import Log, Stored

CATALOGUE = "journeys.authoring.v1"
ALLOCATED = "journeys.allocations.v1"
READ_AT_ONCE = 1_000

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class JourneyHead:
    """A journey as it stands. `since`: when it was given this goal; 0 where nobody knows."""

    workspace: str
    id: str
    latest_version: int
    goal_event: str | None
    window_ms: int
    since: int


@dataclass(frozen=True, slots=True)
class VersionContent:
    """A version as it was published: its steps, the communications it pinned, the arms that count anew from it on."""

    workspace: str
    journey_id: str
    number: int
    steps_json: bytes
    communications: Mapping[str, int]
    reset_arms: frozenset[tuple[str, str]] = frozenset()


Change = JourneyHead | VersionContent | None


@dataclass(slots=True)
class _Version:
    content: VersionContent
    branches: tuple[BranchAdaptive, ...]
    hashes: dict[tuple[str, str], str] = field(default_factory=dict)


class Journey:
    """One journey: what is asked of it is worked out once for each of its states."""

    def __init__(self, head: JourneyHead, versions: Mapping[int, _Version]) -> None:
        self.head = head
        self._versions = {number: versions[number] for number in sorted(versions) if number <= head.latest_version}

    def branches(self) -> list[BranchAdaptive]:
        """The adaptive branches: of the latest version, then those of earlier ones that are gone, newest first."""
        found: dict[str, BranchAdaptive] = {}
        for version in reversed(self._versions.values()):
            for step in version.branches:
                found.setdefault(step.id, step)
        return list(found.values())

    def shapes(self, most: int) -> list[BranchAdaptive]:
        """The different branches of the newest versions: arms and rules of people who may still come by."""
        found: dict[tuple[str, str], BranchAdaptive] = {}
        for version in list(reversed(self._versions.values()))[:most]:
            for step in version.branches:
                found.setdefault((step.id, branch_digest(step)), step)
        return list(found.values())

    def goal_of(self, step: BranchAdaptive) -> str | None:
        """The event that counts for a branch."""
        return step.goal_event_name or self.head.goal_event

    def arms_in(self, version: int, step_id: str) -> tuple[str, ...]:
        """The arms a branch had in a version; empty where it was not there."""
        known = self._versions.get(version)
        for step in known.branches if known else ():
            if step.id == step_id:
                return tuple(arm.id for arm in step.arms)
        return ()

    def reset_in(self, step_id: str, arm_id: str) -> int | None:
        """The newest version from which on an arm counts anew."""
        numbers = [n for n, version in self._versions.items() if (step_id, arm_id) in version.content.reset_arms]
        return max(numbers, default=None)

    def content_of(self, version: int, step_id: str, arm_id: str) -> str:
        """The digest of what an arm leads to in a version; empty where nobody knows."""
        known = self._versions.get(version)
        if known is None:
            return ""
        name = step_id, arm_id
        if name not in known.hashes:
            steps = msgspec.json.decode(known.content.steps_json)
            known.hashes[name] = content_hash(steps, step_id, arm_id, known.content.communications)
        return known.hashes[name]

    def content_changed_in(self, step_id: str, arm_id: str) -> int | None:
        """The newest version that made an arm lead to something else than the version before."""
        changed: int | None = None
        former: str | None = None
        for number in self._versions:
            if arm_id not in self.arms_in(number, step_id):
                continue
            content = self.content_of(number, step_id, arm_id)
            if former is not None and content != former:
                changed = number
            former = content
        return changed


class Journeys:
    """Every journey, and the allocation of each adaptive branch."""

    def __init__(
        self, log: Log, read_change: Callable[[Stored], Change], read_allocation: Callable[[Stored], Allocation]
    ) -> None:
        self._log = log
        self._read = {CATALOGUE: read_change, ALLOCATED: read_allocation}
        self._positions: dict[tuple[str, int], int] = {}
        self._heads: dict[tuple[str, str], JourneyHead] = {}
        self._versions: dict[tuple[str, str], dict[int, _Version]] = {}
        self._made: dict[tuple[str, str], Journey] = {}
        self._allocations: dict[str, Allocation] = {}
        self._reading = asyncio.Lock()
        self.revision = 0  # rises with every record applied
        self.authored = 0  # ... of the catalogue alone

    async def refresh(self) -> None:
        """Read both topics to their ends as of now. Raises LogUnavailable."""
        for topic in (CATALOGUE, ALLOCATED):
            ends = await self._log.ends(topic)
            if all(self._positions.get((topic, partition), 0) >= end for partition, end in ends.items()):
                continue
            async with self._reading:
                for partition, end in ends.items():
                    await self._read_to(topic, partition, end)

    def get(self, workspace: str, journey_id: str) -> Journey | None:
        """A journey that was published; None for any other."""
        place = workspace, journey_id
        made = self._made.get(place)
        if made is None:
            head, versions = self._heads.get(place), self._versions.get(place)
            if head is None or not versions:
                return None
            made = self._made[place] = Journey(head, versions)
        return made

    def learning(self) -> list[tuple[str, str]]:
        """Workspace and id of every journey with an adaptive branch."""
        return [
            place
            for place, versions in self._versions.items()
            if any(version.branches for version in versions.values())
        ]

    def allocation(self, workspace: str, journey_id: str, step: BranchAdaptive) -> Allocation | None:
        """By which a branch is routed now; None in cold start."""
        return self._allocations.get(allocation_key(workspace, journey_id, step))

    async def _read_to(self, topic: str, partition: int, end: int) -> None:
        offset = self._positions.get((topic, partition), 0)
        while offset < end:
            part = await self._log.read(topic, partition, offset, READ_AT_ONCE)
            self._apply(topic, part)
            offset = part[-1].offset + 1 if part else end  # empty: the rest was compacted away
        self._positions[topic, partition] = max(offset, self._positions.get((topic, partition), 0))

    def _apply(self, topic: str, records: Sequence[Stored]) -> None:
        for stored in records:
            if topic == ALLOCATED and not stored.value:
                self._allocations.pop(stored.key, None)
                self.revision += 1
                continue
            try:
                self._take(stored, self._read[topic](stored) if stored.value else None)
            except Exception:  # noqa: BLE001  whatever is wrong with one record must not hold up its neighbours
                _log.exception("record.unreadable", topic=topic, partition=stored.partition, offset=stored.offset)
            self.revision += 1
            self.authored += topic == CATALOGUE

    def _take(self, stored: Stored, change: Change | Allocation) -> None:
        match change:
            case JourneyHead():
                self._heads[change.workspace, change.id] = change
                self._made.pop((change.workspace, change.id), None)
            case VersionContent():
                place = change.workspace, change.journey_id
                version = _Version(change, branches_of(change.steps_json))
                self._versions.setdefault(place, {}).setdefault(change.number, version)
                self._made.pop(place, None)
            case Allocation():
                self._allocations[stored.key] = change
            case None:
                pass


def allocation_key(workspace: str, journey_id: str, step: BranchAdaptive) -> str:
    """The key under which the allocation of a branch is told."""
    return f"{workspace}:{journey_id}:{step.id}:{_digest(step)}"


def branches_of(steps_json: bytes) -> tuple[BranchAdaptive, ...]:
    """The adaptive branches among an author's steps, in their order; what cannot be read is left out."""
    steps, _ = read_steps(msgspec.json.decode(steps_json or b"[]"))
    return tuple(step for step in steps if isinstance(step, BranchAdaptive))


_digest = lru_cache(4096)(branch_digest)
