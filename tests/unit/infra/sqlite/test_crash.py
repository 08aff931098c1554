"""Killed at any moment, the store has everything it ever acknowledged."""

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from services.infra.documents.sqlite import SqliteDocuments
from services.infra.log.sqlite import SqliteLog
from services.infra.sqlite.engine import DataDirectoryInUse, open_engine
from services.infra.sqlite.file import FILE_NAME
from tests.unit.infra.sqlite.crash_child import EVENTS, PARTITION, THINGS

ROUNDS = 4
ROOT = Path(__file__).parents[4]


def start(folder: Path, turn: int) -> "subprocess.Popen[str]":
    """A child that writes; it has opened the store once it says something."""
    command = [sys.executable, "-m", "tests.unit.infra.sqlite.crash_child", str(folder), str(turn)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def killed_after(child: "subprocess.Popen[str]", lines: int) -> list[list[str]]:
    """What the child said before it was killed, all of it."""
    assert child.stdout is not None
    said = [child.stdout.readline() for _ in range(lines)]
    child.kill()
    said += child.stdout.readlines()
    child.wait()
    child.stdout.close()
    return [line.split() for line in said if line.endswith("\n")]


async def test_everything_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    """Kill -9 at random moments, again and again on one file: documents, their revisions, records, positions."""
    draw = random.Random(7)
    revisions: dict[str, int] = {}
    records: dict[int, str] = {}
    done = 0
    for turn in range(ROUNDS):
        for kind, *words in killed_after(start(tmp_path, turn), draw.randrange(20, 400)):
            match kind:
                case "doc":
                    revisions[words[0]] = max(int(words[1]), revisions.get(words[0], 0))
                case "log":
                    records[int(words[0])] = words[1]
                case _:
                    done = max(done, int(words[0]))
    engine = await open_engine(tmp_path)
    documents, log = SqliteDocuments(engine), SqliteLog(engine, now_ms=lambda: 0)
    await documents.open([THINGS])
    await log.open([EVENTS])

    stored = await documents.get_many(THINGS, list(revisions))
    appended = {one.offset: one.value.decode() for one in await log.read(EVENTS.name, PARTITION, 0, 1_000_000)}
    (first,) = await (await log.subscribe([EVENTS.name], "g")).poll(1, 30)
    indexed = sum((await documents.count_by(THINGS, "due")).values())
    everything = len((await documents.scan(THINGS, "", limit=1_000_000)).items)
    check: Callable[[apsw.Connection], object] = lambda connection: connection.pragma("integrity_check")  # noqa: E731
    found = await engine.read(check)
    await log.close()
    await engine.close()

    lost = {key for key, revision in revisions.items() if key not in stored or stored[key].revision < revision}
    assert (set(), records, list(range(len(appended))), everything, "ok", True) == (
        lost,
        {offset: appended.get(offset) for offset in records},
        sorted(appended),
        indexed,
        found,
        first.offset >= done,
    )


async def test_another_process_cannot_open_the_folder(tmp_path: Path) -> None:
    """While the first one lives; its death frees the folder without anybody's help."""
    child = start(tmp_path, 0)
    assert child.stdout is not None
    child.stdout.readline()

    with pytest.raises(DataDirectoryInUse, match=str(child.pid)):
        await open_engine(tmp_path)

    killed_after(child, 0)
    await (await open_engine(tmp_path)).close()
    assert (tmp_path / FILE_NAME).exists()
