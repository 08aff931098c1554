"""What the document server itself asks of every document of a collection.

Law: a validator knows the head of a document (key, guards, indexed fields) and nothing of its body. It asks the types
of indexed fields, and the presence of those without a default, only of documents of the collection's own schema: while
a program is updated older and newer ones write side by side, and each is measured by what it is. A field that is added
later has a default, or the schema rises, so a validator that is made before the update refuses no older writer.

Level `moderate`: what was invalid before there was a validator can still be written over. Action `error`: everything
else that is refused is a mistake, and a write of ours that is refused is FAILED and told.
"""

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from services.infra.documents.mongo_shape import SCHEMA, STAMP, Shape

LEVEL, ACTION = "moderate", "error"
_INTEGER = {"bsonType": ["int", "long"]}
_TEXT = {"bsonType": "string"}


def validator_of(shape: Shape[Any]) -> dict[str, Any]:
    """The validator of a collection, as `create` and `collMod` take it."""
    collection = shape.collection
    hints = get_type_hints(collection.type)
    guards = {"_id": _TEXT, SCHEMA: {**_INTEGER, "minimum": 1}, STAMP: _INTEGER, shape.revision: _INTEGER}
    if shape.epoch is not None:
        guards[shape.epoch] = _INTEGER
    indexed = {
        name: _types_of(hints[field])
        for index in collection.indexes
        for field in index.fields
        if (name := shape.name_of(field)) not in guards
    }
    present = _without_default(collection.type)
    needed = sorted(
        {shape.name_of(field) for index in collection.indexes for field in index.fields if field in present}
    )
    head: dict[str, Any] = {"bsonType": "object", "required": sorted(guards), "properties": guards}
    if indexed:
        own: dict[str, Any] = {"properties": {SCHEMA: {"enum": [collection.schema]}, **indexed}}
        if needed := [name for name in needed if name not in guards]:
            own["required"] = needed
        head["anyOf"] = [own, {"properties": {SCHEMA: {"not": {"enum": [collection.schema]}}}}]
    return {"$jsonSchema": head}


def would_refuse(stored: Mapping[str, Any], shape: Shape[Any]) -> bool:
    """Whether a validator that an older or newer `migrate` made asks for a field that we do not write any more."""
    schema = stored.get("$jsonSchema")
    if not isinstance(schema, Mapping):
        return False
    parts = [schema, *(part for part in schema.get("anyOf", ()) if _is_about(part, shape.collection.schema))]
    asked = {name for part in parts for name in part.get("required", ())}
    written = {shape.name_of(name) for name in get_type_hints(shape.collection.type)}
    return not asked <= {*written, SCHEMA, STAMP}


def _is_about(part: Mapping[str, Any], schema: int) -> bool:
    about = part.get("properties", {}).get(SCHEMA, {})
    return schema in about.get("enum", ())


def _types_of(hint: Any) -> dict[str, Any]:
    """Of an indexed field: a string or an integer. One that is None is left out of the document."""
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = [one for one in get_args(hint) if one is not type(None)]
    hint = getattr(hint, "__supertype__", hint)
    return _TEXT if issubclass(hint, str | Enum) else _INTEGER


def _without_default(of: type[Any]) -> frozenset[str]:
    """The fields that were there from the first, and cannot be left out by being None."""
    hints = get_type_hints(of)
    if is_dataclass(of):
        bare = {one.name for one in fields(of) if one.default is MISSING and one.default_factory is MISSING}
    else:
        bare = {one.name for one in msgspec.structs.fields(of) if one.required}
    return frozenset(name for name in bare if type(None) not in get_args(hints[name]))
