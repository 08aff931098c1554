"""Import a bundle: read it, plan, answer or carry out.

Law: imports into one workspace take turns in this process; between processes the ids and the records decide, and who
comes second finds everything done. All faults are told at once. With `atomic` nothing is written unless every object
of the plan can be.
Source: pinpoint design 7.
"""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

from msgspec.structs import replace as replaced

from services.authoring.bundles.form import SECTIONS, Item, counted
from services.authoring.bundles.urls import url_fault
from services.authoring.changes import Origin
from services.authoring.importing.applying import Applying
from services.authoring.importing.planning import (
    ACTIONS,
    CHANNEL,
    INCOMPLETE,
    NO_URL,
    UNRESOLVED,
    Blocker,
    Decision,
    Plan,
    Planner,
)
from services.authoring.importing.reading import ImportRequest, read_request
from services.authoring.outbox import Outbox, insisting
from services.authoring.repositories import WORKSPACES, Act
from services.domain.errors import Fault, Invalid, Missing, NotNow, Refused
from services.infra.clock import Clock
from services.infra.documents.port import Documents

_LARGE: Final = 64 * 1024  # bytes whose reading would hold up everybody else
_MESSAGES: Final = {
    UNRESOLVED: "Nothing in the bundle or from an earlier import answers to this ref.",
    INCOMPLETE: "The journey is incomplete, and allowIncomplete is false.",
    CHANNEL: "A communication keeps its channel.",
}
_turns: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()


@dataclass(frozen=True, slots=True)
class Report:
    """What an import did, or would do."""

    import_id: str
    is_dry_run: bool
    decisions: tuple[Decision, ...]
    blockers: tuple[Blocker, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many objects met which end."""
        return counted((one.action for one in self.decisions), ACTIONS)


@dataclass(frozen=True, slots=True)
class ImportBundle:
    """Import into a workspace. Raises Missing, Invalid (every fault at once), NotNow (import_conflict)."""

    documents: Documents
    outbox: Outbox
    planner: Planner
    applying: Applying
    clock: Clock

    async def __call__(self, workspace: str, request_json: bytes, actor: str) -> Report:
        if workspace and await self.documents.get(WORKSPACES, workspace) is None:
            raise Missing("workspace", workspace)
        # Without a name the body was no JSON that anybody could read it from; reading it says what is wrong.
        is_large = len(request_json) > _LARGE
        request = await asyncio.to_thread(read_request, request_json) if is_large else read_request(request_json)
        if not workspace:
            raise Missing("workspace", workspace)
        return await self.run(workspace, request, actor)

    async def run(self, workspace: str, request: ImportRequest, actor: str) -> Report:
        """The same with a request that was read."""
        turn = _turns.setdefault((id(asyncio.get_running_loop()), workspace), asyncio.Lock())
        import_id = f"imp_{secrets.token_hex(10)}"
        async with turn:
            plan = await self.planner(workspace, request)
            if request.is_atomic and (refusal := _refusal(plan)) is not None:
                raise refusal
            if request.is_dry_run:
                return Report(import_id, True, plan.decisions, plan.blockers)
            _require_no_conflict(plan)
            source = request.bundle.source

            def origin(decision: Decision) -> Origin:
                metadata = {
                    "importId": import_id, "provider": source.provider, "sourceId": decision.item.source_id
                }  # fmt: skip
                return Origin(metadata, "import.applied")

            done = await self.applying(workspace, request.bundle, plan, actor, origin)
            report = Report(import_id, False, tuple(done), plan.blockers)
            await self._note(workspace, request, report, actor)
            return report

    async def _note(self, workspace: str, request: ImportRequest, report: Report, actor: str) -> None:
        """The workspace's own audit: what was imported, where anything was."""
        counts = report.counts
        if not (counts["created"] or counts["updated"]):
            return
        metadata = {
            "importId": report.import_id,
            "provider": request.bundle.source.provider,
            "applicationId": request.bundle.source.application_id,
            "bundleId": request.bundle.bundle_id,
            "counts": counts,
        }

        async def attempt() -> None:
            held = await self.documents.get(WORKSPACES, workspace)
            if held is not None:
                act = Act(at_ms=self.clock.now_ms(), actor=actor, action="import.applied", metadata=metadata)
                await self.outbox.write(held, replaced(held, outbox=(act,)))

        await insisting(workspace, attempt)


def _refusal(plan: Plan) -> Refused | None:
    """Why nothing of the plan is carried out, every fault at once."""
    faults = [fault for one in plan.decisions if one.action == "failed" for fault in _faults_of(one, plan)]
    if not faults:
        return None
    reason = UNRESOLVED if {fault.code for fault in faults} == {UNRESOLVED} else "validation_error"
    if {fault.code for fault in faults} == {INCOMPLETE}:
        reason = "graph_invalid"
    more = f" ({len(faults)} faults)" if len(faults) > 1 else ""
    return Invalid(reason, f"Nothing was imported: {faults[0].message}{more}", faults)


def _faults_of(decision: Decision, plan: Plan) -> Sequence[Fault]:
    item, reason = decision.item, decision.reason or ""
    if reason == UNRESOLVED:
        # What an item of the bundle should have been has a fault of its own.
        brought = {(one.item.kind, one.item.ref) for one in plan.decisions}
        lacking = [one for one in decision.lacking if (one.kind, one.ref) not in brought]
        return [Fault(one.at, UNRESOLVED, _MESSAGES[UNRESOLVED]) for one in lacking]
    if reason == NO_URL:
        return [Fault(at, NO_URL, sentence) for url, at in item.urls if (sentence := url_fault(url)) is not None]
    at = f"{item.at}/channel" if reason == CHANNEL else item.at
    return [Fault(at, reason, _MESSAGES.get(reason, "It cannot be imported."))]


def _require_no_conflict(plan: Plan) -> None:
    conflicts: list[Item] = [one.item for one in plan.decisions if one.action == "conflict"]
    if conflicts:
        faults = [
            Fault(item.at, "import_conflict", f"The {item.kind} was changed here since its last import.")
            for item in conflicts
        ]
        sections = sorted({SECTIONS[item.kind] for item in conflicts})
        message = f"Nothing was imported: {len(conflicts)} of the {' and '.join(sections)} were changed here."
        raise NotNow("import_conflict", message, faults)
