"""Send rates: when the next send of a journey may begin.

Law: over the rate sends wait, they are never dropped; a turn that was given is kept in the execution, so it
survives us. What is lost at a restart is only how far ahead turns had been given out.
Source: contract 2.2 (sendRate); runtime design 7.
"""

from services.domain.execution.version import Version


class Rates:
    """Gives out turns, one journey after the other at its own rate. `share` is our part of all partitions."""

    def __init__(self, share: float = 1.0) -> None:
        self.share = share
        self._next_at: dict[tuple[str, str], float] = {}

    def turn(self, version: Version, now: int) -> int:
        """The moment (ms) at which one more send of that journey may begin, `now` or later."""
        rate = version.graph.settings.sends_per_second
        if rate is None:
            return now
        key = (version.workspace_id, version.journey_id)
        at = max(float(now), self._next_at.get(key, 0.0))
        self._next_at[key] = at + 1000 / (rate * self.share)
        return int(at)
