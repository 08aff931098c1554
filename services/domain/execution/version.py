"""A published version made ready for planning: steps by id, conditions as closures, and what it may read.

Law: made once per version and never changed; the catalogue may keep it for ever.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.domain.journey.model import (
    And,
    BranchAdaptive,
    BranchCondition,
    BranchRandom,
    EventFired,
    Graph,
    InSegment,
    Not,
    Or,
    Predicate,
    Received,
    Send,
    Step,
    Trigger,
    UpdateProfile,
    WaitUntilCondition,
    WaitUntilEvent,
)
from services.domain.journey.predicate import Facts, compile_predicate
from services.domain.times import DAY_MS

Condition = Callable[[Facts], bool]
ENDS = frozenset({"sent", "failed"})  # what our own call says of a message; the rest a provider may say any day
AUDIENCE = "\x00audience"  # stands for the journey's audience among the conditions; no step can have this id


@dataclass(frozen=True, slots=True)
class Contract:
    """The pinned trigger contract: which events start the journey, and whom."""

    event_name: str
    subject_path: tuple[str, ...]
    email_path: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """One version of one journey, ready to be walked."""

    workspace_id: str
    journey_id: str
    number: int
    name: str
    graph: Graph
    entry: Step
    steps: Mapping[str, Step]
    conditions: Mapping[tuple[str, str], Condition]  # (step id or AUDIENCE, case id; "" for a filter)
    audience_id: str | None
    contract: Contract | None
    event_names: frozenset[str]  # that conditions count
    audience_ids: frozenset[str]  # that conditions ask for
    awaited_names: frozenset[str]  # that waits, exitOn and the goals of branches listen to
    channels: frozenset[str]
    looks_back_ms: int = 0  # how far the conditions look into the past: their days, or as long as a run may last
    received_steps: frozenset[str] = frozenset()  # of whose messages conditions ask what became
    asked_at_once: frozenset[str] = frozenset()  # sends of which a branch asks how they ended, before any wait


def compile_version(
    workspace_id: str,
    journey_id: str,
    number: int,
    name: str,
    graph: Graph,
    audience_id: str | None,
    contract: Contract | None,
) -> Version:
    """Make a sound graph ready for planning."""
    conditions: dict[tuple[str, str], Condition] = {}
    event_names: set[str] = set()
    audience_ids: set[str] = {audience_id} if audience_id else set()
    awaited = {rule.event_name for rule in graph.settings.exit_on}
    channels: set[str] = set()
    received_steps: set[str] = set()
    looked_back = [0.0]

    def learn(step_id: str, case_id: str, predicate: Predicate | None) -> None:
        if predicate is None:
            return
        conditions[step_id, case_id] = compile_predicate(predicate)
        for leaf in _leaves(predicate):
            if isinstance(leaf, EventFired):
                event_names.add(leaf.event_name)
                days = leaf.days
                looked_back.append(graph.settings.max_duration_ms if days is None else days * DAY_MS)
            elif isinstance(leaf, InSegment):
                audience_ids.add(leaf.audience_id)
            elif isinstance(leaf, Received):
                received_steps.add(leaf.step_id)

    if audience_id is not None:
        learn(AUDIENCE, "", InSegment(audience_id))
    for step in graph.steps:
        match step:
            case Trigger(id=step_id, filter=condition):
                learn(step_id, "", condition)
            case WaitUntilEvent(id=step_id, filter=condition, event_name=event_name):
                learn(step_id, "", condition)
                awaited.add(event_name)
            case WaitUntilCondition(id=step_id, condition=condition):
                learn(step_id, "", condition)
            case BranchCondition(id=step_id, cases=cases):
                for one in cases:
                    learn(step_id, one.id, one.condition)
            case BranchAdaptive(goal_event_name=str(goal)):
                awaited.add(goal)
            case Send(channel=channel):
                channels.add(channel)
            case _:
                pass
    return Version(
        workspace_id=workspace_id,
        journey_id=journey_id,
        number=number,
        name=name,
        graph=graph,
        entry=graph.entry,
        steps={step.id: step for step in graph.steps},
        conditions=conditions,
        audience_id=audience_id,
        contract=contract,
        event_names=frozenset(event_names),
        audience_ids=frozenset(audience_ids),
        awaited_names=frozenset(awaited),
        channels=frozenset(channels),
        looks_back_ms=int(max(looked_back)),
        received_steps=frozenset(received_steps),
        asked_at_once=frozenset(step.id for step in graph.steps if isinstance(step, Send) and _is_asked(step, graph)),
    )


def _is_asked(send: Send, graph: Graph) -> bool:
    """Whether somebody comes from this send to a branch that asks how it ended, without a wait in between."""
    steps = {step.id: step for step in graph.steps}
    waiting, seen = [send.next], set[str]()
    while waiting:
        step = steps.get(waiting.pop() or "")
        if step is None or step.id in seen:
            continue
        seen.add(step.id)
        match step:
            case BranchCondition(cases=cases):
                leaves = [leaf for one in cases for leaf in _leaves(one.condition)]
                if any(isinstance(one, Received) and one.step_id == send.id and one.status in ENDS for one in leaves):
                    return True
                waiting += [step.default, *(one.next for one in cases)]
            case BranchRandom(arms=arms) | BranchAdaptive(arms=arms):
                waiting += [arm.next for arm in arms]
            case Send() | UpdateProfile():
                waiting.append(step.next)
            case _:
                pass  # it stops there, or ends
    return False


def _leaves(predicate: Predicate) -> list[Predicate]:
    found: list[Predicate] = []
    rest = [predicate]
    while rest:
        match rest.pop():
            case And(clauses=clauses) | Or(clauses=clauses):
                rest.extend(clauses)
            case Not(clause=clause):
                rest.append(clause)
            case leaf:
                found.append(leaf)
    return found
