"""Journeys: made, and what is refused or warned of."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.authoring.changes import JourneyChanges
from services.authoring.names import ID, candidates, slug
from services.domain.errors import Duplicate, Invalid, Missing
from services.domain.journey.lifecycle import State
from tests.unit.authoring.desk import ANN, EXIT, WORKSPACE, Desk, changes, codes, paths, send, wait


class TestCreate:
    """POST: a draft, perhaps incomplete, never malformed."""

    async def test_a_name_is_enough(self, desk: Desk) -> None:
        """One exit step, the workspace's window, no settings, nothing to warn of."""
        view = await desk.draft()

        assert (State.DRAFT, 0, None) == (view.journey.state, view.journey.latest_version, view.journey.goal_since_ms)
        assert [{"id": "exit", "type": "exit"}] == json.loads(view.steps_json or b"")
        assert 7.0 == view.journey.goal_event_window_days
        assert () == view.warnings
        assert view.journey.draft is not None
        assert view.journey.draft.based_on_version is None

    async def test_ids_are_made_from_names_and_do_not_collide(self, desk: Desk) -> None:
        """Folded, suffixed, and something even of an emoji."""
        names = ["Welcome Series!"] * 6 + ["Ünïcode 旅", "🎉", "🎉", "a" * 200]
        ids = [(await desk.draft(name=name)).journey.id for name in names]

        assert ["welcome-series", "welcome-series-2", "welcome-series-3"] == ids[:3]
        assert ["unicode", "journey", "journey-2"] == ids[6:9]
        assert len(ids) == len(set(ids))
        assert all(ID.fullmatch(made) for made in ids)

    async def test_a_given_id_is_used_once(self, desk: Desk) -> None:
        """The second is refused as taken."""
        assert "act-onb-2026" == (await desk.draft(id="act-onb-2026")).journey.id
        with pytest.raises(Duplicate) as refused:
            await desk.draft(id="act-onb-2026")

        assert "id_taken" == refused.value.reason

    async def test_the_path_of_the_internal_routes_is_no_journeys_id(self, desk: Desk) -> None:
        """Proxies close /api/journeys/internal/: a journey there could not be reached."""
        with pytest.raises(Duplicate) as refused:
            await desk.draft(id="internal")

        assert "id_taken" == refused.value.reason
        assert "internal-2" == (await desk.draft(name="Internal")).journey.id

    async def test_a_goal_counts_from_the_start(self, desk: Desk) -> None:
        """goalSince is there with the goal."""
        view = await desk.draft(goal_event_name="bought", goal_event_window_days=3.0)

        assert view.journey.created_at_ms == view.journey.goal_since_ms

    async def test_the_window_comes_from_the_workspace(self, desk: Desk) -> None:
        """A changed default is taken by new journeys."""
        await desk.authoring.workspaces.update(WORKSPACE, b'{"goalEventWindowDays": 11}', ANN)

        assert 11.0 == (await desk.draft()).journey.goal_event_window_days

    async def test_all_faults_come_at_once(self, desk: Desk) -> None:
        """Each at its pointer."""
        with pytest.raises(Invalid) as refused:
            await desk.draft(
                steps=[{"id": "w", "type": "wait", "mode": "duration", "duration": "P1M", "next": "x"}, {"id": "a"}],
                id="Upper",
                name=" ",
                goal_event_name="",
                goal_event_window_days=0.0,
                audience_id="a" * 300,
                settings=[],
            )

        assert {
            "/id", "/name", "/goalEventName", "/goalEventWindowDays", "/audienceId", "/settings",
            "/steps/0/duration", "/steps/1/type",
        } == set(paths(refused.value))  # fmt: skip
        assert "validation_error" == refused.value.reason

    @pytest.mark.parametrize("bad", ["Upper", "-lead", "has space", "a" * 64, "a__b", ""])
    async def test_a_bad_id_is_refused(self, desk: Desk, bad: str) -> None:
        """With the path /id."""
        with pytest.raises(Invalid) as refused:
            await desk.draft(id=bad)

        assert ["/id"] == paths(refused.value)

    async def test_only_months_give_their_own_reason(self, desk: Desk) -> None:
        """unsupported_duration where nothing else is wrong."""
        with pytest.raises(Invalid, match="months or years") as refused:
            await desk.draft(steps=[wait("w", "x", "P1M"), EXIT])

        assert "unsupported_duration" == refused.value.reason

    @pytest.mark.parametrize("text", [b"", b"{", b"NaN", b"[1e999]", b"\xff", b"[" * 100_000, b'["\\ud800"]', b"null"])
    async def test_no_json_is_a_fault_and_never_a_crash(self, desk: Desk, text: bytes) -> None:
        """Whatever the bytes."""
        for name in ("steps", "settings"):
            if (name, text) == ("settings", b"null"):
                continue  # the defaults
            given = JourneyChanges(name="X", **{f"{name}_json": text})  # type: ignore[arg-type]
            with pytest.raises(Invalid) as refused:
                await desk.authoring.create_journey(WORKSPACE, given, ANN)

            assert [f"/{name}"] == paths(refused.value)

    async def test_an_unknown_workspace_is_missing(self, desk: Desk) -> None:
        """Nothing is made in it."""
        with pytest.raises(Missing):
            await desk.authoring.create_journey("pk_other", changes(name="X"), ANN)

    async def test_an_incomplete_graph_warns(self, desk: Desk) -> None:
        """What publish would refuse, told but not refused."""
        broken = await desk.draft(steps=[wait("w", "nowhere"), EXIT])
        mail = await desk.communication()

        assert {"next_unresolved", "unreachable_step", "missing_exit"} == set(codes(broken))
        assert [] == codes(await desk.draft(steps=[wait("w", "s"), send("s", mail, "x"), EXIT]))

    async def test_warnings_follow_the_library(self, desk: Desk) -> None:
        """An audience deleted after the draft was written is missing from the next look on."""
        audience = await desk.audience()
        view = await desk.draft(steps=[EXIT], audience_id=audience, trigger_contract_id="gone")
        assert ["trigger_contract_not_found"] == codes(view)

        await desk.authoring.audiences.delete(WORKSPACE, audience)

        again = await desk.authoring.journeys.get(WORKSPACE, view.journey.id)
        assert ["audience_not_found", "trigger_contract_not_found"] == codes(again)
        listed = (await desk.authoring.journeys.page(WORKSPACE, 10, None)).items
        assert codes(again) == codes(listed[0])

    async def test_a_rule_that_is_none_is_a_warning(self, desk: Desk) -> None:
        """Read, not followed: whether it ever fires is asked at publish."""
        step = {"id": "t", "type": "trigger", "mode": "schedule", "next": "x"}

        assert ["invalid_schedule"] == codes(await desk.draft(steps=[{**step, "rrule": "FREQ=SECONDLY"}, EXIT]))
        assert [] == codes(await desk.draft(steps=[{**step, "rrule": "FREQ=DAILY;UNTIL=20200101"}, EXIT]))

    async def test_a_large_draft_is_reviewed_like_a_small_one(self, desk: Desk) -> None:
        """Beside the loop."""
        steps = [wait(f"w{i}", f"w{i + 1}") for i in range(2_000)] + [{"id": "w2000", "type": "exit"}]

        assert () == (await desk.draft(steps=steps)).warnings
        assert "next_unresolved" in codes(await desk.draft(steps=[*steps, wait("y", "nowhere")]))


@given(st.text(max_size=200))
def test_a_slug_and_its_candidates_fit_the_pattern(name: str) -> None:
    """Whatever the name."""
    made = list(candidates(slug(name, "journey")))

    assert all(ID.fullmatch(candidate) for candidate in made)
    assert 10 == len(set(made))


def test_no_made_id_looks_like_another_kind() -> None:
    """A suffix is hex digits."""
    assert re.fullmatch(r"a-[0-9a-f]{6}", list(candidates("a"))[-1])
