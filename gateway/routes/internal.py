"""What our own machinery and its operators ask, with one of the server's keys.

Source: contract 6, and 1 (Another workspace).
"""

from typing import Any

import msgspec
from aiohttp import web
from journeys.authoring.v1.workspace_service_pb2 import CreateWorkspaceRequest
from journeys.events.v1.customer_event_pb2 import CustomerEvent
from journeys.runtime.v1.runtime_service_pb2 import DispatchExecutionRequest, StartExecutionRequest

from gateway.context import RUNTIME, WORKSPACES
from gateway.declaration import Role, route
from gateway.dto.running import ARN_PREFIX, Dispatched, Started
from gateway.dto.workspace import NewWorkspace
from gateway.errors import invalid_at
from gateway.reading import body_of
from gateway.replies import json_reply, resource_reply
from gateway.routes.executions import too_long
from gateway.times import ms_of

_INTERNAL = "/api/journeys/internal"


@route("POST", f"{_INTERNAL}/start-execution", role=Role.INTERNAL, body="StartExecution", reply=Started)
async def internal_start_execution(request: web.Request) -> web.Response:
    """Decide a start for one person and one event; a repeat gets the first decision.

    200 {"executionArn", "executionId", "started", "reason"?}; 400; 401; 404.
    """
    body = await body_of(request, too_long("endUserId", "eventId"))
    message = StartExecutionRequest(
        workspace=body["projectKey"], journey_id=body["journeyId"], event=_event(body), source="internal"
    )
    return json_reply(Started.from_proto(await request.app[RUNTIME].StartExecution(message)))


@route("POST", f"{_INTERNAL}/dispatch", role=Role.INTERNAL, body="Dispatch", reply=Dispatched)
async def internal_dispatch(request: web.Request) -> web.Response:
    """Do whatever is due for one execution now; harmless to repeat.

    200 {"executionArn", "status", "currentStepId", "advanced"}; 400; 401; 404.
    """
    body = await body_of(request)
    message = DispatchExecutionRequest(workspace=body["projectKey"], execution_id=_execution_id(body))
    return json_reply(Dispatched.from_proto(await request.app[RUNTIME].DispatchExecution(message)))


@route(
    "POST",
    f"{_INTERNAL}/workspaces",
    role=Role.INTERNAL,
    body="WorkspaceCreate",
    status=201,
    reply=NewWorkspace,
    creates=True,
)
async def create_workspace(request: web.Request) -> web.Response:
    """Make a workspace with its first owner and a session for them.

    201 {"projectKey", "name", "ownerUserId", "sessionToken"}; 400 validation_error; 401; 409 id_taken;
    422 idempotency_key_reused.
    """
    body = await body_of(request)
    message = CreateWorkspaceRequest(
        name=body["name"],
        project_key=body.get("projectKey"),
        owner_email=body["ownerEmail"],
        owner_password=body.get("ownerPassword"),
    )
    reply = await request.app[WORKSPACES].CreateWorkspace(message)
    shown = NewWorkspace(
        project_key=reply.workspace.project_key,
        name=reply.workspace.name,
        owner_user_id=reply.owner_user_id,
        session_token=reply.session_token,
    )
    response = resource_reply(shown, status=201, location="/api/workspace")
    response.headers["Cache-Control"] = "no-store"
    return response


def _event(body: dict[str, Any]) -> CustomerEvent:
    given = body.get("event", {})
    event = CustomerEvent(id=body["eventId"], end_user_id=body["endUserId"], type=given.get("type", ""))
    if "data" in given:
        event.data_json = msgspec.json.encode(given["data"])
    if "timestamp" in given:
        try:
            event.timestamp_ms = ms_of(given["timestamp"])
        except ValueError:
            raise invalid_at("/event/timestamp", "bad_timestamp", "timestamp is an RFC 3339 time in UTC.") from None
    return event


def _execution_id(body: dict[str, Any]) -> str:
    given, arn = body.get("executionId"), body.get("executionArn")
    if arn is not None and not arn.startswith(ARN_PREFIX):
        raise invalid_at("/executionArn", "bad_pattern", f"An ARN of ours begins with {ARN_PREFIX}.")
    named: str | None = given if arn is None else arn.removeprefix(ARN_PREFIX)
    if named is None:
        raise invalid_at("/executionId", "missing_member", "Name the execution: executionId or executionArn.")
    if given not in (None, named):
        raise invalid_at("/executionArn", "conflicting_members", "executionId and executionArn name two executions.")
    return named
