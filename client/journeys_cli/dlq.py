"""`journeys dlq`: records that producers wrote to the log and nobody could read."""

from itertools import islice
from typing import Annotated

import typer

from journeys_cli.connection import connect
from journeys_cli.output import Output, OutputOption, show_table
from journeys_cli.text import counted, json_text

SHOWN_CHARACTERS = 60


def register(app: typer.Typer) -> None:
    """Add the family."""
    family = typer.Typer(help="Records that could not be read (dead letters).", rich_markup_mode=None)
    family.command("list")(list_)
    family.command("replay")(replay)
    family.callback()(_family)
    app.add_typer(family, name="dlq")


def list_(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.", metavar="N")] = 100,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show dead letters and why they are there. Needs the server's SYNC_API_KEY."""
    with connect(context, internal=True) as client:
        letters = list(islice(client.internal.dead_letters(page_size=min(limit, 500)), limit))
    if output is Output.JSON:
        print(json_text(letters))
        return
    rows = [
        (
            f"{one['partition']}.{one['offset']}",
            one["at"],
            f"{one['topic']} {one['sourcePartition']}.{one['sourceOffset']}",
            one["key"],
            one["reason"],
            one["value"][:SHOWN_CHARACTERS],
        )
        for one in letters
    ]
    show_table(["letter", "at", "from", "key", "reason", "begins with"], rows)


def replay(
    context: typer.Context,
    letters: Annotated[list[str], typer.Argument(help="As `dlq list` names them: 3.17", metavar="LETTER...")],
) -> None:
    """Append dead letters again where they came from. Needs the server's SYNC_API_KEY.

    An event that was decided meanwhile stays decided: its id says so.
    """
    places = [_place(letter) for letter in letters]
    with connect(context, internal=True) as client:
        for partition, offset in places:
            client.internal.replay_dead_letter(partition=partition, offset=offset)
    print(f"{counted(len(places), 'record')} appended again")


def _place(letter: str) -> tuple[int, int]:
    partition, dot, offset = letter.partition(".")
    if not (dot and partition.isdecimal() and offset.isdecimal()):
        raise typer.BadParameter(f"{letter!r} is no dead letter; `journeys dlq list` names them like 3.17")
    return int(partition), int(offset)


def _family() -> None:
    """Dead letters."""
