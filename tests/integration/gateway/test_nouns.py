"""The other nouns: what is asked of the services, and how their answers are shown."""

import json
from typing import Any

import pytest
from journeys.analytics.v1 import analytics_service_pb2 as analytics
from journeys.authoring.v1 import authoring_service_pb2 as api
from journeys.authoring.v1 import workspace_service_pb2 as work
from journeys.authoring.v1.journey_pb2 import Journey
from journeys.authoring.v1.library_pb2 import Audience, Communication, TriggerContract
from journeys.runtime.v1 import runtime_service_pb2 as run
from journeys.runtime.v1 import subject_service_pb2 as people

from services.domain.errors import Missing
from tests.integration.gateway.backend import Backend, Client

MS, AT = 1_777_554_000_000, "2026-04-30T13:00:00.000Z"
CONTRACT = TriggerContract(
    id="t", project_key="pk_demo", name="T", event_name="e", subject_field_path="endUserId", version_at_ms=MS, etag="1"
)
AUDIENCE = Audience(
    id="a",
    project_key="pk_demo",
    name="A",
    predicate_json=b'{"kind":"and","clauses":[]}',
    created_at_ms=MS,
    updated_at_ms=MS,
    etag="1",
)
MAIL = Communication(
    id="c",
    name="C",
    comm_type="marketing",
    channel="email",
    version=2,
    content_json='{"subject":"Hi ü","body":"<p>","from":"a@b.example","data":{"n":1}}'.encode(),
    status="active",
    etag="1",
)


async def test_trigger_contracts(client: Client, backend: Backend) -> None:
    """Made, read, changed, deleted; null clears the recipient's path."""
    backend.answers |= {
        "CreateTriggerContract": api.CreateTriggerContractResponse(trigger_contract=CONTRACT),
        "UpdateTriggerContract": api.UpdateTriggerContractResponse(trigger_contract=CONTRACT),
        "GetTriggerContract": api.GetTriggerContractResponse(trigger_contract=CONTRACT),
        "DeleteTriggerContract": api.DeleteTriggerContractResponse(),
        "ListTriggerContracts": api.ListTriggerContractsResponse(trigger_contracts=[CONTRACT], next_cursor="n"),
    }
    made = await client.post("/api/journey-triggers", {"name": "T", "eventName": "e", "subjectFieldPath": "data.u"})
    read = await client.get("/api/journey-triggers/t")
    changed = await client.patch("/api/journey-triggers/t", {**read.json, "name": "U"})
    listed = await client.get("/api/journey-triggers")
    refused = await client.ask("DELETE", "/api/journey-triggers/t", headers={"If-Match": '"0"'})
    deleted = await client.ask("DELETE", "/api/journey-triggers/t", headers={"If-Match": '"1"'})

    shown = {
        "id": "t",
        "projectKey": "pk_demo",
        "name": "T",
        "eventName": "e",
        "subjectFieldPath": "endUserId",
        "recipientEmailFieldPath": None,
        "versionAt": AT,
    }
    assert (201, "/api/journey-triggers/t", shown) == (made.status, made.headers["Location"], made.json)
    assert ("data.u", False) == (
        backend.last("CreateTriggerContract").subject_field_path,
        backend.last("CreateTriggerContract").HasField("recipient_email_field_path"),
    )
    assert (200, "U", True) == (
        changed.status,
        backend.last("UpdateTriggerContract").name,
        backend.last("UpdateTriggerContract").clear_recipient_email_field_path,
    )
    assert ([shown], True) == (listed.json, "Link" in listed.headers)
    assert (412, 204, b"") == (refused.status, deleted.status, deleted.body)


async def test_audiences(client: Client, backend: Backend) -> None:
    """By predicate or by list, one of them; the other is not shown."""
    static = Audience(id="s", name="S", subject_ids=["u1"], created_at_ms=MS, updated_at_ms=MS)
    backend.answers |= {
        "CreateAudience": api.CreateAudienceResponse(audience=AUDIENCE),
        "GetAudience": api.GetAudienceResponse(audience=static),
        "UpdateAudience": api.UpdateAudienceResponse(audience=static),
        "EvaluateAudience": run.EvaluateAudienceResponse(matches=True, explanation_json=b'{"leaf":1}'),
    }
    predicate = {"kind": "attribute", "fieldPath": "plan", "operator": "equals", "value": "pro"}
    made = await client.post("/api/audiences", {"name": "A", "predicate": predicate})
    read = await client.get("/api/audiences/s")
    await client.patch("/api/audiences/s", {"subjectIds": []})
    neither = await client.post("/api/audiences", {"name": "A"})
    both = await client.post("/api/audiences", {"name": "A", "predicate": predicate, "subjectIds": []})
    asked = await client.post("/api/audiences/s/evaluate", {"subjectId": "u/1"}, role="viewer")

    assert ({"kind": "and", "clauses": []}, "end_user", False) == (
        made.json["predicate"],
        made.json["subjectType"],
        "subjectIds" in made.json,
    )
    assert predicate == json.loads(backend.last("CreateAudience").predicate_json)
    assert (["u1"], False) == (read.json["subjectIds"], "predicate" in read.json)
    update = backend.last("UpdateAudience")
    assert (True, [], False) == (
        update.HasField("subject_ids"),
        list(update.subject_ids.ids),
        update.HasField("predicate_json"),
    )
    assert (["/predicate"], ["/subjectIds"]) == (neither.paths, both.paths)
    assert {"matches": True, "explanation": {"leaf": 1}} == asked.json
    assert "u/1" == backend.last("EvaluateAudience").end_user_id


async def test_communications(client: Client, backend: Backend) -> None:
    """Content as it was written; a PATCH hands on what it names, null removes; DELETE archives."""
    backend.answers |= {
        "CreateCommunication": api.CreateCommunicationResponse(communication=MAIL),
        "GetCommunication": api.GetCommunicationResponse(communication=MAIL),
        "UpdateCommunication": api.UpdateCommunicationResponse(communication=MAIL),
        "ArchiveCommunication": api.ArchiveCommunicationResponse(communication=MAIL),
    }
    made = await client.post(
        "/api/communications",
        {"name": "C", "commType": "marketing", "channel": "email", "subject": "Hi", "text": None},
    )
    await client.patch("/api/communications/c", {"subject": None, "from": "x"})
    patched = backend.last("UpdateCommunication")
    sent_back = await client.patch("/api/communications/c", made.json)
    moved = await client.patch("/api/communications/c", {"channel": "mobile_push"})
    archived = await client.ask("DELETE", "/api/communications/c")

    assert {
        "id": "c",
        "name": "C",
        "commType": "marketing",
        "channel": "email",
        "version": 2,
        "subject": "Hi ü",
        "body": "<p>",
        "from": "a@b.example",
        "data": {"n": 1},
        "status": "active",
    } == made.json
    assert {"subject": "Hi"} == json.loads(backend.last("CreateCommunication").content_json)
    assert {"subject": None, "from": "x"} == json.loads(patched.content_json)
    assert not patched.HasField("name")
    assert (200, 200) == (sent_back.status, archived.status)
    assert (400, ["/channel"]) == (moved.status, moved.paths)


async def test_subjects(client: Client, backend: Backend) -> None:
    """Put, patched, read, found; what only the server writes is left out."""
    person = people.Subject(
        end_user_id="u/1 ü",
        attributes_json=b'{"plan":"pro"}',
        mobile_push=["t"],
        channel_preferences={"email": True},
        etag="7",
    )
    backend.answers |= {
        "PutSubject": people.PutSubjectResponse(subject=person, created=True),
        "PatchSubject": people.PatchSubjectResponse(subject=person),
        "GetSubject": people.GetSubjectResponse(subject=person),
        "ListSubjects": people.ListSubjectsResponse(subjects=[person]),
    }
    read = await client.get("/api/subjects/u%2F1%20%C3%BC")
    put = await client.ask("PUT", "/api/subjects/u%2F1%20%C3%BC", read.json, headers={"If-Match": '"7"'})
    await client.patch("/api/subjects/u", {"attributes": {"a": None}, "timezone": None, "endUserId": "u"})
    await client.get("/api/subjects?email=a%40b.example&q=x")

    shown = {
        "endUserId": "u/1 ü",
        "attributes": {"plan": "pro"},
        "addresses": {"email": None, "mobile_push": ["t"]},
        "timezone": None,
        "locale": None,
        "channelPreferences": {"email": True},
        "globalOptOut": False,
    }
    assert (shown, '"7"') == (read.json, read.headers["ETag"])
    assert (201, "/api/subjects/u%2F1%20%C3%BC") == (put.status, put.headers["Location"])
    asked = backend.last("PutSubject")
    assert ("u/1 ü", "7", "endUserId" in json.loads(asked.profile_json)) == (asked.end_user_id, asked.etag, False)
    assert {"attributes": {"a": None}, "timezone": None} == json.loads(backend.last("PatchSubject").merge_patch_json)
    assert ("a@b.example", "x") == (backend.last("ListSubjects").email, backend.last("ListSubjects").query)


async def test_suppressions(client: Client, backend: Backend) -> None:
    """Put with or without a reason; If-Match is honoured by what is shown."""
    entry = people.Suppression(address="a@b.example", reason="bounce", created_at_ms=MS)
    backend.answers |= {
        "PutSuppression": people.PutSuppressionResponse(suppression=entry, created=True),
        "GetSuppression": people.GetSuppressionResponse(suppression=entry),
        "DeleteSuppression": people.DeleteSuppressionResponse(),
    }
    read = await client.get("/api/suppressions/a%40b.example")
    put = await client.ask("PUT", "/api/suppressions/a%40b.example", read.json)
    assert "bounce" == backend.last("PutSuppression").reason
    await client.ask("PUT", "/api/suppressions/a%40b.example")
    stale = await client.ask("DELETE", "/api/suppressions/a%40b.example", headers={"If-Match": '"0"'})
    gone = await client.ask("DELETE", "/api/suppressions/a%40b.example", headers={"If-Match": read.headers["ETag"]})

    assert {"address": "a@b.example", "reason": "bounce", "createdAt": AT} == read.json
    assert (201, "/api/suppressions/a%40b.example") == (put.status, put.headers["Location"])
    assert ("a@b.example", "manual") == (
        backend.last("PutSuppression").address,
        backend.last("PutSuppression").reason,
    )
    assert (412, 204) == (stale.status, gone.status)


async def test_the_workspace(client: Client, backend: Backend) -> None:
    """Settings beside key and name; a PATCH hands on what may be set."""
    shown = work.Workspace(project_key="pk_demo", name="Demo", settings_json=b'{"holdout":{"percent":5}}', etag="w1")
    backend.answers |= {
        "GetWorkspace": work.GetWorkspaceResponse(workspace=shown),
        "UpdateWorkspace": work.UpdateWorkspaceResponse(workspace=shown),
    }
    read = await client.get("/api/workspace", role="viewer")
    await client.patch("/api/workspace", {**read.json, "quietHours": None}, headers={"If-Match": '"w1"'})

    found = read.json
    assert found.pop("publicUrl").startswith("http://127.0.0.1:")
    assert ({"projectKey": "pk_demo", "name": "Demo", "holdout": {"percent": 5}}, '"w1"') == (
        found,
        read.headers["ETag"],
    )
    asked = backend.last("UpdateWorkspace")
    changes = {"name": "Demo", "holdout": {"percent": 5}, "quietHours": None, "publicUrl": None}
    assert changes == json.loads(asked.changes_json)  # the server's own address is not pinned
    assert "w1" == asked.etag


async def test_members_and_keys(client: Client, backend: Backend) -> None:
    """A key's secret is in the answer that makes it, and nowhere else."""
    member = work.Member(user_id="u 1", email="a@b.example", role="viewer")
    key = work.ApiKey(id="k", name="K", role="editor", created_at_ms=MS)
    backend.answers |= {
        "AddMember": work.AddMemberResponse(member=member),
        "UpdateMember": work.UpdateMemberResponse(member=member),
        "ListMembers": work.ListMembersResponse(members=[member]),
        "CreateApiKey": work.CreateApiKeyResponse(api_key=key, secret="s3cret"),
        "ListApiKeys": work.ListApiKeysResponse(api_keys=[key]),
        "DeleteApiKey": work.DeleteApiKeyResponse(),
    }
    added = await client.post("/api/workspace/members", {"email": "a@b.example", "role": "viewer", "password": "p"})
    changed = await client.patch("/api/workspace/members/u%201", {"role": "owner"})
    made = await client.post("/api/workspace/api-keys", {"name": "K"})
    listed = await client.get("/api/workspace/api-keys")
    odd = await client.post("/api/workspace/api-keys", {"name": "K", "role": "owner"})

    assert (201, {"userId": "u 1", "email": "a@b.example", "role": "viewer"}) == (added.status, added.json)
    assert ("/api/workspace/members/u%201", 200) == (added.headers["Location"], changed.status)
    assert ("u 1", "owner") == (backend.last("UpdateMember").user_id, backend.last("UpdateMember").role)
    assert {"id": "k", "name": "K", "role": "editor", "createdAt": AT, "secret": "s3cret"} == made.json
    assert ("no-store", "editor") == (made.headers["Cache-Control"], backend.last("CreateApiKey").role)
    assert [{"id": "k", "name": "K", "role": "editor", "createdAt": AT}] == listed.json
    assert (400, ["/role"]) == (odd.status, odd.paths)
    assert 204 == (await client.ask("DELETE", "/api/workspace/api-keys/k")).status


EXECUTION = run.Execution(
    execution_id="j__v1__u__e",
    journey_id="j",
    version=1,
    end_user_id="u",
    status="RUNNING",
    started_at_ms=MS,
    current_step_id="w",
    correlation_id="j__v1__u__e-w",
    due_ms=MS,
    history=[run.HistoryEntry(at_ms=MS, step_id="w", event="wait.started", detail_json=b'{"until":1}')],
)
ARN = "arn:aws:states:us-east-1:0:execution:disp:j__v1__u__e"
LISTED: dict[str, Any] = {
    "executionArn": ARN,
    "executionId": "j__v1__u__e",
    "journeyId": "j",
    "endUserId": "u",
    "status": "RUNNING",
    "startedAt": AT,
    "currentStepId": "w",
    "version": 1,
    "correlationId": "j__v1__u__e-w",
}


async def test_executions(client: Client, backend: Backend) -> None:
    """Fifty a page, filtered; one with its history; an end only where there is one."""
    ended = run.Execution(execution_id="x", status="SUCCEEDED", ended_at_ms=MS, started_at_ms=MS, exit_reason="goal")
    backend.answers |= {
        "ListExecutions": run.ListExecutionsResponse(executions=[EXECUTION]),
        "GetExecution": lambda request: run.GetExecutionResponse(
            execution=ended if request.execution_id == "x" else EXECUTION
        ),
        "AbortExecution": run.AbortExecutionResponse(execution=ended),
    }
    listed = await client.get("/api/journeys/j/executions?status=RUNNING&endUserId=u%2F1")
    one = await client.get("/api/journeys/j/executions/j__v1__u%252F1__e")
    other = await client.get("/api/journeys/j/executions/x")
    odd = await client.get("/api/journeys/j/executions?status=ASLEEP")
    aborted = await client.post("/api/journeys/j/executions/x/abort")

    assert [LISTED] == listed.json
    asked = backend.requests("ListExecutions")[0]
    assert (50, "RUNNING", "u/1") == (asked.page.limit, asked.status, asked.end_user_id)
    assert {
        **LISTED,
        "history": [{"at": AT, "stepId": "w", "event": "wait.started", "detail": {"until": 1}}],
        "due": AT,
        "context": {},
        "exitReason": None,
    } == one.json
    assert "j__v1__u%2F1__e" == backend.requests("GetExecution")[0].execution_id
    assert (AT, "goal", None) == (other.json["endedAt"], other.json["exitReason"], other.json["due"])
    assert (400, ["/status"]) == (odd.status, odd.paths)
    assert (200, "SUCCEEDED") == (aborted.status, aborted.json["status"])


@pytest.mark.parametrize("part", ["executions", "audit"])
async def test_an_empty_list_asks_whether_there_is_a_journey(client: Client, backend: Backend, part: str) -> None:
    """404 for one that is not there; [] for one in which nothing happened."""
    backend.answers |= {
        "ListExecutions": run.ListExecutionsResponse(),
        "ListAudit": analytics.ListAuditResponse(),
        "GetJourney": lambda request: (
            api.GetJourneyResponse(journey=Journey(id="j")) if request.id == "j" else Missing("journey", request.id)
        ),
    }

    there, nowhere = await client.get(f"/api/journeys/j/{part}"), await client.get(f"/api/journeys/x/{part}")

    assert (200, [], 404) == (there.status, there.json, nowhere.status)


async def test_a_manual_start(client: Client, backend: Backend) -> None:
    """201 and where it is, or 200 and why not; ids have their length in bytes."""
    backend.answers["StartExecution"] = run.StartExecutionResponse(execution_id="j__v1__u__e", started=True)
    started = await client.post("/api/journeys/j/executions", {"endUserId": "u", "eventId": "e", "data": {"a": 1}})
    asked = backend.last("StartExecution")
    backend.answers["StartExecution"] = run.StartExecutionResponse(started=False, reason="reentry_limit")
    blocked = await client.post("/api/journeys/j/executions", {"endUserId": "u"})
    long = await client.post("/api/journeys/j/executions", {"endUserId": "ü" * 101, "eventId": "x" * 201})

    assert (201, {"executionArn": ARN, "executionId": "j__v1__u__e", "started": True}) == (
        started.status,
        started.json,
    )
    assert "/api/journeys/j/executions/j__v1__u__e" == started.headers["Location"]
    assert ("manual", "u", "e", b'{"a":1}') == (
        asked.source,
        asked.event.end_user_id,
        asked.event.id,
        asked.event.data_json,
    )
    assert (200, {"executionArn": None, "executionId": None, "started": False, "reason": "reentry_limit"}) == (
        blocked.status,
        blocked.json,
    )
    assert backend.last("StartExecution").event.id
    assert (400, {"/endUserId", "/eventId"}) == (long.status, set(long.paths))


async def test_the_audit(client: Client, backend: Backend) -> None:
    """Two hundred a page, filtered, metadata only where there is some."""
    entries = [
        analytics.AuditEntry(id="1", at_ms=MS, actor="usr", action="published", metadata_json=b'{"version":1}'),
        analytics.AuditEntry(id="2", at_ms=MS, actor="system", action="created", metadata_json=b"{}"),
    ]
    backend.answers["ListAudit"] = analytics.ListAuditResponse(entries=entries)

    reply = await client.get("/api/journeys/j/audit?action=pub&actor=usr&executionId=x")

    assert [
        {"timestamp": AT, "actor": "usr", "action": "published", "metadata": {"version": 1}},
        {"timestamp": AT, "actor": "system", "action": "created"},
    ] == reply.json
    asked = backend.last("ListAudit")
    assert (200, "pub", "usr", "x") == (asked.page.limit, asked.action_prefix, asked.actor, asked.execution_id)


async def test_step_stats(client: Client, backend: Backend) -> None:
    """In the graph's order, zero where nobody came, steps of earlier versions last."""
    backend.answers |= {
        "GetJourney": api.GetJourneyResponse(journey=Journey(steps_json=b'[{"id":"b"},{"id":"a"}]')),
        "GetStepStats": analytics.GetStepStatsResponse(
            steps=[
                analytics.StepStats(step_id="a", executed=3, waiting=1),
                analytics.StepStats(step_id="old", failed=2),
            ]
        ),
    }

    reply = await client.get("/api/journeys/j/step-stats")

    assert [
        {"stepId": "b", "executed": 0, "skipped": 0, "failed": 0, "waiting": 0},
        {"stepId": "a", "executed": 3, "skipped": 0, "failed": 0, "waiting": 1},
        {"stepId": "old", "executed": 0, "skipped": 0, "failed": 2, "waiting": 0},
    ] == reply.json


async def test_messages(client: Client, backend: Backend) -> None:
    """What was sent, and by which filters it was found."""
    message = run.Message(
        message_id="m", execution_id="x", step_id="s", channel="email", status="sent", to="a***", subject="Hi"
    )
    backend.answers["ListMessages"] = run.ListMessagesResponse(messages=[message])

    reply = await client.get("/api/messages?endUserId=u&journeyId=j&executionId=x&limit=500")
    asked = backend.last("ListMessages")

    assert ("m", "sent", "a***", "Hi", "", None) == tuple(
        reply.json[0][name] for name in ("messageId", "status", "to", "subject", "body", "sentAt")
    )
    assert ("u", "j", "x", 500) == (asked.end_user_id, asked.journey_id, asked.execution_id, asked.page.limit)
