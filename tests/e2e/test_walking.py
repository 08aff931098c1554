"""Waits, branches, sends, profile updates and exits, as people walk through them. Contract 2.1, 2.2 and 5."""

from collections import Counter
from typing import Any

import pytest

from tests.e2e.words import (
    DAY,
    HOUR,
    Json,
    World,
    attr,
    branch,
    draw,
    end,
    entries,
    event_attr,
    fired,
    ms_of,
    path_of,
    send,
    time_at,
    trigger,
    unique,
    update,
    wait,
    wait_event,
)


def visited(run: Json) -> list[str]:
    """The steps of a history, each once, in order."""
    return list(dict.fromkeys(entry["stepId"] for entry in run["history"]))


class TestDuration:
    """Waits of a fixed length."""

    def test_to_the_millisecond(self, world: World) -> None:
        """due is the start plus the length, and history has exactly that."""
        event = unique("ev")
        journey = world.journey([trigger("w"), wait("w", "PT36H30M0.5S", "exit"), end()], event=event)
        run = world.walk(journey, event)
        started = ms_of(run["startedAt"])
        length = 36 * HOUR + 30 * 60_000 + 500
        world.advance("P2D")
        done = world.detail(journey, run["executionId"])

        assert time_at(started + length) == run["due"]
        assert [time_at(started + length)] == [one["at"] for one in entries(done, "wait.fired")]
        assert time_at(started + length) == done["endedAt"]
        assert "SUCCEEDED" == done["status"]
        assert done["due"] is None

    def test_not_before(self, world: World) -> None:
        """A moment short of it nothing has happened."""
        event = unique("ev")
        journey = world.journey([trigger("w"), wait("w", "P1D", "exit"), end()], event=event)
        run = world.walk(journey, event)
        world.advance("PT23H59M")

        assert "RUNNING" == world.detail(journey, run["executionId"])["status"]
        world.advance("PT1M")
        assert "SUCCEEDED" == world.detail(journey, run["executionId"])["status"]

    def test_chained_ones_fire_each_at_its_own_time(self, world: World) -> None:
        """One advance over all of them: no drift."""
        event = unique("ev")
        steps = [
            trigger("w0"),
            *[wait(f"w{i}", "P1D", f"w{i + 1}") for i in range(4)],
            wait("w4", "P1W", "exit"),
            end(),
        ]
        journey = world.journey(steps, event=event)
        run = world.walk(journey, event)
        started = ms_of(run["startedAt"])
        world.advance("P20D")
        done = world.detail(journey, run["executionId"])

        days = [1, 2, 3, 4, 11]
        assert [time_at(started + n * DAY) for n in days] == [one["at"] for one in entries(done, "wait.fired")]
        assert time_at(started + 11 * DAY) == done["endedAt"]

    def test_a_wait_of_nothing(self, world: World) -> None:
        """PT0S goes on at once."""
        event = unique("ev")
        journey = world.draft([trigger("w"), wait("w", "PT0S", "exit"), end()], triggerContractId=world.contract(event))
        world.api.post(f"/api/journeys/{journey}/publish").ok()

        assert "SUCCEEDED" == world.walk(journey, event)["status"]

    def test_timers_of_all_people_fire_in_order(self, world: World) -> None:
        """Forty people entered one after the other leave one after the other, all of them exactly."""
        event = unique("ev")
        journey = world.journey([trigger("w"), wait("w", "P1D", "exit"), end()], event=event)
        world.api.post("/api/events", {"events": [{"type": event, "endUserId": unique("u")} for _ in range(40)]}).ok(
            202
        )
        world.advance("P2D")
        runs = world.executions(journey)

        assert 40 == len(runs)
        assert {DAY} == {ms_of(run["endedAt"]) - ms_of(run["startedAt"]) for run in runs}


class TestUntilEvent:
    """Waits for something the person does."""

    def test_the_event_wakes(self, world: World) -> None:
        """next at the event, onTimeout after it."""
        event, paid = unique("ev"), unique("paid")
        journey = world.journey(
            [
                trigger("w"),
                wait_event("w", paid, "P2D", "yes", "no"),
                end("yes", reason="paid"),
                end("no", reason="late"),
            ],
            event=event,
        )
        buyer, other = world.walk(journey, event), world.walk(journey, event)
        world.event(paid, buyer["endUserId"])
        world.settle()
        bought = world.detail(journey, buyer["executionId"])
        world.advance("P3D")
        late = world.detail(journey, other["executionId"])

        assert ("yes", "paid", "event") == (
            bought["currentStepId"],
            bought["exitReason"],
            entries(bought, "wait.fired")[0]["detail"]["firedBy"],
        )
        assert ("no", "late") == (late["currentStepId"], late["exitReason"])
        assert [time_at(ms_of(other["startedAt"]) + 2 * DAY)] == [one["at"] for one in entries(late, "wait.timed_out")]

    def test_only_the_same_key(self, world: World) -> None:
        """Two orders of one person; one is paid; one run goes on."""
        event, paid, person = unique("ev"), unique("paid"), world.person()
        steps = [
            trigger("w"),
            wait_event("w", paid, "P5D", "yes", "no", match={"orderId": "event.orderId"}),
            end("yes"),
            end("no"),
        ]
        journey = world.journey(steps, event=event)
        for order in ("a", "b"):
            world.event(event, person, {"orderId": order}, id=f"{journey}-{order}")
        world.settle()
        for data in ({"orderId": "c"}, {}, {"orderId": ["b"]}, {"orderId": None}):
            world.event(paid, person, data)
        world.settle()
        assert ["w", "w"] == [run["currentStepId"] for run in world.executions(journey, person)]

        world.event(paid, person, {"orderId": "b"})
        world.settle()
        assert {f"{journey}-a": "w", f"{journey}-b": "yes"} == {
            run["executionId"].rsplit("__")[-1]: run["currentStepId"] for run in world.executions(journey, person)
        }

    @pytest.mark.parametrize(
        ("match", "data", "woken"),
        [
            ({"data.orderId": "event.data.orderId"}, {"orderId": "o"}, True),
            ({"shop": "subject.shop"}, {"shop": 7}, True),
            ({"shop": "subject.shop"}, {"shop": "7"}, False),
            ({"who": "subject.endUserId"}, {"who": "@person"}, True),
            ({"run": "execution.id"}, {"run": "@run"}, True),
            ({"j": "journey.id"}, {"j": "@journey"}, True),
            ({"flag": "event.flag"}, {"flag": 1}, False),
            ({"flag": "event.flag"}, {"flag": True}, True),
            ({"orderId": "event.orderId", "shop": "subject.shop"}, {"orderId": "o", "shop": 8}, False),
            ({"orderId": "event.orderId", "shop": "subject.shop"}, {"orderId": "o", "shop": 7}, True),
            ({"orderId": "event.missing"}, {"orderId": "o"}, False),
            ({"missing": "event.missing"}, {}, False),
        ],
    )
    def test_match_takes_every_root(self, world: World, match: Json, data: Json, woken: bool) -> None:
        """All pairs equal, by value and type; what is missing equals nothing."""
        event, paid, person = unique("ev"), unique("paid"), world.person({"shop": 7})
        steps = [trigger("w"), wait_event("w", paid, "P5D", "yes", "no", match=match), end("yes"), end("no")]
        journey = world.journey(steps, event=event)
        run = world.walk(journey, event, person, {"orderId": "o", "flag": True})
        names = {"@person": person, "@run": run["executionId"], "@journey": journey}
        world.event(paid, person, {k: names.get(v, v) if isinstance(v, str) else v for k, v in data.items()})
        world.settle()

        assert ("yes" if woken else "w") == world.execution(journey, person)["currentStepId"]

    def test_its_filter_reads_the_awaited_event(self, world: World) -> None:
        """And the profile as it is then."""
        event, paid, person = unique("ev"), unique("paid"), world.person({"plan": "free"})
        condition = {"kind": "and", "clauses": [event_attr("total", "gt", 10), attr("plan", "equals", "pro")]}
        steps = [trigger("w"), wait_event("w", paid, "P5D", "yes", "no", filter=condition), end("yes"), end("no")]
        journey = world.journey(steps, event=event)
        world.walk(journey, event, person, {"total": 99})
        steps_seen = []
        for total, plan in ((11, "free"), (10, "pro"), (11, "pro")):
            world.api.patch(f"/api/subjects/{person}", {"attributes": {"plan": plan}}).ok()
            world.event(paid, person, {"total": total})
            world.settle()
            steps_seen.append(world.execution(journey, person)["currentStepId"])

        assert ["w", "w", "yes"] == steps_seen

    def test_the_event_that_started_does_not_wake(self, world: World) -> None:
        """Waiting for a second one of the same name."""
        event = unique("ev")
        journey = world.journey(
            [trigger("w"), wait_event("w", event, "P5D", "yes", "no"), end("yes"), end("no")], event=event
        )
        run = world.walk(journey, event)
        assert "w" == run["currentStepId"]
        world.event(event, run["endUserId"])
        world.settle()

        assert Counter(["yes", "w"]) == Counter(
            one["currentStepId"] for one in world.executions(journey, run["endUserId"])
        )

    def test_the_same_event_wakes_once(self, world: World) -> None:
        """Two waits in a row for the same name need two events, not one twice."""
        event, click = unique("ev"), unique("click")
        steps = [
            trigger("w1"),
            wait_event("w1", click, "P5D", "w2", "no"),
            wait_event("w2", click, "P5D", "yes", "no"),
            end("yes"),
            end("no"),
        ]
        journey = world.journey(steps, event=event)
        person = world.walk(journey, event)["endUserId"]
        first = world.event(click, person)
        world.settle()
        world.event(click, person, id=first)
        world.settle()
        assert "w2" == world.execution(journey, person)["currentStepId"]

        world.event(click, person)
        world.settle()
        assert "yes" == world.execution(journey, person)["currentStepId"]

    def test_somebody_elses_event_does_not_wake(self, world: World) -> None:
        """Nor the same name in nobody's event."""
        event, paid = unique("ev"), unique("paid")
        journey = world.journey(
            [trigger("w"), wait_event("w", paid, "P5D", "yes", "no"), end("yes"), end("no")], event=event
        )
        run = world.walk(journey, event)
        world.event(paid, world.person())
        world.event(paid)
        world.settle()

        assert "w" == world.detail(journey, run["executionId"])["currentStepId"]

    def test_no_event_is_missed_at_the_door(self, world: World) -> None:
        """The awaited event right behind the trigger, in one batch, one post after another, and at the same moment."""
        event, paid = unique("ev"), unique("paid")
        journey = world.journey(
            [trigger("w"), wait_event("w", paid, "P5D", "yes", "no"), end("yes"), end("no")], event=event
        )
        people = [unique("u") for _ in range(60)]
        for i, person in enumerate(people):
            pair = [{"type": event, "endUserId": person}, {"type": paid, "endUserId": person}]
            if i % 2:
                world.api.post("/api/events", {"events": pair}).ok(202)
            else:
                for one in pair:
                    world.api.post("/api/events", one).ok(202)
        world.settle()
        steps = Counter(run["currentStepId"] for run in world.executions(journey))

        assert {"yes": 60} == dict(steps)

    def test_an_event_before_the_wait_is_history(self, world: World) -> None:
        """A branch in front of the wait sees it; the wait does not."""
        event, paid, person = unique("ev"), unique("paid"), world.person()
        steps = [
            trigger("d"),
            wait("d", "PT1H", "b"),
            branch("b", [("already", fired(paid), "done")], "w"),
            wait_event("w", paid, "P5D", "yes", "no"),
            end("done"),
            end("yes"),
            end("no"),
        ]
        journey = world.journey(steps, event=event)
        world.walk(journey, event, person)
        world.event(paid, person)
        world.advance("PT2H")

        assert "done" == world.execution(journey, person)["currentStepId"]

    def test_a_late_event_wakes_on_arrival(self, world: World) -> None:
        """Its own timestamp may lie before the wait."""
        event, paid = unique("ev"), unique("paid")
        journey = world.journey(
            [trigger("w"), wait_event("w", paid, "P5D", "yes", "no"), end("yes"), end("no")], event=event
        )
        run = world.walk(journey, event)
        world.event(paid, run["endUserId"], timestamp=time_at(ms_of(run["startedAt"]) - DAY))
        world.settle()

        assert "yes" == world.detail(journey, run["executionId"])["currentStepId"]


class TestBranches:
    """By condition and by lot."""

    @pytest.mark.parametrize(
        ("attributes", "data", "expected"),
        [
            ({"plan": "pro", "age": 50}, {}, "first"),
            ({"age": 50}, {}, "second"),
            ({}, {"total": 100}, "third"),
            ({}, {}, "exit"),
        ],
    )
    def test_the_first_that_holds_wins(self, world: World, attributes: Json, data: Json, expected: str) -> None:
        """In the order written; else the default; the choice is in history."""
        event = unique("ev")
        ways = [
            ("a", attr("plan", "equals", "pro"), "first"),
            ("b", attr("age", "gt", 40), "second"),
            ("c", event_attr("total", "gte", 100), "third"),
        ]
        steps = [trigger("b"), branch("b", ways, "exit"), end("first"), end("second"), end("third"), end()]
        journey = world.journey(steps, event=event)
        run = world.walk(journey, event, world.person(attributes), data)
        (routed,) = entries(run, "branch.routed")

        assert expected == run["currentStepId"]
        assert "condition" == routed["detail"]["mode"]
        assert ({"first": "a", "second": "b", "third": "c"}.get(expected, "default")) == routed["detail"]["chosen"]

    def test_history_since_the_start_and_of_days(self, world: World) -> None:
        """since_start begins with this execution; last_n_days rolls."""
        event, order, person = unique("ev"), unique("order"), world.person()
        steps = [
            trigger("w"),
            wait("w", "P3D", "b"),
            branch(
                "b",
                [
                    ("since", fired(order), "since"),
                    ("days", fired(order, days=5), "days"),
                ],
                "exit",
            ),
            end("since"),
            end("days"),
            end(),
        ]
        journey = world.journey(steps, event=event)
        before, during, long_ago = person, world.person(), world.person()
        world.event(order, long_ago)
        world.advance("P4D")
        world.event(order, before)
        world.settle()
        for one in (before, during, long_ago):
            world.event(event, one)
        world.settle()
        world.event(order, during)
        world.advance("P4D")

        assert ["days", "since", "exit"] == [
            world.execution(journey, one)["currentStepId"] for one in (before, during, long_ago)
        ]

    def test_the_profile_is_read_when_the_branch_is_reached(self, world: World) -> None:
        """Not when the journey was entered."""
        event, person = unique("ev"), world.person({"plan": "free"})
        steps = [
            trigger("w"),
            wait("w", "P1D", "b"),
            branch("b", [("x", attr("plan", "equals", "pro"), "yes")], "exit"),
            end("yes"),
            end(),
        ]
        journey = world.journey(steps, event=event)
        world.walk(journey, event, person)
        world.api.patch(f"/api/subjects/{person}", {"attributes": {"plan": "pro"}}).ok()
        world.advance("P2D")

        assert "yes" == world.execution(journey, person)["currentStepId"]

    def test_a_segment_and_a_receipt(self, world: World) -> None:
        """in_segment as the audience is now; received sent after a send."""
        event = unique("ev")
        audience = world.audience(attr("plan", "equals", "pro"))
        steps = [
            trigger("s"),
            send("s", world.comm(), "w"),
            wait("w", "PT1H", "b"),
            branch("b", [("seg", {"kind": "in_segment", "audienceId": audience}, "seg"),
                         ("got", {"kind": "received", "stepId": "s", "status": "sent"}, "got")], "exit"),
            end("seg"),
            end("got"),
            end(),
        ]  # fmt: skip
        journey = world.journey(steps, event=event)
        people = [world.person({"plan": "pro"}), world.person(), world.person(email=None)]
        for person in people:
            world.event(event, person)
        world.advance("PT2H")

        assert ["seg", "got", "exit"] == [world.execution(journey, one)["currentStepId"] for one in people]

    @pytest.mark.parametrize(
        ("address", "on_failure", "expected"),
        [("a@example.com", "continue", "sent"), (None, "continue", "neither"), ("a@example.com", "fail", "sent")],
    )
    def test_a_branch_right_behind_a_send_knows_how_it_ended(
        self, world: World, address: str | None, on_failure: str, expected: str
    ) -> None:
        """`received` sent or failed, with a profile update in between, is asked once the send has ended; dry runs agree."""
        event = unique("ev")
        cases: list[tuple[str, Json, str]] = [
            (status, {"kind": "received", "stepId": "s", "status": status}, status) for status in ("failed", "sent")
        ]
        steps = [
            trigger("s"),
            send("s", world.comm(), "u", onFailure=on_failure),
            {"id": "u", "type": "update_profile", "set": {"mailed": True}, "next": "b"},
            branch("b", cases, "neither"),
            *(end(name) for name in ("sent", "failed", "neither")),
        ]
        journey = world.journey(steps, event=event)
        person = world.person(email=address)
        run = world.walk(journey, event, person)
        dry = world.api.post(f"/api/journeys/{journey}/simulate", {"subjectId": person}).ok()

        assert ("SUCCEEDED", expected) == (run["status"], run["currentStepId"])
        assert expected == dry["trace"][-1]["stepId"]

    def test_a_draw_is_sticky_and_about_fair(self, world: World) -> None:
        """The same person gets the same arm again, over versions; weights are weights."""
        event = unique("ev")
        steps = [
            trigger("d"),
            draw("d", [("a", 3, "a"), ("b", 1, "b"), ("never", 0, "never")]),
            end("a"),
            end("b"),
            end("never"),
        ]
        journey = world.journey(steps, event=event)
        people = [f"{journey}-{i}" for i in range(200)]

        def arms() -> dict[str, set[str]]:
            world.api.post("/api/events", {"events": [{"type": event, "endUserId": one} for one in people]}).ok(202)
            world.settle()
            found: dict[str, set[str]] = {}
            for run in world.executions(journey):
                found.setdefault(run["endUserId"], set()).add(run["currentStepId"])
            return found

        first = arms()
        world.edit(journey, description="next")
        world.publish(journey)
        both = arms()
        counts = Counter(arm for one in first.values() for arm in one)

        assert first == both
        assert {1} == {len(one) for one in both.values()}
        assert 120 < counts["a"] < 180
        assert 0 == counts["never"]
        routed = world.audit(journey, action="branch.routed")[0]["metadata"]
        assert routed["propensity"] == {"a": 0.75, "b": 0.25}[routed["armId"]]


class TestSends:
    """Messages, and why there are none."""

    def test_a_message_is_kept_and_masked(self, world: World) -> None:
        """What was sent, with a masked address and an idempotency key."""
        event = unique("ev")
        journey = world.journey([trigger("s"), send("s", world.comm(subject="Hi"), "exit"), end()], event=event)
        person = world.person(email="somebody@example-host.com")
        run = world.walk(journey, event, person)
        (message,) = world.messages(endUserId=person)

        assert {
            "messageId",
            "executionId",
            "stepId",
            "channel",
            "status",
            "to",
            "subject",
            "body",
            "sentAt",
            "idempotencyKey",
        } <= message.keys()
        assert (run["executionId"], "s", "email", "sent", "Hi") == tuple(
            message[k] for k in ("executionId", "stepId", "channel", "status", "subject")
        )
        assert "somebody" not in str(message)
        assert "example-host" not in message["to"]
        assert ms_of(message["sentAt"]) >= ms_of(run["startedAt"])

    @pytest.mark.parametrize("channel", ["email", "in_app_push", "mobile_push"])
    def test_every_channel(self, world: World, channel: str) -> None:
        """Push needs a token, the in-app store always has room."""
        event = unique("ev")
        journey = world.journey([trigger("s"), send("s", world.comm(channel), "exit", channel), end()], event=event)
        reached = world.person(addresses={"email": f"{unique('x')}@example.com", "mobile_push": ["tok"]})
        nowhere = world.person(email=None)
        for person in (reached, nowhere):
            world.event(event, person)
        world.settle()

        assert 1 == len(world.messages(endUserId=reached))
        skipped = [entry["metadata"]["reason"] for entry in world.audit(journey, action="send.skipped")]
        assert ([] if channel == "in_app_push" else ["no_address"]) == skipped

    @pytest.mark.parametrize(
        ("person", "suppress", "reason"),
        [
            ({"globalOptOut": True}, False, "opt_out"),
            ({"channelPreferences": {"email": False}}, False, "opt_out"),
            ({"channelPreferences": {"mobile_push": False}}, False, None),
            ({}, True, "suppression_match"),
            ({"globalOptOut": True}, True, "suppression_match"),
            ({"email": None}, False, "no_address"),
            ({"email": None, "globalOptOut": True}, False, "opt_out"),
        ],
    )
    def test_the_gates_in_their_order(self, world: World, person: Json, suppress: bool, reason: str | None) -> None:
        """suppression, opt_out, address; the first that fails is the reason; the person goes on."""
        event = unique("ev")
        journey = world.journey([trigger("s"), send("s", world.comm(), "exit"), end()], event=event)
        who = world.person(**person)
        if suppress:
            world.api.put(f"/api/suppressions/{who.upper()}@MAIL.example.com", {"reason": "test"}).ok(201)
        run = world.walk(journey, event, who)
        skipped = entries(run, "send.skipped")

        assert "SUCCEEDED" == run["status"]
        assert ([] if reason is None else [reason]) == [one["detail"]["reason"] for one in skipped]
        assert (1 if reason is None else 0) == len(world.messages(endUserId=who))

    def test_the_gate_is_asked_right_before(self, world: World) -> None:
        """Opted out while waiting: nothing is sent. Opted in again: the next one is."""
        event, person = unique("ev"), world.person()
        comm = world.comm()
        steps = [
            trigger("w1"),
            wait("w1", "P1D", "s1"),
            send("s1", comm, "w2"),
            wait("w2", "P1D", "s2"),
            send("s2", comm, "exit"),
            end(),
        ]
        journey = world.journey(steps, event=event)
        world.walk(journey, event, person)
        world.api.patch(f"/api/subjects/{person}", {"channelPreferences": {"email": False}}).ok()
        world.advance("PT25H")
        world.api.patch(f"/api/subjects/{person}", {"channelPreferences": {"email": True}}).ok()
        world.advance("PT25H")

        assert ["s2"] == [message["stepId"] for message in world.messages(endUserId=person)]

    def test_a_failure_goes_on_or_fails(self, world: World) -> None:
        """onFailure: continue is the default; fail ends the execution."""
        event = unique("ev")
        broken = world.comm(body="{% for i in (1..9000000) %}x{% endfor %}")
        going = world.journey([trigger("s"), send("s", broken, "exit"), end()], event=event)
        failing = world.journey([trigger("s"), send("s", broken, "exit", onFailure="fail"), end()], event=event)
        person = world.person()
        world.event(event, person)
        world.settle()

        assert ["SUCCEEDED", "FAILED"] == [world.execution(one, person)["status"] for one in (going, failing)]
        assert ["s"] == [one["stepId"] for one in entries(world.execution(failing, person), "execution.failed")]
        assert 1 == len(world.audit(failing, action="execution.failed"))
        assert 1 == world.step_stats(failing)["s"]["failed"]

    def test_a_send_that_works_with_on_failure_fail(self, world: World) -> None:
        """It waits for the result and goes on."""
        event = unique("ev")
        journey = world.journey([trigger("s"), send("s", world.comm(), "exit", onFailure="fail"), end()], event=event)

        assert "SUCCEEDED" == world.walk(journey, event)["status"]
        assert 1 == world.step_stats(journey)["s"]["executed"]

    def test_filters_and_pages_of_messages(self, apart: World) -> None:
        """By person, journey, execution; newest first; pages."""
        event = unique("ev")
        comm = apart.comm()
        journeys = [
            apart.journey([trigger("a"), send("a", comm, "b"), send("b", comm, "exit"), end()], event=event)
            for _ in range(2)
        ]
        people = [apart.person() for _ in range(2)]
        for person in people:
            apart.event(event, person)
            apart.advance("PT1M")
        run = apart.execution(journeys[0], people[0])
        everything = apart.messages()

        assert 8 == len(everything)
        assert everything == apart.messages(limit="3")
        assert sorted((one["sentAt"] for one in everything), reverse=True) == [one["sentAt"] for one in everything]
        assert 4 == len(apart.messages(endUserId=people[0]))
        assert 4 == len(apart.messages(journeyId=journeys[0]))
        assert 2 == len(apart.messages(executionId=run["executionId"], limit="1"))
        assert 2 == len(apart.messages(endUserId=people[0], journeyId=journeys[1]))
        assert [] == apart.messages(endUserId="nobody")
        assert [] == apart.messages(executionId="nonsense")
        assert 8 == len({one["idempotencyKey"] for one in everything})


class TestUpdates:
    """update_profile."""

    def test_values_are_set(self, world: World) -> None:
        """Literals keep their type, Liquid gives text, dotted names go inside; later steps see them."""
        event, person = unique("ev"), world.person({"name": "Ada", "keep": 1, "deep": {"old": 1}})
        values = {
            "n": 5,
            "flag": False,
            "list": [1, "a"],
            "none": None,
            "label": "{{ subject.name | upcase }}-{{ event.orderId }}",
            "deep.new": "x",
            "made.up.here": True,
        }
        steps = [
            trigger("u"),
            update("u", values, "b"),
            branch("b", [("x", attr("label", "equals", "ADA-7"), "s")], "exit"),
            send("s", world.comm(subject="{{ subject.label }} {{ subject.n }}"), "exit"),
            end(),
        ]
        journey = world.journey(steps, event=event)
        run = world.walk(journey, event, person, {"orderId": 7})
        attributes = world.profile(person)["attributes"]

        assert ["ADA-7 5"] == [message["subject"] for message in world.messages(endUserId=person)]
        assert {
            "name": "Ada",
            "keep": 1,
            "n": 5,
            "flag": False,
            "list": [1, "a"],
            "label": "ADA-7",
            "deep": {"old": 1, "new": "x"},
            "made": {"up": {"here": True}},
        } == {name: value for name, value in attributes.items() if name != "none"}
        assert attributes.get("none") is None
        assert "SUCCEEDED" == run["status"]

    def test_two_journeys_lose_nothing_to_each_other(self, world: World) -> None:
        """Both write into one profile at the same event."""
        event, person = unique("ev"), world.person()
        journeys = [
            world.journey([trigger("u"), update("u", {f"j{i}": True}, "exit"), end()], event=event) for i in range(4)
        ]
        world.event(event, person)
        world.settle()

        assert {f"j{i}": True for i in range(4)} == world.profile(person)["attributes"]
        assert [1] * 4 == [world.step_stats(one)["u"]["executed"] for one in journeys]

    def test_what_api_and_journey_write_meanwhile_is_all_there(self, world: World) -> None:
        """The API's patches and the journey's updates side by side."""
        event, person = unique("ev"), world.person()
        world.journey([trigger("u"), update("u", {"seen": "{{ event.n }}"}, "exit"), end()], event=event)
        for n in range(10):
            world.event(event, person, {"n": n})
            world.api.patch(f"/api/subjects/{person}", {"attributes": {f"a{n}": n}}).ok()
        world.settle()

        assert {**{f"a{n}": n for n in range(10)}, "seen": "9"} == world.profile(person)["attributes"]


class TestLeaving:
    """exitOn, exitOnGoal, maxDuration."""

    def staying(self, world: World, event: str, settings: Json, **more: Any) -> str:
        """A journey of ten days and a mail."""
        steps = [trigger("w"), wait("w", "P10D", "s"), send("s", world.comm(), "exit"), end()]
        return world.journey(steps, event=event, settings=settings, **more)

    def test_exit_on_an_event(self, world: World) -> None:
        """SUCCEEDED with reason exit_on, at any step, once; others go on; nothing is sent afterwards."""
        event, gone = unique("ev"), unique("gone")
        journey = self.staying(world, event, {"exitOn": [{"eventName": gone}]})
        left, stays = world.walk(journey, event), world.walk(journey, event)
        world.event(gone, left["endUserId"])
        world.settle()
        run = world.detail(journey, left["executionId"])
        world.advance("P11D")

        assert ("SUCCEEDED", "exit_on", "w") == (run["status"], run["exitReason"], run["currentStepId"])
        assert "exit_on" == entries(run, "execution.completed")[0]["detail"]["reason"]
        assert [0, 1] == [len(world.messages(endUserId=one["endUserId"])) for one in (left, stays)]
        assert {"exit_on"} == {
            one["metadata"].get("reason")
            for one in world.audit(journey, action="execution.completed", executionId=left["executionId"])
        }

    def test_only_the_matching_run(self, world: World) -> None:
        """One order's exit does not end the other order's run."""
        event, gone, person = unique("ev"), unique("gone"), world.person()
        journey = self.staying(world, event, {"exitOn": [{"eventName": gone, "match": {"orderId": "event.orderId"}}]})
        for order in ("a", "b"):
            world.event(event, person, {"orderId": order})
        world.settle()
        world.event(gone, person, {"orderId": "a"})
        world.event(gone, person, {"orderId": "z"})
        world.settle()

        assert ["RUNNING", "SUCCEEDED"] == sorted(run["status"] for run in world.executions(journey, person))

    @pytest.mark.parametrize("leaves", [True, False])
    def test_exit_on_goal(self, world: World, leaves: bool) -> None:
        """Only where the settings say so; goal.reached is audited once either way."""
        event, goal = unique("ev"), unique("goal")
        journey = self.staying(world, event, {"exitOnGoal": leaves}, goalEventName=goal)
        run = world.walk(journey, event)
        for _ in range(2):
            world.event(goal, run["endUserId"])
        world.settle()
        after = world.detail(journey, run["executionId"])

        assert (("SUCCEEDED", "goal") if leaves else ("RUNNING", None)) == (after["status"], after["exitReason"])
        assert 1 == len(world.audit(journey, action="goal.reached"))

    def test_a_goal_after_the_window_is_none(self, world: World) -> None:
        """And one after the exit, within the window, is one."""
        event, goal = unique("ev"), unique("goal")
        journey = world.journey([trigger("exit"), end()], event=event, goalEventName=goal, goalEventWindowDays=2)
        early, late = world.walk(journey, event), world.walk(journey, event)
        world.advance("P1D")
        world.event(goal, early["endUserId"])
        world.advance("P2D")
        world.event(goal, late["endUserId"])
        world.settle()

        assert [early["executionId"]] == [
            one["metadata"]["executionId"] for one in world.audit(journey, action="goal.reached")
        ]

    def test_an_execution_keeps_the_goal_it_started_under(self, world: World) -> None:
        """Another goal acts at once, for those who start afterwards."""
        event, old, new = unique("ev"), unique("old"), unique("new")
        journey = self.staying(world, event, {}, goalEventName=old)
        early = world.walk(journey, event)
        world.edit(journey, goalEventName=new)
        late = world.walk(journey, event)
        for name in (old, new):
            for run in (early, late):
                world.event(name, run["endUserId"])
        world.settle()

        assert {(early["executionId"], old), (late["executionId"], new)} == {
            (one["metadata"]["executionId"], one["metadata"]["eventName"])
            for one in world.audit(journey, action="goal.reached")
        }

    def test_nobody_stays_longer_than_allowed(self, world: World) -> None:
        """TIMED_OUT at exactly start plus maxDuration."""
        event = unique("ev")
        journey = self.staying(world, event, {"maxDuration": "P3DT1H"})
        run = world.walk(journey, event)
        world.advance("P11D")
        after = world.detail(journey, run["executionId"])

        assert "TIMED_OUT" == after["status"]
        assert time_at(ms_of(run["startedAt"]) + 3 * DAY + HOUR) == after["endedAt"]
        assert 1 == len(world.audit(journey, action="execution.timed_out"))
        assert [] == world.messages(endUserId=run["endUserId"])

    def test_an_exit_has_its_reason(self, world: World) -> None:
        """In the detail and in history."""
        event = unique("ev")
        journey = world.journey([trigger("exit"), end(reason="all done")], event=event)
        run = world.walk(journey, event)

        assert ("SUCCEEDED", "all done") == (run["status"], run["exitReason"])
        assert [("trigger", "execution.started"), ("exit", "execution.completed")] == path_of(run)


def test_the_longest_way_in_order(world: World) -> None:
    """Every kind of step that runs, in one walk, with history in order and without gaps."""
    event, paid = unique("ev"), unique("paid")
    comm = world.comm()
    steps = [
        trigger("s1"),
        send("s1", comm, "w1"),
        wait("w1", "P3D", "b1"),
        branch("b1", [("active", fired("login", days=3), "exit")], "u1"),
        update("u1", {"stage": "nudged"}, "d1"),
        draw("d1", [("a", 1, "s2"), ("b", 1, "s2")]),
        send("s2", comm, "w2"),
        wait_event("w2", paid, "P7D", "s3", "exit"),
        send("s3", comm, "exit"),
        end(),
    ]
    journey = world.journey(steps, event=event)
    person = world.person()
    world.walk(journey, event, person)
    world.advance("P4D")
    world.event(paid, person)
    world.settle()
    run = world.execution(journey, person)

    assert ["trigger", "s1", "w1", "b1", "u1", "d1", "s2", "w2", "s3", "exit"] == sorted(
        visited(run), key=[step["id"] for step in steps].index
    )
    assert sorted(one["at"] for one in run["history"]) == [one["at"] for one in run["history"]]
    assert ["s3", "s2", "s1"] == [message["stepId"] for message in world.messages(endUserId=person)]
    assert {"stage": "nudged"} == world.profile(person)["attributes"]
