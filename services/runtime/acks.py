"""What is known to have happened since an execution was last written.

Law: an acknowledgement is lazy. It joins the execution's next write, or is flushed on its own after a second;
lost in a crash it is found out again from the message store and the log. So a wake-up costs one write on the
critical path and one amortised. Source: runtime design 6 (commit order, e).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from services.domain.execution.triggers import Settled


@dataclass(slots=True)
class Ack:
    """For one execution: entries the log has, and intents that ended."""

    workspace: str
    end_user_id: str
    since: float
    entry_ids: set[str] = field(default_factory=set)
    settled: dict[str, Settled] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Nothing left to write."""
        return not self.entry_ids and not self.settled


class Acks:
    """The acknowledgements not yet written, by execution key. `since` is monotonic seconds."""

    def __init__(self) -> None:
        self._by_key: dict[str, Ack] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def of(self, key: str) -> Ack | None:
        """What is known of an execution."""
        return self._by_key.get(key)

    def publish(self, key: str, workspace: str, end_user_id: str, entry_ids: Iterable[str], now: float) -> None:
        """The log has these entries."""
        self._ack(key, workspace, end_user_id, now).entry_ids.update(entry_ids)

    def settle(self, key: str, workspace: str, end_user_id: str, settled: Settled, now: float) -> None:
        """An intent ended."""
        self._ack(key, workspace, end_user_id, now).settled[settled.intent] = settled

    def written(self, key: str, entry_ids: Iterable[str], intents: Iterable[str]) -> None:
        """The execution's document says so now."""
        ack = self._by_key.get(key)
        if ack is None:
            return
        ack.entry_ids.difference_update(entry_ids)
        for intent in intents:
            ack.settled.pop(intent, None)
        if ack.is_empty:
            del self._by_key[key]

    def forget(self, key: str) -> None:
        """The execution is gone."""
        self._by_key.pop(key, None)

    def ripe(self, before: float, limit: int) -> list[tuple[str, Ack]]:
        """Those known since before that moment, oldest first."""
        found: list[tuple[str, Ack]] = []
        for key, ack in self._by_key.items():  # insertion order is the order of `since`
            if ack.since > before or len(found) >= limit:
                break
            found.append((key, ack))
        return found

    def _ack(self, key: str, workspace: str, end_user_id: str, now: float) -> Ack:
        ack = self._by_key.get(key)
        if ack is None:
            ack = self._by_key[key] = Ack(workspace, end_user_id, now)
        return ack
