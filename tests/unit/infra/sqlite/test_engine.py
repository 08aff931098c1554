"""The engine: who shares a commit, who fails with whom, and what is refused at the door."""

import asyncio
import os
import resource
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from services.infra.patience import patiently
from services.infra.sqlite import engine as engine_module
from services.infra.sqlite.engine import (
    JOURNAL_LIMIT_BYTES,
    CannotOpen,
    DamagedFile,
    DataDirectoryInUse,
    Engine,
    ForeignFile,
    NewerSchema,
    Unavailable,
    open_engine,
)
from services.infra.sqlite.file import FILE_NAME, LOCK_NAME, SCHEMA, journal_of


def add(connection: apsw.Connection, items: Sequence[int]) -> list[int]:
    """A handler: store numbers, answer with their doubles; a negative one is a mistake, 666 a full disk."""
    connection.execute("create table if not exists numbers (n integer primary key)")
    for item in items:
        if item < 0:
            raise ValueError(f"negative: {item}")
        connection.execute("insert into numbers values (?)", (item,))
        if item == 666:
            raise apsw.FullError("disk full")
    return [2 * item for item in items]


def numbers(connection: apsw.Connection) -> list[int]:
    """What is stored."""
    if not connection.execute("select 1 from sqlite_schema where name = 'numbers'").fetchone():
        return []
    return [int(n) for (n,) in connection.execute("select n from numbers order by n").fetchall()]  # type: ignore[arg-type]


def fill(connection: apsw.Connection, items: Sequence[int]) -> list[None]:
    """A handler: store as many bytes as the item says."""
    connection.execute("create table if not exists fillings (id integer primary key, body blob)")
    for item in items:
        connection.execute("insert into fillings (body) values (randomblob(?))", (item,))
    return [None for _ in items]


class Gate:
    """A handler that keeps the writer busy until it is opened, so that others have to gather."""

    def __init__(self) -> None:
        self.is_reached = threading.Event()
        self.opens = threading.Event()

    def __call__(self, connection: apsw.Connection, items: Sequence[None]) -> list[None]:
        self.is_reached.set()
        assert self.opens.wait(30)
        return [None for _ in items]

    async def reached(self) -> None:
        """Return when the writer stands at the gate."""
        await asyncio.to_thread(self.is_reached.wait, 30)


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    """No file of this process can grow beyond `limit` bytes: writes fail as they do on a broken disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder that is not there yet."""
    return tmp_path / "some" / "data"


@pytest.fixture
async def engine(folder: Path) -> AsyncIterator[Engine]:
    """An engine over a new file."""
    opened = await open_engine(folder)
    yield opened
    await opened.close()


@pytest.fixture(params=["file", "memory"])
async def any_engine(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Engine]:
    """Over a file, and in memory."""
    opened = await open_engine(folder if request.param == "file" else None)
    yield opened
    await opened.close()


class TestWrite:
    """write(handler, item): durable on return."""

    async def test_the_handler_answers_each_item(self, any_engine: Engine) -> None:
        """And what it wrote is read afterwards."""
        doubles = await asyncio.gather(*(any_engine.write(add, n) for n in range(20)))

        assert ([2 * n for n in range(20)], list(range(20))) == (doubles, await any_engine.read(numbers))

    async def test_those_who_wait_share_one_commit(self, engine: Engine) -> None:
        """While one commit runs the others gather, and the next takes them all."""
        gate = Gate()
        groups: list[bool] = []
        engine.watch(groups.append)
        first = asyncio.create_task(engine.write(gate, None))
        await gate.reached()
        others = [asyncio.create_task(engine.write(add, n)) for n in range(100)]
        await asyncio.sleep(0)
        gate.opens.set()

        await asyncio.gather(first, *others)

        assert [True, True] == groups

    async def test_a_group_has_an_end(self, engine: Engine) -> None:
        """More than 2,000 rows are more than one group."""
        gate = Gate()
        groups: list[bool] = []
        engine.watch(groups.append)
        first = asyncio.create_task(engine.write(gate, None))
        await gate.reached()
        others = [asyncio.create_task(engine.write(add, n, rows=500)) for n in range(10)]
        await asyncio.sleep(0)
        gate.opens.set()

        await asyncio.gather(first, *others)

        assert [True] * 4 == groups

    async def test_whoever_can_wait_comes_after_the_others(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A few of them at a time, in groups of their own; all are done in the end."""
        monkeypatch.setattr(engine_module, "LONGEST_HOLD_SECONDS", 60.0)
        gate = Gate()
        groups: list[bool] = []
        ends: list[str] = []
        engine.watch(groups.append)

        async def write(name: str, n: int) -> None:
            await engine.write(add, n, rows=150)
            ends.append(name)

        first = asyncio.create_task(engine.write(gate, None))
        await gate.reached()
        with patiently():
            patient = [asyncio.create_task(write("patient", n)) for n in range(4)]
        others = [asyncio.create_task(write("other", n)) for n in range(10, 14)]
        await asyncio.sleep(0)
        gate.opens.set()

        await asyncio.gather(first, *patient, *others)

        assert (["other"] * 4 + ["patient"] * 4, [True] * 4) == (ends, groups)

    async def test_closing_does_what_can_wait(self, folder: Path) -> None:
        """Nobody is forgotten because they were patient."""
        engine = await open_engine(folder)
        with patiently():
            waiting = [asyncio.create_task(engine.write(add, n, rows=150)) for n in range(4)]
        await asyncio.sleep(0)

        await engine.close()

        assert [0, 2, 4, 6] == await asyncio.gather(*waiting)

    async def test_a_mistake_fails_its_caller_alone(self, any_engine: Engine) -> None:
        """The others of the same call are written as if it had not been there."""
        outcomes = await asyncio.gather(
            *(any_engine.write(add, n) for n in (1, 2, -1, 3)), any_engine.write(fill, 5), return_exceptions=True
        )

        assert ([2, 4, "negative: -1", 6, None], [1, 2, 3]) == (
            [str(outcome) if isinstance(outcome, ValueError) else outcome for outcome in outcomes],
            await any_engine.read(numbers),
        )

    async def test_trouble_with_the_file_fails_the_whole_group(self, engine: Engine) -> None:
        """Nobody is told that anything was written, and nothing was."""
        gate = Gate()
        groups: list[bool] = []
        engine.watch(groups.append)
        first = asyncio.create_task(engine.write(gate, None))
        await gate.reached()
        others = [asyncio.create_task(engine.write(add, n)) for n in (1, 666, 2)]
        others_too = asyncio.create_task(engine.write(fill, 5))
        await asyncio.sleep(0)
        gate.opens.set()

        await first
        outcomes = await asyncio.gather(*others, others_too, return_exceptions=True)

        assert ([Unavailable] * 4, [], [True, False]) == (
            [type(outcome) for outcome in outcomes],
            await engine.read(numbers),
            groups,
        )

    async def test_after_trouble_the_next_write_succeeds(self, any_engine: Engine) -> None:
        """The engine needs nobody to mend it."""
        with pytest.raises(Unavailable, match="disk full"):
            await any_engine.write(add, 666)

        assert 2 == await any_engine.write(add, 1)

    async def test_arrivals_come_in_the_order_of_commits(self, any_engine: Engine) -> None:
        """On the loop, before the caller goes on, and also for a caller who has gone."""
        arrived: list[int] = []
        tasks = [asyncio.create_task(any_engine.write(add, n, arrived=arrived.append)) for n in range(10)]
        await asyncio.sleep(0)
        tasks[4].cancel()

        await asyncio.gather(*tasks, return_exceptions=True)

        assert [2 * n for n in range(10)] == arrived

    async def test_closing_finishes_what_was_asked(self, folder: Path) -> None:
        """Writes that wait are written; later ones are refused."""
        engine = await open_engine(folder)
        gate = Gate()
        first = asyncio.create_task(engine.write(gate, None))
        await gate.reached()
        others = [asyncio.create_task(engine.write(add, n)) for n in range(5)]
        await asyncio.sleep(0)
        gate.opens.set()

        await engine.close()

        assert [0, 2, 4, 6, 8] == await asyncio.gather(*others)
        await first
        with pytest.raises(Unavailable, match="closed"):
            await engine.write(add, 9)


class TestRead:
    """read(job): beside the writer."""

    async def test_reading_does_not_wait_for_the_writer(self, engine: Engine) -> None:
        """While a commit runs, readers see what was committed before."""
        await engine.write(add, 1)
        gate = Gate()
        writing = asyncio.create_task(engine.write(gate, None))
        await gate.reached()

        seen = await engine.read(numbers)

        gate.opens.set()
        await writing
        assert [1] == seen

    async def test_readers_cannot_write(self, engine: Engine) -> None:
        """There is one connection that writes."""
        with pytest.raises(Unavailable, match="readonly"):
            await engine.read(lambda connection: connection.execute("create table t (x)"))

    async def test_a_mistake_is_raised_at_the_caller(self, any_engine: Engine) -> None:
        """And the reader goes on."""
        with pytest.raises(ZeroDivisionError):
            await any_engine.read(lambda connection: 1 // 0)

        assert [] == await any_engine.read(numbers)


class TestTrouble:
    """A disk that is full or broken."""

    async def test_a_full_disk_is_unavailable_until_there_is_space(self, engine: Engine) -> None:
        """What was stored stays readable, the refused write leaves nothing, and the next one is written."""
        await engine.write(add, 1)
        await engine.write(lambda connection, items: [connection.pragma("max_page_count", 50) for _ in items], None)

        with pytest.raises(Unavailable, match="full"):
            await engine.write(fill, 1 << 20)

        assert [1] == await engine.read(numbers)
        await engine.write(
            lambda connection, items: [connection.pragma("max_page_count", 1 << 30) for _ in items], None
        )
        await engine.write(fill, 1 << 20)
        assert 1 == await engine.read(
            lambda connection: connection.execute("select count(*) from fillings").fetchone()[0]  # type: ignore[index]
        )

    async def test_a_disk_that_does_not_take_a_write_is_unavailable(self, engine: Engine, folder: Path) -> None:
        """The journal cannot grow: nothing is acknowledged, nothing half written; then it can, and all is well."""
        await engine.write(add, 1)
        limit = journal_of(folder / FILE_NAME).stat().st_size + 10_000

        with small_files(limit):
            outcomes = await asyncio.gather(engine.write(fill, 1 << 20), engine.write(add, 2), return_exceptions=True)
            seen = await engine.read(numbers)

        await engine.write(add, 3)
        refused = [isinstance(outcome, Unavailable) for outcome in outcomes]
        kept = [1, 3] if refused[1] else [1, 2, 3]
        assert (True, kept[:-1], kept) == (refused[0], seen, await engine.read(numbers))

    async def test_the_journal_stays_small(self, engine: Engine, folder: Path) -> None:
        """However much is written, the journal is emptied between groups."""
        for _ in range(40):
            await engine.write(fill, 4 << 20, size=4 << 20)

        assert journal_of(folder / FILE_NAME).stat().st_size < JOURNAL_LIMIT_BYTES + (16 << 20)


class TestOpen:
    """open_engine(folder): one server, and a file that can be trusted."""

    async def test_what_was_written_is_there_after_reopening(self, folder: Path) -> None:
        """The folder is made at the first start and found at the second."""
        engine = await open_engine(folder)
        await engine.write(add, 7)
        await engine.close()

        engine = await open_engine(folder)

        assert [7] == await engine.read(numbers)
        await engine.close()

    async def test_a_second_server_is_refused(self, engine: Engine, folder: Path) -> None:
        """With a sentence that says who has the folder."""
        with pytest.raises(DataDirectoryInUse, match=f"{folder} is in use by another server .process {os.getpid()}."):
            await open_engine(folder)

        assert 2 == await engine.write(add, 1)

    async def test_a_closed_folder_is_free(self, folder: Path) -> None:
        """The lock goes with the server, not with the file."""
        await (await open_engine(folder)).close()
        second = await open_engine(folder)
        await second.close()

        assert (folder / LOCK_NAME).exists()

    @pytest.mark.parametrize(
        ("content", "what"),
        [
            (b"", "it is empty"),
            (b"not a database", "it is not a SQLite file"),
            (b"SQLite format 3\x00" + b"\x00" * 84, "not a database|malformed"),
        ],
    )
    async def test_a_file_that_is_no_database_is_refused(self, folder: Path, content: bytes, what: str) -> None:
        """It is not replaced by an empty one."""
        folder.mkdir(parents=True)
        (folder / FILE_NAME).write_bytes(content)

        with pytest.raises(DamagedFile, match=what):
            await open_engine(folder)

        assert content == (folder / FILE_NAME).read_bytes()

    @pytest.mark.parametrize("damage", ["cut", "overwritten"])
    async def test_a_damaged_file_is_refused(self, folder: Path, damage: str) -> None:
        """A part that is missing, and pages that are not what was written."""
        engine = await open_engine(folder)
        for _ in range(50):
            await engine.write(fill, 10_000)
        await engine.close()
        file = folder / FILE_NAME
        whole = file.read_bytes()
        file.write_bytes(whole[:200_000] if damage == "cut" else whole[:4096] + b"\xff" * 100_000 + whole[104_096:])

        with pytest.raises(DamagedFile, match=r"is damaged: .* Restore it from a backup"):
            await open_engine(folder)

    async def test_a_journal_without_its_file_is_refused(self, folder: Path) -> None:
        """Somebody removed the file; starting empty would hide it."""
        folder.mkdir(parents=True)
        journal_of(folder / FILE_NAME).write_bytes(b"x")

        with pytest.raises(DamagedFile, match="missing"):
            await open_engine(folder)

    async def test_another_programs_file_is_refused(self, folder: Path) -> None:
        """A sound file, but not ours."""
        folder.mkdir(parents=True)
        apsw.Connection(str(folder / FILE_NAME)).execute("create table t (x)").connection.close()

        with pytest.raises(ForeignFile, match="another program"):
            await open_engine(folder)

    async def test_a_file_of_a_newer_release_is_refused(self, folder: Path) -> None:
        """It may hold what this release would spoil."""
        await (await open_engine(folder)).close()
        connection = apsw.Connection(str(folder / FILE_NAME))
        connection.pragma("user_version", SCHEMA + 1)
        connection.close()

        with pytest.raises(NewerSchema, match=f"schema {SCHEMA + 1}, and this release knows {SCHEMA}"):
            await open_engine(folder)

    async def test_after_a_refusal_the_folder_is_free(self, folder: Path) -> None:
        """Whoever mends the file can start."""
        folder.mkdir(parents=True)
        (folder / FILE_NAME).write_bytes(b"")
        with pytest.raises(CannotOpen):
            await open_engine(folder)
        (folder / FILE_NAME).unlink()

        engine = await open_engine(folder)

        assert [] == await engine.read(numbers)
        await engine.close()

    async def test_a_start_that_was_killed_leaves_nothing_in_the_way(self, folder: Path) -> None:
        """The file is made beside its place; what is left of an earlier attempt is swept away."""
        folder.mkdir(parents=True)
        (folder / f"{FILE_NAME}.new").write_bytes(b"half a file")

        engine = await open_engine(folder)

        assert 2 == await engine.write(add, 1)
        await engine.close()
