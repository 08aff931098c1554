"""What journeys refer to: trigger contracts and audiences. Communications are in `communications.py`.

Source: contract 3.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from aiohttp import web
from journeys.authoring.v1.authoring_service_pb2 import (
    CreateAudienceRequest,
    CreateTriggerContractRequest,
    DeleteAudienceRequest,
    DeleteTriggerContractRequest,
    GetAudienceRequest,
    GetTriggerContractRequest,
    ListAudiencesRequest,
    ListTriggerContractsRequest,
    SubjectIds,
    UpdateAudienceRequest,
    UpdateTriggerContractRequest,
)
from journeys.authoring.v1.library_pb2 import Audience as AudienceProto
from journeys.authoring.v1.library_pb2 import TriggerContract as TriggerContractProto
from journeys.runtime.v1.runtime_service_pb2 import EvaluateAudienceRequest

from gateway.context import AUTHORING, RUNTIME, path_id, workspace
from gateway.declaration import Role, route
from gateway.dto.library import Audience, Evaluation, TriggerContract, evaluation
from gateway.pointers import Fault
from gateway.reading import body_of
from gateway.replies import (
    PAGING,
    if_match,
    json_reply,
    list_reply,
    nothing,
    page_of,
    require_match,
    resource_reply,
    segment,
)


@route("GET", "/api/journey-triggers", role=Role.VIEWER, reply=list[TriggerContract], query=PAGING)
async def list_trigger_contracts(request: web.Request) -> web.Response:
    """List trigger contracts.

    200.
    """
    message = ListTriggerContractsRequest(workspace=workspace(request), page=page_of(request))
    reply = await request.app[AUTHORING].ListTriggerContracts(message)
    return list_reply(request, [TriggerContract.from_proto(it) for it in reply.trigger_contracts], reply.next_cursor)


@route(
    "POST",
    "/api/journey-triggers",
    role=Role.EDITOR,
    body="TriggerContractCreate",
    status=201,
    reply=TriggerContract,
    creates=True,
)
async def create_trigger_contract(request: web.Request) -> web.Response:
    """Say which event starts journeys, and where in it the subject is found.

    201 + Location; 400 validation_error; 409 id_taken; 422 idempotency_key_reused.
    """
    body = await body_of(request)
    message = CreateTriggerContractRequest(
        workspace=workspace(request),
        id=body.get("id"),
        name=body["name"],
        event_name=body["eventName"],
        subject_field_path=body.get("subjectFieldPath"),
        recipient_email_field_path=body.get("recipientEmailFieldPath"),
    )
    contract = (await request.app[AUTHORING].CreateTriggerContract(message)).trigger_contract
    return _contract_reply(contract, created=True)


@route("GET", "/api/journey-triggers/{id}", role=Role.VIEWER, reply=TriggerContract)
async def get_trigger_contract(request: web.Request) -> web.Response:
    """Read a trigger contract.

    200; 404.
    """
    return _contract_reply(await _contract(request))


@route(
    "PATCH",
    "/api/journey-triggers/{id}",
    role=Role.EDITOR,
    body="TriggerContractUpdate",
    reply=TriggerContract,
    guarded=True,
)
async def update_trigger_contract(request: web.Request) -> web.Response:
    """Change a trigger contract; published journeys keep the one they pinned.

    200; 400 validation_error; 404; 412.
    """
    body = await body_of(request)
    recipient = body.get("recipientEmailFieldPath")
    message = UpdateTriggerContractRequest(
        workspace=workspace(request),
        id=path_id(request),
        name=body.get("name"),
        event_name=body.get("eventName"),
        subject_field_path=body.get("subjectFieldPath"),
        recipient_email_field_path=recipient,
        clear_recipient_email_field_path="recipientEmailFieldPath" in body and recipient is None,
        etag=await if_match(request, lambda: _contract_etag(request)),
    )
    return _contract_reply((await request.app[AUTHORING].UpdateTriggerContract(message)).trigger_contract)


@route("DELETE", "/api/journey-triggers/{id}", role=Role.EDITOR, status=204, guarded=True)
async def delete_trigger_contract(request: web.Request) -> web.Response:
    """Delete a trigger contract that no journey uses.

    204; 404; 409 in_use; 412.
    """
    await require_match(request, lambda: _contract_etag(request))
    message = DeleteTriggerContractRequest(workspace=workspace(request), id=path_id(request))
    await request.app[AUTHORING].DeleteTriggerContract(message)
    return nothing()


@route("GET", "/api/audiences", role=Role.VIEWER, reply=list[Audience], query=PAGING)
async def list_audiences(request: web.Request) -> web.Response:
    """List audiences.

    200.
    """
    message = ListAudiencesRequest(workspace=workspace(request), page=page_of(request))
    reply = await request.app[AUTHORING].ListAudiences(message)
    return list_reply(request, [Audience.from_proto(audience) for audience in reply.audiences], reply.next_cursor)


@route("POST", "/api/audiences", role=Role.EDITOR, body="AudienceCreate", status=201, reply=Audience, creates=True)
async def create_audience(request: web.Request) -> web.Response:
    """Make an audience by predicate, or by list.

    201 + Location; 400 validation_error; 409 id_taken; 422 idempotency_key_reused.
    """
    body = await body_of(request, lambda body: (*_neither(body), *_both(body)))
    message = CreateAudienceRequest(
        workspace=workspace(request),
        id=body.get("id"),
        name=body["name"],
        description=body.get("description"),
        **_members(body),
    )
    return _audience_reply((await request.app[AUTHORING].CreateAudience(message)).audience, created=True)


@route("GET", "/api/audiences/{id}", role=Role.VIEWER, reply=Audience)
async def get_audience(request: web.Request) -> web.Response:
    """Read an audience.

    200; 404.
    """
    return _audience_reply(await _audience(request))


@route("PATCH", "/api/audiences/{id}", role=Role.EDITOR, body="AudienceUpdate", reply=Audience, guarded=True)
async def update_audience(request: web.Request) -> web.Response:
    """Change an audience; it acts at once on everything that refers to it.

    200; 400 validation_error; 404; 412.
    """
    body = await body_of(request, _both)
    message = UpdateAudienceRequest(
        workspace=workspace(request),
        id=path_id(request),
        name=body.get("name"),
        description=body.get("description"),
        etag=await if_match(request, lambda: _audience_etag(request)),
        **_members(body),
    )
    return _audience_reply((await request.app[AUTHORING].UpdateAudience(message)).audience)


@route("DELETE", "/api/audiences/{id}", role=Role.EDITOR, status=204, guarded=True)
async def delete_audience(request: web.Request) -> web.Response:
    """Delete an audience; journeys that refer to it fail visibly at trigger time.

    204; 404; 412.
    """
    await require_match(request, lambda: _audience_etag(request))
    message = DeleteAudienceRequest(workspace=workspace(request), id=path_id(request))
    await request.app[AUTHORING].DeleteAudience(message)
    return nothing()


@route("POST", "/api/audiences/{id}/evaluate", role=Role.VIEWER, body="AudienceEvaluate", reply=Evaluation)
async def evaluate_audience(request: web.Request) -> web.Response:
    """Ask whether a subject belongs to an audience now, and which leaf says so.

    200; 404 (audience or subject).
    """
    body = await body_of(request)
    message = EvaluateAudienceRequest(
        workspace=workspace(request), audience_id=path_id(request), end_user_id=body["subjectId"]
    )
    reply = await request.app[RUNTIME].EvaluateAudience(message)
    return json_reply(evaluation(reply.matches, reply.explanation_json))


def _neither(body: dict[str, Any]) -> Iterator[Fault]:
    if "predicate" not in body and "subjectIds" not in body:
        yield Fault("/predicate", "missing_member", "An audience has a predicate or subjectIds.")


def _both(body: dict[str, Any]) -> Iterator[Fault]:
    if "predicate" in body and "subjectIds" in body:
        yield Fault("/subjectIds", "conflicting_members", "An audience has a predicate or subjectIds, not both.")


def _members(body: dict[str, Any]) -> dict[str, Any]:
    if "predicate" in body:
        return {"predicate_json": msgspec.json.encode(body["predicate"])}
    if "subjectIds" in body:
        return {"subject_ids": SubjectIds(ids=body["subjectIds"])}
    return {}


async def _contract(request: web.Request) -> TriggerContractProto:
    message = GetTriggerContractRequest(workspace=workspace(request), id=path_id(request))
    return (await request.app[AUTHORING].GetTriggerContract(message)).trigger_contract


async def _contract_etag(request: web.Request) -> str:
    return (await _contract(request)).etag


async def _audience(request: web.Request) -> AudienceProto:
    message = GetAudienceRequest(workspace=workspace(request), id=path_id(request))
    return (await request.app[AUTHORING].GetAudience(message)).audience


async def _audience_etag(request: web.Request) -> str:
    return (await _audience(request)).etag


def _contract_reply(contract: TriggerContractProto, *, created: bool = False) -> web.Response:
    shown = TriggerContract.from_proto(contract)
    if not created:
        return resource_reply(shown, etag=contract.etag)
    location = f"/api/journey-triggers/{segment(contract.id)}"
    return resource_reply(shown, etag=contract.etag, status=201, location=location)


def _audience_reply(audience: AudienceProto, *, created: bool = False) -> web.Response:
    shown = Audience.from_proto(audience)
    if not created:
        return resource_reply(shown, etag=audience.etag)
    location = f"/api/audiences/{segment(audience.id)}"
    return resource_reply(shown, etag=audience.etag, status=201, location=location)
