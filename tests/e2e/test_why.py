"""Why somebody entered or did not, and what was decided about them on the way. Contract 4."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.server import eventually
from tests.e2e.words import (
    TIME,
    Json,
    World,
    attr,
    branch,
    draw,
    end,
    event_attr,
    send,
    trigger,
    unique,
    wait,
    wait_event,
)


def decisions(world: World, journey: str, person: str, **filters: str) -> list[Json]:
    """What `why` says, newest first."""
    query = "&".join(f"{name}={value}" for name, value in {"endUserId": person, **filters}.items())
    answer = world.api.get(f"/api/journeys/{journey}/why?{query}").ok()
    assert {"endUserId", "decisions"} == answer.keys()
    assert person == answer["endUserId"]
    found: list[Json] = answer["decisions"]
    return found


def checks(entry: Json) -> dict[str, Json]:
    """The checks of a decision or a step, by name."""
    return {check["check"]: check for check in entry["checks"]}


def test_a_start_is_told_with_every_step(world: World) -> None:
    """Checks of the start with their inputs, the gate of the send, the draw, the wait and who ended it."""
    event, paid = unique("ev"), unique("paid")
    steps = [
        trigger("d", filter=event_attr("amount", "gt", 10)),
        draw("d", [("a", 1, "s"), ("b", 1, "s")]),
        send("s", world.comm(), "w"),
        wait_event("w", paid, "P3D", "c", "exit"),
        branch("c", [("pro", attr("plan", "equals", "pro"), "exit")], "exit"),
        end(),
    ]
    journey, person = world.journey(steps, event=event), world.person({"plan": "pro"})
    event_id = world.event(event, person, {"amount": 20})
    world.settle()
    world.event(paid, person)
    world.settle()
    (one,) = decisions(world, journey, person)
    run = world.execution(journey, person)
    by_step = {step["stepId"]: step for step in one["steps"]}

    assert ("started", event_id, event, run["executionId"]) == (
        one["outcome"],
        one["eventId"],
        one["eventType"],
        one["executionId"],
    )
    assert {"journey_paused", "trigger_filter", "reentry", "holdout"} == checks(one).keys()
    assert all(check["passed"] for check in one["checks"])
    assert {"percent": 0} == checks(one)["holdout"]["inputs"]
    assert ["trigger", "d", "s", "w", "c", "exit"] == [step["stepId"] for step in one["steps"]]
    assert ["trigger", "branch", "send", "wait", "branch", "exit"] == [step["type"] for step in one["steps"]]
    assert {"suppression", "opt_out", "address", "quiet_hours", "frequency_cap"} == checks(by_step["s"]).keys()
    assert ("random", 0.5) == (by_step["d"]["branch"]["mode"], by_step["d"]["branch"]["propensity"])
    assert "event" == by_step["w"]["wait"]["firedBy"]
    assert "pro" == by_step["c"]["branch"]["chosen"]
    assert {"executed"} == {step["decision"] for step in one["steps"]}


def test_who_was_refused_by_the_filter_finds_the_failing_part_with_its_value(world: World) -> None:
    """Nothing of it is in the audit; `why` shows the predicate and what was found."""
    event = unique("ev")
    condition = {"kind": "and", "clauses": [attr("plan", "equals", "pro"), event_attr("amount", "gt", 10)]}
    journey = world.journey([trigger("exit", filter=condition), end()], event=event)
    person = world.person({"plan": "free"})
    world.event(event, person, {"amount": 20})
    world.settle()
    (one,) = decisions(world, journey, person)
    failed = checks(one)["trigger_filter"]
    first, second = failed["inputs"]["explanation"]["clauses"]

    assert ("blocked", "trigger_filter") == (one["outcome"], one["reason"])
    assert "executionId" not in one
    assert (False, "trigger_filter") == (failed["passed"], failed["reason"])
    assert (False, True) == (first["result"], second["result"])
    assert "free" in str(first)
    assert [] == one["steps"]
    assert [] == world.audit(journey, action="trigger.blocked")


def test_who_is_not_in_the_audience_finds_out_why(world: World) -> None:
    """The audience's own predicate is explained."""
    event = unique("ev")
    audience = world.audience(attr("country", "in", ["de", "at"]))
    journey = world.journey([trigger("exit"), end()], event=event, audienceId=audience)
    person = world.person({"country": "fr"})
    world.event(event, person)
    world.settle()
    (one,) = decisions(world, journey, person)

    assert ("blocked", "audience_mismatch") == (one["outcome"], one["reason"])
    assert "fr" in str(checks(one)["audience"]["inputs"]["explanation"])
    assert audience == checks(one)["audience"]["inputs"]["audienceId"]


def test_reentry_pause_and_holdout_have_their_reasons(apart: World) -> None:
    """Newest first, each with its event."""
    event = unique("ev")
    steps = [trigger("w"), wait("w", "P9D", "exit"), end()]
    journey = apart.journey(steps, event=event, settings={"reentry": {"mode": "once"}})
    person = apart.person()
    expected: list[tuple[str, str | None]] = []
    apart.event(event, person)
    apart.settle()
    expected.append(("started", None))
    apart.event(event, person)
    apart.settle()
    expected.append(("blocked", "reentry_limit"))
    apart.api.post(f"/api/journeys/{journey}/pause").ok()
    apart.event(event, person)
    apart.settle()
    expected.append(("blocked", "journey_paused"))
    told = decisions(apart, journey, person)

    assert expected[::-1] == [(one["outcome"], one.get("reason")) for one in told]
    assert 1 == checks(told[1])["reentry"]["inputs"]["formerEntries"]
    apart.api.post(f"/api/journeys/{journey}/resume").ok()
    apart.api.patch("/api/workspace", {"holdout": {"percent": 100}}).ok()
    held = apart.person()
    event_id = apart.event(event, held)
    apart.settle()
    (one,) = decisions(apart, journey, held)
    assert ("held_out", "holdout_membership", event_id) == (one["outcome"], one["reason"], one["eventId"])
    assert "executionId" not in one


def test_a_skipped_send_has_its_gate(world: World) -> None:
    """All checks, the first failing one is the reason."""
    event = unique("ev")
    journey = world.journey([trigger("s"), send("s", world.comm(), "exit"), end()], event=event)
    person = world.person(channelPreferences={"email": False})
    world.event(event, person)
    world.settle()
    (one,) = decisions(world, journey, person)
    step = next(step for step in one["steps"] if step["stepId"] == "s")

    assert ("skipped", "opt_out") == (step["decision"], step["reason"])
    assert [True, False, True, True, True] == [check["passed"] for check in step["checks"]]
    assert {"globalOptOut": False, "preference": False} == checks(step)["opt_out"]["inputs"]


def test_by_event_and_page_by_page(world: World) -> None:
    """`eventId` asks for one; older decisions are behind Link."""
    event = unique("ev")
    journey, person = world.journey([trigger("exit"), end()], event=event), world.person()
    ids = [world.event(event, person) for _ in range(5)]
    world.settle()
    (one,) = decisions(world, journey, person, eventId=ids[2])
    path: str | None = f"/api/journeys/{journey}/why?endUserId={person}&limit=2"
    seen: list[str] = []
    while path is not None:
        reply = world.api.get(path)
        seen += [one["eventId"] for one in reply.ok()["decisions"]]
        path = reply.next_path()

    assert ids[2] == one["eventId"]
    assert set(ids) == set(seen)
    assert len(ids) == len(seen)


def test_they_are_kept_for_thirty_days(apart: World) -> None:
    """A refused start of six weeks ago is gone; the day before the thirtieth it was there."""
    event = unique("ev")
    journey = apart.journey([trigger("exit", filter=attr("vip", "exists")), end()], event=event)
    person = apart.person()
    apart.event(event, person)
    apart.settle()
    apart.advance("P29D")
    assert 1 == len(decisions(apart, journey, person))
    apart.advance("P14D")
    assert eventually(lambda: not decisions(apart, journey, person))  # housekeeping keeps no clock from moving on


def test_nobody_and_nothing(world: World) -> None:
    """Unknown people have no decisions; the question needs a person; an unknown journey is not found."""
    journey = world.journey([trigger("exit"), end()], event=unique("ev"))
    assert [] == decisions(world, journey, "nobody")
    world.api.get(f"/api/journeys/{journey}/why").problem(400, "validation_error")
    world.api.get(f"/api/journeys/{journey}/why?endUserId={'x' * 300}").problem(400, "validation_error")
    world.api.get("/api/journeys/none/why?endUserId=u").problem(404, "not_found")


@pytest.mark.parametrize("limit", ["0", "501", "x"])
def test_a_limit_has_bounds(world: World, limit: str) -> None:
    """As everywhere."""
    journey = world.draft()
    world.api.get(f"/api/journeys/{journey}/why?endUserId=u&limit={limit}").problem(400, "validation_error")


def test_times_are_those_of_the_decisions(world: World) -> None:
    """`at` is when it was decided, in the documented form."""
    event = unique("ev")
    journey, person = world.journey([trigger("exit"), end()], event=event), world.person()
    before = world.settle()
    world.event(event, person)
    world.settle()
    (one,) = decisions(world, journey, person)
    moment = datetime.fromisoformat(one["at"])

    assert re.fullmatch(TIME, one["at"])
    assert timedelta(0) <= moment - datetime.fromtimestamp(before // 1000, UTC) < timedelta(minutes=1)


def test_what_comes_again_is_told_as_a_duplicate(world: World) -> None:
    """By the events route, alone and in a batch, and by the internal start; the first decision stays as it was."""
    event, event_id = unique("ev"), unique("id")
    journey, person = world.journey([trigger("exit"), end()], event=event), world.person()
    body = {"id": event_id, "type": event, "endUserId": person}
    assert {"received": 1, "duplicates": 0, "errors": []} == world.api.post("/api/events", body).ok(202)
    world.settle()
    assert {"received": 2, "duplicates": 2, "errors": []} == world.api.post("/api/events", {"events": [body, body]}).ok(
        202
    )
    started = world.start_internal(journey, person, event_id)
    told = decisions(world, journey, person, eventId=event_id)

    assert (False, "duplicate") == (started["started"], started["reason"])
    assert ["duplicate"] * 3 + ["started"] == [one["outcome"] for one in told]
    assert {"duplicate"} == {one["reason"] for one in told[:3]}
    assert {started["executionId"]} == {one["executionId"] for one in told}
    assert {(event_id, event)} == {(one["eventId"], one["eventType"]) for one in told}
    assert [[]] * 3 == [one["steps"] for one in told[:3]]
    assert sorted((one["at"] for one in told), reverse=True) == [one["at"] for one in told]
    (check,) = told[0]["checks"]
    assert ("duplicate", False, "duplicate") == (check["check"], check["passed"], check["reason"])
    assert {"decision": "started", "repeats": 3, "eventId": event_id}.items() <= check["inputs"].items()


def test_a_duplicate_of_what_nobody_decided_is_told_nowhere(world: World) -> None:
    """No journey starts by it."""
    journey, person = world.journey([trigger("exit"), end()], event=unique("ev")), world.person()
    body = {"id": unique("id"), "type": unique("other"), "endUserId": person}
    for _ in range(2):
        world.api.post("/api/events", body).ok(202)
    world.settle()

    assert [] == decisions(world, journey, person)


def test_what_runs_is_told_and_what_ended_thirty_days_ago_is_not(apart: World) -> None:
    """The start of a long journey stays until thirty days after its end."""
    event = unique("ev")
    journey = apart.journey([trigger("w"), wait("w", "P40D", "exit"), end()], event=event)
    person = apart.person()
    apart.event(event, person)
    apart.settle()
    apart.advance("P35D")
    assert ["started"] == [one["outcome"] for one in decisions(apart, journey, person)]
    apart.advance("P34D")
    assert ["started"] == [one["outcome"] for one in decisions(apart, journey, person)]
    apart.advance("P2D")
    assert [] == decisions(apart, journey, person)
