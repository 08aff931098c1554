"""The checks of publish: each fault by hand, all of them against a naive oracle on small graphs, and large graphs."""

import sys
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.errors import Fault
from services.domain.journey.graph import faults_of, ways_out
from services.domain.journey.model import Exit, Graph
from tests.unit.domain.journey.making import (
    CATALOGUE,
    end,
    found,
    graph_of,
    send,
    split,
    wait,
)


def test_a_sound_journey_has_no_faults() -> None:
    """One exit alone, and a journey with branches and a loop-free join."""
    assert [] == found(end())
    assert [] == found({"id": "t", "type": "trigger", "next": "b"}, split("b", "s", "x"), send(), end())


def test_the_trigger_is_the_entry_wherever_it_stands() -> None:
    """Else the first step is."""
    assert [] == found(end(), {"id": "t", "type": "trigger", "next": "x"})
    assert [("/steps/1", "unreachable_step")] == found(end(), wait("w", "x"))


def test_a_journey_without_steps_has_no_exit() -> None:
    """An empty draft is a warning, not a crash."""
    assert [("/steps", "missing_exit")] == found()


@pytest.mark.parametrize(
    ("steps", "path"),
    [
        ([wait("w", None)], "/steps/0/next"),
        ([wait("w", "nowhere")], "/steps/0/next"),
        ([wait("w", "")], "/steps/0/next"),
        ([{"id": "b", "type": "branch", "mode": "condition", "branches": []}], "/steps/0/default"),
        (
            [{"id": "b", "type": "branch", "mode": "condition", "default": "x", "branches": [
                {"id": "y", "condition": {"kind": "and", "clauses": []}}]}],
            "/steps/0/branches/0/next",
        ),
        ([split("b", "x", None)], "/steps/0/arms/1/next"),
        (
            [{"id": "e", "type": "wait", "mode": "until_event", "eventName": "paid", "timeout": "P1D", "next": "x"}],
            "/steps/0/onTimeout",
        ),
    ],
)  # fmt: skip
def test_a_way_that_leads_nowhere_is_unresolved(steps: list[dict[str, Any]], path: str) -> None:
    """A missing `next` as much as one that names nothing."""
    assert (path, "next_unresolved") in found(*steps, end())


def test_an_unresolved_way_names_its_target() -> None:
    """A typing error is seen at once."""
    [fault] = [f for f in faults_of(graph_of(wait("w", "exti"), end()), CATALOGUE) if f.code == "next_unresolved"]

    assert "'exti'" in fault.message


def test_a_cycle_is_named() -> None:
    """Once, at its first step, with its steps in order."""
    graph = graph_of(wait("s", "a"), split("a", "b", "x"), wait("b", "c"), split("c", "a", "b"), end())

    faults = faults_of(graph, CATALOGUE)

    assert [("/steps/1", "cycle")] == [(fault.path, fault.code) for fault in faults]
    assert "a -> b -> c -> a" in faults[0].message


def test_a_step_that_leads_to_itself_is_a_cycle() -> None:
    """The shortest one."""
    faults = faults_of(graph_of(split("a", "a", "x"), end()), CATALOGUE)

    assert [("cycle", True)] == [(fault.code, "a -> a" in fault.message) for fault in faults]


def test_a_way_back_to_the_trigger_is_a_cycle() -> None:
    """A trigger is nobody's next."""
    faults = found({"id": "t", "type": "trigger", "next": "b"}, split("b", "t", "x"), end())

    assert [("/steps/0", "cycle")] == faults


def test_two_cycles_are_two_faults() -> None:
    """Each strongly connected part is reported once."""
    faults = found(split("a", "a", "b"), split("b", "b", "x"), end())

    assert [("/steps/0", "cycle"), ("/steps/1", "cycle")] == faults


def test_a_path_that_cannot_end_is_told_where_it_goes_astray() -> None:
    """At the first step from which no exit can be reached, beside what else is wrong with it."""
    faults = found(split("s", "x", "a"), wait("a", "b"), wait("b", "a"), end())

    assert [("/steps/1", "cycle"), ("/steps/1", "missing_exit")] == faults


def test_a_step_id_is_used_once() -> None:
    """The second is the fault, and does not count as unreachable besides."""
    assert [("/steps/2/id", "duplicate_step_id")] == found(wait("w", "x"), end(), wait("w", "x"))


def test_the_ways_of_one_id_are_taken_together() -> None:
    """What only the second step of an id leads to is not unreachable besides."""
    assert [("/steps/1/id", "duplicate_step_id")] == found(wait("w", "x"), wait("w", "y"), end("x"), end("y"))


def test_a_journey_has_one_trigger() -> None:
    """The second is refused by its type."""
    faults = found({"id": "t", "type": "trigger", "next": "x"}, end(), {"id": "u", "type": "trigger", "next": "x"})

    assert [("/steps/2/type", "duplicate_trigger"), ("/steps/2", "unreachable_step")] == faults


def test_all_faults_come_together_in_the_order_of_the_steps() -> None:
    """One publish tells everything."""
    faults = found(
        wait("a", "a"),
        send(communicationId="gone", goes_to="lost"),
        end(),
        catalogue=replace(CATALOGUE, audience_id="?"),
    )

    expected = {
        ("/audienceId", "audience_not_found"),
        ("/steps/0", "cycle"),
        ("/steps/0", "missing_exit"),
        ("/steps/1/next", "next_unresolved"),
        ("/steps/1", "unreachable_step"),
        ("/steps/1/communicationId", "communication_not_found"),
        ("/steps/2", "unreachable_step"),
    }
    assert expected == set(faults)
    assert [path.split("/")[:3] for path, _ in faults] == sorted(path.split("/")[:3] for path, _ in faults)


def test_ten_thousand_steps_are_checked_below_the_recursion_limit() -> None:
    """A line, and the same line bent into a ring; both in well under the time a person notices."""
    size = 10 * sys.getrecursionlimit()
    line = [wait(f"s{i}", f"s{i + 1}") for i in range(size)] + [end(f"s{size}")]
    ring = [*line[:-2], wait(f"s{size - 1}", "s0"), line[-1]]
    began = time.perf_counter()

    assert [] == found(*line)
    faults = faults_of(graph_of(*ring), CATALOGUE)

    assert ["cycle", "missing_exit", "unreachable_step"] == [fault.code for fault in faults]
    assert "s0 -> s1" in faults[0].message
    assert f"({size + 1 - 100} more)" in faults[0].message
    assert faults[0].message.endswith("-> s0.")
    assert time.perf_counter() - began < 10


@st.composite
def small_graphs(draw: st.DrawFn) -> Graph:
    """Up to six steps whose ways lead anywhere, to nothing, or to nobody."""
    names = [f"s{i}" for i in range(draw(st.integers(1, 6)))]
    target = st.sampled_from([*names, *names, None, "nobody"])
    steps = []
    for name in names:
        kind = draw(st.sampled_from(["exit", "wait", "split", "split"]))
        if kind == "exit":
            steps.append(end(name))
        elif kind == "wait":
            steps.append(wait(name, draw(target)))
        else:
            steps.append(split(name, *(draw(target) for _ in range(draw(st.integers(2, 3))))))
    return graph_of(*steps)


def oracle(graph: Graph) -> dict[str, set[str]]:
    """The same answers by trying every way, as one would by hand."""
    by_id = {step.id: step for step in graph.steps}
    ways = {step.id: [t for _, t in ways_out(step) if t is not None and t in by_id] for step in graph.steps}

    def walk(name: str, before: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Every way from there, up to where it ends or meets itself."""
        way = (*before, name)
        if name in before or not ways[name]:
            return [way]
        return [longer for target in ways[name] for longer in walk(target, way)]

    everywhere = {name: walk(name, ()) for name in by_id}
    reached = {name for way in everywhere[graph.entry.id] for name in way}
    ends = {name for name, found in everywhere.items() if any(isinstance(by_id[n], Exit) for w in found for n in w)}
    lost = reached - ends
    astray = {target for name in reached - lost for target in ways[name]} | {graph.entry.id}
    return {
        "unreachable_step": set(by_id) - reached,
        "on_a_cycle": {name for name, found in everywhere.items() if any(name in way[1:] for way in found)},
        "missing_exit": lost & astray,
        "next_unresolved": {
            f"{i}{suffix}" for i, step in enumerate(graph.steps) for suffix, t in ways_out(step) if t not in by_id
        },
    }


@settings(max_examples=500, deadline=None)
@given(small_graphs())
def test_the_checks_agree_with_trying_every_way(graph: Graph) -> None:
    """On graphs small enough to be walked by hand."""
    truth = oracle(graph)
    ids = [step.id for step in graph.steps]

    faults = faults_of(graph, CATALOGUE)

    assert truth["next_unresolved"] == {fault.path.removeprefix("/steps/") for fault in of("next_unresolved", faults)}
    assert truth["unreachable_step"] == {ids[step_in(fault)] for fault in of("unreachable_step", faults)}
    assert truth["missing_exit"] == {ids[step_in(fault)] for fault in of("missing_exit", faults)}
    circles = [fault.message.partition(": ")[2].removesuffix(".").split(" -> ") for fault in of("cycle", faults)]
    assert truth["on_a_cycle"] >= {name for circle in circles for name in circle}
    assert bool(circles) is bool(truth["on_a_cycle"])
    assert {"next_unresolved", "unreachable_step", "missing_exit", "cycle"} >= {fault.code for fault in faults}


@settings(deadline=None)
@given(small_graphs(), st.randoms(use_true_random=False))
def test_in_a_sound_journey_every_walk_ends_in_an_exit(graph: Graph, random: Any) -> None:
    """What publish promises the runtime."""
    if faults_of(graph, CATALOGUE):
        return
    by_id = {step.id: step for step in graph.steps}
    step = graph.entry
    for _ in graph.steps:
        ways = ways_out(step)
        if not ways:
            break
        step = by_id[random.choice(ways)[1]]

    assert isinstance(step, Exit)


def of(code: str, faults: list[Fault]) -> list[Fault]:
    return [fault for fault in faults if fault.code == code]


def step_in(fault: Fault) -> int:
    return int(fault.path.split("/")[2])
