"""Bringing a table to what its collection declares.

Law: idempotent and all in the transaction of the caller: killed in the middle, it begins again. Documents are
never rewritten, only the columns that repeat some of their fields; an index that is no longer declared goes.
"""

from typing import Any

import apsw

from services.infra.documents.port import Index
from services.infra.documents.sqlite_table import Table, plain

_PAGE = 1000


def bring_up(connection: apsw.Connection, table: Table[Any]) -> None:
    """Make the table, its columns and its indexes; fill new columns from the bodies.

    Raises msgspec.ValidationError where a stored document no longer fits the collection's type.
    """
    connection.execute(
        f"create table if not exists {table.name} (id integer primary key, key text unique not null,"
        f" revision integer not null, epoch integer not null, schema integer not null default 1, body blob not null)"
    )
    present = {name for _, name, *_ in connection.execute(f"pragma table_info({table.name})").fetchall()}
    if "schema" not in present:  # a file of a release that had no newer one
        connection.execute(f"alter table {table.name} add column schema integer not null default 1")
    for field in table.added:
        if table.column(field).strip('"') not in present:
            connection.execute(f"alter table {table.name} add column {table.column(field)}")
    declared = {table.name_of(index).strip('"'): _definition(table, index) for index in table.indexes.values()}
    stored: dict[str, str] = dict(
        connection.execute(
            "select name, sql from sqlite_schema where type = 'index' and tbl_name = ? and sql is not null",
            (table.name.strip('"'),),
        ).fetchall()  # type: ignore[arg-type]  # both columns are texts
    )
    for name, definition in stored.items():
        if declared.get(name) != definition:
            connection.execute(f'drop index "{name}"')
    missing = [
        index for index in table.indexes.values() if stored.get(_bare(table, index)) != _definition(table, index)
    ]
    # A column may be older than its index and yet out of date: nobody wrote it while no index wanted it.
    fields = sorted({field for index in missing for field in index.fields if field in table.added})
    if fields:
        _fill(connection, table, fields)
    for index in missing:
        connection.execute(_definition(table, index))


def _definition(table: Table[Any], index: Index) -> str:
    columns = ", ".join(table.order_of(index.name))
    return f"CREATE INDEX {table.name_of(index)} on {table.name} ({columns}) where {table.presence_in(index.name)}"


def _bare(table: Table[Any], index: Index) -> str:
    return table.name_of(index).strip('"')


def _fill(connection: apsw.Connection, table: Table[Any], fields: list[str]) -> None:
    """Copy the fields out of every body into their columns."""
    sets = ", ".join(f"{table.column(field)} = ?{i + 2}" for i, field in enumerate(fields))
    # What a newer version wrote keeps its columns: nobody here can read them out of its body.
    known = f"schema <= {table.collection.schema}"
    page = f"select id, body from {table.name} where id > ? and {known} order by id limit {_PAGE}"
    last: Any = 0
    while rows := connection.execute(page, (last,)).fetchall():
        cells = []
        for row_id, body in rows:
            document = table.document_of(body)  # type: ignore[arg-type]  # the column holds blobs
            cells.append((row_id, *(plain(getattr(document, field)) for field in fields)))
        connection.executemany(f"update {table.name} set {sets} where id = ?1", cells)
        last = rows[-1][0]
