"""Who owns a partition, and what a newer owner means."""

import dataclasses

import pytest

from services.infra.documents.port import NewerDocument
from services.runtime import ownership as module
from services.runtime.app import Runtime
from services.runtime.collections import OWNERS, Owner
from services.runtime.ownership import Ownership
from tests.support.memory import MemoryDocuments, MemoryLog


@pytest.fixture
async def store() -> MemoryDocuments:
    """With the runtime's collections."""
    documents = MemoryDocuments()
    await documents.open(Runtime.collections)
    return documents


async def owner_of(store: MemoryDocuments) -> Ownership:
    """One that owns nothing yet."""
    log = MemoryLog(16)
    await log.open(Runtime.topics)
    return Ownership(store, log, is_alone=False)


async def test_lanes_are_those_of_our_partitions(store: MemoryDocuments) -> None:
    """A slot's lane tells its partition."""
    one = await owner_of(store)
    await one.assigned([3, 5])

    assert [(3,), (5,), (19,), (21,), (35,), (37,), (51,), (53,)] == one.lanes()
    assert (True, False, 2 / 16) == (one.is_ours(19), one.is_ours(4), one.share())


async def test_the_epoch_rises_with_every_owner(store: MemoryDocuments) -> None:
    """Also when the same one is assigned again."""
    one, other = await owner_of(store), await owner_of(store)
    await one.assigned([3])
    await other.assigned([3])
    await one.assigned([3])

    assert (3, 2) == (one.epoch(3), other.epoch(3))


async def test_epochs_that_a_newer_version_keeps_are_not_ours_to_raise(store: MemoryDocuments) -> None:
    """The deal is refused, so it is tried again later; nothing is ours until then."""
    one = await owner_of(store)
    newer_owners = dataclasses.replace(OWNERS, schema=2)
    await store.insert(newer_owners, Owner(key="3", epoch=9, revision=1))

    with pytest.raises(NewerDocument):
        await one.assigned([3, 5])

    assert ([], 9) == (one.lanes(), (await store.get_many(newer_owners, ["3"]))["3"].epoch)


async def test_a_fenced_owner_acts_on_nothing_until_it_has_taken_over_again(
    store: MemoryDocuments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The partition stays dealt to it, without an epoch; what the group leaves with it, it takes again later."""
    one, other = await owner_of(store), await owner_of(store)
    await one.assigned([3])
    await other.assigned([3])

    one.fenced(3)
    await one.retake()
    early = one.epoch(3), one.is_ours(3), one.lanes()
    monkeypatch.setattr(module, "RETAKE_SECONDS", 0.0)
    await one.retake()

    assert ((0, True, []), 3) == (early, one.epoch(3))


async def test_what_was_revoked_is_not_taken_again(store: MemoryDocuments, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fenced or not."""
    monkeypatch.setattr(module, "RETAKE_SECONDS", 0.0)
    one = await owner_of(store)
    await one.assigned([3])
    one.fenced(3)
    await one.revoked([3])
    await one.retake()

    assert (0, False) == (one.epoch(3), one.is_ours(3))
