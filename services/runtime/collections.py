"""What the runtime stores beside profiles: executions, events seen, messages, ownership, replies.

Law: names of collections, fields and indexes are stored: choose once. Times are milliseconds, UTC.
Source: runtime design 2.
"""

from typing import Any

import msgspec

from services.domain.execution.caps import Reservation
from services.domain.execution.execution import Execution
from services.domain.execution.repeats import Repeats
from services.infra.documents.port import Collection, Index
from services.infra.log.port import Topic

EVENTS = "journeys.events.v1"
COMMANDS = "journeys.commands.v1"
DEAD_LETTERS = "journeys.events.v1.dlq"
EXECUTION_RECORDS = "journeys.executions.v1"
AUDIT = "journeys.audit.v1"
CATALOGUE = "journeys.authoring.v1"
ALLOCATIONS = "journeys.allocations.v1"

TOPICS = (
    Topic(EVENTS),
    Topic(COMMANDS),
    Topic(DEAD_LETTERS),
    Topic(EXECUTION_RECORDS),
    Topic(AUDIT),
    Topic(CATALOGUE, compacted=True),
    Topic(ALLOCATIONS, compacted=True),
)

EXECUTIONS: Collection[Execution] = Collection(
    "executions",
    Execution,
    key="key",
    revision="transition",
    epoch="owner_epoch",
    indexes=(
        Index("due", ("lane", "due_at")),
        Index("open", ("subject_key", "open_until")),
        Index("by_subject", ("subject_key", "journey_id", "started_at")),
        Index("by_journey", ("workspace_id", "journey_id", "started_at")),
        Index("expiry", ("expire_at",)),
    ),
)


class EventRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An event that was accepted: the dedupe identity, what conditions count, and what erasure must find.

    Met again at the same place it is a redelivery; at another, a producer's duplicate, which is counted here: whoever
    drops it has this record in hand, and the count goes with it, by age or with the person.
    """

    key: str  # <workspace>:<event id>
    event_id: str
    name: str
    at: int  # min(timestamp, received)
    received_at: int
    partition: int
    offset: int
    subject_key: str | None = None  # None: nobody's event
    stated_at: int | None = None
    data_json: bytes = b"{}"
    end_user_id: str | None = None  # who that is, for whoever walks the past again; gone with the record
    repeats: Repeats | None = None
    revision: int = 1


EVENT_RECORDS: Collection[EventRecord] = Collection(
    "event_records",
    EventRecord,
    indexes=(Index("by_subject", ("subject_key", "name", "at")), Index("by_age", ("received_at",))),
)


class MessageEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider said of a message: delivered, opened, clicked, bounced, complained, unsubscribed."""

    type: str
    at: int
    permanent: bool = False


class MessageDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One send: its insert is the gate before a provider. `status`: sending, sent, failed, unknown.

    `addresses` are those it went to, as they are: no API shows them; feedback suppresses them.
    """

    key: str  # the send id
    workspace: str
    journey_id: str
    journey_version: int
    execution_id: str
    subject_key: str
    end_user_id: str
    step_id: str
    channel: str
    status: str
    to: str  # masked
    at: int
    subject: str = ""
    body: str = ""
    text: str = ""
    title: str = ""
    data: dict[str, Any] = {}
    addresses: tuple[str, ...] = ()
    sent_at: int | None = None
    reason: str | None = None
    is_refused_for_now: bool = False  # certainly not sent by the last call: another is allowed
    events: tuple[MessageEvent, ...] = ()  # each once
    read_at: int | None = None
    revision: int = 1


MESSAGES: Collection[MessageDocument] = Collection(
    "messages",
    MessageDocument,
    indexes=(
        Index("by_subject", ("subject_key", "at")),
        Index("by_journey", ("workspace", "journey_id", "at")),
        Index("by_workspace", ("workspace", "at")),
    ),
)


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Who owns a partition: every write carries the epoch, so a former owner cannot write."""

    key: str  # the partition's number
    epoch: int
    revision: int


OWNERS: Collection[Owner] = Collection("owners", Owner)


class CommandResult(msgspec.Struct, frozen=True, kw_only=True):
    """The reply to a command, kept for a day for whoever asks again."""

    key: str  # the command id
    execution_id: str
    outcome: str  # started, refused, duplicate, done, missing, illegal
    reason: str | None
    at: int
    revision: int = 1


COMMAND_RESULTS: Collection[CommandResult] = Collection(
    "command_results", CommandResult, indexes=(Index("by_age", ("at",)),)
)


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """The places one person's sends have taken under the caps. Written before the executions that rely on them.

    There is no release: a place whose send came to nothing is dead, which its execution shows.
    """

    key: str  # the subject key
    transition: int
    owner_epoch: int
    reservations: tuple[Reservation, ...]


LEDGERS: Collection[Ledger] = Collection("subject_ledgers", Ledger, revision="transition", epoch="owner_epoch")


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """Work over all executions or people of a journey, resumable: the cursor is where the next page begins.

    `kind`: archive, members (who belongs now is compared with who did), schedule (the starts of one occurrence).
    """

    key: str  # <workspace>:<journey>:archive, ...:members, ...:<event id of the occurrence>
    workspace: str
    journey_id: str
    cursor: str | None
    done: bool
    revision: int
    kind: str = "archive"
    open: int | None = None  # 1 while people are left to look at; never of an archive sweep
    is_listed: bool = False  # the cursor counts the list's people; else it is a scan's
    is_second: bool = False  # the people of the audience are done: those known as members are left
    fingerprint: str = ""  # of members: who belongs
    is_first: bool = False  # of members: nobody was a member before
    is_recording: bool = False  # of members: those present are noted and do not enter
    occurrence: int = 0  # of a schedule: the moment, ms
    at: int | None = None  # of a schedule: the moment its starts bear; None: when they are made
    seen: int = 0  # people looked at
    asked: int = 0  # of them, those whom a command was appended for
    begun_at: int = 0


def members_key(workspace: str, journey_id: str) -> str:
    """The key of the sweep over a journey's members."""
    return f"{workspace}:{journey_id}:members"


SWEEPS: Collection[Sweep] = Collection("sweeps", Sweep, indexes=(Index("open", ("open",)),))


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a person belongs to the audience of a journey that watches it; absent: they do not, and never did.

    Written after the entry it counts, so an entry is never lost; `entries` may be one behind, after a crash.
    """

    key: str  # <subject key>:<workspace>:<journey>
    workspace: str
    journey_id: str
    end_user_id: str
    subject_key: str
    lane: int
    is_member: bool
    entries: int
    due_at: int | None  # when time alone may change it
    changed_at: int
    owner_epoch: int
    revision: int


MEMBERSHIPS: Collection[Membership] = Collection(
    "memberships",
    Membership,
    epoch="owner_epoch",
    indexes=(
        Index("due", ("lane", "due_at")),
        Index("by_subject", ("subject_key", "journey_id")),
        Index("by_journey", ("workspace", "journey_id", "end_user_id")),
    ),
)


class ScheduleDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Where a scheduled journey stands: the moment it fires next. `anchor_at` is when its rule began to count."""

    key: str  # <workspace>:<journey>
    workspace: str
    journey_id: str
    lane: int
    version: int
    written: str  # the schedule as its author wrote it, with the zone: another one begins anew
    anchor_at: int
    next_at: int | None
    revision: int


SCHEDULES: Collection[ScheduleDocument] = Collection(
    "schedules", ScheduleDocument, indexes=(Index("due", ("lane", "next_at")),)
)

COLLECTIONS = (EXECUTIONS, EVENT_RECORDS, MESSAGES, OWNERS, COMMAND_RESULTS, LEDGERS, SWEEPS, MEMBERSHIPS, SCHEDULES)
