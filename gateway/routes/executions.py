"""A journey as it runs: executions, the timeline, the counts of its steps.

Source: contract 2 (audit), 3 (manual start) and 4.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec
from aiohttp import web
from journeys.analytics.v1.analytics_service_pb2 import GetStepStatsRequest, ListAuditRequest, ListAuditResponse
from journeys.authoring.v1.authoring_service_pb2 import GetJourneyRequest
from journeys.events.v1.customer_event_pb2 import CustomerEvent
from journeys.runtime.v1.runtime_service_pb2 import (
    AbortExecutionRequest,
    GetExecutionRequest,
    ListExecutionsRequest,
    RetryExecutionRequest,
    StartExecutionRequest,
)

from gateway.context import ANALYTICS, AUTHORING, MAX_ID_BYTES, RUNTIME, path_id, query_text, workspace
from gateway.declaration import Query, Role, route
from gateway.dto.running import STATUSES, AuditEntry, Execution, ExecutionDetail, Started, StepStats, every_step
from gateway.errors import invalid_at
from gateway.pointers import Fault
from gateway.reading import body_of, optional_body_of
from gateway.replies import PAGING, digest_of, json_reply, list_reply, page_of, require_match, resource_reply, segment
from gateway.routes.journeys import load_journey
from services.infra.grpc.caller import drawn_id

_TEXT = {"type": "string"}
MOST_AUDIT: Final = 200  # entries a page
AUDIT_FILTERS = (
    *PAGING,
    Query("action", "Actions that begin with this.", _TEXT),
    Query("actor", "Only this user's, or `system`.", _TEXT),
    Query("executionId", "Only this execution's.", _TEXT),
)


@route(
    "GET",
    "/api/journeys/{id}/executions",
    role=Role.VIEWER,
    reply=list[Execution],
    query=(
        *PAGING,
        Query("status", "Only those.", {"type": "string", "enum": list(STATUSES)}),
        Query("endUserId", "Only this person's.", _TEXT),
    ),
)
async def list_executions(request: web.Request) -> web.Response:
    """List executions, newest first, 50 a page.

    200; 404.
    """
    message = ListExecutionsRequest(
        workspace=workspace(request), journey_id=path_id(request), page=page_of(request, 50)
    )
    if (status := query_text(request, "status")) is not None:
        if status not in STATUSES:
            raise invalid_at("/status", "not_allowed", f"status is one of {', '.join(STATUSES)}.")
        message.status = status
    if (person := query_text(request, "endUserId")) is not None:
        message.end_user_id = person
    reply = await request.app[RUNTIME].ListExecutions(message)
    if not reply.executions and not message.page.HasField("cursor"):
        await load_journey(request)  # nothing ran: is there a journey at all?
    items = [Execution.from_proto(execution) for execution in reply.executions]
    return list_reply(request, items, reply.next_cursor)


@route(
    "POST",
    "/api/journeys/{id}/executions",
    role=Role.EDITOR,
    body="ExecutionStart",
    status=201,
    reply=Started,
    creates=True,
)
async def start_execution(request: web.Request) -> web.Response:
    """Start an execution by hand for one person.

    201 + Location, or 200 with `started: false` and the reason; 404; 409 illegal_transition (not published).
    """
    body = await body_of(request, too_long("endUserId", "eventId"))
    event = CustomerEvent(id=body.get("eventId") or drawn_id(), end_user_id=body["endUserId"])
    if "data" in body:
        event.data_json = msgspec.json.encode(body["data"])
    message = StartExecutionRequest(
        workspace=workspace(request), journey_id=path_id(request), event=event, source="manual"
    )
    reply = await request.app[RUNTIME].StartExecution(message)
    shown = Started.from_proto(reply)
    if not reply.started:
        return json_reply(shown)
    location = f"/api/journeys/{segment(path_id(request))}/executions/{segment(reply.execution_id)}"
    return json_reply(shown, status=201, location=location)


@route("GET", "/api/journeys/{id}/executions/{executionId}", role=Role.VIEWER, reply=ExecutionDetail)
async def get_execution(request: web.Request) -> web.Response:
    """Read an execution with its history.

    200; 404.
    """
    return resource_reply(await _load(request))


@route(
    "POST",
    "/api/journeys/{id}/executions/{executionId}/abort",
    role=Role.EDITOR,
    body="Nothing",
    body_required=False,
    reply=Execution,
    guarded=True,
)
async def abort_execution(request: web.Request) -> web.Response:
    """End a running execution.

    200; 404; 409 illegal_transition (it has ended otherwise); 412.
    """
    await optional_body_of(request)
    await require_match(request, lambda: _etag(request))
    message = AbortExecutionRequest(
        workspace=workspace(request), journey_id=path_id(request), execution_id=path_id(request, "executionId")
    )
    reply = await request.app[RUNTIME].AbortExecution(message)
    return resource_reply(Execution.from_proto(reply.execution))


@route(
    "POST",
    "/api/journeys/{id}/executions/{executionId}/retry",
    role=Role.EDITOR,
    body="Nothing",
    body_required=False,
    reply=Execution,
    guarded=True,
)
async def retry_execution(request: web.Request) -> web.Response:
    """Set a parked execution going again, or repeat a failed one's last step.

    200; 404; 409 illegal_transition; 412.
    """
    await optional_body_of(request)
    await require_match(request, lambda: _etag(request))
    message = RetryExecutionRequest(
        workspace=workspace(request), journey_id=path_id(request), execution_id=path_id(request, "executionId")
    )
    reply = await request.app[RUNTIME].RetryExecution(message)
    return resource_reply(Execution.from_proto(reply.execution))


@route("GET", "/api/journeys/{id}/audit", role=Role.VIEWER, reply=list[AuditEntry], query=AUDIT_FILTERS)
async def list_audit(request: web.Request) -> web.Response:
    """The journey's timeline, authoring and runtime, newest first, 200 a page.

    200; 404.
    """
    reply = await audit_page(request, path_id(request))
    if not reply.entries and query_text(request, "cursor") is None:
        await load_journey(request)
    return list_reply(request, [AuditEntry.from_proto(entry) for entry in reply.entries], reply.next_cursor)


async def audit_page(request: web.Request, journey_id: str) -> ListAuditResponse:
    """The part of a timeline that is asked for; `journey_id` is empty for the workspace's own."""
    message = ListAuditRequest(
        workspace=workspace(request), journey_id=journey_id, page=page_of(request, MOST_AUDIT, most=MOST_AUDIT)
    )
    if (action := query_text(request, "action")) is not None:
        message.action_prefix = action
    if (actor := query_text(request, "actor")) is not None:
        message.actor = actor
    if (execution := query_text(request, "executionId")) is not None:
        message.execution_id = execution
    return await request.app[ANALYTICS].ListAudit(message)


@route("GET", "/api/journeys/{id}/step-stats", role=Role.VIEWER, reply=list[StepStats])
async def step_stats(request: web.Request) -> web.Response:
    """How many executions each step has executed, skipped, failed and holds; steps nobody reached count zero.

    200; 404.
    """
    journey_id, key = path_id(request), workspace(request)
    journey, reply = await asyncio.gather(
        request.app[AUTHORING].GetJourney(GetJourneyRequest(workspace=key, id=journey_id)),
        request.app[ANALYTICS].GetStepStats(GetStepStatsRequest(workspace=key, journey_id=journey_id)),
    )
    return json_reply(every_step(journey.journey.steps_json, reply.steps))


def too_long(*names: str) -> Callable[[dict[str, Any]], list[Fault]]:
    """Finds the members with an end user's or event's id of more than 200 bytes (contract 2.3)."""

    def found(body: dict[str, Any]) -> list[Fault]:
        return [
            Fault(f"/{name}", "out_of_range", f"{name} has at most {MAX_ID_BYTES} bytes.")
            for name in names
            if isinstance(text := body.get(name), str) and len(text.encode()) > MAX_ID_BYTES
        ]

    return found


async def _load(request: web.Request) -> ExecutionDetail:
    message = GetExecutionRequest(
        workspace=workspace(request), journey_id=path_id(request), execution_id=path_id(request, "executionId")
    )
    return ExecutionDetail.from_proto((await request.app[RUNTIME].GetExecution(message)).execution)


async def _etag(request: web.Request) -> str:
    return digest_of(await _load(request))
