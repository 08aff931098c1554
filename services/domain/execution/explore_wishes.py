"""What has to be so for a way to be taken, and what each leaf is about at its place on the path.

Law: a leaf is a fixed truth only where no person could make it otherwise; in doubt it is a variable.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from services.domain.execution.explore_solving import Literal, Variable, Wish
from services.domain.execution.version import Version
from services.domain.journey.model import (
    BranchCondition,
    BranchRandom,
    ChannelOptedIn,
    Compare,
    EventFired,
    InSegment,
    Leaf,
    Operator,
    Predicate,
    Received,
    Root,
    Send,
    Step,
    UpdateProfile,
    WaitDuration,
    WaitUntilCondition,
    WaitUntilEvent,
    WaitUntilTime,
    Webhook,
)
from services.domain.journey.predicate import Audience, Facts, compile_predicate, segment_fault


@dataclass(frozen=True, slots=True)
class Place:
    """Where on a path something is asked. `segment`: how many waits came before; `awaited`: the event looked at.

    `written` are attributes that the journey has set on the way, by dotted path, each a literal or a template.
    """

    segment: int = 0
    awaited: str | None = None
    written: Mapping[str, Any] = field(default_factory=dict)
    sent: frozenset[str] = frozenset()
    saved: frozenset[str] = frozenset()


@dataclass(slots=True)
class Wishes:
    """Makes wishes of ways, and resolves their leaves."""

    version: Version
    audience: Callable[[str], Audience | None]

    def of_way(self, step: Step, way: str, place: Place) -> tuple[list[Wish] | None, Place]:
        """What the way out of the step needs, None if nobody can take it; and the place behind it."""
        waited = replace(place, segment=place.segment + 1)
        match step:
            case BranchCondition():
                wishes: list[Wish] = []
                for case in step.cases:
                    if case.id == way:
                        return [*wishes, Wish(case.condition, True, place)], place
                    wishes.append(Wish(case.condition, False, place))
                return wishes, place
            case BranchRandom():
                return (None if any(arm.id == way and arm.weight <= 0 for arm in step.arms) else []), place
            case WaitUntilEvent():
                if way == "timeout":
                    return (None if step.timeout_ms is None else []), waited
                there = replace(waited, awaited=step.id)
                wishes = [] if step.filter is None else [Wish(step.filter, True, there)]
                for _, ours in step.match:
                    if ours[0] == "event":
                        wishes.append(Wish(Compare(Root.EVENT, ours[1:], Operator.EXISTS), True, place))
                    elif ours[0] == "subject" and ours[1:] not in (("endUserId",), ("email",), ("timezone",)):
                        wishes.append(Wish(Compare(Root.ATTRIBUTE, ours[1:], Operator.EXISTS), True, place))
                return wishes, waited
            case WaitUntilCondition():
                if way == "timeout":
                    return (None if step.timeout_ms is None else [Wish(step.condition, False, waited)]), waited
                return [Wish(step.condition, True, waited)], waited
            case WaitDuration() | WaitUntilTime():
                return [], waited
            case UpdateProfile():
                return [], replace(place, written={**place.written, **step.set})
            case Send():
                return [], replace(place, sent=place.sent | {step.id})
            case Webhook(save_as=str() as name):
                return [], replace(place, saved=place.saved | {name})
            case _:
                return [], place

    def resolve(self, leaf: Leaf, wanted: bool, place: Place) -> bool | Predicate | tuple[Variable, Literal]:
        """What the leaf is about, of a person whose profile changes only by the journey."""
        return self._about(leaf, wanted, place, 0)

    def resolve_by_segment(self, leaf: Leaf, wanted: bool, place: Place) -> bool | Predicate | tuple[Variable, Literal]:
        """The same of a person whose profile may be another one after each wait."""
        return self._about(leaf, wanted, place, place.segment)

    def _about(self, leaf: Leaf, wanted: bool, place: Place, epoch: int) -> bool | Predicate | tuple[Variable, Literal]:
        literal = Literal(leaf, wanted)
        match leaf:
            case Compare(root=Root.ATTRIBUTE):
                return self._attribute(leaf, literal, place, epoch)
            case Compare(root=Root.EVENT):
                if place.awaited is not None:
                    return ("awaited", place.awaited, _bare(leaf.path)), literal
                return ("trigger", _bare(leaf.path)), literal
            case Compare():
                if leaf.path[0] not in place.saved:
                    return leaf.operator is Operator.NOT_EXISTS
                return ("context", leaf.path), literal
            case EventFired():
                if leaf.days is None and place.segment == 0:
                    return leaf.negated  # nothing has come since the start
                contract = self.version.contract
                own = contract is not None and contract.event_name == leaf.event_name and leaf.days is not None
                least = int(own and leaf.where is None and place.segment == 0)
                name: Variable = ("events", leaf.event_name, leaf.days, repr(leaf.where), place.segment)
                return name, replace(literal, least=least)
            case InSegment(audience_id):
                found = self.audience(audience_id)
                if found is None or segment_fault(audience_id, self.audience) is not None:
                    return False
                return (("member", audience_id), literal) if found.predicate is None else found.predicate
            case ChannelOptedIn(channel=channel):
                return ("opted", channel, epoch), literal
            case Received():
                if leaf.step_id not in place.sent:
                    return False
                if leaf.status in ("sent", "failed"):
                    return ("result", leaf.step_id), literal
                return ("received", leaf.step_id, leaf.status, place.segment), literal

    def _attribute(self, leaf: Compare, literal: Literal, place: Place, epoch: int) -> bool | tuple[Variable, Literal]:
        path = ".".join(leaf.path)
        for written, value in place.written.items():
            if written == path and not isinstance(value, dict) and not _is_template(value):
                return self._fixed(leaf, value)
            if written == path or path.startswith(f"{written}.") or written.startswith(f"{path}."):
                return ("opaque", path, place.segment, repr(leaf)), literal
        return ("attribute", leaf.path, epoch), literal

    def _fixed(self, leaf: Compare, value: Any) -> bool:
        return compile_predicate(leaf)(Facts(now=0, attributes=_nested(leaf.path, value)))


def _nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    return dict(value)


def _bare(path: tuple[str, ...]) -> tuple[str, ...]:
    """`data.orderId` and `orderId` mean the same."""
    return path[1:] if len(path) > 1 and path[0] == "data" else path


def _is_template(value: Any) -> bool:
    return isinstance(value, str) and ("{{" in value or "{%" in value)
