"""Customer events from the bytes of a request: fast where all is well, exact where something is not.

Law: whatever the fast way lets through, the slow way lets through with the same result; only the slow way refuses.
A malformed event of a batch costs itself alone: its neighbours go on.
Source: contract 3, Events in; the codes are the kinds of `samples/README.md`.
"""

import json
import math
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from journeys.events.v1.customer_event_pb2 import CustomerEvent

from gateway.context import MAX_ID_BYTES
from gateway.errors import invalid, invalid_at, invalid_json
from gateway.pointers import Fault, escaped
from gateway.reading import MAX_NESTING, excess, explained, nests_deeper, parse
from gateway.times import ms_of
from services.infra.grpc.caller import drawn_id

MAX_BATCH: Final = 1000
MAX_TYPE_BYTES: Final = 500

_BATCH_NESTING: Final = MAX_NESTING - 2  # the body and its array are around each event
_MEMBERS: Final = ("id", "type", "endUserId", "data", "timestamp")
_ENCODE: Final = msgspec.json.encode
_NONE: Final = msgspec.UNSET


class _Event(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    type: str
    id: str | msgspec.UnsetType = _NONE
    end_user_id: str | msgspec.UnsetType = _NONE
    data: dict[str, Any] | msgspec.UnsetType = _NONE
    timestamp: str | msgspec.UnsetType = _NONE


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    events: list[_Event]


_DECODE_EVENT: Final = msgspec.json.Decoder(_Event).decode
_DECODE_BATCH: Final = msgspec.json.Decoder(_Batch).decode
_DECODE_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_DECODE_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _Unsure(Exception):
    """The fast way does not know; the slow way has to look."""


@dataclass(slots=True)
class Intake:
    """What a body held: the well-formed events, and of a batch also what was wrong with the others."""

    events: list[CustomerEvent]
    errors: list[dict[str, Any]] = field(default_factory=list)  # {index, code, message}


def read_events(data: bytes) -> Intake:
    """The events of a body: one event, or {"events": [...]}.

    Raises Problem 400: invalid_json, batch_too_large, or validation_error for a malformed single event.
    """
    try:
        return Intake(_fast(data))
    except (msgspec.DecodeError, ValueError, RecursionError, _Unsure):
        return read_slowly(data)


def read_slowly(data: bytes) -> Intake:
    """The same by looking at each event on its own."""
    try:
        members = _DECODE_MEMBERS(data)
    except msgspec.ValidationError:
        # JSON, but no object, or its keys are no text.
        parse(data)
        raise invalid_at("", "wrong_type", "The body has to be an event or {events: [...]}.") from None
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        return _tolerantly(data, error)
    if "events" not in members:
        value = parse(data)
        faults = _faults(value, data, MAX_NESTING)
        if faults:
            raise invalid(faults)
        return Intake([_event_of(value)])
    _refuse_others(members)
    try:
        items = _DECODE_ITEMS(members["events"])
    except msgspec.ValidationError:
        raise invalid_at("/events", "wrong_type", "events has to be an array.") from None
    _refuse_too_many(len(items))
    return _each([_value(bytes(item)) for item in items])


def _fast(data: bytes) -> list[CustomerEvent]:
    start = data[:32].lstrip()
    if not start.startswith(b'{"events"'):
        return [_quick(_DECODE_EVENT(data), MAX_NESTING)]
    batch = _DECODE_BATCH(data).events
    _refuse_too_many(len(batch))
    return [_quick(event, _BATCH_NESTING) for event in batch]


def _quick(event: _Event, nesting: int) -> CustomerEvent:
    made = CustomerEvent(type=event.type)
    if (data := event.data) is not _NONE:
        encoded = _ENCODE(data)
        if encoded.count(b"{") + encoded.count(b"[") >= nesting or excess(encoded, data) is not None:
            raise _Unsure
        made.data_json = encoded
    if (identity := event.id) is _NONE:
        made.id = drawn_id()
    elif _fits(identity, MAX_ID_BYTES):
        made.id = identity
    else:
        raise _Unsure
    if (person := event.end_user_id) is not _NONE:
        if not _fits(person, MAX_ID_BYTES):
            raise _Unsure
        made.end_user_id = person
    if (time := event.timestamp) is not _NONE:
        made.timestamp_ms = ms_of(time)
    if not _fits(event.type, MAX_TYPE_BYTES):
        raise _Unsure
    return made


def _fits(text: str, most: int) -> bool:
    size = len(text)
    return 0 < size and (size * 4 <= most or (size <= most and len(text.encode()) <= most))


def _each(values: list[tuple[Any, Fault | None, bytes]]) -> Intake:
    intake = Intake([])
    for index, (value, fault, data) in enumerate(values):
        if fault is None:
            faults = _faults(value, data, _BATCH_NESTING)
            fault = faults[0] if faults else None
        if fault is None:
            intake.events.append(_event_of(value))
        else:
            intake.errors.append({"index": index, "code": fault.code, "message": fault.message})
    return intake


def _value(data: bytes) -> tuple[Any, Fault | None, bytes]:
    """One event's value, or why it has none. Its syntax was seen, its numbers and strings were not."""
    try:
        return msgspec.json.decode(data), None, data
    except msgspec.DecodeError as error:
        text = explained(error)
        code = "number_not_finite" if "finite" in text else "broken_json"
        return None, Fault("", code, text.replace("The body", "The event")), data
    except UnicodeDecodeError:
        return None, Fault("", "invalid_utf8", "The event is not UTF-8."), data
    except RecursionError:
        return None, Fault("", "too_deep", "The event is nested too deep."), data
    except ValueError:  # an integer of more digits than Python converts
        return None, Fault("", "number_not_finite", "A number is too large."), data


def _faults(value: Any, data: bytes, nesting: int) -> list[Fault]:
    """What is wrong with one event; the first is the one a batch tells."""
    if not isinstance(value, dict):
        return [Fault("", "wrong_type", "An event is an object.")]
    if nests_deeper(value, nesting):
        return [Fault("", "too_deep", f"An event is nested at most {MAX_NESTING} deep.")]
    if (reason := excess(data, value)) is not None:
        return [Fault("", "number_not_finite", reason)]
    faults = [
        Fault(f"/{escaped(name)}", "unknown_member", f"{name[:80]} is no member of an event.")
        for name in value
        if name not in _MEMBERS
    ]
    if "type" not in value:
        faults.append(Fault("/type", "missing_type", "An event has a type."))
    given = [_member_fault(name, value[name]) for name in _MEMBERS if name in value]
    return faults + [fault for fault in given if fault is not None]


def _member_fault(name: str, value: Any) -> Fault | None:
    path = f"/{name}"
    if name == "data":
        return None if isinstance(value, dict) else Fault(path, "wrong_type", "data has to be an object.")
    if not isinstance(value, str):
        return Fault(path, "wrong_type", f"{name} has to be a string.")
    if name == "timestamp":
        try:
            ms_of(value)
        except ValueError:
            return Fault(path, "bad_timestamp", "timestamp has to be an RFC 3339 time in UTC.")
        return None
    if not value:
        return Fault(path, "out_of_range", f"{name} must not be empty.")
    most = MAX_TYPE_BYTES if name == "type" else MAX_ID_BYTES
    if len(value.encode()) > most:
        return Fault(path, "out_of_range", f"{name} has at most {most} bytes.")
    return None


def _event_of(value: dict[str, Any]) -> CustomerEvent:
    made = CustomerEvent(type=value["type"], id=value.get("id") or drawn_id())
    if "endUserId" in value:
        made.end_user_id = value["endUserId"]
    if "data" in value:
        made.data_json = _ENCODE(value["data"])
    if "timestamp" in value:
        made.timestamp_ms = ms_of(value["timestamp"])
    return made


def _refuse_others(members: dict[str, Any]) -> None:
    # backslashreplace: names from `_tolerantly` may hold lone surrogates, which no answer can.
    others = [name.encode("utf-8", "backslashreplace").decode() for name in members if name != "events"]
    if others:
        raise invalid(
            [
                Fault(f"/{escaped(name)}", "unknown_member", f"{name[:80]} is not known beside events.")
                for name in others
            ]
        )


def _refuse_too_many(count: int) -> None:
    if count > MAX_BATCH:
        raise invalid_at(
            "/events",
            "batch_too_large",
            f"A batch has at most {MAX_BATCH} events, not {count}.",
            reason="batch_too_large",
        )


def _tolerantly(data: bytes, error: Exception) -> Intake:
    """A batch that is JSON but for what Python's reader lets through, and some clients write: NaN, Infinity and half
    surrogate pairs. They cost only the events they are in."""
    refusal = invalid_json(explained(error) if isinstance(error, msgspec.DecodeError) else "The body is no JSON.")
    try:
        body = json.loads(data.decode())
    except (ValueError, RecursionError):
        raise refusal from None
    if not isinstance(body, dict) or not isinstance(body.get("events"), list):
        raise refusal from None
    _refuse_others(body)
    _refuse_too_many(len(body["events"]))
    values: list[tuple[Any, Fault | None, bytes]] = []
    for event in body["events"]:
        if nests_deeper([event], _BATCH_NESTING + 1):
            values.append((None, Fault("", "too_deep", "The event is nested too deep."), b""))
        elif _is_finite(event):
            values.append(_value(json.dumps(event, ensure_ascii=True).encode()))
        else:
            values.append((None, Fault("", "number_not_finite", "A number is not finite."), b""))
    return _each(values)


def _is_finite(value: Any) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, float) and not math.isfinite(item):
            return False
    return True
