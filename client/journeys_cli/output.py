"""What a command prints: a table for people, JSON for programs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from journeys_cli.text import json_text, printable

if TYPE_CHECKING:
    from rich.console import Console


class Output(StrEnum):
    """How to print a result."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How to print the result.")]

Column = tuple[str, str]  # heading, member; a dot leads into an object


def show_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column], output: Output) -> None:
    """Print a list."""
    listed = list(rows)
    if output is Output.JSON:
        print(json_text(listed))
    else:
        show_table([heading for heading, _ in columns], [[_member(row, name) for _, name in columns] for row in listed])


def show_object(value: Mapping[str, Any], output: Output, members: Sequence[Column]) -> None:
    """Print one object, as a table of two columns."""
    if output is Output.JSON:
        print(json_text(value))
    else:
        shown = [(heading, _member(value, name)) for heading, name in members]
        show_table([], [[heading, cell] for heading, cell in shown if cell not in (None, "")])


def show_table(headings: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """Print a table. Numbers stand on the right. Into a pipe it is as wide as its content, and nothing is cut."""
    from rich.table import Table
    from rich.text import Text

    listed = [list(row) for row in rows]
    table = Table(box=None, show_header=bool(headings), pad_edge=False)
    width = max([len(headings), *(len(row) for row in listed)])
    for index in range(width):
        numbers = bool(listed) and all(_is_number(row[index]) for row in listed if index < len(row))
        heading = headings[index] if index < len(headings) else ""
        table.add_column(Text(heading), justify="right" if numbers else "left", overflow="fold")
    for row in listed:
        table.add_row(*(Text(f"{cell:,}" if _is_number(cell) else printable(cell)) for cell in row))
    console = _console()
    with console.capture() as captured:
        if title is not None:  # not the table's own, which is wrapped at the table's width
            console.print(Text(title, style="bold"))
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n")))


@contextmanager
def progress(description: str, total: int | None, unit: str = "bytes") -> Iterator["Bar"]:
    """A progress bar on stderr if that is a terminal, else nothing at all."""
    import sys

    if not sys.stderr.isatty():
        yield Bar()
        return
    from rich import progress as bars
    from rich.console import Console

    amount = bars.DownloadColumn() if unit == "bytes" else bars.MofNCompleteColumn()
    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), amount, bars.TimeRemainingColumn())
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        yield Bar(shown, shown.add_task(description, total=total))


class Bar:
    """A progress bar, or none."""

    def __init__(self, shown: Any = None, task: Any = None) -> None:
        self._shown = shown
        self._task = task

    def at(self, completed: int, description: str | None = None) -> None:
        """Say how far it is."""
        if self._shown is not None:
            self._shown.update(self._task, completed=completed, description=description)


def _console() -> "Console":
    import sys

    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 10_000, highlight=False, soft_wrap=False)


def _is_number(cell: object) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _member(row: Mapping[str, Any], name: str) -> Any:
    value: Any = row
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
