"""A test of real servers that hangs says where, and the next one begins.

Every wait in these tests has an end of its own; this is for what nobody thought of. `local.py run` ends the whole run.
"""

import os
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

# Many times what the slowest takes on a quiet machine; with the whole of every file, as long as it takes.
SECONDS = 2400 if os.environ.get("JOURNEYS_WHOLE") else 600


class TookTooLong(BaseException):
    """Not an Exception: no loop of the test or the product shall take it for something to be tried again."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Set up, call and tear down within a while. Pytest asks every conftest about every test."""
    if item.get_closest_marker("integration") is None:
        return (yield)

    def end(number: int, frame: FrameType | None) -> None:
        raise TookTooLong(f"{item.nodeid} was not done within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(SECONDS)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
