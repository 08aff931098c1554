"""Executions from outside, the internal routes, the development clock. Contract 4, 6 and 7."""

import re
from typing import Any

import pytest

from tests.e2e.server import Server, eventually, fault_paths
from tests.e2e.words import (
    ARN,
    DAY,
    HOUR,
    TIME,
    Json,
    World,
    at_once,
    attr,
    end,
    event_attr,
    ms_of,
    path_of,
    seg,
    send,
    time_at,
    trigger,
    unique,
    wait,
    wait_event,
)


def staying(world: World, event: str | None = None, **more: Any) -> str:
    """A journey whose people stay for ten days."""
    return world.journey([trigger("w"), wait("w", "P10D", "exit"), end()], event=event or unique("ev"), **more)


@pytest.fixture(scope="module")
def crowd(world: World) -> tuple[str, list[str]]:
    """Sixty people of whom every third has left."""
    event, gone = unique("ev"), unique("gone")
    journey = staying(world, event, settings={"exitOn": [{"eventName": gone}]})
    people = [f"{journey}-{i:02}" for i in range(60)]
    for person in people[:5]:  # one after the other: an order that can be told
        world.event(event, person)
    world.api.post("/api/events", {"events": [{"type": event, "endUserId": one} for one in people[5:]]}).ok(202)
    world.settle()
    world.api.post("/api/events", {"events": [{"type": gone, "endUserId": one} for one in people[::3]]}).ok(202)
    world.settle()
    return journey, people


class TestLists:
    """GET /api/journeys/{id}/executions."""

    def test_the_last_fifty(self, world: World, crowd: tuple[str, list[str]]) -> None:
        """A bare array, newest first, the rest behind Link."""
        journey, people = crowd
        first = world.api.get(f"/api/journeys/{journey}/executions")
        everything = world.executions(journey)
        starts = [run["startedAt"] for run in everything]

        assert 50 == len(first.ok())
        assert set(people) == {run["endUserId"] for run in everything}
        assert 60 == len(everything)
        assert sorted(starts, reverse=True) == starts
        assert people[:5][::-1] == [run["endUserId"] for run in everything[-5:]]

    def test_an_entry_has_the_documented_shape(self, world: World, crowd: tuple[str, list[str]]) -> None:
        """endedAt only where it ended."""
        for run in world.executions(crowd[0]):
            assert {
                "executionArn",
                "executionId",
                "endUserId",
                "status",
                "startedAt",
                "currentStepId",
                "version",
                "correlationId",
            } <= run.keys()
            assert ARN + run["executionId"] == run["executionArn"]
            assert re.fullmatch(TIME, run["startedAt"])
            assert ("endedAt" in run) == (run["status"] != "RUNNING")

    def test_filters(self, world: World, crowd: tuple[str, list[str]]) -> None:
        """By status and by person, also page by page."""
        journey, people = crowd
        path = f"/api/journeys/{journey}/executions"

        for limit in ("", "&limit=7"):
            done = world.api.all_of(f"{path}?status=SUCCEEDED{limit}")
            assert set(people[::3]) == {run["endUserId"] for run in done}
            assert 20 == len(done)
            assert 40 == len(world.api.all_of(f"{path}?status=RUNNING{limit}"))
        assert [] == world.api.all_of(f"{path}?status=FAILED")
        assert [people[1]] == [run["endUserId"] for run in world.api.all_of(f"{path}?endUserId={people[1]}")]
        assert [] == world.api.all_of(f"{path}?endUserId={people[1]}&status=ABORTED")
        assert [] == world.api.all_of(f"{path}?endUserId=nobody")

    def test_bad_questions(self, world: World, crowd: tuple[str, list[str]]) -> None:
        """400 that names the parameter; 404 for a journey that is none."""
        path = f"/api/journeys/{crowd[0]}/executions"
        for query in ("status=running", "status=HOLDOUT", "limit=0", "limit=501", "cursor=x"):
            world.api.get(f"{path}?{query}").problem(400)
        world.api.get("/api/journeys/none/executions").problem(404, "not_found")

    def test_pages_stay_while_others_come(self, world: World) -> None:
        """A cursor is a place: nobody is shown twice or left out."""
        event = unique("ev")
        journey = staying(world, event)
        for _ in range(6):
            world.event(event, unique("u"))
        world.settle()
        before = [run["executionId"] for run in world.executions(journey)]
        first = world.api.get(f"/api/journeys/{journey}/executions?limit=3")
        world.walk(journey, event)
        second = world.api.get(str(first.next_path()))

        assert before == [run["executionId"] for run in first.ok() + second.ok()]


class TestDetail:
    """GET .../executions/{executionId}."""

    def test_it_has_everything(self, world: World) -> None:
        """The list's members plus history, due, context, exitReason."""
        event = unique("ev")
        run = world.walk(journey := staying(world, event), event)
        (listed,) = world.executions(journey)

        assert listed.items() <= run.items()
        assert {"history", "due", "context", "exitReason"} <= run.keys()
        assert time_at(ms_of(run["startedAt"]) + 10 * DAY) == run["due"]
        for entry in run["history"]:
            assert {"at", "stepId", "event", "detail"} == entry.keys()
            assert re.fullmatch(TIME, entry["at"])

    def test_nobodys_is_not_found(self, world: World) -> None:
        """Unknown, malformed, another journey's."""
        event = unique("ev")
        run = world.walk(staying(world, event), event)
        other = staying(world)
        for name in ("none", "a__v1__b", "a__vX__b__c", "%00", seg("ü__v1__ü__ü"), seg(run["executionId"])):
            world.api.get(f"/api/journeys/{other}/executions/{name}").problem(404, "not_found")


class TestInternalStart:
    """POST /api/journeys/internal/start-execution."""

    def test_it_starts_once(self, world: World) -> None:
        """200 with the ARN; repeated: started false, duplicate, the same ARN, also after a publish."""
        journey, person, event_id = staying(world), world.person(), unique("e")
        first = world.start_internal(journey, person, event_id)
        second = world.start_internal(journey, person, event_id)
        world.edit(journey, description="next")
        world.publish(journey)
        third = world.start_internal(journey, person, event_id)

        expected = f"{journey}__v1__{person}__{event_id}"
        assert (True, expected, ARN + expected) == (first["started"], first["executionId"], first["executionArn"])
        assert "reason" not in first
        for again in (second, third):
            assert (False, "duplicate", first["executionArn"]) == (
                again["started"],
                again["reason"],
                again["executionArn"],
            )
        assert 1 == len(world.executions(journey, person))

    def test_many_at_once_start_one(self, world: World) -> None:
        """Twenty callers, one start."""
        journey, person, event_id = staying(world), world.person(), unique("e")
        answers = at_once([lambda: world.start_internal(journey, person, event_id) for _ in range(20)])

        assert 1 == sum(answer["started"] for answer in answers)
        assert 1 == len({answer["executionArn"] for answer in answers})
        assert 1 == len(world.executions(journey, person))

    def test_the_event_is_there_for_filters_and_mails(self, world: World) -> None:
        """event is optional; its data are the triggering event's."""
        comm = world.comm(subject="{{ event.orderId }} {{ event.type }}")
        steps = [trigger("s", filter=event_attr("orderId", "exists")), send("s", comm, "exit"), end()]
        journey, person = world.journey(steps, event=unique("ev")), world.person()
        refused = world.start_internal(journey, person, unique("e"))
        started = world.start_internal(
            journey, person, unique("e"), event={"type": "order.placed", "data": {"orderId": "o7"}}
        )
        world.settle()

        assert ["trigger_filter", True] == [refused["reason"], started["started"]]
        assert ["o7 order.placed"] == [message["subject"] for message in world.messages(endUserId=person)]

    def test_reasons(self, world: World) -> None:
        """Paused, not in the audience, entered already."""
        paused, closed = staying(world), staying(world, audienceId=world.audience(attr("vip", "exists")))
        once = staying(world, settings={"reentry": {"mode": "once"}})
        world.api.post(f"/api/journeys/{paused}/pause").ok()
        world.start_internal(once, "u", unique("e"))

        assert ["journey_paused", "audience_mismatch", "reentry_limit"] == [
            world.start_internal(one, "u", unique("e"))["reason"] for one in (paused, closed, once)
        ]

    @pytest.mark.parametrize(
        ("change", "path"),
        [
            ({"projectKey": None}, "/projectKey"),
            ({"journeyId": 5}, "/journeyId"),
            ({"endUserId": ""}, "/endUserId"),
            ({"endUserId": "x" * 201}, "/endUserId"),
            ({"eventId": ""}, "/eventId"),
            ({"eventId": "旅" * 67}, "/eventId"),
            ({"event": "x"}, "/event"),
            ({"event": {"data": []}}, "/event/data"),
            ({"event": {"timestamp": "soon"}}, "/event/timestamp"),
            ({"foo": 1}, "/foo"),
        ],
    )
    def test_a_malformed_start_is_refused(self, world: World, change: Json, path: str) -> None:
        """400 with the path."""
        assert world.internal is not None
        body = {"projectKey": world.key, "journeyId": "j", "endUserId": "u", "eventId": "e", **change}
        reply = world.internal.post("/api/journeys/internal/start-execution", body)

        assert path in fault_paths(reply.problem(400, "validation_error"))

    @pytest.mark.parametrize("change", [{"projectKey": "pk_none"}, {"journeyId": "none"}])
    def test_what_is_not_there(self, world: World, change: Json) -> None:
        """404."""
        assert world.internal is not None
        body = {"projectKey": world.key, "journeyId": staying(world), "endUserId": "u", "eventId": "e", **change}
        world.internal.post("/api/journeys/internal/start-execution", body).problem(404, "not_found")


class TestDispatch:
    """POST /api/journeys/internal/dispatch."""

    def dispatch(self, world: World, **body: Any) -> Any:
        """One call."""
        assert world.internal is not None
        return world.internal.post("/api/journeys/internal/dispatch", {"projectKey": world.key, **body})

    def test_nothing_due_is_nothing_done(self, world: World) -> None:
        """advanced false, by id and by ARN, however often."""
        event = unique("ev")
        run = world.walk(journey := staying(world, event), event)
        for body in ({"executionId": run["executionId"]}, {"executionArn": run["executionArn"]}):
            answer = self.dispatch(world, **body).ok()
            assert {
                "executionArn": run["executionArn"],
                "status": "RUNNING",
                "currentStepId": "w",
                "advanced": False,
            } == answer

        assert run["history"] == world.detail(journey, run["executionId"])["history"]

    def test_one_that_is_over(self, world: World) -> None:
        """Harmless."""
        event = unique("ev")
        run = world.walk(world.journey([trigger("exit"), end()], event=event), event)
        answer = self.dispatch(world, executionId=run["executionId"]).ok()

        assert ("SUCCEEDED", False) == (answer["status"], answer["advanced"])

    @pytest.mark.parametrize(
        "body", [{}, {"executionId": 5}, {"executionArn": "arn:aws:other"}, {"executionId": "a", "executionArn": ARN + "b"}, {"executionId": "a", "foo": 1}]
    )  # fmt: skip
    def test_a_malformed_call_is_refused(self, world: World, body: Json) -> None:
        """400."""
        self.dispatch(world, **body).problem(400, "validation_error")

    def test_what_is_not_there(self, world: World, apart: World) -> None:
        """404, also for another workspace's."""
        event = unique("ev")
        run = world.walk(staying(world, event), event)
        self.dispatch(world, executionId="none").problem(404, "not_found")
        self.dispatch(apart, executionId=run["executionId"]).problem(404, "not_found")


class TestClock:
    """POST /api/dev/clock."""

    def test_it_moves_by_what_was_asked(self, world: World) -> None:
        """now is at least that much later, and hardly more."""
        before = world.advance("PT0S")
        after = world.advance("P3DT2H")

        assert 0 <= after - before - (3 * DAY + 2 * HOUR) < 10_000

    @pytest.mark.parametrize("advance", ["P1M", "P1Y", "-P1D", "3d", "", "P", "P99999D", 5, None, ["P1D"]])
    def test_a_malformed_advance_is_refused(self, world: World, advance: Any) -> None:
        """400, and the clock stands where it stood."""
        before = world.settle()
        world.api.post("/api/dev/clock", {"advance": advance}).problem(400)
        world.api.post("/api/dev/clock", {}).problem(400)
        world.api.post("/api/dev/clock", {"advance": "P1D", "foo": 1}).problem(400)

        assert world.settle() - before < HOUR

    def test_what_was_accepted_is_handled_first(self, world: World) -> None:
        """An event posted a moment before enters at its own time, and its timers are part of the advance."""
        event = unique("ev")
        journey = world.journey([trigger("w"), wait("w", "P2D", "exit"), end()], event=event)
        before = world.settle()
        world.event(event, person := world.person())
        world.advance("P3D")
        run = world.execution(journey, person)

        assert "SUCCEEDED" == run["status"]
        assert 0 <= ms_of(run["startedAt"]) - before < HOUR
        assert 2 * DAY == ms_of(run["endedAt"]) - ms_of(run["startedAt"])

    def test_due_things_happen_in_order(self, world: World) -> None:
        """Across people and journeys: what one timer changes, a later one sees."""
        event, person = unique("ev"), world.person()
        early = world.journey(
            [trigger("w"), wait("w", "P1D", "u"), {"id": "u", "type": "update_profile", "set": {"mark": 1}, "next": "exit"}, end()],
            event=event,
        )  # fmt: skip
        late = world.journey(
            [
                trigger("w"),
                wait("w", "P2D", "b"),
                {
                    "id": "b",
                    "type": "branch",
                    "mode": "condition",
                    "branches": [{"id": "x", "condition": attr("mark", "exists"), "next": "seen"}],
                    "default": "exit",
                },
                end("seen"),
                end(),
            ],
            event=event,
        )
        world.event(event, person)
        world.advance("P3D")

        assert "SUCCEEDED" == world.execution(early, person)["status"]
        assert "seen" == world.execution(late, person)["currentStepId"]

    def test_everything_is_done_when_it_answers(self, world: World) -> None:
        """Executions, messages, audit and counts agree without any waiting."""
        event = unique("ev")
        journey = world.journey(
            [trigger("w"), wait("w", "P1D", "s"), send("s", world.comm(), "exit"), end()], event=event
        )
        people = [world.person() for _ in range(10)]
        world.api.post("/api/events", {"events": [{"type": event, "endUserId": one} for one in people]}).ok(202)
        world.advance("P2D")

        assert {"SUCCEEDED": 10} == {
            "SUCCEEDED": sum(run["status"] == "SUCCEEDED" for run in world.executions(journey))
        }
        assert 10 == len(world.messages(journeyId=journey))
        assert 10 == len(world.audit(journey, action="send.executed"))
        assert (10, 0) == (world.step_stats(journey)["s"]["executed"], world.step_stats(journey)["w"]["waiting"])

    def test_an_editor_may_move_it_a_stranger_not(self, server: Server) -> None:
        """It is a route of the workspace."""
        server.anyone.post("/api/dev/clock", {"advance": "PT0S"}).problem(401, "unauthenticated")


def test_the_offset_outlives_the_process(own_server: Server) -> None:
    """Killed and started again: the clock goes on from where it was, and so does everybody who waits."""
    world = World(own_server.start().owner)
    world.api.patch("/api/workspace", {"holdout": {"percent": 0}}).ok()
    event, paid = unique("ev"), unique("paid")
    steps = [
        trigger("w"),
        wait("w", "P10D", "a"),
        wait_event("a", paid, "P5D", "s", "exit"),
        send("s", world.comm(), "exit"),
        end(),
    ]
    journey = world.journey(steps, event=event)
    run = world.walk(journey, event)
    before = world.advance("P9D")
    key = {"Idempotency-Key": "kept"}
    made = world.api.post("/api/journeys", {"name": "Once"}, headers=key).ok(201)
    own_server.kill()
    own_server.start()
    after = world.settle()
    again = world.api.post("/api/journeys", {"name": "Once"}, headers=key).ok(201)
    world.advance("P2D")
    world.event(paid, run["endUserId"])
    world.settle()
    assert 0 == own_server.stop()
    own_server.start()
    done = world.detail(journey, run["executionId"])

    assert 0 <= after - before < HOUR
    assert "SUCCEEDED" == done["status"]
    assert ("w", "wait.fired") in path_of(done)
    assert time_at(ms_of(run["startedAt"]) + 10 * DAY) in [one["at"] for one in done["history"]]
    assert 1 == len(world.messages(endUserId=run["endUserId"]))
    assert made == again
    assert 0 == world.step_stats(journey)["w"]["waiting"]
    assert 1 == world.actions(journey).count("send.executed")


def test_without_the_variable_time_is_nobodys(own_server: Server) -> None:
    """The route is not there, sessions end in their time, and without SYNC_API_KEY nothing internal answers."""
    own_server._env.update({"JOURNEYS_DEV_CLOCK": None, "SYNC_API_KEY": None, "JOURNEYS_SESSION_TTL": "PT2S"})
    api = own_server.start().owner
    api.post("/api/dev/clock", {"advance": "PT1S"}).problem(404, "not_found")
    for key in own_server.sync_keys:
        reply = own_server.anyone.post(
            "/api/journeys/internal/dispatch", {}, headers={"Authorization": f"Bearer {key}"}
        )
        reply.problem(401, "unauthenticated")
    own_server.anyone.post("/api/journeys/internal/dispatch", {}, headers={"Authorization": "Bearer "}).problem(401)
    body = {"email": "short@example.com", "role": "editor", "password": "correct horse battery"}
    api.post("/api/workspace/members", body).ok(201)
    reply = own_server.anyone.post("/api/session", {"email": body["email"], "password": body["password"]})
    reply.ok(204)
    cookie = {"Cookie": reply.headers["set-cookie"].split(";")[0]}

    def has_ended() -> bool:
        return own_server.anyone.get("/api/me", headers=cookie).status == 401

    assert eventually(has_ended, seconds=20)
    api.get("/api/me").ok()  # the bootstrap token does not expire
