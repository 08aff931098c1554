"""Journey templates: chosen, copied, published as they are, and walked on every way. Contract 3 (Templates)."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server import Client, Server, by_key
from tests.e2e.words import DAY, Json, World, ms_of, time_at, unique

EXAMPLES = Path(__file__).parents[2] / "examples" / "journeys"
EVENTS = {
    "activation-onboarding": "user.signed_up",
    "trial-conversion": "subscription.trial_started",
    "renewal-qbr": "renewal.window_open",
    "expansion-nudge": "usage.upgrade_signal",
    "win-back": "subscription.cancelled",
}
# Walks beside those documented with the examples, for ways that those do not take.
MORE: dict[str, list[Json]] = {
    "win-back": [
        {
            "name": "is busy again without a new subscription",
            "subject": {"attributes": {"country": "DE"}},
            "events": [
                {"after": "PT0S", "type": "subscription.cancelled", "data": {"subscriptionId": "sub-9"}},
                *({"after": f"P{day}D", "type": "session.started"} for day in (25, 27, 29)),
            ],
            "path": ["trigger", "wait-30d", "re-engaged", "exit-back"],
        }
    ]
}
DRAWN = 40  # people at most until every arm of a drawn branch has been taken
LONGEST = 80 * DAY  # no template keeps anybody longer
LOOK = 10 * DAY


def days(after: str) -> int:
    """The milliseconds of `PT0S`, `P12D`."""
    return 0 if after == "PT0S" else int(after.removeprefix("P").removesuffix("D")) * DAY


def documented(template: str) -> list[Json]:
    """The walks that the example of the same name documents, and ours."""
    example = json.loads((EXAMPLES / f"{template}.json").read_text(encoding="utf-8"))
    walks: list[Json] = example["walks"]
    return [*walks, *MORE.get(template, [])]


def use(world: World, template: str) -> Json:
    """Copy a template."""
    used: Json = world.api.post(f"/api/journey-templates/{template}/use").ok(201)
    return used


def ways(steps: list[Json]) -> set[tuple[str, str]]:
    """Every way from one step to another."""
    found: set[tuple[str, str]] = set()
    for step in steps:
        holders = [step, *step.get("branches", []), *step.get("arms", [])]
        for holder in holders:
            found.update((step["id"], holder[name]) for name in ("next", "default", "onTimeout") if name in holder)
    return found


def fits(expected: list[Any], found: list[str]) -> bool:
    """Equal, where a list stands for one of its names."""
    return len(expected) == len(found) and all(
        one == two or (isinstance(one, list) and two in one) for one, two in zip(expected, found, strict=True)
    )


class Walker:
    """One person on one documented walk."""

    def __init__(self, world: World, walk: Json) -> None:
        self.walk = walk
        self.name = unique("walker")
        self.path: list[str] = []
        profile = {"timezone": "UTC", **walk.get("subject", {})}
        profile.setdefault("addresses", {"email": "walker@example.org"})
        world.api.put(f"/api/subjects/{self.name}", profile).ok(201)

    def happenings(self, began: int) -> list[tuple[int, str, Json]]:
        """What happens to them: when after the start, which event, with which data."""
        return [
            (days(event["after"]), event["type"], moved(event.get("data", {}), began)) for event in self.walk["events"]
        ]


def moved(data: Json, began: int) -> Json:
    """`$at:P14D` is the start plus 14 days."""
    return {
        name: time_at(began + days(value[4:])) if isinstance(value, str) and value.startswith("$at:") else value
        for name, value in data.items()
    }


def walk_all(world: World, journey: Json, walkers: list[Walker]) -> None:
    """Everything that happens to all of them, in the order of time, and then the longest rest."""
    began = world.settle()
    coming = sorted(
        ((after, walker, kind, data) for walker in walkers for after, kind, data in walker.happenings(began)),
        key=lambda one: one[0],
    )
    for after, walker, kind, data in coming:
        go_on(world, journey, walkers, began + after)
        world.event(kind, walker.name, data)
    go_on(world, journey, walkers, began + LONGEST)


def go_on(world: World, journey: Json, walkers: list[Walker], until_ms: int) -> None:
    """Move the clock to a moment, and look now and then: what ended a month ago is not listed any more."""
    while (ahead := until_ms - world.settle()) > 0:
        world.advance(f"PT{min(ahead, LOOK) / 1000:.3f}S")
        for walker in walkers:
            walker.path = path_of(world, journey, walker) or walker.path


def path_of(world: World, journey: Json, walker: Walker) -> list[str]:
    """The steps of the first execution of a person; nothing where none started.

    In the order of the journey, where what is later stands later: history hears of a send when it is done.
    """
    runs = sorted(world.executions(journey["id"], walker.name), key=lambda run: ms_of(run["startedAt"]))
    if not runs:
        return []
    history = world.detail(journey["id"], runs[0]["executionId"])["history"]
    seen = {entry["stepId"] for entry in history}
    return [step["id"] for step in journey["steps"] if step["id"] in seen]


@pytest.mark.parametrize("template", EVENTS)
def test_every_way_of_a_template_is_walked(apart: World, template: str) -> None:
    """Copied, published as it is, and walked: each person on the documented path, and no way left out."""
    journey = use(apart, template)
    apart.publish(journey["id"])
    walks = documented(template)
    walkers = [Walker(apart, walk) for walk in walks]
    walk_all(apart, journey, walkers)
    paths = {walker.walk["name"]: walker.path for walker in walkers}
    taken = {pair for path in paths.values() for pair in pairwise(path)}
    wanted = ways(journey["steps"])
    drawn = {step["id"] for step in journey["steps"] if "arms" in step}
    more = 0
    while any(step in drawn for step, _ in wanted - taken) and more < DRAWN:
        group = [Walker(apart, walk) for walk in walks if walk["path"]]
        walk_all(apart, journey, group)
        more += len(group)
        taken.update(pair for walker in group for pair in pairwise(walker.path))

    assert {} == {walk["name"]: paths[walk["name"]] for walk in walks if not fits(walk["path"], paths[walk["name"]])}
    assert set() == wanted - taken


class TestChoosing:
    """GET /api/journey-templates."""

    def test_there_are_five(self, world: World) -> None:
        """By name, with the event that starts each."""
        found = {one["id"]: one["eventName"] for one in world.api.get("/api/journey-templates").ok()}

        assert EVENTS == found

    def test_they_are_read_page_by_page(self, world: World) -> None:
        """All of them, each once, in their order."""
        one_by_one = [one["id"] for one in world.api.all_of("/api/journey-templates?limit=2")]

        assert list(EVENTS) == one_by_one
        assert "/limit" in str(world.api.get("/api/journey-templates?limit=0").problem(400))


class TestUsing:
    """POST /api/journey-templates/{id}/use."""

    @pytest.mark.parametrize("template", EVENTS)
    def test_a_copy_is_a_draft_without_faults(self, apart: World, template: str) -> None:
        """With its contract and communications; nothing is published."""
        reply = apart.api.post(f"/api/journey-templates/{template}/use")
        used = reply.ok(201)
        shown = apart.show(used["id"])

        assert f"/api/journeys/{used['id']}" == reply.headers["location"]
        assert ("draft", []) == (shown["status"], shown["warnings"])
        assert EVENTS[template] == used["triggerContract"]["eventName"]
        assert used["triggerContract"]["id"] == shown["triggerContractId"]
        assert {one["id"] for one in used["communications"]} == {
            step["communicationId"] for step in shown["steps"] if step["type"] == "send"
        }
        assert {"marketing"} == {one["commType"] for one in used["communications"]}

    def test_a_second_copy_has_ids_and_names_of_its_own(self, apart: World) -> None:
        """Nothing of the first is touched."""
        first, second = use(apart, "win-back"), use(apart, "win-back")

        assert ("win-back", "win-back-2") == (first["id"], second["id"])
        assert ("Win-back", "Win-back (2)") == (first["name"], second["name"])
        assert first["triggerContract"]["id"] != second["triggerContract"]["id"]
        assert not {one["id"] for one in first["communications"]} & {one["id"] for one in second["communications"]}
        assert first["updatedAt"] == apart.show(first["id"])["updatedAt"]

    def test_a_repeat_with_its_key_makes_nothing(self, apart: World) -> None:
        """The first answer again."""
        headers = {"Idempotency-Key": unique("key")}
        path = "/api/journey-templates/renewal-qbr/use"
        replies = [apart.api.post(path, headers=headers).ok(201) for _ in range(2)]

        assert replies[0] == replies[1]
        assert 1 == len(apart.api.all_of("/api/journeys"))

    def test_a_viewer_may_look_and_not_use(self, server: Server, apart: World) -> None:
        """403, and nothing is made."""
        made = apart.api.post("/api/workspace/api-keys", {"name": "reader", "role": "viewer"}).ok(201)
        viewer: Client = by_key(server.port, made["secret"])

        assert 5 == len(viewer.get("/api/journey-templates").ok())
        viewer.post("/api/journey-templates/win-back/use").problem(403, "forbidden")
        assert [] == apart.api.all_of("/api/journeys")

    def test_an_unknown_template_is_not_found(self, world: World) -> None:
        """404."""
        world.api.post("/api/journey-templates/nothing/use").problem(404, "not_found")

    def test_the_audit_says_where_it_came_from(self, apart: World) -> None:
        """The act of creating, by the person who did it, with the template."""
        used = use(apart, "expansion-nudge")
        (created,) = apart.audit(used["id"], action="created")

        assert "expansion-nudge" == created["metadata"]["templateId"]
        assert "system" != created["actor"]
