"""What the demo found out, as tables and as JSON."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from journeys_cli.events import Counts
from journeys_cli.examples import Installed
from journeys_cli.output import show_table
from journeys_cli.text import printable

if TYPE_CHECKING:
    from journeys_client import Client, Tally
    from journeys_client.models import Imported, StepStats

PAGE = 500
STATUSES = ("RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED")

Waiting = dict[str, int]  # people by step


@dataclass(slots=True)
class JourneyReport:
    """One journey: how many of its executions have which status, its counts per step, who waited where."""

    installed: Installed
    statuses: Counter[str] = field(default_factory=Counter)
    steps: "list[StepStats]" = field(default_factory=list)
    goals: int = 0
    waiting_at_last_event: Waiting = field(default_factory=dict)
    waiting_at_end: Waiting = field(default_factory=dict)

    @property
    def is_broken(self) -> bool:
        """Whether it stayed a draft."""
        return self.installed.refused is not None

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        published = self.installed.version is not None
        refused = {"refused": self.installed.refused, "detail": self.installed.detail}
        return {
            "id": self.installed.id,
            "name": self.installed.name,
            "version": self.installed.version,
            **({} if published else refused),
            "executions": {"total": self.statuses.total(), "byStatus": dict(self.statuses)},
            "goalReached": self.goals,
            "steps": {row["stepId"]: {k: v for k, v in row.items() if k != "stepId"} for row in self.steps},
            "waitingAtLastEvent": self.waiting_at_last_event,
            "waitingAtEnd": self.waiting_at_end,
        }


@dataclass(slots=True)
class Report:
    """Everything the demo prints."""

    journeys: list[JourneyReport]
    messages: Counter[tuple[str, str]]  # by channel and status
    events: Path | None = None
    people: Path | None = None
    tally: "Tally | None" = None
    counts: Counts = field(default_factory=Counts)
    imported: "Imported | None" = None
    shift: timedelta = timedelta()
    seconds: float = 0.0
    kept: str | None = None
    session: str | None = None

    def as_json(self) -> dict[str, Any]:
        """For programs. `file` is what the file holds, `server` what the server made of it."""
        by_channel: dict[str, dict[str, int]] = {}
        for (channel, status), count in sorted(self.messages.items()):
            by_channel.setdefault(channel, {})[status] = count
        file = {} if self.tally is None else self.tally.as_json()
        size = {} if self.events is None else {"bytes": self.events.stat().st_size}
        return {
            "events": None if self.events is None else str(self.events),
            "people": None if self.people is None else str(self.people),
            "shiftDays": self.shift.days,
            "file": {**size, **file},
            "server": {
                "accepted": self.counts.accepted,
                "duplicates": self.counts.duplicates,
                "refusedByReason": self.counts.by_reason(),
            },
            "imported": self.imported,
            "journeys": [journey.as_json() for journey in self.journeys],
            "messages": by_channel,
            "seconds": self.seconds,
            **({} if self.kept is None else {"lookAround": self.kept, "session": self.session}),
        }


def waiting_now(client: "Client", journey: Installed) -> Waiting:
    """How many people stand in which step of a journey; empty for a draft."""
    if journey.version is None:
        return {}
    return {row["stepId"]: row["waiting"] for row in client.journeys.step_stats(journey.id) if row["waiting"]}


def gather(client: "Client", installed: list[Installed], waited: dict[str, Waiting]) -> Report:
    """Ask the server for every count. `waited` is who waited where after the last event, by journey id."""
    reports = []
    for journey in installed:
        report = JourneyReport(journey, waiting_at_last_event=waited.get(journey.id, {}))
        if journey.version is not None:
            executions = client.executions.list(journey.id, page_size=PAGE)
            counts = Counter(str(execution["status"]) for execution in executions)
            report.statuses = Counter({status: counts[status] for status in STATUSES if counts[status]})
            report.steps = client.journeys.step_stats(journey.id)
            report.goals = sum(1 for _ in client.journeys.audit(journey.id, action="goal.reached", page_size=PAGE))
            report.waiting_at_end = {row["stepId"]: row["waiting"] for row in report.steps if row["waiting"]}
        reports.append(report)
    messages = Counter((str(m["channel"]), str(m["status"])) for m in client.messages.list(page_size=PAGE))
    return Report(reports, messages)


def print_report(report: Report) -> None:
    """Print the tables."""
    _print_file(report)
    _print_journeys(report)
    _print_messages(report)
    _print_waiting(report)
    print(f"\n{report.seconds:.0f} seconds for {_span(report)}; all times moved by {report.shift.days} days.")
    if report.kept is not None:
        print(f"To look around: {report.kept}\nwith the session {report.session}")


def _print_file(report: Report) -> None:
    counts = report.counts
    rows: list[tuple[str, object]] = [
        ("lines read", counts.lines),
        ("accepted", counts.accepted),
        ("  of these duplicates", counts.duplicates),
        ("refused", len(counts.refused)),
        *((f"  {reason}", count) for reason, count in counts.by_reason().items()),
    ]
    if report.imported is not None:
        rows.append(("people imported", report.imported["created"] + report.imported["updated"]))
        if report.imported["errorCount"]:
            rows.append(("people refused", report.imported["errorCount"]))
    show_table([], rows, title=f"EVENTS  {printable(str(report.events))}")
    if report.tally is not None and report.tally.duplicates != counts.duplicates:
        print(f"The file itself repeats {report.tally.duplicates:,} ids.")


def _print_journeys(report: Report) -> None:
    statuses = [status for status in STATUSES if any(journey.statuses[status] for journey in report.journeys)]
    rows: list[list[object]] = [
        [
            journey.installed.name,
            journey.statuses.total(),
            *(journey.statuses[status] for status in statuses),
            journey.goals,
            "" if journey.installed.version else f"not published: {journey.installed.refused}",
        ]
        for journey in report.journeys
    ]
    print()
    show_table(["JOURNEY", "EXECUTIONS", *statuses, "REACHED GOAL", ""], rows, title="EXECUTIONS")


def _print_messages(report: Report) -> None:
    rows = [[channel, status, count] for (channel, status), count in sorted(report.messages.items())]
    print()
    show_table(["CHANNEL", "STATUS", "MESSAGES"], rows or [["none", "", 0]], title="MESSAGES")


def _print_waiting(report: Report) -> None:
    rows: list[list[object]] = []
    for journey in report.journeys:
        steps = [row["stepId"] for row in journey.steps]
        both = {**journey.waiting_at_last_event, **journey.waiting_at_end}
        for step in sorted(both, key=lambda step: steps.index(step) if step in steps else len(steps)):
            then, now = journey.waiting_at_last_event.get(step, 0), journey.waiting_at_end.get(step, 0)
            rows.append([journey.installed.name, step, then, now])
    print()
    headings = ["JOURNEY", "STEP", "AT THE LAST EVENT", "90 DAYS LATER"]
    show_table(headings, rows or [["nobody", "", 0, 0]], title="WHERE PEOPLE WAIT")


def _span(report: Report) -> str:
    if report.tally is None or report.tally.first_at is None or report.tally.last_at is None:
        return "90 days"
    return f"{(report.tally.last_at - report.tally.first_at).days + 1} days of events and 90 more"
