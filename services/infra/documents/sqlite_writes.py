"""The writes of a group, as few statements: one for each collection and kind.

Law: hope first, and count. If all rows of a statement took effect, all outcomes are known; if one did not,
everything is undone and done again, each statement asking beforehand which rows it would miss. The connection
is the only one that writes, so the answer still holds when the rows are written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import apsw
import msgspec

from services.infra.documents.port import Delete, Insert, Outcome, Replace
from services.infra.documents.sqlite_table import Row, Table, packed
from services.infra.sqlite.group import SAVEPOINT

Kind = type[Insert[Any]] | type[Replace[Any]] | type[Delete[Any]]
Bulk = list[tuple[int, Row]]  # a write's place among the writes, and its row


@dataclass(frozen=True, slots=True)
class Prepared:
    """One write, encoded. A delete's row is (key, revision or None) and has no body."""

    table: Table[Any]
    kind: Kind
    row: Row


class _FellShort(Exception):
    """Fewer rows took effect than were written."""


def apply_all(connection: apsw.Connection, callers: Sequence[Sequence[Prepared]]) -> list[list[Outcome]]:
    """Apply the writes of all callers; an outcome for each write. A handler of the engine."""
    writes = [write for caller in callers for write in caller]
    try:
        outcomes = _apply(connection, writes, is_asking=False)
    except _FellShort:
        connection.execute(f"rollback to {SAVEPOINT}")
        outcomes = _apply(connection, writes, is_asking=True)
    shares, start = [], 0
    for caller in callers:
        shares.append(outcomes[start : start + len(caller)])
        start += len(caller)
    return shares


def _apply(connection: apsw.Connection, writes: Sequence[Prepared], is_asking: bool) -> list[Outcome]:
    outcomes = [Outcome.APPLIED] * len(writes)
    for wave in _waves(writes):
        for (table, kind), bulk in wave.items():
            if is_asking or kind is Delete:  # deleting what is not there is APPLIED, so a count says nothing
                missed = _missed(connection, table, kind, bulk)
                refused = Outcome.DUPLICATE if kind is Insert else Outcome.CONFLICT
                for i in missed:
                    outcomes[bulk[i][0]] = refused
                bulk = [one for i, one in enumerate(bulk) if i not in missed]
            if bulk:
                _write(connection, table, kind, [row for _, row in bulk])
    return outcomes


def _waves(writes: Sequence[Prepared]) -> list[dict[tuple[Table[Any], Kind], Bulk]]:
    """Writes by table and kind; a second write to one key goes into the next wave, so that order is kept per key."""
    waves: list[dict[tuple[Table[Any], Kind], Bulk]] = [{}]
    seen: dict[tuple[str, str], int] = {}
    for place, write in enumerate(writes):
        name = (write.table.name, write.row.key)
        number = seen.get(name, 0)
        seen[name] = number + 1
        if number == len(waves):
            waves.append({})
        waves[number].setdefault((write.table, write.kind), []).append((place, write.row))
    return waves


def _missed(connection: apsw.Connection, table: Table[Any], kind: Kind, bulk: Bulk) -> set[int]:
    """The rows of a bulk that would not take effect now."""
    if kind is Insert:
        question = table.taken_keys
    elif kind is Replace:
        question = table.missed_guards
    else:
        question = table.other_revisions
    texts, _ = packed([row for _, row in bulk])
    (answer,) = connection.execute(question, (texts,)).fetchone()  # type: ignore[misc]  # an aggregate has one row
    return set(msgspec.json.decode(answer, type=list[int]))


def _write(connection: apsw.Connection, table: Table[Any], kind: Kind, rows: Sequence[Row]) -> None:
    texts, bodies = packed(rows)
    if kind is Delete:
        connection.execute(table.delete_rows, (texts,))
        return
    connection.execute(table.insert_rows if kind is Insert else table.replace_rows, (texts, bodies))
    if connection.changes() != len(rows):
        raise _FellShort
