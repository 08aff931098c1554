"""What every document store promises: one suite over all adapters, each promise once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
import pytest

from services.infra.documents import newer
from services.infra.documents.port import (
    BadCursor,
    Collection,
    Delete,
    Documents,
    DuplicateKey,
    Index,
    Insert,
    NewerDocument,
    Outcome,
    Page,
    Replace,
    StaleRevision,
)
from tests.contract.conftest import House


class Task(msgspec.Struct, frozen=True):
    """Something to do, in a lane, perhaps at a time."""

    key: str
    lane: int = 0
    due_at: int | None = None
    owner: str | None = None
    revision: int = 1
    epoch: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """A document that calls its key and its revision otherwise."""

    id: str
    version: int
    lines: tuple[str, ...] = ()


TASKS = Collection(
    "tasks",
    Task,
    epoch="epoch",
    indexes=(Index("due", ("lane", "due_at")), Index("owner", ("owner",)), Index("lane", ("lane",))),
)
NOTES = Collection("notes", Note, key="id", revision="version")


@pytest.fixture
async def store(documents: Documents) -> Documents:
    """A store with both collections, and nothing in them."""
    await documents.open([TASKS, NOTES])
    return documents


async def put(store: Documents, *tasks: Task) -> None:
    """Insert, and have it confirmed."""
    outcomes = await store.write_many([Insert(TASKS, task) for task in tasks])

    assert [Outcome.APPLIED] * len(tasks) == outcomes


async def keys_of(store: Documents, index: str, equals: tuple[str | int, ...] = (), **range_: int | str) -> list[str]:
    """The keys of a scan's first page."""
    page: Page[Task] = await store.scan(TASKS, index, equals, **range_)  # type: ignore[arg-type]
    return [task.key for task in page.items]


async def pages_of(store: Documents, index: str, equals: tuple[str | int, ...] = (), **how: object) -> list[list[str]]:
    """The keys of all pages."""
    pages, cursor = [], None
    while True:
        page: Page[Task] = await store.scan(TASKS, index, equals, after=cursor, **how)  # type: ignore[arg-type]
        pages.append([task.key for task in page.items])
        if page.cursor is None:
            return pages
        cursor = page.cursor


class TestOpen:
    """open(collections): make them known."""

    async def test_opening_twice_changes_nothing(self, store: Documents) -> None:
        """Whoever starts does not ask whether somebody was there before."""
        await put(store, Task("a"))

        await store.open([TASKS])

        assert Task("a") == await store.get(TASKS, "a")

    async def test_what_was_not_opened_is_a_mistake(self, documents: Documents) -> None:
        """A collection nobody declared is a fault of the program, not an empty one."""
        with pytest.raises(LookupError, match="tasks"):
            await documents.get(TASKS, "a")


class TestGet:
    """get and get_many: by key."""

    async def test_what_is_missing_is_none(self, store: Documents) -> None:
        """Not being there is an answer."""
        assert None is await store.get(TASKS, "nobody")

    async def test_a_document_comes_back_as_it_was(self, store: Documents) -> None:
        """Every field, whatever its text holds."""
        task = Task("k\u00e9y \x00\U0001f600'\"", 3, 1 << 53, 'o"wner', 5, 7, "line\nline")
        await put(store, task)

        assert task == await store.get(TASKS, task.key)

    async def test_dataclasses_with_other_names_are_documents_too(self, store: Documents) -> None:
        """Key and revision are called what the collection says."""
        await store.insert(NOTES, Note("n", 1, ("one", "two")))
        await store.replace(NOTES, Note("n", 2))

        assert Note("n", 2) == await store.get(NOTES, "n")

    async def test_get_many_answers_those_that_exist(self, store: Documents) -> None:
        """By key, in one call; missing ones are left out, repeated ones come once."""
        await put(store, Task("a"), Task("b\x00"), Task("c"))

        found = await store.get_many(TASKS, ["c", "x", "b\x00", "c"])

        assert {"b\x00": Task("b\x00"), "c": Task("c")} == found

    async def test_get_many_of_nothing_is_nothing(self, store: Documents) -> None:
        """No keys, no documents."""
        assert {} == await store.get_many(TASKS, [])


class TestInsert:
    """insert(document): believes that nobody has the key."""

    async def test_a_taken_key_is_refused(self, store: Documents) -> None:
        """The first one stays."""
        await put(store, Task("a", note="first"))

        with pytest.raises(DuplicateKey):
            await store.insert(TASKS, Task("a", note="second"))

        assert Task("a", note="first") == await store.get(TASKS, "a")

    async def test_of_ten_who_insert_one_wins(self, store: Documents) -> None:
        """A key is one decision, however many want to make it."""
        outcomes = await asyncio.gather(
            *(store.insert(TASKS, Task("a", note=str(i))) for i in range(10)), return_exceptions=True
        )

        assert 9 == sum(isinstance(outcome, DuplicateKey) for outcome in outcomes)

    async def test_a_key_is_free_again_after_the_delete(self, store: Documents) -> None:
        """Nothing of the old document is left."""
        await put(store, Task("a", owner="ann"))
        await store.delete(TASKS, "a")

        await store.insert(TASKS, Task("a"))

        assert [] == await keys_of(store, "owner", ("ann",))


class TestReplace:
    """replace(document): the guarded write everything rests on."""

    async def test_the_next_revision_is_written(self, store: Documents) -> None:
        """One above the stored one."""
        await put(store, Task("a"))

        await store.replace(TASKS, Task("a", revision=2, note="new"))

        assert Task("a", revision=2, note="new") == await store.get(TASKS, "a")

    @pytest.mark.parametrize("revision", [1, 3, 4])
    async def test_any_other_revision_is_stale(self, store: Documents, revision: int) -> None:
        """The one that is stored, an older one, and one too far."""
        await put(store, Task("a", revision=2))

        with pytest.raises(StaleRevision):
            await store.replace(TASKS, Task("a", revision=revision if revision != 3 else 5))

        assert Task("a", revision=2) == await store.get(TASKS, "a")

    async def test_what_is_not_there_cannot_be_replaced(self, store: Documents) -> None:
        """A replace never makes a document."""
        with pytest.raises(StaleRevision):
            await store.replace(TASKS, Task("a", revision=2))

        assert None is await store.get(TASKS, "a")

    async def test_of_two_writers_one_wins(self, store: Documents) -> None:
        """Two writes from one revision: one is applied, the other raises, no third outcome."""
        await put(store, Task("a"))

        outcomes = await asyncio.gather(
            store.replace(TASKS, Task("a", revision=2, note="A")),
            store.replace(TASKS, Task("a", revision=2, note="B")),
            return_exceptions=True,
        )

        assert 1 == sum(isinstance(outcome, StaleRevision) for outcome in outcomes)

    async def test_no_update_is_lost(self, store: Documents) -> None:
        """Ten who read, add one and try again until it is written make ten."""
        await put(store, Task("a"))

        async def add() -> None:
            while True:
                task = await store.get(TASKS, "a")
                assert task is not None
                try:
                    new = Task("a", due_at=(task.due_at or 0) + 1, revision=task.revision + 1)
                    return await store.replace(TASKS, new)
                except StaleRevision:
                    continue

        await asyncio.gather(*(add() for _ in range(10)))

        assert Task("a", due_at=10, revision=11) == await store.get(TASKS, "a")

    async def test_an_older_epoch_cannot_write(self, store: Documents) -> None:
        """A writer that lost its ownership is refused though its revision fits."""
        await put(store, Task("a", epoch=7))

        with pytest.raises(StaleRevision):
            await store.replace(TASKS, Task("a", revision=2, epoch=6))

        assert Task("a", epoch=7) == await store.get(TASKS, "a")

    @pytest.mark.parametrize("epoch", [7, 8])
    async def test_the_same_or_a_newer_epoch_can_write(self, store: Documents, epoch: int) -> None:
        """The owner, and the owner after it."""
        await put(store, Task("a", epoch=7))

        await store.replace(TASKS, Task("a", revision=2, epoch=epoch))

        assert Task("a", revision=2, epoch=epoch) == await store.get(TASKS, "a")


class TestDelete:
    """delete(key, revision): removes what the caller knows."""

    async def test_the_known_revision_goes(self, store: Documents) -> None:
        """From the keys and from every index."""
        await put(store, Task("a", owner="ann", due_at=1), Task("b", owner="ann"))

        await store.delete(TASKS, "a", 1)

        assert (None, ["b"], []) == (
            await store.get(TASKS, "a"),
            await keys_of(store, "owner", ("ann",)),
            await keys_of(store, "due", (0,)),
        )

    async def test_another_revision_stays(self, store: Documents) -> None:
        """Somebody wrote in between."""
        await put(store, Task("a", revision=2))

        with pytest.raises(StaleRevision):
            await store.delete(TASKS, "a", 1)

        assert Task("a", revision=2) == await store.get(TASKS, "a")

    async def test_without_a_revision_whatever_is_there_goes(self, store: Documents) -> None:
        """None: whatever it is."""
        await put(store, Task("a", revision=9))

        await store.delete(TASKS, "a")

        assert None is await store.get(TASKS, "a")

    async def test_deleting_what_is_not_there_is_applied(self, store: Documents) -> None:
        """Callers repeat."""
        await store.delete(TASKS, "a")
        await store.delete(TASKS, "a", 3)

        assert None is await store.get(TASKS, "a")


class TestWriteMany:
    """write_many(writes): each on its own, all durable on return."""

    async def test_each_write_has_its_own_outcome(self, store: Documents) -> None:
        """A refused one takes nobody along, whatever collection it is of."""
        await put(store, Task("taken"), Task("old"), Task("new"), Task("gone"), Task("other", revision=4))
        await store.insert(NOTES, Note("taken", 1))

        outcomes = await store.write_many(
            [
                Insert(TASKS, Task("free")),
                Insert(TASKS, Task("taken", note="no")),
                Replace(TASKS, Task("old", revision=2)),
                Replace(TASKS, Task("new", revision=3)),
                Replace(TASKS, Task("missing", revision=2)),
                Delete(TASKS, "gone", 1),
                Delete(TASKS, "other", 3),
                Delete(TASKS, "never"),
                Insert(NOTES, Note("free", 1)),
                Insert(NOTES, Note("taken", 2)),
            ]
        )

        assert [
            Outcome.APPLIED,
            Outcome.DUPLICATE,
            Outcome.APPLIED,
            Outcome.CONFLICT,
            Outcome.CONFLICT,
            Outcome.APPLIED,
            Outcome.CONFLICT,
            Outcome.APPLIED,
            Outcome.APPLIED,
            Outcome.DUPLICATE,
        ] == outcomes

    async def test_an_outcome_tells_what_is_stored(self, store: Documents) -> None:
        """After mixed outcomes the store holds the applied writes and nothing of the others."""
        await put(store, *(Task(f"t{i}") for i in range(10)))
        # Every third comes from a revision that is not there.
        writes = [Replace(TASKS, Task(f"t{i}", revision=2 if i % 3 else 7, note="new")) for i in range(10)]

        outcomes = await store.write_many(writes)

        held = await store.get_many(TASKS, [f"t{i}" for i in range(10)])
        assert [outcome is Outcome.APPLIED for outcome in outcomes] == [held[f"t{i}"].note == "new" for i in range(10)]

    async def test_two_writes_to_one_key_are_a_mistake(self, store: Documents) -> None:
        """Unordered writes to one key have no meaning; none is applied."""
        with pytest.raises(ValueError, match="one key"):
            await store.write_many([Insert(TASKS, Task("a")), Insert(TASKS, Task("b")), Delete(TASKS, "a")])

        assert {} == await store.get_many(TASKS, ["a", "b"])

    async def test_one_key_in_two_collections_is_fine(self, store: Documents) -> None:
        """Collections share nothing."""
        outcomes = await store.write_many([Insert(TASKS, Task("a")), Insert(NOTES, Note("a", 1))])

        assert [Outcome.APPLIED] * 2 == outcomes

    async def test_no_writes_no_outcomes(self, store: Documents) -> None:
        """An empty batch is legal."""
        assert [] == await store.write_many([])

    async def test_callers_side_by_side_do_not_disturb_each_other(self, store: Documents) -> None:
        """Whoever shares a commit keeps their own outcomes."""
        await put(store, *(Task(f"{i}-taken") for i in range(20)))

        outcomes = await asyncio.gather(
            *(
                store.write_many(
                    [Insert(TASKS, Task(f"{i}-{'free' if i % 2 else 'taken'}")), Insert(NOTES, Note(str(i), 1))]
                )
                for i in range(20)
            )
        )

        assert [[Outcome.APPLIED if i % 2 else Outcome.DUPLICATE, Outcome.APPLIED] for i in range(20)] == outcomes

    async def test_a_write_is_seen_by_whoever_reads_after_it(self, store: Documents) -> None:
        """Read your writes: by key and by index, a hundred times."""
        for i in range(100):
            await store.insert(TASKS, Task(f"t{i:03}", owner="ann"))

            assert (i + 1, True) == (
                len(await keys_of(store, "owner", ("ann",), limit=200)),
                await store.get(TASKS, f"t{i:03}") is not None,
            )


class TestScan:
    """scan(index, equals, range): documents in order, a page at a time."""

    async def test_documents_come_in_the_order_of_the_index(self, store: Documents) -> None:
        """Of the field after `equals`; ties by key."""
        await put(store, Task("b", 1, 20), Task("c", 1, 10), Task("a", 1, 20), Task("d", 2, 5), Task("e", 1, -3))

        assert ["e", "c", "a", "b"] == await keys_of(store, "due", (1,))

    async def test_descending_is_the_exact_opposite(self, store: Documents) -> None:
        """Also among ties."""
        await put(store, Task("b", 1, 20), Task("c", 1, 10), Task("a", 1, 20))

        assert ["b", "a", "c"] == await keys_of(store, "due", (1,), descending=True)

    async def test_the_empty_name_is_the_order_of_keys(self, store: Documents) -> None:
        """Every document is in it, by the bytes of its key."""
        await put(store, Task("b"), Task("a"), Task("é"), Task("B"), Task("a0"))

        assert ["B", "a", "a0", "b", "é"] == await keys_of(store, "")

    async def test_keys_have_ranges_too(self, store: Documents) -> None:
        """[low, high): what begins with `b:`."""
        await put(store, Task("a:1"), Task("b:1"), Task("b:2"), Task("c:1"))

        assert ["b:1", "b:2"] == await keys_of(store, "", low="b:", high="b;")

    async def test_a_range_takes_low_and_leaves_high(self, store: Documents) -> None:
        """[low, high), in both directions."""
        await put(store, *(Task(f"t{i}", 1, i) for i in range(10)))

        assert (["t3", "t4", "t5"], ["t5", "t4", "t3"], ["t8", "t9"], ["t0"]) == (
            await keys_of(store, "due", (1,), low=3, high=6),
            await keys_of(store, "due", (1,), low=3, high=6, descending=True),
            await keys_of(store, "due", (1,), low=8),
            await keys_of(store, "due", (1,), high=1),
        )

    async def test_equals_may_name_every_field(self, store: Documents) -> None:
        """Then the key is what is left to order and to bound."""
        await put(store, Task("b", owner="ann"), Task("a", owner="ann"), Task("c", owner="bob"))

        assert (["a", "b"], ["b"]) == (
            await keys_of(store, "owner", ("ann",)),
            await keys_of(store, "owner", ("ann",), low="b"),
        )

    async def test_without_equals_the_whole_index_comes_in_order(self, store: Documents) -> None:
        """By the first field, then the second."""
        await put(store, Task("c", 2, 1), Task("b", 1, 9), Task("a", 1, 8))

        assert ["a", "b", "c"] == await keys_of(store, "due")

    async def test_none_keeps_a_document_out_of_the_index(self, store: Documents) -> None:
        """And only out of that one."""
        await put(store, Task("a", 1, None, "ann"), Task("b", 1, 5))

        assert (["b"], ["a"], ["a", "b"]) == (
            await keys_of(store, "due", (1,)),
            await keys_of(store, "owner"),
            await keys_of(store, "lane", (1,)),
        )

    async def test_a_replace_moves_a_document_in_its_indexes(self, store: Documents) -> None:
        """Out of one, along another, and back in."""
        await put(store, Task("a", 1, 5, "ann"), Task("b", 1, 6))

        await store.replace(TASKS, Task("a", 1, 9, None, revision=2))
        moved = await keys_of(store, "due", (1,)), await keys_of(store, "owner")
        await store.replace(TASKS, Task("a", 1, None, "bob", revision=3))

        assert ((["b", "a"], []), ["b"], ["a"]) == (
            moved,
            await keys_of(store, "due", (1,)),
            await keys_of(store, "owner", ("bob",)),
        )

    @pytest.mark.parametrize("descending", [False, True])
    async def test_pages_follow_each_other_without_gap_or_repetition(self, store: Documents, descending: bool) -> None:
        """Also through ties that a page ends in; the last page says so."""
        tasks = [Task(f"t{i:02}", 1, i // 4) for i in range(25)]
        await put(store, *tasks)

        pages = await pages_of(store, "due", (1,), limit=7, descending=descending)

        keys = sorted((task.key for task in tasks), reverse=descending)
        assert [keys[i : i + 7] for i in range(0, 25, 7)] == pages

    async def test_the_last_full_page_has_no_cursor(self, store: Documents) -> None:
        """A cursor promises that something follows."""
        await put(store, *(Task(f"t{i}", 1, i) for i in range(4)))

        assert [2, 2] == [len(page) for page in await pages_of(store, "due", (1,), limit=2)]

    @pytest.mark.parametrize("descending", [False, True])
    async def test_ranges_hold_on_every_page(self, store: Documents, descending: bool) -> None:
        """A cursor does not widen what was asked."""
        await put(store, *(Task(f"t{i:02}", 1, i) for i in range(20)))

        pages = await pages_of(store, "due", (1,), low=3, high=16, limit=5, descending=descending)

        keys = sorted((f"t{i:02}" for i in range(3, 16)), reverse=descending)
        assert keys == [key for page in pages for key in page]

    async def test_what_is_inserted_meanwhile_disturbs_no_page(self, store: Documents) -> None:
        """What was there at the start comes exactly once; what is new comes if it lies ahead."""
        await put(store, *(Task(f"t{i:02}", 1, i * 10) for i in range(10)))
        first: Page[Task] = await store.scan(TASKS, "due", (1,), limit=4)
        await put(store, Task("behind", 1, 5), Task("ahead", 1, 55))
        await store.delete(TASKS, "t03")

        rest: Page[Task] = await store.scan(TASKS, "due", (1,), after=first.cursor)

        assert ["t04", "t05", "ahead", "t06", "t07", "t08", "t09"] == [task.key for task in rest.items]

    async def test_a_cursor_outlives_its_document(self, store: Documents) -> None:
        """The page goes on where the document stood."""
        await put(store, *(Task(f"t{i}", 1, i) for i in range(6)))
        first: Page[Task] = await store.scan(TASKS, "due", (1,), limit=3)
        await store.delete(TASKS, "t2")

        rest: Page[Task] = await store.scan(TASKS, "due", (1,), after=first.cursor)

        assert ["t3", "t4", "t5"] == [task.key for task in rest.items]

    @pytest.mark.parametrize("cursor", ["", "x", "not base64!", "AAAAAAAAAAAAAAAA", "é", "A" * 500])
    async def test_what_is_no_cursor_is_refused(self, store: Documents, cursor: str) -> None:
        """It comes from outside."""
        with pytest.raises(BadCursor):
            await store.scan(TASKS, "due", (1,), after=cursor)

    async def test_a_cursor_of_another_scan_is_refused(self, store: Documents) -> None:
        """Another index, another `equals`, another collection, another direction."""
        await put(store, *(Task(f"t{i}", 1, i, "ann") for i in range(3)))
        page: Page[Task] = await store.scan(TASKS, "due", (1,), limit=1)

        for scan in (
            store.scan(TASKS, "owner", ("ann",), after=page.cursor),
            store.scan(TASKS, "due", (2,), after=page.cursor),
            store.scan(TASKS, "due", after=page.cursor),
            store.scan(TASKS, "", after=page.cursor),
            store.scan(NOTES, "", after=page.cursor),
            store.scan(TASKS, "due", (1,), after=page.cursor, descending=True),
        ):
            with pytest.raises(BadCursor):
                await scan

    async def test_ten_thousand_documents_are_scanned_once_each(self, store: Documents) -> None:
        """In order, over many pages, in a time nobody notices."""
        tasks = [Task(f"t{i:05}", i % 3, i * 7919 % 10_000) for i in range(10_000)]
        for i in range(0, 10_000, 1_000):
            await put(store, *tasks[i : i + 1_000])

        pages = await pages_of(store, "due", (1,), limit=500)

        expected = sorted((task for task in tasks if task.lane == 1), key=lambda task: (task.due_at, task.key))
        assert [task.key for task in expected] == [key for page in pages for key in page]


class TestScanPrefixes:
    """scan_prefixes(prefixes, high): one order over many lanes."""

    async def test_the_least_come_first_whatever_their_prefix(self, store: Documents) -> None:
        """Below `high`, of the lanes asked for, at most `limit`."""
        await put(store, *(Task(f"t{i:02}", i % 4, i) for i in range(20)), Task("never", 1, None))

        found = await store.scan_prefixes(TASKS, "due", [(0,), (1,), (3,)], high=13, limit=6)

        assert ["t00", "t01", "t03", "t04", "t05", "t07"] == [task.key for task in found]

    async def test_high_itself_is_left_out(self, store: Documents) -> None:
        """[.., high)."""
        await put(store, Task("a", 0, 5), Task("b", 1, 6))

        assert [Task("a", 0, 5)] == await store.scan_prefixes(TASKS, "due", [(0,), (1,)], high=6, limit=10)

    async def test_low_itself_is_taken_in(self, store: Documents) -> None:
        """[low, high): what lies before is passed over, and fills no place of the limit."""
        await put(store, *(Task(f"t{i:02}", i % 4, i) for i in range(20)), Task("never", 1, None))

        found = await store.scan_prefixes(TASKS, "due", [(0,), (1,), (3,)], low=5, high=13, limit=4)

        assert ["t05", "t07", "t08", "t09"] == [task.key for task in found]

    async def test_ties_are_broken_by_the_key(self, store: Documents) -> None:
        """As in a scan."""
        await put(store, Task("b", 0, 5), Task("c", 1, 5), Task("a", 2, 5))

        found = await store.scan_prefixes(TASKS, "due", [(0,), (1,), (2,)], high=6, limit=10)

        assert ["a", "b", "c"] == [task.key for task in found]

    async def test_hundreds_of_prefixes_are_one_scan(self, store: Documents) -> None:
        """However many lanes there are."""
        await put(store, *(Task(f"t{i:04}", i % 300, i) for i in range(900)))

        found = await store.scan_prefixes(TASKS, "due", [(lane,) for lane in range(300)], high=10_000, limit=400)

        assert [f"t{i:04}" for i in range(400)] == [task.key for task in found]

    async def test_no_prefixes_no_documents(self, store: Documents) -> None:
        """Who owns no lane gets nothing."""
        await put(store, Task("a", 0, 5))

        assert [] == await store.scan_prefixes(TASKS, "due", [], high=10, limit=10)


class TestLeast:
    """least(prefixes): when the next one is due."""

    async def test_the_least_value_over_all_prefixes(self, store: Documents) -> None:
        """Of those asked for; None does not count."""
        await put(store, Task("a", 0, 9), Task("b", 1, 7), Task("c", 2, 3), Task("d", 1, None))

        assert 7 == await store.least(TASKS, "due", [(0,), (1,)])

    @pytest.mark.parametrize("prefixes", [[], [(5,)], [(5,), (6,)]])
    async def test_where_nothing_is_there_is_none(self, store: Documents, prefixes: list[tuple[int]]) -> None:
        """No document, or no prefix."""
        await put(store, Task("a", 0, 9))

        assert None is await store.least(TASKS, "due", prefixes)


class TestScanMany:
    """scan_many(queries): many short scans in one round trip."""

    async def test_each_query_has_its_own_answer(self, store: Documents) -> None:
        """In the order of the queries, each ascending and no longer than `limit`; the same one twice is fine."""
        await put(store, *(Task(f"t{i}", i % 2, 20 - i) for i in range(10)))

        found = await store.scan_many(TASKS, "due", [((1,), 14), ((9,), 0), ((0,), None), ((1,), 14)], limit=3)

        assert [["t5", "t3", "t1"], [], ["t8", "t6", "t4"], ["t5", "t3", "t1"]] == [
            [task.key for task in part] for part in found
        ]

    async def test_no_queries_no_answers(self, store: Documents) -> None:
        """An empty batch is legal."""
        assert [] == await store.scan_many(TASKS, "due", [], limit=3)


class TestCountBy:
    """count_by(index, equals): how many there are of each."""

    async def test_documents_are_counted_by_the_next_field(self, store: Documents) -> None:
        """Those in the index alone, and under `equals`."""
        await put(store, *(Task(f"t{i}", i % 2, i % 3, "ann" if i < 4 else None) for i in range(12)))

        assert ({0: 6, 1: 6}, {0: 2, 1: 2, 2: 2}, {"ann": 4}) == (
            await store.count_by(TASKS, "lane"),
            await store.count_by(TASKS, "due", (1,)),
            await store.count_by(TASKS, "owner"),
        )

    async def test_nothing_counts_nothing(self, store: Documents) -> None:
        """No zeroes for values nobody has."""
        assert {} == await store.count_by(TASKS, "due", (1,))


class TestScrub:
    """scrub(): nothing of what was deleted is left anywhere."""

    async def test_a_scrub_leaves_what_is_there(self, store: Documents) -> None:
        """Whatever it does to files: documents, their places in the indexes and their guards are as before."""
        await put(store, *(Task(f"t{i}", 1, i) for i in range(5)))
        await store.delete(TASKS, "t3")

        await store.scrub()

        await store.replace(TASKS, Task("t1", 1, 99, revision=2))
        assert ["t0", "t2", "t4", "t1"] == await keys_of(store, "due", (1,))


class TestDurability:
    """APPLIED means that it is still there afterwards."""

    async def test_what_was_written_is_there_after_reopening(self, lasting_house: House) -> None:
        """Documents, their revisions, their places in the indexes, and what was deleted."""
        store, _ = await lasting_house.open()
        await store.open([TASKS])
        await put(store, *(Task(f"t{i}", 1, i) for i in range(5)))
        await store.replace(TASKS, Task("t1", 1, 99, revision=2))
        await store.delete(TASKS, "t3")
        await lasting_house.close()

        store, _ = await lasting_house.open()
        await store.open([TASKS])

        assert ["t0", "t2", "t4", "t1"] == await keys_of(store, "due", (1,))

    async def test_cursors_outlive_the_process(self, lasting_house: House) -> None:
        """A client pages on after a restart of the server."""
        store, _ = await lasting_house.open()
        await store.open([TASKS])
        await put(store, *(Task(f"t{i}", 1, i) for i in range(4)))
        page: Page[Task] = await store.scan(TASKS, "due", (1,), limit=2)
        await lasting_house.close()

        store, _ = await lasting_house.open()
        await store.open([TASKS])
        rest: Page[Task] = await store.scan(TASKS, "due", (1,), after=page.cursor)

        assert ["t2", "t3"] == [task.key for task in rest.items]


NEWER_TASKS = Collection("tasks", Task, epoch="epoch", indexes=TASKS.indexes, schema=2)


class TestNewer:
    """Documents of a schema above the collection's: a newer version of the program wrote them."""

    @pytest.fixture
    async def store(self, documents: Documents) -> Documents:
        """One newer document, due first, among two of ours."""
        newer.forget_what_was_told()
        await documents.open([NEWER_TASKS])
        await documents.insert(NEWER_TASKS, Task("newer", 1, 10, owner="ann"))
        await documents.open([TASKS])
        await put(documents, Task("one", 1, 20, owner="ann"), Task("two", 1, 30, owner="ben"))
        return documents

    async def test_whoever_asks_for_it_alone_is_refused(self, store: Documents) -> None:
        """It is there, so it is not None."""
        with pytest.raises(NewerDocument, match="a newer version"):
            await store.get(TASKS, "newer")

    async def test_whoever_asks_for_many_goes_on_without_it(
        self, store: Documents, caplog: pytest.LogCaptureFixture
    ) -> None:
        """By key, by scan, by prefix; what lies behind it is found all the same. The log says it once."""
        by_key = sorted(await store.get_many(TASKS, ["newer", "one"]))
        pages = [await pages_of(store, index, equals, limit=1) for index, equals in (("due", (1,)), ("", ()))]
        first = await store.scan_prefixes(TASKS, "due", [(1,), (2,)], high=100, limit=1)
        (query,) = await store.scan_many(TASKS, "due", [((1,), None)], limit=5)

        assert (["one"], ["one"], ["one", "two"]) == (by_key, [one.key for one in first], [one.key for one in query])
        assert [["one", "two"]] * 2 == [[key for page in found for key in page] for found in pages]
        assert 20 == await store.least(TASKS, "due", [(1,)])
        assert 1 == caplog.text.count("was written by a newer version of this program")

    @pytest.mark.parametrize("how", ["get_many", "scan", "scan_many", "scan_prefixes"])
    async def test_whoever_must_not_take_it_for_absent_is_refused(self, store: Documents, how: str) -> None:
        """Within `refused`, whatever way it is met."""
        asked: dict[str, Callable[[], Awaitable[object]]] = {
            "get_many": lambda: store.get_many(TASKS, ["newer", "one"]),
            "scan": lambda: store.scan(TASKS, "owner", ("ann",)),
            "scan_many": lambda: store.scan_many(TASKS, "owner", [(("ann",), None), (("ben",), None)], limit=5),
            "scan_prefixes": lambda: store.scan_prefixes(TASKS, "due", [(1,)], high=100, limit=5),
        }

        with newer.refused(), pytest.raises(NewerDocument) as caught:
            await asyncio.gather(asked[how]())

        assert ("tasks", "newer") == (caught.value.collection, caught.value.key)

    async def test_whoever_does_not_meet_it_is_not_refused(self, store: Documents) -> None:
        """Its neighbours are as ever."""
        with newer.refused():
            found = await store.scan(TASKS, "owner", ("ben",))

        assert ["two"] == [one.key for one in found.items]

    async def test_nothing_of_ours_takes_its_place(self, store: Documents) -> None:
        """Not an insert, and not a replace whose revision would fit."""
        outcomes = await store.write_many([Insert(TASKS, Task("newer", note="ours")), Insert(TASKS, Task("three"))])
        outcomes += await store.write_many([Replace(TASKS, Task("newer", revision=2)), Replace(TASKS, _next("one"))])
        await store.open([NEWER_TASKS])

        assert ["duplicate", "applied", "conflict", "applied"] == [outcome.value for outcome in outcomes]
        assert Task("newer", 1, 10, owner="ann") == await store.get(NEWER_TASKS, "newer")

    async def test_the_newer_version_writes_over_what_the_older_one_wrote(self, store: Documents) -> None:
        """From then on it is newer, too."""
        await store.open([NEWER_TASKS])
        await store.replace(NEWER_TASKS, _next("one"))
        await store.open([TASKS])

        with pytest.raises(NewerDocument):
            await store.get(TASKS, "one")


def _next(key: str) -> Task:
    return Task(key, 1, 20, owner="ann", revision=2)
