"""Waits for a moment, against a clock that is watched minute by minute, in every zone there is."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.execution.schedule import Moment, clock_ms, first_at, last_at, until, zone_of
from services.domain.journey.model import WaitUntilTime
from services.domain.times import DAY_MS, HOUR_MS, MINUTE_MS, format_time, is_zone, parse_offset, parse_time

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ZONES = sorted(filter(is_zone, files("tzdata").joinpath("zones").read_text().split()))
FROM, TO = parse_time("2024-01-01T00:00:00Z"), parse_time("2031-01-01T00:00:00Z")


def face(ms: int, zone: str) -> datetime:
    """What a clock on the wall shows: no offset, no fold."""
    return datetime.fromtimestamp(ms / 1000, ZoneInfo(zone)).replace(tzinfo=None, fold=0)


@cache
def changes(zone: str) -> list[int]:
    """The moments of 2024 to 2030 at which clocks in the zone are set."""
    place = ZoneInfo(zone)

    def offset(ms: int) -> timedelta | None:
        return datetime.fromtimestamp(ms / 1000, place).utcoffset()

    found = []
    for day in range(FROM, TO, DAY_MS):
        before, after = day, day + DAY_MS
        if offset(before) != offset(after):
            while after - before > 1:
                middle = (before + after) // 2
                before, after = (middle, after) if offset(middle) == offset(before) else (before, middle)
            found.append(after)
    return found


@st.composite
def places(draw: st.DrawFn) -> tuple[str, int]:
    """A zone and a moment, two times in three within two days of a change of its clocks."""
    zone = draw(st.sampled_from(ZONES))
    set_at = changes(zone)
    if set_at and draw(st.integers(0, 2)) > 0:
        change = draw(st.sampled_from(set_at))
        return zone, change + draw(st.integers(-2880, 2880)) * MINUTE_MS
    return zone, draw(st.integers(FROM, TO))


def watched(clock: str, weekdays: tuple[str, ...], now: int, zone: str) -> int:
    """The oracle: watch a clock from before `now` until its highest reading yet passes the wanted time of a day."""
    start = now // MINUTE_MS * MINUTE_MS - 4 * HOUR_MS
    highest = face(start - MINUTE_MS, zone)
    wanted = timedelta(milliseconds=clock_ms(clock))
    for at in range(start, start + 9 * DAY_MS, MINUTE_MS):
        shown = face(at, zone)
        if shown <= highest:
            continue
        for day in (highest.date(), shown.date()):
            target = datetime.combine(day, datetime.min.time()) + wanted
            if at >= now and highest < target <= shown and (not weekdays or DAYS[day.weekday()] in weekdays):
                return at
        highest = shown
    raise AssertionError("never")


def local(clock: str, *weekdays: str) -> WaitUntilTime:
    return WaitUntilTime("w", "next", local_time=clock, weekdays=weekdays)


def by_attribute(offset: str = "PT0S") -> WaitUntilTime:
    days, ms = parse_offset(offset)
    return WaitUntilTime("w", "next", attribute=("renewsAt",), offset_days=days, offset_ms=ms)


def going_on(step: WaitUntilTime, now: str, zone: str | None, value: Any = None, fallback: str | None = None) -> str:
    moment = until(step, parse_time(now), zone, value, fallback)
    assert moment.at is not None
    return format_time(moment.at).replace(":00.000Z", "Z") + (f" {moment.reason}" if moment.reason else "")


@pytest.mark.parametrize(
    ("clock", "weekdays", "now", "zone", "expected"),
    [
        # Monday 08:00 in Tokyo is Sunday 23:00 where the server stands.
        ("08:00", ("mon",), "2026-04-30T12:00:00Z", "Asia/Tokyo", "2026-05-03T23:00Z"),
        ("08:00", ("mon",), "2026-05-03T23:00:00Z", "Asia/Tokyo", "2026-05-03T23:00Z"),
        ("08:00", ("mon",), "2026-05-03T23:00:00.001Z", "Asia/Tokyo", "2026-05-10T23:00Z"),
        ("08:00", ("mon", "thu"), "2026-05-03T23:00:00.001Z", "Asia/Tokyo", "2026-05-06T23:00Z"),
        # Who comes at 09:30 sharp goes on at once; a moment later, tomorrow.
        ("09:30", (), "2026-04-30T07:30:00Z", "Europe/Berlin", "2026-04-30T07:30Z"),
        ("09:30", (), "2026-04-30T07:29:59.999Z", "Europe/Berlin", "2026-04-30T07:30Z"),
        ("09:30", (), "2026-04-30T07:30:00.001Z", "Europe/Berlin", "2026-05-01T07:30Z"),
        ("00:00", ("sat",), "2026-05-01T21:59:00Z", "Europe/Berlin", "2026-05-01T22:00Z"),
        ("23:59", ("fri",), "2026-05-01T21:59:00Z", "Europe/Berlin", "2026-05-01T21:59Z"),
        # A day of 23 hours, and one of 25.
        ("09:30", (), "2026-03-28T08:30:00.001Z", "Europe/Berlin", "2026-03-29T07:30Z"),
        ("09:30", (), "2026-10-24T07:30:00.001Z", "Europe/Berlin", "2026-10-25T08:30Z"),
        # Gaps: the first instant after.
        ("02:30", (), "2026-03-28T12:00:00Z", "Europe/Berlin", "2026-03-29T01:00Z"),
        ("02:30", ("sun",), "2026-03-29T01:00:00Z", "Europe/Berlin", "2026-03-29T01:00Z"),
        ("02:30", (), "2026-03-29T01:00:00.001Z", "Europe/Berlin", "2026-03-30T00:30Z"),
        ("02:00", (), "2026-03-28T12:00:00Z", "Europe/Berlin", "2026-03-29T01:00Z"),
        ("03:00", (), "2026-03-28T12:00:00Z", "Europe/Berlin", "2026-03-29T01:00Z"),
        ("02:30", (), "2026-03-08T06:00:00Z", "America/New_York", "2026-03-08T07:00Z"),
        ("02:15", (), "2026-10-03T12:00:00Z", "Australia/Lord_Howe", "2026-10-03T15:30Z"),
        ("02:30", (), "2026-10-03T12:00:00Z", "Australia/Lord_Howe", "2026-10-03T15:30Z"),
        ("02:30", (), "2026-03-22T00:00:00Z", "Africa/Casablanca", "2026-03-22T02:00Z"),
        # A gap over midnight: Saturday's 23:30 comes as Sunday begins, and is Saturday's all the same.
        ("23:30", ("sat",), "2026-03-28T12:00:00Z", "America/Nuuk", "2026-03-29T01:00Z"),
        ("23:30", ("sat",), "2026-03-29T01:00:00Z", "America/Nuuk", "2026-03-29T01:00Z"),
        ("23:30", ("sun",), "2026-03-28T12:00:00Z", "America/Nuuk", "2026-03-30T00:30Z"),
        ("00:30", ("fri",), "2026-04-23T12:00:00Z", "Africa/Cairo", "2026-04-23T22:00Z"),
        # Overlaps: the first, once.
        ("02:30", (), "2026-10-24T12:00:00Z", "Europe/Berlin", "2026-10-25T00:30Z"),
        ("02:30", (), "2026-10-25T00:30:00Z", "Europe/Berlin", "2026-10-25T00:30Z"),
        ("02:30", (), "2026-10-25T00:30:00.001Z", "Europe/Berlin", "2026-10-26T01:30Z"),
        ("02:30", (), "2026-10-25T01:15:00Z", "Europe/Berlin", "2026-10-26T01:30Z"),
        ("01:30", (), "2026-11-01T04:00:00Z", "America/New_York", "2026-11-01T05:30Z"),
        ("01:45", (), "2026-04-04T12:00:00Z", "Australia/Lord_Howe", "2026-04-04T14:45Z"),
        ("01:45", (), "2026-04-04T15:10:00Z", "Australia/Lord_Howe", "2026-04-05T15:15Z"),
        ("02:30", (), "2026-02-14T12:00:00Z", "Africa/Casablanca", "2026-02-15T01:30Z"),
        # Samoa had no 30 December 2011: what would have come then comes with the 31st.
        ("08:00", ("fri",), "2011-12-29T20:00:00Z", "Pacific/Apia", "2011-12-30T10:00Z"),
        ("08:00", ("sat",), "2011-12-29T20:00:00Z", "Pacific/Apia", "2011-12-30T18:00Z"),
    ],
)
def test_a_local_time_is_the_persons(clock: str, weekdays: tuple[str, ...], now: str, zone: str, expected: str) -> None:
    """Weekday and hour in the subject's zone, over gaps, overlaps and days of any length."""
    assert expected == going_on(local(clock, *weekdays), now, zone)


@pytest.mark.parametrize(
    ("value", "offset", "expected"),
    [
        ("2026-05-07", "PT0S", "2026-05-06T22:00Z"),
        ("2026-05-07", "-P7D", "2026-04-30T10:00Z"),  # 30 April 00:00 is past
        ("2026-05-07", "-P6D", "2026-04-30T22:00Z"),
        ("2026-05-07", "PT9H30M", "2026-05-07T07:30Z"),
        ("2026-10-24", "P1D", "2026-10-24T22:00Z"),
        ("2026-10-25", "P1D", "2026-10-25T23:00Z"),  # a day of 25 hours
        ("2026-10-25", "PT24H", "2026-10-25T22:00Z"),  # 24 hours are not that day
        ("2026-10-25", "P1DT1H", "2026-10-26T00:00Z"),
        ("2026-05-07T12:00:00Z", "PT0S", "2026-05-07T12:00Z"),
        ("2026-05-07T12:00:00.000+02:00", "P1D", "2026-05-08T10:00Z"),
        ("2026-10-24T12:00:00Z", "P1D", "2026-10-25T13:00Z"),  # 14:00 in Berlin on either day
        ("2026-10-24T12:00:00Z", "PT24H", "2026-10-25T12:00Z"),
        ("2027-03-27T01:30:00Z", "P1D", "2027-03-28T01:00Z"),  # 02:30 does not exist on the 28th
        ("2027-03-28T00:30:00Z", "P1D", "2027-03-28T23:30Z"),
        ("2026-10-25T01:30:00Z", "PT0S", "2026-10-25T01:30Z"),  # the second 02:30, if that is what it says
        ("2026-10-25T01:30:00Z", "PT1H", "2026-10-25T02:30Z"),
        ("2026-10-24T00:30:00Z", "P1D", "2026-10-25T00:30Z"),  # 02:30 moved by the calendar: the first
        ("2026-04-30T09:59:59.999Z", "PT0S", "2026-04-30T10:00Z"),
        ("1970-01-01", "PT0S", "2026-04-30T10:00Z"),
        ("0001-01-01", "-P3660D", "2026-04-30T10:00Z"),
        ("9999-12-31", "P3660D", "9999-12-31T23:59:59.999Z"),
        ("9999-12-31T23:00:00Z", "PT9999H", "9999-12-31T23:59:59.999Z"),
        ("9999-12-31T23:00:00Z", "-P1D", "9999-12-30T22:00Z"),
        (None, "P1D", "2026-04-30T10:00Z attribute_missing"),
        *(
            (value, "P1D", "2026-04-30T10:00Z attribute_unreadable")
            for value in (
                *("", "soon", "2026-02-30", "2026-5-7", "2026-05-07T12:00:00", "2026-05-07 12:00:00Z", "\ud800" * 10),
                *(1777543200000, 0, True, False, 1.5, ["2026-05-07"], [], {"date": "2026-05-07"}, {}),
            )
        ),
    ],
)
def test_an_attribute_names_the_moment(value: Any, offset: str, expected: str) -> None:
    """Days move by the calendar, hours by the clock; what cannot be read goes on at once and says so."""
    assert expected == going_on(by_attribute(offset), "2026-04-30T10:00:00Z", "Europe/Berlin", value)


def test_an_instant_is_waited_for_whatever_the_zone() -> None:
    """`at` is absolute; past, it is now."""
    step = WaitUntilTime("w", "next", at=1_000)

    assert [Moment(1_000), Moment(1_000), Moment(1_001)] == [until(step, now, "Asia/Tokyo") for now in (0, 1000, 1001)]


def test_a_step_without_a_time_has_no_moment() -> None:
    """A draft may be walked before it is finished; publish calls it by the same name."""
    assert Moment(None, "time_missing") == until(WaitUntilTime("w", "next"), 0, "UTC")


@pytest.mark.parametrize(
    ("zone", "fallback", "found"),
    [
        ("Asia/Tokyo", "Europe/Berlin", "Asia/Tokyo"),
        (None, "Europe/Berlin", "Europe/Berlin"),
        ("Mars/Olympus", "Europe/Berlin", "Europe/Berlin"),
        ("", "../../etc/passwd", "UTC"),
        ("America", None, "UTC"),
        (None, None, "UTC"),
    ],
)
def test_a_zone_missing_or_unknown_is_the_workspaces(zone: str | None, fallback: str | None, found: str) -> None:
    """One bad zone stops nobody: the workspace's counts, then UTC."""
    assert found == zone_of(zone, fallback)
    assert until(local("08:00"), FROM, found) == until(local("08:00"), FROM, zone, None, fallback)


@pytest.mark.parametrize("clock", ["", "8:00", "24:00", "08:60", "08:00:00", " 08:00", "٠٨:٠٠", "08:00\n"])
def test_what_is_no_time_of_day_is_refused(clock: str) -> None:
    """Reading the steps refuses it before; nobody guesses here."""
    with pytest.raises(ValueError, match="no time of day"):
        clock_ms(clock)


def test_no_weekday_at_all_is_an_error_and_no_endless_search() -> None:
    """Names are checked where steps are read."""
    with pytest.raises(ValueError, match="never"):
        until(local("08:00", "never"), FROM, "UTC")


@settings(max_examples=60, deadline=None)
@given(places(), st.integers(0, 1439), st.sets(st.sampled_from(DAYS)))
def test_it_is_the_first_such_moment(place: tuple[str, int], minute: int, days: set[str]) -> None:
    """Whoever watches the clock on the person's wall sees it at the same minute, in every zone."""
    zone, now = place
    clock, weekdays = f"{minute // 60:02}:{minute % 60:02}", tuple(day for day in DAYS if day in days)

    assert Moment(watched(clock, weekdays, now, zone)) == until(local(clock, *weekdays), now, zone)


@settings(max_examples=60, deadline=None)
@given(places(), st.integers(-180, 180), st.integers(0, 59_999))
def test_it_is_the_first_such_moment_nearby(place: tuple[str, int], minutes: int, ms: int) -> None:
    """The same within three hours of now, where gaps and overlaps are met most."""
    zone, now = place[0], place[1] + ms
    clock = f"{face(now, zone) + timedelta(minutes=minutes):%H:%M}"

    assert Moment(watched(clock, (), now, zone)) == until(local(clock), now, zone)


@given(places(), st.integers(0, 1439), st.sets(st.sampled_from(DAYS), min_size=1))
def test_the_clock_shows_what_was_asked_for(place: tuple[str, int], minute: int, days: set[str]) -> None:
    """Never before now, on the right weekday, at the right time, unless a gap has swallowed it; asked again, the same."""
    zone, now = place
    step = local(f"{minute // 60:02}:{minute % 60:02}", *days)

    at = until(step, now, zone).at

    assert at is not None
    assert now <= at <= now + 8 * DAY_MS
    assert Moment(at) == until(step, at, zone)
    shown, before = face(at, zone), face(at - 1, zone)
    if at in changes(zone) and shown > before + timedelta(milliseconds=1):
        wanted = [
            datetime.combine(day, datetime.min.time()) + timedelta(minutes=minute) for day in dates(before, shown)
        ]
        assert any(before < one <= shown and DAYS[one.weekday()] in days for one in wanted)
    else:
        assert (minute, 0, True) == (shown.hour * 60 + shown.minute, shown.second, DAYS[shown.weekday()] in days)


def dates(first: datetime, last: datetime) -> Iterator[date]:
    yield first.date()
    if first.date() != last.date():
        yield last.date()


@given(places(), st.integers(-400, 400), st.integers(-48, 48), st.booleans())
def test_an_offset_keeps_the_time_of_day(place: tuple[str, int], days: int, hours: int, is_date: bool) -> None:
    """A date or time moved by days shows the same clock, unless in a gap; hours after that are elapsed ones."""
    zone, at = place
    was = face(at, zone)
    value = f"{was:%Y-%m-%d}" if is_date else format_time(at)
    clock = timedelta(0) if is_date else was - datetime.combine(was.date(), datetime.min.time())

    plain, moved = (
        until(WaitUntilTime("w", "n", attribute=("a",), offset_days=days, offset_ms=ms), 0, zone, value).at
        for ms in (0, hours * HOUR_MS)
    )

    assert plain is not None
    assert moved == plain + hours * HOUR_MS
    wanted = datetime.combine(was.date() + timedelta(days=days), datetime.min.time()) + clock
    shown = face(plain, zone)
    assert shown == wanted or face(plain - 1, zone) < wanted < shown
    if not days and not is_date:
        assert at == plain


@given(places(), st.integers(0, DAY_MS - 1))
def test_the_first_occurrence_is_never_after_the_last(place: tuple[str, int], clock: int) -> None:
    """They differ in an overlap only, by what the clocks went back."""
    zone, now = place
    day = face(now, zone).date()
    first, last = first_at(day, clock, zone), last_at(day, clock, zone)

    shown = datetime.combine(day, datetime.min.time()) + timedelta(milliseconds=clock)
    if face(first, zone) == shown:
        assert face(last, zone) == shown
        assert 0 <= last - first <= 3 * HOUR_MS
    else:
        assert face(first - 1, zone) < shown < face(first, zone)


def test_the_properties_meet_every_kind_of_change() -> None:
    """The years 2024 to 2030 have gaps and overlaps of an hour, of half one and of two, at midnight too."""
    lengths = {
        abs(face(at, zone) - face(at - MINUTE_MS, zone) - timedelta(minutes=1))
        for zone in ("Europe/Berlin", "Australia/Lord_Howe", "Antarctica/Troll", "Africa/Cairo", "Africa/Casablanca")
        for at in changes(zone)
    }

    assert 590 < len(ZONES)
    assert {timedelta(minutes=minutes) for minutes in (30, 60, 120)} == lengths
    assert datetime(2026, 4, 24, 1, tzinfo=UTC).replace(tzinfo=None) in {
        face(at, "Africa/Cairo") for at in changes("Africa/Cairo")
    }
