"""Journeys: write, publish, pause, and see what they do."""

from typing import Any
from uuid import uuid4

from journeys_client.call import ABSENT, Call, given, route
from journeys_client.models import ArmReset, AuditEntry, Journey, JourneyDraft, JsonObject, Published, StepStats
from journeys_client.resource import C_co, Many, Pages, Resource, paged, verb

_ALL = "/api/journeys"
_ONE = "/api/journeys/{}"


class Journeys(Resource[C_co]):
    """`client.journeys`."""

    @paged
    def list(self, *, page_size: int | None = None) -> Pages[Journey]:
        """All journeys of the workspace, without their steps."""
        return Call("GET", _ALL, given(limit=page_size))

    @verb
    def get(self, journey_id: str) -> Call[Journey]:
        """One journey: its draft if there is one, else its latest version. Raises Problem: not_found."""
        return Call("GET", route(_ONE, journey_id))

    @verb
    def create(self, draft: JourneyDraft, *, idempotency_key: str | None = None) -> Call[Journey]:
        """Make a draft. Raises Problem: validation_error with every fault, id_taken."""
        return Call("POST", _ALL, json=draft, headers=once(idempotency_key))

    @verb
    def update(self, journey_id: str, changes: JourneyDraft) -> Call[Journey]:
        """Change the draft, opening one on a published journey.

        With the `updatedAt` that was read, an edit in between is noticed. Raises Problem: stale_update.
        """
        return Call("PATCH", route(_ONE, journey_id), json=changes)

    @verb
    def publish(self, journey_id: str, *, reset_arms: Many[ArmReset] | None = None) -> Call[Published]:
        """Freeze the draft as the next version. Raises Problem: graph_invalid with every fault, no_draft."""
        body = ABSENT if reset_arms is None else {"resetArms": reset_arms}
        return Call("POST", route(_ONE + "/publish", journey_id), json=body)

    @verb
    def pause(self, journey_id: str) -> Call[Journey]:
        """Stop new executions; those in flight go on. Raises Problem: illegal_transition."""
        return Call("POST", route(_ONE + "/pause", journey_id))

    @verb
    def resume(self, journey_id: str) -> Call[Journey]:
        """Let new executions start again. Raises Problem: illegal_transition."""
        return Call("POST", route(_ONE + "/resume", journey_id))

    @verb
    def archive(self, journey_id: str) -> Call[Journey]:
        """End it for good: executions in flight are aborted, the record stays."""
        return Call("POST", route(_ONE + "/archive", journey_id))

    @paged
    def versions(self, journey_id: str) -> Pages[JsonObject]:
        """Its published versions."""
        return Call("GET", route(_ONE + "/versions", journey_id))

    @verb
    def version(self, journey_id: str, number: int) -> Call[JsonObject]:
        """One published version, as it was and stays."""
        return Call("GET", route(_ONE + "/versions/{}", journey_id, str(number)))

    @paged
    def audit(
        self,
        journey_id: str,
        *,
        action: str | None = None,
        actor: str | None = None,
        execution_id: str | None = None,
        page_size: int | None = None,
    ) -> Pages[AuditEntry]:
        """Its audit timeline, newest first. `action` is a prefix: `send.` gives every kind of send."""
        params = given(action=action, actor=actor, executionId=execution_id, limit=page_size)
        return Call("GET", route(_ONE + "/audit", journey_id), params)

    @verb
    def step_stats(self, journey_id: str) -> Call[Many[StepStats]]:
        """How many executions each step has executed, skipped, failed, and holds now."""
        return Call("GET", route(_ONE + "/step-stats", journey_id))

    @verb
    def branch_performance(self, journey_id: str) -> Call[Many[JsonObject]]:
        """Reach and goal rate of each arm of its adaptive branches."""
        return Call("GET", route(_ONE + "/branch-performance", journey_id))

    @verb
    def calibrated_impact(self, journey_id: str) -> Call[JsonObject]:
        """Triggered and converted people, exposed against held out."""
        return Call("GET", route(_ONE + "/calibrated-impact", journey_id))

    @verb
    def recount_stats(self, journey_id: str) -> Call[JsonObject]:
        """Count it anew, from facts and from executions. Returns agrees, and the differences where it does not."""
        return Call("POST", route(_ONE + "/stats/recount", journey_id))

    @verb
    def simulate(self, journey_id: str, request: JsonObject) -> Call[JsonObject]:
        """Walk it for one subject in virtual time; nothing is sent or written. Returns outcome and trace."""
        return Call("POST", route(_ONE + "/simulate", journey_id), json=request)

    @verb
    def why(self, journey_id: str, *, end_user_id: str, event_id: str | None = None) -> Call[JsonObject]:
        """Every decision it made about one person, also those not to start."""
        params = given(endUserId=end_user_id, eventId=event_id)
        return Call("GET", route(_ONE + "/why", journey_id), params)


def once(idempotency_key: str | None) -> dict[str, Any]:
    """The header that lets a creating call be repeated without creating twice; a key is made if none is given."""
    return {"Idempotency-Key": idempotency_key or uuid4().hex}
