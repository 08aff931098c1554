"""Profiles line by line, over the wire."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from journeys.runtime.v1.subject_service_pb2 import ImportFault, ImportSubjectsResponse

from services.domain.errors import Unavailable
from tests.integration.gateway.backend import Backend, Client

NDJSON = {"Content-Type": "application/x-ndjson"}
CSV = {"Content-Type": "text/csv; charset=utf-8"}


@pytest.fixture(autouse=True)
def people(backend: Backend) -> list[dict[str, Any]]:
    """Whoever was imported. Somebody without `endUserId` is refused by the runtime."""
    known: list[dict[str, Any]] = []

    def take(request: Any) -> ImportSubjectsResponse:
        reply = ImportSubjectsResponse()
        for index, raw in enumerate(request.profiles_json):
            profile = json.loads(raw)
            if "endUserId" not in profile:
                reply.faults.append(ImportFault(index=index, code="missing_member", message="No endUserId."))
            else:
                known.append(profile)
                reply.created += 1
        return reply

    backend.answers["ImportSubjects"] = take
    return known


async def send(client: Client, data: bytes, headers: dict[str, str] = NDJSON) -> Any:
    """POST /api/subjects:import."""
    return await client.post("/api/subjects:import", raw=data, headers=headers)


async def test_lines_are_imported_and_refused_one_by_one(client: Client, people: list[dict[str, Any]]) -> None:
    """CRLF, blank lines, a last line without end; every refused line by its number, whoever refused it."""
    lines = [b'{"endUserId":"a"}', b"", b"{broken", b'{"x":1}', b"[1]", b'{"endUserId":"\xff"}', b'{"endUserId":"b"}']

    reply = await send(client, b"\r\n".join(lines))

    assert ["a", "b"] == [person["endUserId"] for person in people]
    assert (200, 6, 2, 0, 4) == (
        reply.status,
        *(reply.json[name] for name in ("received", "created", "updated", "errorCount")),
    )
    assert [(3, "invalid_json"), (4, "missing_member"), (5, "wrong_type"), (6, "invalid_json")] == [
        (error["line"], error["code"]) for error in reply.json["errors"]
    ]


async def test_csv_is_imported(client: Client, people: list[dict[str, Any]]) -> None:
    """By its header."""
    data = b'endUserId,addresses.email,attributes.age:number\nu1,a@b.example,5\nu2,,x\n"u,3",,\n'

    reply = await send(client, data, CSV)

    assert [
        {"endUserId": "u1", "addresses": {"email": "a@b.example"}, "attributes": {"age": 5}},
        {"endUserId": "u,3"},
    ] == people
    assert (3, [{"line": 3, "code": "wrong_type"}]) == (
        reply.json["received"],
        [{name: error[name] for name in ("line", "code")} for error in reply.json["errors"]],
    )


@pytest.mark.parametrize("data", [b"", b"\n", b"name\nx\n", b"\xff\nx\n", b'"endUserId\n'])
async def test_a_csv_without_a_header_is_refused(client: Client, data: bytes, people: list[dict[str, Any]]) -> None:
    """400, nothing is imported."""
    reply = await send(client, data, CSV)

    assert (400, "validation_error", []) == (reply.status, reply.json["code"], people)


async def test_an_empty_ndjson_is_nothing(client: Client) -> None:
    """Zeros."""
    assert {"received": 0, "created": 0, "updated": 0, "errorCount": 0, "errors": []} == (
        await send(client, b"\n")
    ).json


async def test_chunks_have_five_hundred_lines(client: Client, backend: Backend) -> None:
    """And the last one the rest."""
    await send(client, b"".join(b'{"endUserId":"u%d"}\n' % i for i in range(1001)))

    assert [500, 500, 1] == [len(request.profiles_json) for request in backend.requests("ImportSubjects")]


async def test_large_lines_make_smaller_chunks(client: Client, backend: Backend) -> None:
    """A call stays within a few mebibytes."""
    line = b'{"endUserId":"u","attributes":{"a":"' + b"x" * 900_000 + b'"}}\n'

    reply = await send(client, line * 10)

    assert 10 == reply.json["created"]
    assert [5, 5] == [len(request.profiles_json) for request in backend.requests("ImportSubjects")]


async def test_a_line_over_one_mebibyte_ends_the_import(client: Client, people: list[dict[str, Any]]) -> None:
    """413, and what came before it is in and counted."""
    for data, headers in (
        (b'{"endUserId":"a"}\n' + b"x" * (1 << 20) + b"xx\n", NDJSON),
        (b'{"endUserId":"a"}\n' + b"x" * (3 << 20), NDJSON),
        (b'endUserId\na\n"' + b"x\n" * (1 << 20), CSV),
    ):
        people.clear()
        reply = await send(client, data, headers)

        assert (413, "payload_too_large", 1, 1) == (
            reply.status,
            reply.json["code"],
            reply.json["created"],
            len(people),
        )


async def test_a_thousand_errors_are_listed_and_all_are_counted(client: Client) -> None:
    """The first thousand."""
    reply = await send(client, b"x\n" * 1500)

    assert (1500, 1000, 1000) == (
        reply.json["errorCount"],
        len(reply.json["errors"]),
        reply.json["errors"][-1]["line"],
    )


@pytest.mark.parametrize("media", ["application/json", "text/plain", ""])
async def test_other_media_types_are_refused(client: Client, media: str) -> None:
    """415."""
    assert 415 == (await send(client, b"{}", {"Content-Type": media})).status


async def test_a_stream_may_be_longer_than_any_other_body(client: Client) -> None:
    """Chunked, in odd pieces, 12 MB."""
    piece = b"".join(b'{"endUserId":"u%06d","attributes":{"a":"%s"}}\n' % (i, b"x" * 1000) for i in range(1000))

    async def stream() -> AsyncIterator[bytes]:
        for _ in range(12):
            yield piece[:777]
            yield piece[777:]

    headers = {"Cookie": "session=owner", **NDJSON}
    async with client.session.post(f"{client.url}/api/subjects:import", data=stream(), headers=headers) as response:
        assert 12_000 == (await response.json())["created"]


async def test_a_failure_in_the_middle_is_told(client: Client, backend: Backend) -> None:
    """Not a 200 with fewer lines."""
    backend.answers["ImportSubjects"] = Unavailable("Down.")

    assert 503 == (await send(client, b'{"endUserId":"a"}\n')).status
