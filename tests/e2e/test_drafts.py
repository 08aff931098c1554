"""Journeys as they are written: create, list, read, edit. Contract 2."""

import re
from functools import partial

import pytest

from tests.e2e.server import fault_codes, fault_paths
from tests.e2e.words import (
    TIME,
    Json,
    World,
    at_once,
    attr,
    branch,
    draw,
    end,
    ms_of,
    send,
    trigger,
    unique,
    update,
    wait,
    wait_event,
)


class TestCreate:
    """POST /api/journeys."""

    def test_a_name_is_enough(self, world: World) -> None:
        """201 with Location; one exit step; every documented member is there."""
        reply = world.api.post("/api/journeys", {"name": "Activation"})
        made = reply.ok(201)

        assert f"/api/journeys/{made['id']}" == reply.headers["location"]
        assert ("draft", "draft", "Activation", "") == (
            made["status"],
            made["version"],
            made["name"],
            made["description"],
        )
        assert ["exit"] == [step["type"] for step in made["steps"]]
        assert (None, None, 7) == (made["audienceId"], made["triggerContractId"], made["goalEventWindowDays"])
        assert {"mode": "every_event"} == made["settings"].get("reentry", {"mode": "every_event"})
        assert made["draft"]["updatedAt"] == made["updatedAt"]
        assert [] == made["warnings"]
        for name in ("createdAt", "updatedAt"):
            assert re.fullmatch(TIME, made[name])
        assert made == world.show(made["id"])

    def test_every_step_kind_is_kept(self, world: World) -> None:
        """A draft holds every kind and mode of the contract, also those that cannot run yet."""
        comm = world.comm()
        steps = [
            trigger("w1", filter=attr("plan", "exists"), name="Start", position={"x": 1, "y": -2.5}),
            wait("w1", "PT30M", "w2"),
            {"id": "w2", "type": "wait", "mode": "until_time", "localTime": "09:30", "weekdays": ["mon"], "next": "w3"},
            {"id": "w3", "type": "wait", "mode": "until_time", "attribute": "renewal", "offset": "-P7D", "next": "w4"},
            {"id": "w4", "type": "wait", "mode": "until_time", "at": "2030-01-01T00:00:00.000Z", "next": "w5"},
            wait_event("w5", "opened", "P3D", "w6", "w6", match={"orderId": "event.orderId"}),
            {
                "id": "w6",
                "type": "wait",
                "mode": "until_condition",
                "condition": attr("plan", "exists"),
                "timeout": "P1D",
                "onTimeout": "b1",
                "next": "b1",
            },
            branch("b1", [("pro", attr("plan", "equals", "pro"), "b2")], "b2"),
            draw("b2", [("a", 1, "b3"), ("b", 3.5, "b3")]),
            {
                "id": "b3",
                "type": "branch",
                "mode": "adaptive",
                "arms": [{"id": "a", "next": "s"}, {"id": "b", "next": "h"}],
                "optimizationGoal": {"eventName": "bought"},
                "minSampleFloor": 50,
                "explorationFloor": 0.1,
            },
            send("s", comm, "h", onFailure="fail"),
            {
                "id": "h",
                "type": "webhook",
                "method": "PUT",
                "url": "https://hooks.example.com/{{ event.id }}",
                "headers": {"X-A": "1"},
                "body": {"who": "{{ subject.name }}", "n": [1, None, True]},
                "timeout": "PT5S",
                "retries": 1,
                "saveAs": "answer",
                "onFailure": "continue",
                "next": "u",
            },
            update("u", {"touched": True, "label": "{{ subject.plan }}", "deep.er": {"a": [1]}}, "exit"),
            end(reason="done"),
        ]
        settings = {
            "reentry": {"mode": "after_exit", "minInterval": "P1D", "concurrencyKey": "data.orderId"},
            "exitOn": [{"eventName": "cancelled", "match": {"orderId": "event.orderId"}}],
            "exitOnGoal": True,
            "maxDuration": "P90D",
            "timezone": "Europe/Berlin",
            "sendRate": {"perSecond": 50},
        }
        made = world.draft(steps, settings=settings)
        shown = world.show(made)

        assert steps == shown["steps"]
        assert settings == shown["settings"]

    @pytest.mark.parametrize("step", [
        {"id": "t", "type": "trigger", "mode": "audience_entry", "backfill": False, "next": "exit"},
        {"id": "t", "type": "trigger", "mode": "schedule", "rrule": "FREQ=WEEKLY;BYDAY=MO", "timezone": "Asia/Tokyo", "next": "exit"},
        {"id": "t", "type": "trigger", "mode": "schedule", "at": "2030-01-01T00:00:00.000Z", "next": "exit"},
        {"id": "t", "type": "trigger", "mode": "manual", "next": "exit"},
        {"id": "t", "type": "trigger", "next": "exit"},
    ])  # fmt: skip
    def test_every_trigger_mode_is_kept(self, world: World, step: Json) -> None:
        """And can be published."""
        made = world.draft([step, end()], audienceId=world.audience(subject_ids=[]))
        world.publish(made)

        assert step == world.show(made)["steps"][0]
        world.api.post(f"/api/journeys/{made}/archive").ok()

    @pytest.mark.parametrize(
        ("body", "paths"),
        [
            ({}, {"/name"}),
            ({"name": 5, "goalEventWindowDays": "x", "foo": 1}, {"/name", "/goalEventWindowDays", "/foo"}),
            ({"name": ""}, {"/name"}),
            ({"name": "x", "id": "Upper"}, {"/id"}),
            ({"name": "x", "id": "a" * 64}, {"/id"}),
            ({"name": "x", "id": ""}, {"/id"}),
            ({"name": "x", "steps": "exit"}, {"/steps"}),
            ({"name": "x", "steps": [1, None]}, {"/steps/0", "/steps/1"}),
            ({"name": "x", "steps": [{"id": "a"}]}, {"/steps/0/type"}),
            ({"name": "x", "steps": [{"type": "exit"}]}, {"/steps/0/id"}),
            ({"name": "x", "steps": [{"id": "a", "type": "teleport"}]}, {"/steps/0/type"}),
            ({"name": "x", "steps": [{"id": "a", "type": "wait", "mode": "forever"}]}, {"/steps/0/mode"}),
            ({"name": "x", "steps": [{**wait("w", "PT1H", "x"), "dealy": 1}]}, {"/steps/0/dealy"}),
            ({"name": "x", "steps": [{**end(), "id": "has space"}]}, {"/steps/0/id"}),
            ({"name": "x", "steps": [{**end(), "id": "x" * 65}]}, {"/steps/0/id"}),
            ({"name": "x", "steps": [{**end(), "position": {"x": "1"}}]}, {"/steps/0/position/x"}),
            ({"name": "x", "steps": [wait("w", "P1M", "x")]}, {"/steps/0/duration"}),
            ({"name": "x", "steps": [wait("w", "3 days", "x")]}, {"/steps/0/duration"}),
            ({"name": "x", "steps": [send("s", "c", "x", channel="fax")]}, {"/steps/0/channel"}),
            ({"name": "x", "steps": [send("s", "c", "x", onFailure="cry")]}, {"/steps/0/onFailure"}),
            ({"name": "x", "steps": [draw("r", [("a", -1, "x"), ("b", 1, "x")])]}, {"/steps/0/arms/0/weight"}),
            ({"name": "x", "steps": [wait_event("w", "e", "P1D", "x", "x", match={"a": 1})]}, {"/steps/0/match/a"}),
            ({"name": "x", "settings": []}, {"/settings"}),
            ({"name": "x", "settings": {"reentry": {"mode": "never"}}}, {"/settings/reentry/mode"}),
            ({"name": "x", "settings": {"maxDuration": "P1Y"}}, {"/settings/maxDuration"}),
            ({"name": "x", "settings": {"timezone": "Mars/Base"}}, {"/settings/timezone"}),
            ({"name": "x", "settings": {"exitOn": [{"event": "x"}]}}, {"/settings/exitOn/0/event"}),
            ({"name": "x", "goalEventWindowDays": 0}, {"/goalEventWindowDays"}),
        ],
    )
    def test_a_malformed_journey_is_refused(self, world: World, body: Json, paths: set[str]) -> None:
        """400 with every fault at once, and nothing is made."""
        problem = world.api.post("/api/journeys", body).problem(400)

        assert paths <= fault_paths(problem), problem["errors"]

    @pytest.mark.parametrize("duration", ["P1M", "P1Y", "P1Y2M3D", "P0.5M"])
    def test_months_and_years_are_refused_with_a_reason(self, world: World, duration: str) -> None:
        """Their length varies."""
        problem = world.api.post("/api/journeys", {"name": "x", "steps": [wait("w", duration, "w")]}).problem(400)

        assert ["unsupported_duration"] == fault_codes(problem)
        assert "month" in problem["errors"][0]["message"]

    def test_ids_are_made_from_names(self, world: World) -> None:
        """They fit the pattern and do not collide."""
        made = [world.draft(name=name) for name in ("Welcome!", "Welcome!", "Ünïcode 旅", "🎉", "x" * 200, "-", "a__b")]

        assert len(made) == len(set(made))
        assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", one) for one in made)

    def test_an_id_is_taken_once(self, world: World) -> None:
        """409 id_taken, also when several try at the same moment."""
        name = unique("taken")
        answers = at_once([lambda: world.api.post("/api/journeys", {"name": "x", "id": name}) for _ in range(6)])

        assert [201, 409, 409, 409, 409, 409] == sorted(answer.status for answer in answers)
        world.api.post("/api/journeys", {"name": "x", "id": name}).problem(409, "id_taken")

    def test_the_goals_window_is_the_workspaces(self, apart: World) -> None:
        """What the workspace says when the journey is made."""
        apart.api.patch("/api/workspace", {"goalEventWindowDays": 11}).ok()

        assert 11 == apart.show(apart.draft(goalEventName="bought"))["goalEventWindowDays"]
        assert 3 == apart.show(apart.draft(goalEventName="bought", goalEventWindowDays=3))["goalEventWindowDays"]

    def test_an_incomplete_draft_warns(self, world: World) -> None:
        """What publish would refuse is listed in warnings, with the same codes and pointers."""
        made = world.draft([trigger("w"), wait("w", "PT1H", "nowhere"), end()])
        warnings = world.show(made)["warnings"]
        problem = world.api.post(f"/api/journeys/{made}/publish").problem(400, "graph_invalid")

        assert ["next_unresolved", "unreachable_step"] == sorted(
            code for code in (one["code"] for one in warnings) if code != "missing_exit"
        )
        assert warnings == problem["errors"]


class TestList:
    """GET /api/journeys."""

    def test_drafts_and_published_ones_without_steps(self, apart: World) -> None:
        """A bare array with the latest version and the draft's pointer."""
        draft, published = apart.draft(name="Listé ✓"), apart.journey([end()])
        items = apart.api.get("/api/journeys").ok()

        assert [published, draft] == [one["id"] for one in items]
        assert all("steps" not in one for one in items)
        assert [("published", 1, 1), ("draft", "draft", 0)] == [
            (one["status"], one["version"], one["latestVersion"] or 0) for one in items
        ]
        assert [False, True] == [bool(one.get("draft")) for one in items]

    def test_pages_show_everything_once(self, apart: World) -> None:
        """limit, cursor, Link."""
        made = [apart.draft() for _ in range(7)]
        for limit in (1, 2, 7, 500):
            shown = [one["id"] for one in apart.api.all_of(f"/api/journeys?limit={limit}")]
            assert made[::-1] == shown
        assert apart.api.get("/api/journeys?limit=7").next_path() is None

    def test_a_page_holds_a_hundred(self, apart: World) -> None:
        """The documented default."""
        for _ in range(101):
            apart.api.post("/api/journeys", {"name": "x"}).ok(201)
        first = apart.api.get("/api/journeys")

        assert 100 == len(first.ok())
        assert 1 == len(apart.api.get(str(first.next_path())).ok())

    @pytest.mark.parametrize(
        "query", ["limit=0", "limit=501", "limit=-1", "limit=x", "limit=1.5", "limit=", "cursor=%21%21", "cursor=x"]
    )
    @pytest.mark.parametrize(
        "path", ["/api/journeys", "/api/audiences", "/api/subjects", "/api/messages", "/api/journey-triggers"]
    )
    def test_a_bad_page_is_refused(self, world: World, path: str, query: str) -> None:
        """400 that names the parameter."""
        problem = world.api.get(f"{path}?{query}").problem(400)

        assert query.split("=")[0] in str(problem)


class TestEdit:
    """PATCH /api/journeys/{id}."""

    def test_what_is_not_said_stays(self, world: World) -> None:
        """A patch is partial, and updatedAt moves."""
        made = world.draft([wait("w", "PT1H", "exit"), end()], description="keep", goalEventName="g")
        before = world.show(made)
        after = world.edit(made, name="New")

        assert {**before, "name": "New", "updatedAt": after["updatedAt"], "draft": after["draft"]} == after
        assert after["updatedAt"] > before["updatedAt"]

    def test_what_was_read_can_be_sent_back(self, world: World) -> None:
        """Members only the server writes are ignored."""
        made = world.journey([end()], goalEventName="g")
        body = world.show(made)
        after = world.edit(
            made,
            **{
                **body,
                "name": "Renamed",
                "id": "other",
                "status": "archived",
                "version": 9,
                "createdAt": "x",
                "warnings": 1,
            },
        )

        assert (made, "Renamed", "published", 1) == (
            after["id"],
            after["name"],
            after["status"],
            after["latestVersion"],
        )
        assert body["createdAt"] == after["createdAt"]

    def test_a_stale_edit_is_refused(self, world: World) -> None:
        """409 stale_update with the current updatedAt; nothing is changed."""
        made = world.draft()
        old = world.show(made)["updatedAt"]
        fresh = world.edit(made, name="First", updatedAt=old)["updatedAt"]
        problem = world.api.patch(f"/api/journeys/{made}", {"name": "Second", "updatedAt": old}).problem(
            409, "stale_update"
        )

        assert fresh == problem["updatedAt"]
        assert "First" == world.show(made)["name"]
        assert "Third" == world.edit(made, name="Third", updatedAt=fresh)["name"]

    def test_of_many_writers_one_wins(self, world: World) -> None:
        """Eight with one updatedAt: one 200, seven 409."""
        made = world.draft()
        read = world.show(made)["updatedAt"]
        answers = at_once(
            [partial(world.api.patch, f"/api/journeys/{made}", {"name": f"w{i}", "updatedAt": read}) for i in range(8)]
        )

        assert [200] + [409] * 7 == sorted(answer.status for answer in answers)
        assert world.show(made)["name"] == next(one.body["name"] for one in answers if one.status == 200)

    def test_updated_at_strictly_grows(self, world: World) -> None:
        """Even within one millisecond."""
        made = world.draft()
        stamps = [world.edit(made, description=str(i))["updatedAt"] for i in range(20)]

        assert sorted(set(stamps)) == stamps

    @pytest.mark.parametrize(
        "bad",
        [
            {"foo": 1},
            {"name": None},
            {"name": ""},
            {"steps": {"a": 1}},
            {"steps": None},
            {"goalEventWindowDays": -1},
            {"settings": None},
            {"updatedAt": 5},
            {"updatedAt": "yesterday"},
            {"name": "x", "steps": [{"id": "a", "type": "nope"}]},
        ],
    )
    def test_a_malformed_edit_changes_nothing(self, world: World, bad: Json) -> None:
        """400, and the journey is as it was."""
        made = world.draft(name="Stay")
        before = world.show(made)
        world.api.patch(f"/api/journeys/{made}", bad).problem(400)

        assert before == world.show(made)

    def test_a_published_journey_gets_a_draft(self, world: World) -> None:
        """Opened from the latest version, which stays as it is."""
        made = world.journey([wait("w", "PT1H", "exit"), end()])
        after = world.edit(made, steps=[wait("w2", "PT2H", "exit"), end()])

        assert ("draft", 1, "published", 1) == (
            after["version"],
            after["latestVersion"],
            after["status"],
            after["draft"]["basedOnVersion"],
        )
        assert "w2" == after["steps"][0]["id"]
        assert "w" == world.api.get(f"/api/journeys/{made}/versions/1").ok()["steps"][0]["id"]

    def test_the_goal_acts_at_once(self, world: World) -> None:
        """No draft is opened; goalSince moves, and only then."""
        made = world.journey([end()])
        first = world.edit(made, goalEventName="activated", goalEventWindowDays=3)
        again = world.edit(made, goalEventName="activated")
        second = world.edit(made, goalEventName="bought")

        assert ("activated", 3, 1) == (first["goalEventName"], first["goalEventWindowDays"], first["version"])
        assert not first.get("draft")
        assert first["goalSince"] == again["goalSince"]
        assert ms_of(second["goalSince"]) > ms_of(first["goalSince"])
        assert "goal.changed" in world.actions(made)

    def test_links_can_be_taken_away(self, world: World) -> None:
        """null is no audience, no contract, no goal."""
        made = world.draft(
            audienceId=world.audience(subject_ids=[]), triggerContractId=world.contract(), goalEventName="g"
        )
        after = world.edit(made, audienceId=None, triggerContractId=None, goalEventName=None)

        assert [None, None, None] == [after[name] for name in ("audienceId", "triggerContractId", "goalEventName")]

    def test_nobody_is_there(self, world: World) -> None:
        """404 for an id that is unknown or is none."""
        for name in ("none", "a%2Fb", "%00", "..%2F..", "ü", "x" * 300):
            world.api.get(f"/api/journeys/{name if name.isascii() else '%C3%BC'}").problem(404, "not_found")
            world.api.patch(f"/api/journeys/{name if name.isascii() else '%C3%BC'}", {"name": "x"}).problem(404)

    def test_journeys_cannot_be_deleted(self, world: World) -> None:
        """405 with what is possible."""
        made = world.draft()
        reply = world.api.delete(f"/api/journeys/{made}")
        reply.problem(405, "method_not_allowed")

        assert {"GET", "PATCH"} <= {word.strip() for word in reply.headers["allow"].split(",")}


def test_versions_are_listed_and_readable(world: World) -> None:
    """Each as it was published; what is none is 404."""
    made = world.journey([wait("a1", "PT1H", "exit"), end()], settings={"maxDuration": "P9D"})
    world.edit(made, steps=[wait("a2", "PT1H", "exit"), end()], settings={"maxDuration": "P8D"})
    world.publish(made)
    listed = world.api.all_of(f"/api/journeys/{made}/versions?limit=1")
    shown = [world.api.get(f"/api/journeys/{made}/versions/{n}").ok() for n in (2, 1)]

    assert [2, 1] == [one["version"] for one in listed]
    assert [("a2", "P8D"), ("a1", "P9D")] == [(one["steps"][0]["id"], one["settings"]["maxDuration"]) for one in shown]
    for bad in ("3", "0", "-1", "x", "1.0", "draft", "99999999999999999999"):
        world.api.get(f"/api/journeys/{made}/versions/{bad}").problem(404, "not_found")
    world.api.get("/api/journeys/none/versions").problem(404, "not_found")
