"""What the embedded store promises beyond the contract: the file's shape, its plans, and that it equals a model."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.infra.documents.port import Collection, Delete, Index, Insert, Outcome, Replace, StoreUnavailable, Write
from services.infra.documents.sqlite import SqliteDocuments
from services.infra.documents.sqlite_queries import documents_in_order
from services.infra.documents.sqlite_table import Table
from services.infra.sqlite.engine import Engine, open_engine
from tests.support.memory import MemoryDocuments


class Item(msgspec.Struct, frozen=True):
    """A document; fields with defaults, so that older bodies fit."""

    key: str
    a: int | None = None
    b: str | None = None
    revision: int = 1
    anything: Any = None


class Strict(msgspec.Struct, frozen=True):
    """The same, but `a` must be there."""

    key: str
    a: str
    revision: int = 1


def items(*indexes: Index) -> Collection[Item]:
    """The collection with those indexes."""
    return Collection("items", Item, indexes=indexes)


BY_A, BY_B, BY_AB = Index("by_a", ("a",)), Index("by_b", ("b",)), Index("by_ab", ("a", "b"))


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    """An engine over a new file."""
    opened = await open_engine(tmp_path)
    yield opened
    await opened.close()


async def keys(documents: SqliteDocuments, collection: Collection[Item], index: str) -> list[str]:
    """The keys of the whole index."""
    return [item.key for item in (await documents.scan(collection, index, limit=10_000)).items]


class TestSchema:
    """open(collections): the table becomes what the collection declares."""

    async def test_a_new_index_finds_the_documents_that_were_there(self, engine: Engine) -> None:
        """Its columns are filled from the bodies, thousands of them."""
        documents = SqliteDocuments(engine)
        await documents.open([items()])
        await documents.write_many([Insert(items(), Item(f"k{i:04}", 5000 - i)) for i in range(2500)])

        again = SqliteDocuments(engine)
        await again.open([items(BY_A)])

        assert [f"k{i:04}" for i in reversed(range(2500))] == await keys(again, items(BY_A), "by_a")

    async def test_an_index_that_comes_back_finds_what_was_written_without_it(self, engine: Engine) -> None:
        """Its old column was not kept up to date meanwhile."""
        documents = SqliteDocuments(engine)
        for collection, item in ((items(BY_A), Item("x", 1)), (items(), Item("y", 2)), (items(BY_A), Item("z", 3))):
            await documents.open([collection])
            await documents.insert(collection, item)

        assert ["x", "y", "z"] == await keys(documents, items(BY_A), "by_a")

    async def test_an_index_of_other_fields_under_the_same_name_is_made_anew(self, engine: Engine) -> None:
        """What counts is the declaration."""
        old, new = items(Index("order", ("a",))), items(Index("order", ("b",)))
        documents = SqliteDocuments(engine)
        await documents.open([old])
        await documents.write_many([Insert(old, Item("x", 1, "q")), Insert(old, Item("y", 2, "p"))])

        again = SqliteDocuments(engine)
        await again.open([new])

        assert ["y", "x"] == await keys(again, new, "order")

    async def test_an_index_nobody_declares_any_more_is_dropped(self, engine: Engine) -> None:
        """It would cost every write."""
        await SqliteDocuments(engine).open([items(BY_A, BY_B)])

        await SqliteDocuments(engine).open([items(BY_B)])

        names = await engine.read(
            lambda connection: connection.execute(
                "select name from sqlite_schema where sql like 'CREATE INDEX%'"
            ).fetchall()
        )
        assert [("doc_items.by_b",)] == names

    async def test_a_file_of_a_release_without_schemas_is_brought_up(self, engine: Engine) -> None:
        """What it holds is of the first schema."""
        documents = SqliteDocuments(engine)
        await documents.open([Collection("items", Item)])
        await documents.insert(Collection("items", Item), Item("a"))
        await engine.write(_without_schema, None)

        await documents.open([Collection("items", Item)])

        assert Item("a") == await documents.get(Collection("items", Item), "a")

    async def test_documents_that_do_not_fit_their_new_type_stop_the_start(self, engine: Engine) -> None:
        """Rather than be left out of the index; nothing is changed."""
        documents = SqliteDocuments(engine)
        await documents.open([items()])
        await documents.insert(items(), Item("x"))

        with pytest.raises(msgspec.ValidationError):
            await SqliteDocuments(engine).open([Collection("items", Strict, indexes=(BY_A,))])

        assert Item("x") == await documents.get(items(), "x")

    @pytest.mark.parametrize("name", ["", "Items", "a b", 'a"b', "1a"])
    def test_names_that_cannot_be_stored_are_refused(self, name: str) -> None:
        """Stored names are for ever."""
        with pytest.raises(ValueError, match="lower_snake_case"):
            Table(Collection(name, Item))


def _without_schema(connection: apsw.Connection, items: Sequence[None]) -> list[None]:
    connection.execute('alter table "doc_items" drop column schema')
    return [None for _ in items]


class TestWrites:
    """What the store says to documents it cannot hold."""

    @pytest.mark.parametrize(
        "bad", [Item("bad", anything=object()), Item("bad", 1 << 64), Item("bad", anything=1 << 80)]
    )
    async def test_a_document_that_cannot_be_stored_fails_alone(self, engine: Engine, bad: Item) -> None:
        """The others of its batch are written; on its own it raises."""
        documents = SqliteDocuments(engine)
        await documents.open([items(BY_A)])

        outcomes = await documents.write_many([Insert(items(), Item("good")), Insert(items(), bad)])

        assert [Outcome.APPLIED, Outcome.FAILED] == outcomes
        with pytest.raises((TypeError, ValueError, OverflowError)):
            await documents.insert(items(), bad)

    async def test_an_engine_that_is_closed_is_unavailable(self, tmp_path: Path) -> None:
        """To writers and to readers."""
        engine = await open_engine(tmp_path / "other")
        documents = SqliteDocuments(engine)
        await documents.open([items()])
        await engine.close()

        for call in (documents.get(items(), "x"), documents.insert(items(), Item("x"))):
            with pytest.raises(StoreUnavailable, match="closed"):
                await call


class TestPlans:
    """Statements whose cost must not grow with the table."""

    async def test_guarded_writes_find_their_rows_by_key(self, engine: Engine) -> None:
        """Not by a walk along the table."""
        documents, table = SqliteDocuments(engine), Table(items(BY_A, BY_AB))
        await documents.open([items(BY_A, BY_AB)])

        for statement in (
            table.replace_rows,
            table.missed_guards,
            table.taken_keys,
            table.other_revisions,
            table.delete_rows,
        ):
            plan = await engine.read(
                lambda connection, statement=statement: connection.execute(  # type: ignore[misc]
                    f"explain query plan {statement}", (None, b"")[: 1 + ("?2" in statement)]
                ).fetchall()
            )

            steps = [str(step) for *_, step in plan]
            assert [] == [step for step in steps if "SCAN" in step and "VIRTUAL TABLE" not in step]

    @pytest.mark.parametrize("descending", [False, True])
    async def test_a_page_begins_where_the_last_one_ended(self, engine: Engine, descending: bool) -> None:
        """The cursor is a bound of the index, not a condition on what was read."""
        documents, table = SqliteDocuments(engine), Table(items(BY_AB))
        await documents.open([items(BY_AB)])
        told: list[str] = []

        class Spy:
            """A connection that explains instead."""

            def __init__(self, connection: Any) -> None:
                self._connection = connection

            def execute(self, statement: str, values: Any) -> Any:
                plan = self._connection.execute(f"explain query plan {statement}", values).fetchall()
                told.extend(str(step) for *_, step in plan)
                return self._connection.execute("select 0, null")

        job = documents_in_order(
            table, "by_ab", (1,), low="a", high="z", after=["m", "k"], limit=10, descending=descending
        )
        await engine.read(lambda connection: job(Spy(connection)))  # type: ignore[arg-type]

        assert f"(f_b,key){'<' if descending else '>'}(?,?)" in " ".join(told).replace('"', "")


# Small alphabets, so that things meet.
KEYS = st.sampled_from(["k1", "k2", "k3", "k4", "k5"])
DOCUMENTS = st.builds(Item, KEYS, st.none() | st.integers(0, 3), st.none() | st.sampled_from("pqr"), st.integers(1, 3))
EVERYTHING = items(BY_A, BY_B, BY_AB)
WRITES = st.one_of(
    st.builds(Insert, st.just(EVERYTHING), DOCUMENTS),
    st.builds(Replace, st.just(EVERYTHING), DOCUMENTS),
    st.builds(Delete, st.just(EVERYTHING), KEYS, st.none() | st.integers(1, 3)),
)


def key_of(write: Write) -> str:
    """Whose it is."""
    return str(write.key if isinstance(write, Delete) else write.document.key)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(WRITES, max_size=5, unique_by=key_of), max_size=12),
    st.integers(0, 3),
    st.none() | st.sampled_from("pqr"),
    st.none() | st.sampled_from("pqr"),
    st.integers(1, 4),
    st.booleans(),
)
def test_the_store_equals_its_model(
    batches: list[list[Write]], a: int, low: str | None, high: str | None, limit: int, descending: bool
) -> None:
    """The same writes and reads on SQLite and on the double of the tests: same outcomes, same answers."""

    async def run(documents: SqliteDocuments | MemoryDocuments) -> list[Any]:
        await documents.open([EVERYTHING])
        said: list[Any] = [await documents.write_many(batch) for batch in batches]
        cursor = None
        for _ in range(6):
            page = await documents.scan(
                EVERYTHING, "by_ab", (a,), low=low, high=high, after=cursor, limit=limit, descending=descending
            )
            said.append((page.items, page.cursor is None))
            cursor = page.cursor
            if cursor is None:
                break
        said.append(
            await documents.scan_many(EVERYTHING, "by_ab", [((a,), low), ((a,), None), ((0,), "q")], limit=limit)
        )
        said.append(await documents.scan_prefixes(EVERYTHING, "by_a", [()], high=a, limit=limit))
        said.append(await documents.least(EVERYTHING, "by_a", [()]))
        said.append(dict(await documents.count_by(EVERYTHING, "by_ab", (a,))))
        said.append((await documents.scan(EVERYTHING, "", limit=limit, descending=descending)).items)
        return said

    async def both() -> tuple[list[Any], list[Any]]:
        engine = await open_engine(None)
        try:
            return await run(SqliteDocuments(engine)), await run(MemoryDocuments())
        finally:
            await engine.close()

    ours, model = asyncio.run(both())

    assert model == ours
