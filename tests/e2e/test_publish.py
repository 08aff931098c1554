"""Publishing: every refusal, versions, races, large graphs. Contract 2."""

import time
from functools import partial
from typing import Any

import pytest

from tests.e2e.server import fault_codes, fault_paths
from tests.e2e.words import (
    Json,
    World,
    at_once,
    attr,
    branch,
    draw,
    end,
    fired,
    send,
    trigger,
    unique,
    update,
    wait,
    wait_event,
)


def refusal(world: World, steps: list[Json], code: str = "graph_invalid", **more: Any) -> Json:
    """The problem of publishing these steps."""
    made = world.draft(steps, **more)
    problem: Json = world.api.post(f"/api/journeys/{made}/publish").problem(400, code)
    assert "draft" == world.show(made)["status"]
    return problem


ADAPTIVE = {"id": "b", "type": "branch", "mode": "adaptive"}

FAULTS: list[tuple[str, list[Json], str, str]] = [
    ("next missing", [{"id": "w", "type": "wait", "mode": "duration", "duration": "PT1H"}, end()], "next_unresolved", "/steps/0/next"),
    ("next unknown", [wait("w", "PT1H", "nope"), end()], "next_unresolved", "/steps/0/next"),
    ("onTimeout unknown", [wait_event("w", "e", "P1D", "exit", "nope"), end()], "next_unresolved", "/steps/0/onTimeout"),
    ("branch unknown", [branch("b", [("x", attr("a", "exists"), "nope")], "exit"), end()], "next_unresolved", "/steps/0/branches/0/next"),
    ("default unknown", [branch("b", [("x", attr("a", "exists"), "exit")], "nope"), end()], "next_unresolved", "/steps/0/default"),
    ("arm unknown", [draw("b", [("x", 1, "exit"), ("y", 1, "nope")]), end()], "next_unresolved", "/steps/0/arms/1/next"),
    ("same id", [wait("w", "PT1H", "exit"), end("w"), end()], "duplicate_step_id", "/steps/1/id"),
    ("not reached", [wait("w", "PT1H", "exit"), end(), wait("island", "PT1H", "exit")], "unreachable_step", "/steps/2"),
    ("no exit", [wait("w", "PT1H", "w2"), {"id": "w2", "type": "wait", "mode": "duration", "duration": "PT1H"}], "missing_exit", "/steps/0"),
    ("no steps", [], "missing_exit", "/steps"),
    ("communication", [send("s", "nope", "exit"), end()], "communication_not_found", "/steps/0/communicationId"),
    ("segment", [branch("b", [("x", {"kind": "in_segment", "audienceId": "nope"}, "exit")], "exit"), end()], "audience_not_found", "/steps/0/branches/0/condition/audienceId"),
    ("condition", [branch("b", [("x", attr("age", "gt", {"a": 1}), "exit")], "exit"), end()], "invalid_condition", "/steps/0/branches/0/condition/value"),
    ("between", [branch("b", [("x", attr("age", "between", 5), "exit")], "exit"), end()], "invalid_condition", "/steps/0/branches/0/condition/value"),
    ("received", [branch("b", [("x", {"kind": "received", "stepId": "nope", "status": "sent"}, "exit")], "exit"), end()], "invalid_condition", "/steps/0/branches/0/condition/stepId"),
    ("template", [update("u", {"a": "{{ x | nope }}"}, "exit"), end()], "invalid_template", "/steps/0/set/a"),
    ("timeout", [{"id": "w", "type": "wait", "mode": "until_event", "eventName": "e", "next": "exit", "onTimeout": "exit"}, end()], "timeout_missing", "/steps/0/timeout"),
    ("one arm", [draw("b", [("x", 1, "exit")]), end()], "arms_missing", "/steps/0/arms"),
    ("one adaptive arm", [{**ADAPTIVE, "arms": [{"id": "x", "next": "exit"}]}, end()], "arms_missing", "/steps/0/arms"),
    ("no goal", [{**ADAPTIVE, "arms": [{"id": "x", "next": "exit"}, {"id": "y", "next": "exit"}]}, end()], "goal_missing", "/steps/0/optimizationGoal"),
    ("no schedule", [{"id": "t", "type": "trigger", "mode": "schedule", "next": "exit"}, end()], "schedule_missing", "/steps/0"),
]  # fmt: skip


class TestFaults:
    """Each has its code and its pointer."""

    @pytest.mark.parametrize(("steps", "code", "path"), [one[1:] for one in FAULTS], ids=[one[0] for one in FAULTS])
    def test_each_fault_is_named(self, world: World, steps: list[Json], code: str, path: str) -> None:
        """400 graph_invalid with errors[].code and the JSON Pointer."""
        problem = refusal(world, steps)
        named = [(fault["code"], fault["path"]) for fault in problem["errors"]]

        assert code in fault_codes(problem)
        assert any(code == one and (at == path or at.startswith(path) or path.startswith(at)) for one, at in named), (
            named
        )

    def test_all_faults_are_reported_together(self, world: World) -> None:
        """Not one after the other."""
        steps = [step for name, one, _, _ in FAULTS[:3] for step in one if step["type"] != "exit"]
        steps = [{**step, "id": f"s{i}"} for i, step in enumerate(steps)] + [send("s9", "nope", "exit"), end()]
        codes = fault_codes(refusal(world, steps))

        assert 3 == codes.count("next_unresolved")
        assert {"communication_not_found", "unreachable_step"} <= set(codes)

    def test_references_of_the_journey_have_to_be_there(self, world: World) -> None:
        """Its audience and its contract."""
        problem = refusal(world, [end()], audienceId="nope", triggerContractId="nope")

        assert {("audience_not_found", "/audienceId"), ("trigger_contract_not_found", "/triggerContractId")} == {
            (fault["code"], fault["path"]) for fault in problem["errors"]
        }

    def test_an_adaptive_branch_may_use_the_journeys_goal(self, world: World) -> None:
        """goal_missing only where neither has one."""
        arms = [{"id": "x", "next": "exit"}, {"id": "y", "next": "exit"}]

        world.journey([{**ADAPTIVE, "arms": arms}, end()], goalEventName="g")

    @pytest.mark.parametrize(
        ("steps", "names"),
        [
            ([wait("a", "PT1H", "a"), end()], ["a"]),
            ([wait("a", "PT1H", "b"), wait("b", "PT1H", "a"), end()], ["a", "b"]),
            (
                [
                    trigger("a"),
                    wait("a", "PT1H", "b"),
                    branch("b", [("x", attr("p", "exists"), "c")], "exit"),
                    wait("c", "PT1H", "a"),
                    end(),
                ],
                ["a", "b", "c"],
            ),
        ],
    )
    def test_a_cycle_is_named(self, world: World, steps: list[Json], names: list[str]) -> None:
        """With the ids of its steps, in order."""
        faults = [fault for fault in refusal(world, steps)["errors"] if fault["code"] == "cycle"]

        assert 1 == len(faults)
        assert all(name in faults[0]["message"] for name in names)
        assert " -> ".join(names) in faults[0]["message"]

    def test_two_cycles_are_two_faults(self, world: World) -> None:
        """Each is named."""
        steps = [
            branch("b", [("x", attr("p", "exists"), "l1")], "r1"),
            wait("l1", "PT1H", "l2"),
            branch("l2", [("x", attr("p", "exists"), "l1")], "exit"),
            wait("r1", "PT1H", "r2"),
            branch("r2", [("x", attr("p", "exists"), "r1")], "exit"),
            end(),
        ]

        assert 2 == fault_codes(refusal(world, steps)).count("cycle")

    @pytest.mark.parametrize(
        "step",
        [
            {"id": "s", "type": "wait", "mode": "until_time", "localTime": "09:00", "next": "exit"},
            {
                "id": "s",
                "type": "wait",
                "mode": "until_condition",
                "condition": attr("a", "exists"),
                "timeout": "P1D",
                "onTimeout": "exit",
                "next": "exit",
            },
            {"id": "s", "type": "webhook", "url": "https://example.com", "next": "exit"},
        ],
    )
    def test_a_step_that_is_complete_is_published(self, world: World, step: Json) -> None:
        """Alone with an exit."""
        assert 1 == world.publish(world.draft([step, end()]))

    def test_a_reset_of_an_arm_that_is_not_there_is_refused(self, world: World) -> None:
        """resetArms names a step and an arm of the draft."""
        made = world.draft([draw("b", [("x", 1, "exit"), ("y", 1, "exit")]), end()])
        for arms in ([{"stepId": "nope", "armId": "x"}], [{"stepId": "b", "armId": "nope"}]):
            problem = world.api.post(f"/api/journeys/{made}/publish", {"resetArms": arms}).problem(400)
            assert any(path.startswith("/resetArms/0") for path in fault_paths(problem))
        bodies: list[Any] = [{"resetArms": "x"}, {"resetArms": [{"stepId": "b"}]}, {"foo": 1}, []]
        for body in bodies:
            world.api.post(f"/api/journeys/{made}/publish", body).problem(400, "validation_error")

        assert (
            1
            == world.api.post(f"/api/journeys/{made}/publish", {"resetArms": [{"stepId": "b", "armId": "x"}]}).ok()[
                "version"
            ]
        )


class TestVersions:
    """Numbers, drafts, races."""

    def test_the_answer_is_the_pointer(self, world: World) -> None:
        """{"id", "version"}, and the journey shows it."""
        made = world.draft([end()])
        answer = world.api.post(f"/api/journeys/{made}/publish").ok()
        shown = world.show(made)

        assert {"id": made, "version": 1} == answer
        assert ("published", 1, 1) == (shown["status"], shown["version"], shown["latestVersion"])
        assert not shown.get("draft")
        assert shown["publishedAt"] is not None

    def test_without_a_draft_there_is_nothing_to_publish(self, world: World) -> None:
        """409 no_draft, and 404 for what is not there."""
        made = world.journey([end()])

        world.api.post(f"/api/journeys/{made}/publish").problem(409, "no_draft")
        world.api.post("/api/journeys/none/publish").problem(404, "not_found")

    def test_numbers_go_up_by_one(self, world: World) -> None:
        """1, 2, 3."""
        made = world.draft([end()])
        numbers = [world.publish(made)]
        for text in ("a", "b"):
            world.edit(made, description=text)
            numbers.append(world.publish(made))

        assert [1, 2, 3] == numbers

    @pytest.mark.parametrize("count", [2, 8])
    def test_of_many_publishes_one_wins(self, world: World, count: int) -> None:
        """The others get 409; never two versions; one audit entry."""
        made = world.draft([end()])
        answers = at_once([lambda: world.api.post(f"/api/journeys/{made}/publish") for _ in range(count)])

        assert [200] + [409] * (count - 1) == sorted(answer.status for answer in answers)
        assert [1] == [version["version"] for version in world.api.all_of(f"/api/journeys/{made}/versions")]
        assert 1 == world.actions(made).count("published")

    def test_an_edit_and_a_publish_at_once_leave_a_whole_version(self, world: World) -> None:
        """Whatever comes first, the version is one of the two drafts, and the edit is not lost."""
        for _ in range(5):
            made = world.draft([wait("old", "PT1H", "exit"), end()])
            steps = [wait("new", "PT1H", "exit"), end()]
            edit, publish = at_once(
                [
                    partial(world.api.patch, f"/api/journeys/{made}", {"steps": steps}),
                    partial(world.api.post, f"/api/journeys/{made}/publish"),
                ]
            )
            assert 200 == edit.status
            assert publish.status in (200, 409)
            assert "new" == world.show(made)["steps"][0]["id"]

    def test_publishing_a_paused_journey_leaves_it_paused(self, world: World) -> None:
        """A new version starts nothing its author stopped."""
        event = unique("ev")
        made = world.journey([trigger("exit"), end()], event=event)
        world.api.post(f"/api/journeys/{made}/pause").ok()
        world.edit(made, description="x")
        world.publish(made)
        world.event(event, world.person())
        world.settle()

        assert "paused" == world.show(made)["status"]
        assert [] == world.executions(made)

    def test_the_limit_of_a_plan(self, apart: World) -> None:
        """402 journey_limit_reached only where the workspace sets maxJourneys; paused ones count, archived do not."""
        first, second = apart.journey([end()]), apart.draft([end()])
        apart.api.patch("/api/workspace", {"maxJourneys": 1}).ok()
        apart.api.post(f"/api/journeys/{first}/pause").ok()
        apart.api.post(f"/api/journeys/{second}/publish").problem(402, "journey_limit_reached")
        apart.edit(first, description="next")
        apart.publish(first)
        apart.api.post(f"/api/journeys/{first}/archive").ok()

        assert 1 == apart.publish(second)


class TestSize:
    """Large graphs are checked quickly and walked whole."""

    def test_a_thousand_steps(self, world: World) -> None:
        """A chain of a thousand publishes within two seconds and is walked to its end."""
        event = unique("ev")
        steps = [
            trigger("s0"),
            *[branch(f"s{i}", [("x", attr("no", "exists"), "exit")], f"s{i + 1}") for i in range(998)],
            update("s998", {"arrived": True}, "exit"),
            end(),
        ]
        made = world.draft(steps, triggerContractId=world.contract(event))
        began = time.monotonic()
        world.publish(made)
        took = time.monotonic() - began
        person = world.walk(made, event)["endUserId"]

        assert took < 5
        assert {"arrived": True} == world.profile(person)["attributes"]
        assert 1 == world.step_stats(made)["s500"]["executed"]

    @pytest.mark.parametrize("count", [10_000])
    def test_ten_thousand_steps_and_their_cycle(self, world: World, count: int) -> None:
        """Deeper than any recursion; the last step leads back to the first; the answer names the circle."""
        steps = [update(f"s{i}", {"a": 1}, f"s{i + 1}") for i in range(count)]
        steps[-1] = branch(f"s{count - 1}", [("x", attr("a", "exists"), "s0")], "exit")
        steps.append(end())
        began = time.monotonic()
        made = world.draft(steps)
        problem = world.api.post(f"/api/journeys/{made}/publish", timeout=120).problem(400, "graph_invalid")
        took = time.monotonic() - began

        assert ["cycle"] == fault_codes(problem)
        assert "s0" in problem["errors"][0]["message"]
        assert took < 20

    def test_ten_thousand_steps_without_one(self, world: World) -> None:
        """Published; the version is there in full."""
        steps = [update(f"s{i}", {"a": 1}, f"s{i + 1}") for i in range(9_999)]
        steps[-1]["next"] = "exit"
        made = world.draft([*steps, end()])

        assert 1 == world.publish(made)
        assert 10_000 == len(world.api.get(f"/api/journeys/{made}/versions/1").ok()["steps"])

    def test_more_faults_than_anybody_reads(self, world: World) -> None:
        """A hostile draft is answered, not choked on."""
        steps = [wait(f"s{i}", "PT1H", "nope") for i in range(5_000)]
        problem = refusal(world, steps)

        assert len(problem["errors"]) >= 1


def test_conditions_that_fit_are_published(world: World) -> None:
    """The whole language stands in a published journey."""
    audience = world.audience(subject_ids=[])
    comm = world.comm()
    conditions = [
        attr("a", "between", [1, 2]),
        attr("d", "on", "2026-01-01"),
        fired("e"),
        {**fired("e", days=3), "kind": "event_not_fired"},
        {"kind": "in_segment", "audienceId": audience},
        {"kind": "in_cohort", "cohortId": audience},
        {"kind": "channel_opted_in", "channel": "email"},
        {"kind": "received", "stepId": "s", "status": "opened"},
        attr("answer.ok", "equals", True, kind="context"),
        {"kind": "and", "clauses": []},
    ]
    ways = [(f"c{i}", condition, "exit") for i, condition in enumerate(conditions)]
    world.journey([trigger("s"), send("s", comm, "b"), branch("b", ways, "exit"), end()], event=unique("ev"))
