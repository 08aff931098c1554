"""`journeys simulate`: a dry run as a tree; `journeys test`: dry runs that must go as a file says."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from journeys_cli.connection import connect
from journeys_cli.fixtures import Verdict, differences, junit, read_fixture
from journeys_cli.journeys import IdArgument
from journeys_cli.outcome import Failed
from journeys_cli.output import Output, OutputOption
from journeys_cli.text import counted, json_text, printable

if TYPE_CHECKING:
    from journeys_client import Client
    from journeys_client.models import JsonObject


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(simulate)
    app.command("test")(run_fixtures)


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
    then: Annotated[
        list[str] | None,
        typer.Option("--then", help='A later event: {"type": ..., "data": ..., "after": "P1D"}.', metavar="JSON"),
    ] = None,
    start_at: Annotated[str | None, typer.Option("--start-at", help="When it starts.", metavar="TIME")] = None,
    explore: Annotated[bool, typer.Option("--explore", help="Walk every path instead, for nobody.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Walk a journey for one person in virtual time; nothing is sent or written."""
    request: JsonObject = {"mode": "explore"} if explore else {}
    if not explore and (subject is None) == (attributes is None):
        raise typer.BadParameter("give one of the two", param_hint="--subject / --attributes")
    if subject is not None:
        request["subjectId"] = subject
    if attributes is not None:
        request["subjectAttributes"] = json_object(attributes, "--attributes")
    if version is not None:
        request["version"] = int(version) if version.isdecimal() and version.isascii() else version
    if override:
        request["overrides"] = override
    if event is not None:
        request["event"] = json_object(event, "--event")
    if then:
        request["events"] = [json_object(one, "--then") for one in then]
    if start_at is not None:
        request["startAt"] = start_at
    with connect(context) as client:
        result = client.journeys.simulate(journey_id, request)
    if output is Output.JSON:
        print(json_text(result))
    else:
        print("\n".join(path_lines(result) if explore else trace_lines(result)))


def run_fixtures(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="Fixtures, JSON.", metavar="FILE...")],
    report: Annotated[
        Path | None, typer.Option("--junit", help="Write the results as JUnit XML.", metavar="OUT.xml")
    ] = None,
    journey: Annotated[
        str | None, typer.Option("--journey", help="Try this journey instead of the files'.", metavar="ID")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Simulate what the files say, and compare; exit status 1 if anything went otherwise."""
    fixtures = [read_fixture(file) for file in files]  # all of them are read before any is tried
    verdicts: list[Verdict] = []
    with connect(context) as client:
        for fixture in fixtures:
            for case in fixture.cases:
                verdict = _tried(client, journey or fixture.journey, fixture.name, case)
                verdicts.append(verdict)
                if output is Output.TABLE:
                    print("\n".join(_verdict_lines(verdict)))
    if report is not None:
        report.write_bytes(junit(verdicts))
    if output is Output.JSON:
        print(json_text([verdict.as_json() for verdict in verdicts]))
    failed = sum(1 for verdict in verdicts if verdict.complaints)
    if failed:
        raise Failed(f"{failed:,} of {counted(len(verdicts), 'case')} went otherwise")


def trace_lines(result: "JsonObject") -> list[str]:
    """A simulation as a tree: a branch per step, what is known of it under it."""
    outcome = f"{printable(result.get('outcome'))}{_bracketed(result.get('reason'))}"
    lines = [f"{outcome}  {printable(result.get('journeyId'))} version {printable(result.get('version'))}"]
    entries = result.get("trace", [])
    for i, entry in enumerate(entries):
        is_last = i == len(entries) - 1
        said = f"{printable(entry.get('decision'))}{_bracketed(entry.get('reason'))}"
        lines.append(
            f"{'└─' if is_last else '├─'} {printable(entry.get('at'))}  {printable(entry.get('stepId'))}: {said}"
        )
        bar = "   " if is_last else "│  "
        lines += [f"{bar}  {printable(name)}: {printable(text)}" for name, text in _details(entry)]
    return lines


def path_lines(result: "JsonObject") -> list[str]:
    """An exploration: the paths, who takes them, and what nobody reaches."""
    paths = result.get("paths", [])
    more = ", and there are more" if result.get("truncated") else ""
    lines = [
        f"{counted(len(paths), 'path')}{more}  {printable(result.get('journeyId'))} version {result.get('version')}"
    ]
    for i, path in enumerate(paths):
        is_last = i == len(paths) - 1
        lines.append(f"{'└─' if is_last else '├─'} {' > '.join(printable(step) for step in path.get('steps', []))}")
        bar = "   " if is_last else "│  "
        lines.append(f"{bar}  attributes: {printable(path.get('exampleAttributes'))}")
        lines += [f"{bar}  event: {printable(event)}" for event in path.get("exampleEvents", [])]
    lines += [f"unreachable: {printable(step)}" for step in result.get("unreachable", [])]
    dead = result.get("deadBranches", [])
    return lines + [f"dead branch: {printable(one.get('stepId'))} / {printable(one.get('branchId'))}" for one in dead]


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


def _details(entry: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for check in entry.get("checks", []):
        passed_over = " (passed over)" if check.get("overridden") else ""
        yield ("passed" if check.get("passed") else "refused"), f"{check.get('check')}{passed_over}"
    if "deferredUntil" in entry:
        yield "put off until", entry["deferredUntil"]
    for member in ("wait", "branch"):
        if told := entry.get(member):
            yield member, ", ".join(f"{name} {value}" for name, value in told.items() if not isinstance(value, dict))
    yield from (entry.get("rendered") or {}).items()


def _bracketed(reason: Any) -> str:
    return f" ({printable(reason)})" if reason else ""


def _tried(client: "Client", journey_id: str, suite: str, case: Mapping[str, Any]) -> Verdict:
    from journeys_client import Problem

    name = str(case["name"])
    request = {member: value for member, value in case.items() if member not in ("name", "expect")}
    try:
        result = client.journeys.simulate(journey_id, request)
    except Problem as problem:  # one case that cannot be tried must not hide the others
        return Verdict(suite, name, (f"the server refused it: {problem}",))
    return Verdict(suite, name, tuple(differences(case["expect"], result)))


def _verdict_lines(verdict: Verdict) -> Sequence[str]:
    mark = "FAILED" if verdict.complaints else "ok    "
    complaints = [f"        {printable(one)}" for one in verdict.complaints]
    return [f"{mark}  {printable(verdict.suite)}: {printable(verdict.name)}", *complaints]
