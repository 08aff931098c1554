"""A collection as a SQLite table: its columns, its rows, and the statements over it.

    id integer primary key, key text unique, f_<field> for each indexed field, revision, epoch, schema, body (MessagePack)

Law: every statement answers in one step, whatever it reads or writes: apsw gives up the interpreter's lock at
each step, and beside a busy event loop that costs up to 5 ms a step (see `services.infra.sqlite.group`). Rows
go in as one array, bodies come out as one blob: MessagePack values follow each other without separators, so a
header before them makes them a list.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from operator import attrgetter
from typing import Any, Generic, TypeVar

import apsw
import msgspec

from services.infra.documents.port import Collection, Index, Value

T = TypeVar("T")
Cell = Value | None

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_BYTES_OF_LIST = b"\xdd"  # array 32: the number of items in four bytes follows
_INT64_END = 1 << 63
_encode = msgspec.msgpack.Encoder().encode
_encode_json = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Row:
    """A document as it is stored: the cells of all columns before the body, and the body."""

    cells: tuple[Cell, ...]
    body: bytes

    @property
    def key(self) -> str:
        return str(self.cells[0])


class Table(Generic[T]):
    """One collection. Raises ValueError for names that cannot be stored."""

    def __init__(self, collection: Collection[T]) -> None:
        fields = [field for index in collection.indexes for field in index.fields]
        for name in (collection.name, *(index.name for index in collection.indexes)):
            if not _NAME.fullmatch(name):
                raise ValueError(f"a stored name is lower_snake_case: {name!r}")
        for field in (collection.key, collection.revision, *fields):
            if not field.isidentifier():
                raise ValueError(f"not a field: {field!r}")
        self.collection = collection
        self.name = f'"doc_{collection.name}"'
        self.indexes = {index.name: index for index in collection.indexes}
        own = {collection.key: "key", collection.revision: "revision"}
        if collection.epoch is not None:
            own[collection.epoch] = "epoch"
        self.added = tuple(dict.fromkeys(field for field in fields if field not in own))
        self._columns = {**own, **{field: f'"f_{field}"' for field in self.added}}
        self._decoder = msgspec.msgpack.Decoder(collection.type)
        self._list_decoder = msgspec.msgpack.Decoder(list[collection.type])  # type: ignore[name-defined]  # a type made at run time
        cells = ("key", *(self.column(field) for field in self.added), "revision", "epoch")
        self._write_statements(cells)
        get = attrgetter(collection.key, *self.added, collection.revision, *filter(None, (collection.epoch,)))
        self._cells: Callable[[T], tuple[Any, ...]] = get if collection.epoch else lambda one: (*get(one), 0)

    def _write_statements(self, cells: Sequence[str]) -> None:
        """`?1` is an array of JSON rows (the cells, then where the body lies in `?2`), in `_packed`'s form."""
        end = len(cells)
        unpacked = ", ".join(f"r.value ->> {i} as {cell}" for i, cell in enumerate(cells))
        rows = f"select r.rowid as place, {unpacked}, r.value ->> {end} as at, r.value ->> {end + 1} as size"
        source = f"with x as ({rows} from carray(?1) r)"
        columns = ", ".join(cells)
        changes = ", ".join(f"{cell} = x.{cell}" for cell in cells[1:])
        schema = self.collection.schema
        guard = f"t.key = x.key and t.revision = x.revision - 1 and t.epoch <= x.epoch and t.schema <= {schema}"
        self.insert_rows = (
            f"{source} insert into {self.name} ({columns}, schema, body)"
            f" select {columns}, {schema}, substr(?2, at, size) from x where true on conflict (key) do nothing"
        )
        self.replace_rows = (
            f"{source} update {self.name} as t set {changes}, schema = {schema}, body = substr(?2, x.at, x.size)"
            f" from x where {guard}"
        )
        taken = f"exists (select 1 from {self.name} t where t.key = x.key)"
        missed = f"not exists (select 1 from {self.name} t where {guard})"
        other = (
            f"exists (select 1 from {self.name} t where t.key = x.key and x.revision is not null"
            f" and t.revision <> x.revision)"
        )
        self.taken_keys = f"{source} select json_group_array(x.place - 1) from x where {taken}"
        self.missed_guards = f"{source} select json_group_array(x.place - 1) from x where {missed}"
        # A delete's row has a key and a revision alone.
        bare = "with x as (select r.rowid as place, r.value ->> 0 as key, r.value ->> 1 as revision from carray(?1) r)"
        self.other_revisions = f"{bare} select json_group_array(x.place - 1) from x where {other}"
        self.delete_rows = (
            f"{bare} delete from {self.name} where id in"
            f" (select t.id from x cross join {self.name} t on t.key = x.key"
            f" where x.revision is null or t.revision = x.revision)"
        )

    def column(self, field: str) -> str:
        """The column that holds a field."""
        return self._columns[field]

    def fields_of(self, index: str) -> tuple[str, ...]:
        """The fields of an index and the key that breaks ties; "" is the order of keys. Raises ValueError."""
        if not index:
            return (self.collection.key,)
        if index not in self.indexes:
            raise ValueError(f"the collection {self.collection.name} has no index {index!r}")
        return tuple(dict.fromkeys((*self.indexes[index].fields, self.collection.key)))

    def order_of(self, index: str) -> tuple[str, ...]:
        """The columns of an index, in order."""
        return tuple(self.column(field) for field in self.fields_of(index))

    def presence_in(self, index: str) -> str:
        """The condition for a document to be in an index: none of its fields is None."""
        columns = [self.column(field) for field in self.fields_of(index) if field in self.added]
        return " and ".join(f"{column} is not null" for column in columns) or "true"

    def source_of(self, index: str, *, known: bool = False) -> str:
        """The table read through that index, up to a condition to which others can be added.

        `known`: without the documents of a newer schema.
        """
        through = f" indexed by {self.name_of(self.indexes[index])}" if index else ""
        older = f" and schema <= {self.collection.schema}" if known else ""
        return f"{self.name}{through} where {self.presence_in(index)}{older}"

    def name_of(self, index: Index) -> str:
        """The index as SQLite knows it."""
        return f'"doc_{self.collection.name}.{index.name}"'

    def row_of(self, document: T) -> Row:
        """Encode a document. Raises what msgspec raises, or TypeError and ValueError for a field no index can hold."""
        cells = self._cells(document)
        for cell in cells:
            kind = cell.__class__
            if kind is int:
                if cell >= _INT64_END:
                    raise ValueError("an indexed integer has 64 bits")
            elif kind is not str and cell is not None:  # subclasses and enums are rare, and so are mistakes
                cells = tuple(map(plain, cells))
                break
        key, revision, epoch = cells[0], cells[-2], cells[-1]
        if not isinstance(key, str):
            raise TypeError(f"the key of {self.collection.name} is a string, not {key!r}")
        if not isinstance(revision, int) or not isinstance(epoch, int):
            raise TypeError(f"revision and epoch of {self.collection.name} are integers, not {revision!r}, {epoch!r}")
        return Row(cells, _encode(document))

    def document_of(self, body: bytes) -> T:
        """Decode one body."""
        return self._decoder.decode(body)

    def documents_of(self, count: int, bodies: bytes | None) -> list[T]:
        """Decode what a GATHER statement answered."""
        if not count or bodies is None:
            return []
        return self._list_decoder.decode(_BYTES_OF_LIST + count.to_bytes(4, "big") + bodies)


def plain(value: Any) -> Cell:
    """A field's value as a cell: a string, an integer of 64 bits, or None. Raises TypeError, ValueError."""
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, int):
        raise TypeError(f"an indexed field is a string or an integer, not {type(value).__name__}")
    if not -_INT64_END <= value < _INT64_END:
        raise ValueError("an indexed integer has 64 bits")
    return value


def packed(rows: Sequence[Row]) -> "tuple[apsw.CArrayBinding, bytes]":
    """Rows as the two arguments of a statement: JSON texts of their cells, and all bodies one after the other.

    Bodies as JSON would cost ten times the insert itself.
    """
    texts, at = [], 1
    for row in rows:
        size = len(row.body)
        texts.append(_encode_json((*row.cells, at, size)).decode())
        at += size
    return apsw.carray(tuple(texts)), b"".join([row.body for row in rows])
