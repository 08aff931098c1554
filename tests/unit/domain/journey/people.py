"""People, their events and audiences, and predicates over them, by hand and by Hypothesis."""

from typing import Any

from hypothesis import strategies as st

from services.domain.journey.model import (
    And,
    ChannelOptedIn,
    Compare,
    EventFired,
    InSegment,
    Not,
    Operator,
    Or,
    Predicate,
    Received,
    Root,
)
from services.domain.journey.predicate import Audience, Facts, PastEvent, compile_predicate, explain
from services.domain.times import DAY_MS, parse_time
from tests.unit.domain.journey.making import predicate_of

NOW = parse_time("2026-04-30T13:00:00Z")


def holds(json: dict[str, Any], facts: Facts) -> bool:
    """What both evaluators say."""
    predicate = predicate_of(json)
    result = compile_predicate(predicate)(facts)
    assert result == explain(predicate, facts)["result"]
    return result


def reason(predicate: Predicate | dict[str, Any], facts: Facts) -> str | None:
    """Why a leaf is false although nothing was compared."""
    read = predicate_of(predicate) if isinstance(predicate, dict) else predicate
    told = explain(read, facts).get("reason")
    assert told is None or isinstance(told, str)
    return told


def person(**attributes: Any) -> Facts:
    return Facts(now=NOW, zone="America/New_York", attributes=attributes)


VALUES = st.sampled_from(
    [
        *(None, True, False, 0, 1, 2.5, "a", "ab", "2026-04-30", "2026-04-30T13:00:00Z", "2026-04-30T15:00:00+02:00"),
        *([], ["a"], [1, "ab"], [1, 2], ["2026-04-29", "2026-05-01"], {}, {"b": 1}, {"b": ["a"]}),
    ]
)
PATHS = st.sampled_from([("a",), ("b",), ("a", "b"), ("data", "a")])
COMPARES = st.builds(Compare, st.sampled_from(Root), PATHS, st.sampled_from(Operator), VALUES)
EVENT_COMPARES = st.builds(Compare, st.just(Root.EVENT), PATHS, st.sampled_from(Operator), VALUES)
LEAVES: st.SearchStrategy[Predicate] = st.one_of(
    COMPARES,
    st.builds(
        EventFired,
        st.sampled_from(["paid", "seen"]),
        st.sampled_from([None, 1.0, 7.0]),
        st.integers(1, 3),
        st.none() | EVENT_COMPARES,
        st.booleans(),
    ),
    st.builds(InSegment, st.sampled_from("wxyz")),
    st.builds(ChannelOptedIn, st.sampled_from(["email", "mobile_push"]), st.booleans()),
    st.builds(Received, st.sampled_from("st"), st.sampled_from(["sent", "opened"])),
)


def combined(inner: st.SearchStrategy[Predicate]) -> st.SearchStrategy[Predicate]:
    clauses = st.lists(inner, max_size=4).map(tuple)
    return st.one_of(st.builds(And, clauses), st.builds(Or, clauses), st.builds(Not, inner))


PREDICATES = st.recursive(LEAVES, combined, max_leaves=8)
OBJECTS = st.dictionaries(st.sampled_from("ab"), VALUES)
AUDIENCES = st.dictionaries(
    st.sampled_from("wxyz"),
    st.builds(Audience, PREDICATES) | st.builds(Audience, st.none(), st.frozensets(st.sampled_from(["u1", "u2"]))),
)
PAST = st.lists(
    st.builds(PastEvent, st.sampled_from("ij"), st.just("paid"), st.integers(NOW - 8 * DAY_MS, NOW + 1), OBJECTS)
)


@st.composite
def people(draw: st.DrawFn) -> Facts:
    past, audiences = draw(PAST), draw(AUDIENCES)
    received = draw(st.sets(st.tuples(st.sampled_from("st"), st.sampled_from(["sent", "opened"]))))
    return Facts(
        now=NOW,
        zone=draw(st.sampled_from(["UTC", "Asia/Tokyo", "Nowhere"])),
        attributes=draw(OBJECTS),
        event=draw(st.none() | st.fixed_dictionaries({"id": st.just("e"), "data": OBJECTS})),
        context=draw(OBJECTS),
        started_at=draw(st.none() | st.just(NOW - DAY_MS)),
        events=lambda name: past if name == "paid" else [],
        audience=audiences.get,
        end_user_id="u1",
        preferences=draw(st.dictionaries(st.sampled_from(["email", "mobile_push"]), st.booleans())),
        global_opt_out=draw(st.booleans()),
        received=lambda step, status: (step, status) in received,
        trigger_event_id=draw(st.none() | st.just("i")),
    )
