"""One person's recorded events walked through a version: what would have come of them.

Law: the same planner in virtual time, as in a dry run; all executions of the person go on side by side, share one
profile and one ledger, and meet every event in the order in which it came. The clock stops where the records end: who
waits then, waits. Nothing here is kept but counts.
Source: contract 5 (Backtest).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from services.domain.execution.execution import Execution, Occasion
from services.domain.execution.lifecycle import Status
from services.domain.execution.paths import envelope
from services.domain.execution.simulate import SENT, TOPIC, Answer, DryRun, next_alarm
from services.domain.execution.triggers import EventCame, Former, Profile, Start, TimerDue
from services.domain.execution.version import Version
from services.domain.journey.model import Send, Webhook
from services.domain.journey.paths import event_value
from services.domain.journey.predicate import PastEvent


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event as it was kept. `at` is when it happened, `received_at` when it reached us (ms)."""

    id: str
    type: str
    data: Mapping[str, Any]
    at: int
    received_at: int
    stated_at: int | None = None


@dataclass(slots=True)
class Tally:
    """What is counted, over everybody. It is the witness of the plans and the world they speak to.

    `entered` executions; `reached` per step; `gated` per reason, at the start and at sends; `messages` per UTC day.
    """

    entered: int = 0
    reached: Counter[str] = field(default_factory=Counter)
    gated: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)

    def entered_step(self, step_id: str) -> None:
        """One more reached it."""
        self.reached[step_id] += 1

    def sent(self, now: int) -> None:
        """One more message on that day."""
        self.messages[datetime.fromtimestamp(now // 1000, UTC).date().isoformat()] += 1


@dataclass(frozen=True, slots=True)
class Watching:
    """The witness that counts."""

    tally: Tally

    def entered(self, step_id: str, at: int) -> None:
        """A step is entered."""
        self.tally.entered_step(step_id)

    def noted(self, step_id: str, at: int, action: str, detail: Mapping[str, Any]) -> None:
        """A gate said no."""
        if action == "send.skipped":
            self.tally.gated[detail["reason"]] += 1

    def judged(self, step_id: str, at: int, checks: Sequence[Mapping[str, Any]]) -> None:
        """What it said no to is noted."""


@dataclass(frozen=True, slots=True)
class Counting:
    """The world that counts: everything works, nothing happens."""

    tally: Tally

    def send(self, execution: Execution, key: str, step: Send, profile: Profile, now: int) -> Answer:
        """A message that would have gone out."""
        self.tally.sent(now)
        return SENT

    def call(self, execution: Execution, key: str, step: Webhook, profile: Profile, now: int) -> Answer:
        """A call whose answer nobody knows."""
        return SENT

    def set_profile(self, step_id: str, values: Mapping[str, Any], now: int) -> None:
        """The run keeps the profile."""


Fresh = Callable[[Occasion, int], Execution]  # an occasion and its moment: the execution before its first decision


def play(
    run: DryRun, events: Iterable[RecordedEvent], fresh: Fresh, person: str, starts_at: int, ends_at: int, tally: Tally
) -> None:
    """Walk one person's events through the run's version. Events before `starts_at` are past; none are after `ends_at`.

    `run` is theirs alone and has `Watching` as its witness and `Counting` outside.
    """
    walking: list[Execution] = []
    formers: list[Execution] = []  # over, and no longer of interest but for re-entry
    for offset, event in enumerate(sorted(events, key=lambda one: (one.received_at, one.id))):
        now = event.received_at
        past = PastEvent(event.id, event.type, event.at, event.data)
        if now < starts_at:
            run.meet(past)
            continue
        _advance(run, walking, now)
        run.meet(past)
        came = EventCame(
            event.id, event.type, event.data, at=event.at, received_at=now, appended_at=now, position=(TOPIC, offset),
            stated_at=event.stated_at,
        )  # fmt: skip
        for i, execution in enumerate(walking):
            walking[i] = run.after(execution, came, now)
        if _starts(run.version, event, person):
            _start(run, fresh, event, [*formers, *walking], walking, tally)
        formers += [one for one in walking if one.status is not Status.RUNNING]
        walking[:] = [one for one in walking if one.status is Status.RUNNING]
    _advance(run, walking, ends_at)


def _start(
    run: DryRun,
    fresh: Fresh,
    event: RecordedEvent,
    formers: Sequence[Execution],
    walking: list[Execution],
    tally: Tally,
) -> None:
    """Decide one start and count it."""
    occasion = Occasion(event.id, event.type, event.data, event.at, event.received_at, stated_at=event.stated_at)
    before = run.view
    run.view = replace(
        before,
        formers=[
            Former(one.key, one.started_at, one.status is Status.RUNNING, one.trigger.data)
            for one in formers
            if one.status is not Status.REFUSED
        ],
    )
    made = run.after(fresh(occasion, event.received_at), Start(occasion, event.received_at), event.received_at)
    run.view = before
    if made.refusal is not None:
        tally.gated[made.refusal.reason] += 1
        if made.status is Status.REFUSED:
            return
    else:
        tally.entered += 1
    walking.append(made)


def _advance(run: DryRun, walking: list[Execution], until: int) -> None:
    """Fire every alarm up to and at that moment, each at its own time, whosever it is."""
    while True:
        due = [(alarm, i) for i, one in enumerate(walking) if (alarm := next_alarm(one)) is not None]
        alarm, i = min(due, default=(until + 1, 0))
        if alarm > until:
            return
        before = walking[i]
        walking[i] = run.after(before, TimerDue(alarm), alarm)
        if walking[i] is before:
            del walking[i]  # its alarm means nothing to the planner: it will not ring again, and nobody waits for it


def _starts(version: Version, event: RecordedEvent, person: str) -> bool:
    contract = version.contract
    if contract is None or contract.event_name != event.type:
        return False
    came = envelope(event.id, event.type, person, event.data, event.stated_at, event.received_at)
    return bool(event_value(came, contract.subject_path) == person)
