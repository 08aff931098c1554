"""Every route, one file a noun. Importing a module declares its routes; `ALL` has them in the order of the contract.

Law: a handler reads its body, asks one service and shows the answer; what it needs beyond that is another room's.
"""

from typing import Final

from gateway.declaration import ROUTES, Route
from gateway.routes import (
    communications,
    events,
    executions,
    internal,
    journeys,
    library,
    lifecycle,
    preferences,
    server,
    session,
    subjects,
    workspace,
)

MODULES: Final = (
    server,
    session,
    journeys,
    lifecycle,
    executions,
    library,
    communications,
    subjects,
    preferences,
    workspace,
    events,
    internal,
)
ALL: Final[tuple[Route, ...]] = tuple(ROUTES)
