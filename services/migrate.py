"""Make what the services' documents and records lie in: an operator's step, before the first start and after updates.

Law: services look whether everything is there and say what is not; this alone makes it. Idempotent.
"""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from services.all_in_one import CLOCKS
from services.analytics.app import Analytics
from services.authoring.app import Authoring
from services.infra.clock import SystemClock
from services.infra.documents.port import Collection, StoreUnavailable
from services.infra.log.port import LogUnavailable, Topic
from services.infra.machinery import machinery
from services.infra.settings import ServiceSettings, SettingsInvalid
from services.infra.sqlite.engine import CannotOpen
from services.infra.telemetry import set_up_logging
from services.runtime.app import Runtime

COLLECTIONS: tuple[Collection[Any], ...] = (
    CLOCKS,
    *Authoring.collections,
    *Runtime.collections,
    *Analytics.collections,
)
# Several services know some topics; each is made once.
TOPICS: tuple[Topic, ...] = tuple(
    {topic.name: topic for topic in (*Analytics.topics, *Authoring.topics, *Runtime.topics)}.values()
)


def migrate(store: str | None, log: str | None, say: Callable[[str], None]) -> int:
    """Migrate what the settings name, a line said for each change and for what the server cannot do; the exit status."""
    try:
        settings = ServiceSettings.load(store=store, log=log)
    except SettingsInvalid as error:
        sys.stderr.writelines(f"{line}\n" for line in error.lines)
        return 2
    set_up_logging(settings.log_level, settings.log_format)
    try:
        changed = asyncio.run(_migrate(settings))
    except (CannotOpen, OSError, StoreUnavailable, LogUnavailable, ValueError) as error:
        sys.stderr.write(f"Nothing more was migrated: {error}\n")
        return 1
    for line in changed:
        say(line)
    say("The store and the log are up to date.")
    return 0


async def _migrate(settings: ServiceSettings) -> list[str]:
    clock = SystemClock()
    async with machinery(settings.store, settings.log_address, settings.data_dir, clock.now_ms) as (documents, log):
        return [*await documents.migrate(COLLECTIONS), *await log.migrate(TOPICS)]
