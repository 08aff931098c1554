"""A desk for each test, closed after it."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.unit.authoring.desk import Desk


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[Desk]:
    """An open desk with one workspace."""
    made = Desk()
    await made.open()
    yield made
    await made.authoring.close()
