"""Speaks TemplateService."""

from typing import Any

from journeys.authoring.v1 import template_service_pb2 as pb
from journeys.authoring.v1 import template_service_pb2_grpc as rpc

from services.authoring.convert.journeys import page_from_proto
from services.authoring.convert.templates import copied_to_proto, template_to_proto
from services.authoring.rosters import page_of
from services.authoring.templates.catalogue import Template, templates
from services.authoring.templates.use_template import UseTemplate
from services.infra.grpc.caller import actor_from, request_key_from

NAME = pb.DESCRIPTOR.services_by_name["TemplateService"].full_name


class TemplateServicer(rpc.TemplateServiceServicer):
    """Journeys ready to copy."""

    def __init__(self, use_template: UseTemplate) -> None:
        self._use = use_template

    async def ListTemplates(self, request: pb.ListTemplatesRequest, context: Any) -> pb.ListTemplatesResponse:
        known = templates()

        def place(template: Template) -> tuple[int, str]:
            return len(known) - known.index(template), template.id

        page = page_of(known, place, *page_from_proto(request.page))
        return pb.ListTemplatesResponse(templates=map(template_to_proto, page.items), next_cursor=page.cursor)

    async def UseTemplate(self, request: pb.UseTemplateRequest, context: Any) -> pb.UseTemplateResponse:
        return copied_to_proto(
            await self._use(request.workspace, request.template_id, actor_from(context), request_key_from(context))
        )
