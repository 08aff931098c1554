"""A dry run: what would happen to a person in a journey, read from what is so now, and nothing done.

Law: it reads what the lanes read, by the same loader, and plans by the same planner; it writes nothing but the audit
of real people and of overrides, which the log has before the answer is given. What it shows is masked.
Source: contract 5.
"""

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import uuid4

import msgspec
import structlog
from journeys.events.v1.authoring_record_pb2 import AuditRecord

from services.domain.errors import Fault, Invalid, Missing
from services.domain.execution import admission
from services.domain.execution.assignment import is_held_out
from services.domain.execution.eligibility import normal
from services.domain.execution.execution import Execution, Occasion
from services.domain.execution.simulate import DryRun, FixedScript, ScriptedEvent
from services.domain.execution.simulate_trace import OVERRIDES, Halted, Trace, TraceEntry, Tracer, simulate
from services.domain.execution.triggers import Profile, View
from services.domain.execution.version import Version, compile_version
from services.domain.execution.walk import recipient
from services.domain.journey.model import Graph, Trigger
from services.domain.journey.predicate import PastEvent
from services.domain.journey.reading import read_settings, read_steps
from services.domain.messaging.masking import Mask, name_parts, personal_strings_in, strings_in
from services.domain.times import format_time, is_zone, parse_time
from services.infra.clock import Clock
from services.infra.documents.port import Documents
from services.infra.log.port import Log, Record
from services.runtime.acks import Acks
from services.runtime.catalog import Catalog, PinnedCommunication, WorkspaceInfo
from services.runtime.catalogue_records import PublishedVersion
from services.runtime.collections import AUDIT
from services.runtime.desk import Desk, Loaded, RenderAt
from services.runtime.lanes import Subject, subject_of
from services.runtime.loading import Asked, load
from services.runtime.rates import Rates
from services.runtime.simulated_world import SimulatedWorld
from services.runtime.subject_documents import SUPPRESSIONS, suppression_key

EVENT_ID: Final = "dry-run"
SYNTHETIC_ADDRESS: Final = "synthetic@example.com"
SYNTHETIC_DEVICE: Final = "synthetic-device"
MOST_SECONDS: Final = 15.0  # of one run: its caller waits 30
SIDE_BY_SIDE: Final = 2  # in threads: a run may hold the interpreter for a while
FIRST_MS: Final = parse_time("1971-01-01T00:00:00Z")
LAST_MS: Final = parse_time("2500-01-01T00:00:00Z")
MOST_EVENTS: Final = 1_000
# Faults that stand in nobody's way: the walk meets them by itself, or never.
_NATURAL: Final = frozenset(
    {"cycle", "duplicate_trigger", "goal_missing", "missing_exit", "next_unresolved"}
    | {"timeout_missing", "unreachable_step"}
)
_log = structlog.get_logger(__name__)
_json = msgspec.json.Encoder(order="deterministic")


@dataclass(frozen=True, slots=True)
class Walkable:
    """What is walked: the number of a version, or a draft with its faults."""

    number: int | None = None
    draft: PublishedVersion | None = None
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Happening:
    """A scripted event; `after` in ms from the start, negative for the person's past."""

    type: str
    data: Mapping[str, Any]
    after: int


@dataclass(frozen=True, slots=True)
class DryRunRequest:
    """Who walks what. `end_user_id` None: a synthetic person with `attributes`."""

    workspace: str
    journey_id: str
    walkable: Walkable
    end_user_id: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    overrides: Sequence[str] = ()
    event_type: str | None = None
    event_data: Mapping[str, Any] = field(default_factory=dict)
    start_at: int | None = None
    events: Sequence[Happening] = ()


@dataclass(frozen=True, slots=True)
class Simulated:
    """What a dry run showed. `rendered` by step: what would be sent, called or set, masked."""

    started_at: int
    trace: Trace
    rendered: Mapping[str, Mapping[str, Any]]
    overrides: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A version ready to be walked, and what its sends say."""

    version: Version | None  # None: it has no steps
    communications: Mapping[str, PinnedCommunication]
    faults: Mapping[str, str]  # step id -> code
    status: str


@dataclass(slots=True)
class _Patient(Tracer):
    """A tracer that does not wait for ever: thousands of steps may each count thousands of events."""

    ends_at: float = 0.0

    def entered(self, step_id: str, at: int) -> None:
        """See Tracer."""
        super(_Patient, self).entered(step_id, at)  # slots make another class of this one
        if time.monotonic() > self.ends_at:
            raise Halted(step_id, "deadline_exceeded")


class Simulation:
    """Walks journeys for one person at a time. All raise Missing (journey, version, subject) and Invalid."""

    def __init__(
        self,
        documents: Documents,
        log: Log,
        catalog: Catalog,
        clock: Clock,
        render: RenderAt,
    ) -> None:
        self._documents = documents
        self._log = log
        self._catalog = catalog
        self._clock = clock
        self._render = render
        self._places = asyncio.Semaphore(SIDE_BY_SIDE)

    async def __call__(self, request: DryRunRequest, actor: str) -> Simulated:
        """Walk it, and tell the audit of whom and of what was passed over."""
        if faults := list(_faults(request)):
            raise Invalid("validation_error", faults[0].message, faults)
        info = await self.workspace(request.workspace)
        prepared = self.prepared(request.workspace, request.journey_id, request.walkable)
        now = self._clock.now_ms()
        start_at = now if request.start_at is None else request.start_at
        overrides = tuple(name for name in OVERRIDES if name in request.overrides)
        if prepared.version is None:
            loaded = None
            if request.end_user_id is not None:
                await self._person(request, prepared, info, start_at)
        else:
            loaded = await self._person(request, prepared, info, start_at)
        await self._audit(request, overrides, actor, now)
        if prepared.version is None or loaded is None:
            return Simulated(start_at, Trace("failed", "missing_exit", (), (), None), {}, overrides)
        async with self._places:
            return await asyncio.to_thread(self._walk, request, prepared, loaded, start_at, frozenset(overrides))

    async def workspace(self, workspace: str) -> WorkspaceInfo:
        """Its rules, as everything acknowledged so far has made them."""
        await self._catalog.refresh()
        if self._catalog.has_adaptive():
            await self._catalog.allocations.refresh()
        info = self._catalog.workspace(workspace)
        if info is None:
            raise Missing("workspace", workspace)
        return info

    def prepared(self, workspace: str, journey_id: str, walkable: Walkable) -> Prepared:
        """The version made ready. A draft is taken as if it were published and ran."""
        journey = self._catalog.journey(workspace, journey_id)
        status = journey.status if journey else "published"
        if walkable.draft is None:
            number = walkable.number or 0
            version = self._catalog.version(workspace, journey_id, number)
            if version is None:
                raise Missing("version", f"{journey_id}/{number}")
            names = {getattr(step, "communication_id", "") for step in version.graph.steps}
            pinned = {name: self._catalog.communication(workspace, journey_id, number, name) for name in names}
            return Prepared(version, {name: one for name, one in pinned.items() if one is not None}, {}, status)
        draft = walkable.draft
        return Prepared(
            _compiled(workspace, draft),
            draft.communications,
            faults_by_step(draft.steps_json, walkable.faults),
            "archived" if status == "archived" else "published",
        )

    async def _person(
        self, request: DryRunRequest, prepared: Prepared, info: WorkspaceInfo, start_at: int
    ) -> Loaded | None:
        if request.end_user_id is None:
            version = prepared.version
            return None if version is None else synthetic(request, version, info, self._catalog)
        subject = subject_of(request.workspace, info.subject_secret, request.end_user_id)
        need = Asked(
            subject,
            info,
            [],
            journeys={request.journey_id},
            versions=[] if prepared.version is None else [prepared.version],
            is_acks_only=False,
            rules=self._catalog.rules(request.workspace),
        )
        [(loaded, document)] = await load(self._documents, self._catalog, [need], {}, start_at)
        if document is None:
            raise Missing("subject", request.end_user_id)
        address = recipient(prepared.version, request.event_data) if prepared.version else None
        if address is not None:
            key = suppression_key(request.workspace, address)
            if await self._documents.get(SUPPRESSIONS, key) is not None:
                return replace(loaded, suppressed=loaded.suppressed | {normal(address)})
        return loaded

    def _walk(
        self,
        request: DryRunRequest,
        prepared: Prepared,
        loaded: Loaded,
        start_at: int,
        overrides: frozenset[str],
    ) -> Simulated:
        version = prepared.version
        assert version is not None
        tracer = _Patient(version, prepared.faults, ends_at=time.monotonic() + MOST_SECONDS)
        fresh = self.fresh(request, version, loaded, start_at)
        view = replace(
            self.view(version, loaded, fresh, prepared.status, start_at, request.events),
            overrides=overrides,
            witness=tracer,
        )
        mask = mask_of(loaded.profile, request)
        world = SimulatedWorld(prepared.communications, version.name, mask)
        run = DryRun(version, view, world, self._render, FixedScript(script_of(request.events, start_at)))
        try:
            trace = simulate(run, fresh, tracer)
        except Exception as error:  # noqa: BLE001  # production sets such an execution aside; here its author is told
            _log.exception("simulation.failed", journey_id=request.journey_id, error=str(error))
            trace = Trace("failed", "internal", tracer.checks, tuple(tracer.entries), None)
        _mark_failures(trace.entries, world.failed)
        if mask is not None:
            trace = _masked(trace, check_mask_of(loaded.profile, request))
        return Simulated(start_at, trace, world.rendered, tuple(name for name in OVERRIDES if name in overrides))

    def fresh(self, request: DryRunRequest, version: Version, loaded: Loaded, start_at: int) -> Execution:
        """The execution before its first decision."""
        kind, source, data = _origin(version, start_at)
        occasion = Occasion(
            event_id=EVENT_ID,
            type=request.event_type or kind,
            data=request.event_data or data,
            at=start_at,
            received_at=start_at,
            source=source,
            email=recipient(version, request.event_data),
        )
        journey = self._catalog.journey(request.workspace, request.journey_id)
        return admission.fresh(
            version,
            occasion,
            loaded.subject.end_user_id,
            slot=loaded.subject.slot,
            subject_secret=loaded.info.subject_secret,
            goal=journey.goal if journey else None,
            now=start_at,
        )

    def view(
        self,
        version: Version,
        loaded: Loaded,
        fresh: Execution,
        status: str,
        start_at: int,
        events: Sequence[Happening] = (),
    ) -> View:
        """What production would see at the start, with the scripted past."""
        desk = Desk(loaded, self._catalog, self._render, Acks(), Rates(), 0, start_at)
        view = desk.view(version, fresh.execution_id, start_at, is_start=True)
        past = [
            PastEvent(f"{EVENT_ID}-past-{i}", one.type, start_at + one.after, one.data)
            for i, one in enumerate(events)
            if one.after < 0
        ]
        recorded: dict[str, Sequence[PastEvent]] = {}

        def all_of(name: str) -> Sequence[PastEvent]:
            if name not in recorded:  # the past does not change while a dry run asks for it again and again
                recorded[name] = [*view.events(name), *(one for one in past if one.type == name)]
            return recorded[name]

        return replace(view, journey_status=status, events=all_of)

    async def _audit(self, request: DryRunRequest, overrides: Sequence[str], actor: str, now: int) -> None:
        whom = {"endUserId": request.end_user_id} if request.end_user_id is not None else {}
        draft, number = request.walkable.draft, request.walkable.number
        what: dict[str, Any] = {**whom, "version": "draft" if draft is not None else number}
        acts: list[tuple[str, dict[str, Any]]] = []
        if whom:
            acts.append(("simulate-with-real-user", what))
        acts.extend(("dry-run-override-applied", {**what, "override": name}) for name in overrides)
        if not acts:
            return
        records = [
            AuditRecord(
                id=uuid4().hex,
                workspace=request.workspace,
                journey_id=request.journey_id,
                at_ms=now,
                actor=actor,
                action=action,
                metadata_json=_json.encode(metadata),
            )
            for action, metadata in acts
        ]
        key = f"{request.workspace}:{request.journey_id}"
        await self._log.append(AUDIT, [Record(key, record.SerializeToString()) for record in records])


def _origin(version: Version, start_at: int) -> tuple[str, str, Mapping[str, Any]]:
    """What starts the journey where the request does not say: type, source and data."""
    entry, contract = version.entry, version.contract
    mode = entry.mode if isinstance(entry, Trigger) else "event"
    if mode == "schedule":
        return mode, mode, {"occurrence": format_time(start_at)}
    if mode == "audience_entry":
        return mode, mode, {"audienceId": version.audience_id}
    if mode == "manual" or contract is None:
        return "manual", "manual", {}
    return contract.event_name, "event", {}


def script_of(events: Sequence[Happening], start_at: int) -> list[ScriptedEvent]:
    """The events that are still to come when the run starts."""
    return [
        ScriptedEvent(f"{EVENT_ID}-{i}", one.type, one.data, start_at + one.after)
        for i, one in enumerate(events)
        if one.after >= 0
    ]


def mask_of(profile: Profile, request: DryRunRequest) -> Mask | None:
    """What of the person must not be read: of a real one everything, of a synthetic one names and addresses.

    None would show a dry run as it is.
    """
    is_real = request.end_user_id is not None
    values = _personal(profile, request)
    if is_real:
        values += [profile.end_user_id, *profile.mobile_push, *strings_in(profile.attributes)]
    return Mask(values, is_real=is_real)


def check_mask_of(profile: Profile, request: DryRunRequest) -> Mask:
    """What must not be read in the inputs of a check: names and addresses; what else was found is its reason."""
    return Mask(_personal(profile, request), is_real=request.end_user_id is not None)


def _personal(profile: Profile, request: DryRunRequest) -> list[str]:
    values = [profile.email] if profile.email else []
    values += personal_strings_in(profile.attributes)
    values += personal_strings_in(request.event_data)
    values += [text for one in request.events for text in personal_strings_in(one.data)]
    return values + [part for value in values for part in name_parts(value)]


def _masked(trace: Trace, mask: Mask) -> Trace:
    """The same with the inputs of every check masked."""

    def hide(checks: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
        return tuple({**check, "inputs": mask.inputs(check.get("inputs") or {})} for check in checks)

    for entry in trace.entries:
        entry.checks = hide(entry.checks)
    return replace(trace, checks=hide(trace.checks))


def synthetic(request: DryRunRequest, version: Version, info: WorkspaceInfo, catalog: Catalog) -> Loaded:
    """A made-up person: reachable on every channel and opted in, unless their attributes say otherwise.

    The same attributes make the same person, so draws repeat; one who is in no holdout that spares anybody.
    """
    attributes = request.attributes
    digest = hashlib.sha256(_json.encode(attributes)).hexdigest()[:16]
    percent = info.holdout_percent
    names = (f"synthetic-{digest}" if i == 0 else f"synthetic-{digest}-{i}" for i in range(10_000))
    name = next((one for one in names if not is_held_out(percent, info.salt, one)), f"synthetic-{digest}")
    email = attributes.get("email", SYNTHETIC_ADDRESS)
    zone, locale = attributes.get("timezone"), attributes.get("locale")
    profile = Profile(
        name,
        attributes,
        email=email if isinstance(email, str) and email else None,
        mobile_push=(SYNTHETIC_DEVICE,),
        timezone=zone if isinstance(zone, str) and is_zone(zone) else None,
        locale=locale if isinstance(locale, str) else None,
    )
    subject: Subject = subject_of(request.workspace, info.subject_secret, name)
    return Loaded(
        subject=subject,
        info=info,
        profile=profile,
        executions={},
        suppressed=frozenset(),
        events={},
        rules=catalog.rules(request.workspace),
        ledger=None,
        reservations=[],
    )


def faults_by_step(steps_json: bytes, faults: Sequence[Fault]) -> dict[str, str]:
    """The first fault of each step that a walk cannot get over, by the step's id."""
    steps = msgspec.json.decode(steps_json)
    found: dict[str, str] = {}
    for fault in faults:
        parts = fault.path.split("/")
        if len(parts) < 3 or parts[1] != "steps" or fault.code in _NATURAL:
            continue
        index = int(parts[2]) if parts[2].isdecimal() else len(steps)
        if index < len(steps) and isinstance(steps[index], dict):
            found.setdefault(str(steps[index].get("id")), fault.code)
    return found


def _compiled(workspace: str, draft: PublishedVersion) -> Version | None:
    steps, _ = read_steps(msgspec.json.decode(draft.steps_json))
    settings, _ = read_settings(msgspec.json.decode(draft.settings_json) if draft.settings_json else None)
    if not steps:
        return None
    graph = Graph(steps, settings)
    return compile_version(
        workspace, draft.journey_id, draft.number, draft.name, graph, draft.audience_id, draft.contract
    )


def _mark_failures(entries: Sequence[TraceEntry], failed: Mapping[str, str]) -> None:
    """A message that could not be made would not go out."""
    for entry in entries:
        if entry.step_id in failed and entry.decision == "executed" and entry.type in ("send", "webhook"):
            entry.decision, entry.reason = "skipped", failed[entry.step_id]


def _faults(request: DryRunRequest) -> Sequence[Fault]:
    faults: list[Fault] = []
    if request.start_at is not None and not FIRST_MS <= request.start_at <= LAST_MS:
        faults.append(Fault("/startAt", "out_of_range", "startAt lies in the years 1971 to 2499."))
    if len(request.events) > MOST_EVENTS:
        faults.append(Fault("/events", "out_of_range", f"A script has at most {MOST_EVENTS:,} events."))
    faults.extend(
        Fault(f"/overrides/{i}", "not_allowed", f"An override is one of {', '.join(OVERRIDES)}.")
        for i, name in enumerate(request.overrides)
        if name not in OVERRIDES
    )
    return faults


__all__ = ["DryRunRequest", "Happening", "Prepared", "Simulated", "Simulation", "Walkable"]
