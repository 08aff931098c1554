"""Export journeys with all they name, as a bundle: to move them, or to keep them under version control.

Law: writes nothing. The same workspace gives the same bytes: objects in the order of their ids, no time, no counter.
What a journey names and is not there stays named, and the journey says that it is incomplete.
Source: pinpoint design 6.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.authoring.bundles.form import KIND, OURS, SECTIONS, VERSION, Kind
from services.authoring.bundles.hashes import bundle_id, content_hash
from services.authoring.bundles.refs import mapped, own_ref, to_refs
from services.authoring.importing.targets import Target, Targets
from services.authoring.json_text import canonical
from services.authoring.repositories import WORKSPACES, Draft, Journey, key_of
from services.authoring.review import review
from services.domain.errors import Fault, Invalid, Missing
from services.infra.documents.port import Documents

MAX_BYTES: Final = 20 << 20  # what an import takes
API_VERSION: Final = "1"
_SHOWN: Final[dict[Kind, dict[str, Any]]] = {  # members that a reader expects to find, set or not
    Kind.AUDIENCE: {"description": ""},
    Kind.CONTRACT: {"recipientEmailFieldPath": None},
    Kind.COMMUNICATION: {},
    Kind.JOURNEY: {
        "description": "", "audienceRef": None, "triggerContractRef": None, "goalEventName": None, "settings": {}
    },
}  # fmt: skip

Ref = tuple[Kind, str]


@dataclass(frozen=True, slots=True)
class ExportBundle:
    """Export a workspace. Raises Missing, Invalid (more than 20 MB)."""

    documents: Documents
    targets: Targets

    async def __call__(self, workspace: str, journey_ids: Sequence[str] | None = None) -> bytes:
        """The canonical JSON of the bundle: everything that is in use, or these journeys with all they name."""
        if await self.documents.get(WORKSPACES, workspace) is None:
            raise Missing("workspace", workspace)
        chosen = await (self._everything(workspace) if journey_ids is None else self._named(workspace, journey_ids))
        sections = {
            SECTIONS[kind]: [await self._object(workspace, chosen[key]) for key in sorted(chosen) if key[0] is kind]
            for kind in Kind
        }
        bundle: dict[str, Any] = {
            "kind": KIND,
            "version": VERSION,
            "source": {
                "provider": OURS, "apiVersion": API_VERSION, "applicationId": workspace, "partial": False
            },
            "options": {},
            **sections,
            "diagnostics": [],
            "unsupported": [],
            "idMap": [
                {"kind": kind.value, "sourceId": name, "ref": own_ref(kind, name)} for kind, name in sorted(chosen)
            ],
        }  # fmt: skip
        bundle["bundleId"] = bundle_id(bundle)
        made = canonical(bundle)
        if len(made) > MAX_BYTES:
            fault = Fault("/journeyIds", "out_of_range", f"The bundle would have more than {MAX_BYTES:,} bytes.")
            raise Invalid("validation_error", f"{fault.message} Name some of the journeys.", [fault])
        return made

    async def _everything(self, workspace: str) -> dict[Ref, Target]:
        chosen = {
            (kind, target.id): target
            for kind in Kind
            for target in await self.targets.all(workspace, kind)
            if not target.is_archived
        }
        # An archived communication that a journey still names goes along.
        return await self._with_named(workspace, chosen)

    async def _named(self, workspace: str, journey_ids: Sequence[str]) -> dict[Ref, Target]:
        wanted = [(Kind.JOURNEY, name) for name in journey_ids]
        chosen = await self.targets.of(workspace, wanted)
        faults = [
            Fault(f"/journeyIds/{i}", "not_found", f"There is no journey {name[:80]!r}.")
            for i, name in enumerate(journey_ids)
            if (Kind.JOURNEY, name) not in chosen
        ]
        if faults:
            raise Invalid("validation_error", faults[0].message, faults)
        return await self._with_named(workspace, chosen)

    async def _with_named(self, workspace: str, chosen: dict[Ref, Target]) -> dict[Ref, Target]:
        found, fresh = dict(chosen), dict(chosen)
        while fresh:
            named = {ref for target in fresh.values() for ref in _names_in(target)} - found.keys()
            fresh = await self.targets.of(workspace, sorted(named))
            found.update(fresh)
        return found

    async def _object(self, workspace: str, target: Target) -> dict[str, Any]:
        body = to_refs(target.kind, target.body)
        shown: dict[str, Any] = {
            "ref": own_ref(target.kind, target.id),
            "sourceId": target.id,
            **_SHOWN[target.kind],
            **body,
            "contentHash": content_hash(body),
        }
        if target.kind is Kind.COMMUNICATION:
            shown["placeholder"] = False
        if target.kind is Kind.JOURNEY:
            blockers = await self._blockers(workspace, target)
            shown["sourceState"] = target.state
            shown["completeness"] = "incomplete" if blockers else "complete"
            shown["publishBlockers"] = blockers
        return shown

    async def _blockers(self, workspace: str, target: Target) -> list[dict[str, Any]]:
        steps = target.body["steps"]
        faults = await review(self.documents, *_as_draft(workspace, target))
        found: dict[tuple[str, str | None], None] = {}
        for fault in faults.faults:
            parts = fault.path.split("/")
            is_of_step = len(parts) > 2 and parts[1] == "steps" and parts[2].isdecimal()
            found[fault.code, str(steps[int(parts[2])]["id"]) if is_of_step else None] = None
        return [{"code": code, "stepId": step} for code, step in found]


def _as_draft(workspace: str, target: Target) -> tuple[Journey, Draft]:
    """The journey as publish would look at it."""
    body = target.body
    draft = Draft(
        steps_json=canonical(body["steps"]),
        settings_json=canonical(body.get("settings", {})),
        audience_id=body.get("audienceId"),
        trigger_contract_id=body.get("triggerContractId"),
        updated_at_ms=0,
    )
    journey = Journey(
        key=key_of(workspace, target.id),
        workspace=workspace,
        id=target.id,
        name=target.name,
        goal_event_name=body.get("goalEventName"),
        goal_event_window_days=float(body["goalEventWindowDays"]),
        created_at_ms=0,
        updated_at_ms=0,
        draft=draft,
    )
    return journey, draft


def _names_in(target: Target) -> set[Ref]:
    found: set[Ref] = set()

    def look(node: dict[str, Any], names: Any, at: str) -> dict[str, Any]:
        found.update((kind, node[name]) for name, _, kind in names if isinstance(node.get(name), str))
        return node

    mapped(target.kind, target.body, look)
    return found
