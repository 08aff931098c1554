"""One transaction for all who wait: what a group of requests is, and how it is committed.

Law: a handler gets the items of all callers at once and answers each on its own. An item that makes its handler
raise fails alone; trouble with the file fails the whole group, and nobody of it is told that anything was written.

Why handlers and not statements: apsw lets go of the interpreter's lock around every step of a statement. Beside
a busy event loop each step may wait 5 ms to get it back, so 500 rows one by one took up to 1.2 s where one
statement over 500 rows took 25 ms [measured]. A handler can put the rows of all callers into one statement.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import apsw

from services.infra.sqlite.errors import TROUBLE, Unavailable

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
Handler = Callable[[apsw.Connection, Sequence[ItemT]], Sequence[ResultT]]

SAVEPOINT = "handler"  # stands where the running handler began; it may roll back to it and do its work again


@dataclass(slots=True, eq=False)
class Request:
    """What one caller wants, and what became of it. `arrived` is called on the loop with the result, in commit order."""

    run: Callable[..., Any]  # a Handler, or for a read a function of the connection
    item: Any
    rows: int
    size: int
    future: "asyncio.Future[Any]"
    arrived: Callable[[Any], None] | None = None
    result: Any = None
    error: Exception | None = None


def commit_group(connection: apsw.Connection, requests: Sequence[Request]) -> bool:
    """Run all requests in one transaction and leave result or error in each; False if nothing was committed."""
    by_handler: dict[Callable[..., Any], list[Request]] = {}
    for request in requests:
        by_handler.setdefault(request.run, []).append(request)
    try:
        connection.execute("begin immediate")
        for handler, mine in by_handler.items():
            _handle(connection, handler, mine)
        connection.execute("commit")
        return True
    except TROUBLE as error:
        reason: Exception = error
    except Exception as error:  # noqa: BLE001  # whatever it is, the writer goes on and the callers are told
        reason = error
    _abandon(connection)
    for request in requests:
        request.result = None
        request.error = Unavailable(describe(reason)) if isinstance(reason, TROUBLE) else reason
    return False


def settle(requests: Sequence[Request]) -> None:
    """Tell the callers; runs on their event loop."""
    for request in requests:
        if request.error is not None:
            if not request.future.done():
                request.future.set_exception(request.error)
            continue
        if request.arrived is not None:
            try:
                request.arrived(request.result)
            except Exception as error:  # noqa: BLE001  # the others of the group still have to be told
                context = {"message": "a committed write could not be announced", "exception": error}
                request.future.get_loop().call_exception_handler(context)
        if not request.future.done():
            request.future.set_result(request.result)


def describe(error: Exception) -> str:
    """What went wrong, for a log line and a caller."""
    return f"{type(error).__name__}: {error}"


def _handle(connection: apsw.Connection, handler: Callable[..., Any], requests: Sequence[Request]) -> None:
    connection.execute(f"savepoint {SAVEPOINT}")
    try:
        results = handler(connection, [request.item for request in requests])
    except TROUBLE:
        raise
    except Exception as error:  # it belongs to whoever sent the item, and is raised there
        if not connection.in_transaction:
            raise  # SQLite gave up the whole transaction, so the whole group has failed
        connection.execute(f"rollback to {SAVEPOINT}")
        connection.execute(f"release {SAVEPOINT}")
        if len(requests) == 1:
            requests[0].error = error
        else:
            for request in requests:
                _handle(connection, handler, [request])
        return
    connection.execute(f"release {SAVEPOINT}")
    for request, result in zip(requests, results, strict=True):
        request.result = result


def _abandon(connection: apsw.Connection) -> None:
    """Leave no transaction open; on a full disk SQLite may have ended it already."""
    try:
        if connection.in_transaction:
            connection.execute("rollback")
    except TROUBLE:
        pass  # the next `begin` shows whether the connection still works
