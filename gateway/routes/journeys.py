"""Journeys: list, make, read, change, versions. Verbs of their life are in `lifecycle.py`.

Source: contract 2.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from aiohttp import web
from journeys.authoring.v1.authoring_service_pb2 import (
    CreateJourneyRequest,
    GetJourneyRequest,
    GetVersionRequest,
    ListJourneysRequest,
    ListVersionsRequest,
    UpdateJourneyRequest,
)
from journeys.authoring.v1.journey_pb2 import Journey as JourneyProto
from journeys.authoring.v1.journey_pb2 import JourneyChanges

from gateway.context import AUTHORING, path_id, workspace
from gateway.declaration import Role, route
from gateway.dto.journey import Journey, Version
from gateway.errors import not_found
from gateway.pointers import Fault
from gateway.reading import body_of
from gateway.replies import PAGING, if_match, list_reply, page_of, resource_reply, segment
from gateway.times import ms_of


@route("GET", "/api/journeys", role=Role.VIEWER, reply=list[Journey], query=PAGING)
async def list_journeys(request: web.Request) -> web.Response:
    """List journeys, drafts and published ones, newest first, without their steps.

    200; 400 limit or cursor.
    """
    message = ListJourneysRequest(workspace=workspace(request), page=page_of(request))
    reply = await request.app[AUTHORING].ListJourneys(message)
    items = [Journey.from_proto(journey, steps=False) for journey in reply.journeys]
    return list_reply(request, items, reply.next_cursor)


@route("POST", "/api/journeys", role=Role.EDITOR, body="JourneyCreate", status=201, reply=Journey, creates=True)
async def create_journey(request: web.Request) -> web.Response:
    """Make a journey: a draft, perhaps incomplete.

    201 + Location; 400 validation_error; 409 id_taken; 422 idempotency_key_reused.
    """
    body = await body_of(request)
    message = CreateJourneyRequest(workspace=workspace(request), changes=changes_of(body))
    if "id" in body:
        message.id = body["id"]
    journey = (await request.app[AUTHORING].CreateJourney(message)).journey
    location = f"/api/journeys/{segment(journey.id)}"
    return resource_reply(Journey.from_proto(journey), etag=journey.etag, status=201, location=location)


@route("GET", "/api/journeys/{id}", role=Role.VIEWER, reply=Journey)
async def get_journey(request: web.Request) -> web.Response:
    """Read a journey, with the draft's steps if there is a draft.

    200; 404.
    """
    return journey_reply(await load_journey(request))


@route("PATCH", "/api/journeys/{id}", role=Role.EDITOR, body="JourneyUpdate", reply=Journey, guarded=True)
async def update_journey(request: web.Request) -> web.Response:
    """Change the draft, opening one where there is none. The goal acts at once.

    200; 400 validation_error; 404; 409 stale_update, illegal_transition; 412.
    """
    body = await body_of(request, _unreadable_moment)
    message = UpdateJourneyRequest(workspace=workspace(request), id=path_id(request), changes=changes_of(body))
    if "updatedAt" in body:
        message.updated_at_ms = ms_of(body["updatedAt"])
    if (etag := await if_match(request, lambda: etag_of(request))) is not None:
        message.etag = etag
    return journey_reply((await request.app[AUTHORING].UpdateJourney(message)).journey)


@route("GET", "/api/journeys/{id}/versions", role=Role.VIEWER, reply=list[Version], query=PAGING)
async def list_versions(request: web.Request) -> web.Response:
    """List the published versions, newest first.

    200; 404.
    """
    message = ListVersionsRequest(workspace=workspace(request), journey_id=path_id(request), page=page_of(request))
    reply = await request.app[AUTHORING].ListVersions(message)
    return list_reply(request, [Version.from_proto(version) for version in reply.versions], reply.next_cursor)


@route("GET", "/api/journeys/{id}/versions/{version}", role=Role.VIEWER, reply=Version)
async def get_version(request: web.Request) -> web.Response:
    """Read a published version, which never changes.

    200; 404.
    """
    text = path_id(request, "version")
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise not_found("There is no such version.")
    message = GetVersionRequest(workspace=workspace(request), journey_id=path_id(request), version=int(text))
    version = (await request.app[AUTHORING].GetVersion(message)).version
    return resource_reply(Version.from_proto(version), etag=str(version.version))


def changes_of(body: dict[str, Any]) -> JourneyChanges:
    """What an author set; what only the server writes is left out."""
    changes = JourneyChanges()
    for member, field in (
        ("name", "name"),
        ("description", "description"),
        ("goalEventWindowDays", "goal_event_window_days"),
    ):
        if member in body:
            setattr(changes, field, body[member])
    for member, field in (
        ("audienceId", "audience_id"),
        ("triggerContractId", "trigger_contract_id"),
        ("goalEventName", "goal_event_name"),
    ):
        if member in body:
            if body[member] is None:
                setattr(changes, f"clear_{field}", True)
            else:
                setattr(changes, field, body[member])
    if "steps" in body:
        changes.steps_json = msgspec.json.encode(body["steps"])
    if "settings" in body:
        changes.settings_json = msgspec.json.encode(body["settings"])
    return changes


def _unreadable_moment(body: dict[str, Any]) -> Iterator[Fault]:
    read = body.get("updatedAt")
    if isinstance(read, str):
        try:
            ms_of(read)
        except ValueError:
            yield Fault("/updatedAt", "bad_time", "updatedAt has to be the time that was read.")


async def load_journey(request: web.Request) -> JourneyProto:
    """The journey the path names. 404."""
    message = GetJourneyRequest(workspace=workspace(request), id=path_id(request))
    return (await request.app[AUTHORING].GetJourney(message)).journey


async def etag_of(request: web.Request) -> str:
    """The current tag of the journey the path names. 404."""
    return (await load_journey(request)).etag


def journey_reply(journey: JourneyProto) -> web.Response:
    """A journey as the answer."""
    return resource_reply(Journey.from_proto(journey), etag=journey.etag)
