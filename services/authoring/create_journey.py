"""Make a journey: a draft that nobody has published."""

from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from services.authoring.changes import UNSET, JourneyChanges, Origin, read_changes, refusal
from services.authoring.json_text import canonical
from services.authoring.names import candidates, id_faults, slug
from services.authoring.outbox import Outbox
from services.authoring.read_journeys import Journeys, JourneyView
from services.authoring.repositories import JOURNEYS, WORKSPACES, Act, Draft, Journey, key_of
from services.authoring.workspace_settings import goal_window_of
from services.domain.errors import Duplicate, Fault, Missing
from services.infra.clock import Clock
from services.infra.documents.port import Documents, DuplicateKey

DEFAULT_STEPS: Final = canonical([{"id": "exit", "type": "exit"}])
NO_SETTINGS: Final = canonical({})
RESERVED: Final = "internal"  # /api/journeys/internal/ is our own machinery's, and closed to the outside by proxies


@dataclass(frozen=True, slots=True)
class CreateJourney:
    """Make a draft. Raises Invalid (every fault at once), Duplicate for a given id that is taken.

    `made_by` names a request that may come again: then the draft it made is its answer.
    """

    documents: Documents
    outbox: Outbox
    journeys: Journeys
    clock: Clock

    async def __call__(
        self,
        workspace: str,
        changes: JourneyChanges,
        actor: str,
        journey_id: str | None = None,
        *,
        origin: Origin | None = None,
        made_by: str = "",
    ) -> JourneyView:
        read, faults = read_changes(changes)
        faults.extend(id_faults(journey_id))
        if read.name is UNSET:
            faults.append(Fault("/name", "missing_member", "The name is missing."))
        if faults:
            raise refusal(faults)
        assert read.name is not UNSET
        window = read.goal_event_window_days
        if window is UNSET:
            held = await self.documents.get(WORKSPACES, workspace)
            if held is None:
                raise Missing("workspace", workspace)
            window = goal_window_of(held)
        for name in candidates(slug(read.name, "journey"), made_by) if journey_id is None else (journey_id,):
            if name == RESERVED:
                continue
            try:
                acts = _acts(self.clock.now_ms(), actor, read.name, origin)
                made = replace(self._journey(workspace, name, read.name, read, window, acts), made_by=made_by)
                return await self.journeys.view(await self.outbox.write(None, made))
            except DuplicateKey:
                if made_by:
                    there = await self.documents.get(JOURNEYS, key_of(workspace, name))
                    if there is not None and there.made_by == made_by:
                        return await self.journeys.view(there)
        raise Duplicate("id_taken", f"The id {journey_id or slug(read.name, 'journey')!r} is taken.")

    def _journey(
        self, workspace: str, journey_id: str, name: str, read: JourneyChanges, window: float, acts: tuple[Act, ...]
    ) -> Journey:
        now = acts[0].at_ms
        goal = read.goal_event_name or None if read.goal_event_name is not UNSET else None
        return Journey(
            key=key_of(workspace, journey_id),
            workspace=workspace,
            id=journey_id,
            name=name,
            description="" if read.description is UNSET else read.description,
            draft=Draft(
                steps_json=DEFAULT_STEPS if read.steps_json is UNSET else read.steps_json,
                settings_json=NO_SETTINGS if read.settings_json is UNSET else read.settings_json,
                audience_id=None if read.audience_id is UNSET else read.audience_id,
                trigger_contract_id=None if read.trigger_contract_id is UNSET else read.trigger_contract_id,
                updated_at_ms=now,
            ),
            goal_event_name=goal,
            goal_event_window_days=window,
            goal_since_ms=None if goal is None else now,
            created_at_ms=now,
            updated_at_ms=now,
            outbox=acts,
        )


def _acts(now_ms: int, actor: str, name: str, origin: Origin | None) -> tuple[Act, ...]:
    if origin is None:
        return (Act(at_ms=now_ms, actor=actor, action="created", metadata={"name": name}),)
    metadata = dict(origin.metadata)
    created = Act(at_ms=now_ms, actor=actor, action="created", metadata={"name": name, **metadata})
    if origin.action is None:
        return (created,)
    return (created, Act(at_ms=now_ms, actor=actor, action=origin.action, metadata=metadata))
