"""Events in, over the wire."""

import asyncio
import json
from typing import Any

from journeys.runtime.v1.runtime_service_pb2 import IngestEventsResponse

from services.domain.errors import Unavailable
from tests.integration.gateway.backend import Backend, Client

GOOD = {"id": "e1", "type": "t", "endUserId": "u", "data": {"a": 1}, "timestamp": "2026-03-01T10:00:00.000Z"}


def taken(request: Any) -> IngestEventsResponse:
    """All of them, the first a duplicate."""
    return IngestEventsResponse(received=len(request.events), duplicates=1, duplicate_indexes=[0])


async def test_one_event_is_taken(client: Client, backend: Backend) -> None:
    """202 with the counts."""
    backend.answers["IngestEvents"] = taken

    reply = await client.post("/api/events", GOOD)
    [event] = backend.last("IngestEvents").events

    assert (202, {"received": 1, "duplicates": 1, "errors": []}) == (reply.status, reply.json)
    assert ("e1", "t", "u", b'{"a":1}', 1_772_359_200_000) == (
        event.id,
        event.type,
        event.end_user_id,
        event.data_json,
        event.timestamp_ms,
    )
    assert "pk_demo" == backend.last("IngestEvents").workspace


async def test_single_events_of_many_callers_share_calls(client: Client, backend: Backend) -> None:
    """While a call is under way the others gather; each caller is answered for their own event."""
    seen: list[int] = []

    def known_if_odd(request: Any) -> IngestEventsResponse:
        seen.append(len(request.events))
        odd = [i for i, event in enumerate(request.events) if int(event.id) % 2]
        return IngestEventsResponse(received=len(request.events), duplicates=len(odd), duplicate_indexes=odd)

    backend.answers["IngestEvents"] = known_if_odd
    replies = await asyncio.gather(*(client.post("/api/events", {"type": "t", "id": str(i)}) for i in range(40)))

    assert [i % 2 for i in range(40)] == [reply.json["duplicates"] for reply in replies]
    assert 40 == sum(seen)
    assert len(seen) < 40


async def test_a_batch_is_one_call_and_tells_its_malformed_events(client: Client, backend: Backend) -> None:
    """Neighbours go on; `received` counts the well-formed ones."""
    backend.answers["IngestEvents"] = taken
    raw = b'{"events":[%s,{"type":1},{"type":"t","data":{"a":1e999}},%s]}' % (
        json.dumps(GOOD).encode(),
        json.dumps(GOOD).encode(),
    )

    reply = await client.post("/api/events", raw=raw)

    assert (202, 2, 1) == (reply.status, reply.json["received"], reply.json["duplicates"])
    assert [(1, "wrong_type"), (2, "number_not_finite")] == [
        (error["index"], error["code"]) for error in reply.json["errors"]
    ]
    assert all(error["message"] for error in reply.json["errors"])
    assert 1 == len(backend.requests("IngestEvents"))


async def test_a_batch_of_malformed_events_asks_nobody(client: Client, backend: Backend) -> None:
    """202 all the same: a batch is never refused for its events."""
    reply = await client.post("/api/events", {"events": [1, 2]})

    assert (202, 0, 2) == (reply.status, reply.json["received"], len(reply.json["errors"]))
    assert [] == backend.requests("IngestEvents")


async def test_refusals_of_bodies(client: Client) -> None:
    """Too many, too large, no JSON, no event."""
    many = await client.post("/api/events", {"events": [{"type": "t"}] * 1001})
    large = await client.post("/api/events", raw=b'{"type":"t","data":{"a":"' + b"x" * (5 << 20) + b'"}}')
    broken = await client.post("/api/events", raw=b"{")
    single = await client.post("/api/events", {"type": 5, "x": 1})
    plain = await client.post("/api/events", raw=b"{}", headers={"Content-Type": "text/plain"})

    assert (400, "batch_too_large") == (many.status, many.json["code"])
    assert (413, "payload_too_large") == (large.status, large.json["code"])
    assert (400, "invalid_json") == (broken.status, broken.json["code"])
    assert (400, "validation_error", {"/type", "/x"}) == (single.status, single.json["code"], set(single.paths))
    assert 415 == plain.status


async def test_nearly_five_mebibytes_are_taken(client: Client, backend: Backend) -> None:
    """Through both wires."""
    backend.answers["IngestEvents"] = taken
    text = "x" * 5000

    reply = await client.post("/api/events", {"events": [{"type": "t", "data": {"a": text}}] * 1000})

    assert (202, 1000) == (reply.status, reply.json["received"])


async def test_what_is_not_durable_is_not_acknowledged(client: Client, backend: Backend) -> None:
    """503, and the client may repeat."""
    backend.answers["IngestEvents"] = Unavailable("The disk is full.")

    reply = await client.post("/api/events", GOOD)

    assert (503, "1") == (reply.status, reply.headers["Retry-After"])
