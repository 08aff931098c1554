"""The audit timeline: authoring acts come in, pages go out, newest first.

Law: one row for each entry, under the entry's id: whatever is said twice, in whatever grouping, is there once.
A page ends at a place, not at a count, so what arrives meanwhile moves nobody's next page.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from services.analytics.follower import Follower, read_all
from services.analytics.repositories import (
    POSITIONS,
    ROWS,
    Place,
    Position,
    Positions,
    Row,
    Timeline,
    check_settled,
    position_key,
    write_of,
)
from services.domain.errors import Fault, Invalid
from services.infra.documents.port import Documents, Insert, Write
from services.infra.log.port import Log, Stored, partition_of

SYSTEM = "system"
ACTS = "journeys.audit.v1"
EXECUTIONS = "journeys.executions.v1"
# What the runtime does all day, by how its actions begin. Rows of any other action, and of any other actor than
# the system, are few; an index holds them alone, so that a person's acts are found among a million sends.
ROUTINE = ("execution.", "trigger.", "holdout.", "wait.", "branch.", "send.", "webhook.", "goal.reached")

MAX_PAGE = 500
EXAMINED = 10_000  # rows looked at for one page at most: some 100 ms
ACTS_SECONDS = 2.0
RUNTIME_SECONDS = 0.2

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which entries are wanted. `journey_id` is empty for the workspace's own timeline."""

    workspace: str
    journey_id: str
    limit: int
    cursor: str | None = None
    action_prefix: str | None = None
    actor: str | None = None
    execution_id: str | None = None

    def admits(self, row: Row) -> bool:
        """Whether the filters let a row through."""
        return (
            row.journey == f"{self.workspace}:{self.journey_id}"
            and (not self.action_prefix or row.action.startswith(self.action_prefix))
            and (not self.actor or row.actor == self.actor)
            and (not self.execution_id or row.execution_id == self.execution_id)
        )

    def wants_notable(self) -> bool:
        """Whether only notable rows can be admitted."""
        prefix = self.action_prefix
        return bool(
            (self.actor and self.actor != SYSTEM)
            or (prefix and not any(start.startswith(prefix) or prefix.startswith(start) for start in ROUTINE))
        )


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries newest first, and where the next page begins; None: there are no more."""

    rows: list[Row]
    cursor: str | None


class ListAudit:
    """A page of a timeline. Raises Invalid for a bad limit or cursor.

    What was in the log when it was asked is in the answer: of authoring acts always (unless the projector takes
    longer than two seconds), of the runtime's entries as far as 0.2 s allow. A page may hold fewer rows than
    asked for and still have a cursor: the filters were so narrow that the search was broken off.
    """

    def __init__(self, documents: Documents, acts: "Freshness", executions: Follower) -> None:
        self._timeline = Timeline(documents)
        self._acts = acts
        self._executions = executions

    async def __call__(self, query: AuditQuery) -> AuditPage:
        if not 1 <= query.limit <= MAX_PAGE:
            message = f"A limit is 1 to {MAX_PAGE}."
            raise Invalid("validation_error", message, [Fault("/limit", "out_of_range", message)])
        try:
            place = None if query.cursor is None else Place.from_cursor(query.cursor)
        except ValueError:
            message = "This is not a cursor of this list."
            raise Invalid("validation_error", message, [Fault("/cursor", "bad_cursor", message)]) from None
        await asyncio.gather(
            self._acts.wait(query.workspace, query.journey_id), self._executions.drain(RUNTIME_SECONDS)
        )
        return await self._page(query, place)

    async def _page(self, query: AuditQuery, place: Place | None) -> AuditPage:
        index, head = "by_journey", f"{query.workspace}:{query.journey_id}"
        narrow = bool(query.action_prefix or query.actor)
        if query.wants_notable():
            index = "notable"
        rows: list[Row] = []
        examined = 0
        async with aclosing(
            self._timeline.of_execution(query.workspace, query.execution_id, place)
            if query.execution_id
            else self._timeline.behind(index, head, place, MAX_PAGE if narrow else query.limit + 1)
        ) as candidates:
            async for row in candidates:
                examined += 1
                if query.admits(row):
                    if len(rows) == query.limit:
                        return AuditPage(rows, Place.of(rows[-1]).to_cursor())
                    rows.append(row)
                if examined == EXAMINED:
                    return AuditPage(rows, Place.of(row).to_cursor())
        return AuditPage(rows, None)


class Acts:
    """The projection of `journeys.audit.v1`: a row for each act, and how far it has come."""

    def __init__(self, documents: Documents, read: Callable[[Stored], Row]) -> None:
        self._documents = documents
        self._positions = Positions(documents)
        self._read = read

    async def take(self, records: Sequence[Stored]) -> None:
        rows = {row.key: row for row in reversed(list(read_all(records, self._read)))}  # of two the first counts
        ends = {record.partition: record.offset + 1 for record in records}
        writes: list[Write] = [Insert(ROWS, row) for row in rows.values()]
        stored = await self._positions.known(ACTS, list(ends))
        for partition, end in ends.items():
            position = stored.get(partition) or Position(key=position_key(ACTS, partition), offset=0)
            if end > position.offset:
                position.offset = end
                writes.append(write_of(POSITIONS, position))
        check_settled(writes, await self._documents.write_many(writes) if writes else [])

    async def catch_up(self) -> bool:
        return False

    def own(self, partitions: Sequence[int]) -> None:
        pass

    def disown(self, partitions: Sequence[int]) -> None:
        pass

    def is_behind(self) -> bool:
        return False


class Freshness:
    """Waits until an acknowledged act can be read, whichever process projects its partition."""

    def __init__(self, log: Log, documents: Documents, follower: Follower) -> None:
        self._log = log
        self._positions = Positions(documents)
        self._follower = follower

    async def wait(self, workspace: str, journey_id: str) -> bool:
        """Wait for the acts of one journey that are in the log now; False if it took longer than two seconds."""
        partition = partition_of(f"{workspace}:{journey_id}", self._log.partitions)
        end = (await self._log.ends(ACTS)).get(partition, 0)
        loop = asyncio.get_running_loop()
        until = loop.time() + ACTS_SECONDS
        while not self._has_passed(partition, end):
            known = (await self._positions.known(ACTS, [partition])).get(partition)
            if known is not None and known.offset >= end:
                return True
            if (left := until - loop.time()) <= 0:
                _log.warning("acts.late", partition=partition, seconds=ACTS_SECONDS)
                return False
            await self._follower.wait_for(lambda: self._has_passed(partition, end), min(0.05, left))
        return True

    def _has_passed(self, partition: int, end: int) -> bool:
        return self._follower.positions.get((ACTS, partition), 0) >= end


def is_notable(actor: str, action: str) -> bool:
    """Whether a row is none of the runtime's routine."""
    return actor != SYSTEM or not action.startswith(ROUTINE)


def sequence(topic: str, partition: int, offset: int, index: int) -> int:
    """The order of an entry in the log, of entries of one millisecond: by offset, partition, place in the record.

    1 bit for the topic, 6 for the partition (at most 64, runtime design 1), 13 for the place: 43 are left for
    the offset within a signed 64-bit integer.
    """
    return ((offset << 6 | partition) << 13 | min(index, 8191)) << 1 | (topic == EXECUTIONS)
