"""When a schedule fires, and what is made of moments that nobody saw come."""

from collections.abc import Iterator

import pytest

from services.domain.execution.occurrences import (
    CATCH_UP_MS,
    Come,
    Schedule,
    come,
    instant_of,
    next_at,
    occurrence_id,
    schedule_of,
    trial_of,
    zone_of_schedule,
)
from services.domain.journey.model import Settings, Trigger
from services.domain.times import DAY_MS, HOUR_MS, parse_time

NOON = parse_time("2026-04-30T12:00:00Z")
MIDNIGHT = parse_time("2026-04-30T00:00:00Z")


def daily(rule: str, zone: str, after: int) -> Iterator[int]:
    """Every midnight, whatever is asked."""
    moment = MIDNIGHT
    while True:
        if moment > after:
            yield moment
        moment += DAY_MS


def never(rule: str, zone: str, after: int) -> Iterator[int]:
    """No moment at all."""
    return iter(())


def trigger(**more: object) -> Trigger:
    """A trigger by schedule."""
    return Trigger("t", "schedule", "x", **more)  # type: ignore[arg-type]


def test_the_nearest_zone_counts() -> None:
    """The trigger's, the journey's, the workspace's; UTC where none is known."""
    berlin, tokyo = trigger(timezone="Europe/Berlin"), Settings(timezone="Asia/Tokyo")

    assert "Europe/Berlin" == zone_of_schedule(berlin, tokyo, "America/New_York")
    assert "Asia/Tokyo" == zone_of_schedule(trigger(), tokyo, "America/New_York")
    assert "America/New_York" == zone_of_schedule(trigger(), Settings(), "America/New_York")
    assert "UTC" == zone_of_schedule(trigger(), Settings(), "Mars/Olympus")


@pytest.mark.parametrize(
    ("face", "instant"),
    [
        ("2026-03-29T01:59:00Z", "2026-03-29T00:59:00Z"),
        ("2026-03-29T02:30:00Z", "2026-03-29T01:30:00Z"),  # in the gap: what would have been 02:30 is 03:30
        ("2026-03-29T03:00:00Z", "2026-03-29T01:00:00Z"),
        ("2026-10-25T02:30:00Z", "2026-10-25T00:30:00Z"),  # twice: the first
        ("2026-10-25T03:00:00Z", "2026-10-25T02:00:00Z"),
    ],
)
def test_local_time_around_a_change_of_clocks(face: str, instant: str) -> None:
    """As RFC 5545 reads it."""
    assert parse_time(instant) == instant_of(parse_time(face), "Europe/Berlin")


def test_a_rule_counts_from_the_midnight_before_it_was_published() -> None:
    """Of its own zone; its author's start goes before."""
    rule = schedule_of(trigger(rrule="FREQ=DAILY"), "Pacific/Kiritimati", NOON, daily).rule
    own = schedule_of(trigger(rrule="DTSTART:20260101T090000\nFREQ=DAILY"), "UTC", NOON, daily).rule

    assert "DTSTART:20260501T000000\nRRULE:FREQ=DAILY" == rule
    assert "DTSTART:20260101T090000\nRRULE:FREQ=DAILY" == own


def test_a_count_begins_with_the_first_moment_to_come() -> None:
    """And is not spent where there is none."""
    counted = trigger(rrule="FREQ=DAILY;COUNT=2")

    assert "DTSTART:20260501T000000\nRRULE:FREQ=DAILY;COUNT=2" == schedule_of(counted, "UTC", NOON, daily).rule
    assert Schedule("UTC") == schedule_of(counted, "UTC", NOON, never)
    assert "DTSTART:20260430T000000\nRRULE:FREQ=DAILY" == trial_of(counted, "UTC", NOON)


def test_one_moment_comes_once() -> None:
    """Afterwards there is none."""
    schedule = schedule_of(trigger(local_at=parse_time("2026-05-01T09:00:00Z")), "Asia/Tokyo", NOON, never)
    at = parse_time("2026-05-01T00:00:00Z")

    assert at == schedule.at
    assert at == next_at(schedule, NOON, never)
    assert next_at(schedule, at, never) is None
    assert Come(at, (), None) == come(schedule, at, at, never)
    assert trial_of(trigger(at=at), "UTC", NOON) is None


class TestWhatHasCome:
    """A daily schedule whose next moment was midnight."""

    rule = Schedule("UTC", rule="every midnight")

    def test_in_time(self) -> None:
        """It is made, and the next one waited for."""
        assert Come(MIDNIGHT, (), MIDNIGHT + DAY_MS) == come(self.rule, MIDNIGHT, MIDNIGHT, daily)

    def test_late(self) -> None:
        """Of several the last is made."""
        now = MIDNIGHT + 2 * DAY_MS + CATCH_UP_MS
        passed = (MIDNIGHT, MIDNIGHT + DAY_MS)

        assert Come(MIDNIGHT + 2 * DAY_MS, passed, MIDNIGHT + 3 * DAY_MS) == come(self.rule, MIDNIGHT, now, daily)

    def test_too_late(self) -> None:
        """A millisecond more, and none is."""
        now = MIDNIGHT + CATCH_UP_MS + 1

        assert Come(None, (MIDNIGHT,), MIDNIGHT + DAY_MS) == come(self.rule, MIDNIGHT, now, daily)

    def test_while_paused(self) -> None:
        """None is, however punctual."""
        found = come(self.rule, MIDNIGHT, MIDNIGHT, daily, is_open=False)

        assert Come(None, (MIDNIGHT,), MIDNIGHT + DAY_MS) == found


def test_an_occurrence_has_one_name() -> None:
    """To the millisecond."""
    assert "schedule-20260430T120000.000Z" == occurrence_id(NOON)
    assert occurrence_id(NOON) != occurrence_id(NOON + 1) != occurrence_id(NOON + HOUR_MS)
