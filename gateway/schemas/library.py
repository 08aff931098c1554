"""What journeys refer to: trigger contracts, audiences, communications.

Source: contract 3.
"""

from typing import Final

from gateway.schemas.words import (
    ANY_OBJECT,
    CHANNEL,
    ID,
    NAME,
    OBJECT_ID,
    TEXT,
    Schema,
    choice,
    closed,
    items,
    or_null,
    ref,
)

_CONTRACT: Final[dict[str, Schema]] = {
    "name": NAME,
    "eventName": {"type": "string", "minLength": 1},
    "subjectFieldPath": {"type": "string", "minLength": 1, "default": "endUserId"},
    "recipientEmailFieldPath": or_null(TEXT),
}
_AUDIENCE: Final[dict[str, Schema]] = {
    "name": NAME,
    "description": TEXT,
    "subjectType": choice("end_user"),
    "predicate": ref("Predicate"),
    "subjectIds": items(ID),
}
_COMMUNICATION: Final[dict[str, Schema]] = {
    "name": NAME,
    "commType": choice("marketing", "transactional"),
    "channel": CHANNEL,
    "subject": or_null(TEXT),
    "body": or_null(TEXT),
    "text": or_null(TEXT),
    "title": or_null(TEXT),
    "data": or_null(ANY_OBJECT),
    "from": or_null(TEXT),
}
CONTENT: Final = ("subject", "body", "text", "title", "data", "from")

COMPONENTS: Final[dict[str, Schema]] = {
    "TriggerContractCreate": closed(
        {**_CONTRACT, "id": OBJECT_ID}, ["name", "eventName"], ignored=("projectKey", "versionAt", "etag")
    ),
    "TriggerContractUpdate": closed(_CONTRACT, ignored=("id", "projectKey", "versionAt", "etag")),
    "AudienceCreate": closed(
        {**_AUDIENCE, "id": OBJECT_ID}, ["name"], ignored=("projectKey", "createdAt", "updatedAt", "etag")
    ),
    "AudienceUpdate": closed(_AUDIENCE, ignored=("id", "projectKey", "createdAt", "updatedAt", "etag")),
    "AudienceEvaluate": closed({"subjectId": ID}, ["subjectId"]),
    "CommunicationCreate": closed(
        {**_COMMUNICATION, "id": OBJECT_ID},
        ["name", "commType", "channel"],
        ignored=("projectKey", "version", "status", "createdAt", "updatedAt", "etag"),
    ),
    "CommunicationUpdate": closed(
        _COMMUNICATION, ignored=("id", "projectKey", "version", "status", "createdAt", "updatedAt", "etag")
    ),
}
