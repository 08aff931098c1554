"""What is old enough goes: once an hour, page by page.

Law: nothing is removed that a decision still to come may read. By the service's own clock; housekeeping, which keeps
nobody from moving that clock on: many hours at once are one round.

    executions       at their `expire_at` (two years after the last window, refused starts after 30 days), unless an
                     effect or an entry of theirs is still outstanding
    events           after 90 days, or a day behind the longest time a condition looks back
    messages         after two years, as the executions they are of
    replies          to commands, after a day
    backtests        after 30 days
    topics           records that every group has read, once they are older than what is ever replayed
    dead letters     after 30 days

Source: runtime design 2.1 and 13; contract 1 (idempotent answers and sessions are authoring's).
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

import structlog

from services.domain.execution.execution import Execution
from services.domain.execution.lifecycle import Status
from services.domain.times import DAY_MS
from services.infra.clock import Clock
from services.infra.documents.port import Collection, Delete, Documents, Outcome, StoreUnavailable, Value
from services.infra.log.port import Log, LogUnavailable
from services.runtime.backtests import BACKTESTS
from services.runtime.catalog import Catalog
from services.runtime.collections import (
    AUDIT,
    COMMAND_RESULTS,
    COMMANDS,
    DEAD_LETTERS,
    EVENT_RECORDS,
    EVENTS,
    EXECUTION_RECORDS,
    EXECUTIONS,
    MESSAGES,
)

HOUR_MS: Final = 3_600_000
EVENTS_MS: Final = 90 * DAY_MS
MESSAGES_MS: Final = 730 * DAY_MS
REPLIES_MS: Final = DAY_MS
BACKTESTS_MS: Final = 30 * DAY_MS
REPLAY_HORIZON_MS: Final = 30 * DAY_MS
TRIMMED: Final = (EVENTS, COMMANDS, EXECUTION_RECORDS, AUDIT, DEAD_LETTERS)
PAGE: Final = 500
T = TypeVar("T")
logger = structlog.get_logger(__name__)


class Retention:
    """Sweeps every hour."""

    def __init__(self, documents: Documents, log: Log, catalog: Catalog, clock: Clock) -> None:
        self._documents = documents
        self._log = log
        self._catalog = catalog
        self._clock = clock
        self._never = asyncio.Event()

    async def run(self) -> None:
        """Sweep at once and then every hour, until cancelled."""
        while True:
            try:
                await self.sweep()
            except (StoreUnavailable, LogUnavailable) as error:
                logger.warning("retention.unavailable", error=str(error))
            except Exception:  # what cannot be removed now is removed an hour later, and stops nothing
                logger.exception("retention.failed")
            await self._clock.wait(self._never, self._clock.now_ms() + HOUR_MS)

    async def sweep(self) -> dict[str, int]:
        """Remove what is old now; how many of each collection and topic went. Raises StoreUnavailable, LogUnavailable."""
        now = self._clock.now_ms()
        await self._catalog.refresh()
        events_ms = max(EVENTS_MS, self._catalog.looks_back_ms() + DAY_MS)
        removed = {
            "executions": await self._remove(EXECUTIONS, "expiry", now + 1, _is_settled),
            "event_records": await self._remove(EVENT_RECORDS, "by_age", now - events_ms),
            "command_results": await self._remove(COMMAND_RESULTS, "by_age", now - REPLIES_MS),
            "messages": 0,
            "backtests": await self._remove(BACKTESTS, "by_age", now - BACKTESTS_MS),
        }
        for workspace in await self._documents.count_by(MESSAGES, "by_workspace"):
            removed["messages"] += await self._remove(MESSAGES, "by_workspace", now - MESSAGES_MS, equals=(workspace,))
        for topic in TRIMMED:
            removed[topic] = await self._log.trim(topic, now - REPLAY_HORIZON_MS)
        if any(removed.values()):
            logger.info("retention.swept", **removed)
        return removed

    async def _remove(
        self,
        collection: Collection[T],
        index: str,
        before: int,
        may_go: Callable[[T], bool] = lambda one: True,
        equals: tuple[Value, ...] = (),
    ) -> int:
        """Delete those whose index field lies before that moment and that have not changed since they were read."""
        removed, cursor = 0, None
        while True:
            page = await self._documents.scan(collection, index, equals, high=before, after=cursor, limit=PAGE)
            writes = [
                Delete(collection, getattr(one, collection.key), getattr(one, collection.revision))
                for one in page.items
                if may_go(one)
            ]
            if writes:
                outcomes = await self._documents.write_many(writes)
                removed += sum(outcome is Outcome.APPLIED for outcome in outcomes)
            if (cursor := page.cursor) is None:
                return removed


def _is_settled(execution: Execution) -> bool:
    """Whether nothing of it is outstanding: what is not known to be told or done would be lost."""
    return execution.status is not Status.RUNNING and not execution.intents and not execution.outbox
