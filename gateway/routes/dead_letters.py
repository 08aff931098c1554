"""Records that producers wrote and nobody could read: for operators, with one of the server's keys."""

from aiohttp import web
from journeys.runtime.v1.dead_letter_service_pb2 import ListDeadLettersRequest, ReplayDeadLetterRequest

from gateway.context import DEAD_LETTERS
from gateway.declaration import Role, route
from gateway.dto.dead_letters import DeadLetter
from gateway.reading import body_of
from gateway.replies import PAGING, list_reply, nothing, page_of

_PATH = "/api/journeys/internal/dead-letters"


@route("GET", _PATH, role=Role.INTERNAL, reply=list[DeadLetter], query=PAGING)
async def list_dead_letters(request: web.Request) -> web.Response:
    """The dead letters of all workspaces, oldest first within each partition.

    200 [{"partition", "offset", "at", "topic", "sourcePartition", "sourceOffset", "reason", "key", "size", "value"}];
    400; 401.
    """
    found = await request.app[DEAD_LETTERS].ListDeadLetters(ListDeadLettersRequest(page=page_of(request)))
    shown = [DeadLetter.from_proto(letter) for letter in found.letters]
    return list_reply(request, shown, found.next_cursor if found.HasField("next_cursor") else None)


@route("POST", f"{_PATH}/replay", role=Role.INTERNAL, body="DeadLetterReplay", status=204)
async def replay_dead_letter(request: web.Request) -> web.Response:
    """Append one again where it came from, once its producer or its workspace is mended.

    204; 400; 401; 404 not_found.
    """
    body = await body_of(request)
    place = ReplayDeadLetterRequest(partition=body["partition"], offset=body["offset"])
    await request.app[DEAD_LETTERS].ReplayDeadLetter(place)
    return nothing()
