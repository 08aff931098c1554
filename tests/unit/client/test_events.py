"""Sending many events: batches, outcomes, and neighbours that go on."""

from io import BytesIO
from typing import Any

import pytest

from journeys_client import (
    AsyncClient,
    BatchOutcome,
    Client,
    EventLine,
    MockTransport,
    Problem,
    Refused,
    read_event_lines,
)
from journeys_client.mock import Answer, Asked, problem


def taking_all(asked: Asked) -> Answer:
    """A server that takes everything."""
    return 202, {"received": len(asked.json()["events"]), "duplicates": 0, "errors": []}


def serving(answer: Any) -> MockTransport:
    transport = MockTransport()
    transport.on("POST", "/api/events", answer=answer)
    return transport


def test_events_go_in_batches_in_their_order() -> None:
    """Five events by two: three calls, nothing lost, nothing moved."""
    transport = serving(taking_all)
    with Client(transport=transport) as client:
        outcomes = list(client.events.send(({"type": "t", "id": str(n)} for n in range(5)), batch_size=2))

    sent = [[event["id"] for event in asked.json()["events"]] for asked in transport.calls]
    assert [["0", "1"], ["2", "3"], ["4"]] == sent
    assert [2, 2, 1] == [outcome.accepted for outcome in outcomes]


def test_nothing_is_sent_before_it_is_asked_for() -> None:
    """An iterator that nobody reads does nothing; its source is read as it is needed."""
    transport = serving(taking_all)
    taken: list[int] = []

    def source() -> Any:
        for number in range(1000):
            taken.append(number)
            yield {"type": "t"}

    with Client(transport=transport) as client:
        sending = client.events.send(source(), batch_size=10)
        assert [] == taken

        next(sending)

    assert 1 == len(transport.calls)
    assert 11 == len(taken)


def test_the_outcome_names_the_line() -> None:
    """The server counts within a batch, people count within their file."""

    def refusing_the_second(asked: Asked) -> Answer:
        fault = {"index": 1, "code": "bad_timestamp", "message": "no"}
        return 202, {"received": 1, "duplicates": 1, "errors": [fault]}

    lines = read_event_lines(BytesIO(b'\n{"type":"a"}\nnonsense\n{"type":"b"}\n'))
    good = [line for line in lines if isinstance(line, EventLine)]
    with Client(transport=serving(refusing_the_second)) as client:
        outcomes = list(client.events.send(good))

    assert [BatchOutcome(2, 1, 1, (Refused(4, "bad_timestamp", "no"),))] == outcomes


def test_a_line_is_sent_as_the_bytes_it_was() -> None:
    """Spelling, order and precision of numbers are the customer's."""
    transport = serving(taking_all)
    raw = '{ "type":"a", "data":{"x":1.10,"y":"\\u00e9é"} }'.encode()
    with Client(transport=transport) as client:
        list(client.events.send(read_event_lines(BytesIO(raw))))  # type: ignore[arg-type]

    assert raw in transport.calls[0].content


async def test_a_batch_that_is_refused_is_halved_down_to_the_culprit() -> None:
    """One event that the server cannot even read costs itself alone, for both clients; order is kept."""

    def choking(asked: Asked) -> Answer:
        if b"poison" in asked.content:
            return problem(400, "invalid_json", "The body is not JSON.")
        return taking_all(asked)

    events = [{"type": "t", "id": name} for name in ("a", "b", "poison", "c", "d")]
    transport = serving(choking)
    with Client(transport=transport) as client:
        outcomes = list(client.events.send(events))
    async with AsyncClient(transport=serving(choking)) as awaiting:
        same = [outcome async for outcome in awaiting.events.send(events)]

    taken = [e["id"] for asked in transport.calls if b"poison" not in asked.content for e in asked.json()["events"]]
    assert ["a", "b", "c", "d"] == taken
    assert 4 == sum(outcome.accepted for outcome in outcomes)
    assert [Refused(3, "invalid_json", "The body is not JSON.")] == [r for outcome in outcomes for r in outcome.refused]
    assert outcomes == same


def test_a_caller_who_is_refused_hears_it_at_once() -> None:
    """Halving would not help: nothing is wrong with the events."""
    transport = serving(lambda asked: problem(401, "unauthenticated"))
    with Client(transport=transport) as client, pytest.raises(Problem, match="unauthenticated"):
        list(client.events.send([{"type": "t"}] * 8))

    assert 1 == len(transport.calls)


def test_a_batch_stays_below_the_servers_limit_of_bytes() -> None:
    """500 large events do not fit into one body."""
    transport = serving(taking_all)
    with Client(transport=transport) as client:
        list(client.events.send({"type": "t", "data": {"note": "x" * 100_000}} for _ in range(100)))

    assert all(len(asked.content) < 5 * 1024 * 1024 for asked in transport.calls)
    assert 100 == sum(len(asked.json()["events"]) for asked in transport.calls)


@pytest.mark.parametrize("size", [0, 1001])
def test_a_batch_size_has_bounds(size: int) -> None:
    """The server takes 1,000 at most."""
    with Client(transport=serving(taking_all)) as client, pytest.raises(ValueError, match=str(size)):
        list(client.events.send([{"type": "t"}], batch_size=size))
