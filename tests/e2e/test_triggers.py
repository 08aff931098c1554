"""Who starts, who does not, and why. Contract 2.3 and 2.2 (reentry)."""

from typing import Any

import pytest

from tests.e2e.server import by_session
from tests.e2e.words import (
    ARN,
    Json,
    World,
    at_once,
    attr,
    end,
    event_attr,
    fired,
    path_of,
    send,
    trigger,
    unique,
    wait,
)


def staying(world: World, event: str, **more: Any) -> str:
    """A journey whose people stay for ten days."""
    return world.journey([trigger("w"), wait("w", "P10D", "exit"), end()], event=event, **more)


def reasons(world: World, journey: str) -> list[str]:
    """Why triggers were blocked, oldest first."""
    return [entry["metadata"]["reason"] for entry in reversed(world.audit(journey, action="trigger.blocked"))]


class TestStart:
    """A matching event starts exactly one execution."""

    def test_it_is_what_the_contract_says(self, world: World) -> None:
        """Identity, ARN, status, times, history."""
        event, person = unique("ev"), world.person()
        journey = staying(world, event)
        event_id = world.event(event, person, {"a": 1})
        world.settle()
        run = world.execution(journey, person)

        assert f"{journey}__v1__{person}__{event_id}" == run["executionId"]
        assert ARN + run["executionId"] == run["executionArn"]
        assert ("RUNNING", "w", 1, person) == (run["status"], run["currentStepId"], run["version"], run["endUserId"])
        assert run["correlationId"].startswith(run["executionId"])
        assert [("trigger", "execution.started"), ("w", "wait.started")] == path_of(run)
        assert "endedAt" not in run

    @pytest.mark.parametrize(
        ("person", "event_id", "expected"),
        [
            ("a_b", "c", "a_b__c"),
            ("a-b.c~d", "x y", "a-b.c~d__x%20y"),
            ("a__b_", "_e/ü", "a%5F%5Fb%5F__%5Fe%2F%C3%BC"),
            ("_", "a___b", "%5F__a%5F%5F%5Fb"),
            ("É", "A+b@c", "%C3%89__A%2Bb%40c"),
            ("100%", "%5F", "100%25__%255F"),
        ],
    )
    def test_ids_are_written_so_that_they_can_be_taken_apart(
        self, world: World, person: str, event_id: str, expected: str
    ) -> None:
        """Letters, digits, `.~-` and single inner `_` stay; everything else is %XX."""
        journey = staying(world, unique("ev"))
        answer = world.start_internal(journey, person, event_id)

        assert f"{journey}__v1__{expected}" == answer["executionId"]
        assert person == world.detail(journey, answer["executionId"])["endUserId"]

    def test_without_any_waiting_for_it(self, world: World) -> None:
        """It starts by itself within moments, on a clock nobody moves."""
        event, person = unique("ev"), world.person()
        journey = world.journey([trigger("exit"), end()], event=event)
        world.event(event, person)

        assert "SUCCEEDED" == world.execution(journey, person)["status"]

    def test_another_event_starts_nobody(self, world: World) -> None:
        """Names are compared exactly."""
        event = unique("ev")
        journey = staying(world, event)
        for name in (event.upper(), f"{event} ", f"{event}.x", event[:-1]):
            world.event(name, world.person())
        world.settle()

        assert [] == world.executions(journey)

    def test_one_event_may_start_many_journeys(self, world: World) -> None:
        """Each once."""
        event, person = unique("ev"), world.person()
        journeys = [staying(world, event) for _ in range(3)]
        world.event(event, person)
        world.settle()

        assert [1, 1, 1] == [len(world.executions(journey, person)) for journey in journeys]

    def test_a_draft_starts_nobody(self, world: World) -> None:
        """Neither one never published, nor the draft of a published one."""
        old, new = unique("old"), unique("new")
        draft = world.draft([trigger("exit"), end()], triggerContractId=world.contract(new))
        journey = staying(world, old)
        world.edit(journey, triggerContractId=world.contract(new))
        world.event(new, world.person())
        world.settle()

        assert [] == world.executions(draft)
        assert [] == world.executions(journey)

    def test_a_manual_trigger_ignores_events(self, world: World) -> None:
        """mode manual starts by hand only."""
        event = unique("ev")
        steps = [{"id": "t", "type": "trigger", "mode": "manual", "next": "exit"}, end()]
        journey = world.journey(steps, event=event)
        person = world.person()
        world.event(event, person)
        world.settle()
        assert [] == world.executions(journey)

        world.api.post(f"/api/journeys/{journey}/executions", {"endUserId": person}).ok(201)
        assert 1 == len(world.executions(journey, person))

    def test_without_a_trigger_step_the_first_is_the_entry(self, world: World) -> None:
        """A contract is enough."""
        event = unique("ev")
        journey = world.journey([wait("w", "P1D", "exit"), end()], event=event)

        assert "w" == world.walk(journey, event)["currentStepId"]


class TestRepeats:
    """A repeated event id decides nothing anew."""

    def test_many_times_is_once(self, world: World) -> None:
        """One by one, in one batch, at the same moment, and after a publish."""
        event, person, event_id = unique("ev"), world.person(), unique("evt")
        journey = staying(world, event)
        body = {"id": event_id, "type": event, "endUserId": person, "data": {"n": 1}}
        for _ in range(3):
            world.api.post("/api/events", body).ok(202)
        world.api.post("/api/events", {"events": [body] * 20}).ok(202)
        at_once([lambda: world.api.post("/api/events", body) for _ in range(10)])
        world.settle()
        world.edit(journey, description="next")
        world.publish(journey)
        world.api.post("/api/events", body).ok(202)
        world.api.post("/api/events", {**body, "data": {"n": 2}}).ok(202)
        world.settle()

        (run,) = world.executions(journey, person)
        assert 1 == run["version"]

    def test_the_first_content_counts(self, world: World) -> None:
        """Another content under the same id changes nothing."""
        event, person, event_id = unique("ev"), world.person(), unique("evt")
        journey = world.journey([trigger("exit", filter=event_attr("n", "equals", 1)), end()], event=event)
        world.event(event, person, {"n": 2}, id=event_id)
        world.settle()
        world.event(event, person, {"n": 1}, id=event_id)
        world.settle()

        assert [] == world.executions(journey)

    def test_a_no_stays_a_no(self, world: World) -> None:
        """After the audience let the person in, the same event still does not start; a new one does."""
        event, person = unique("ev"), world.person()
        audience = world.audience(attr("vip", "equals", True))
        journey = staying(world, event, audienceId=audience)
        event_id = world.event(event, person)
        world.settle()
        world.api.patch(f"/api/subjects/{person}", {"attributes": {"vip": True}}).ok()
        world.event(event, person, id=event_id)
        world.settle()
        assert [] == world.executions(journey)

        world.event(event, person)
        world.settle()
        assert 1 == len(world.executions(journey))


class TestFilter:
    """The trigger step's filter looks at the event, the profile, the history."""

    @pytest.mark.parametrize(
        ("condition", "data", "expected"),
        [
            (event_attr("total", "gte", 10), {"total": 10}, 1),
            (event_attr("total", "gte", 10), {"total": 9.99}, 0),
            (event_attr("data.total", "gte", 10), {"total": 10}, 1),
            (event_attr("type", "exists"), {}, 1),
            (event_attr("items.0.sku", "exists"), {}, 0),
            (event_attr("tags", "contains", "a"), {"tags": ["a", "b"]}, 1),
            (attr("plan", "equals", "pro"), {}, 1),
            (attr("plan", "equals", "free"), {}, 0),
            ({"kind": "and", "clauses": [attr("plan", "exists"), event_attr("x", "equals", True)]}, {"x": True}, 1),
            ({"kind": "not", "clause": event_attr("test", "equals", True)}, {"test": True}, 0),
        ],
    )
    def test_it_lets_in_or_not(self, world: World, condition: Json, data: Json, expected: int) -> None:
        """A no is silent in the audit."""
        event, person = unique("ev"), world.person({"plan": "pro"})
        journey = world.journey([trigger("exit", filter=condition), end()], event=event)
        world.event(event, person, data)
        world.settle()

        assert expected == len(world.executions(journey))
        assert [] == reasons(world, journey)

    def test_it_counts_history(self, world: World) -> None:
        """The third order starts, the event itself counted or not as the window says."""
        event, person = unique("order"), world.person()
        journey = world.journey([trigger("exit", filter=fired(event, days=30, atLeast=3)), end()], event=event)
        started = []
        for _ in range(4):
            world.event(event, person)
            world.settle()
            started.append(len(world.executions(journey)))

        assert [0, 0, 1, 2] == started


class TestAudience:
    """Who is eligible at all."""

    def test_members_start(self, world: World) -> None:
        """Others do not, silently."""
        event = unique("ev")
        journey = staying(world, event, audienceId=world.audience(attr("plan", "equals", "pro")))
        inside, outside = world.person({"plan": "pro"}), world.person({"plan": "free"})
        world.event(event, inside)
        world.event(event, outside)
        world.settle()

        assert [inside] == [run["endUserId"] for run in world.executions(journey)]
        assert [] == reasons(world, journey)

    def test_an_edited_audience_acts_at_once(self, world: World) -> None:
        """The version pins the reference, not its content."""
        event = unique("ev")
        audience = world.audience(attr("plan", "equals", "pro"))
        journey = staying(world, event, audienceId=audience)
        world.api.patch(f"/api/audiences/{audience}", {"predicate": attr("plan", "equals", "free")}).ok()
        person = world.person({"plan": "free"})
        world.event(event, person)
        world.settle()

        assert 1 == len(world.executions(journey, person))

    def test_a_deleted_one_fails_visibly_until_mended(self, world: World) -> None:
        """trigger.blocked with audience_missing; a new version without it starts again."""
        event = unique("ev")
        audience = world.audience(attr("plan", "exists"))
        journey = staying(world, event, audienceId=audience)
        world.api.delete(f"/api/audiences/{audience}").ok(204)
        first, second = world.person({"plan": "x"}), world.person({"plan": "x"})
        world.event(event, first)
        world.settle()
        assert ["audience_missing"] == reasons(world, journey)
        world.edit(journey, audienceId=world.audience(attr("plan", "exists")))
        world.publish(journey)
        world.event(event, second)
        world.settle()

        assert [second] == [run["endUserId"] for run in world.executions(journey)]


class TestReentry:
    """settings.reentry."""

    def test_every_event_starts(self, world: World) -> None:
        """The default."""
        event, person = unique("ev"), world.person()
        journey = staying(world, event)
        for _ in range(3):
            world.event(event, person)
        world.settle()

        assert 3 == len(world.executions(journey, person))

    def test_once_is_once(self, world: World) -> None:
        """Also after the end, and in a new version."""
        event, person = unique("ev"), world.person()
        journey = world.journey([trigger("exit"), end()], event=event, settings={"reentry": {"mode": "once"}})
        for _ in range(2):
            world.event(event, person)
        world.settle()
        world.edit(journey, description="x")
        world.publish(journey)
        world.event(event, person)
        world.walk(journey, event)

        assert 1 == len(world.executions(journey, person))
        assert ["reentry_limit"] * 2 == reasons(world, journey)

    def test_after_exit(self, world: World) -> None:
        """Not while inside, again afterwards, however it ended."""
        event, person = unique("ev"), world.person()
        journey = staying(world, event, settings={"reentry": {"mode": "after_exit"}})
        world.event(event, person)
        world.event(event, person)
        world.settle()
        (run,) = world.executions(journey, person)
        world.api.post(f"/api/journeys/{journey}/executions/{run['executionId']}/abort").ok()
        world.event(event, person)
        world.settle()

        assert ["RUNNING", "ABORTED"] == [one["status"] for one in world.executions(journey, person)]
        assert ["reentry_limit"] == reasons(world, journey)

    def test_not_before_the_interval_is_over(self, world: World) -> None:
        """Counted from the last start; to the millisecond it is over."""
        event, person = unique("ev"), world.person()
        journey = world.journey(
            [trigger("exit"), end()],
            event=event,
            settings={"reentry": {"mode": "every_event", "minInterval": "P1D"}},
        )
        world.event(event, person)
        world.settle()
        world.event(event, person)
        world.advance("PT23H")
        world.event(event, person)
        world.advance("PT2H")
        world.event(event, person)
        world.settle()

        assert 2 == len(world.executions(journey, person))
        assert ["reentry_limit"] * 2 == reasons(world, journey)

    @pytest.mark.parametrize("path", ["data.orderId", "orderId"])
    def test_a_key_keeps_entries_apart(self, world: World, path: str) -> None:
        """One run for each order; the same order again is blocked."""
        event, person = unique("ev"), world.person()
        settings = {"reentry": {"mode": "after_exit", "concurrencyKey": path}}
        journey = staying(world, event, settings=settings)
        for order in ("a", "b", "a", "b", "c"):
            world.event(event, person, {"orderId": order})
        world.settle()

        assert 3 == len(world.executions(journey, person))
        assert ["reentry_limit"] * 2 == reasons(world, journey)

    def test_people_do_not_stand_in_each_others_way(self, world: World) -> None:
        """Entries are counted per person."""
        event = unique("ev")
        journey = staying(world, event, settings={"reentry": {"mode": "once"}})
        people = [world.person() for _ in range(3)]
        for person in people:
            world.event(event, person)
        world.settle()

        assert set(people) == {run["endUserId"] for run in world.executions(journey)}

    def test_two_at_once_are_one(self, world: World) -> None:
        """Ten different events of one person at the same moment, once: one start."""
        event, person = unique("ev"), world.person()
        journey = staying(world, event, settings={"reentry": {"mode": "once"}})
        at_once([lambda: world.event(event, person) for _ in range(10)])
        world.settle()

        assert 1 == len(world.executions(journey, person))
        assert 9 == len(reasons(world, journey))

    def test_what_was_blocked_is_no_entry(self, world: World) -> None:
        """A start refused by the audience does not use up `once`."""
        event, person = unique("ev"), world.person()
        audience = world.audience(attr("vip", "exists"))
        journey = staying(world, event, audienceId=audience, settings={"reentry": {"mode": "once"}})
        world.event(event, person)
        world.settle()
        world.api.patch(f"/api/subjects/{person}", {"attributes": {"vip": 1}}).ok()
        world.event(event, person)
        world.settle()

        assert 1 == len(world.executions(journey, person))


class TestHoldout:
    """Counted as triggered, never started."""

    def enter(self, world: World, people: list[str]) -> tuple[str, set[str]]:
        """A journey everybody triggers; who was let in."""
        event = unique("ev")
        journey = world.journey([trigger("exit"), end()], event=event)
        world.api.post("/api/events", {"events": [{"type": event, "endUserId": one} for one in people]}).ok(202)
        world.settle()
        return journey, {run["endUserId"] for run in world.executions(journey)}

    def test_the_share_is_held(self, apart: World) -> None:
        """Everybody at 100, nobody at 0, about half at 50; the same people in every journey; shares are nested."""
        people = [f"p{i}" for i in range(200)]
        let_in = {}
        for percent in (0, 10, 50, 100):
            apart.api.patch("/api/workspace", {"holdout": {"percent": percent}}).ok()
            journey, let_in[percent] = self.enter(apart, people)
            _, again = self.enter(apart, people)
            assert let_in[percent] == again
            held = apart.audit(journey, action="holdout.counted")
            assert 200 - len(again) == len(held)

        assert (200, 0) == (len(let_in[0]), len(let_in[100]))
        assert 60 < len(let_in[50]) < 140
        assert let_in[100] < let_in[50] < let_in[10] < let_in[0]

    def test_by_hand_and_internally_too(self, apart: World) -> None:
        """The same check at every start; nothing is sent, nothing is shown as an execution."""
        apart.api.patch("/api/workspace", {"holdout": {"percent": 100}}).ok()
        journey = apart.journey([trigger("exit"), end()], event=unique("ev"))
        by_hand = apart.api.post(f"/api/journeys/{journey}/executions", {"endUserId": "u"}).ok(200)
        internal = apart.start_internal(journey, "v", unique("e"))
        apart.settle()

        assert [(False, "holdout_membership")] * 2 == [(one["started"], one["reason"]) for one in (by_hand, internal)]
        assert [] == apart.executions(journey)
        held = apart.audit(journey, action="holdout.counted")
        assert 2 == len(held)

    def test_another_workspace_holds_others(self, world: World, apart: World) -> None:
        """The hash has the workspace's salt."""
        people = [f"q{i}" for i in range(120)]
        apart.api.patch("/api/workspace", {"holdout": {"percent": 50}}).ok()
        _, here = self.enter(apart, people)
        body = {"name": "Third", "ownerEmail": f"{unique('t')}@example.com"}
        assert world.internal is not None
        token = world.internal.post("/api/journeys/internal/workspaces", body).ok(201)["sessionToken"]
        third = World(by_session(world.api.port, token))
        third.api.patch("/api/workspace", {"holdout": {"percent": 50}}).ok()
        _, there = self.enter(third, people)

        assert here != there


class TestByHand:
    """POST /api/journeys/{id}/executions."""

    def test_it_starts(self, world: World) -> None:
        """201 with the ARN; the execution is there at once."""
        journey, person = staying(world, unique("ev")), world.person()
        reply = world.api.post(f"/api/journeys/{journey}/executions", {"endUserId": person, "data": {"a": 1}})
        answer = reply.ok(201)

        assert (True, ARN + answer["executionId"]) == (answer["started"], answer["executionArn"])
        assert "RUNNING" == world.api.get(reply.headers["location"]).ok()["status"]

    def test_a_journey_without_a_contract_is_started_by_hand_only(self, world: World) -> None:
        """201, and templates see the data that came along."""
        comm = world.comm(subject="{{ event.a }}")
        journey, person = world.journey([send("s", comm, "exit"), end()]), world.person()
        world.api.post(f"/api/journeys/{journey}/executions", {"endUserId": person, "data": {"a": "b"}}).ok(201)
        world.settle()

        assert ["b"] == [message["subject"] for message in world.messages(endUserId=person)]

    def test_again_is_a_duplicate(self, world: World) -> None:
        """200 started false, the same ARN; the same event posted starts nobody either."""
        event, person, event_id = unique("ev"), world.person(), unique("e")
        journey = staying(world, event)
        body = {"endUserId": person, "eventId": event_id}
        first = world.api.post(f"/api/journeys/{journey}/executions", body).ok(201)
        second = world.api.post(f"/api/journeys/{journey}/executions", body).ok(200)
        world.event(event, person, id=event_id)
        world.settle()

        assert (False, "duplicate", first["executionArn"]) == (
            second["started"],
            second["reason"],
            second["executionArn"],
        )
        assert 1 == len(world.executions(journey, person))

    @pytest.mark.parametrize("state", ["draft", "paused", "archived"])
    def test_only_in_a_published_journey(self, world: World, state: str) -> None:
        """409 illegal_transition, 404 for none."""
        journey = world.draft() if state == "draft" else staying(world, unique("ev"))
        if state != "draft":
            world.api.post(f"/api/journeys/{journey}/{'pause' if state == 'paused' else 'archive'}").ok()

        world.api.post(f"/api/journeys/{journey}/executions", {"endUserId": "u"}).problem(409, "illegal_transition")
        world.api.post("/api/journeys/none/executions", {"endUserId": "u"}).problem(404, "not_found")

    def test_the_same_checks_hold(self, world: World) -> None:
        """Audience, re-entry and filter, each with its reason."""
        audience = world.audience(attr("vip", "exists"))
        by_audience = staying(world, unique("ev"), audienceId=audience)
        by_reentry = staying(world, unique("ev"), settings={"reentry": {"mode": "once"}})
        by_filter = world.journey([trigger("exit", filter=event_attr("ok", "equals", True)), end()], event=unique("ev"))
        person = world.person()

        def reason(journey: str, **more: Any) -> Any:
            answer = world.api.post(f"/api/journeys/{journey}/executions", {"endUserId": person, **more}).ok(200)
            assert answer["started"] is False
            return answer["reason"]

        world.api.post(f"/api/journeys/{by_reentry}/executions", {"endUserId": person}).ok(201)
        assert ["audience_mismatch", "reentry_limit", "trigger_filter"] == [
            reason(by_audience),
            reason(by_reentry),
            reason(by_filter, data={"ok": False}),
        ]
        world.api.delete(f"/api/audiences/{audience}").ok(204)
        assert "audience_missing" == reason(by_audience)
        world.api.post(f"/api/journeys/{by_filter}/executions", {"endUserId": person, "data": {"ok": True}}).ok(201)

    @pytest.mark.parametrize(
        "body", [{}, {"endUserId": ""}, {"endUserId": 5}, {"endUserId": "u", "foo": 1}, {"endUserId": "u", "data": []},
                 {"endUserId": "x" * 201}, {"endUserId": "u", "eventId": ""}, {"endUserId": "u", "eventId": "x" * 201}]
    )  # fmt: skip
    def test_a_malformed_start_is_refused(self, world: World, body: Json) -> None:
        """400."""
        journey = staying(world, unique("ev"))
        world.api.post(f"/api/journeys/{journey}/executions", body).problem(400, "validation_error")

    def test_a_repeat_with_the_same_key_is_the_same_answer(self, world: World) -> None:
        """Idempotency-Key where no event id was given."""
        journey, person = staying(world, unique("ev")), world.person()
        headers = {"Idempotency-Key": unique("k")}
        answers = [
            world.api.post(f"/api/journeys/{journey}/executions", {"endUserId": person}, headers=headers).ok(201)
            for _ in range(2)
        ]

        assert answers[0] == answers[1]
        assert 1 == len(world.executions(journey, person))
