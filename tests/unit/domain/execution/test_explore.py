"""Every path, and somebody who takes it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.execution import admission
from services.domain.execution.explore import Explored, explore
from services.domain.execution.explore_solving import Budget, Contradiction, Literal, Solver, Wish
from services.domain.execution.version import Contract
from services.domain.execution.walk import put_at
from services.domain.journey.model import And, Compare, Leaf, Not, Operator, Or, Predicate, Root
from services.domain.journey.predicate import Audience, Facts, compile_predicate
from services.domain.journey.reading_predicate import read_predicate
from tests.support.walking import EXIT, TRIGGER, await_step, occasion, send_step, version_of, view_of, wait_step

Json = dict[str, Any]
EXAMPLES = sorted((Path(__file__).parents[4] / "examples/journeys").glob("*.json"))


def attr(path: str, operator: str, *value: Any, kind: str = "attribute") -> Json:
    """A comparison."""
    leaf = {"kind": kind, "fieldPath": path, "operator": operator}
    return {**leaf, "value": value[0]} if value else leaf


def fired(name: str, *, days: float | None = None, at_least: int = 1, kind: str = "event_fired", **more: Any) -> Json:
    """Events in the past."""
    window = {"type": "since_start"} if days is None else {"type": "last_n_days", "days": days}
    return {"kind": kind, "eventName": name, "window": window, "atLeast": at_least, **more}


def branch(name: str, ways: Sequence[tuple[str, Json, str]], default: str) -> Json:
    """A branch by condition."""
    cases = [{"id": case, "condition": condition, "next": to} for case, condition, to in ways]
    return {"id": name, "type": "branch", "mode": "condition", "branches": cases, "default": default}


def explored(
    steps: Sequence[Mapping[str, Any]],
    *,
    audiences: Mapping[str, Audience] | None = None,
    audience_id: str | None = None,
    work: int = 100_000,
    faults: Mapping[str, str] | None = None,
) -> Explored:
    """Explore these steps."""
    contract = Contract("signed_up", ("endUserId",))
    version = version_of(steps, audience_id=audience_id, contract=contract)
    fresh = admission.fresh(
        version, occasion(), "synthetic", slot=1, subject_secret=b"0" * 32, goal=None, now=1_777_554_000_000
    )
    known = audiences or {}
    view = view_of(audience=known.get)
    return explore(version, fresh, view, lambda template, values, now: template, known.get, faults or {}, Budget(work))


def found(result: Explored) -> set[tuple[str, ...]]:
    """The paths."""
    return {path.steps for path in result.paths}


GOOD = {**EXIT, "id": "good"}
ENDS = [GOOD, EXIT]


@pytest.mark.parametrize(
    "condition",
    [
        attr("plan", "equals", "pro"),
        attr("plan", "not_equals", "pro"),
        attr("plan", "in", ["a", "b"]),
        attr("plan", "not_in", ["a", "b"]),
        attr("name", "contains", "mid"),
        attr("name", "not_contains", "mid"),
        {
            "kind": "and",
            "clauses": [attr("n", "starts_with", "ab"), attr("n", "ends_with", "yz"), attr("n", "contains", "m")],
        },
        {"kind": "and", "clauses": [attr("n", "gt", 3), attr("n", "lt", 4)]},
        attr("n", "between", [5, 9]),
        attr("since", "before", "2026-01-01T00:00:00Z"),
        attr("since", "after", "2026-01-01"),
        attr("since", "on", "2026-02-03"),
        attr("tags", "contains", 5),
        attr("a.b.c", "exists"),
        {"kind": "not", "clause": attr("plan", "exists")},
        attr("total", "gte", 100, kind="event_attribute"),
        attr("data.total", "lte", 1, kind="event_attribute"),
        fired("bought", days=30, at_least=3),
        fired("bought", days=30, where=attr("sku", "equals", "x", kind="event_attribute")),
        fired("bought", days=7, kind="event_not_fired"),
        {"kind": "in_segment", "audienceId": "pros"},
        {"kind": "in_segment", "audienceId": "listed"},
        {"kind": "channel_opted_out", "channel": "email"},
        {"kind": "or", "clauses": [attr("x", "equals", 1), attr("y", "equals", 2)]},
    ],
)
def test_both_ways_of_a_condition_have_somebody_who_takes_them(condition: Json) -> None:
    """Found from the leaves, and walked by the planner."""
    audiences = {
        "pros": Audience(Compare(Root.ATTRIBUTE, ("plan",), Operator.EQUALS, "pro")),
        "listed": Audience(subject_ids=frozenset({"somebody"})),
    }
    result = explored(
        [{**TRIGGER, "next": "b"}, branch("b", [("yes", condition, "good")], "exit"), *ENDS], audiences=audiences
    )

    assert {("trigger", "b", "good"), ("trigger", "b", "exit")} == found(result)
    assert ((), (), False) == (result.unreachable, result.dead_branches, result.truncated)


@pytest.mark.parametrize(
    "condition",
    [
        {"kind": "and", "clauses": [attr("plan", "equals", "a"), attr("plan", "equals", "b")]},
        {"kind": "and", "clauses": [attr("n", "gt", 5), attr("n", "lt", 5)]},
        {"kind": "and", "clauses": [attr("n", "exists"), attr("n", "not_exists")]},
        {"kind": "and", "clauses": [attr("n", "starts_with", "a"), attr("n", "equals", "b")]},
        {"kind": "or", "clauses": []},
        fired("bought"),  # since the start, at the start
        {"kind": "in_segment", "audienceId": "gone"},
        {"kind": "received", "stepId": "m", "status": "sent"},  # nothing was sent yet
        {
            "kind": "and",
            "clauses": [attr("n", "gt", 5, kind="event_attribute"), attr("data.n", "lt", 5, kind="event_attribute")],
        },
    ],
)
def test_a_condition_that_contradicts_itself_is_a_dead_branch(condition: Json) -> None:
    """And the step behind it is reached by nobody."""
    result = explored([{**TRIGGER, "next": "b"}, branch("b", [("never", condition, "good")], "exit"), *ENDS])

    assert (("b", "never"),) == result.dead_branches
    assert ("good",) == result.unreachable
    assert not result.truncated


def test_a_draft_that_leads_to_no_step_has_a_path_to_there() -> None:
    """As a dry run goes it."""
    result = explored([{**TRIGGER, "next": "gone"}, EXIT])

    assert {("trigger",)} == found(result)
    assert (("exit",), False) == (result.unreachable, result.truncated)


def test_a_step_at_which_a_path_ends_for_its_fault_is_reached() -> None:
    """What stands behind it is not."""
    steps = [{**TRIGGER, "next": "mail"}, send_step("mail", "exit"), EXIT]
    result = explored(steps, faults={"mail": "communication_not_found"})

    assert {("trigger", "mail")} == found(result)
    assert (("exit",), False) == (result.unreachable, result.truncated)


def test_a_branch_that_the_one_before_has_emptied_is_dead() -> None:
    """Without a wait between them nothing can change."""
    pro = attr("plan", "equals", "pro")
    steps: list[Mapping[str, Any]] = [
        {**TRIGGER, "next": "a"},
        branch("a", [("pro", pro, "b")], "exit"),
        branch("b", [("still", pro, "good")], "lost"),
        {**EXIT, "id": "lost"},
        *ENDS,
    ]
    result = explored(steps)

    assert (("b", "default"),) == result.dead_branches
    assert ("lost",) == result.unreachable


def test_after_a_wait_a_profile_may_be_another_one() -> None:
    """No single profile takes that path, so it is not shown; it is not dead either."""
    steps: list[Mapping[str, Any]] = [
        {**TRIGGER, "next": "a"},
        branch("a", [("pro", attr("plan", "equals", "pro"), "w")], "exit"),
        wait_step("w", "P1D", "b"),
        branch("b", [("free", attr("plan", "equals", "free"), "good")], "exit"),
        *ENDS,
    ]
    result = explored(steps)

    assert ((), ()) == (result.dead_branches, result.unreachable)
    assert ("trigger", "a", "w", "b", "good") not in found(result)


def test_waits_end_both_ways() -> None:
    """With the events that wake them, matching what started it."""
    steps: list[Mapping[str, Any]] = [
        {**TRIGGER, "next": "w"},
        await_step("w", "paid", "P2D", "c", "exit", match={"orderId": "event.orderId"}),
        {
            "id": "c", "type": "wait", "mode": "until_condition", "condition": fired("login", at_least=2),
            "timeout": "P1D", "onTimeout": "exit", "next": "good",
        },
        *ENDS,
    ]  # fmt: skip
    result = explored(steps)
    (longest,) = [path for path in result.paths if path.steps[-1] == "good"]

    assert {("trigger", "w", "c", "good"), ("trigger", "w", "c", "exit"), ("trigger", "w", "exit")} == found(result)
    assert ["paid", "login", "login"] == [event.type for event in longest.events]
    assert longest.trigger is not None
    assert longest.trigger.data["orderId"] == longest.events[0].data["orderId"]


def test_arms_are_ways_and_one_without_weight_is_dead() -> None:
    """Nobody is ever drawn into it."""
    arms = [
        {"id": "a", "weight": 1, "next": "good"},
        {"id": "b", "weight": 2, "next": "exit"},
        {"id": "z", "weight": 0, "next": "exit"},
    ]
    result = explored([{**TRIGGER, "next": "d"}, {"id": "d", "type": "branch", "mode": "random", "arms": arms}, *ENDS])

    assert {("trigger", "d", "good"), ("trigger", "d", "exit")} == found(result)
    assert (("d", "z"),) == result.dead_branches


def test_what_a_journey_sets_is_known_behind_it() -> None:
    """A literal decides a branch for everybody."""
    steps: list[Mapping[str, Any]] = [
        {**TRIGGER, "next": "u"},
        {"id": "u", "type": "update_profile", "set": {"plan": "vip"}, "next": "b"},
        branch("b", [("vip", attr("plan", "equals", "vip"), "good")], "exit"),
        *ENDS,
    ]

    assert (("b", "default"),) == explored(steps).dead_branches


def test_what_no_request_can_say_is_told_as_an_assumption() -> None:
    """A provider's word, a webhook's answer."""
    steps: list[Mapping[str, Any]] = [
        {**TRIGGER, "next": "m"},
        send_step("m", "h"),
        {"id": "h", "type": "webhook", "url": "https://x.example", "saveAs": "r", "next": "b"},
        branch(
            "b",
            [
                ("opened", {"kind": "received", "stepId": "m", "status": "opened"}, "good"),
                ("ok", attr("r.ok", "equals", True, kind="context"), "exit"),
            ],
            "exit",
        ),
        *ENDS,
    ]
    result = explored(steps)

    assert ((), False) == (result.dead_branches, result.truncated)
    assert {"kind": "received", "stepId": "m", "status": "opened"} in result.paths[0].assumes
    assert {"kind": "context", "path": "r.ok", "value": True} in result.paths[1].assumes


def test_the_audience_and_the_filter_hold_for_everybody() -> None:
    """Examples belong to it."""
    audience = Audience(Compare(Root.ATTRIBUTE, ("plan",), Operator.EQUALS, "pro"))
    steps: list[Mapping[str, Any]] = [
        {**TRIGGER, "next": "b", "filter": attr("total", "gt", 5, kind="event_attribute")}
    ]
    steps += [branch("b", [("free", attr("plan", "equals", "free"), "good")], "exit"), *ENDS]
    result = explored(steps, audiences={"pros": audience}, audience_id="pros")
    (path,) = result.paths

    assert (("b", "free"),) == result.dead_branches
    assert {"plan": "pro"} == path.attributes
    assert path.trigger is not None
    assert path.trigger.data["total"] > 5


def test_fifteen_hundred_steps_in_a_row_are_one_path() -> None:
    """No deeper than one."""
    steps: list[Mapping[str, Any]] = [{**TRIGGER, "next": "s0"}]
    steps += [{"id": f"s{i}", "type": "update_profile", "set": {"x": i}, "next": f"s{i + 1}"} for i in range(1_500)]
    result = explored([*steps, {**EXIT, "id": "s1500"}])

    assert [1_502] == [len(path.steps) for path in result.paths]


def test_a_circle_ends_where_it_closes() -> None:
    """A draft's fault; the path shows it."""
    steps: list[Mapping[str, Any]] = [{**TRIGGER, "next": "a"}, wait_step("a", "P1D", "b"), wait_step("b", "P1D", "a")]

    assert {("trigger", "a", "b", "a")} == found(explored(steps))


def test_what_is_not_done_within_the_work_is_truncated_and_nothing_is_called_dead_for_it() -> None:
    """Two to the thirtieth paths."""
    steps: list[Mapping[str, Any]] = [{**TRIGGER, "next": "b0"}]
    steps += [branch(f"b{i}", [("x", attr(f"a{i}", "equals", 1), f"b{i + 1}")], f"b{i + 1}") for i in range(30)]
    result = explored([*steps, {**EXIT, "id": "b30"}], work=3_000)

    assert result.truncated
    assert ((), ()) == (result.dead_branches, result.unreachable)
    assert result.paths


LEAVES = st.builds(
    Compare,
    st.just(Root.ATTRIBUTE),
    st.sampled_from([("x",), ("y",)]),
    st.sampled_from([Operator.EQUALS, Operator.NOT_EQUALS, Operator.GT, Operator.LTE, Operator.EXISTS]),
    st.integers(0, 3),
)
PREDICATES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(PREDICATES)
def test_the_search_agrees_with_trying_everything(predicate: Predicate) -> None:
    """What it finds holds; what it calls a contradiction holds for no value there is."""

    def resolve(leaf: Leaf, wanted: bool, context: object) -> tuple[tuple[Any, ...], Literal]:
        assert isinstance(leaf, Compare)
        return ("attribute", leaf.path), Literal(leaf, wanted)

    solver = Solver(resolve, "UTC", Budget(50_000))
    solved = solver.solve([Wish(predicate, True)])
    holds = compile_predicate(predicate)
    values = [None, -1, 0, 0.5, 1, 1.5, 2, 2.5, 3, 4, "other"]
    possible = any(
        holds(Facts(now=0, attributes={k: v for k, v in (("x", x), ("y", y)) if v is not None}))
        for x in values
        for y in values
    )

    if isinstance(solved, Contradiction):
        assert not possible
    else:
        assert isinstance(solved, dict)
        attributes: dict[str, Any] = {}
        for variable, asked in solved.items():
            value = solver.value_of(variable, asked)[1]
            if value is not None:
                put_at(attributes, variable[1], value)
        assert holds(Facts(now=0, attributes=attributes))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_every_path_of_the_shipped_journeys_has_somebody_who_takes_it(file: Path) -> None:
    """Also where waits by an attribute that nobody has end at once."""
    document = json.loads(file.read_text(encoding="utf-8"))
    audiences = {}
    for name, body in document["audiences"].items():
        predicate, faults = read_predicate(body["predicate"], "")
        assert predicate is not None, faults
        audiences[f"$ref:{name}"] = Audience(predicate)
    journey = document["journey"]
    result = explored(journey["steps"], audiences=audiences, audience_id=journey.get("audienceId"))

    assert ((), (), False) == (result.unreachable, result.dead_branches, result.truncated)
    assert {step["id"] for step in journey["steps"]} == {step for path in result.paths for step in path.steps}
