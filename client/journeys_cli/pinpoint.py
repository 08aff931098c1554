"""`journeys pinpoint`: what Amazon Pinpoint's API returned, into a bundle, with a report of what it loses."""

import json
from pathlib import Path
from typing import Annotated

import typer

from journeys_cli.connection import connect
from journeys_cli.outcome import Failed
from journeys_cli.simulate import json_object
from journeys_cli.text import json_text

_BOM = b"\xef\xbb\xbf"


def register(app: typer.Typer) -> None:
    """Add the family."""
    family = typer.Typer(help="Amazon Pinpoint.", rich_markup_mode=None)
    family.command("translate")(translate)
    family.command("report")(report_)
    family.callback()(_family)
    app.add_typer(family, name="pinpoint")


def translate(
    context: typer.Context,
    export_file: Annotated[Path, typer.Argument(help="What Pinpoint's API returned, as a file.", metavar="EXPORT")],
    bundle: Annotated[Path, typer.Option("--bundle", "-o", help="Where the bundle goes.", metavar="BUNDLE")],
    options: Annotated[str | None, typer.Option("--options", help="How to translate.", metavar="JSON")] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Where the fidelity report goes: .md or .html.", metavar="FILE")
    ] = None,
    project_key: Annotated[str, typer.Option("--project-key", help="The workspace.", metavar="KEY")] = "pk_demo",
) -> None:
    """Translate a Pinpoint export into a bundle. Needs SYNC_API_KEY. Writes nothing on the server."""
    if report is not None:
        _require_kind(report)
    # The file goes as it is: what stands twice in it, or is no JSON, is the server's to say.
    head = json.dumps({"projectKey": project_key})[:-1]
    tail = "}" if options is None else f', "options": {json.dumps(json_object(options, "--options"))}}}'
    export = export_file.read_bytes().removeprefix(_BOM)
    with connect(context, internal=True) as client:
        translated = client.internal.translate_pinpoint(f'{head}, "export": '.encode() + export + tail.encode())
    bundle.write_text(json_text(translated["bundle"]) + "\n", encoding="utf-8")
    if report is not None:
        _write_report(translated["bundle"], report)
    print(json_text(translated.get("summary")))


def report_(
    bundle: Annotated[Path, typer.Argument(help="A bundle.", metavar="BUNDLE")],
    file: Annotated[Path, typer.Option("--report", "-o", help="Where the report goes: .md or .html.", metavar="FILE")],
) -> None:
    """Write the fidelity report of a bundle: each activity, what became of it, what to do about it."""
    _require_kind(file)
    try:
        read = json.loads(bundle.read_bytes())
    except ValueError as error:
        raise Failed(f"{bundle}: not JSON ({error})") from None
    if not isinstance(read, dict):
        raise Failed(f"{bundle}: not a bundle")
    _write_report(read, file)


def _write_report(bundle: dict[str, object], file: Path) -> None:
    from journeys_cli.fidelity import report_of
    from journeys_cli.fidelity_text import html, markdown

    made = report_of(bundle)
    text = markdown(made) if file.suffix.lower() == ".md" else html(made)
    file.write_text(text, encoding="utf-8")


def _require_kind(file: Path) -> None:
    if file.suffix.lower() not in (".md", ".html", ".htm"):
        raise Failed(f"--report {file}: a report ends in .md or .html", status=2)


def _family() -> None:
    """Amazon Pinpoint."""
