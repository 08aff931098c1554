"""The server itself: internal routes, the clock, health, pages, shutting down, and hostile bytes."""

import asyncio
import http.client
import json
import re
import tempfile
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from journeys.authoring.v1 import workspace_service_pb2 as work
from journeys.runtime.v1 import runtime_service_pb2 as run

from gateway.declaration import Role
from gateway.routes import ALL
from services.domain.errors import Missing
from tests.integration.gateway.backend import Backend, Client, bearer, gateway_over

MS, AT = 1_777_554_000_000, "2026-04-30T13:00:00.000Z"
INTERNAL = "/api/journeys/internal"
ARN = "arn:aws:states:us-east-1:0:execution:disp:"


async def test_an_internal_start(client: Client, backend: Backend) -> None:
    """200 with ARN and reason; the event goes along."""
    backend.answers["StartExecution"] = run.StartExecutionResponse(execution_id="x", reason="duplicate")
    body = {
        "projectKey": "pk",
        "journeyId": "j",
        "endUserId": "u",
        "eventId": "e",
        "event": {"type": "t", "data": {"a": 1}, "timestamp": AT, "id": "other"},
    }

    reply = await client.post(f"{INTERNAL}/start-execution", body, role=None, headers=bearer())
    asked = backend.last("StartExecution")

    assert (
        200,
        {"executionArn": f"{ARN}x", "executionId": "x", "started": False, "reason": "duplicate"},
    ) == (reply.status, reply.json)
    assert ("pk", "j", "internal", "e", "u", "t", MS, "system") == (
        asked.workspace,
        asked.journey_id,
        asked.source,
        asked.event.id,
        asked.event.end_user_id,
        asked.event.type,
        asked.event.timestamp_ms,
        backend.calls[-1].actor,
    )
    missing = await client.post(f"{INTERNAL}/start-execution", {"event": {"x": 1}}, role=None, headers=bearer())
    assert {"/projectKey", "/journeyId", "/endUserId", "/eventId", "/event/x"} == set(missing.paths)


@pytest.mark.parametrize(
    ("named", "status"),
    [
        ({"executionId": "x"}, 200),
        ({"executionArn": f"{ARN}x"}, 200),
        ({"executionId": "x", "executionArn": f"{ARN}x"}, 200),
        ({"executionId": "y", "executionArn": f"{ARN}x"}, 400),
        ({"executionArn": "arn:x"}, 400),
        ({}, 400),
    ],
)
async def test_an_internal_dispatch(client: Client, backend: Backend, named: dict[str, str], status: int) -> None:
    """By id or ARN, which must not name two."""
    execution = run.Execution(execution_id="x", status="RUNNING", current_step_id="w")
    backend.answers["DispatchExecution"] = run.DispatchExecutionResponse(execution=execution, advanced=True)

    reply = await client.post(f"{INTERNAL}/dispatch", {"projectKey": "pk", **named}, role=None, headers=bearer())

    assert status == reply.status
    if status == 200:
        assert {"executionArn": f"{ARN}x", "status": "RUNNING", "currentStepId": "w", "advanced": True} == reply.json
        assert "x" == backend.last("DispatchExecution").execution_id


async def test_another_workspace(client: Client, backend: Backend) -> None:
    """201 with the owner's session."""
    backend.answers["CreateWorkspace"] = work.CreateWorkspaceResponse(
        workspace=work.Workspace(project_key="pk_2", name="Two"), owner_user_id="u", session_token="tok"
    )
    body = {"name": "Two", "ownerEmail": "a@b.example"}

    reply = await client.post(f"{INTERNAL}/workspaces", body, role=None, headers=bearer())

    assert (201, {"projectKey": "pk_2", "name": "Two", "ownerUserId": "u", "sessionToken": "tok"}) == (
        reply.status,
        reply.json,
    )
    assert not backend.last("CreateWorkspace").HasField("project_key")


async def test_the_clock_is_moved(client: Client, backend: Backend) -> None:
    """By a duration; months are refused, and so is eternity."""
    backend.answers["AdvanceClock"] = run.AdvanceClockResponse(now_ms=MS)

    moved = await client.post("/api/dev/clock", {"advance": "P3D"})
    months = await client.post("/api/dev/clock", {"advance": "P1M"})
    odd = await client.post("/api/dev/clock", {"advance": "3d"})
    eternity = await client.post("/api/dev/clock", {"advance": "P999999999W"})

    assert (200, {"now": AT}, 259_200_000) == (moved.status, moved.json, backend.last("AdvanceClock").advance_ms)
    assert (400, "unsupported_duration") == (months.status, months.json["code"])
    assert (400, "validation_error", ["/advance"]) == (odd.status, odd.json["code"], odd.paths)
    assert 400 == eternity.status


async def test_without_a_development_clock_there_is_no_such_route(backend: Backend) -> None:
    """404, and the documentation does not have it either."""
    with tempfile.TemporaryDirectory(prefix="gw-") as folder:
        async with gateway_over(backend, Path(folder)) as client:
            reply = await client.post("/api/dev/clock", {"advance": "P3D"})
            described = (await client.get("/api/openapi.json")).json

    assert (404, "not_found") == (reply.status, reply.json["code"])
    assert "/api/dev/clock" not in described["paths"]


@pytest.mark.parametrize("path", ["/", "/docs", "/healthz", "/readyz", "/metrics", "/api/openapi.json"])
async def test_what_everybody_may_read(client: Client, path: str) -> None:
    """Without credentials, by GET and HEAD."""
    read, head = await client.get(path, role=None), await client.ask("HEAD", path, role=None)

    assert (200, 200, b"") == (read.status, head.status, head.body)


async def test_not_ready_while_a_service_is_silent(backend: Backend) -> None:
    """503 naming it; alive all the same."""
    with tempfile.TemporaryDirectory(prefix="gw-") as folder:
        async with gateway_over(backend, Path(folder)) as client:
            ready = await client.get("/readyz")
            await client.stop_services()
            silent, alive = await client.get("/readyz"), await client.get("/healthz")
            asked = await client.get("/api/journeys")

    assert 200 == ready.status
    assert (503, ["analytics", "authoring", "runtime"]) == (silent.status, silent.json["services"])
    assert (200, 503, "unavailable") == (alive.status, asked.status, asked.json["code"])


async def test_figures_are_by_route_and_hold_nobody_s_id(client: Client) -> None:
    """The path is the declared one."""
    await client.get("/api/subjects/jane.doe%40example.com")

    text = (await client.get("/metrics")).body.decode()

    assert 'gateway_requests_total{method="GET",route="/api/subjects/{endUserId}",status="501"} 1.0' in text
    assert "jane" not in text


async def test_a_request_under_way_is_finished(backend: Backend) -> None:
    """Stopping waits for it, and takes no new one."""
    entered, release = asyncio.Event(), asyncio.Event()
    with tempfile.TemporaryDirectory(prefix="gw-") as folder:
        async with gateway_over(backend, Path(folder)) as client:

            async def slow(request: Any) -> Any:
                entered.set()
                await release.wait()
                return run.IngestEventsResponse(received=1)

            backend.slow["IngestEvents"] = slow
            under_way = asyncio.create_task(client.post("/api/events", {"type": "t"}))
            await entered.wait()
            stopping = asyncio.create_task(client.stop_gateway())
            await asyncio.sleep(0.05)
            assert not stopping.done()
            release.set()
            reply = await under_way
            await stopping

            assert 202 == reply.status


BODIES = [
    b"{",
    b"[]",
    b"null",
    b'"x"',
    b"NaN",
    b'{"name": 1e999}',
    b'{"name": "\xff"}',
    b'{"name": "\\ud800"}',
    b"[" * 100_000,
    b'{"name": ' + b"9" * 5000 + b"}",
    b'{"\\u0000": {"a": [1, 2, {"b": null}]}, "steps": [[]], "events": [[]], "predicate": 5, "attributes": 5}',
]
# An export or a bundle travels as it came: whoever translates or imports it reads it, with their own tests of this.
READ_ELSEWHERE = {"translate_pinpoint", "import_bundle"}
WITH_BODY = [
    route
    for route in ALL
    if route.method in ("POST", "PUT", "PATCH") and route.name not in READ_ELSEWHERE and route.built
]


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: route.name)
async def test_no_body_makes_a_route_fail(client: Client, backend: Backend, route: Any) -> None:
    """Every refusal is a problem of the 4xx, and nothing of it reaches a service."""
    path = route.path
    for name in route.parameters:
        path = path.replace(f"{{{name}}}", "1")
    headers = bearer() if route.role is Role.INTERNAL else {}
    for raw in BODIES:
        reply = await client.ask(route.method, path, raw=raw, headers=headers)

        assert 400 <= reply.status < 500, (raw[:60], reply.status, reply.body[:300])
        assert "application/problem+json" == reply.headers["Content-Type"]
    assert set() == {call.method for call in backend.calls} - {"Authenticate"}


async def test_ten_megabytes_are_refused(client: Client) -> None:
    """413, with a length given or without, zipped or plain."""
    large = b'{"name": "' + b"x" * 10_000_000 + b'"}'

    def chunked() -> int:
        # aiohttp's own client gives up when the answer comes before the end of what it sends.
        connection = http.client.HTTPConnection(urlsplit(client.url).netloc, timeout=10)
        pieces = (large[start : start + 65_536] for start in range(0, len(large), 65_536))
        headers = {"Content-Type": "application/json", "Cookie": "session=owner"}
        connection.request("POST", "/api/journeys", body=pieces, headers=headers, encode_chunked=True)
        status = connection.getresponse().status
        connection.close()
        return status

    plain = await client.post("/api/journeys", raw=large)
    zipped = await client.post("/api/journeys", raw=zlib.compress(large), headers={"Content-Encoding": "deflate"})
    broken = await client.post("/api/journeys", raw=b"not zipped", headers={"Content-Encoding": "gzip"})
    assert (413, "payload_too_large") == (plain.status, plain.json["code"])
    assert (413, 413) == (zipped.status, await asyncio.to_thread(chunked))
    assert (400, "invalid_json") == (broken.status, broken.json["code"])


async def test_a_body_that_cannot_be_unpacked_is_no_error_of_ours(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever sends one must not be able to fill the log with traces."""
    await client.post("/api/journeys", raw=b"not zipped", headers={"Content-Encoding": "gzip"})
    await client.get("/healthz")  # by now the connection of the first is done with

    assert [] == [record.message for record in caplog.records if record.levelname == "ERROR"]


RAW = [
    b"GARBAGE\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /api/journeys/%ff?limit=%ff HTTP/1.1\r\nHost: x\r\nCookie: session=owner\r\n\r\n",
    b"GET /api/journeys/\xff HTTP/1.1\r\nHost: x\r\nCookie: session=owner\r\n\r\n",
    b"GET /api/subjects?q=\xff HTTP/1.1\r\nHost: x\r\nCookie: session=owner\r\n\r\n",
    b"GET /api/me HTTP/1.1\r\nHost: x\r\nCookie: session=\xff\xfe\r\n\r\n",
    b"GET /api/me HTTP/1.1\r\nHost: x\r\nX-Api-Key: \xff\r\n\r\n",
    b"GET /api/me HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n",
    b"GET /api/me HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
    b"GET /" + b"y" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(500)) + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\n\r\n",
    b"POST /api/journeys HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/journeys HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /api/journeys HTTP/1.1\r\nHost: x\r\nCookie: session=owner\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
]


@pytest.mark.parametrize("data", RAW, ids=[str(index) for index in range(len(RAW))])
async def test_hostile_bytes_get_a_problem(client: Client, backend: Backend, data: bytes) -> None:
    """4xx and problem+json; never a 500, never HTML of the library's."""
    backend.answers["GetJourney"] = Missing("journey", "it")
    url = urlsplit(client.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(data.replace(b"\r\n\r\n", b"\r\nAccept: text/html\r\nConnection: close\r\n\r\n", 1))
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")

    assert re.match(rb"HTTP/1\.[01] 4[0-9][0-9] ", head)
    assert b"Content-Type: application/problem+json" in head
    assert b"X-Request-Id" in head
    assert {"type", "title", "status", "detail", "code", "requestId"} <= json.loads(body).keys()
