"""Journey templates as the contract shows them (section 3)."""

from typing import Literal, Self

from journeys.authoring.v1 import template_service_pb2 as pb

from gateway.dto.journey import Journey
from gateway.dto.library import Audience, Communication, TriggerContract
from gateway.dto.shown import Dto, JsonArray, Settings, json_array, json_object, optional


class JourneyTemplate(Dto, kw_only=True):
    """A journey ready to copy. Its steps name communications by `communicationRef`: there are none of them yet."""

    id: str
    name: str
    description: str
    about: str
    event_name: str
    goal_event_name: str | None
    channels: list[Literal["email", "in_app_push", "mobile_push"]]
    settings: Settings
    steps: JsonArray

    @classmethod
    def from_proto(cls, template: pb.Template) -> Self:
        """A template."""
        return cls(
            id=template.id,
            name=template.name,
            description=template.description,
            about=template.about,
            event_name=template.event_name,
            goal_event_name=optional(template, "goal_event_name"),
            channels=list(template.channels),  # type: ignore[arg-type]  # authoring knows these three
            settings=json_object(template.settings_json),
            steps=json_array(template.steps_json),
        )


class UsedTemplate(Journey, kw_only=True):
    """The new draft, and beside it everything that was made for it."""

    trigger_contract: TriggerContract
    audiences: list[Audience]
    communications: list[Communication]

    @classmethod
    def from_use(cls, used: pb.UseTemplateResponse) -> Self:
        """What a use made."""
        journey = Journey.from_proto(used.journey)
        members = {name: getattr(journey, name) for name in Journey.__struct_fields__}
        return cls(
            **members,
            trigger_contract=TriggerContract.from_proto(used.trigger_contract),
            audiences=[Audience.from_proto(one) for one in used.audiences],
            communications=[Communication.from_proto(one) for one in used.communications],
        )
