"""Caps as counting: what is in the rolling time and in the person's day, and what a refusal rests on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.execution.caps import (
    FrequencyCap,
    Reservation,
    Room,
    daily_room,
    frequency_room,
    respect_caps,
)
from services.domain.times import DAY_MS, HOUR_MS, parse_time

NOW = parse_time("2026-04-30T12:00:00Z")
OWN = "own"
NO_ROOM = "frequency_cap_exceeded"
CHANNELS = ("email", "mobile_push")


def reserved(at: int, name: str = "", channel: str = "email") -> Reservation:
    return Reservation(name or f"send-{at}-{channel}", "execution", channel, at)


@pytest.mark.parametrize(
    ("ages", "reason"),
    [
        ((), None),
        ((0,), None),
        ((0, 1), NO_ROOM),
        ((0, DAY_MS - 1), NO_ROOM),
        ((0, DAY_MS), None),  # exactly one day ago has left
        ((DAY_MS, DAY_MS + 1, 3 * DAY_MS), None),
        ((0, -HOUR_MS), NO_ROOM),  # decided before us, as of a later time
        ((0, -DAY_MS), None),
        ((0, 1, 2, 3), NO_ROOM),
    ],
)
def test_a_rolling_time_holds_so_many(ages: tuple[int, ...], reason: str | None) -> None:
    """Two in a day: the third waits until one of them is a day old."""
    held = [reserved(NOW - age) for age in ages]

    assert reason == frequency_room([FrequencyCap(2, DAY_MS)], held, NOW, "email", OWN).reason


def test_a_send_does_not_count_itself() -> None:
    """Planned again after a crash, it finds its own reservation and passes as it did before."""
    held = [reserved(NOW, OWN), reserved(NOW, "other")]

    assert frequency_room([FrequencyCap(2, DAY_MS)], held, NOW, "email", OWN).reason is None
    assert daily_room(2, held, NOW, "UTC", OWN).reason is None


@pytest.mark.parametrize(
    ("cap_channel", "channel", "reason"),
    [
        (None, "email", NO_ROOM),
        (None, "in_app_push", NO_ROOM),
        ("email", "email", None),
        ("email", "mobile_push", None),
        ("mobile_push", "mobile_push", None),
        ("in_app_push", "email", None),
    ],
)
def test_a_cap_is_for_its_channel_or_for_all(cap_channel: str | None, channel: str, reason: str | None) -> None:
    """One mail and one push: two together, one in either channel."""
    held = [reserved(NOW, "a", "email"), reserved(NOW, "b", "mobile_push")]

    assert reason == frequency_room([FrequencyCap(2, DAY_MS, cap_channel)], held, NOW, channel, OWN).reason


def test_in_question_is_what_fills_the_full_caps() -> None:
    """Each once, those of caps with room not at all: only what can turn the refusal has to be proven."""
    recent, push, old = reserved(NOW - 1, "r"), reserved(NOW - 2, "p", "mobile_push"), reserved(NOW - 2 * DAY_MS, "o")
    caps = [FrequencyCap(1, DAY_MS, "email"), FrequencyCap(2, DAY_MS), FrequencyCap(4, 30 * DAY_MS)]

    room = frequency_room(caps, [recent, push, old, reserved(NOW, OWN)], NOW, "email", OWN)

    assert (recent, push) == room.in_question
    assert [1, 2, 3] == [count["counted"] for count in room.counts]
    assert () == frequency_room(caps[2:], [recent, push, old], NOW, "email", OWN).in_question


def test_the_dead_leave_room() -> None:
    """What the engine proves dead it leaves out, and counts again."""
    held = [reserved(NOW - 1, "dead"), reserved(NOW - 2, "alive")]
    caps = [FrequencyCap(2, DAY_MS)]

    refused = frequency_room(caps, held, NOW, "email", OWN)
    again = frequency_room(caps, [one for one in held if one.send_id != "dead"], NOW, "email", OWN)

    assert {"dead", "alive"} == {one.send_id for one in refused.in_question}
    assert again.reason is None


def test_a_cap_of_none_at_all_leaves_nothing_to_prove() -> None:
    """Zero refuses always, and says that no proof can help."""
    assert (NO_ROOM, ()) == _told(frequency_room([FrequencyCap(0, DAY_MS)], [], NOW, "email", OWN))
    assert ("daily_cap_exceeded", ()) == _told(daily_room(0, [], NOW, "UTC", OWN))


def test_no_caps_no_questions() -> None:
    """Null until set."""
    assert Room(None, (), ()) == frequency_room([], [reserved(NOW)], NOW, "email", OWN)
    assert Room(None, (), ()) == daily_room(None, [reserved(NOW)], NOW, "UTC", OWN)


@pytest.mark.parametrize(
    ("sent_at", "now", "zone", "counted"),
    [
        ("2026-04-30T00:00:00Z", "2026-04-30T23:59:59.999Z", "UTC", 1),
        ("2026-04-29T23:59:59.999Z", "2026-04-30T00:00:00Z", "UTC", 0),
        # 23:30 and 00:30 in Tokyo are one UTC day and two of the person's.
        ("2026-04-30T14:30:00Z", "2026-04-30T15:30:00Z", "Asia/Tokyo", 0),
        ("2026-04-29T15:30:00Z", "2026-04-30T14:30:00Z", "Asia/Tokyo", 1),
        # The day of 25 hours: both 02:30, and both of its ends.
        ("2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "Europe/Berlin", 1),
        ("2026-10-24T22:00:00Z", "2026-10-25T22:59:59.999Z", "Europe/Berlin", 1),
        ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", "Europe/Berlin", 0),
        # The day of 23 hours.
        ("2026-03-28T23:00:00Z", "2026-03-29T21:59:59.999Z", "Europe/Berlin", 1),
        ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", "Europe/Berlin", 0),
        # As of a later time of the same day, and of the next.
        ("2026-04-30T18:00:00Z", "2026-04-30T12:00:00Z", "UTC", 1),
        ("2026-05-01T00:00:00Z", "2026-04-30T23:00:00Z", "UTC", 0),
    ],
)
def test_the_day_is_the_persons(sent_at: str, now: str, zone: str, counted: int) -> None:
    """The calendar day in the person's zone, over all channels, however long it is."""
    held = [reserved(parse_time(sent_at), channel="mobile_push")]

    room = daily_room(1, held, parse_time(now), zone, OWN)

    assert ("daily_cap_exceeded" if counted else None) == room.reason
    assert tuple(held[:counted]) == room.in_question
    assert counted == room.counts[0]["counted"]


def test_the_frequency_caps_speak_first() -> None:
    """Both full: the reason is the frequency cap's, and both are listed with what they counted."""
    held = [reserved(NOW)]
    check = respect_caps(
        "email",
        frequency_room([FrequencyCap(1, DAY_MS, "email")], held, NOW, "email", OWN),
        daily_room(1, held, NOW, "UTC", OWN),
    )

    assert {
        "check": "frequency_cap",
        "passed": False,
        "reason": "frequency_cap_exceeded",
        "inputs": {
            "channel": "email",
            "caps": [
                {"cap": "frequency", "channel": "email", "max": 1, "perMs": DAY_MS, "counted": 1},
                {"cap": "daily", "max": 1, "date": "2026-04-30", "counted": 1},
            ],
        },
    } == check


def test_the_daily_cap_speaks_where_the_others_have_room() -> None:
    """The other reason of the same check; with room everywhere it passes and lists what it counted."""
    held = [reserved(NOW)]
    frequency = frequency_room([FrequencyCap(9, DAY_MS)], held, NOW, "email", OWN)

    full, free = (respect_caps("email", frequency, daily_room(cap, held, NOW, "UTC", OWN)) for cap in (1, 2))

    assert "daily_cap_exceeded" == full["reason"]
    assert free["passed"]
    assert "reason" not in free
    assert [1, 1] == [cap["counted"] for cap in free["inputs"]["caps"]]


def _told(room: Room) -> tuple[str | None, tuple[Reservation, ...]]:
    return room.reason, room.in_question


@given(
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from(CHANNELS)), max_size=40),
    st.integers(1, 4),
    st.integers(1, 20),
    st.sampled_from([None, *CHANNELS]),
)
def test_no_window_ever_holds_more(wishes: list[tuple[int, str]], most: int, per: int, cap_channel: str | None) -> None:
    """In whatever order sends are decided, no half-open rolling window holds more than the cap."""
    cap, held = FrequencyCap(most, per, cap_channel), list[Reservation]()
    for i, (at, channel) in enumerate(wishes):
        if frequency_room([cap], held, at, channel, f"s{i}").reason is None:
            held.append(reserved(at, f"s{i}", channel))

    counted = [one.at for one in held if cap_channel in (None, one.channel)]
    assert all(sum(first <= at < first + per for at in counted) <= most for first in range(-20, 61))


@given(st.lists(st.integers(0, 60), max_size=40), st.integers(1, 4), st.integers(1, 20))
def test_in_order_a_cap_refuses_no_more_than_it_must(times: list[int], most: int, per: int) -> None:
    """Decided in the order of time, a send is refused only if its own window is full."""
    held = list[Reservation]()
    for i, at in enumerate(sorted(times)):
        room = frequency_room([FrequencyCap(most, per)], held, at, "email", f"s{i}")
        assert (sum(at - per < one.at <= at for one in held) >= most) is (room.reason is not None)
        if room.reason is None:
            held.append(reserved(at, f"s{i}"))


def test_a_thousand_at_once_share_three_places() -> None:
    """Exactly three of them pass, whoever asks first."""
    held = list[Reservation]()
    for i in range(1_000):
        if frequency_room([FrequencyCap(3, DAY_MS)], held, NOW, "email", f"s{i}").reason is None:
            held.append(reserved(NOW, f"s{i}"))

    assert ["s0", "s1", "s2"] == [one.send_id for one in held]
