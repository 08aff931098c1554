"""Every path of a journey, each with somebody who takes it.

Law: a path is shown only if the production planner takes it for the example given. A branch is called dead only if
its conditions contradict each other, or what always holds where it stands; what could not be decided is `truncated`.
Profiles do not change on the way but by the journey itself. Iterative; at most 10,000 paths.
Source: contract 5 (`mode: "explore"`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from services.domain.execution.execution import Execution
from services.domain.execution.explore_guide import Example, Guide, Told, model_of
from services.domain.execution.explore_solving import Budget, Contradiction, Literals, Solver, Wish
from services.domain.execution.explore_wishes import Place, Wishes
from services.domain.execution.lifecycle import Status
from services.domain.execution.simulate import DryRun, Fill
from services.domain.execution.simulate_trace import Faults, Tracer, simulate
from services.domain.execution.triggers import View
from services.domain.execution.version import Version
from services.domain.journey.graph import ways_out
from services.domain.journey.model import (
    Arm,
    BranchAdaptive,
    BranchCondition,
    BranchRandom,
    InSegment,
    Step,
    Trigger,
    WaitDuration,
    WaitUntilCondition,
    WaitUntilEvent,
    WaitUntilTime,
)
from services.domain.journey.predicate import Audience
from services.domain.journey.walks import cycles

MOST_PATHS: Final = 10_000
MOST_STEPS: Final = 200_000  # of all paths together: what an answer can hold
_WAITS: Final = (WaitDuration, WaitUntilTime, WaitUntilEvent, WaitUntilCondition)
AudienceLookup = Callable[[str], Audience | None]


@dataclass(frozen=True, slots=True)
class ExploredPath:
    """One path. `events` have `after` in ms from the start, negative for the past; `assumes` is told as JSON."""

    steps: tuple[str, ...]
    attributes: Mapping[str, Any]
    events: tuple[Told, ...]
    trigger: Told | None
    assumes: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Explored:
    """All that was found."""

    paths: tuple[ExploredPath, ...]
    unreachable: tuple[str, ...]
    dead_branches: tuple[tuple[str, str], ...]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Way:
    """One way out of a step: its name (a case, an arm, `default`, `event`, `timeout`, ...) and where it leads."""

    name: str
    target: str | None


@dataclass(frozen=True, slots=True)
class Node:
    """A path so far: where it stands, what has to be so, and where it came from."""

    step_id: str | None
    before: "Node | None"
    way: str  # the way taken out of the step before
    wishes: tuple[Wish, ...]  # all of them
    more: tuple[Wish, ...]  # those that the last step added
    place: Place


@dataclass(slots=True)
class _Search:
    version: Version
    fresh: Execution
    view: View
    fill: Fill
    audience: AudienceLookup
    faults: Faults
    budget: Budget
    paths: list[ExploredPath] = field(default_factory=list)
    considered: set[tuple[str, str]] = field(default_factory=set)
    alive: set[tuple[str, str]] = field(default_factory=set)
    reached: set[str] = field(default_factory=set)
    truncated: bool = False
    steps_told: int = 0

    def run(self) -> Explored:
        version = self.version
        wishes = Wishes(version, self.audience)
        solver = Solver(wishes.resolve, self.view.zone, self.budget)
        by_segment = Solver(wishes.resolve_by_segment, self.view.zone, self.budget)
        place = Place()
        start = (
            [Wish(entry.filter, True, place)] if isinstance(entry := version.entry, Trigger) and entry.filter else []
        )
        if version.audience_id is not None:
            start.append(Wish(InSegment(version.audience_id), True, place))
        is_cyclic = _is_cyclic(version)
        waiting: list[tuple[Node, Literals]] = [
            (Node(version.entry.id, None, "", tuple(start), tuple(start), place), {})
        ]
        while waiting:
            node, known = waiting.pop()
            if len(self.paths) >= MOST_PATHS or self.steps_told >= MOST_STEPS or not self.budget.spend():
                self.truncated = True
                break
            step = version.steps.get(node.step_id) if node.step_id is not None else None
            solved = solver.solve(node.wishes, known, node.more) if node.more else known
            if isinstance(solved, Contradiction):
                self._refused(node, by_segment)
                continue
            if not isinstance(solved, dict):
                self.truncated = True
                self._take(node)
                continue
            self._take(node)
            if step is not None:
                self.reached.add(step.id)
            if step is None or step.id in self.faults or (is_cyclic and _has_been(node)):
                self._tell(node, solver, solved)
                continue
            onward = [self._onward(node, step, way, wishes) for way in ways_of(step)]
            if not onward:
                self._tell(node, solver, solved)
            waiting.extend((one, solved) for one in reversed(onward) if one is not None)
        return self._found(solver, wishes)

    def _onward(self, node: Node, step: Step, way: Way, wishes: Wishes) -> Node | None:
        more, place = wishes.of_way(step, way.name, node.place)
        if isinstance(step, BranchCondition | BranchRandom | BranchAdaptive):
            self.considered.add((step.id, way.name))
        if more is None:
            return None  # an arm without weight, a wait that cannot run out
        wanted = (*node.wishes, *more) if more else node.wishes
        return Node(way.target, node, way.name, wanted, tuple(more), place)

    def _take(self, node: Node) -> None:
        before = node.before
        if before is not None and before.step_id is not None:
            self.alive.add((before.step_id, node.way))

    def _refused(self, node: Node, by_segment: Solver) -> None:
        """Nobody with one profile goes this way; somebody may whose profile changes while they wait."""
        if node.place.segment and not isinstance(by_segment.solve(node.wishes), Contradiction):
            self._take(node)
            if node.step_id is not None:
                self.reached.add(node.step_id)

    def _tell(self, node: Node, solver: Solver, solved: Literals) -> None:
        steps, ways = _unrolled(node, self.version)
        self.budget.spend(len(steps))
        example = self._example(solver, solved, steps, ways)
        if example is None:
            self.truncated = True
            return
        self.steps_told += len(steps)
        model = example.model
        self.paths.append(
            ExploredPath(steps, model.attributes, tuple(example.told), example.trigger, tuple(model.assumes))
        )

    def _example(
        self, solver: Solver, solved: Literals, steps: Sequence[str], ways: Mapping[str, str]
    ) -> Example | None:
        """Somebody the planner leads exactly this way; None if nobody was found."""
        model = model_of(solver, solved)
        if model is None:
            return None
        waits = [step_id for step_id in steps if isinstance(self.version.steps.get(step_id), _WAITS)]
        passed: set[str] = set()
        for _ in range(2):
            example = Example(model)
            guide = Guide(self.version, ways, waits, passed, example, self.fresh)
            if self._is_taken(steps, ways, guide):
                return example
            missed = set(waits) - guide.waited
            if not missed:
                break
            passed = missed
        return None

    def _is_taken(self, steps: Sequence[str], ways: Mapping[str, str], guide: Guide) -> bool:
        """Whether the planner goes exactly this way."""
        tracer = Tracer(self.version, self.faults)
        fresh = guide.fresh()
        view = replace(guide.view(self.view, self.audience), witness=tracer)
        run = DryRun(_narrowed(self.version, ways), view, guide, self.fill, guide)
        trace = simulate(run, fresh, tracer)
        if trace.execution is not None and trace.execution.status in (Status.TIMED_OUT, Status.REFUSED, Status.HOLDOUT):
            return False
        return tuple(entry.step_id for entry in trace.entries) == tuple(steps)

    def _found(self, solver: Solver, wishes: Wishes) -> Explored:
        dead = self.considered - self.alive
        if self.truncated:
            dead = {(step, way) for step, way in dead if self._is_dead_alone(step, way, solver, wishes)}
        order = {step.id: i for i, step in enumerate(self.version.graph.steps)}
        reached = self.reached
        if self.truncated:
            reached = _structurally_reached(self.version, dead)
        unreachable = tuple(step for step in order if step not in reached)
        dead_branches = tuple(sorted(dead, key=lambda one: (order.get(one[0], 0), one[1])))
        return Explored(tuple(self.paths), unreachable, dead_branches, self.truncated)

    def _is_dead_alone(self, step_id: str, way: str, solver: Solver, wishes: Wishes) -> bool:
        step = self.version.steps[step_id]
        more, _ = wishes.of_way(step, way, Place(segment=1))
        return more is None or isinstance(Solver(solver.resolve, solver.zone, Budget(3_000)).solve(more), Contradiction)


def explore(
    version: Version,
    fresh: Execution,
    view: View,
    fill: Fill,
    audience: AudienceLookup,
    faults: Faults,
    budget: Budget,
) -> Explored:
    """Walk every path. `fresh` and `view` are those of a synthetic person without attributes, at the start.

    `faults` are those of a draft's steps: a path ends where one stands. `budget` bounds steps planned and ways
    tried; some 30 us each.
    """
    view = replace(view, holdout_percent=0)
    return _Search(version, fresh, view, fill, audience, faults, budget).run()


def ways_of(step: Step) -> list[Way]:
    """The ways out of a step, named as the trace names them."""
    match step:
        case BranchCondition():
            return [*(Way(case.id, case.next) for case in step.cases), Way("default", step.default)]
        case BranchRandom() | BranchAdaptive():
            return [Way(arm.id, arm.next) for arm in step.arms]
        case WaitUntilEvent():
            return [Way("event", step.next), Way("timeout", step.on_timeout)]
        case WaitUntilCondition():
            return [Way("condition", step.next), Way("timeout", step.on_timeout)]
        case _:
            return [Way("", target) for _, target in ways_out(step)]


def _has_been(node: Node) -> bool:
    """Whether the path stands on a step for the second time; only a draft has such circles."""
    before = node.before
    while before is not None:
        if before.step_id == node.step_id:
            return True
        before = before.before
    return False


def _is_cyclic(version: Version) -> bool:
    number = {step_id: i for i, step_id in enumerate(version.steps)}
    out = [
        [number[way.target] for way in ways_of(step) if way.target is not None and way.target in number] for step in version.steps.values()
    ]  # fmt: skip
    return bool(cycles(out))


def _unrolled(node: Node, version: Version) -> tuple[tuple[str, ...], dict[str, str]]:
    """The steps of a path and the ways between them; where a draft's `next` names no step, the path has ended before."""
    steps: list[str] = []
    ways: dict[str, str] = {}
    one: Node | None = node
    while one is not None:
        if one.step_id is not None and one.step_id in version.steps:
            steps.append(one.step_id)
        if one.before is not None and one.before.step_id is not None:
            ways[one.before.step_id] = one.way
        one = one.before
    return tuple(reversed(steps)), ways


def _narrowed(version: Version, ways: Mapping[str, str]) -> Version:
    """The version with one arm left at each draw, since no example can say what is drawn."""
    steps = dict(version.steps)
    for step_id, way in ways.items():
        step = steps.get(step_id)
        if isinstance(step, BranchRandom | BranchAdaptive):
            arms = tuple(Arm(arm.id, arm.next, 1.0) for arm in step.arms if arm.id == way)
            steps[step_id] = replace(step, arms=arms[:1])
    return replace(version, steps=steps)


def _structurally_reached(version: Version, dead: set[tuple[str, str]]) -> set[str]:
    reached = {version.entry.id}
    waiting = [version.entry.id]
    while waiting:
        step = version.steps.get(waiting.pop())
        for way in ways_of(step) if step is not None else ():
            is_dead = step is not None and (step.id, way.name) in dead
            if not is_dead and way.target is not None and way.target in version.steps and way.target not in reached:
                reached.add(way.target)
                waiting.append(way.target)
    return reached
