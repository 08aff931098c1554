"""Cursors come from outside."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.infra.documents.cursor import read_cursor, write_cursor
from services.infra.documents.port import BadCursor

VALUES = st.lists(st.text() | st.integers(-(1 << 63), (1 << 63) - 1), max_size=4)
SCAN = ("tasks", "due", (1,), False)


@given(VALUES)
def test_a_cursor_brings_its_position_back(position: list[str | int]) -> None:
    """For its own scan."""
    assert position == read_cursor(write_cursor(SCAN, position), SCAN)


@given(VALUES, st.data())
def test_a_changed_cursor_is_refused(position: list[str | int], data: st.DataObject) -> None:
    """Whichever of its characters was changed, cut or added."""
    cursor = write_cursor(SCAN, position)
    place = data.draw(st.integers(0, len(cursor)))
    other = data.draw(st.text("AZaz09-_=+ é", max_size=2))
    changed = cursor[:place] + other + cursor[place + data.draw(st.integers(0, 2)) :]
    if changed == cursor:
        return

    with pytest.raises(BadCursor):
        read_cursor(changed, SCAN)


@given(st.text())
def test_any_text_is_refused(text: str) -> None:
    """It does not raise anything else."""
    with pytest.raises(BadCursor):
        read_cursor(text, SCAN)


@pytest.mark.parametrize(
    "scan", [("tasks", "due", (1,), True), ("tasks", "due", (2,), False), ("notes", "due", (1,), False)]
)
def test_a_cursor_of_another_scan_is_refused(scan: tuple[object, ...]) -> None:
    """It would point somewhere else."""
    with pytest.raises(BadCursor, match="another scan"):
        read_cursor(write_cursor(SCAN, ["a"]), scan)
