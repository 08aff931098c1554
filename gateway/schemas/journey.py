"""Journeys and their settings.

Source: contract 2 and 2.2.
"""

from typing import Final

from gateway.schemas.words import (
    BOOLEAN,
    DURATION,
    NAME,
    NUMBER,
    OBJECT_ID,
    TEXT,
    TIME,
    Schema,
    choice,
    closed,
    items,
    mapping,
    or_null,
    ref,
)

_SERVER_WRITTEN: Final = (
    "projectKey",
    "status",
    "version",
    "latestVersion",
    "draft",
    "goalSince",
    "warnings",
    "createdAt",
    "publishedAt",
    "etag",
)
_MEMBERS: Final[dict[str, Schema]] = {
    "name": NAME,
    "description": TEXT,
    "audienceId": or_null(TEXT),
    "triggerContractId": or_null(TEXT),
    "goalEventName": or_null(TEXT),
    "goalEventWindowDays": {"type": "number", "exclusiveMinimum": 0, "maximum": 365},
    "steps": ref("Steps"),
    "settings": ref("JourneySettings"),
}

COMPONENTS: Final[dict[str, Schema]] = {
    "JourneyCreate": closed(
        {**_MEMBERS, "id": OBJECT_ID},
        ["name"],
        ignored=(*_SERVER_WRITTEN, "updatedAt"),
    ),
    "JourneyUpdate": closed(
        {
            **_MEMBERS,
            "updatedAt": {**TIME, "description": "The one that was read: 409 stale_update if it is not current."},
        },
        ignored=("id", *_SERVER_WRITTEN),
    ),
    "JourneySettings": closed(
        {
            "reentry": closed(
                {
                    "mode": choice("every_event", "once", "after_exit"),
                    "minInterval": DURATION,
                    "concurrencyKey": TEXT,
                }
            ),
            "exitOn": items(closed({"eventName": TEXT, "match": mapping(TEXT)})),
            "exitOnGoal": BOOLEAN,
            "maxDuration": DURATION,
            "timezone": TEXT,
            "sendRate": closed({"perSecond": NUMBER}),
        }
    ),
    "Publish": closed({"resetArms": items(closed({"stepId": TEXT, "armId": TEXT}, ["stepId", "armId"]))}),
    "Nothing": closed({}, description="No members: these routes need no body."),
}
