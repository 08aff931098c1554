"""Customer events in, messages out, and what becomes known of them.

Source: contract 3, Events in, Messages and Senders (provider feedback).
"""

from aiohttp import web
from journeys.runtime.v1.runtime_service_pb2 import (
    IngestEventsRequest,
    ListInAppRequest,
    ListMessagesRequest,
    ReadInAppRequest,
    RecordMessageEventRequest,
)

from gateway.context import GATHERING, RUNTIME, path_id, query_text, workspace
from gateway.declaration import Query, Role, route
from gateway.dto.running import InAppMessage, Message, MessageEvents, Taken
from gateway.errors import invalid_at
from gateway.intake import read_events
from gateway.reading import MAX_EVENTS_BODY, body_of, optional_body_of, raw_body, require_json
from gateway.replies import PAGING, json_reply, list_reply, page_of, resource_reply

_TEXT = {"type": "string"}


@route(
    "POST",
    "/api/events",
    role=Role.EDITOR,
    body="EventsIn",
    status=202,
    reply=Taken,
    creates=True,
    limit=MAX_EVENTS_BODY,
)
async def take_events(request: web.Request) -> web.Response:
    """Take one event, or up to 1,000; answered once they are durable.

    202 {"received", "duplicates", "errors"}; 400 batch_too_large, and validation_error for a malformed single event; 413;
    422 idempotency_key_reused.
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


@route(
    "POST",
    "/api/messages/{messageId}/events",
    role=Role.EDITOR,
    body="ProviderFeedback",
    reply=MessageEvents,
)
async def provider_feedback(request: web.Request) -> web.Response:
    """Take a provider's word about a message; said twice is said once.

    200 {"messageId", "events"}, after a permanent bounce or a complaint has suppressed its addresses, or an
    unsubscribe has opted the person out of its channel; 400 validation_error; 404.
    """
    body = await body_of(request)
    message = RecordMessageEventRequest(
        workspace=workspace(request),
        message_id=path_id(request, "messageId"),
        type=body["type"],
        permanent=body.get("permanent", False),
    )
    reply = await request.app[RUNTIME].RecordMessageEvent(message)
    return json_reply(MessageEvents.from_proto(message.message_id, reply))


@route(
    "GET",
    "/api/in-app",
    role=Role.VIEWER,
    reply=list[InAppMessage],
    query=(*PAGING, Query("endUserId", "Whose.", _TEXT, required=True)),
)
async def list_in_app(request: web.Request) -> web.Response:
    """List a person's in-app messages, newest first.

    200; 400 validation_error without endUserId.
    """
    person = query_text(request, "endUserId")
    if person is None:
        raise invalid_at("/endUserId", "missing_member", "endUserId says whose messages are meant.")
    message = ListInAppRequest(workspace=workspace(request), end_user_id=person, page=page_of(request))
    reply = await request.app[RUNTIME].ListInApp(message)
    return list_reply(request, [InAppMessage.from_proto(it) for it in reply.messages], reply.next_cursor)


@route(
    "POST",
    "/api/in-app/{messageId}/read",
    role=Role.EDITOR,
    body="Nothing",
    body_required=False,
    reply=InAppMessage,
)
async def read_in_app(request: web.Request) -> web.Response:
    """Note that an in-app message was read; the first time counts.

    200; 404.
    """
    await optional_body_of(request)
    message = ReadInAppRequest(workspace=workspace(request), message_id=path_id(request, "messageId"))
    reply = await request.app[RUNTIME].ReadInApp(message)
    return resource_reply(InAppMessage.from_proto(reply.message))
