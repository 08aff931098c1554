"""Journeys: changed and read."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from services.authoring.read_journeys import JourneyView
from services.domain.errors import Invalid, Missing, Refused, Stale, Unmatched
from services.domain.journey.lifecycle import IllegalTransition, State, Verb
from services.domain.times import format_time
from tests.unit.authoring.desk import ANN, EXIT, WORKSPACE, Desk, changes, paths, wait


class TestEdit:
    """PATCH: the draft, the goal, the name."""

    async def test_a_change_moves_updated_at_and_keeps_the_rest(self, desk: Desk) -> None:
        """Members that are not given keep their values."""
        before = await desk.draft([wait("w", "x"), EXIT], description="keep", goal_event_name="g")
        after = await desk.edit(before.journey.id, name="New")

        assert after.journey.updated_at_ms > before.journey.updated_at_ms
        assert ("New", "keep", "g") == (after.journey.name, after.journey.description, after.journey.goal_event_name)
        assert before.steps_json == after.steps_json
        assert before.etag != after.etag

    async def test_what_is_the_same_changes_nothing(self, desk: Desk) -> None:
        """No write, no act, no draft: also where the JSON is written in another order."""
        before = await desk.published([wait("w", "x"), EXIT], name="Act", goal_event_name="g")
        steps = [dict(reversed(step.items())) for step in (wait("w", "x"), EXIT)]
        after = await desk.edit(
            before.journey.id, name="Act", description="", steps=steps, settings={}, audience_id=None,
            goal_event_name="g", goal_event_window_days=7.0,
        )  # fmt: skip

        assert before.journey.updated_at_ms == after.journey.updated_at_ms
        assert after.journey.draft is None
        assert ["created", "published"] == desk.actions(before.journey.id)

    async def test_a_published_journey_gets_a_draft_from_its_latest_version(self, desk: Desk) -> None:
        """The version stays as it is."""
        contract, audience = await desk.contract(), await desk.audience()
        before = await desk.published(
            [wait("w", "x"), EXIT], audience_id=audience, trigger_contract_id=contract, settings={"exitOnGoal": True}
        )
        after = await desk.edit(before.journey.id, steps=[wait("w2", "x"), EXIT])
        version = await desk.authoring.journeys.version(WORKSPACE, before.journey.id, 1)

        assert after.journey.draft is not None
        assert (1, State.PUBLISHED) == (after.journey.draft.based_on_version, after.journey.state)
        assert (audience, contract) == (after.journey.audience_id, after.journey.trigger_contract_id)
        assert {"exitOnGoal": True} == json.loads(after.journey.settings_json)
        assert "w2" == json.loads(after.steps_json or b"")[0]["id"]
        assert before.steps_json == version.steps_json

    async def test_references_can_be_taken_away(self, desk: Desk) -> None:
        """null is not the same as absent."""
        view = await desk.draft(audience_id=await desk.audience(), trigger_contract_id=await desk.contract())
        after = await desk.edit(view.journey.id, audience_id=None)

        assert (None, view.journey.trigger_contract_id) == (
            after.journey.audience_id,
            after.journey.trigger_contract_id,
        )

    async def test_the_goal_acts_at_once_and_opens_no_draft(self, desk: Desk) -> None:
        """With goalSince, an act of its own, and in the catalogue."""
        before = await desk.published([EXIT])
        desk.clock.move(1_000)
        after = await desk.edit(before.journey.id, goal_event_name="activated", goal_event_window_days=3.0)

        assert after.journey.draft is None
        assert desk.clock.now_ms() == after.journey.goal_since_ms
        assert ["created", "published", "goal.changed"] == desk.actions(before.journey.id)
        told = desk.told(f"journey:{before.journey.id}").journey
        assert ("activated", 3.0) == (told.goal_event_name, told.goal_event_window_days)

    async def test_a_goal_can_be_taken_away(self, desk: Desk) -> None:
        """Then nothing counts since any time."""
        view = await desk.draft(goal_event_name="bought")
        after = await desk.edit(view.journey.id, goal_event_name=None)

        assert (None, None) == (after.journey.goal_event_name, after.journey.goal_since_ms)

    async def test_a_new_name_is_shown_at_once_and_waits_for_the_next_version(self, desk: Desk) -> None:
        """A version pins the name, so a rename opens a draft; status and latest version stay."""
        before = await desk.published([EXIT], name="Old")
        after = await desk.edit(before.journey.id, name="Renamed")

        assert ("Renamed", State.PUBLISHED, 1) == (
            after.journey.name, after.journey.state, after.journey.latest_version,
        )  # fmt: skip
        assert after.journey.draft is not None
        assert "Old" == (await desk.authoring.journeys.version(WORKSPACE, before.journey.id, 1)).name

    async def test_a_stale_updated_at_is_refused_with_the_current_one(self, desk: Desk) -> None:
        """409 stale_update; nothing is changed."""
        first = await desk.draft()
        second = await desk.edit(first.journey.id, name="First", updated_at_ms=first.journey.updated_at_ms)
        with pytest.raises(Stale) as refused:
            await desk.edit(first.journey.id, name="Second", updated_at_ms=first.journey.updated_at_ms)

        assert not isinstance(refused.value, Unmatched)
        assert "stale_update" == refused.value.reason
        assert {"updatedAt": format_time(second.journey.updated_at_ms)} == refused.value.metadata
        assert "First" == (await desk.authoring.journeys.get(WORKSPACE, first.journey.id)).journey.name

    async def test_of_eight_writers_with_one_updated_at_one_wins(self, desk: Desk) -> None:
        """The other seven are stale; the winner's name stays."""
        read = (await desk.draft(id="act")).journey.updated_at_ms
        outcomes = await asyncio.gather(
            *(desk.edit("act", name=f"w{i}", updated_at_ms=read) for i in range(8)), return_exceptions=True
        )
        winners = [outcome for outcome in outcomes if isinstance(outcome, JourneyView)]

        assert 1 == len(winners)
        assert 7 == sum(isinstance(outcome, Stale) for outcome in outcomes)
        assert winners[0].journey.name == (await desk.authoring.journeys.get(WORKSPACE, "act")).journey.name
        assert ["created", "edited"] == desk.actions("act")

    async def test_writers_who_name_no_state_all_get_through(self, desk: Desk) -> None:
        """One after the other, over two processes; updatedAt strictly increases within one millisecond."""
        await desk.draft(id="act")
        other = desk.another()
        desks = [desk.authoring, other] * 10
        views = await asyncio.gather(
            *(one.edit_journey(WORKSPACE, "act", changes(description=f"{i}"), ANN) for i, one in enumerate(desks))
        )

        assert 20 == len({view.journey.updated_at_ms for view in views})
        assert 21 == len(desk.actions("act"))
        await other.close()

    async def test_if_match_is_honoured(self, desk: Desk) -> None:
        """The current tag passes, an older one is 412, a star is anything."""
        view = await desk.draft(id="act")
        await desk.authoring.edit_journey(WORKSPACE, "act", changes(name="A"), ANN, etag=view.etag)
        with pytest.raises(Unmatched) as refused:
            await desk.authoring.edit_journey(WORKSPACE, "act", changes(name="B"), ANN, etag=view.etag)
        starred = await desk.authoring.edit_journey(WORKSPACE, "act", changes(name="C"), ANN, etag="*")

        assert "precondition_failed" == refused.value.reason
        assert "C" == starred.journey.name

    @pytest.mark.parametrize(
        "bad", [{"name": ""}, {"steps": {"a": 1}}, {"goal_event_window_days": -1.0}, {"goal_event_window_days": 366.0},
                {"name": "X", "steps": [{"id": "a", "type": "nope"}]}, {"description": "x" * 1_048_577}]
    )  # fmt: skip
    async def test_what_is_malformed_changes_nothing(self, desk: Desk, bad: dict[str, Any]) -> None:
        """Refused whole."""
        view = await desk.draft(name="Stay")
        with pytest.raises(Invalid):
            await desk.edit(view.journey.id, **bad)

        assert view == await desk.authoring.journeys.get(WORKSPACE, view.journey.id)

    async def test_an_archived_journey_is_not_edited(self, desk: Desk) -> None:
        """Not even to what it is already."""
        view = await desk.published([EXIT])
        await desk.authoring.steer(WORKSPACE, view.journey.id, Verb.ARCHIVE, ANN)
        with pytest.raises(IllegalTransition):
            await desk.edit(view.journey.id, name=view.journey.name)

    async def test_an_unknown_journey_is_missing(self, desk: Desk) -> None:
        """404, whatever the body."""
        with pytest.raises(Missing):
            await desk.edit("no-such", name="")


class TestRead:
    """Lists, one, versions."""

    async def test_a_list_is_newest_first_and_each_comes_once(self, desk: Desk) -> None:
        """Over pages, with one made in between."""
        made = []
        for i in range(5):
            desk.clock.move(1)
            made.append((await desk.draft(id=f"j{i}")).journey.id)
        first = await desk.authoring.journeys.page(WORKSPACE, 2, None)
        await desk.draft(id="late")
        second = await desk.authoring.journeys.page(WORKSPACE, 2, first.cursor)
        third = await desk.authoring.journeys.page(WORKSPACE, 2, second.cursor)
        seen = [view.journey.id for page in (first, second, third) for view in page.items]

        assert list(reversed(made)) == seen
        assert third.cursor is None
        assert all(view.steps_json is None for view in first.items)

    @pytest.mark.parametrize(
        ("limit", "cursor", "path"), [(0, None, "/limit"), (501, None, "/limit"), (5, "!", "/cursor")]
    )
    async def test_bad_paging_is_refused(self, desk: Desk, limit: int, cursor: str | None, path: str) -> None:
        """400 with the path."""
        with pytest.raises(Invalid) as refused:
            await desk.authoring.journeys.page(WORKSPACE, limit, cursor)

        assert [path] == paths(refused.value)

    async def test_versions_are_listed_and_read(self, desk: Desk) -> None:
        """Newest first, before and after they have documents of their own alone; unknown ones are missing."""
        await desk.published([wait("a1", "x"), EXIT], id="act")
        await desk.edit("act", steps=[wait("a2", "x"), EXIT])
        await desk.authoring.publish(WORKSPACE, "act", ANN)
        for _ in range(2):
            listed = await desk.authoring.journeys.versions(WORKSPACE, "act", 10, None)

            assert [2, 1] == [version.version for version in listed.items]
            for number in (1, 2):
                version = await desk.authoring.journeys.version(WORKSPACE, "act", number)
                assert f"a{number}" == json.loads(version.steps_json)[0]["id"]
            await desk.authoring.outbox.flush()
        for number in (0, 3):
            with pytest.raises(Missing):
                await desk.authoring.journeys.version(WORKSPACE, "act", number)

    async def test_another_workspace_sees_nothing(self, desk: Desk) -> None:
        """Foreign ids are missing."""
        await desk.published([EXIT], id="act")
        with pytest.raises(Missing):
            await desk.authoring.journeys.get("pk_other", "act")
        with pytest.raises(Missing):
            await desk.authoring.journeys.get("pk", "demo:act")

        assert [] == (await desk.authoring.journeys.page("pk_other", 10, None)).items


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["edit", "goal", "same", "publish", "pause", "resume"]), st.integers(0, 2))))
async def test_updated_at_strictly_increases(acts: list[tuple[str, int]]) -> None:
    """Whatever an author does, and however fast: what changes moves updatedAt, what does not leaves it."""
    desk = Desk()
    await desk.open()
    view = await desk.draft(id="act")
    for i, (act, wait_ms) in enumerate(acts):
        desk.clock.move(wait_ms)
        before = view.journey
        try:
            match act:
                case "edit":
                    view = await desk.edit("act", description=str(i))
                case "goal":
                    view = await desk.edit("act", goal_event_name=f"g{i}")
                case "same":
                    view = await desk.edit("act", name=before.name)
                case "publish":
                    view = await desk.authoring.publish(WORKSPACE, "act", ANN)
                case _:
                    view = await desk.authoring.steer(WORKSPACE, "act", Verb(act), ANN)
        except Refused:
            continue
        changed = replaced_times(view.journey) != replaced_times(before)
        assert (view.journey.updated_at_ms > before.updated_at_ms) is changed
    moments = [act.at_ms for act in desk.acts("act")]
    assert moments == sorted(moments)
    await desk.authoring.close()


def replaced_times(journey: Any) -> Any:
    return replace(
        journey, revision=0, outbox=(), outbox_open=None, pending_version=None, updated_at_ms=0,
        draft=None if journey.draft is None else replace(journey.draft, updated_at_ms=0),
    )  # fmt: skip
