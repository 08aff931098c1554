"""The engine: whoever writes waits for a shared commit, whoever reads sees what is committed.

Law: a write that returns is on the disk. There is no timed window: requests gather while a commit runs, and the
next one takes them all. With nothing to do, no thread runs.

Threads of a file's engine: one writer, `readers` readers, and one that moves pages from the journal into the file.
The event loop is woken once per group. An engine in memory runs everything on the loop's own thread, in the order
of the calls.
"""

import asyncio
import logging
import os
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw

from services.infra.sqlite.errors import (
    TROUBLE,
    CannotOpen,
    DamagedFile,
    DataDirectoryInUse,
    ForeignFile,
    NewerSchema,
    Unavailable,
)
from services.infra.sqlite.file import (
    FILE_NAME,
    checkpoint_connection,
    ensure_file,
    journal_of,
    lock_folder,
    memory_connection,
    reader_connection,
    rewrite,
    writer_connection,
)
from services.infra.sqlite.group import Handler, Request, commit_group, describe, settle

__all__ = [
    "CannotOpen",
    "DamagedFile",
    "DataDirectoryInUse",
    "Engine",
    "ForeignFile",
    "NewerSchema",
    "Unavailable",
    "open_engine",
]

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
Watcher = Callable[[bool], None]

# All four: runtime design 3, measured.
GROUP_ROWS = 2_000
GROUP_BYTES = 4 << 20
CHECKPOINT_SECONDS = 0.25
CHECKPOINT_PATIENCE_SECONDS = 5.0  # the longest pause after checkpoints that could not be finished
JOURNAL_BYTES = 16 << 20
JOURNAL_LIMIT_BYTES = 64 << 20
SCRUB_TRIES = 100  # of emptying the journal, 100 ms each

_ROW_IN_JOURNAL_BYTES = 3 * 4096  # a guess at the pages a row dirties: its own, and those of two indexes
_LOOK_EVERY_BYTES = 1 << 20

logger = logging.getLogger(__name__)


async def open_engine(folder: Path | None, readers: int = 2) -> "Engine":
    """Open the store in `folder` (made if missing), or one in memory for None. Raises CannotOpen, OSError.

    The engine belongs to the running event loop and must be closed on it.
    """
    if folder is None:
        return _MemoryEngine()
    engine = _FileEngine(folder, readers)
    await asyncio.to_thread(engine.start)
    return engine


class Engine(ABC):
    """A SQLite database that documents and log share, so that they share its commits."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._watchers: list[Watcher] = []
        self._is_closed = False

    async def write(
        self,
        handler: Handler[ItemT, ResultT],
        item: ItemT,
        *,
        rows: int = 1,
        size: int = 0,
        arrived: Callable[[ResultT], None] | None = None,
    ) -> ResultT:
        """Have `handler` apply `item` in the next group; return its result once that is durable.

        All items of one handler in a group come in one call, in the order of the writes. `rows` and `size` (bytes)
        say how much of a group this takes. `arrived` is called on the loop, in commit order, also if the caller
        has gone. Raises Unavailable, or what the handler raised for this item.
        """
        request = Request(handler, item, rows, size, self._loop.create_future(), arrived)
        return await self._ask(request, self._submit_write)  # type: ignore[no-any-return]

    async def read(self, job: Callable[[apsw.Connection], ResultT]) -> ResultT:
        """Run `job` on a reading connection; it sees every write acknowledged before the call. Raises Unavailable."""
        request = Request(job, None, 0, 0, self._loop.create_future())
        return await self._ask(request, self._submit_read)  # type: ignore[no-any-return]

    def watch(self, watcher: Watcher) -> None:
        """Call `watcher` after each group, where handlers run: True committed, False all of it undone."""
        self._watchers.append(watcher)

    async def scrub(self) -> None:
        """Return once no byte of what was deleted or replaced before this call is left in the file or its journal.

        The file is written anew, some 100 MB a second, while writers wait; calls that gathered share one rewrite.
        Raises Unavailable: there was no room for the copy, or a reader did not let go of the journal.
        """
        await self._ask(Request(_scrubbed, None, 0, 0, self._loop.create_future()), self._submit_write)

    async def close(self) -> None:
        """Finish everything asked so far and let go of the file and the folder. Idempotent."""
        if not self._is_closed:
            self._is_closed = True
            await self._close()

    async def _ask(self, request: Request, submit: Callable[[Request], None]) -> Any:
        if self._is_closed:
            raise Unavailable("the store is closed")
        submit(request)
        return await request.future

    def _commit(self, connection: apsw.Connection, group: Sequence[Request]) -> None:
        is_committed = commit_group(connection, group)
        for watcher in self._watchers:
            watcher(is_committed)

    @abstractmethod
    def _submit_write(self, request: Request) -> None: ...

    @abstractmethod
    def _submit_read(self, request: Request) -> None: ...

    @abstractmethod
    async def _close(self) -> None: ...


class _MemoryEngine(Engine):
    """Runs each request at once; the caller gets its answer in the loop's next turn, as it would from a thread."""

    def __init__(self) -> None:
        super().__init__()
        self._connection = memory_connection()

    def _submit_write(self, request: Request) -> None:
        if request.run is _scrubbed:
            rewrite(self._connection, None)
        else:
            self._commit(self._connection, [request])
        self._loop.call_soon(settle, [request])

    def _submit_read(self, request: Request) -> None:
        _run_read(self._connection, request)
        self._loop.call_soon(settle, [request])

    async def _close(self) -> None:
        self._connection.close()


class _FileEngine(Engine):
    def __init__(self, folder: Path, readers: int) -> None:
        super().__init__()
        self._folder = folder
        self._path = folder / FILE_NAME
        self._readers = readers
        self._lock = -1
        self._connections: list[apsw.Connection] = []
        self._threads: list[threading.Thread] = []
        self._writes: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._is_dirty = threading.Event()  # the journal holds pages that the file does not
        self._is_stopping = threading.Event()
        self._checkpointing = threading.Lock()  # two checkpoints at once: the second would be refused
        self._unseen_bytes = 0

    def start(self) -> None:
        """Lock, check and open; runs outside the loop, since a journal left by a crash has to be read."""
        self._lock = lock_folder(self._folder)
        try:
            ensure_file(self._path)
            try:
                writer = self._kept(writer_connection(self._path))
                checkpointer = self._kept(checkpoint_connection(self._path))
                readers = [self._kept(reader_connection(self._path)) for _ in range(self._readers)]
            except TROUBLE as error:
                raise CannotOpen(f"The data file {self._path} cannot be opened: {describe(error)}") from error
        except BaseException:
            self._let_go()
            raise
        self._is_dirty.set()  # whatever a crash left in the journal
        self._start_thread("writer", self._write_forever, writer)
        self._start_thread("checkpoint", self._checkpoint_forever, checkpointer)
        for reader in readers:
            self._start_thread("reader", self._read_forever, reader)

    def _kept(self, connection: apsw.Connection) -> apsw.Connection:
        self._connections.append(connection)
        return connection

    def _start_thread(self, name: str, run: Callable[[apsw.Connection], None], connection: apsw.Connection) -> None:
        thread = threading.Thread(target=run, args=(connection,), name=f"sqlite-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _submit_write(self, request: Request) -> None:
        self._writes.put(request)

    def _submit_read(self, request: Request) -> None:
        self._reads.put(request)

    def _write_forever(self, connection: apsw.Connection) -> None:
        goes_on = True
        while goes_on and (first := self._writes.get()) is not None:
            group, goes_on = self._gather(first)
            scrubs = [request for request in group if request.run is _scrubbed]
            if writes := [request for request in group if request.run is not _scrubbed] if scrubs else group:
                self._commit(connection, writes)
                self._post(writes)
                self._is_dirty.set()
                self._keep_journal_small(connection, writes)
            if scrubs:
                self._scrub(connection, scrubs)

    def _gather(self, first: Request) -> tuple[list[Request], bool]:
        """The first request and all that came while the last commit ran; False after the last one ever."""
        group, rows, size = [first], first.rows, first.size
        while rows < GROUP_ROWS and size < GROUP_BYTES:
            try:
                request = self._writes.get_nowait()
            except queue.Empty:
                break
            if request is None:
                return group, False
            group.append(request)
            rows += request.rows
            size += request.size
        return group, True

    def _scrub(self, connection: apsw.Connection, requests: list[Request]) -> None:
        """Rewrite the file and empty the journal, which holds old pages as long as it is there."""
        try:
            with self._checkpointing:
                rewrite(connection, self._path)
                self._empty_journal(connection)
        except TROUBLE as error:
            for request in requests:
                request.error = Unavailable(describe(error))
        except Exception as error:  # noqa: BLE001  # the writer goes on whatever it is, and the callers are told
            for request in requests:
                request.error = error
        self._is_dirty.set()
        self._post(requests)

    def _empty_journal(self, connection: apsw.Connection) -> None:
        for _ in range(SCRUB_TRIES - 1):
            try:
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
                return
            except (apsw.BusyError, apsw.LockedError):
                continue  # a reader was in it, for a statement's time; each try waits for 100 ms
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def _read_forever(self, connection: apsw.Connection) -> None:
        while (request := self._reads.get()) is not None:
            _run_read(connection, request)
            self._post([request])

    def _post(self, requests: list[Request]) -> None:
        try:
            self._loop.call_soon_threadsafe(settle, requests)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more

    def _keep_journal_small(self, connection: apsw.Connection, group: Sequence[Request]) -> None:
        """Empty the journal between two groups once it is large: passive checkpoints alone let it reach 150 MB."""
        self._unseen_bytes += sum(request.size + request.rows * _ROW_IN_JOURNAL_BYTES for request in group)
        if self._unseen_bytes < _LOOK_EVERY_BYTES:
            return
        try:
            size = os.stat(journal_of(self._path)).st_size
            # While the other thread is at it, most of the work is being done without us: look again after the next
            # group, unless that cannot keep up.
            if size > JOURNAL_BYTES and self._checkpointing.acquire(blocking=size > JOURNAL_LIMIT_BYTES):
                try:
                    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
                finally:
                    self._checkpointing.release()
            elif size > JOURNAL_BYTES:
                return
        except (*TROUBLE, OSError) as error:
            logger.debug("the journal stays for now: %s", describe(error))  # a reader was in it, or the disk is full
        self._unseen_bytes = 0

    def _checkpoint_forever(self, connection: apsw.Connection) -> None:
        """A quarter of a second after a write, move what is committed into the file; sleep while nothing is written."""
        pause = CHECKPOINT_SECONDS
        while True:
            self._is_dirty.wait()
            if self._is_stopping.wait(pause):
                return
            self._is_dirty.clear()
            try:
                with self._checkpointing:
                    pages, moved = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                is_complete = moved >= pages
            except TROUBLE as error:
                logger.warning("a checkpoint failed, the journal grows until one succeeds: %s", describe(error))
                is_complete = False
            # On a full disk nobody wants four warnings a second.
            pause = CHECKPOINT_SECONDS if is_complete else min(2 * pause, CHECKPOINT_PATIENCE_SECONDS)
            if not is_complete:
                self._is_dirty.set()

    async def _close(self) -> None:
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        self._writes.put(None)
        for _ in range(self._readers):
            self._reads.put(None)
        self._is_stopping.set()
        self._is_dirty.set()
        for thread in self._threads:
            thread.join()
        self._let_go()

    def _let_go(self) -> None:
        for connection in reversed(self._connections):  # the writer last: it moves what the journal still holds
            try:
                connection.close()
            except TROUBLE as error:
                logger.warning("closing the store: %s", describe(error))
        os.close(self._lock)


def _scrubbed(connection: apsw.Connection, items: Sequence[None]) -> list[None]:
    """Stands for a rewrite of the file, which is no handler: it cannot run within a group's transaction."""
    raise AssertionError("the writer sees to it itself")


def _run_read(connection: apsw.Connection, request: Request) -> None:
    try:
        request.result = request.run(connection)
    except TROUBLE as error:
        request.error = Unavailable(describe(error))
    except Exception as error:  # noqa: BLE001  # it belongs to the caller, and is raised there
        request.error = error
