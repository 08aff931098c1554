"""Decisions about a person as the contract shows them (section 4)."""

from typing import Literal, Self

from journeys.runtime.v1 import why_service_pb2 as pb

from gateway.dto.shown import UNSET, Dto, Time, UnsetType, optional, or_unset
from gateway.dto.simulation import Check, TraceEntry
from gateway.times import rfc3339


class Decision(Dto, kw_only=True):
    """One start that was decided: on what grounds, and what came of it."""

    at: Time
    event_id: str
    event_type: str
    version: int
    outcome: Literal["started", "blocked", "held_out", "duplicate"]
    reason: str | UnsetType = UNSET
    execution_id: str | UnsetType = UNSET
    checks: list[Check]
    steps: list[TraceEntry]

    @classmethod
    def from_proto(cls, decision: pb.Decision) -> Self:
        """A decision."""
        return cls(
            at=rfc3339(decision.at_ms),
            event_id=decision.event_id,
            event_type=decision.event_type,
            version=decision.version,
            outcome=decision.outcome,  # type: ignore[arg-type]  # the runtime knows these
            reason=or_unset(optional(decision, "reason")),
            execution_id=or_unset(optional(decision, "execution_id")),
            checks=[Check.from_proto(check) for check in decision.checks],
            steps=[TraceEntry.from_proto(step) for step in decision.steps],
        )


class Decisions(Dto, kw_only=True):
    """What one journey decided about one person, newest first."""

    end_user_id: str
    decisions: list[Decision]
