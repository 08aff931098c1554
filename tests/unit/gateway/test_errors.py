"""Refusals as problems."""

import json
from collections.abc import Sequence

import aiohttp
import grpc
import pytest
from aiohttp import web

from gateway.errors import STATUS, Problem, bug, problem_of, problem_reply
from gateway.pages import codes_of_refusals
from gateway.pointers import Fault, pointer
from services.domain.errors import Fault as DomainFault
from services.domain.errors import Kind, Refused
from services.infra.grpc.errors import status_of


def refused(
    kind: Kind, reason: str = "some_reason", faults: Sequence[DomainFault] = (), **metadata: str
) -> grpc.aio.AioRpcError:
    """An error of that kind as it arrives over the wire."""
    error = Refused(reason, "A sentence.", faults, metadata)
    error.kind = kind
    status = status_of(error)
    return grpc.aio.AioRpcError(status.code, grpc.aio.Metadata(), grpc.aio.Metadata(*status.trailing), status.message)


def problem(error: BaseException) -> Problem:
    """The problem an exception becomes."""
    found = problem_of(error)
    assert found is not None
    return found


def told(shown: Problem) -> dict[str, object]:
    """The body of a problem."""
    response = problem_reply(shown, "/api/x", "req-1")
    assert isinstance(response.body, bytes)
    body: dict[str, object] = json.loads(response.body)
    return body


EXPECTED = {
    Kind.INVALID: 400,
    Kind.UNKNOWN_CALLER: 401,
    Kind.OVER_PLAN: 402,
    Kind.FORBIDDEN: 403,
    Kind.MISSING: 404,
    Kind.DUPLICATE: 409,
    Kind.STALE: 409,
    Kind.NOT_NOW: 409,
    Kind.UNMATCHED: 412,
    Kind.TOO_MUCH: 429,
    Kind.UNAVAILABLE: 503,
    Kind.LATE: 504,
    Kind.UNBUILT: 501,
    Kind.BUG: 500,
}


def test_the_table_has_every_kind_and_no_other() -> None:
    """A kind without a status would be a 500 nobody decided on."""
    assert {kind.value for kind in Kind} == set(STATUS)
    assert set(Kind) == set(EXPECTED)


@pytest.mark.parametrize("kind", Kind)
def test_a_kind_becomes_its_status(kind: Kind) -> None:
    """Over the wire and through the table (style 4)."""
    assert EXPECTED[kind] == problem(refused(kind)).status


@pytest.mark.parametrize(
    ("kind", "reason", "status"),
    [(Kind.DUPLICATE, "idempotency_key_reused", 422), (Kind.MISSING, "link_expired", 410)],
)
def test_some_reasons_have_a_status_of_their_own(kind: Kind, reason: str, status: int) -> None:
    """Not that of their kind."""
    assert status == problem(refused(kind, reason)).status


def test_a_bug_tells_nothing() -> None:
    """Neither a service's words nor an unknown exception's get out."""
    assert bug().detail == problem(refused(Kind.BUG)).detail
    assert problem_of(ZeroDivisionError("secret")) is None


@pytest.mark.parametrize(
    ("kind", "seconds", "header"),
    [
        (Kind.UNAVAILABLE, None, "1"),
        (Kind.TOO_MUCH, "0.2", "1"),
        (Kind.TOO_MUCH, "2.1", "3"),
    ],
)
def test_what_may_be_asked_again_says_when(kind: Kind, seconds: str | None, header: str) -> None:
    """Retry-After in whole seconds, rounded up, never nought."""
    more = {} if seconds is None else {"retry_after_seconds": seconds}

    assert header == problem(refused(kind, "rate_limited", (), **more)).headers["Retry-After"]


def test_faults_and_members_cross_the_wire() -> None:
    """The reason is the code, faults keep their pointers, members stand in the problem."""
    faults = [DomainFault("/steps/0/duration", "bad_duration", "No duration."), DomainFault("", "cycle", "A cycle.")]

    body = told(problem(refused(Kind.STALE, "stale_update", faults, updatedAt="2026-04-30T13:00:00.000Z")))

    assert {
        "type": "/docs#stale_update",
        "title": "Conflict",
        "status": 409,
        "detail": "A sentence.",
        "instance": "/api/x",
        "code": "stale_update",
        "requestId": "req-1",
        "errors": [
            {"path": "/steps/0/duration", "code": "bad_duration", "message": "No duration."},
            {"path": "", "code": "cycle", "message": "A cycle."},
        ],
        "updatedAt": "2026-04-30T13:00:00.000Z",
    } == body


def test_a_member_in_milliseconds_is_told_as_a_time() -> None:
    """And no member can take the place of the problem's own."""
    body = told(problem(refused(Kind.STALE, updated_at_ms="1777554000000", status="7", step_id="a")))

    assert ("2026-04-30T13:00:00.000Z", 409, "a") == (body["updatedAt"], body["status"], body["stepId"])


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.UNAVAILABLE, 503),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504),
        (grpc.StatusCode.CANCELLED, 503),
        (grpc.StatusCode.UNIMPLEMENTED, 501),
        (grpc.StatusCode.UNKNOWN, 500),
    ],
)
def test_a_status_that_is_not_ours_is_translated_too(code: grpc.StatusCode, status: int) -> None:
    """It comes from gRPC itself, and its text, which names addresses, is not told."""
    found = problem(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), "unix:/secret"))

    assert status == found.status
    assert "secret" not in found.detail


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (web.HTTPNotFound(), 404, "not_found"),
        (web.HTTPMethodNotAllowed("DELETE", {"GET", "PATCH"}), 405, "method_not_allowed"),
        (web.HTTPRequestEntityTooLarge(1, 2), 413, "payload_too_large"),
        (web.HTTPExpectationFailed(), 417, "expectation_failed"),
        (web.HTTPGone(), 410, "bad_request"),
        (web.HTTPBadGateway(), 500, "internal"),
        (web.RequestPayloadError(), 400, "invalid_json"),
        (aiohttp.ClientPayloadError(), 400, "invalid_json"),
        (ConnectionResetError(), 400, "invalid_json"),
        (TimeoutError(), 504, "deadline_exceeded"),
    ],
)
def test_aiohttp_s_own_errors_are_problems(error: Exception, status: int, code: str) -> None:
    """Each with a code the documentation lists."""
    found = problem(error)

    assert (status, code) == (found.status, found.code)
    assert code in codes_of_refusals()


def test_a_wrong_method_is_told_which_are_right() -> None:
    """In Allow, sorted."""
    assert "GET, PATCH" == problem(web.HTTPMethodNotAllowed("DELETE", {"PATCH", "GET"})).headers["Allow"]


def test_a_thousand_faults_are_told_and_all_are_counted() -> None:
    """A hostile body must not become a larger answer."""
    body = told(Problem(400, "validation_error", "x", [Fault(f"/{i}", "c", "m") for i in range(1500)]))

    assert isinstance(body["errors"], list)
    assert (1000, 1500) == (len(body["errors"]), body["errorCount"])


def test_a_path_that_is_no_text_can_be_told() -> None:
    """Bytes that are no UTF-8 in a request line arrive as lone surrogates."""
    response = problem_reply(bug(), "/api/\udcff", "r")

    assert isinstance(response.body, bytes)
    assert "/api/?" == json.loads(response.body)["instance"]


def test_a_pointer_escapes_its_two_signs() -> None:
    """RFC 6901, section 3."""
    assert "/a~1b/m~0n/0" == pointer(["a/b", "m~n", 0])
