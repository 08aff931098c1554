"""The conditions of splits as predicates.

Law: what cannot be expressed gives None, and the branch is left without its condition, which publish refuses. A
condition on a message that is not sent here is false, never absent.
Source: pinpoint design 3.2 and 4.3.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.authoring.pinpoint.comparisons import (
    NEVER,
    Predicate,
    attribute,
    dimensions,
    event_data,
    is_without_condition,
    joined,
    metric,
)
from services.authoring.pinpoint.identity import saved_name
from services.authoring.pinpoint.library import Library
from services.authoring.pinpoint.notes import Notes, step_into
from services.authoring.pinpoint.predicates import sound
from services.domain.journey.members import shown

_EMAIL: Final = {
    "send": "sent",
    "delivered": "delivered",
    "rejected": "failed",
    "hardbounce": "bounced",
    "softbounce": "bounced",
    "complaint": "complained",
    "open": "opened",
    "click": "clicked",
    "unsubscribe": "unsubscribed",
}
_PUSH: Final = {
    "send": "sent",
    "opened_notification": "opened",
    "received_foreground": "delivered",
    "received_background": "delivered",
}
_PUSH_HEADS: Final = ("_campaign.", "_journey.", "_push.")


@dataclass(frozen=True, slots=True)
class Messages:
    """The journey's activities as conditions see them.

    `kind` gives an activity's type, `step` its step id if it sends here, `is_before` whether it can come before the
    split that asks.
    """

    kind: Callable[[str], str | None]
    step: Callable[[str], str | None]
    is_before: Callable[[str], bool]


def condition_of(
    found: Mapping[str, Any] | None, path: str, library: Library, notes: Notes, messages: Messages
) -> Predicate | None:
    """One SimpleCondition; None, said, where it is empty or cannot be expressed."""
    clauses: list[Predicate | None] = []
    found = found or {}
    if (segment := found.get("SegmentCondition")) is not None:
        at = step_into(path, "SegmentCondition", "SegmentId")
        if segment.get("SegmentId"):
            ref = library.audience_ref(segment["SegmentId"], at, notes)
            clauses.append({"kind": "in_segment", "audienceRef": ref})
        else:
            notes.say("condition_empty", at)
            clauses.append(None)
    spellings = [name for name in ("SegmentDimensions", "segmentDimensions") if name in found]
    if len(spellings) == 2:
        at = step_into(path, spellings[1])
        notes.drop("unknown_member", spellings[1], at, found[spellings[1]], "It is spelt in both ways; one counts.")
    if spellings:
        at, inner = step_into(path, spellings[0]), found[spellings[0]]
        if is_without_condition(inner):
            notes.say("condition_empty", at)
            clauses.append(None)
        else:
            clauses.append(dimensions(inner, at, library.options, notes))
    if (event := found.get("EventCondition")) is not None:
        clauses.append(_event(event, step_into(path, "EventCondition"), library, notes, messages))
    if not clauses:
        notes.say("condition_empty", path)
        return None
    return sound(joined("and", clauses), path, notes)


def _event(found: Mapping[str, Any], path: str, library: Library, notes: Notes, messages: Messages) -> Predicate | None:
    event, at = found.get("Dimensions", {}), step_into(path, "Dimensions")
    target = found.get("MessageActivity") or None
    kind = None if target is None else messages.kind(target)
    if kind == "CUSTOM" and target is not None:
        return _reply(event, at, target, notes, messages)
    names, how = event.get("EventType", {}).get("Values", []), event.get("EventType", {}).get("DimensionType")
    if not names:
        notes.say("condition_empty", at, "It names no event.")
        return None
    if how not in (None, "INCLUSIVE"):
        notes.say("audience_operator", step_into(at, "EventType"), "All events but some cannot be asked for.")
        return None
    if kind in ("SMS", "ContactCenter") and target is not None and messages.step(target) is None:
        notes.say("condition_channel_unsupported", path)
        return NEVER
    where = joined("and", event_data(event, at, notes)) if event.get("Attributes") or event.get("Metrics") else False
    if where is None:
        return None
    clauses = [
        _one(name, where, target, step_into(at, "EventType", "Values", i), path, library, notes, messages)
        for i, name in enumerate(dict.fromkeys(names))
    ]
    return joined("or", clauses)


def _one(
    name: str,
    where: Predicate | bool,
    target: str | None,
    at: str,
    path: str,
    library: Library,
    notes: Notes,
    messages: Messages,
) -> Predicate | None:
    """One event name."""
    if name.startswith(("_SMS.", "_VOICE.")):
        notes.say("condition_channel_unsupported", at)
        return NEVER
    status = _status(name)
    if status is not None:
        step = None if target is None else messages.step(target)
        if target is None or step is None:
            notes.say("condition_message_activity_unknown", path, f"The activity is {shown(str(target))}.")
            return NEVER
        if where:
            notes.say("audience_operator", path, "What a message's event holds cannot be asked for.")
            return None
        if not messages.is_before(target):
            notes.say("condition_message_scope", path)
        return {"kind": "received", "stepId": step, "status": status}
    event = library.options.system_events.get(name, name)
    if (name.startswith("_") and name not in library.options.system_events) or target is not None:
        notes.say("condition_event_unmapped", at, f"{shown(name)}.")
    leaf: Predicate = {"kind": "event_fired", "eventName": event, "window": {"type": "since_start"}}
    return {**leaf, "where": where} if where else leaf


def _reply(event: Mapping[str, Any], path: str, target: str, notes: Notes, messages: Messages) -> Predicate | None:
    """What the function behind a custom activity answered: here what the webhook's answer saved."""
    step = messages.step(target)
    notes.say("condition_webhook_response", path)
    if step is None:
        return NEVER
    head = saved_name(step)
    clauses = [
        attribute("context", f"{head}.{name}", inner, step_into(path, "Attributes", name), notes)
        for name, inner in event.get("Attributes", {}).items()
    ]
    clauses += [
        metric("context", f"{head}.{name}", inner, step_into(path, "Metrics", name), notes)
        for name, inner in event.get("Metrics", {}).items()
    ]
    return joined("and", clauses) if clauses else NEVER


def _status(name: str) -> str | None:
    head, _, tail = name.partition(".")
    if head == "_email":
        return _EMAIL.get(tail)
    return _PUSH.get(tail) if f"{head}." in _PUSH_HEADS else None
