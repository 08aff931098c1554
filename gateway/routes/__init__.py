"""Every route, one file a noun. Importing a module declares its routes; `ALL` has them in the order of the contract.

Law: a handler reads its body, asks one service and shows the answer; what it needs beyond that is another room's.
"""

from typing import Final

from gateway.declaration import ROUTES, Route
from gateway.routes import (
    backtests,
    communications,
    dead_letters,
    erasure,
    events,
    executions,
    internal,
    journeys,
    library,
    lifecycle,
    migration,
    preferences,
    reports,
    server,
    session,
    simulation,
    subjects,
    templates,
    why,
    workspace,
)

MODULES: Final = (
    server,
    session,
    journeys,
    lifecycle,
    executions,
    reports,
    simulation,
    library,
    communications,
    templates,
    subjects,
    preferences,
    workspace,
    events,
    internal,
    erasure,
    migration,
    dead_letters,
    why,
    backtests,
)
ALL: Final[tuple[Route, ...]] = tuple(ROUTES)
