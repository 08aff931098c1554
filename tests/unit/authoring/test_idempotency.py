"""The first answers to requests with an Idempotency-Key."""

import asyncio

import pytest

from services.authoring.idempotency import ABANDONED_MS, KEPT_MS
from services.authoring.repositories import CLAIMS, StoredAnswer
from services.domain.errors import Invalid, Unavailable
from tests.unit.authoring.desk import WORKSPACE, Desk

ANSWER = StoredAnswer(status=201, content_type="application/json", body=b"{}", headers={"Location": "/x"})


async def test_the_first_answer_is_given_again(desk: Desk) -> None:
    """For a day."""
    keys = desk.authoring.idempotency
    assert await keys.claim(WORKSPACE, "k", "f") is None
    await keys.settle(WORKSPACE, "k", ANSWER)
    await keys.settle(WORKSPACE, "k", None)  # what is settled stays

    desk.clock.move(ABANDONED_MS)
    assert ANSWER == await keys.claim(WORKSPACE, "k", "f")
    assert await keys.claim("pk_other", "k", "f") is None
    desk.clock.move(KEPT_MS)
    assert await keys.claim(WORKSPACE, "k", "g") is None


async def test_another_request_under_the_key_is_refused(desk: Desk) -> None:
    """Settled or not."""
    keys = desk.authoring.idempotency
    await keys.claim(WORKSPACE, "k", "f")
    for _ in range(2):
        with pytest.raises(Invalid) as refused:
            await keys.claim(WORKSPACE, "k", "g")
        assert "idempotency_key_reused" == refused.value.reason
        await keys.settle(WORKSPACE, "k", ANSWER)


async def test_while_the_first_is_at_it_the_second_waits(desk: Desk) -> None:
    """503, so that the client asks again; of many at once one is the first; after a minute the key is free."""
    keys = desk.authoring.idempotency
    outcomes = await asyncio.gather(*(keys.claim(WORKSPACE, "k", "f") for _ in range(5)), return_exceptions=True)
    assert 1 == sum(outcome is None for outcome in outcomes)
    assert 4 == sum(isinstance(outcome, Unavailable) for outcome in outcomes)

    desk.clock.move(ABANDONED_MS)
    outcomes = await asyncio.gather(*(keys.claim(WORKSPACE, "k", "g") for _ in range(5)), return_exceptions=True)
    assert 1 == sum(outcome is None for outcome in outcomes)


async def test_what_failed_frees_the_key(desk: Desk) -> None:
    """A settling without an answer; settling what is not there is nothing."""
    keys = desk.authoring.idempotency
    await keys.claim(WORKSPACE, "k", "f")
    await keys.settle(WORKSPACE, "k", None)
    await keys.settle(WORKSPACE, "k", None)

    assert await keys.claim(WORKSPACE, "k", "g") is None


async def test_old_claims_are_swept(desk: Desk) -> None:
    """And young ones are not."""
    keys = desk.authoring.idempotency
    for i in range(600):
        await keys.claim(WORKSPACE, f"k{i}", "f")
    desk.clock.move(KEPT_MS)
    await keys.claim(WORKSPACE, "young", "f")
    desk.clock.move(1)
    await keys.sweep()

    assert 1 == len((await desk.documents.scan(CLAIMS, "")).items)


async def test_a_repeat_of_what_was_broken_off_is_the_same_request(desk: Desk) -> None:
    """Abandoned or given up; another request under the key, or the same a day after, is a new one."""
    keys = desk.authoring.idempotency
    await keys.claim(WORKSPACE, "k", "f")
    since = await keys.since(WORKSPACE, "k")
    desk.clock.move(ABANDONED_MS)
    assert await keys.claim(WORKSPACE, "k", "f") is None
    assert since == await keys.since(WORKSPACE, "k")
    await keys.settle(WORKSPACE, "k", None)
    assert await keys.claim(WORKSPACE, "k", "f") is None
    assert since == await keys.since(WORKSPACE, "k")

    await keys.settle(WORKSPACE, "k", None)
    assert await keys.claim(WORKSPACE, "k", "g") is None
    assert since < (other := await keys.since(WORKSPACE, "k"))
    await keys.settle(WORKSPACE, "k", ANSWER)
    desk.clock.move(KEPT_MS)
    assert await keys.claim(WORKSPACE, "k", "g") is None
    assert other < await keys.since(WORKSPACE, "k")
