"""Audiences, and the whole predicate language through `evaluate`. Contract 3."""

import re
from typing import Any

import pytest

from tests.e2e.server import fault_paths
from tests.e2e.words import DAY, TIME, Json, World, attr, end, event_attr, fired, time_at, trigger, unique

PERSON = {
    "plan": "pro",
    "age": 42,
    "score": 4.5,
    "zero": 0,
    "active": True,
    "off": False,
    "empty": "",
    "nothing": None,
    "tags": ["gold", "early", 7],
    "none": [],
    "name": "Ünï Straße",
    "address": {"city": "Berlin", "geo": {"lat": 52.5}},
    "orders": [{"id": 1}, {"id": 2}],
    "born": "1990-06-15",
    "joined": "2026-03-01T23:30:00.000Z",
    "joinedThere": "2026-03-02T08:30:00+09:00",
}

LEAVES: list[tuple[Json, bool]] = [
    (attr("plan", "equals", "pro"), True),
    (attr("plan", "equals", "Pro"), False),
    (attr("plan", "not_equals", "free"), True),
    (attr("plan", "not_equals", "pro"), False),
    (attr("plan", "in", ["free", "pro"]), True),
    (attr("plan", "in", []), False),
    (attr("plan", "not_in", ["free"]), True),
    (attr("plan", "not_in", ["pro"]), False),
    (attr("plan", "contains", "r"), True),
    (attr("plan", "contains", "R"), False),
    (attr("plan", "not_contains", "x"), True),
    (attr("plan", "starts_with", "pr"), True),
    (attr("plan", "ends_with", "ro"), True),
    (attr("plan", "ends_with", "pr"), False),
    (attr("name", "starts_with", "Ünï"), True),
    (attr("age", "equals", 42), True),
    (attr("age", "equals", 42.0), True),
    (attr("age", "equals", "42"), False),
    (attr("age", "gt", 41), True),
    (attr("age", "gt", 42), False),
    (attr("age", "gte", 42), True),
    (attr("age", "lt", 42), False),
    (attr("age", "lte", 42), True),
    (attr("score", "gt", 4), True),
    (attr("age", "between", [42, 50]), True),
    (attr("age", "between", [30, 42]), True),
    (attr("age", "between", [43, 50]), False),
    (attr("zero", "equals", 0), True),
    (attr("zero", "exists"), True),
    (attr("active", "equals", True), True),
    (attr("active", "equals", 1), False),
    (attr("off", "equals", False), True),
    (attr("off", "equals", 0), False),
    (attr("empty", "equals", ""), True),
    (attr("empty", "exists"), True),
    (attr("nothing", "exists"), False),
    (attr("nothing", "not_exists"), True),
    (attr("missing", "exists"), False),
    (attr("missing", "not_exists"), True),
    (attr("missing", "equals", "x"), False),
    (attr("missing", "not_equals", "x"), False),
    (attr("missing", "not_in", ["x"]), False),
    (attr("missing", "not_contains", "x"), False),
    (attr("missing", "lt", 5), False),
    (attr("plan", "gt", 5), False),
    (attr("age", "starts_with", "4"), False),
    (attr("address.city", "equals", "Berlin"), True),
    (attr("address.geo.lat", "gt", 50), True),
    (attr("address.street", "exists"), False),
    (attr("address", "exists"), True),
    (attr("plan.x", "exists"), False),
    (attr("tags", "equals", "gold"), True),
    (attr("tags", "contains", "gold"), True),
    (attr("tags", "contains", "silver"), False),
    (attr("tags", "in", ["early", "late"]), True),
    (attr("tags", "gt", 6), True),
    (attr("none", "contains", "x"), False),
    (attr("joined", "before", "2026-03-02T00:00:00.000Z"), True),
    (attr("joined", "after", "2026-03-01T00:00:00.000Z"), True),
    (attr("joined", "after", "2026-03-01T23:30:00.000Z"), False),
    (attr("joined", "before", "2026-03-01T23:30:00.000Z"), False),
    (attr("joinedThere", "before", "2026-03-01T23:31:00.000Z"), True),
    (attr("joined", "on", "2026-03-01T23:31:00.000Z"), True),
    (attr("born", "before", "2000-01-01"), True),
    (attr("born", "on", "1990-06-15"), True),
    (attr("born", "on", "1990-06-16"), False),
    (attr("joined", "between", ["2026-03-01T00:00:00Z", "2026-03-01T23:30:00Z"]), True),
    (attr("plan", "before", "2026-01-01T00:00:00Z"), False),
    ({"kind": "and", "clauses": []}, True),
    ({"kind": "or", "clauses": []}, False),
    ({"kind": "and", "clauses": [attr("plan", "exists"), attr("age", "gt", 1)]}, True),
    ({"kind": "and", "clauses": [attr("plan", "exists"), attr("age", "gt", 99)]}, False),
    ({"kind": "or", "clauses": [attr("plan", "equals", "x"), attr("age", "gt", 1)]}, True),
    ({"kind": "not", "clause": attr("missing", "equals", "x")}, True),
    ({"kind": "not", "clause": {"kind": "not", "clause": attr("plan", "exists")}}, True),
    ({"kind": "channel_opted_in", "channel": "email"}, True),
    ({"kind": "channel_opted_out", "channel": "email"}, False),
    ({"kind": "channel_opted_in", "channel": "mobile_push"}, False),
    ({"kind": "channel_opted_out", "channel": "mobile_push"}, True),
    ({"kind": "channel_opted_in", "channel": "in_app_push"}, True),
    (fired("order", days=1), True),
    (fired("order", days=1, atLeast=3), True),
    (fired("order", days=1, atLeast=4), False),
    (fired("order", days=1, where=event_attr("total", "gt", 15)), True),
    (fired("order", days=1, atLeast=2, where=event_attr("total", "gt", 15)), True),
    (fired("order", days=1, atLeast=3, where=event_attr("total", "gt", 15)), False),
    (fired("order", days=1, where=event_attr("data.total", "equals", 30)), True),
    (
        fired(
            "order",
            days=1,
            where={"kind": "and", "clauses": [event_attr("total", "gt", 25), event_attr("coupon", "exists")]},
        ),
        False,
    ),
    (
        fired("order", days=1, where={"kind": "not", "clause": event_attr("total", "gt", 5)}),
        False,
    ),
    (fired("never", days=365), False),
    ({**fired("never", days=365), "kind": "event_not_fired"}, True),
    ({**fired("order", days=1), "kind": "event_not_fired"}, False),
    ({**fired("order", days=1, atLeast=4), "kind": "event_not_fired"}, True),
    (fired("ancient", days=30), False),
    (fired("ancient", days=365), True),
    (fired("order", days=0.5), True),
    (fired("order"), False),
    ({**fired("order"), "kind": "event_not_fired"}, False),
    (attr("answer", "exists", kind="context"), False),
    (attr("answer", "equals", 1, kind="context"), False),
    (event_attr("total", "equals", 1), False),
    ({"kind": "received", "stepId": "hello", "status": "opened"}, False),
    ({"kind": "received", "stepId": "hello", "status": "sent"}, False),
]


@pytest.fixture(scope="module")
def person(world: World) -> str:
    """Somebody with attributes, preferences and a history."""
    name = world.person(PERSON, channelPreferences={"email": True, "mobile_push": False}, timezone="Asia/Tokyo")
    now = world.settle()
    for total in (10, 20, 30):
        world.event("order", name, {"total": total})
    world.event("ancient", name, timestamp=time_at(now - 100 * DAY))
    world.settle()
    return name


def evaluate(world: World, audience: str, person: str) -> Json:
    """Does the person belong?"""
    found: Json = world.api.post(f"/api/audiences/{audience}/evaluate", {"subjectId": person}).ok()
    assert {"matches", "explanation"} == found.keys()
    return found


def leaves_of(explanation: Json) -> list[Json]:
    """The leaves of an explanation."""
    inner = explanation.get("clauses", [explanation["clause"]] if "clause" in explanation else None)
    return [explanation] if inner is None else [leaf for part in inner for leaf in leaves_of(part)]


@pytest.mark.parametrize(("predicate", "expected"), LEAVES, ids=lambda value: None)
def test_the_predicate_language(world: World, person: str, predicate: Json, expected: bool) -> None:
    """Each leaf and operator says what the contract says it says, and the explanation agrees."""
    found = evaluate(world, world.audience(predicate), person)

    assert expected == found["matches"], found["explanation"]
    assert expected == found["explanation"]["result"]


def test_a_day_is_the_subjects_own(world: World) -> None:
    """23:30 UTC on the first of March is the second in Tokyo."""
    at = "2026-03-01T23:30:00.000Z"
    tokyo = world.person({"at": at}, timezone="Asia/Tokyo")
    unsaid = world.person({"at": at})
    on_the_second = world.audience(attr("at", "on", "2026-03-02"))

    assert evaluate(world, on_the_second, tokyo)["matches"]
    assert not evaluate(world, on_the_second, unsaid)["matches"]


def test_a_global_opt_out_is_out_of_every_channel(world: World) -> None:
    """Whatever the channel's own preference says."""
    person = world.person(channelPreferences={"email": True}, globalOptOut=True)

    assert not evaluate(world, world.audience({"kind": "channel_opted_in", "channel": "email"}), person)["matches"]
    assert evaluate(world, world.audience({"kind": "channel_opted_out", "channel": "email"}), person)["matches"]


@pytest.mark.parametrize(
    ("predicate", "reason"),
    [
        (attr("missing", "equals", "x"), "missing_attribute"),
        (attr("nothing", "gt", 1), "missing_attribute"),
        (attr("plan", "gt", 5), "type_mismatch"),
        (attr("age", "contains", "4"), "type_mismatch"),
        (event_attr("total", "gt", 5), "missing_event"),
    ],
)
def test_the_explanation_says_why_a_leaf_could_not_tell(
    world: World, person: str, predicate: Json, reason: str
) -> None:
    """A missing attribute and a type mismatch are named, in every leaf of the tree."""
    whole = {"kind": "or", "clauses": [{"kind": "not", "clause": predicate}, attr("plan", "equals", "pro")]}
    explanation = evaluate(world, world.audience(whole), person)["explanation"]
    first, second = leaves_of(explanation)

    assert (False, reason) == (first["result"], first["reason"])
    assert (True, "pro") == (second["result"], second["found"])


def test_audiences_may_refer_to_audiences(world: World, person: str) -> None:
    """in_segment and its older name; an edited audience acts at once; a deleted one matches nobody and says so."""
    inner = world.audience(attr("plan", "equals", "pro"))
    newer = world.audience({"kind": "in_segment", "audienceId": inner})
    older = world.audience({"kind": "in_cohort", "cohortId": inner})
    outside = world.audience({"kind": "not", "clause": {"kind": "in_segment", "audienceId": inner}})

    assert [True, True, False] == [evaluate(world, one, person)["matches"] for one in (newer, older, outside)]
    world.api.patch(f"/api/audiences/{inner}", {"predicate": attr("plan", "equals", "free")}).ok()
    assert [False, False, True] == [evaluate(world, one, person)["matches"] for one in (newer, older, outside)]
    world.api.delete(f"/api/audiences/{inner}").ok(204)
    gone = evaluate(world, newer, person)
    assert (False, "audience_not_found") == (gone["matches"], gone["explanation"]["reason"])


def test_a_circle_of_audiences_is_refused(world: World) -> None:
    """An audience that would be defined by itself, also through another."""
    first = world.audience(attr("a", "exists"))
    second = world.audience({"kind": "in_segment", "audienceId": first})

    for predicate in ({"kind": "in_segment", "audienceId": first}, {"kind": "in_segment", "audienceId": second}):
        problem = world.api.patch(f"/api/audiences/{first}", {"predicate": predicate}).problem(400)
        assert "cycle" in {fault["code"] for fault in problem["errors"]}


def test_a_listed_audience(world: World) -> None:
    """subjectIds; the list and a predicate take each other's place."""
    member, other = world.person(), world.person()
    audience = world.audience(subject_ids=[member, "unknown-yet"])
    shown = world.api.get(f"/api/audiences/{audience}").ok()

    assert [member, "unknown-yet"] == shown["subjectIds"]
    assert "predicate" not in shown
    assert [True, False] == [evaluate(world, audience, one)["matches"] for one in (member, other)]
    shown = world.api.patch(f"/api/audiences/{audience}", {"predicate": attr("a", "exists")}).ok()
    assert "subjectIds" not in shown
    assert not evaluate(world, audience, member)["matches"]


def test_somebody_unknown_is_not_found(world: World) -> None:
    """Evaluating is a question, not an act: nobody is made by it."""
    stranger = unique("stranger")
    audience = world.audience(attr("a", "not_exists"))

    world.api.post(f"/api/audiences/{audience}/evaluate", {"subjectId": stranger}).problem(404, "not_found")
    world.api.get(f"/api/subjects/{stranger}").problem(404, "not_found")


def test_an_audience_is_kept_as_written(world: World) -> None:
    """Every documented member; the whole predicate comes back."""
    predicate = {"kind": "and", "clauses": [leaf for leaf, _ in LEAVES[:40]]}
    body = {"name": "All", "description": "Ünï", "subjectType": "end_user", "predicate": predicate}
    reply = world.api.post("/api/audiences", body)
    made = reply.ok(201)

    assert {
        "id",
        "projectKey",
        "name",
        "description",
        "subjectType",
        "predicate",
        "createdAt",
        "updatedAt",
    } == made.keys()
    assert body == {key: made[key] for key in body}
    assert re.fullmatch(TIME, made["createdAt"])
    assert made == world.api.get(reply.headers["location"]).ok()
    after = world.api.patch(f"/api/audiences/{made['id']}", {**made, "name": "Renamed"}).ok()
    assert ("Renamed", predicate, made["createdAt"]) == (after["name"], after["predicate"], after["createdAt"])
    assert after["updatedAt"] > made["updatedAt"]


BAD: list[tuple[Any, str]] = [
    ("x", "/predicate"),
    ({}, "/predicate/kind"),
    ({"kind": "nope"}, "/predicate/kind"),
    ({"kind": "attribute"}, "/predicate/fieldPath"),
    (attr("a..b", "exists"), "/predicate/fieldPath"),
    (attr("a", "almost", 1), "/predicate/operator"),
    ({**attr("a", "equals", 1), "extra": 1}, "/predicate/extra"),
    ({"kind": "and"}, "/predicate/clauses"),
    ({"kind": "and", "clauses": [{"kind": "nope"}]}, "/predicate/clauses/0/kind"),
    ({"kind": "or", "clauses": {"a": 1}}, "/predicate/clauses"),
    ({"kind": "not"}, "/predicate/clause"),
    ({"kind": "not", "clause": [1]}, "/predicate/clause"),
    ({"kind": "in_segment"}, "/predicate/audienceId"),
    ({"kind": "channel_opted_in", "channel": "fax"}, "/predicate/channel"),
    ({"kind": "received", "stepId": "a", "status": "eaten"}, "/predicate/status"),
    ({"kind": "event_fired", "eventName": "a"}, "/predicate/window"),
    ({"kind": "event_fired", "window": {"type": "since_start"}}, "/predicate/eventName"),
    ({"kind": "event_fired", "eventName": "a", "window": {"type": "soon"}}, "/predicate/window/type"),
    (fired("a", days=-1), "/predicate/window/days"),
    (fired("a", days=0), "/predicate/window/days"),
    (fired("a", days=1, atLeast=0), "/predicate/atLeast"),
    (fired("a", days=1, atLeast=1.5), "/predicate/atLeast"),
    (fired("a", days=1, where=attr("b", "exists")), "/predicate/where/kind"),
]


@pytest.mark.parametrize(("predicate", "path"), BAD)
def test_a_malformed_predicate_is_refused(world: World, predicate: Any, path: str) -> None:
    """400 with the pointer, in an audience, a branch and a trigger filter alike."""
    problem = world.api.post("/api/audiences", {"name": "x", "predicate": predicate}).problem(400, "validation_error")
    assert path in fault_paths(problem)

    steps = [
        trigger("b", filter=predicate),
        {
            "id": "b",
            "type": "branch",
            "mode": "condition",
            "branches": [{"id": "x", "condition": predicate, "next": "exit"}],
            "default": "exit",
        },
        end(),
    ]
    problem = world.api.post("/api/journeys", {"name": "x", "steps": steps}).problem(400, "validation_error")
    tail = path.removeprefix("/predicate")
    assert {f"/steps/0/filter{tail}", f"/steps/1/branches/0/condition{tail}"} <= fault_paths(problem)


def nested(depth: int) -> Json:
    """A predicate of exactly that depth."""
    predicate = attr("a", "exists")
    for _ in range(depth - 1):
        predicate = {"kind": "not", "clause": predicate}
    return predicate


def test_depth_and_leaves_are_limited(world: World) -> None:
    """32 deep and 256 leaves are taken, one more is not."""
    wide = {"kind": "or", "clauses": [attr(f"a{i}", "exists") for i in range(256)]}
    more = {"kind": "or", "clauses": [*wide["clauses"], attr("b", "exists")]}
    for predicate in (nested(32), wide):
        world.audience(predicate)
    for predicate in (nested(33), more):
        world.api.post("/api/audiences", {"name": "x", "predicate": predicate}).problem(400, "validation_error")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"subjectIds": []}, "/name"),
        ({"name": "x"}, "/predicate"),
        ({"name": "x", "subjectIds": "a"}, "/subjectIds"),
        ({"name": "x", "subjectIds": [1]}, "/subjectIds/0"),
        ({"name": "x", "subjectIds": [""]}, "/subjectIds/0"),
        ({"name": "x", "subjectType": "device", "subjectIds": []}, "/subjectType"),
        ({"name": "x", "subjectIds": [], "foo": 1}, "/foo"),
        ({"name": "x", "subjectIds": [], "predicate": attr("a", "exists")}, "/subjectIds"),
    ],
)
def test_a_malformed_audience_is_refused(world: World, body: Json, path: str) -> None:
    """400 with the path."""
    problem = world.api.post("/api/audiences", body).problem(400, "validation_error")

    assert path in fault_paths(problem)


def test_an_evaluation_names_a_subject(world: World) -> None:
    """subjectId is required and is text; the audience has to be there."""
    audience = world.audience(subject_ids=[])
    for body in ({}, {"subjectId": 1}, {"subjectId": "x", "foo": 1}, {"subjectId": ""}):
        world.api.post(f"/api/audiences/{audience}/evaluate", body).problem(400, "validation_error")
    world.api.post("/api/audiences/none/evaluate", {"subjectId": "x"}).problem(404, "not_found")


def test_a_deleted_audience_is_gone(world: World) -> None:
    """404 for everything, and not in the list."""
    audience = world.audience(subject_ids=[])
    world.api.delete(f"/api/audiences/{audience}").ok(204)

    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        world.api.request(method, f"/api/audiences/{audience}", body).problem(404, "not_found")
    assert audience not in {one["id"] for one in world.api.all_of("/api/audiences")}


@pytest.mark.parametrize(
    ("operator", "more", "code"),
    [
        ("equals", {}, "missing_member"),
        ("starts_with", {}, "missing_member"),
        ("in", {"value": None}, "wrong_type"),
        ("between", {"value": 5}, "wrong_type"),
        ("between", {"value": [1]}, "wrong_type"),
        ("between", {"value": [1, 2, 3]}, "wrong_type"),
        ("in", {"value": "pro"}, "wrong_type"),
        ("not_in", {"value": {"a": 1}}, "wrong_type"),
    ],
)
def test_a_comparison_has_the_value_it_takes(world: World, operator: str, more: Json, code: str) -> None:
    """An audience acts at once, so what would never hold for want of a value is refused; exists needs none."""
    leaf = {"kind": "attribute", "fieldPath": "plan", "operator": operator, **more}
    body = {"name": "x", "predicate": {"kind": "not", "clause": leaf}}
    problem = world.api.post("/api/audiences", body).problem(400, "validation_error")

    assert [("/predicate/clause/value", code)] == [(fault["path"], fault["code"]) for fault in problem["errors"]]
    assert world.audience(attr("plan", "exists"))
