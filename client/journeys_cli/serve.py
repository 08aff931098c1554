"""`journeys serve`: everything in one process."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

PortOption = Annotated[
    int | None,
    typer.Option("--port", min=0, max=65_535, help="Port of the API. [env: JOURNEYS_HTTP_PORT; default: 8080]"),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Directory of the embedded store. [env: JOURNEYS_DATA_DIR; default: .journeys]"),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(serve)


def serve(
    port: PortOption = None,
    data: DataOption = None,
    memory: Annotated[
        bool, typer.Option("--memory", help="Keep everything in memory; nothing outlives the process.")
    ] = False,
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="URI", help="Document store instead of the embedded one: mongodb://..."),
    ] = None,
    log: Annotated[
        str | None, typer.Option("--log", metavar="URI", help="Event log instead of the embedded one: kafka://...")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--only",
            metavar="PARTS",
            help="Some parts only: authoring,runtime,analytics,gateway. The others are at their configured addresses; "
            "all share --store and --log.",
        ),
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Fill a fresh workspace with a journey and people walking through it.")
    ] = False,
) -> None:
    """Start the server. Stops at SIGTERM or Ctrl-C, with everything accepted kept.

    Without other settings it needs nothing installed beside it: one process, one file.
    """
    if memory and (data is not None or store is not None or log is not None):
        raise typer.BadParameter("does not go together with --data, --store or --log", param_hint="--memory")
    if demo and only is not None:
        raise typer.BadParameter("does not go together with --only", param_hint="--demo")
    if demo:
        # A newcomer shall see the lines to try, not a page of requests above them.
        os.environ.setdefault("JOURNEYS_LOG_LEVEL", "warning")
    from services.all_in_one import serve as serve_all

    raise typer.Exit(
        serve_all(
            port=port,
            data=None if data is None else str(data),
            memory=memory,
            store=store,
            log=log,
            only=only,
            on_ready=_seeding(None if memory else data or _default_data()) if demo else None,
        )
    )


def _default_data() -> Path:
    return Path(os.environ.get("JOURNEYS_DATA_DIR") or ".journeys")


def _seeding(data: Path | None) -> Callable[[str, str | None], None]:
    from journeys_cli.seed import seed_and_tell

    return partial(seed_and_tell, keep_in=data)
