"""The engine: whoever writes waits for a shared commit, whoever reads sees what is committed.

Law: a write that returns is on the disk. There is no timed window: requests gather while a commit runs, and the
next one takes them all; of those who can wait (`services.infra.patience`) it takes a few, and none while the
checkpointer is behind. With nothing to do, no thread runs.

Threads of a file's engine: one writer, `readers` readers, one that moves pages from the journal into the file, and
while somebody waits for a scrub one that zeroes. The event loop is woken once per group. An engine in memory runs everything on the loop's own thread, in the order of the calls.
"""

import asyncio
import logging
import os
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw

from services.infra.patience import is_patient
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
from services.infra.sqlite.scrub import Job, Scrubber

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

PATIENT_ROWS = 200  # in one group: 5 to 10 ms that others wait
FEW_FRAMES = 200
INCOMPLETE_SECONDS = 0.01  # after a checkpoint that a reader held up
# Whoever writes once will often write again at once: those who can wait let that pass, but not for ever.
HOLD_SECONDS = 0.004
LONGEST_HOLD_SECONDS = 0.03
PATIENT_FRAMES = 2_000  # pages in the journal that are not in the file yet: whoever can wait waits for them

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

        Others read and write meanwhile; calls that gathered share one run. What is free stays in the file for
        what comes. Raises Unavailable: the engine is being closed, or a reader did not let go of the journal.
        """
        await self._ask(Request(_scrubbed, None, 0, 0, self._loop.create_future()), self._submit_scrub)

    async def close(self) -> None:
        """Finish everything asked so far but scrubs, and let go of the file and the folder. Idempotent."""
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
    def _submit_scrub(self, request: Request) -> None: ...

    @abstractmethod
    async def _close(self) -> None: ...


class _MemoryEngine(Engine):
    """Runs each request at once; the caller gets its answer in the loop's next turn, as it would from a thread."""

    def __init__(self) -> None:
        super().__init__()
        self._connection = memory_connection()

    def _submit_write(self, request: Request) -> None:
        self._commit(self._connection, [request])
        self._loop.call_soon(settle, [request])

    def _submit_read(self, request: Request) -> None:
        _run_read(self._connection, request)
        self._loop.call_soon(settle, [request])

    def _submit_scrub(self, request: Request) -> None:
        rewrite(self._connection, None)
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
        self._writes: queue.SimpleQueue[Request | Job | None] = queue.SimpleQueue()
        self._patient: deque[Request] = deque()
        self._others_at = 0.0  # when a group of theirs was taken last
        self._patient_at = 0.0  # since when somebody waits patiently
        self._reads: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._is_dirty = threading.Event()  # the journal holds pages that the file does not
        self._is_urgent = threading.Event()  # somebody waits for the checkpointer
        self._unmoved = 0  # pages in the journal that are not in the file, about
        self._is_stopping = threading.Event()
        self._checkpointing = threading.Lock()  # two checkpoints at once: the second would be refused
        self._reading = threading.Lock()  # held for a moment only: by each reader that begins, or to keep them waiting
        self._writer: threading.Thread | None = None
        self._unseen_bytes = 0
        self._scrubber = Scrubber(
            self._path,
            moving=self._checkpointing,
            reading=self._reading,
            submit=self._writes.put,
            is_writing=self._is_writing,
            settle=self._post,
        )

    def start(self) -> None:
        """Lock, check and open; runs outside the loop, since a journal left by a crash has to be read."""
        self._lock = lock_folder(self._folder)
        try:
            ensure_file(self._path)
            self._scrubber.open()
            try:
                writer = self._kept(writer_connection(self._path))
                checkpointer = self._kept(checkpoint_connection(self._path))
                readers = [self._kept(reader_connection(self._path)) for _ in range(self._readers)]
            except TROUBLE as error:
                raise CannotOpen(f"The data file {self._path} cannot be opened: {describe(error)}") from error
        except BaseException:
            self._let_go()
            raise
        self._scrubber.watch(writer, checkpointer)
        self._is_dirty.set()  # whatever a crash left in the journal
        self._writer = self._start_thread("writer", self._write_forever, writer)
        self._start_thread("checkpoint", self._checkpoint_forever, checkpointer)
        for reader in readers:
            self._start_thread("reader", self._read_forever, reader)

    def _kept(self, connection: apsw.Connection) -> apsw.Connection:
        self._connections.append(connection)
        return connection

    def _start_thread(
        self, name: str, run: Callable[[apsw.Connection], None], connection: apsw.Connection
    ) -> threading.Thread:
        thread = threading.Thread(target=run, args=(connection,), name=f"sqlite-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _is_writing(self) -> bool:
        return self._writer is not None and self._writer.is_alive()

    def _submit_write(self, request: Request) -> None:
        if is_patient():
            if not self._patient:
                self._patient_at = time.monotonic()
            self._patient.append(request)
            self._writes.put(_look)
        else:
            self._writes.put(request)

    def _submit_read(self, request: Request) -> None:
        self._reads.put(request)

    def _submit_scrub(self, request: Request) -> None:
        self._scrubber.ask(request)

    def _write_forever(self, connection: apsw.Connection) -> None:
        goes_on = True
        while goes_on:
            group, job, goes_on = self._gather(self._next())
            now = time.monotonic()
            if group:
                self._others_at = now
            if self._patient and (not goes_on or self._hold(now) == 0):
                group += self._patient_ones(is_last=not goes_on)
                self._patient_at = now
            if group:
                self._commit(connection, group)
                self._unmoved += self._scrubber.noted()
                self._post(group)
                self._is_dirty.set()
                self._keep_journal_small(connection, group)
            if job is not None:
                job(connection)

    def _next(self) -> Request | Job | None:
        """The next write or job, or the turn of those who can wait."""
        try:
            return self._writes.get(timeout=self._hold(time.monotonic()) if self._patient else None)
        except queue.Empty:
            return _look

    def _hold(self, now: float) -> float | None:
        """For how long those who can wait have to; None: until the next checkpoint."""
        if self._unmoved > PATIENT_FRAMES:
            self._is_urgent.set()
            self._is_dirty.set()
            return None
        until = min(self._others_at + HOLD_SECONDS, self._patient_at + LONGEST_HOLD_SECONDS)
        return max(0.0, until - now)

    def _is_somebody_patient(self) -> bool:
        return time.monotonic() < self._patient_at + 1.0

    def _patient_ones(self, is_last: bool) -> list[Request]:
        found: list[Request] = []
        rows = 0
        while self._patient and (rows < PATIENT_ROWS or is_last):
            found.append(self._patient.popleft())
            rows += found[-1].rows
        return found

    def _gather(self, first: Request | Job | None) -> tuple[list[Request], Job | None, bool]:
        """The first request and all that came while the last commit ran, up to a job; False after the last one ever."""
        group: list[Request] = []
        rows = size = 0
        request = first
        while isinstance(request, Request) or request is _look:
            if isinstance(request, Request):
                group.append(request)
                rows += request.rows
                size += request.size
            if rows >= GROUP_ROWS or size >= GROUP_BYTES:
                return group, None, True
            try:
                request = self._writes.get_nowait()
            except queue.Empty:
                return group, None, True
        return group, request, request is not None

    def _read_forever(self, connection: apsw.Connection) -> None:
        while (request := self._reads.get()) is not None:
            with self._reading:
                pass  # the journal is being emptied, which needs a moment without readers
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
            if (
                JOURNAL_BYTES < size < JOURNAL_LIMIT_BYTES
                and self._unmoved > FEW_FRAMES
                and self._is_somebody_patient()
            ):
                self._is_urgent.set()  # they wait meanwhile, so it will not be long until there is little to move
                return
            # While the other thread is at it, most of the work is being done without us: look again after the next
            # group, unless that cannot keep up.
            if size > JOURNAL_BYTES and self._checkpointing.acquire(blocking=size > JOURNAL_LIMIT_BYTES):
                try:
                    with self._reading:
                        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
                    self._unmoved = 0
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
            self._is_urgent.wait(pause)
            if self._is_stopping.is_set():
                return
            self._is_urgent.clear()
            self._is_dirty.clear()
            try:
                with self._checkpointing:
                    pages, moved = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                is_complete = moved >= pages
                self._unmoved = pages - moved
            except TROUBLE as error:
                logger.warning("a checkpoint failed, the journal grows until one succeeds: %s", describe(error))
                is_complete = False
            # On a full disk nobody wants four warnings a second.
            pause = CHECKPOINT_SECONDS if is_complete else min(2 * pause, CHECKPOINT_PATIENCE_SECONDS)
            if not is_complete:
                self._is_dirty.set()
                self._is_stopping.wait(INCOMPLETE_SECONDS)  # a reader holds it up: asking again at once helps nobody
            if self._patient:
                self._writes.put(_look)

    async def _close(self) -> None:
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        self._scrubber.stop()
        self._writes.put(None)
        for _ in range(self._readers):
            self._reads.put(None)
        self._is_stopping.set()
        self._is_dirty.set()
        self._is_urgent.set()
        for thread in self._threads:
            thread.join()
        self._let_go()

    def _let_go(self) -> None:
        for connection in reversed(self._connections):  # the writer last: it moves what the journal still holds
            try:
                connection.close()
            except TROUBLE as error:
                logger.warning("closing the store: %s", describe(error))
        self._scrubber.close()
        os.close(self._lock)


def _scrubbed(connection: apsw.Connection, items: Sequence[None]) -> list[None]:
    """Stands for a scrub, which is no handler: it is no part of any transaction."""
    raise AssertionError("nobody runs it")


def _look(connection: apsw.Connection) -> None:
    """A job that is none: the writer looks at those who can wait."""


def _run_read(connection: apsw.Connection, request: Request) -> None:
    try:
        request.result = request.run(connection)
    except TROUBLE as error:
        request.error = Unavailable(describe(error))
    except Exception as error:  # noqa: BLE001  # it belongs to the caller, and is raised there
        request.error = error
