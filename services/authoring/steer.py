"""Pause, resume and archive a journey: what the life-cycle table allows.

Law: a verb that asks for the state already held writes nothing, and leaves no second audit entry.
"""

from dataclasses import dataclass

from msgspec.structs import replace

from services.authoring.names import later
from services.authoring.outbox import Outbox, insisting
from services.authoring.read_journeys import Journeys, JourneyView
from services.authoring.repositories import Act, key_of
from services.domain.journey.lifecycle import Verb, advance
from services.infra.clock import Clock

ACTIONS = {Verb.PAUSE: "paused", Verb.RESUME: "resumed", Verb.ARCHIVE: "archived"}


@dataclass(frozen=True, slots=True)
class Steer:
    """Move a journey to another state. Raises Missing, IllegalTransition."""

    outbox: Outbox
    journeys: Journeys
    clock: Clock

    async def __call__(self, workspace: str, journey_id: str, verb: Verb, actor: str) -> JourneyView:
        async def attempt() -> JourneyView:
            journey = await self.journeys.load(workspace, journey_id)
            state = advance(journey.state, verb)
            if state is not journey.state:
                now = later(self.clock.now_ms(), journey.updated_at_ms)
                act = Act(at_ms=now, actor=actor, action=ACTIONS[verb])
                after = replace(journey, state=state, updated_at_ms=now, pending_version=None, outbox=(act,))
                journey = await self.outbox.write(journey, after)
            return await self.journeys.view(journey)

        return await insisting(key_of(workspace, journey_id), attempt)
