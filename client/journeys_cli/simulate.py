"""`journeys simulate`: a dry run, printed as it went."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from journeys_cli.connection import connect
from journeys_cli.journeys import IdArgument
from journeys_cli.output import Output, OutputOption
from journeys_cli.text import json_text, printable

if TYPE_CHECKING:
    from journeys_client.models import JsonObject


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(simulate)


def simulate(
    context: typer.Context,
    journey_id: IdArgument,
    subject: Annotated[
        str | None, typer.Option("--subject", help="A real person, by end-user id.", metavar="ID")
    ] = None,
    attributes: Annotated[str | None, typer.Option("--attributes", help="A made-up person.", metavar="JSON")] = None,
    version: Annotated[str | None, typer.Option("--version", help="draft, latest, or a number.", metavar="V")] = None,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--override", help="Let one gate pass: opt_out, suppression, frequency_cap, holdout.", metavar="X"
        ),
    ] = None,
    event: Annotated[str | None, typer.Option("--event", help="The event that starts it.", metavar="JSON")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Walk a journey for one person in virtual time; nothing is sent or written.

    This server does not do it yet: it answers not_implemented.
    """
    if (subject is None) == (attributes is None):
        raise typer.BadParameter("give one of the two", param_hint="--subject / --attributes")
    request: JsonObject = {"subjectId": subject} if subject is not None else {}
    if attributes is not None:
        request["subjectAttributes"] = json_object(attributes, "--attributes")
    if version is not None:
        request["version"] = int(version) if version.isdigit() else version
    if override:
        request["overrides"] = override
    if event is not None:
        request["event"] = json_object(event, "--event")
    with connect(context) as client:
        result = client.journeys.simulate(journey_id, request)
    print(json_text(result) if output is Output.JSON else "\n".join(trace_lines(result)))


def trace_lines(result: "JsonObject") -> list[str]:
    """A simulation as lines: one per step, its checks and its message under it."""
    lines = [f"{result.get('outcome')}  {printable(result.get('journeyId'))} version {result.get('version')}"]
    for entry in result.get("trace", []):
        reason = f" ({entry['reason']})" if entry.get("reason") else ""
        lines.append(f"├─ {entry.get('at')}  {printable(entry.get('stepId'))}: {entry.get('decision')}{reason}")
        details = [("passed" if c.get("passed") else "refused", c.get("check")) for c in entry.get("checks", [])]
        details += (entry.get("rendered") or {}).items()
        lines += [f"│    {printable(name)}: {printable(text)}" for name, text in details]
    return lines


def json_object(text: str, option: str) -> Any:
    """The JSON object an option holds. Raises a usage error."""
    import json

    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"is not JSON ({error})", param_hint=option) from None
    if not isinstance(value, dict):
        raise typer.BadParameter("is not a JSON object", param_hint=option)
    return value
