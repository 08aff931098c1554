"""Writes that others must hear of, and the telling.

Law: a document is written together with what is to be told of it; the log has it before the caller is answered.
Killed in between, the next writer of that document or the next start tells it. Told twice is told once: acts have
stable ids, and of a catalogue key only the last record counts. The last record of a key is what the store says:
whoever told looks again, and tells what others wrote meanwhile.

    guarded write -> documents that came with it -> append -> look again -> answer ... cleared a second later

Source: runtime design 11; style 1, "store-then-publish without an outbox".
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar
from weakref import WeakValueDictionary

import structlog
from msgspec.structs import replace

from services.authoring.repositories import Announced
from services.domain.errors import Stale
from services.infra.documents.port import (
    Collection,
    Documents,
    Insert,
    Outcome,
    Replace,
    StaleRevision,
    StoreUnavailable,
)
from services.infra.log.port import Log, LogUnavailable, Record
from services.infra.telemetry import Telemetry

A = TypeVar("A", bound=Announced)
R = TypeVar("R")
Name = tuple[str, str]  # a collection's name and a key

CLEAR_AFTER_SECONDS: Final = 1.0
ATTEMPTS: Final = 32
_PAGE: Final = 200

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Kind(Generic[A]):
    """How documents of one collection are told.

    `records` gives (topic, record) pairs, for a key whose document is gone too; `inserts` what must be stored
    before they may be read; `cleared` the document without what was told; `indexed` fills fields that exist for an
    index; `is_gone` says that it was only kept to tell its end.
    """

    collection: Collection[A]
    records: Callable[[str, A | None], Sequence[tuple[str, Record]]]
    inserts: Callable[[A], Sequence[Insert[Any]]] = lambda document: ()
    cleared: Callable[[A], A] = lambda document: replace(document, outbox=(), outbox_open=None)
    indexed: Callable[[A], A] = lambda document: document
    is_gone: Callable[[A], bool] = lambda document: False


class Outbox:
    """Writes and tells. `open` tells what an earlier process left; `close` clears what is told."""

    def __init__(
        self, documents: Documents, log: Log, kinds: Sequence[Kind[Any]], telemetry: Telemetry | None = None
    ) -> None:
        figures = telemetry or Telemetry()
        self._acts = figures.counter("authoring_acts_total", "Acts of authors, by action.", ("action",))
        figures.gauge("authoring_outbox_owed", "Documents whose last write is not told yet.").set_function(
            lambda: float(len(self._owed))
        )
        self._documents = documents
        self._log = log
        self._kinds: dict[type, Kind[Any]] = {kind.collection.type: kind for kind in kinds}
        self._told: dict[Name, Announced] = {}  # as told, and not cleared yet
        self._owed: dict[Name, Kind[Any]] = {}  # written, perhaps, and not told
        self._running: set[asyncio.Task[Any]] = set()
        self._work = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Tell whatever lies in an outbox, and clear it."""
        for kind in self._kinds.values():
            cursor = None
            while True:
                page = await self._documents.scan(kind.collection, "by_outbox", (1,), after=cursor, limit=_PAGE)
                for document in page.items:
                    await self._tell(kind, document)
                await self._clear()
                cursor = page.cursor
                if cursor is None:
                    break
        self._worker = asyncio.create_task(self._work_on(), name="authoring outbox")

    async def close(self) -> None:
        """Finish what runs and clear what is told; what cannot be told now stays for the next start."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
            self._worker = None
        while self._running:
            await asyncio.gather(*self._running, return_exceptions=True)
        try:
            await self.flush()
        except (StoreUnavailable, LogUnavailable) as error:
            _log.warning("outbox.left", error=str(error))

    def is_idle(self) -> bool:
        """Whether everything written is told."""
        return not self._running and not self._owed

    async def write(self, before: A | None, after: A) -> A:
        """Store `after` (its `outbox` holds the new acts) over `before`, tell it, and return it as stored.

        Raises StaleRevision or DuplicateKey with nothing changed; StoreUnavailable or LogUnavailable when it is
        not known whether others heard: then it is told later. Goes on where the caller is cancelled.
        """
        return await self._kept(self._write(self._kinds[type(after)], before, after))

    async def flush(self) -> None:
        """Tell what is owed and clear what is told."""
        for name, kind in list(self._owed.items()):
            document = await self._documents.get(kind.collection, name[1])
            if document is not None and document.outbox_open is not None:
                await self._tell(kind, document)
            self._owed.pop(name, None)
        await self._clear()

    async def _write(self, kind: Kind[A], before: A | None, after: A) -> A:
        name = (kind.collection.name, after.key)
        if before is not None and before.outbox_open is not None and self._is_untold(name, before):
            await self._tell(kind, before)  # what an earlier process left goes first
        revision = 1 if before is None else before.revision + 1
        acts = tuple(replace(act, id=f"{after.key}:{revision}:{i}") for i, act in enumerate(after.outbox))
        stored = kind.indexed(replace(after, revision=revision, outbox=acts, outbox_open=1))
        try:
            if before is None:
                await self._documents.insert(kind.collection, stored)
            else:
                await self._documents.replace(kind.collection, stored)
            await self._tell(kind, stored)
        except (StoreUnavailable, LogUnavailable):
            self._owed[name] = kind
            self._work.set()
            raise
        for act in acts:
            self._acts.labels(act.action).inc()
        return stored

    def _is_untold(self, name: Name, document: Announced) -> bool:
        told = self._told.get(name)
        return told is None or told.revision < document.revision

    async def _tell(self, kind: Kind[A], document: A) -> None:
        told: A | None = document
        while True:
            if told is not None:
                await self._insert(kind, told)
            await self._append(kind.records(document.key, told))
            current = await self._documents.get(kind.collection, document.key)
            if _identity(current) == _identity(told):
                break
            told = current  # somebody wrote meanwhile, and their record may have come before ours
        if told is None:
            return
        if kind.is_gone(told):
            try:
                await self._documents.delete(kind.collection, told.key, told.revision)
            except StaleRevision:
                pass  # whoever wrote it has told it and will delete it
        elif told.outbox_open is not None:
            self._told[kind.collection.name, told.key] = told
            self._work.set()

    async def _insert(self, kind: Kind[A], document: A) -> None:
        inserts = kind.inserts(document)
        for outcome in await self._documents.write_many(inserts) if inserts else ():
            if outcome not in (Outcome.APPLIED, Outcome.DUPLICATE):  # a duplicate is the same one, immutable
                raise StoreUnavailable(f"a document of {document.key} was not stored: {outcome.value}")

    async def _append(self, records: Sequence[tuple[str, Record]]) -> None:
        by_topic: dict[str, list[Record]] = {}
        for topic, record in records:
            by_topic.setdefault(topic, []).append(record)
        for topic, batch in by_topic.items():
            await self._log.append(topic, batch)

    async def _clear(self) -> None:
        """Store told documents without what was told. Whoever is faster than this has told and keeps it; that is no loss."""
        names, self._told = self._told, {}
        kinds = {kind.collection.name: kind for kind in self._kinds.values()}
        for at in range(0, len(names), _PAGE):
            writes = [
                Replace(kind.collection, replace(kind.cleared(document), revision=document.revision + 1))
                for (collection, _), document in list(names.items())[at : at + _PAGE]
                for kind in (kinds[collection],)
            ]
            await self._documents.write_many(writes)

    async def _work_on(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            await asyncio.sleep(CLEAR_AFTER_SECONDS)
            try:
                await self._kept(self.flush())
            except (StoreUnavailable, LogUnavailable) as error:
                _log.warning("outbox.waits", error=str(error), owed=len(self._owed))
                self._work.set()
            except Exception:  # noqa: BLE001  # the outermost loop of this task: it must not end
                _log.exception("outbox.failed", owed=len(self._owed))
                self._work.set()

    async def _kept(self, work: Coroutine[Any, Any, R]) -> R:
        """Run to the end whatever becomes of the caller: a write without its telling would be heard at the next start only."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # looked at: the caller may be gone


def _identity(document: Announced | None) -> tuple[int, int] | None:
    # Not the revision alone: a deleted object may have been made anew.
    return None if document is None else (document.revision, document.created_at_ms)


# By loop and document: a lock belongs to the loop that first waited for it.
_turns: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()


async def insisting(name: str, attempt: Callable[[], Coroutine[Any, Any, R]]) -> R:
    """Do it again, from the start, while others write the same document (`name`) in between; at last raise Stale.

    Those of this process who were too late wait for each other, so of many none is late for ever.
    """
    try:
        return await attempt()
    except StaleRevision:
        turn = _turns.setdefault((id(asyncio.get_running_loop()), name), asyncio.Lock())
    async with turn:
        for tried in range(ATTEMPTS):
            try:
                return await attempt()
            except StaleRevision:
                await asyncio.sleep(random.random() * 0.001 * tried)
    raise Stale("stale_update", "Others keep changing it; try again.")
