"""Work over all executions of a journey: today, aborting those of an archived one.

Law: a sweep is a document with a cursor; killed, it goes on where it stood, and what it repeats does no harm.
It asks by commands, so every execution ends in its own person's lane. Source: runtime design 2.2 and 5.
"""

import asyncio
from contextlib import suppress

import msgspec
import structlog
from journeys.events.v1.command_record_pb2 import CommandRecord, ExecutionCommand

from services.domain.execution.lifecycle import Status
from services.infra.documents.port import Documents, DuplicateKey, StaleRevision, StoreUnavailable
from services.infra.log.port import Log, LogUnavailable, Record
from services.runtime.catalog import Catalog
from services.runtime.collections import COMMANDS, EXECUTIONS, SWEEPS, Sweep
from services.runtime.lanes import log_key

PAGE = 500
WATCH_SECONDS = 0.25
logger = structlog.get_logger(__name__)


class Sweeps:
    """Watches the catalogue and ends what archived journeys still have running."""

    def __init__(self, documents: Documents, log: Log, catalog: Catalog) -> None:
        self._documents = documents
        self._log = log
        self._catalog = catalog
        self._seen_revision = -1
        self._finished: set[str] = set()
        self._is_sweeping = False
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Look again whenever the catalogue changed, until cancelled."""
        while True:
            try:
                await self.look()
            except (StoreUnavailable, LogUnavailable) as error:
                logger.warning("sweeps.unavailable", error=str(error))
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), WATCH_SECONDS)

    async def look(self) -> None:
        """Sweep what was archived since the last look."""
        await self._catalog.refresh()
        revision = self._catalog.revision
        if revision == self._seen_revision:
            return
        self._is_sweeping = True
        try:
            for workspace, journey_id in self._catalog.archived():
                key = f"{workspace}:{journey_id}:archive"
                if key not in self._finished:
                    await self._sweep(key, workspace, journey_id)
                    self._finished.add(key)
            self._seen_revision = revision
        finally:
            self._is_sweeping = False

    async def idle(self) -> bool:
        """Whether nothing archived waits to be swept."""
        await self._catalog.refresh()
        if self._catalog.revision == self._seen_revision:
            return not self._is_sweeping
        self._wake.set()
        return False

    async def _sweep(self, key: str, workspace: str, journey_id: str) -> None:
        sweep = await self._documents.get(SWEEPS, key)
        if sweep is None:
            sweep = Sweep(key=key, workspace=workspace, journey_id=journey_id, cursor=None, done=False, revision=1)
            try:
                await self._documents.insert(SWEEPS, sweep)
            except DuplicateKey:
                return  # another process sweeps
        while not sweep.done:
            page = await self._documents.scan(
                EXECUTIONS, "by_journey", (workspace, journey_id), after=sweep.cursor, limit=PAGE
            )
            records = [
                Record(log_key(workspace, one.subject_id), _abort(workspace, one.subject_id, one.execution_id))
                for one in page.items
                if one.status is Status.RUNNING
            ]
            if records:
                await self._log.append(COMMANDS, records)
            sweep = msgspec.structs.replace(
                sweep, cursor=page.cursor, done=page.cursor is None, revision=sweep.revision + 1
            )
            try:
                await self._documents.replace(SWEEPS, sweep)
            except StaleRevision:
                return


def _abort(workspace: str, end_user_id: str, execution_id: str) -> bytes:
    return CommandRecord(
        id=f"{execution_id}:archived",
        workspace=workspace,
        end_user_id=end_user_id,
        abort=ExecutionCommand(execution_id=execution_id, actor="system", reason="archived"),
    ).SerializeToString()
