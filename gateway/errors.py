"""Refusals as problems: the one table from kinds to HTTP, and the one writer of problem+json.

    Problem                what a route or the reader raises
    grpc AioRpcError       what a service refused: its kind decides the status
    aiohttp HTTPException  unknown route, wrong method
    anything else          a bug: 500, logged with its trace, told without it

Law: nothing else in the gateway chooses a status above 399.
Source: contract 1, Errors; style 4; RFC 9457.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from math import ceil
from types import MappingProxyType
from typing import Any, Final

import aiohttp
import grpc
import msgspec
from aiohttp import web

from gateway.pointers import Fault
from gateway.times import rfc3339
from services.infra.grpc.errors import Refusal, refusal_of

# Kind of a domain error -> HTTP. The values are those of services.domain.errors.Kind, which the gateway may not know.
STATUS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "invalid": 400,
        "unknown_caller": 401,
        "over_plan": 402,
        "forbidden": 403,
        "missing": 404,
        "duplicate": 409,
        "stale": 409,
        "not_now": 409,
        "unmatched": 412,
        "too_much": 429,
        "unavailable": 503,
        "late": 504,
        "unbuilt": 501,
        "bug": 500,
    }
)
# Reasons whose status is not that of their kind.
BY_REASON: Final[Mapping[str, int]] = MappingProxyType(
    {
        "idempotency_key_reused": 422,
        "link_expired": 410,
        "payload_too_large": 413,
        "not_an_export": 422,
        "translation_incomplete": 422,
        "unsupported_bundle_version": 422,
        "unresolved_reference": 422,
    }
)

# Codes that are born here and in no service (those are in error_reason.proto).
OWN_CODES: Final = (
    "bad_request",
    "method_not_allowed",
    "payload_too_large",
    "unsupported_media_type",
    "expectation_failed",
)

MEDIA_TYPE: Final = "application/problem+json"
_TOLD_IN_FULL: Final = 1000  # faults in one answer: a hostile body can hold hundreds of thousands
_BUG_TEXT: Final = "Something went wrong inside. The log has it under this request id."


class Problem(Exception):
    """A refusal on its way out. `members` are added to the problem, `headers` to the answer."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        faults: Sequence[Fault] = (),
        *,
        members: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.faults = faults
        self.members = members or {}
        self.headers = headers or {}


def invalid(faults: Sequence[Fault], code: str = "validation_error") -> Problem:
    """400 with every fault; the sentence is the first fault's."""
    more = f" ({len(faults)} faults)" if len(faults) > 1 else ""
    return Problem(400, code, f"{faults[0].message}{more}", faults)


def invalid_at(path: str, code: str, message: str, *, reason: str = "validation_error") -> Problem:
    """400 with one fault."""
    return Problem(400, reason, message, [Fault(path, code, message)])


def invalid_json(detail: str) -> Problem:
    """400: the body is no JSON that we take."""
    return Problem(400, "invalid_json", detail)


def not_found(what: str = "There is nothing here.") -> Problem:
    """404."""
    return Problem(404, "not_found", what)


def unauthenticated(detail: str, scheme: str = "Session") -> Problem:
    """401. RFC 9110 wants WWW-Authenticate; neither of our schemes makes a browser ask for a password."""
    return Problem(401, "unauthenticated", detail, headers={"WWW-Authenticate": f'{scheme} realm="journeys"'})


def forbidden(detail: str, code: str = "forbidden") -> Problem:
    """403."""
    return Problem(403, code, detail)


def too_large(detail: str, **members: Any) -> Problem:
    """413."""
    return Problem(413, "payload_too_large", detail, members=members)


def unbuilt(what: str) -> Problem:
    """501: the contract has it, and its part is not built yet."""
    return Problem(501, "not_implemented", f"{what} is not built yet.")


def problem_of(error: BaseException) -> Problem | None:
    """What an exception means to the outside; None for a bug, which the caller logs and answers with `bug()`."""
    match error:
        case Problem():
            return error
        case grpc.aio.AioRpcError():
            return _of_refusal(refusal_of(error))
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            detail = f"{error.method} is not possible here; possible: {allowed}."
            return Problem(405, "method_not_allowed", detail, headers={"Allow": allowed})
        case web.HTTPException():
            return _of_status(error.status)
        case aiohttp.ClientPayloadError() | aiohttp.http.HttpProcessingError():
            return invalid_json("The body could not be read: it is cut off or wrongly encoded.")
        case web.RequestPayloadError() | ConnectionResetError():  # the latter: whoever sent it hung up in the middle
            return invalid_json("The body could not be read: it is cut off or wrongly encoded.")
        case TimeoutError():
            return Problem(504, "deadline_exceeded", "The answer did not come in time.")
    return None


def bug() -> Problem:
    """500, without details."""
    return Problem(500, "internal", _BUG_TEXT)


def problem_reply(problem: Problem, instance: str, request_id: str) -> web.Response:
    """The answer that carries a problem."""
    body: dict[str, Any] = {
        "type": f"/docs#{problem.code}",
        "title": _title(problem.status),
        "status": problem.status,
        "detail": problem.detail,
        "instance": _cleaned(instance),
        "code": problem.code,
        "requestId": request_id,
    }
    if problem.faults:
        body["errors"] = [
            {"path": path, "code": code, "message": message} for path, code, message in problem.faults[:_TOLD_IN_FULL]
        ]
        if len(problem.faults) > _TOLD_IN_FULL:
            body["errorCount"] = len(problem.faults)
    for name, value in problem.members.items():
        body.setdefault(name, value)
    return web.Response(
        status=problem.status, body=msgspec.json.encode(body), headers=problem.headers, content_type=MEDIA_TYPE
    )


def _of_refusal(refusal: Refusal) -> Problem:
    status = BY_REASON.get(refusal.reason) or STATUS.get(refusal.kind, 500)
    if status == 500:
        return bug()
    headers = {}
    if status == 401:
        return unauthenticated(refusal.message)
    if refusal.retry_after_seconds is not None or status in (429, 503):
        seconds = refusal.retry_after_seconds or 1.0
        headers["Retry-After"] = str(max(1, ceil(seconds)))
    return Problem(
        status,
        refusal.reason,
        refusal.message,
        [Fault(*fault) for fault in refusal.faults],
        members=dict(_member(name, value) for name, value in refusal.metadata.items()),
        headers=headers,
    )


def _member(name: str, value: str) -> tuple[str, Any]:
    """A member of a problem from metadata, which has text alone: `updated_at_ms` travels as a number of milliseconds."""
    first, *rest = name.split("_")
    if name.endswith("_at_ms") and value.lstrip("-").isdecimal():
        return first + "".join(part.capitalize() for part in rest[:-1]), rfc3339(int(value))
    return first + "".join(part.capitalize() for part in rest), value


_CODES: Final = {
    404: ("not_found", "There is no such route."),
    413: ("payload_too_large", "The body is larger than this route takes."),
    415: ("unsupported_media_type", "This route does not take that media type."),
    417: ("expectation_failed", "The only expectation that can be met is 100-continue."),
}


def _of_status(status: int) -> Problem:
    if status >= 500:
        return bug()
    code, detail = _CODES.get(status, ("bad_request", "The request could not be understood."))
    return Problem(status if status >= 400 else 400, code, detail)


def _cleaned(text: str) -> str:
    # A path of bytes that are no UTF-8 holds lone surrogates, which JSON cannot.
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
