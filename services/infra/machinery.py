"""The store and the log that settings name: chosen here, so that every process chooses alike."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from services.infra.documents.port import Documents
from services.infra.documents.sqlite import SqliteDocuments
from services.infra.log.port import Log
from services.infra.log.sqlite import SqliteLog
from services.infra.sqlite.engine import CannotOpen, open_engine


@asynccontextmanager
async def machinery(
    store: str, log: str, folder: Path, now_ms: Callable[[], int]
) -> AsyncIterator[tuple[Documents, Log]]:
    """Open both; raises CannotOpen. One file (or one memory) carries both: they share its commits."""
    if store not in ("embedded", "memory") or log not in ("embedded", "memory"):
        raise CannotOpen("JOURNEYS_STORE, JOURNEYS_LOG: MongoDB and Kafka are not built yet; leave both unset.")
    engine = await open_engine(None if store == "memory" else folder)
    try:
        documents, events = SqliteDocuments(engine), SqliteLog(engine, now_ms=now_ms)
        yield documents, events
        await events.close()
        await documents.close()
    finally:
        await engine.close()
