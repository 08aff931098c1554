"""What was forgotten of a person, as the contract shows it (section 6)."""

from typing import Any, Self

from journeys.runtime.v1 import erasure_service_pb2 as pb

from gateway.dto.shown import UNSET, Dto, Time, UnsetType
from gateway.times import rfc3339


class ErasedCounts(Dto, kw_only=True):
    """How many of each were erased. `events` are those that were recorded; `profile` is 0 or 1."""

    executions: int
    messages: int
    in_app: int
    events: int
    profile: int
    audience_entries: int
    audit_entries: int


class Forgotten(Dto, kw_only=True):
    """A receipt. `stopped` are executions that ran. `retainedUntil`: what the log cannot remove it keeps until then."""

    receipt_id: str
    forgotten_at: Time
    stopped: int
    erased: ErasedCounts
    retained_until: Time | UnsetType = UNSET

    @classmethod
    def from_proto(cls, erasure: pb.Erasure) -> Self:
        """A receipt."""
        return cls(**_members(erasure))


class Verified(Forgotten, kw_only=True):
    """A receipt, and what a look finds. `verified`: it is done, and nothing of the person is there."""

    status: str
    verified: bool
    remaining: int
    reinstated_at: Time | UnsetType = UNSET

    @classmethod
    def of(cls, reply: pb.GetErasureResponse) -> Self:
        """A receipt that was asked for."""
        is_back = reply.HasField("reinstated_at_ms")
        return cls(
            **_members(reply.erasure),
            status="done" if reply.is_done else "running",
            # Somebody who came back has new documents, which say nothing about the old ones.
            verified=reply.is_done and (is_back or reply.remaining == 0),
            remaining=reply.remaining,
            reinstated_at=rfc3339(reply.reinstated_at_ms) if is_back else UNSET,
        )


def _members(erasure: pb.Erasure) -> dict[str, Any]:
    counts = erasure.erased
    until = rfc3339(erasure.retained_until_ms) if erasure.HasField("retained_until_ms") else UNSET
    return {
        "receipt_id": erasure.receipt_id,
        "forgotten_at": rfc3339(erasure.forgotten_at_ms),
        "stopped": erasure.stopped,
        "erased": ErasedCounts(
            executions=counts.executions,
            messages=counts.messages,
            in_app=counts.in_app,
            events=counts.events,
            profile=counts.profile,
            audience_entries=counts.audience_entries,
            audit_entries=counts.audit_entries,
        ),
        "retained_until": until,
    }
