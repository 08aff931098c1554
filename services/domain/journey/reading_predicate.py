"""A predicate read from JSON.

Law: shape only. Kinds, operators, members and sizes are checked here; whether a comparison can ever hold is asked
at publish (`conditions.py`), so that a draft may be half written. Recursion is bounded before it begins.
Source: contract 3, "Predicate".
"""

from collections.abc import Callable
from dataclasses import dataclass

from services.domain.errors import Fault
from services.domain.journey.members import MAX_NAME, Members
from services.domain.journey.model import (
    CHANNELS,
    RECEIPTS,
    And,
    ChannelOptedIn,
    Compare,
    EventFired,
    InSegment,
    Json,
    Not,
    Operator,
    Or,
    Predicate,
    Received,
    Root,
)

MAX_DEPTH = 32
MAX_LEAVES = 256
MAX_DAYS = 3_660
MAX_COUNT = 1_000_000_000
_COUNTED_KINDS = ("event_attribute", "and", "or", "not")
_OPERATORS = tuple(operator.value for operator in Operator)


def read_predicate(json: Json, at: str) -> tuple[Predicate | None, list[Fault]]:
    """The predicate, or None, and every fault of its shape; never raises.

    Depth at most 32 (a leaf alone is 1; a `where` counts its own), leaves at most 256, those of `where` and
    empty `and`, `or` included.
    """
    faults: list[Fault] = []
    size = _Size()
    predicate = _node(json, at, _Place(1, size, faults))
    if size.leaves > MAX_LEAVES:
        faults.append(Fault(at, "too_many_leaves", f"The condition has more than {MAX_LEAVES} leaves."))
    return (None if faults else predicate), faults


@dataclass(slots=True)
class _Size:
    """Leaves met so far, in the whole predicate."""

    leaves: int = 0


@dataclass(frozen=True, slots=True)
class _Place:
    """Where reading stands; `is_counted` inside a `where`."""

    depth: int
    size: _Size
    faults: list[Fault]
    is_counted: bool = False

    def below(self) -> "_Place":
        return _Place(self.depth + 1, self.size, self.faults, self.is_counted)


def _node(json: Json, at: str, place: _Place) -> Predicate | None:
    if place.depth > MAX_DEPTH:
        place.faults.append(Fault(at, "too_deep", f"The condition is nested deeper than {MAX_DEPTH}."))
        return None
    if place.size.leaves > MAX_LEAVES:  # said once, by read_predicate
        return None
    members = Members(json, at, place.faults)
    kind = members.choice("kind", tuple(_KINDS), need=True, code="unknown_kind")
    if kind is None:
        place.size.leaves += 1
        return None
    if place.is_counted and kind not in _COUNTED_KINDS:
        members.fault(
            "kind", "unknown_kind", f"A `where` looks at the counted event only: {', '.join(_COUNTED_KINDS)}."
        )
        return None
    predicate = _KINDS[kind](members, kind, place)
    members.close()
    return predicate


def _clauses(members: Members, kind: str, place: _Place) -> Predicate:
    clauses = [_node(json, at, place.below()) for json, at in members.items("clauses", need=True)]
    place.size.leaves += not clauses
    whole = tuple(clause for clause in clauses if clause is not None)
    return And(whole) if kind == "and" else Or(whole)


def _negation(members: Members, kind: str, place: _Place) -> Predicate | None:
    json = members.take("clause", need=True)
    clause = None if json is None else _node(json, members.path("clause"), place.below())
    return None if clause is None else Not(clause)


def _compare(members: Members, kind: str, place: _Place) -> Predicate | None:
    place.size.leaves += 1
    path = members.dotted("fieldPath", need=True)
    operator = members.choice("operator", _OPERATORS, need=True, code="unknown_operator")
    value = members.free("value")
    return None if path is None or operator is None else Compare(Root(kind), path, Operator(operator), value)


def _event_fired(members: Members, kind: str, place: _Place) -> Predicate | None:
    place.size.leaves += 1
    name = members.text("eventName", need=True, least=1, most=MAX_NAME)
    days = _window(members)
    at_least = members.whole("atLeast", 1, MAX_COUNT)
    json, where = members.take("where"), None
    if json is not None:
        where = _node(json, members.path("where"), _Place(1, place.size, place.faults, is_counted=True))
    if name is None:
        return None
    return EventFired(name, days, at_least or 1, where, negated=kind == "event_not_fired")


def _window(members: Members) -> float | None:
    """Days of a rolling window, None since the start."""
    members.take("window", need=True)
    window = members.named("window")
    if window is None:
        return None
    days = None
    kind = window.choice("type", ("last_n_days", "since_start"), need=True, code="unknown_window")
    if kind == "last_n_days":
        window.take("days", need=True)
        days = window.number("days", 0, MAX_DAYS, above=True)
    if kind is not None:
        window.close()
    return days


def _in_segment(members: Members, kind: str, place: _Place) -> Predicate | None:
    place.size.leaves += 1
    cohort = members.text("cohortId", least=1, most=MAX_NAME)
    # The reference product's older name is accepted; a leaf that has neither lacks the newer.
    audience = members.text("audienceId", need=members.take("cohortId") is None, least=1, most=MAX_NAME)
    if cohort is not None and audience is not None:
        members.fault("cohortId", "conflicting_members", "audienceId and cohortId mean the same; give one.")
    name = cohort if audience is None else audience
    return None if name is None else InSegment(name)


def _opted(members: Members, kind: str, place: _Place) -> Predicate | None:
    place.size.leaves += 1
    channel = members.choice("channel", CHANNELS, need=True)
    return None if channel is None else ChannelOptedIn(channel, negated=kind == "channel_opted_out")


def _received(members: Members, kind: str, place: _Place) -> Predicate | None:
    place.size.leaves += 1
    step = members.text("stepId", need=True, least=1, most=64)
    status = members.choice("status", RECEIPTS, need=True)
    return None if step is None or status is None else Received(step, status)


_KINDS: dict[str, Callable[[Members, str, _Place], Predicate | None]] = {
    "attribute": _compare,
    "event_attribute": _compare,
    "context": _compare,
    "event_fired": _event_fired,
    "event_not_fired": _event_fired,
    "in_segment": _in_segment,
    "in_cohort": _in_segment,
    "channel_opted_in": _opted,
    "channel_opted_out": _opted,
    "received": _received,
    "and": _clauses,
    "or": _clauses,
    "not": _negation,
}
