"""Looking up dotted paths in events, profiles and executions.

Law: one way to see an event, a person and an execution, for conditions, waits and templates alike. A look-up
never raises; what is not there is None, as a JSON null is.
Source: contract 1, Paths.
"""

from collections.abc import Mapping
from typing import Any

from services.domain.execution.execution import Execution, Occasion
from services.domain.execution.triggers import Profile
from services.domain.journey.paths import event_value, value_at
from services.domain.times import format_time


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
        return None
    root, rest = path[0], path[1:]
    match root:
        case "event":
            return event_value(envelope_of(execution.trigger, execution.subject_id), rest)
        case "subject":
            return value_at(subject_values(profile), rest)
        case "context":
            return value_at(execution.context, rest)
        case "journey":
            return value_at(_journey_values(execution, journey_name), rest)
        case "execution":
            return value_at(_execution_values(execution), rest)
        case _:
            return None


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
        "journey": _journey_values(execution, journey_name),
        "execution": _execution_values(execution),
    }


def _journey_values(execution: Execution, name: str) -> dict[str, Any]:
    return {"id": execution.journey_id, "name": name, "version": execution.journey_version}


def _execution_values(execution: Execution) -> dict[str, Any]:
    return {"id": execution.execution_id, "startedAt": format_time(execution.started_at)}
