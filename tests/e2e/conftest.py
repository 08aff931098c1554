"""One server for all tests of a worker; each test has names of its own."""

from collections.abc import Iterator

import pytest

from tests.e2e.server import Client, Server, by_session
from tests.e2e.words import World, unique


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A running server with a development clock. Nobody is held out in its first workspace."""
    made = Server()
    try:
        made.start()
        made.owner.patch("/api/workspace", {"holdout": {"percent": 0}}).ok()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def api(server: Server) -> Client:
    """The owner of the first workspace."""
    return server.owner


@pytest.fixture(scope="session")
def world(server: Server) -> World:
    """The first workspace."""
    return World(server.owner, server.internal)


@pytest.fixture
def apart(server: Server) -> World:
    """A workspace for this test alone. Nobody is held out in it."""
    body = {"name": "Apart", "ownerEmail": f"{unique('owner')}@example.com"}
    made = server.internal.post("/api/journeys/internal/workspaces", body).ok(201)
    world = World(by_session(server.port, made["sessionToken"]), server.internal)
    world.api.patch("/api/workspace", {"holdout": {"percent": 0}}).ok()
    return world


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that this test may stop and start again. It is not started yet."""
    made = Server()
    try:
        yield made
    finally:
        made.close()
