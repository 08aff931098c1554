"""`journeys config check`: would a server start with these settings?"""

import typer

from journeys_cli.outcome import Failed
from journeys_cli.output import Output, OutputOption, show_table
from journeys_cli.text import json_text


def register(app: typer.Typer) -> None:
    """Add the family."""
    family = typer.Typer(help="Settings.", rich_markup_mode=None)
    family.command("check")(check)
    family.callback()(_family)
    app.add_typer(family, name="config")


def check(output: OutputOption = Output.TABLE) -> None:
    """Read the server's settings from the environment and print what is in force; secrets are hidden.

    Exit status 1 names everything that is wrong.
    """
    from services.infra.settings import ServeSettings, SettingsInvalid, effective

    try:
        settings = effective(ServeSettings.load())
    except SettingsInvalid as invalid:
        raise Failed("; ".join(invalid.lines)) from None
    if output is Output.JSON:
        print(json_text(settings))
    else:
        show_table(["VARIABLE", "VALUE"], [[name, _shown(value)] for name, value in sorted(settings.items())])


def _shown(value: object) -> str:
    match value:
        case None | []:
            return "(not set)"
        case list():
            return ", ".join(str(item) for item in value)
        case bool():
            return "1" if value else "0"
        case _:
            return str(value)


def _family() -> None:
    """Settings."""
