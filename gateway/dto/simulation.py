"""Dry runs and explored paths as the contract shows them (section 5)."""

from typing import Literal, Self

from journeys.runtime.v1 import simulation_service_pb2 as pb

from gateway.dto.shown import UNSET, Dto, JsonObject, Raw, Time, UnsetType, json_object, optional, or_unset
from gateway.times import duration_text, rfc3339

Outcome = Literal["completed", "blocked", "failed"]
Decision = Literal["executed", "skipped", "blocked"]


class Check(Dto, kw_only=True):
    """One check with the values it looked at; `overridden` where it said no."""

    check: str
    passed: bool
    reason: str | UnsetType = UNSET
    overridden: bool | UnsetType = UNSET
    inputs: JsonObject

    @classmethod
    def from_proto(cls, check: pb.Check) -> Self:
        """A check."""
        return cls(
            check=check.check,
            passed=check.passed,
            reason=or_unset(optional(check, "reason")),
            overridden=or_unset(optional(check, "overridden")),
            inputs=json_object(check.inputs_json),
        )


class TraceEntry(Dto, kw_only=True):
    """One step of the way."""

    at: Time
    step_id: str
    type: str
    decision: Decision
    reason: str | UnsetType = UNSET
    checks: list[Check] | UnsetType = UNSET
    deferred_until: Time | UnsetType = UNSET
    rendered: JsonObject | UnsetType = UNSET
    wait: JsonObject | UnsetType = UNSET
    branch: JsonObject | UnsetType = UNSET
    next: str | UnsetType = UNSET

    @classmethod
    def from_proto(cls, entry: pb.TraceEntry) -> Self:
        """A step."""
        return cls(
            at=rfc3339(entry.at_ms),
            step_id=entry.step_id,
            type=entry.type,
            decision=entry.decision,  # type: ignore[arg-type]  # the runtime knows these three
            reason=or_unset(optional(entry, "reason")),
            checks=[Check.from_proto(check) for check in entry.checks] or UNSET,
            deferred_until=rfc3339(entry.deferred_until_ms) if entry.HasField("deferred_until_ms") else UNSET,
            rendered=_or_unset(entry.rendered_json),
            wait=_or_unset(entry.wait_json),
            branch=_or_unset(entry.branch_json),
            next=or_unset(optional(entry, "next")),
        )


class SimulatedSubject(Dto, kw_only=True):
    """Who walked: `endUserId` of a real person only."""

    kind: Literal["real", "synthetic"]
    end_user_id: str | UnsetType = UNSET


class Simulation(Dto, kw_only=True):
    """A dry run. `reason` says why it was blocked or failed; `checks` are those of trigger time."""

    journey_id: str
    version: int | Literal["draft"]
    subject: SimulatedSubject
    started_at: Time
    outcome: Outcome
    reason: str | UnsetType = UNSET
    overrides_applied: list[str]
    checks: list[Check]
    trace: list[TraceEntry]

    @classmethod
    def from_proto(
        cls, reply: pb.SimulateResponse, journey_id: str, version: int | None, end_user_id: str | None
    ) -> Self:
        """What was simulated, of which version (None: the draft), for whom (None: a synthetic person)."""
        subject = SimulatedSubject(kind="synthetic")
        if end_user_id is not None:
            subject = SimulatedSubject(kind="real", end_user_id=end_user_id)
        return cls(
            journey_id=journey_id,
            version="draft" if version is None else version,
            subject=subject,
            started_at=rfc3339(reply.started_at_ms),
            outcome=reply.outcome,  # type: ignore[arg-type]  # the runtime knows these three
            reason=or_unset(optional(reply, "reason")),
            overrides_applied=list(reply.overrides_applied),
            checks=[Check.from_proto(check) for check in reply.checks],
            trace=[TraceEntry.from_proto(entry) for entry in reply.trace],
        )


class ExampleEvent(Dto, kw_only=True):
    """An event of an example, as `events` of a simulation takes it."""

    type: str
    data: JsonObject
    after: str | UnsetType = UNSET

    @classmethod
    def from_proto(cls, event: pb.ScriptedEvent, *, is_trigger: bool = False) -> Self:
        """An event; the one that starts it needs no time."""
        after = UNSET if is_trigger else duration_text(event.after_ms)
        return cls(type=event.type, data=json_object(event.data_json), after=after)


class ExplorationPath(Dto, kw_only=True):
    """One path and who takes it. `assumes`: what the example takes for granted and no request can say."""

    steps: list[str]
    example_attributes: JsonObject
    example_events: list[ExampleEvent]
    example_event: ExampleEvent | UnsetType = UNSET
    assumes: Raw | UnsetType = UNSET

    @classmethod
    def from_proto(cls, path: pb.Path) -> Self:
        """A path."""
        return cls(
            steps=list(path.steps),
            example_attributes=json_object(path.attributes_json),
            example_events=[ExampleEvent.from_proto(event) for event in path.events],
            example_event=ExampleEvent.from_proto(path.trigger, is_trigger=True) if path.HasField("trigger") else UNSET,
            assumes=_or_unset(path.assumes_json),
        )


class DeadBranch(Dto, kw_only=True):
    """A branch or arm that nobody can take."""

    step_id: str
    branch_id: str


class Exploration(Dto, kw_only=True):
    """Every path of a journey. `truncated`: there are more, or some could not be decided."""

    journey_id: str
    version: int | Literal["draft"]
    paths: list[ExplorationPath]
    unreachable: list[str]
    dead_branches: list[DeadBranch]
    truncated: bool

    @classmethod
    def from_proto(cls, reply: pb.ExploreResponse, journey_id: str, version: int | None) -> Self:
        """What was found."""
        return cls(
            journey_id=journey_id,
            version="draft" if version is None else version,
            paths=[ExplorationPath.from_proto(path) for path in reply.paths],
            unreachable=list(reply.unreachable),
            dead_branches=[DeadBranch(step_id=one.step_id, branch_id=one.branch_id) for one in reply.dead_branches],
            truncated=reply.truncated,
        )


def _or_unset(data: bytes) -> Raw | UnsetType:
    return Raw(data) if data else UNSET
