"""The store and the log that settings name: chosen here, so that every process chooses alike.

Law: the drivers of servers are imported only where a server is named: they cost 15 MB and most of a second.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from services.infra.documents.port import Documents
from services.infra.documents.sqlite import SqliteDocuments
from services.infra.log.port import Log
from services.infra.log.sqlite import SqliteLog
from services.infra.sqlite.engine import CannotOpen, open_engine

_EMBEDDED = ("embedded", "memory")


def is_shared(setting: str) -> bool:
    """Whether other processes can be at work on the same store or log."""
    return setting not in _EMBEDDED


@asynccontextmanager
async def machinery(
    store: str, log: str, folder: Path, now_ms: Callable[[], int]
) -> AsyncIterator[tuple[Documents, Log]]:
    """Open both; raises CannotOpen. What is embedded lies in one file (or one memory): they share its commits."""
    async with AsyncExitStack() as opened:
        engine = None
        if not (is_shared(store) and is_shared(log)):
            engine = await open_engine(None if "memory" in (store, log) else folder)
            opened.push_async_callback(engine.close)
        documents: Documents = _mongo(store) if engine is None or is_shared(store) else SqliteDocuments(engine)
        opened.push_async_callback(documents.close)
        events: Log = _kafka(log, now_ms) if engine is None or is_shared(log) else SqliteLog(engine, now_ms=now_ms)
        opened.push_async_callback(events.close)
        yield documents, events


def _mongo(uri: str) -> Documents:
    from pymongo.errors import PyMongoError

    from services.infra.documents.mongo import MongoDocuments

    try:
        return MongoDocuments(uri)
    except (PyMongoError, ValueError) as error:  # what the driver finds wrong with an address, without its password
        raise CannotOpen(f"JOURNEYS_STORE: {error}") from None


def _kafka(uri: str, now_ms: Callable[[], int]) -> Log:
    from services.infra.log.kafka import KafkaLog
    from services.infra.log.kafka_address import read_address

    try:
        address = read_address(uri)
        address.options()  # so that files of certificates that are none are told now
        return KafkaLog(address, now_ms=now_ms)
    except ValueError as error:
        raise CannotOpen(f"JOURNEYS_LOG: {error}") from None
