"""Idempotency-Key: a request that was answered is not done again.

Law: the first answer to a key is kept by authoring for 24 hours and given again, refusals too; what failed on our
side (5xx) or was put off (429) is not an answer, and frees the key. A request that was broken off half-way may have
made its object and never said so: its repeat bears the same request key, by which whoever made it recognises it.
Source: contract 1; draft-ietf-httpapi-idempotency-key-header.
"""

import asyncio
import hashlib
from typing import Final

import grpc
import msgspec
import structlog
from aiohttp import web
from journeys.authoring.v1.authoring_service_pb2 import (
    ClaimIdempotencyKeyRequest,
    ClaimIdempotencyKeyResponse,
    SettleIdempotencyKeyRequest,
    StoredAnswer,
)

from gateway.context import AUTHORING, Context, caller
from gateway.declaration import Handler
from gateway.errors import Problem, invalid_at, problem_of, problem_reply
from gateway.reading import MAX_BODY, raw_body
from services.infra.grpc.caller import repeatable

HEADER: Final = "Idempotency-Key"
MAX_KEY: Final = 255
WAIT_SECONDS: Final = 2.0  # most creating requests are done in a fraction of it
PAUSE_SECONDS: Final = 0.05
_FORGOTTEN: Final = b"subject_forgotten"  # the reason of a start that was refused
_KEPT_HEADERS: Final = ("Location", "ETag", "Cache-Control")

_log = structlog.get_logger(__name__)


async def answered_once(request: web.Request, context: Context, handler: Handler) -> web.StreamResponse:
    """The handler's answer, or the one this key got before. 422 if the key was used for another request."""
    key = request.headers.get(HEADER)
    if key is None:
        return await handler(request)
    if not 0 < len(key) <= MAX_KEY or not (key.isascii() and key.isprintable()):
        raise invalid_at("", "not_allowed", f"{HEADER} is 1 to {MAX_KEY} printable ASCII characters.")
    context.body = await raw_body(request, MAX_BODY if context.route is None else context.route.limit)
    workspace = caller(request).workspace
    fingerprint = _fingerprint(request, context.body)
    claim = ClaimIdempotencyKeyRequest(workspace=workspace, key=key, fingerprint=fingerprint)
    claimed = await _claimed(request, claim)
    if claimed.HasField("answer"):
        return _again(claimed.answer)
    answer: StoredAnswer | None = None
    try:
        named = f"{workspace}\n{key}\n{fingerprint}\n{claimed.since_ms}"
        with repeatable(hashlib.sha256(named.encode()).hexdigest()[:32]):
            response = await _answer(request, context, handler)
        if response.status < 500 and response.status != 429 and not _is_of_nobody(response):
            answer = _kept(response)
        return response
    finally:
        # Shielded: a claim that nobody settles blocks the key.
        await asyncio.shield(_settle(request, workspace, key, answer))


async def _claimed(request: web.Request, claim: ClaimIdempotencyKeyRequest) -> ClaimIdempotencyKeyResponse:
    """The claim's reply. While the first request is at it, a repeat waits for its answer as long as is bearable."""
    end = asyncio.get_running_loop().time() + WAIT_SECONDS
    while True:
        try:
            return await request.app[AUTHORING].ClaimIdempotencyKey(claim)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE or asyncio.get_running_loop().time() >= end:
                raise
        await asyncio.sleep(PAUSE_SECONDS)


async def _answer(request: web.Request, context: Context, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except (Problem, grpc.aio.AioRpcError) as error:
        problem = problem_of(error)
        if problem is None:
            raise
        return problem_reply(problem, request.rel_url.raw_path, context.request_id)


async def _settle(request: web.Request, workspace: str, key: str, answer: StoredAnswer | None) -> None:
    settle = SettleIdempotencyKeyRequest(workspace=workspace, key=key)
    if answer is not None:
        settle.answer.CopyFrom(answer)
    try:
        await request.app[AUTHORING].SettleIdempotencyKey(settle)
    except grpc.aio.AioRpcError as error:
        # What was asked is done; that a repeat will not be recognised is no reason to say otherwise.
        _log.warning("idempotency.unsettled", status=error.code().name)


def _fingerprint(request: web.Request, body: bytes) -> str:
    return hashlib.sha256(
        f"{request.method}\n{request.path_qs}\n".encode("utf-8", "surrogateescape") + body
    ).hexdigest()


def _is_of_nobody(response: web.StreamResponse) -> bool:
    """Whether somebody who was forgotten was refused: nothing was done, and an answer that names them is not kept."""
    body = response.body if isinstance(response, web.Response) else None
    if not isinstance(body, bytes) or _FORGOTTEN not in body:
        return False
    try:
        return msgspec.json.decode(body, type=_Refused).reason == _FORGOTTEN.decode()
    except msgspec.MsgspecError:
        return False


class _Refused(msgspec.Struct):
    reason: str | None = None


def _kept(response: web.StreamResponse) -> StoredAnswer:
    body = response.body if isinstance(response, web.Response) and isinstance(response.body, bytes) else b""
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    return StoredAnswer(status=response.status, content_type=response.content_type, body=body, headers=headers)


def _again(answer: StoredAnswer) -> web.Response:
    return web.Response(
        status=answer.status,
        body=answer.body,
        headers={**answer.headers, "Content-Type": answer.content_type, "Idempotency-Replayed": "true"},
    )
