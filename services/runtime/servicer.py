"""Speaks RuntimeService: proto in, proto out.

Law: nothing is decided here. Collaborators raise domain errors; the server's interceptor makes statuses of them.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import grpc
from journeys.events.v1.customer_event_pb2 import CustomerEvent
from journeys.runtime.v1 import runtime_service_pb2 as pb
from journeys.runtime.v1 import runtime_service_pb2_grpc as rpc

from services.domain.execution.execution import Execution
from services.infra.grpc.caller import actor_from
from services.runtime.audience_evaluation import AudienceEvaluation
from services.runtime.convert import (
    event_to_proto,
    execution_to_proto,
    in_app_to_proto,
    json_bytes,
    message_to_proto,
    page_from_proto,
)
from services.runtime.messages import Messages
from services.runtime.queries import MessageFilter, Queries

EXECUTIONS_SHOWN, MESSAGES_SHOWN = 50, 100  # contract 1, limits

Context = grpc.aio.ServicerContext[Any, Any]


class Ingestion(Protocol):
    """Takes events; answers which of them were known, by index."""

    async def __call__(self, workspace: str, events: Sequence[CustomerEvent]) -> list[int]: ...


class Commands(Protocol):
    """What can be asked of executions; see `commands.py`."""

    async def start(
        self, workspace: str, journey_id: str, event: CustomerEvent, source: str, actor: str
    ) -> tuple[str, bool, str | None]: ...

    async def dispatch(self, workspace: str, execution_id: str) -> tuple[Execution, bool]: ...

    async def abort(self, workspace: str, journey_id: str, execution_id: str, actor: str) -> Execution: ...

    async def retry(self, workspace: str, journey_id: str, execution_id: str, actor: str) -> Execution: ...


class RuntimeServicer(rpc.RuntimeServiceServicer):
    """Serves events, executions, messages and audience questions."""

    def __init__(
        self,
        ingestion: Ingestion,
        commands: Commands,
        queries: Queries,
        messages: Messages,
        evaluation: AudienceEvaluation,
    ) -> None:
        self._ingestion = ingestion
        self._messages = messages
        self._commands = commands
        self._queries = queries
        self._evaluation = evaluation

    async def IngestEvents(self, request: pb.IngestEventsRequest, context: Context) -> pb.IngestEventsResponse:
        known = await self._ingestion(request.workspace, request.events)
        return pb.IngestEventsResponse(
            received=len(request.events), duplicates=len(known), duplicate_indexes=sorted(known)
        )

    async def StartExecution(self, request: pb.StartExecutionRequest, context: Context) -> pb.StartExecutionResponse:
        execution_id, started, reason = await self._commands.start(
            request.workspace, request.journey_id, request.event, request.source, actor_from(context)
        )
        return pb.StartExecutionResponse(execution_id=execution_id, started=started, reason=reason)

    async def DispatchExecution(
        self, request: pb.DispatchExecutionRequest, context: Context
    ) -> pb.DispatchExecutionResponse:
        execution, advanced = await self._commands.dispatch(request.workspace, request.execution_id)
        return pb.DispatchExecutionResponse(execution=execution_to_proto(execution), advanced=advanced)

    async def AbortExecution(self, request: pb.AbortExecutionRequest, context: Context) -> pb.AbortExecutionResponse:
        execution = await self._commands.abort(
            request.workspace, request.journey_id, request.execution_id, actor_from(context)
        )
        return pb.AbortExecutionResponse(execution=execution_to_proto(execution))

    async def RetryExecution(self, request: pb.RetryExecutionRequest, context: Context) -> pb.RetryExecutionResponse:
        execution = await self._commands.retry(
            request.workspace, request.journey_id, request.execution_id, actor_from(context)
        )
        return pb.RetryExecutionResponse(execution=execution_to_proto(execution))

    async def ListExecutions(self, request: pb.ListExecutionsRequest, context: Context) -> pb.ListExecutionsResponse:
        page = await self._queries.executions(
            request.workspace,
            request.journey_id,
            page_from_proto(request.page, EXECUTIONS_SHOWN),
            status=request.status if request.HasField("status") else None,
            end_user_id=request.end_user_id if request.HasField("end_user_id") else None,
        )
        executions = [execution_to_proto(execution) for execution in page.items]
        return pb.ListExecutionsResponse(executions=executions, next_cursor=page.cursor)

    async def GetExecution(self, request: pb.GetExecutionRequest, context: Context) -> pb.GetExecutionResponse:
        execution = await self._queries.execution(request.workspace, request.journey_id, request.execution_id)
        return pb.GetExecutionResponse(execution=execution_to_proto(execution, whole=True))

    async def ListMessages(self, request: pb.ListMessagesRequest, context: Context) -> pb.ListMessagesResponse:
        only = MessageFilter(
            end_user_id=request.end_user_id if request.HasField("end_user_id") else None,
            journey_id=request.journey_id if request.HasField("journey_id") else None,
            execution_id=request.execution_id if request.HasField("execution_id") else None,
        )
        page = await self._queries.messages(request.workspace, page_from_proto(request.page, MESSAGES_SHOWN), only)
        messages = [message_to_proto(message) for message in page.items]
        return pb.ListMessagesResponse(messages=messages, next_cursor=page.cursor)

    async def RecordMessageEvent(
        self, request: pb.RecordMessageEventRequest, context: Context
    ) -> pb.RecordMessageEventResponse:
        message = await self._messages.record(
            request.workspace, request.message_id, request.type, request.permanent, actor_from(context)
        )
        return pb.RecordMessageEventResponse(events=[event_to_proto(event) for event in message.events])

    async def ListInApp(self, request: pb.ListInAppRequest, context: Context) -> pb.ListInAppResponse:
        page = await self._queries.in_app(
            request.workspace, request.end_user_id, page_from_proto(request.page, MESSAGES_SHOWN)
        )
        messages = [in_app_to_proto(message) for message in page.items]
        return pb.ListInAppResponse(messages=messages, next_cursor=page.cursor)

    async def ReadInApp(self, request: pb.ReadInAppRequest, context: Context) -> pb.ReadInAppResponse:
        message = await self._messages.read(request.workspace, request.message_id)
        return pb.ReadInAppResponse(message=in_app_to_proto(message))

    async def EvaluateAudience(
        self, request: pb.EvaluateAudienceRequest, context: Context
    ) -> pb.EvaluateAudienceResponse:
        matches, explanation = await self._evaluation.evaluate(
            request.workspace, request.audience_id, request.end_user_id
        )
        return pb.EvaluateAudienceResponse(matches=matches, explanation_json=json_bytes(explanation))
