"""The file itself: who may have it, how it begins, whether it can be trusted, how a connection is set up.

Law: a file is born complete or not at all (it is made beside its place and renamed), so an empty or a headless
one is damage. The file is never touched through another copy of SQLite: two copies drop each other's locks
(sqlite.org, howtocorrupt.html, 2.2.1), and the interpreter's may have the WAL-reset race (runtime design 3).
"""

import fcntl
import os
from pathlib import Path

import apsw

from services.infra.sqlite.errors import TROUBLE, DamagedFile, DataDirectoryInUse, ForeignFile, NewerSchema

FILE_NAME = "store.db"
LOCK_NAME = "store.lock"
APPLICATION_ID = 0x414A5331  # "AJS1", in the header's application_id
SCHEMA = 1
PAGE_BYTES = 4096
WRITER_CACHE_KIB = 64 * 1024
READER_CACHE_KIB = 8 * 1024
REWRITTEN_IN_MEMORY_BYTES = 128 << 20  # above, a rewrite keeps its copy in a temporary file, not in memory
CHECKED_WHOLE_BYTES = 64 << 20  # above, a full check would hold up the start by seconds

_MAGIC = b"SQLite format 3\x00"
_BUSY_MS = 100  # only checkpoints meet another lock, and they are tried again


def lock_folder(folder: Path) -> int:
    """Make the folder if need be and lock it for this process; the descriptor holds the lock until it is closed.

    Raises DataDirectoryInUse. The system lets go of the lock of a process that died.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # people's data: nobody else on the host reads it
    held = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(held, 20, 0).decode(errors="replace").strip()
        os.close(held)
        raise DataDirectoryInUse(folder, holder) from None
    os.ftruncate(held, 0)
    os.pwrite(held, f"{os.getpid()}\n".encode(), 0)
    return held


def ensure_file(path: Path) -> None:
    """Make the file if there is none; raise CannotOpen if there is one that cannot be trusted."""
    if path.exists():
        _inspect(path)
    elif _beside(path, "-wal").exists():
        raise DamagedFile(path, "its journal is there, but the file itself is missing")
    else:
        _create(path)


def writer_connection(path: Path) -> apsw.Connection:
    """The one connection that writes; synchronous=FULL: an acknowledged write survives a loss of power."""
    connection = _connection(path, WRITER_CACHE_KIB)
    connection.pragma("synchronous", 2)
    # FAST: what is deleted is overwritten with zeros at once where that writes no further page (with 1 a delete of
    # 10,000 executions took 8 s instead of 3); the rest, and what moved between pages before, is left to `scrub`.
    connection.pragma("secure_delete", 2)
    return connection


def reader_connection(path: Path) -> apsw.Connection:
    """A connection that reads what is committed."""
    connection = _connection(path, READER_CACHE_KIB)
    connection.pragma("query_only", 1)
    return connection


def checkpoint_connection(path: Path) -> apsw.Connection:
    """A connection that moves pages from the journal into the file; it syncs the file before the journal goes."""
    connection = _connection(path, 1024)
    connection.pragma("synchronous", 2)
    return connection


def memory_connection() -> apsw.Connection:
    """A store without a file, gone when the connection is closed."""
    connection = apsw.Connection(":memory:", statementcachesize=256)
    connection.pragma("temp_store", 2)
    return connection


def rewrite(connection: apsw.Connection, path: Path | None) -> None:
    """Write every table anew, so that the file holds what its tables hold and nothing else; outside a transaction.

    `secure_delete` alone does not do that, in any mode: where SQLite shares the rows of a full page out over its neighbours, the
    old copies stay in what is then the page's free space (balance_nonroot, rebuildPage), and nobody overwrites them.
    """
    is_large = path is not None and path.stat().st_size > REWRITTEN_IN_MEMORY_BYTES
    if is_large:
        connection.pragma("temp_store", 1)
    try:
        connection.execute("vacuum")
    finally:
        if is_large:
            connection.pragma("temp_store", 2)


def journal_of(path: Path) -> Path:
    """The write-ahead journal beside the file."""
    return _beside(path, "-wal")


def _connection(path: Path, cache_kib: int) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, statementcachesize=256)
    connection.set_busy_timeout(_BUSY_MS)
    connection.pragma("cache_size", -cache_kib)
    connection.pragma("wal_autocheckpoint", 0)
    # In memory: a statement that changes many rows keeps the old pages aside, and in a file that took a
    # third of the time of 500 guarded updates (22 us a row instead of 14).
    connection.pragma("temp_store", 2)
    return connection


def _create(path: Path) -> None:
    """Make a file with our header beside its place, and rename it: a crash leaves no file, or a whole one."""
    fresh = _beside(path, ".new")
    for leftover in (fresh, _beside(fresh, "-wal"), _beside(fresh, "-shm"), _beside(fresh, "-journal")):
        leftover.unlink(missing_ok=True)
    connection = apsw.Connection(str(fresh))
    try:
        connection.pragma("page_size", PAGE_BYTES)
        connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("user_version", SCHEMA)
        connection.pragma("journal_mode", "WAL")
    finally:
        connection.close()
    _sync(fresh)
    fresh.rename(path)
    _sync(path.parent)


def _inspect(path: Path) -> None:
    """Raise DamagedFile, ForeignFile or NewerSchema; a small file is checked whole, a large one at its ends."""
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
    if not head:
        raise DamagedFile(path, "it is empty")
    if head != _MAGIC:
        raise DamagedFile(path, "it is not a SQLite file")
    try:
        connection = _connection(path, READER_CACHE_KIB)
        try:
            if connection.pragma("application_id") != APPLICATION_ID:
                raise ForeignFile(path)
            found = connection.pragma("user_version")
            if found > SCHEMA:
                raise NewerSchema(path, found, SCHEMA)
            fault = _look_at_ends(connection) if path.stat().st_size > CHECKED_WHOLE_BYTES else _look_at_all(connection)
        finally:
            connection.close()
    except TROUBLE as error:
        raise DamagedFile(path, str(error)) from error
    if fault:
        raise DamagedFile(path, fault)


def _look_at_all(connection: apsw.Connection) -> str:
    fault: str = connection.pragma("quick_check", 1)
    return "" if fault == "ok" else " ".join(fault.split())


def _look_at_ends(connection: apsw.Connection) -> str:
    """Read the first and the last row of each table; what is damaged raises."""
    for (name,) in connection.execute("select name from sqlite_schema where type = 'table'").fetchall():
        table = '"' + str(name).replace('"', '""') + '"'
        for order in ("asc", "desc"):
            connection.execute(f"select * from {table} order by 1 {order} limit 1").fetchall()
    return ""


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
