"""What must be loaded before a predicate can be decided.

Law: evaluation never asks for more than this names. Walks are iterative.
"""

from dataclasses import dataclass
from typing import assert_never

from services.domain.journey.conditions import leaves_of
from services.domain.journey.model import ChannelOptedIn, Compare, EventFired, InSegment, Predicate, Received
from services.domain.journey.predicate import AudienceLookup


@dataclass(frozen=True, slots=True)
class Needs:
    """What must be loaded before a predicate can be decided.

    `windows` pairs an event's name with the days looked back, None since the execution's start.
    """

    event_names: frozenset[str] = frozenset()
    audience_ids: frozenset[str] = frozenset()
    step_ids: frozenset[str] = frozenset()
    windows: frozenset[tuple[str, float | None]] = frozenset()

    def __or__(self, other: "Needs") -> "Needs":
        return Needs(
            self.event_names | other.event_names,
            self.audience_ids | other.audience_ids,
            self.step_ids | other.step_ids,
            self.windows | other.windows,
        )


def needs_of(predicate: Predicate, audience: AudienceLookup) -> Needs:
    """What the predicate reads, over all audiences it refers to, each looked at once."""
    events: set[tuple[str, float | None]] = set()
    audiences: set[str] = set()
    steps: set[str] = set()
    waiting = [predicate]
    while waiting:
        for leaf, _ in leaves_of(waiting.pop()):
            match leaf:
                case EventFired():
                    events.add((leaf.event_name, leaf.days))
                case Received(step_id):
                    steps.add(step_id)
                case InSegment(audience_id):
                    found = None if audience_id in audiences else audience(audience_id)
                    audiences.add(audience_id)
                    if found is not None and found.predicate is not None:
                        waiting.append(found.predicate)
                case Compare() | ChannelOptedIn():
                    pass
                case _:
                    assert_never(leaf)
    names = frozenset(name for name, _ in events)
    return Needs(names, frozenset(audiences), frozenset(steps), frozenset(events))
