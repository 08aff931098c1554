"""Records that could not be read, over HTTP. Nothing our own API takes ends there, so the list is empty here."""

import pytest

from tests.e2e.server import Client, Server
from tests.e2e.words import Json

PATH = "/api/journeys/internal/dead-letters"


def test_without_any_the_list_is_empty(server: Server) -> None:
    """A bare array without a next page."""
    reply = server.internal.get(f"{PATH}?limit=3")

    assert [] == reply.ok()
    assert reply.next_path() is None


def test_they_are_for_operators_alone(server: Server, api: Client) -> None:
    """They hold what any workspace's producer wrote."""
    for client in (server.anyone, api):
        client.get(PATH).problem(401, "unauthenticated")
        client.post(f"{PATH}/replay", {"partition": 0, "offset": 0}).problem(401, "unauthenticated")


@pytest.mark.parametrize(
    "body", [{}, {"partition": 0}, {"partition": -1, "offset": 0}, {"partition": 0, "offset": "0"}]
)
def test_a_malformed_replay_is_refused(server: Server, body: Json) -> None:
    """400."""
    server.internal.post(f"{PATH}/replay", body).problem(400, "validation_error")


def test_what_is_not_there_is_not_found(server: Server) -> None:
    """404, and 400 for a cursor of another list."""
    server.internal.post(f"{PATH}/replay", {"partition": 0, "offset": 7}).problem(404, "not_found")
    server.internal.get(f"{PATH}?cursor=x").problem(400, "validation_error")
