"""When a call that failed is made again, as a value.

Law: the same attempts, times and key give the same answer; whoever calls asks here and invents no pause of its own.
Moments and lengths are milliseconds. `attempts` counts the calls made so far, the failed one included.
Source: contract 2.1 (webhook) and 3 (Senders).
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from services.domain.ids import uniform
from services.domain.times import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

SEND_PAUSES: Final = (1 * MINUTE_MS, 5 * MINUTE_MS, 30 * MINUTE_MS, 2 * HOUR_MS)  # the last for ever
SEND_FOR: Final = DAY_MS
CALL_PAUSE: Final = SECOND_MS
CALL_FACTOR: Final = 4
CALL_JITTER: Final = 0.2
LONGEST_PAUSE: Final = HOUR_MS  # of backoff, and of what a Retry-After may ask
_EARLY_OR_BUSY: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Again at that moment."""

    at: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Not again."""

    reason: str


class Verdict(Enum):
    """What an HTTP status says about the request."""

    ACCEPTED = "accepted"
    TEMPORARY = "temporary"
    REFUSED = "refused"


def verdict_of(status: int) -> Verdict:
    """2xx: done. 408, 425, 429 and 5xx: worth a repeat. Everything else, redirects too: refused for good."""
    if 200 <= status < 300:
        return Verdict.ACCEPTED
    if status in _EARLY_OR_BUSY or 500 <= status < 600:
        return Verdict.TEMPORARY
    return Verdict.REFUSED


def retry_schedule(attempts: int, first_at: int, now: int, retry_after: int | None = None) -> RetryAt | GiveUp:
    """When a send that was refused for now is tried again: after 1, 5, 30 minutes, then every 2 hours, for a day.

    `attempts` >= 1; the day counts from `first_at`; a provider may ask for a longer pause, up to an hour.
    """
    pause = SEND_PAUSES[min(attempts, len(SEND_PAUSES)) - 1]
    at = now + max(pause, _asked(retry_after))
    if at > first_at + SEND_FOR:
        return GiveUp("refused for a day")
    return RetryAt(at)


def call_schedule(attempts: int, retries: int, key: str, now: int, retry_after: int | None = None) -> RetryAt | GiveUp:
    """When a webhook is called again: after 1, 4, 16, ... seconds, at most an hour, each +-20 % by a hash of the key.

    `attempts` >= 1, `retries` >= 0. What a `Retry-After` asks is waited for, up to an hour, and never shortened.
    """
    if attempts > retries:
        return GiveUp("no retries left")
    pause = min(CALL_PAUSE * CALL_FACTOR ** min(attempts - 1, 16), LONGEST_PAUSE)
    jitter = 1 + CALL_JITTER * (2 * uniform("pex.retry.v1", key, str(attempts)) - 1)
    return RetryAt(now + max(round(pause * jitter), _asked(retry_after)))


def _asked(retry_after: int | None) -> int:
    return min(max(retry_after or 0, 0), LONGEST_PAUSE)
