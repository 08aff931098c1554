"""Whether a person belongs to an audience: over profile, history and other audiences, with the reason."""

from typing import Any

import pytest
from journeys.events.v1.authoring_record_pb2 import AudienceRecord, CatalogueRecord

from services.domain.errors import Missing
from services.infra.clock import ManualClock
from services.infra.log.port import Record
from services.runtime.audience_evaluation import AudienceEvaluation
from services.runtime.catalog import Catalog
from services.runtime.collections import CATALOGUE, COLLECTIONS, EVENT_RECORDS, TOPICS, EventRecord
from services.runtime.lanes import subject_of
from services.runtime.subject_documents import SUBJECT_COLLECTIONS
from services.runtime.subjects import Subjects
from tests.support.journeys import WORKSPACE as WS
from tests.support.journeys import publish_audience, publish_workspace
from tests.support.memory import MemoryDocuments, MemoryLog

DAY_MS = 86_400_000


class House:
    """A workspace with one person, usr_a."""

    def __init__(self) -> None:
        self.documents, self.log, self.clock = MemoryDocuments(), MemoryLog(), ManualClock()
        self.evaluation = AudienceEvaluation(self.documents, Catalog(self.log), self.clock)

    async def open(self) -> None:
        await self.documents.open([*COLLECTIONS, *SUBJECT_COLLECTIONS])
        await self.log.open(TOPICS)
        await publish_workspace(self.log, timezone="Europe/Berlin")
        await Subjects(self.documents, self.clock).put(WS, "usr_a", b'{"attributes": {"plan": "pro"}}')

    async def happened(
        self, event_id: str, name: str, days_ago: float, data: bytes = b"{}", user: str = "usr_a"
    ) -> None:
        at = self.clock.now_ms() - round(days_ago * DAY_MS)
        record = EventRecord(
            key=f"{WS}:{event_id}",
            event_id=event_id,
            name=name,
            at=at,
            received_at=at,
            partition=0,
            offset=0,
            subject_key=subject_of(WS, b"0" * 32, user).key,
            data_json=data,
        )
        await self.documents.insert(EVENT_RECORDS, record)

    async def matches(self, predicate: dict[str, Any]) -> bool:
        await publish_audience(self.log, "asked", predicate)
        matches, explanation = await self.evaluation.evaluate(WS, "asked", "usr_a")
        assert explanation["result"] == matches
        return matches


@pytest.fixture
async def house() -> House:
    house = House()
    await house.open()
    return house


def fired(at_least: int = 1, days: float = 7, **more: Any) -> dict[str, Any]:
    """At least so many purchases in so many days."""
    window = {"type": "last_n_days", "days": days}
    return {"kind": "event_fired", "eventName": "bought", "window": window, "atLeast": at_least, **more}


def plan_is(plan: str) -> dict[str, Any]:
    """A comparison with the person's plan."""
    return {"kind": "attribute", "fieldPath": "plan", "operator": "equals", "value": plan}


async def test_attributes_are_compared(house: House) -> None:
    """And the explanation is the predicate itself, with what was found."""
    await publish_audience(house.log, "pros", plan_is("pro"))

    matches, explanation = await house.evaluation.evaluate(WS, "pros", "usr_a")

    assert matches
    assert {**plan_is("pro"), "found": "pro", "result": True} == explanation


async def test_events_in_the_window_count(house: House) -> None:
    """By the moment they happened, this person's alone, with what `where` asks of them."""
    await house.happened("e1", "bought", 1, b'{"total": 50}')
    await house.happened("e2", "bought", 6, b'{"total": 5}')
    await house.happened("e3", "bought", 8)
    await house.happened("e4", "bought", 1, user="usr_b")
    large = {"kind": "event_attribute", "fieldPath": "total", "operator": "gte", "value": 10}

    assert [True, False] == [await house.matches(fired(n)) for n in (2, 3)]
    assert [True, False] == [await house.matches(fired(n, where=large)) for n in (1, 2)]
    assert await house.matches(
        {"kind": "and", "clauses": [fired(3, days=9), {"kind": "not", "clause": fired(2, days=2)}]}
    )


async def test_the_widest_window_of_a_name_is_read(house: House) -> None:
    """Two windows over one name: neither loses events to the other; inner audiences' count, too."""
    await house.happened("e1", "bought", 20)
    await publish_audience(house.log, "inner", fired(days=30))

    assert await house.matches(
        {"kind": "or", "clauses": [fired(days=1), {"kind": "in_segment", "audienceId": "inner"}]}
    )


async def test_more_events_than_one_read_gives(house: House) -> None:
    """All of them count."""
    for i in range(1_200):
        await house.happened(f"e{i}", "bought", 0)

    assert [True, False] == [await house.matches(fired(n)) for n in (1_200, 1_201)]


async def test_outside_an_execution_nothing_has_started(house: House) -> None:
    """`since_start` has nothing to count from, and says so."""
    await publish_audience(
        house.log, "a", {"kind": "event_fired", "eventName": "bought", "window": {"type": "since_start"}}
    )

    matches, explanation = await house.evaluation.evaluate(WS, "a", "usr_a")

    assert (False, "not_started") == (matches, explanation["reason"])


async def test_a_circle_of_audiences_is_told(house: House) -> None:
    """It is nobody's audience."""
    await publish_audience(house.log, "a", {"kind": "in_segment", "audienceId": "b"})
    await publish_audience(house.log, "b", {"kind": "in_segment", "audienceId": "a"})

    matches, explanation = await house.evaluation.evaluate(WS, "a", "usr_a")

    assert (False, "audience_cycle") == (matches, explanation["reason"])


@pytest.mark.parametrize(("listed", "matches"), [(["usr_a", "usr_b"], True), (["usr_b"], False)])
async def test_a_list_of_people(house: House, listed: list[str], matches: bool) -> None:
    """Who is listed belongs."""
    record = CatalogueRecord(workspace=WS, audience=AudienceRecord(id="few", subject_ids=listed))
    await house.log.append(CATALOGUE, [Record(f"{WS}:audience:few", record.SerializeToString())])

    assert matches is (await house.evaluation.evaluate(WS, "few", "usr_a"))[0]


@pytest.mark.parametrize(
    ("workspace", "audience", "person"),
    [(WS, "none", "usr_a"), (WS, "pros", "nobody"), ("pk_other", "pros", "usr_a")],
)
async def test_whoever_is_not_there_is_missing(house: House, workspace: str, audience: str, person: str) -> None:
    """An audience, a person, a workspace."""
    await publish_audience(house.log, "pros", plan_is("pro"))

    with pytest.raises(Missing):
        await house.evaluation.evaluate(workspace, audience, person)
