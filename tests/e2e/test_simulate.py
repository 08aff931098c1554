"""Dry runs from outside. Contract 5; issue 8."""

import datetime as dt
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.e2e.server import Client, Server, by_key, fault_codes, fault_paths
from tests.e2e.words import (
    DAY,
    TIME,
    Json,
    World,
    attr,
    branch,
    draw,
    end,
    event_attr,
    fired,
    ms_of,
    send,
    trigger,
    unique,
    update,
    wait,
    wait_event,
)


def simulate(world: World, journey: str, **body: Any) -> Json:
    """A dry run."""
    found: Json = world.api.post(f"/api/journeys/{journey}/simulate", body).ok()
    return found


def steps_of(run: Json) -> list[str]:
    """The steps of a trace, in order."""
    return [entry["stepId"] for entry in run["trace"]]


def entry(run: Json, step: str) -> Json:
    """The entry of one step."""
    (one,) = [one for one in run["trace"] if one["stepId"] == step]
    return dict(one)


def key_of(world: World, role: str, port: int) -> Client:
    """A client with an API key of that role."""
    made = world.api.post("/api/workspace/api-keys", {"name": unique("key"), "role": role}).ok(201)
    return by_key(port, made["secret"])


def a_draft(world: World, **more: Any) -> str:
    """A welcome, three days, an end."""
    mail = world.comm(subject="Hi {{ subject.firstName }}", body="<p>Dear {{ subject.firstName }}</p>")
    return world.draft(
        [trigger("welcome"), send("welcome", mail, "wait-3d"), wait("wait-3d", "P3D", "exit"), end()], **more
    )


class TestDoneWhen:
    """The issue's own words."""

    def test_an_opted_out_persons_send_is_skipped_with_its_reason(self, world: World) -> None:
        """The gate's checks in their order, with the value that said no."""
        journey = a_draft(world)
        person = world.person({"firstName": "Ann"}, globalOptOut=True)
        run = simulate(world, journey, subjectId=person)
        skipped = entry(run, "welcome")

        assert ("completed", "draft", journey) == (run["outcome"], run["version"], run["journeyId"])
        assert {"kind": "real", "endUserId": person} == run["subject"]
        assert ["trigger", "welcome", "wait-3d", "exit"] == steps_of(run)
        assert ("skipped", "opt_out", "wait-3d") == (skipped["decision"], skipped["reason"], skipped["next"])
        assert ["suppression", "opt_out", "address", "quiet_hours", "frequency_cap"] == [
            check["check"] for check in skipped["checks"]
        ]
        assert {"globalOptOut": True, "preference": None} == skipped["checks"][1]["inputs"]
        assert (False, False) == (skipped["checks"][1]["passed"], skipped["checks"][1]["overridden"])

    def test_the_owner_passes_over_the_gate_and_both_acts_are_in_the_audit(self, world: World) -> None:
        """Who, whom, and what was passed over."""
        journey = a_draft(world)
        person = world.person({"firstName": "Ann"}, globalOptOut=True)
        run = simulate(world, journey, subjectId=person, overrides=["opt_out"])
        sent = entry(run, "welcome")
        acts = {one["action"]: one for one in world.audit(journey)}

        assert ["opt_out"] == run["overridesApplied"]
        assert "executed" == sent["decision"]
        assert (False, True) == (sent["checks"][1]["passed"], sent["checks"][1]["overridden"])
        assert "Hi A***" == sent["rendered"]["subject"]
        assert "Dear A***" in sent["rendered"]["body"]
        assert person == acts["simulate-with-real-user"]["metadata"]["endUserId"]
        assert "opt_out" == acts["dry-run-override-applied"]["metadata"]["override"]
        assert "system" != acts["dry-run-override-applied"]["actor"]

    @pytest.mark.parametrize("role", ["viewer", "editor"])
    def test_only_an_owner_passes_over_gates(self, server: Server, world: World, role: str) -> None:
        """403 with its own code; nothing is audited."""
        journey = a_draft(world)
        body = {"subjectAttributes": {}, "overrides": ["holdout"]}
        refused = key_of(world, role, server.port).post(f"/api/journeys/{journey}/simulate", body)
        refused.problem(403, "override_requires_owner")

        assert "dry-run-override-applied" not in world.actions(journey)

    def test_a_viewer_uses_made_up_people_only(self, server: Server, world: World) -> None:
        """403 forbidden for a real one."""
        journey, person = a_draft(world), world.person()
        viewer = key_of(world, "viewer", server.port)
        viewer.post(f"/api/journeys/{journey}/simulate", {"subjectId": person}).problem(403, "forbidden")

        assert (
            "completed" == viewer.post(f"/api/journeys/{journey}/simulate", {"subjectAttributes": {}}).ok()["outcome"]
        )

    def test_an_editors_run_of_a_real_person_is_audited(self, server: Server, world: World) -> None:
        """Under the key's own name."""
        journey, person = a_draft(world), world.person()
        editor = key_of(world, "editor", server.port)
        editor.post(f"/api/journeys/{journey}/simulate", {"subjectId": person}).ok()
        (act,) = world.audit(journey, action="simulate-with-real-user")

        assert person == act["metadata"]["endUserId"]


class TestTrace:
    """What a trace shows."""

    def test_waits_pass_in_virtual_time(self, world: World) -> None:
        """Each at its own time, from the start that was asked for."""
        run = simulate(world, a_draft(world), subjectAttributes={}, startAt="2026-05-01T09:00:00.000Z")

        assert "2026-05-01T09:00:00.000Z" == run["startedAt"]
        assert "2026-05-04T09:00:00.000Z" == entry(run, "exit")["at"]
        assert {"mode": "duration", "until": "2026-05-04T09:00:00.000Z", "firedBy": "time"} == entry(run, "wait-3d")[
            "wait"
        ]
        assert {"kind": "synthetic"} == run["subject"]

    @pytest.mark.parametrize(
        ("after", "fired_by", "way"), [("PT1H", "event", "good"), ("P3D", "timeout", "late")], ids=["came", "too late"]
    )
    def test_a_script_wakes_a_wait(self, world: World, after: str, fired_by: str, way: str) -> None:
        """`after` counts from the start."""
        steps = [
            trigger("w"),
            wait_event("w", "paid", "P2D", "good", "late", match={"orderId": "event.orderId"}),
            end("good"),
            end("late"),
        ]
        run = simulate(
            world,
            world.draft(steps),
            subjectAttributes={},
            event={"type": "ordered", "data": {"orderId": "o1"}},
            events=[
                {"type": "paid", "data": {"orderId": "o2"}, "after": "PT1M"},
                {"type": "paid", "data": {"orderId": "o1"}, "after": after},
            ],
        )

        assert fired_by == entry(run, "w")["wait"]["firedBy"]
        assert ["trigger", "w", way] == steps_of(run)

    def test_branches_show_what_was_chosen(self, world: World) -> None:
        """An arm with its weight and chance, a case by its id."""
        steps = [
            trigger("b"),
            branch("b", [("pro", attr("plan", "equals", "pro"), "d")], "exit"),
            draw("d", [("a", 1, "exit"), ("z", 3, "exit")]),
            end(),
        ]
        journey = world.draft(steps)
        run = simulate(world, journey, subjectAttributes={"plan": "pro"})
        other = simulate(world, journey, subjectAttributes={"plan": "free"})
        drawn = entry(run, "d")["branch"]

        assert {"mode": "condition", "chosen": "pro"} == entry(run, "b")["branch"]
        assert {"mode": "condition", "chosen": "default"} == entry(other, "b")["branch"]
        assert drawn["chosen"] == drawn["armId"]
        assert {"a": 1, "z": 3} == drawn["weights"]
        assert {"a": 0.25, "z": 0.75}[drawn["armId"]] == drawn["propensity"]

    def test_an_adaptive_branch_is_called_so_before_it_has_learned(self, world: World) -> None:
        """`mode` is the step's; that nothing is known yet stands beside it."""
        arms = [{"id": arm, "next": "exit"} for arm in "abc"]
        steps = [trigger("b"), {"id": "b", "type": "branch", "mode": "adaptive", "arms": arms}, end()]
        run = simulate(world, world.draft(steps, goalEventName="paid"), subjectAttributes={})
        drawn = entry(run, "b")["branch"]

        assert ("adaptive", True) == (drawn["mode"], drawn["coldStart"])
        assert drawn["chosen"] == drawn["armId"]
        assert 1 / 3 == pytest.approx(drawn["propensity"])

    def test_a_profile_update_is_seen_by_what_follows(self, world: World) -> None:
        """And the stored profile stays as it was."""
        steps = [
            trigger("u"),
            update("u", {"plan": "vip"}, "b"),
            branch("b", [("vip", attr("plan", "equals", "vip"), "good")], "bad"),
            end("good"),
            end("bad"),
        ]
        journey, person = world.draft(steps), world.person({"plan": "free"})
        run = simulate(world, journey, subjectId=person)

        assert ["trigger", "u", "b", "good"] == steps_of(run)
        assert {"plan": "free"} == world.profile(person)["attributes"]

    def test_a_webhook_is_shown_and_not_called(self, world: World) -> None:
        """Its address and body as they would be."""
        hook = {
            "id": "hook", "type": "webhook", "url": "http://127.0.0.1:9/x/{{ subject.plan }}",
            "body": {"mail": "{{ subject.email }}"}, "saveAs": "answer", "next": "exit",
        }  # fmt: skip
        run = simulate(
            world,
            world.draft([trigger("hook"), hook, end()]),
            subjectAttributes={"plan": "pro", "email": "ann@example.com"},
        )
        shown = entry(run, "hook")["rendered"]

        assert "completed" == run["outcome"]
        assert ("POST", "http://127.0.0.1:9/x/pro") == (shown["method"], shown["url"])
        assert {"mail": "a***@e***.com"} == shown["body"]

    def test_quiet_hours_put_a_send_off(self, apart: World) -> None:
        """One entry, at the later time."""
        apart.api.patch("/api/workspace", {"timezone": "UTC", "quietHours": {"start": "22:00", "end": "08:00"}}).ok()
        run = simulate(apart, a_draft(apart), subjectAttributes={}, startAt="2026-05-01T23:00:00Z")
        sent = entry(run, "welcome")

        assert ("executed", "2026-05-02T08:00:00.000Z", "2026-05-02T08:00:00.000Z") == (
            sent["decision"],
            sent["at"],
            sent["deferredUntil"],
        )
        assert "2026-05-05T08:00:00.000Z" == entry(run, "exit")["at"]

    def test_a_missing_variable_is_named(self, world: World) -> None:
        """Production prints nothing in its place; the author is told."""
        run = simulate(world, a_draft(world), subjectAttributes={})

        assert ["subject.firstName"] == entry(run, "welcome")["rendered"]["missing"]

    def test_no_link_of_a_dry_run_opens_a_page(self, server: Server, world: World) -> None:
        """The footer is there, its link is nobody's."""
        run = simulate(world, a_draft(world), subjectId=world.person({"firstName": "Ann"}))
        body = entry(run, "welcome")["rendered"]["body"]

        assert "/preferences/dry-run" in body
        assert 1 == body.count("/preferences/")


class TestTriggerTime:
    """What says no before anything happens."""

    def test_a_filter_blocks(self, world: World) -> None:
        """trace[0] says why."""
        journey = world.draft([trigger("exit", filter=event_attr("total", "gte", 10)), end()])
        run = simulate(world, journey, subjectAttributes={}, event={"type": "t", "data": {"total": 9}})

        assert ("blocked", "trigger_filter") == (run["outcome"], run["reason"])
        assert ("blocked", "trigger_filter") == (run["trace"][0]["decision"], run["trace"][0]["reason"])
        assert 1 == len(run["trace"])

    def test_a_paused_journey_blocks(self, world: World) -> None:
        """As it would."""
        journey = world.journey([trigger("exit"), end()])
        world.api.post(f"/api/journeys/{journey}/pause").ok()

        assert "journey_paused" == simulate(world, journey, subjectAttributes={})["reason"]

    def test_the_holdout_blocks_until_it_is_passed_over(self, apart: World) -> None:
        """By the same hash as production."""
        apart.api.patch("/api/workspace", {"holdout": {"percent": 100}}).ok()
        journey = a_draft(apart)
        blocked = simulate(apart, journey, subjectAttributes={})
        passed = simulate(apart, journey, subjectAttributes={}, overrides=["holdout"])

        assert ("blocked", "holdout_membership") == (blocked["outcome"], blocked["reason"])
        assert "completed" == passed["outcome"]
        assert [True] == [check["overridden"] for check in passed["trace"][0]["checks"] if not check["passed"]]

    def test_an_audience_of_others_blocks(self, world: World) -> None:
        """audience_mismatch."""
        journey = world.draft([trigger("exit"), end()], audienceId=world.audience(attr("plan", "equals", "pro")))

        assert "audience_mismatch" == simulate(world, journey, subjectAttributes={"plan": "free"})["reason"]
        assert "completed" == simulate(world, journey, subjectAttributes={"plan": "pro"})["outcome"]

    def test_who_was_there_once_may_not_enter_again(self, world: World) -> None:
        """The person's real entries count."""
        event = unique("ev")
        journey = world.journey([trigger("exit"), end()], event, settings={"reentry": {"mode": "once"}})
        person = world.person()
        before = simulate(world, journey, subjectId=person)
        world.walk(journey, event, person)

        assert "completed" == before["outcome"]
        assert "reentry_limit" == simulate(world, journey, subjectId=person)["reason"]

    def test_a_scheduled_journey_starts_at_its_occurrence(self, world: World) -> None:
        """With the occurrence as its event."""
        mail = world.comm(subject="{{ event.occurrence }}")
        steps = [
            {"id": "trigger", "type": "trigger", "mode": "schedule", "at": "2030-01-01T00:00:00Z", "next": "m"},
            send("m", mail, "exit"),
            end(),
        ]
        run = simulate(world, world.draft(steps), subjectAttributes={}, startAt="2030-01-01T00:00:00Z")

        assert "2030-01-01T00:00:00.000Z" == entry(run, "m")["rendered"]["subject"]


class TestGates:
    """The snapshot of a real person."""

    def test_caps_count_what_was_really_sent(self, apart: World) -> None:
        """And override `frequency_cap` lifts both."""
        apart.api.patch("/api/workspace", {"dailyCap": {"max": 1}}).ok()
        event = unique("ev")
        mail = apart.comm()
        journey = apart.journey([trigger("m"), send("m", mail, "exit"), end()], event)
        person = apart.person()
        apart.walk(journey, event, person)
        skipped = simulate(apart, journey, subjectId=person)
        lifted = simulate(apart, journey, subjectId=person, overrides=["frequency_cap"])

        assert ("skipped", "daily_cap_exceeded") == (entry(skipped, "m")["decision"], entry(skipped, "m")["reason"])
        assert "executed" == entry(lifted, "m")["decision"]

    def test_a_suppressed_address_is_not_written_to(self, world: World) -> None:
        """suppression_match; override `suppression`."""
        journey, person = a_draft(world), world.person()
        address = world.profile(person)["addresses"]["email"]
        world.api.put(f"/api/suppressions/{address}", {"reason": "asked"})

        assert "suppression_match" == entry(simulate(world, journey, subjectId=person), "welcome")["reason"]
        passed = simulate(world, journey, subjectId=person, overrides=["suppression"])
        assert "executed" == entry(passed, "welcome")["decision"]

    def test_conditions_count_real_events(self, world: World) -> None:
        """Of the person, not of a made-up one; a script may bring a past of its own."""
        steps = [trigger("b"), branch("b", [("yes", fired("bought", days=30), "good")], "bad"), end("good"), end("bad")]
        bought = unique("bought")
        steps[1] = branch("b", [("yes", fired(bought, days=30), "good")], "bad")
        journey = world.journey(steps, unique("ev"))
        person = world.person()
        world.event(bought, person)
        world.settle()
        past = {"type": bought, "after": "-P1D"}

        assert "good" == steps_of(simulate(world, journey, subjectId=person))[-1]
        assert "bad" == steps_of(simulate(world, journey, subjectAttributes={}))[-1]
        assert "good" == steps_of(simulate(world, journey, subjectAttributes={}, events=[past]))[-1]

    def test_a_synthetic_person_is_reachable_unless_they_say_otherwise(self, world: World) -> None:
        """On every channel; without an address by an empty `email`."""
        journey = a_draft(world)

        assert "executed" == entry(simulate(world, journey, subjectAttributes={}), "welcome")["decision"]
        assert "no_address" == entry(simulate(world, journey, subjectAttributes={"email": None}), "welcome")["reason"]


class TestMasking:
    """Nothing of a real person can be read."""

    def test_names_addresses_and_numbers_are_masked(self, world: World) -> None:
        """Inside sentences and links, with Unicode, and made into something else."""
        mail = world.comm(
            subject="{{ subject.firstName | upcase }}, hello",
            body=(
                '<p>Liebe {{ subject.firstName }} {{ subject.lastName }}s, <a href="https://x.example/u?m='
                '{{ subject.email | url_encode }}&c={{ subject.city | url_encode }}">x</a> {{ subject.phone }} '
                "{% assign part = subject.lastName | slice: 0, 4 %}{{ part }} {{ subject.score }}</p>"
            ),
            text="Call {{ subject.phone }} or write to {{ subject.email }}",
        )
        journey = world.draft([trigger("m"), send("m", mail, "exit"), end()])
        person = world.person(
            {
                "firstName": "Zoë",
                "lastName": "Müller-Lüdenscheidt",
                "phone": "+49 30 1234567",
                "city": "Köln",
                "score": 7,
            }
        )
        shown = entry(simulate(world, journey, subjectId=person), "m")["rendered"]
        text = str(shown)

        for secret in ("Zoë", "ZOË", "Müll", "1234567", "Köln", "K%C3%B6ln", person, "Lüden"):
            assert secret not in text, f"{secret} in {text}"
        assert "Z***, hello" == shown["subject"]
        assert shown["text"].startswith("Call +*** or write to u***@m***.com")
        assert " 7</p>" in shown["body"]

    def test_what_a_check_looked_at_is_masked_too(self, world: World) -> None:
        """The predicate that said no shows what it found; of a name or an address only its first sign."""
        clauses = [attr("email", "equals", "x"), attr("firstName", "equals", "Bert"), attr("plan", "equals", "pro")]
        journey = world.draft([trigger("exit", filter={"kind": "and", "clauses": clauses}), end()])
        person = world.person({"firstName": "Zoë", "email": "zoe@mail.example.com", "plan": "free"})
        run = simulate(world, journey, subjectId=person, event={"data": {"name": "Zoë Ander"}})
        text = str(run)

        for secret in ("Zoë", "zoe@", "mail.example"):
            assert secret not in text, f"{secret} in {text}"
        assert "free" in text

    def test_parts_of_a_name_and_numbers_in_a_row_are_masked(self, world: World) -> None:
        """In what an event says, too."""
        mail = world.comm(body="{{ event.note }}")
        journey = world.draft([trigger("m"), send("m", mail, "exit"), end()])
        person = world.person({"name": "Anna Schmidt"})
        note = "Anna called from 0171 1234567 / 0172 7654321 on 2026-01-02 0173 5555555"
        shown = entry(simulate(world, journey, subjectId=person, event={"data": {"note": note}}), "m")["rendered"]

        for secret in ("Anna", "1234567", "7654321", "5555555"):
            assert secret not in shown["body"]


class TestVersions:
    """Which version is walked."""

    def test_the_draft_comes_before_the_latest(self, world: World) -> None:
        """Unless another is asked for."""
        journey = world.journey([trigger("one"), end("one")], unique("ev"))
        world.edit(journey, steps=[trigger("two"), end("two")])

        for version, shown, last in (
            (None, "draft", "two"),
            ("draft", "draft", "two"),
            ("latest", 1, "one"),
            (1, 1, "one"),
        ):
            more = {} if version is None else {"version": version}
            run = simulate(world, journey, subjectAttributes={}, **more)
            assert (shown, last) == (run["version"], steps_of(run)[-1])

    def test_what_is_not_there_is_said(self, world: World) -> None:
        """404 for a version, 409 for a draft."""
        journey = world.journey([trigger("exit"), end()])
        path = f"/api/journeys/{journey}/simulate"
        world.api.post(path, {"subjectAttributes": {}, "version": 9}).problem(404, "not_found")
        world.api.post(path, {"subjectAttributes": {}, "version": "draft"}).problem(409, "no_draft")
        world.api.post(path, {"subjectAttributes": {}, "version": "newest"}).problem(400, "validation_error")
        world.api.post("/api/journeys/nowhere/simulate", {"subjectAttributes": {}}).problem(404, "not_found")
        world.api.post(path, {"subjectId": unique("nobody")}).problem(404, "not_found")

    @pytest.mark.parametrize(
        ("steps", "code", "walked"),
        [
            ([trigger("m"), send("m", "nothing", "exit"), end()], "communication_not_found", ["trigger", "m"]),
            ([trigger("w"), wait("w", "P1D", "gone")], "next_unresolved", ["trigger", "w"]),
            ([trigger("a"), wait("a", "P1D", "b"), wait("b", "P1D", "a")], "cycle", ["trigger", "a", "b", "a"]),
            ([trigger("d"), draw("d", []), end()], "arms_missing", ["trigger", "d"]),
        ],
        ids=["no such message", "to nowhere", "in a circle", "no arms"],
    )
    def test_a_faulty_draft_runs_as_far_as_it_goes(
        self, world: World, steps: list[Json], code: str, walked: list[str]
    ) -> None:
        """Then it has failed, with the fault's code."""
        run = simulate(world, world.draft(steps), subjectAttributes={})

        assert ("failed", code) == (run["outcome"], run["reason"])
        assert walked == steps_of(run)
        assert code == run["trace"][-1]["reason"]

    def test_a_fault_elsewhere_stands_in_nobodys_way(self, world: World) -> None:
        """Only the way that is walked counts."""
        steps = [
            trigger("b"),
            branch("b", [("x", attr("x", "exists"), "m")], "exit"),
            send("m", "nothing", "exit"),
            end(),
        ]
        journey = world.draft(steps)

        assert "completed" == simulate(world, journey, subjectAttributes={})["outcome"]
        assert "failed" == simulate(world, journey, subjectAttributes={"x": 1})["outcome"]


class TestNothingHappens:
    """A dry run leaves nothing behind."""

    def test_nothing_is_counted_sent_or_started(self, world: World) -> None:
        """What can be asked for is as it was."""
        event = unique("ev")
        mail = world.comm()
        journey = world.journey([trigger("m"), send("m", mail, "w"), wait("w", "P1D", "exit"), end()], event)
        person = world.person({"plan": "free"})

        def state() -> tuple[Any, ...]:
            world.settle()
            return (
                world.executions(journey),
                world.messages(journeyId=journey),
                world.step_stats(journey),
                world.profile(person),
                world.actions(journey),
            )

        before = state()
        simulate(world, journey, subjectAttributes={"plan": "pro"}, events=[{"type": event, "after": "PT1M"}])

        assert before == state()


class TestRefused:
    """What no dry run takes."""

    @pytest.mark.parametrize(
        ("body", "path"),
        [
            ({}, ""),
            ({"subjectId": "a", "subjectAttributes": {}}, "/subjectId"),
            ({"subjectAttributes": []}, "/subjectAttributes"),
            ({"subjectAttributes": {}, "overrides": ["gravity"]}, "/overrides/0"),
            ({"subjectAttributes": {}, "startAt": "yesterday"}, "/startAt"),
            ({"subjectAttributes": {}, "startAt": "0001-01-01T00:00:00Z"}, "/startAt"),
            ({"subjectAttributes": {}, "startAt": "9999-01-01T00:00:00Z"}, "/startAt"),
            ({"subjectAttributes": {}, "events": [{"type": "t", "after": "P1M"}]}, "/events/0/after"),
            ({"subjectAttributes": {}, "events": [{"type": "t", "after": "P99999D"}]}, "/events/0/after"),
            ({"subjectAttributes": {}, "events": [{"type": "t"}]}, "/events/0/after"),
            ({"subjectAttributes": {}, "events": [{"type": "t", "after": "PT1S"}] * 1001}, "/events"),
            ({"subjectAttributes": {}, "event": {"type": ""}}, "/event/type"),
            ({"subjectAttributes": {}, "version": 1.5}, "/version"),
            ({"subjectAttributes": {}, "version": ""}, "/version"),
            ({"subjectAttributes": {}, "nonsense": 1}, "/nonsense"),
            ({"mode": "explore", "subjectAttributes": {}}, "/subjectAttributes"),
            ({"mode": "guess"}, "/mode"),
            ({"subjectId": "x" * 201}, "/subjectId"),
        ],
    )
    def test_a_bad_request_names_the_place(self, world: World, body: Json, path: str) -> None:
        """400 validation_error with its pointer."""
        journey = world.draft([trigger("exit"), end()])
        problem = world.api.post(f"/api/journeys/{journey}/simulate", body).problem(400, "validation_error")

        assert path in fault_paths(problem)
        assert fault_codes(problem)

    def test_all_faults_are_told_at_once(self, world: World) -> None:
        """Whom, when, and what comes."""
        journey = world.draft([trigger("exit"), end()])
        body = {"startAt": "soon", "events": [{"type": "t", "after": "later"}]}
        problem = world.api.post(f"/api/journeys/{journey}/simulate", body).problem(400, "validation_error")

        assert {"", "/startAt", "/events/0/after"} == set(fault_paths(problem))

    @pytest.mark.parametrize(
        "attributes",
        [
            {"email": 7, "timezone": {"a": 1}, "locale": []},
            {"timezone": "Mars/Olympus", "email": "no address"},
            {"firstName": "\u0000\u202e" * 100, "a" * 5000: "b" * 5000},
            {"n": 2**62, "f": 1e308, "deep": {"a": {"b": [[[[{}]]]]}}},
        ],
    )
    def test_strange_people_walk_too(self, world: World, attributes: Json) -> None:
        """Whatever the attributes hold, there is an answer."""
        run = simulate(world, a_draft(world), subjectAttributes=attributes)

        assert run["outcome"] == "completed"

    def test_times_have_the_documented_form(self, world: World) -> None:
        """Three digits and a Z."""
        run = simulate(world, a_draft(world), subjectAttributes={})

        assert re.fullmatch(TIME, run["startedAt"])
        assert ms_of(run["startedAt"]) + 3 * DAY == ms_of(entry(run, "exit")["at"])
        assert dt.datetime.fromisoformat(run["startedAt"]).tzinfo is not None


class TestExplore:
    """`mode: "explore"`."""

    def test_every_path_with_somebody_who_takes_it(self, world: World) -> None:
        """The example, simulated, goes that way."""
        steps = [
            trigger("b", filter=event_attr("total", "gt", 5)),
            branch("b", [("pro", attr("plan", "in", ["pro", "team"]), "w")], "paid"),
            wait("w", "P1D", "exit"),
            wait_event("paid", "paid", "P2D", "exit", "late"),
            end(),
            end("late"),
        ]
        journey = world.draft(steps)
        found = simulate(world, journey, mode="explore")

        assert {
            ("trigger", "b", "w", "exit"),
            ("trigger", "b", "paid", "exit"),
            ("trigger", "b", "paid", "late"),
        } == {tuple(path["steps"]) for path in found["paths"]}
        assert ([], [], False) == (found["unreachable"], found["deadBranches"], found["truncated"])
        for path in found["paths"]:
            again = simulate(
                world,
                journey,
                subjectAttributes=path["exampleAttributes"],
                event=path["exampleEvent"],
                events=path["exampleEvents"],
            )
            assert path["steps"] == steps_of(again)

    def test_a_contradiction_is_a_dead_branch(self, world: World) -> None:
        """And what lies behind it alone is reached by nobody."""
        both = {"kind": "and", "clauses": [attr("age", "gt", 10), attr("age", "lt", 5)]}
        steps = [
            trigger("b"),
            branch("b", [("never", both, "lost"), ("ok", attr("age", "gt", 10), "exit")], "exit"),
            end("lost"),
            end(),
            end("island"),
        ]
        found = simulate(world, world.draft(steps), mode="explore")

        assert [{"stepId": "b", "branchId": "never"}] == found["deadBranches"]
        assert ["lost", "island"] == found["unreachable"]

    def test_more_paths_than_anybody_reads_are_cut(self, world: World) -> None:
        """At 10,000, and the answer says so."""
        steps = [branch(f"b{i}", [("x", attr(f"a{i}", "equals", 1), f"b{i + 1}")], f"b{i + 1}") for i in range(20)]
        found = simulate(world, world.draft([trigger("b0"), *steps, end("b20")]), mode="explore")

        assert found["truncated"]
        assert 0 < len(found["paths"]) <= 10_000
        assert [] == found["deadBranches"]


class TestFixtures:
    """`journeys test` on the example that is shipped."""

    def test_the_example_fixture_goes_as_it_says(self, server: Server, apart: World, tmp_path: Path) -> None:
        """Installed as a draft, tried by the command; changed for the worse, the command says so and fails."""
        examples = Path(__file__).parents[2] / "examples"
        document = json.loads((examples / "journeys" / "activation-onboarding.json").read_text(encoding="utf-8"))
        ids = {
            f"$ref:{name}": apart.api.post("/api/communications", body).ok(201)["id"]
            for name, body in document["communications"].items()
        }
        steps = [
            {**step, "communicationId": ids[step["communicationId"]]} if "communicationId" in step else step
            for step in document["journey"]["steps"]
        ]
        contract = apart.contract("user.signed_up")
        journey = apart.draft(steps, triggerContractId=contract)
        cookie = apart.api._headers["Cookie"].partition("=")[2]
        report = tmp_path / "report.xml"

        def tried() -> subprocess.CompletedProcess[str]:
            fixture = examples / "tests" / "activation-onboarding.json"
            options = ["--journey", journey, "--junit", str(report)]
            command = [sys.executable, "-m", "journeys_cli", "test", str(fixture), *options]
            signed = ["--server", f"http://127.0.0.1:{server.port}", "--session", cookie]
            return subprocess.run([*command, *signed], capture_output=True, text=True, check=False, timeout=60)

        good = tried()
        apart.edit(journey, steps=[{**step, "duration": "P2D"} if step["id"] == "wait-3d" else step for step in steps])
        bad = tried()
        (suite,) = ElementTree.parse(report).getroot()

        assert (0, "", 3) == (good.returncode, good.stderr, good.stdout.count("ok  "))
        assert 1 == bad.returncode
        assert "/trace/4/at: expected" in bad.stdout
        assert ("3", "1") == (suite.attrib["tests"], suite.attrib["failures"])
