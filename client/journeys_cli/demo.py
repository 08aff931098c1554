"""`journeys demo`: the main job on real input, from an event file to what became of everybody in it."""

import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from journeys_cli import examples
from journeys_cli.close_calls import close_calls, lengths_of
from journeys_cli.demo_report import Report, gather, print_report, waiting_now
from journeys_cli.events import Counts
from journeys_cli.outcome import Failed
from journeys_cli.output import progress
from journeys_cli.text import json_text
from journeys_cli.timeline import SAME_MOMENT, grouped, shift_to, shifted_line, shifted_people
from journeys_cli.walk import AFTERWARDS, Clock, walk, walk_on

if TYPE_CHECKING:
    from journeys_client import Client, EventLine, Tally

DEFAULT_EVENTS = "messy-5000.ndjson"
_DAY = timedelta(days=1)
_DAWDLING = timedelta(minutes=1)  # the clock runs on by itself while events are posted


@dataclass(frozen=True, slots=True)
class Story:
    """What is walked: the event file read and counted, the people it speaks of, the journeys to publish."""

    events: Path
    lines: "list[EventLine]"
    tally: "Tally"
    refused: list[tuple[int, str, str]]
    people: Path | None
    journeys: list[dict[str, Any]]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    events: Annotated[
        Path | None,
        typer.Option(
            "--events", help="Events, NDJSON in order of arrival. [default: examples/events/messy-5000.ndjson]"
        ),
    ] = None,
    people: Annotated[
        Path | None,
        typer.Option(
            "--people", help="Who they are, NDJSON. [default: the file under examples/people that knows them]"
        ),
    ] = None,
    journeys: Annotated[
        Path | None, typer.Option("--journeys", help="A directory of journey files. [default: examples/journeys]")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Keep the server's data here, in a new or empty directory.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Walk a file of recorded events through the example journeys, and print what became of everybody.

    Starts a server of its own, imports the people, publishes the journeys, moves the server's clock to each event's
    time before it is posted, and lets ninety days pass after the last. Needs no running server. Without --data that
    server keeps everything in memory.
    """
    began = time.monotonic()
    story = read_story(events, people, journeys)
    with _directory(data) as home, _ended_in_order():
        from journeys_cli.child import local_client, local_server

        with (
            local_server(None if data is None else home / "data", home / "server.log") as server,
            local_client(server) as client,
        ):
            report = perform(client, story)
            report.seconds = round(time.monotonic() - began, 1)
            if data is not None:
                report.kept = f"JOURNEYS_DEV_CLOCK=1 journeys serve --data {home / 'data'}"
                report.session = server.session
    if as_json:
        print(json_text(report.as_json()))
    else:
        print_report(report)
    if broken := [journey for journey in report.journeys if journey.is_broken]:
        raise Failed(f"{broken[0].installed.name}: {broken[0].installed.refused} {broken[0].installed.detail}".strip())


def read_story(events: Path | None, people: Path | None, journeys: Path | None) -> Story:
    """Read and count everything before a server is started, so that a wrong name fails at once."""
    from journeys_client import Malformed, Tally, read_event_lines

    events = events or examples.folder() / "events" / DEFAULT_EVENTS
    lines: list[EventLine] = []
    refused: list[tuple[int, str, str]] = []
    with events.open("rb") as source:
        everything = list(read_event_lines(source))
    named = {
        line.event["endUserId"] for line in everything if not isinstance(line, Malformed) and "endUserId" in line.event
    }
    people = people or _people_named(named)
    tally = Tally(known_people=frozenset() if people is None else frozenset(_ids(people)))
    for line in everything:
        tally.count(line)
        if isinstance(line, Malformed):
            refused.append((line.number, str(line.kind), line.message))
        else:
            lines.append(line)
    if tally.first_at and tally.last_at and tally.last_at - tally.first_at > 3_660 * _DAY:
        raise Failed(f"{events}: the events span more than ten years")
    files = sorted((journeys or examples.folder() / "journeys").glob("*.json"))
    if not files:
        raise Failed(f"{journeys}: holds no journey files (*.json)")
    return Story(events, lines, tally, refused, people, [examples.read_journey_file(file) for file in files])


def perform(client: "Client", story: Story) -> Report:
    """Everything between an empty server and the last count."""
    client.workspace.update({"holdout": {"percent": 0}})  # everybody of the file shall be seen walking
    clock = Clock(client)
    shift = shift_to(story.tally.first_at, clock.now())
    imported = None
    if story.people is not None:
        with story.people.open("rb") as source:
            imported = client.subjects.import_(shifted_people(source, shift))
    installed = [examples.install(client, journey) for journey in story.journeys]

    counts = Counts(lines=story.tally.lines, refused=list(story.refused))
    started_at = clock.now()
    span = (story.tally.last_at - story.tally.first_at) if story.tally.first_at and story.tally.last_at else timedelta()
    with progress("Starting, day", int((span + AFTERWARDS) / _DAY), unit="days") as bar:

        def watch(now: Any) -> None:
            bar.at(int((now - started_at) / _DAY), f"{now - shift:%Y-%m-%d}, day")

        published = [doc["journey"] for doc, made in zip(story.journeys, installed, strict=True) if made.version]
        alone = close_calls(story.lines, lengths_of(published), SAME_MOMENT + _DAWDLING)
        groups = grouped((shifted_line(line, shift) for line in story.lines), alone)
        walk(client, clock, groups, counts, watch)
        waiting = {journey.id: waiting_now(client, journey) for journey in installed}
        walk_on(clock, watch)
    report = gather(client, installed, waiting)
    report.events, report.people = story.events, story.people
    report.tally, report.counts, report.imported, report.shift = story.tally, counts, imported, shift
    return report


def _people_named(named: set[str]) -> Path | None:
    """The example file that knows most of these people, None if none knows any."""
    try:
        files = sorted((examples.folder() / "people").glob("*.ndjson"))
    except Failed:
        return None
    known = {file: len(named.intersection(_ids(file))) for file in files}
    best = max(known, key=lambda file: known[file], default=None)
    return best if best is not None and known[best] else None


def _ids(people: Path) -> Iterator[str]:
    import json

    with people.open("rb") as source:
        for line in source:
            try:
                person = json.loads(line)
            except ValueError:  # the server will say so
                continue
            if isinstance(person, dict) and isinstance(person.get("endUserId"), str):
                yield person["endUserId"]


@contextmanager
def _directory(data: Path | None) -> Iterator[Path]:
    if data is None:
        with tempfile.TemporaryDirectory(prefix="journeys-demo-") as temporary:
            yield Path(temporary)
        return
    data.mkdir(parents=True, exist_ok=True)
    if any(data.iterdir()):
        raise Failed(f"{data}: is not empty; the demo begins on a fresh directory")
    yield data


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """While the block runs, SIGTERM unwinds it like an error does, so that the child process ends with us."""

    def end(*_: object) -> None:
        sys.exit(143)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
