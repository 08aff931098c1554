"""Errors of the services as the outside sees them, over a real wire."""

from typing import Any

import pytest

from services.domain.errors import Fault, Invalid, Kind, Missing, Refused, Stale, Unavailable
from tests.integration.gateway.backend import Backend, Client

STATUS = {
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


@pytest.mark.parametrize("kind", Kind)
async def test_every_kind_has_its_status(client: Client, backend: Backend, kind: Kind) -> None:
    """As problem+json with the reason as its code and the request's id."""
    error = Refused("some_reason", "A sentence.")
    error.kind = kind
    backend.answers["GetJourney"] = error

    reply = await client.get("/api/journeys/a", headers={"X-Request-Id": "req-7"})

    assert STATUS[kind] == reply.status
    assert "application/problem+json" == reply.headers["Content-Type"]
    assert ("req-7", "req-7") == (reply.json["requestId"], reply.headers["X-Request-Id"])
    assert (
        "internal" if kind is Kind.BUG else "unauthenticated" if kind is Kind.UNKNOWN_CALLER else "some_reason"
    ) == (reply.json["code"])


async def test_a_stale_update_tells_the_current_time(client: Client, backend: Backend) -> None:
    """Contract 2: 409 stale_update with the current updatedAt."""
    now = "2026-04-30T13:00:00.000Z"
    backend.answers["UpdateJourney"] = Stale("stale_update", "Changed.", metadata={"updatedAt": now})

    reply = await client.patch("/api/journeys/a", {"name": "B", "updatedAt": "2026-04-30T12:00:00.000Z"})

    assert (409, "stale_update", now) == (reply.status, reply.json["code"], reply.json["updatedAt"])
    assert 1_777_550_400_000 == backend.last("UpdateJourney").updated_at_ms


async def test_hundreds_of_faults_come_through(client: Client, backend: Backend) -> None:
    """All faults at once, also where they do not fit into gRPC's usual 8 KiB."""
    faults = [Fault(f"/steps/{i}/next", "next_unresolved", f"There is no step 'x{i}'.") for i in range(900)]
    backend.answers["PublishJourney"] = Invalid("graph_invalid", "The graph is not sound.", faults)

    reply = await client.post("/api/journeys/a/publish")

    assert (400, "graph_invalid", 900) == (reply.status, reply.json["code"], len(reply.paths))
    assert "/steps/899/next" == reply.paths[-1]


async def test_an_unreachable_service_is_503(client: Client, backend: Backend) -> None:
    """With Retry-After."""
    backend.answers["ListJourneys"] = Unavailable("The disk is full.")

    reply = await client.get("/api/journeys")

    assert (503, "unavailable", "1") == (reply.status, reply.json["code"], reply.headers["Retry-After"])


async def test_a_bug_in_a_handler_is_a_500_without_details(
    client: Client, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has the trace, the answer has the request id."""

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("gateway.routes.journeys.page_of", broken)

    reply = await client.get("/api/journeys")

    assert (500, "internal") == (reply.status, reply.json["code"])
    assert b"secret" not in reply.body


@pytest.mark.parametrize("given", ["", "ü", "a b", "x" * 129, "a/b", "a\tb"])
async def test_an_odd_request_id_is_replaced(client: Client, given: str) -> None:
    """Only `[A-Za-z0-9._-]{1,128}` is taken over; every answer has one."""
    reply = await client.get("/nowhere", headers={"X-Request-Id": given})

    assert given != reply.headers["X-Request-Id"]
    assert 32 == len(reply.headers["X-Request-Id"])


async def test_the_actor_and_the_request_id_go_on(client: Client, backend: Backend) -> None:
    """Whoever serves knows on whose behalf, and the logs of all parts meet in one id."""
    backend.answers["GetJourney"] = Missing("journey", "a")
    await client.get("/api/journeys/a", role="editor-1", headers={"X-Request-Id": "req-9"})

    calls = {call.method: (call.actor, call.request_id) for call in backend.calls}

    assert {"Authenticate": ("", "req-9"), "GetJourney": ("usr-editor-1", "req-9")} == calls


async def test_an_unknown_route_and_a_wrong_method_are_problems(client: Client) -> None:
    """404, and 405 with what would be right."""
    missing = await client.get("/api/nothing")
    wrong = await client.ask("DELETE", "/api/journeys/a")

    assert (404, "not_found") == (missing.status, missing.json["code"])
    assert (405, "method_not_allowed", "GET, HEAD, PATCH") == (wrong.status, wrong.json["code"], wrong.headers["Allow"])
