"""What journeys refer to: trigger contracts, audiences, communications."""

from journeys_client.call import Call, given, route
from journeys_client.journeys import once
from journeys_client.models import Audience, Communication, Evaluated, Trigger
from journeys_client.resource import C_co, Pages, Resource, paged, verb


class Triggers(Resource[C_co]):
    """`client.triggers`: trigger contracts, which say how an event names its person."""

    @paged
    def list(self, *, page_size: int | None = None) -> Pages[Trigger]:
        """All of the workspace."""
        return Call("GET", "/api/journey-triggers", given(limit=page_size))

    @verb
    def get(self, trigger_id: str) -> Call[Trigger]:
        """One of them."""
        return Call("GET", route("/api/journey-triggers/{}", trigger_id))

    @verb
    def create(self, trigger: Trigger, *, idempotency_key: str | None = None) -> Call[Trigger]:
        """Make one. Raises Problem: validation_error."""
        return Call("POST", "/api/journey-triggers", json=trigger, headers=once(idempotency_key))

    @verb
    def update(self, trigger_id: str, changes: Trigger) -> Call[Trigger]:
        """Make a new version of it; published journeys keep the one they pinned."""
        return Call("PATCH", route("/api/journey-triggers/{}", trigger_id), json=changes)

    @verb
    def delete(self, trigger_id: str) -> Call[None]:
        """Remove it. Raises Problem: in_use."""
        return Call("DELETE", route("/api/journey-triggers/{}", trigger_id))


class Audiences(Resource[C_co]):
    """`client.audiences`: named sets of people."""

    @paged
    def list(self, *, page_size: int | None = None) -> Pages[Audience]:
        """All of the workspace."""
        return Call("GET", "/api/audiences", given(limit=page_size))

    @verb
    def get(self, audience_id: str) -> Call[Audience]:
        """One of them."""
        return Call("GET", route("/api/audiences/{}", audience_id))

    @verb
    def create(self, audience: Audience, *, idempotency_key: str | None = None) -> Call[Audience]:
        """Make one, by `predicate` or by `subjectIds`. Raises Problem: validation_error."""
        return Call("POST", "/api/audiences", json=audience, headers=once(idempotency_key))

    @verb
    def update(self, audience_id: str, changes: Audience) -> Call[Audience]:
        """Change it; this acts at once, also on published journeys."""
        return Call("PATCH", route("/api/audiences/{}", audience_id), json=changes)

    @verb
    def delete(self, audience_id: str) -> Call[None]:
        """Remove it; journeys that use it stop starting, visibly, until it is mended."""
        return Call("DELETE", route("/api/audiences/{}", audience_id))

    @verb
    def evaluate(self, audience_id: str, *, subject_id: str) -> Call[Evaluated]:
        """Whether one person belongs to it, with each leaf's answer."""
        return Call("POST", route("/api/audiences/{}/evaluate", audience_id), json={"subjectId": subject_id})


class Communications(Resource[C_co]):
    """`client.communications`: messages' contents."""

    @paged
    def list(self, *, page_size: int | None = None) -> Pages[Communication]:
        """All of the workspace."""
        return Call("GET", "/api/communications", given(limit=page_size))

    @verb
    def get(self, communication_id: str) -> Call[Communication]:
        """One of them, its latest version."""
        return Call("GET", route("/api/communications/{}", communication_id))

    @verb
    def create(self, communication: Communication, *, idempotency_key: str | None = None) -> Call[Communication]:
        """Make one. Raises Problem: validation_error."""
        return Call("POST", "/api/communications", json=communication, headers=once(idempotency_key))

    @verb
    def update(self, communication_id: str, changes: Communication) -> Call[Communication]:
        """Make a new version of it; published journeys send the one they pinned."""
        return Call("PATCH", route("/api/communications/{}", communication_id), json=changes)

    @verb
    def archive(self, communication_id: str) -> Call[None]:
        """Take it out of use for new publishes."""
        return Call("DELETE", route("/api/communications/{}", communication_id))
