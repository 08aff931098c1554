"""Documents as protos, and the servicers over a real channel: nothing lost, absent stays absent."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import grpc
import pytest
from journeys.events.v1.customer_event_pb2 import CustomerEvent
from journeys.runtime.v1 import runtime_service_pb2 as runtime
from journeys.runtime.v1 import subject_service_pb2 as people
from journeys.runtime.v1.runtime_service_pb2_grpc import RuntimeServiceStub, add_RuntimeServiceServicer_to_server
from journeys.runtime.v1.subject_service_pb2_grpc import SubjectServiceStub, add_SubjectServiceServicer_to_server
from journeys.type.v1.page_pb2 import Page
from msgspec.structs import replace as replace_struct

from services.domain.errors import Invalid
from services.domain.execution.execution import Entry, Execution
from services.domain.execution.lifecycle import Status
from services.infra.clock import ManualClock
from services.infra.grpc.caller import acting, outgoing
from services.infra.grpc.channel import connect
from services.infra.grpc.errors import refusal_of
from services.infra.grpc.server import Server
from services.runtime.audience_evaluation import AudienceEvaluation
from services.runtime.catalog import Catalog
from services.runtime.collections import COLLECTIONS, EXECUTIONS, MESSAGES, TOPICS
from services.runtime.convert import execution_to_proto, message_to_proto, page_from_proto, subject_to_proto
from services.runtime.messages import Messages
from services.runtime.paging import PageRequest
from services.runtime.preference_tokens import token_of
from services.runtime.preferences import Preferences
from services.runtime.queries import Queries
from services.runtime.servicer import RuntimeServicer
from services.runtime.subject_documents import SUBJECT_COLLECTIONS, empty_subject
from services.runtime.subject_servicer import SubjectServicer
from services.runtime.subjects import Subjects
from services.runtime.suppressions import Suppressions
from tests.support.journeys import WORKSPACE as WS
from tests.support.journeys import publish_audience, publish_workspace
from tests.support.memory import MemoryDocuments, MemoryLog
from tests.unit.runtime.test_queries import execution, message


def test_a_list_shows_an_execution_without_its_history() -> None:
    """The head alone: lists are long."""
    one = replace(execution(5), history=(Entry("k:1:0", 5, "hi", "execution.started", {}),), step_due_at=9)

    assert execution_to_proto(one) == runtime.Execution(
        execution_id="act__v1__usr_a__e5",
        journey_id="act",
        version=1,
        end_user_id="usr_a",
        status="RUNNING",
        started_at_ms=5,
        current_step_id="hi",
        correlation_id="act__v1__usr_a__e5-hi",
    )


def test_one_execution_is_shown_whole() -> None:
    """History, the wait's time, saved answers, the reason it ended."""
    entry = Entry("k:1:0", 5, "hi", "wait.started", {"mode": "duration"})
    one = replace(execution(5), history=(entry,), step_due_at=9, outbox_due_at=6, context={"a": {"b": 1}})
    over = replace(one, status=Status.SUCCEEDED, ended_at=8, exit_reason="goal", step_due_at=9)

    shown, ended = execution_to_proto(one, whole=True), execution_to_proto(over, whole=True)

    assert (5, "hi", "wait.started", b'{"mode":"duration"}') == (
        shown.history[0].at_ms,
        shown.history[0].step_id,
        shown.history[0].event,
        shown.history[0].detail_json,
    )
    assert (9, False, False) == (shown.due_ms, shown.HasField("ended_at_ms"), shown.HasField("exit_reason"))
    assert {"a": {"b": 1}} == json.loads(shown.context_json)
    assert (8, "goal", False) == (ended.ended_at_ms, ended.exit_reason, ended.HasField("due_ms"))


def test_a_message_keeps_its_address_masked() -> None:
    """Its id is its idempotency key; what was not sent has no time."""
    shown = message_to_proto(message(3))

    assert ("a***@e***.org", shown.message_id, False) == (shown.to, shown.idempotency_key, shown.HasField("sent_at_ms"))


def test_an_absent_member_stays_absent() -> None:
    """Absent differs from empty."""
    shown = subject_to_proto(empty_subject(WS, "usr_a", 1))

    assert [False] * 3 == [shown.HasField(name) for name in ("email", "timezone", "locale")]
    assert (b"{}", "1-1") == (shown.attributes_json, shown.etag)


@pytest.mark.parametrize(
    ("page", "request_of"),
    [(Page(), PageRequest(50)), (Page(limit=7), PageRequest(7)), (Page(limit=7, cursor="c"), PageRequest(7, "c"))],
)
def test_a_page_without_limit_is_as_the_contract_shows_it(page: Page, request_of: PageRequest) -> None:
    """The default is the list's own."""
    assert request_of == page_from_proto(page, 50)


def test_a_limit_beyond_the_contract_is_refused() -> None:
    """Nobody asks for everything at once."""
    with pytest.raises(Invalid):
        page_from_proto(Page(limit=501), 50)


class Asked:
    """Stands for ingestion and commands: remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    async def __call__(self, workspace: str, events: Any) -> list[int]:
        self.calls.append(("ingest", workspace, [event.id for event in events]))
        return [0]

    async def start(
        self, workspace: str, journey_id: str, event: CustomerEvent, source: str, actor: str
    ) -> tuple[str, bool, str | None]:
        self.calls.append(("start", workspace, journey_id, event.id, source, actor))
        return "x", False, "duplicate"

    async def dispatch(self, workspace: str, execution_id: str) -> tuple[Execution, bool]:
        self.calls.append(("dispatch", workspace, execution_id))
        return execution(1), True

    async def abort(self, workspace: str, journey_id: str, execution_id: str, actor: str) -> Execution:
        self.calls.append(("abort", workspace, journey_id, execution_id, actor))
        return execution(1, status=Status.ABORTED)

    async def retry(self, workspace: str, journey_id: str, execution_id: str, actor: str) -> Execution:
        self.calls.append(("retry", workspace, journey_id, execution_id, actor))
        return execution(1)


async def _nobody_waits(workspace: str, end_user_ids: Sequence[str]) -> None:
    pass


class Wire:
    """Both services behind a real socket."""

    def __init__(self, address: str) -> None:
        self.documents, self.log, self.asked = MemoryDocuments(), MemoryLog(), Asked()
        self._server = Server("runtime")
        self._address = address

    async def open(self) -> None:
        clock, catalog = ManualClock(), Catalog(self.log)
        await self.documents.open([*COLLECTIONS, *SUBJECT_COLLECTIONS])
        await self.log.open(TOPICS)
        await publish_workspace(self.log)
        queries, evaluation = Queries(self.documents, catalog), AudienceEvaluation(self.documents, catalog, clock)
        subjects, suppressions = Subjects(self.documents, clock), Suppressions(self.documents, clock)
        messages = Messages(self.documents, clock, subjects, suppressions, _nobody_waits)
        self._server.add(
            add_RuntimeServiceServicer_to_server,
            RuntimeServicer(self.asked, self.asked, queries, messages, evaluation),
            "journeys.runtime.v1.RuntimeService",
        )
        self._server.add(
            add_SubjectServiceServicer_to_server,
            SubjectServicer(subjects, suppressions, Preferences(subjects, catalog, clock)),
            "journeys.runtime.v1.SubjectService",
        )
        self._channel = connect(await self._server.start(self._address))
        self.runtime, self.people = RuntimeServiceStub(self._channel), SubjectServiceStub(self._channel)

    async def close(self) -> None:
        await self._channel.close()
        await self._server.stop(0)


@pytest.fixture
async def wire(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Wire]:
    wire = Wire(f"unix:{tmp_path_factory.mktemp('s')}/r")
    await wire.open()
    yield wire
    await wire.close()


async def test_what_is_asked_arrives_with_its_actor(wire: Wire) -> None:
    """Workspace, ids and who asks, unchanged; the answers come back."""
    event = CustomerEvent(id="e1", type="signed_up")
    with acting("usr_owner"):
        metadata = outgoing()
    ingested = await wire.runtime.IngestEvents(runtime.IngestEventsRequest(workspace=WS, events=[event]))
    started = await wire.runtime.StartExecution(
        runtime.StartExecutionRequest(workspace=WS, journey_id="act", event=event, source="manual"), metadata=metadata
    )
    dispatched = await wire.runtime.DispatchExecution(runtime.DispatchExecutionRequest(workspace=WS, execution_id="x"))
    aborted = await wire.runtime.AbortExecution(
        runtime.AbortExecutionRequest(workspace=WS, journey_id="act", execution_id="x"), metadata=metadata
    )
    await wire.runtime.RetryExecution(runtime.RetryExecutionRequest(workspace=WS, journey_id="act", execution_id="x"))

    assert [
        ("ingest", WS, ["e1"]),
        ("start", WS, "act", "e1", "manual", "usr_owner"),
        ("dispatch", WS, "x"),
        ("abort", WS, "act", "x", "usr_owner"),
        ("retry", WS, "act", "x", "system"),
    ] == wire.asked.calls
    assert (1, 1, False, "duplicate") == (ingested.received, ingested.duplicates, started.started, started.reason)
    assert (True, "RUNNING", "ABORTED") == (dispatched.advanced, dispatched.execution.status, aborted.execution.status)


async def test_executions_and_messages_are_read_over_the_wire(wire: Wire) -> None:
    """Lists with their cursors, one with its history."""
    for number in range(3):
        await wire.documents.insert(EXECUTIONS, execution(number))
        await wire.documents.insert(MESSAGES, message(number))
    listed = await wire.runtime.ListExecutions(
        runtime.ListExecutionsRequest(workspace=WS, journey_id="act", status="RUNNING", page=Page(limit=2))
    )
    one = await wire.runtime.GetExecution(
        runtime.GetExecutionRequest(workspace=WS, journey_id="act", execution_id="act__v1__usr_a__e1")
    )
    sent = await wire.runtime.ListMessages(runtime.ListMessagesRequest(workspace=WS, end_user_id="usr_a"))

    assert [2, 1] == [it.started_at_ms for it in listed.executions]
    assert listed.next_cursor
    assert (1, b"{}") == (one.execution.started_at_ms, one.execution.context_json)
    assert ([3], False) == ([len(sent.messages)], sent.HasField("next_cursor"))


async def test_an_audience_is_evaluated_over_the_wire(wire: Wire) -> None:
    """The explanation is a JSON object."""
    await publish_audience(wire.log, "all", {"kind": "and", "clauses": []})
    await wire.people.PutSubject(people.PutSubjectRequest(workspace=WS, end_user_id="usr_a", profile_json=b"{}"))

    reply = await wire.runtime.EvaluateAudience(
        runtime.EvaluateAudienceRequest(workspace=WS, audience_id="all", end_user_id="usr_a")
    )

    assert (True, {"kind": "and", "clauses": [], "result": True}) == (reply.matches, json.loads(reply.explanation_json))


async def test_people_are_written_and_read_over_the_wire(wire: Wire) -> None:
    """Put, patch, get, list, import."""
    put = await wire.people.PutSubject(
        people.PutSubjectRequest(
            workspace=WS, end_user_id="usr_a", profile_json=b'{"addresses": {"email": "A@b"}, "attributes": {"n": 1}}'
        )
    )
    patched = await wire.people.PatchSubject(
        people.PatchSubjectRequest(
            workspace=WS, end_user_id="usr_a", merge_patch_json=b'{"attributes": {"m": 2}}', etag=put.subject.etag
        )
    )
    imported = await wire.people.ImportSubjects(
        people.ImportSubjectsRequest(workspace=WS, profiles_json=[b'{"endUserId": "usr_b"}', b"{}"])
    )
    listed = await wire.people.ListSubjects(people.ListSubjectsRequest(workspace=WS, email="a@B"))
    everybody = await wire.people.ListSubjects(people.ListSubjectsRequest(workspace=WS, query="usr"))
    one = await wire.people.GetSubject(people.GetSubjectRequest(workspace=WS, end_user_id="usr_a"))

    assert (True, {"n": 1, "m": 2}) == (put.created, json.loads(patched.subject.attributes_json))
    assert (1, 0, [1]) == (imported.created, imported.updated, [fault.index for fault in imported.faults])
    assert ([one.subject], ["usr_a", "usr_b"]) == (list(listed.subjects), [it.end_user_id for it in everybody.subjects])


async def test_suppressions_are_written_and_read_over_the_wire(wire: Wire) -> None:
    """Put, get, list, delete."""
    put = await wire.people.PutSuppression(people.PutSuppressionRequest(workspace=WS, address="A@b", reason="asked"))
    got = await wire.people.GetSuppression(people.GetSuppressionRequest(workspace=WS, address="a@B"))
    listed = await wire.people.ListSuppressions(people.ListSuppressionsRequest(workspace=WS))
    await wire.people.DeleteSuppression(people.DeleteSuppressionRequest(workspace=WS, address="a@b"))
    after = await wire.people.ListSuppressions(people.ListSuppressionsRequest(workspace=WS))

    assert (True, "A@b", "asked") == (put.created, got.suppression.address, got.suppression.reason)
    assert ([put.suppression], []) == (list(listed.suppressions), list(after.suppressions))


async def test_feedback_and_the_in_app_store_over_the_wire(wire: Wire) -> None:
    """What is said of a message, what a person's app shows, and that it was read."""
    await wire.documents.insert(MESSAGES, replace_struct(message(1), channel="in_app_push", title="T", data={"n": 1}))
    told = await wire.runtime.RecordMessageEvent(
        runtime.RecordMessageEventRequest(workspace=WS, message_id=message(1).key, type="bounced", permanent=True)
    )
    read = await wire.runtime.ReadInApp(runtime.ReadInAppRequest(workspace=WS, message_id=message(1).key))
    listed = await wire.runtime.ListInApp(runtime.ListInAppRequest(workspace=WS, end_user_id="usr_a"))

    assert [("bounced", True)] == [(event.type, event.permanent) for event in told.events]
    assert ("T", b'{"n":1}', True) == (read.message.title, read.message.data_json, read.message.HasField("read_at_ms"))
    assert [read.message] == list(listed.messages)


async def test_preferences_cross_the_wire(wire: Wire) -> None:
    """Every channel in its order; what is not named stays."""
    await wire.people.PutSubject(people.PutSubjectRequest(workspace=WS, end_user_id="usr_a", profile_json=b"{}"))
    token = token_of(b"0" * 32, WS, "usr_a", "email", ManualClock().now_ms())
    changed = await wire.people.ChangePreferences(
        people.ChangePreferencesRequest(
            token=token, channels=[people.ChannelPreference(channel="mobile_push", opted_in=False)]
        )
    )
    left = await wire.people.Unsubscribe(people.UnsubscribeRequest(token=token))
    shown = await wire.people.GetPreferences(people.GetPreferencesRequest(token=token))

    assert [("email", True), ("in_app_push", True), ("mobile_push", False)] == [
        (one.channel, one.opted_in) for one in changed.preferences.channels
    ]
    assert ("Test", "email", False) == (shown.preferences.workspace_name, shown.preferences.channel, False)
    assert left.preferences == shown.preferences
    assert not shown.preferences.channels[0].opted_in


async def test_a_stale_etag_crosses_the_wire_as_unmatched(wire: Wire) -> None:
    """The gateway answers 412 by the kind."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await wire.people.PutSubject(
            people.PutSubjectRequest(workspace=WS, end_user_id="usr_a", profile_json=b"{}", etag="9-9")
        )

    refusal = refusal_of(failed.value)
    assert ("unmatched", "precondition_failed") == (refusal.kind, refusal.reason)
