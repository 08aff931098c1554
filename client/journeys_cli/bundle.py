"""`journeys pinpoint` and `journeys bundle`: moving journeys in from elsewhere.

The server of this release does none of it yet: each command asks, prints what the server says, and fails.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from journeys_cli.connection import connect
from journeys_cli.outcome import Failed
from journeys_cli.simulate import json_object
from journeys_cli.text import json_text

BundleArgument = Annotated[Path, typer.Argument(help="A bundle.", metavar="BUNDLE")]
ProjectOption = Annotated[str, typer.Option("--project-key", help="The workspace.", metavar="KEY")]

_NOT_YET = "not_implemented: the server of this release makes no bundles of its own"


def register(app: typer.Typer) -> None:
    """Add both families."""
    pinpoint = typer.Typer(help="Amazon Pinpoint (the server answers not_implemented yet).", rich_markup_mode=None)
    pinpoint.command("translate")(translate)
    pinpoint.callback()(_pinpoint)
    app.add_typer(pinpoint, name="pinpoint")
    bundle = typer.Typer(help="Bundles of journeys (the server answers not_implemented yet).", rich_markup_mode=None)
    bundle.command("import")(import_)
    bundle.command("export")(export)
    bundle.command("diff")(diff)
    app.add_typer(bundle, name="bundle")


def translate(
    context: typer.Context,
    export_file: Annotated[Path, typer.Argument(help="What Pinpoint's API returned, as a file.", metavar="EXPORT")],
    bundle: Annotated[Path, typer.Option("--bundle", "-o", help="Where the bundle goes.", metavar="BUNDLE")],
    options: Annotated[str | None, typer.Option("--options", help="How to translate.", metavar="JSON")] = None,
    project_key: ProjectOption = "pk_demo",
) -> None:
    """Translate a Pinpoint export into a bundle. Needs SYNC_API_KEY. This server answers not_implemented yet."""
    request: dict[str, Any] = {"projectKey": project_key, "export": read_json(export_file)}
    if options is not None:
        request["options"] = json_object(options, "--options")
    with connect(context, internal=True) as client:
        translated = client.internal.translate_pinpoint(request)
    bundle.write_text(json_text(translated["bundle"]) + "\n", encoding="utf-8")
    print(json_text(translated.get("summary")))


def import_(
    context: typer.Context,
    bundle: BundleArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    conflict_policy: Annotated[
        str, typer.Option("--conflict-policy", help="fail, skip, overwrite or copy.", metavar="P")
    ] = "skip",
    project_key: ProjectOption = "pk_demo",
) -> None:
    """Import a bundle as drafts. Needs SYNC_API_KEY. This server answers not_implemented yet."""
    request = {
        "projectKey": project_key,
        "bundle": read_json(bundle),
        "dryRun": dry_run,
        "conflictPolicy": conflict_policy,
    }
    with connect(context, internal=True) as client:
        print(json_text(client.internal.import_bundle(request)))


def export(bundle: BundleArgument) -> None:
    """Export the workspace's journeys. Not built yet."""
    raise Failed(_NOT_YET)


def diff(bundle: BundleArgument) -> None:
    """Compare a bundle with the workspace. Not built yet."""
    raise Failed(_NOT_YET)


def read_json(file: Path) -> Any:
    """A file's JSON. Raises Failed."""
    try:
        return json.loads(file.read_bytes())
    except ValueError as error:
        raise Failed(f"{file}: not JSON ({error})") from None


def _pinpoint() -> None:
    """Amazon Pinpoint (the server answers not_implemented yet)."""
