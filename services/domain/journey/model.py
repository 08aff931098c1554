"""A journey's parts as values: the closed union of steps and the closed union of predicates.

Law: these are what decisions read. The JSON an author wrote is kept and shown as it was written; it is read
into these values by `reading.py`, and nothing is written back from them. Lengths of time are milliseconds.
Source: contract 2.1, 2.2 and 3.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Json = Any  # what json.loads gives: None, bool, int, float, str, list, dict

CHANNELS = ("email", "in_app_push", "mobile_push")
RECEIPTS = ("sent", "delivered", "opened", "clicked", "bounced", "complained", "unsubscribed", "failed")
NO_DURATION_MS = -1  # a draft's wait whose duration nobody wrote yet; publish refuses it


class Operator(StrEnum):
    """How an attribute leaf compares."""

    EQUALS = "equals"
    NOT_EQUALS = "not_equals"
    IN = "in"
    NOT_IN = "not_in"
    CONTAINS = "contains"
    NOT_CONTAINS = "not_contains"
    STARTS_WITH = "starts_with"
    ENDS_WITH = "ends_with"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    BETWEEN = "between"
    EXISTS = "exists"
    NOT_EXISTS = "not_exists"
    BEFORE = "before"
    AFTER = "after"
    ON = "on"


class Root(StrEnum):
    """Where an attribute leaf looks: its `kind` in JSON."""

    ATTRIBUTE = "attribute"
    EVENT = "event_attribute"
    CONTEXT = "context"


@dataclass(frozen=True, slots=True)
class Compare:
    """attribute / event_attribute / context: one value of the profile, the event or the saved answers."""

    root: Root
    path: tuple[str, ...]
    operator: Operator
    value: Json = None


@dataclass(frozen=True, slots=True)
class EventFired:
    """event_fired / event_not_fired (`negated`): at least `at_least` events of that name in the window.

    `days` None means since the execution started.
    """

    event_name: str
    days: float | None
    at_least: int = 1
    where: "Predicate | None" = None
    negated: bool = False


@dataclass(frozen=True, slots=True)
class InSegment:
    """in_segment (in_cohort): membership in an audience."""

    audience_id: str


@dataclass(frozen=True, slots=True)
class ChannelOptedIn:
    """channel_opted_in / channel_opted_out (`negated`)."""

    channel: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    """received: what became of the message of an earlier send step of this execution."""

    step_id: str
    status: str


@dataclass(frozen=True, slots=True)
class And:
    """True if every clause is; an empty one is true."""

    clauses: tuple["Predicate", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True if any clause is; an empty one is false."""

    clauses: tuple["Predicate", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """True if its clause is not."""

    clause: "Predicate"


Leaf = Compare | EventFired | InSegment | ChannelOptedIn | Received
Predicate = Leaf | And | Or | Not

# A draft's condition that nobody wrote yet: never true, and refused at publish, which knows it by identity.
UNWRITTEN = Or(())


@dataclass(frozen=True, slots=True)
class Trigger:
    """Where people come in. `mode`: event, audience_entry, schedule, manual.

    Of a schedule, `at` is an instant; `local_at` is what clocks in the zone show then, in ms as if that were UTC.
    """

    id: str
    mode: str
    next: str | None
    filter: Predicate | None = None
    backfill: bool = True
    at: int | None = None
    local_at: int | None = None
    rrule: str | None = None
    timezone: str | None = None


@dataclass(frozen=True, slots=True)
class WaitDuration:
    """Waits a length of time."""

    id: str
    duration_ms: int
    next: str | None


@dataclass(frozen=True, slots=True)
class WaitUntilTime:
    """Waits for a moment: absolute, a local time of day, or one read from an attribute, with an offset."""

    id: str
    next: str | None
    at: int | None = None
    local_time: str | None = None
    weekdays: tuple[str, ...] = ()
    attribute: tuple[str, ...] | None = None
    offset_ms: int = 0
    offset_days: int = 0


@dataclass(frozen=True, slots=True)
class WaitUntilEvent:
    """Waits for an event of that name whose `match` pairs all agree, at most `timeout_ms`.

    `match` pairs a path in the awaited event with a rooted path (`event.orderId`) of this execution.
    """

    id: str
    event_name: str
    next: str | None
    timeout_ms: int | None
    on_timeout: str | None
    match: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    filter: Predicate | None = None


@dataclass(frozen=True, slots=True)
class WaitUntilCondition:
    """Waits until a condition holds, at most `timeout_ms`."""

    id: str
    condition: Predicate
    next: str | None
    timeout_ms: int | None
    on_timeout: str | None


@dataclass(frozen=True, slots=True)
class Case:
    """One way out of a condition branch."""

    id: str
    condition: Predicate
    next: str | None


@dataclass(frozen=True, slots=True)
class Arm:
    """One way out of a random or adaptive branch; `weight` is relative and only random branches use it."""

    id: str
    next: str | None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class BranchCondition:
    """The first case that holds wins, else the default."""

    id: str
    cases: tuple[Case, ...]
    default: str | None


@dataclass(frozen=True, slots=True)
class BranchRandom:
    """A weighted draw, the same for a subject every time."""

    id: str
    arms: tuple[Arm, ...]


@dataclass(frozen=True, slots=True)
class BranchAdaptive:
    """A draw that learns which arm converts."""

    id: str
    arms: tuple[Arm, ...]
    goal_event_name: str | None = None
    min_sample_floor: int = 200
    exploration_floor: float = 0.05


@dataclass(frozen=True, slots=True)
class Send:
    """Sends a communication over a channel. `on_failure`: continue or fail."""

    id: str
    channel: str
    communication_id: str
    next: str | None
    on_failure: str = "continue"


@dataclass(frozen=True, slots=True)
class Webhook:
    """Calls a customer's server."""

    id: str
    url: str
    next: str | None
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Json = None
    timeout_ms: int = 10_000
    retries: int = 3
    save_as: str | None = None
    on_failure: str = "continue"


@dataclass(frozen=True, slots=True)
class UpdateProfile:
    """Sets attributes; a string is a Liquid template, anything else a literal."""

    id: str
    set: Mapping[str, Json]
    next: str | None


@dataclass(frozen=True, slots=True)
class Exit:
    """Ends the execution."""

    id: str
    reason: str | None = None


Step = (
    Trigger
    | WaitDuration
    | WaitUntilTime
    | WaitUntilEvent
    | WaitUntilCondition
    | BranchCondition
    | BranchRandom
    | BranchAdaptive
    | Send
    | Webhook
    | UpdateProfile
    | Exit
)


@dataclass(frozen=True, slots=True)
class Reentry:
    """When a person may enter again. `mode`: every_event, once, after_exit."""

    mode: str = "every_event"
    min_interval_ms: int | None = None
    concurrency_key: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ExitOn:
    """Leaves at any step when that event comes (and its `match` pairs agree)."""

    event_name: str
    match: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """A journey's settings (contract 2.2)."""

    reentry: Reentry = Reentry()
    exit_on: tuple[ExitOn, ...] = ()
    exit_on_goal: bool = False
    max_duration_ms: int = 365 * 86_400_000
    timezone: str | None = None
    sends_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class Graph:
    """Steps in the order they were written, and where people come in."""

    steps: tuple[Step, ...]
    settings: Settings

    @property
    def entry(self) -> Step:
        """The trigger step if there is one, else the first."""
        return next((step for step in self.steps if isinstance(step, Trigger)), self.steps[0])
