"""Repeats are counted, each once, and however many there are, what is kept has a bound."""

import msgspec

from services.domain.execution.repeats import LAST_KEPT, PLACES_KEPT, Repeats, begun, counted


def test_a_repeat_is_counted_with_its_time() -> None:
    assert Repeats(1, (5,), {}) == counted(None, 5)
    assert Repeats(2, (5, 9), {}) == counted(Repeats(1, (5,), {}), 9)


def test_a_record_is_counted_once() -> None:
    """It is read again after a crash; the next one of its queue is another repeat."""
    first = counted(None, 5, ("t:0", 7))

    assert first is not None
    assert counted(first, 5, ("t:0", 7)) is None
    assert counted(first, 4, ("t:0", 6)) is None
    assert Repeats(2, (5, 6), {"t:0": 8}) == counted(first, 6, ("t:0", 8))
    assert Repeats(2, (5, 6), {"t:0": 7, "t:1": 0}) == counted(first, 6, ("t:1", 0))


def test_the_first_under_another_place_is_no_repeat() -> None:
    assert counted(begun(("t:3", 7)), 5, ("t:3", 7)) is None
    assert Repeats(1, (5,), {"t:3": 8}) == counted(begun(("t:3", 7)), 5, ("t:3", 8))


def test_however_often_it_comes_what_is_kept_has_a_bound() -> None:
    """A count, the last times, and the last record of a few partitions."""
    found: Repeats | None = None
    sizes = set()
    for number in range(10_000):
        found = counted(found, 1_700_000_000_000 + number, (f"t:{number % 64}", number)) or found
        if number > 9_000:
            sizes.add(len(msgspec.msgpack.encode(found)))

    assert found is not None
    assert (10_000, LAST_KEPT, PLACES_KEPT) == (found.count, len(found.last), len(found.seen))
    assert max(sizes) < 400
    assert 1_700_000_009_999 == found.last[-1]
