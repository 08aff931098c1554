"""The newest records of a topic, kept in memory for those who read along.

Law: bounded, and never a source of truth. What is in it is committed; what has been dropped is in the file.
"""

from bisect import bisect_right
from collections.abc import Sequence

from services.infra.log.port import Stored

_RECORD_BYTES = 300  # what a record costs besides its value


class Tail:
    """The records of one topic that came after `floor`, at most `max_bytes` of them.

    Positions are the log's own numbers, rising with every append: a reader who stands at `floor` or above finds
    everything that follows here.
    """

    def __init__(self, floor: int, max_bytes: int) -> None:
        self.floor = floor
        self._max_bytes = max_bytes
        self._bytes = 0
        self._numbers: list[int] = []
        self._records: list[Stored] = []

    def add(self, first: int, records: Sequence[Stored]) -> None:
        """Take records with the numbers `first`, `first` + 1, ...; the oldest go if there are too many."""
        self._numbers.extend(range(first, first + len(records)))
        self._records.extend(records)
        self._bytes += sum(len(record.value) for record in records) + _RECORD_BYTES * len(records)
        dropped, bytes_left = 0, self._bytes
        while bytes_left > self._max_bytes:
            bytes_left -= len(self._records[dropped].value) + _RECORD_BYTES
            dropped += 1
        if dropped:
            self.drop(self._numbers[dropped - 1])

    def drop(self, number: int) -> None:
        """Forget what everybody has read: the records up to that number."""
        end = bisect_right(self._numbers, number)
        self._bytes -= sum(len(record.value) for record in self._records[:end]) + _RECORD_BYTES * end
        del self._numbers[:end]
        del self._records[:end]
        self.floor = max(self.floor, number)

    def drop_all(self) -> None:
        """Nobody reads here any more."""
        if self._numbers:
            self.drop(self._numbers[-1])

    def after(self, number: int, limit: int) -> list[tuple[int, Stored]]:
        """Up to `limit` records after that number, which must not lie below the floor."""
        start = bisect_right(self._numbers, number)
        return list(zip(self._numbers[start : start + limit], self._records[start : start + limit], strict=True))
