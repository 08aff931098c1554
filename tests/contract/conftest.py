"""The adapters the contract suites run over.

A house is where an adapter keeps its things: it can be opened, closed and opened again. To add an adapter, add a
house and its name; the distributed ones carry the marker `integration` (see `tests/support/servers.py`).
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest

from services.infra.clock import ManualClock
from services.infra.documents.mongo import MongoDocuments
from services.infra.documents.port import Collection, Documents
from services.infra.documents.sqlite import SqliteDocuments
from services.infra.log.kafka import KafkaLog
from services.infra.log.port import Log, Topic
from services.infra.log.sqlite import SqliteLog
from services.infra.sqlite.engine import Engine, open_engine
from tests.support.memory import MemoryDocuments, MemoryLog
from tests.support.servers import OwnPlace, servers

PARTITIONS = 16


class House(Protocol):
    """Opens the two ports over the same things, as often as a test likes."""

    clock: ManualClock
    compacts: bool  # whether older records of a key are gone at once
    is_on_time: bool  # whether records are stamped by `clock`, not by a machine of the log's own

    async def open(self) -> tuple[Documents, Log]: ...

    async def close(self) -> None: ...


class SqliteHouse:
    """One SQLite file, or one in memory for no folder."""

    compacts = True
    is_on_time = True

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
    is_on_time = True

    def __init__(self) -> None:
        self.clock = ManualClock()
        self._documents = MemoryDocuments()
        self._log = MemoryLog(PARTITIONS, now_ms=self.clock.now_ms)

    async def open(self) -> tuple[Documents, Log]:
        return self._documents, self._log

    async def close(self) -> None:
        await self._log.close()


class _MadeDocuments(MongoDocuments):
    """The suite opens what it needs; an operator would have migrated before."""

    async def open(self, collections: Sequence[Collection[Any]]) -> None:
        await self.migrate(collections)
        await super().open(collections)


class _MadeLog(KafkaLog):
    """The same for topics."""

    async def open(self, topics: Sequence[Topic]) -> None:
        await self.migrate(topics)
        await super().open(topics)


class ServerHouse:
    """MongoDB (or what stands in for it) and Kafka: a database and topics of the test's own, gone at its end."""

    compacts = False
    is_on_time = False

    def __init__(self) -> None:
        self.clock = ManualClock()
        self._place = OwnPlace(servers())
        self._opened: tuple[MongoDocuments, KafkaLog] | None = None

    async def open(self) -> tuple[Documents, Log]:
        documents = _MadeDocuments(self._place.mongodb, self._place.database)
        log = _MadeLog(self._place.kafka(PARTITIONS), now_ms=self.clock.now_ms)
        self._opened = documents, log
        return documents, log

    async def close(self) -> None:
        if self._opened is not None:
            documents, log = self._opened
            await log.close()
            await documents.close()

    async def remove(self) -> None:
        """Leave nothing behind."""
        await self._place.remove()


SERVERS = pytest.param("servers", marks=pytest.mark.integration)


@pytest.fixture(params=["sqlite-file", "sqlite-memory", "double", SERVERS])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """Every adapter."""
    if request.param == "servers":
        server_house = ServerHouse()
        yield server_house
        await server_house.close()
        await server_house.remove()
        return
    houses: dict[str, House] = {
        "sqlite-file": SqliteHouse(tmp_path / "data"),
        "sqlite-memory": SqliteHouse(None),
        "double": DoubleHouse(),
    }
    chosen = houses[request.param]
    yield chosen
    await chosen.close()


@pytest.fixture(params=["sqlite-file", SERVERS])
async def lasting_house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """Every adapter whose things outlive a process."""
    if request.param == "servers":
        server_house = ServerHouse()
        yield server_house
        await server_house.close()
        await server_house.remove()
        return
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
