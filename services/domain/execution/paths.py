"""Looking up dotted paths in events, profiles and executions.

Law: a look-up never raises; what is not there is ABSENT, which equals nothing but itself.
Source: contract 1, Paths.
"""

from collections.abc import Mapping
from typing import Any, Final

from services.domain.execution.execution import Execution, Occasion
from services.domain.execution.triggers import Profile
from services.domain.times import format_time


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()


def look_up(value: Any, path: tuple[str, ...]) -> Any:
    """The value at a path of object members."""
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return ABSENT
        value = value[name]
    return value


def in_event(envelope: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """A path in an event: in `data`, then in the envelope."""
    found = look_up(envelope.get("data"), path)
    return look_up(envelope, path) if found is ABSENT else found


def envelope(
    event_id: str, event_type: str, end_user_id: str, data: Mapping[str, Any], stated_at: int | None, received_at: int
) -> dict[str, Any]:
    """An event as conditions and templates see it."""
    return {
        "id": event_id,
        "type": event_type,
        "endUserId": end_user_id,
        "data": data,
        "timestamp": format_time(received_at if stated_at is None else stated_at),
    }


def envelope_of(occasion: Occasion, end_user_id: str) -> dict[str, Any]:
    """The triggering event as conditions and templates see it."""
    return envelope(
        occasion.event_id, occasion.type, end_user_id, occasion.data, occasion.stated_at, occasion.received_at
    )


def rooted(execution: Execution, profile: Profile, journey_name: str, path: tuple[str, ...]) -> Any:
    """A path whose first word says which: event, subject, context, journey, execution."""
    if not path:
        return ABSENT
    root, rest = path[0], path[1:]
    if root == "event":
        return in_event(envelope_of(execution.trigger, execution.subject_id), rest)
    if root == "subject":
        return look_up(subject_values(profile), rest)
    if root == "context":
        return look_up(execution.context, rest)
    if root == "journey":
        return look_up(
            {"id": execution.journey_id, "name": journey_name, "version": execution.journey_version}, rest
        )
    if root == "execution":
        return look_up({"id": execution.execution_id, "startedAt": format_time(execution.started_at)}, rest)
    return ABSENT


def subject_values(profile: Profile) -> dict[str, Any]:
    """What `subject.` means: the attributes, and the four members that are always there."""
    return {
        **profile.attributes,
        "endUserId": profile.end_user_id,
        "email": profile.email,
        "timezone": profile.timezone,
        "locale": profile.locale,
    }


def template_values(execution: Execution, profile: Profile, journey_name: str) -> dict[str, Any]:
    """The roots of a template: event (data's members and the envelope's), subject, context, journey, execution."""
    event = envelope_of(execution.trigger, execution.subject_id)
    return {
        "event": {**event, **{k: v for k, v in execution.trigger.data.items() if k != "data"}},
        "subject": subject_values(profile),
        "context": execution.context,
        "journey": {"id": execution.journey_id, "name": journey_name, "version": execution.journey_version},
        "execution": {"id": execution.execution_id, "startedAt": format_time(execution.started_at)},
    }
