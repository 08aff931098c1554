"""What Pinpoint's API returns, and a reader that finds what does not fit.

Law: `fitted` returns a copy in which every member is known and of its type, so that what comes after may trust it.
What does not fit is said (`unknown_member`, `enum_unknown`) and kept aside; null is absent. It recurses over shapes,
whose depth is fixed, never over what it reads.
Source: AWS API model `pinpoint/2016-12-01`; pinpoint design 3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from services.authoring.pinpoint.notes import Notes, step_into
from services.domain.journey.members import shown
from services.domain.journey.model import Json


class Scalar(Enum):
    """The shapes without parts. A moment is a text, or the seconds or milliseconds of an epoch."""

    TEXT = "a text"
    NUMBER = "a number"
    FLAG = "true or false"
    MOMENT = "a time"
    FREE = "anything"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the words the API lists; another one is said and stays."""

    words: frozenset[str]


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list; an object that does not fit becomes an empty one, so that the others keep their places."""

    item: "Shape"


@dataclass(frozen=True, slots=True)
class MapOf:
    """An object whose names are free."""

    value: "Shape"


@dataclass(frozen=True, slots=True)
class Record:
    """An object of known members."""

    members: Mapping[str, "Shape"]


Shape = Scalar | Choice | ListOf | MapOf | Record

TEXT, NUMBER, FLAG, MOMENT, FREE = Scalar.TEXT, Scalar.NUMBER, Scalar.FLAG, Scalar.MOMENT, Scalar.FREE


def fitted(value: Json, shape: Shape, path: str, notes: Notes) -> Any:
    """The value without what does not fit, None if nothing of it does."""
    return _fitted(value, shape, (path, ()), notes)


# A place while it is read: where the reading began, and the names since. Made to a pointer only where it is told.
_Place = tuple[str, tuple[str | int, ...]]


def _fitted(value: Json, shape: Shape, place: _Place, notes: Notes) -> Any:
    if shape is Scalar.TEXT and value.__class__ is str:  # most of all values
        return value
    path, names = place
    match shape:
        case Record(members):
            if not isinstance(value, dict):
                return _refused(value, "an object", place, notes)
            found = {}
            for name, inner in value.items():
                if inner is None:
                    continue
                known = members.get(name)
                if known is None:
                    if notes.is_full("unknown_member"):
                        notes.overflowing.add(notes.object_ref)
                        continue
                    notes.drop("unknown_member", name, step_into(path, *names, name), inner)
                elif (kept := _fitted(inner, known, (path, (*names, name)), notes)) is not None:
                    found[name] = kept
            return found
        case MapOf(inner_shape):
            if not isinstance(value, dict):
                return _refused(value, "an object", place, notes)
            pairs = (
                (name, _fitted(inner, inner_shape, (path, (*names, name)), notes))
                for name, inner in value.items()
                if inner is not None
            )
            return {name: kept for name, kept in pairs if kept is not None}
        case ListOf(item_shape):
            if not isinstance(value, list):
                return _refused(value, "a list", place, notes)
            is_record = isinstance(item_shape, Record)
            items = []
            for i, item in enumerate(value):
                kept = None if item is None else _fitted(item, item_shape, (path, (*names, i)), notes)
                if kept is not None or is_record:
                    items.append({} if kept is None else kept)
            return items
        case Choice(words):
            if not isinstance(value, str):
                return _refused(value, "a text", place, notes)
            if value not in words:
                notes.say("enum_unknown", step_into(path, *names), f"{shown(value)}.")
            return value
        case Scalar():
            return value if _is_of(shape, value) else _refused(value, shape.value, place, notes)


def _is_of(shape: Scalar, value: Json) -> bool:
    match shape:
        case Scalar.TEXT:
            return isinstance(value, str)
        case Scalar.NUMBER:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case Scalar.FLAG:
            return isinstance(value, bool)
        case Scalar.MOMENT:
            return isinstance(value, str | int | float) and not isinstance(value, bool)
        case Scalar.FREE:
            return True


def _refused(value: Json, wanted: str, place: _Place, notes: Notes) -> None:
    if notes.is_full("unknown_member"):
        notes.overflowing.add(notes.object_ref)
        return
    path, names = place
    feature = str(names[-1]) if names else path.rpartition("/")[2]
    notes.drop("unknown_member", feature, step_into(path, *names), value, f"This is not {wanted}.")


def _words(*words: str) -> Choice:
    return Choice(frozenset(words))


SET: Final = Record({"DimensionType": _words("INCLUSIVE", "EXCLUSIVE"), "Values": ListOf(TEXT)})
ATTRIBUTE: Final = Record(
    {
        "AttributeType": _words("INCLUSIVE", "EXCLUSIVE", "CONTAINS", "BEFORE", "AFTER", "ON", "BETWEEN"),
        "Values": ListOf(TEXT),
    }
)
METRIC: Final = Record({"ComparisonOperator": TEXT, "Value": NUMBER})
EVENT: Final = Record({"EventType": SET, "Attributes": MapOf(ATTRIBUTE), "Metrics": MapOf(METRIC)})
DEMOGRAPHICS: Final = ("AppVersion", "Channel", "DeviceType", "Make", "Model", "Platform")
DIMENSIONS: Final = Record(
    {
        "Attributes": MapOf(ATTRIBUTE),
        "UserAttributes": MapOf(ATTRIBUTE),
        "Metrics": MapOf(METRIC),
        "Behavior": Record(
            {
                "Recency": Record(
                    {
                        "Duration": _words("HR_24", "DAY_7", "DAY_14", "DAY_30"),
                        "RecencyType": _words("ACTIVE", "INACTIVE"),
                    }
                )
            }
        ),
        "Demographic": Record(dict.fromkeys(DEMOGRAPHICS, SET)),
        "Location": Record({"Country": SET, "GPSPoint": FREE}),
    }
)
CONDITION: Final = Record(
    {
        "SegmentCondition": Record({"SegmentId": TEXT}),
        "SegmentDimensions": DIMENSIONS,
        "segmentDimensions": DIMENSIONS,
        "EventCondition": Record({"Dimensions": EVENT, "MessageActivity": TEXT}),
    }
)
WAIT: Final = Record({"WaitFor": TEXT, "WaitUntil": MOMENT})
_TEMPLATE: Final = {"TemplateName": TEXT, "TemplateVersion": TEXT, "NextActivity": TEXT}
# In the order in which one is taken where an activity has two.
ACTIVITIES: Final[Mapping[str, Record]] = {
    "EMAIL": Record({"MessageConfig": Record({"FromAddress": TEXT}), **_TEMPLATE}),
    "SMS": Record(
        {
            "MessageConfig": Record(
                {
                    "MessageType": _words("TRANSACTIONAL", "PROMOTIONAL"),
                    "OriginationNumber": TEXT,
                    "SenderId": TEXT,
                    "EntityId": TEXT,
                    "TemplateId": TEXT,
                }
            ),
            **_TEMPLATE,
        }
    ),
    "PUSH": Record({"MessageConfig": Record({"TimeToLive": TEXT}), **_TEMPLATE}),
    "CUSTOM": Record(
        {
            "DeliveryUri": TEXT,
            "EndpointTypes": ListOf(TEXT),
            "MessageConfig": Record({"Data": TEXT}),
            **_TEMPLATE,
        }
    ),
    "ContactCenter": Record({"NextActivity": TEXT}),
    "Wait": Record({"WaitTime": WAIT, "NextActivity": TEXT}),
    "ConditionalSplit": Record(
        {
            "Condition": Record({"Conditions": ListOf(CONDITION), "Operator": _words("ALL", "ANY")}),
            "EvaluationWaitTime": WAIT,
            "TrueActivity": TEXT,
            "FalseActivity": TEXT,
        }
    ),
    "MultiCondition": Record(
        {
            "Branches": ListOf(Record({"Condition": CONDITION, "NextActivity": TEXT})),
            "DefaultActivity": TEXT,
            "EvaluationWaitTime": WAIT,
        }
    ),
    "RandomSplit": Record({"Branches": ListOf(Record({"NextActivity": TEXT, "Percentage": NUMBER}))}),
    "Holdout": Record({"Percentage": NUMBER, "NextActivity": TEXT}),
}
ACTIVITY: Final = Record({"Description": TEXT, **ACTIVITIES})
STATES: Final = ("DRAFT", "ACTIVE", "COMPLETED", "CANCELLED", "CLOSED", "PAUSED")
EVENT_FILTER: Final = Record({"FilterType": _words("SYSTEM", "ENDPOINT"), "Dimensions": EVENT})
_HOURS: Final = MapOf(ListOf(Record({"StartTime": TEXT, "EndTime": TEXT})))
_DAYS: Final = ListOf(Record({"Name": TEXT, "StartDateTime": MOMENT, "EndDateTime": MOMENT}))
_CHANNELS: Final = ("EMAIL", "SMS", "PUSH", "VOICE", "CUSTOM")
QUIET: Final = Record({"Start": TEXT, "End": TEXT})
JOURNEY: Final = Record(
    {
        "Id": TEXT,
        "ApplicationId": TEXT,
        "Name": TEXT,
        "Activities": MapOf(FREE),
        "StartActivity": TEXT,
        "StartCondition": Record(
            {
                "Description": TEXT,
                "EventStartCondition": Record({"EventFilter": EVENT_FILTER, "SegmentId": TEXT}),
                "SegmentStartCondition": Record({"SegmentId": TEXT}),
            }
        ),
        "Schedule": Record({"StartTime": MOMENT, "EndTime": MOMENT, "Timezone": TEXT}),
        "LocalTime": FLAG,
        "Limits": Record(
            {
                "DailyCap": NUMBER,
                "EndpointReentryCap": NUMBER,
                "EndpointReentryInterval": TEXT,
                "MessagesPerSecond": NUMBER,
                "TotalCap": NUMBER,
                "TimeframeCap": Record({"Cap": NUMBER, "Days": NUMBER}),
            }
        ),
        "QuietTime": QUIET,
        "WaitForQuietTime": FLAG,
        "SendingSchedule": FLAG,
        "OpenHours": Record(dict.fromkeys(_CHANNELS, _HOURS)),
        "ClosedDays": Record(dict.fromkeys(_CHANNELS, _DAYS)),
        "TimezoneEstimationMethods": ListOf(TEXT),
        "JourneyChannelSettings": FREE,
        "RefreshFrequency": TEXT,
        "RefreshOnSegmentUpdate": FLAG,
        "State": _words(*STATES),
        "CreationDate": MOMENT,
        "LastModifiedDate": MOMENT,
        "tags": FREE,
    }
)
GROUP: Final = Record(
    {
        "Dimensions": ListOf(DIMENSIONS),
        "SourceSegments": ListOf(Record({"Id": TEXT, "Version": NUMBER})),
        "SourceType": _words("ALL", "ANY", "NONE"),
        "Type": _words("ALL", "ANY", "NONE"),
    }
)
SEGMENT: Final = Record(
    {
        "Id": TEXT,
        "ApplicationId": TEXT,
        "Arn": TEXT,
        "Name": TEXT,
        "Version": NUMBER,
        "SegmentType": _words("DIMENSIONAL", "IMPORT"),
        "Dimensions": DIMENSIONS,
        "SegmentGroups": Record({"Groups": ListOf(GROUP), "Include": _words("ALL", "ANY", "NONE")}),
        "ImportDefinition": FREE,
        "CreationDate": MOMENT,
        "LastModifiedDate": MOMENT,
        "tags": FREE,
    }
)
_ABOUT_TEMPLATE: Final[Mapping[str, Shape]] = {
    "TemplateName": TEXT,
    "TemplateType": _words("EMAIL", "SMS", "VOICE", "PUSH", "INAPP"),
    "TemplateDescription": TEXT,
    "Version": TEXT,
    "Arn": TEXT,
    "DefaultSubstitutions": TEXT,
    "RecommenderId": TEXT,
    "CreationDate": MOMENT,
    "LastModifiedDate": MOMENT,
    "tags": FREE,
}
_PUSH: Final = Record(
    dict.fromkeys(
        ("Title", "Body", "Action", "Url", "Sound", "ImageUrl", "ImageIconUrl", "SmallImageIconUrl", "MediaUrl"), TEXT
    )
    | {"RawContent": TEXT}
)
PLATFORMS: Final = ("APNS", "GCM", "ADM", "Baidu")
TEMPLATES: Final[Mapping[str, Record]] = {
    "EMAIL": Record({**_ABOUT_TEMPLATE, "Subject": TEXT, "HtmlPart": TEXT, "TextPart": TEXT, "Headers": FREE}),
    "SMS": Record({**_ABOUT_TEMPLATE, "Body": TEXT}),
    "VOICE": Record({**_ABOUT_TEMPLATE, "Body": TEXT, "LanguageCode": TEXT, "VoiceId": TEXT}),
    "PUSH": Record({**_ABOUT_TEMPLATE, "Default": _PUSH, **dict.fromkeys(PLATFORMS, _PUSH)}),
    "INAPP": Record(
        {
            **_ABOUT_TEMPLATE,
            "Layout": TEXT,
            "CustomConfig": FREE,
            "Content": ListOf(
                Record(
                    {
                        "BackgroundColor": TEXT,
                        "ImageUrl": TEXT,
                        "HeaderConfig": MapOf(FREE),
                        "BodyConfig": MapOf(FREE),
                        "PrimaryBtn": FREE,
                        "SecondaryBtn": FREE,
                    }
                )
            ),
        }
    ),
}
_NAMED: Final = Record({"Name": TEXT, "Version": TEXT})
_TEMPLATES_OF: Final = Record(
    dict.fromkeys(("EmailTemplate", "SMSTemplate", "PushTemplate", "VoiceTemplate", "InAppTemplate"), _NAMED)
)
_STATE: Final = Record({"CampaignStatus": TEXT})
_CAMPAIGN_SCHEDULE: Final = Record(
    {
        "StartTime": MOMENT,
        "EndTime": MOMENT,
        "Frequency": _words("ONCE", "HOURLY", "DAILY", "WEEKLY", "MONTHLY", "EVENT", "IN_APP_EVENT"),
        "IsLocalTime": FLAG,
        "Timezone": TEXT,
        "QuietTime": QUIET,
        "EventFilter": EVENT_FILTER,
    }
)
_TREATMENT: Final[Mapping[str, Shape]] = {
    "TemplateConfiguration": _TEMPLATES_OF,
    "MessageConfiguration": MapOf(FREE),
    "CustomDeliveryConfiguration": FREE,
    "TreatmentName": TEXT,
    "TreatmentDescription": TEXT,
    "State": _STATE,
}
CAMPAIGN: Final = Record(
    {
        "Id": TEXT,
        "ApplicationId": TEXT,
        "Arn": TEXT,
        "Name": TEXT,
        "Description": TEXT,
        "SegmentId": TEXT,
        "SegmentVersion": NUMBER,
        "Schedule": _CAMPAIGN_SCHEDULE,
        **_TREATMENT,
        "AdditionalTreatments": ListOf(
            Record({"Id": TEXT, "SizePercent": NUMBER, "Schedule": _CAMPAIGN_SCHEDULE, **_TREATMENT})
        ),
        "HoldoutPercent": NUMBER,
        "Hook": FREE,
        "Limits": MapOf(FREE),
        "DefaultState": _STATE,
        "IsPaused": FLAG,
        "Priority": NUMBER,
        "Version": NUMBER,
        "CreationDate": MOMENT,
        "LastModifiedDate": MOMENT,
        "tags": FREE,
    }
)
