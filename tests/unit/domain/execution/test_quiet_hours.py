"""The night of a person, against a clock that is watched minute by minute, in every zone there is."""

from datetime import datetime
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.execution.quiet_hours import QuietHours, respect_quiet_hours, window_end
from services.domain.times import DAY_MS, HOUR_MS, MINUTE_MS, format_time, is_zone, parse_time

ZONES = sorted(filter(is_zone, files("tzdata").joinpath("zones").read_text().split()))
FROM, TO = parse_time("2024-01-01T00:00:00Z"), parse_time("2031-01-01T00:00:00Z")
NIGHT = QuietHours("22:00", "08:00")


def face(ms: int, zone: str) -> datetime:
    """What a clock on the wall shows: no offset, no fold."""
    return datetime.fromtimestamp(ms / 1000, ZoneInfo(zone)).replace(tzinfo=None, fold=0)


@cache
def change_days(zone: str) -> list[int]:
    """Days of 2024 to 2030, as UTC counts them, in which clocks in the zone are set."""
    place = ZoneInfo(zone)
    offsets = [datetime.fromtimestamp(ms / 1000, place).utcoffset() for ms in range(FROM, TO, DAY_MS)]
    return [FROM + i * DAY_MS for i in range(len(offsets) - 1) if offsets[i] != offsets[i + 1]]


@st.composite
def places(draw: st.DrawFn) -> tuple[str, int]:
    """A zone and a minute, two times in three about a change of its clocks."""
    zone = draw(st.sampled_from(ZONES))
    days = change_days(zone)
    if days and draw(st.integers(0, 2)) > 0:
        change = draw(st.sampled_from(days))
        return zone, change + draw(st.integers(-720, 2160)) * MINUTE_MS
    return zone, draw(st.integers(FROM // MINUTE_MS, TO // MINUTE_MS)) * MINUTE_MS


MINUTES = st.integers(0, 1439)


def text(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def watched(now: int, zone: str, start: int, end: int) -> int | None:
    """The oracle: it is quiet while the clock, or its highest reading of the last hours, shows a quiet time."""

    def is_quiet(shown: datetime) -> bool:
        return (shown.hour * 60 + shown.minute - start) % 1440 < (end - start) % 1440

    first = now - 4 * HOUR_MS
    highest = face(first, zone)
    for at in range(first, now + 4 * DAY_MS, MINUTE_MS):
        shown = face(at, zone)
        highest = max(shown, highest)
        if at >= now and not is_quiet(shown) and not is_quiet(highest):
            return at if at > now else None
    raise AssertionError("never")


def ending(now: str, zone: str, start: str = "22:00", end: str = "08:00") -> str | None:
    found = window_end(parse_time(now), zone, start, end)
    return None if found is None else format_time(found).replace(":00.000Z", "Z")


@pytest.mark.parametrize(
    ("now", "zone", "start", "end", "expected"),
    [
        ("2026-04-30T19:59:59.999Z", "Europe/Berlin", "22:00", "08:00", None),
        ("2026-04-30T20:00:00Z", "Europe/Berlin", "22:00", "08:00", "2026-05-01T06:00Z"),
        ("2026-05-01T05:59:59.999Z", "Europe/Berlin", "22:00", "08:00", "2026-05-01T06:00Z"),
        ("2026-05-01T06:00:00Z", "Europe/Berlin", "22:00", "08:00", None),
        # The server's night is Tokyo's day, and the other way round.
        ("2026-05-01T00:00:00Z", "Asia/Tokyo", "22:00", "08:00", None),
        ("2026-05-01T13:00:00Z", "Asia/Tokyo", "22:00", "08:00", "2026-05-01T23:00Z"),
        # Within one day, up to midnight, from midnight, and nearly always.
        ("2026-05-01T11:30:00Z", "UTC", "11:00", "12:00", "2026-05-01T12:00Z"),
        ("2026-05-01T12:00:00Z", "UTC", "11:00", "12:00", None),
        ("2026-05-01T23:00:00Z", "UTC", "22:00", "00:00", "2026-05-02T00:00Z"),
        ("2026-05-02T00:00:00Z", "UTC", "22:00", "00:00", None),
        ("2026-05-02T00:00:00Z", "UTC", "00:00", "06:00", "2026-05-02T06:00Z"),
        ("2026-05-02T00:00:00Z", "UTC", "00:01", "00:00", None),
        ("2026-05-02T00:01:00Z", "UTC", "00:01", "00:00", "2026-05-03T00:00Z"),
        ("2026-05-02T00:00:00Z", "UTC", "08:00", "08:00", None),
        ("2026-05-02T08:00:00Z", "UTC", "08:00", "08:00", None),
        # A short and a long night.
        ("2026-03-28T21:00:00Z", "Europe/Berlin", "22:00", "08:00", "2026-03-29T06:00Z"),
        ("2026-10-24T20:00:00Z", "Europe/Berlin", "22:00", "08:00", "2026-10-25T07:00Z"),
        ("2026-03-08T03:00:00Z", "America/New_York", "22:00", "08:00", "2026-03-08T12:00Z"),
        ("2026-11-01T02:00:00Z", "America/New_York", "22:00", "08:00", "2026-11-01T13:00Z"),
        # An end or a start in a gap: the first instant after it. Both in it: no quiet hours that day.
        ("2026-03-29T00:00:00Z", "Europe/Berlin", "22:00", "02:30", "2026-03-29T01:00Z"),
        ("2026-03-29T01:00:00Z", "Europe/Berlin", "22:00", "02:30", None),
        ("2026-03-29T00:59:00Z", "Europe/Berlin", "02:30", "08:00", None),
        ("2026-03-29T01:00:00Z", "Europe/Berlin", "02:30", "08:00", "2026-03-29T06:00Z"),
        ("2026-03-29T01:00:00Z", "Europe/Berlin", "02:10", "02:50", None),
        ("2026-10-03T15:00:00Z", "Australia/Lord_Howe", "22:00", "02:15", "2026-10-03T15:30Z"),
        # The pause between two nights falls in the gap.
        ("2026-03-28T12:00:00Z", "Europe/Berlin", "02:30", "02:15", "2026-03-30T00:15Z"),
        # An end in an overlap: the first; the hour shown again is quiet again until it shows the end.
        ("2026-10-24T23:00:00Z", "Europe/Berlin", "22:00", "02:30", "2026-10-25T00:30Z"),
        ("2026-10-25T00:30:00Z", "Europe/Berlin", "22:00", "02:30", None),
        ("2026-10-25T01:10:00Z", "Europe/Berlin", "22:00", "02:30", "2026-10-25T01:30Z"),
        ("2026-10-25T01:30:00Z", "Europe/Berlin", "22:00", "02:30", None),
        # A night that began in the first 02:30 does not pause for the second 02:00.
        ("2026-10-25T01:10:00Z", "Europe/Berlin", "02:30", "08:00", "2026-10-25T07:00Z"),
        ("2026-10-25T00:10:00Z", "Europe/Berlin", "02:30", "08:00", None),
        # Clocks that go back over midnight show Saturday's last hour twice.
        ("2026-10-25T00:30:00Z", "America/Nuuk", "22:00", "23:45", "2026-10-25T00:45Z"),
        ("2026-10-25T01:30:00Z", "America/Nuuk", "22:00", "23:45", "2026-10-25T01:45Z"),
        ("2026-10-25T01:30:00Z", "America/Nuuk", "22:00", "08:00", "2026-10-25T10:00Z"),
        # In Newfoundland they went back at one minute past midnight, from Sunday into Saturday.
        ("2006-10-29T03:00:00Z", "America/St_Johns", "22:00", "00:00", "2006-10-29T03:30Z"),
        ("2006-10-29T03:00:00Z", "America/St_Johns", "00:00", "06:00", "2006-10-29T09:30Z"),
        # Samoa's night of 29 December 2011 was followed by that of the 30th, which began and ended on the 31st.
        ("2011-12-30T09:00:00Z", "Pacific/Apia", "22:00", "08:00", "2011-12-30T18:00Z"),
        ("2026-05-01T23:00:00Z", "Mars/Olympus", "22:00", "08:00", "2026-05-02T08:00Z"),
    ],
)
def test_the_night_is_the_persons(now: str, zone: str, start: str, end: str, expected: str | None) -> None:
    """In the person's zone, across midnight and the setting of clocks; None by day."""
    assert expected == ending(now, zone, start, end)


@pytest.mark.parametrize(("start", "end"), [("24:00", "08:00"), ("22:00", "8:00"), ("", "08:00")])
def test_what_is_no_time_of_day_is_refused(start: str, end: str) -> None:
    """The workspace's settings are checked where they are written; nobody guesses here."""
    with pytest.raises(ValueError, match="no time of day"):
        window_end(0, "UTC", start, end)


@settings(max_examples=80, deadline=None)
@given(places(), MINUTES, MINUTES)
def test_it_is_quiet_when_the_clock_says_so(place: tuple[str, int], start: int, end: int) -> None:
    """Whoever watches the clock on the person's wall sees the night end at the same minute, in every zone."""
    zone, now = place

    assert watched(now, zone, start, end) == window_end(now, zone, text(start), text(end))


@settings(max_examples=80, deadline=None)
@given(places(), st.integers(-90, 90), st.integers(-90, 90))
def test_it_is_quiet_when_the_clock_says_so_nearby(place: tuple[str, int], start: int, end: int) -> None:
    """The same with a start and an end about now, where gaps and overlaps are met most."""
    zone, now = place
    shown = face(now, zone)
    first, last = ((shown.hour * 60 + shown.minute + minutes) % 1440 for minutes in (start, end))

    assert watched(now, zone, first, last) == window_end(now, zone, text(first), text(last))


@given(places(), st.integers(0, MINUTE_MS - 1), MINUTES, MINUTES)
def test_once_over_it_is_over(place: tuple[str, int], ms: int, start: int, end: int) -> None:
    """The end lies after now, no clock shows a quiet time there, and every moment between has the same end."""
    zone, now = place[0], place[1] + ms
    found = window_end(now, zone, text(start), text(end))

    if found is None:
        shown = face(now, zone)
        assert (shown.hour * 60 + shown.minute - start) % 1440 >= (end - start) % 1440
    else:
        assert now < found <= now + 3 * DAY_MS
        assert window_end(found, zone, text(start), text(end)) is None
        assert found == window_end((now + found) // 2, zone, text(start), text(end))
        assert found == window_end(found - 1, zone, text(start), text(end))


@given(places(), MINUTES)
def test_equal_ends_mean_no_quiet_hours(place: tuple[str, int], minute: int) -> None:
    """Nobody is silenced for ever."""
    assert window_end(place[1], place[0], text(minute), text(minute)) is None


def test_the_check_says_what_it_saw() -> None:
    """Zone, clock, hours and the end of the night stand in the trace."""
    check = respect_quiet_hours(NIGHT, parse_time("2026-04-30T20:15:00Z"), "Europe/Berlin")

    assert {
        "check": "quiet_hours",
        "passed": False,
        "reason": "quiet_hours",
        "inputs": {
            "zone": "Europe/Berlin",
            "localTime": "22:15",
            "start": "22:00",
            "end": "08:00",
            "endsAt": "2026-05-01T06:00:00.000Z",
            "behaviour": "defer",
        },
    } == check


def test_the_check_passes_by_day() -> None:
    """What passed is listed with its inputs too."""
    check = respect_quiet_hours(NIGHT, parse_time("2026-04-30T10:15:00Z"), "Europe/Berlin")

    assert {
        "check": "quiet_hours",
        "passed": True,
        "inputs": {"zone": "Europe/Berlin", "localTime": "12:15", "start": "22:00", "end": "08:00"},
    } == check


def test_without_quiet_hours_the_check_passes() -> None:
    """Null until set."""
    expected = {"check": "quiet_hours", "passed": True, "inputs": {"quietHours": None}}

    assert expected == respect_quiet_hours(None, 0, "UTC")
