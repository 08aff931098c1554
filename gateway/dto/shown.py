"""How a reply is written.

Law: camelCase, every member of the contract present, zero values too; null where something is not set, absent only
where the contract marks a member with `?`. JSON that came as JSON bytes is shown as it came.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from gateway.times import rfc3339

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
JsonObject = Annotated[Raw, Meta(extra_json_schema={"type": "object"})]
JsonArray = Annotated[Raw, Meta(extra_json_schema={"type": "array"})]
Steps = Annotated[Raw, Meta(extra_json_schema={"$ref": "#/components/schemas/Steps"})]
Settings = Annotated[Raw, Meta(extra_json_schema={"$ref": "#/components/schemas/JourneySettings"})]
Predicate = Annotated[Raw, Meta(extra_json_schema={"$ref": "#/components/schemas/Predicate"})]

_EMPTY: Final = Raw(b"{}")
_NO_ITEMS: Final = Raw(b"[]")


class Dto(msgspec.Struct, kw_only=True, rename="camel"):
    """What the outside sees of something."""


def json_object(data: bytes) -> Raw:
    """A JSON object as it came; nothing is {}."""
    return Raw(data) if data else _EMPTY


def json_array(data: bytes) -> Raw:
    """A JSON array as it came; nothing is []."""
    return Raw(data) if data else _NO_ITEMS


def optional(message: Any, name: str) -> Any:
    """A field with presence: its value, or None where it is absent."""
    return getattr(message, name) if message.HasField(name) else None


def optional_time(message: Any, name: str) -> str | None:
    """A field of milliseconds with presence, as a time."""
    return rfc3339(getattr(message, name)) if message.HasField(name) else None


def or_unset(value: Any) -> Any:
    """Absent instead of null."""
    return UNSET if value is None else value


def whole(number: float) -> float | int:
    """7 instead of 7.0."""
    return int(number) if number.is_integer() else number


__all__ = [
    "UNSET",
    "Dto",
    "JsonArray",
    "JsonObject",
    "Predicate",
    "Raw",
    "Settings",
    "Steps",
    "Time",
    "UnsetType",
    "json_array",
    "json_object",
    "optional",
    "optional_time",
    "or_unset",
    "whole",
]
