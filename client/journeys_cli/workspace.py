"""`journeys workspace create`: another workspace on a server of one's own."""

from typing import Annotated

import typer

from journeys_cli.connection import connect
from journeys_cli.output import Output, OutputOption, show_object


def register(app: typer.Typer) -> None:
    """Add the family."""
    family = typer.Typer(help="Workspaces.", rich_markup_mode=None)
    family.command("create")(create)
    family.callback()(_family)
    app.add_typer(family, name="workspace")


def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What it is called.", metavar="NAME")],
    owner: Annotated[str, typer.Option("--owner", help="E-mail address of its owner.", metavar="EMAIL")],
    project_key: Annotated[
        str | None, typer.Option("--project-key", help="Its key, else one is made.", metavar="KEY")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a workspace. Needs the server's SYNC_API_KEY; prints its owner's session, once."""
    with connect(context, internal=True) as client:
        made = client.internal.create_workspace(name, owner_email=owner, project_key=project_key)
    members = [("project key", "projectKey"), ("name", "name"), ("owner", "ownerUserId"), ("session", "sessionToken")]
    show_object(made, output, members)


def _family() -> None:
    """Workspaces."""
