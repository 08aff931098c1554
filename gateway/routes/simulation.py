"""Dry runs: what would happen to a person, and every path there is.

Source: contract 5.
"""

from typing import Any, Final

import msgspec
from aiohttp import web
from journeys.authoring.v1.draft_service_pb2 import GetRunnableRequest, GetRunnableResponse
from journeys.runtime.v1.simulation_service_pb2 import ExploreRequest, Runnable, ScriptedEvent, SimulateRequest

from gateway.context import DRAFTS, SIMULATIONS, Caller, caller, path_id, workspace
from gateway.declaration import RANK, Role, route
from gateway.dto.simulation import Exploration, Simulation
from gateway.errors import forbidden, invalid, invalid_at
from gateway.pointers import Fault
from gateway.reading import body_of
from gateway.replies import json_reply
from gateway.routes.executions import too_long
from gateway.times import ms_of, signed_duration_ms

FURTHEST_MS: Final = 3_660 * 86_400_000
SECONDS: Final = 30.0  # the work is bounded; a run of thousands of messages may take some of them


@route("POST", "/api/journeys/{id}/simulate", role=Role.VIEWER, body="Simulate", reply=Simulation)
async def simulate(request: web.Request) -> web.Response:
    """Walk a journey for one person in virtual time, or explore all its paths; nothing is sent, written or counted.

    200, with `mode: "explore"` another shape: paths, unreachable, deadBranches, truncated; 400 validation_error;
    403 override_requires_owner, forbidden (a viewer and a real person); 404; 409 no_draft.
    """
    body = await body_of(request, too_long("subjectId"))
    who = caller(request)
    if body.get("mode") == "explore":
        return await _explored(request, body)
    faults, message = _message(body)
    if faults:
        raise invalid(faults)
    _require_right(who, body)
    runnable, number = await runnable_of(request, body)
    message.workspace, message.journey_id = who.workspace, path_id(request)
    message.runnable.CopyFrom(runnable)
    reply = await request.app[SIMULATIONS].Simulate(message, timeout=SECONDS)
    return json_reply(Simulation.from_proto(reply, path_id(request), number, body.get("subjectId")))


async def _explored(request: web.Request, body: dict[str, Any]) -> web.Response:
    _require_nobody(body)
    runnable, number = await runnable_of(request, body)
    message = ExploreRequest(workspace=workspace(request), journey_id=path_id(request), runnable=runnable)
    reply = await request.app[SIMULATIONS].Explore(message, timeout=SECONDS)
    return json_reply(Exploration.from_proto(reply, path_id(request), number))


async def runnable_of(request: web.Request, body: dict[str, Any]) -> tuple[Runnable, int | None]:
    """What the body's `version` means, and its number (None: the draft)."""
    found = await _found(request, body)
    number = found.number if found.HasField("number") else None
    runnable = Runnable(faults=found.faults)
    if number is None:
        runnable.draft.CopyFrom(found.draft)
    else:
        runnable.number = number
    return runnable, number


async def _found(request: web.Request, body: dict[str, Any]) -> GetRunnableResponse:
    version = body.get("version", "")
    if version == "" and "version" in body:
        raise invalid_at("/version", "not_allowed", "version is draft, latest or a number.")
    text = version if isinstance(version, str) else str(int(version))
    message = GetRunnableRequest(workspace=workspace(request), journey_id=path_id(request), version=text)
    return await request.app[DRAFTS].GetRunnable(message)


def _require_nobody(body: dict[str, Any]) -> None:
    wrong = [name for name in body if name not in ("mode", "version")]
    if wrong:
        raise invalid([Fault(f"/{name}", "not_allowed", f"Exploring takes no {name}.") for name in wrong])


def _require_right(who: Caller, body: dict[str, Any]) -> None:
    if body.get("overrides") and who.role is not Role.OWNER:
        raise forbidden("Only an owner of the workspace may pass over a gate.", "override_requires_owner")
    if "subjectId" in body and RANK[who.role] < RANK[Role.EDITOR]:
        raise forbidden("A viewer may simulate with made-up people only.")


def _message(body: dict[str, Any]) -> tuple[list[Fault], SimulateRequest]:
    """What is wrong with the body, and what it asks for."""
    faults: list[Fault] = []
    message = SimulateRequest(overrides=body.get("overrides", []))
    if ("subjectId" in body) == ("subjectAttributes" in body):
        path = "/subjectId" if "subjectId" in body else ""
        faults.append(Fault(path, "one_of", "Give either subjectId or subjectAttributes."))
    if "subjectId" in body:
        message.end_user_id = body["subjectId"]
    else:
        message.attributes_json = msgspec.json.encode(body.get("subjectAttributes", {}))
    event = body.get("event", {})
    if "type" in event:
        message.event_type = event["type"]
    message.event_data_json = msgspec.json.encode(event.get("data", {}))
    if "startAt" in body:
        try:
            message.start_at_ms = ms_of(body["startAt"])
        except ValueError:
            faults.append(Fault("/startAt", "bad_time", "startAt is an RFC 3339 time in UTC."))
    for i, scripted in enumerate(body.get("events", [])):
        one = ScriptedEvent(type=scripted["type"], data_json=msgspec.json.encode(scripted.get("data", {})))
        try:
            one.after_ms = _after(scripted["after"])
        except ValueError as error:
            code = "unsupported_duration" if "months" in str(error) else "bad_duration"
            faults.append(Fault(f"/events/{i}/after", code, f"after: {error}."))
        message.events.append(one)
    return faults, message


def _after(text: str) -> int:
    ms = signed_duration_ms(text)
    if abs(ms) > FURTHEST_MS:
        raise ValueError("longer than 3,660 days")
    return ms
