"""Whether a journey is sound: every fault that stands between a draft and its publication.

Law: all faults at once, each with the JSON Pointer of the member to mend; the same checks are warnings on a draft
and errors at publish. Iterative and linear in steps, so size and depth do not matter. An id written twice names
its first step, and the ways out of all steps of one id are taken together.
Source: contract 2, "publish".
"""

from typing import assert_never

from services.domain.errors import Fault
from services.domain.journey.members import shown
from services.domain.journey.model import (
    BranchAdaptive,
    BranchCondition,
    BranchRandom,
    Exit,
    Graph,
    Send,
    Step,
    Trigger,
    UpdateProfile,
    WaitDuration,
    WaitUntilCondition,
    WaitUntilEvent,
    WaitUntilTime,
    Webhook,
)
from services.domain.journey.step_checks import Catalogue, CommunicationInfo, step_faults
from services.domain.journey.walks import Out, cycles, reached_from, reversed_edges

__all__ = ["Catalogue", "CommunicationInfo", "faults_of", "ways_out"]

MAX_NAMED = 100  # steps of a cycle that its message names; a longer one is cut in the middle


def faults_of(graph: Graph, catalogue: Catalogue) -> list[Fault]:
    """Everything publish refuses, ordered by step: where steps lead, what they lack, what they name that is not there."""
    faults = [*_journey_faults(catalogue)]
    if not graph.steps:
        faults.append(Fault("/steps", "missing_exit", "The journey has no steps."))
        return faults
    structure = _Structure(graph)
    sends = {step.id for step in graph.steps if isinstance(step, Send)}
    by_step = structure.faults()
    for i, step in enumerate(graph.steps):
        faults.extend(by_step.get(i, ()))
        faults.extend(step_faults(step, f"/steps/{i}", catalogue, sends))
    return faults


def ways_out(step: Step) -> list[tuple[str, str | None]]:
    """Every way a person can leave the step: the member's pointer from the step, and the id of the next one."""
    match step:
        case Trigger() | WaitDuration() | WaitUntilTime() | Send() | Webhook() | UpdateProfile():
            return [("/next", step.next)]
        case WaitUntilEvent() | WaitUntilCondition():
            return [("/next", step.next), ("/onTimeout", step.on_timeout)]
        case BranchCondition():
            ways = [(f"/branches/{i}/next", case.next) for i, case in enumerate(step.cases)]
            return [*ways, ("/default", step.default)]
        case BranchRandom() | BranchAdaptive():
            return [(f"/arms/{i}/next", arm.next) for i, arm in enumerate(step.arms)]
        case Exit():
            return []
        case _:
            assert_never(step)


class _Structure:
    """The steps as a graph of numbers: a node is the first step of its id."""

    def __init__(self, graph: Graph) -> None:
        self.steps = graph.steps
        self.entry = next((i for i, step in enumerate(self.steps) if isinstance(step, Trigger)), 0)
        self.node: dict[str, int] = {}
        for i, step in enumerate(self.steps):
            self.node.setdefault(step.id, i)
        self.entry = self.node[self.steps[self.entry].id]
        self.found: dict[int, list[Fault]] = {}

    def faults(self) -> dict[int, list[Fault]]:
        """The faults of structure, by step."""
        self._ids_and_triggers()
        out = self._edges()
        self._cycles(out)
        reached = reached_from(out, [self.entry])
        for i in set(self.node.values()) - reached:
            self._note(i, "", "unreachable_step", f"No way leads to the step {shown(self.steps[i].id)}.")
        self._dead_ends(out, reached)
        return self.found

    def _note(self, i: int, suffix: str, code: str, message: str) -> None:
        self.found.setdefault(i, []).append(Fault(f"/steps/{i}{suffix}", code, message))

    def _ids_and_triggers(self) -> None:
        triggers = 0
        for i, step in enumerate(self.steps):
            if self.node[step.id] != i:
                message = f"The step {self.node[step.id]} has the id {shown(step.id)} already."
                self._note(i, "/id", "duplicate_step_id", message)
            if isinstance(step, Trigger):
                triggers += 1
                if triggers > 1:
                    self._note(i, "/type", "duplicate_trigger", "A journey has one trigger step at most.")

    def _edges(self) -> Out:
        out: list[list[int]] = [[] for _ in self.steps]
        for i, step in enumerate(self.steps):
            for suffix, target in ways_out(step):
                if target is None:
                    self._note(i, suffix, "next_unresolved", "Nothing is said about where to go from here.")
                elif target not in self.node:
                    self._note(i, suffix, "next_unresolved", f"There is no step {shown(target)}.")
                else:
                    out[self.node[step.id]].append(self.node[target])
        return out

    def _cycles(self, out: Out) -> None:
        for cycle in cycles(out):
            names = [self.steps[i].id for i in [*cycle, cycle[0]]]
            if len(names) > MAX_NAMED:
                left_out = len(names) - MAX_NAMED
                names[MAX_NAMED // 2 : -MAX_NAMED // 2] = [f"({left_out} more)"]
            self._note(cycle[0], "", "cycle", f"These steps lead in a circle: {' -> '.join(names)}.")

    def _dead_ends(self, out: Out, reached: set[int]) -> None:
        """A fault where a way first enters the part of the graph from which no exit can be reached."""
        into = reversed_edges(out)
        exits = [self.node[step.id] for step in self.steps if isinstance(step, Exit)]
        lost = reached - reached_from(into, exits)
        for i in lost:
            if i == self.entry or not lost.issuperset(node for node in into[i] if node in reached):
                message = f"From the step {shown(self.steps[i].id)} no way leads to an exit."
                self._note(i, "", "missing_exit", message)


def _journey_faults(catalogue: Catalogue) -> list[Fault]:
    faults = []
    audience, contract = catalogue.audience_id, catalogue.trigger_contract_id
    if audience is not None and audience not in catalogue.audiences:
        faults.append(Fault("/audienceId", "audience_not_found", f"There is no audience {shown(audience)}."))
    if contract is not None and contract not in catalogue.trigger_contracts:
        message = f"There is no trigger contract {shown(contract)}."
        faults.append(Fault("/triggerContractId", "trigger_contract_not_found", message))
    return faults
