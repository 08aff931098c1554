"""The adapters the contract suites run over.

A house is where an adapter keeps its things: it can be opened, closed and opened again. To add an adapter, add a
house and its name; the distributed ones carry the marker `integration`.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import pytest

from services.infra.clock import ManualClock
from services.infra.documents.port import Documents
from services.infra.documents.sqlite import SqliteDocuments
from services.infra.log.port import Log
from services.infra.log.sqlite import SqliteLog
from services.infra.sqlite.engine import Engine, open_engine
from tests.support.memory import MemoryDocuments, MemoryLog

PARTITIONS = 16


class House(Protocol):
    """Opens the two ports over the same things, as often as a test likes."""

    clock: ManualClock
    compacts: bool  # whether older records of a key are gone at once

    async def open(self) -> tuple[Documents, Log]: ...

    async def close(self) -> None: ...


class SqliteHouse:
    """One SQLite file, or one in memory for no folder."""

    compacts = True

    def __init__(self, folder: Path | None) -> None:
        self.clock = ManualClock()
        self._folder = folder
        self._engine: Engine | None = None
        self._log: SqliteLog | None = None

    async def open(self) -> tuple[Documents, Log]:
        self._engine = await open_engine(self._folder)
        self._log = SqliteLog(self._engine, PARTITIONS, now_ms=self.clock.now_ms)
        return SqliteDocuments(self._engine), self._log

    async def close(self) -> None:
        if self._log is not None and self._engine is not None:
            await self._log.close()
            await self._engine.close()


class DoubleHouse:
    """The doubles of the tests: whoever trusts them trusts that they keep the contract."""

    compacts = False

    def __init__(self) -> None:
        self.clock = ManualClock()
        self._documents = MemoryDocuments()
        self._log = MemoryLog(PARTITIONS, now_ms=self.clock.now_ms)

    async def open(self) -> tuple[Documents, Log]:
        return self._documents, self._log

    async def close(self) -> None:
        await self._log.close()


@pytest.fixture(params=["sqlite-file", "sqlite-memory", "double"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """Every adapter."""
    houses: dict[str, House] = {
        "sqlite-file": SqliteHouse(tmp_path / "data"),
        "sqlite-memory": SqliteHouse(None),
        "double": DoubleHouse(),
    }
    chosen = houses[request.param]
    yield chosen
    await chosen.close()


@pytest.fixture(params=["sqlite-file"])
async def lasting_house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """Every adapter whose things outlive a process."""
    chosen = SqliteHouse(tmp_path / request.param)
    yield chosen
    await chosen.close()


@pytest.fixture
async def documents(house: House) -> Documents:
    """A document store without collections."""
    return (await house.open())[0]


@pytest.fixture
async def log(house: House) -> Log:
    """A log without topics."""
    return (await house.open())[1]
