"""Who became a member: the difference between what was known of a person and what is so now.

Law: a person enters on becoming a member, once each time, under an event id made of a counter, so that a repeat
finds the first decision. An entry is stored before the counter is; a counter that a crash kept back is taken from
the entries themselves. Of time alone, only rolling windows change: the next moment at which one can is computed, so
nobody is looked at in vain.
Source: contract 2.1 (trigger, audience_entry).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from services.domain.execution.execution import Occasion
from services.domain.execution.paths import envelope
from services.domain.journey.conditions import leaves_of
from services.domain.journey.model import EventFired, InSegment, Predicate
from services.domain.journey.predicate import AudienceLookup, Facts, PastEvent, compile_predicate
from services.domain.times import DAY_MS

SOURCE = "audience_entry"


@dataclass(frozen=True, slots=True)
class Window:
    """One rolling window that a predicate counts in."""

    event_name: str
    length_ms: int
    at_least: int
    where: Callable[[Facts], bool] | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one person and one journey's audience. `due_at`: when time alone may change it, ms."""

    is_member: bool = False
    entries: int = 0
    due_at: int | None = None


def entry_id(number: int) -> str:
    """The event id of a person's n-th entry, n from 1."""
    return f"{SOURCE}-{number}"


def entries_in(occasions: Iterable[Occasion]) -> tuple[int, int]:
    """How many entries these executions show, and when the last of them was (ms); (0, 0) where there is none."""
    most = (0, 0)
    for occasion in occasions:
        name, _, number = occasion.event_id.rpartition("-")
        if occasion.source == SOURCE and name == SOURCE and number.isdecimal():
            most = max(most, (int(number), occasion.at))
    return most


def standing_after(
    before: Standing, is_member: bool, change_at: int | None, now: int, *, entered: int = 0, is_recording: bool = False
) -> tuple[Standing, int | None]:
    """The standing now, and the number of the entry to be made, if one is.

    `entered` are the entries that executions show: more than were counted means that a crash kept the last one's
    standing back, and they had become a member. `is_recording`: whoever is a member is noted and does not enter.
    `change_at` is when time alone may change it; an alarm before that is kept, since it moves itself when it rings.
    """
    known = Standing(True, entered, before.due_at) if entered > before.entries else before
    due_at = _alarm(known.due_at, change_at, now)
    entry = None
    if is_member and not known.is_member and not is_recording:
        entry = known.entries + 1
    return Standing(is_member, known.entries + (entry is not None), due_at), entry


def windows_of(audience_id: str, audience: AudienceLookup) -> tuple[Window, ...]:
    """Every rolling window that membership depends on, those of audiences inside it included, each looked at once."""
    return windows_in(InSegment(audience_id), audience)


def windows_in(predicate: Predicate, audience: AudienceLookup) -> tuple[Window, ...]:
    """Every rolling window that a predicate counts in, those of audiences it names included, each looked at once."""
    found: list[Window] = []
    seen: set[str] = set()
    waiting: list[Predicate] = [predicate]
    while waiting:
        for leaf, _ in leaves_of(waiting.pop()):
            if isinstance(leaf, InSegment) and leaf.audience_id not in seen:
                seen.add(leaf.audience_id)
                inner = audience(leaf.audience_id)
                if inner is not None and inner.predicate is not None:
                    waiting.append(inner.predicate)
            elif isinstance(leaf, EventFired) and leaf.days is not None:
                where = None if leaf.where is None else compile_predicate(leaf.where)
                found.append(Window(leaf.event_name, round(leaf.days * DAY_MS), leaf.at_least, where))
    return tuple(found)


def next_change(windows: Sequence[Window], facts: Facts) -> int | None:
    """The first moment after `facts.now` at which time alone can change what these windows say; None: never.

    A count can only fall as time passes, so it is the moment at which the event that makes it just enough leaves.
    """
    least: int | None = None
    for window in windows:
        since = facts.now - window.length_ms
        counted = [
            past.at
            for past in facts.events(window.event_name)
            if since <= past.at <= facts.now and (window.where is None or window.where(_about(past, facts)))
        ]
        if len(counted) >= window.at_least:
            counted.sort(reverse=True)
            leaves_at = counted[window.at_least - 1] + window.length_ms + 1
            least = leaves_at if least is None else min(least, leaves_at)
    return least


def _about(past: PastEvent, facts: Facts) -> Facts:
    return replace(facts, event=envelope(past.id, past.type, facts.end_user_id, dict(past.data), past.at, past.at))


def _alarm(standing: int | None, change_at: int | None, now: int) -> int | None:
    """The alarm to keep. An earlier one that is still to come stays, which saves a write at every event."""
    if standing is None or standing <= now:
        return change_at
    return standing if change_at is None else min(standing, change_at)
