"""Subjects and suppressions.

Source: contract 3.
"""

from typing import Final

from gateway.schemas.words import ANY_OBJECT, BOOLEAN, TEXT, TEXTS, Schema, closed, mapping, or_null

_IGNORED: Final = ("endUserId", "projectKey", "createdAt", "updatedAt", "etag")

COMPONENTS: Final[dict[str, Schema]] = {
    "SubjectPut": closed(
        {
            "attributes": ANY_OBJECT,
            "addresses": closed({"email": or_null(TEXT), "mobile_push": TEXTS}),
            "timezone": or_null(TEXT),
            "locale": or_null(TEXT),
            "channelPreferences": mapping(BOOLEAN),
            "globalOptOut": BOOLEAN,
        },
        ignored=_IGNORED,
    ),
    "SubjectPatch": closed(
        {
            "attributes": or_null(ANY_OBJECT),
            "addresses": or_null(closed({"email": or_null(TEXT), "mobile_push": or_null(TEXTS)})),
            "timezone": or_null(TEXT),
            "locale": or_null(TEXT),
            "channelPreferences": or_null(mapping(or_null(BOOLEAN))),
            "globalOptOut": or_null(BOOLEAN),
        },
        ignored=_IGNORED,
        description="A merge patch (RFC 7396): null removes.",
    ),
    "SubjectLines": {
        "type": "string",
        "description": "NDJSON, or CSV whose header holds dotted paths with :number, :boolean or :list.",
    },
    "PreferencesForm": {
        "type": "object",
        "description": "`List-Unsubscribe=One-Click` (RFC 8058) opts out of the channel of the message the link stood "
        "in; otherwise the page's own form: of the channels `shown`, those in `channel` are opted in.",
        "properties": {
            "List-Unsubscribe": {"type": "string", "const": "One-Click"},
            "shown": TEXTS,
            "channel": TEXTS,
            "global": {"type": "string"},
        },
    },
    "SuppressionPut": closed({"reason": TEXT}, ignored=("address", "createdAt", "etag")),
}
