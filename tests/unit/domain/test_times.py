"""Times and durations: what is read, what is refused, and where a day begins."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.times import (
    DAY_MS,
    HOUR_MS,
    MAX_DURATION_MS,
    MINUTE_MS,
    BadDuration,
    BadTime,
    format_time,
    is_zone,
    local_date,
    parse_date,
    parse_duration,
    parse_offset,
    parse_time,
    start_of_date,
    start_of_day,
)

YEAR_1 = parse_time("0001-01-01T00:00:00Z")
YEAR_9999 = parse_time("9999-12-31T23:59:59.999Z")
MOMENTS = st.integers(YEAR_1, YEAR_9999)
RECENT = st.integers(parse_time("1900-01-01T00:00:00Z"), parse_time("2100-01-01T00:00:00Z"))
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",  # the clocks went forward at midnight
    "America/Havana",  # and back to midnight
    "America/St_Johns",  # at one minute past midnight
    "America/Toronto",  # in 1919 from 23:30
    "Pacific/Apia",  # skipped 2011-12-30
    "Asia/Beirut",
    "Africa/Cairo",
)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("PT30M", 30 * MINUTE_MS),
        ("P3D", 3 * DAY_MS),
        ("P1W", 7 * DAY_MS),
        ("P1W2DT3H4M5S", 9 * DAY_MS + 3 * HOUR_MS + 4 * MINUTE_MS + 5_000),
        ("PT0S", 0),
        ("PT1.5S", 1_500),
        ("PT0.0019S", 1),
        ("PT0,25H", 15 * MINUTE_MS),
        ("P1.5D", 36 * HOUR_MS),
        ("P0.5W", 84 * HOUR_MS),
        ("PT90000S", 90_000_000),
        ("P3660D", MAX_DURATION_MS),
    ],
)
def test_a_duration_is_read_to_the_millisecond(text: str, ms: int) -> None:
    """Weeks, days, hours, minutes, seconds; a fraction in the last part."""
    assert ms == parse_duration(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "P", "PT", "P1DT", "3d", "p3d", "P3d", "3D", "PT3D", "P-3D", "P3", "P3D ", " P3D", "P٣D", "P1.D", "P.5D"),
        *("PT1M1H", "P1D1W", "P1.5DT1H", "P1H", "P" + "9" * 70 + "D", "P1D\n", "\ud800"),
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """The refusal says that a duration was meant."""
    with pytest.raises(BadDuration, match="duration") as refusal:
        parse_duration(text)

    assert "bad_duration" == refusal.value.code


@pytest.mark.parametrize("text", ["P1M", "P1Y", "P1Y2M3D", "P1MT1H", "P0M", "P1M2W"])
def test_months_and_years_are_refused_with_the_reason(text: str) -> None:
    """Their length varies, so an author must say how many days are meant."""
    with pytest.raises(BadDuration, match=r"duration .* months or years") as refusal:
        parse_duration(text)

    assert "unsupported_duration" == refusal.value.code


@pytest.mark.parametrize("text", ["P3661D", "P523W", "PT999999999H", "P3660DT0.001S"])
def test_a_duration_beyond_ten_years_is_refused(text: str) -> None:
    """3,660 days are the bound."""
    with pytest.raises(BadDuration, match=r"duration .* 3,660 days") as refusal:
        parse_duration(text)

    assert "out_of_range" == refusal.value.code


def test_a_sign_is_read_only_where_one_is_asked_for() -> None:
    """A wait cannot be negative, an offset can."""
    assert -7 * DAY_MS == parse_duration("-P7D", signed=True)
    assert 7 * DAY_MS == parse_duration("+P7D", signed=True)
    with pytest.raises(BadDuration, match="sign"):
        parse_duration("-P7D")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("P1D", (1, 0)),
        ("-P1W", (-7, 0)),
        ("PT36H", (0, 36 * HOUR_MS)),
        ("-P1DT1H", (-1, -HOUR_MS)),
        ("P1.5D", (1, 12 * HOUR_MS)),
    ],
)
def test_an_offset_keeps_calendar_days_apart(text: str, parts: tuple[int, int]) -> None:
    """A day in a person's zone may have 23 hours, so days are not turned into milliseconds."""
    assert parts == parse_offset(text)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-04-30T13:00:00Z", "2026-04-30T13:00:00.000Z"),
        ("2026-04-30t13:00:00z", "2026-04-30T13:00:00.000Z"),
        ("2026-04-30T15:00:00+02:00", "2026-04-30T13:00:00.000Z"),
        ("2026-04-30T13:00:00-00:00", "2026-04-30T13:00:00.000Z"),
        ("2026-04-30T07:15:00.5-05:45", "2026-04-30T13:00:00.500Z"),
        ("2026-04-30T13:00:00.123456789123Z", "2026-04-30T13:00:00.123Z"),
        ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000Z"),
        ("2017-01-01T00:59:60.7+01:00", "2017-01-01T00:00:00.000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
    ],
)
def test_a_time_is_read_and_written_in_one_form(text: str, same: str) -> None:
    """Any offset and any number of fraction digits in; UTC and three digits out."""
    assert same == format_time(parse_time(text))


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "2026-04-30", "2026-04-30T13:00:00", "2026-04-30 13:00:00Z", "2026-04-30T13:00Z"),
        *("20260430T130000Z", "2026-02-30T10:00:00.000Z", "2026-13-01T00:00:00Z", "2025-02-29T00:00:00Z"),
        *("0000-01-01T00:00:00Z", "2026-04-30T24:00:00Z", "2026-04-30T13:60:00Z", "2026-04-30T13:00:61Z"),
        *("2026-04-30T13:00:60Z", "2026-04-30T13:00:00.Z", "2026-04-30T13:00:00,5Z", "2026-04-30T13:00:00+24:00"),
        *("2026-04-30T13:00:00+0200", "٢٠٢٦-04-30T13:00:00Z", "2026-04-30T13:00:00Z\n", "0001-01-01T00:00:00+00:01"),
        *("9999-12-31T23:59:59-00:01", "\ud800"),
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """Impossible dates, other notations, and times outside the calendar."""
    with pytest.raises(BadTime):
        parse_time(text)


@given(MOMENTS)
def test_what_is_written_reads_the_same(ms: int) -> None:
    """format_time and parse_time are inverse, with exactly three digits and Z."""
    text = format_time(ms)

    assert ms == parse_time(text)
    assert 24 == len(text)
    assert text.endswith("Z")


@given(st.datetimes(timezones=st.timezones()))
def test_reading_agrees_with_the_standard_library(moment: datetime) -> None:
    """Against datetime's own ISO writer, wherever its offset is whole minutes."""
    offset = moment.utcoffset()
    text = moment.isoformat()
    if offset is None or offset % timedelta(minutes=1) or not YEAR_1 + DAY_MS < _ms(moment) < YEAR_9999 - DAY_MS:
        return

    assert _ms(moment) == parse_time(text)


@pytest.mark.parametrize("ms", [YEAR_1 - 1, YEAR_9999 + 1, 10**30, -(10**30)])
def test_a_time_outside_the_calendar_cannot_be_written(ms: int) -> None:
    """Rather a refusal than a fifth digit."""
    with pytest.raises(BadTime):
        format_time(ms)


@pytest.mark.parametrize(
    "name", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "Asia/Kolkata"]
)
def test_the_zones_of_the_iana_database_are_zones(name: str) -> None:
    """Links such as UTC included."""
    assert is_zone(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "Mars/Olympus", "America", "europe berlin", "/etc/passwd", "../UTC", "posix/UTC", "localtime", "Factory"),
        *("posixrules", "zone.tab", "leapseconds", "UTC\x00", "A" * 300, "\ud800", "UTC+05:30", "Europe/Berlin/"),
    ],
)
def test_other_files_and_names_are_no_zones(name: str) -> None:
    """Neither folders nor paths, nor what each machine sets for itself."""
    assert not is_zone(name)


@given(RECENT, st.sampled_from(ZONES))
def test_a_day_begins_with_its_first_moment(ms: int, zone: str) -> None:
    """The moment before the start is another date, the start is the same one, also where clocks jump over midnight."""
    start = start_of_day(ms, zone)

    assert start <= ms
    assert local_date(ms, zone) == local_date(start, zone)
    assert local_date(start - 1, zone) < local_date(start, zone)


@pytest.mark.parametrize(
    ("day", "zone", "start"),
    [
        ("2026-03-29", "Europe/Berlin", "2026-03-28T23:00:00.000Z"),
        ("2026-03-30", "Europe/Berlin", "2026-03-29T22:00:00.000Z"),
        ("2018-11-04", "America/Sao_Paulo", "2018-11-04T03:00:00.000Z"),  # no midnight: begins at 01:00
        ("2026-11-01", "America/Havana", "2026-11-01T04:00:00.000Z"),  # two midnights: the first
        ("1919-03-31", "America/Toronto", "1919-03-31T04:30:00.000Z"),  # 23:30 was followed by 00:30
        ("2011-12-30", "Pacific/Apia", "2011-12-30T10:00:00.000Z"),  # skipped: the next one begins
        ("2026-04-30", "Nowhere/At_All", "2026-04-30T00:00:00.000Z"),
    ],
)
def test_a_date_begins_when_clocks_first_show_it(day: str, zone: str, start: str) -> None:
    """Known transitions, by hand."""
    assert start == format_time(start_of_date(parse_date(day), zone))


@pytest.mark.parametrize("ms", [YEAR_1, YEAR_9999])
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/Los_Angeles"])
def test_the_ends_of_the_calendar_have_a_date_everywhere(ms: int, zone: str) -> None:
    """An author's "for ever" must not break a comparison."""
    assert local_date(ms, zone) in (date.min, date.max, date(1, 1, 2), date(9999, 12, 30))


@pytest.mark.parametrize("text", ["", "2026-4-30", "2026-02-30", "0000-01-01", "2026-04-30T00:00:00Z", "٢٠٢٦-04-30"])
def test_what_is_no_date_is_refused(text: str) -> None:
    """Ten characters, and a day that exists."""
    with pytest.raises(BadTime):
        parse_date(text)


def _ms(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
