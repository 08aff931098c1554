"""Exports from elsewhere, and bundles.

What is inside an export or a bundle is read by the service, which tells every fault with its pointer.
Source: contract 6; pinpoint design 6 and 7.
"""

from typing import Final

from gateway.schemas.words import ANY, ANY_OBJECT, BOOLEAN, TEXT, TEXTS, TIME, Schema, choice, closed, ref

_TEXT_BY_NAME: Final[Schema] = {"type": "object", "additionalProperties": TEXT}
_ID_BY_REF: Final[Schema] = {**_TEXT_BY_NAME, "description": "Ref -> the id of an object of the workspace."}

COMPONENTS: Final[dict[str, Schema]] = {
    "TranslatePinpoint": closed(
        {
            "projectKey": TEXT,
            "export": {**ANY, "description": "What GetJourney or ListJourneys returned, or a project of such."},
            "options": closed(
                {
                    "includeStates": TEXTS,
                    "includeTestJourneys": BOOLEAN,
                    "journeyIds": {"type": ["array", "null"], "items": TEXT},
                    "randomSplit": choice("static", "adaptive"),
                    "evaluationWait": choice("strict", "early"),
                    "sms": choice("skip", "webhook", "email"),
                    "systemEvents": {"type": "object", "additionalProperties": TEXT},
                    "variableMap": {"type": "object", "additionalProperties": TEXT},
                    "now": TIME,
                    "strict": BOOLEAN,
                }
            ),
        },
        ["projectKey", "export"],
    ),
    "Bundle": {
        "type": "object",
        "description": "Journeys with all they name. Objects name each other by refs; steps and predicates are the "
        "contract's, with `communicationRef`, `audienceRef` and `triggerContractRef`.",
        "properties": {
            "kind": choice("journey-import-bundle"),
            "version": {**TEXT, "description": "1.0"},
            "bundleId": TEXT,
            "source": {
                "type": "object",
                "properties": {"provider": TEXT, "applicationId": {"type": ["string", "null"]}},
                "required": ["provider"],
            },
            "audiences": {"type": "array", "items": ANY_OBJECT},
            "triggerContracts": {"type": "array", "items": ANY_OBJECT},
            "communications": {"type": "array", "items": ANY_OBJECT},
            "journeys": {"type": "array", "items": ANY_OBJECT},
        },
        "required": ["kind", "version", "source"],
    },
    "ImportBundle": closed(
        {
            "projectKey": TEXT,
            "bundle": ref("Bundle"),
            "dryRun": {**BOOLEAN, "default": False},
            "conflictPolicy": {**choice("skip", "fail", "overwrite", "copy"), "default": "skip"},
            "atomic": {**BOOLEAN, "default": True},
            "allowIncomplete": {**BOOLEAN, "default": True},
            "include": {"type": ["array", "null"], "items": TEXT},
            "resolutions": closed(
                {
                    "webhooks": {**_TEXT_BY_NAME, "description": "Function -> the https URL to call instead."},
                    "communications": _ID_BY_REF,
                    "audiences": _ID_BY_REF,
                    "triggerContracts": _ID_BY_REF,
                }
            ),
        },
        ["projectKey", "bundle"],
    ),
    "ExportBundle": closed(
        {"projectKey": TEXT, "journeyIds": {"type": ["array", "null"], "items": TEXT}}, ["projectKey"]
    ),
    "PinpointTranslation": {
        "type": "object",
        "properties": {"bundle": ANY_OBJECT, "summary": ANY_OBJECT},
        "required": ["bundle", "summary"],
    },
}
