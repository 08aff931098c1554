"""Idempotency-Key, with authoring's part played by a dictionary."""

from typing import Any

import pytest
from journeys.authoring.v1 import authoring_service_pb2 as api
from journeys.authoring.v1.journey_pb2 import Draft, Journey
from journeys.runtime.v1.runtime_service_pb2 import IngestEventsResponse

from services.domain.errors import Duplicate, NotNow, TooMuch, Unavailable
from tests.integration.gateway.backend import Backend, Client


@pytest.fixture(autouse=True)
def keys(backend: Backend) -> dict[str, Any]:
    """Claims and settled answers by key."""
    known: dict[str, Any] = {}

    def claim(request: api.ClaimIdempotencyKeyRequest) -> Any:
        fingerprint, answer = known.setdefault(request.key, (request.fingerprint, None))
        if fingerprint != request.fingerprint:
            return Duplicate("idempotency_key_reused", "The key was used for another request.")
        return api.ClaimIdempotencyKeyResponse(answer=answer)

    def settle(request: api.SettleIdempotencyKeyRequest) -> Any:
        if request.HasField("answer"):
            known[request.key] = (known[request.key][0], request.answer)
        else:
            del known[request.key]
        return api.SettleIdempotencyKeyResponse()

    backend.answers["ClaimIdempotencyKey"] = claim
    backend.answers["SettleIdempotencyKey"] = settle
    backend.answers["CreateJourney"] = lambda request: api.CreateJourneyResponse(
        journey=Journey(id=f"j-{len(backend.requests('CreateJourney'))}", draft=Draft(), etag="r1")
    )
    return known


async def create(client: Client, name: Any, key: str = "k") -> Any:
    """POST with a key."""
    return await client.post("/api/journeys", {"name": name}, headers={"Idempotency-Key": key})


async def test_the_first_answer_is_given_again(client: Client, backend: Backend) -> None:
    """Status, body, Location and ETag; nothing is made twice."""
    first, second = await create(client, "A"), await create(client, "A")

    assert 1 == len(backend.requests("CreateJourney"))
    for header in ("Location", "ETag", "Content-Type"):
        assert first.headers[header] == second.headers[header]
    assert (201, first.body, "true") == (second.status, second.body, second.headers["Idempotency-Replayed"])


async def test_the_key_of_another_request_is_refused(client: Client) -> None:
    """422 idempotency_key_reused: another body, or another path."""
    await create(client, "A")

    other = await create(client, "B")
    elsewhere = await client.post("/api/audiences", {"name": "A"}, headers={"Idempotency-Key": "k"})

    assert (422, "idempotency_key_reused") == (other.status, other.json["code"])
    assert 422 == elsewhere.status


async def test_a_refusal_is_an_answer(client: Client, backend: Backend) -> None:
    """It is given again, though now it would be made."""
    made = backend.answers["CreateJourney"]
    backend.answers["CreateJourney"] = Duplicate("id_taken", "Taken.")
    first = await create(client, "A")
    backend.answers["CreateJourney"] = made
    second = await create(client, "A")
    shapeless = [await create(client, 5, "k2") for _ in range(2)]

    assert (409, first.body) == (second.status, second.body)
    assert [400, 400] == [reply.status for reply in shapeless]


@pytest.mark.parametrize("error", [Unavailable("Down."), TooMuch("rate_limited", "Slower.")])
async def test_what_failed_on_our_side_frees_the_key(
    client: Client, backend: Backend, keys: dict[str, Any], error: Exception
) -> None:
    """The repeat is a first attempt."""
    made = backend.answers["CreateJourney"]
    backend.answers["CreateJourney"] = error
    first = await create(client, "A")
    backend.answers["CreateJourney"] = made

    assert first.status in (429, 503)
    assert {} == keys
    assert 201 == (await create(client, "A")).status


async def test_an_answer_that_cannot_be_kept_is_still_given(client: Client, backend: Backend) -> None:
    """What was asked is done; saying otherwise would make the client do it twice."""
    backend.answers["SettleIdempotencyKey"] = Unavailable("Down.")

    assert 201 == (await create(client, "A")).status


async def test_a_claim_that_another_holds_is_refused(client: Client, backend: Backend) -> None:
    """Whatever authoring says of it is told."""
    backend.answers["ClaimIdempotencyKey"] = NotNow("in_use", "The first request is still under way.")

    assert 409 == (await create(client, "A")).status


@pytest.mark.parametrize("key", ["", "x" * 256, "ü"])
async def test_a_key_that_is_none_is_refused(client: Client, backend: Backend, key: str) -> None:
    """400 before anything is claimed."""
    assert 400 == (await create(client, "A", key)).status
    assert [] == backend.requests("ClaimIdempotencyKey")


async def test_without_a_key_nothing_is_claimed(client: Client, backend: Backend) -> None:
    """Nor is a key of a route that makes nothing looked at."""
    await client.post("/api/journeys", {"name": "A"})
    await client.post("/api/journeys/j/pause", headers={"Idempotency-Key": "k"})

    assert [] == backend.requests("ClaimIdempotencyKey")


class TestBrokenOff:
    """The first request made its object, and nobody knows: its claim is found abandoned and the repeat goes through."""

    async def test_the_repeat_can_be_recognised(self, client: Client, backend: Backend, keys: dict[str, Any]) -> None:
        """Both calls bear one key; another caller's key, another request and one without a key do not."""
        await create(client, "A")
        keys.clear()
        await create(client, "A")
        await create(client, "B", key="b")
        await client.post("/api/journeys", {"name": "A"})

        first, again, other, none = [call.request_key for call in backend.calls if call.method == "CreateJourney"]
        assert first == again
        assert (32, "") == (len(first), none)
        assert first != other

    async def test_events_without_an_id_are_the_same_events(
        self, client: Client, backend: Backend, keys: dict[str, Any]
    ) -> None:
        """Each of a batch has its own id, and the same one when the batch comes again."""
        backend.answers["IngestEvents"] = lambda request: IngestEventsResponse(received=len(request.events))
        body = {"events": [{"type": "x"}, {"type": "x"}, {"type": "x", "id": "own"}]}
        for key in ("k", "k", "other"):
            await client.post("/api/events", body, headers={"Idempotency-Key": key})
            keys.clear()

        first, again, other = [[event.id for event in asked.events] for asked in backend.requests("IngestEvents")]
        assert first == again
        assert 3 == len(set(first))
        assert {"own"} == set(first) & set(other)
