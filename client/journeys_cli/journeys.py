"""Journeys from the command line: list, show, publish, pause, resume, archive, executions, stats, audit."""

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from journeys_cli.connection import connect
from journeys_cli.outcome import Failed
from journeys_cli.output import Output, OutputOption, show_object, show_rows, show_table

if TYPE_CHECKING:
    from journeys_client.models import ExecutionStatus

IdArgument = Annotated[str, typer.Argument(help="Id of the journey.", metavar="ID")]
LIMIT_MAX = 500  # of one page

JOURNEY = [
    ("id", "id"),
    ("name", "name"),
    ("status", "status"),
    ("version", "version"),
    ("latest version", "latestVersion"),
    ("description", "description"),
    ("trigger contract", "triggerContractId"),
    ("audience", "audienceId"),
    ("goal", "goalEventName"),
    ("goal window, days", "goalEventWindowDays"),
    ("settings", "settings"),
    ("created", "createdAt"),
    ("updated", "updatedAt"),
    ("published", "publishedAt"),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("list")(list_)
    app.command()(show)
    app.command()(publish)
    app.command()(pause)
    app.command()(resume)
    app.command()(archive)
    app.command()(executions)
    app.command()(stats)
    app.command()(audit)


def list_(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """List the journeys of the workspace."""
    columns = [("ID", "id"), ("NAME", "name"), ("STATUS", "status"), ("VERSION", "version"), ("UPDATED", "updatedAt")]
    with connect(context) as client:
        show_rows(list(client.journeys.list(page_size=LIMIT_MAX)), columns, output)


def show(context: typer.Context, journey_id: IdArgument, output: OutputOption = Output.TABLE) -> None:
    """Show one journey with its steps: the draft if there is one, else the latest version."""
    with connect(context) as client:
        journey = client.journeys.get(journey_id)
    show_object(journey, output, JOURNEY)
    if output is Output.TABLE:
        print()
        steps = [[step["id"], step["type"], step.get("mode"), _next(step)] for step in journey.get("steps", [])]
        show_table(["STEP", "TYPE", "MODE", "LEADS TO"], steps)
        if warnings := journey.get("warnings"):
            print()
            show_table(["WARNING", "AT", ""], [[w["code"], w["path"], w["message"]] for w in warnings])


def publish(context: typer.Context, journey_id: IdArgument, output: OutputOption = Output.TABLE) -> None:
    """Publish the draft as the next version. All its faults are told at once."""
    with connect(context) as client:
        published = client.journeys.publish(journey_id)
    show_object(published, output, [("id", "id"), ("version", "version")])


def pause(context: typer.Context, journey_id: IdArgument, output: OutputOption = Output.TABLE) -> None:
    """Stop new executions; those in flight go on."""
    with connect(context) as client:
        show_object(client.journeys.pause(journey_id), output, JOURNEY[:4])


def resume(context: typer.Context, journey_id: IdArgument, output: OutputOption = Output.TABLE) -> None:
    """Let new executions start again."""
    with connect(context) as client:
        show_object(client.journeys.resume(journey_id), output, JOURNEY[:4])


def archive(context: typer.Context, journey_id: IdArgument, output: OutputOption = Output.TABLE) -> None:
    """End a journey for good; its executions in flight are aborted, its record stays."""
    with connect(context) as client:
        show_object(client.journeys.archive(journey_id), output, JOURNEY[:4])


def executions(
    context: typer.Context,
    journey_id: IdArgument,
    status: Annotated[
        str | None, typer.Option("--status", help="RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED.", metavar="STATUS")
    ] = None,
    person: Annotated[str | None, typer.Option("--person", help="End-user id.", metavar="ID")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 50,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show the latest executions of a journey."""
    columns = [
        ("STARTED", "startedAt"),
        ("PERSON", "endUserId"),
        ("STATUS", "status"),
        ("STEP", "currentStepId"),
        ("VERSION", "version"),
        ("EXECUTION", "executionId"),
    ]
    wanted = None if status is None else _status(status)
    with connect(context) as client:
        found = client.executions.list(journey_id, status=wanted, end_user_id=person, page_size=min(limit, LIMIT_MAX))
        show_rows(list(islice(found, limit)), columns, output)


def stats(
    context: typer.Context,
    journey_id: Annotated[str, typer.Argument(help="Id of the journey, or `recount`.", metavar="ID")],
    recounted_id: Annotated[
        str | None, typer.Argument(help="Behind `recount`: id of the journey.", metavar="[ID]", show_default=False)
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Count per step: executed, skipped, failed, waiting. `stats recount ID` proves every count of the journey.

    A recount counts anew, from facts and from executions, and fails where what is stored differs.
    """
    if recounted_id is not None:
        if journey_id != "recount":
            raise typer.BadParameter(f"{journey_id!r} is nothing that statistics can do", param_hint="ID")
        _recount(context, recounted_id, output)
        return
    columns = [
        ("STEP", "stepId"),
        ("EXECUTED", "executed"),
        ("SKIPPED", "skipped"),
        ("FAILED", "failed"),
        ("WAITING", "waiting"),
    ]
    with connect(context) as client:
        show_rows(client.journeys.step_stats(journey_id), columns, output)


def _recount(context: typer.Context, journey_id: str, output: Output) -> None:
    members = [
        ("agrees", "agrees"),
        ("facts", "facts"),
        ("executions", "executions"),
        ("facts without execution", "withoutExecution"),
        ("counts compared", "counts"),
    ]
    with connect(context) as client:
        found = client.journeys.recount_stats(journey_id)
    show_object(found, output, members)
    if not found["agrees"]:
        first = found["differences"][0]
        raise Failed(
            f"{len(found['differences'])} counts differ; the first: {first['what']} is stored as {first['stored']}, "
            f"and {first['counted']} by {first['source']}"
        )


def audit(
    context: typer.Context,
    journey_id: IdArgument,
    action: Annotated[
        str | None, typer.Option("--action", help="Only actions that begin so: send.", metavar="PREFIX")
    ] = None,
    actor: Annotated[
        str | None, typer.Option("--actor", help="Only acts of one member, or of `system`.", metavar="ID")
    ] = None,
    execution: Annotated[str | None, typer.Option("--execution", help="Only one execution.", metavar="ID")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 200,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show the audit timeline of a journey, newest first."""
    columns = [("TIME", "timestamp"), ("ACTOR", "actor"), ("ACTION", "action"), ("DETAILS", "metadata")]
    with connect(context) as client:
        found = client.journeys.audit(
            journey_id, action=action, actor=actor, execution_id=execution, page_size=min(limit, LIMIT_MAX)
        )
        show_rows(list(islice(found, limit)), columns, output)


def _status(text: str) -> "ExecutionStatus":
    for status in ("RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"):
        if status == text.upper():
            return status
    raise typer.BadParameter(f"{text!r} is no status", param_hint="--status")


def _next(step: dict[str, Any]) -> str:
    ways = [(name, step[name]) for name in ("next", "onTimeout", "default") if step.get(name)]
    ways += [(arm.get("id"), arm.get("next")) for name in ("branches", "arms") for arm in step.get(name) or []]
    return ", ".join(f"{target}" if name == "next" else f"{target} ({name})" for name, target in ways)
