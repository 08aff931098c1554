"""Pinpoint's dimensions as leaves of the predicate language.

Law: what cannot be expressed gives None, and whoever asked leaves the whole condition out: a condition is never made
wider than it was. A set of values is an `or`, a set of keys an `and`.
Source: pinpoint design 3.2 and 4.3.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from services.authoring.pinpoint.notes import Notes, step_into
from services.authoring.pinpoint.options import Options
from services.authoring.pinpoint.profile import profile_path
from services.authoring.pinpoint.times import read_moment, write_moment
from services.domain.journey.members import shown
from services.domain.journey.paths import BadPath, read_path
from services.domain.times import BadTime, parse_date

Predicate = dict[str, Any]

NEVER: Final[Predicate] = {"kind": "or", "clauses": []}
ALWAYS: Final[Predicate] = {"kind": "and", "clauses": []}
_METRIC: Final = {
    "GREATER_THAN": "gt",
    "LESS_THAN": "lt",
    "GREATER_THAN_OR_EQUAL": "gte",
    "LESS_THAN_OR_EQUAL": "lte",
    "EQUAL": "equals",
}
_DAYS: Final = {"HR_24": 1, "DAY_7": 7, "DAY_14": 14, "DAY_30": 30}
_CHANNELS: Final = {
    "EMAIL": "email",
    "IN_APP": "in_app_push",
    **dict.fromkeys(
        ("PUSH", "GCM", "APNS", "APNS_SANDBOX", "APNS_VOIP", "APNS_VOIP_SANDBOX", "ADM", "BAIDU"), "mobile_push"
    ),
}


def joined(kind: str, clauses: Iterable[Predicate | None]) -> Predicate | None:
    """The clauses under `and` or `or`, one alone as it is; None if any of them is."""
    found = []
    for clause in clauses:
        if clause is None:
            return None
        found.append(clause)
    return found[0] if len(found) == 1 else {"kind": kind, "clauses": found}


def negated(clause: Predicate | None) -> Predicate | None:
    """The opposite."""
    return None if clause is None else {"kind": "not", "clause": clause}


def dimensions(found: Mapping[str, Any], path: str, options: Options, notes: Notes) -> Predicate | None:
    """All dimensions of a segment or a split together; `{}` is everybody."""
    clauses: list[Predicate | None] = []
    for member, head in (("Attributes", "Attributes."), ("UserAttributes", "User.UserAttributes.")):
        for name, inner in found.get(member, {}).items():
            at = step_into(path, member, name)
            clauses.append(attribute("attribute", profile_path(head + name, options.variable_map), inner, at, notes))
    for name, inner in found.get("Metrics", {}).items():
        at = step_into(path, "Metrics", name)
        clauses.append(metric("attribute", profile_path(f"Metrics.{name}", options.variable_map), inner, at, notes))
    if (recency := found.get("Behavior", {}).get("Recency")) is not None:
        clauses.append(_recency(recency, step_into(path, "Behavior", "Recency"), options, notes))
    for name, inner in found.get("Demographic", {}).items():
        clauses.append(_demographic(name, inner, step_into(path, "Demographic", name), options, notes))
    place = found.get("Location", {})
    if "Country" in place:
        at = step_into(path, "Location", "Country")
        notes.say("audience_demographic", at, f"Read from {shown(_place(options, 'Location.Country'))}.")
        clauses.append(_set(_place(options, "Location.Country"), place["Country"], at, notes))
    if "GPSPoint" in place:
        at = step_into(path, "Location", "GPSPoint")
        notes.drop("audience_gps", "GPSPoint", at, place["GPSPoint"])
        clauses.append(None)
    return joined("and", clauses)


def is_without_condition(found: Mapping[str, Any]) -> bool:
    """Whether dimensions say nothing at all: `{}`, or members that are empty."""
    return not any(_leaves_of(found))


def event_data(found: Mapping[str, Any], path: str, notes: Notes) -> list[Predicate | None]:
    """An event's `Attributes` and `Metrics` as `event_attribute` leaves."""
    clauses = []
    for name, inner in found.get("Attributes", {}).items():
        clauses.append(attribute("event_attribute", _path(name), inner, step_into(path, "Attributes", name), notes))
    for name, inner in found.get("Metrics", {}).items():
        clauses.append(metric("event_attribute", _path(name), inner, step_into(path, "Metrics", name), notes))
    return clauses


def attribute(kind: str, field: str | None, found: Mapping[str, Any], path: str, notes: Notes) -> Predicate | None:
    """One AttributeDimension: `kind` is the leaf's, `field` its path."""
    values = list(dict.fromkeys(found.get("Values", ())))
    how = found.get("AttributeType", "INCLUSIVE")
    if field is None or not values:
        return _inexpressible(path, "It has no values." if field else "Its name is no path.", notes)
    match how:
        case "INCLUSIVE":
            return _among(kind, field, values)
        case "EXCLUSIVE":
            notes.say("audience_exclusive_absent", path)
            return negated(_among(kind, field, values))
        case "CONTAINS":
            return joined("or", (_leaf(kind, field, "contains", value) for value in values))
        case "BEFORE" | "AFTER" | "ON":
            times = [_time(value) for value in values]
            if None in times:
                return _inexpressible(path, f"{shown(values[times.index(None)])} is no time.", notes)
            return joined("or", (_leaf(kind, field, how.lower(), time) for time in times))
        case "BETWEEN":
            bounds: list[Any] = [_number(value) for value in found["Values"]]
            if None in bounds:
                bounds = [_time(value) for value in found["Values"]]
            if len(bounds) != 2 or None in bounds:
                return _inexpressible(path, "BETWEEN needs two numbers or two times.", notes)
            return _leaf(kind, field, "between", bounds)
        case _:
            return _inexpressible(path, f"{shown(how)} is unknown.", notes)


def metric(kind: str, field: str | None, found: Mapping[str, Any], path: str, notes: Notes) -> Predicate | None:
    """One MetricDimension."""
    how, value = found.get("ComparisonOperator"), found.get("Value")
    operator = _METRIC.get(how) if isinstance(how, str) else None
    if field is None or operator is None or value is None:
        detail = "Its name is no path." if field is None else f"{shown(str(how))} is unknown, or it has no value."
        return _inexpressible(path, detail, notes)
    return _leaf(kind, field, operator, value)


def _recency(found: Mapping[str, Any], path: str, options: Options, notes: Notes) -> Predicate | None:
    days = _DAYS.get(found.get("Duration", ""))
    how = found.get("RecencyType")
    if days is None or how not in ("ACTIVE", "INACTIVE"):
        return _inexpressible(path, "Duration or RecencyType is missing or unknown.", notes)
    notes.say("audience_recency", path, f"The event is {shown(options.session_event)}.")
    return {
        "kind": "event_fired" if how == "ACTIVE" else "event_not_fired",
        "eventName": options.session_event,
        "window": {"type": "last_n_days", "days": days},
    }


def _demographic(name: str, found: Mapping[str, Any], path: str, options: Options, notes: Notes) -> Predicate | None:
    if name != "Channel":
        place = _place(options, f"Demographic.{name}")
        notes.say("audience_demographic", path, f"Read from {shown(place)}.")
        return _set(place, found, path, notes)
    values = list(dict.fromkeys(found.get("Values", ())))
    how = found.get("DimensionType", "INCLUSIVE")
    channels = list(dict.fromkeys(_CHANNELS.get(value) for value in values))
    if not values or how not in ("INCLUSIVE", "EXCLUSIVE") or (None in channels and how == "EXCLUSIVE"):
        return _inexpressible(path, "It has no values, or excludes a channel that does not exist here.", notes)
    notes.say("audience_demographic", path, "A channel means an opt-in to it.")
    leaves = [{"kind": "channel_opted_in", "channel": channel} for channel in channels if channel is not None]
    clause = joined("or", leaves)
    return negated(clause) if how == "EXCLUSIVE" else clause


def _set(field: str, found: Mapping[str, Any], path: str, notes: Notes) -> Predicate | None:
    """One SetDimension over a path of the profile."""
    return attribute(
        "attribute",
        field,
        {"Values": found.get("Values", []), "AttributeType": found.get("DimensionType", "INCLUSIVE")},
        path,
        notes,
    )


def _place(options: Options, name: str) -> str:
    return profile_path(name, options.variable_map) or name


def _among(kind: str, field: str, values: list[str]) -> Predicate:
    return _leaf(kind, field, "equals", values[0]) if len(values) == 1 else _leaf(kind, field, "in", values)


def _leaf(kind: str, field: str, operator: str, value: Any) -> Predicate:
    return {"kind": kind, "fieldPath": field, "operator": operator, "value": value}


def _inexpressible(path: str, detail: str, notes: Notes) -> Predicate | None:
    notes.say("audience_operator", path, detail)
    return None


def _path(name: str) -> str | None:
    try:
        read_path(name)
    except BadPath:
        return None
    return name


def _time(value: str) -> str | None:
    text = value.strip()
    try:
        parse_date(text)
    except BadTime:
        moment = read_moment(text)
        return None if moment is None else write_moment(moment.ms)
    return text


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    if number != number or number in (float("inf"), float("-inf")):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _leaves_of(found: Mapping[str, Any]) -> Iterable[bool]:
    for member in ("Attributes", "UserAttributes", "Metrics", "Demographic"):
        yield bool(found.get(member))
    yield "Recency" in found.get("Behavior", {})
    yield bool(found.get("Location"))
