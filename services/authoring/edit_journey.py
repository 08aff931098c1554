"""Change a journey.

Law: what equals the current value changes nothing. The goal is the journey's own and acts at once; the name and the
description are shown at once and, like everything a version pins, open a draft where there is none.
Source: contract 2, PATCH.
"""

from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from services.authoring.changes import JourneyChanges, Origin, read_changes, refusal
from services.authoring.names import etag_of, later, require_match
from services.authoring.outbox import Outbox, insisting
from services.authoring.read_journeys import Journeys, JourneyView
from services.authoring.repositories import Act, Draft, Journey, key_of
from services.domain.errors import Stale
from services.domain.journey.lifecycle import Verb, advance
from services.domain.times import format_time
from services.infra.clock import Clock

MEMBERS = {  # of a draft, as an author calls them
    "steps_json": "steps",
    "settings_json": "settings",
    "audience_id": "audienceId",
    "trigger_contract_id": "triggerContractId",
}


@dataclass(frozen=True, slots=True)
class EditJourney:
    """Change the draft, the goal, the name. Raises Missing, Invalid, IllegalTransition, Stale, Unmatched.

    `updated_at_ms` is the state the caller had read: any other is stale_update. Without it, edits that meet are
    applied one after the other.
    """

    outbox: Outbox
    journeys: Journeys
    clock: Clock

    async def __call__(
        self,
        workspace: str,
        journey_id: str,
        changes: JourneyChanges,
        actor: str,
        *,
        updated_at_ms: int | None = None,
        etag: str | None = None,
        origin: Origin | None = None,
    ) -> JourneyView:
        read, faults = read_changes(changes)

        async def attempt() -> JourneyView:
            journey = await self.journeys.load(workspace, journey_id)
            if faults:
                raise refusal(faults)
            advance(journey.state, Verb.EDIT)
            require_match(etag, etag_of(journey.updated_at_ms))
            if updated_at_ms is not None and updated_at_ms != journey.updated_at_ms:
                raise stale(journey)
            base = await self._base(journey, read)
            after = edited(journey, base, read, self.clock.now_ms(), actor, origin)
            return await self.journeys.view(journey if after is None else await self.outbox.write(journey, after))

        return await insisting(key_of(workspace, journey_id), attempt)

    async def _base(self, journey: Journey, read: JourneyChanges) -> Draft:
        """The draft, or what one would be opened from."""
        if journey.draft is not None:
            return journey.draft
        version = await self.journeys.version_of(journey, journey.latest_version)
        return Draft(
            steps_json=version.steps_json,
            settings_json=version.settings_json,
            audience_id=version.audience_id,
            trigger_contract_id=None if version.trigger_contract is None else version.trigger_contract.id,
            based_on_version=version.version,
            updated_at_ms=journey.updated_at_ms,
        )


def edited(
    journey: Journey, base: Draft, read: JourneyChanges, now_ms: int, actor: str, origin: Origin | None = None
) -> Journey | None:
    """The journey after the changes, with its acts; None where nothing changes."""
    given = read.given()
    draft_changes: dict[str, Any] = {
        name: given[name] for name in MEMBERS if name in given and given[name] != getattr(base, name)
    }
    shown: dict[str, Any] = {
        name: given[name] for name in ("name", "description") if name in given and given[name] != getattr(journey, name)
    }
    goal: dict[str, Any] = {
        name: given[name]
        for name in ("goal_event_name", "goal_event_window_days")
        if name in given and given[name] != getattr(journey, name)
    }
    if not (draft_changes or shown or goal):
        return None
    now = later(now_ms, journey.updated_at_ms)
    acts = []
    after = replace(journey, updated_at_ms=now, pending_version=None)
    if draft_changes or shown:
        after = replace(after, draft=replace(base, updated_at_ms=now, **draft_changes), **shown)
        members = [*shown, *(MEMBERS[name] for name in draft_changes)]
        acts.append(Act(at_ms=now, actor=actor, action="edited", metadata={"members": members}))
    if goal:
        name = goal.get("goal_event_name", journey.goal_event_name)
        after = replace(after, goal_since_ms=None if name is None else now, **goal)
        days = after.goal_event_window_days
        metadata = {"goalEventName": name, "goalEventWindowDays": int(days) if days == int(days) else days}
        acts.append(Act(at_ms=now, actor=actor, action="goal.changed", metadata=metadata))
    if origin is not None:
        metadata = dict(origin.metadata)
        acts = [replace(act, metadata={**act.metadata, **metadata}) for act in acts]
        if origin.action is not None:
            acts.append(Act(at_ms=now, actor=actor, action=origin.action, metadata=metadata))
    return replace(after, outbox=tuple(acts))


def stale(journey: Journey) -> Stale:
    """The error for a change that was made from an older state; it names the current one."""
    metadata = {"updatedAt": format_time(journey.updated_at_ms)}
    return Stale("stale_update", "The journey was changed since it was read.", metadata=metadata)
