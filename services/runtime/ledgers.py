"""Which places under the caps are taken, and which of them came to nothing.

Law: a place is dead once its execution passed that visit without an intent, or its result is failed or skipped, or
the start was refused. Dead is for ever, so the proof may be lazy; what cannot be proven counts.
Source: runtime design 7, "Caps without a transaction".
"""

from collections.abc import Iterable, Mapping, Sequence

from services.domain.execution.caps import MAX_PER_MS, Reservation
from services.domain.execution.execution import Execution
from services.domain.execution.lifecycle import Status
from services.runtime.collections import Ledger, MessageDocument


def living(reservations: Iterable[Reservation], executions: Mapping[str, Execution], now: int) -> list[Reservation]:
    """The reservations that may still count."""
    return [
        one
        for one in reservations
        if now - one.at <= MAX_PER_MS and not is_dead(one, executions.get(one.execution_key))
    ]


def is_dead(reservation: Reservation, execution: Execution | None) -> bool:
    """Whether the send this place was taken for will never be."""
    if execution is None:
        return False
    if execution.status is Status.REFUSED:
        return True
    key = reservation.send_id.removeprefix(f"{execution.execution_id}-")
    if key in execution.intents:
        return False
    result = execution.results.get(key)
    return result is None or result.state in ("failed", "skipped")


def seeded(messages: Iterable[MessageDocument]) -> list[Reservation]:
    """The places of messages sent before a cap was first set: they were sent, so no execution has to be asked."""
    return [
        Reservation(one.key, "", one.channel, one.at)
        for one in messages
        if one.status in ("sending", "sent", "unknown")
    ]


def ledger_of(before: Ledger | None, subject_key: str, reservations: Sequence[Reservation], epoch: int) -> Ledger:
    """The ledger's next state."""
    return Ledger(
        key=subject_key,
        transition=before.transition + 1 if before else 1,
        owner_epoch=epoch,
        reservations=tuple(reservations),
    )
