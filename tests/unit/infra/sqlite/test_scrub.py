"""What was deleted is gone from every byte of the file and of its journal."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import apsw
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
    """Also over a restart: the file opens, with all that belongs to it."""
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


async def test_what_is_gone_makes_room_for_what_comes(tmp_path: Path) -> None:
    """The file does not grow where as much was deleted as is written."""
    engine = await open_engine(tmp_path)
    documents, _ = await written(engine)
    page = await documents.scan(NOTES, "", limit=10_000)
    await documents.write_many([Delete(NOTES, note.key) for note in page.items])
    await documents.scrub()
    before = (tmp_path / FILE_NAME).stat().st_size

    await documents.write_many([Insert(NOTES, note) for note in page.items[:1_000]])
    await documents.scrub()

    assert before == (tmp_path / FILE_NAME).stat().st_size
    await engine.close()


async def test_earlier_versions_of_what_stays_are_gone_too(tmp_path: Path) -> None:
    """Rows that were written over, longer and shorter, within a page and over many: no text of before is left."""
    engine = await open_engine(tmp_path)
    documents = SqliteDocuments(engine)
    await documents.open([NOTES])
    draw = random.Random(3)
    notes = [Note(f"{draw.getrandbits(64):x}", "ben", MARKER.decode() * draw.randrange(1, 900)) for _ in range(400)]
    await documents.write_many([Insert(NOTES, note) for note in notes])
    again = [Note(note.key, "ben", "other" * draw.randrange(1, 900), 2) for note in notes]
    await documents.write_many([Replace(NOTES, note) for note in again])

    await documents.scrub()

    assert [] == marked_files(tmp_path)
    assert {note.key: note for note in again} == {
        note.key: note for note in (await documents.scan(NOTES, "", limit=1_000)).items
    }
    await engine.close()


async def test_what_the_writer_remembers_brings_nothing_back(tmp_path: Path) -> None:
    """Pages that are written again after the scrub, by a writer that had them in memory before."""
    engine = await open_engine(tmp_path)
    documents, _ = await written(engine)
    await documents.scrub()

    left = (await documents.scan(NOTES, "", limit=10_000)).items
    await documents.write_many(
        [Replace(NOTES, Note(one.key, one.owner, one.text[:-1], one.revision + 1)) for one in left]
    )

    assert [] == marked_files(tmp_path)
    await engine.close()


async def test_others_write_and_read_while_the_file_is_scrubbed(tmp_path: Path) -> None:
    """Their documents are what they wrote, every page is sound, and what was deleted before is gone all the same."""
    engine = await open_engine(tmp_path)
    documents, _ = await written(engine)
    model = {note.key: note for note in (await documents.scan(NOTES, "", limit=10_000)).items}
    scrub = asyncio.create_task(documents.scrub())
    draw = random.Random(5)
    rounds = 0
    while not scrub.done() and rounds < 40:
        rounds += 1
        texts = ["word" * draw.choice((1, 10, 100, 1_500)) for _ in range(20)]
        old = [model[key] for key in draw.sample(sorted(model), 20)]
        changed = [Note(one.key, "ann", text, one.revision + 1) for one, text in zip(old, texts, strict=True)]
        fresh = [Note(f"new-{draw.getrandbits(64):x}", "ann", text) for text in texts]
        gone = [key for key in draw.sample(sorted(model), 10) if key not in {one.key for one in changed}]
        await documents.write_many(
            [
                *(Replace(NOTES, one) for one in changed),
                *(Insert(NOTES, one) for one in fresh),
                *(Delete(NOTES, key) for key in gone),
            ]
        )
        model |= {one.key: one for one in (*changed, *fresh)}
        model = {key: one for key, one in model.items() if key not in gone}
        await documents.scan(NOTES, "by_owner", ("ann",), limit=20)
    await scrub

    assert [] == marked_files(tmp_path)
    assert model == {note.key: note for note in (await documents.scan(NOTES, "", limit=100_000)).items}
    assert [("ok",)] == await engine.read(lambda connection: connection.execute("pragma integrity_check").fetchall())
    await engine.close()


async def test_scrubs_asked_for_at_once_are_all_answered(tmp_path: Path) -> None:
    """Documents and log ask together; one that comes later has a run of its own."""
    engine = await open_engine(tmp_path)
    documents, log = await written(engine)

    assert (True, True, True) == tuple(await asyncio.gather(documents.scrub(), log.scrub(), documents.scrub()))
    assert await log.scrub()

    await engine.close()


async def test_closing_ends_a_scrub(tmp_path: Path) -> None:
    """Whoever asked is told that it was not done, or that it was; the engine closes either way."""
    engine = await open_engine(tmp_path)
    await written(engine)
    scrub = asyncio.create_task(engine.scrub())
    await asyncio.sleep(0)

    await engine.close()

    assert isinstance((await asyncio.gather(scrub, return_exceptions=True))[0], Unavailable | None)


async def test_a_file_of_another_layout_is_written_anew(tmp_path: Path) -> None:
    """One that keeps maps of its pages, which we never make: nothing of it is touched in place."""
    engine = await open_engine(tmp_path)
    await engine.close()
    connection = apsw.Connection(str(tmp_path / FILE_NAME))
    connection.pragma("journal_mode", "DELETE")
    connection.pragma("auto_vacuum", 2)
    connection.execute("vacuum")
    connection.pragma("journal_mode", "WAL")
    connection.close()
    engine = await open_engine(tmp_path)
    documents, _ = await written(engine)

    await documents.scrub()

    assert [] == marked_files(tmp_path)
    await engine.close()


async def test_a_closed_engine_scrubs_nothing(tmp_path: Path) -> None:
    """It says so instead of waiting for ever."""
    engine = await open_engine(tmp_path)
    await engine.close()

    with pytest.raises(Unavailable):
        await engine.scrub()
