"""When a refused call is worth another attempt.

Law: the answer is a value, so it can be tested without waiting. Only 429 and 503 are repeated: with them the
server says that it did nothing. A connection that broke is not repeated, since nobody knows what was done.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

REPEATABLE = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class Retries:
    """How patient a client is: so many attempts after the first, no pause longer than `longest_pause` seconds."""

    attempts: int = 4
    longest_pause: float = 30.0


def pause_before_retry(status: int, headers: Mapping[str, str], attempt: int, retries: Retries) -> float | None:
    """Seconds to wait before attempt number `attempt + 1`, None to give up.

    `attempt` counts from 0. `Retry-After` in seconds or as a date (RFC 9110, 10.2.3) is honoured; a server that
    asks for more than `longest_pause` is not waited for. Without it: half a second, doubled each time.
    """
    if status not in REPEATABLE or attempt >= retries.attempts:
        return None
    asked = _seconds(headers.get("retry-after"))
    pause = 0.5 * 2**attempt if asked is None else asked
    return pause if pause <= retries.longest_pause else None


def _seconds(retry_after: str | None) -> float | None:
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            moment = parsedate_to_datetime(retry_after)
        except ValueError:
            return None
        seconds = (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else None
