"""The audit timeline, and step-stats that add up with it. Contract 2 (audit) and 4."""

import re
from collections import Counter
from functools import partial
from typing import Any

import pytest

from tests.e2e.server import Server, by_key
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


def test_an_acknowledged_act_is_visible_at_once(world: World) -> None:
    """Create, edit, publish, pause, resume, archive: read right after each answer."""
    journey = world.draft()
    seen = [world.audit(journey)[0]["action"]]
    for act in (
        lambda: world.edit(journey, description="x"),
        lambda: world.edit(journey, goalEventName="g"),
        lambda: world.publish(journey),
        lambda: world.api.post(f"/api/journeys/{journey}/pause").ok(),
        lambda: world.api.post(f"/api/journeys/{journey}/resume").ok(),
        lambda: world.api.post(f"/api/journeys/{journey}/archive").ok(),
    ):
        act()
        seen.append(world.audit(journey)[0]["action"])

    assert ["created", "edited", "goal.changed", "published", "paused", "resumed", "archived"] == seen


def test_an_entry_has_the_documented_shape(world: World) -> None:
    """{timestamp, actor, action, metadata?}; the actor of an authoring act is its user."""
    journey = world.journey([end()])
    entries = world.audit(journey)
    me = world.api.get("/api/me").ok()["userId"]

    for entry in entries:
        assert entry.keys() <= {"timestamp", "actor", "action", "metadata"}
        assert re.fullmatch(TIME, entry["timestamp"])
        assert me == entry["actor"]
    assert {"version": 1} == next(one["metadata"] for one in entries if one["action"] == "published")


def test_a_key_is_an_actor_too(server: Server, apart: World) -> None:
    """Not the owner who made it."""
    secret = apart.api.post("/api/workspace/api-keys", {"name": "k"}).ok(201)["secret"]
    journey = by_key(server.port, secret).post("/api/journeys", {"name": "x"}).ok(201)["id"]
    (entry,) = apart.audit(journey)

    assert entry["actor"] not in ("", "system", apart.api.get("/api/me").ok()["userId"])


def test_an_edit_that_changes_nothing_is_no_act(world: World) -> None:
    """Sending back what was read leaves no trace."""
    journey = world.draft(description="same")
    world.edit(journey, **world.show(journey))

    assert ["created"] == world.actions(journey)


@pytest.fixture(scope="module")
def walked(world: World) -> dict[str, Any]:
    """A journey with every kind of step that runs, and people who took every way through it."""
    event = unique("ev")
    mail = world.comm()
    broken = world.comm(body="{% for i in (1..9000000) %}x{% endfor %}")
    steps = [
        trigger("hello", filter=attr("blocked", "not_exists")),
        send("hello", mail, "mark"),
        update("mark", {"greeted": True}, "pro"),
        branch("pro", [("yes", attr("plan", "equals", "pro"), "split")], "calm"),
        draw("split", [("a", 1, "await"), ("b", 0, "await")]),
        wait_event("await", "paid", "P2D", "thanks", "nag"),
        send("thanks", mail, "exit"),
        send("nag", broken, "exit"),
        wait("calm", "P1D", "exit"),
        end("exit", reason="done"),
    ]
    journey = world.journey(steps, event=event, goalEventName="paid")
    people = {
        "paid": world.person({"plan": "pro"}),
        "late": world.person({"plan": "pro"}),
        "free": world.person({"plan": "free"}),
        "silent": world.person({"plan": "free"}, email=None),
        "waits": world.person({"plan": "free"}),
    }
    for name, person in people.items():
        if name != "waits":
            world.event(event, person, id=f"e-{journey}-{name}")
    world.settle()
    world.event("paid", people["paid"])
    world.advance("P3D")
    world.event(event, people["waits"])
    world.settle()
    runs = {name: world.execution(journey, person) for name, person in people.items()}
    return {"journey": journey, "people": people, "runs": runs}


def test_the_runtimes_entries_say_what_happened(world: World, walked: dict[str, Any]) -> None:
    """One entry for each thing that happened, none twice."""
    counts = Counter(world.actions(walked["journey"]))

    assert {
        "created": 1,
        "published": 1,
        "execution.started": 5,
        "execution.completed": 4,
        "send.executed": 5,
        "send.skipped": 1,
        "send.failed": 1,
        "branch.routed": 7,
        "wait.started": 5,
        "wait.fired": 3,
        "wait.timed_out": 1,
        "goal.reached": 1,
    } == dict(counts)


def test_runtime_entries_carry_their_context(world: World, walked: dict[str, Any]) -> None:
    """executionId, stepId and correlationId = <executionId>-<stepId>; the actor is system."""
    entries = [one for one in world.audit(walked["journey"]) if one["actor"] == "system"]
    ids = {run["executionId"] for run in walked["runs"].values()}

    assert entries
    for entry in entries:
        metadata = entry["metadata"]
        assert metadata["executionId"] in ids
        assert f"{metadata['executionId']}-{metadata['stepId']}" == metadata["correlationId"]
    (skipped,) = [one["metadata"] for one in entries if one["action"] == "send.skipped"]
    assert ("no_address", "hello") == (skipped["reason"], skipped["stepId"])
    routed = [
        one["metadata"] for one in entries if one["action"] == "branch.routed" and one["metadata"]["stepId"] == "split"
    ]
    assert {("random", "a", 1)} == {(one["mode"], one["arm"], one["propensity"]) for one in routed}


def test_it_is_in_order_and_filters(world: World, walked: dict[str, Any]) -> None:
    """Newest first; action is a prefix; actor; executionId; together they are an and."""
    journey, run = walked["journey"], walked["runs"]["paid"]
    everything = world.audit(journey)
    stamps = [entry["timestamp"] for entry in everything]

    assert sorted(stamps, reverse=True) == stamps
    for prefix in ("send.", "send.executed", "execution", "nothing", "created"):
        assert [one for one in everything if one["action"].startswith(prefix)] == world.audit(journey, action=prefix)
    for actor in ("system", everything[-1]["actor"], "nobody"):
        assert [one for one in everything if one["actor"] == actor] == world.audit(journey, actor=actor)
    own = [one for one in everything if one.get("metadata", {}).get("executionId") == run["executionId"]]
    assert own == world.audit(journey, executionId=run["executionId"])
    assert [one for one in own if one["action"].startswith("send")] == world.audit(
        journey, executionId=run["executionId"], action="send"
    )
    assert [] == world.audit(journey, executionId="none")


def test_pages_show_everything_once(world: World, walked: dict[str, Any]) -> None:
    """limit and Link, also with a filter."""
    journey = walked["journey"]
    everything = world.audit(journey)

    for limit in (1, 3, 500):
        assert everything == world.audit(journey, limit=str(limit))
        assert world.audit(journey, action="wait.") == world.audit(journey, action="wait.", limit=str(limit))
    for query in ("limit=0", "limit=501", "limit=x", "cursor=x"):
        world.api.get(f"/api/journeys/{journey}/audit?{query}").problem(400)
    world.api.get("/api/journeys/none/audit").problem(404, "not_found")


def test_a_page_holds_two_hundred(apart: World) -> None:
    """The documented default; the rest is behind Link."""
    event = unique("ev")
    journey = apart.journey([trigger("exit"), end()], event=event)
    events = [{"type": event, "endUserId": unique("usr"), "id": unique("evt")} for _ in range(105)]
    apart.api.post("/api/events", {"events": events}).ok(202)
    apart.settle()
    first = apart.api.get(f"/api/journeys/{journey}/audit")

    assert 200 == len(first.ok())
    assert first.next_path() is not None
    assert first.ok() == apart.api.get(f"/api/journeys/{journey}/audit?limit=500").ok()  # never more
    assert 212 == len(apart.audit(journey))


def test_what_arrives_meanwhile_moves_nobodys_next_page(world: World) -> None:
    """A cursor is a place, not a count."""
    journey = world.draft()
    for i in range(5):
        world.edit(journey, description=str(i))
    everything = world.audit(journey)
    first = world.api.get(f"/api/journeys/{journey}/audit?limit=2")
    world.edit(journey, description="new")
    second = world.api.get(str(first.next_path()))

    assert everything[:4] == first.ok() + second.ok()


def test_nothing_is_lost_between_writers(world: World) -> None:
    """Twenty edits at once are twenty entries at strictly growing times."""
    journey = world.draft()
    answers = at_once([partial(world.edit, journey, description=f"d{i}") for i in range(12)])
    entries = world.audit(journey, action="edited")

    assert all(isinstance(answer, dict) for answer in answers)
    assert 12 == len(entries)
    assert sorted({ms_of(entry["timestamp"]) for entry in entries}) == [
        ms_of(entry["timestamp"]) for entry in reversed(entries)
    ]


class TestStepStats:
    """GET .../step-stats."""

    def test_it_agrees_with_what_happened(self, world: World, walked: dict[str, Any]) -> None:
        """Executed, skipped, failed and waiting, by step."""
        stats = world.step_stats(walked["journey"])

        def row(executed: int, skipped: int = 0, failed: int = 0, waiting: int = 0) -> list[int]:
            return [executed, skipped, failed, waiting]

        assert {
            "trigger": row(5),
            "hello": row(4, skipped=1),
            "mark": row(5),
            "pro": row(5),
            "split": row(2),
            "await": row(2),
            "thanks": row(1),
            "nag": row(0, failed=1),
            "calm": row(2, waiting=1),
            "exit": row(4),
        } == {name: [one["executed"], one["skipped"], one["failed"], one["waiting"]] for name, one in stats.items()}

    def test_it_is_recounted_from_the_histories(self, world: World, walked: dict[str, Any]) -> None:
        """Sends by the audit, waiting by where executions stand."""
        journey = walked["journey"]
        stats = world.step_stats(journey)
        standing = Counter(run["currentStepId"] for run in world.executions(journey) if run["status"] == "RUNNING")
        for action, column in (("send.executed", "executed"), ("send.skipped", "skipped"), ("send.failed", "failed")):
            told = Counter(entry["metadata"]["stepId"] for entry in world.audit(journey, action=action))
            for step in ("hello", "thanks", "nag"):
                assert told[step] == stats[step][column], (step, column)

        assert standing["calm"] == stats["calm"]["waiting"]

    def test_steps_nobody_reached_count_zero(self, world: World) -> None:
        """Every step of the journey is there, in an array."""
        journey = world.journey([wait("w", "PT1H", "exit"), end()])
        stats = world.api.get(f"/api/journeys/{journey}/step-stats").ok()

        assert ["w", "exit"] == [one["stepId"] for one in stats]
        assert all([0, 0, 0, 0] == [one[k] for k in ("executed", "skipped", "failed", "waiting")] for one in stats)
        world.api.get("/api/journeys/none/step-stats").problem(404, "not_found")

    def test_a_wait_counts_once_left(self, world: World) -> None:
        """Waiting while somebody is in it, executed afterwards; aborted ones have left it."""
        event = unique("ev")
        journey = world.journey([trigger("w"), wait("w", "P1D", "exit"), end()], event=event)
        runs = [world.walk(journey, event) for _ in range(3)]
        before: Json = world.step_stats(journey)["w"]
        world.api.post(f"/api/journeys/{journey}/executions/{runs[0]['executionId']}/abort").ok()
        world.settle()
        between: Json = world.step_stats(journey)["w"]
        world.advance("P2D")
        after: Json = world.step_stats(journey)["w"]

        assert [(0, 3), (1, 2), (3, 0)] == [(one["executed"], one["waiting"]) for one in (before, between, after)]

    def test_counts_go_on_over_versions(self, world: World) -> None:
        """A step of the same id keeps its counts after a publish."""
        event = unique("ev")
        journey = world.journey([trigger("exit"), end()], event=event)
        world.walk(journey, event)
        world.edit(journey, description="next")
        world.publish(journey)
        world.walk(journey, event)

        assert 2 == world.step_stats(journey)["exit"]["executed"]
