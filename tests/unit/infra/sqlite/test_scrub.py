"""What was deleted is gone from every byte of the file and of its journal."""

import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from services.infra.documents.port import Collection, Delete, Index, Insert, Replace
from services.infra.documents.sqlite import SqliteDocuments
from services.infra.log.port import Place, Record, Topic
from services.infra.log.sqlite import SqliteLog
from services.infra.sqlite.engine import Engine, Unavailable, open_engine
from services.infra.sqlite.file import FILE_NAME

MARKER = b"planted-marker"


class Note(msgspec.Struct, frozen=True):
    """A document of any length."""

    key: str
    owner: str
    text: str
    revision: int = 1


NOTES = Collection("notes", Note, indexes=(Index("by_owner", ("owner", "text")),))
TOPIC = Topic("test.notes")


def bytes_of(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of the store."""
    for path in sorted(folder.iterdir()):
        yield path.name, path.read_bytes()


def marked_files(folder: Path) -> list[str]:
    """The files in which the marker can be read."""
    return [name for name, content in bytes_of(folder) if MARKER in content]


async def written(engine: Engine) -> tuple[SqliteDocuments, SqliteLog]:
    """A store whose pages were filled, split and merged, with marked rows among the others and in large ones."""
    documents, log = SqliteDocuments(engine), SqliteLog(engine, now_ms=lambda: 0)
    await documents.open([NOTES])
    await log.open([TOPIC])
    draw = random.Random(7)
    marked: list[str] = []
    for _ in range(12):
        notes = []
        for i in range(200):
            key = f"{draw.getrandbits(64):x}"
            is_marked = i % 3 == 0
            text = (MARKER.decode() if is_marked else "other") * draw.randrange(1, 800 if i % 50 == 0 else 30)
            key = f"{MARKER.decode()}-{key}" if is_marked else key
            marked += [key] if is_marked else []
            notes.append(Note(key, MARKER.decode() if is_marked else "ben", text))
        await documents.write_many([Insert(NOTES, note) for note in notes])
        await documents.write_many(
            [Replace(NOTES, Note(one.key, one.owner, one.text[::2] + one.owner, 2)) for one in notes[::2]]
        )
        await log.append(TOPIC.name, [Record(note.key, note.text.encode()) for note in notes])
    await documents.write_many([Delete(NOTES, key) for key in marked])
    for partition in range(log.partitions):
        found = await log.read(TOPIC.name, partition, 0, 10_000)
        from_there = [one for one in found if MARKER.decode() in one.key]
        await log.erase(TOPIC.name, [Place(one.partition, one.offset) for one in from_there])
    return documents, log


async def test_no_byte_of_what_was_deleted_is_left(tmp_path: Path) -> None:
    """In the file, its journal, and whatever else lies in the folder, while the store is open."""
    engine = await open_engine(tmp_path)
    documents, _ = await written(engine)

    await documents.scrub()

    assert [] == marked_files(tmp_path)
    await engine.close()


async def test_what_was_not_deleted_survives_a_scrub(tmp_path: Path) -> None:
    """Also over a restart: the rewritten file opens, with all that belongs to it."""
    engine = await open_engine(tmp_path)
    documents, log = await written(engine)
    before = {note.key for note in (await documents.scan(NOTES, "", limit=10_000)).items}
    await log.scrub()
    await engine.close()

    engine = await open_engine(tmp_path)
    documents = SqliteDocuments(engine)
    await documents.open([NOTES])
    after = {note.key for note in (await documents.scan(NOTES, "", limit=10_000)).items}
    await engine.close()

    assert (before, 1_596) == (after, len(after))


async def test_the_file_shrinks(tmp_path: Path) -> None:
    """What is gone takes no room."""
    engine = await open_engine(tmp_path)
    documents, _ = await written(engine)
    await documents.scrub()
    before = (tmp_path / FILE_NAME).stat().st_size
    page = await documents.scan(NOTES, "", limit=10_000)
    await documents.write_many([Delete(NOTES, note.key) for note in page.items])

    await documents.scrub()

    assert before > 2 * (tmp_path / FILE_NAME).stat().st_size
    await engine.close()


async def test_a_closed_engine_scrubs_nothing(tmp_path: Path) -> None:
    """It says so instead of waiting for ever."""
    engine = await open_engine(tmp_path)
    await engine.close()

    with pytest.raises(Unavailable):
        await engine.scrub()
