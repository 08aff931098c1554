"""The moments of recurrence rules, over changes of clocks and in all zones."""

import itertools
import zoneinfo
from datetime import UTC, datetime, timedelta

import pytest

from services.infra.recurrence import CannotTell, attempt, occurrences

YEARS = range(2024, 2031)
START = "20240101T000000"


def ms(text: str) -> int:
    """Milliseconds of an ISO time in UTC."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def first(rule: str, zone: str, after: str, count: int, start: str = START) -> list[str]:
    """The first moments, as minutes in UTC."""
    found = itertools.islice(occurrences(f"DTSTART:{start}\nRRULE:{rule}", zone, ms(after)), count)
    return [datetime.fromtimestamp(one / 1000, UTC).strftime("%m-%d %H:%M") for one in found]


def test_a_morning_stays_a_morning() -> None:
    """Over both changes of a year."""
    assert ["03-28 08:00", "03-29 07:00"] == first("FREQ=DAILY;BYHOUR=9", "Europe/Berlin", "2026-03-27T12:00", 2)
    assert ["10-24 07:00", "10-25 08:00"] == first("FREQ=DAILY;BYHOUR=9", "Europe/Berlin", "2026-10-23T12:00", 2)


def test_a_time_in_a_gap_comes_as_late_as_it_would_have() -> None:
    """02:30 is 03:30; where 03:30 is named too, once."""
    half = "FREQ=DAILY;BYHOUR=2;BYMINUTE=30"
    assert ["03-29 01:30", "03-30 00:30"] == first(half, "Europe/Berlin", "2026-03-28T12:00", 2)
    both = "FREQ=DAILY;BYHOUR=2,3;BYMINUTE=30,45"
    expected = ["03-29 01:30", "03-29 01:45", "03-30 00:30"]
    assert expected == first(both, "Europe/Berlin", "2026-03-28T12:00", 3)


def test_a_time_that_comes_twice_is_made_once() -> None:
    """The first time."""
    half = "FREQ=DAILY;BYHOUR=2;BYMINUTE=30"
    assert ["10-25 00:30", "10-26 01:30"] == first(half, "Europe/Berlin", "2026-10-24T12:00", 2)


@pytest.mark.parametrize(
    ("after", "hours"),
    [
        ("2026-03-28T23:30", ["03-29 00:00", "03-29 01:00", "03-29 02:00", "03-29 03:00"]),
        ("2026-10-24T23:30", ["10-25 00:00", "10-25 01:00", "10-25 02:00", "10-25 03:00"]),
    ],
)
def test_hours_follow_elapsed_time(after: str, hours: list[str]) -> None:
    """None is left out and none comes twice."""
    assert hours == first("FREQ=HOURLY", "Europe/Berlin", after, 4)


def test_years_are_not_walked() -> None:
    """The phase of an interval stays."""
    third = first("FREQ=DAILY;INTERVAL=3", "UTC", "2030-03-01T00:00", 2, start="00010101T000000")
    assert ["03-03 00:00", "03-06 00:00"] == third
    whole = [one % (7 * 60_000) for one in itertools.islice(_sevens(ms("2024-01-02T00:00")), 50)]
    late = [one % (7 * 60_000) for one in itertools.islice(_sevens(ms("2030-01-02T00:00")), 50)]

    assert set(whole) == set(late)


def _sevens(after: int) -> "itertools.islice[int]":
    rule = f"DTSTART:{START}\nRRULE:FREQ=MINUTELY;INTERVAL=7"
    return itertools.islice(occurrences(rule, "UTC", after), 50)


@pytest.mark.parametrize(
    ("until", "last"),
    [
        ("20260402T090000Z", "04-01 16:00"),
        ("20260402T160000Z", "04-02 16:00"),
        ("20260402T120000", "04-02 16:00"),
        ("20260402T115959", "04-01 16:00"),
        ("20260402", "04-02 16:00"),
    ],
)
def test_until_is_an_instant_a_local_time_or_a_day(until: str, last: str) -> None:
    """Noon in New York; each bound is included."""
    rule = f"FREQ=DAILY;BYHOUR=12;UNTIL={until}"
    assert last == first(rule, "America/New_York", "2026-03-30T00:00", 10)[-1]


def test_a_count_counts_from_the_start() -> None:
    """Also what lies before `after`."""
    assert ["01-03 00:00"] == first("FREQ=DAILY;COUNT=3", "UTC", "2024-01-02T12:00", 5)


def test_once_a_day_in_every_zone() -> None:
    """2024 to 2030, at a time that gaps and folds hit: each day has its moment, and moments rise."""
    days = (datetime(YEARS[-1] + 1, 1, 1, tzinfo=UTC) - datetime(YEARS[0], 1, 1, tzinfo=UTC)).days
    moments = [datetime(YEARS[0], 1, 1, hour) + timedelta(days=day) for day in range(days) for hour in (0, 2, 4)]  # noqa: DTZ001 - faces of clocks
    seen: set[int] = set()
    for name in sorted(zoneinfo.available_timezones()):
        offset = zoneinfo.ZoneInfo(name).utcoffset
        clock = hash(tuple(map(offset, moments)))
        if clock in seen:  # many names have one clock
            continue
        seen.add(clock)
        rule = f"DTSTART:{START}\nRRULE:FREQ=DAILY;BYHOUR=2;BYMINUTE=30"
        found = list(itertools.islice(occurrences(rule, name, ms("2023-12-30T00:00")), days))
        gaps = [later - earlier for earlier, later in itertools.pairwise(found)]
        assert days == len(found), name
        assert all(22 * 3_600_000 <= gap <= 26 * 3_600_000 for gap in gaps), name
        place = zoneinfo.ZoneInfo(name)
        dates = [datetime.fromtimestamp(one / 1000, UTC).astimezone(place).date() for one in found]
        assert [later.toordinal() - earlier.toordinal() for earlier, later in itertools.pairwise(dates)] == [1] * (
            days - 1
        ), name
    assert len(seen) > 50


class TestAttempt:
    """A rule of a stranger, in a child."""

    async def test_a_sound_rule(self) -> None:
        """Its first moments."""
        rule = f"DTSTART:{START}\nRRULE:FREQ=DAILY;COUNT=3"

        assert [ms("2024-01-02T00:00"), ms("2024-01-03T00:00")] == await attempt(rule, "UTC", ms("2024-01-01T12:00"), 9)

    async def test_a_rule_that_spins_is_given_up(self) -> None:
        """After a second of processor time."""
        rule = f"DTSTART:{START}\nRRULE:FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=30"
        with pytest.raises(CannotTell, match="too long"):
            await attempt(rule, "UTC", ms("2024-01-01T12:00"), 1)

    async def test_a_rule_that_is_none(self) -> None:
        """Nothing of what the child says is shown."""
        with pytest.raises(CannotTell, match="cannot be followed"):
            await attempt("nonsense", "UTC", 0, 1)
