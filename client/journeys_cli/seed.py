"""What `journeys serve --demo` puts into a fresh workspace: people, a journey, and people walking through it.

Law: only a workspace without any other journey is filled, and filling it twice is filling it once: whatever was
begun is completed, whatever is there is left alone.
"""

import json
import logging
import os
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from journeys_cli import examples
from journeys_cli.outcome import Failed, line_of
from journeys_cli.text import counted

if TYPE_CHECKING:
    from journeys_client import Client

PEOPLE = "people/demo-people.ndjson"
JOURNEY = "welcome.json"
GUEST = "usr_you"  # known, with an address, and not yet signed up: left for the reader
_SESSION_FILE = "demo-session"


@dataclass(frozen=True, slots=True)
class Seeded:
    """What the reader can look at. `journey_id` is None if the workspace had journeys of its own."""

    journey_id: str | None
    people: int = 0
    waiting: int = 0


def seed(client: "Client", patience_seconds: float = 10.0) -> Seeded:
    """Fill a fresh workspace, and wait a little for its people to set out.

    Raises Problem, and Failed if the examples are not there.
    """
    document = examples.read_journey_file(examples.folder() / JOURNEY)
    wanted = document["journey"]["id"]
    present = {journey["id"]: journey["status"] for journey in client.journeys.list(page_size=500)}
    if present.get(wanted, "draft") != "draft" and next(client.executions.list(wanted, page_size=1), None) is not None:
        return Seeded(wanted, people=0, waiting=_count(client, wanted, "waiting"))
    if present.keys() - {wanted}:
        return Seeded(None)
    client.workspace.update({"holdout": {"percent": 0}})  # who tries it out shall not be held back by the draw
    imported = client.subjects.import_((examples.folder() / PEOPLE).read_bytes())
    installed = examples.install(client, document)
    if installed.refused is not None:
        raise Failed(f"the example journey was not published: {installed.refused} {installed.detail}".strip())
    signed_up, later = _story(document["story"])
    for batch in (signed_up, later):
        # Each event has an id of its own, so a second start finds them all there and starts nothing.
        for _ in client.events.send(batch):
            pass
    deadline = time.monotonic() + patience_seconds
    # Everybody has set out, and whoever did something afterwards has gone on.
    while time.monotonic() < deadline:
        waiting = _count(client, wanted, "waiting")
        if _count(client, wanted, "executed", "trigger") >= len(signed_up) and waiting <= len(signed_up) - len(later):
            break
        time.sleep(0.1)
    return Seeded(installed.id, imported["created"] + imported["updated"], _count(client, wanted, "waiting"))


def seed_and_tell(url: str, session: str | None, keep_in: Path | None = None) -> None:
    """Fill the workspace of a server that has just become ready, and print how to try it out.

    `session` is known only when the workspace was made by this start, so it is kept in the data directory for the
    next one (None: nowhere). Never raises: a server that could not be filled still serves.
    """
    import httpx2

    from journeys_client import Client, ClientError

    logging.getLogger("httpx2").setLevel(logging.WARNING)  # this runs inside the server, whose log shows the calls
    try:
        session = _kept(session, keep_in)
        if session is None:
            print("The workspace is there already; its owner's session was shown when it was made.", flush=True)
            return
        with Client(url, session=session, transport=httpx2.HTTPTransport()) as client:
            seeded = seed(client)
    except (ClientError, Failed, OSError, LookupError, ValueError) as error:  # the server is up and stays up
        print(f"The demo workspace could not be filled: {line_of(error)}", file=sys.stderr, flush=True)
        return
    print("\n".join(instructions(url, session, seeded)), flush=True)


def instructions(url: str, session: str, seeded: Seeded) -> list[str]:
    """The lines a newcomer reads: where it is, who they are, three calls that work as printed."""
    if seeded.journey_id is None:
        return ["", "The workspace has journeys of its own; nothing was added.", *_place(url, session), ""]
    cookie = shlex.quote(f"Cookie: session={session}")
    event = shlex.quote(json.dumps({"type": "user.signed_up", "endUserId": GUEST}))
    added = f"{counted(seeded.people, 'person', 'people')} imported, journey {seeded.journey_id!r} published."
    return [
        "",
        added if seeded.people else f"The workspace is as you left it, with journey {seeded.journey_id!r}.",
        f"{counted(seeded.waiting, 'person', 'people')} waiting in it; each goes on after two minutes.",
        *_place(url, session),
        "",
        "Sign somebody up, see the journey's executions, read what was sent:",
        "",
        f"  curl -X POST {url}/api/events -H {cookie} -H 'Content-Type: application/json' -d {event}",
        f"  curl {url}/api/journeys/{seeded.journey_id}/executions -H {cookie}",
        f"  curl '{url}/api/messages?endUserId={GUEST}' -H {cookie}",
        "",
    ]


def _place(url: str, session: str) -> list[str]:
    return ["", f"  address  {url}", f"  session  {session}"]


def _count(client: "Client", journey_id: str, what: Literal["executed", "waiting"], step: str | None = None) -> int:
    rows = client.journeys.step_stats(journey_id)
    return sum(row[what] for row in rows if step is None or row["stepId"] == step)


def _story(events: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Who signs up, and what some of them do afterwards."""
    signed_up = [event for event in events if event["type"] == "user.signed_up"]
    return signed_up, [event for event in events if event not in signed_up]


def _kept(session: str | None, keep_in: Path | None) -> str | None:
    if keep_in is None:
        return session
    file = keep_in / _SESSION_FILE
    if session is None:
        return file.read_text(encoding="ascii").strip() if file.is_file() else None
    if keep_in.is_dir():
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as kept:
            kept.write(session + "\n")
    return session
