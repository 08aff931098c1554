"""Dry runs.

Source: contract 5.
"""

from typing import Final

from gateway.schemas.words import ANY_OBJECT, TEXT, TIME, Schema, choice, closed, items

MOST_EVENTS: Final = 1_000
OVERRIDES: Final = ("opt_out", "suppression", "frequency_cap", "holdout")
_TYPE: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 256}

_VERSION: Final[Schema] = {"type": ["string", "integer"], "description": "draft, latest or a number."}

COMPONENTS: Final[dict[str, Schema]] = {
    "BacktestStart": closed({"version": _VERSION, "from": TIME, "to": TIME}, ["from", "to"]),
    "Simulate": closed(
        {
            "mode": choice("simulate", "explore"),
            "subjectId": {"type": "string", "minLength": 1, "description": "A real person; at most 200 bytes."},
            "subjectAttributes": {**ANY_OBJECT, "description": "A synthetic person instead."},
            "overrides": items(choice(*OVERRIDES), maxItems=20),
            "version": _VERSION,
            "event": closed({"type": _TYPE, "data": ANY_OBJECT}),
            "startAt": TIME,
            "events": items(
                closed(
                    {
                        "type": _TYPE,
                        "data": ANY_OBJECT,
                        "after": {
                            **TEXT,
                            "description": "ISO 8601, from the start of the run; with a minus it lies in the past.",
                        },
                    },
                    ["type", "after"],
                ),
                maxItems=MOST_EVENTS,
            ),
        }
    ),
}
