"""What a file of events holds, counted while it is read."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from journeys_client.event_lines import EventLine, Kind, Malformed, format_timestamp, parse_timestamp

_DAY = timedelta(days=1)


@dataclass(slots=True)
class Tally:
    """Counts of one file, in the order of its lines.

    `accepted` is everything not malformed, duplicates included. By `id` the first line counts, every further one is a
    duplicate. With `known_people` it also counts what they did. Keeps each id's event: for files that fit into memory.
    """

    known_people: frozenset[str] = frozenset()
    malformed: list[Malformed] = field(default_factory=list)
    accepted: int = 0
    exact_duplicates: int = 0
    other_duplicates: int = 0
    without_id: int = 0
    without_person: int = 0
    types: Counter[str] = field(default_factory=Counter)
    types_of_known: Counter[str] = field(default_factory=Counter)
    people: set[str] = field(default_factory=set)
    out_of_order: int = 0
    late_by_a_day: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None
    _events: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)

    @property
    def lines(self) -> int:
        """Lines that are not blank."""
        return self.accepted + len(self.malformed)

    @property
    def duplicates(self) -> int:
        """Lines whose id was there before."""
        return self.exact_duplicates + self.other_duplicates

    @property
    def by_kind(self) -> dict[Kind, int]:
        """Malformed lines by what is wrong with them, in the order of `Kind`; only what occurs."""
        counts = Counter(line.kind for line in self.malformed)
        return {kind: counts[kind] for kind in Kind if counts[kind]}

    def count(self, line: EventLine | Malformed) -> None:
        """Take in the next line."""
        if isinstance(line, Malformed):
            self.malformed.append(line)
            return
        self.accepted += 1
        event = line.event
        if (known := self._events.get(event.get("id", ""))) is not None and "id" in event:
            self.exact_duplicates += known == event
            self.other_duplicates += known != event
            return
        self._count_first(event)

    def _count_first(self, event: dict[str, Any]) -> None:
        if "id" in event:
            self._events[event["id"]] = event
        else:
            self.without_id += 1
        if "endUserId" in event:
            self.people.add(event["endUserId"])
        else:
            self.without_person += 1
        self.types[event["type"]] += 1
        self.types_of_known[event["type"]] += event.get("endUserId") in self.known_people
        if "timestamp" in event:
            self._count_time(parse_timestamp(event["timestamp"]))

    def _count_time(self, at: datetime) -> None:
        if self.last_at is not None and at < self.last_at:
            late = self.last_at - at >= _DAY
            self.late_by_a_day += late
            self.out_of_order += not late
        self.first_at = at if self.first_at is None else min(self.first_at, at)
        self.last_at = at if self.last_at is None else max(self.last_at, at)

    def as_json(self) -> dict[str, Any]:
        """The counts under the names that `examples/events/*.expected.json` uses."""
        return {
            "lines": self.lines,
            "accepted": self.accepted,
            "malformed": {
                "total": len(self.malformed),
                "byKind": {str(kind): count for kind, count in self.by_kind.items()},
                "lines": [{"line": line.number, "kind": str(line.kind)} for line in self.malformed],
            },
            "duplicates": {
                "total": self.duplicates,
                "exact": self.exact_duplicates,
                "sameIdOtherContent": self.other_duplicates,
            },
            "validUnique": {
                "total": self.accepted - self.duplicates,
                "byType": dict(sorted(self.types.items())),
                "byTypeInPeopleFile": {name: count for name, count in sorted(self.types_of_known.items()) if count},
                "withoutId": self.without_id,
                "withoutEndUserId": self.without_person,
            },
            "order": {"outOfOrderUnderOneDay": self.out_of_order, "lateByOneDayOrMore": self.late_by_a_day},
            "people": {
                "total": len(self.people),
                "inPeopleFile": len(self.people & self.known_people),
                "unknown": len(self.people - self.known_people),
            },
            "firstTimestamp": None if self.first_at is None else format_timestamp(self.first_at),
            "lastTimestamp": None if self.last_at is None else format_timestamp(self.last_at),
        }
