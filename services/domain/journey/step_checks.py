"""Whether one step is complete and everything it names exists.

Law: a step is judged alone, by the catalogue of its workspace; where it leads is the graph's matter (`graph.py`).
Source: contract 2, "publish".
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from services.domain.errors import Fault
from services.domain.journey.conditions import leaves_of, typing_faults
from services.domain.journey.members import escaped, pointer, shown, walked
from services.domain.journey.model import (
    NO_DURATION_MS,
    UNWRITTEN,
    Arm,
    BranchAdaptive,
    BranchCondition,
    BranchRandom,
    Case,
    Exit,
    InSegment,
    Predicate,
    Received,
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
from services.domain.journey.recurrence import BadRule, read_rule

_WEB = re.compile(
    r"https?://[^/?#\s]|.*\{[{%]", re.IGNORECASE | re.DOTALL
)  # what Liquid makes is checked when it is made
_LIQUID = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_CREDENTIALS = re.compile(r"[^/?#]*//[^/?#]*@")


@dataclass(frozen=True, slots=True)
class CommunicationInfo:
    """What publishing asks of a communication."""

    comm_type: str  # marketing, transactional
    channel: str
    status: str = "active"  # active, archived


def _no_faults(text: str) -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What exists in the workspace, and what the journey names outside its steps.

    `template_faults` gives a sentence for each thing wrong with a Liquid text.
    """

    communications: Mapping[str, CommunicationInfo] = field(default_factory=dict)
    audiences: frozenset[str] = frozenset()
    trigger_contracts: frozenset[str] = frozenset()
    audience_id: str | None = None
    trigger_contract_id: str | None = None
    goal_event_name: str | None = None
    template_faults: Callable[[str], Sequence[str]] = _no_faults


def step_faults(step: Step, at: str, catalogue: Catalogue, sends: Collection[str]) -> Iterator[Fault]:
    """Every fault of the step at the pointer `at`; `sends` are the ids of the journey's send steps."""
    for condition, suffix in conditions_of(step):
        yield from condition_faults(condition, at + suffix, catalogue.audiences, sends)
    match step:
        case Trigger():
            yield from _trigger(step, at, catalogue)
        case WaitDuration():
            if step.duration_ms == NO_DURATION_MS:
                yield Fault(f"{at}/duration", "duration_missing", "The wait has no duration.")
        case WaitUntilTime():
            if step.at is None and step.local_time is None and step.attribute is None:
                yield Fault(at, "time_missing", "The wait needs one of at, localTime and attribute.")
        case WaitUntilEvent():
            if not step.event_name:
                yield Fault(f"{at}/eventName", "event_name_missing", "The wait names no event.")
            yield from _timeout(step, at)
        case WaitUntilCondition():
            yield from _timeout(step, at)
        case BranchCondition():
            yield from _same_ids(step.cases, f"{at}/branches")
        case BranchRandom():
            yield from _arms(step.arms, at)
            if step.arms and not any(arm.weight for arm in step.arms):
                yield Fault(f"{at}/arms", "weights_missing", "All weights are zero, so no arm can be drawn.")
        case BranchAdaptive():
            yield from _arms(step.arms, at)
            if not (step.goal_event_name or catalogue.goal_event_name):
                message = "An adaptive branch learns from a goal: set optimizationGoal or the journey's goalEventName."
                yield Fault(f"{at}/optimizationGoal", "goal_missing", message)
        case Send():
            yield from _send(step, at, catalogue.communications)
        case Webhook():
            yield from _webhook(step, at, catalogue)
        case UpdateProfile():
            yield from _update_profile(step, at, catalogue)
        case Exit():
            pass
        case _:
            assert_never(step)


def conditions_of(step: Step) -> list[tuple[Predicate, str]]:
    """The step's predicates, each with its pointer from the step."""
    match step:
        case Trigger(filter=condition) | WaitUntilEvent(filter=condition):
            return [] if condition is None else [(condition, "/filter")]
        case WaitUntilCondition(condition=condition):
            return [(condition, "/condition")]
        case BranchCondition(cases=cases):
            return [(case.condition, f"/branches/{i}/condition") for i, case in enumerate(cases)]
        case _:
            return []


def condition_faults(
    condition: Predicate, at: str, audiences: Collection[str], sends: Collection[str]
) -> Iterator[Fault]:
    """Comparisons that can never hold, audiences and steps that are not there."""
    if condition is UNWRITTEN:
        yield Fault(at, "invalid_condition", "There is no condition.")
        return
    yield from typing_faults(condition, at)
    for leaf, path in leaves_of(condition, at):
        if isinstance(leaf, InSegment) and leaf.audience_id not in audiences:
            yield Fault(path, "audience_not_found", f"There is no audience {shown(leaf.audience_id)}.")
        elif isinstance(leaf, Received) and leaf.step_id not in sends:
            yield Fault(f"{path}/stepId", "invalid_condition", f"There is no send step {shown(leaf.step_id)}.")


def _trigger(step: Trigger, at: str, catalogue: Catalogue) -> Iterator[Fault]:
    if step.mode == "schedule" and step.at is None and step.local_at is None and step.rrule is None:
        yield Fault(at, "schedule_missing", "A scheduled trigger needs at or rrule.")
    if step.rrule is not None:
        try:
            read_rule(step.rrule)
        except BadRule as refusal:
            yield Fault(f"{at}/rrule", "invalid_schedule", str(refusal))
    if step.mode == "audience_entry" and catalogue.audience_id is None:
        yield Fault(
            "/audienceId", "audience_missing", "A trigger on entering the audience needs the journey's audience."
        )


def _timeout(step: WaitUntilEvent | WaitUntilCondition, at: str) -> Iterator[Fault]:
    if step.timeout_ms is None:
        yield Fault(f"{at}/timeout", "timeout_missing", "The wait has no timeout, so it might never end.")


def _arms(arms: tuple[Arm, ...], at: str) -> Iterator[Fault]:
    if len(arms) < 2:
        yield Fault(f"{at}/arms", "arms_missing", f"The branch needs two arms at least, and has {len(arms)}.")
    yield from _same_ids(arms, f"{at}/arms")


def _same_ids(ways: Sequence[Arm | Case], at: str) -> Iterator[Fault]:
    seen: set[str] = set()
    for i, way in enumerate(ways):
        if way.id in seen:
            yield Fault(f"{at}/{i}/id", "duplicate_arm_id", f"{shown(way.id)} is the id of an earlier one.")
        seen.add(way.id)


def _send(step: Send, at: str, communications: Mapping[str, CommunicationInfo]) -> Iterator[Fault]:
    path = f"{at}/communicationId"
    if not step.channel:
        yield Fault(f"{at}/channel", "channel_missing", "The send step has no channel.")
    if not step.communication_id:
        yield Fault(path, "communication_not_found", "The send step names no communication.")
        return
    name = shown(step.communication_id)
    found = communications.get(step.communication_id)
    if found is None:
        yield Fault(path, "communication_not_found", f"There is no communication {name}.")
        return
    if found.comm_type != "marketing":
        message = f"The communication {name} is {found.comm_type}; a journey sends marketing communications only."
        yield Fault(path, "send_step_uses_transactional_comm", message)
    if found.status == "archived":
        yield Fault(path, "communication_archived", f"The communication {name} is archived.")
    if step.channel and found.channel != step.channel:
        message = f"The communication {name} is made for {found.channel}, the step sends by {step.channel}."
        yield Fault(f"{at}/channel", "channel_mismatch", message)


def _webhook(step: Webhook, at: str, catalogue: Catalogue) -> Iterator[Fault]:
    if not step.url:
        yield Fault(f"{at}/url", "url_missing", "The webhook has no url.")
    elif not _WEB.match(step.url):
        yield Fault(f"{at}/url", "invalid_url", "A webhook's url begins with https:// or http:// and names a host.")
    elif _CREDENTIALS.match(_LIQUID.sub("x", step.url)):
        sentence = "A webhook's url holds no user name and no password: put them into a header."
        yield Fault(f"{at}/url", "url_with_credentials", sentence)
    yield from _template(step.url, f"{at}/url", catalogue)
    for name, text in step.headers.items():
        yield from _template(text, f"{at}/headers/{escaped(name)}", catalogue)
    for value, _, link in walked(step.body):
        if isinstance(value, str):
            yield from _template(value, pointer(f"{at}/body", link), catalogue)


def _update_profile(step: UpdateProfile, at: str, catalogue: Catalogue) -> Iterator[Fault]:
    if not step.set:
        yield Fault(f"{at}/set", "nothing_to_set", "The step sets no attribute.")
    for name, value in step.set.items():
        if isinstance(value, str):
            yield from _template(value, f"{at}/set/{escaped(name)}", catalogue)


def _template(text: str, at: str, catalogue: Catalogue) -> Iterator[Fault]:
    for sentence in catalogue.template_faults(text):
        yield Fault(at, "invalid_template", sentence)
