"""The document store over the embedded engine.

Law: an outcome is decided by the statement that writes, on the one connection that writes; nothing is read
first and believed later. Writes of all callers that gathered share one statement per collection and kind, yet
each has its own outcome. Reads run beside them and see what is committed.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from typing import Any, TypeVar

import apsw
import msgspec

from services.infra.documents import newer
from services.infra.documents.cursor import read_cursor, write_cursor
from services.infra.documents.port import (
    BadCursor,
    Collection,
    Delete,
    DuplicateKey,
    Insert,
    Outcome,
    Page,
    Replace,
    StaleRevision,
    StoreUnavailable,
    Value,
    Write,
)
from services.infra.documents.sqlite_queries import (
    counts_by,
    document_with_key,
    documents_in_order,
    documents_of_queries,
    documents_under_prefixes,
    documents_with_keys,
    least_under_prefixes,
    rest_of,
)
from services.infra.documents.sqlite_schema import bring_up
from services.infra.documents.sqlite_table import Row, Table, plain
from services.infra.documents.sqlite_writes import Prepared, apply_all
from services.infra.slices import Slices
from services.infra.sqlite.engine import Engine, Unavailable
from services.infra.sqlite.group import Handler

T = TypeVar("T")
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

SLICE_SECONDS = 0.001  # of encoding at a stretch
logger = logging.getLogger(__name__)


class SqliteDocuments:
    """Documents in the engine's database; several may share an engine, each for its own collections.

    `close` leaves the engine open: it belongs to whoever opened it. A collection that was not opened is a
    LookupError, an index it does not have a ValueError.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tables: dict[str, Table[Any]] = {}

    async def open(self, collections: Sequence[Collection[Any]]) -> None:
        """See the port. A new index on stored documents is filled from them, within one transaction."""
        tables = [Table(collection) for collection in collections]
        await self._write(_bring_up, tables)
        self._tables.update({table.collection.name: table for table in tables})

    async def migrate(self, collections: Sequence[Collection[Any]]) -> list[str]:
        """See the port. Opening does it: one process has the file."""
        await self.open(collections)
        return []

    async def get(self, collection: Collection[T], key: str) -> T | None:
        """See the port."""
        table = self._table(collection)
        job = document_with_key(table, key)
        return await self._read(job)

    async def get_many(self, collection: Collection[T], keys: Sequence[str]) -> dict[str, T]:
        """See the port."""
        return await self._read(documents_with_keys(self._table(collection), keys))

    async def insert(self, collection: Collection[T], document: T) -> None:
        """See the port."""
        await self._write_one(self._prepared(Insert(collection, document)), DuplicateKey)

    async def replace(self, collection: Collection[T], document: T) -> None:
        """See the port."""
        await self._write_one(self._prepared(Replace(collection, document)), StaleRevision)

    async def delete(self, collection: Collection[T], key: str, revision: int | None = None) -> None:
        """See the port."""
        await self._write_one(self._prepared(Delete(collection, key, revision)), StaleRevision)

    async def write_many(self, writes: Sequence[Write]) -> list[Outcome]:
        """See the port. FAILED is a document that cannot be encoded; the log says why."""
        names = {(write.collection.name, _key_of(write)) for write in writes}
        if len(names) < len(writes):
            raise ValueError("two writes to one key in one call")
        outcomes = [Outcome.FAILED] * len(writes)
        prepared: list[Prepared] = []
        places: list[int] = []
        slices = Slices(SLICE_SECONDS)
        for place, write in enumerate(writes):
            await slices.pause()
            try:
                prepared.append(self._prepared(write))
            except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
                # One poisonous document must not keep the others of its batch from being written.
                logger.error(
                    "a document of %s cannot be stored: %s", write.collection.name, error
                )  # no trace: it would show the document
            else:
                places.append(place)
        if prepared:
            for place, outcome in zip(places, await self._apply(prepared), strict=True):
                outcomes[place] = outcome
        return outcomes

    async def scan(
        self,
        collection: Collection[T],
        index: str,
        equals: Sequence[Value] = (),
        *,
        low: Value | None = None,
        high: Value | None = None,
        after: str | None = None,
        limit: int = 100,
        descending: bool = False,
    ) -> Page[T]:
        """See the port. A cursor is bound to collection, index, `equals` and direction."""
        table = self._table(collection)
        fields = table.fields_of(index)[len(equals) :]
        rest_of(table, index, equals)
        if limit < 1:
            raise ValueError(f"a page holds at least one document, not {limit}")
        name = (collection.name, index, tuple(equals), descending)
        position = None if after is None else read_cursor(after, name)
        if position is not None and len(position) != len(fields):
            raise BadCursor("this cursor was made for an index of other fields")
        found = await self._read(
            documents_in_order(
                table, index, equals, low=low, high=high, after=position, limit=limit + 1, descending=descending
            )
        )
        if len(found) <= limit:
            return Page(found)
        del found[limit:]
        return Page(found, write_cursor(name, [_present(getattr(found[-1], field)) for field in fields]))

    async def scan_prefixes(
        self,
        collection: Collection[T],
        index: str,
        prefixes: Sequence[Sequence[Value]],
        *,
        low: int | None = None,
        high: int,
        limit: int,
    ) -> list[T]:
        """See the port. The prefixes have one length."""
        if not prefixes:
            return []
        return await self._read(documents_under_prefixes(self._table(collection), index, prefixes, low, high, limit))

    async def least(self, collection: Collection[T], index: str, prefixes: Sequence[Sequence[Value]]) -> int | None:
        """See the port. The prefixes have one length."""
        if not prefixes:
            return None
        return await self._read(least_under_prefixes(self._table(collection), index, prefixes))

    async def scan_many(
        self,
        collection: Collection[T],
        index: str,
        queries: Sequence[tuple[Sequence[Value], Value | None]],
        *,
        limit: int,
    ) -> list[list[T]]:
        """See the port."""
        return await self._read(documents_of_queries(self._table(collection), index, queries, limit))

    async def count_by(
        self, collection: Collection[T], index: str, equals: Sequence[Value] = ()
    ) -> Mapping[Value, int]:
        """See the port."""
        return await self._read(counts_by(self._table(collection), index, equals))

    async def scrub(self) -> bool:
        """See the port, and `Engine.scrub`."""
        try:
            await self._engine.scrub()
        except Unavailable as error:
            raise StoreUnavailable(str(error)) from error
        return True

    async def close(self) -> None:
        """See the port; what was acknowledged is on the disk already."""
        self._tables.clear()

    def _table(self, collection: Collection[T]) -> Table[T]:
        table = self._tables.get(collection.name)
        if table is None:
            raise LookupError(f"the collection {collection.name!r} was not opened")
        return table

    def _prepared(self, write: Write) -> Prepared:
        table = self._table(write.collection)
        if isinstance(write, Delete):
            return Prepared(table, Delete, Row((write.key, write.revision), b""))
        return Prepared(table, type(write), table.row_of(write.document))

    async def _write_one(self, prepared: Prepared, refusal: type[Exception]) -> None:
        (outcome,) = await self._apply([prepared])
        if outcome is not Outcome.APPLIED:
            raise refusal(f"{prepared.table.collection.name}: {prepared.row.key!r}")

    async def _apply(self, prepared: Sequence[Prepared]) -> list[Outcome]:
        size = sum(len(one.row.body) for one in prepared)
        return await self._write(apply_all, prepared, rows=len(prepared), size=size)

    async def _write(self, handler: Handler[ItemT, ResultT], item: ItemT, *, rows: int = 1, size: int = 0) -> ResultT:
        try:
            return await self._engine.write(handler, item, rows=rows, size=size)
        except Unavailable as error:
            raise StoreUnavailable(str(error)) from error

    async def _read(self, job: Callable[[apsw.Connection], ResultT]) -> ResultT:
        if newer.is_refused():  # the job runs in a thread, which is to know it too
            context, asked = copy_context(), job
            job = lambda connection: context.run(asked, connection)  # noqa: E731  it is a job like the other
        try:
            return await self._engine.read(job)
        except Unavailable as error:
            raise StoreUnavailable(str(error)) from error


def _bring_up(connection: apsw.Connection, callers: Sequence[Sequence[Table[Any]]]) -> list[None]:
    for tables in callers:
        for table in tables:
            bring_up(connection, table)
    return [None for _ in callers]


def _key_of(write: Write) -> str:
    key: str = write.key if isinstance(write, Delete) else getattr(write.document, write.collection.key)
    return key


def _present(value: Any) -> Value:
    cell = plain(value)
    assert cell is not None, "a document in an index has all its fields"
    return cell
