"""How a command ends: with which status, and which one line.

0 done    1 failed    2 usage    3 conflict: somebody else's change, or the present state, stands against it
130 interrupted (128 + SIGINT); a reader of our output that went away is a quiet 1
"""

from journeys_cli.text import printable

DONE = 0
FAILED = 1
USAGE = 2
CONFLICT = 3
INTERRUPTED = 130

_SHOWN_FAULTS = 5
_SIGN_IN = "sign in with --session or --api-key, see journeys --help"
_INTERNAL = "SYNC_API_KEY has to be one of the server's"


class Failed(Exception):
    """The command could not do what was asked; the message is one line for a person."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


def status_of(error: Exception) -> int:
    """The exit status for an error."""
    if isinstance(error, Failed):
        return error.status
    # A Problem of the client, asked by its member so that `--help` need not import HTTP.
    return CONFLICT if getattr(error, "is_conflict", False) else FAILED


def line_of(error: Exception) -> str:
    """The one line to print for an error: a problem's faults are part of it."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    faults = getattr(error, "errors", ())
    if isinstance(faults, tuple) and faults:
        shown = [f"{fault.path or '/'} {fault.code}: {fault.message}" for fault in faults[:_SHOWN_FAULTS]]
        more = len(faults) - len(shown)
        text = f"{text} [{'; '.join(shown)}{f'; and {more} more' if more else ''}]"
    if getattr(error, "code", None) == "unauthenticated":
        text += f" ({_INTERNAL if _is_internal(error) else _SIGN_IN})"
    return printable(text)


def _is_internal(error: Exception) -> bool:
    return str(getattr(error, "members", {}).get("instance", "")).startswith("/api/journeys/internal/")
