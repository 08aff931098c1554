"""What can make an execution move, and what a plan may read.

Law: triggers and views are values; whoever builds them has read everything that can be needed, because the
planner never asks. Source: runtime design 6.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from services.domain.execution.assignment import Snapshot
from services.domain.execution.caps import FrequencyCap, Reservation
from services.domain.execution.execution import Entry, Occasion, Result
from services.domain.execution.quiet_hours import QuietHours
from services.domain.journey.model import BranchAdaptive
from services.domain.journey.predicate import Audience, PastEvent
from services.domain.times import DAY_MS


@dataclass(frozen=True, slots=True)
class Start:
    """A person is to enter. `position` is the record's (topic, offset), None for a start without record."""

    occasion: Occasion
    now: int
    position: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class EventCame:
    """A customer event reached the log. `appended_at` is the log's clock, `at` when it happened."""

    id: str
    type: str
    data: Mapping[str, Any]
    at: int
    received_at: int
    appended_at: int
    position: tuple[str, int]
    stated_at: int | None = None


@dataclass(frozen=True, slots=True)
class TimerDue:
    """The clock reached `now`; every timer of the execution at or before it fires at its own time."""

    now: int


@dataclass(frozen=True, slots=True)
class Settled:
    """An intent ended. `entry` is what history says of it; the log has it already.

    With `retry_at` it has not: it was certainly not sent, and is claimed again at that moment.
    """

    intent: str
    result: Result
    entry: Entry | None = None
    retry_at: int | None = None
    answer: Any = None  # of a webhook: the JSON it answered


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What is known to have happened since the last write: intents that ended, entries the log has."""

    now: int
    settled: tuple[Settled, ...] = ()
    published: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ProfileChanged:
    """The subject's profile is another one: conditions that are waited for are looked at again."""

    now: int


@dataclass(frozen=True, slots=True)
class Abort:
    """Somebody ends it. `actor`: a user id or system."""

    actor: str
    reason: str
    now: int


@dataclass(frozen=True, slots=True)
class Retry:
    """An operator sets a parked or failed execution going again."""

    actor: str
    now: int


Trigger = Start | EventCame | TimerDue | Acknowledged | ProfileChanged | Abort | Retry


@dataclass(frozen=True, slots=True)
class Profile:
    """A subject as conditions, gates and templates see them."""

    end_user_id: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    email: str | None = None
    mobile_push: tuple[str, ...] = ()
    timezone: str | None = None
    locale: str | None = None
    preferences: Mapping[str, bool] = field(default_factory=dict)
    global_opt_out: bool = False


@dataclass(frozen=True, slots=True)
class Former:
    """An earlier entry of the same subject into the same journey, as re-entry rules need it."""

    key: str
    started_at: int
    is_running: bool
    data: Mapping[str, Any]


class Render(Protocol):
    """Fills a Liquid template; raises ValueError with a sentence where it cannot."""

    def __call__(self, template: str, values: Mapping[str, Any]) -> str: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """What a workspace says about messages: quiet hours and caps; nothing where it says nothing."""

    quiet_hours: QuietHours | None = None
    frequency_caps: tuple[FrequencyCap, ...] = ()
    daily_cap: int | None = None

    @property
    def has_caps(self) -> bool:
        """Whether sends have to be reserved."""
        return bool(self.frequency_caps) or self.daily_cap is not None


class Witness(Protocol):
    """Sees a plan while it is made, in the order of its decisions. What it raises ends the plan there."""

    def entered(self, step_id: str, at: int) -> None:
        """A step is entered."""

    def noted(self, step_id: str, at: int, action: str, detail: Mapping[str, Any]) -> None:
        """History says this."""

    def judged(self, step_id: str, at: int, checks: Sequence[Mapping[str, Any]]) -> None:
        """A gate was asked: every check with its inputs. `step_id` is "" at trigger time."""


class ViewIncomplete(Exception):
    """A plan needed something the view does not have: whoever built the view has a bug."""


@dataclass(frozen=True, slots=True)
class View:
    """Everything a plan may read beside the execution itself, for one subject and one moment."""

    profile: Profile
    zone: str  # the subject's, else the workspace's
    journey_status: str
    salt: str
    holdout_percent: float
    audience: Callable[[str], Audience | None]
    events: Callable[[str], Sequence[PastEvent]]
    render: Render
    suppressed: frozenset[str] = frozenset()  # addresses, e-mail in lower case
    formers: Sequence[Former] = ()
    received: Callable[[str, str], bool] = lambda step_id, status: False
    rules: Rules = Rules()
    reservations: Sequence[Reservation] = ()  # of this subject, the dead ones left out
    allocation: Callable[[BranchAdaptive], Snapshot | None] = lambda step: None  # None: the branch is in cold start
    is_learning: bool = True  # whether whoever makes allocations can be reached; else the last ones are used
    goal_window_ms: int = 7 * DAY_MS  # of branches with a goal of their own, where the journey has none
    overrides: frozenset[str] = frozenset()  # names of checks that may say no and are passed all the same: dry runs
    witness: Witness | None = None
    now: int = 0  # when the plan is made, which may be long after the moment it belongs to
