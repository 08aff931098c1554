"""`journeys bundle`: journeys as files, moved between workspaces or kept under version control.

`export` writes the same bytes for the same workspace, so a change to a journey is a change of a few lines; `diff` shows
what a file would change; `import` makes exactly that change, as drafts.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from journeys_cli.bundle_diff import Change, changes_between
from journeys_cli.connection import connect
from journeys_cli.outcome import FAILED, Failed
from journeys_cli.output import Output, OutputOption, show_table
from journeys_cli.simulate import json_object
from journeys_cli.text import json_text, printable

BundleArgument = Annotated[Path, typer.Argument(help="A bundle.", metavar="BUNDLE")]
ProjectOption = Annotated[str, typer.Option("--project-key", help="The workspace.", metavar="KEY")]
JourneysOption = Annotated[
    list[str] | None, typer.Option("--journey", help="A journey's id; may be repeated. Without: all.", metavar="ID")
]

_SHOWN = 100  # characters of a value


def register(app: typer.Typer) -> None:
    """Add the family."""
    family = typer.Typer(help="Journeys as files.", rich_markup_mode=None)
    family.command("import")(import_)
    family.command("export")(export)
    family.command("diff")(diff)
    app.add_typer(family, name="bundle")


def import_(
    context: typer.Context,
    bundle: BundleArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    conflict_policy: Annotated[
        str,
        typer.Option(
            "--conflict-policy", help="For what was changed here: fail, skip, overwrite or copy.", metavar="P"
        ),
    ] = "skip",
    partly: Annotated[bool, typer.Option("--partly", help="Import what can be, even if some objects cannot.")] = False,
    include: Annotated[
        list[str] | None,
        typer.Option("--include", help="A ref, with all it names; may be repeated. Without: all.", metavar="REF"),
    ] = None,
    resolutions: Annotated[
        str | None,
        typer.Option("--resolutions", help="What stands for what the bundle cannot bring.", metavar="JSON"),
    ] = None,
    project_key: ProjectOption = "pk_demo",
    output: OutputOption = Output.TABLE,
) -> None:
    """Import a bundle as drafts; nothing is published. Needs SYNC_API_KEY.

    Exit status 1 if an object failed, 3 if a change made here stood against it and the policy is fail.
    """
    request: dict[str, Any] = {
        "projectKey": project_key,
        "bundle": read_json(bundle),
        "dryRun": dry_run,
        "conflictPolicy": conflict_policy,
        "atomic": not partly,
    }
    if include:
        request["include"] = include
    if resolutions is not None:
        request["resolutions"] = json_object(resolutions, "--resolutions")
    with connect(context, internal=True) as client:
        report = client.internal.import_bundle(request)
    if output is Output.JSON:
        print(json_text(report))
    else:
        _show(report)
    if report["counts"]["failed"]:
        raise typer.Exit(FAILED)


def export(
    context: typer.Context,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", "-o", help="Where it goes. Without: to stdout.", metavar="BUNDLE")
    ] = None,
    journeys: JourneysOption = None,
    project_key: ProjectOption = "pk_demo",
) -> None:
    """Export a workspace's journeys with all they name. Needs SYNC_API_KEY."""
    with connect(context, internal=True) as client:
        made = client.internal.export_bundle(project_key, journey_ids=journeys or None)
    text = json.dumps(made, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    if bundle is None:
        print(text, end="")
    else:
        bundle.write_text(text, encoding="utf-8")


def diff(
    context: typer.Context,
    bundle: BundleArgument,
    other: Annotated[
        Path | None, typer.Argument(help="What it becomes. Without: BUNDLE against the server.", metavar="[OTHER]")
    ] = None,
    project_key: ProjectOption = "pk_demo",
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what differs between two bundles, or what an import of one would change on the server.

    Exit status 0 if nothing differs, 1 if something does, as diff has it. Against the server it needs SYNC_API_KEY;
    objects that the file does not have are left alone by an import, and are not shown.
    """
    given = _bundle(bundle)
    if other is not None:
        changes = changes_between(given, _bundle(other))
    else:
        with connect(context, internal=True) as client:
            there = client.internal.export_bundle(project_key)
        changes = [change for change in changes_between(there, given) if not (change.path == "" and change.is_removal)]
    if output is Output.JSON:
        print(json_text([change.as_json() for change in changes]))
    else:
        _show_changes(changes)
    if changes:
        raise typer.Exit(FAILED)


def read_json(file: Path) -> Any:
    """A file's JSON. Raises Failed."""
    try:
        return json.loads(file.read_bytes())
    except ValueError as error:
        raise Failed(f"{file}: not JSON ({error})") from None


def _bundle(file: Path) -> dict[str, Any]:
    value = read_json(file)
    if not isinstance(value, dict) or value.get("kind") != "journey-import-bundle":
        raise Failed(f"{file}: no bundle")
    return value


def _show(report: dict[str, Any]) -> None:
    rows = [
        [one["action"], one["ref"], one["targetId"] or "", one["reason"] or ""]
        for one in report["results"]
        if one["action"] != "unchanged"
    ]
    if rows:
        show_table(["ACTION", "REF", "HERE", "REASON"], rows)
    counts = ", ".join(f"{count:,} {action}" for action, count in report["counts"].items() if count)
    print(f"{'Would be: ' if report['dryRun'] else ''}{counts or 'nothing to do'}")
    blockers = report["blockers"]
    if blockers:
        journeys = len({one["ref"] for one in blockers})
        print(f"Before {'it' if journeys == 1 else f'{journeys} of them'} can be published:")
        for one in blockers:
            step = f" step {one['stepId']}" if one["stepId"] else ""
            print(printable(f"  {one['ref']}{step}: {one['message']} ({one['code']})"))


def _show_changes(changes: list[Change]) -> None:
    ref = None
    for change in changes:
        if change.ref != ref:
            ref = change.ref
            print(printable(f"{ref} ({change.name})"))
        if change.path == "":
            print("  - the whole object" if change.is_removal else "  + the whole object")
            continue
        if not change.is_addition:
            print(printable(f"  - {change.path}: {_short(change.before)}"))
        if not change.is_removal:
            print(printable(f"  + {change.path}: {_short(change.after)}"))


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
