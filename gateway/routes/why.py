"""Why something happened to a person, or did not.

Source: contract 4.
"""

from typing import Final

from aiohttp import web
from journeys.runtime.v1.why_service_pb2 import ListDecisionsRequest

from gateway.context import MAX_ID_BYTES, WHY, path_id, query_text, workspace
from gateway.declaration import Query, Role, route
from gateway.dto.why import Decision, Decisions
from gateway.errors import invalid_at
from gateway.replies import PAGING, json_reply, link_next, page_of
from gateway.routes.journeys import load_journey

_TEXT: Final = {"type": "string"}


@route(
    "GET",
    "/api/journeys/{id}/why",
    role=Role.VIEWER,
    reply=Decisions,
    query=(
        *PAGING,
        Query("endUserId", "Whose.", _TEXT, required=True),
        Query("eventId", "Only what this event led to.", _TEXT),
    ),
)
async def why(request: web.Request) -> web.Response:
    """What this journey decided about a person and on what grounds, newest first; also what let nobody in.

    A decision is shown for 30 days; one to start for as long as the execution runs and 30 days more. What came again
    is a decision too (`duplicate`), the last ten times of each event, on the page of the decision it repeats; its check
    says how often in all.

    200 {"endUserId", "decisions"}, older ones behind Link; 400 validation_error (endUserId missing); 404.
    """
    person = query_text(request, "endUserId")
    if person is None:
        raise invalid_at("/endUserId", "required", "endUserId says whose decisions are asked for.")
    if len(person.encode()) > MAX_ID_BYTES:
        raise invalid_at("/endUserId", "too_long", f"endUserId has at most {MAX_ID_BYTES} bytes.")
    message = ListDecisionsRequest(
        workspace=workspace(request),
        journey_id=path_id(request),
        end_user_id=person,
        event_id=query_text(request, "eventId"),
        page=page_of(request),
    )
    reply = await request.app[WHY].ListDecisions(message)
    if not reply.decisions:
        await load_journey(request)  # nothing was decided: is there a journey at all?
    shown = Decisions(end_user_id=person, decisions=[Decision.from_proto(one) for one in reply.decisions])
    response = json_reply(shown)
    link_next(request, response, reply.next_cursor)
    return response
