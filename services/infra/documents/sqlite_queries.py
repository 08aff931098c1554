"""The reads over a table: what the scans of the port are in SQL.

Law: each read is one statement that answers in one step (see `sqlite_table`), so a page is consistent in itself,
and each goes through the index it names: `indexed by` refuses a plan without it. Where that statement meets a
document of a newer schema, those are told and it is asked again without them.
"""

import heapq
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import apsw
import msgspec

from services.infra.documents import newer
from services.infra.documents.port import Value
from services.infra.documents.sqlite_table import Table, plain

T = TypeVar("T")
Job = Callable[[apsw.Connection], T]
Query = tuple[Sequence[Value], Value | None]

MERGED_SCANS = 64  # SQLite merges up to 500 in one statement; apsw keeps no statement above 16 kB ready

# From rows with a body to one row: how many there are, the bodies one after the other, and the newest schema.
# group_concat takes a blob's bytes as they are, NULs included (it asks for their number).
_GATHER = "select count(*), cast(group_concat(body, '') as blob), max(schema) from ({rows})"
_encode_json = msgspec.json.Encoder().encode


def document_with_key(table: Table[T], key: str) -> Job[T | None]:
    """The document of that key."""
    statement = f"select body, schema from {table.name} where key = ?"

    def job(connection: apsw.Connection) -> T | None:
        row: Any = connection.execute(statement, (key,)).fetchone()
        if row is None:
            return None
        if row[1] > table.collection.schema:
            raise newer.met(table.collection.name, key)
        return table.document_of(row[0])

    return job


def documents_with_keys(table: Table[T], keys: Sequence[str]) -> Job[dict[str, T]]:
    """Those of the documents that exist, by key: 1-2 us a key, where single selects take 4."""
    argument = _json(list(dict.fromkeys(keys)))
    key_field = table.collection.key

    def rows(known: bool) -> str:
        source = f"json_each(?) k cross join {table.name} t on t.key = k.value"
        return f"select t.key, t.schema, t.body from {source}{_older(table, known)}"

    return lambda connection: {
        getattr(document, key_field): document for document in _gather(connection, table, rows, (argument,))
    }


def documents_in_order(
    table: Table[T],
    index: str,
    equals: Sequence[Value],
    *,
    low: Value | None,
    high: Value | None,
    after: Sequence[Value] | None,
    limit: int,
    descending: bool,
) -> Job[list[T]]:
    """Up to `limit` documents of a range, beginning after the position `after`."""
    columns = rest_of(table, index, equals)
    terms, values = _equal(table, index, equals)
    if after is not None:
        # One bound on each side: given two, SQLite may seek to the looser one and walk from there on every page.
        if descending and high is not None and not _is_less(after[0], high):
            after = None
        elif descending:
            high = None
        elif low is not None and _is_less(after[0], low):
            after = None
        else:
            low = None
    if low is not None:
        terms.append(f"{columns[0]} >= ?")
        values.append(low)
    if high is not None:
        terms.append(f"{columns[0]} < ?")
        values.append(high)
    if after is not None:
        terms.append(f"({', '.join(columns)}) {'<' if descending else '>'} ({', '.join('?' * len(columns))})")
        values.extend(after)
    order = ", ".join(f"{column} desc" if descending else column for column in columns)
    values.append(limit)

    def rows(known: bool) -> str:
        source = table.source_of(index, known=known)
        return f"select key, schema, body from {source}{_and(terms)} order by {order} limit ?"

    return lambda connection: _gather(connection, table, rows, values)


def documents_under_prefixes(
    table: Table[T], index: str, prefixes: Sequence[Sequence[Value]], low: int | None, high: int, limit: int
) -> Job[list[T]]:
    """The documents under any prefix whose next field is in [low, high), least first."""
    depth = _depth_of(prefixes)
    columns = rest_of(table, index, prefixes[0]) if prefixes else ()
    fields = table.fields_of(index)[depth:]
    distinct = list(dict.fromkeys(tuple(prefix) for prefix in prefixes))
    chunks = [distinct[i : i + MERGED_SCANS] for i in range(0, len(distinct), MERGED_SCANS)]

    def job(connection: apsw.Connection) -> list[T]:
        parts = [_merged(connection, table, index, columns, chunk, (low, high), limit) for chunk in chunks]
        if len(parts) == 1:
            return parts[0]
        return list(heapq.merge(*parts, key=lambda document: [_rank(document, field) for field in fields]))[:limit]

    return job


def least_under_prefixes(table: Table[Any], index: str, prefixes: Sequence[Sequence[Value]]) -> Job[int | None]:
    """The least value of the field after the prefixes."""
    depth = _depth_of(prefixes)
    column = rest_of(table, index, prefixes[0])[0] if prefixes else "null"
    terms = [f"{name} = p.value ->> {i}" for i, name in enumerate(table.order_of(index)[:depth])]
    first = f"select {column} from {table.source_of(index, known=True)}{_and(terms)} order by {column} limit 1"
    statement = f"select min(({first})) from json_each(?) p"
    argument = _json([list(prefix) for prefix in prefixes])
    return lambda connection: _one(connection, statement, (argument,))


def documents_of_queries(table: Table[T], index: str, queries: Sequence[Query], limit: int) -> Job[list[list[T]]]:
    """For each (equals, low) its first documents."""
    shapes: dict[tuple[int, bool], list[int]] = {}
    for place, (equals, low) in enumerate(queries):
        rest_of(table, index, equals)
        shapes.setdefault((len(equals), low is not None), []).append(place)

    def job(connection: apsw.Connection) -> list[list[T]]:
        found: list[list[T]] = [[] for _ in queries]
        for (depth, has_low), places in shapes.items():
            asked = [(*queries[place][0], queries[place][1]) for place in places]
            for which, document in _answers(connection, table, index, depth, has_low, asked, limit):
                found[places[which]].append(document)
        for place, (equals, _) in enumerate(queries):
            fields = table.fields_of(index)[len(equals) :]
            found[place].sort(key=lambda document: [_rank(document, field) for field in fields])
        return found

    return job


def counts_by(table: Table[Any], index: str, equals: Sequence[Value]) -> Job[Mapping[Value, int]]:
    """How many documents there are for each value of the field after `equals`."""
    column = rest_of(table, index, equals)[0]
    terms, values = _equal(table, index, equals)
    counts = f"select {column} as value, count(*) as n from {table.source_of(index)}{_and(terms)} group by 1"
    statement = f"select json_group_array(json_array(value, n)) from ({counts})"
    return lambda connection: dict(
        msgspec.json.decode(_one(connection, statement, values), type=list[tuple[Value, int]])
    )


def rest_of(table: Table[Any], index: str, equals: Sequence[Value]) -> tuple[str, ...]:
    """The columns after `equals`. Raises ValueError where there are none, or no such index, or a value is None."""
    columns = table.order_of(index)
    if len(equals) >= len(columns):
        raise ValueError(f"the index {index!r} of {table.collection.name} has fewer fields than {len(equals)}")
    if any(value is None for value in equals):
        raise ValueError("a document is not in an index by None")
    return columns[len(equals) :]


def _gather(
    connection: apsw.Connection, table: Table[T], rows: Callable[[bool], str], values: Sequence[Any]
) -> list[T]:
    """The documents of a statement's rows, which have a key, a schema and a body; `rows(True)` leaves newer ones out."""
    answer: Any = connection.execute(_GATHER.format(rows=rows(False)), values).fetchone()
    if answer[0] and answer[2] > table.collection.schema:
        _tell(connection, table, rows(False), values)
        answer = connection.execute(_GATHER.format(rows=rows(True)), values).fetchone()
    return table.documents_of(answer[0], answer[1])


def _tell(connection: apsw.Connection, table: Table[Any], rows: str, values: Sequence[Any]) -> None:
    found = connection.execute(f"select key from ({rows}) where schema > {table.collection.schema}", values).fetchall()
    for (key,) in found:
        newer.pass_over(table.collection.name, str(key))


def _older(table: Table[Any], known: bool) -> str:
    return f" where t.schema <= {table.collection.schema}" if known else ""


def _merged(
    connection: apsw.Connection,
    table: Table[T],
    index: str,
    columns: Sequence[str],
    prefixes: Sequence[Sequence[Value]],
    bounds: tuple[int | None, int],
    limit: int,
) -> list[T]:
    """SQLite merges the ordered scans lazily: it reads `limit` rows and one more per prefix, however many are due."""
    fixed = table.order_of(index)[: len(prefixes[0])]
    order = ", ".join(str(i + 1) for i in range(len(columns)))
    low, high = bounds
    between = [f"{columns[0]} < ?1"] if low is None else [f"{columns[0]} < ?1", f"{columns[0]} >= ?3"]
    firsts = (high, limit) if low is None else (high, limit, low)

    def rows(known: bool) -> str:
        source = table.source_of(index, known=known)
        number = 2 if low is None else 3
        scans = []
        for prefix in prefixes:
            terms = [f"{column} = ?{number + 1 + i}" for i, column in enumerate(fixed)]
            number += len(prefix)
            # The last of the columns is the key.
            scans.append(f"select {', '.join(columns)}, schema, body from {source}{_and([*terms, *between])}")
        return f"{' union all '.join(scans)} order by {order} limit ?2"

    return _gather(connection, table, rows, (*firsts, *(value for prefix in prefixes for value in prefix)))


def _answers(
    connection: apsw.Connection,
    table: Table[T],
    index: str,
    depth: int,
    has_low: bool,
    asked: Sequence[Sequence[Value | None]],
    limit: int,
) -> list[tuple[int, T]]:
    """(which query, document), unordered, for queries of one shape: 2 us a query, where one by one takes 13."""
    columns = table.order_of(index)
    terms = [f"{column} = q.value ->> {i}" for i, column in enumerate(columns[:depth])]
    if has_low:
        terms.append(f"{columns[depth]} >= q.value ->> {depth}")

    def rows(known: bool) -> str:
        source = table.source_of(index, known=known)
        ids = f"select id from {source}{_and(terms)} order by {', '.join(columns[depth:])} limit ?2"
        asks = "json_each(?1) q cross join"
        return f"select q.key as which, t.key, t.schema, t.body from {asks} {table.name} t on t.id in ({ids})"

    def gathered(known: bool) -> Any:
        gather = "select json_group_array(which), cast(group_concat(body, '') as blob), max(schema)"
        return connection.execute(f"{gather} from ({rows(known)})", values).fetchone()

    values = (_json(asked), limit)
    which, bodies, newest = gathered(False)
    if newest is not None and newest > table.collection.schema:
        _tell(connection, table, rows(False), values)
        which, bodies, _ = gathered(True)
    numbers = msgspec.json.decode(which, type=list[int])
    return list(zip(numbers, table.documents_of(len(numbers), bodies), strict=True))


def _one(connection: apsw.Connection, statement: str, values: Sequence[Any]) -> Any:
    row = connection.execute(statement, values).fetchone()
    return None if row is None else row[0]


def _equal(table: Table[Any], index: str, equals: Sequence[Value]) -> tuple[list[str], list[Value]]:
    return [f"{column} = ?" for column in table.order_of(index)[: len(equals)]], list(equals)


def _and(terms: Sequence[str]) -> str:
    return "".join(f" and {term}" for term in terms)


def _depth_of(prefixes: Sequence[Sequence[Value]]) -> int:
    """How long the prefixes are. Raises ValueError where they differ."""
    depths = {len(prefix) for prefix in prefixes}
    if len(depths) > 1:
        raise ValueError("the prefixes of one scan have one length")
    return depths.pop() if depths else 0


def _rank(document: Any, field: str) -> tuple[bool, Any]:
    """Where a field's value stands in SQLite's order: numbers before texts."""
    value = plain(getattr(document, field))
    return isinstance(value, str), value


def _is_less(one: Value, other: Value) -> bool:
    return (isinstance(one, str), one) < (isinstance(other, str), other)


def _json(value: Any) -> str:
    return _encode_json(value).decode()
