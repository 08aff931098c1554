"""The workspace's settings, its members and keys, and signing in.

Source: contract 1 (Who may call) and 3 (Workspace, Senders).
"""

from typing import Final

from gateway.schemas.words import (
    BOOLEAN,
    CHANNEL,
    DURATION,
    INTEGER,
    NAME,
    NUMBER,
    TEXT,
    Schema,
    Union,
    choice,
    closed,
    drawn,
    items,
    mapping,
    or_null,
    ref,
)

SENDER: Final = Union(
    "a sender",
    "type",
    {"outbox": "SenderOutbox", "in_app": "SenderInApp", "smtp": "SenderSmtp", "http": "SenderHttp", "fcm": "SenderFcm"},
    nullable=True,
)
UNIONS: Final[dict[str, Union]] = {"Sender": SENDER}

ROLE: Final = choice("owner", "editor", "viewer")
_EMAIL: Final[Schema] = {"type": "string", "minLength": 3, "maxLength": 320}
_PASSWORD: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 1000}

SETTINGS: Final[dict[str, Schema]] = {
    "timezone": or_null(TEXT),
    "goalEventWindowDays": or_null(NUMBER),
    "holdout": or_null(closed({"percent": NUMBER})),
    "frequencyCaps": or_null(items(closed({"channel": or_null(CHANNEL), "max": INTEGER, "per": DURATION}))),
    "dailyCap": or_null(closed({"max": INTEGER})),
    "quietHours": or_null(closed({"start": TEXT, "end": TEXT, "behaviour": choice("defer", "skip")})),
    "senders": or_null(closed({"email": ref("Sender"), "in_app_push": ref("Sender"), "mobile_push": ref("Sender")})),
    "webhookSecretRef": or_null(TEXT),
    "publicUrl": or_null(TEXT),
    "maxJourneys": or_null(INTEGER),
}

COMPONENTS: Final[dict[str, Schema]] = {
    "Sender": drawn(SENDER),
    "SenderOutbox": closed({"type": choice("outbox")}, ["type"]),
    "SenderInApp": closed({"type": choice("in_app")}, ["type"]),
    "SenderSmtp": closed(
        {
            "type": choice("smtp"),
            "host": TEXT,
            "port": INTEGER,
            "security": choice("none", "starttls", "tls"),
            "username": TEXT,
            "passwordRef": TEXT,
            "from": TEXT,
            "replyTo": TEXT,
        },
        ["type", "host", "port", "security", "from"],
    ),
    "SenderHttp": closed(
        {"type": choice("http"), "url": TEXT, "headers": mapping(TEXT), "secretRef": TEXT, "idempotent": BOOLEAN},
        ["type", "url", "idempotent"],
    ),
    "SenderFcm": closed(
        {"type": choice("fcm"), "projectId": TEXT, "credentialsRef": TEXT, "endpoint": TEXT},
        ["type", "projectId", "credentialsRef"],
    ),
    "WorkspaceUpdate": closed(
        {"name": NAME, **SETTINGS},
        ignored=("projectKey", "createdAt", "updatedAt", "etag"),
        description="Members to change; null gives a member its default back.",
    ),
    "Workspace": {"type": "object", "properties": {"projectKey": TEXT, "name": TEXT, **SETTINGS}},
    "WorkspaceCreate": closed(
        {
            "name": NAME,
            "projectKey": {"type": "string", "minLength": 1, "maxLength": 63},
            "ownerEmail": _EMAIL,
            "ownerPassword": _PASSWORD,
        },
        ["name", "ownerEmail"],
    ),
    "MemberAdd": closed(
        {"email": _EMAIL, "role": ROLE, "password": _PASSWORD}, ["email", "role", "password"], ignored=("userId",)
    ),
    "MemberUpdate": closed({"role": ROLE}, ["role"], ignored=("userId", "email")),
    "ApiKeyCreate": closed(
        {"name": NAME, "role": {**choice("editor", "viewer"), "default": "editor"}},
        ["name"],
        ignored=("id", "createdAt"),
    ),
    "SignIn": closed({"email": TEXT, "password": TEXT}, ["email", "password"]),
}
