"""`journeys migrate`: collections, indexes and topics, made before the services start."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(migrate)


def migrate(
    store: Annotated[
        str | None, typer.Option("--store", metavar="URI", help="Document store: mongodb://... [env: JOURNEYS_STORE]")
    ] = None,
    log: Annotated[
        str | None, typer.Option("--log", metavar="URI", help="Event log: kafka://... [env: JOURNEYS_LOG]")
    ] = None,
) -> None:
    """Make the collections, indexes, validators and topics that the services need. Repeating it changes nothing."""
    from services.migrate import migrate as migrate_all

    raise typer.Exit(migrate_all(store, log, print))
