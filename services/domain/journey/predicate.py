"""Whether a predicate holds for a person: as closures for the hot path, and as an explanation for people.

Law: evaluation reads `Facts` and nothing else, and never raises. What is missing or of another type makes a leaf
false, its negated operators included, and the explanation says so. `explain` agrees with `compile_predicate`.
An `in_segment` that leads into a circle of audiences, or through more than 16 of them in a row, is false.
Source: contract 3, "Predicate".
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from services.domain.journey.comparing import Comparison, comparison
from services.domain.journey.conditions import audiences_in
from services.domain.journey.model import (
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
from services.domain.journey.paths import Path, event_value, value_at
from services.domain.times import DAY_MS, format_time

MAX_AUDIENCE_HEIGHT = (
    16  # audiences of audiences; with a depth of 32 each, evaluation stays far below the recursion limit
)

Event = Mapping[str, Json] | None


@dataclass(frozen=True, slots=True)
class PastEvent:
    """Something the person did: id, type, when (ms), and its data."""

    id: str
    type: str
    at: int
    data: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Audience:
    """Who belongs: those for whom the predicate holds, or those listed. Compiled once, so keep it while it is current."""

    predicate: Predicate | None = None
    subject_ids: frozenset[str] = frozenset()
    holds: "Test" = field(init=False, repr=False, compare=False)
    refers_to: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        predicate, ids = self.predicate, self.subject_ids
        test = _listed(ids) if predicate is None else _compiled(predicate)
        object.__setattr__(self, "holds", test)
        object.__setattr__(self, "refers_to", frozenset() if predicate is None else audiences_in(predicate))


AudienceLookup = Callable[[str], Audience | None]


def _no_events(name: str) -> Sequence[PastEvent]:
    return ()


def _no_audience(name: str) -> Audience | None:
    return None


def _not_received(step_id: str, status: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a predicate may look at. Times are milliseconds; `event` is an envelope with `data` inside.

    `events(name)` gives the person's events of that name that may lie in the window, in any order. The one that
    started the execution (`trigger_event_id`) is no event since the start.
    """

    now: int
    zone: str = "UTC"
    attributes: Mapping[str, Json] = field(default_factory=dict)
    event: Event = None
    context: Mapping[str, Json] = field(default_factory=dict)
    started_at: int | None = None
    events: Callable[[str], Sequence[PastEvent]] = _no_events
    audience: AudienceLookup = _no_audience
    end_user_id: str = ""
    preferences: Mapping[str, bool] = field(default_factory=dict)
    global_opt_out: bool = False
    received: Callable[[str, str], bool] = _not_received
    trigger_event_id: str | None = None


Memo = dict[str, bool]  # audiences already decided in this evaluation
Test = Callable[[Facts, Event, Memo], bool]


def compile_predicate(predicate: Predicate) -> Callable[[Facts], bool]:
    """A function that says whether the predicate holds; made once, called often."""
    test = _compiled(predicate)
    return lambda facts: test(facts, facts.event, {})


def explain(predicate: Predicate, facts: Facts) -> dict[str, Json]:
    """The predicate as JSON with each part's `result`; a leaf shows what was found, and a `reason` if it could not tell.

    Reasons: missing_attribute, missing_event, type_mismatch, invalid_value, not_started, audience_not_found,
    audience_cycle, audience_too_deep. An audience met twice is explained once.
    """
    return _explained(predicate, facts, {})


def segment_fault(audience_id: str, lookup: AudienceLookup) -> str | None:
    """Why membership cannot be told: audience_not_found, audience_cycle, audience_too_deep; None if it can.

    Decided from the references alone, so that no order of evaluation changes it. Iterative and linear.
    """
    if lookup(audience_id) is None:
        return "audience_not_found"
    heights: dict[str, int] = {}  # of those done: 1 where nobody else is referred to
    path: dict[str, Iterator[str]] = {audience_id: _references(audience_id, lookup)}  # open, outermost first
    while path:
        name, references = next(reversed(path.items()))
        reference = next(references, None)
        if reference is None:
            heights[name] = 1 + max((heights[inner] for inner in _references(name, lookup)), default=0)
            del path[name]
        elif reference in path:
            return "audience_cycle"
        elif reference not in heights:
            path[reference] = _references(reference, lookup)
    return "audience_too_deep" if heights[audience_id] > MAX_AUDIENCE_HEIGHT else None


def _references(audience_id: str, lookup: AudienceLookup) -> Iterator[str]:
    audience = lookup(audience_id)
    return iter(()) if audience is None else iter(audience.refers_to)


def _compiled(predicate: Predicate) -> Test:
    match predicate:
        case Compare():
            return _compare(predicate)
        case EventFired():
            return _event_fired(predicate)
        case InSegment(audience_id):
            return lambda facts, event, memo: _is_member(audience_id, facts, event, memo)
        case ChannelOptedIn(channel, negated):
            return lambda facts, event, memo: _is_opted_in(channel, facts) is not negated
        case Received(step_id, status):
            return lambda facts, event, memo: facts.received(step_id, status)
        case And(clauses):
            return _all(tuple(_compiled(clause) for clause in clauses))
        case Or(clauses):
            return _any(tuple(_compiled(clause) for clause in clauses))
        case Not(clause):
            inner = _compiled(clause)
            return lambda facts, event, memo: not inner(facts, event, memo)
        case _:
            assert_never(predicate)


def _all(tests: tuple[Test, ...]) -> Test:
    def every(facts: Facts, event: Event, memo: Memo) -> bool:
        for test in tests:  # noqa: SIM110 - a generator would cost a frame a level
            if not test(facts, event, memo):
                return False
        return True

    return every


def _any(tests: tuple[Test, ...]) -> Test:
    def some(facts: Facts, event: Event, memo: Memo) -> bool:
        for test in tests:  # noqa: SIM110 - as above
            if test(facts, event, memo):
                return True
        return False

    return some


def _compare(leaf: Compare) -> Test:
    find = _finder(leaf.root, leaf.path)
    if leaf.operator is Operator.EXISTS:
        return lambda facts, event, memo: find(facts, event) is not None
    if leaf.operator is Operator.NOT_EXISTS:
        return lambda facts, event, memo: find(facts, event) is None
    compare = comparison(leaf.operator, leaf.value)
    if compare is None:
        return lambda facts, event, memo: False
    return _found_and(find, compare)


def _found_and(find: "_Finder", compare: Comparison) -> Test:
    def test(facts: Facts, event: Event, memo: Memo) -> bool:
        found = find(facts, event)
        return found is not None and compare(found, facts.zone) is True

    return test


_Finder = Callable[[Facts, Event], Json]


def _finder(root: Root, path: Path) -> _Finder:
    match root:
        case Root.ATTRIBUTE:
            if len(path) == 1:
                name = path[0]
                return lambda facts, event: facts.attributes.get(name)
            return lambda facts, event: value_at(facts.attributes, path)
        case Root.EVENT:
            return lambda facts, event: None if event is None else event_value(event, path)
        case Root.CONTEXT:
            return lambda facts, event: value_at(facts.context, path)
        case _:
            assert_never(root)


def _event_fired(leaf: EventFired) -> Test:
    name, at_least, negated, is_rolling = leaf.event_name, leaf.at_least, leaf.negated, leaf.days is not None
    where = None if leaf.where is None else _compiled(leaf.where)

    def test(facts: Facts, event: Event, memo: Memo) -> bool:
        since = _window_start(leaf, facts)
        if since is None:
            return False
        count = 0
        for past in facts.events(name):
            if not since <= past.at <= facts.now or (not is_rolling and past.id == facts.trigger_event_id):
                continue
            if where is None or where(facts, _envelope(past, facts), memo):
                count += 1
                if count >= at_least:
                    return not negated
        return negated

    return test


def _window_start(leaf: EventFired, facts: Facts) -> int | None:
    """The window is [start, now]; None where there is no execution to start it."""
    return facts.started_at if leaf.days is None else facts.now - round(leaf.days * DAY_MS)


def _envelope(past: PastEvent, facts: Facts) -> Mapping[str, Json]:
    return {
        "id": past.id,
        "type": past.type,
        "endUserId": facts.end_user_id,
        "data": past.data,
        "timestamp": format_time(past.at),
    }


def _is_opted_in(channel: str, facts: Facts) -> bool:
    return not facts.global_opt_out and facts.preferences.get(channel) is not False


def _listed(ids: frozenset[str]) -> Test:
    return lambda facts, event, memo: facts.end_user_id in ids


def _is_member(audience_id: str, facts: Facts, event: Event, memo: Memo) -> bool:
    known = memo.get(audience_id)
    if known is None:
        audience = facts.audience(audience_id)
        sound = audience is not None and (not audience.refers_to or segment_fault(audience_id, facts.audience) is None)
        known = audience is not None and sound and audience.holds(facts, event, memo)
        memo[audience_id] = known
    return known


def _explained(predicate: Predicate, facts: Facts, told: Memo) -> dict[str, Json]:
    match predicate:
        case Compare():
            return _explained_compare(predicate, facts, facts.event)
        case EventFired():
            return _explained_events(predicate, facts)
        case InSegment(audience_id):
            return _explained_segment(audience_id, facts, told)
        case ChannelOptedIn(channel, negated):
            found = {"globalOptOut": facts.global_opt_out, "preference": facts.preferences.get(channel)}
            kind = "channel_opted_out" if negated else "channel_opted_in"
            result = _is_opted_in(channel, facts) is not negated
            return {"kind": kind, "channel": channel, "found": found, "result": result}
        case Received(step_id, status):
            return {"kind": "received", "stepId": step_id, "status": status, "result": facts.received(step_id, status)}
        case And(clauses) | Or(clauses):
            parts = []
            for clause in clauses:
                parts.append(_explained(clause, facts, told))  # noqa: PERF401 - a comprehension costs a frame a level
            results = [part["result"] for part in parts]
            if isinstance(predicate, And):
                return {"kind": "and", "clauses": parts, "result": all(results)}
            return {"kind": "or", "clauses": parts, "result": any(results)}
        case Not(clause):
            part = _explained(clause, facts, told)
            return {"kind": "not", "clause": part, "result": not part["result"]}
        case _:
            assert_never(predicate)


def _explained_compare(leaf: Compare, facts: Facts, event: Event) -> dict[str, Json]:
    told: dict[str, Json] = {"kind": leaf.root.value, "fieldPath": ".".join(leaf.path), "operator": leaf.operator.value}
    found = _finder(leaf.root, leaf.path)(facts, event)
    if found is not None:
        told["found"] = found
    if leaf.operator in (Operator.EXISTS, Operator.NOT_EXISTS):
        return {**told, "result": (found is not None) is (leaf.operator is Operator.EXISTS)}
    told["value"] = leaf.value
    compare = comparison(leaf.operator, leaf.value)
    if compare is None:
        return {**told, "result": False, "reason": "invalid_value"}
    if found is None:
        missing = "missing_event" if leaf.root is Root.EVENT and event is None else "missing_attribute"
        return {**told, "result": False, "reason": missing}
    answer = compare(found, facts.zone)
    return {**told, "result": answer is True} | ({"reason": "type_mismatch"} if answer is None else {})


def _explained_events(leaf: EventFired, facts: Facts) -> dict[str, Json]:
    window = {"type": "since_start"} if leaf.days is None else {"type": "last_n_days", "days": leaf.days}
    kind = "event_not_fired" if leaf.negated else "event_fired"
    told: dict[str, Json] = {"kind": kind, "eventName": leaf.event_name, "window": window, "atLeast": leaf.at_least}
    since = _window_start(leaf, facts)
    if since is None:
        return {**told, "result": False, "reason": "not_started"}
    inside = [past for past in facts.events(leaf.event_name) if since <= past.at <= facts.now]
    if leaf.days is None:
        inside = [past for past in inside if past.id != facts.trigger_event_id]
    count = len(inside)
    if leaf.where is not None:
        where = _compiled(leaf.where)
        count = sum(where(facts, _envelope(past, facts), {}) for past in inside)
        told["inWindow"] = len(inside)
    return {**told, "count": count, "result": (count >= leaf.at_least) is not leaf.negated}


def _explained_segment(audience_id: str, facts: Facts, told: Memo) -> dict[str, Json]:
    leaf: dict[str, Json] = {"kind": "in_segment", "audienceId": audience_id}
    known = told.get(audience_id)
    if known is not None:
        return {**leaf, "result": known}
    reason = segment_fault(audience_id, facts.audience)
    audience = facts.audience(audience_id)
    if reason is not None or audience is None:
        return {**leaf, "result": False, "reason": reason}
    if audience.predicate is None:
        told[audience_id] = facts.end_user_id in audience.subject_ids
        return {**leaf, "result": told[audience_id]}
    inner = _explained(audience.predicate, facts, told)
    told[audience_id] = inner["result"]
    return {**leaf, "result": inner["result"], "explanation": inner}
