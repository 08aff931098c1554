"""Has this person had enough messages?

Law: what counts is reserved sends, not sent ones, so that two executions planned one after another on one ledger
see each other. A send never counts itself, or a plan made again would refuse what it had granted. Counting proves
nothing: before a refusal stands, the engine shows which of the reservations in question are dead and counts again.
Source: contract 3 (Caps) and 5 (Eligibility); runtime design 7, "Caps without a transaction".
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.domain.times import DAY_MS, local_date

MAX_PER_MS = 30 * DAY_MS  # the longest `per`


@dataclass(frozen=True, slots=True)
class Reservation:
    """A place under the caps, taken for one send. `at` is the moment of the decision that took it."""

    send_id: str
    execution_key: str
    channel: str
    at: int


@dataclass(frozen=True, slots=True)
class FrequencyCap:
    """At most `max` sends in any `per_ms` (at most 30 days), over one channel or, with None, over all together."""

    max: int
    per_ms: int
    channel: str | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """Whether one more send fits: `reason` is None where it does.

    `in_question` are the reservations that fill the caps that are full: if any of them is dead, count again without
    it. Empty where there is room, and where the cap is 0, which no proof can change. `counts` has one line a cap.
    """

    reason: str | None
    in_question: tuple[Reservation, ...]
    counts: tuple[Mapping[str, Any], ...]


def frequency_room(
    caps: Iterable[FrequencyCap], reservations: Sequence[Reservation], now: int, channel: str, own_send_id: str
) -> Room:
    """Whether a send over `channel` at `now` fits under every frequency cap; reason `frequency_cap_exceeded`.

    A reservation counts as long as it is less than `per` away from `now`, and no longer at exactly `per`. Those after
    `now` count as well: an execution that comes late decides as of an earlier time than others already have.
    So no rolling time ever holds more than `max`, in whatever order the sends are decided.
    """
    counts: list[Mapping[str, Any]] = []
    in_question: dict[Reservation, None] = {}  # a set that keeps the order
    is_full = False
    for cap in caps:
        if cap.channel is not None and cap.channel != channel:
            continue
        counted = [
            one
            for one in reservations
            if abs(one.at - now) < cap.per_ms
            and one.send_id != own_send_id
            and (cap.channel is None or cap.channel == one.channel)
        ]
        counts.append(
            {"cap": "frequency", "channel": cap.channel, "max": cap.max, "perMs": cap.per_ms, "counted": len(counted)}
        )
        if len(counted) >= cap.max:
            is_full = True
            in_question |= dict.fromkeys(counted)
    return Room("frequency_cap_exceeded" if is_full else None, tuple(in_question), tuple(counts))


def daily_room(cap: int | None, reservations: Sequence[Reservation], now: int, zone: str, own_send_id: str) -> Room:
    """Whether a send at `now` fits under the daily cap, over all channels; reason `daily_cap_exceeded`.

    The day is the calendar day that the person's zone shows at `now`, 23 or 25 hours long where the clocks change;
    after a move to another zone, earlier sends fall on the days of the new one. None: no cap.
    """
    if cap is None:
        return Room(None, (), ())
    today = local_date(now, zone)
    counted = tuple(
        one
        for one in reservations
        # No day is two days long, and a zone costs more than a subtraction.
        if abs(one.at - now) < 2 * DAY_MS and one.send_id != own_send_id and local_date(one.at, zone) == today
    )
    counts = ({"cap": "daily", "max": cap, "date": today.isoformat(), "counted": len(counted)},)
    return Room("daily_cap_exceeded", counted, counts) if len(counted) >= cap else Room(None, (), counts)


def respect_caps(channel: str, frequency: Room, daily: Room) -> Mapping[str, Any]:
    """No more messages than the workspace allows; the frequency caps speak before the daily cap."""
    reason = frequency.reason or daily.reason
    inputs = {"channel": channel, "caps": [*frequency.counts, *daily.counts]}
    if reason is None:
        return {"check": "frequency_cap", "passed": True, "inputs": inputs}
    return {"check": "frequency_cap", "passed": False, "reason": reason, "inputs": inputs}
