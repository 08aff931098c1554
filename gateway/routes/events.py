"""Customer events in, messages out.

Source: contract 3, Events in and Messages.
"""

from aiohttp import web
from journeys.runtime.v1.runtime_service_pb2 import IngestEventsRequest, ListMessagesRequest

from gateway.context import GATHERING, RUNTIME, query_text, workspace
from gateway.declaration import Query, Role, not_yet, route
from gateway.dto.running import Message, Taken
from gateway.intake import read_events
from gateway.reading import MAX_EVENTS_BODY, raw_body, require_json
from gateway.replies import PAGING, json_reply, list_reply, page_of

_TEXT = {"type": "string"}


@route("POST", "/api/events", role=Role.EDITOR, body="EventsIn", status=202, reply=Taken)
async def take_events(request: web.Request) -> web.Response:
    """Take one event, or up to 1,000; answered once they are durable.

    202 {"received", "duplicates", "errors"}; 400 batch_too_large, and validation_error for a malformed single event; 413.
    """
    require_json(request)
    intake = read_events(await raw_body(request, MAX_EVENTS_BODY))
    received = duplicates = 0
    if len(intake.events) == 1:
        received, duplicates = 1, int(await request.app[GATHERING].is_known(workspace(request), intake.events[0]))
    elif intake.events:
        message = IngestEventsRequest(workspace=workspace(request), events=intake.events)
        reply = await request.app[RUNTIME].IngestEvents(message)
        received, duplicates = reply.received, reply.duplicates
    return json_reply({"received": received, "duplicates": duplicates, "errors": intake.errors}, status=202)


@route(
    "GET",
    "/api/messages",
    role=Role.VIEWER,
    reply=list[Message],
    query=(
        *PAGING,
        Query("endUserId", "Only this person's.", _TEXT),
        Query("journeyId", "Only this journey's.", _TEXT),
        Query("executionId", "Only this execution's.", _TEXT),
    ),
)
async def list_messages(request: web.Request) -> web.Response:
    """List what was sent, newest first; addresses are masked.

    200.
    """
    message = ListMessagesRequest(
        workspace=workspace(request),
        end_user_id=query_text(request, "endUserId"),
        journey_id=query_text(request, "journeyId"),
        execution_id=query_text(request, "executionId"),
        page=page_of(request),
    )
    reply = await request.app[RUNTIME].ListMessages(message)
    return list_reply(request, [Message.from_proto(it) for it in reply.messages], reply.next_cursor)


not_yet(
    "POST", "/api/messages/{messageId}/events", role=Role.EDITOR, name="provider_feedback", what="Provider feedback"
)
not_yet("GET", "/api/in-app", role=Role.VIEWER, name="list_in_app", what="The in-app store")
not_yet("POST", "/api/in-app/{messageId}/read", role=Role.EDITOR, name="read_in_app", what="The in-app store")
