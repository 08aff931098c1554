"""The moments that a recurrence rule names, by python-dateutil, and a way to try a stranger's rule without harm.

Law: a rule is walked on the face of a clock, and each face is turned into an instant of the zone by itself. A face
that a gap swallows is read with the offset from before the gap (02:30 is 03:30 summer time); of one that comes
twice the first counts. Hourly and minutely rules follow elapsed time instead: nothing in a gap, both turns of a
fold. An instant comes once, and instants rise.

    DTSTART:20261124T000000
    RRULE:FREQ=DAILY;BYHOUR=9

`python -m services.infra.recurrence RULE ZONE AFTER COUNT` writes the first moments as JSON; it is the child that
`attempt` starts, because some rules spin inside the library for ever.
Source: RFC 5545, 3.3.5 and 3.3.10; PEP 495; libraries 5.
"""

import asyncio
import heapq
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from dateutil.rrule import rrulestr

CPU_SECONDS: Final = 1.0  # what a rule may cost until its first moments are known
PATIENCE_SECONDS: Final = 10.0  # of a machine so busy that the child cannot use its second
AT_ONCE: Final = 2  # children
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TEXT = re.compile(r"DTSTART:([0-9]{8}T[0-9]{6})\nRRULE:(.+)")
_FREQUENT = ("FREQ=HOURLY", "FREQ=MINUTELY", "FREQ=SECONDLY")
_children = asyncio.Semaphore(AT_ONCE)


class CannotTell(Exception):
    """The moments of a rule could not be computed: it takes too long, or is none."""


def occurrences(rule: str, zone: str, after: int) -> Iterator[int]:
    """Every moment of the rule later than `after`, rising; ms since 1970.

    `rule` is two lines, DTSTART (local, in `zone`) and RRULE, both sound. May take for ever to find the next one:
    a rule of a stranger goes through `attempt` first.
    """
    found = _TEXT.fullmatch(rule)
    if found is None:
        raise ValueError("the rule needs a line DTSTART and a line RRULE")
    place = ZoneInfo(zone)
    parts = found[2].split(";")
    until = next((part.removeprefix("UNTIL=") for part in parts if part.startswith("UNTIL=")), None)
    parts = [part for part in parts if not part.startswith("UNTIL=")]
    is_frequent = any(part in _FREQUENT for part in parts)
    start = datetime.strptime(found[1], "%Y%m%dT%H%M%S")  # noqa: DTZ007 - the face of a clock has no zone
    if is_frequent or "FREQ=DAILY" in parts:
        start = _nearer(start, parts, after, place)
    last = None if until is None else _last(until, place)
    faces = iter(rrulestr(";".join(parts), dtstart=start, cache=False))
    known = after
    for instant in _instants(faces, place, is_frequent):
        if last is not None and instant > last:
            return
        if instant > known:
            known = instant
            yield instant


async def attempt(rule: str, zone: str, after: int, count: int) -> list[int]:
    """The first `count` moments after `after`, computed by a child with one second of processor time.

    Raises CannotTell.
    """
    async with _children:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            __name__,
            rule,
            zone,
            str(after),
            str(count),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "PYTHONTZPATH": ""},  # the zones we ship, as in the server itself
        )
        try:
            written, _ = await asyncio.wait_for(child.communicate(), PATIENCE_SECONDS)
        except TimeoutError:
            raise CannotTell("it takes too long") from None
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
    if child.returncode != 0:
        raise CannotTell("it takes too long" if child.returncode == -signal.SIGPROF else "it cannot be followed")
    return [int(instant) for instant in json.loads(written)]


def _nearer(start: datetime, parts: list[str], after: int, place: ZoneInfo) -> datetime:
    """A later start of the same rule of days, hours or minutes, so that years of them need not be walked.

    Whole days later by a multiple of the interval, which an hour's or a minute's steps divide too. A count begins
    where it begins.
    """
    if any(part.startswith("COUNT=") for part in parts):
        return start
    interval = next((int(part.removeprefix("INTERVAL=")) for part in parts if part.startswith("INTERVAL=")), 1)
    now = (_EPOCH + timedelta(milliseconds=after)).astimezone(place).replace(tzinfo=None)
    days = ((now - start).days - 2) // interval * interval
    return start + timedelta(days=days) if days > 0 else start


def _instants(faces: Iterator[datetime], place: ZoneInfo, is_frequent: bool) -> Iterator[int]:
    """Rising, perhaps repeated. A face in a gap, and the second turn of a fold, wait for what lies before them."""
    waiting: list[int] = []
    for face in faces:
        first, again = (_ms_of(face.replace(tzinfo=place, fold=fold)) for fold in (0, 1))
        if first > again:  # in a gap (PEP 495: fold 0 lies after it)
            if not is_frequent:
                heapq.heappush(waiting, first)
            continue
        heapq.heappush(waiting, first)
        if is_frequent and again > first:
            heapq.heappush(waiting, again)
        while waiting and waiting[0] <= first:
            yield heapq.heappop(waiting)
    while waiting:
        yield heapq.heappop(waiting)


def _last(until: str, place: ZoneInfo) -> int:
    """The last moment that UNTIL allows: an instant (`Z`), a local time, or the end of a local day."""
    if until.endswith("Z"):
        return _ms_of(datetime.strptime(until, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC))
    if "T" in until:
        return _ms_of(datetime.strptime(until, "%Y%m%dT%H%M%S").replace(tzinfo=place, fold=1))
    day = datetime.strptime(until, "%Y%m%d").replace(tzinfo=place, fold=1)
    return _ms_of(day.replace(hour=23, minute=59, second=59))


def _ms_of(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _main(rule: str, zone: str, after: str, count: str) -> None:
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)  # its signal ends the process
    found = occurrences(rule, zone, int(after))
    sys.stdout.write(json.dumps([instant for instant, _ in zip(found, range(int(count)), strict=False)]))


if __name__ == "__main__":
    _main(*sys.argv[1:])
