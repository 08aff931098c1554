"""The timeline: newest first, pages that hold still, filters, and nothing twice."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics import audit
from services.analytics.audit import ACTS, EXECUTIONS, Acts, AuditQuery, is_notable, sequence
from services.analytics.convert import act_from_record
from services.analytics.repositories import COLLECTIONS, POSITIONS, ROWS, Place, Row, row_key
from services.domain.errors import Invalid
from services.infra.documents.port import Insert
from services.infra.log.port import Record
from tests.support.memory import MemoryDocuments
from tests.unit.analytics.reports import T0, act, stored_act


def row(
    entry_id: str, at: int, seq: int = 0, *, action: str = "send.executed", actor: str = "system", execution: str = "e1"
) -> Row:
    """A row of the journey `act`."""
    return Row(
        key=row_key("pk_demo", execution, entry_id),
        journey="pk_demo:act",
        notable="pk_demo:act" if is_notable(actor, action) else None,
        at_ms=at,
        seq=seq,
        actor=actor,
        action=action,
    )


class _Still:
    """Nothing to wait for."""

    async def wait(self, workspace: str, journey_id: str) -> bool:
        return True

    async def drain(self, seconds: float) -> bool:
        return True


class Scene:
    """A timeline and somebody who reads it."""

    def __init__(self) -> None:
        self.documents = MemoryDocuments()
        still = _Still()
        self.list = audit.ListAudit(self.documents, still, still)  # type: ignore[arg-type]

    async def add(self, *rows: Row) -> None:
        await self.documents.write_many([Insert(ROWS, row) for row in rows])

    async def page(
        self, cursor: str | None = None, limit: int = 200, **filters: str | None
    ) -> tuple[list[str], str | None]:
        query = AuditQuery(workspace="pk_demo", journey_id="act", limit=limit, cursor=cursor, **filters)
        page = await self.list(query)
        return [row.entry_id for row in page.rows], page.cursor

    async def walk(self, limit: int, **filters: str | None) -> list[str]:
        """All pages, one after another."""
        found, cursor = await self.page(None, limit, **filters)
        while cursor is not None:
            more, cursor = await self.page(cursor, limit, **filters)
            found += more
        return found


@pytest.fixture
async def scene() -> Scene:
    made = Scene()
    await made.documents.open(COLLECTIONS)
    return made


class TestOrder:
    """Newest first."""

    async def test_the_newest_comes_first(self, scene: Scene) -> None:
        """By time, whenever they were written down."""
        await scene.add(row("b", 20), row("a", 10), row("c", 30))

        assert (["c", "b", "a"], None) == await scene.page()

    async def test_within_a_millisecond_the_later_in_the_log_comes_first(self, scene: Scene) -> None:
        """Ten entries of one record: ten comes before nine."""
        await scene.add(*[row(f"k:1:{i}", 10, sequence(EXECUTIONS, 3, 7, i)) for i in range(11)])

        assert [f"k:1:{i}" for i in reversed(range(11))] == (await scene.page())[0]

    async def test_another_journey_and_another_workspace_do_not_exist(self, scene: Scene) -> None:
        """Also not through an execution id."""
        foreign = row("x", 10)
        foreign.journey = "pk_demo:other"
        away = row("y", 10)
        away.key, away.journey = row_key("pk_b", "e1", "y"), "pk_b:act"
        await scene.add(foreign, away, row("mine", 5))

        assert ["mine"] == (await scene.page())[0]
        assert ["mine"] == (await scene.page(execution_id="e1"))[0]


class TestPages:
    """A page ends at a place."""

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 500])
    async def test_pages_together_are_the_whole(self, scene: Scene, limit: int) -> None:
        """Also through a millisecond with more entries than a page holds."""
        luck = random.Random(limit)
        rows = [row(f"e{i}", 10 + (i > 3) + (i > 12), i, action=luck.choice(["a.b", "c.d"])) for i in range(17)]
        await scene.add(*luck.sample(rows, len(rows)))

        assert [f"e{i}" for i in reversed(range(17))] == await scene.walk(limit)

    async def test_a_full_last_page_has_no_cursor(self, scene: Scene) -> None:
        """Nobody is sent to an empty page."""
        await scene.add(*[row(f"e{i}", i) for i in range(4)])

        _, cursor = await scene.page(limit=2)

        assert (["e1", "e0"], None) == await scene.page(cursor, limit=2)

    async def test_what_arrives_meanwhile_moves_nobody(self, scene: Scene) -> None:
        """New entries above, late ones below: no entry is shown twice, none is left out."""
        await scene.add(*[row(f"e{i}", i * 10) for i in range(6)])
        first, cursor = await scene.page(limit=3)

        await scene.add(row("new", 99), row("late", 15), row("between", 45))
        second, cursor = await scene.page(cursor, limit=3)
        third, cursor = await scene.page(cursor, limit=3)

        assert ["e5", "e4", "e3"] == first
        assert ["e2", "late", "e1", "e0"] == second + third
        assert cursor is None

    async def test_a_place_holds_although_its_row_is_gone(self, scene: Scene) -> None:
        """A person may be forgotten between two pages."""
        await scene.add(*[row(f"e{i}", i) for i in range(4)])
        _, cursor = await scene.page(limit=2)

        await scene.documents.delete(ROWS, row_key("pk_demo", "e1", "e2"))

        assert ["e1", "e0"] == (await scene.page(cursor, limit=2))[0]

    @pytest.mark.parametrize(
        "cursor", ["", "x", "!!!", "bnVsbA", "WzEsMl0", "WzEsMiwzXQ", "Wy0xLC0xLCJhIl0", "ü", "A" * 500]
    )
    async def test_a_foreign_cursor_is_refused(self, scene: Scene, cursor: str) -> None:
        """With the path of what is wrong."""
        with pytest.raises(Invalid) as refusal:
            await scene.page(cursor)

        assert "validation_error" == refusal.value.reason
        assert ["/cursor"] == [fault.path for fault in refusal.value.faults]

    @pytest.mark.parametrize("limit", [0, -1, 501])
    async def test_a_limit_outside_1_to_500_is_refused(self, scene: Scene, limit: int) -> None:
        """Contract 1, limits."""
        with pytest.raises(Invalid) as refusal:
            await scene.page(limit=limit)

        assert ["/limit"] == [fault.path for fault in refusal.value.faults]

    @given(st.builds(Place, st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**63 - 2), st.text()))
    def test_a_cursor_says_its_place(self, place: Place) -> None:
        """There and back."""
        assert place == Place.from_cursor(place.to_cursor())


class TestFilters:
    """Evaluated while paging."""

    @pytest.fixture(autouse=True)
    async def _filled(self, scene: Scene) -> None:
        await scene.add(
            row("s1", 1),
            row("act1", 2, action="published", actor="usr_a", execution=""),
            row("s2", 3, action="send.failed", execution="e2"),
            row("goal", 4, action="goal.reached"),
            row("goal-act", 5, action="goal.changed", actor="usr_b", execution=""),
            row("imported", 6, action="import.applied", execution=""),
            row("s3", 7, action="send.executed", execution="e2"),
        )

    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            ({"action_prefix": "send."}, ["s3", "s2", "s1"]),
            ({"action_prefix": "send.ex"}, ["s3", "s1"]),
            ({"action_prefix": "publ"}, ["act1"]),
            ({"action_prefix": "goal"}, ["goal-act", "goal"]),
            ({"action_prefix": "goal.changed"}, ["goal-act"]),
            ({"action_prefix": "import"}, ["imported"]),
            ({"action_prefix": "s"}, ["s3", "s2", "s1"]),
            ({"action_prefix": "nothing"}, []),
            ({"actor": "usr_a"}, ["act1"]),
            ({"actor": "system"}, ["s3", "imported", "goal", "s2", "s1"]),
            ({"execution_id": "e2"}, ["s3", "s2"]),
            ({"execution_id": "e2", "action_prefix": "send.failed"}, ["s2"]),
            ({"execution_id": "e2", "actor": "usr_a"}, []),
            ({"actor": "usr_b", "action_prefix": "goal"}, ["goal-act"]),
        ],
    )
    @pytest.mark.parametrize("limit", [1, 2, 100])
    async def test_a_filter_lets_through_what_it_says(
        self, scene: Scene, filters: dict[str, str | None], expected: list[str], limit: int
    ) -> None:
        """Page by page, whatever the page size, whichever index is read."""
        assert expected == await scene.walk(limit, **filters)

    async def test_a_search_is_broken_off_and_goes_on(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        """Work per call is bounded: a page may be empty and still have a next one."""
        monkeypatch.setattr(audit, "EXAMINED", 2)

        found, cursor = await scene.page(limit=5, action_prefix="send.failed")

        assert [] == found
        assert cursor is not None
        assert ["s2"] == await scene.walk(5, action_prefix="send.failed")

    async def test_a_persons_act_is_found_without_reading_the_runtimes(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Among a million sends; here the bound of three rows suffices."""
        monkeypatch.setattr(audit, "EXAMINED", 4)

        assert (["act1"], None) == await scene.page(limit=5, actor="usr_a")
        assert (["act1"], None) == await scene.page(limit=5, action_prefix="published")


class TestActs:
    """The projection of authoring acts."""

    async def take(self, documents: MemoryDocuments, *batches: Sequence[Record]) -> None:
        acts = Acts(documents, act_from_record)
        offset = 0
        for batch in batches:
            await acts.take([stored_act(record, offset + i) for i, record in enumerate(batch)])
            offset += len(batch)

    async def test_an_act_told_twice_is_one_row(self, scene: Scene) -> None:
        """In one batch or in two."""
        await self.take(scene.documents, [act("a1", T0), act("a1", T0), act("a2", T0 + 1)], [act("a1", T0)])

        assert (["a2", "a1"], None) == await scene.page()

    async def test_acts_of_one_millisecond_keep_their_order(self, scene: Scene) -> None:
        """The later told comes first."""
        await self.take(scene.documents, [act("z", T0), act("a", T0), act("m", T0)])

        assert ["m", "a", "z"] == (await scene.page())[0]

    async def test_how_far_it_has_come_is_stored_and_never_falls(self, scene: Scene) -> None:
        """Other processes ask for it; a replay from the beginning does not take it back."""
        records = [act(f"a{i}") for i in range(3)]
        await self.take(scene.documents, records)
        await self.take(scene.documents, records[:1])

        (position,) = (await scene.documents.scan(POSITIONS, "")).items
        assert 3 == position.offset

    async def test_the_same_act_id_in_two_workspaces_is_two_acts(self, scene: Scene) -> None:
        """Ids are unique within a workspace only."""
        await self.take(scene.documents, [act("a1"), act("a1", workspace="pk_b")])

        assert 2 == len((await scene.documents.scan(ROWS, "")).items)


def test_the_order_in_the_log_is_the_order_of_sequences() -> None:
    """By offset, partition, place in the record, topic; within a signed 64-bit integer."""
    places = [(t, p, o, i) for o in (0, 1, 2**43 - 1) for p in (0, 63) for i in (0, 8191) for t in (ACTS, EXECUTIONS)]

    numbers = [sequence(*place) for place in places]

    assert sorted(set(numbers)) == numbers
    assert 2**63 > numbers[-1]
