"""How people come in, settings, campaigns. Pinpoint design 4.1 and 4.4, and 9.9, 9.10."""

from typing import Any

import pytest

from tests.support.pinpoint import Made, email, journey, segment, template


def by_event(*names: str, how: str = "INCLUSIVE", kind: str = "ENDPOINT", **more: Any) -> dict[str, Any]:
    """A start by event."""
    dimensions = {"EventType": {"DimensionType": how, "Values": list(names)}, **more}
    return {"EventStartCondition": {"EventFilter": {"FilterType": kind, "Dimensions": dimensions}}}


def started(start: Any, **more: Any) -> Made:
    """A journey of one mail with that start."""
    return Made({"journeys": [journey({"a": email()}, StartCondition=start, **more)], "segments": [segment("s")]})


class TestTriggers:
    """The start condition as a trigger."""

    def test_an_event_is_a_contract(self) -> None:
        """Its attributes are the trigger's filter."""
        made = started(by_event("signed_up", Attributes={"source": {"Values": ["web"]}}))

        leaf = {"kind": "event_attribute", "fieldPath": "source", "operator": "equals", "value": "web"}
        contract = made.bundle["triggerContracts"][0]
        assert {"id": "trigger", "type": "trigger", "mode": "event", "filter": leaf, "next": "a"} == made.step(
            "trigger"
        )
        assert ("signed_up", "endUserId") == (contract["eventName"], contract["subjectFieldPath"])
        assert contract["ref"] == made.journey["triggerContractRef"]

    def test_each_of_several_events_starts_a_copy(self) -> None:
        """The first keeps the journey's own identity."""
        made = started(by_event("one", "two"))

        assert ["j1", "j1#two"] == [one["sourceId"] for one in made.bundle["journeys"]]
        assert ["Journey (one)", "Journey (two)"] == [one["name"] for one in made.bundle["journeys"]]
        assert 1 == made.codes["trigger_multiple_event_types"]

    @pytest.mark.parametrize(
        "start",
        [by_event("x", how="EXCLUSIVE"), by_event(), by_event("n" * 300), {"EventStartCondition": {"SegmentId": "s"}}],
    )
    def test_what_names_no_event_dangles(self, start: Any) -> None:
        """No contract is made, and publish refuses."""
        made = started(start)

        assert [] == made.bundle["triggerContracts"]
        assert {"code": "trigger_contract_not_found", "stepId": None} in made.journey["publishBlockers"]
        assert 1 == made.codes["trigger_event_unusable"]

    def test_a_system_event_is_renamed(self) -> None:
        """By systemEvents."""
        made = started(by_event("_session.start", kind="SYSTEM"))

        assert ["session_started"] == [one["eventName"] for one in made.bundle["triggerContracts"]]

    def test_a_filter_that_cannot_be_expressed_lets_nobody_in(self) -> None:
        """Rather than everybody."""
        made = started(by_event("x", Attributes={"a": {"AttributeType": "LIKE", "Values": ["b"]}}))

        assert {"kind": "or", "clauses": []} == made.step("trigger")["filter"]
        assert "incomplete" == made.journey["completeness"]

    @pytest.mark.parametrize("start", [None, {}])
    def test_no_start_condition_is_a_start_by_hand(self, start: Any) -> None:
        """Said."""
        made = started(start)

        assert ("manual", 1) == (made.step("trigger")["mode"], made.codes["trigger_missing"])

    def test_a_segment_enters_at_the_scheduled_time(self) -> None:
        """In UTC, whatever the file's form of the time."""
        start = {"SegmentStartCondition": {"SegmentId": "s"}}
        made = started(start, Schedule={"StartTime": "2027-01-01T09:00:00+02:00"})

        assert ("schedule", "2027-01-01T07:00:00.000Z") == (made.step("trigger")["mode"], made.step("trigger")["at"])
        assert 1 == made.codes["entry_snapshot"]

    def test_a_time_that_is_past_is_left_out(self) -> None:
        """The author sets a new one: publish refuses until then."""
        start = {"SegmentStartCondition": {"SegmentId": "s"}}
        made = started(start, Schedule={"StartTime": "2020-01-01T09:00:00Z"})

        assert "at" not in made.step("trigger")
        assert {"code": "schedule_missing", "stepId": "trigger"} in made.journey["publishBlockers"]
        assert 1 == made.codes["schedule_past"]

    @pytest.mark.parametrize("more", [{"RefreshFrequency": "PT12H"}, {"RefreshOnSegmentUpdate": True}])
    def test_a_segment_that_is_read_again_enters_by_membership(self, more: Any) -> None:
        """With a word on those who are in it already."""
        made = started({"SegmentStartCondition": {"SegmentId": "s"}}, **more)

        assert "audience_entry" == made.step("trigger")["mode"]
        assert made.bundle["audiences"][0]["ref"] == made.journey["audienceRef"]
        assert {"entry_refresh", "entry_backfill"} <= made.codes.keys()

    def test_a_start_by_a_segment_without_id_never_means_everybody(self) -> None:
        """The reference dangles."""
        made = started({"SegmentStartCondition": {}, "Description": "d"} | {"SegmentStartCondition": {"SegmentId": ""}})

        assert {"code": "audience_not_found", "stepId": None} in made.journey["publishBlockers"]

    @pytest.mark.parametrize(
        "schedule",
        [
            {"StartTime": "2027-01-02T00:00:00Z", "EndTime": "2027-01-01T00:00:00Z"},
            {"StartTime": "soon"},
            {"Timezone": "Europe/Berlin"},
            {"Timezone": "UTC+25"},
        ],
    )
    def test_a_schedule_that_makes_no_sense_is_told(self, schedule: Any) -> None:
        """And kept."""
        made = started(None, Schedule=schedule)

        assert 1 == made.codes["schedule_invalid"]
        assert schedule == made.journey["extensions"]["pinpoint"]["schedule"]

    @pytest.mark.parametrize("zone", ["UTC", "UTC-07", "UTC+05:45"])
    def test_an_offset_token_is_a_zone(self, zone: str) -> None:
        """Of Pinpoint's own form."""
        assert not started(None, Schedule={"Timezone": zone}).codes["schedule_invalid"]


class TestSettings:
    """Limits, quiet time, windows, state."""

    @pytest.mark.parametrize(
        ("limits", "reentry", "is_approximated"),
        [
            ({"EndpointReentryCap": 1}, {"mode": "once"}, False),
            ({"EndpointReentryCap": 0}, {"mode": "every_event"}, False),
            (
                {"EndpointReentryCap": 0, "EndpointReentryInterval": "P30D"},
                {"mode": "every_event", "minInterval": "P30D"},
                False,
            ),
            ({"EndpointReentryCap": 3, "EndpointReentryInterval": "PT0S"}, {"mode": "every_event"}, True),
            ({"EndpointReentryCap": 0, "EndpointReentryInterval": "often"}, {"mode": "every_event"}, True),
        ],
    )
    def test_re_entry(self, limits: Any, reentry: Any, is_approximated: bool) -> None:
        """A cap of one is once, none is every event; in between the count is lost."""
        made = started(None, Limits=limits)

        assert reentry == made.journey["settings"]["reentry"]
        assert is_approximated == bool(made.codes["reentry_approximated"])

    def test_a_rate_is_a_rate(self) -> None:
        """Messages per second."""
        assert {"sendRate": {"perSecond": 50}} == started(None, Limits={"MessagesPerSecond": 50}).journey["settings"]

    @pytest.mark.parametrize(
        ("limits", "is_told"),
        [
            ({"DailyCap": 2}, True),
            ({"TotalCap": 0, "TimeframeCap": {"Cap": 0, "Days": 0}}, False),
            ({"TotalCap": 1}, True),
        ],
    )
    def test_caps_are_the_workspaces(self, limits: Any, is_told: bool) -> None:
        """Zero is no cap."""
        assert is_told == bool(started(None, Limits=limits).codes["limits_not_applied"])

    @pytest.mark.parametrize(
        ("more", "behaviour"),
        [({"WaitForQuietTime": True}, '"defer"'), ({"WaitForQuietTime": False}, '"skip"'), ({}, '"skip"')],
    )
    def test_quiet_time_names_the_setting_that_equals_it(self, more: Any, behaviour: str) -> None:
        """Also across midnight."""
        made = started(None, QuietTime={"Start": "21:00", "End": "08:30"}, **more)

        message = made.said("quiet_time_not_applied")[0]["message"]
        assert behaviour in message
        assert '"start": "21:00", "end": "08:30"' in message

    @pytest.mark.parametrize(
        ("quiet", "told"), [({}, 0), ({"Start": "21:00", "End": "21:00"}, 1), ({"Start": "late"}, 1)]
    )
    def test_quiet_time_of_no_length_equals_nothing(self, quiet: Any, told: int) -> None:
        """No setting is named."""
        made = started(None, QuietTime=quiet)

        assert told == made.codes["quiet_time_not_applied"]
        assert not made.codes["quiet_time_semantics"]

    def test_open_hours_are_kept_aside(self) -> None:
        """Told only where they have an effect in Pinpoint."""
        hours = {"EMAIL": {"MONDAY": [{"StartTime": "09:00", "EndTime": "17:00"}]}}
        inert = started(None, OpenHours=hours)
        acting = started(None, OpenHours=hours, SendingSchedule=True)

        assert ([hours], 0) == ([one["payload"] for one in inert.bundle["unsupported"]], inert.codes[WINDOW])
        assert ([hours], 2) == ([one["payload"] for one in acting.bundle["unsupported"]], acting.codes[WINDOW])

    @pytest.mark.parametrize(("state", "told"), [("DRAFT", 0), ("ACTIVE", 1), ("PAUSED", 1)])
    def test_people_inside_stay_behind(self, state: str, told: int) -> None:
        """Only a journey that runs has any."""
        assert told == started(None, State=state).codes["in_flight_not_migrated"]

    def test_an_unknown_state_is_a_draft(self) -> None:
        """Said."""
        made = started(None, State="RUNNING")

        assert ("DRAFT", 1) == (made.journey["sourceState"], made.codes["enum_unknown"])


WINDOW = "send_window_unsupported"


def campaign(**more: Any) -> dict[str, Any]:
    """A campaign of one mail to the segment `s`."""
    return {
        "Id": "c1",
        "ApplicationId": "app",
        "Name": "Campaign",
        "SegmentId": "s",
        "Schedule": {"Frequency": "ONCE", "StartTime": "2027-01-04T09:30:00Z"},
        "TemplateConfiguration": {"EmailTemplate": {"Name": "welcome"}},
        **more,
    }


def campaigned(**more: Any) -> Made:
    """Its translation, with segment and template."""
    return Made({"campaigns": [campaign(**more)], "segments": [segment("s")], "templates": [template()]})


class TestCampaigns:
    """Campaigns as journeys of one send."""

    def test_once_is_a_schedule(self) -> None:
        """Over the audience, complete."""
        made = campaigned()

        assert ["trigger", "send", "exit"] == made.ids
        assert "2027-01-04T09:30:00.000Z" == made.step("trigger")["at"]
        assert ("complete", "campaign/c1") == (made.journey["completeness"], made.journey["sourceId"])

    @pytest.mark.parametrize(
        ("frequency", "rule"),
        [
            ("HOURLY", "FREQ=HOURLY;BYMINUTE=30;BYSECOND=0"),
            ("DAILY", "FREQ=DAILY;BYHOUR=9;BYMINUTE=30;BYSECOND=0"),
            ("WEEKLY", "FREQ=WEEKLY;BYDAY=MO;BYHOUR=9;BYMINUTE=30;BYSECOND=0"),
            ("MONTHLY", "FREQ=MONTHLY;BYMONTHDAY=4;BYHOUR=9;BYMINUTE=30;BYSECOND=0"),
        ],
    )
    def test_again_and_again_is_a_rule(self, frequency: str, rule: str) -> None:
        """In UTC."""
        made = campaigned(Schedule={"Frequency": frequency, "StartTime": "2027-01-04T09:30:00Z"})

        assert (rule, "UTC") == (made.step("trigger")["rrule"], made.step("trigger")["timezone"])
        assert 1 == made.codes["campaign_recurrence"]

    @pytest.mark.parametrize("frequency", ["EVENT", "IN_APP_EVENT"])
    def test_an_event_is_an_event(self, frequency: str) -> None:
        """With its contract."""
        chosen = by_event("cart.left")["EventStartCondition"]["EventFilter"]
        made = campaigned(Schedule={"Frequency": frequency, "EventFilter": chosen})

        assert ("event", ["cart.left"]) == (
            made.step("trigger")["mode"],
            [one["eventName"] for one in made.bundle["triggerContracts"]],
        )

    def test_treatments_and_holdout_are_arms(self) -> None:
        """The default treatment has what the others leave."""
        second = {"Id": "t", "SizePercent": 30, "TemplateConfiguration": {"EmailTemplate": {"Name": "welcome"}}}
        made = campaigned(AdditionalTreatments=[second], HoldoutPercent=10, Hook={"LambdaFunctionName": "f"})

        arms = {arm["id"]: (arm["weight"], arm["next"]) for arm in made.step("treatments")["arms"]}
        assert {"send": (60, "send"), "treatment_1": (30, "treatment_1"), "held": (10, "exit")} == arms
        assert {"campaign_treatments", "campaign_hook"} <= made.codes.keys()

    def test_a_message_written_into_the_campaign_is_a_communication(self) -> None:
        """With its own sender."""
        mail = {"Title": "Hi {{Attributes.x}}", "HtmlBody": "<p>Hi</p>", "FromAddress": "a@shop.example.com"}
        made = campaigned(TemplateConfiguration=None, MessageConfiguration={"EmailMessage": mail})

        found = next(
            one for one in made.bundle["communications"] if one["ref"] == made.step("send")["communicationRef"]
        )
        assert ("Hi {{ subject.x }}", "a@shop.example.com") == (found["subject"], found["from"])

    def test_a_text_message_alone_leaves_nothing_to_send(self) -> None:
        """The journey is empty, and the campaign kept aside."""
        made = campaigned(TemplateConfiguration={"SMSTemplate": {"Name": "s"}})

        assert (["trigger", "exit"], 1) == (made.ids, made.summary["journeys"]["empty"])
        assert 1 == made.codes["sms_unsupported"]

    def test_a_campaign_that_ended_is_skipped(self) -> None:
        """Kept aside, unless it is asked for."""
        ended = {"State": {"CampaignStatus": "COMPLETED"}}

        assert 0 == len(campaigned(**ended).bundle["journeys"])
        assert 1 == len(Made({"campaigns": [campaign(**ended)]}, includeStates=["COMPLETED"]).bundle["journeys"])
