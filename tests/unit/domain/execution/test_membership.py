"""Who became a member, and when time alone can change it."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.domain.execution.execution import Occasion
from services.domain.execution.membership import (
    Standing,
    entries_in,
    entry_id,
    next_change,
    standing_after,
    windows_of,
)
from services.domain.journey.model import EventFired, InSegment, Not, Or, Predicate
from services.domain.journey.predicate import Audience, Facts, PastEvent, compile_predicate
from services.domain.journey.reading_predicate import read_predicate
from services.domain.times import DAY_MS

NOW = 100 * DAY_MS


def seen(event_id: str, at: int = NOW, source: str = "audience_entry") -> Occasion:
    """What started an execution."""
    return Occasion(event_id=event_id, type="t", data={}, at=at, received_at=at, source=source)


def facts(now: int, events: list[PastEvent], **more: Any) -> Facts:
    """What is known of a person."""
    return Facts(now=now, events=lambda name: [one for one in events if one.type == name], **more)


class TestStanding:
    """What changes, and whether somebody enters."""

    def test_becoming_a_member_is_an_entry(self) -> None:
        """With the next number."""
        assert (Standing(True, 1), 1) == standing_after(Standing(), True, None, NOW)
        assert (Standing(True, 5), 5) == standing_after(Standing(False, 4), True, None, NOW)

    def test_staying_is_none(self) -> None:
        """Nor is leaving."""
        assert (Standing(True, 1), None) == standing_after(Standing(True, 1), True, None, NOW)
        assert (Standing(False, 1), None) == standing_after(Standing(True, 1), False, None, NOW)

    def test_noting_members_starts_nobody(self) -> None:
        """They have not entered."""
        assert (Standing(True, 0), None) == standing_after(Standing(), True, None, NOW, is_recording=True)

    def test_an_entry_that_a_crash_left_uncounted_is_counted(self) -> None:
        """They had become a member, whether they still are or not."""
        assert (Standing(True, 1), None) == standing_after(Standing(), True, None, NOW, entered=1)
        assert (Standing(False, 1), None) == standing_after(Standing(), False, None, NOW, entered=1)

    def test_an_earlier_alarm_stays_until_it_rings(self) -> None:
        """So that not every event costs a write."""
        early = Standing(True, 1, NOW + 5)

        assert early == standing_after(early, True, NOW + 9, NOW)[0]
        assert NOW + 3 == standing_after(early, True, NOW + 3, NOW)[0].due_at
        assert NOW + 9 == standing_after(early, True, NOW + 9, NOW + 5)[0].due_at
        assert standing_after(early, True, None, NOW + 5)[0].due_at is None


def test_entries_are_counted_by_their_names() -> None:
    """Those of other origin, whatever they are called, are none."""
    occasions = [seen("audience_entry-2", NOW + 1), seen("audience_entry-1"), seen("x-9"), seen("audience_entry-x")]

    assert (2, NOW + 1) == entries_in([*occasions, seen("audience_entry-7", source="manual")])
    assert (0, 0) == entries_in([])
    assert "audience_entry-3" == entry_id(3)


def test_windows_of_audiences_inside_count() -> None:
    """Each once, circles too; windows since a start are none."""
    audiences = {
        "a": Audience(Or((InSegment("b"), EventFired("x", 2)))),
        "b": Audience(Or((InSegment("a"), EventFired("y", 0.5, 3), EventFired("z", None)))),
    }

    found = {(one.event_name, one.length_ms, one.at_least) for one in windows_of("a", audiences.get)}
    assert {("x", 2 * DAY_MS, 1), ("y", DAY_MS // 2, 3)} == found


def test_only_events_that_count_are_waited_for() -> None:
    """`where` chooses among them."""
    where = {"kind": "event_attribute", "fieldPath": "plan", "operator": "equals", "value": "pro"}
    leaf = {"kind": "event_fired", "eventName": "x", "window": {"type": "last_n_days", "days": 1}, "where": where}
    predicate, faults = read_predicate(leaf, "")
    assert not faults
    windows = windows_of("a", {"a": Audience(predicate)}.get)
    events = [PastEvent("1", "x", NOW, {"plan": "free"}), PastEvent("2", "x", NOW - 5, {"plan": "pro"})]

    assert NOW - 5 + DAY_MS + 1 == next_change(windows, facts(NOW, events))
    assert next_change(windows, facts(NOW, events[:1])) is None


LEAVES = st.builds(
    EventFired,
    st.sampled_from(["x", "y"]),
    st.sampled_from([0.5, 1, 3]),
    st.integers(1, 3),
    negated=st.booleans(),
)
PREDICATES = st.recursive(
    LEAVES, lambda inner: st.builds(Not, inner) | st.builds(Or, st.tuples(inner, inner)), max_leaves=5
)
EVENTS = st.lists(
    st.builds(PastEvent, st.uuids().map(str), st.sampled_from(["x", "y"]), st.integers(NOW - 4 * DAY_MS, NOW)),
    max_size=8,
)


@given(PREDICATES, EVENTS)
def test_nothing_changes_before_the_moment_that_is_named(predicate: Predicate, events: list[PastEvent]) -> None:
    """Followed from moment to moment until nothing is left to change, it never changes in between."""
    holds = compile_predicate(predicate)
    windows = windows_of("a", {"a": Audience(predicate)}.get)
    changes = {one.at + length + 1 for one in events for length in (DAY_MS // 2, DAY_MS, 3 * DAY_MS)}
    now = NOW
    for _ in range(40):
        following = next_change(windows, facts(now, events))
        between = [moment for moment in changes if now < moment and (following is None or moment < following)]
        assert {holds(facts(now, events))} == {holds(facts(moment, events)) for moment in [now, *between]}
        if following is None:
            return
        assert following > now
        now = following
    raise AssertionError("it never ends")
