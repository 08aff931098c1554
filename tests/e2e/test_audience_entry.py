"""Journeys that people enter by becoming members of an audience, over REST and on the development clock."""

import re
from collections.abc import Iterator

import pytest

from tests.e2e.server import Server
from tests.e2e.words import DAY, Json, World, attr, end, fired, ms_of, seg, send

PRO = attr("plan", "equals", "pro")


def entry(to: str, **more: object) -> Json:
    """A trigger on becoming a member."""
    return {"id": "trigger", "type": "trigger", "mode": "audience_entry", "next": to, **more}


@pytest.fixture
def alone(apart: World) -> Iterator[World]:
    """A workspace of its own, whose journeys are archived when the test is over: the clock is everybody's."""
    yield apart
    for journey in apart.api.all_of("/api/journeys"):
        if journey["status"] not in ("draft", "archived"):
            apart.api.post(f"/api/journeys/{journey['id']}/archive").ok()


def who(world: World, journey: str) -> list[str]:
    """Who has an execution, in order of their ids."""
    return sorted(one["endUserId"] for one in world.executions(journey))


class TestBackfill:
    """The people who are members when a journey is published first."""

    def test_they_enter_and_what_they_are_sent_is_sent(self, alone: World) -> None:
        """Once, however often it is published."""
        ann, bob = alone.person({"plan": "pro"}), alone.person({"plan": "free"})
        steps = [entry("hello"), send("hello", alone.comm(), "exit"), end()]
        made = alone.journey(steps, audienceId=alone.audience(PRO))
        alone.settle()

        assert [ann] == who(alone, made)
        assert ["hello"] == [one["stepId"] for one in alone.messages(endUserId=ann)]
        started = alone.audit(made, action="execution.started")
        assert {"audience_entry"} == {one["metadata"]["source"] for one in started}

        alone.edit(made, description="again")
        assert 2 == alone.publish(made)
        alone.settle()
        assert [ann] == who(alone, made)
        assert [] == alone.messages(endUserId=bob)

    def test_without_it_they_are_members_and_have_not_entered(self, alone: World) -> None:
        """Whoever comes later does."""
        ann = alone.person({"plan": "pro"})
        made = alone.journey([entry("exit", backfill=False), end()], audienceId=alone.audience(PRO))
        alone.settle()
        cleo = alone.person({"plan": "pro"})
        alone.api.patch(f"/api/subjects/{ann}", {"attributes": {"seen": 1}}).ok()
        alone.settle()

        assert [cleo] == who(alone, made)

    def test_more_than_a_page_of_a_list(self, alone: World) -> None:
        """Nobody on it was known before."""
        names = [f"listed-{i:04}" for i in range(620)]
        made = alone.journey([entry("exit"), end()], audienceId=alone.audience(subject_ids=names))
        alone.settle()

        assert names == who(alone, made)
        figures = alone.api.get("/metrics").ok()
        (swept,) = re.findall(r'^runtime_swept_people_total\{kind="members"\} ([0-9.]+)$', figures, re.MULTILINE)
        assert float(swept) >= 620


class TestComingAndGoing:
    """Each time is another entry."""

    def test_one_request_after_another(self, alone: World) -> None:
        """Leaving is noticed although the next request brings the person back."""
        made = alone.journey([entry("exit"), end()], audienceId=alone.audience(PRO))
        ann = alone.person({"plan": "free"})
        for plan in ("pro", "free", "pro"):
            alone.api.patch(f"/api/subjects/{ann}", {"attributes": {"plan": plan}}).ok()
        alone.settle()

        assert [ann, ann] == who(alone, made)
        names = {one["executionId"].rpartition("__")[2] for one in alone.executions(made)}
        assert {"audience_entry-1", "audience_entry-2"} == names

    def test_once_is_once(self, alone: World) -> None:
        """Re-entry rules hold for members too, and the audit says so."""
        settings = {"reentry": {"mode": "once"}}
        made = alone.journey([entry("exit"), end()], audienceId=alone.audience(PRO), settings=settings)
        ann = alone.person({"plan": "pro"})
        for plan in ("free", "pro"):
            alone.api.patch(f"/api/subjects/{ann}", {"attributes": {"plan": plan}}).ok()
        alone.settle()

        assert [ann] == who(alone, made)
        assert ["reentry_limit"] == [one["metadata"]["reason"] for one in alone.audit(made, action="trigger.blocked")]

    def test_time_alone_takes_members_away_and_makes_them(self, alone: World) -> None:
        """Nobody asks: whoever was silent for fourteen days enters when the fifteenth begins."""
        silent = {**fired("opened", days=14), "kind": "event_not_fired"}
        audience = alone.audience({"kind": "and", "clauses": [PRO, silent]})
        made = alone.journey([entry("exit", backfill=False), end()], audienceId=audience)
        alone.settle()
        ann = alone.person()
        alone.event("opened", ann)
        alone.settle()
        alone.api.patch(f"/api/subjects/{ann}", {"attributes": {"plan": "pro"}}).ok()
        opened = alone.settle()
        alone.advance("P13D")
        assert [] == who(alone, made)

        alone.advance("P2D")
        (one,) = alone.executions(made)
        assert abs(ms_of(one["startedAt"]) - opened - 14 * DAY) < 60_000
        alone.event("opened", ann)
        alone.advance("P15D")
        assert [ann, ann] == who(alone, made)

    def test_an_edited_audience_acts_at_once(self, alone: World) -> None:
        """Those it lets in enter."""
        ann, bob = alone.person({"plan": "pro"}), alone.person({"plan": "free"})
        audience = alone.audience(PRO)
        made = alone.journey([entry("exit"), end()], audienceId=audience)
        alone.settle()
        assert [ann] == who(alone, made)

        alone.api.patch(f"/api/audiences/{audience}", {"predicate": attr("plan", "exists")}).ok()
        alone.settle()
        assert sorted([ann, bob]) == who(alone, made)


def test_while_paused_nobody_enters_and_resuming_starts_nobody_who_was_refused(alone: World) -> None:
    """What an event would meet."""
    made = alone.journey([entry("exit"), end()], audienceId=alone.audience(PRO))
    alone.settle()
    alone.api.post(f"/api/journeys/{made}/pause").ok()
    alone.person({"plan": "pro"})
    alone.settle()
    alone.api.post(f"/api/journeys/{made}/resume").ok()
    cleo = alone.person({"plan": "pro"})
    alone.settle()

    assert [cleo] == who(alone, made)
    assert ["journey_paused"] == [one["metadata"]["reason"] for one in alone.audit(made, action="trigger.blocked")]


def test_a_deleted_audience_is_told_and_makes_nobody_leave(alone: World) -> None:
    """It cannot be brought back under its id, so the journey stands until it is given another."""
    ann = alone.person({"plan": "pro"})
    audience = alone.audience(PRO)
    made = alone.journey([entry("exit"), end()], audienceId=audience)
    alone.settle()
    alone.api.delete(f"/api/audiences/{audience}").ok(204)
    alone.settle()
    assert ["audience_missing"] == [one["metadata"]["reason"] for one in alone.audit(made, action="trigger.blocked")]

    alone.edit(made, audienceId=alone.audience(PRO))
    alone.publish(made)
    alone.settle()
    assert [ann] == who(alone, made)


def test_killed_in_the_middle_of_a_backfill_everybody_enters_once(own_server: Server) -> None:
    """3,000 people, and kill -9 while they enter."""
    server = own_server.start()
    server.owner.patch("/api/workspace", {"holdout": {"percent": 0}}).ok()
    lines = "\n".join(f'{{"endUserId": "u{i:04}", "attributes": {{"plan": "pro"}}}}' for i in range(3_000))
    server.owner.post("/api/subjects:import", raw=lines.encode(), headers={"Content-Type": "application/x-ndjson"}).ok()
    world = World(server.owner)
    made = world.journey([entry("exit"), end()], audienceId=world.audience(PRO))
    server.kill()
    server.start()
    world = World(server.owner)
    world.settle()

    people = [one["endUserId"] for one in world.executions(made)]
    assert 3_000 == len(people) == len(set(people))
    ids = {one["executionId"] for one in world.executions(made)}
    assert {f"{seg(made)}__v1__u{i:04}__audience_entry-1" for i in range(3_000)} == ids
