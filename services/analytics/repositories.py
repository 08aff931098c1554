"""What analytics keeps: facts, counters, counts by day, allocations, the rows of the timeline, positions in the log.

Law: repositories know the document store and nothing of the wire. Stored names are for ever.
"""

import base64
import binascii
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from services.analytics.facts import Fact
from services.infra.documents import newer
from services.infra.documents.port import Collection, Documents, Index, Insert, Outcome, Page, Replace, Write


class Counter(msgspec.Struct, kw_only=True, gc=False):
    """The step statistics of one journey over one partition's facts: step -> executed, skipped, failed, waiting."""

    key: str
    revision: int = 0
    workspace: str
    journey_id: str
    partition: int
    steps: dict[str, list[int]] = {}


class Day(msgspec.Struct, kw_only=True, gc=False):
    """The arms and cohorts of one journey over one partition's facts of one UTC day. See `tallies`.

    `arms` and `starts`: group -> bucket -> subjects, converted. `firsts`: group -> persons exposed, held out.
    `is_summed`: all windows of the day have closed and its buckets are one.
    """

    key: str  # see day_key
    revision: int = 0
    workspace: str
    journey_id: str
    partition: int
    day: int
    is_summed: bool = False
    arms: dict[str, dict[int, list[int]]] = {}
    starts: dict[str, dict[int, list[int]]] = {}
    firsts: dict[str, list[int]] = {}


class ArmCount(msgspec.Struct, frozen=True, gc=False):
    """One arm of an allocation: matured counts, the probability that it is best, and that of being chosen."""

    arm_id: str
    n: int
    s: int
    w: float
    p: float


class Allocation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One allocation of an adaptive branch, kept for ever under its id."""

    key: str  # "<workspace>:<snapshot id>"
    revision: int = 1
    workspace: str
    journey_id: str
    step_id: str
    branch: str
    snapshot_id: str
    arms: tuple[ArmCount, ...]
    as_of: int


class Row(msgspec.Struct, kw_only=True, gc=False):
    """One entry of the audit timeline. Its key holds the entry's id, so an entry said twice is there once.

    The key begins with the execution, so that an execution's rows lie together and need no index of their own.
    """

    key: str  # see row_key
    revision: int = 1
    journey: str  # "<workspace>:<journey id>"
    notable: str | None = None  # the journey again, in the few rows that are not the runtime's routine
    at_ms: int
    seq: int  # the order in the log, within one millisecond
    actor: str
    action: str
    step_id: str = ""
    end_user_id: str = ""
    metadata: bytes = b""  # a JSON object as it came, or empty

    @property
    def entry_id(self) -> str:
        """The entry's id as its writer knows it."""
        return self.key.split(":", 2)[2]

    @property
    def execution_id(self) -> str | None:
        """The execution it tells of, if any."""
        return self.key.split(":", 2)[1] or None


class Position(msgspec.Struct, kw_only=True, gc=False):
    """How far a projection has come in one partition: everything below `offset` is in the documents."""

    key: str  # "<topic>:<partition>"
    revision: int = 0
    offset: int


class Erased(msgspec.Struct, kw_only=True, gc=False):
    """The mark of a person who was forgotten. What started up to `at` is anonymous; `entries` is what the receipt says."""

    key: str  # the subject key
    revision: int = 0
    receipt_id: str
    at: int
    entries: int | None = None


D = TypeVar("D", Fact, Counter, Day, Position, Erased)

FACTS = Collection(
    "analytics_facts", Fact, indexes=(Index("by_person", ("partition", "journey_id", "subject_key", "started_at")),)
)
DAYS = Collection("analytics_days", Day, indexes=(Index("by_partition", ("partition",)),))
ALLOCATIONS = Collection("analytics_allocations", Allocation)
COUNTERS = Collection("analytics_counters", Counter, indexes=(Index("by_partition", ("partition",)),))
ROWS = Collection(
    "analytics_audit",
    Row,
    indexes=(
        Index("by_journey", ("journey", "at_ms", "seq")),
        Index("notable", ("notable", "at_ms", "seq")),
    ),
)
POSITIONS = Collection("analytics_positions", Position)
ERASED = Collection("analytics_erasures", Erased)
COLLECTIONS = (FACTS, COUNTERS, DAYS, ALLOCATIONS, ROWS, POSITIONS, ERASED)


class Unsettled(Exception):
    """Some writes of a batch were not applied; the batch has to be projected again."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in the timeline: just behind one row, seen from the newest."""

    at_ms: int
    seq: int
    key: str

    @classmethod
    def of(cls, row: Row) -> "Place":
        """The place just behind a row."""
        return cls(row.at_ms, row.seq, row.key)

    def to_cursor(self) -> str:
        """The place as an opaque text."""
        return base64.urlsafe_b64encode(msgspec.json.encode((self.at_ms, self.seq, self.key))).decode().rstrip("=")

    @classmethod
    def from_cursor(cls, cursor: str) -> "Place":
        """The place a cursor names; ValueError for a text that none of ours says."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            place = cls(*msgspec.json.decode(raw, type=tuple[int, int, str]))
        except (binascii.Error, UnicodeError, msgspec.MsgspecError) as error:
            raise ValueError("not a cursor") from error
        if not (-(2**63) <= place.at_ms < 2**63 and 0 <= place.seq < 2**63 - 1):
            raise ValueError("not a cursor")
        return place


class Facts:
    """Facts by execution key and by partition."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def known(self, keys: Sequence[str]) -> dict[str, Fact]:
        """Those that exist, by key. Raises NewerDocument: what a newer version counted is not counted anew."""
        with newer.refused():
            return await self._documents.get_many(FACTS, keys)

    async def page_of(self, partition: int, after: str | None, limit: int) -> Page[Fact]:
        """Some facts of a partition: journey by journey, person by person, each from old to new."""
        return await self._documents.scan(FACTS, "by_person", (partition,), after=after, limit=limit)

    async def of_journey(self, partition: int, journey_id: str, after: str | None, limit: int) -> Page[Fact]:
        """Some facts of a partition and a journey, of whichever workspace; person by person, each from old to new."""
        return await self._documents.scan(FACTS, "by_person", (partition, journey_id), after=after, limit=limit)

    async def of_persons(self, persons: Sequence[tuple[int, str, str, int]], limit: int) -> list[list[Fact]]:
        """For each (partition, journey, person, moment): their facts that started then or later, from old to new."""
        queries = [((partition, journey, subject), low) for partition, journey, subject, low in persons]
        return await self._documents.scan_many(FACTS, "by_person", queries, limit=limit) if queries else []


class Counters:
    """Step statistics, a document for each journey and partition."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def of_partition(self, partition: int) -> list[Counter]:
        """All of one partition."""
        counters: list[Counter] = []
        after: str | None = None
        while True:
            page = await self._documents.scan(COUNTERS, "by_partition", (partition,), after=after, limit=500)
            counters += page.items
            if (after := page.cursor) is None:
                return counters

    async def of_journey(self, workspace: str, journey_id: str, partitions: int) -> list[Counter]:
        """All of one journey."""
        keys = [counter_key(workspace, journey_id, partition) for partition in range(partitions)]
        return list((await self._documents.get_many(COUNTERS, keys)).values())


class Days:
    """Counts by day, a document for each journey, day and partition."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def of_partition(self, partition: int) -> list[Day]:
        """All of one partition."""
        days: list[Day] = []
        after: str | None = None
        while True:
            page = await self._documents.scan(DAYS, "by_partition", (partition,), after=after, limit=500)
            days += page.items
            if (after := page.cursor) is None:
                return days

    async def of_journey(self, workspace: str, journey_id: str) -> list[Day]:
        """All of one journey, by day."""
        days: list[Day] = []
        after: str | None = None
        head = f"{workspace}:{journey_id}"
        while True:  # ";" follows ":"
            page = await self._documents.scan(DAYS, "", low=f"{head}:", high=f"{head};", after=after, limit=500)
            days += page.items
            if (after := page.cursor) is None:
                return days

    async def known(self, keys: Sequence[str]) -> dict[str, Day]:
        """Those that exist, by key."""
        return await self._documents.get_many(DAYS, keys)


class Allocations:
    """Allocations by their ids."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def known(self, workspace: str, snapshot_ids: Sequence[str]) -> dict[str, Allocation]:
        """Those that exist, by id."""
        keys = [f"{workspace}:{snapshot_id}" for snapshot_id in snapshot_ids]
        found = await self._documents.get_many(ALLOCATIONS, keys) if keys else {}
        return {allocation.snapshot_id: allocation for allocation in found.values()}

    async def keep(self, allocation: Allocation) -> None:
        """Store it, unless it is there: equal ids are equal allocations. Raises Unsettled."""
        (outcome,) = await self._documents.write_many([Insert(ALLOCATIONS, allocation)])
        if outcome not in (Outcome.APPLIED, Outcome.DUPLICATE):
            raise Unsettled(f"the allocation {allocation.snapshot_id} was not stored: {outcome.value}")


class Timeline:
    """The audit rows in their order, newest first; of one millisecond the later in the log comes first."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def behind(self, index: str, head: str, place: Place | None, page: int) -> AsyncGenerator[Row, None]:
        """Rows of an index under `head` that come after `place`, read in pages of `page`."""
        if place is not None:
            # First the rest of the place's own millisecond, which may hold any number of rows.
            async for row in self._scan(index, (head, place.at_ms), place.seq + 1, page):
                if (row.seq, row.key) < (place.seq, place.key):
                    yield row
        async for row in self._scan(index, (head,), None if place is None else place.at_ms, page):
            yield row

    async def of_execution(self, workspace: str, execution_id: str, place: Place | None) -> AsyncGenerator[Row, None]:
        """The rows of one execution, a few dozen as a rule, that come after `place`."""
        rows: list[Row] = []
        after: str | None = None
        low, high = row_key(workspace, execution_id, ""), f"{workspace}:{execution_id};"  # ";" follows ":"
        while True:
            found = await self._documents.scan(ROWS, "", low=low, high=high, after=after, limit=500)
            rows += found.items
            if (after := found.cursor) is None:
                break
        for row in sorted(rows, key=Place.of, reverse=True):
            if place is None or Place.of(row) < place:
                yield row

    async def _scan(
        self, index: str, equals: Sequence[str | int], high: int | None, page: int
    ) -> AsyncGenerator[Row, None]:
        after: str | None = None
        while True:
            found = await self._documents.scan(ROWS, index, equals, high=high, after=after, limit=page, descending=True)
            for row in found.items:
                yield row
            if (after := found.cursor) is None:
                return


class Positions:
    """How far the projections have come, for whoever asks another process than the one that projects."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def known(self, topic: str, partitions: Sequence[int]) -> dict[int, Position]:
        """The stored positions, by partition."""
        keys = {position_key(topic, partition): partition for partition in partitions}
        return {keys[key]: found for key, found in (await self._documents.get_many(POSITIONS, list(keys))).items()}


def row_key(workspace: str, execution_id: str, entry_id: str) -> str:
    """The key of an entry; the execution is empty for an author's act. Only the entry's id may hold a colon."""
    return f"{workspace}:{execution_id}:{entry_id}"


def counter_key(workspace: str, journey_id: str, partition: int) -> str:
    """The key of one journey's counter over one partition."""
    return f"{workspace}:{journey_id}:{partition}"


def day_key(workspace: str, journey_id: str, day: int, partition: int) -> str:
    """The key of one journey's counts of a day over one partition."""
    return f"{workspace}:{journey_id}:{day:06d}:{partition}"


def position_key(topic: str, partition: int) -> str:
    """The key of a position."""
    return f"{topic}:{partition}"


def write_of(collection: Collection[D], document: D) -> Write:
    """The write that stores a document read or made here; raises its revision. Revision 0: it was not there."""
    document.revision += 1
    return Insert(collection, document) if document.revision == 1 else Replace(collection, document)


def check_settled(writes: Sequence[Write], outcomes: Sequence[Outcome]) -> None:
    """Raise Unsettled unless every write was applied. A row of the timeline that is there already counts as written."""
    refused = [
        (write, outcome)
        for write, outcome in zip(writes, outcomes, strict=True)
        if outcome is not Outcome.APPLIED and not (outcome is Outcome.DUPLICATE and write.collection is ROWS)
    ]
    if refused:
        write, outcome = refused[0]
        raise Unsettled(
            f"{len(refused)} of {len(writes)} writes; the first, to {write.collection.name}, {outcome.value}"
        )
