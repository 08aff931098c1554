"""Communications: message templates, versioned.

Source: contract 3.
"""

from typing import Any

import msgspec
from aiohttp import web
from journeys.authoring.v1.authoring_service_pb2 import (
    ArchiveCommunicationRequest,
    CreateCommunicationRequest,
    GetCommunicationRequest,
    ListCommunicationsRequest,
    UpdateCommunicationRequest,
)
from journeys.authoring.v1.library_pb2 import Communication as CommunicationProto

from gateway.context import AUTHORING, path_id, workspace
from gateway.declaration import Role, route
from gateway.dto.library import Communication
from gateway.errors import invalid_at
from gateway.reading import body_of
from gateway.replies import PAGING, if_match, list_reply, page_of, require_match, resource_reply, segment
from gateway.schemas.library import CONTENT


@route("GET", "/api/communications", role=Role.VIEWER, reply=list[Communication], query=PAGING)
async def list_communications(request: web.Request) -> web.Response:
    """List communications, archived ones too.

    200.
    """
    message = ListCommunicationsRequest(workspace=workspace(request), page=page_of(request))
    reply = await request.app[AUTHORING].ListCommunications(message)
    return list_reply(request, [Communication.from_proto(it) for it in reply.communications], reply.next_cursor)


@route(
    "POST",
    "/api/communications",
    role=Role.EDITOR,
    body="CommunicationCreate",
    status=201,
    reply=Communication,
    creates=True,
)
async def create_communication(request: web.Request) -> web.Response:
    """Make a communication, version 1.

    201 + Location; 400 validation_error; 409 id_taken; 422 idempotency_key_reused.
    """
    body = await body_of(request)
    message = CreateCommunicationRequest(
        workspace=workspace(request),
        id=body.get("id"),
        name=body["name"],
        comm_type=body["commType"],
        channel=body["channel"],
        content_json=msgspec.json.encode({name: value for name, value in _content(body).items() if value is not None}),
    )
    return _reply((await request.app[AUTHORING].CreateCommunication(message)).communication, created=True)


@route("GET", "/api/communications/{id}", role=Role.VIEWER, reply=Communication)
async def get_communication(request: web.Request) -> web.Response:
    """Read a communication's latest version.

    200; 404.
    """
    return _reply(await _load(request))


@route(
    "PATCH",
    "/api/communications/{id}",
    role=Role.EDITOR,
    body="CommunicationUpdate",
    reply=Communication,
    guarded=True,
)
async def update_communication(request: web.Request) -> web.Response:
    """Make a new version; published journeys go on sending the one they pinned.

    200; 400 validation_error; 404; 412.
    """
    body = await body_of(request)
    if "channel" in body and body["channel"] != (await _load(request)).channel:
        raise invalid_at("/channel", "not_allowed", "A communication keeps its channel; make another one.")
    content = _content(body)
    message = UpdateCommunicationRequest(
        workspace=workspace(request),
        id=path_id(request),
        name=body.get("name"),
        comm_type=body.get("commType"),
        content_json=msgspec.json.encode(content) if content else None,
        etag=await if_match(request, lambda: _etag(request)),
    )
    return _reply((await request.app[AUTHORING].UpdateCommunication(message)).communication)


@route("DELETE", "/api/communications/{id}", role=Role.EDITOR, reply=Communication, guarded=True)
async def archive_communication(request: web.Request) -> web.Response:
    """Archive a communication; a published version goes on sending what it pinned.

    200, the archived communication; 404; 412.
    """
    await require_match(request, lambda: _etag(request))
    message = ArchiveCommunicationRequest(workspace=workspace(request), id=path_id(request))
    return _reply((await request.app[AUTHORING].ArchiveCommunication(message)).communication)


def _content(body: dict[str, Any]) -> dict[str, Any]:
    return {name: body[name] for name in CONTENT if name in body}


async def _load(request: web.Request) -> CommunicationProto:
    message = GetCommunicationRequest(workspace=workspace(request), id=path_id(request))
    return (await request.app[AUTHORING].GetCommunication(message)).communication


async def _etag(request: web.Request) -> str:
    return (await _load(request)).etag


def _reply(communication: CommunicationProto, *, created: bool = False) -> web.Response:
    shown = Communication.from_proto(communication)
    if not created:
        return resource_reply(shown, etag=communication.etag)
    location = f"/api/communications/{segment(communication.id)}"
    return resource_reply(shown, etag=communication.etag, status=201, location=location)
