"""What can be asked of one person's lane.

Law: every item names its subject and the moment it belongs to; items of one subject are handled in the order
of their moments, arrival breaking ties.
"""

import asyncio
from dataclasses import dataclass, field

from journeys.events.v1.command_record_pb2 import CommandRecord
from journeys.events.v1.customer_event_pb2 import CustomerEvent

from services.domain.execution.execution import Execution
from services.domain.execution.version import Version
from services.infra.log.port import Stored
from services.runtime.collections import EventRecord

# How long the process waits at its end for what is under way. It has 15 s in all, of which clients of the gateway
# may have used 6; whoever has not answered by then is in doubt, as after a crash.
CLOSE_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class EventItem:
    """A customer event of this person: goals, exits and waits, then the versions it starts."""

    stored: Stored
    event: CustomerEvent
    record: EventRecord
    is_recorded: bool  # the event record is in the store already
    starters: tuple[Version, ...]

    @property
    def at(self) -> int:
        """When it is to be handled."""
        return self.record.received_at


@dataclass(frozen=True, slots=True)
class CommandItem:
    """A command from the log; or, without `stored`, one that this process asks itself at `asked_at` (ms).

    Such a one is in nobody's care but the asker's, who waits for it and asks again after a crash; where the person was
    dealt to somebody else before it was handled, its future is cancelled.
    """

    stored: Stored | None
    command: CommandRecord
    asked_at: int = 0

    @property
    def at(self) -> int:
        """When it is to be handled."""
        return self.stored.appended_at if self.stored is not None else self.asked_at

    @property
    def is_forget(self) -> bool:
        """Whether the person is to be forgotten: it takes the lane for as long as it takes."""
        return self.command.HasField("forget")

    @property
    def is_bulk(self) -> bool:
        """Whether it is one of many that were asked for together: everybody else comes first."""
        match self.command.WhichOneof("what"):
            case "look":
                return self.command.look.is_bulk
            case "profile_changed":
                return self.command.profile_changed.is_bulk
            case "start":
                return self.command.start.source == "schedule"
            case _:
                return False


@dataclass(frozen=True, slots=True)
class DueItem:
    """An execution whose alarm rang."""

    key: str
    at: int


@dataclass(frozen=True, slots=True)
class AckItem:
    """Acknowledgements to be written although nothing else happens. `is_urgent`: somebody stands still until then."""

    key: str
    at: int
    is_urgent: bool = True


Payload = EventItem | CommandItem | DueItem | AckItem


@dataclass(slots=True)
class Item:
    """One payload on its way through a lane; `done` is set when it needs no more care."""

    workspace: str
    end_user_id: str
    payload: Payload
    done: "asyncio.Future[None]"
    tries: int = 0
    rank: int = field(init=False)  # 0 comes first; 1 are acknowledgements nobody waits for, 2 what is asked in bulk

    def __post_init__(self) -> None:
        match self.payload:
            case AckItem(is_urgent=False):
                self.rank = 1
            case CommandItem() as command if command.is_bulk:
                self.rank = 2
            case _:
                self.rank = 0


@dataclass(frozen=True, slots=True)
class Committed:
    """An execution whose write was applied: what follows from it."""

    execution: Execution
    promised: tuple[str, ...]
    version: Version
