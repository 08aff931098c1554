"""Events in, starts, and what our own machinery asks.

Source: contract 3 (Events in, Manual start), 6 and 7.
"""

from typing import Final

from gateway.schemas.words import ANY_OBJECT, BOOLEAN, DURATION, TEXT, TIME, Schema, choice, closed, items, ref

# The limit of 200 bytes is no keyword of JSON Schema: `require_short` and intake.py look at it.
_EVENT_ID: Final[Schema] = {"type": "string", "minLength": 1, "description": "At most 200 bytes of UTF-8."}

_PLACE: Final[Schema] = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}

FEEDBACK: Final = ("delivered", "opened", "clicked", "bounced", "complained", "unsubscribed")

COMPONENTS: Final[dict[str, Schema]] = {
    "Event": closed(
        {
            "id": _EVENT_ID,
            "type": {"type": "string", "minLength": 1},
            "endUserId": _EVENT_ID,
            "data": ANY_OBJECT,
            "timestamp": TIME,
        },
        ["type"],
    ),
    "EventBatch": closed({"events": items(ref("Event"), maxItems=1000)}, ["events"]),
    # Which of the two a body is shows `events`; gateway/intake.py reads both without these schemas, for speed.
    "EventsIn": {"oneOf": [ref("Event"), ref("EventBatch")]},
    "ExecutionStart": closed({"endUserId": _EVENT_ID, "eventId": _EVENT_ID, "data": ANY_OBJECT}, ["endUserId"]),
    "StartExecution": closed(
        {
            "projectKey": TEXT,
            "journeyId": TEXT,
            "endUserId": _EVENT_ID,
            "eventId": _EVENT_ID,
            "event": closed({"id": TEXT, "type": TEXT, "endUserId": TEXT, "data": ANY_OBJECT, "timestamp": TIME}),
        },
        ["projectKey", "journeyId", "endUserId", "eventId"],
    ),
    "ForgetEndUser": closed({"projectKey": TEXT, "endUserId": _EVENT_ID}, ["projectKey", "endUserId"]),
    "Dispatch": closed({"projectKey": TEXT, "executionId": TEXT, "executionArn": TEXT}, ["projectKey"]),
    "ProviderFeedback": closed({"type": choice(*FEEDBACK), "permanent": BOOLEAN}, ["type"]),
    "DeadLetterReplay": closed(
        {"partition": _PLACE, "offset": _PLACE},
        ["partition", "offset"],
        description="As the list of dead letters names it.",
    ),
    "ClockAdvance": closed({"advance": DURATION}, ["advance"]),
}
