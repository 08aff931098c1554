"""Journey templates: journeys ready to copy.

Source: contract 3 (Templates).
"""

from aiohttp import web
from journeys.authoring.v1.template_service_pb2 import ListTemplatesRequest, UseTemplateRequest

from gateway.context import TEMPLATES, path_id, workspace
from gateway.declaration import Role, route
from gateway.dto.templates import JourneyTemplate, UsedTemplate
from gateway.reading import optional_body_of
from gateway.replies import PAGING, list_reply, page_of, resource_reply, segment


@route("GET", "/api/journey-templates", role=Role.VIEWER, reply=list[JourneyTemplate], query=PAGING)
async def list_templates(request: web.Request) -> web.Response:
    """List the templates.

    200; 400 limit or cursor.
    """
    reply = await request.app[TEMPLATES].ListTemplates(ListTemplatesRequest(page=page_of(request)))
    return list_reply(request, [JourneyTemplate.from_proto(one) for one in reply.templates], reply.next_cursor)


@route(
    "POST",
    "/api/journey-templates/{id}/use",
    role=Role.EDITOR,
    body="Nothing",
    body_required=False,
    status=201,
    reply=UsedTemplate,
    creates=True,
)
async def use_template(request: web.Request) -> web.Response:
    """Copy a template: a draft with its trigger contract, audiences and communications, ready to be published.

    201 + Location, the journey; 404; 422 idempotency_key_reused.
    """
    await optional_body_of(request)
    message = UseTemplateRequest(workspace=workspace(request), template_id=path_id(request))
    used = await request.app[TEMPLATES].UseTemplate(message)
    location = f"/api/journeys/{segment(used.journey.id)}"
    return resource_reply(UsedTemplate.from_use(used), etag=used.journey.etag, status=201, location=location)
