"""Authoring forgets a person: lists, and answers kept for repeats."""

import json
from collections.abc import AsyncIterator

import pytest

from services.authoring.audiences import AudienceChanges
from services.authoring.repositories import WORKSPACES, StoredAnswer
from services.domain import ids
from services.domain.errors import Missing
from tests.support.planted import USER, left_in_documents
from tests.unit.authoring.desk import WORKSPACE, Desk


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    await made.open()
    yield made
    await made.authoring.close()


async def erase(desk: Desk, receipt: str = "r1", *, answers_only: bool = False) -> int:
    workspace = await desk.documents.get(WORKSPACES, WORKSPACE)
    assert workspace is not None
    key = ids.subject_key(7, workspace.subject_secret, USER)
    return (await desk.authoring.erase_subject(WORKSPACE, key, receipt, answers_only=answers_only)).entries


async def listed(desk: Desk, name: str, *people: str) -> str:
    made = await desk.authoring.audiences.create(WORKSPACE, AudienceChanges(name=name, subject_ids=people))
    return made.id


async def kept(desk: Desk, key: str, body: object, **headers: str) -> None:
    await desk.authoring.idempotency.claim(WORKSPACE, key, "print")
    answer = StoredAnswer(status=201, content_type="application/json", body=json.dumps(body).encode(), headers=headers)
    await desk.authoring.idempotency.settle(WORKSPACE, key, answer)


async def test_the_person_is_on_no_list_any_more(desk: Desk) -> None:
    """The others stay, in their order; everybody hears of it."""
    vip = await listed(desk, "vip", "ben", USER, "ann")
    await listed(desk, "others", "ben")

    assert 1 == await erase(desk)

    assert ("ben", "ann") == (await desk.authoring.audiences.get(WORKSPACE, vip)).subject_ids
    assert ["ben", "ann"] == list(desk.told(f"audience:{vip}").audience.subject_ids)


async def test_a_repeat_under_one_receipt_answers_the_same(desk: Desk) -> None:
    """Under another there was nothing left."""
    await listed(desk, "vip", USER)
    await listed(desk, "vip too", USER)

    assert (2, 2, 0) == (await erase(desk), await erase(desk), await erase(desk, "r2"))


async def test_kept_answers_that_name_the_person_go(desk: Desk) -> None:
    """By id, by an execution's id, by where it is found; the others are given again as before."""
    run = ids.execution_id("act", 1, USER, "e1")
    await kept(desk, "by id", {"subjectIds": [USER]})
    await kept(desk, "by run", {"executionId": run, "executionArn": ids.arn_of(run)})
    await kept(desk, "by place", {}, Location=f"/api/journeys/act/executions/{run.replace('%', '%25')}")
    await kept(desk, "other", {"subjectIds": ["ben"]})

    await erase(desk)

    assert [] == left_in_documents(desk.documents)  # type: ignore[arg-type]
    assert await desk.authoring.idempotency.claim(WORKSPACE, "other", "print") is not None
    assert await desk.authoring.idempotency.claim(WORKSPACE, "by place", "print") is None


async def test_a_later_look_leaves_lists_alone(desk: Desk) -> None:
    """By then it is their author's own doing if the person is on one again."""
    await listed(desk, "vip", USER)

    assert 0 == await erase(desk, answers_only=True)

    assert left_in_documents(desk.documents)  # type: ignore[arg-type]


async def test_another_workspace_has_nobody(desk: Desk) -> None:
    """Missing."""
    with pytest.raises(Missing):
        await desk.authoring.erase_subject("pk_other", "0007abc", "r1")


async def test_sessions_that_are_over_are_swept(desk: Desk) -> None:
    """By the machine's clock; those that go on stay."""
    await desk.authoring.members.add(WORKSPACE, "eve@example.com", "viewer", "a long password", "system")
    await desk.authoring.sessions.sign_in("eve@example.com", "a long password")
    desk.real_ms += 8 * 86_400_000
    await desk.authoring.members.add(WORKSPACE, "pat@example.com", "viewer", "a long password", "system")
    before = await desk.documents.get(WORKSPACES, WORKSPACE)

    await desk.authoring.sessions.sweep()

    after = await desk.documents.get(WORKSPACES, WORKSPACE)
    assert before is not None
    assert after is not None
    over = [one for one in before.sessions if one.expires_at_ms is not None and one.expires_at_ms <= desk.real_ms]
    assert over
    assert set(before.sessions) - set(over) == set(after.sessions)
