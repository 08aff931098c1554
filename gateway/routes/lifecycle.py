"""The verbs of a journey's life: publish, pause, resume, archive.

Source: contract 2.
"""

from aiohttp import web
from journeys.authoring.v1.authoring_service_pb2 import (
    ArchiveJourneyRequest,
    ArmRef,
    PauseJourneyRequest,
    PublishJourneyRequest,
    ResumeJourneyRequest,
)

from gateway.context import AUTHORING, path_id, workspace
from gateway.declaration import Role, route
from gateway.dto.journey import Journey, Published
from gateway.reading import optional_body_of
from gateway.replies import if_match, require_match, resource_reply
from gateway.routes.journeys import etag_of, journey_reply


@route(
    "POST",
    "/api/journeys/{id}/publish",
    role=Role.EDITOR,
    body="Publish",
    body_required=False,
    reply=Published,
    guarded=True,
    creates=True,
)
async def publish(request: web.Request) -> web.Response:
    """Promote the draft to the next version.

    200 {"id", "version"}; 400 graph_invalid, send_step_uses_transactional_comm; 402 journey_limit_reached; 404;
    409 no_draft, stale_update, illegal_transition; 412; 422 idempotency_key_reused.
    """
    body = await optional_body_of(request)
    message = PublishJourneyRequest(workspace=workspace(request), id=path_id(request))
    message.reset_arms.extend(ArmRef(step_id=arm["stepId"], arm_id=arm["armId"]) for arm in body.get("resetArms", []))
    if (etag := await if_match(request, lambda: etag_of(request))) is not None:
        message.etag = etag
    reply = await request.app[AUTHORING].PublishJourney(message)
    return resource_reply(Published(id=reply.journey.id, version=reply.version), etag=reply.journey.etag)


@route(
    "POST",
    "/api/journeys/{id}/pause",
    role=Role.EDITOR,
    body="Nothing",
    body_required=False,
    reply=Journey,
    guarded=True,
)
async def pause(request: web.Request) -> web.Response:
    """Pause the journey: no new executions, those in flight go on. Repeating changes nothing.

    200; 404; 409 illegal_transition; 412.
    """
    await _before(request)
    message = PauseJourneyRequest(workspace=workspace(request), id=path_id(request))
    return journey_reply((await request.app[AUTHORING].PauseJourney(message)).journey)


@route(
    "POST",
    "/api/journeys/{id}/resume",
    role=Role.EDITOR,
    body="Nothing",
    body_required=False,
    reply=Journey,
    guarded=True,
)
async def resume(request: web.Request) -> web.Response:
    """Resume a paused journey. Repeating changes nothing.

    200; 404; 409 illegal_transition; 412.
    """
    await _before(request)
    message = ResumeJourneyRequest(workspace=workspace(request), id=path_id(request))
    return journey_reply((await request.app[AUTHORING].ResumeJourney(message)).journey)


@route(
    "POST",
    "/api/journeys/{id}/archive",
    role=Role.EDITOR,
    body="Nothing",
    body_required=False,
    reply=Journey,
    guarded=True,
)
async def archive(request: web.Request) -> web.Response:
    """Archive for ever: executions in flight are aborted, the record stays readable.

    200; 404; 412.
    """
    await _before(request)
    message = ArchiveJourneyRequest(workspace=workspace(request), id=path_id(request))
    return journey_reply((await request.app[AUTHORING].ArchiveJourney(message)).journey)


async def _before(request: web.Request) -> None:
    await optional_body_of(request)
    await require_match(request, lambda: etag_of(request))
