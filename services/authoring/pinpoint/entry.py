"""How people come in: start condition and schedule as a trigger, a contract and an audience.

Law: what cannot be had dangles, so that publish refuses it; an entry is never made wider than it was.
Source: pinpoint design 3.1 and 4.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.authoring.pinpoint.comparisons import event_data, joined
from services.authoring.pinpoint.library import Library
from services.authoring.pinpoint.notes import Notes, step_into
from services.authoring.pinpoint.predicates import sound
from services.authoring.pinpoint.times import is_zone_token, read_moment, write_moment
from services.domain.journey.members import MAX_NAME, shown
from services.domain.journey.model import Json

MAX_EVENTS: Final = 20  # copies of one journey


@dataclass(frozen=True, slots=True)
class Entry:
    """The trigger's members but id and next; the audience; the events that start the journey, each with its contract."""

    trigger: dict[str, Json]
    audience_ref: str | None = None
    contracts: tuple[tuple[str, str | None], ...] = (("", None),)


def entry_of(journey: Mapping[str, Any], path: str, journey_id: str, library: Library, notes: Notes) -> Entry:
    """The entry of a journey whose members are fitted."""
    start = journey.get("StartCondition", {})
    at = step_into(path, "StartCondition")
    schedule = journey.get("Schedule", {})
    start_ms = say_schedule(schedule, step_into(path, "Schedule"), library, notes)
    if journey.get("LocalTime"):
        notes.say("local_time_dropped", step_into(path, "LocalTime"))
    event = start.get("EventStartCondition")
    segment = start.get("SegmentStartCondition")
    if event:
        place = step_into(at, "EventStartCondition")
        if segment:
            second = step_into(at, "SegmentStartCondition")
            notes.drop("unknown_member", "SegmentStartCondition", second, segment, "The journey starts by an event.")
        return event_entry(event, place, journey_id, library, notes)
    if segment:
        place = step_into(at, "SegmentStartCondition")
        is_refreshed = bool(journey.get("RefreshFrequency")) or journey.get("RefreshOnSegmentUpdate") is True
        return _segment_entry(segment, place, journey_id, is_refreshed, start_ms, library, notes)
    notes.say("trigger_missing", at)
    return Entry({"type": "trigger", "mode": "manual"})


def event_entry(event: Mapping[str, Any], path: str, journey_id: str, library: Library, notes: Notes) -> Entry:
    """An entry by event: EventFilter, and perhaps a segment."""
    found = event.get("EventFilter", {})
    dimensions, at = found.get("Dimensions", {}), step_into(path, "EventFilter", "Dimensions")
    trigger: dict[str, Json] = {"type": "trigger", "mode": "event"}
    audience = None
    if event.get("SegmentId"):
        audience = library.audience_ref(event["SegmentId"], step_into(path, "SegmentId"), notes)
    clauses = event_data(dimensions, at, notes)
    if clauses:
        condition = sound(joined("and", clauses), at, notes)
        # A filter that cannot be expressed must not become "everybody": nothing fits until it is written.
        trigger["filter"] = {"kind": "or", "clauses": []} if condition is None else condition
    types = dimensions.get("EventType", {})
    names = list(dict.fromkeys(types.get("Values", ())))
    place = step_into(at, "EventType")
    is_usable = types.get("DimensionType", "INCLUSIVE") == "INCLUSIVE" and all(0 < len(n) <= MAX_NAME for n in names)
    if not names or not is_usable or len(names) > MAX_EVENTS:
        notes.say("trigger_event_unusable", place)
        return Entry(trigger, audience, (("", library.ref("contract", f"{journey_id}#missing")),))
    if len(names) > 1:
        notes.say("trigger_multiple_event_types", place)
    if found.get("FilterType") == "SYSTEM":
        renamed = [library.options.system_events.get(name, name) for name in names]
        notes.say("trigger_system_event", place, f"{', '.join(map(shown, names))}.")
        names = list(dict.fromkeys(renamed))
    return Entry(trigger, audience, tuple((name, library.contract(name)) for name in names))


def say_schedule(schedule: Mapping[str, Any], path: str, library: Library, notes: Notes) -> int | None:
    """Say what is wrong with or lost of a schedule; the start in milliseconds if it can be read and is to come."""
    moments = {name: read_moment(schedule[name]) for name in ("StartTime", "EndTime") if schedule.get(name)}
    for name, moment in moments.items():
        if moment is None and schedule[name] != "IMMEDIATE":
            notes.say("schedule_invalid", step_into(path, name), f"{shown(str(schedule[name]))}.")
    start, end = moments.get("StartTime"), moments.get("EndTime")
    if schedule.get("Timezone") and not is_zone_token(schedule["Timezone"]):
        notes.say("schedule_invalid", step_into(path, "Timezone"), f"{shown(schedule['Timezone'])}.")
    if end is not None:
        notes.say("schedule_end", step_into(path, "EndTime"))
        if start is not None and end.ms < start.ms:
            notes.say("schedule_invalid", path)
    if start is None:
        return None
    if start.ms <= library.options.now_ms:
        notes.say("schedule_past", step_into(path, "StartTime"))
        return None
    return start.ms


def _segment_entry(
    segment: Mapping[str, Any],
    path: str,
    journey_id: str,
    is_refreshed: bool,
    start_ms: int | None,
    library: Library,
    notes: Notes,
) -> Entry:
    if segment.get("SegmentId"):
        audience = library.audience_ref(segment["SegmentId"], step_into(path, "SegmentId"), notes)
    else:
        notes.say("audience_missing", path, "The start names no segment.")
        audience = library.ref("audience", f"{journey_id}#missing")
    if is_refreshed:
        notes.say("entry_refresh", path)
        notes.say("entry_backfill", path)
        return Entry({"type": "trigger", "mode": "audience_entry"}, audience)
    notes.say("entry_snapshot", path)
    trigger: dict[str, Json] = {"type": "trigger", "mode": "schedule"}
    if start_ms is not None:
        trigger["at"] = write_moment(start_ms)
    return Entry(trigger, audience)
