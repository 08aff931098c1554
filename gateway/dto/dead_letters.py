"""Records that could not be read, as operators see them."""

from typing import Final, Self

from journeys.runtime.v1 import dead_letter_service_pb2 as pb

from gateway.dto.shown import Dto, Time
from gateway.times import rfc3339

MAX_SHOWN: Final = 2_000


class DeadLetter(Dto, kw_only=True):
    """One record: where it lies, where it lay, why, and how it begins. Bytes that are no UTF-8 are shown as `\\xNN`."""

    partition: int
    offset: int
    at: Time
    topic: str
    source_partition: int
    source_offset: int
    reason: str
    key: str
    size: int
    value: str

    @classmethod
    def from_proto(cls, letter: pb.DeadLetter) -> Self:
        """A dead letter."""
        return cls(
            partition=letter.partition,
            offset=letter.offset,
            at=rfc3339(letter.at_ms),
            topic=letter.source_topic,
            source_partition=letter.source_partition,
            source_offset=letter.source_offset,
            reason=letter.reason,
            key=letter.key,
            size=len(letter.value),
            value=letter.value[:MAX_SHOWN].decode("utf-8", "backslashreplace"),
        )
