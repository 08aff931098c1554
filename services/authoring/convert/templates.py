"""Journey templates, and what a use of one made."""

from journeys.authoring.v1 import template_service_pb2 as pb

from services.authoring.convert.journeys import journey_to_proto
from services.authoring.convert.library import audience_to_proto, communication_to_proto, contract_to_proto
from services.authoring.json_text import canonical
from services.authoring.templates.catalogue import Template
from services.authoring.templates.use_template import Copied


def template_to_proto(template: Template) -> pb.Template:
    """A template as whoever chooses sees it."""
    body = template.body
    return pb.Template(
        id=template.id,
        name=body["name"],
        description=body.get("description", ""),
        about=template.about,
        event_name=template.event_name,
        goal_event_name=body.get("goalEventName"),
        channels=template.channels,
        steps_json=canonical(body["steps"]),
        settings_json=canonical(body.get("settings", {})),
    )


def copied_to_proto(copied: Copied) -> pb.UseTemplateResponse:
    """The draft and all it names."""
    return pb.UseTemplateResponse(
        journey=journey_to_proto(copied.journey),
        trigger_contract=contract_to_proto(copied.trigger_contract),
        audiences=map(audience_to_proto, copied.audiences),
        communications=map(communication_to_proto, copied.communications),
    )
