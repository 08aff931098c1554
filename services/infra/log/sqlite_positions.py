"""How far each group has come, written when there is something to write along with.

Law: a position is on the disk at the latest with the next append, a second after its commit, or at the close,
whichever comes first. Losing one repeats records and loses none, so no commit waits for the disk.
"""

import threading
from collections.abc import Collection, Mapping

import apsw
import msgspec

Name = tuple[str, str, int]  # group, topic, partition

_WRITE = (
    "insert into logmeta_positions select p.value ->> 0, p.value ->> 1, p.value ->> 2, p.value ->> 3"
    " from json_each(?) p where true on conflict (group_name, topic, partition) do update set next = excluded.next"
)
_encode_json = msgspec.json.Encoder().encode


class Positions:
    """The positions not yet written. `put` is called on the loop, the rest where the engine runs its handlers."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: dict[Name, int] = {}
        self._written: dict[Name, int] = {}  # in a transaction that is not committed yet

    def __bool__(self) -> bool:
        return bool(self._waiting or self._written)

    def put(self, positions: Mapping[Name, int]) -> None:
        """Remember them for the next write."""
        with self._guard:
            self._waiting.update(positions)

    def write(self, connection: apsw.Connection) -> None:
        """Write all that wait, into the transaction that is open."""
        with self._guard:
            if not self._waiting:
                return
            batch, self._waiting = self._waiting, {}
            self._written.update(batch)
        rows = _encode_json([(*name, offset) for name, offset in batch.items()]).decode()
        try:
            connection.execute(_WRITE, (rows,))
        except BaseException:
            self.settle(False)
            raise

    def settle(self, is_committed: bool) -> None:
        """What was written is durable, or has to be written again."""
        with self._guard:
            if not is_committed:
                self._waiting = {**self._written, **self._waiting}
            self._written = {}


def create(connection: apsw.Connection) -> None:
    """Make the table; idempotent."""
    connection.execute(
        "create table if not exists logmeta_positions (group_name text not null, topic text not null,"
        " partition integer not null, next integer not null,"
        " primary key (group_name, topic, partition)) without rowid"
    )


def read(connection: apsw.Connection, group: str, topic: str, partitions: int) -> list[int]:
    """The position of each partition; 0 where the group has not committed one."""
    rows = connection.execute(
        "select json_group_object(partition, next) from logmeta_positions where group_name = ? and topic = ?",
        (group, topic),
    ).fetchone()
    known = msgspec.json.decode(str(rows[0]) if rows else "{}", type=dict[str, int])
    return [known.get(str(partition), 0) for partition in range(partitions)]


def least(connection: apsw.Connection, topic: str, partitions: int, readers: Collection[str]) -> list[int | None]:
    """For each partition how far every group has come that ever committed in the topic or reads it now; None: no group.

    A group that has no position in a partition stands at its beginning.
    """
    rows = connection.execute(
        "select json_group_array(json_array(group_name, partition, next)) from logmeta_positions where topic = ?",
        (topic,),
    ).fetchone()
    known = msgspec.json.decode(str(rows[0]) if rows else "[]", type=list[tuple[str, int, int]])
    positions = {(group, partition): offset for group, partition, offset in known}
    groups = {group for group, _ in positions} | set(readers)
    return [
        min((positions.get((group, partition), 0) for group in groups), default=None) for partition in range(partitions)
    ]
