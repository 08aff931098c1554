"""Waits by the calendar and by a condition, and gates by the clock, as a customer's program sees them. Contract 2.1, 5."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.e2e.server import Server, eventually
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

    def test_who_moves_while_waiting_keeps_the_moment(self, world: World) -> None:
        """It was fixed when the wait began; the next wait is of the new place."""
        event, person = unique("ev"), world.person(timezone=BERLIN)
        steps = [trigger("w"), until("v", localTime="09:30"), {**until(localTime="09:30"), "id": "v"}, end()]
        journey = world.journey(steps, event=event)
        run = world.walk(journey, event, person)
        fixed = run["due"]
        world.api.patch(f"/api/subjects/{person}", {"timezone": TOKYO}).ok()
        world.settle()
        assert fixed == world.detail(journey, run["executionId"])["due"]
        world.advance("P1DT1H")
        run = world.detail(journey, run["executionId"])

        assert fixed == entries(run, "wait.fired")[0]["at"]
        assert next_local(ms_of(fixed), TOKYO, time(9, 30)) == entries(run, "wait.started")[1]["detail"]["until"]

    @pytest.mark.parametrize(
        ("starts", "clock", "expected"),
        [
            ("2027-03-27T12:00:00.000Z", "02:30", "2027-03-28T01:00:00.000Z"),  # the clock goes from 2 to 3
            ("2027-10-30T12:00:00.000Z", "02:30", "2027-10-31T00:30:00.000Z"),  # 02:30 comes twice: the first
            ("2027-10-31T00:31:00.000Z", "02:30", "2027-11-01T01:30:00.000Z"),  # and only once a day
        ],
    )
    def test_a_gap_and_an_overlap(self, world: World, starts: str, clock: str, expected: str) -> None:
        """A time that no clock shows comes with the first instant after the gap; one shown twice comes once."""
        journey = world.journey([trigger("w"), until(localTime=clock), end()], event=unique("ev"))
        body = {"subjectAttributes": {"timezone": BERLIN}, "startAt": starts}
        run = world.api.post(f"/api/journeys/{journey}/simulate", body).ok()

        assert [expected] == [one["wait"]["until"] for one in run["trace"] if "wait" in one]

    @pytest.mark.parametrize(
        ("starts", "expected"),
        [
            ("2027-03-27T22:00:00.000Z", "2027-03-28T06:00:00.000Z"),  # a night of nine hours
            ("2027-10-30T21:00:00.000Z", "2027-10-31T07:00:00.000Z"),  # and one of eleven
        ],
    )
    def test_a_night_is_as_long_as_the_clocks_make_it(self, apart: World, starts: str, expected: str) -> None:
        """Quiet from 22 to 8 where the person lives."""
        hours = {"start": "22:00", "end": "08:00", "behaviour": "defer"}
        apart.api.patch("/api/workspace", {"quietHours": hours}).ok()
        journey = apart.journey([trigger("s"), send("s", apart.comm(), "exit"), end()], event=unique("ev"))
        body = {"subjectAttributes": {"timezone": BERLIN}, "startAt": starts}
        run = apart.api.post(f"/api/journeys/{journey}/simulate", body).ok()

        assert [expected] == [one["deferredUntil"] for one in run["trace"] if "s" == one["stepId"]]


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

    def test_time_alone_may_make_it_true(self, world: World) -> None:
        """Nobody was there for two days: it is so two days after the last visit, which a later visit puts off."""
        event, person = unique("ev"), world.person()
        away = {**fired(f"v-{person}", days=2), "kind": "event_not_fired"}
        journey = world.journey([trigger("w"), awaited(away), end("yes"), end("no")], event=event)
        world.event(f"v-{person}", person)
        world.walk(journey, event, person)
        world.advance("P1D")
        world.event(f"v-{person}", person)
        last = world.settle()
        world.advance("P1DT23H")
        assert "w" == world.execution(journey, person)["currentStepId"]
        world.advance("PT2H")
        run = world.execution(journey, person)

        assert "yes" == run["currentStepId"]
        assert ["condition"] == [entry["detail"]["firedBy"] for entry in entries(run, "wait.fired")]
        assert 0 <= 2 * DAY - (ms_of(run["endedAt"]) - last) < HOUR / 60

    def test_a_dry_run_lets_time_make_it_true_as_well(self, world: World) -> None:
        """Two days after the visit on the second day."""
        event = unique("ev")
        away = {**fired(event, days=2), "kind": "event_not_fired"}
        journey = world.journey([trigger("w"), awaited(away), end("yes"), end("no")], event=event)
        body = {
            "subjectAttributes": {},
            "startAt": "2027-01-01T00:00:00.000Z",
            "event": {"type": event},
            "events": [{"type": event, "after": "P1D"}],
        }
        run = world.api.post(f"/api/journeys/{journey}/simulate", body).ok()

        assert ["condition"] == [one["wait"]["firedBy"] for one in run["trace"] if "wait" in one]
        assert ("yes", "2027-01-04T00:00:00.001Z") == (run["trace"][-1]["stepId"], run["trace"][-1]["at"])

    def test_in_the_end_the_timeout(self, world: World, at_the_wait: tuple[str, str]) -> None:
        """At its own moment, and nothing looks before: the timeout is the one alarm."""
        journey, person = at_the_wait
        run = world.execution(journey, person)
        assert 9 * DAY == ms_of(run["due"]) - ms_of(run["startedAt"])
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

    def test_who_moves_into_the_night_waits_for_the_new_morning(self, quiet: World) -> None:
        """The whole gate runs again when the first night ends."""
        journey, event = self.sending(quiet)
        next_evening(quiet, BERLIN)
        person = quiet.person(timezone=BERLIN)
        quiet.event(event, person)
        now = quiet.settle()
        quiet.api.patch(f"/api/subjects/{person}", {"timezone": "America/Los_Angeles"}).ok()
        first = ms_of(next_local(now, BERLIN, time(8)))
        quiet.advance("P1D")
        (message,) = quiet.messages(endUserId=person)

        morning = ms_of(next_local(first, "America/Los_Angeles", time(8)))
        assert 0 <= ms_of(message["sentAt"]) - morning < HOUR / 60
        assert 2 == len(quiet.audit(journey, action="send.deferred"))

    def test_every_check_is_listed_with_what_it_saw(self, apart: World) -> None:
        """All five fail at once: in the contract's order, the first is the reason; `why` and a dry run say the same."""
        rules = {
            "quietHours": {"start": "00:00", "end": "23:59", "behaviour": "skip"},
            "frequencyCaps": [{"channel": "email", "max": 0, "per": "P7D"}],
            "dailyCap": {"max": 0},
        }
        apart.api.patch("/api/workspace", rules).ok()
        noon = apart.settle()
        if time(23, 50) <= datetime.fromtimestamp(noon / 1000, UTC).time():
            apart.advance("PT20M")
        journey, event = self.sending(apart)
        person = apart.person(globalOptOut=True)
        apart.api.put(f"/api/suppressions/{person}@mail.example.com", {"reason": "test"}).ok(201)
        apart.walk(journey, event, person)
        (decision,) = apart.api.get(f"/api/journeys/{journey}/why?endUserId={person}").ok()["decisions"]
        (told,) = [step for step in decision["steps"] if "s" == step["stepId"]]
        dry = apart.api.post(f"/api/journeys/{journey}/simulate", {"subjectId": person}).ok()
        (shown,) = [step for step in dry["trace"] if "s" == step["stepId"]]
        seen = {one["check"]: one["inputs"] for one in told["checks"]}

        assert ("skipped", "suppression_match") == (told["decision"], told["reason"])
        assert [
            ("suppression", False, "suppression_match"),
            ("opt_out", False, "opt_out"),
            ("address", True, None),
            ("quiet_hours", False, "quiet_hours"),
            ("frequency_cap", False, "frequency_cap_exceeded"),
        ] == [(one["check"], one["passed"], one.get("reason")) for one in told["checks"]]
        assert {"addresses": 1, "suppressed": 1} == seen["suppression"]
        assert {"globalOptOut": True, "preference": None} == seen["opt_out"]
        assert {"channel": "email", "addresses": 1} == seen["address"]
        assert ("UTC", "00:00", "23:59") == tuple(seen["quiet_hours"][name] for name in ("zone", "start", "end"))
        assert [("frequency", 0, 0), ("daily", 0, 0)] == [
            (cap["cap"], cap["max"], cap["counted"]) for cap in seen["frequency_cap"]["caps"]
        ]
        assert [(one["check"], one["passed"]) for one in told["checks"]] == [
            (one["check"], one["passed"]) for one in shown["checks"]
        ]

    def test_every_check_of_a_start_is_listed_once(self, apart: World) -> None:
        """Journey, filter, audience, re-entry, holdout."""
        event, person = unique("ev"), apart.person({"plan": "pro"})
        steps = [trigger("exit", filter=attr("plan", "exists")), end()]
        audience = apart.audience(attr("plan", "equals", "pro"))
        journey = apart.journey(steps, event=event, audienceId=audience, settings={"reentry": {"mode": "once"}})
        apart.walk(journey, event, person)
        (decision,) = apart.api.get(f"/api/journeys/{journey}/why?endUserId={person}").ok()["decisions"]

        assert ["journey_paused", "trigger_filter", "audience", "reentry", "holdout"] == [
            one["check"] for one in decision["checks"]
        ]
        assert all(one["passed"] and one["inputs"] for one in decision["checks"])

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


def test_turns_and_waits_go_on_after_a_restart(own_server: Server) -> None:
    """Sends that wait for their turn lose none and gain none; a wait that ran out meanwhile ended when it was due."""
    server = own_server.start()
    server.owner.patch("/api/workspace", {"holdout": {"percent": 0}}).ok()
    world = World(server.owner)
    slow, short = unique("ev"), unique("ev")
    rated = world.journey(
        [trigger("s"), send("s", world.comm(), "exit"), end()], event=slow, settings={"sendRate": {"perSecond": 1}}
    )
    waits = world.journey([trigger("w"), wait("w", "PT1S", "s"), send("s", world.comm(), "exit"), end()], event=short)
    people = [world.person() for _ in range(20)]
    world.api.post("/api/events", {"events": [{"type": slow, "endUserId": one} for one in people]}).ok(202)
    world.event(short, people[0])
    eventually(lambda: 20 == len(world.executions(rated)) and world.executions(waits))
    server.kill()
    server.start()
    early = len(world.messages(journeyId=rated))
    (waited,) = eventually(lambda: [one for one in world.executions(waits) if "SUCCEEDED" == one["status"]])
    world.advance("PT1M")
    sent = [message["executionId"] for message in world.messages(journeyId=rated)]

    assert early < 20
    assert 20 == len(sent) == len(set(sent))
    assert 1_000 == ms_of(waited["endedAt"]) - ms_of(waited["startedAt"])
    assert 1 == len(world.messages(journeyId=waits))


def test_waits_that_became_due_while_the_server_was_away_are_caught_up(world: World) -> None:
    """In one large step of the clock, everybody leaves at their own moment."""
    event = unique("ev")
    journey = world.journey([trigger("w"), wait("w", "P2D", "v"), wait("v", "P2D", "exit"), end()], event=event)
    run = world.walk(journey, event)
    world.advance("P30D")
    done = world.detail(journey, run["executionId"])

    assert 4 * DAY == ms_of(done["endedAt"]) - ms_of(done["startedAt"])
