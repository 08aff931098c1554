"""Predicates out of JSON: shapes, sizes, and the half-written ones that a draft may hold."""

from typing import Any

import pytest
from hypothesis import given

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
from services.domain.journey.reading import read_predicate
from tests.unit.domain.journey.making import ANY_JSON, attribute, predicate_of

FIRED = {"kind": "event_fired", "eventName": "paid", "window": {"type": "since_start"}}
PLAN = Compare(Root.ATTRIBUTE, ("plan",), Operator.EQUALS, "pro")


def nots(depth: int) -> dict[str, Any]:
    """A leaf under so many `not` that the whole is `depth` deep."""
    json = attribute("plan", "equals", "pro")
    for _ in range(depth - 1):
        json = {"kind": "not", "clause": json}
    return json


@pytest.mark.parametrize(
    ("json", "predicate"),
    [
        (attribute("plan", "equals", "pro"), PLAN),
        (
            {"kind": "attribute", "fieldPath": "a.b", "operator": "exists"},
            Compare(Root.ATTRIBUTE, ("a", "b"), Operator.EXISTS),
        ),
        (
            {"kind": "event_attribute", "fieldPath": "data.n", "operator": "in", "value": [1]},
            Compare(Root.EVENT, ("data", "n"), Operator.IN, [1]),
        ),
        (
            {"kind": "context", "fieldPath": "a", "operator": "gt", "value": 1},
            Compare(Root.CONTEXT, ("a",), Operator.GT, 1),
        ),
        (FIRED, EventFired("paid", None)),
        (
            {
                "kind": "event_not_fired",
                "eventName": "paid",
                "window": {"type": "last_n_days", "days": 0.5},
                "atLeast": 3.0,
            },
            EventFired("paid", 0.5, 3, negated=True),
        ),
        (
            {
                **FIRED,
                "where": {"kind": "not", "clause": {"kind": "event_attribute", "fieldPath": "n", "operator": "exists"}},
            },
            EventFired("paid", None, where=Not(Compare(Root.EVENT, ("n",), Operator.EXISTS))),
        ),
        ({"kind": "in_segment", "audienceId": "vip"}, InSegment("vip")),
        ({"kind": "in_cohort", "cohortId": "vip"}, InSegment("vip")),
        ({"kind": "in_segment", "cohortId": "vip"}, InSegment("vip")),
        ({"kind": "channel_opted_in", "channel": "email"}, ChannelOptedIn("email")),
        ({"kind": "channel_opted_out", "channel": "mobile_push"}, ChannelOptedIn("mobile_push", negated=True)),
        ({"kind": "received", "stepId": "hello", "status": "opened"}, Received("hello", "opened")),
        ({"kind": "and", "clauses": []}, And(())),
        ({"kind": "or", "clauses": [attribute("plan", "equals", "pro")]}, Or((PLAN,))),
        ({"kind": "not", "clause": attribute("plan", "equals", "pro")}, Not(PLAN)),
    ],
)
def test_every_kind_is_read(json: dict[str, Any], predicate: Predicate) -> None:
    """Contract 3, each kind and its spellings."""
    assert predicate == predicate_of(json)


@pytest.mark.parametrize("value", [None, True, 5, "x", [], {}, [1, "a", None], {"a": {"b": []}}])
@pytest.mark.parametrize("operator", list(Operator))
def test_a_draft_may_compare_with_anything(operator: Operator, value: Any) -> None:
    """Whether the comparison can hold is asked at publish; a value left out is a null."""
    assert Compare(Root.ATTRIBUTE, ("a",), operator, value) == predicate_of(attribute("a", operator.value, value))
    assert Compare(Root.ATTRIBUTE, ("a",), operator) == predicate_of(
        {"kind": "attribute", "fieldPath": "a", "operator": operator.value}
    )


@pytest.mark.parametrize(
    ("json", "path", "code"),
    [
        (None, "/c", "wrong_type"),
        ([], "/c", "wrong_type"),
        ({}, "/c/kind", "missing_member"),
        ({"kind": "sometimes"}, "/c/kind", "unknown_kind"),
        ({"kind": []}, "/c/kind", "wrong_type"),
        ({**attribute("a", "equals", 1), "valeu": 1}, "/c/valeu", "unknown_member"),
        (attribute("a", "is", 1), "/c/operator", "unknown_operator"),
        (attribute("a", "EQUALS", 1), "/c/operator", "unknown_operator"),
        ({"kind": "attribute", "fieldPath": "a"}, "/c/operator", "missing_member"),
        ({"kind": "attribute", "operator": "exists"}, "/c/fieldPath", "missing_member"),
        (attribute("a..b", "exists"), "/c/fieldPath", "bad_path"),
        (attribute("", "exists"), "/c/fieldPath", "bad_path"),
        (attribute("a" * 257, "exists"), "/c/fieldPath", "bad_path"),
        (attribute("a", "equals", "\ud800"), "/c/value", "bad_text"),
        (attribute("a", "equals", {"\ud800": 1}), "/c/value", "bad_text"),
        (attribute("a", "in", [float("nan")]), "/c/value/0", "out_of_range"),
        (attribute("a", "in", [2**63]), "/c/value/0", "out_of_range"),
        ({"kind": "event_fired", "window": {"type": "since_start"}}, "/c/eventName", "missing_member"),
        ({**FIRED, "eventName": ""}, "/c/eventName", "out_of_range"),
        ({"kind": "event_fired", "eventName": "a"}, "/c/window", "missing_member"),
        ({**FIRED, "window": "7d"}, "/c/window", "wrong_type"),
        ({**FIRED, "window": {"type": "for_ever"}}, "/c/window/type", "unknown_window"),
        ({**FIRED, "window": {"type": "last_n_days"}}, "/c/window/days", "missing_member"),
        ({**FIRED, "window": {"type": "last_n_days", "days": 0}}, "/c/window/days", "out_of_range"),
        ({**FIRED, "window": {"type": "last_n_days", "days": "7"}}, "/c/window/days", "wrong_type"),
        ({**FIRED, "window": {"type": "last_n_days", "days": 10**400}}, "/c/window/days", "out_of_range"),
        ({**FIRED, "window": {"type": "since_start", "days": 7}}, "/c/window/days", "unknown_member"),
        ({**FIRED, "atLeast": 0}, "/c/atLeast", "out_of_range"),
        ({**FIRED, "atLeast": 1.5}, "/c/atLeast", "wrong_type"),
        ({**FIRED, "atLeast": True}, "/c/atLeast", "wrong_type"),
        ({**FIRED, "where": attribute("a", "exists")}, "/c/where/kind", "unknown_kind"),
        ({**FIRED, "where": {"kind": "or", "clauses": [FIRED]}}, "/c/where/clauses/0/kind", "unknown_kind"),
        ({"kind": "in_segment"}, "/c/audienceId", "missing_member"),
        ({"kind": "in_segment", "audienceId": 5}, "/c/audienceId", "wrong_type"),
        ({"kind": "in_cohort", "cohortId": 5}, "/c/cohortId", "wrong_type"),
        ({"kind": "in_segment", "audienceId": "a", "cohortId": "a"}, "/c/cohortId", "conflicting_members"),
        ({"kind": "channel_opted_in", "channel": "sms"}, "/c/channel", "unknown_value"),
        ({"kind": "received", "stepId": "a", "status": "read"}, "/c/status", "unknown_value"),
        ({"kind": "and"}, "/c/clauses", "missing_member"),
        ({"kind": "and", "clauses": {}}, "/c/clauses", "wrong_type"),
        ({"kind": "and", "clauses": [7]}, "/c/clauses/0", "wrong_type"),
        ({"kind": "and", "clauses": [], "clause": {}}, "/c/clause", "unknown_member"),
        ({"kind": "not"}, "/c/clause", "missing_member"),
        ({"kind": "not", "clause": []}, "/c/clause", "wrong_type"),
    ],
)
def test_a_malformed_predicate_is_refused_where_it_stands(json: Any, path: str, code: str) -> None:
    """One thing wrong, one fault, and no predicate."""
    predicate, faults = read_predicate(json, "/c")

    assert predicate is None
    assert [(path, code)] == [(fault.path, fault.code) for fault in faults]


def test_a_predicate_is_at_most_32_deep() -> None:
    """A leaf alone is 1; deeper ones are refused before anything recurses into them."""
    assert isinstance(predicate_of(nots(32)), Not)
    for depth in (33, 100_000):
        predicate, faults = read_predicate(nots(depth), "")

        assert predicate is None
        assert [("/clause" * 32, "too_deep")] == [(fault.path, fault.code) for fault in faults]


def test_a_predicate_has_at_most_256_leaves() -> None:
    """Said once; an empty `or` is a leaf as well, since it costs as much."""
    leaves = [attribute("a", "equals", i) for i in range(128)] + [{"kind": "or", "clauses": []}] * 128

    assert isinstance(predicate_of({"kind": "and", "clauses": leaves}), And)
    for more in (1, 10_000):
        predicate, faults = read_predicate({"kind": "and", "clauses": leaves + leaves[:1] * more}, "/f")

        assert predicate is None
        assert [("/f", "too_many_leaves")] == [(fault.path, fault.code) for fault in faults]


def test_the_leaves_of_a_where_count() -> None:
    """Otherwise a `where` would hide any number of them."""
    where = {"kind": "or", "clauses": [{"kind": "event_attribute", "fieldPath": "n", "operator": "exists"}] * 256}

    assert ["too_many_leaves"] == [fault.code for fault in read_predicate({**FIRED, "where": where}, "")[1]]


@given(ANY_JSON)
def test_reading_a_predicate_never_raises(json: Any) -> None:
    """A predicate, or faults; never both, never neither."""
    predicate, faults = read_predicate(json, "/p")

    assert (predicate is None) is bool(faults)
    assert all(fault.path.encode().startswith(b"/p") and fault.message.encode() for fault in faults)
