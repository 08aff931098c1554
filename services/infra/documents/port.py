"""The document-store port: typed collections, guarded single-document writes, ordered scans.

Law: whoever writes says what they believe is there. An insert believes nothing is, a replace and a delete
name the revision they read. The outcome of every write is one of `Outcome`, and APPLIED means durable.

A document is any type msgspec can encode (a Struct or a dataclass); its key and its indexed fields are
top-level `str` or `int` fields. The guard is the collection's revision field: a replace carries a document
whose revision is one above the stored one. Where the collection names an epoch field, a replace also needs
the stored epoch to be at most the new document's: a writer that lost its ownership cannot write.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")
Value = str | int


@dataclass(frozen=True, slots=True)
class Index:
    """An order over documents by some of their fields; ties are broken by the key.

    A document in which any of the fields is None is not in the index.
    """

    name: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Collection(Generic[T]):
    """A named set of documents of one type. Names are stored: choose once."""

    name: str
    type: type[T]
    key: str = "key"
    revision: str = "revision"
    epoch: str | None = None
    indexes: tuple[Index, ...] = ()
    schema: int = 1  # rises when an older reader would misread a document: it leaves newer ones alone


@dataclass(frozen=True, slots=True)
class Insert(Generic[T]):
    """Write a document whose key is free; DUPLICATE where it is taken."""

    collection: Collection[T]
    document: T


@dataclass(frozen=True, slots=True)
class Replace(Generic[T]):
    """Write `document` over the stored one whose revision is one below; CONFLICT where it is not."""

    collection: Collection[T]
    document: T


@dataclass(frozen=True, slots=True)
class Delete(Generic[T]):
    """Remove the document if its revision is `revision` (None: whatever it is); CONFLICT where it is not.

    Deleting what is not there is APPLIED: callers repeat.
    """

    collection: Collection[T]
    key: str
    revision: int | None = None


Write = Insert[Any] | Replace[Any] | Delete[Any]


class Outcome(Enum):
    """What became of one write."""

    APPLIED = "applied"
    CONFLICT = "conflict"
    DUPLICATE = "duplicate"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some documents in index order, and the cursor after which the next ones follow (None: there are none)."""

    items: list[T]
    cursor: str | None = None


class StoreUnavailable(Exception):
    """The store cannot take or answer this now (full disk, lost server); nothing was acknowledged."""


class NotMigrated(StoreUnavailable):
    """The store lacks collections or indexes: `journeys migrate` has not run, or an older one has."""


class NewerDocument(StoreUnavailable):
    """A document that a newer version of this program wrote: nobody reads it and nobody writes over it before the update."""

    def __init__(self, collection: str, key: str) -> None:
        super().__init__(f"a newer version of this program wrote a document of {collection}")
        self.collection = collection
        self.key = key


class StaleRevision(Exception):
    """A guarded write met another revision than the one it was made from."""


class DuplicateKey(Exception):
    """An insert met a document with its key."""


class BadCursor(ValueError):
    """A cursor that this store did not hand out for this scan."""


class Documents(Protocol):
    """A document store. All methods may raise StoreUnavailable.

    A document whose schema is above its collection's is nobody's to change: `get` raises NewerDocument, whatever reads
    many passes over it and says so in the log, once (within `newer.refused()` it raises as well), an insert of its
    key is a DUPLICATE and a replace a CONFLICT.
    """

    async def open(self, collections: Sequence[Collection[Any]]) -> None:
        """Make the collections and indexes known (and, in the embedded store, present). Idempotent.

        Raises NotMigrated, naming what is missing, where `migrate` has to come first.
        """

    async def migrate(self, collections: Sequence[Collection[Any]]) -> list[str]:
        """Make the collections, indexes and validators present, and drop indexes of ours that are declared no more.

        Idempotent. A line for each change, and one for what the server cannot do. An operator's step: no service
        calls it.
        """

    async def get(self, collection: Collection[T], key: str) -> T | None:
        """The document of that key, or None. Raises NewerDocument."""

    async def get_many(self, collection: Collection[T], keys: Sequence[str]) -> dict[str, T]:
        """Those of the documents that exist, by key."""

    async def insert(self, collection: Collection[T], document: T) -> None:
        """One Insert; raises DuplicateKey."""

    async def replace(self, collection: Collection[T], document: T) -> None:
        """One Replace; raises StaleRevision."""

    async def delete(self, collection: Collection[T], key: str, revision: int | None = None) -> None:
        """One Delete; raises StaleRevision."""

    async def write_many(self, writes: Sequence[Write]) -> list[Outcome]:
        """Every write on its own, unordered, each with its outcome, all durable on return.

        Writes to one key in one call are a caller's fault: ValueError.
        """

    async def scan(
        self,
        collection: Collection[T],
        index: str,
        equals: Sequence[Value] = (),
        *,
        low: Value | None = None,
        high: Value | None = None,
        after: str | None = None,
        limit: int = 100,
        descending: bool = False,
    ) -> Page[T]:
        """Documents whose first index fields equal `equals` and whose next one is in [low, high), in order.

        `index` "" is the order of the keys themselves (equals must be empty). `after` is a cursor of an
        earlier page of the same scan: BadCursor for anything else. A page is consistent in itself.
        """

    async def scan_prefixes(
        self,
        collection: Collection[T],
        index: str,
        prefixes: Sequence[Sequence[Value]],
        *,
        low: int | None = None,
        high: int,
        limit: int,
    ) -> list[T]:
        """The documents under any of the prefixes whose next field is in [low, high), least of that field first."""

    async def least(self, collection: Collection[T], index: str, prefixes: Sequence[Sequence[Value]]) -> int | None:
        """The least value of the field after the prefixes, over all of them; None where there is nothing."""

    async def scan_many(
        self,
        collection: Collection[T],
        index: str,
        queries: Sequence[tuple[Sequence[Value], Value | None]],
        *,
        limit: int,
    ) -> list[list[T]]:
        """For each (equals, low): up to `limit` documents with the next field >= low, ascending; one round trip."""

    async def count_by(
        self, collection: Collection[T], index: str, equals: Sequence[Value] = ()
    ) -> Mapping[Value, int]:
        """How many documents there are for each value of the index field after `equals`."""

    async def scrub(self) -> bool:
        """Make what was deleted or replaced before this call unreadable in the store's own files as well.

        False where the machinery keeps its pages as it likes (a server); no read finds it there either.
        """

    async def close(self) -> None:
        """Finish what was acknowledged and let go."""
