"""Pause, resume, archive, and what they do to people inside. Contract 2."""

import pytest

from tests.e2e.words import World, at_once, end, seg, send, trigger, unique, wait


def test_pausing_stops_starts_and_nothing_else(world: World) -> None:
    """Waiters go on; a new event is blocked visibly; after resume the next one starts."""
    event = unique("ev")
    comm = world.comm()
    journey = world.journey([trigger("w"), wait("w", "P1D", "s"), send("s", comm, "exit"), end()], event=event)
    early, blocked, late = world.person(), world.person(), world.person()
    world.walk(journey, event, early)
    paused = world.api.post(f"/api/journeys/{journey}/pause").ok()
    world.event(event, blocked)
    world.advance("P2D")

    assert "paused" == paused["status"]
    assert "SUCCEEDED" == world.execution(journey, early)["status"]
    assert 1 == len(world.messages(endUserId=early))
    assert [] == world.executions(journey, blocked)
    (entry,) = world.audit(journey, action="trigger.blocked")
    assert "journey_paused" == entry["metadata"]["reason"]
    assert "published" == world.api.post(f"/api/journeys/{journey}/resume").ok()["status"]
    assert "RUNNING" == world.walk(journey, event, late)["status"]
    assert [] == world.executions(journey, blocked)


def test_what_was_blocked_is_not_made_up_for(world: World) -> None:
    """The same event again after the resume decides nothing anew."""
    event, person = unique("ev"), world.person()
    journey = world.journey([trigger("exit"), end()], event=event)
    world.api.post(f"/api/journeys/{journey}/pause").ok()
    event_id = world.event(event, person)
    world.settle()
    world.api.post(f"/api/journeys/{journey}/resume").ok()
    world.event(event, person, id=event_id)
    world.settle()

    assert [] == world.executions(journey)
    assert 1 == len(world.audit(journey, action="trigger.blocked"))


def test_an_acknowledged_pause_precedes_the_next_event(world: World) -> None:
    """Pause and post at once, twenty times over: never a start after the answer."""
    event = unique("ev")
    journey = world.journey([trigger("exit"), end()], event=event)
    for _ in range(10):
        world.api.post(f"/api/journeys/{journey}/pause").ok()
        world.event(event, unique("usr"))
        world.api.post(f"/api/journeys/{journey}/resume").ok()
        world.event(event, unique("usr"))
    world.settle()

    assert 10 == len(world.executions(journey))
    assert 10 == len(world.audit(journey, action="trigger.blocked"))


def test_repeating_changes_nothing(world: World) -> None:
    """200 each time, one audit entry."""
    journey = world.journey([end()])
    for verb in ("pause", "pause", "resume", "resume", "archive", "archive"):
        world.api.post(f"/api/journeys/{journey}/{verb}").ok()

    assert ["created", "published", "paused", "resumed", "archived"] == world.actions(journey)


def test_many_pauses_at_once_are_one(world: World) -> None:
    """All 200, one act."""
    journey = world.journey([end()])
    answers = at_once([lambda: world.api.post(f"/api/journeys/{journey}/pause") for _ in range(6)])

    assert {200} == {answer.status for answer in answers}
    assert 1 == world.actions(journey).count("paused")


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_draft_has_nothing_to_stop(world: World, verb: str) -> None:
    """409 illegal_transition."""
    world.api.post(f"/api/journeys/{world.draft()}/{verb}").problem(409, "illegal_transition")


@pytest.mark.parametrize("verb", ["pause", "resume", "archive", "publish"])
def test_nothing_is_done_to_nobody(world: World, verb: str) -> None:
    """404 for an unknown journey; a body that is none is refused."""
    world.api.post(f"/api/journeys/none/{verb}").problem(404, "not_found")
    journey = world.journey([end()])
    world.api.post(f"/api/journeys/{journey}/{verb}", {"foo": 1}).problem(400, "validation_error")
    world.api.post(f"/api/journeys/{journey}/{verb}", raw=b"{").problem(400, "invalid_json")


class TestArchive:
    """Final."""

    def test_executions_in_flight_are_aborted(self, world: World) -> None:
        """Status ABORTED, audited, and nothing is sent afterwards; those that ended stay as they ended."""
        event = unique("ev")
        comm = world.comm()
        journey = world.journey([trigger("w"), wait("w", "P1D", "s"), send("s", comm, "exit"), end()], event=event)
        done = world.walk(journey, event)
        world.advance("P2D")
        people = [world.walk(journey, event)["endUserId"] for _ in range(3)]
        archived = world.api.post(f"/api/journeys/{journey}/archive").ok()
        world.advance("P2D")

        assert "archived" == archived["status"]
        assert {"ABORTED"} == {world.execution(journey, one)["status"] for one in people}
        assert "SUCCEEDED" == world.detail(journey, done["executionId"])["status"]
        assert 3 == len(world.audit(journey, action="execution.aborted"))
        assert [] == [message for one in people for message in world.messages(endUserId=one)]
        stats = world.step_stats(journey)["w"]
        assert 0 == stats["waiting"]

    def test_every_later_change_is_refused(self, world: World) -> None:
        """409 illegal_transition; the record stays readable."""
        event = unique("ev")
        journey = world.journey([trigger("exit"), end()], event=event)
        run = world.walk(journey, event)
        world.edit(journey, description="a draft")
        world.api.post(f"/api/journeys/{journey}/archive").ok()
        one = f"/api/journeys/{journey}"

        world.api.patch(one, {"name": "x"}).problem(409, "illegal_transition")
        world.api.patch(one, {"goalEventName": "x"}).problem(409, "illegal_transition")
        for verb in ("publish", "pause", "resume"):
            world.api.post(f"{one}/{verb}").problem(409, "illegal_transition")
        world.api.post(f"{one}/executions", {"endUserId": "x"}).problem(409, "illegal_transition")
        for path in (one, f"{one}/versions/1", f"{one}/audit", f"{one}/executions", f"{one}/step-stats"):
            world.api.get(path).ok()
        assert "SUCCEEDED" == world.detail(journey, run["executionId"])["status"]
        assert journey in {shown["id"] for shown in world.api.all_of("/api/journeys")}

    def test_a_draft_can_be_archived(self, world: World) -> None:
        """Nothing was ever started, and nothing will be."""
        journey = world.draft()

        assert "archived" == world.api.post(f"/api/journeys/{journey}/archive").ok()["status"]
        world.api.post(f"/api/journeys/{journey}/publish").problem(409, "illegal_transition")

    def test_events_start_nobody(self, world: World) -> None:
        """And are no fault of whoever posts them."""
        event = unique("ev")
        journey = world.journey([trigger("exit"), end()], event=event)
        world.api.post(f"/api/journeys/{journey}/archive").ok()
        world.event(event, world.person())
        world.settle()

        assert [] == world.executions(journey)

    def test_a_start_and_an_archive_at_once_leave_nobody_inside(self, world: World) -> None:
        """Whatever comes first, in the end nobody runs."""
        event = unique("ev")
        journey = world.journey([trigger("w"), wait("w", "P1D", "exit"), end()], event=event)
        posts = [lambda i=i: world.event(event, unique("usr")) for i in range(5)]
        at_once([*posts, lambda: world.api.post(f"/api/journeys/{journey}/archive")])
        world.advance("P2D")

        assert {"ABORTED"} >= {run["status"] for run in world.executions(journey)}


def test_a_publish_in_mid_wait_changes_nothing_for_those_inside(world: World) -> None:
    """They stay on their version to the end; who comes later walks the new one."""
    event = unique("ev")
    old, new = world.comm(subject="Old"), world.comm(subject="New")
    journey = world.journey([trigger("w"), wait("w", "P1D", "s"), send("s", old, "exit"), end()], event=event)
    early = world.walk(journey, event)["endUserId"]
    world.edit(journey, steps=[trigger("s"), send("s", new, "exit"), end()])
    assert 2 == world.publish(journey)
    late = world.walk(journey, event)["endUserId"]
    world.advance("P2D")

    assert [("Old", 1), ("New", 2)] == [
        (world.messages(endUserId=one)[0]["subject"], world.execution(journey, one)["version"]) for one in (early, late)
    ]


def test_an_abort_ends_one_execution(world: World) -> None:
    """ABORTED by whoever asked; its neighbours go on; again is harmless; one that ended otherwise is 409."""
    event = unique("ev")
    journey = world.journey([trigger("w"), wait("w", "P1D", "exit"), end()], event=event)
    stopped, going = world.walk(journey, event), world.walk(journey, event)
    path = f"/api/journeys/{journey}/executions/{seg(stopped['executionId'])}/abort"
    answer = world.api.post(path).ok()
    world.api.post(path).ok()
    world.advance("P2D")

    assert "ABORTED" == answer["status"]
    assert "endedAt" in answer
    assert "ABORTED" == world.detail(journey, stopped["executionId"])["status"]
    assert "SUCCEEDED" == world.detail(journey, going["executionId"])["status"]
    (entry,) = world.audit(journey, action="execution.aborted")
    assert world.api.get("/api/me").ok()["userId"] in (entry["actor"], entry["metadata"].get("by"))
    other = f"/api/journeys/{journey}/executions/{seg(going['executionId'])}/abort"
    world.api.post(other).problem(409, "illegal_transition")
    world.api.post(f"/api/journeys/{journey}/executions/none/abort").problem(404, "not_found")
    world.api.post(f"/api/journeys/none/executions/{seg(going['executionId'])}/abort").problem(404, "not_found")


def test_a_retry_is_for_what_failed(world: World) -> None:
    """A failed execution repeats its step; one that runs or ended well is 409."""
    event = unique("ev")
    comm = world.comm(body="{% for i in (1..subject.n) %}x{% endfor %}")
    steps = [trigger("s"), send("s", comm, "exit", onFailure="fail"), end()]
    journey = world.journey(steps, event=event)
    person = world.person({"n": 9_000_000})
    failed = world.walk(journey, event, person)
    path = f"/api/journeys/{journey}/executions/{seg(failed['executionId'])}/retry"
    world.api.patch(f"/api/subjects/{person}", {"attributes": {"n": 2}}).ok()
    world.api.post(path).ok()
    world.settle()

    assert "FAILED" == failed["status"]
    assert "SUCCEEDED" == world.detail(journey, failed["executionId"])["status"]
    assert ["sent"] == [one["status"] for one in world.messages(endUserId=person) if one["status"] == "sent"]
    world.api.post(path).problem(409, "illegal_transition")
    world.api.post(f"/api/journeys/{journey}/executions/none/retry").problem(404, "not_found")
