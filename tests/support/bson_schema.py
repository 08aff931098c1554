"""What a document server would say of a document, by the validator of its collection: for tests without one."""

from typing import Any

import bson
import jsonschema_rs

from services.infra.documents.mongo_shape import CODEC, Shape
from services.infra.documents.mongo_validator import validator_of
from services.infra.documents.port import Collection

_TYPES = {"string": "string", "int": "integer", "long": "integer", "object": "object"}


def stored(collection: Collection[Any], document: Any) -> dict[str, Any]:
    """A document as the server gets it."""
    body = Shape(collection).raw_of(document, stamp=1).body
    return bson.decode(body.raw, codec_options=CODEC)


def faults(collection: Collection[Any], raw: dict[str, Any]) -> list[str]:
    """Why the server would refuse it; empty: it would not."""
    schema = _plain(validator_of(Shape(collection))["$jsonSchema"])
    return [error.message for error in jsonschema_rs.Draft7Validator(schema).iter_errors(raw)]


def _plain(schema: Any) -> Any:
    """`bsonType` as the `type` of JSON Schema."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _plain(value) for name, value in schema.items() if name != "bsonType"}
    if isinstance(kinds := schema.get("bsonType"), str):
        kinds = [kinds]
    if kinds:
        found["type"] = sorted({_TYPES[kind] for kind in kinds})
    return found
