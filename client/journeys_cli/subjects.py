"""`journeys subjects import`: a file of people into the server."""

from collections.abc import Iterator
from typing import Annotated, BinaryIO

import typer

from journeys_cli.connection import connect
from journeys_cli.events import SHOWN_LINES, FileArgument, opened
from journeys_cli.outcome import Failed
from journeys_cli.output import Bar, Output, OutputOption, progress, show_table
from journeys_cli.text import counted, json_text

CHUNK_BYTES = 64 * 1024


def register(app: typer.Typer) -> None:
    """Add the family."""
    family = typer.Typer(help="People.", rich_markup_mode=None)
    family.command("import")(import_)
    family.callback()(_family)
    app.add_typer(family, name="subjects")


def import_(
    context: typer.Context,
    file: FileArgument,
    csv: Annotated[bool, typer.Option("--csv", help="Read it as CSV, whatever its name.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Import people from NDJSON, or from CSV if the name ends in .csv.

    Endpoints as Amazon Pinpoint exports them are people too. A person who is known is replaced. Prints the counts; exit status 1 if a line was refused.
    """
    from journeys_client.subjects import CSV, NDJSON

    kind = CSV if csv or file.suffix.lower() == ".csv" else NDJSON
    with opened(file) as (source, size), connect(context) as client, progress("Importing", size) as bar:
        imported = client.subjects.import_(chunks(source, bar), content_type=kind)
    if output is Output.JSON:
        print(json_text(imported))
    else:
        names = [("lines read", "received"), ("created", "created"), ("updated", "updated"), ("refused", "errorCount")]
        counts = dict(imported)
        show_table([], [(shown, counts[name]) for shown, name in names])
        if imported["errors"]:
            print()
            errors = imported["errors"][:SHOWN_LINES]
            show_table(["line", "reason", "what is wrong"], [(f"{e['line']}", e["code"], e["message"]) for e in errors])
            if imported["errorCount"] > SHOWN_LINES:
                print(f"and {imported['errorCount'] - SHOWN_LINES:,} more; --output json lists the first thousand")
    if imported["errorCount"]:
        raise Failed(f"{counted(imported['errorCount'], 'line')} refused")


def chunks(source: BinaryIO, bar: Bar) -> Iterator[bytes]:
    """A file in pieces, telling the bar how far it is."""
    done = 0
    while piece := source.read(CHUNK_BYTES):
        done += len(piece)
        bar.at(done)
        yield piece


def _family() -> None:
    """People."""
