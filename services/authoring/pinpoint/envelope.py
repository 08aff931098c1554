"""What kind of file an export is, and what is in it.

Law: the forms of pinpoint design 2 are taken, all others are refused with a hint; nothing is guessed. What stands
beside journeys and cannot be placed is kept aside.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from services.authoring.pinpoint.library import Found
from services.authoring.pinpoint.notes import Notes, step_into
from services.authoring.pinpoint.shapes import TEMPLATES
from services.domain.errors import Invalid
from services.domain.journey.model import Json

MAX_JOURNEYS: Final = 2_000
MAX_OTHERS: Final = 20_000  # segments, templates and campaigns together
_IGNORED: Final = ("ResponseMetadata",)
_PROJECT: Final = ("journeys", "segments", "templates", "campaigns")
_WRAPPERS: Final = {
    "JourneyResponse": "journeys",
    "WriteJourneyRequest": "journeys",
    "SegmentResponse": "segments",
    "CampaignResponse": "campaigns",
    "EmailTemplateResponse": "templates",
    "SMSTemplateResponse": "templates",
    "PushNotificationTemplateResponse": "templates",
    "VoiceTemplateResponse": "templates",
    "InAppTemplateResponse": "templates",
}
_LISTS: Final = {"JourneysResponse": "journeys", "SegmentsResponse": "segments", "CampaignsResponse": "campaigns"}
_TEMPLATE_TYPES: Final = {
    "EmailTemplateResponse": "EMAIL",
    "SMSTemplateResponse": "SMS",
    "PushNotificationTemplateResponse": "PUSH",
    "VoiceTemplateResponse": "VOICE",
    "InAppTemplateResponse": "INAPP",
}
_JOURNEY_WORDS: Final = ("StartCondition", "StartActivity", "Schedule", "Limits", "State")
_OTHER_OBJECTS: Final = (
    "SegmentType",
    "SegmentGroups",
    "ImportDefinition",
    "SegmentId",
    "TemplateType",
    "TemplateName",
)
_FOREIGN: Final = ("journeyresponse", "journeysresponse", "activities", "startactivity", "startcondition")


@dataclass(slots=True)
class Project:
    """The objects of an export, each with its pointer; `is_partial` where a list says that more follow."""

    journeys: list[Found] = field(default_factory=list)
    segments: list[Found] = field(default_factory=list)
    templates: list[Found] = field(default_factory=list)
    campaigns: list[Found] = field(default_factory=list)
    is_partial: bool = False
    application_id: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing at all."""
        return not (self.journeys or self.segments or self.templates or self.campaigns)


def read_export(export: Json, notes: Notes) -> Project:
    """Everything in an export. Raises Invalid: `not_an_export`, `payload_too_large` (2,000 journeys)."""
    project = Project()
    if isinstance(export, dict) and any(isinstance(export.get(name), list | dict) for name in _PROJECT):
        _project(export, project, notes)
    elif isinstance(export, list):
        _items(export, "", "journeys", project, notes)
    elif isinstance(export, dict):
        _one(export, "", "journeys", project, notes)
    if project.is_empty:
        raise Invalid("not_an_export", _hint(export))
    if len(project.journeys) > MAX_JOURNEYS:
        raise Invalid(
            "payload_too_large",
            f"The export has {len(project.journeys):,} journeys; {MAX_JOURNEYS:,} are taken at once.",
        )
    others = len(project.segments) + len(project.templates) + len(project.campaigns)
    if others > MAX_OTHERS:
        raise Invalid(
            "payload_too_large", f"The export has {others:,} objects beside journeys; {MAX_OTHERS:,} are taken."
        )
    return project


def _project(export: dict[str, Json], project: Project, notes: Notes) -> None:
    for name, value in export.items():
        if value is None or name in _IGNORED:
            continue
        if name == "source":
            if isinstance(value, dict):
                if isinstance(value.get("applicationId"), str):
                    project.application_id = value["applicationId"]
                if value.get("partial") is True:
                    project.is_partial = True
        elif name not in _PROJECT:
            notes.drop("unknown_member", name, step_into("", name), value)
        elif isinstance(value, list):
            _items(value, step_into("", name), name, project, notes)
        elif isinstance(value, dict):
            _one(value, step_into("", name), name, project, notes)
        else:
            notes.drop("unknown_member", name, step_into("", name), value, "This is not a list.")


def _items(values: list[Json], path: str, kind: str, project: Project, notes: Notes) -> None:
    for i, value in enumerate(values):
        _one(value, step_into(path, i), kind, project, notes)


def _one(value: Json, path: str, kind: str, project: Project, notes: Notes, *, is_listed: bool = False) -> None:
    """One value of an expected kind: a wrapper, one page of a list, or the object itself."""
    if not isinstance(value, dict):
        if notes.is_full("unknown_member"):
            notes.overflowing.add(notes.object_ref)
            return
        notes.drop("unknown_member", kind, path, value, "This is not an object.")
        return
    for wrapper in (*_WRAPPERS, *_LISTS):
        if isinstance(value.get(wrapper), dict):
            for name, other in value.items():
                if name != wrapper and name not in _IGNORED and other is not None:
                    notes.drop("unknown_member", name, step_into(path, name), other)
            inner, at = value[wrapper], step_into(path, wrapper)
            if wrapper in _LISTS and not is_listed:
                _page(inner, at, _LISTS[wrapper], project, notes)
            elif wrapper in _WRAPPERS:
                if wrapper in _TEMPLATE_TYPES:
                    inner = {"TemplateType": _TEMPLATE_TYPES[wrapper], **inner}
                _place(inner, at, _WRAPPERS[wrapper], project, notes)
            else:
                notes.drop("unknown_member", wrapper, at, inner)
            return
    if isinstance(value.get("Item"), list) and not is_listed:
        _page(value, path, kind, project, notes)
    else:
        _place(value, path, kind, project, notes)


def _page(page: dict[str, Json], path: str, kind: str, project: Project, notes: Notes) -> None:
    items = page.get("Item")
    for name, other in page.items():
        if name == "NextToken" and other:
            project.is_partial = True
            notes.drop("page_truncated", "NextToken", step_into(path, name), other)
        elif name not in ("Item", *_IGNORED) and other is not None:
            notes.drop("unknown_member", name, step_into(path, name), other)
    if not isinstance(items, list):
        if items is not None:
            notes.drop("unknown_member", "Item", step_into(path, "Item"), items, "This is not a list.")
        return
    for i, item in enumerate(items):
        _one(item, step_into(path, "Item", i), kind, project, notes, is_listed=True)


def _place(value: dict[str, Json], path: str, kind: str, project: Project, notes: Notes) -> None:
    if not _FITS[kind](value):
        notes.drop("unknown_member", kind, path, value, "This is none of what stands here.")
        return
    {
        "journeys": project.journeys,
        "segments": project.segments,
        "templates": project.templates,
        "campaigns": project.campaigns,
    }[kind].append(Found(value, path))
    application = value.get("ApplicationId")
    if project.application_id is None and isinstance(application, str) and application:
        project.application_id = application


def _is_journey(value: dict[str, Json]) -> bool:
    if isinstance(value.get("Activities"), dict):
        return True
    if any(name in value for name in _OTHER_OBJECTS):
        return False
    if all(isinstance(value.get(name), str) for name in ("Id", "ApplicationId", "Name")):
        return True
    return isinstance(value.get("Name"), str) and any(name in value for name in _JOURNEY_WORDS)


_FITS: Final[dict[str, Callable[[dict[str, Json]], bool]]] = {
    "journeys": _is_journey,
    "segments": lambda value: isinstance(value.get("Id"), str) and bool(value["Id"]),
    "templates": lambda value: (
        isinstance(value.get("TemplateName"), str)
        and bool(value["TemplateName"])
        and value.get("TemplateType") in TEMPLATES
    ),
    "campaigns": lambda value: isinstance(value.get("Id"), str) and bool(value["Id"]),
}


def _hint(export: Json) -> str:
    plain = "No journey was found. Send what GetJourney or ListJourneys returned, as it came."
    names: list[Any] = list(export) if isinstance(export, dict) else []
    if isinstance(export, list) and export and isinstance(export[0], dict):
        names = list(export[0])
    folded = {str(name).replace("_", "").lower() for name in names}
    if folded & set(_FOREIGN):
        return f"{plain} This file spells its members in another way than the API: export it by the AWS CLI."
    if any(name in folded for name in ("assessment", "report", "findings", "summary")):
        return f"{plain} A report about journeys, without their Activities, is not an export."
    return plain
