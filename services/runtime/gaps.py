"""What texts print and nobody has: counted, and named where it happened.

Law: a missing value never stops a message. Names of paths are an author's words; what people are is not in them.
Source: issue 6, "Bad input".
"""

from collections.abc import Collection
from typing import Any, Final

from services.infra.telemetry import Telemetry

SHOWN: Final = 20  # names in one line of history


class Gaps:
    """The count of missing values; without telemetry nobody reads it."""

    def __init__(self, telemetry: Telemetry | None = None) -> None:
        self._figure = (telemetry or Telemetry()).counter(
            "runtime_missing_variables", "Paths that texts printed and that held nothing, each once a text went out."
        )

    def count(self, missing: Collection[str]) -> None:
        """Add them to the figure."""
        if missing:
            self._figure.inc(len(missing))

    def told(self, missing: Collection[str]) -> dict[str, Any]:
        """What a line of history says of it; counts them."""
        self.count(missing)
        return {"missing": sorted(missing)[:SHOWN]} if missing else {}
