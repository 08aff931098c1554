"""Ways through a directed graph: who is reached, and where it goes in a circle.

Law: nodes are 0 to n-1, `out[i]` lists where i leads. Everything is iterative and linear in nodes and edges, so a
journey of 10,000 steps in a row is no deeper than one of three.
"""

from collections import deque
from collections.abc import Iterable, Sequence

Out = Sequence[Sequence[int]]


def reached_from(out: Out, starts: Iterable[int]) -> set[int]:
    """The nodes some way from `starts` comes to, `starts` included."""
    seen = set(starts)
    waiting = list(seen)
    while waiting:
        for target in out[waiting.pop()]:
            if target not in seen:
                seen.add(target)
                waiting.append(target)
    return seen


def reversed_edges(out: Out) -> list[list[int]]:
    """The same graph with every edge turned round."""
    into: list[list[int]] = [[] for _ in out]
    for node, targets in enumerate(out):
        for target in targets:
            into[target].append(node)
    return into


def cycles(out: Out) -> list[list[int]]:
    """One cycle of each strongly connected part that has any: the shortest through its least node, which comes first."""
    found = []
    for part in _strong_parts(out):
        start = min(part)
        if len(part) > 1 or start in out[start]:
            found.append(_cycle_through(out, start, set(part)))
    return sorted(found)


def _cycle_through(out: Out, start: int, part: set[int]) -> list[int]:
    """Breadth first from `start` until an edge leads back to it."""
    came_from: dict[int, int] = {}
    waiting = deque([start])
    while True:
        node = waiting.popleft()  # never empty: in a strongly connected part a way leads back
        if start in out[node]:
            break
        for target in out[node]:
            if target in part and target not in came_from:
                came_from[target] = node
                waiting.append(target)
    way = [node]
    while way[-1] != start:
        way.append(came_from[way[-1]])
    return way[::-1]


def _strong_parts(out: Out) -> list[list[int]]:
    """Tarjan, "Depth-first search and linear graph algorithms" (1972), with the recursion kept in a list."""
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    on_stack: set[int] = set()
    stack: list[int] = []
    parts = []
    for root in range(len(out)):
        if root in order:
            continue
        calls = [(root, iter(out[root]))]
        order[root] = low[root] = len(order)
        stack.append(root)
        on_stack.add(root)
        while calls:
            node, targets = calls[-1]
            for target in targets:
                if target not in order:
                    order[target] = low[target] = len(order)
                    stack.append(target)
                    on_stack.add(target)
                    calls.append((target, iter(out[target])))
                    break
                if target in on_stack:
                    low[node] = min(low[node], order[target])
            else:
                calls.pop()
                if calls:
                    low[calls[-1][0]] = min(low[calls[-1][0]], low[node])
                if low[node] == order[node]:
                    part = [stack.pop()]
                    while part[-1] != node:
                        part.append(stack.pop())
                    on_stack.difference_update(part)
                    parts.append(part)
    return parts
