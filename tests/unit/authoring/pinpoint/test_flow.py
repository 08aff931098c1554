"""The graph of a translated journey: repairs, starts, skipped activities. Pinpoint design 5, and 9.1 to 9.5, 9.7, 9.16."""

from typing import Any

import pytest

from tests.support.pinpoint import Made, email, event, journey, split, user_is, wait

SMS = {"SMS": {"TemplateName": "s", "NextActivity": "b"}}


class TestRepairs:
    """Ways that lead nowhere, back, or to what does not exist."""

    @pytest.mark.parametrize(("target", "code"), [("nope", "dangling_next"), ("a", "cycle_broken")])
    def test_a_way_that_cannot_be_gone_ends_at_the_exit(self, target: str, code: str) -> None:
        """Said once, at the way itself."""
        made = Made(journey({"a": email(target)}))

        assert "exit" == made.step("a")["next"]
        assert ["/Activities/a/EMAIL/NextActivity"] == [one["path"] for one in made.said(code)]

    @pytest.mark.parametrize("target", ["", None])
    def test_an_end_is_no_fault(self, target: Any) -> None:
        """A path ends where nothing follows."""
        made = Made(journey({"a": {"EMAIL": {"TemplateName": "t", "NextActivity": target}}}))

        assert "exit" == made.step("a")["next"]
        assert not {"dangling_next", "cycle_broken"} & made.codes.keys()

    def test_a_loop_over_several_is_cut_where_it_leads_back(self) -> None:
        """And nowhere else."""
        made = Made(journey({"a": email("b"), "b": wait("P1D", "c"), "c": email("a")}))

        assert ["b", "c", "exit"] == [made.step(key)["next"] for key in "abc"]
        assert 1 == made.codes["cycle_broken"]

    def test_a_loop_through_what_is_skipped_is_cut_too(self) -> None:
        """No circle is left behind when the SMS is taken out."""
        made = Made(journey({"a": SMS, "b": wait("P1D", "a")}))

        assert ["trigger", "b", "exit"] == made.ids
        assert 1 == made.codes["cycle_broken"]

    def test_what_no_path_reaches_is_kept_aside(self) -> None:
        """With its whole payload."""
        lost = email(template="lost")
        made = Made(journey({"a": email(), "lost": lost}))

        assert ["trigger", "a", "exit"] == made.ids
        assert [lost] == [one["payload"] for one in made.bundle["unsupported"]]


class TestStarts:
    """Where a journey begins."""

    @pytest.mark.parametrize("start", [None, "nope", ""])
    def test_the_only_root_is_taken(self, start: str | None) -> None:
        """If nothing usable is said."""
        made = Made(journey({"a": email("b"), "b": email()}, start))

        assert "a" == made.step("trigger")["next"]
        assert 1 == made.codes["start_activity_inferred"]

    def test_of_two_roots_none_is_guessed(self) -> None:
        """The trigger leads nowhere, and publish refuses it."""
        made = Made(journey({"a": email(), "b": email()}, None))

        assert "next" not in made.step("trigger")
        assert 1 == made.codes["start_activity_unknown"]
        assert {"code": "next_unresolved", "stepId": "trigger"} in made.journey["publishBlockers"]

    @pytest.mark.parametrize(("start", "code"), [({}, "activity_empty"), ({"SendEmail": {}}, "activity_type_unknown")])
    def test_a_start_that_is_nothing_leads_nowhere(self, start: Any, code: str) -> None:
        """It is incomplete, not an empty journey."""
        made = Made(journey({"a": start}))

        assert "next" not in made.step("trigger")
        assert 1 == made.codes[code]
        assert "incomplete" == made.journey["completeness"]

    def test_a_start_that_is_skipped_hands_on(self) -> None:
        """To whatever follows it."""
        made = Made(journey({"a": SMS, "b": email()}))

        assert "b" == made.step("trigger")["next"]

    def test_all_skipped_is_an_empty_journey(self) -> None:
        """From trigger to exit."""
        made = Made(journey({"a": SMS, "b": {"ContactCenter": {}}}))

        assert ["trigger", "exit"] == made.ids
        assert {"total": 1, "translated": 0, "empty": 1, "skipped": 0} == made.summary["journeys"]

    @pytest.mark.parametrize("export", [journey({}), {"Id": "j", "ApplicationId": "a", "Name": "n"}])
    def test_no_activities_are_no_journey(self, export: Any) -> None:
        """Kept aside whole."""
        made = Made(export)

        assert [] == made.bundle["journeys"]
        assert [export] == [one["payload"] for one in made.bundle["unsupported"]]

    def test_an_unknown_activity_leaves_its_place_open(self) -> None:
        """Whatever led to it has no next step."""
        made = Made(journey({"a": email("b"), "b": {"SendEmail": {"to": "x"}, "NextActivity": "a"}}))

        assert "next" not in made.step("a")
        assert {"code": "next_unresolved", "stepId": "a"} in made.journey["publishBlockers"]

    def test_of_two_types_the_first_counts(self) -> None:
        """In the order of the API's model; the other is kept aside."""
        made = Made(journey({"a": {"Wait": {"WaitTime": {"WaitFor": "P1D"}}, **email()}}))

        assert "send" == made.step("a")["type"]
        assert ["Wait"] == [one["feature"] for one in made.bundle["unsupported"]]


class TestSplits:
    """Branches: arms without targets, conditions or percentages."""

    def test_a_split_has_one_branch_and_a_default(self) -> None:
        """True and false."""
        made = Made(journey({"a": split(user_is("plan", "pro"), "b", "c"), "b": email(), "c": email()}))

        condition = {"kind": "attribute", "fieldPath": "plan", "operator": "equals", "value": "pro"}
        assert {
            "id": "a",
            "type": "branch",
            "mode": "condition",
            "branches": [{"id": "true", "condition": condition, "next": "b"}],
            "default": "c",
        } == made.step("a")

    @pytest.mark.parametrize("branches", [None, [], [{}], [{}, None]])
    def test_a_multi_split_without_arms_leads_everybody_on(self, branches: Any) -> None:
        """Empty arms are dropped."""
        made = Made(journey({"a": {"MultiCondition": {"Branches": branches, "DefaultActivity": "b"}}, "b": email()}))

        assert ([], "b") == (made.step("a")["branches"], made.step("a")["default"])

    def test_an_arm_without_condition_stays_incomplete(self) -> None:
        """Publish refuses it until somebody writes the condition."""
        made = Made(journey({"a": {"MultiCondition": {"Branches": [{"NextActivity": "b"}]}}, "b": email()}))

        assert [{"id": "b1", "next": "b"}] == made.step("a")["branches"]
        assert {"code": "invalid_condition", "stepId": "a"} in made.journey["publishBlockers"]
        assert "error" == made.said("multi_arm_without_condition")[0]["severity"]

    def test_many_arms_keep_their_order(self) -> None:
        """The first that fits wins, so the order is part of the meaning."""
        arms = [{"Condition": user_is("n", str(i)), "NextActivity": "b"} for i in range(50)]
        made = Made(journey({"a": {"MultiCondition": {"Branches": arms}}, "b": email()}))

        assert [f"b{i + 1}" for i in range(50)] == [case["id"] for case in made.step("a")["branches"]]
        assert 1 == made.codes["multi_default_missing"]

    @pytest.mark.parametrize(
        ("percents", "weights", "codes"),
        [
            ([50, 50], [50, 50], set()),
            ([30, 30], [50, 50], {"percent_sum"}),
            ([150, 50], [75, 25], {"percent_sum"}),
            ([0, 0], [50, 50], {"percent_sum"}),
            ([60, None, None], [60, 20, 20], {"percent_missing"}),
            ([50, 50, None], [50, 50], {"percent_missing"}),
            ([50, -5], [50, 50], {"percent_missing"}),
            ([50, "50"], [50, 50], {"percent_missing", "unknown_member"}),
            ([0, 40, 60], [40, 60], set()),
        ],
    )
    def test_percentages_become_weights_of_a_hundred(
        self, percents: list[Any], weights: list[float], codes: set[str]
    ) -> None:
        """What is missing is shared out, what does not add up is scaled, an arm of nobody is dropped."""
        arms = [{"NextActivity": "b", **({} if p is None else {"Percentage": p})} for p in percents]
        made = Made(journey({"a": {"RandomSplit": {"Branches": arms}}, "b": email()}))

        assert weights == [arm["weight"] for arm in made.step("a")["arms"]]
        assert codes == made.codes.keys() & {"percent_sum", "percent_missing", "unknown_member"}

    @pytest.mark.parametrize("branches", [[{"Percentage": 100, "NextActivity": "b"}], [{"NextActivity": "b"}]])
    def test_a_split_of_one_arm_is_no_split(self, branches: Any) -> None:
        """Everybody goes on."""
        made = Made(journey({"a": {"RandomSplit": {"Branches": branches}}, "b": email()}))

        assert ["trigger", "b", "exit"] == made.ids

    def test_one_target_may_have_two_arms(self) -> None:
        """Both stay."""
        arms = [{"Percentage": 50, "NextActivity": "b"}, {"Percentage": 50, "NextActivity": "b"}]
        made = Made(journey({"a": {"RandomSplit": {"Branches": arms}}, "b": email()}))

        assert ["b", "b"] == [arm["next"] for arm in made.step("a")["arms"]]

    def test_an_adaptive_branch_has_no_weights(self) -> None:
        """On request; publish then wants a goal."""
        arms = [{"Percentage": 50, "NextActivity": "b"}, {"Percentage": 50}]
        made = Made(journey({"a": {"RandomSplit": {"Branches": arms}}, "b": email()}), randomSplit="adaptive")

        assert [{"id": "a1", "next": "b"}, {"id": "a2", "next": "exit"}] == made.step("a")["arms"]
        assert {"code": "goal_missing", "stepId": "a"} in made.journey["publishBlockers"]

    @pytest.mark.parametrize(("percent", "code"), [(0, "holdout_noop"), (100, "holdout_all"), (101, "holdout_all")])
    def test_a_holdout_of_nobody_or_everybody_is_no_branch(self, percent: int, code: str) -> None:
        """Nobody: removed. Everybody: the path ends, and what follows is out of reach."""
        made = Made(journey({"a": {"Holdout": {"Percentage": percent, "NextActivity": "b"}}, "b": email()}))

        assert (["trigger", "exit"] if percent else ["trigger", "b", "exit"]) == made.ids
        assert 1 == made.codes[code]

    def test_holdouts_in_a_row_each_hold_back_their_share(self) -> None:
        """10 % and 10 % leave 81 %."""
        made = Made(
            journey(
                {
                    "a": {"Holdout": {"Percentage": 10, "NextActivity": "b"}},
                    "b": {"Holdout": {"Percentage": 10, "NextActivity": "c"}},
                    "c": email(),
                }
            )
        )

        left = 1.0
        for key in "ab":
            held, go = made.step(key)["arms"]
            assert ("held", "exit", "go") == (held["id"], held["next"], go["id"])
            left *= go["weight"] / 100
        assert 0.81 == pytest.approx(left)


class TestWaits:
    """Waits of their own, and those that splits hide."""

    @pytest.mark.parametrize(
        ("source", "written"),
        [("P3D", "P3D"), ("PT24H", "P1D"), ("P7D", "P1W"), ("P1DT12H", "PT36H"), ("P1M", "P30D"), ("P1Y", "P365D")],
    )
    def test_a_length_is_written_as_short_as_it_can_be(self, source: str, written: str) -> None:
        """Months and years in days, said."""
        made = Made(journey({"a": wait(source)}))

        assert written == made.step("a")["duration"]
        assert (source in ("P1M", "P1Y")) == ("wait_calendar_unit" in made.codes)

    @pytest.mark.parametrize("source", ["3d", "P", "PT", "PT3D", "-P1D", "p3d", "P1.5W2D", "P99999D"])
    def test_what_is_no_length_is_left_out(self, source: str) -> None:
        """The wait stays, and publish refuses it."""
        made = Made(journey({"a": wait(source)}))

        assert "duration" not in made.step("a")
        assert {"code": "duration_missing", "stepId": "a"} in made.journey["publishBlockers"]

    @pytest.mark.parametrize(
        ("time", "code"),
        [({"WaitFor": "PT0S"}, "wait_zero_removed"), ({"WaitUntil": "2020-01-01T00:00:00Z"}, "wait_past_removed")],
    )
    def test_what_lasts_no_time_is_removed(self, time: Any, code: str) -> None:
        """And said."""
        made = Made(journey({"a": {"Wait": {"WaitTime": time, "NextActivity": "b"}}, "b": email()}))

        assert (["trigger", "b", "exit"], 1) == (made.ids, made.codes[code])

    def test_a_fixed_end_is_asked_about(self) -> None:
        """A blank for the T, and no offset: read as UTC."""
        made = Made(journey({"a": {"Wait": {"WaitTime": {"WaitUntil": "2027-01-02 03:04:05"}}}}))

        assert ("until_time", "2027-01-02T03:04:05.000Z") == (made.step("a")["mode"], made.step("a")["at"])
        assert "UTC" in made.said("wait_until_absolute")[0]["message"]

    def test_of_a_length_and_an_end_the_length_counts(self) -> None:
        """Said."""
        made = Made(journey({"a": {"Wait": {"WaitTime": {"WaitFor": "P1D", "WaitUntil": "2027-01-01T00:00:00Z"}}}}))

        assert ("P1D", 1) == (made.step("a")["duration"], made.codes["wait_both_set"])

    def test_a_hidden_wait_stands_before_its_split_for_all_who_come(self) -> None:
        """One wait, and both parents lead to it."""
        parents = {"a": split(user_is("x", "1"), "b", "c"), "b": email("s"), "c": email("s")}
        made = Made(
            journey(
                {**parents, "s": split(user_is("y", "1"), "d", EvaluationWaitTime={"WaitFor": "PT1H"}), "d": email()}
            )
        )

        assert ["s__wait", "s__wait"] == [made.step(key)["next"] for key in "bc"]
        assert {"id": "s__wait", "type": "wait", "mode": "duration", "duration": "PT1H", "next": "s"} == made.step(
            "s__wait"
        )

    @pytest.mark.parametrize("time", [{}, {"WaitUntil": "2020-01-01T00:00:00Z"}, {"WaitFor": "PT0S"}])
    def test_a_hidden_wait_of_no_time_is_none(self, time: Any) -> None:
        """Nothing is inserted."""
        made = Made(journey({"a": split(user_is("x", "1"), "b", EvaluationWaitTime=time), "b": email()}))

        assert ["trigger", "a", "b", "exit"] == made.ids

    def test_an_early_wait_goes_on_at_once(self) -> None:
        """On request, where one condition decides."""
        waiting = split(event("_email.open", of="a"), "c", "d", EvaluationWaitTime={"WaitFor": "P1D"})
        made = Made(journey({"a": email("b"), "b": waiting, "c": email(), "d": email()}), evaluationWait="early")

        assert {
            "id": "b",
            "type": "wait",
            "mode": "until_condition",
            "condition": {"kind": "received", "stepId": "a", "status": "opened"},
            "timeout": "P1D",
            "next": "c",
            "onTimeout": "d",
        } == made.step("b")
        assert "b" == made.step("a")["next"]


class TestIds:
    """Step ids are the activities', where a step may have them."""

    def test_ids_of_ours_give_way(self) -> None:
        """An activity may be called trigger, or exit."""
        made = Made(journey({"trigger": email("exit"), "exit": email()}, "trigger"))

        assert ["trigger_2", "trigger", "exit", "exit_2"] == made.ids

    def test_long_and_foreign_ids_are_shortened(self) -> None:
        """Each to one of its own, the same every time."""
        long, foreign = "a" * 100, "größe/1"
        made = Made(journey({long: email(foreign), foreign: email()}, long))

        assert made.ids == Made(journey({long: email(foreign), foreign: email()}, long)).ids
        assert all(len(key) <= 64 and key.isascii() for key in made.ids)
        assert 4 == len(set(made.ids))


def test_1000_activities_in_a_line_are_translated() -> None:
    """Without recursion."""
    line = {f"a{i}": wait("P1D", f"a{i + 1}" if i < 999 else None) for i in range(1_000)}

    assert 1_002 == len(Made(journey(line, "a0")).journey["steps"])


def test_10000_activities_fail_their_journey_alone() -> None:
    """The others are translated, and the whole is kept aside."""
    line = {f"a{i}": wait("P1D", f"a{i + 1}") for i in range(10_000)}
    made = Made([journey(line, "a0", Id="long"), journey({"a": email()}, Id="short")])

    assert ["short"] == [one["sourceId"] for one in made.bundle["journeys"]]
    assert 1 == made.codes["payload_too_large"]


def test_a_graph_with_more_paths_than_atoms_is_walked_once() -> None:
    """Two arms, joined again, a hundred times."""
    activities: dict[str, Any] = {}
    for i in range(100):
        activities[f"s{i}"] = split(user_is("x", "1"), f"l{i}", f"r{i}")
        activities |= {f"{side}{i}": email(f"s{i + 1}" if i < 99 else "") for side in "lr"}
    made = Made(journey(activities, "s0"))

    assert 302 == len(made.journey["steps"])
