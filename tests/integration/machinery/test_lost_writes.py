"""The document store when answers are lost and the server dies: an acknowledged write is there, and nothing is guessed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure, WriteError

from services.infra.documents.mongo import MongoDocuments
from services.infra.documents.mongo_shape import Shape
from services.infra.documents.mongo_validator import validator_of
from services.infra.documents.port import (
    Collection,
    Delete,
    Index,
    Insert,
    NewerDocument,
    NotMigrated,
    Outcome,
    Replace,
    StaleRevision,
    StoreUnavailable,
)
from tests.support.cutting import CuttingProxy, Loss, a_cutting_proxy
from tests.support.own_server import OwnServer
from tests.support.servers import OwnPlace, servers

pytestmark = pytest.mark.integration

CLIENTS, KILLS, BULK = 20, 3, 500


class Register(msgspec.Struct, frozen=True):
    """What one writer wrote, in order."""

    key: str
    written: tuple[int, ...] = ()
    lane: int = 0
    due_at: int | None = None
    revision: int = 1
    epoch: int = 1


REGISTERS = Collection("registers", Register, epoch="epoch", indexes=(Index("due", ("lane", "due_at")),))


@pytest.fixture
async def place() -> AsyncIterator[OwnPlace]:
    """A database of the test's own."""
    own = OwnPlace(servers())
    yield own
    await own.remove()


@pytest.fixture
async def cut(place: OwnPlace) -> AsyncIterator[tuple[MongoDocuments, CuttingProxy]]:
    """A store whose connection can be cut."""
    async with a_cutting_proxy(urlsplit(place.mongodb).port or 27017) as (proxy, port):
        documents = MongoDocuments(f"mongodb://127.0.0.1:{port}/?directConnection=true", place.database)
        await documents.migrate([REGISTERS])
        await documents.open([REGISTERS])
        yield documents, proxy
        await documents.close()


class TestLost:
    """A request or a reply that never arrives."""

    @pytest.mark.parametrize("losses", [[Loss.REPLY], [Loss.REQUEST], [Loss.REPLY, Loss.REPLY], [Loss.REQUEST] * 3])
    async def test_an_insert_is_done_once(
        self, cut: tuple[MongoDocuments, CuttingProxy], losses: Sequence[Loss]
    ) -> None:
        """A repeat that meets its own document is no duplicate."""
        documents, proxy = cut
        proxy.losses = list(losses)

        await documents.insert(REGISTERS, Register("a"))

        assert Register("a") == await documents.get(REGISTERS, "a")
        assert proxy.lost

    @pytest.mark.parametrize("losses", [[Loss.REPLY], [Loss.REQUEST], [Loss.REPLY, Loss.REQUEST]])
    async def test_a_replace_is_done_once(
        self, cut: tuple[MongoDocuments, CuttingProxy], losses: Sequence[Loss]
    ) -> None:
        """A repeat that meets its own revision is no conflict."""
        documents, proxy = cut
        await documents.insert(REGISTERS, Register("a"))
        proxy.losses = list(losses)

        await documents.replace(REGISTERS, Register("a", (1,), revision=2))

        assert Register("a", (1,), revision=2) == await documents.get(REGISTERS, "a")

    async def test_a_stale_replace_stays_stale(self, cut: tuple[MongoDocuments, CuttingProxy]) -> None:
        """Whose answer was lost does not become right by it."""
        documents, proxy = cut
        await documents.insert(REGISTERS, Register("a", revision=3))
        proxy.losses = [Loss.REPLY]

        with pytest.raises(StaleRevision):
            await documents.replace(REGISTERS, Register("a", revision=3))

    async def test_what_nobody_can_tell_is_in_doubt(self, cut: tuple[MongoDocuments, CuttingProxy]) -> None:
        """Others have written since: on top of ours, or of another's. The caller has to look."""
        documents, proxy = cut
        await documents.insert(REGISTERS, Register("a", revision=5))
        proxy.losses = [Loss.REPLY]

        with pytest.raises(StoreUnavailable, match="in_doubt"):
            await documents.replace(REGISTERS, Register("a", revision=3))

    async def test_another_writers_same_revision_is_not_taken_for_ours(
        self, cut: tuple[MongoDocuments, CuttingProxy], place: OwnPlace
    ) -> None:
        """Revision and epoch fit, the write is another's: a conflict."""
        documents, proxy = cut
        await documents.insert(REGISTERS, Register("a"))
        other = MongoDocuments(place.mongodb, place.database)
        await other.open([REGISTERS])
        await other.replace(REGISTERS, Register("a", (99,), revision=2))
        proxy.losses = [Loss.REPLY]

        with pytest.raises(StaleRevision):
            await documents.replace(REGISTERS, Register("a", (1,), revision=2))

        await other.close()

    @pytest.mark.parametrize("losses", [[Loss.REPLY], [Loss.REQUEST], [Loss.REPLY] * 3])
    async def test_a_mixed_bulk_has_the_outcomes_it_would_have_had(
        self, cut: tuple[MongoDocuments, CuttingProxy], losses: Sequence[Loss]
    ) -> None:
        """Inserts, replaces and deletes of which some are refused: the same answers as without a loss."""
        documents, proxy = cut
        await documents.write_many(
            [
                Insert(REGISTERS, Register(key, revision=n))
                for key, n in (("taken", 1), ("old", 1), ("new", 3), ("go", 2))
            ]
        )
        proxy.losses = list(losses)

        outcomes = await documents.write_many(
            [
                Insert(REGISTERS, Register("free")),
                Insert(REGISTERS, Register("taken", (9,))),
                Replace(REGISTERS, Register("old", (1,), revision=2)),
                Replace(REGISTERS, Register("new", (1,), revision=3)),
                Delete(REGISTERS, "go", 2),
                Delete(REGISTERS, "never", 1),
            ]
        )

        expected = ["applied", "duplicate", "applied", "conflict", "applied", "applied"]
        assert expected == [outcome.value for outcome in outcomes]


class TestShape:
    """What BSON cannot hold as it is."""

    @pytest.mark.parametrize(
        "free",
        [
            {"a.b": 1, "$set": {"$ref": "x", "$id": 3}},
            {"nul\x00name": "v"},
            {"big": 2**63 + 5, "float": 0.5, "exact": 2**53 + 1},
            {"deep": [[{"t": [None, True, "é"]}], b"\x00\xff".hex()]},
        ],
    )
    async def test_free_form_data_comes_back_as_it_was(self, place: OwnPlace, free: dict[str, Any]) -> None:
        """Whatever a customer's event carried."""
        documents = MongoDocuments(place.mongodb, place.database)
        await documents.migrate([FREE])
        await documents.open([FREE])

        await documents.insert(FREE, Free("a", free, lane=3))

        found = (await documents.scan(FREE, "lane", (3,))).items
        assert [Free("a", free, lane=3)] == found
        await documents.close()

    async def test_a_document_of_a_newer_schema_is_left_alone(self, place: OwnPlace) -> None:
        """It is not read, not written over, not inserted over; its neighbours are as ever."""
        newer, older = MongoDocuments(place.mongodb, place.database), MongoDocuments(place.mongodb, place.database)
        await newer.migrate([NEWER_FREE])
        await newer.open([NEWER_FREE])
        await older.open([FREE])
        await newer.insert(NEWER_FREE, Free("a", {"new": 1}, lane=3))
        await older.insert(FREE, Free("b", {}, lane=3))

        outcomes = await older.write_many([Insert(FREE, Free("a", {})), Insert(FREE, Free("c", {}, lane=3))])

        assert [Outcome.DUPLICATE, Outcome.APPLIED] == outcomes
        with pytest.raises(NewerDocument):
            await older.get(FREE, "a")
        assert ["b", "c"] == [one.key for one in (await older.scan(FREE, "lane", (3,))).items]
        assert Free("a", {"new": 1}, lane=3) == await newer.get(NEWER_FREE, "a")
        await newer.close()
        await older.close()


class Free(msgspec.Struct, frozen=True):
    """A document with data of any shape."""

    key: str
    data: dict[str, Any]
    lane: int = 0
    revision: int = 1


class FormerFree(msgspec.Struct, frozen=True):
    """What an older version kept: with a field that is no more."""

    key: str
    data: dict[str, Any]
    rank: int
    lane: int = 0
    revision: int = 1


FREE = Collection("free", Free, indexes=(Index("lane", ("lane",)),))
NEWER_FREE = Collection("free", Free, indexes=(Index("lane", ("lane",)),), schema=2)


class TestMigrate:
    """migrate(collections): the only one that makes anything."""

    async def test_a_store_that_was_not_migrated_says_what_is_missing(self, place: OwnPlace) -> None:
        """By name, with what to do."""
        documents = MongoDocuments(place.mongodb, place.database)

        with pytest.raises(StoreUnavailable, match=r"journeys migrate.*the collection free.*the index lane of free"):
            await documents.open([FREE])

        await documents.close()

    async def test_a_second_migration_changes_nothing(self, place: OwnPlace) -> None:
        """And says so; an index that is declared no more goes, one that changed is made anew."""
        documents = MongoDocuments(place.mongodb, place.database)
        other = Collection("free", Free, indexes=(Index("lane", ("lane", "revision")),))
        none: Collection[Free] = Collection("free", Free)

        changes = [await documents.migrate([one]) for one in (FREE, FREE, other, none, none)]

        assert [3, 0, 1, 2, 0] == [len(change) for change in changes]
        assert ["made the collection free", "made the index lane of free", "made the validator of free"] == changes[0]
        await documents.close()

    async def test_the_server_refuses_what_does_not_fit_and_lets_in_what_was_there(
        self, place: OwnPlace, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Somebody else's mistake never gets in; what was invalid before there was a validator can be written over."""
        documents = MongoDocuments(place.mongodb, place.database)
        client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(place.mongodb)
        raw = client[place.database]["free"]
        await raw.insert_one({"_id": "old", "_schema": 1, "revision": 1, "key": "old", "data": {}})
        await documents.migrate([FREE])
        await documents.open([FREE])

        with pytest.raises(WriteError, match="failed validation"):
            await raw.insert_one({"_id": "a", "_schema": 1, "_stamp": 1, "revision": "1", "data": {}})
        await documents.replace(FREE, Free("old", {"n": 2}, revision=2))
        with pytest.raises(WriteError, match="failed validation"):
            await raw.update_one({"_id": "old"}, {"$set": {"lane": "east"}})

        assert Free("old", {"n": 2}, revision=2) == await documents.get(FREE, "old")
        await client.close()
        await documents.close()

    @pytest.mark.parametrize("how", ["refuses", "ignores"])
    async def test_a_server_without_validators_is_told_and_does_without(
        self, place: OwnPlace, monkeypatch: pytest.MonkeyPatch, how: str
    ) -> None:
        """A line that names what goes without; everything else is made."""
        documents = MongoDocuments(place.mongodb, place.database)
        asked = MongoDocuments._asked

        async def without(self: MongoDocuments, question: Any, but: int | None = None) -> Any:
            if "collMod" in question.__code__.co_consts:
                if how == "refuses":
                    raise StoreUnavailable("refused") from OperationFailure("no such command: 'collMod'", 59)
                return None
            return await asked(self, question, but)

        monkeypatch.setattr(MongoDocuments, "_asked", without)
        changes = await documents.migrate([FREE])
        await documents.open([FREE])

        assert "this document server keeps no validators: free go without" == changes[-1]
        assert 3 == len(changes)
        await documents.close()

    async def test_an_outdated_validator_that_would_refuse_what_we_write_is_missing(self, place: OwnPlace) -> None:
        """The start says so, instead of writes that fail."""
        documents = MongoDocuments(place.mongodb, place.database)
        former: Collection[Any] = Collection("free", FormerFree, indexes=(Index("lane", ("lane", "rank")),))
        await documents.migrate([former])
        await documents.migrate([FREE])
        client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(place.mongodb)
        outdated = validator_of(Shape(former))
        await client[place.database].command({"collMod": "free", "validator": outdated})

        with pytest.raises(NotMigrated, match="the validator of free"):
            await documents.open([FREE])
        await documents.migrate([FREE])
        await documents.open([FREE])

        await client.close()
        await documents.close()


@pytest.mark.slow
class TestKilled:
    """kill -9 of the server, which comes back on its data."""

    async def test_every_acknowledged_write_is_there(self, tmp_path: Path) -> None:
        """Twenty writers, each with a register of its own, while the server is killed three times."""
        server = OwnServer("store", tmp_path).start()
        documents = MongoDocuments(server.mongodb, "truth")
        await documents.migrate([REGISTERS])
        await documents.open([REGISTERS])
        stop = asyncio.Event()
        acknowledged: dict[str, list[int]] = {}

        async def write(key: str) -> None:
            acknowledged[key] = []
            number, known = 0, Register(key)
            await _insist(lambda: documents.insert(REGISTERS, known))
            while not stop.is_set():
                number += 1
                new = Register(key, (*known.written[-50:], number), revision=known.revision + 1)
                try:
                    await documents.replace(REGISTERS, new)
                    acknowledged[key].append(number)
                    known = new
                except (StoreUnavailable, StaleRevision):
                    known = await _insist(partial(documents.get, REGISTERS, key)) or known

        writers = [asyncio.create_task(write(f"r{i}")) for i in range(CLIENTS)]
        for _ in range(KILLS):
            before = sum(map(len, acknowledged.values()))
            while sum(map(len, acknowledged.values())) < before + 10 * CLIENTS:
                await asyncio.sleep(0.05)
            server.kill()
            await asyncio.to_thread(server.start)
        stop.set()
        await asyncio.gather(*writers)

        stored = await documents.get_many(REGISTERS, list(acknowledged))
        server.close()
        await documents.close()
        for key, numbers in acknowledged.items():
            register = stored[key]
            assert set(numbers[-50:]) <= set(register.written), key
            assert register.revision >= 1 + len(numbers), key

    async def test_a_bulk_that_is_cut_by_a_kill_is_told_write_by_write(self, tmp_path: Path) -> None:
        """What is APPLIED is there; what is not can be done again; in the end everything is there once."""
        server = OwnServer("store", tmp_path).start()
        documents = MongoDocuments(server.mongodb, "bulk")
        await documents.migrate([REGISTERS])
        await documents.open([REGISTERS])
        keys = [f"k{i:04}" for i in range(BULK)]
        await documents.write_many([Insert(REGISTERS, Register(key)) for key in keys])
        writing = asyncio.create_task(_write_until_done(documents, keys))
        await asyncio.sleep(0.1)

        server.kill()
        await asyncio.to_thread(server.start)
        told = await writing

        stored = await documents.get_many(REGISTERS, keys)
        server.close()
        await documents.close()
        assert {(1, 2)} == {(one.revision - 1, one.revision) for one in stored.values()}
        assert set(keys) == told


async def _write_until_done(documents: MongoDocuments, keys: Sequence[str]) -> set[str]:
    """Replace all of them, again where the outcome was not APPLIED; the keys of those that were."""
    told: set[str] = set()
    while len(told) < len(keys):
        left = [key for key in keys if key not in told]
        try:
            outcomes = await documents.write_many(
                [Replace(REGISTERS, Register(key, (1,), due_at=1, revision=2)) for key in left]
            )
        except StoreUnavailable:
            stored = await _insist(partial(documents.get_many, REGISTERS, left))
            told |= {key for key, one in stored.items() if one.revision == 2}
            continue
        told |= {key for key, outcome in zip(left, outcomes, strict=True) if outcome is Outcome.APPLIED}
        stored = await documents.get_many(REGISTERS, left)
        told |= {key for key, one in stored.items() if one.revision == 2}
    return told


async def _insist(attempt: Any) -> Any:
    """Ask until the store answers."""
    while True:
        try:
            return await attempt()
        except StoreUnavailable:
            await asyncio.sleep(0.1)
