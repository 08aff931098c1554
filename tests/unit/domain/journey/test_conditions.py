"""Leaves and their pointers, comparisons that can never hold, and what a predicate needs loaded."""

from typing import Any

import pytest

from services.domain.journey.conditions import audiences_in, leaves_of, typing_faults
from services.domain.journey.model import And, Compare, EventFired, InSegment, Not, Operator, Predicate, Received, Root
from services.domain.journey.needs import Needs, needs_of
from services.domain.journey.predicate import Audience
from tests.unit.domain.journey.making import attribute, predicate_of

TIMES = ["2026-04-30", "2026-04-30T13:00:00Z"]
SCALARS = ["x", "", 1, 2.5, True, *TIMES]
EMPTY = [None, {}, {"a": 1}]
# What each operator can use; everything else of the pool can never hold.
USABLE_BY: list[tuple[tuple[Operator, ...], list[Any]]] = [
    ((Operator.EQUALS, Operator.NOT_EQUALS, Operator.CONTAINS, Operator.NOT_CONTAINS), SCALARS),
    ((Operator.IN, Operator.NOT_IN), [[], ["x"], [1, 2], TIMES, [True, "a"], [1, 2, 3], [1, "2026-04-30"]]),
    ((Operator.STARTS_WITH, Operator.ENDS_WITH), ["x", "", *TIMES]),
    ((Operator.GT, Operator.GTE, Operator.LT, Operator.LTE), [1, 2.5, *TIMES]),
    ((Operator.BETWEEN,), [[1, 2], TIMES]),
    ((Operator.BEFORE, Operator.AFTER, Operator.ON), [*TIMES]),
]
USABLE = {operator: values for operators, values in USABLE_BY for operator in operators}
POOL = [
    *SCALARS,
    *EMPTY,
    [],
    ["x"],
    [1, 2],
    TIMES,
    [True, "a"],
    [1, 2, 3],
    [None],
    [[1]],
    [1, "2026-04-30"],
    "2026-02-30",
]


@pytest.mark.parametrize("operator", USABLE)
@pytest.mark.parametrize("value", POOL, ids=repr)
def test_a_comparison_that_can_never_hold_is_an_invalid_condition(operator: Operator, value: Any) -> None:
    """At publish, with the path of the value; what the operator can use is no fault."""
    usable = any(type(value) is type(one) and value == one for one in USABLE[operator])
    usable = usable or (value == "2026-02-30" and "x" in USABLE[operator])

    faults = typing_faults(Compare(Root.ATTRIBUTE, ("a",), operator, value), "/f")

    assert ([] if usable else [("/f/value", "invalid_condition")]) == [(fault.path, fault.code) for fault in faults]


@pytest.mark.parametrize("operator", [Operator.EXISTS, Operator.NOT_EXISTS])
@pytest.mark.parametrize("value", [None, 5, {}])
def test_exists_needs_no_value_and_ignores_one(operator: Operator, value: Any) -> None:
    """There is nothing it could be compared with."""
    assert [] == typing_faults(Compare(Root.ATTRIBUTE, ("a",), operator, value), "")


def test_every_leaf_has_its_pointer() -> None:
    """The one by which an editor finds it in the JSON, those of a `where` included."""
    predicate = predicate_of(
        {
            "kind": "or",
            "clauses": [
                attribute("a", "exists"),
                {"kind": "not", "clause": {"kind": "and", "clauses": [{"kind": "in_segment", "audienceId": "vip"}]}},
                {
                    "kind": "event_fired",
                    "eventName": "paid",
                    "window": {"type": "since_start"},
                    "where": {"kind": "event_attribute", "fieldPath": "n", "operator": "exists"},
                },
            ],
        }
    )

    expected = ["/f/clauses/0", "/f/clauses/1/clause/clauses/0", "/f/clauses/2", "/f/clauses/2/where"]
    assert expected == [path for _, path in leaves_of(predicate, "/f")]
    assert {"vip"} == audiences_in(predicate)


def test_a_walk_over_leaves_does_not_recurse() -> None:
    """Deeper than the recursion limit, in case a predicate was not read but built."""
    predicate: Predicate = InSegment("vip")
    for _ in range(5_000):
        predicate = Not(predicate)

    assert [(InSegment("vip"), "/clause" * 5_000)] == list(leaves_of(predicate))


def test_needs_follow_audiences_once() -> None:
    """Over circles and gaps, so that everything is loaded before evaluation begins."""
    audiences = {
        "a": Audience(And((EventFired("seen", 7.0), InSegment("b"), InSegment("gone")))),
        "b": Audience(And((InSegment("a"), Received("hello", "sent"), EventFired("paid", 3.0)))),
        "listed": Audience(subject_ids=frozenset({"u1"})),
    }
    predicate = And(
        (InSegment("a"), InSegment("listed"), EventFired("paid", None), Compare(Root.EVENT, ("n",), Operator.EXISTS))
    )

    expected = Needs(
        event_names=frozenset({"seen", "paid"}),
        audience_ids=frozenset({"a", "b", "gone", "listed"}),
        step_ids=frozenset({"hello"}),
        windows=frozenset({("seen", 7.0), ("paid", 3.0), ("paid", None)}),
    )
    assert expected == needs_of(predicate, audiences.get)


def test_needs_add_up() -> None:
    """An engine loads the union of all conditions up to the next wait."""
    one, other = needs_of(EventFired("a", 1.0), lambda name: None), needs_of(InSegment("b"), lambda name: None)

    assert Needs(frozenset({"a"}), frozenset({"b"}), frozenset(), frozenset({("a", 1.0)})) == one | other
