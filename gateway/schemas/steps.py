"""Steps: the closed union of a journey's graph, by type and mode.

A draft may be incomplete: only `id`, `type` and a mode without default are required; a missing `next` or `duration`
is a warning of the domain's, and refused at publish.
Source: contract 2.1.
"""

from typing import Final

from gateway.schemas.words import (
    ANY,
    ANY_OBJECT,
    BOOLEAN,
    CHANNEL,
    DURATION,
    INTEGER,
    NUMBER,
    TEXT,
    TIME,
    Schema,
    Union,
    choice,
    closed,
    drawn,
    items,
    mapping,
    ref,
)

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ON_FAILURE: Final = choice("continue", "fail")

STEP: Final = Union(
    "a step",
    "type",
    {
        "trigger": Union(
            "a step",
            "mode",
            {
                "event": "StepTriggerEvent",
                "audience_entry": "StepTriggerAudienceEntry",
                "schedule": "StepTriggerSchedule",
                "manual": "StepTriggerManual",
            },
            default="event",
        ),
        "wait": Union(
            "a step",
            "mode",
            {
                "duration": "StepWaitDuration",
                "until_time": "StepWaitUntilTime",
                "until_event": "StepWaitUntilEvent",
                "until_condition": "StepWaitUntilCondition",
            },
        ),
        "branch": Union(
            "a step",
            "mode",
            {"condition": "StepBranchCondition", "random": "StepBranchRandom", "adaptive": "StepBranchAdaptive"},
        ),
        "send": "StepSend",
        "webhook": "StepWebhook",
        "update_profile": "StepUpdateProfile",
        "exit": "StepExit",
    },
)

UNIONS: Final[dict[str, Union]] = {"Step": STEP}


def _step(
    kind: str, mode: str | None = None, *, has_next: bool = True, optional_mode: bool = False, **more: Schema
) -> Schema:
    members: dict[str, Schema] = {
        "id": {"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,64}$"},
        "type": choice(kind),
        "name": TEXT,
        "position": closed({"x": NUMBER, "y": NUMBER}),
    }
    required = ["id", "type"]
    if mode is not None:
        members["mode"] = choice(mode)
        if not optional_mode:
            required.append("mode")
    if has_next:
        members["next"] = TEXT
    return closed({**members, **more}, required)


_MATCH: Final = mapping(TEXT)
_PREDICATE: Final = ref("Predicate")
_SCHEDULED_AT: Final[Schema] = {
    "type": "string",
    "description": "RFC 3339; without an offset it is local time in the schedule's timezone.",
}

COMPONENTS: Final[dict[str, Schema]] = {
    "Step": drawn(STEP),
    "Steps": items(ref("Step")),
    "StepTriggerEvent": _step("trigger", "event", optional_mode=True, filter=_PREDICATE),
    "StepTriggerAudienceEntry": _step("trigger", "audience_entry", filter=_PREDICATE, backfill=BOOLEAN),
    "StepTriggerSchedule": _step("trigger", "schedule", filter=_PREDICATE, at=_SCHEDULED_AT, rrule=TEXT, timezone=TEXT),
    "StepTriggerManual": _step("trigger", "manual", filter=_PREDICATE),
    "StepWaitDuration": _step("wait", "duration", duration=DURATION),
    "StepWaitUntilTime": _step(
        "wait",
        "until_time",
        at=TIME,
        localTime={"type": "string", "description": "HH:MM in the subject's zone."},
        weekdays=items(choice(*WEEKDAYS)),
        attribute=TEXT,
        offset=DURATION,
    ),
    "StepWaitUntilEvent": _step(
        "wait", "until_event", eventName=TEXT, match=_MATCH, filter=_PREDICATE, timeout=DURATION, onTimeout=TEXT
    ),
    "StepWaitUntilCondition": _step("wait", "until_condition", condition=_PREDICATE, timeout=DURATION, onTimeout=TEXT),
    "StepBranchCondition": _step(
        "branch",
        "condition",
        has_next=False,
        branches=items(closed({"id": TEXT, "condition": _PREDICATE, "next": TEXT})),
        default=TEXT,
    ),
    "StepBranchRandom": _step(
        "branch", "random", has_next=False, arms=items(closed({"id": TEXT, "weight": NUMBER, "next": TEXT}))
    ),
    "StepBranchAdaptive": _step(
        "branch",
        "adaptive",
        has_next=False,
        arms=items(closed({"id": TEXT, "next": TEXT})),
        optimizationGoal=closed({"eventName": TEXT}),
        minSampleFloor={**INTEGER, "default": 200},
        explorationFloor={**NUMBER, "default": 0.05},
    ),
    "StepSend": _step("send", channel=CHANNEL, communicationId=TEXT, onFailure=ON_FAILURE),
    "StepWebhook": _step(
        "webhook",
        method={**TEXT, "default": "POST"},
        url=TEXT,
        headers=mapping(TEXT),
        body=ANY,
        timeout={**DURATION, "default": "PT10S"},
        retries={**INTEGER, "default": 3},
        saveAs=TEXT,
        onFailure=ON_FAILURE,
    ),
    "StepUpdateProfile": _step("update_profile", set=ANY_OBJECT),
    "StepExit": _step("exit", has_next=False, reason=TEXT),
}
