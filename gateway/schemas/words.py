"""The words schemas are written in.

Law: a schema is plain JSON Schema 2020-12, as it stands in `/api/openapi.json`. Objects are closed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
NUMBER: Final[Schema] = {"type": "number"}
INTEGER: Final[Schema] = {"type": "integer"}
BOOLEAN: Final[Schema] = {"type": "boolean"}
ANY: Final[Schema] = {}
ANY_OBJECT: Final[Schema] = {"type": "object"}
TEXTS: Final[Schema] = {"type": "array", "items": TEXT}
NAME: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 500}
ID: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 200}
OBJECT_ID: Final[Schema] = {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$"}
TIME: Final[Schema] = {"type": "string", "format": "date-time", "description": "RFC 3339, UTC."}
DURATION: Final[Schema] = {"type": "string", "description": "ISO 8601 without months and years: PT30M, P3D, P1W."}
SERVER_WRITTEN: Final[Schema] = {
    "readOnly": True,
    "description": "Written by the server; accepted and ignored, so that what was read can be sent back.",
}
CHANNELS: Final = ("email", "in_app_push", "mobile_push")
CHANNEL: Final[Schema] = {"type": "string", "enum": list(CHANNELS)}


@dataclass(frozen=True, slots=True)
class Union:
    """A closed union: the value of `tag` chooses a component, or a further union by another tag.

    `word` names one value in messages; `default` is taken where the tag is absent.
    """

    word: str
    tag: str
    choices: Mapping[str, "Union | str"]
    default: str | None = None
    nullable: bool = False


def ref(component: str) -> Schema:
    """A reference to a named schema."""
    return {"$ref": f"#/components/schemas/{component}"}


def ref_name(schema: Schema) -> str | None:
    """The component a schema refers to, if it is a reference."""
    target = schema.get("$ref")
    return target.rpartition("/")[2] if isinstance(target, str) else None


def closed(
    properties: Mapping[str, Schema],
    required: Sequence[str] = (),
    *,
    ignored: Sequence[str] = (),
    description: str | None = None,
) -> Schema:
    """An object with these members and no others; `ignored` are written by the server alone."""
    schema: Schema = {
        "type": "object",
        "properties": {**properties, **dict.fromkeys(ignored, SERVER_WRITTEN)},
        "additionalProperties": False,
    }
    if required:
        schema["required"] = list(required)
    if description is not None:
        schema["description"] = description
    return schema


def items(schema: Schema, **limits: int) -> Schema:
    """An array of such values."""
    return {"type": "array", "items": schema, **limits}


def mapping(schema: Schema) -> Schema:
    """An object whose every member has that schema."""
    return {"type": "object", "additionalProperties": schema}


def choice(*options: str) -> Schema:
    """One of these strings."""
    return {"type": "string", "enum": list(options)}


def or_null(schema: Schema) -> Schema:
    """The schema, or null."""
    if "$ref" in schema:
        raise ValueError("a union says itself whether it may be null")
    widened: Schema = {**schema, "type": [schema["type"], "null"]}
    if "enum" in schema:
        widened["enum"] = [*schema["enum"], None]
    return widened


def drawn(union: Union) -> Schema:
    """A union as JSON Schema shows it."""
    names: list[str] = []
    stack: list[Union | str] = [union]
    while stack:
        item = stack.pop(0)
        if isinstance(item, Union):
            stack[:0] = item.choices.values()
        elif item not in names:
            names.append(item)
    options = [ref(name) for name in names]
    return {"oneOf": [*options, {"type": "null"}] if union.nullable else options}
