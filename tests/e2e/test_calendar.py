"""Waits by the calendar and by a condition, and gates by the clock, as a customer's program sees them. Contract 2.1, 5."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.e2e.words import (
    DAY,
    HOUR,
    Json,
    World,
    attr,
    end,
    entries,
    fired,
    ms_of,
    path_of,
    send,
    time_at,
    trigger,
    unique,
    wait,
)

BERLIN, TOKYO = "Europe/Berlin", "Asia/Tokyo"


def until(to: str = "exit", **more: object) -> Json:
    """A wait until a time, called `w`."""
    return {"id": "w", "type": "wait", "mode": "until_time", "next": to, **more}


def awaited(condition: Json, timeout: str = "P9D") -> Json:
    """A wait until a condition holds, called `w`; in time leads to `yes`, too late to `no`."""
    ways = {"next": "yes", "timeout": timeout, "onTimeout": "no"}
    return {"id": "w", "type": "wait", "mode": "until_condition", "condition": condition, **ways}


def waiting(world: World, step: Json, person: str, data: Json | None = None) -> Json:
    """The execution of a person who came to a wait `w`."""
    event = unique("ev")
    return world.walk(world.journey([trigger("w"), step, end()], event=event), event, person, data)


def next_local(after_ms: int, zone: str, clock: time, weekdays: set[int] | None = None) -> str:
    """The first moment strictly after `after_ms` at which it is `clock` in the zone, on one of the weekdays."""
    day = datetime.fromtimestamp(after_ms / 1000, ZoneInfo(zone)).date()
    while True:
        moment = datetime.combine(day, clock, ZoneInfo(zone)).astimezone(UTC)
        ms = round(moment.timestamp() * 1000)
        if ms > after_ms and (weekdays is None or day.weekday() in weekdays):
            return time_at(ms)
        day += timedelta(days=1)


class TestUntilTime:
    """`until_time`: an instant, a local time, a date in the profile."""

    def test_an_instant(self, world: World) -> None:
        """`at` is the same moment for everybody."""
        at = time_at(world.settle() // 1000 * 1000 + 3 * DAY)
        run = waiting(world, until(at=at), world.person(timezone=TOKYO))

        assert at == run["due"]

    @pytest.mark.parametrize("zone", [BERLIN, TOKYO, "America/St_Johns"])
    def test_a_local_time_is_the_persons_own(self, world: World, zone: str) -> None:
        """`localTime` is the next time their clock says so."""
        run = waiting(world, until(localTime="09:30"), world.person(timezone=zone))

        assert next_local(ms_of(run["startedAt"]), zone, time(9, 30)) == run["due"]

    def test_on_given_weekdays(self, world: World) -> None:
        """`weekdays` are those of the person's calendar."""
        run = waiting(world, until(localTime="08:00", weekdays=["mon", "thu"]), world.person(timezone=TOKYO))

        assert next_local(ms_of(run["startedAt"]), TOKYO, time(8), {0, 3}) == run["due"]

    def test_a_date_in_the_profile(self, world: World) -> None:
        """A date means 00:00 where the person lives; `offset` moves it."""
        day = datetime.fromtimestamp(world.settle() / 1000, UTC).date() + timedelta(days=20)
        person = world.person({"renewal": {"on": day.isoformat()}}, timezone=BERLIN)
        run = waiting(world, until(attribute="renewal.on", offset="-P7D"), person)
        local = datetime.combine(day - timedelta(days=7), time(0), ZoneInfo(BERLIN))

        assert time_at(round(local.timestamp() * 1000)) == run["due"]

    @pytest.mark.parametrize("attributes", [{}, {"renewal": "soon"}, {"renewal": {"a": 1}}])
    def test_a_date_that_is_none(self, world: World, attributes: Json) -> None:
        """Missing or unreadable: the person goes on at once, and history says so."""
        run = waiting(world, until(attribute="renewal"), world.person(attributes))

        assert "SUCCEEDED" == run["status"]
        assert [entry for entry in run["history"] if "w" == entry["stepId"]]

    def test_a_moment_past(self, world: World) -> None:
        """Goes on at once."""
        run = waiting(world, until(at="2020-01-01T00:00:00.000Z"), world.person())

        assert "SUCCEEDED" == run["status"]


class TestUntilCondition:
    """`until_condition`: woken by profile changes and events, or by the timeout."""

    @pytest.fixture
    def at_the_wait(self, world: World) -> tuple[str, str]:
        """A person in a wait for the plan `pro` or two visits: journey and person."""
        event, person = unique("ev"), world.person({"plan": "free"})
        condition = {"kind": "or", "clauses": [attr("plan", "equals", "pro"), fired(f"v-{person}", atLeast=2)]}
        journey = world.journey([trigger("w"), awaited(condition), end("yes"), end("no")], event=event)
        assert "w" == world.walk(journey, event, person)["currentStepId"]
        return journey, person

    def test_a_profile_change_wakes_it(self, world: World, at_the_wait: tuple[str, str]) -> None:
        """Another change does not."""
        journey, person = at_the_wait
        world.api.patch(f"/api/subjects/{person}", {"attributes": {"plan": "team"}}).ok()
        world.settle()
        assert "w" == world.execution(journey, person)["currentStepId"]
        world.api.patch(f"/api/subjects/{person}", {"attributes": {"plan": "pro"}}).ok()
        world.settle()

        assert "yes" == world.execution(journey, person)["currentStepId"]

    def test_the_event_that_makes_it_true_wakes_it(self, world: World, at_the_wait: tuple[str, str]) -> None:
        """The first of two does not."""
        journey, person = at_the_wait
        world.event(f"v-{person}", person)
        world.settle()
        assert "w" == world.execution(journey, person)["currentStepId"]
        world.event(f"v-{person}", person)
        world.settle()
        run = world.execution(journey, person)

        assert "yes" == run["currentStepId"]
        assert ["condition"] == [entry["detail"]["firedBy"] for entry in entries(run, "wait.fired")]

    def test_in_the_end_the_timeout(self, world: World, at_the_wait: tuple[str, str]) -> None:
        """At its own moment."""
        journey, person = at_the_wait
        world.advance("P10D")
        run = world.execution(journey, person)

        assert "no" == run["currentStepId"]
        assert ("w", "wait.timed_out") in path_of(run)
        assert 9 * DAY == ms_of(run["endedAt"]) - ms_of(run["startedAt"])


def next_evening(world: World, zone: str) -> int:
    """Move the clock to 23:30 in the zone; the time it is, in ms."""
    now = world.settle()
    evening = ms_of(next_local(now, zone, time(23, 30)))
    return world.advance(f"PT{(evening - now) / 1000:.3f}S")


class TestGates:
    """Quiet hours and caps before each send."""

    @pytest.fixture
    def quiet(self, apart: World) -> World:
        """A workspace that is quiet from 22 to 8."""
        apart.api.patch("/api/workspace", {"quietHours": {"start": "22:00", "end": "08:00", "behaviour": "defer"}}).ok()
        return apart

    def sending(self, world: World) -> tuple[str, str]:
        """A journey that sends one mail, and its event."""
        event = unique("ev")
        return world.journey([trigger("s"), send("s", world.comm(), "exit"), end()], event=event), event

    def test_quiet_hours_put_it_off_to_the_persons_morning(self, quiet: World) -> None:
        """Somebody for whom it is day gets it at once."""
        journey, event = self.sending(quiet)
        now = next_evening(quiet, BERLIN)
        sleeper, other = quiet.person(timezone=BERLIN), quiet.person(timezone="Pacific/Honolulu")
        quiet.event(event, sleeper)
        quiet.event(event, other)
        quiet.settle()
        morning = next_local(now, BERLIN, time(8))

        assert [] == quiet.messages(endUserId=sleeper)
        assert 1 == len(quiet.messages(endUserId=other))
        assert 1 == len(quiet.audit(journey, action="send.deferred"))
        quiet.advance("PT12H")
        (message,) = quiet.messages(endUserId=sleeper)
        assert 0 <= ms_of(message["sentAt"]) - ms_of(morning) < HOUR / 60

    def test_quiet_hours_may_skip(self, quiet: World) -> None:
        """The reason is in the timeline, and the person goes on."""
        quiet.api.patch("/api/workspace", {"quietHours": {"start": "22:00", "end": "08:00", "behaviour": "skip"}}).ok()
        journey, event = self.sending(quiet)
        next_evening(quiet, BERLIN)
        person = quiet.person(timezone=BERLIN)
        run = quiet.walk(journey, event, person)

        assert "SUCCEEDED" == run["status"]
        assert [] == quiet.messages(endUserId=person)
        assert ["quiet_hours"] == [one["metadata"]["reason"] for one in quiet.audit(journey, action="send.skipped")]

    def test_a_thousand_executions_of_one_person_share_three_places(self, apart: World) -> None:
        """Started at once: three mails, the others skipped with the reason; a day later there is room again."""
        apart.api.patch("/api/workspace", {"frequencyCaps": [{"max": 3, "per": "P1D"}]}).ok()
        journey, event = self.sending(apart)
        person = apart.person()
        apart.api.post("/api/events", {"events": [{"type": event, "endUserId": person}] * 1000}).ok(202)
        apart.settle()

        assert 3 == len(apart.messages(endUserId=person))
        assert {"executed": 3, "skipped": 997, "failed": 0, "waiting": 0} == {
            name: count for name, count in apart.step_stats(journey)["s"].items() if name != "stepId"
        }
        reasons = {one["metadata"]["reason"] for one in apart.audit(journey, action="send.skipped")}
        assert {"frequency_cap_exceeded"} == reasons
        apart.advance("P1DT1S")
        apart.event(event, person)
        apart.settle()
        assert 4 == len(apart.messages(endUserId=person))

    def test_the_daily_cap_is_the_persons_calendar_day(self, apart: World) -> None:
        """Two at 23:30 local; half an hour later it is another day."""
        apart.api.patch("/api/workspace", {"dailyCap": {"max": 2}}).ok()
        journey, event = self.sending(apart)
        next_evening(apart, TOKYO)
        person = apart.person(timezone=TOKYO)
        for _ in range(3):
            apart.event(event, person)
            apart.settle()
        assert 2 == len(apart.messages(endUserId=person))
        assert ["daily_cap_exceeded"] == [
            one["metadata"]["reason"] for one in apart.audit(journey, action="send.skipped")
        ]
        apart.advance("PT1H")
        apart.event(event, person)
        apart.settle()

        assert 3 == len(apart.messages(endUserId=person))

    def test_a_cap_of_one_channel_leaves_the_others(self, apart: World) -> None:
        """`channel` says whose cap it is."""
        apart.api.patch("/api/workspace", {"frequencyCaps": [{"channel": "email", "max": 1, "per": "P7D"}]}).ok()
        event = unique("ev")
        steps = [
            trigger("a"),
            send("a", apart.comm(), "b"),
            send("b", apart.comm(), "c"),
            send("c", apart.comm("in_app_push"), "exit", "in_app_push"),
            end(),
        ]
        run = apart.walk(apart.journey(steps, event=event), event)

        assert {("a", "send.executed"), ("b", "send.skipped"), ("c", "send.executed")} == {
            one for one in path_of(run) if one[1].startswith("send.")
        }

    def test_over_the_rate_sends_wait(self, apart: World) -> None:
        """`sendRate`: sixty people at two a second take half a minute, and nobody is dropped."""
        event = unique("ev")
        steps = [trigger("s"), send("s", apart.comm(), "exit"), end()]
        journey = apart.journey(steps, event=event, settings={"sendRate": {"perSecond": 2}})
        people = [apart.person() for _ in range(60)]
        apart.api.post("/api/events", {"events": [{"type": event, "endUserId": one} for one in people]}).ok(202)
        apart.settle()
        at_once = len(apart.messages(journeyId=journey))
        apart.advance("PT1M")
        sent = sorted(ms_of(message["sentAt"]) for message in apart.messages(journeyId=journey))

        assert at_once < 30
        assert 60 == len(sent)
        assert sent[-1] - sent[0] >= 20_000


def test_a_zone_that_is_missing_is_the_workspaces(apart: World) -> None:
    """A person without one keeps the workspace's hours."""
    apart.api.patch("/api/workspace", {"timezone": TOKYO}).ok()
    run = waiting(apart, until(localTime="09:30"), apart.person())

    assert next_local(ms_of(run["startedAt"]), TOKYO, time(9, 30)) == run["due"]


def test_a_journeys_zone_comes_before_the_workspaces(apart: World) -> None:
    """`settings.timezone`."""
    apart.api.patch("/api/workspace", {"timezone": TOKYO}).ok()
    event = unique("ev")
    steps = [trigger("w"), until(localTime="09:30"), end()]
    journey = apart.journey(steps, event=event, settings={"timezone": BERLIN})
    run = apart.walk(journey, event)

    assert next_local(ms_of(run["startedAt"]), BERLIN, time(9, 30)) == run["due"]


def test_waits_that_became_due_while_the_server_was_away_are_caught_up(world: World) -> None:
    """In one large step of the clock, everybody leaves at their own moment."""
    event = unique("ev")
    journey = world.journey([trigger("w"), wait("w", "P2D", "v"), wait("v", "P2D", "exit"), end()], event=event)
    run = world.walk(journey, event)
    world.advance("P30D")
    done = world.detail(journey, run["executionId"])

    assert 4 * DAY == ms_of(done["endedAt"]) - ms_of(done["startedAt"])
