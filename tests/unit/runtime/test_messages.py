"""Feedback and reading: said twice is said once, and what follows is done before it is stored."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from journeys.events.v1.authoring_record_pb2 import AuditRecord

from services.domain.errors import Invalid, Missing
from services.infra.clock import ManualClock
from services.infra.documents.port import StoreUnavailable
from services.runtime.acts import Acts
from services.runtime.catalog import Catalog
from services.runtime.collections import AUDIT, COLLECTIONS, MESSAGES, TOPICS, MessageDocument
from services.runtime.messages import FEEDBACK, Messages
from services.runtime.subject_documents import SUBJECT_COLLECTIONS
from services.runtime.subjects import Subjects
from services.runtime.suppressions import Suppressions
from tests.support.journeys import WORKSPACE as WS
from tests.support.journeys import publish_workspace
from tests.support.memory import MemoryDocuments, MemoryLog

SENT = MessageDocument(
    key="act__v1__ann__e1-mail-1",
    workspace=WS,
    journey_id="act",
    journey_version=1,
    execution_id="act__v1__ann__e1",
    subject_key="k",
    end_user_id="ann",
    step_id="mail",
    channel="email",
    status="sent",
    to="a***@e***.com",
    addresses=("Ann@example.com",),
    at=5,
)


class Desk:
    """The use cases on memory ports."""

    def __init__(self) -> None:
        self.clock, self.documents, self.log = ManualClock(), MemoryDocuments(), MemoryLog()
        self.woken: list[str] = []
        acts = Acts(self.log, Catalog(self.log).known)
        self.subjects = Subjects(self.documents, self.clock, None, acts)
        self.suppressions = Suppressions(self.documents, self.clock, acts)
        self.messages = Messages(self.documents, self.clock, self.subjects, self.suppressions, self._wake)

    async def _wake(self, workspace: str, end_user_ids: Sequence[str]) -> None:
        self.woken.extend(end_user_ids)

    async def say(self, kind: str, *, permanent: bool = False, message: str = SENT.key) -> list[str]:
        """A provider's word; all that is known then."""
        document = await self.messages.record(WS, message, kind, permanent, "key-1")
        return [event.type for event in document.events]

    def audit(self) -> list[tuple[str, str, Any]]:
        """Actor, action, metadata."""
        records = [AuditRecord.FromString(stored.value) for stored in self.log.all(AUDIT)]
        return [(one.actor, one.action, msgspec.json.decode(one.metadata_json)) for one in records]


@pytest.fixture
async def desk() -> Desk:
    made = Desk()
    await made.documents.open([*COLLECTIONS, *SUBJECT_COLLECTIONS])
    await made.log.open(TOPICS)
    await publish_workspace(made.log)
    await made.documents.insert(MESSAGES, SENT)
    await made.subjects.put(WS, "ann", b'{"addresses": {"email": "ann@example.com"}}')
    return made


async def test_every_word_is_kept_once_with_its_time(desk: Desk) -> None:
    """A provider repeats what was not acknowledged; the first time counts."""
    for kind in (*FEEDBACK, *FEEDBACK):
        known = await desk.say(kind)
        desk.clock.move(1_000)

    stored = await desk.documents.get(MESSAGES, SENT.key)
    assert stored is not None
    assert list(FEEDBACK) == known
    assert sorted(event.at for event in stored.events) == [event.at for event in stored.events]
    assert 12 == len(desk.woken)


@pytest.mark.parametrize(
    ("kind", "permanent", "is_suppressed"),
    [("bounced", True, True), ("bounced", False, False), ("complained", False, True), ("opened", True, False)],
)
async def test_what_suppresses_the_address(desk: Desk, kind: str, permanent: bool, is_suppressed: bool) -> None:
    """A permanent bounce and a complaint; the audit has a hash of the address and never the address."""
    await desk.say(kind, permanent=permanent)
    await desk.say(kind, permanent=permanent)

    assert is_suppressed == bool(await desk.suppressions.among(WS, ["ann@EXAMPLE.com"]))
    assert [("key-1", "suppression.added")] * is_suppressed == [(actor, act) for actor, act, _ in desk.audit()]
    assert "xample" not in str(desk.log.all(AUDIT))


async def test_a_bounce_may_become_permanent(desk: Desk) -> None:
    """The two are told apart."""
    await desk.say("bounced")
    await desk.say("bounced", permanent=True)

    assert [("bounced", False), ("bounced", True)] == [
        (event.type, event.permanent)
        for event in (await desk.messages.record(WS, SENT.key, "bounced", False, "x")).events
    ]
    assert await desk.suppressions.get(WS, "ann@example.com")


async def test_an_unsubscribe_opts_out_of_the_channel(desk: Desk) -> None:
    """And of no other; the audit says which message it came by."""
    await desk.say("unsubscribed")
    subject = await desk.subjects.get(WS, "ann")

    assert {"email": False} == subject.preferences
    assert [
        (
            "key-1",
            "preferences.changed",
            {
                "endUserId": "ann", "channel": "email", "old": True, "new": False, "source": "feedback",
                "messageId": SENT.key,
            },
        )
    ] == desk.audit()  # fmt: skip


async def test_what_was_taken_back_stays_so_when_the_word_is_repeated(desk: Desk) -> None:
    """Somebody lifted the suppression; an old webhook that comes again must not bring it back."""
    await desk.say("complained")
    await desk.suppressions.delete(WS, "ann@example.com")
    await desk.say("complained")

    assert not await desk.suppressions.among(WS, ["ann@example.com"])


async def test_killed_in_between_the_repeat_completes_it(desk: Desk) -> None:
    """The suppression is there before the word is stored."""
    good = desk.documents.replace

    async def fail(*args: Any) -> None:
        raise StoreUnavailable("gone")

    desk.documents.replace = fail  # type: ignore[method-assign, assignment]
    with pytest.raises(StoreUnavailable):
        await desk.say("complained")
    was_suppressed = await desk.suppressions.among(WS, ["ann@example.com"])
    desk.documents.replace = good  # type: ignore[method-assign]

    assert was_suppressed
    assert ["complained"] == await desk.say("complained")


async def test_another_workspace_s_message_is_not_there(desk: Desk) -> None:
    """Nor is one that was never sent; a word we do not know is refused."""
    with pytest.raises(Missing):
        await desk.messages.record("pk_other", SENT.key, "opened", False, "x")
    with pytest.raises(Missing):
        await desk.say("opened", message="nobody's")
    with pytest.raises(Invalid):
        await desk.say("sent")
    with pytest.raises(Missing):
        await desk.messages.read(WS, SENT.key)  # a mail is not in the in-app store


async def test_reading_counts_the_first_time(desk: Desk) -> None:
    """Reading again changes nothing."""
    await desk.documents.insert(MESSAGES, msgspec.structs.replace(SENT, key="m2", channel="in_app_push"))
    first = await desk.messages.read(WS, "m2")
    desk.clock.move(60_000)

    assert first.read_at is not None
    assert first == await desk.messages.read(WS, "m2")
