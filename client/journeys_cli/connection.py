"""Which server, and as whom: the options that every command has.

They may stand before or after the command's name.
"""

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from journeys_cli.outcome import Failed

if TYPE_CHECKING:
    from journeys_client import Client

GLOBAL_OPTIONS = ("--server", "--session", "--api-key")

ServerOption = Annotated[
    str, typer.Option("--server", envvar="JOURNEYS_URL", help="Where the server is.", metavar="URL")
]
SessionOption = Annotated[
    str | None,
    typer.Option(
        "--session", envvar="JOURNEYS_SESSION", help="Sign in with a session.", show_default=False, metavar="TOKEN"
    ),
]
ApiKeyOption = Annotated[
    str | None,
    typer.Option(
        "--api-key", envvar="JOURNEYS_API_KEY", help="Sign in with an API key.", show_default=False, metavar="KEY"
    ),
]


@dataclass(frozen=True, slots=True)
class Target:
    """The server and the sign-in a command uses."""

    server: str
    session: str | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)


def target_of(context: typer.Context) -> Target:
    """What the global options said."""
    target = context.find_root().obj
    assert isinstance(target, Target)
    return target


def connect(context: typer.Context, *, internal: bool = False) -> "Client":
    """A client for this command. `internal` signs with SYNC_API_KEY; raises Failed if that is not set."""
    from journeys_client import Client

    target = target_of(context)
    if not target.server.lower().startswith(("http://", "https://")):
        raise Failed(f"--server {target.server!r} is no address: it begins with http:// or https://")
    # Several keys may be valid at a time, for rotation; any of them will do.
    internal_key = os.environ.get("SYNC_API_KEY", "").split(",")[0].strip() if internal else ""
    if internal and not internal_key:
        raise Failed("this command needs the server's SYNC_API_KEY in the environment")
    try:
        return Client(target.server, session=target.session, api_key=target.api_key, internal_key=internal_key or None)
    except ValueError as error:  # how the HTTP library calls an address it cannot read
        raise Failed(f"--server {target.server!r} is no address ({error})") from None


def hoisted(arguments: list[str]) -> list[str]:
    """The same arguments with the global options first, where the parser wants them."""
    first: list[str] = []
    rest: list[str] = []
    index = 0
    while index < len(arguments):
        argument = arguments[index]
        if argument == "--":
            return first + rest + arguments[index:]
        if argument in GLOBAL_OPTIONS and index + 1 == len(arguments):
            return [*first, argument]  # without its value, which is all there is to say
        if argument in GLOBAL_OPTIONS:
            first += arguments[index : index + 2]
            index += 2
        else:
            (first if argument.startswith(tuple(f"{name}=" for name in GLOBAL_OPTIONS)) else rest).append(argument)
            index += 1
    return first + rest
