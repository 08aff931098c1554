"""The small conditions on which everything rests, each with a name.

Law: one guard, one function, so that a test can take one away and see the protocol break.
Source: runtime design 16 (mutants).
"""

from services.domain.execution.execution import Execution
from services.infra.log.port import Stored
from services.runtime.collections import EventRecord, MessageDocument


def is_redelivery(record: EventRecord, stored: Stored) -> bool:
    """The same id at the same place: process; at another: a producer's duplicate, drop."""
    return record.partition == stored.partition and record.offset == stored.offset


def is_decided(existing: Execution | None) -> bool:
    """One unique key, one decision."""
    return existing is not None


def may_call(message: MessageDocument | None) -> bool:
    """Nobody has called the provider yet: only then may an intent whose lease ran out be claimed again."""
    return message is None


def may_still_act(claimed_at: float, now: float, lease_seconds: float) -> bool:
    """An effect is begun only in the first half of its lease (monotonic seconds)."""
    return now - claimed_at < lease_seconds / 2
