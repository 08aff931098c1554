"""The catalogue: a barrier that is whole, versions for ever, and who hears what."""

import asyncio
import json
from typing import Any

import pytest
from journeys.events.v1.authoring_record_pb2 import AudienceRecord, CatalogueRecord, JourneyRecord, VersionRecord

from services.domain.execution.execution import Goal
from services.infra.log.port import Record, Stored
from services.runtime.catalog import Catalog
from services.runtime.collections import CATALOGUE, TOPICS
from tests.support.journeys import WORKSPACE as WS
from tests.support.journeys import publish_audience, publish_journey, publish_workspace, set_status
from tests.support.memory import MemoryLog

EXIT = {"id": "end", "type": "exit"}
SEND = [{"id": "hi", "type": "send", "channel": "email", "communicationId": "welcome", "next": "end"}, EXIT]
DAY_MS = 86_400_000


class CountingLog(MemoryLog):
    """Counts reads, and can hold them up."""

    reads = 0
    gate: asyncio.Event | None = None

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Stored]:
        self.reads += 1
        if self.gate is not None:
            await self.gate.wait()
        return await super().read(topic, partition, offset, limit)


@pytest.fixture
async def log() -> CountingLog:
    log = CountingLog(now_ms=lambda: 1_000)
    await log.open(TOPICS)
    return log


@pytest.fixture
def catalog(log: CountingLog) -> Catalog:
    return Catalog(log)


def trigger(**members: Any) -> dict[str, Any]:
    """A trigger step that leads to the exit."""
    return {"id": "in", "type": "trigger", "next": "end", **members}


def fired(name: str) -> dict[str, Any]:
    """A condition that counts events of a name."""
    return {"kind": "event_fired", "eventName": name, "window": {"type": "last_n_days", "days": 7}}


def asks(condition: dict[str, Any]) -> list[dict[str, Any]]:
    """A branch on a condition."""
    case = {"id": "yes", "condition": condition, "next": "end"}
    return [{"id": "fork", "type": "branch", "mode": "condition", "branches": [case], "default": "end"}, EXIT]


async def tell(log: MemoryLog, key: str, record: CatalogueRecord) -> None:
    """Append one record."""
    await log.append(CATALOGUE, [Record(f"{WS}:{key}", record.SerializeToString())])


class TestRefresh:
    """refresh: the barrier before every cycle."""

    async def test_what_was_appended_before_is_visible_after(self, log: CountingLog, catalog: Catalog) -> None:
        """Workspace, journey and version, from whatever partitions."""
        await publish_workspace(log, holdout=10, timezone="Europe/Berlin")
        await publish_journey(log, SEND, goal=("activated", 2.5))
        await catalog.refresh()

        info, journey, version = catalog.workspace(WS), catalog.journey(WS, "act"), catalog.version(WS, "act", 1)
        assert info is not None
        assert journey is not None
        assert version is not None
        assert ("Test", "salt", b"0" * 32) == (info.name, info.salt, info.subject_secret)
        assert ("Europe/Berlin", 10) == (info.timezone, info.holdout_percent)
        assert ("act", "published", 1) == (journey.id, journey.status, journey.latest_version)
        assert Goal("activated", round(2.5 * DAY_MS)) == journey.goal
        assert ["hi", "end"] == list(version.steps)

    async def test_nothing_new_costs_one_comparison(self, log: CountingLog, catalog: Catalog) -> None:
        """The barrier runs before each cycle, so it must not read."""
        await publish_journey(log, SEND)
        await catalog.refresh()
        reads, revision = log.reads, catalog.revision
        await catalog.refresh()

        assert (reads, revision) == (log.reads, catalog.revision)

    async def test_half_a_publish_is_never_seen(self, log: CountingLog, catalog: Catalog) -> None:
        """While records are read nothing of them is visible; then all is."""
        log.gate = asyncio.Event()
        await publish_workspace(log)
        await publish_journey(log, SEND)
        reading = asyncio.create_task(catalog.refresh())
        for _ in range(20):
            await asyncio.sleep(0)
            assert (None, None, 0) == (catalog.workspace(WS), catalog.journey(WS, "act"), catalog.revision)
        log.gate.set()
        await reading

        assert 3 == catalog.revision

    async def test_two_at_once_read_every_record_once(self, log: CountingLog, catalog: Catalog) -> None:
        """The second waits for the first and finds nothing left."""
        await publish_journey(log, SEND)
        await asyncio.gather(*(catalog.refresh() for _ in range(5)))

        assert 2 == catalog.revision

    async def test_a_long_topic_is_read_to_its_end(self, log: CountingLog, catalog: Catalog) -> None:
        """More records than one read gives."""
        for i in range(2_500):
            await set_status(log, "act", i + 1, "published")
        await catalog.refresh()

        journey = catalog.journey(WS, "act")
        assert journey is not None
        assert 2_500 == journey.latest_version

    @pytest.mark.parametrize(
        "value",
        [
            b"\xff\xff",
            CatalogueRecord(workspace=WS).SerializeToString(),
            CatalogueRecord(workspace=WS, audience=AudienceRecord(id="a", predicate_json=b"{")).SerializeToString(),
            CatalogueRecord(
                workspace=WS, audience=AudienceRecord(id="a", predicate_json=b'{"kind": "psychic"}')
            ).SerializeToString(),
        ],
    )
    async def test_an_unreadable_record_is_passed_over(self, log: CountingLog, catalog: Catalog, value: bytes) -> None:
        """Its neighbours are read all the same."""
        await log.append(CATALOGUE, [Record("x", value)])
        await publish_journey(log, SEND)
        await catalog.refresh()

        assert 2 == catalog.revision
        assert catalog.version(WS, "act", 1) is not None


class TestVersions:
    """version, communication: immutable, compiled once."""

    async def test_a_version_is_compiled_once(self, log: CountingLog, catalog: Catalog) -> None:
        """The same object for ever, also when its record is told again."""
        await publish_journey(log, SEND)
        await catalog.refresh()
        first = catalog.version(WS, "act", 1)
        await publish_journey(log, SEND)
        await catalog.refresh()

        assert first is catalog.version(WS, "act", 1)
        assert first is not None

    async def test_former_versions_stay(self, log: CountingLog, catalog: Catalog) -> None:
        """Executions in flight stay on theirs."""
        await publish_journey(log, SEND)
        await publish_journey(log, [EXIT], version=2)
        await catalog.refresh()

        assert [2, 1] == [len(found.steps) for n in (1, 2) if (found := catalog.version(WS, "act", n))]

    async def test_unknown_ones_are_none(self, log: CountingLog, catalog: Catalog) -> None:
        """Another workspace's included."""
        await publish_journey(log, SEND)
        await catalog.refresh()

        assert [None] * 3 == [catalog.version(*name) for name in ((WS, "act", 2), (WS, "b", 1), ("pk_other", "act", 1))]
        assert catalog.communication("pk_other", "act", 1, "welcome") is None
        assert () == catalog.starters("pk_other", "signed_up")

    @pytest.mark.parametrize("steps", [b"", b"{", b"[]", b'[{"id": "a", "type": "teleport"}]'])
    async def test_a_graph_nobody_can_read_is_none(self, log: CountingLog, catalog: Catalog, steps: bytes) -> None:
        """A version of a newer program does not stop the older one."""
        version = VersionRecord(journey_id="act", version=1, steps_json=steps)
        await tell(log, "version:act:1", CatalogueRecord(workspace=WS, version=version))
        await set_status(log, "act", 1, "published")
        await catalog.refresh()

        assert catalog.version(WS, "act", 1) is None
        assert not catalog.is_heard(WS, "signed_up")

    async def test_a_communication_is_what_was_pinned(self, log: CountingLog, catalog: Catalog) -> None:
        """Content and all."""
        await publish_journey(log, SEND)
        await catalog.refresh()

        pinned = catalog.communication(WS, "act", 1, "welcome")
        assert pinned is not None
        assert ("welcome", 1, "email", "marketing") == (pinned.id, pinned.version, pinned.channel, pinned.comm_type)
        assert "<p>Hi</p>" == pinned.content["body"]
        assert catalog.communication(WS, "act", 1, "other") is None


class TestStarters:
    """starters: who may be started by an event."""

    @pytest.mark.parametrize(
        ("status", "starts"), [("published", True), ("paused", True), ("archived", False), ("draft", False)]
    )
    async def test_only_journeys_that_decide_listen(
        self, log: CountingLog, catalog: Catalog, status: str, starts: bool
    ) -> None:
        """A paused one does: it refuses, and that is audited."""
        await publish_journey(log, SEND, status=status)
        await catalog.refresh()

        assert starts is (len(catalog.starters(WS, "signed_up")) == 1)
        assert starts is catalog.is_heard(WS, "signed_up")
        assert () == catalog.starters(WS, "other")

    @pytest.mark.parametrize(
        ("steps", "starts"),
        [
            ([trigger(), EXIT], True),
            ([trigger(mode="event"), EXIT], True),
            ([trigger(mode="manual"), EXIT], False),
            ([trigger(mode="audience_entry"), EXIT], False),
            ([EXIT], True),
        ],
    )
    async def test_the_entry_must_be_an_event_trigger_or_none(
        self, log: CountingLog, catalog: Catalog, steps: list[dict[str, Any]], starts: bool
    ) -> None:
        """Manual and scheduled journeys are not started by events, even with a contract."""
        await publish_journey(log, steps)
        await catalog.refresh()

        assert starts is bool(catalog.starters(WS, "signed_up"))

    async def test_the_latest_version_starts(self, log: CountingLog, catalog: Catalog) -> None:
        """Asked before and after a publish; a journey without contract never."""
        await publish_journey(log, SEND)
        await publish_journey(log, SEND, journey_id="by-hand", event=None)
        await catalog.refresh()
        before = [(v.journey_id, v.number) for v in catalog.starters(WS, "signed_up")]
        await publish_journey(log, SEND, version=2, event="signed_in")
        await catalog.refresh()

        assert [("act", 1)] == before
        assert () == catalog.starters(WS, "signed_up")
        assert [("act", 2)] == [(v.journey_id, v.number) for v in catalog.starters(WS, "signed_in")]

    async def test_a_version_on_its_way_leaves_the_one_before(self, log: CountingLog, catalog: Catalog) -> None:
        """The journey's head came first; until the version is here, the former starts."""
        await publish_journey(log, SEND)
        await set_status(log, "act", 2, "published")
        await catalog.refresh()

        assert [1] == [v.number for v in catalog.starters(WS, "signed_up")]

    async def test_several_come_in_order_of_their_ids(self, log: CountingLog, catalog: Catalog) -> None:
        """One event, one order of decisions."""
        for name in ("c", "a", "b"):
            await publish_journey(log, SEND, journey_id=name)
        await catalog.refresh()

        assert ["a", "b", "c"] == [v.journey_id for v in catalog.starters(WS, "signed_up")]


class TestHearing:
    """is_heard, event_names_of: which events are worth a look at somebody's executions."""

    async def test_everything_that_listens_is_heard(self, log: CountingLog, catalog: Catalog) -> None:
        """Starts, waits, exits, goals, counted names; nothing else."""
        wait = {"id": "w", "type": "wait", "mode": "until_event", "eventName": "bought", "timeout": "P1D"}
        steps = [{**wait, "next": "fork", "onTimeout": "end"}, *asks(fired("clicked"))]
        await publish_journey(log, steps, settings={"exitOn": [{"eventName": "left"}]}, goal=("activated", 7))
        await catalog.refresh()

        heard = {
            name
            for name in ("signed_up", "bought", "clicked", "left", "activated", "else")
            if catalog.is_heard(WS, name)
        }
        assert {"signed_up", "bought", "clicked", "left", "activated"} == heard
        assert not catalog.is_heard("pk_other", "signed_up")

    async def test_former_versions_and_goals_are_heard(self, log: CountingLog, catalog: Catalog) -> None:
        """Executions in flight wait for what their own version says, also once the journey is archived."""
        await publish_journey(log, asks(fired("old")), goal=("first", 7))
        await publish_journey(log, asks(fired("new")), version=2, goal=("second", 7))
        await set_status(log, "act", 2, "archived")
        await catalog.refresh()

        assert all(catalog.is_heard(WS, name) for name in ("old", "new", "first", "second"))

    async def test_a_goal_that_changed_after_a_publish_makes_every_event_heard(
        self, log: CountingLog, catalog: Catalog
    ) -> None:
        """The topic is compacted: the former goal's name may be gone, and executions still have it."""
        await publish_journey(log, SEND)
        record = JourneyRecord(id="act", status="published", latest_version=1, goal_event_name="new")
        record.goal_since_ms = 2_000  # the version was appended at 1,000
        await tell(log, "journey:act", CatalogueRecord(workspace=WS, journey=record))
        await catalog.refresh()

        assert catalog.is_heard(WS, "whatever")

    async def test_names_inside_audiences_count(self, log: CountingLog, catalog: Catalog) -> None:
        """Transitively, and anew when an audience is edited or deleted."""
        await publish_audience(
            log, "outer", {"kind": "and", "clauses": [{"kind": "in_segment", "audienceId": "inner"}, fired("a")]}
        )
        await publish_audience(log, "inner", fired("b"))
        await publish_journey(log, asks(fired("c")), audience_id="outer")
        await catalog.refresh()
        version = catalog.version(WS, "act", 1)
        assert version is not None
        first = catalog.event_names_of(WS, version)
        heard = [catalog.is_heard(WS, name) for name in "abcd"]
        await publish_audience(log, "inner", fired("d"))
        await catalog.refresh()
        second = catalog.event_names_of(WS, version)
        heard_then = [catalog.is_heard(WS, name) for name in "abcd"]
        await log.append(CATALOGUE, [Record(f"{WS}:audience:outer", b"")])
        await catalog.refresh()

        assert [{"a", "b", "c"}, {"a", "c", "d"}, {"c"}] == [first, second, catalog.event_names_of(WS, version)]
        assert [[True, True, True, False], [True, False, True, True]] == [heard, heard_then]


class TestAudiences:
    """audience: as it stands."""

    async def test_a_tombstone_removes(self, log: CountingLog, catalog: Catalog) -> None:
        """A deleted audience is None; a tombstone of something unknown is nothing."""
        await publish_audience(
            log, "pros", {"kind": "attribute", "fieldPath": "plan", "operator": "equals", "value": "pro"}
        )
        await catalog.refresh()
        before, revision = catalog.audience(WS, "pros"), catalog.revision
        await log.append(CATALOGUE, [Record(f"{WS}:audience:pros", b""), Record(f"{WS}:audience:never", b"")])
        await catalog.refresh()

        assert before is not None
        assert catalog.audience(WS, "pros") is None
        assert revision + 1 == catalog.revision

    async def test_a_list_of_people_is_an_audience(self, log: CountingLog, catalog: Catalog) -> None:
        """By ids instead of a predicate."""
        record = AudienceRecord(id="few", subject_ids=["a", "b"])
        await tell(log, "audience:few", CatalogueRecord(workspace=WS, audience=record))
        await catalog.refresh()

        audience = catalog.audience(WS, "few")
        assert audience is not None
        assert frozenset({"a", "b"}) == audience.subject_ids


async def test_archived_journeys_are_listed(log: CountingLog, catalog: Catalog) -> None:
    """For the sweep that stops their executions."""
    await publish_journey(log, SEND)
    await publish_journey(log, SEND, journey_id="old", status="archived")
    await catalog.refresh()

    assert [(WS, "old")] == catalog.archived()


@pytest.mark.parametrize(
    ("settings", "zone", "percent"),
    [
        ({}, "UTC", 5),
        ({"timezone": "Nowhere/Land", "holdout": None}, "UTC", 5),
        ({"holdout": {"percent": 0}}, "UTC", 0),
    ],
)
async def test_settings_have_the_contracts_defaults(
    log: CountingLog, catalog: Catalog, settings: dict[str, Any], zone: str, percent: float
) -> None:
    """What the settings do not say, or say in a way nobody can read."""
    record = CatalogueRecord(workspace=WS)
    record.workspace_record.settings_json = json.dumps(settings).encode()
    await tell(log, "workspace", record)
    await catalog.refresh()

    info = catalog.workspace(WS)
    assert info is not None
    assert (zone, percent, settings) == (info.timezone, info.holdout_percent, info.settings)
