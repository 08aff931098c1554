"""Forgetting a person, and the receipt of it.

Source: contract 6.
"""

from typing import Any, Final

from aiohttp import web
from journeys.runtime.v1.erasure_service_pb2 import ForgetEndUserRequest, GetErasureRequest

from gateway.context import ERASURES, path_id
from gateway.declaration import Role, route
from gateway.dto.erasure import Forgotten, Verified
from gateway.reading import body_of
from gateway.replies import json_reply
from gateway.routes.executions import too_long

_PATH: Final = "/api/journeys/internal/forget-end-user"
SECONDS: Final = 115.0  # people with a hundred thousand executions take the better part of a minute


@route("POST", _PATH, role=Role.INTERNAL, body="ForgetEndUser", reply=Forgotten)
async def forget_end_user(request: web.Request) -> web.Response:
    """Stop what runs for a person and remove all that is readable about them; totals keep their counts.

    Answers once it is done. Asked twice: the same receipt, and nothing erased. A suppression of an address of theirs
    stays in force, no longer listed.

    200 {"receiptId", "forgottenAt", "stopped", "erased", "retainedUntil"?}; 400; 401; 404 (the workspace);
    503; 504 (it goes on; asking again waits for it).
    """
    body = await body_of(request, too_long("endUserId"))
    message = ForgetEndUserRequest(workspace=body["projectKey"], end_user_id=body["endUserId"])
    stub: Any = request.app[ERASURES]
    reply = await stub.ForgetEndUser(message, timeout=SECONDS)
    return json_reply(Forgotten.from_proto(reply.erasure))


@route("GET", f"{_PATH}/{{receiptId}}", role=Role.INTERNAL, reply=Verified)
async def verify_forget(request: web.Request) -> web.Response:
    """Show a receipt, and look whether anything of that person is there now.

    200 the receipt with {"status", "verified", "remaining", "reinstatedAt"?}; 401; 404.
    """
    message = GetErasureRequest(receipt_id=path_id(request, "receiptId"))
    return json_reply(Verified.of(await request.app[ERASURES].GetErasure(message)))
