"""The document store over the embedded engine.

Law: an outcome is decided by the statement that writes, on the one connection that writes; nothing is read
first and believed later. Writes of all callers that gathered share one statement per collection and kind, yet
each has its own outcome.
"""

import heapq
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import apsw
import msgspec

from services.infra.documents.cursor import read_cursor, write_cursor
from services.infra.documents.port import (
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
from services.infra.documents.sqlite_schema import bring_up
from services.infra.documents.sqlite_table import GATHER, Row, Table, packed, plain
from services.infra.sqlite.engine import Engine, Unavailable
from services.infra.sqlite.group import SAVEPOINT

T = TypeVar("T")
R = TypeVar("R")
Kind = type[Insert[Any]] | type[Replace[Any]] | type[Delete[Any]]

_MERGED_SCANS = 256  # SQLite merges up to 500 in one statement

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """One write, encoded."""

    table: Table[Any]
    kind: Kind
    row: Row


class SqliteDocuments:
    """Documents in the engine's database; several may share an engine, each for its own collections.

    Reads run beside writes and see what is committed. `close` leaves the engine open: it belongs to its opener.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tables: dict[str, Table[Any]] = {}

    async def open(self, collections: Sequence[Collection[Any]]) -> None:
        tables = [Table(collection) for collection in collections]
        await self._write(_bring_all_up, tables)
        self._tables.update({table.collection.name: table for table in tables})

    async def close(self) -> None:
        self._tables.clear()

    async def get(self, collection: Collection[T], key: str) -> T | None:
        table = self._table(collection)
        statement = f"select body from {table.name} where key = ?"  # noqa: S608  # our own table's name

        def job(connection: apsw.Connection) -> T | None:
            row = connection.execute(statement, (key,)).fetchone()
            return None if row is None else table.document_of(row[0])

        return await self._read(job)

    async def get_many(self, collection: Collection[T], keys: Sequence[str]) -> dict[str, T]:
        table = self._table(collection)
        if not keys:
            return {}
        rows = f"select t.body from json_each(?) k cross join {table.name} t on t.key = k.value"  # noqa: S608  # our own table's name
        wanted = _json(list(dict.fromkeys(keys)))
        documents = await self._read(lambda connection: _gather(connection, table, rows, (wanted,)))
        return {getattr(document, collection.key): document for document in documents}

    async def insert(self, collection: Collection[T], document: T) -> None:
        await self._write_one(self._prepared(Insert(collection, document)), DuplicateKey)

    async def replace(self, collection: Collection[T], document: T) -> None:
        await self._write_one(self._prepared(Replace(collection, document)), StaleRevision)

    async def delete(self, collection: Collection[T], key: str, revision: int | None = None) -> None:
        await self._write_one(self._prepared(Delete(collection, key, revision)), StaleRevision)

    async def write_many(self, writes: Sequence[Write]) -> list[Outcome]:
        """See the port. FAILED is a document that cannot be encoded; the log says why."""
        names = {(write.collection.name, _key_of(write)) for write in writes}
        if len(names) < len(writes):
            raise ValueError("two writes to one key in one call")
        outcomes = [Outcome.FAILED] * len(writes)
        prepared: list[_Prepared] = []
        places: list[int] = []
        for place, write in enumerate(writes):
            try:
                prepared.append(self._prepared(write))
            except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
                # One poisonous document must not keep the others of its batch from being written.
                logger.error("%s cannot be stored: %s", write.collection.name, error)
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
        table = self._table(collection)
        columns = _rest(table, index, equals)
        if limit < 1:
            raise ValueError(f"a page has at least one document: {limit}")
        name = (collection.name, index, tuple(equals), descending)
        terms, values = _equal(table, index, equals)
        if low is not None:
            terms.append(f"{columns[0]} >= ?")
            values.append(low)
        if high is not None:
            terms.append(f"{columns[0]} < ?")
            values.append(high)
        if after is not None:
            position = read_cursor(after, name)
            terms.append(f"({', '.join(columns)}) {'<' if descending else '>'} ({', '.join('?' * len(columns))})")
            values.extend(position)
        order = ", ".join(f"{column} desc" for column in columns) if descending else ", ".join(columns)
        rows = f"select body from {table.source_of(index)}{_all(terms)} order by {order} limit ?"  # noqa: S608  # our own names
        values.append(limit + 1)
        found = await self._read(lambda connection: _gather(connection, table, rows, values))
        if len(found) <= limit:
            return Page(found)
        del found[limit:]
        fields = table.fields_of(index)[len(equals) :]
        return Page(found, write_cursor(name, [_cell(found[-1], field) for field in fields]))

    async def scan_prefixes(
        self, collection: Collection[T], index: str, prefixes: Sequence[Sequence[Value]], *, high: int, limit: int
    ) -> list[T]:
        table = self._table(collection)
        depth = _depth(prefixes)
        columns = _rest(table, index, prefixes[0] if prefixes else ())
        fields = table.fields_of(index)[depth:]
        ways = [tuple(prefix) for prefix in dict.fromkeys(map(tuple, prefixes))]

        def job(connection: apsw.Connection) -> list[T]:
            parts = [
                _merged(connection, table, index, columns, ways[i : i + _MERGED_SCANS], high, limit)
                for i in range(0, len(ways), _MERGED_SCANS)
            ]
            if len(parts) < 2:
                return parts[0] if parts else []
            merged = heapq.merge(*parts, key=lambda document: [_cell(document, field) for field in fields])
            return list(merged)[:limit]

        return await self._read(job)

    async def least(self, collection: Collection[T], index: str, prefixes: Sequence[Sequence[Value]]) -> int | None:
        table = self._table(collection)
        depth = _depth(prefixes)
        column = _rest(table, index, prefixes[0] if prefixes else ())[0]
        terms = [f"{name} = p.value ->> {i}" for i, name in enumerate(table.order_of(index)[:depth])]
        first = f"select {column} from {table.source_of(index)}{_all(terms)} order by {column} limit 1"  # noqa: S608  # our own names
        statement = f"select min(({first})) from json_each(?) p"  # noqa: S608  # our own names
        argument = _json([list(prefix) for prefix in prefixes])
        return await self._read(lambda connection: connection.execute(statement, (argument,)).fetchone()[0])  # type: ignore[index]  # an aggregate has one row

    async def scan_many(
        self,
        collection: Collection[T],
        index: str,
        queries: Sequence[tuple[Sequence[Value], Value | None]],
        *,
        limit: int,
    ) -> list[list[T]]:
        table = self._table(collection)
        shapes: dict[tuple[int, bool], list[int]] = {}
        for place, (equals, low) in enumerate(queries):
            _rest(table, index, equals)
            shapes.setdefault((len(equals), low is not None), []).append(place)

        def job(connection: apsw.Connection) -> list[list[T]]:
            found: list[list[T]] = [[] for _ in queries]
            for (depth, has_low), places in shapes.items():
                asked = [[*queries[place][0], queries[place][1]] for place in places]
                for which, document in _answers(connection, table, index, depth, has_low, asked, limit):
                    found[places[which]].append(document)
            return found

        return await self._read(job)

    async def count_by(
        self, collection: Collection[T], index: str, equals: Sequence[Value] = ()
    ) -> Mapping[Value, int]:
        table = self._table(collection)
        column = _rest(table, index, equals)[0]
        terms, values = _equal(table, index, equals)
        counts = f"select {column} as value, count(*) as n from {table.source_of(index)}{_all(terms)} group by 1"  # noqa: S608  # our own names
        statement = f"select json_group_array(json_array(value, n)) from ({counts})"  # noqa: S608  # our own names

        def job(connection: apsw.Connection) -> dict[Value, int]:
            text = connection.execute(statement, values).fetchone()[0]  # type: ignore[index]  # an aggregate has one row
            return dict(msgspec.json.decode(text, type=list[tuple[Value, int]]))

        return await self._read(job)

    def _table(self, collection: Collection[T]) -> Table[T]:
        table = self._tables.get(collection.name)
        if table is None:
            raise LookupError(f"the collection {collection.name!r} was not opened")
        return table

    def _prepared(self, write: Write) -> _Prepared:
        table = self._table(write.collection)
        if isinstance(write, Delete):
            return _Prepared(table, Delete, Row((write.key, write.revision), b""))
        return _Prepared(table, type(write), table.row_of(write.document))

    async def _write_one(self, prepared: _Prepared, refusal: type[Exception]) -> None:
        (outcome,) = await self._apply([prepared])
        if outcome is not Outcome.APPLIED:
            raise refusal(f"{prepared.table.collection.name}: {prepared.row.key!r}")

    async def _apply(self, prepared: Sequence[_Prepared]) -> list[Outcome]:
        size = sum(len(one.row.body) for one in prepared)
        return await self._write(_apply_all, prepared, rows=len(prepared), size=size)

    async def _write(self, handler: Callable[..., Sequence[R]], item: Any, *, rows: int = 1, size: int = 0) -> R:
        try:
            return await self._engine.write(handler, item, rows=rows, size=size)
        except Unavailable as error:
            raise StoreUnavailable(str(error)) from error

    async def _read(self, job: Callable[[apsw.Connection], R]) -> R:
        try:
            return await self._engine.read(job)
        except Unavailable as error:
            raise StoreUnavailable(str(error)) from error
