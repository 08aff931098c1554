"""Reachability and cycles against plain definitions on small graphs, and on large ones."""

from hypothesis import given
from hypothesis import strategies as st

from services.domain.journey.walks import cycles, reached_from, reversed_edges


@st.composite
def graphs(draw: st.DrawFn) -> list[list[int]]:
    size = draw(st.integers(1, 7))
    return draw(st.lists(st.lists(st.integers(0, size - 1), max_size=4), min_size=size, max_size=size))


def closure(out: list[list[int]]) -> list[set[int]]:
    """Warshall: where each node leads in one step or more."""
    above = [set(targets) for targets in out]
    for middle in range(len(out)):
        for node in range(len(out)):
            if middle in above[node]:
                above[node] |= above[middle]
    return above


@given(graphs(), st.data())
def test_reached_is_what_some_way_leads_to(out: list[list[int]], data: st.DataObject) -> None:
    """The start is reached too."""
    start = data.draw(st.integers(0, len(out) - 1))

    assert closure(out)[start] | {start} == reached_from(out, [start])


@given(graphs())
def test_reversed_twice_is_the_same(out: list[list[int]]) -> None:
    """Edges keep their number."""
    assert [sorted(targets) for targets in out] == [sorted(t) for t in reversed_edges(reversed_edges(out))]


@given(graphs())
def test_every_circle_is_reported_once(out: list[list[int]]) -> None:
    """One cycle for each class of nodes that reach each other, along edges that exist, beginning with the least."""
    above = closure(out)
    classes = {frozenset(j for j in above[i] if i in above[j]) for i in range(len(out)) if i in above[i]}

    found = cycles(out)

    assert len(classes) == len(found)
    assert classes == {next(c for c in classes if cycle[0] in c) for cycle in found}
    for cycle in found:
        inside = next(c for c in classes if cycle[0] in c)
        assert min(inside) == cycle[0]
        assert len(set(cycle)) == len(cycle)
        assert inside.issuperset(cycle)
        assert all(after in out[node] for node, after in zip(cycle, [*cycle[1:], cycle[0]], strict=True))


def test_a_hundred_thousand_nodes_are_no_deeper_than_three() -> None:
    """A ring and a line, each far over the recursion limit."""
    size = 100_000
    ring = [[(i + 1) % size] for i in range(size)]
    line = [[i + 1] for i in range(size - 1)] + [[]]

    assert [list(range(size))] == cycles(ring)
    assert [] == cycles(line)
    assert size == len(reached_from(line, [0]))
