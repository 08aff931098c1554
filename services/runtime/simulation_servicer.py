"""Speaks SimulationService: proto in, proto out.

Law: nothing is decided here.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from journeys.events.v1.authoring_record_pb2 import CatalogueRecord
from journeys.runtime.v1 import simulation_service_pb2 as pb
from journeys.runtime.v1 import simulation_service_pb2_grpc as rpc

from services.domain.errors import Fault
from services.domain.execution.simulate_trace import TraceEntry
from services.infra.grpc.caller import actor_from
from services.runtime.catalogue_records import PublishedVersion
from services.runtime.convert import catalogue_change_from_bytes
from services.runtime.exploration import Exploration
from services.runtime.simulation import DryRunRequest, Happening, Simulated, Simulation, Walkable

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class SimulationServicer(rpc.SimulationServiceServicer):
    """Serves dry runs."""

    def __init__(self, simulation: Simulation, exploration: Exploration) -> None:
        self._simulation = simulation
        self._exploration = exploration

    async def Simulate(self, request: pb.SimulateRequest, context: Any) -> pb.SimulateResponse:
        asked = DryRunRequest(
            workspace=request.workspace,
            journey_id=request.journey_id,
            walkable=walkable_from_proto(request.workspace, request.runnable),
            end_user_id=request.end_user_id if request.HasField("end_user_id") else None,
            attributes=_object(request.attributes_json),
            overrides=tuple(request.overrides),
            event_type=request.event_type if request.HasField("event_type") else None,
            event_data=_object(request.event_data_json),
            start_at=request.start_at_ms if request.HasField("start_at_ms") else None,
            events=[Happening(one.type, _object(one.data_json), one.after_ms) for one in request.events],
        )
        return simulated_to_proto(await self._simulation(asked, actor_from(context)))

    async def Explore(self, request: pb.ExploreRequest, context: Any) -> pb.ExploreResponse:
        walkable = walkable_from_proto(request.workspace, request.runnable)
        found = await self._exploration(request.workspace, request.journey_id, walkable)
        return pb.ExploreResponse(
            paths=[
                pb.Path(
                    steps=path.steps,
                    attributes_json=_encode(path.attributes),
                    events=[happening_to_proto(one) for one in path.events],
                    trigger=None if path.trigger is None else happening_to_proto(path.trigger),
                    assumes_json=_encode(path.assumes) if path.assumes else b"",
                )
                for path in found.paths
            ],
            unreachable=found.unreachable,
            dead_branches=[pb.DeadBranch(step_id=step, branch_id=branch) for step, branch in found.dead_branches],
            truncated=found.truncated,
        )


def walkable_from_proto(workspace: str, runnable: pb.Runnable) -> Walkable:
    """What is walked. Raises Unreadable for a draft that nobody can read."""
    if runnable.WhichOneof("what") == "number":
        return Walkable(number=runnable.number)
    record = CatalogueRecord(workspace=workspace, version=runnable.draft)
    what = catalogue_change_from_bytes(record.SerializeToString()).what
    assert isinstance(what, PublishedVersion)
    faults = tuple(Fault(one.path, one.code, one.message) for one in runnable.faults)
    return Walkable(draft=what, faults=faults)


def simulated_to_proto(simulated: Simulated) -> pb.SimulateResponse:
    """A dry run as the gateway shows it."""
    trace = simulated.trace
    return pb.SimulateResponse(
        started_at_ms=simulated.started_at,
        outcome=trace.outcome,
        reason=trace.reason,
        overrides_applied=simulated.overrides,
        trace=[step_to_proto(entry, simulated.rendered) for entry in trace.entries],
        checks=[check_to_proto(check) for check in trace.checks],
    )


def happening_to_proto(event: Happening) -> pb.ScriptedEvent:
    """A scripted event."""
    return pb.ScriptedEvent(type=event.type, data_json=_encode(event.data), after_ms=event.after)


def step_to_proto(entry: TraceEntry, rendered: Mapping[str, Mapping[str, Any]]) -> pb.TraceEntry:
    """A step of the way."""
    shown = rendered.get(entry.step_id) if entry.type in ("send", "webhook", "update_profile") else None
    return pb.TraceEntry(
        at_ms=entry.at,
        step_id=entry.step_id,
        type=entry.type,
        decision=entry.decision,
        reason=entry.reason,
        checks=[check_to_proto(check) for check in entry.checks],
        rendered_json=b"" if shown is None else _encode(shown),
        wait_json=b"" if entry.wait is None else _encode(entry.wait),
        branch_json=b"" if entry.branch is None else _encode(entry.branch),
        deferred_until_ms=entry.deferred_until,
        next=entry.next,
    )


def check_to_proto(check: Mapping[str, Any]) -> pb.Check:
    """A check and what it looked at."""
    passed = bool(check["passed"])
    return pb.Check(
        check=check["check"],
        passed=passed,
        reason=check.get("reason"),
        overridden=None if passed else bool(check.get("overridden")),
        inputs_json=_encode(check.get("inputs") or {}),
    )


def _object(data: bytes) -> dict[str, Any]:
    return _decode(data) if data else {}
