"""A topic as a SQLite table, and the statements over it.

    seq integer primary key, partition, offset, key (compacted topics only), body (MessagePack)

`seq` numbers the records of all topics in the order of their appending. It makes that order one walk along the
table, where a table in the order of (partition, offset) would have to be merged from 16 places; and appending
at one end is cheaper: 1.1 us a record and 12 MB of journal for 20,000, against 1.4 us and 22 MB [measured].

Law: every statement answers in one step, see `services.infra.documents.sqlite_table`.
"""

import re
from collections.abc import Sequence
from typing import Any

import apsw
import msgspec

from services.infra.log.port import Stored

_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")
_BYTES_OF_LIST = b"\xdd"  # array 32: the number of items in four bytes follows
# Partition and offset of each record lie in one text of 3 and 17 digits: three times faster than JSON.
_PARTITION = "cast(substr(?2, r.rowid * 20 - 19, 3) as integer)"
_OFFSET = "cast(substr(?2, r.rowid * 20 - 16, 17) as integer)"
Line = tuple[int, int, int, int, str, bytes, tuple[tuple[str, bytes], ...]]

_encode = msgspec.msgpack.Encoder().encode
_encode_json = msgspec.json.Encoder().encode
_decode_lines = msgspec.msgpack.Decoder(list[Line]).decode


class TopicTable:
    """One topic. Raises ValueError for a name that cannot be stored."""

    def __init__(self, topic: str, is_compacted: bool) -> None:
        if not _NAME.fullmatch(topic):
            raise ValueError(f"a topic's name has letters, digits, '.', '_' and '-': {topic!r}")
        self.topic = topic
        self.is_compacted = is_compacted
        self.name = f'"log_{topic}"'
        gather = "select count(*), cast(group_concat(body, '') as blob) from (select body from"
        self._in_order = f"{gather} {self.name} where seq > ? order by seq limit ?)"
        self._in_partition = f"{gather} {self.name} where partition = ? and offset >= ? order by offset limit ?)"

    def create(self, connection: apsw.Connection) -> None:
        """Make the table; idempotent."""
        connection.execute(
            f"""
            create table if not exists {self.name} (seq integer primary key, partition integer not null,
                offset integer not null, key text, body blob not null);
            create unique index if not exists "log_{self.topic}:place" on {self.name} (partition, offset);
            create index if not exists "log_{self.topic}:key" on {self.name} (key, partition) where key is not null;
            create trigger if not exists "log_{self.topic}:deleted" after delete on {self.name} begin
                insert into logmeta_counters values ('{self.topic}', old.partition, old.offset + 1)
                on conflict (topic, partition) do update set next = max(next, excluded.next);
            end;
            """
        )

    def next_offsets(self, connection: apsw.Connection, partitions: int) -> list[int]:
        """The offset each partition gives next: above every record there is, and every one that was deleted."""
        last = f"select offset + 1 from {self.name} where partition = p.value order by offset desc limit 1"
        deleted = "select next from logmeta_counters where topic = ?2 and partition = p.value"
        statement = (
            f"select json_group_array(max(ifnull(({last}), 0), ifnull(({deleted}), 0)) order by p.key)"
            f" from json_each(?1) p"
        )
        answer = one(connection, statement, (_json(list(range(partitions))), self.topic))
        return msgspec.json.decode(answer, type=list[int])

    def last_seq(self, connection: apsw.Connection) -> int:
        """The number of the newest record, 0 if there is none."""
        return int(one(connection, f"select ifnull(max(seq), 0) from {self.name}"))

    def seq_before(self, connection: apsw.Connection, positions: Sequence[int]) -> int | None:
        """The number just below the first record at or after those offsets, by partition; None if there is none."""
        first = f"select seq from {self.name} where partition = p.key and offset >= p.value order by offset limit 1"
        seq = one(connection, f"select min(({first})) from json_each(?) p", (_json(list(positions)),))
        return None if seq is None else int(seq) - 1

    def insert(self, connection: apsw.Connection, lines: Sequence[Line]) -> None:
        """Write lines whose numbers follow each other; in a compacted topic over the older ones of their keys."""
        if self.is_compacted:
            self._insert_over(connection, lines)
            return
        head = b"".join([b"%03d%017d" % line[1:3] for line in lines])
        connection.execute(
            f"insert into {self.name} (seq, partition, offset, body)"
            f" select ?3 + r.rowid, {_PARTITION}, {_OFFSET}, r.value from carray(?1) r",
            (apsw.carray(tuple([_encode(line) for line in lines])), head, lines[0][0] - 1),
        )

    def _insert_over(self, connection: apsw.Connection, lines: Sequence[Line]) -> None:
        newest = {(line[1], line[4]): line for line in lines}
        keys = _json([(partition, key) for partition, key in newest])
        connection.execute(
            f"delete from {self.name} where seq in (select l.seq from json_each(?) k cross join {self.name} l"
            f" on l.key = k.value ->> 1 and l.partition = k.value ->> 0)",
            (keys,),
        )
        texts, bodies, at = [], [], 1
        for line in newest.values():
            body = _encode(line)
            texts.append(_json((line[0], line[1], line[2], line[4], at, len(body))))
            bodies.append(body)
            at += len(body)
        columns = ", ".join(f"r.value ->> {i}" for i in range(4))
        connection.execute(
            f"insert into {self.name} (seq, partition, offset, key, body)"
            f" select {columns}, substr(?2, r.value ->> 4, r.value ->> 5) from carray(?1) r",
            (apsw.carray(tuple(texts)), b"".join(bodies)),
        )

    def erase(self, connection: apsw.Connection, places: Sequence[tuple[int, int]]) -> int:
        """Delete the records at (partition, offset); how many were there."""
        connection.execute(
            f"delete from {self.name} where seq in (select l.seq from json_each(?) p cross join {self.name} l"
            f" on l.partition = p.value ->> 0 and l.offset = p.value ->> 1)",
            (_json(places),),
        )
        return connection.changes()

    def trim(self, connection: apsw.Connection, last: int, limits: Sequence[int | None], most: int) -> int:
        """Delete up to `most` records numbered up to `last`, of each partition below its limit (None: all)."""
        below = "ifnull(?2 ->> partition, 9223372036854775807)"
        connection.execute(
            f"delete from {self.name} where seq in (select seq from {self.name}"
            f" where seq <= ?1 and offset < {below} order by seq limit ?3)",
            (last, _json(list(limits)), most),
        )
        return connection.changes()

    def last_before(self, connection: apsw.Connection, moment: int) -> int | None:
        """The number of the last record appended before a moment (ms), None if there is none.

        Numbers rise with time, and the time is in the body alone: a search by halves, two dozen records read.
        """
        low = int(one(connection, f"select ifnull(min(seq), 0) from {self.name}"))
        high = self.last_seq(connection)
        found: int | None = None
        next_one = f"select count(*), body from (select body from {self.name} where seq >= ? order by seq limit 1)"
        while low and low <= high:
            middle = (low + high) // 2
            (line,) = _lines(connection, next_one, (middle,))
            if line[3] < moment:
                found, low = line[0], line[0] + 1
            else:
                high = middle - 1
        return found

    def in_order(self, connection: apsw.Connection, after: int, limit: int) -> list[tuple[int, Stored]]:
        """Records in the order of their appending, each with its number."""
        return [(line[0], self.stored(line)) for line in _lines(connection, self._in_order, (after, limit))]

    def in_partition(self, connection: apsw.Connection, partition: int, offset: int, limit: int) -> list[Stored]:
        """Records of one partition."""
        lines = _lines(connection, self._in_partition, (partition, offset, limit))
        return [self.stored(line) for line in lines]

    def stored(self, line: Line) -> Stored:
        """A line as its readers see it."""
        _, partition, offset, appended_at, key, value, headers = line
        return Stored(self.topic, partition, offset, key, value, headers, appended_at)


def one(connection: apsw.Connection, statement: str, values: Sequence[Any] = ()) -> Any:
    """The only value of a statement's only row."""
    row = connection.execute(statement, values).fetchone()
    return None if row is None else row[0]


def _lines(connection: apsw.Connection, statement: str, values: Sequence[Any]) -> list[Line]:
    count, bodies = connection.execute(statement, values).fetchone()  # type: ignore[misc]  # an aggregate has one row
    if not count:
        return []
    return _decode_lines(_BYTES_OF_LIST + count.to_bytes(4, "big") + bodies)


def _json(value: Any) -> str:
    return _encode_json(value).decode()
