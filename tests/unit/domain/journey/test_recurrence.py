"""Recurrence rules as authors write them: read whole, or refused with a sentence."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.journey.recurrence import BadRule, Rule, read_rule


def test_a_rule_is_its_parts() -> None:
    """In the order written, in capitals, with or without the property's name."""
    parts = (("FREQ", "WEEKLY"), ("BYDAY", "MO,-1FR".replace("-1", "")))

    assert Rule(parts) == read_rule("freq=weekly;byday=mo,fr")
    assert Rule(parts) == read_rule("RRULE:FREQ=WEEKLY;BYDAY=MO,FR\r\n")


def test_its_start_stands_above_it() -> None:
    """Local time; the rule is handed on with it, or with the one it is given."""
    rule = read_rule("DTSTART:20260101T093000\nRRULE:FREQ=DAILY")

    assert "20260101T093000" == rule.start
    assert "DTSTART:20260101T093000\nRRULE:FREQ=DAILY" == rule.anchored("20300101T000000")
    assert "DTSTART:20300101T000000\nRRULE:FREQ=DAILY" == read_rule("FREQ=DAILY").anchored("20300101T000000")


def test_a_count_without_a_start_counts_from_the_first_moment_to_come() -> None:
    """With a start it counts from there."""
    assert read_rule("FREQ=DAILY;COUNT=3").is_counted_from_now
    assert "FREQ=DAILY" == read_rule("FREQ=DAILY;COUNT=3").uncounted().anchored("x").partition("RRULE:")[2]
    assert not read_rule("DTSTART:20260101T093000\nFREQ=DAILY;COUNT=3").is_counted_from_now


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=MONTHLY;BYDAY=2MO,-1FR;BYSETPOS=1",
        "FREQ=YEARLY;BYWEEKNO=-1,53;BYDAY=MO;WKST=SU",
        "FREQ=YEARLY;BYYEARDAY=-366,366;BYMONTH=12",
        "FREQ=DAILY;BYHOUR=0,23;BYMINUTE=0,59;BYSECOND=30",
        "FREQ=MONTHLY;BYMONTHDAY=-31,1;UNTIL=20301231T235959Z",
        "FREQ=HOURLY;INTERVAL=2;COUNT=10000",
    ],
)
def test_what_the_standard_allows_is_read(text: str) -> None:
    """Each part at its bounds."""
    assert text == read_rule(text).anchored("x").partition("RRULE:")[2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no part"),
        ("DAILY", "is no part"),
        ("FREQ=DAILY;", "is no part"),
        ("FREQ=DAILY;BYEASTER=1", "is no part"),
        ("BYHOUR=9", "no FREQ"),
        ("FREQ=DAILY;FREQ=WEEKLY", "twice"),
        ("FREQ=FORTNIGHTLY", "none of"),
        ("FREQ=SECONDLY", "once a minute"),
        ("FREQ=MINUTELY;BYSECOND=0,30", "once a minute"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL"),
        ("FREQ=DAILY;INTERVAL=1.5", "INTERVAL"),
        ("FREQ=DAILY;COUNT=99999999", "COUNT"),
        ("FREQ=DAILY;COUNT=1;UNTIL=20300101", "exclude"),
        ("FREQ=DAILY;UNTIL=20300230", "UNTIL"),
        ("FREQ=DAILY;UNTIL=tomorrow", "UNTIL"),
        ("FREQ=DAILY;BYHOUR=24", "BYHOUR"),
        ("FREQ=DAILY;BYHOUR=9,", "BYHOUR"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY"),
        ("FREQ=DAILY;BYMONTH=13", "BYMONTH"),
        ("FREQ=WEEKLY;BYDAY=1MO", "MONTHLY and YEARLY"),
        ("FREQ=MONTHLY;BYDAY=0MO", "weekday"),
        ("FREQ=MONTHLY;BYDAY=MONDAY", "weekday"),
        ("FREQ=MONTHLY;BYSETPOS=1", "BYSETPOS"),
        ("FREQ=WEEKLY;WKST=1MO", "weekday"),
        ("DTSTART:20260230T090000\nFREQ=DAILY", "DTSTART"),
        ("DTSTART;TZID=Europe/Berlin:20260130T090000\nFREQ=DAILY", "is no part"),
        ("FREQ=DAILY\nEXDATE:20260130T090000", "none of"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    """In a sentence that names the part."""
    with pytest.raises(BadRule, match=said):
        read_rule(text)


@given(st.text(alphabet=st.sampled_from("FREQ=DAILYBHOU;,0129+-\n:TZ "), max_size=60) | st.text(max_size=60))
def test_nothing_but_a_refusal_is_raised(text: str) -> None:
    """Whatever stands there."""
    with suppress(BadRule):
        assert read_rule(text).parts
