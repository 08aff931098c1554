"""The small conditions on which everything rests, each with a name.

Law: one guard, one function, so that a test can take one away and see the protocol break.
Source: runtime design 16 (mutants).
"""

from collections.abc import Iterable

from services.domain.execution.execution import Execution
from services.infra.log.port import Place, Stored
from services.runtime.collections import EventRecord, Ledger, MessageDocument


def is_redelivery(record: EventRecord, stored: Stored, first: Place | None = None) -> bool:
    """The same id at the same place: process; at another: a producer's duplicate, drop.

    `first`: where a dead letter that is replayed lay before it was set aside, which is its place.
    """
    place = (stored.partition, stored.offset) if first is None else (first.partition, first.offset)
    return (record.partition, record.offset) in (place, (stored.partition, stored.offset))


def is_new_to(execution: Execution, position: tuple[str, int]) -> bool:
    """Whether a record asks for a decided start again, and is not the one it was decided by, read once more."""
    topic, offset = position
    return offset > execution.watermarks.get(topic, -1)


def is_of_a_newer_owner(epoch: int, executions: Iterable[Execution], ledger: Ledger | None) -> bool:
    """Somebody who owned the person after us has written: we own nothing any more and act on nothing."""
    return any(one.owner_epoch > epoch for one in executions) or (ledger is not None and ledger.owner_epoch > epoch)


def is_decided(existing: Execution | None) -> bool:
    """One unique key, one decision."""
    return existing is not None


def may_call(message: MessageDocument | None) -> bool:
    """Nobody has called the provider yet: only then may an intent whose lease ran out be claimed again."""
    return message is None


def may_still_act(claimed_at: float, now: float, lease_seconds: float) -> bool:
    """An effect is begun only in the first half of its lease (monotonic seconds)."""
    return now - claimed_at < lease_seconds / 2


def is_forgotten(known_from: int, at: int, appended_at: int) -> bool:
    """What a person did, or what reached the log, before that moment is nobody's: they were forgotten then."""
    return min(at, appended_at) < known_from
