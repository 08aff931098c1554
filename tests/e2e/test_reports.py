"""Branch performance, calibrated impact and the live stream, as somebody outside sees them."""

import http.client
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.server import Client, Server, by_key, eventually, fault_codes, fault_paths
from tests.e2e.words import DAY, Json, World, end, time_at, trigger, unique, wait

ARM_MEMBERS = {
    "armId", "subjectsReached", "goalEvents", "rate", "coldStart", "probabilityBest", "expectedLoss",
    "samplingWeight", "matured", "pending", "alwaysValidInterval95", "corrected", "correctedReason",
}  # fmt: skip
BRANCH_MEMBERS = {
    "stepId", "arms", "goalEventName", "leader", "potentialValueRemaining95", "allocationCheck", "drift",
    "snapshotId", "mode", "asOf",
}  # fmt: skip
IMPACT_MEMBERS = {
    "triggered", "converted", "exposureRate", "holdoutRate", "lift", "underpowered", "dailyTrend", "goalEventName",
    "goalSince", "matured", "liftCredibleInterval95", "probabilityPositive", "incrementalConversions",
    "alwaysValidLiftInterval95", "minimumDetectableLift80", "sampleRatio", "method", "asOf",
}  # fmt: skip


def pick(*arms: str, to: str = "exit", **more: Any) -> Json:
    """An adaptive branch whose arms all lead to one step."""
    return {"id": "pick", "type": "branch", "mode": "adaptive", "arms": [{"id": a, "next": to} for a in arms], **more}


def numbers(value: Any) -> Iterator[float]:
    """Every number in a reply."""
    match value:
        case bool():
            return
        case int() | float():
            yield value
        case dict():
            for inner in value.values():
                yield from numbers(inner)
        case list():
            for inner in value:
                yield from numbers(inner)


def branches(world: World, journey: str) -> list[Json]:
    found: list[Json] = world.api.get(f"/api/journeys/{journey}/branch-performance").ok()
    return found


def arms(world: World, journey: str) -> dict[str, Json]:
    (branch,) = branches(world, journey)
    return {arm["armId"]: arm for arm in branch["arms"]}


def impact(world: World, journey: str) -> Json:
    found: Json = world.api.get(f"/api/journeys/{journey}/calibrated-impact").ok()
    return found


class TestBranchPerformance:
    """GET .../branch-performance"""

    def test_an_arm_nobody_was_sent_to(self, world: World) -> None:
        """Zeros, cold start, and no interval; no number is missing or infinite."""
        came = unique("came")
        journey = world.journey([trigger("pick"), pick("a", "b"), end()], came, goalEventName="bought")

        (branch,) = branches(world, journey)

        assert branch.keys() == BRANCH_MEMBERS
        assert ("pick", "bought", "cold_start", None) == tuple(
            branch[name] for name in ("stepId", "goalEventName", "mode", "snapshotId")
        )
        for arm in branch["arms"]:
            assert arm.keys() == ARM_MEMBERS
            assert (0, 0, 0, True) == (arm["subjectsReached"], arm["goalEvents"], arm["rate"], arm["coldStart"])
            assert [0.5, 0.5] == pytest.approx([arm["samplingWeight"], arm["probabilityBest"]])
            assert [0, 1] == arm["alwaysValidInterval95"]
        assert all(math.isfinite(number) for number in numbers(branch))

    def test_a_draft_shows_its_branches(self, world: World) -> None:
        """Before it was ever published."""
        journey = world.draft([trigger("pick"), pick("a", "b", "c"), end()], goalEventName="bought")

        (branch,) = branches(world, journey)

        assert ["a", "b", "c"] == [arm["armId"] for arm in branch["arms"]]

    def test_conversions_are_counted_before_and_after_the_end(self, world: World) -> None:
        """Within the window from the routing, once, for the arm that the person has; pending until it closes."""
        came, bought = unique("came"), unique("bought")
        steps = [trigger("w"), wait("w", "P1D", "pick"), pick("a", "b"), end()]
        journey = world.journey(steps, came, goalEventName=bought, goalEventWindowDays=2)
        who = world.person()
        world.event(came, who)
        world.advance("P1DT1H")
        (arm_id,) = [name for name, arm in arms(world, journey).items() if arm["subjectsReached"] == 1]

        for _ in range(2):
            world.event(bought, who)
        now = world.settle()

        early = arms(world, journey)[arm_id]
        assert (1, 1, 1.0) == (early["subjectsReached"], early["goalEvents"], early["rate"])
        assert {"subjectsReached": 1, "goalEvents": 1} == early["pending"]
        world.advance("P2DT1H")
        late = arms(world, journey)[arm_id]
        assert {"subjectsReached": 1, "goalEvents": 1} == late["matured"]
        assert [(arm_id, "cold_start", 0.5)] == [
            (entry["metadata"]["armId"], entry["metadata"]["mode"], entry["metadata"]["propensity"])
            for entry in world.audit(journey, action="branch.routed")
        ]
        assert now < world.settle()

    def test_an_event_after_the_window_is_none(self, world: World) -> None:
        """A late one counts by when it happened."""
        came, bought = unique("came"), unique("bought")
        journey = world.journey(
            [trigger("pick"), pick("a", "b"), end()], came, goalEventName=bought, goalEventWindowDays=1
        )
        first, second = world.person(), world.person()
        for who in (first, second):
            world.event(came, who)
        routed_at = world.settle()
        world.advance("P3D")

        world.event(bought, first)
        world.event(bought, second, timestamp=time_at(routed_at + DAY // 2))
        world.settle()

        assert 1 == sum(arm["goalEvents"] for arm in arms(world, journey).values())
        assert {"exposed": 1, "holdout": 0} == impact(world, journey)["converted"]

    def test_a_branch_may_have_a_goal_of_its_own(self, world: World) -> None:
        """It counts for the arms, and not for the impact."""
        came, bought, read = unique("came"), unique("bought"), unique("read")
        journey = world.journey(
            [trigger("pick"), pick("a", "b", optimizationGoal={"eventName": read}), end()], came, goalEventName=bought
        )
        who = world.person()
        world.event(came, who)
        world.settle()
        world.event(read, who)
        world.settle()

        (branch,) = branches(world, journey)

        assert read == branch["goalEventName"]
        assert 1 == sum(arm["goalEvents"] for arm in branch["arms"])
        assert 0 == impact(world, journey)["converted"]["exposed"]

    def test_the_floor_ends_cold_start(self, world: World) -> None:
        """From then on people are routed by a snapshot, and an interval is shown."""
        came = unique("came")
        branch = pick("a", "b", minSampleFloor=2)
        journey = world.journey([trigger("pick"), branch, end()], came, goalEventName=unique("bought"))
        world.api.post("/api/events", {"events": [{"type": came, "endUserId": unique("usr")} for _ in range(40)]}).ok(
            202
        )
        world.settle()

        (shown,) = branches(world, journey)
        routed = world.walk(journey, came)

        assert "adaptive" == shown["mode"]
        assert all("coldStart" not in arm and len(arm["credibleInterval95"]) == 2 for arm in shown["arms"])
        detail = next(entry["detail"] for entry in routed["history"] if entry["event"] == "branch.routed")
        assert ("adaptive", shown["snapshotId"]) == (detail["mode"], detail["snapshotId"])
        assert detail["propensity"] == detail["weights"][detail["armId"]]


class TestVersions:
    """Counts go on over versions, unless the author asks for a reset."""

    def test_a_new_version_keeps_counts_and_says_what_changed(self, world: World) -> None:
        """An arm that leads to another text shows the version that made it so."""
        came = unique("came")
        steps = [trigger("pick"), pick("a", "b"), end()]
        journey = world.journey(steps, came, goalEventName=unique("bought"))
        for _ in range(3):
            world.event(came, world.person())
        world.settle()
        changed = pick("a", "b")
        changed["arms"][0]["next"] = "later"
        world.edit(journey, steps=[trigger("pick"), changed, wait("later", "P1D", "exit"), end()])
        world.publish(journey)

        after = arms(world, journey)

        assert 3 == sum(arm["subjectsReached"] for arm in after.values())
        assert 2 == after["a"]["contentChangedInVersion"]
        assert "contentChangedInVersion" not in after["b"]

    def test_reset_arms_count_anew(self, world: World) -> None:
        """That arm alone; the choice is in the audit."""
        came = unique("came")
        steps = [trigger("pick"), pick("a", "b"), end()]
        journey = world.journey(steps, came, goalEventName=unique("bought"))
        world.api.post("/api/events", {"events": [{"type": came, "endUserId": unique("usr")} for _ in range(20)]}).ok(
            202
        )
        world.settle()
        before = arms(world, journey)
        world.edit(journey, steps=[trigger("pick", name="In"), *steps[1:]])

        reset = [{"stepId": "pick", "armId": "a"}]
        world.api.post(f"/api/journeys/{journey}/publish", {"resetArms": reset}).ok()

        after = arms(world, journey)
        assert before["a"]["subjectsReached"] > 0
        assert (0, before["b"]["subjectsReached"]) == (after["a"]["subjectsReached"], after["b"]["subjectsReached"])
        assert 2 == after["a"]["resetInVersion"]
        assert reset == world.audit(journey, action="published")[0]["metadata"]["resetArms"]

    def test_unknown_arms_cannot_be_reset(self, world: World) -> None:
        """Every one of them is named."""
        journey = world.draft([trigger("pick"), pick("a", "b"), end()], goalEventName="bought")
        reset = [{"stepId": "nope", "armId": "a"}, {"stepId": "pick", "armId": "c"}]

        problem = world.api.post(f"/api/journeys/{journey}/publish", {"resetArms": reset}).problem(400)

        assert {"/resetArms/0/stepId", "/resetArms/1/armId"} == fault_paths(problem)
        assert {"unknown_step", "unknown_arm"} == set(fault_codes(problem))


class TestCalibratedImpact:
    """GET .../calibrated-impact"""

    def test_without_a_goal_there_are_zeros(self, world: World) -> None:
        """And no name; thirty days all the same."""
        came = unique("came")
        journey = world.journey([trigger("exit"), end()], came)
        world.walk(journey, came)

        found = impact(world, journey)

        assert found.keys() == IMPACT_MEMBERS
        assert (None, None) == (found["goalEventName"], found["lift"])
        assert {"exposed": 0, "holdout": 0} == found["triggered"] == found["converted"]
        assert 30 == len(found["dailyTrend"])
        assert all(math.isfinite(number) for number in numbers(found))

    def test_a_draft_has_zeros(self, world: World) -> None:
        """Nobody can have entered."""
        assert 0 == impact(world, world.draft(goalEventName="bought"))["triggered"]["exposed"]

    def test_both_cohorts_are_counted_by_the_day(self, apart: World) -> None:
        """People who are held out are triggered, and convert like anybody."""
        came, bought = unique("came"), unique("bought")
        journey = apart.journey([trigger("exit"), end()], came, goalEventName=bought)
        inside = unique("usr")
        apart.event(came, inside)
        apart.settle()
        apart.api.patch("/api/workspace", {"holdout": {"percent": 100}}).ok()
        outside = unique("usr")
        apart.event(came, outside)
        now = apart.settle()
        for who in (inside, outside):
            apart.event(bought, who)
        apart.settle()

        found = impact(apart, journey)

        assert {"exposed": 1, "holdout": 1} == found["triggered"] == found["converted"]
        assert (1.0, 1.0, 0.0, True) == (
            found["exposureRate"],
            found["holdoutRate"],
            found["lift"],
            found["underpowered"],
        )
        today = found["dailyTrend"][-1]
        assert (time_at(now)[:10], False) == (today["date"], today["mature"])
        assert {"exposed": 1, "holdout": 1} == today["triggered"]
        assert {"exposed": 0, "holdout": 0} == found["matured"]["triggered"]
        assert found["liftCredibleInterval95"] is None

    def test_a_changed_goal_counts_from_then_on(self, world: World) -> None:
        """Runs keep the goal they started under, and reports count those that started since."""
        came, first, second = unique("came"), unique("first"), unique("second")
        journey = world.journey([trigger("exit"), end()], came, goalEventName=first)
        early = world.person()
        world.event(came, early)
        world.settle()

        since = world.edit(journey, goalEventName=second)["goalSince"]
        late = world.person()
        world.event(came, late)
        world.settle()
        for who in (early, late):
            world.event(second, who)
        world.settle()

        found = impact(world, journey)
        assert (second, since) == (found["goalEventName"], found["goalSince"])
        assert ({"exposed": 1, "holdout": 0}, {"exposed": 1, "holdout": 0}) == (found["triggered"], found["converted"])

    def test_persons_are_counted_once_for_the_ratio(self, apart: World) -> None:
        """Executions are what is counted; how many of them are repeats is said."""
        came = unique("came")
        journey = apart.journey([trigger("exit"), end()], came, goalEventName="bought")
        who = unique("usr")
        for _ in range(4):
            apart.event(came, who)
        apart.settle()

        found = impact(apart, journey)

        assert (4, 0.75) == (found["triggered"]["exposed"], found["method"]["repeatShare"])

    def test_the_days_end_today(self, world: World) -> None:
        """Thirty in a row, oldest first."""
        journey = world.journey([trigger("exit"), end()], unique("came"), goalEventName="bought")

        days = [day["date"] for day in impact(world, journey)["dailyTrend"]]

        now = world.settle()
        assert [time_at(now - DAY * back)[:10] for back in range(29, -1, -1)] == days


class TestWhoMayRead:
    """Viewers read; nobody reads another workspace's."""

    @pytest.mark.parametrize("report", ["branch-performance", "calibrated-impact", "stream"])
    def test_another_workspace_has_no_such_journey(self, world: World, apart: World, report: str) -> None:
        """404, as for one that does not exist."""
        journey = world.journey([trigger("exit"), end()], unique("came"))

        apart.api.get(f"/api/journeys/{journey}/{report}").problem(404, "not_found")

    def test_a_viewer_may_read_and_not_recount(self, server: Server, apart: World) -> None:
        """A recount is work for the server."""
        key = apart.api.post("/api/workspace/api-keys", {"name": "eye", "role": "viewer"}).ok(201)["secret"]
        viewer = by_key(server.port, key)
        journey = apart.journey([trigger("exit"), end()], unique("came"))

        viewer.get(f"/api/journeys/{journey}/branch-performance").ok()
        viewer.get(f"/api/journeys/{journey}/calibrated-impact").ok()
        viewer.post(f"/api/journeys/{journey}/stats/recount").problem(403, "forbidden")

    def test_a_recount_agrees(self, world: World) -> None:
        """From facts and from executions."""
        came = unique("came")
        journey = world.journey([trigger("pick"), pick("a", "b"), end()], came, goalEventName="bought")
        for _ in range(3):
            world.event(came, world.person())
        world.settle()

        found = world.api.post(f"/api/journeys/{journey}/stats/recount").ok()

        assert (True, 3, []) == (found["agrees"], found["executions"], found["differences"])


class TestKilled:
    """Counts after kill -9."""

    def test_counts_equal_a_recount(self, own_server: Server) -> None:
        """Killed while people are routed and buy; what was acknowledged is counted, once."""
        own_server.start()
        own_server.owner.patch("/api/workspace", {"holdout": {"percent": 20}}).ok()
        world = World(own_server.owner)
        came, bought = unique("came"), unique("bought")
        branch = pick("a", "b", minSampleFloor=50)
        journey = world.journey([trigger("pick"), branch, end()], came, goalEventName=bought)
        events = [
            {"id": f"{kind}-{i}", "type": kind, "endUserId": f"u{i}"} for i in range(400) for kind in (came, bought)
        ]
        for at in range(0, len(events), 100):
            world.api.post("/api/events", {"events": events[at : at + 100]}).ok(202)
            if at % 300 == 200:
                own_server.kill()
                own_server.start()
        world.settle()

        found = world.api.post(f"/api/journeys/{journey}/stats/recount").ok()
        shown = impact(world, journey)

        assert (True, []) == (found["agrees"], found["differences"])
        assert 400 == sum(shown["triggered"].values()) == sum(shown["converted"].values())
        assert shown["triggered"]["exposed"] == sum(arm["subjectsReached"] for arm in arms(world, journey).values())


class Stream:
    """A reader of the live stream."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self.last_id = ""

    def next(self, *names: str) -> tuple[str, Any]:
        """The next event of one of these names."""
        event: dict[str, str] = {}
        while True:
            line = self._response.readline().decode().rstrip("\n")
            if not line:
                if event.get("event") in names:
                    self.last_id = event["id"]
                    return event["event"], json.loads(event["data"])
                event = {}
            elif not line.startswith(":"):
                name, _, value = line.partition(": ")
                event[name] = value


@contextmanager
def streaming(client: Client, journey: str, last_id: str | None = None) -> Iterator[Stream]:
    """Read a journey's stream."""
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=20)
    headers = {**client._headers, **({} if last_id is None else {"Last-Event-ID": last_id})}
    try:
        connection.request("GET", f"/api/journeys/{journey}/stream", headers=headers)
        response = connection.getresponse()
        assert 200 == response.status
        assert "text/event-stream" == response.getheader("Content-Type")
        assert response.getheader("X-Request-Id")
        assert "journeys" == response.getheader("Server")
        yield Stream(response)
    finally:
        connection.close()


class TestStream:
    """GET .../stream"""

    def test_what_happens_is_told(self, world: World) -> None:
        """An execution as it starts and as it ends, and the steps' counts."""
        came = unique("came")
        journey = world.journey([trigger("w"), wait("w", "P1D", "exit"), end()], came)
        who = world.person()
        with streaming(world.api, journey) as stream:
            name, none = stream.next("stats", "execution")
            world.event(came, who)
            _, running = stream.next("execution")
            _, stats = stream.next("stats")
            world.advance("P2D")
            _, done = stream.next("execution")

        (shown,) = world.executions(journey)
        assert ("stats", ["trigger", "w", "exit"]) == (name, [step["stepId"] for step in none])
        assert (who, "RUNNING", "w") == (running["endUserId"], running["status"], running["currentStepId"])
        assert {"stepId": "w", "executed": 0, "skipped": 0, "failed": 0, "waiting": 1} in stats
        assert shown == done

    def test_a_reader_who_comes_back_misses_nothing(self, world: World) -> None:
        """With the id of the last event; also what happened while nobody read."""
        came = unique("came")
        journey = world.journey([trigger("exit"), end()], came)
        with streaming(world.api, journey) as stream:
            world.event(came, "first")
            stream.next("execution")
            last = stream.last_id
        world.event(came, "second")
        world.settle()

        with streaming(world.api, journey, last) as stream:
            assert "second" == stream.next("execution")[1]["endUserId"]

    def test_a_look_at_its_head_ends(self, world: World) -> None:
        """HEAD answers as GET would, and does not stay open."""
        journey = world.journey([trigger("exit"), end()], unique("came"))

        reply = world.api.request("HEAD", f"/api/journeys/{journey}/stream", timeout=10)

        assert (200, b"") == (reply.status, reply.raw)

    def test_other_journeys_are_not_told(self, world: World) -> None:
        """Each reader hears of one journey."""
        came, other = unique("came"), unique("other")
        journey = world.journey([trigger("exit"), end()], came)
        world.journey([trigger("exit"), end()], other)
        with streaming(world.api, journey) as stream:
            stream.next("stats")
            world.event(other, "stranger")
            world.settle()
            world.event(came, "ours")

            assert "ours" == stream.next("execution")[1]["endUserId"]

    def test_a_server_with_readers_ends_in_time(self, own_server: Server) -> None:
        """Streams end when it stops, and it exits 0."""
        own_server.start()
        world = World(own_server.owner)
        journey = world.journey([trigger("exit"), end()], unique("came"))
        with streaming(world.api, journey) as stream:
            stream.next("stats")

            assert 0 == own_server.stop()


def test_a_report_is_fresh(world: World) -> None:
    """What was accepted is counted within five seconds, without anybody moving the clock."""
    came = unique("came")
    journey = world.journey([trigger("pick"), pick("a", "b"), end()], came, goalEventName="bought")
    world.event(came, world.person())

    eventually(lambda: sum(arm["subjectsReached"] for arm in arms(world, journey).values()) == 1, seconds=5)
