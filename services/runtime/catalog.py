"""The published versions and what they pin, in memory: what the runtime knows of what authors did.

Law: `refresh` is a barrier. What was acknowledged before it was called is visible when it returns, all of it at
once, so that nobody plans on half of a publish. Versions never change, so what is compiled from one is kept for
ever. A record that cannot be read is logged and passed over; it never stops its neighbours.
Source: runtime design 4, step 1, and 13.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from services.domain.execution.triggers import Rules
from services.domain.execution.version import Version, compile_version
from services.domain.journey.lifecycle import State
from services.domain.journey.model import BranchAdaptive, Graph, InSegment, Trigger, WaitUntilCondition
from services.domain.journey.needs import Needs, needs_of
from services.domain.journey.predicate import Audience
from services.domain.journey.reading import read_settings, read_steps
from services.domain.times import DAY_MS
from services.infra.log.port import Log, Stored
from services.runtime.allocations import Allocations
from services.runtime.catalogue_records import (
    CatalogueChange,
    JourneyInfo,
    NamedAudience,
    PinnedCommunication,
    PublishedVersion,
    WorkspaceInfo,
)
from services.runtime.collections import CATALOGUE
from services.runtime.convert import Unreadable, catalogue_change_from_bytes
from services.runtime.watches import Digests, Watch, is_watching, watches_of

__all__ = ["Catalog", "JourneyInfo", "PinnedCommunication", "WorkspaceInfo"]

READ_AT_ONCE = 1_000
_NO_RULES = Rules()
_HEARD = (State.PUBLISHED, State.PAUSED)  # a paused journey hears too: it refuses, and the audit says so

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Known:
    """All of one workspace. The members below the line are made from those above, on first use after a change."""

    info: WorkspaceInfo | None = None
    changes: int = 0
    journeys: dict[str, JourneyInfo] = field(default_factory=dict)
    versions: dict[str, dict[int, PublishedVersion]] = field(default_factory=dict)
    published_at: dict[str, int] = field(default_factory=dict)  # journey -> when its first known version was appended
    version_at: dict[tuple[str, int], int] = field(default_factory=dict)  # the same of each version
    audiences: dict[str, Audience] = field(default_factory=dict)
    goal_names: set[str] = field(default_factory=set)  # former ones too: executions keep theirs
    # --
    startable: dict[str, list[PublishedVersion]] | None = None  # event name -> what it may start
    starters: dict[str, tuple[Version, ...]] = field(default_factory=dict)
    heard: frozenset[str] | None = None
    awaits_profiles: bool | None = None
    watches: tuple[Watch, ...] | None = None
    digests: Digests = field(default_factory=dict)
    hears_all: bool = False
    counted: dict[tuple[str, int], Needs] = field(default_factory=dict)

    def changed(self) -> None:
        """Forget what was made from former records."""
        self.startable = None
        self.starters = {}
        self.heard = None
        self.awaits_profiles = None
        self.watches = None


class Catalog:
    """Answers from memory, without waiting; `refresh` alone reads the log."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._positions: dict[int, int] = {}
        self._known: defaultdict[str, _Known] = defaultdict(_Known)
        self._compiled: dict[tuple[str, str, int], Version | None] = {}
        self._audience_keys: dict[str, tuple[str, str]] = {}  # record key -> (workspace, audience): for tombstones
        self._reading = asyncio.Lock()
        self.allocations = Allocations(log)
        self.revision = 0  # rises with every record applied
        self._adaptive_at, self._has_adaptive = -1, False

    async def refresh(self) -> None:
        """Read the catalogue topic to its end as of now. Raises LogUnavailable."""
        ends = await self._log.ends(CATALOGUE)
        if self._has_read(ends):
            return
        async with self._reading:
            fresh: list[Stored] = []
            for partition, end in ends.items():
                fresh += await self._read(partition, self._positions.get(partition, 0), end)
            # From here on nothing is awaited: everything that was read becomes visible in one step.
            for partition, end in ends.items():
                self._positions[partition] = max(end, self._positions.get(partition, 0))
            for stored in fresh:
                self._apply(stored)

    def workspace(self, workspace: str) -> WorkspaceInfo | None:
        """A workspace's rules."""
        known = self._known.get(workspace)
        return known.info if known else None

    async def known(self, workspace: str) -> WorkspaceInfo | None:
        """A workspace's rules; the log is read where nothing is known of it yet. Raises LogUnavailable."""
        if self.workspace(workspace) is None:
            await self.refresh()
        return self.workspace(workspace)

    def rules(self, workspace: str) -> Rules:
        """What a workspace says about messages: quiet hours and caps."""
        known = self._known.get(workspace)
        return known.info.rules if known and known.info else _NO_RULES

    def awaits_profiles(self, workspace: str) -> bool:
        """Whether any version known waits for a condition, or for members, so that a changed profile has to be looked at."""
        known = self._known.get(workspace)
        if known is None:
            return False
        if known.awaits_profiles is None:
            known.awaits_profiles = any(watch.who.reads_profiles for watch in self.watches(workspace)) or any(
                isinstance(step, WaitUntilCondition)
                for journey_id, versions in known.versions.items()
                for number in versions
                if (version := self.version(workspace, journey_id, number)) is not None
                for step in version.graph.steps
            )
        return known.awaits_profiles

    def journey(self, workspace: str, journey_id: str) -> JourneyInfo | None:
        """A journey as it stands."""
        known = self._known.get(workspace)
        return known.journeys.get(journey_id) if known else None

    def version(self, workspace: str, journey_id: str, number: int) -> Version | None:
        """A version ready to be walked; None also for one that cannot be read."""
        name = (workspace, journey_id, number)
        if name in self._compiled:
            return self._compiled[name]
        published = self._published(*name)
        if published is None:
            return None
        try:
            compiled = _compiled(workspace, published)
        except Unreadable as error:
            _log.error("version %d of journey %s cannot be read: %s", number, journey_id, error)
            compiled = None
        self._compiled[name] = compiled
        return compiled

    def communication(
        self, workspace: str, journey_id: str, number: int, communication_id: str
    ) -> PinnedCommunication | None:
        """A communication as that version pinned it."""
        published = self._published(workspace, journey_id, number)
        return published.communications.get(communication_id) if published else None

    def audience(self, workspace: str, audience_id: str) -> Audience | None:
        """An audience as it stands; None once it was deleted."""
        known = self._known.get(workspace)
        return known.audiences.get(audience_id) if known else None

    def starters(self, workspace: str, event_name: str) -> Sequence[Version]:
        """The latest versions, of published and paused journeys, that events of this name may start."""
        known = self._known.get(workspace)
        if known is None:
            return ()
        if known.startable is None:
            known.startable = _startable(known)
        candidates = known.startable.get(event_name)
        if candidates is None:
            return ()
        found = known.starters.get(event_name)
        if found is None:
            compiled = [self.version(workspace, one.journey_id, one.number) for one in candidates]
            found = tuple(version for version in compiled if version is not None and _starts_by_event(version))
            known.starters[event_name] = found
        return found

    def is_heard(self, workspace: str, event_name: str) -> bool:
        """Whether anything known starts at, waits for, exits on, counts, or has as goal an event of this name."""
        known = self._known.get(workspace)
        if known is None:
            return False
        if known.heard is None:
            known.heard = self._heard(workspace, known)
            known.hears_all = _has_lost_goals(known)
        return known.hears_all or event_name in known.heard

    def event_names_of(self, workspace: str, version: Version) -> frozenset[str]:
        """The names that the version's conditions count, those inside audiences it refers to included."""
        known = self._known.get(workspace)
        if known is None or not version.audience_ids:
            return version.event_names
        return self._needs_of(workspace, known, version).event_names

    def received_steps_of(self, workspace: str, version: Version) -> frozenset[str]:
        """The steps whose messages the version's conditions ask about, those inside audiences included."""
        known = self._known.get(workspace)
        if known is None or not version.audience_ids:
            return version.received_steps
        return self._needs_of(workspace, known, version).step_ids

    def has_adaptive(self) -> bool:
        """Whether any version known has a branch that learns."""
        if self._adaptive_at != self.revision:
            self._adaptive_at = self.revision
            self._has_adaptive = any(
                isinstance(step, BranchAdaptive)
                for workspace, known in self._known.items()
                for journey_id, versions in known.versions.items()
                for number in versions
                if (version := self.version(workspace, journey_id, number)) is not None
                for step in version.graph.steps
            )
        return self._has_adaptive

    def changes(self) -> dict[str, int]:
        """How many records of each workspace were applied: a workspace with another number is another one."""
        return {workspace: known.changes for workspace, known in self._known.items()}

    def current(self, workspace: str) -> Iterator[tuple[JourneyInfo, Version]]:
        """Published and paused journeys, each with the version that new executions take, by id."""
        known = self._known.get(workspace)
        for _, journey in sorted(known.journeys.items()) if known else ():
            published = _latest(known, journey) if known else None
            version = self.version(workspace, journey.id, published.number) if published else None
            if version is not None:
                yield journey, version

    def published_at(self, workspace: str, journey_id: str, number: int) -> int:
        """When a version's record was appended (ms); 0 where it is not known."""
        known = self._known.get(workspace)
        return known.version_at.get((journey_id, number), 0) if known else 0

    def watches(self, workspace: str) -> Sequence[Watch]:
        """The journeys that people enter by becoming members of their audience, paused ones too."""
        known = self._known.get(workspace)
        if known is None:
            return ()
        if known.watches is None:
            versions = [(version, self._watching_since(version)) for _, version in self.current(workspace)]
            known.watches = watches_of(versions, known.audiences.get, known.digests)
        return known.watches

    def looks_back_ms(self) -> int:
        """How far into the past any condition known looks, ms: its days, or as long as an execution may last."""
        longest = 0
        for workspace, known in self._known.items():
            lasting = 0
            for journey_id, numbers in known.versions.items():
                for number in numbers:
                    if (version := self.version(workspace, journey_id, number)) is not None:
                        lasting = max(lasting, version.graph.settings.max_duration_ms)
                        longest = max(longest, version.looks_back_ms)
            for audience_id in known.audiences:
                for _, days in needs_of(InSegment(audience_id), known.audiences.get).windows:
                    longest = max(longest, lasting if days is None else int(days * DAY_MS))
        return longest

    def archived(self) -> list[tuple[str, str]]:
        """Workspace and id of every archived journey."""
        return [
            (workspace, journey.id)
            for workspace, known in self._known.items()
            for journey in known.journeys.values()
            if journey.status == State.ARCHIVED
        ]

    def _watching_since(self, version: Version) -> int:
        """The first of the versions up to this one that watch their audience without a break."""
        since = version.number
        while since > 1:
            former = self.version(version.workspace_id, version.journey_id, since - 1)
            if former is None or not is_watching(former):
                break
            since -= 1
        return since

    def _needs_of(self, workspace: str, known: _Known, version: Version) -> Needs:
        name = (version.journey_id, version.number)
        is_ours = self._compiled.get((workspace, *name)) is version  # a draft may bear the number of a version
        found = known.counted.get(name) if is_ours else None
        if found is None:
            found = Needs(version.event_names, step_ids=version.received_steps)
            for audience_id in version.audience_ids:
                found |= needs_of(InSegment(audience_id), known.audiences.get)
            if is_ours:
                known.counted[name] = found
        return found

    def _has_read(self, ends: Mapping[int, int]) -> bool:
        positions = self._positions
        return all(positions.get(partition, 0) >= end for partition, end in ends.items())

    async def _read(self, partition: int, offset: int, end: int) -> list[Stored]:
        found: list[Stored] = []
        while offset < end:
            part = await self._log.read(CATALOGUE, partition, offset, READ_AT_ONCE)
            found += [stored for stored in part if stored.offset < end]
            if not part:  # the rest was compacted away
                break
            offset = part[-1].offset + 1
        return found

    def _apply(self, stored: Stored) -> None:
        if not stored.value:
            if gone := self._audience_keys.pop(stored.key, None):
                workspace, audience_id = gone
                known = self._known[workspace]
                known.changes += 1
                known.audiences.pop(audience_id, None)
                known.counted = {}
                known.changed()
                self.revision += 1
            return
        try:
            change = catalogue_change_from_bytes(stored.value)
        except Unreadable as error:
            _log.error("%s/%d/%d is passed over: %s", stored.topic, stored.partition, stored.offset, error)
            return
        self._take(change, stored)
        self.revision += 1

    def _take(self, change: CatalogueChange, stored: Stored) -> None:
        known = self._known[change.workspace]
        known.changes += 1
        match change.what:
            case WorkspaceInfo() as info:
                known.info = info
            case JourneyInfo() as journey:
                known.journeys[journey.id] = journey
                if journey.goal is not None:
                    known.goal_names.add(journey.goal.event_name)
                known.changed()
            case PublishedVersion() as version:
                # The first one counts: a version is immutable, and a repeat says the same.
                known.versions.setdefault(version.journey_id, {}).setdefault(version.number, version)
                known.version_at.setdefault((version.journey_id, version.number), stored.appended_at)
                before = known.published_at.get(version.journey_id, stored.appended_at)
                known.published_at[version.journey_id] = min(before, stored.appended_at)
                known.changed()
            case NamedAudience(id=audience_id, audience=audience):
                known.audiences[audience_id] = audience
                known.counted = {}
                known.changed()
                self._audience_keys[stored.key] = (change.workspace, audience_id)

    def _published(self, workspace: str, journey_id: str, number: int) -> PublishedVersion | None:
        known = self._known.get(workspace)
        return known.versions.get(journey_id, {}).get(number) if known else None

    def _heard(self, workspace: str, known: _Known) -> frozenset[str]:
        heard = set(known.goal_names)
        for journey_id, versions in known.versions.items():
            for number in versions:
                version = self.version(workspace, journey_id, number)
                if version is not None:
                    heard |= version.awaited_names | self.event_names_of(workspace, version)
        if known.startable is None:
            known.startable = _startable(known)
        return frozenset(heard.union(known.startable))


def _startable(known: _Known) -> dict[str, list[PublishedVersion]]:
    found: dict[str, list[PublishedVersion]] = {}
    for _, journey in sorted(known.journeys.items()):
        published = _latest(known, journey)
        if published is not None and published.contract is not None:
            found.setdefault(published.contract.event_name, []).append(published)
    return found


def _latest(known: _Known, journey: JourneyInfo) -> PublishedVersion | None:
    """The version new executions take: the latest, or the one before while the latest is still on its way."""
    if journey.status not in _HEARD:
        return None
    numbers = [n for n in known.versions.get(journey.id, ()) if n <= journey.latest_version]
    return known.versions[journey.id][max(numbers)] if numbers else None


def _has_lost_goals(known: _Known) -> bool:
    """Whether an execution may have a goal nobody here has heard of.

    The topic keeps a journey's present goal only, and executions keep the one they started under. So where a goal
    was changed after a version was published, every event may be one.
    """
    return any(
        journey.goal_since_ms is not None
        and journey.goal_since_ms > known.published_at.get(journey.id, journey.goal_since_ms)
        for journey in known.journeys.values()
    )


def _starts_by_event(version: Version) -> bool:
    entry = version.entry
    return not isinstance(entry, Trigger) or entry.mode == "event"


def _compiled(workspace: str, published: PublishedVersion) -> Version:
    try:
        steps, faults = read_steps(msgspec.json.decode(published.steps_json))
        settings_json = msgspec.json.decode(published.settings_json) if published.settings_json else None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(str(error)) from None
    settings, more = read_settings(settings_json)
    if faults := faults + more:
        raise Unreadable("; ".join(f"{fault.path}: {fault.message}" for fault in faults[:3]))
    if not steps:
        raise Unreadable("it has no steps")
    return compile_version(
        workspace,
        published.journey_id,
        published.number,
        published.name,
        Graph(steps, settings),
        published.audience_id,
        published.contract,
    )
