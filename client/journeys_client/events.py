"""Sending events, one or very many.

Law: whatever happens to one event, its neighbours are sent. A batch that the server refuses as a whole is halved
until the event is found that it cannot take.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from journeys_client.call import Call
from journeys_client.event_lines import EventLine
from journeys_client.models import Event, EventsReceived
from journeys_client.problem import NotUnderstood, Problem
from journeys_client.resource import C_co, Items, Resource, Script, stream, verb

BATCH_EVENTS = 500  # the server takes 1,000 in 5 MiB
BATCH_BYTES = 4 * 1024 * 1024

_ROUTE = "/api/events"
_HALVED = (400, 413, 422)
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Refused:
    """An event the server did not take: its line (or place in the iterable, from 1), and why."""

    line: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What became of one batch. `accepted` counts duplicates too; `sent` is `accepted` and `refused` together."""

    sent: int
    accepted: int
    duplicates: int
    refused: tuple[Refused, ...] = ()


class Events(Resource[C_co]):
    """`client.events`."""

    @verb
    def post(self, event: Event) -> Call[EventsReceived]:
        """Send one event; durable when this returns. Raises Problem: validation_error."""
        return Call("POST", _ROUTE, json=event)

    @verb
    def post_batch(self, events: list[Event]) -> Call[EventsReceived]:
        """Send at most 1,000 events in one call. A bad one is an entry of `errors`. Raises Problem: batch_too_large."""
        return Call("POST", _ROUTE, json={"events": events})

    @stream
    def send(
        self, events: Iterable[Mapping[str, Any] | EventLine], *, batch_size: int = BATCH_EVENTS
    ) -> Script[BatchOutcome]:
        """Send any number of events in their order, in batches; gives each batch's outcome as it is known.

        Nothing is sent before the outcomes are iterated over. 1 <= batch_size <= 1,000. Raises Problem when the server
        refuses not the events but the caller, or stays unavailable; what was sent before stays sent.
        """
        if not 1 <= batch_size <= 1_000:
            raise ValueError(f"batch_size is {batch_size}, not 1 to 1,000")
        for batch in _batches(events, batch_size):
            waiting = [batch]
            while waiting:
                part = waiting.pop()
                body = b'{"events":[' + b",".join(raw for _, raw in part) + b"]}"
                try:
                    reply = yield Call("POST", _ROUTE, content=body, headers=_JSON)
                except Problem as problem:
                    if problem.status not in _HALVED:
                        raise
                    if len(part) > 1:
                        middle = len(part) // 2
                        waiting += [part[middle:], part[:middle]]  # the first half is next, so order is kept
                    else:
                        yield Items([_refused(part[0][0], problem)])
                else:
                    yield Items([_outcome(part, reply.json())])


def _batches(events: Iterable[Mapping[str, Any] | EventLine], batch_size: int) -> Iterator[list[tuple[int, bytes]]]:
    batch: list[tuple[int, bytes]] = []
    size = 0
    for place, event in enumerate(events, 1):
        numbered = (event.number, event.raw) if isinstance(event, EventLine) else (place, _encoded(event))
        if batch and (len(batch) >= batch_size or size + len(numbered[1]) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(numbered)
        size += len(numbered[1]) + 1
    if batch:
        yield batch


def _encoded(event: Mapping[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _refused(line: int, problem: Problem) -> BatchOutcome:
    # A single fault says more than "the request is invalid".
    only = problem.errors[0] if len(problem.errors) == 1 else None
    code, message = (only.code, only.message) if only else (problem.code, problem.detail)
    return BatchOutcome(sent=1, accepted=0, duplicates=0, refused=(Refused(line, code, message),))


def _outcome(part: list[tuple[int, bytes]], received: EventsReceived) -> BatchOutcome:
    try:
        refused = tuple(
            Refused(part[fault["index"]][0], fault["code"], fault["message"]) for fault in received["errors"]
        )
        return BatchOutcome(len(part), received["received"], received["duplicates"], refused)
    except (LookupError, TypeError):
        raise NotUnderstood(f"POST {_ROUTE} answered {str(received)[:80]!r}, not what became of the events") from None
