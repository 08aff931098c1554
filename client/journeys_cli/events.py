"""`journeys events send`: a file of events into the server."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from journeys_cli.connection import connect
from journeys_cli.outcome import Failed
from journeys_cli.output import Output, OutputOption, progress, show_table
from journeys_cli.text import counted, json_text

if TYPE_CHECKING:
    from journeys_client import BatchOutcome, EventLine, Malformed

SHOWN_LINES = 20

FileArgument = Annotated[
    Path, typer.Argument(help="NDJSON, one JSON object a line; - reads standard input.", metavar="FILE")
]


def register(app: typer.Typer) -> None:
    """Add the family."""
    family = typer.Typer(help="Send events.", rich_markup_mode=None)
    family.command("send")(send)
    family.callback()(_family)
    app.add_typer(family, name="events")


def send(context: typer.Context, file: FileArgument, output: OutputOption = Output.TABLE) -> None:
    """Send a file of events, as they are and in their order.

    Malformed lines are told and passed over. Prints the counts; exit status 1 if a line was refused.
    """
    from journeys_client import read_event_lines

    counts = Counts()
    with opened(file) as (source, size), connect(context) as client, progress("Sending", size) as bar:
        try:
            for outcome in client.events.send(counts.sifted(read_event_lines(source))):
                counts.take(outcome)
                bar.at(source.tell() if size else 0)
        except Exception:
            counts.show(output)
            raise
    counts.show(output)
    if counts.refused:
        raise Failed(f"{counted(len(counts.refused), 'line')} of {counts.lines:,} refused")


@dataclass(slots=True)
class Counts:
    """What became of the lines of a file. `accepted` counts duplicates too."""

    lines: int = 0
    accepted: int = 0
    duplicates: int = 0
    refused: list[tuple[int, str, str]] = field(default_factory=list)  # line, why, in words

    def sifted(self, lines: "Iterator[EventLine | Malformed]") -> "Iterator[EventLine]":
        """The well-formed lines; the others are counted as refused."""
        from journeys_client import Malformed

        for line in lines:
            self.lines += 1
            if isinstance(line, Malformed):
                self.refused.append((line.number, str(line.kind), line.message))
            else:
                yield line

    def take(self, outcome: "BatchOutcome") -> None:
        """Count what the server said of a batch."""
        self.accepted += outcome.accepted
        self.duplicates += outcome.duplicates
        self.refused += [(refused.line, refused.code, refused.message) for refused in outcome.refused]

    def by_reason(self) -> dict[str, int]:
        """How many lines were refused for each reason, the most frequent first."""
        return dict(Counter(reason for _, reason, _ in self.refused).most_common())

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "lines": self.lines,
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "refused": {
                "total": len(self.refused),
                "byReason": self.by_reason(),
                "lines": [{"line": n, "reason": why, "message": text} for n, why, text in sorted(self.refused)],
            },
        }

    def show(self, output: Output) -> None:
        """Print the counts, and the first of the lines that were refused."""
        if output is Output.JSON:
            print(json_text(self.as_json()))
            return
        rows: list[tuple[str, int]] = [
            ("lines read", self.lines),
            ("accepted", self.accepted),
            ("  of these duplicates", self.duplicates),
            ("refused", len(self.refused)),
            *((f"  {reason}", count) for reason, count in self.by_reason().items()),
        ]
        show_table([], rows)
        if self.refused:
            print()
            shown = sorted(self.refused)[:SHOWN_LINES]
            show_table(["line", "reason", "what is wrong"], [(f"{n}", why, text) for n, why, text in shown])
            if len(self.refused) > SHOWN_LINES:
                print(f"and {len(self.refused) - SHOWN_LINES:,} more; --output json lists all")


@contextmanager
def opened(file: Path) -> Iterator[tuple[BinaryIO, int | None]]:
    """A file, or standard input for `-`, with its size where there is one."""
    if str(file) == "-":
        yield typer.get_binary_stream("stdin"), None
        return
    with file.open("rb") as source:
        yield source, file.stat().st_size if file.is_file() else None


def _family() -> None:
    """Send events."""
