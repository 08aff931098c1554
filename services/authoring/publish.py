"""Freeze a draft as the next version.

Law: one guarded write decides. The version travels in it (`pending_version`), gets its own document before the
answer, and is announced with the head; killed in between, the next writer or start completes it. Of two publishes
of one draft one wins; there are never two versions.
Source: contract 2, publish.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from services.authoring.edit_journey import stale
from services.authoring.names import etag_of, later, require_match
from services.authoring.outbox import Outbox, insisting
from services.authoring.read_journeys import Journeys, JourneyView
from services.authoring.repositories import (
    JOURNEYS,
    WORKSPACES,
    Act,
    ArmReset,
    Draft,
    Journey,
    Latest,
    PinnedCommunication,
    PinnedContract,
    Version,
    key_of,
)
from services.authoring.review import Review, review
from services.authoring.schedule_check import schedule_faults
from services.authoring.workspace_settings import max_journeys_of, timezone_of
from services.domain.errors import Fault, Invalid, NotNow, OverPlan
from services.domain.journey.lifecycle import State, Verb, advance
from services.domain.journey.model import BranchAdaptive, BranchRandom, Send
from services.infra.clock import Clock
from services.infra.documents.port import Documents

TRANSACTIONAL = "send_step_uses_transactional_comm"


@dataclass(frozen=True, slots=True)
class Publish:
    """Promote a draft. Raises Missing, NotNow (no_draft), IllegalTransition, Invalid (every fault at once), OverPlan,
    Stale where the draft was changed meanwhile, Unmatched.
    """

    documents: Documents
    outbox: Outbox
    journeys: Journeys
    clock: Clock
    turns: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def __call__(
        self,
        workspace: str,
        journey_id: str,
        actor: str,
        *,
        reset_arms: Sequence[ArmReset] = (),
        etag: str | None = None,
    ) -> JourneyView:
        asked_for: list[Draft] = []  # the draft as it was when this began

        async def attempt() -> JourneyView:
            journey = await self.journeys.load(workspace, journey_id)
            state = advance(journey.state, Verb.PUBLISH)
            require_match(etag, etag_of(journey.updated_at_ms))
            if journey.draft is None:
                raise NotNow("no_draft", "There is no draft to publish.")
            asked_for.append(journey.draft)
            if journey.draft != asked_for[0]:
                raise stale(journey)
            reviewed = await review(self.documents, journey, journey.draft)
            now = self.clock.now_ms()
            schedule = await schedule_faults(reviewed.graph, await self._zone(workspace), now)
            if faults := [*reviewed.faults, *schedule, *_reset_faults(reviewed, reset_arms)]:
                raise _refusal(faults)
            after = _promoted(journey, journey.draft, reviewed, state, self.clock.now_ms(), actor, reset_arms)
            async with self._room(workspace, journey.state):
                written = await self.outbox.write(journey, after)
            return await self.journeys.view(written)

        return await insisting(key_of(workspace, journey_id), attempt)

    async def _zone(self, workspace: str) -> str:
        held = await self.documents.get(WORKSPACES, workspace)
        return "UTC" if held is None else timezone_of(held)

    @asynccontextmanager
    async def _room(self, workspace: str, state: State) -> AsyncIterator[None]:
        """Room for one more published journey while it is written. Raises OverPlan."""
        held = await self.documents.get(WORKSPACES, workspace)
        limit = None if held is None else max_journeys_of(held)
        if limit is None or state is not State.DRAFT:
            yield
            return
        # First publishes take turns, or two at one moment would see the same room. Another authoring process may
        # still go one over: the limit is a plan's, not a guard of anything.
        async with self.turns.setdefault(workspace, asyncio.Lock()):
            states = await self.documents.count_by(JOURNEYS, "by_state", (workspace,))
            if states.get(State.PUBLISHED, 0) + states.get(State.PAUSED, 0) >= limit:
                raise OverPlan("journey_limit_reached", f"The workspace publishes at most {limit} journeys.")
            yield


def _promoted(
    journey: Journey,
    draft: Draft,
    reviewed: Review,
    state: State,
    now_ms: int,
    actor: str,
    reset_arms: Sequence[ArmReset],
) -> Journey:
    now = later(now_ms, journey.updated_at_ms)
    version = version_of(journey, draft, reviewed, now, actor, reset_arms)
    metadata: dict[str, Any] = {"version": version.version}
    if reset_arms:
        metadata["resetArms"] = [{"stepId": arm.step_id, "armId": arm.arm_id} for arm in reset_arms]
    return replace(
        journey,
        state=state,
        latest_version=version.version,
        latest=Latest(
            settings_json=draft.settings_json,
            audience_id=draft.audience_id,
            trigger_contract_id=draft.trigger_contract_id,
        ),
        draft=None,
        pending_version=version,
        published_at_ms=now,
        updated_at_ms=now,
        outbox=(Act(at_ms=now, actor=actor, action="published", metadata=metadata),),
    )


def version_of(
    journey: Journey,
    draft: Draft,
    reviewed: Review,
    now: int,
    actor: str,
    reset_arms: Sequence[ArmReset] = (),
) -> Version:
    """The version that publishing this draft now would make; what it names and is not there is not pinned."""
    number = journey.latest_version + 1
    used = dict.fromkeys(step.communication_id for step in reviewed.graph.steps if isinstance(step, Send))
    contract = reviewed.trigger_contract
    return Version(
        key=key_of(journey.workspace, journey.id, number),
        workspace=journey.workspace,
        journey_key=journey.key,
        journey_id=journey.id,
        version=number,
        name=journey.name,
        steps_json=draft.steps_json,
        settings_json=draft.settings_json,
        audience_id=draft.audience_id,
        trigger_contract=None
        if contract is None
        else PinnedContract(
            id=contract.id,
            event_name=contract.event_name,
            subject_field_path=contract.subject_field_path,
            recipient_email_field_path=contract.recipient_email_field_path,
            version_at_ms=contract.version_at_ms,
        ),
        communications=tuple(
            PinnedCommunication(
                id=one.id,
                version=one.version,
                name=one.name,
                channel=one.channel,
                comm_type=one.comm_type,
                content_json=one.content_json,
            )
            for one in (reviewed.communications[name] for name in used if name in reviewed.communications)
        ),
        reset_arms=tuple(reset_arms),
        published_at_ms=now,
        published_by=actor,
    )


def _reset_faults(reviewed: Review, reset_arms: Sequence[ArmReset]) -> list[Fault]:
    arms = {
        step.id: {arm.id for arm in step.arms}
        for step in reviewed.graph.steps
        if isinstance(step, BranchRandom | BranchAdaptive)
    }
    faults = []
    for i, reset in enumerate(reset_arms):
        if reset.step_id not in arms:
            message = f"There is no branch with arms {reset.step_id[:80]!r}."
            faults.append(Fault(f"/resetArms/{i}/stepId", "unknown_step", message))
        elif reset.arm_id not in arms[reset.step_id]:
            faults.append(Fault(f"/resetArms/{i}/armId", "unknown_arm", f"There is no arm {reset.arm_id[:80]!r}."))
    return faults


def _refusal(faults: Sequence[Fault]) -> Invalid:
    codes = {fault.code for fault in faults}
    if TRANSACTIONAL in codes:
        reason = TRANSACTIONAL
    else:
        reason = "graph_invalid"
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return Invalid(reason, f"The draft has {count} and cannot be published: {faults[0].message}", faults)
