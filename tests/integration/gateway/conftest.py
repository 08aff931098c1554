"""A gateway over stubs."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.gateway.backend import Backend, Client, gateway_over


@pytest.fixture
def backend() -> Backend:
    """Stubs that answer what the test puts into `answers`."""
    return Backend()


@pytest.fixture
async def client(backend: Backend) -> AsyncIterator[Client]:
    """A client of a gateway over the stubs, signed in as an owner."""
    with tempfile.TemporaryDirectory(prefix="gw-") as folder:  # pytest's own paths are too long for a socket
        async with gateway_over(backend, Path(folder), clock=True) as made:
            yield made
