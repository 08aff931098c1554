"""One person's way through one version of a journey, as stored.

Law: an execution is one document and changes by one guarded write at a time; `transition` is the guard.
`due_at` is present while anything is outstanding: a wait, a deadline, an unsettled intent, an entry not yet
in the log. Times are milliseconds since 1970, UTC. Field names are stored: choose once.
Source: runtime design 2.1.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any

from services.domain.execution.lifecycle import Status
from services.domain.execution.repeats import Repeats

FOREVER = 1 << 53
HISTORY_KEPT = 64
APPLIED_KEPT = 256
GATES_KEPT = 64
LEASE_MS = 30_000
MOST_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Occasion:
    """What started an execution. `at` is when it happened, `received_at` when it reached us.

    `source`: event, manual, internal. `email`: an address for this execution's mails alone.
    """

    event_id: str
    type: str
    data: Mapping[str, Any]
    at: int
    received_at: int
    source: str = "event"
    email: str | None = None
    stated_at: int | None = None  # the event's own timestamp, where it had one


@dataclass(frozen=True, slots=True)
class Goal:
    """What counts as a conversion, as it was when the execution started.

    `since` is when the journey was given this goal: reports count only what started at or after it.
    """

    event_name: str
    window_ms: int
    since: int | None = None


@dataclass(frozen=True, slots=True)
class GoalReached:
    """A conversion: which event, when it happened."""

    event_id: str
    at: int


@dataclass(frozen=True, slots=True)
class Wait:
    """What an execution waits for. `mode`: duration, until_event, result.

    `until` is the timer or timeout; `since` is when the wait was opened: an event appended earlier cannot wake it.
    `intent` names the send whose result a `result` wait is for.
    """

    step_id: str
    mode: str
    since: int
    until: int | None = None
    event_name: str | None = None
    intent: str | None = None


@dataclass(frozen=True, slots=True)
class ArmChoice:
    """Which way a person was sent, with what probability, and whether it was worth it.

    `mode`: random, cold_start, adaptive, fallback. `converted_at` is the least moment of an event that counts for the
    arm, within `goal.window_ms` after `routed_at`; random arms have no goal.
    """

    arm_id: str
    mode: str
    propensity: float
    snapshot_id: str | None = None
    routed_at: int = 0
    goal: Goal | None = None
    converted_at: int | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """An effect that is promised and not settled. `kind`: send, profile. `state`: new, claimed."""

    kind: str
    step_id: str
    state: str
    lease_until: int
    attempts: int = 0
    channel: str | None = None
    retry_at: int | None = None
    values: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """How an effect ended: sent, failed, skipped, unknown. Set once; only `unknown` may be corrected."""

    state: str
    at: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened. `id` is unique for ever, so a repeated publication is recognised."""

    id: str
    at: int
    step_id: str
    action: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a start was decided against. The checks stand in the execution's `gates`; those written before them, here."""

    reason: str
    checks: tuple[Mapping[str, Any], ...] = ()


# A check of a gate as it is kept: what was asked, the reason where it said no, and the values it looked at.
Judged = tuple[str, str | None, Mapping[str, Any]]


def judged(checks: Iterable[Mapping[str, Any]]) -> tuple[Judged, ...]:
    """Checks in the form that is kept: half the bytes."""
    return tuple([(check["check"], check.get("reason"), check["inputs"]) for check in checks])


def checks_of(kept: Iterable[Judged]) -> list[dict[str, Any]]:
    """Checks in the form that is shown: check, passed, reason where it said no, inputs."""
    shown: list[dict[str, Any]] = []
    for name, reason, inputs in kept:
        told = {"check": name, "passed": reason is None}
        shown.append({**told, "inputs": inputs} if reason is None else {**told, "reason": reason, "inputs": inputs})
    return shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """See the module. Identity first, then state."""

    key: str
    slot: int
    lane: int
    subject_key: str
    workspace_id: str
    execution_id: str
    journey_id: str
    journey_version: int
    subject_id: str
    trigger: Occasion
    started_at: int
    schema: int = 1
    status: Status = Status.RUNNING
    step_id: str = ""
    transition: int = 1
    owner_epoch: int = 0
    watermarks: Mapping[str, int] = field(default_factory=dict)
    applied_ids: tuple[str, ...] = ()
    due_at: int | None = None
    step_due_at: int | None = None
    deadline_at: int | None = None
    retry_at: int | None = None
    outbox_due_at: int | None = None
    wait: Wait | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    arms: Mapping[str, ArmChoice] = field(default_factory=dict)
    goal: Goal | None = None
    visits: Mapping[str, int] = field(default_factory=dict)
    intents: Mapping[str, Intent] = field(default_factory=dict)
    results: Mapping[str, Result] = field(default_factory=dict)
    goals: tuple[GoalReached, ...] = ()
    outbox: tuple[Entry, ...] = ()
    history: tuple[Entry, ...] = ()
    history_dropped: int = 0
    attempts: int = 0
    parked: bool = False
    last_error: str | None = None
    ended_at: int | None = None
    open_until: int = FOREVER
    expire_at: int | None = None
    exit_reason: str | None = None
    failed_step_id: str | None = None
    refusal: Refusal | None = None
    holdout_share: float = 0.0  # of people held back when this start was decided, 0 to 1
    gates: Mapping[str, tuple[Judged, ...]] = field(
        default_factory=dict
    )  # by "step-visit", of the start by ""; the last 64
    repeats: Repeats | None = None  # of this start; those of its event stand in the event's record


_NAMES = tuple(one.name for one in fields(Execution))
_values_of = attrgetter(*_NAMES)
_setters = tuple(getattr(Execution, name).__set__ for name in _NAMES)
_setter_of = dict(zip(_NAMES, _setters, strict=True))


def altered(execution: Execution, **members: Any) -> Execution:
    """The same execution with other members: `replace` at less than half its price, which every write pays."""
    made = object.__new__(Execution)
    for write, value in zip(_setters, _values_of(execution), strict=True):
        write(made, value)
    for name, value in members.items():
        _setter_of[name](made, value)
    return made


def least_due(
    parked: bool,
    retry_at: int | None,
    step_due_at: int | None,
    deadline_at: int | None,
    outbox_due_at: int | None,
    intents: Mapping[str, Intent],
) -> int | None:
    """The least of all alarms: what `due_at` has to be. A parked execution has none, a troubled one its retry."""
    if parked:
        return None
    if retry_at is not None:
        return retry_at
    alarms = [at for at in (step_due_at, deadline_at, outbox_due_at) if at is not None]
    alarms.extend(max(intent.lease_until, intent.retry_at or 0) for intent in intents.values())
    return min(alarms, default=None)


def with_due(execution: Execution) -> Execution:
    """The same execution with the `due_at` its alarms ask for."""
    one = execution
    due_at = least_due(one.parked, one.retry_at, one.step_due_at, one.deadline_at, one.outbox_due_at, one.intents)
    return one if due_at == one.due_at else altered(one, due_at=due_at)


def troubled(execution: Execution, error: str, transition: int, now: int) -> Execution:
    """The same execution after a plan that failed: tried again later and later, after ten times set aside.

    1 s x 2^attempts, at most 5 minutes. Source: runtime design 5 (failure).
    """
    attempts = execution.attempts + 1
    parked = attempts >= MOST_ATTEMPTS
    changed = altered(
        execution,
        transition=transition,
        attempts=attempts,
        last_error=error[:500],
        parked=parked,
        retry_at=None if parked else now + min(1000 * 2**attempts, 300_000),
    )
    return with_due(changed)


def is_over(status: Status) -> bool:
    """Whether an execution of that status walks no further."""
    return status is not Status.RUNNING
