"""The use cases on people: replaced, merged, listed, imported, and changed once per effect."""

import asyncio
import json
from typing import Any

import pytest

from services.domain.errors import Invalid, Missing, Unavailable, Unmatched
from services.infra.clock import ManualClock
from services.infra.documents.port import Insert, Outcome, Replace, StoreUnavailable, Write
from services.runtime.paging import PageRequest
from services.runtime.subject_documents import (
    EFFECTS_KEPT,
    SUBJECT_COLLECTIONS,
    SUBJECTS,
    SubjectDocument,
    empty_subject,
    profile_of,
)
from services.runtime.subjects import MAX_IMPORT, Imported, Subjects
from tests.support.memory import MemoryDocuments

WS = "pk_test"
ALL = PageRequest(500)


class Contested(MemoryDocuments):
    """Somebody else writes the same person between our read and our write, so often."""

    rivals = 0

    async def replace(self, collection: Any, document: Any) -> None:
        if self.rivals > 0:
            self.rivals -= 1
            held: Any = await super().get(collection, document.key)
            rival = SubjectDocument(
                **{
                    name: getattr(held, name)
                    for name in held.__struct_fields__
                    if name not in ("revision", "attributes")
                },
                revision=held.revision + 1,
                attributes={**held.attributes, f"rival{self.rivals}": True},
            )
            await super().replace(collection, rival)
        await super().replace(collection, document)


@pytest.fixture
async def documents() -> Contested:
    store = Contested()
    await store.open(SUBJECT_COLLECTIONS)
    return store


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def subjects(documents: Contested, clock: ManualClock) -> Subjects:
    return Subjects(documents, clock)


def body(**members: Any) -> bytes:
    """A profile as it comes over the wire."""
    return json.dumps(members).encode()


class TestPut:
    """put: the whole profile, made or replaced."""

    async def test_the_first_makes_and_the_second_replaces(self, subjects: Subjects, clock: ManualClock) -> None:
        """Only the first says that it was made; what the second leaves out is gone; the birth date stays."""
        first, was_made = await subjects.put(WS, "usr_a", body(attributes={"plan": "pro"}, locale="de-DE"))
        clock.move(5)
        second, was_made_again = await subjects.put(WS, "usr_a", body(addresses={"email": "Ada@Example.org"}))

        assert (True, False) == (was_made, was_made_again)
        assert ({}, None, "ada@example.org") == (second.attributes, second.locale, second.email_lower)
        assert (first.created_at, first.created_at + 5) == (second.created_at, second.updated_at)
        assert first.etag != second.etag
        assert second == await subjects.get(WS, "usr_a")

    async def test_a_person_known_by_an_event_alone_is_replaced(self, subjects: Subjects, documents: Contested) -> None:
        """The profile was there, though empty, and is known from now on."""
        await documents.insert(SUBJECTS, empty_subject(WS, "usr_a", 1))

        document, was_made = await subjects.put(WS, "usr_a", body())

        assert (True, False) == (document.known, was_made)

    async def test_a_stale_etag_is_refused_and_changes_nothing(self, subjects: Subjects) -> None:
        """If-Match: 412 for a state that is gone, also where nobody is there."""
        first, _ = await subjects.put(WS, "usr_a", body())
        second, _ = await subjects.put(WS, "usr_a", body(), first.etag)

        for end_user_id, etag in (("usr_a", first.etag), ("usr_b", first.etag), ("usr_b", "*")):
            with pytest.raises(Unmatched, match="changed"):
                await subjects.put(WS, end_user_id, body(locale="x"), etag)
        assert second == await subjects.get(WS, "usr_a")

    async def test_workspaces_do_not_meet(self, subjects: Subjects) -> None:
        """The same id in two workspaces is two people."""
        await subjects.put(WS, "usr_a", body())

        with pytest.raises(Missing):
            await subjects.get("pk_other", "usr_a")


class TestPatch:
    """patch: RFC 7396 on a profile that is there."""

    async def test_nobody_cannot_be_patched(self, subjects: Subjects) -> None:
        """A merge needs something to merge into."""
        with pytest.raises(Missing):
            await subjects.patch(WS, "usr_a", body(locale="de"))

    async def test_a_patch_without_etag_is_made_from_the_newest_state(
        self, subjects: Subjects, documents: Contested
    ) -> None:
        """Writers between read and write are not overwritten: the merge is made again."""
        await subjects.put(WS, "usr_a", body(attributes={"plan": "pro"}))
        documents.rivals = 3

        patched = await subjects.patch(WS, "usr_a", body(attributes={"seats": 2}))

        assert {"plan": "pro", "rival2": True, "rival1": True, "rival0": True, "seats": 2} == patched.attributes

    async def test_a_patch_with_etag_is_refused_if_somebody_came_between(
        self, subjects: Subjects, documents: Contested
    ) -> None:
        """The caller named a state; that state is gone."""
        base, _ = await subjects.put(WS, "usr_a", body())
        documents.rivals = 1

        with pytest.raises(Unmatched):
            await subjects.patch(WS, "usr_a", body(locale="de"), base.etag)

    async def test_endless_rivals_end_in_unavailable(self, subjects: Subjects, documents: Contested) -> None:
        """Nobody waits for ever."""
        await subjects.put(WS, "usr_a", body())
        documents.rivals = 1_000

        with pytest.raises(Unavailable):
            await subjects.patch(WS, "usr_a", body(locale="de"))

    async def test_patches_at_once_are_all_kept(self, subjects: Subjects) -> None:
        """Ten writers of ten attributes: ten attributes."""
        await subjects.put(WS, "usr_a", body())

        await asyncio.gather(*(subjects.patch(WS, "usr_a", body(attributes={f"a{i}": i})) for i in range(10)))

        assert {f"a{i}": i for i in range(10)} == (await subjects.get(WS, "usr_a")).attributes


class TestList:
    """list: by id, by address, by text."""

    async def test_pages_cover_everybody_once(self, subjects: Subjects) -> None:
        """Following the cursor shows each person once, in order of ids."""
        for i in range(25):
            await subjects.put(WS, f"usr_{i:02}", body())
        await subjects.put("pk_other", "usr_x", body())

        seen, cursor = [], None
        while True:
            page = await subjects.list(WS, PageRequest(10, cursor))
            seen += [document.end_user_id for document in page.items]
            if (cursor := page.cursor) is None:
                break

        assert [f"usr_{i:02}" for i in range(25)] == seen

    async def test_an_address_is_found_without_case(self, subjects: Subjects) -> None:
        """Everybody who shares the mailbox is shown."""
        for end_user_id, email in (("a", "Team@Example.org"), ("b", "team@example.ORG"), ("c", "c@example.org")):
            await subjects.put(WS, end_user_id, body(addresses={"email": email}))

        assert ["a", "b"] == [it.end_user_id for it in (await subjects.list(WS, ALL, email="TEAM@example.org")).items]

    async def test_a_text_is_sought_in_ids_and_addresses(self, subjects: Subjects) -> None:
        """Without case; a page ends exactly where it is full."""
        await subjects.put(WS, "x", body(addresses={"email": "Needle@example.org"}))
        for i in range(30):
            await subjects.put(WS, f"{'needle' if i % 3 else 'hay'}-{i:02}", body())

        seen, cursor, sizes = [], None, []
        while True:
            page = await subjects.list(WS, PageRequest(4, cursor), query="NEEDLE")
            seen += [document.end_user_id for document in page.items]
            sizes.append(len(page.items))
            if (cursor := page.cursor) is None:
                break

        assert [f"needle-{i:02}" for i in range(30) if i % 3] + ["x"] == seen
        assert max(sizes) == 4

    @pytest.mark.parametrize("cursor", ["", "x", "!!!"])
    async def test_a_foreign_cursor_is_refused(self, subjects: Subjects, cursor: str) -> None:
        """What we did not hand out is the caller's fault."""
        with pytest.raises(Invalid) as refused:
            await subjects.list(WS, PageRequest(10, cursor))

        assert ["/cursor"] == [fault.path for fault in refused.value.faults]

    @pytest.mark.parametrize("limit", [0, -1, 501])
    def test_a_limit_is_one_to_five_hundred(self, limit: int) -> None:
        """Contract 1."""
        with pytest.raises(Invalid):
            PageRequest(limit)


class TestImport:
    """import_batch: many profiles, each on its own."""

    async def test_a_faulty_line_does_not_hold_up_its_neighbours(self, subjects: Subjects) -> None:
        """Every good line is stored, every bad one is named."""
        lines = [body(endUserId="a"), b"{", body(endUserId="b", timezone="x"), body(endUserId="c"), body(), b"[]"]

        imported = await subjects.import_batch(WS, lines)

        assert (2, 0) == (imported.created, imported.updated)
        assert [(1, "invalid_json"), (2, "validation_error"), (4, "validation_error"), (5, "validation_error")] == [
            (fault.index, fault.code) for fault in imported.faults
        ]
        assert "/timezone" in imported.faults[1].message
        assert ["a", "c"] == [it.end_user_id for it in (await subjects.list(WS, ALL)).items]

    async def test_lines_of_one_person_count_in_order(self, subjects: Subjects) -> None:
        """The last line is what remains; only the first of a new person made it."""
        lines = [body(endUserId="a", locale="de"), body(endUserId="b"), body(endUserId="a", locale="fr")]

        imported = await subjects.import_batch(WS, lines)

        assert Imported(2, 1, ()) == imported
        assert "fr" == (await subjects.get(WS, "a")).locale
        assert Imported(0, 3, ()) == await subjects.import_batch(WS, lines)

    async def test_a_batch_is_one_read_and_one_write(self, subjects: Subjects, documents: Contested) -> None:
        """A thousand people share their round trips."""
        calls: list[int] = []
        inner = documents.write_many

        async def counting(writes: Any) -> list[Outcome]:
            calls.append(len(writes))
            return await inner(writes)

        documents.write_many = counting  # type: ignore[method-assign]
        await subjects.import_batch(WS, [body(endUserId=f"u{i}") for i in range(MAX_IMPORT)])

        assert [MAX_IMPORT] == calls

    async def test_a_larger_batch_is_refused(self, subjects: Subjects) -> None:
        """Whoever streams cuts the stream into batches."""
        with pytest.raises(Invalid) as refused:
            await subjects.import_batch(WS, [b"{}"] * (MAX_IMPORT + 1))

        assert "batch_too_large" == refused.value.reason

    async def test_what_failed_once_is_written_again_alone(self, subjects: Subjects, documents: Contested) -> None:
        """A conflict costs one more round for the people it touched."""
        failed: set[str] = set()

        def fault(write: Write) -> None:
            assert isinstance(write, Insert | Replace)
            if write.document.key.endswith(("1", "2")) and write.document.key not in failed:
                failed.add(write.document.key)
                raise StoreUnavailable("once")

        documents.fault = fault
        imported = await subjects.import_batch(WS, [body(endUserId=f"u{i}") for i in range(4)])

        assert Imported(4, 0, ()) == imported
        assert (2, 4) == (len(failed), documents.writes)

    async def test_an_empty_batch_is_nothing(self, subjects: Subjects) -> None:
        """Also one of faults alone."""
        assert Imported(0, 0, ()) == await subjects.import_batch(WS, [])


class TestEffects:
    """apply_effect: what update_profile steps write."""

    async def test_an_effect_is_applied_once(self, subjects: Subjects) -> None:
        """The repeat of an intent whose reply was lost changes nothing, whatever came between."""
        await subjects.put(WS, "usr_a", body(attributes={"plan": "free", "company": {"size": 1}}))
        first = await subjects.apply_effect(WS, "usr_a", "i-1", {"plan": "pro", "company.name": "Ltd", "a.b": [1]})
        await subjects.patch(WS, "usr_a", body(attributes={"plan": "team"}))
        again = await subjects.apply_effect(WS, "usr_a", "i-1", {"plan": "pro"})

        assert (True, False) == (first, again)
        document = await subjects.get(WS, "usr_a")
        assert {"plan": "team", "company": {"size": 1, "name": "Ltd"}, "a": {"b": [1]}} == document.attributes

    async def test_a_put_does_not_forget_effects(self, subjects: Subjects) -> None:
        """A replaced profile is not given an old value by a repeated intent."""
        await subjects.apply_effect(WS, "usr_a", "i-1", {"plan": "pro"})
        await subjects.put(WS, "usr_a", body())

        assert not await subjects.apply_effect(WS, "usr_a", "i-1", {"plan": "pro"})

    async def test_somebody_unknown_gets_a_profile(self, subjects: Subjects) -> None:
        """It says that nobody wrote it."""
        await subjects.apply_effect(WS, "usr_a", "i-1", {"plan": "pro"})

        document = await subjects.get(WS, "usr_a")
        assert (False, {"plan": "pro"}, 1) == (document.known, document.attributes, document.revision)

    async def test_the_latest_effects_are_remembered(self, subjects: Subjects) -> None:
        """The memory is bounded, oldest out first."""
        for i in range(EFFECTS_KEPT + 3):
            await subjects.apply_effect(WS, "usr_a", f"i-{i}", {"n": i})

        applied = (await subjects.get(WS, "usr_a")).applied_effects
        assert (EFFECTS_KEPT, "i-3", f"i-{EFFECTS_KEPT + 2}") == (len(applied), applied[0], applied[-1])

    async def test_an_effect_among_writers_is_neither_lost_nor_doubled(
        self, subjects: Subjects, documents: Contested
    ) -> None:
        """It is planned again on the newest state."""
        await subjects.put(WS, "usr_a", body())
        documents.rivals = 2

        assert await subjects.apply_effect(WS, "usr_a", "i-1", {"n": 1})
        document = await subjects.get(WS, "usr_a")
        assert {"rival1": True, "rival0": True, "n": 1} == document.attributes
        assert ("i-1",) == document.applied_effects


def test_nobody_has_an_empty_profile() -> None:
    """Decisions are made about people nobody described, too."""
    profile = profile_of(None, "usr_a")

    assert ("usr_a", {}, None, ()) == (profile.end_user_id, profile.attributes, profile.email, profile.mobile_push)
