"""A journey's activities as a graph, repaired.

Law: iterative; ways in source order, ids as tie-break. An arm that leads back, nowhere, or to what does not exist
leads to the exit. What no path reaches is left out.
Source: pinpoint design 5.4 and 5.5.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

EXIT: Final = ""  # where a path ends; no activity has this id

Way = tuple[str, str]  # the way's pointer from the activity, the id of the next one ("" for none)


@dataclass(frozen=True, slots=True)
class Activity:
    """One activity: its type (None where nothing was filled in, "?" where it is unknown), its body and its ways out."""

    id: str
    kind: str | None
    body: Mapping[str, Any]
    ways: Sequence[Way]
    path: str
    source: Any


@dataclass(slots=True)
class Flow:
    """What is reached, in the order of the steps; where each way leads; what was mended, as (activity, way)."""

    order: list[str] = field(default_factory=list)
    targets: dict[tuple[str, str], str] = field(default_factory=dict)
    dangling: list[tuple[str, str]] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)

    def next_of(self, activity: str, ways: Sequence[Way]) -> list[str]:
        """Where an activity's ways lead after the repair, exit included, in their order."""
        return [self.targets[activity, way] for way, _ in ways]


def walked(activities: Mapping[str, Activity], starts: Sequence[str]) -> Flow:
    """Walk from the starts, depth first, and repair on the way."""
    flow = Flow()
    open_, done = set[str](), set[str]()
    for start in starts:
        if start in done:
            continue
        open_.add(start)
        flow.order.append(start)
        stack = [(start, iter(activities[start].ways))]
        while stack:
            name, ways = stack[-1]
            step = next(ways, None)
            if step is None:
                stack.pop()
                open_.discard(name)
                done.add(name)
                continue
            way, target = step
            if target != EXIT and target not in activities:
                flow.dangling.append((name, way))
                target = EXIT
            elif target in open_:
                flow.broken.append((name, way))
                target = EXIT
            flow.targets[name, way] = target
            if target != EXIT and target not in done:
                open_.add(target)
                flow.order.append(target)
                stack.append((target, iter(activities[target].ways)))
    return flow


def roots_of(activities: Mapping[str, Activity]) -> list[str]:
    """The activities that no other leads to, by id."""
    led_to = {target for one in activities.values() for _, target in one.ways if target != one.id}
    return sorted(activities.keys() - led_to)


class Order:
    """Which activity can come before which: one number of n bits for each, computed when first asked."""

    def __init__(self, activities: Mapping[str, Activity], flow: Flow) -> None:
        self._activities = activities
        self._flow = flow
        self._before: dict[str, int] | None = None
        self._number = {name: i for i, name in enumerate(flow.order)}

    def is_before(self, earlier: str, later: str) -> bool:
        """Whether a path leads from the one to the other."""
        if self._before is None:
            self._before = self._masks()
        number = self._number.get(earlier)
        return number is not None and bool(self._before.get(later, 0) >> number & 1)

    def _masks(self) -> dict[str, int]:
        before = dict.fromkeys(self._flow.order, 0)
        for name in _topological(self._activities, self._flow):
            own = before[name] | (1 << self._number[name])
            for target in self._flow.next_of(name, self._activities[name].ways):
                if target != EXIT:
                    before[target] |= own
        return before


def _topological(activities: Mapping[str, Activity], flow: Flow) -> list[str]:
    incoming = dict.fromkeys(flow.order, 0)
    for name in flow.order:
        for target in flow.next_of(name, activities[name].ways):
            if target != EXIT:
                incoming[target] += 1
    ready = [name for name in flow.order if not incoming[name]]
    ordered = []
    while ready:
        name = ready.pop()
        ordered.append(name)
        for target in flow.next_of(name, activities[name].ways):
            if target != EXIT:
                incoming[target] -= 1
                if not incoming[target]:
                    ready.append(target)
    return ordered
