"""Changes of preferences and suppressions in the audit: before the answer, once, and without personal data."""

import json
from typing import Any

import msgspec
import pytest
from journeys.events.v1.authoring_record_pb2 import AuditRecord

from services.domain.errors import Unavailable
from services.infra.clock import ManualClock
from services.infra.log.port import LogUnavailable
from services.runtime.acts import Acts, By
from services.runtime.catalog import Catalog
from services.runtime.collections import AUDIT, TOPICS
from services.runtime.subject_documents import SUBJECT_COLLECTIONS
from services.runtime.subjects import Subjects
from services.runtime.suppressions import Suppressions
from tests.support.journeys import WORKSPACE as WS
from tests.support.journeys import publish_workspace
from tests.support.memory import MemoryDocuments, MemoryLog

OWNER = By("usr_owner")


class Silent(MemoryLog):
    """A log that can be unreachable."""

    is_down = False

    async def append(self, topic: str, records: Any) -> Any:
        if self.is_down:
            raise LogUnavailable("down")
        return await super().append(topic, records)


class Desk:
    """The use cases of one process; `again` is another process on the same store."""

    def __init__(self) -> None:
        self.clock, self.documents, self.log = ManualClock(), MemoryDocuments(), Silent()
        self.again()

    def again(self) -> None:
        acts = Acts(self.log, Catalog(self.log).known)
        self.subjects = Subjects(self.documents, self.clock, None, acts)
        self.suppressions = Suppressions(self.documents, self.clock, acts)

    async def put(self, user: str = "ann", **profile: Any) -> None:
        await self.subjects.put(WS, user, json.dumps(profile).encode(), None, OWNER)

    def records(self) -> list[AuditRecord]:
        """What the log has of the audit, by partition."""
        return [AuditRecord.FromString(stored.value) for stored in self.log.all(AUDIT)]

    def told(self) -> list[tuple[Any, ...]]:
        """Channel, before, after of each."""
        metadata = [msgspec.json.decode(record.metadata_json) for record in self.records()]
        return [(one["channel"], one["old"], one["new"]) for one in metadata]


@pytest.fixture
async def desk() -> Desk:
    made = Desk()
    await made.documents.open(SUBJECT_COLLECTIONS)
    await made.log.open(TOPICS)
    await publish_workspace(made.log)
    return made


async def test_a_change_is_told_with_who_did_it(desk: Desk) -> None:
    """One act a channel, on the workspace's own timeline."""
    await desk.put(channelPreferences={"email": False, "mobile_push": True}, attributes={"secret": "x"})
    await desk.subjects.patch(WS, "ann", b'{"channelPreferences": {"email": null}, "globalOptOut": true}', None, OWNER)

    assert [("email", True, False), ("email", False, True), ("all", True, False)] == desk.told()
    for record in desk.records():
        assert ("usr_owner", "preferences.changed", WS, "") == (
            record.actor, record.action, record.workspace, record.journey_id
        )  # fmt: skip
        assert {"endUserId", "channel", "old", "new", "source"} == msgspec.json.decode(record.metadata_json).keys()
    assert 3 == len({record.id for record in desk.records()})


async def test_what_changes_nothing_is_not_told(desk: Desk) -> None:
    """Nothing said means opted in; attributes are nobody's business here."""
    await desk.put(channelPreferences={"email": True})
    await desk.put(channelPreferences={}, attributes={"a": 1})
    await desk.subjects.apply_effect(WS, "ann", "i1", {"a": 2})
    await desk.subjects.prefer(WS, "ann", {"email": True}, OWNER, global_opt_out=False)

    assert [] == desk.records()


async def test_an_import_tells_its_changes(desk: Desk) -> None:
    """Those of people known and new, each once."""
    await desk.put("ann")
    lines = [
        b'{"endUserId": "ann", "globalOptOut": true}',
        b'{"endUserId": "bob", "channelPreferences": {"email": false}}',
        b'{"endUserId": "cleo", "channelPreferences": {"email": true}}',
    ]
    for _ in range(2):
        await desk.subjects.import_batch(WS, lines, By("usr_owner", "import"))

    assert [("all", True, False), ("email", True, False)] == desk.told()
    assert {b"import"} == {record.metadata_json.split(b'"')[-2] for record in desk.records()}


@pytest.mark.parametrize("is_another_process", [False, True])
async def test_killed_before_it_was_told_it_is_told_by_the_next_writer(desk: Desk, is_another_process: bool) -> None:
    """Also by a repeat that has nothing left to change; and once told, not again and again."""
    await desk.put()
    desk.log.is_down = True
    with pytest.raises(LogUnavailable):
        await desk.subjects.prefer(WS, "ann", {"email": False}, OWNER)
    desk.log.is_down = False
    if is_another_process:
        desk.again()
    for _ in range(3):
        await desk.subjects.prefer(WS, "ann", {"email": False}, OWNER)

    assert [("email", True, False)] == desk.told()


async def test_an_import_that_was_cut_off_is_told_by_its_repeat(desk: Desk) -> None:
    """Profiles and audit agree in the end."""
    lines = [b'{"endUserId": "ann", "globalOptOut": true}']
    desk.log.is_down = True
    with pytest.raises(LogUnavailable):
        await desk.subjects.import_batch(WS, lines)
    desk.log.is_down = False
    await desk.subjects.import_batch(WS, lines)

    assert [("all", True, False)] == desk.told()


async def test_suppressions_are_told_by_a_hash(desk: Desk) -> None:
    """The same address has the same one, however it is written, and nothing tells the address."""
    await desk.suppressions.put(WS, "Ann@Example.com", "asked", OWNER)
    await desk.suppressions.put(WS, "ann@example.com", "asked", OWNER)
    await desk.suppressions.put(WS, "ann@example.com", "asked again", OWNER)
    await desk.suppressions.delete(WS, "ANN@example.com", OWNER)
    await desk.suppressions.put(WS, "ann@example.com", "asked", OWNER)
    records = desk.records()
    kinds = ["suppression.added", "suppression.changed", "suppression.removed", "suppression.added"]

    assert kinds == [record.action for record in records]
    assert 1 == len({msgspec.json.decode(record.metadata_json)["addressHash"] for record in records})
    assert 4 == len({record.id for record in records})
    assert b"xample" not in b"".join(record.SerializeToString() for record in records)


async def test_a_suppression_whose_telling_failed_is_told_by_the_repeat(desk: Desk) -> None:
    """And one whose end could not be told has not ended."""
    desk.log.is_down = True
    with pytest.raises(LogUnavailable):
        await desk.suppressions.put(WS, "a@b", "asked", OWNER)
    desk.log.is_down = False
    desk.again()
    await desk.suppressions.put(WS, "a@b", "asked", OWNER)
    desk.log.is_down = True
    with pytest.raises(LogUnavailable):
        await desk.suppressions.delete(WS, "a@b", OWNER)

    assert ["suppression.added"] == [record.action for record in desk.records()]
    assert await desk.suppressions.get(WS, "a@b")


async def test_a_workspace_that_is_not_known_yet_waits(desk: Desk) -> None:
    """Without its secret nothing can be hashed, so nothing is written."""
    with pytest.raises(Unavailable):
        await desk.suppressions.put("pk_new", "a@b", "asked", OWNER)

    assert [] == desk.records()
