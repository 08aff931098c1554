"""The counts by day of one partition, in memory, moved fact by fact and written whole.

Law: the sums are those of the facts they were moved by, never increments of what is stored. A day whose windows have
all closed is summed into one bucket, which changes nothing that is ever read from it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from services.analytics.facts import Fact
from services.analytics.repositories import Day, day_key
from services.analytics.tallies import (
    ARMS,
    EXPOSED,
    ArmGroup,
    Share,
    StartGroup,
    cohort_of,
    day_of,
    first_group_of,
    last_bucket_of,
    matures_at,
    shares_of,
)
from services.domain.times import DAY_MS

Buckets = dict[int, list[int]]


@dataclass(slots=True)
class DaySums:
    """The days of one partition."""

    partition: int
    _days: dict[tuple[str, str, int], Day] = field(default_factory=dict)
    _changed: dict[str, Day] = field(default_factory=dict)
    _newest: int = 0
    _has_new_day: bool = False

    def move(self, old: Fact | None, new: Fact) -> None:
        """Put what `new` adds in the place of what `old` added."""
        # A join keeps what a report does not change, and most reports change nothing of this.
        if old is not None and old.arms is new.arms and old.goals is new.goals and cohort_of(old) == cohort_of(new):
            return
        after = shares_of(new)
        before = shares_of(old) if old is not None and (old.goal is not None or old.arms) else []
        if before == after:
            return
        for share in before:
            if share not in after:
                self._add(new, share, -1)
        for share in after:
            if share not in before:
                self._add(new, share, +1)

    def move_first(self, old: Fact | None, new: Fact) -> None:
        """Let `new` count as the first of its person in the place of `old`."""
        if old is not None:
            self._add_first(old, -1)
        self._add_first(new, +1)

    def sum_up(self, now: int) -> None:
        """Sum days that have matured into one bucket each; what was summed before stays."""
        for day in self._days.values():
            if not day.is_summed and has_matured(day, now):
                summed(day)
                self._changed[day.key] = day

    def changed(self) -> list[Day]:
        """The days to write, each once."""
        changed, self._changed = list(self._changed.values()), {}
        return changed

    def has_new_day(self) -> bool:
        """Whether a later day than ever began since this was asked the last time."""
        is_new, self._has_new_day = self._has_new_day, False
        return is_new

    def all(self) -> list[Day]:
        """Every day."""
        return list(self._days.values())

    def adopt(self, stored: Sequence[Day]) -> None:
        """Take over the stored revisions; days that are stored otherwise than they are here become changed."""
        self._changed = {day.key: day for day in self._days.values()}
        for old in stored:
            day = self._day(old.workspace, old.journey_id, old.day)
            day.revision = old.revision
            if (day.arms, day.starts, day.firsts, day.is_summed) == (old.arms, old.starts, old.firsts, old.is_summed):
                self._changed.pop(day.key, None)
            else:
                self._changed[day.key] = day

    def _add(self, fact: Fact, share: Share, sign: int) -> None:
        number = day_of(share.bucket)
        day = self._day(fact.workspace, fact.journey_id, number)
        self._changed[day.key] = day
        groups = day.arms if share.section == ARMS else day.starts
        buckets = groups.setdefault(share.group, {})
        bucket = last_bucket_of(number) if day.is_summed else share.bucket
        held = buckets.setdefault(bucket, [0, 0])
        held[0] += sign
        held[1] += sign * share.converted
        if not any(held):
            del buckets[bucket]
            if not buckets:
                del groups[share.group]

    def _add_first(self, fact: Fact, sign: int) -> None:
        day = self._day(fact.workspace, fact.journey_id, fact.started_at // DAY_MS)
        self._changed[day.key] = day
        group = first_group_of(fact)
        held = day.firsts.setdefault(group, [0, 0])
        held[0 if cohort_of(fact) == EXPOSED else 1] += sign
        if not any(held):
            del day.firsts[group]

    def _day(self, workspace: str, journey_id: str, number: int) -> Day:
        place = workspace, journey_id, number
        day = self._days.get(place)
        if day is None:
            day = self._days[place] = Day(
                key=day_key(workspace, journey_id, number, self.partition),
                workspace=workspace,
                journey_id=journey_id,
                partition=self.partition,
                day=number,
            )
            if number > self._newest:
                self._newest, self._has_new_day = number, True
        return day


def windows_of(day: Day) -> set[int]:
    """Every window that something of a day is counted under."""
    return {ArmGroup.named(name).window_ms for name in day.arms} | {
        StartGroup.named(name).window_ms for name in day.starts
    }


def has_matured(day: Day, now: int) -> bool:
    """Whether every window of a day has closed."""
    return matures_at(last_bucket_of(day.day), max(windows_of(day), default=0)) <= now


def summed(day: Day) -> None:
    """Make all buckets of a day one."""
    bucket = last_bucket_of(day.day)
    for groups in (day.arms, day.starts):
        for name, buckets in groups.items():
            groups[name] = {bucket: total(buckets.values())}
    day.is_summed = True


def total(counts: Iterable[Sequence[int]]) -> list[int]:
    """Pairs added up."""
    n = s = 0
    for count in counts:
        n += count[0]
        s += count[1]
    return [n, s]
