"""Journeys that start whole audiences at moments of a schedule, over REST and on the development clock."""

import datetime as dt
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest

from tests.e2e.server import Server, fault_codes, fault_paths
from tests.e2e.words import DAY, HOUR, Json, World, attr, end, ms_of, time_at, wait


def schedule(to: str, **more: object) -> Json:
    """A trigger by schedule."""
    return {"id": "trigger", "type": "trigger", "mode": "schedule", "next": to, **more}


@pytest.fixture
def alone(apart: World) -> Iterator[World]:
    """A workspace of its own, whose journeys are archived when the test is over: the clock is everybody's."""
    yield apart
    for journey in apart.api.all_of("/api/journeys"):
        if journey["status"] not in ("draft", "archived"):
            apart.api.post(f"/api/journeys/{journey['id']}/archive").ok()


def starts(world: World, journey: str) -> list[str]:
    """When executions started, oldest first."""
    return sorted(one["startedAt"] for one in world.executions(journey))


class TestAt:
    """One moment."""

    def test_every_member_starts_at_the_moment_itself(self, alone: World) -> None:
        """Membership is asked for when it comes; what they begin goes on from there."""
        ann, bob = alone.person({"plan": "pro"}), alone.person({"plan": "free"})
        at = alone.settle() + 2 * DAY
        steps = [schedule("w", at=time_at(at)), wait("w", "PT1H", "exit"), end()]
        made = alone.journey(steps, audienceId=alone.audience(attr("plan", "equals", "pro")))
        alone.api.patch(f"/api/subjects/{bob}", {"attributes": {"plan": "pro"}}).ok()
        alone.api.patch(f"/api/subjects/{ann}", {"attributes": {"plan": "free"}}).ok()
        alone.advance("P3D")

        (one,) = alone.executions(made)
        assert (bob, time_at(at), time_at(at + HOUR)) == (one["endUserId"], one["startedAt"], one["endedAt"])

    def test_without_an_audience_every_subject_starts(self, alone: World) -> None:
        """Local time is read in the workspace's zone."""
        alone.api.patch("/api/workspace", {"timezone": "Asia/Tokyo"}).ok()
        people = {alone.person(), alone.person()}
        day = dt.datetime.fromtimestamp(alone.settle() / 1000, ZoneInfo("Asia/Tokyo")).date() + dt.timedelta(days=2)
        made = alone.journey([schedule("exit", at=f"{day}T09:00"), end()])
        alone.advance("P3D")

        assert people == {one["endUserId"] for one in alone.executions(made)}
        assert {f"{day}T00:00:00.000Z"} == set(starts(alone, made))


class TestRule:
    """Moment after moment."""

    def test_a_morning_stays_a_morning_over_a_change_of_clocks(self, own_server: Server) -> None:
        """Nine o'clock in Berlin, every day for half a year."""
        server = own_server.start()
        server.owner.patch("/api/workspace", {"holdout": {"percent": 0}}).ok()
        world = World(server.owner)
        world.person()
        made = world.journey([schedule("exit", rrule="FREQ=DAILY;BYHOUR=9", timezone="Europe/Berlin"), end()])
        seen: set[str] = set()
        for _ in range(10):  # executions that are over are kept for a month
            world.advance("P19D")
            seen.update(starts(world, made))

        berlin = ZoneInfo("Europe/Berlin")
        moments = [dt.datetime.fromisoformat(at).astimezone(berlin) for at in seen]
        assert 190 == len(moments)
        assert {(9, 0, 0, 0)} == {(one.hour, one.minute, one.second, one.microsecond) for one in moments}
        assert 190 == len({one.date() for one in moments})
        assert 2 == len({one.utcoffset() for one in moments})

    def test_paused_it_passes_moments_over(self, alone: World) -> None:
        """And tells; the next one after it is resumed comes."""
        alone.person()
        made = alone.journey([schedule("exit", rrule="FREQ=DAILY;BYHOUR=9"), end()])
        alone.settle()
        alone.api.post(f"/api/journeys/{made}/pause").ok()
        alone.advance("P2D")
        assert [] == starts(alone, made)
        alone.api.post(f"/api/journeys/{made}/resume").ok()
        alone.advance("P1D")

        assert 1 == len(starts(alone, made))
        reasons = [one["metadata"]["reason"] for one in alone.audit(made, action="trigger.blocked")]
        assert ["journey_paused", "journey_paused"] == reasons

    def test_a_restart_changes_nothing(self, own_server: Server) -> None:
        """The next moment is in the store."""
        server = own_server.start()
        server.owner.patch("/api/workspace", {"holdout": {"percent": 0}}).ok()
        world = World(server.owner)
        world.person()
        made = world.journey([schedule("exit", rrule="FREQ=DAILY;BYHOUR=9"), end()])
        world.advance("P1D")
        server.kill()
        server.start()
        world = World(server.owner)
        world.advance("P1D")

        first, second = starts(world, made)
        assert DAY == ms_of(second) - ms_of(first)


class TestPublishing:
    """What cannot be followed is refused, at its member."""

    @pytest.mark.parametrize(
        "rule",
        [
            "FREQ=SECONDLY",
            "FREQ=MINUTELY;BYSECOND=0,30",
            "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
            "FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=31",
            "FREQ=DAILY;UNTIL=20200101T000000Z",
            "FREQ=SOMETIMES",
            "BYHOUR=9",
            "every day at nine",
            "FREQ=DAILY;BYHOUR=24",
            "FREQ=DAILY;INTERVAL=0",
            "FREQ=DAILY;COUNT=1;UNTIL=20300101T000000Z",
            "FREQ=DAILY\nRRULE:FREQ=DAILY",
        ],
    )
    def test_a_rule(self, world: World, rule: str) -> None:
        """One that is none, fires too often, or never does."""
        made = world.draft([schedule("exit", rrule=rule), end()])
        problem = world.api.post(f"/api/journeys/{made}/publish").problem(400, "graph_invalid")

        assert ["invalid_schedule"] == fault_codes(problem)
        assert {"/steps/0/rrule"} == fault_paths(problem)

    def test_a_moment_that_is_past(self, world: World) -> None:
        """`schedule_past`."""
        made = world.draft([schedule("exit", at="2020-01-01T00:00:00Z"), end()])
        problem = world.api.post(f"/api/journeys/{made}/publish").problem(400, "graph_invalid")

        assert [("/steps/0/at", "schedule_past")] == [(one["path"], one["code"]) for one in problem["errors"]]

    def test_no_schedule_at_all(self, world: World) -> None:
        """`schedule_missing`."""
        made = world.draft([schedule("exit"), end()])
        problem = world.api.post(f"/api/journeys/{made}/publish").problem(400, "graph_invalid")

        assert ["schedule_missing"] == fault_codes(problem)

    @pytest.mark.parametrize(
        "rule",
        [
            "FREQ=WEEKLY;BYDAY=MO,WE;BYHOUR=9;BYMINUTE=30;COUNT=1",
            "RRULE:FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=17;COUNT=1",
            "DTSTART:20300101T090000\nRRULE:FREQ=YEARLY;COUNT=1",
            "FREQ=HOURLY;INTERVAL=6;UNTIL=20300101",
        ],
    )
    def test_a_rule_that_can_be_followed(self, alone: World, rule: str) -> None:
        """In each way it may be written."""
        alone.journey([schedule("exit", rrule=rule, timezone="Europe/Berlin"), end()])
