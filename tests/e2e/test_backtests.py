"""A version walked by what has already happened, and the difference from what the journey did. Contract 5."""

from typing import Any

import pytest

from tests.e2e.server import Client, by_session, eventually
from tests.e2e.words import DAY, Json, World, attr, branch, end, event_attr, send, time_at, trigger, unique, wait


def begin(world: World, journey: str, since: int, until: int, **more: Any) -> str:
    """Start a backtest of that stretch of time; its id."""
    body = {"from": time_at(since), "to": time_at(until), **more}
    reply = world.api.post(f"/api/journeys/{journey}/backtests", body)
    answer: Json = reply.ok(202)
    assert {"backtestId"} == answer.keys()
    assert reply.headers["location"].endswith(f"/backtests/{answer['backtestId']}")
    name: str = answer["backtestId"]
    return name


def result_of(world: World, journey: str, backtest: str) -> Json:
    """Its result, once it is done."""

    def is_done() -> Json | None:
        shown: Json = world.api.get(f"/api/journeys/{journey}/backtests/{backtest}").ok()
        assert shown["status"] in ("running", "done"), shown
        assert 0 <= shown["progress"] <= 1
        return shown if shown["status"] == "done" else None

    shown = eventually(is_done, seconds=60)
    assert shown is not None
    assert 1 == shown["progress"]
    result: Json = shown["result"]
    return result


def run(world: World, journey: str, since: int, until: int, **more: Any) -> Json:
    """Start one and wait for its result."""
    return result_of(world, journey, begin(world, journey, since, until, **more))


@pytest.fixture
def past(apart: World) -> tuple[World, str, str, int, int]:
    """A journey that twelve people met: its world, its id, its event, and from when to when."""
    event = unique("ev")
    steps = [trigger("s", filter=event_attr("amount", "gte", 50)), send("s", apart.comm(), "exit"), end()]
    journey = apart.journey(steps, event=event)
    since = apart.settle()
    for amount in range(0, 120, 10):
        apart.event(event, apart.person({"plan": "pro" if amount % 20 else "free"}), {"amount": amount})
    until = apart.advance("PT1H")
    return apart, journey, event, since, until


def test_the_published_version_differs_from_itself_in_nothing(past: tuple[World, str, str, int, int]) -> None:
    """The same events, the same decisions: every difference is zero."""
    world, journey, _, since, until = past
    result = run(world, journey, since, until)

    assert {
        "events", "entered", "reached", "gated", "messagesPerDay", "differenceToVersion",
    } <= result.keys()  # fmt: skip
    assert (12, 7) == (result["events"], result["entered"])
    assert {"trigger": 7, "s": 7, "exit": 7} == result["reached"]
    assert {"trigger_filter": 5} == result["gated"]
    assert [7] == [day["count"] for day in result["messagesPerDay"]]
    assert time_at(since)[:10] == result["messagesPerDay"][0]["date"]
    assert {
        "version": 1,
        "entered": 0,
        "reached": {"exit": 0, "s": 0, "trigger": 0},
        "messages": 0,
    } == result["differenceToVersion"]


def test_a_changed_draft_shows_what_it_would_have_changed(past: tuple[World, str, str, int, int]) -> None:
    """Another filter and another step: who would enter, and the difference to what really happened."""
    world, journey, _, since, until = past
    steps = [
        trigger("b", filter=event_attr("amount", "gte", 20)),
        branch("b", [("pro", attr("plan", "equals", "pro"), "s")], "exit"),
        send("s", world.comm(), "exit"),
        end(),
    ]
    world.edit(journey, steps=steps)
    before = (world.executions(journey), world.messages(journeyId=journey), world.audit(journey))
    result = run(world, journey, since, until, version="draft")

    assert 10 == result["entered"]
    assert {"trigger": 10, "b": 10, "s": 5, "exit": 10} == result["reached"]
    assert {"trigger_filter": 2} == result["gated"]
    assert {"version": 1, "entered": 3, "reached": {"b": 10, "exit": 3, "s": -2, "trigger": 3}, "messages": -2} == (
        result["differenceToVersion"]
    )
    assert before == (world.executions(journey), world.messages(journeyId=journey), world.audit(journey))


def test_waits_pass_in_virtual_time_and_stop_where_the_window_ends(apart: World) -> None:
    """Whoever still waits then has not got on."""
    event, journey_event = unique("other"), unique("ev")
    steps = [
        trigger("w"),
        {"id": "w", "type": "wait", "mode": "until_event", "eventName": event, "timeout": "P2D", "next": "yes",
         "onTimeout": "no"},
        end("yes"), end("no"),
    ]  # fmt: skip
    contract = apart.contract(journey_event)
    journey = apart.draft(steps, triggerContractId=contract)
    since = apart.settle()
    quick, slow = apart.person(), apart.person()
    apart.event(journey_event, quick)
    apart.event(journey_event, slow)
    middle = apart.advance("P1D")
    apart.event(event, quick)
    until = apart.advance("P3D")
    early = run(apart, journey, since, middle)
    late = run(apart, journey, since, until)

    assert {"trigger": 2, "w": 2} == early["reached"]
    assert {"trigger": 2, "w": 2, "yes": 1, "no": 1} == late["reached"]
    assert early["differenceToVersion"] is None


def test_caps_and_reentry_hold_within_it(apart: World) -> None:
    """One person's runs share one ledger; earlier entries count."""
    apart.api.patch("/api/workspace", {"frequencyCaps": [{"max": 2, "per": "P1D"}]}).ok()
    event = unique("ev")
    steps = [trigger("s"), send("s", apart.comm(), "exit"), end()]
    every = apart.draft(steps, triggerContractId=apart.contract(event))
    once = apart.draft(
        [trigger("w"), wait("w", "P9D", "exit"), end()],
        triggerContractId=apart.contract(event),
        settings={"reentry": {"mode": "once"}},
    )
    since, person = apart.settle(), apart.person()
    for _ in range(5):
        apart.event(event, person)
        apart.settle()
    until = apart.advance("PT1H")
    capped, entered = run(apart, every, since, until), run(apart, once, since, until)

    assert (5, {"frequency_cap_exceeded": 3}) == (capped["entered"], capped["gated"])
    assert [2] == [day["count"] for day in capped["messagesPerDay"]]
    assert (1, {"reentry_limit": 4}) == (entered["entered"], entered["gated"])


def test_people_of_whom_only_events_are_known_are_walked_too(apart: World) -> None:
    """Nobody wrote their profile; other workspaces' events are theirs alone."""
    event = unique("ev")
    journey = apart.draft([trigger("exit"), end()], triggerContractId=apart.contract(event))
    since = apart.settle()
    for name in ("anna", "bob", "anna"):
        apart.event(event, name)
    result = run(apart, journey, since, apart.advance("PT1H"))

    assert (3, 3) == (result["events"], result["entered"])


def test_one_that_is_cancelled_stays_cancelled(past: tuple[World, str, str, int, int]) -> None:
    """DELETE answers 204, also for one that is done, which stays done."""
    world, journey, _, since, until = past
    done = begin(world, journey, since, until)
    result_of(world, journey, done)
    path = f"/api/journeys/{journey}/backtests/{done}"
    world.api.delete(path).ok(204)

    assert "done" == world.api.get(path).ok()["status"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"from": "yesterday"}, "/from"),
        ({"to": 5}, "/to"),
        ({"to": None}, "/to"),
        ({"version": 1.5}, "/version"),
        ({"foo": 1}, "/foo"),
    ],
)
def test_a_malformed_question_is_refused(world: World, change: Json, path: str) -> None:
    """400 with the path."""
    body = {"from": "2026-01-01T00:00:00.000Z", "to": "2026-01-02T00:00:00.000Z", **change}
    problem = world.api.post(f"/api/journeys/{world.draft()}/backtests", body).problem(400, "validation_error")

    assert path in {fault["path"] for fault in problem["errors"]}


def test_a_window_that_ends_before_it_begins_is_refused(world: World) -> None:
    """400."""
    body = {"from": "2026-01-02T00:00:00.000Z", "to": "2026-01-02T00:00:00.000Z"}
    world.api.post(f"/api/journeys/{world.draft()}/backtests", body).problem(400, "validation_error")


def test_a_draft_that_cannot_run_is_refused_as_at_publish(world: World) -> None:
    """400 graph_invalid with its faults."""
    journey = world.draft([trigger("gone"), end()])
    body = {"from": "2026-01-01T00:00:00.000Z", "to": "2026-01-02T00:00:00.000Z"}
    problem = world.api.post(f"/api/journeys/{journey}/backtests", body).problem(400, "graph_invalid")

    assert "next_unresolved" in {fault["code"] for fault in problem["errors"]}


def test_what_is_not_there(world: World, apart: World) -> None:
    """Unknown journeys, versions, backtests, and another workspace's."""
    journey = world.draft()
    body = {"from": "2026-01-01T00:00:00.000Z", "to": "2026-01-02T00:00:00.000Z"}
    world.api.post("/api/journeys/none/backtests", body).problem(404, "not_found")
    world.api.post(f"/api/journeys/{journey}/backtests", {**body, "version": 7}).problem(404, "not_found")
    started = world.api.post(f"/api/journeys/{journey}/backtests", body).ok(202)["backtestId"]
    for client, path in (
        (world.api, f"/api/journeys/{journey}/backtests/none"),
        (world.api, f"/api/journeys/{world.draft()}/backtests/{started}"),
        (apart.api, f"/api/journeys/{journey}/backtests/{started}"),
    ):
        client.get(path).problem(404, "not_found")
        client.delete(path).problem(404, "not_found")


def test_a_viewer_reads_and_starts_none(world: World, api: Client) -> None:
    """Starting and cancelling are an editor's."""
    email = f"{unique('viewer')}@example.com"
    api.post("/api/workspace/members", {"email": email, "role": "viewer", "password": "correct horse battery"}).ok(201)
    cookie = api.post("/api/session", {"email": email, "password": "correct horse battery"}).headers["set-cookie"]
    viewer = by_session(api.port, cookie.split(";")[0].removeprefix("session="))
    journey = world.draft()
    now = world.settle()
    started = begin(world, journey, now - DAY, now)
    body = {"from": time_at(now - DAY), "to": time_at(now)}

    viewer.post(f"/api/journeys/{journey}/backtests", body).problem(403, "forbidden")
    viewer.delete(f"/api/journeys/{journey}/backtests/{started}").problem(403, "forbidden")
    viewer.get(f"/api/journeys/{journey}/backtests/{started}").ok()
