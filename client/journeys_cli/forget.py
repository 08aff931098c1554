"""`journeys forget ID`: remove all that is readable about one person."""

import sys
from typing import Annotated

import typer

from journeys_cli.connection import connect, target_of
from journeys_cli.outcome import USAGE, Failed
from journeys_cli.output import Output, OutputOption, show_object

_MEMBERS = [
    ("receipt", "receiptId"),
    ("forgotten at", "forgottenAt"),
    ("stopped", "stopped"),
    ("executions", "erased.executions"),
    ("messages", "erased.messages"),
    ("in-app", "erased.inApp"),
    ("events", "erased.events"),
    ("profile", "erased.profile"),
    ("audience entries", "erased.audienceEntries"),
    ("audit entries", "erased.auditEntries"),
    ("log keeps until", "retainedUntil"),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("forget")(forget)


def forget(
    context: typer.Context,
    end_user_id: Annotated[str, typer.Argument(help="Whom to forget.", metavar="ID")],
    project_key: Annotated[
        str | None,
        typer.Option("--project-key", help="Of which workspace, else that of the session.", metavar="KEY"),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Stop everything that runs for a person and erase them; it cannot be undone. Needs the server's SYNC_API_KEY."""
    with connect(context, internal=True) as client:
        if project_key is None and not (target_of(context).session or target_of(context).api_key):
            raise Failed("name the workspace by --project-key, or sign in with --session or --api-key", USAGE)
        workspace = project_key or str(client.session.me()["projectKey"])
        if not yes and sys.stdin.isatty():
            typer.confirm(f"Forget {end_user_id} in {workspace}, for ever?", abort=True)
        receipt = client.internal.forget_end_user(project_key=workspace, end_user_id=end_user_id)
    show_object(receipt, output, _MEMBERS)
