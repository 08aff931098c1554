"""Conditions of splits and segments as predicates. Pinpoint design 4.3, and 9.6, 9.11, 9.12."""

from typing import Any

import pytest

from tests.support.pinpoint import APP, Made, email, event, journey, segment, split, user_is

NEVER = {"kind": "or", "clauses": []}


def condition(one: Any, **more: Any) -> Any:
    """What a split's condition becomes; an e-mail comes before it."""
    made = Made(journey({"a": email("s"), "s": split(one, "z"), "z": email()}), **more)
    return made.step("s")["branches"][0].get("condition")


def audience(*segments: dict[str, Any]) -> Any:
    """What the first segment becomes, None if it is no audience."""
    made = Made({"segments": list(segments)})
    found = {one["sourceId"]: one for one in made.bundle["audiences"]}
    return found[segments[0]["Id"]]["predicate"] if segments[0]["Id"] in found else None


class TestMessages:
    """Conditions on what became of a message."""

    @pytest.mark.parametrize(
        ("name", "status"),
        [
            ("_email.send", "sent"),
            ("_email.delivered", "delivered"),
            ("_email.open", "opened"),
            ("_email.click", "clicked"),
            ("_email.hardbounce", "bounced"),
            ("_email.softbounce", "bounced"),
            ("_email.complaint", "complained"),
            ("_email.unsubscribe", "unsubscribed"),
            ("_email.rejected", "failed"),
            ("_campaign.opened_notification", "opened"),
            ("_journey.received_background", "delivered"),
        ],
    )
    def test_each_event_of_a_message_is_a_status(self, name: str, status: str) -> None:
        """Of the send step that it names."""
        assert {"kind": "received", "stepId": "a", "status": status} == condition(event(name, of="a"))

    def test_several_events_are_any_of_them(self) -> None:
        """In their order."""
        found = condition(event("_email.open", "_email.click", of="a"))

        assert ("or", ["opened", "clicked"]) == (found["kind"], [leaf["status"] for leaf in found["clauses"]])

    @pytest.mark.parametrize("target", ["nothing", None])
    def test_a_message_that_is_not_there_never_arrives(self, target: str | None) -> None:
        """False, and said."""
        made = Made(journey({"a": split(event("_email.open", of=target), "b"), "b": email()}))

        assert NEVER == made.step("a")["branches"][0]["condition"]
        assert 1 == made.codes["condition_message_activity_unknown"]

    def test_a_message_on_no_path_to_the_split_is_told(self) -> None:
        """A later one, or one on another path."""
        made = Made(
            journey(
                {
                    "a": split(user_is("x", "1"), "b", "c"),
                    "b": email(),
                    "c": split(event("_email.open", of="b"), "d"),
                    "d": split(event("_email.open", of="e"), "e"),
                    "e": email(),
                }
            )
        )

        assert 2 == made.codes["condition_message_scope"]

    def test_a_message_before_the_split_is_not(self) -> None:
        """However far before."""
        made = Made(
            journey({"a": email("b"), "b": email("c"), "c": split(event("_email.open", of="a"), "d"), "d": email()})
        )

        assert not made.codes["condition_message_scope"]

    def test_a_message_that_is_not_sent_here_never_arrives(self) -> None:
        """The wait for it stays, so that the timing stays."""
        sms = {"SMS": {"TemplateName": "s", "NextActivity": "b"}}
        waiting = split(event("_SMS.SUCCESS", of="a"), "c", EvaluationWaitTime={"WaitFor": "P1D"})
        made = Made(journey({"a": sms, "b": waiting, "c": email()}))

        assert (NEVER, "P1D") == (made.step("b")["branches"][0]["condition"], made.step("b__wait")["duration"])
        assert 1 == made.codes["condition_channel_unsupported"]

    def test_an_answer_of_a_function_is_a_saved_answer(self) -> None:
        """Under the name by which the webhook saves it."""
        asked = {"Dimensions": {"Attributes": {"state": {"Values": ["ok"]}}}, "MessageActivity": "a"}
        custom = {"CUSTOM": {"DeliveryUri": "https://hooks.example.com/a", "NextActivity": "b"}}
        made = Made(journey({"a": custom, "b": split({"EventCondition": asked}, "c"), "c": email()}))

        leaf = {"kind": "context", "fieldPath": "a.state", "operator": "equals", "value": "ok"}
        assert leaf == made.step("b")["branches"][0]["condition"]
        assert "a" == made.step("a")["saveAs"]


class TestEvents:
    """Conditions on events of the app."""

    def test_an_event_counts_since_the_start(self) -> None:
        """With its attributes and metrics."""
        found = condition(
            event(
                "order.paid",
                Attributes={"shop": {"AttributeType": "INCLUSIVE", "Values": ["de", "at"]}},
                Metrics={"total": {"ComparisonOperator": "GREATER_THAN", "Value": 10}},
            )
        )

        assert {
            "kind": "event_fired",
            "eventName": "order.paid",
            "window": {"type": "since_start"},
            "where": {
                "kind": "and",
                "clauses": [
                    {"kind": "event_attribute", "fieldPath": "shop", "operator": "in", "value": ["de", "at"]},
                    {"kind": "event_attribute", "fieldPath": "total", "operator": "gt", "value": 10},
                ],
            },
        } == found

    def test_a_system_event_has_the_name_chosen_for_it(self) -> None:
        """By the option systemEvents."""
        found = condition(event("_session.start"), systemEvents={"_session.start": "app.opened"})

        assert "app.opened" == found["eventName"]

    @pytest.mark.parametrize("one", [{}, {"EventCondition": {}}, {"SegmentCondition": {}}, {"SegmentDimensions": {}}])
    def test_what_was_never_filled_in_has_no_condition(self, one: Any) -> None:
        """Publish refuses the branch."""
        made = Made(journey({"a": split(one, "b"), "b": email()}))

        assert [{"id": "true", "next": "b"}] == made.step("a")["branches"]
        assert {"code": "invalid_condition", "stepId": "a"} in made.journey["publishBlockers"]
        assert 1 == made.codes["condition_empty"]

    def test_all_events_but_one_cannot_be_asked_for(self) -> None:
        """Never made wider."""
        asked = {"Dimensions": {"EventType": {"DimensionType": "EXCLUSIVE", "Values": ["x"]}}}

        assert condition({"EventCondition": asked}) is None


class TestDimensions:
    """Attributes, metrics, demographics, places."""

    def test_excluding_a_value_takes_whoever_has_none(self) -> None:
        """Never the negative operators, which are false for a missing attribute."""
        leaf = {"kind": "attribute", "fieldPath": "plan", "operator": "in", "value": ["a", "b"]}

        assert {"kind": "not", "clause": leaf} == condition(user_is("plan", "a", "b", how="EXCLUSIVE"))

    @pytest.mark.parametrize(
        ("how", "values", "operator", "value"),
        [
            ("CONTAINS", ["x"], "contains", "x"),
            ("BEFORE", ["2024-06-30T00:00:00Z"], "before", "2024-06-30T00:00:00.000Z"),
            ("AFTER", ["2024-06-30"], "after", "2024-06-30"),
            ("ON", ["2024-06-30 10:00:00"], "on", "2024-06-30T10:00:00.000Z"),
            ("BETWEEN", ["1", "2.5"], "between", [1, 2.5]),
            ("BETWEEN", ["2024-01-01", "2024-02-01"], "between", ["2024-01-01", "2024-02-01"]),
        ],
    )
    def test_each_operator_has_its_equal(self, how: str, values: list[str], operator: str, value: Any) -> None:
        """Times in our own form."""
        found = condition(user_is("x", *values, how=how))

        assert (operator, value) == (found["operator"], found["value"])

    def test_several_values_are_any_of_them(self) -> None:
        """Also where the operator takes one."""
        found = condition(user_is("x", "a", "b", how="CONTAINS"))

        assert ("or", ["a", "b"]) == (found["kind"], [leaf["value"] for leaf in found["clauses"]])

    @pytest.mark.parametrize(
        "one",
        [
            user_is("x", "soon", how="BEFORE"),
            user_is("x", "1", how="BETWEEN"),
            user_is("x", "1", "2", "3", how="BETWEEN"),
            user_is("x", how="INCLUSIVE"),
            user_is("x", "1", how="LIKE"),
            user_is("a..b", "1"),
            {"SegmentDimensions": {"Metrics": {"x": {"ComparisonOperator": "about", "Value": 1}}}},
            {"SegmentDimensions": {"Metrics": {"x": {"ComparisonOperator": "EQUAL"}}}},
            {"SegmentDimensions": {"Behavior": {"Recency": {"Duration": "DAY_3", "RecencyType": "ACTIVE"}}}},
            {"SegmentDimensions": {"Demographic": {"Channel": {"DimensionType": "EXCLUSIVE", "Values": ["SMS"]}}}},
        ],
    )
    def test_what_cannot_be_expressed_has_no_condition(self, one: Any) -> None:
        """Said as audience_operator."""
        made = Made(journey({"a": split(one, "b"), "b": email()}))

        assert "condition" not in made.step("a")["branches"][0]
        assert 1 == made.codes["audience_operator"]

    def test_a_part_that_cannot_be_expressed_takes_the_whole_away(self) -> None:
        """A condition that lost a part would let more people through."""
        dimensions = {**user_is("plan", "pro")["SegmentDimensions"], "Location": {"GPSPoint": {"RangeInKilometers": 1}}}
        made = Made(journey({"a": split({"SegmentDimensions": dimensions}, "b"), "b": email()}))

        assert "condition" not in made.step("a")["branches"][0]
        assert 1 == made.codes["audience_gps"]

    def test_activity_is_a_session_event(self) -> None:
        """Within so many days."""
        inner = {"Behavior": {"Recency": {"Duration": "HR_24", "RecencyType": "INACTIVE"}}}

        assert {
            "kind": "event_not_fired",
            "eventName": "session_started",
            "window": {"type": "last_n_days", "days": 1},
        } == condition({"SegmentDimensions": inner})

    def test_a_channel_is_an_opt_in(self) -> None:
        """Every kind of push is one channel here."""
        inner = {"Demographic": {"Channel": {"DimensionType": "INCLUSIVE", "Values": ["GCM", "APNS"]}}}

        assert {"kind": "channel_opted_in", "channel": "mobile_push"} == condition({"SegmentDimensions": inner})

    def test_places_and_devices_are_read_where_the_options_say(self) -> None:
        """Else under Pinpoint's own names."""
        inner = {"Location": {"Country": {"Values": ["DE"]}}, "Demographic": {"Platform": {"Values": ["ios"]}}}
        found = condition({"SegmentDimensions": inner}, variableMap={"Location.Country": "country"})

        assert ["Demographic.Platform", "country"] == [leaf["fieldPath"] for leaf in found["clauses"]]

    @pytest.mark.parametrize("spelling", ["SegmentDimensions", "segmentDimensions"])
    def test_both_spellings_are_one_member(self, spelling: str) -> None:
        """The API's own, and the SDKs'."""
        assert condition({spelling: user_is("x", "1")["SegmentDimensions"]}) is not None

    def test_of_both_spellings_at_once_one_counts(self) -> None:
        """The SDKs'; the other is kept aside."""
        both = {
            "segmentDimensions": user_is("x", "lower")["SegmentDimensions"],
            "SegmentDimensions": user_is("x", "upper")["SegmentDimensions"],
        }
        made = Made(journey({"a": split(both, "b"), "b": email()}))

        assert "upper" == made.step("a")["branches"][0]["condition"]["value"]
        assert ["segmentDimensions"] == [one["feature"] for one in made.bundle["unsupported"]]

    def test_without_operator_all_conditions_have_to_hold(self) -> None:
        """Said, if there is more than one."""
        body = {"Condition": {"Conditions": [user_is("x", "1"), user_is("y", "2")]}, "TrueActivity": "b"}
        made = Made(journey({"a": {"ConditionalSplit": body}, "b": email()}))

        assert "and" == made.step("a")["branches"][0]["condition"]["kind"]
        assert 1 == made.codes["operator_missing"]

    def test_more_than_the_language_takes_has_no_condition(self) -> None:
        """256 comparisons are the limit."""
        many = {f"k{i}": {"Values": ["1"]} for i in range(300)}
        made = Made(journey({"a": split({"SegmentDimensions": {"UserAttributes": many}}, "b"), "b": email()}))

        assert "condition" not in made.step("a")["branches"][0]


class TestSegments:
    """Segments as audiences."""

    def test_dimensions_are_a_predicate(self) -> None:
        """One comparison alone is itself."""
        found = audience(segment("s", Dimensions=user_is("PlanType", "trial")["SegmentDimensions"]))

        assert {"kind": "attribute", "fieldPath": "PlanType", "operator": "equals", "value": "trial"} == found

    @pytest.mark.parametrize(("include", "kind"), [("ALL", "and"), ("ANY", "or"), ("NONE", "not")])
    def test_groups_are_put_together_as_they_say(self, include: str, kind: str) -> None:
        """All, any or none of them."""
        groups = [{"Dimensions": [user_is(name, "1")["SegmentDimensions"]], "Type": "ANY"} for name in "xy"]

        assert kind == audience(segment("s", SegmentGroups={"Groups": groups, "Include": include}))["kind"]

    def test_sources_stay_references(self) -> None:
        """Of the segment's own version; both conditions of a group have to hold."""
        group = {"SourceSegments": [{"Id": "t", "Version": 3}], "Dimensions": [user_is("x", "1")["SegmentDimensions"]]}
        made = Made({"segments": [segment("s", SegmentGroups={"Groups": [group]}), segment("t", Dimensions={})]})

        refs = {one["sourceId"]: one["ref"] for one in made.bundle["audiences"]}
        predicate = next(one for one in made.bundle["audiences"] if one["sourceId"] == "s")["predicate"]
        assert {"kind": "in_segment", "audienceRef": refs["t"]} == predicate["clauses"][0]
        assert 1 == made.codes["audience_version_ignored"]

    def test_a_circle_of_sources_is_refused(self) -> None:
        """Its members; what only names one of them stays."""

        def made_of(*names: str) -> dict[str, Any]:
            return {"Groups": [{"SourceSegments": [{"Id": name} for name in names]}]}

        made = Made(
            {
                "segments": [
                    segment("a", SegmentGroups=made_of("b")),
                    segment("b", SegmentGroups=made_of("c")),
                    segment("c", SegmentGroups=made_of("b", "d")),
                    segment("d", Dimensions={}),
                ]
            }
        )
        assert {"a", "d"} == {one["sourceId"] for one in made.bundle["audiences"]}
        assert 2 == made.codes["audience_cycle"]

    def test_a_chain_of_2000_sources_is_followed_without_recursion(self) -> None:
        """Each of them an audience."""
        chain = [
            segment(f"s{i}", SegmentGroups={"Groups": [{"SourceSegments": [{"Id": f"s{i + 1}"}]}]})
            for i in range(2_000)
        ]

        assert 2_000 == len(Made({"segments": chain}).bundle["audiences"])

    @pytest.mark.parametrize(
        "more",
        [
            {},
            {"Dimensions": {}},
            {"SegmentGroups": {"Groups": [{}]}},
            {"SegmentGroups": {"Groups": [{"Type": "NONE"}]}},
        ],
    )
    def test_no_condition_is_everybody(self, more: Any) -> None:
        """Said aloud."""
        made = Made({"segments": [segment("s", **more)]})

        assert (1, 1) == (len(made.bundle["audiences"]), made.codes["audience_everyone"])

    def test_two_definitions_are_compared(self) -> None:
        """The groups count, and the difference is told."""
        dimensions = user_is("x", "1")["SegmentDimensions"]
        same = {"Groups": [{"Dimensions": [dimensions]}]}
        other = {"Groups": [{"Dimensions": [user_is("y", "1")["SegmentDimensions"]]}]}

        assert 0 == Made({"segments": [segment("s", Dimensions=dimensions, SegmentGroups=same)]}).codes[DIFFER]
        assert 1 == Made({"segments": [segment("s", Dimensions=dimensions, SegmentGroups=other)]}).codes[DIFFER]

    def test_an_imported_segment_is_empty(self) -> None:
        """Its members are not in the export; nobody is let in by mistake."""
        made = Made({"segments": [segment("s", SegmentType="IMPORT", ImportDefinition={"Format": "CSV"})]})

        assert (None, []) == (made.bundle["audiences"][0]["predicate"], made.bundle["audiences"][0]["subjectIds"])
        assert 1 == made.codes["audience_imported"]

    def test_a_segment_that_cannot_be_expressed_dangles(self) -> None:
        """Whatever names it is refused at publish, and never means everybody."""
        start = {"SegmentStartCondition": {"SegmentId": "s"}}
        wrong = segment("s", Dimensions={"Location": {"GPSPoint": {}}})
        made = Made({"journeys": [journey({"a": email()}, StartCondition=start)], "segments": [wrong]})

        assert [] == made.bundle["audiences"]
        assert {"code": "audience_not_found", "stepId": None} in made.journey["publishBlockers"]

    def test_the_ref_is_made_of_the_source_alone(self) -> None:
        """So that files translated apart name each other."""
        alone = Made({"segments": [segment("s")]}).bundle["audiences"][0]
        start = {"SegmentStartCondition": {"SegmentId": "s"}}
        elsewhere = Made(journey({"a": email()}, StartCondition=start, ApplicationId=APP)).journey

        assert alone["ref"] == elsewhere["audienceRef"]


DIFFER = "audience_definitions_differ"
