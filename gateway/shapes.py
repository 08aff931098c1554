"""Shapes: a body against its schema, every fault with its pointer.

Law: the schemas checked here are those `/api/openapi.json` shows. In a closed union (steps, predicates, senders)
the tag chooses the schema and only that one speaks: `anyOf` would hide what is wrong inside. The reader has bounded
the nesting; how deep a predicate may be is the domain's to say.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import jsonschema_rs

from gateway.pointers import Fault, escaped, pointer
from gateway.schemas import COMPONENTS, UNIONS
from gateway.schemas.words import Schema, Union, ref_name

_TYPE_WORDS: Final = {
    "array": "an array",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}


@dataclass(slots=True)
class _Way:
    """Where in a schema the unions are: by member, in every other member, in every item, or here."""

    members: dict[str, "_Way"] = field(default_factory=dict)
    others: "_Way | None" = None
    items: "_Way | None" = None
    union: str | None = None


class Shapes:
    """Named schemas, compiled once, with their unions taken apart."""

    def __init__(self, components: Mapping[str, Schema], unions: Mapping[str, Union]) -> None:
        self._components = components
        self._unions = unions
        # Where a union stands, the compiled schema says yes; `_walk` asks the union itself.
        self._cut = {name: True if name in unions else schema for name, schema in components.items()}
        self._validator = cache(self._compiled)
        self._ways = cache(self._way_of)

    def faults(self, component: str, value: Any) -> list[Fault]:
        """Everything that is wrong with a value; empty if nothing is."""
        found: list[Fault] = []
        if component in self._unions:
            self._choose(component, value, "", found)
        else:
            self._against(component, value, "", found)
        return found

    def _against(self, component: str, value: Any, path: str, found: list[Fault]) -> None:
        validator = self._validator(component)
        if not validator.is_valid(value):
            found.extend(fault for error in validator.iter_errors(value) for fault in _faults_of(error, path))
        if (way := self._ways(component)) is not None:
            self._walk(way, value, path, found)

    def _walk(self, way: _Way, value: Any, path: str, found: list[Fault]) -> None:
        if way.union is not None:
            self._choose(way.union, value, path, found)
        elif isinstance(value, dict):
            for name, child in value.items():
                onward = way.members.get(name, way.others)
                if onward is not None:
                    self._walk(onward, child, f"{path}/{escaped(name)}", found)
        elif isinstance(value, list) and way.items is not None:
            for index, child in enumerate(value):
                self._walk(way.items, child, f"{path}/{index}", found)

    def _choose(self, name: str, value: Any, path: str, found: list[Fault]) -> None:
        union = self._unions[name]
        if value is None and union.nullable:
            return
        if not isinstance(value, dict):
            found.append(Fault(path, "wrong_type", f"{union.word.capitalize()} is an object."))
            return
        chosen: Union | str = union
        while isinstance(chosen, Union):
            tag = value.get(chosen.tag, chosen.default)
            if tag is None and chosen.tag not in value:
                message = f"{union.word.capitalize()} needs {chosen.tag}: {_listed(chosen.choices)}."
                found.append(Fault(f"{path}/{chosen.tag}", "missing_member", message))
                return
            onward = chosen.choices.get(tag) if isinstance(tag, str) else None
            if onward is None:
                code = "not_allowed" if isinstance(tag, str) else "wrong_type"
                message = f"The {chosen.tag} of {union.word} is {_listed(chosen.choices)}."
                found.append(Fault(f"{path}/{chosen.tag}", code, message))
                return
            chosen = onward
        self._against(chosen, value, path, found)

    def _compiled(self, component: str) -> jsonschema_rs.Draft202012Validator:
        root = {"$ref": f"#/components/schemas/{component}", "components": {"schemas": self._cut}}
        return jsonschema_rs.Draft202012Validator(root)

    def _way_of(self, component: str) -> _Way | None:
        return self._way(self._components[component])

    def _way(self, schema: Schema) -> _Way | None:
        if (name := ref_name(schema)) is not None:
            return _Way(union=name) if name in self._unions else self._ways(name)
        members = {
            member: way
            for member, child in schema.get("properties", {}).items()
            if (way := self._way(child)) is not None
        }
        others, items = schema.get("additionalProperties"), schema.get("items")
        onward = self._way(others) if isinstance(others, dict) else None
        inside = self._way(items) if isinstance(items, dict) else None
        return _Way(members, onward, inside) if members or onward or inside else None


SHAPES: Final = Shapes(COMPONENTS, UNIONS)


def _faults_of(error: jsonschema_rs.ValidationError, prefix: str) -> Iterable[Fault]:
    path = prefix + pointer(error.instance_path)
    kind: Any = error.kind
    match kind.name:
        case "required":
            yield Fault(f"{path}/{escaped(kind.property)}", "missing_member", f"{kind.property} is required.")
        case "additionalProperties" | "unevaluatedProperties":
            for name in kind.unexpected:
                yield Fault(f"{path}/{escaped(name)}", "unknown_member", f"{_cut(name)} is not known here.")
        case "type":
            words = " or ".join(_TYPE_WORDS[name] for name in reversed(kind.types))
            yield Fault(path, "wrong_type", f"{_name(path)} has to be {words}.")
        case "enum":
            yield Fault(path, "not_allowed", f"{_name(path)} has to be {_listed(kind.options)}.")
        case "const":
            yield Fault(path, "not_allowed", f"{_name(path)} has to be {kind.expected_value}.")
        case "pattern":
            yield Fault(path, "bad_pattern", f"{_name(path)} has to match {kind.pattern}.")
        case "minLength" | "minItems" | "minProperties":
            yield Fault(path, "out_of_range", f"{_name(path)} is too short: at least {kind.limit}.")
        case "maxLength" | "maxItems" | "maxProperties":
            yield Fault(path, "out_of_range", f"{_name(path)} is too long: at most {kind.limit}.")
        case "minimum" | "exclusiveMinimum":
            than = "at least" if kind.name == "minimum" else "more than"
            yield Fault(path, "out_of_range", f"{_name(path)} has to be {than} {kind.limit}.")
        case "maximum" | "exclusiveMaximum":
            than = "at most" if kind.name == "maximum" else "less than"
            yield Fault(path, "out_of_range", f"{_name(path)} has to be {than} {kind.limit}.")
        case other:
            yield Fault(path, "not_allowed", f"{_name(path)} is not what it has to be ({other}).")


def _name(path: str) -> str:
    return _cut(path.rpartition("/")[2]) if path else "The body"


def _cut(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"


def _listed(names: Iterable[Any]) -> str:
    words = ["null" if name is None else str(name) for name in names]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
