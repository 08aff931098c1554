"""Evaluating predicates: the contract's semantics leaf by leaf, and the law that both evaluators agree."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.journey.model import (
    And,
    Not,
    Or,
    Predicate,
)
from services.domain.journey.predicate import (
    Facts,
    PastEvent,
    compile_predicate,
    explain,
)
from services.domain.times import DAY_MS
from tests.unit.domain.journey.making import attribute, predicate_of
from tests.unit.domain.journey.people import NOW, PREDICATES, holds, people, person, reason

EVENT = {
    "id": "e1",
    "type": "paid",
    "endUserId": "u1",
    "timestamp": "2026-04-30T12:59:59.000Z",
    "data": {"total": 20, "type": "gold", "items": [{"sku": "a"}], "nested": {"n": 1}, "data": {"deep": 1}},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("total", 20),
        ("data.total", 20),
        ("type", "gold"),  # in the data first
        ("id", "e1"),  # then in the envelope
        ("endUserId", "u1"),
        ("nested.n", 1),
        ("data.nested.n", 1),
        ("data.deep", 1),
    ],
)
def test_an_event_path_looks_in_the_data_then_in_the_envelope(path: str, found: Any) -> None:
    """`orderId` and `data.orderId` mean the same."""
    leaf = {"kind": "event_attribute", "fieldPath": path, "operator": "equals", "value": found}

    assert holds(leaf, Facts(now=NOW, event=EVENT))


@pytest.mark.parametrize("path", ["items.sku", "items.0.sku", "total.x", "nothing", "data.items.sku"])
def test_a_path_does_not_lead_into_lists(path: str) -> None:
    """Nor into anything but objects; it never raises."""
    leaf = {"kind": "event_attribute", "fieldPath": path, "operator": "exists"}

    assert not holds(leaf, Facts(now=NOW, event=EVENT))


def test_without_an_event_its_leaves_are_false() -> None:
    """An audience has no triggering event."""
    leaf = {"kind": "event_attribute", "fieldPath": "total", "operator": "equals", "value": 20}

    assert not holds(leaf, Facts(now=NOW))
    assert "missing_event" == reason(leaf, Facts(now=NOW))


def test_context_leaves_read_the_saved_answers() -> None:
    """What a webhook's `saveAs` stored."""
    leaf = {"kind": "context", "fieldPath": "score.value", "operator": "gte", "value": 3}

    assert holds(leaf, Facts(now=NOW, context={"score": {"value": 3}}))
    assert not holds(leaf, Facts(now=NOW, attributes={"score": {"value": 3}}))


def fired(days: float | None = None, at_least: int = 1, kind: str = "event_fired", **more: Any) -> dict[str, Any]:
    window = {"type": "since_start"} if days is None else {"type": "last_n_days", "days": days}
    return {"kind": kind, "eventName": "paid", "window": window, "atLeast": at_least, **more}


def happened(*at: int, started_at: int | None = None) -> Facts:
    past = [PastEvent(f"p{i}", "paid", moment, {"total": i}) for i, moment in enumerate(at)]
    return Facts(now=NOW, events=lambda name: past if name == "paid" else [], started_at=started_at)


@pytest.mark.parametrize(
    ("at", "result"),
    [(NOW - 7 * DAY_MS, True), (NOW - 7 * DAY_MS - 1, False), (NOW, True), (NOW + 1, False)],
)
def test_the_last_n_days_end_now_and_are_n_times_24_hours(at: int, result: bool) -> None:
    """Both ends belong to the window; what is yet to come does not."""
    assert result is holds(fired(7), happened(at))
    assert result is not holds(fired(7, kind="event_not_fired"), happened(at))


@pytest.mark.parametrize(("at", "result"), [(NOW - 1_000, True), (NOW - 1_001, False)])
def test_since_start_begins_with_the_execution(at: int, result: bool) -> None:
    """An event at the very start counts."""
    assert result is holds(fired(), happened(at, started_at=NOW - 1_000))


def test_the_triggering_event_is_none_since_the_start() -> None:
    """It is why the execution is there; in a rolling window it counts like any other."""
    facts = replace(happened(NOW, started_at=NOW), trigger_event_id="p0")

    assert not holds(fired(), facts)
    assert holds(fired(7), facts)


@pytest.mark.parametrize("kind", ["event_fired", "event_not_fired"])
def test_since_start_without_an_execution_cannot_be_told(kind: str) -> None:
    """In an audience both are false, and say why."""
    assert not holds(fired(kind=kind), happened(NOW))
    assert "not_started" == reason(fired(kind=kind), happened(NOW))


def test_at_least_counts_the_events_in_the_window() -> None:
    """Two of three lie in it."""
    facts = happened(NOW, NOW - DAY_MS, NOW - 8 * DAY_MS)

    assert holds(fired(7, 2), facts)
    assert not holds(fired(7, 3), facts)
    assert holds(fired(7, 3, kind="event_not_fired"), facts)
    assert 2 == explain(predicate_of(fired(7, 3)), facts)["count"]


def test_where_looks_at_the_counted_event() -> None:
    """Not at the triggering one; its envelope is there as well."""
    where = {"kind": "event_attribute", "fieldPath": "total", "operator": "gte", "value": 1}
    facts = replace(happened(NOW, NOW, NOW), event={"data": {"total": 0}})

    assert holds(fired(1, 2, where=where), facts)
    assert not holds(fired(1, 3, where=where), facts)
    assert holds(fired(1, 1, where={**where, "fieldPath": "timestamp", "operator": "on", "value": "2026-04-30"}), facts)
    told = explain(predicate_of(fired(1, 3, where=where)), facts)
    assert (3, 2) == (told["inWindow"], told["count"])


@pytest.mark.parametrize(
    ("preferences", "opted_out", "result"),
    [
        ({}, False, True),
        ({"email": True}, False, True),
        ({"email": False}, False, False),
        ({"email": True}, True, False),
    ],
)
def test_whoever_said_nothing_is_opted_in(preferences: dict[str, bool], opted_out: bool, result: bool) -> None:
    """Unless opted out of everything; opted_out is exactly the other side."""
    facts = Facts(now=NOW, preferences=preferences, global_opt_out=opted_out)

    assert result is holds({"kind": "channel_opted_in", "channel": "email"}, facts)
    assert result is not holds({"kind": "channel_opted_out", "channel": "email"}, facts)


def test_received_asks_what_became_of_the_message() -> None:
    """Step and status are handed on as written."""
    facts = Facts(now=NOW, received=lambda step, status: (step, status) == ("hello", "opened"))

    assert holds({"kind": "received", "stepId": "hello", "status": "opened"}, facts)
    assert not holds({"kind": "received", "stepId": "hello", "status": "clicked"}, facts)


def test_an_empty_and_is_true_and_an_empty_or_false() -> None:
    """Pinpoint's constant false is written as an empty `or`."""
    assert holds({"kind": "and", "clauses": []}, Facts(now=NOW))
    assert not holds({"kind": "or", "clauses": []}, Facts(now=NOW))
    assert holds({"kind": "not", "clause": {"kind": "or", "clauses": []}}, Facts(now=NOW))


def test_not_around_a_missing_attribute_is_true() -> None:
    """The other reading of "is not pro", for authors who want it."""
    assert holds({"kind": "not", "clause": attribute("plan", "equals", "pro")}, person())


def test_an_explanation_shows_what_was_found() -> None:
    """For people: the operands, the value, the result of each part."""
    told = explain(predicate_of({"kind": "not", "clause": attribute("a.b", "gt", 3)}), person(a={"b": 2}))

    leaf = {"kind": "attribute", "fieldPath": "a.b", "operator": "gt", "value": 3, "found": 2, "result": False}
    assert {"kind": "not", "clause": leaf, "result": True} == told


@settings(max_examples=500, deadline=None)
@given(PREDICATES, people())
def test_both_evaluators_agree(predicate: Predicate, facts: Facts) -> None:
    """The closures of the hot path and the explanation for people, also among audiences in circles."""
    assert explain(predicate, facts)["result"] is compile_predicate(predicate)(facts)


@settings(max_examples=300, deadline=None)
@given(st.lists(PREDICATES, max_size=4), people())
def test_order_does_not_matter(clauses: list[Predicate], facts: Facts) -> None:
    """An evaluation is a function of the facts: turned round, a conjunction says the same."""
    there, back = And(tuple(clauses)), And(tuple(reversed(clauses)))

    assert compile_predicate(there)(facts) is compile_predicate(back)(facts)
    assert compile_predicate(there)(facts) is all(compile_predicate(clause)(facts) for clause in clauses)
    assert compile_predicate(Not(Or(tuple(clauses))))(facts) is not any(compile_predicate(c)(facts) for c in clauses)
