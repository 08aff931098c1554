"""The command's root: its families, its global options, and the one place where errors become exit statuses."""

import os
import sys

import typer

from journeys_cli import (
    bundle,
    config,
    demo,
    dlq,
    events,
    forget,
    journeys,
    migrate,
    pinpoint,
    serve,
    simulate,
    subjects,
    workspace,
)
from journeys_cli.connection import ApiKeyOption, ServerOption, SessionOption, Target, hoisted
from journeys_cli.outcome import DONE, FAILED, INTERRUPTED, USAGE, line_of, status_of

app = typer.Typer(
    name="journeys",
    help="Run customer journeys, and talk to a server that runs them.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def root(
    context: typer.Context,
    server: ServerOption = "http://127.0.0.1:8080",
    session: SessionOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Run customer journeys, and talk to a server that runs them.

    The options below may stand before or after the command.
    """
    context.obj = Target(server, session or None, api_key or None)


for family in (
    serve,
    demo,
    events,
    subjects,
    journeys,
    simulate,
    pinpoint,
    bundle,
    workspace,
    config,
    migrate,
    dlq,
    forget,
):
    family.register(app)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit status, having printed at most one line to stderr."""
    given = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        status = app(hoisted(given), prog_name="journeys", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else DONE
    except typer.Abort:
        return INTERRUPTED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Python would complain once more when it flushes at exit; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except typer.TyperException as error:
        return _say(_usage(error), USAGE)
    except Exception as error:  # the outermost place of this process: one line, never a traceback
        if os.environ.get("JOURNEYS_DEBUG") == "1":
            raise
        return _say(line_of(error), status_of(error))


def _say(line: str, status: int) -> int:
    print(f"journeys: {line}", file=sys.stderr)
    return status


def _usage(error: typer.TyperException) -> str:
    message = " ".join(error.format_message().split()).replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    return f"{message} (see {context.command_path if context else 'journeys'} --help)"


if __name__ == "__main__":
    sys.exit(main())
