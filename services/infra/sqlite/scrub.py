"""Scrubbing a file that is in use: in a thread of its own, a little at a time, while everybody reads and writes.

Law: whoever asked is answered once no byte of what was deleted or replaced before is in the file or the journal. The
writer is held up only where it must be: to empty the journal, and while the last few pages are zeroed.

No statement of SQLite does that in small pieces: `secure_delete` leaves what moved between pages (balance_nonroot),
and VACUUM writes everything in one transaction, 110 MB a second, while nobody else can write.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import apsw

from services.infra.sqlite.errors import TROUBLE, Unavailable
from services.infra.sqlite.file import journal_of, rewrite
from services.infra.sqlite.group import Request, describe
from services.infra.sqlite.pages import UnknownLayout
from services.infra.sqlite.zeroing import Written, Zeroing

STILL_TRIES = 200
LAST_TRIES = 100
PAUSE_SECONDS = 0.005
PATIENCE_SECONDS = 0.02  # between tries, and for the lock where the writer waits
UNINSISTENT_TRIES = 3  # after them the writer is held up for as long as the last pages take

Job = Callable[[apsw.Connection], None]
logger = logging.getLogger(__name__)


class Scrubber:
    """Sees to those who asked for a scrub, one run for all who wait when it begins."""

    def __init__(
        self,
        path: Path,
        *,
        moving: threading.Lock,
        reading: threading.Lock,
        submit: Callable[[Job], None],
        is_writing: Callable[[], bool],
        settle: Callable[[list[Request]], None],
    ) -> None:
        """`moving` is held by whoever moves pages from the journal into the file, `reading` keeps readers waiting.

        `submit` gives the writer a job to do between two groups, `is_writing` says whether the writer still runs.
        """
        self._path = path
        self._moving = moving
        self._reading = reading
        self._submit = submit
        self._is_writing = is_writing
        self._settle = settle
        self._guard = threading.Lock()
        self._waiting: list[Request] = []
        self._thread: threading.Thread | None = None
        self._is_stopping = False
        self._written = Written(journal_of(path))
        self._frames = 0
        self._file = -1
        self._checkpointer: apsw.Connection | None = None

    def open(self) -> None:
        """To be called before any connection: a descriptor that is closed drops the locks SQLite has on the file."""
        self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)

    def watch(self, writer: apsw.Connection, checkpointer: apsw.Connection) -> None:
        """Both connections are there."""
        self._checkpointer = checkpointer
        writer.set_wal_hook(self._count_frames)

    def noted(self) -> int:
        """A group was committed; on the writer's thread. How many pages it wrote."""
        self._written.note()
        before, self._frames = self._frames, self._written.frames
        return self._frames - before if self._frames >= before else self._frames

    def ask(self, request: Request) -> None:
        """Answer once all is scrubbed."""
        with self._guard:
            self._waiting.append(request)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sqlite-scrub", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End soon; whoever waits is told that it was not done. The writer must be able to run, or have ended."""
        self._is_stopping = True
        thread = self._thread
        if thread is not None:
            thread.join()

    def close(self) -> None:
        """To be called after all connections."""
        self._written.end()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _count_frames(self, connection: apsw.Connection, name: str, frames: int) -> int:
        self._written.frames = frames
        return apsw.SQLITE_OK

    def _run(self) -> None:
        while True:
            with self._guard:
                requests, self._waiting = self._waiting, []
                if not requests:
                    self._thread = None
                    return
            try:
                self._scrub()
            except (*TROUBLE, OSError) as error:
                _fail(requests, Unavailable(describe(error)))
            except Exception as error:  # noqa: BLE001  # whatever it is, the callers are told
                _fail(requests, error)
            self._settle(requests)

    def _scrub(self) -> None:
        self._on_writer(lambda connection: self._written.begin())
        zeroing = Zeroing(self._file, self._still, self._written.take)
        try:
            zeroing.run()
            for tries in range(LAST_TRIES):
                zeroing.catch_up()
                if self._on_writer(lambda connection: self._finish(connection, zeroing, tries >= UNINSISTENT_TRIES)):  # noqa: B023  # it runs before the next try
                    return
                time.sleep(PATIENCE_SECONDS)
            raise Unavailable("a reader does not let go of the journal")
        except UnknownLayout as error:
            logger.warning("the file is written anew: %s", error)
            self._on_writer(self._rewrite)
        finally:
            self._on_writer(lambda connection: self._written.end(), must=False)

    @contextmanager
    def _still(self) -> Iterator[None]:
        """The file as of one commit, and nothing changes it: neither the checkpointer nor the writer."""
        for tries in range(1, STILL_TRIES + 1):
            if self._is_stopping:
                raise Unavailable("the store is closed")
            self._moving.acquire()
            if self._is_all_moved():
                break
            self._moving.release()
            if tries % 4 == 0 and self._on_writer(self._move_all):
                break  # with the lock held
            time.sleep(PATIENCE_SECONDS)
        else:
            raise Unavailable("a reader does not let go of the journal")
        try:
            yield
        finally:
            self._moving.release()
        time.sleep(PAUSE_SECONDS)  # whoever else waits for the lock gets it

    def _is_all_moved(self) -> bool:
        assert self._checkpointer is not None, "watch comes first"
        try:
            pages, moved = self._checkpointer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except (apsw.BusyError, apsw.LockedError):
            return False
        except BaseException:
            self._moving.release()
            raise
        return moved >= pages

    # On the writer's thread.

    def _move_all(self, writer: apsw.Connection) -> bool:
        """Move all of the journal into the file; then the lock stays held, for whoever asked."""
        if not self._moving.acquire(timeout=PATIENCE_SECONDS):
            return False
        try:
            with self._reading:
                pages, moved = writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_FULL)
        except (apsw.BusyError, apsw.LockedError):
            pages, moved = 1, 0
        except BaseException:
            self._moving.release()
            raise
        if moved < pages:
            self._moving.release()
        return moved >= pages

    def _finish(self, writer: apsw.Connection, zeroing: Zeroing, insists: bool) -> bool:
        """Forget what the writer remembers of pages, empty the journal, zero what is left."""
        if not self._moving.acquire(timeout=PATIENCE_SECONDS):
            return False
        try:
            with self._reading:
                writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            writer.release_memory()
            return zeroing.finish(insists)
        except (apsw.BusyError, apsw.LockedError):
            return False
        finally:
            self._moving.release()

    def _rewrite(self, writer: apsw.Connection) -> bool:
        with self._moving, self._reading:
            rewrite(writer, self._path)
            writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        return True

    def _on_writer(self, job: "Callable[[apsw.Connection], bool | None]", must: bool = True) -> bool:
        """Have the writer do it between two groups; what it answered. Raises what it raised, Unavailable at the end."""
        done = threading.Event()
        answer: list[bool | None] = []
        failure: list[Exception] = []

        def run(connection: apsw.Connection) -> None:
            try:
                answer.append(job(connection))
            except Exception as error:  # noqa: BLE001  # it belongs to whoever asked
                failure.append(error)
            finally:
                done.set()

        self._submit(run)
        while not done.wait(0.05):
            if not self._is_writing() and not done.is_set():
                if must:
                    raise Unavailable("the store is closed")
                return False
        if failure:
            raise failure[0]
        return bool(answer[0])


def _fail(requests: Sequence[Request], error: Exception) -> None:
    for request in requests:
        request.error = error
