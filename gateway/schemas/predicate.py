"""Predicates: the one condition language of audiences, branches, filters and waits.

Only `kind` is required here: a draft may be incomplete, and what is missing is the domain's to say.
Source: contract 3, Predicate.
"""

from typing import Final

from gateway.schemas.words import (
    ANY,
    CHANNEL,
    INTEGER,
    NUMBER,
    TEXT,
    Schema,
    Union,
    choice,
    closed,
    drawn,
    items,
    ref,
)

OPERATORS: Final = (
    "equals",
    "not_equals",
    "in",
    "not_in",
    "contains",
    "not_contains",
    "starts_with",
    "ends_with",
    "gt",
    "gte",
    "lt",
    "lte",
    "between",
    "exists",
    "not_exists",
    "before",
    "after",
    "on",
)
STATUSES: Final = ("sent", "delivered", "opened", "clicked", "bounced", "complained", "unsubscribed", "failed")

WINDOW: Final = Union("a window", "type", {"last_n_days": "WindowLastNDays", "since_start": "WindowSinceStart"})
PREDICATE: Final = Union(
    "a predicate",
    "kind",
    {
        "event_fired": "PredicateEventFired",
        "event_not_fired": "PredicateEventFired",
        "attribute": "PredicateCompare",
        "event_attribute": "PredicateCompare",
        "context": "PredicateCompare",
        "in_segment": "PredicateInSegment",
        "in_cohort": "PredicateInSegment",
        "channel_opted_in": "PredicateChannel",
        "channel_opted_out": "PredicateChannel",
        "received": "PredicateReceived",
        "and": "PredicateClauses",
        "or": "PredicateClauses",
        "not": "PredicateNot",
    },
)

UNIONS: Final[dict[str, Union]] = {"Predicate": PREDICATE, "Window": WINDOW}

COMPONENTS: Final[dict[str, Schema]] = {
    "Predicate": drawn(PREDICATE),
    "Window": drawn(WINDOW),
    "WindowLastNDays": closed({"type": choice("last_n_days"), "days": NUMBER}, ["type"]),
    "WindowSinceStart": closed({"type": choice("since_start")}, ["type"]),
    "PredicateEventFired": closed(
        {
            "kind": choice("event_fired", "event_not_fired"),
            "eventName": TEXT,
            "window": ref("Window"),
            "atLeast": {**INTEGER, "default": 1},
            "where": ref("Predicate"),
        },
        ["kind"],
    ),
    "PredicateCompare": closed(
        {
            "kind": choice("attribute", "event_attribute", "context"),
            "fieldPath": TEXT,
            "operator": choice(*OPERATORS),
            "value": ANY,
        },
        ["kind"],
    ),
    "PredicateInSegment": closed(
        {"kind": choice("in_segment", "in_cohort"), "audienceId": TEXT, "cohortId": TEXT}, ["kind"]
    ),
    "PredicateChannel": closed({"kind": choice("channel_opted_in", "channel_opted_out"), "channel": CHANNEL}, ["kind"]),
    "PredicateReceived": closed({"kind": choice("received"), "stepId": TEXT, "status": choice(*STATUSES)}, ["kind"]),
    "PredicateClauses": closed({"kind": choice("and", "or"), "clauses": items(ref("Predicate"))}, ["kind"]),
    "PredicateNot": closed({"kind": choice("not"), "clause": ref("Predicate")}, ["kind"]),
}
