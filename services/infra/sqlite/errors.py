"""What can be wrong with the file, before it is opened and after.

    CannotOpen               the server must not start; the message says why and what to do
    +-- DataDirectoryInUse   another server has the folder
    +-- DamagedFile          the file cannot be read, or a part of it is missing
    +-- ForeignFile          a SQLite file, but of another program
    +-- NewerSchema          written by a newer release than this one
    Unavailable              the file cannot be written or read now; nothing was acknowledged

Law: the message of a CannotOpen is a sentence for the person who started the server.
"""

from pathlib import Path

import apsw


class CannotOpen(Exception):
    """The data folder cannot be used; nothing in it was changed."""


class DataDirectoryInUse(CannotOpen):
    """Another server has locked the folder."""

    def __init__(self, path: Path, holder: str = "") -> None:
        self.path = path
        by = f" (process {holder})" if holder else ""
        super().__init__(f"The data folder {path} is in use by another server{by}; stop it or choose another folder.")


class DamagedFile(CannotOpen):
    """The file is not what was written."""

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        super().__init__(f"The data file {path} is damaged: {what}. Restore it from a backup; it is not replaced.")


class ForeignFile(CannotOpen):
    """A sound SQLite file that this product did not make."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"The data file {path} belongs to another program; choose another folder.")


class NewerSchema(CannotOpen):
    """The file was written by a release that knows more than this one."""

    def __init__(self, path: Path, found: int, known: int) -> None:
        self.path = path
        super().__init__(
            f"The data file {path} has schema {found}, and this release knows {known} at most; start a newer release."
        )


class Unavailable(Exception):
    """The file cannot take or answer this now; nothing was acknowledged, and the next attempt may succeed."""


# What lies in the machine rather than in the statement. Everything else SQLite raises is a fault of the caller.
TROUBLE = (
    apsw.BusyError,
    apsw.CantOpenError,
    apsw.ConnectionClosedError,
    apsw.CorruptError,
    apsw.FullError,
    apsw.InterruptError,
    apsw.IOError,
    apsw.LockedError,
    apsw.NoMemError,
    apsw.NotADBError,
    apsw.PermissionsError,
    apsw.ProtocolError,
    apsw.ReadOnlyError,
)
