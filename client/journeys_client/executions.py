"""What is running, what was sent."""

from journeys_client.call import Call, given, route
from journeys_client.journeys import once
from journeys_client.models import Execution, ExecutionDetail, ExecutionStatus, JsonObject, Message, Started
from journeys_client.resource import C_co, Pages, Resource, paged, verb

_ALL = "/api/journeys/{}/executions"
_ONE = "/api/journeys/{}/executions/{}"


class Executions(Resource[C_co]):
    """`client.executions`: runs of one journey."""

    @paged
    def list(
        self,
        journey_id: str,
        *,
        status: ExecutionStatus | None = None,
        end_user_id: str | None = None,
        page_size: int | None = None,
    ) -> Pages[Execution]:
        """Its executions, newest first, all of them if read to the end."""
        params = given(status=status, endUserId=end_user_id, limit=page_size)
        return Call("GET", route(_ALL, journey_id), params)

    @verb
    def get(self, journey_id: str, execution_id: str) -> Call[ExecutionDetail]:
        """One execution with its history."""
        return Call("GET", route(_ONE, journey_id, execution_id))

    @verb
    def start(
        self,
        journey_id: str,
        *,
        end_user_id: str,
        event_id: str | None = None,
        data: JsonObject | None = None,
    ) -> Call[Started]:
        """Start it for one person without an event. Not started is an answer with a reason, not an error."""
        body: JsonObject = {"endUserId": end_user_id}
        if event_id is not None:
            body["eventId"] = event_id
        if data is not None:
            body["data"] = data
        return Call("POST", route(_ALL, journey_id), json=body, headers=once(event_id))

    @verb
    def abort(self, journey_id: str, execution_id: str) -> Call[JsonObject]:
        """Stop one execution."""
        return Call("POST", route(_ONE + "/abort", journey_id, execution_id))

    @verb
    def retry(self, journey_id: str, execution_id: str) -> Call[JsonObject]:
        """Take up one execution again that was set aside after failing."""
        return Call("POST", route(_ONE + "/retry", journey_id, execution_id))


class Messages(Resource[C_co]):
    """`client.messages`: what was sent."""

    @paged
    def list(
        self,
        *,
        end_user_id: str | None = None,
        journey_id: str | None = None,
        execution_id: str | None = None,
        page_size: int | None = None,
    ) -> Pages[Message]:
        """Messages of one person, journey or execution, or of all."""
        params = given(endUserId=end_user_id, journeyId=journey_id, executionId=execution_id, limit=page_size)
        return Call("GET", "/api/messages", params)

    @verb
    def report(self, message_id: str, kind: str, *, permanent: bool | None = None) -> Call[None]:
        """Tell what a provider said of it: delivered, opened, clicked, bounced, complained, unsubscribed."""
        body: JsonObject = {"type": kind} if permanent is None else {"type": kind, "permanent": permanent}
        return Call("POST", route("/api/messages/{}/events", message_id), json=body)
