"""Walking recorded people through published journeys on the virtual clock, over HTTP."""

import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from journeys_cli.events import Counts
from journeys_cli.timeline import Group

if TYPE_CHECKING:
    from journeys_client import Client

AFTERWARDS = timedelta(days=90)  # after the last event, so that the waits it opened come to their end
_STRIDE = timedelta(days=3)
_LONGEST_MOVE = timedelta(days=3_000)  # the server takes 3,660 days at a time

Watcher = Callable[[datetime], None]


class Clock:
    """The server's development clock, as far as we can know it without asking: it runs on by itself."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._now = self._moved(timedelta())
        self._seen_at = time.monotonic()

    def now(self) -> datetime:
        """What it shows by now."""
        return self._now + timedelta(seconds=time.monotonic() - self._seen_at)

    def move_to(self, moment: datetime) -> None:
        """Bring it to a moment, with everything due on the way done; nothing if it is there already."""
        while (missing := moment - self.now()) > timedelta():
            self._now = self._moved(min(missing, _LONGEST_MOVE))
            self._seen_at = time.monotonic()

    def _moved(self, by: timedelta) -> datetime:
        from journeys_client.event_lines import parse_timestamp

        # In whole seconds, rounded up: an event must not be posted before its own time.
        moved = self._client.dev_clock.advance(f"PT{-(-by // timedelta(seconds=1))}S")
        return parse_timestamp(moved["now"])


def walk(client: "Client", clock: Clock, groups: Iterable[Group], counts: Counts, watch: Watcher) -> None:
    """Post each group once the clock has come to its time. `watch` hears where the clock is."""
    for group in groups:
        if group.at is not None:
            clock.move_to(group.at)
        for outcome in client.events.send(group.lines):
            counts.take(outcome)
        watch(clock.now())


def walk_on(clock: Clock, watch: Watcher) -> None:
    """Let the days after the last event pass."""
    end = clock.now() + AFTERWARDS
    while clock.now() < end:
        clock.move_to(min(clock.now() + _STRIDE, end))
        watch(clock.now())
