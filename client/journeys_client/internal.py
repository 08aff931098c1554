"""Routes for operators and for development, not for a customer's code."""

from journeys_client.call import Call, given, route
from journeys_client.journeys import once
from journeys_client.models import ClockMoved, JsonObject, Started, WorkspaceCreated
from journeys_client.resource import C_co, Pages, Resource, paged, verb

_ROOT = "/api/journeys/internal"
_BUNDLE_SECONDS = 600.0
_FORGET_SECONDS = 120.0  # somebody with a hundred thousand executions takes the better part of a minute
_CLOCK_SECONDS = 3_600.0  # the server answers once everything due on the way has happened


class Internal(Resource[C_co]):
    """`client.internal`: needs the client's `internal_key`, the server's SYNC_API_KEY."""

    @verb
    def create_workspace(
        self,
        name: str,
        *,
        owner_email: str,
        owner_password: str | None = None,
        project_key: str | None = None,
        idempotency_key: str | None = None,
    ) -> Call[WorkspaceCreated]:
        """Make another workspace; returns its owner's session."""
        body = {"name": name, "ownerEmail": owner_email, "ownerPassword": owner_password, "projectKey": project_key}
        sent = {key: value for key, value in body.items() if value is not None}
        return Call("POST", _ROOT + "/workspaces", json=sent, headers=once(idempotency_key), bearer=True)

    @verb
    def start_execution(
        self, *, project_key: str, journey_id: str, end_user_id: str, event_id: str, event: JsonObject | None = None
    ) -> Call[Started]:
        """Start one execution; repeated with the same event id it starts nothing."""
        body: JsonObject = {
            "projectKey": project_key,
            "journeyId": journey_id,
            "endUserId": end_user_id,
            "eventId": event_id,
        }
        if event is not None:
            body["event"] = event
        return Call("POST", _ROOT + "/start-execution", json=body, bearer=True)

    @verb
    def dispatch(self, *, project_key: str, execution_id: str) -> Call[JsonObject]:
        """Do whatever is due for one execution now; harmless to repeat."""
        body = {"projectKey": project_key, "executionId": execution_id}
        return Call("POST", _ROOT + "/dispatch", json=body, bearer=True)

    @verb
    def forget_end_user(self, *, project_key: str, end_user_id: str) -> Call[JsonObject]:
        """Remove all that is readable about one person; returns a receipt."""
        body = {"projectKey": project_key, "endUserId": end_user_id}
        return Call("POST", _ROOT + "/forget-end-user", json=body, bearer=True, timeout=_FORGET_SECONDS)

    @verb
    def forget_receipt(self, receipt_id: str) -> Call[JsonObject]:
        """Verify a receipt."""
        return Call("GET", route(_ROOT + "/forget-end-user/{}", receipt_id), bearer=True)

    @paged
    def dead_letters(self, *, page_size: int | None = None) -> Pages[JsonObject]:
        """Records of all producers that could not be read, each with its reason; all of them if read to the end."""
        return Call("GET", _ROOT + "/dead-letters", given(limit=page_size), bearer=True)

    @verb
    def replay_dead_letter(self, *, partition: int, offset: int) -> Call[None]:
        """Append one of them again where it came from."""
        body = {"partition": partition, "offset": offset}
        return Call("POST", _ROOT + "/dead-letters/replay", json=body, bearer=True)

    @verb
    def translate_pinpoint(self, request: JsonObject | bytes) -> Call[JsonObject]:
        """Translate a Pinpoint export into a bundle. Bytes go as they are: the server tells of members that stand twice."""
        path = _ROOT + "/translate-pinpoint"
        if isinstance(request, bytes):
            headers = {"Content-Type": "application/json"}
            return Call("POST", path, content=request, headers=headers, bearer=True, timeout=_BUNDLE_SECONDS)
        return Call("POST", path, json=request, bearer=True, timeout=_BUNDLE_SECONDS)

    @verb
    def import_bundle(self, request: JsonObject, *, idempotency_key: str | None = None) -> Call[JsonObject]:
        """Make drafts of what a bundle holds, or say with `dryRun` what would be made; a repeat finds all of it done."""
        headers = once(idempotency_key)
        path = _ROOT + "/import-bundle"
        return Call("POST", path, json=request, headers=headers, bearer=True, timeout=_BUNDLE_SECONDS)

    @verb
    def export_bundle(self, project_key: str, *, journey_ids: list[str] | None = None) -> Call[JsonObject]:
        """Everything in use in a workspace as a bundle, or some journeys with all they name."""
        body: JsonObject = {"projectKey": project_key}
        if journey_ids is not None:
            body["journeyIds"] = journey_ids
        return Call("POST", _ROOT + "/export-bundle", json=body, bearer=True, timeout=_BUNDLE_SECONDS)


class DevClock(Resource[C_co]):
    """`client.dev_clock`: only on a server with JOURNEYS_DEV_CLOCK=1, else 404."""

    @verb
    def advance(self, duration: str) -> Call[ClockMoved]:
        """Move the clock on by an ISO 8601 duration; answers when everything due on the way has happened."""
        return Call("POST", "/api/dev/clock", json={"advance": duration}, timeout=_CLOCK_SECONDS)
