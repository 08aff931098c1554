"""Who is who: from a workspace and an end-user id to slot, partition, lane and the keyed subject key.

Law: computed here and nowhere else. Source: runtime design 1.
"""

from dataclasses import dataclass
from functools import lru_cache

from services.domain import ids
from services.infra.log.port import murmur2


@dataclass(frozen=True, slots=True)
class Subject:
    """A person as the runtime addresses them."""

    workspace: str
    end_user_id: str
    slot: int
    key: str  # the keyed subject key

    @property
    def log_key(self) -> str:
        """The key of the person's records in the log."""
        return log_key(self.workspace, self.end_user_id)


def log_key(workspace: str, end_user_id: str) -> str:
    """`<projectKey>:<endUserId>`: the record key every producer uses."""
    return f"{workspace}:{end_user_id}"


@lru_cache(maxsize=16384)
def subject_of(workspace: str, secret: bytes, end_user_id: str) -> Subject:
    """The addresses of one person."""
    slot = slot_of(workspace, end_user_id)
    return Subject(workspace, end_user_id, slot, ids.subject_key(slot, secret, end_user_id))


@lru_cache(maxsize=16384)
def slot_of(workspace: str, end_user_id: str) -> int:
    """The slot of one person."""
    return (murmur2(log_key(workspace, end_user_id).encode()) & 0x7FFFFFFF) % ids.SLOTS
