"""Real servers for the tests marked `integration`.

    JOURNEYS_TEST_MONGODB   mongodb://... of a server that speaks MongoDB's protocol
    JOURNEYS_TEST_KAFKA     kafka://host:port

`make test-integration` starts both and sets them. Where one is missing these tests skip by name; with
JOURNEYS_REQUIRE_INTEGRATION=1 they fail instead.
"""

import os
import uuid
from dataclasses import dataclass, field

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from pymongo import AsyncMongoClient

from services.infra.log.kafka_address import KafkaAddress, read_address


@dataclass(frozen=True, slots=True)
class Servers:
    """Where they are."""

    mongodb: str
    kafka: str


def servers() -> Servers:
    """What the environment names; skips, or fails where they are required."""
    return Servers(_named("JOURNEYS_TEST_MONGODB"), _named("JOURNEYS_TEST_KAFKA"))


def _named(variable: str) -> str:
    value = os.environ.get(variable, "")
    if not value:
        reason = f"{variable} is not set: make test-integration starts servers and sets it"
        if os.environ.get("JOURNEYS_REQUIRE_INTEGRATION") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return value


@dataclass(slots=True)
class OwnPlace:
    """A database and a prefix of topics that nobody else uses."""

    servers: Servers
    name: str = field(default_factory=lambda: f"test-{uuid.uuid4().hex[:12]}")

    @property
    def mongodb(self) -> str:
        """The document server."""
        return self.servers.mongodb

    @property
    def database(self) -> str:
        """The database of ours."""
        return self.name

    def kafka(self, partitions: int = 16) -> KafkaAddress:
        """The broker, with our prefix."""
        return read_address(f"{self.servers.kafka.rstrip('/')}/{self.name}?partitions={partitions}")

    @property
    def settings(self) -> tuple[str, str]:
        """Both as the settings of a process: store and log."""
        host, _, query = self.mongodb.partition("?")
        store = f"mongodb://{host.removeprefix('mongodb://').partition('/')[0]}/{self.name}?{query}"
        return store, f"{self.servers.kafka.rstrip('/')}/{self.name}"

    async def remove(self) -> None:
        """Drop the database and delete the topics."""
        await self.remove_database()
        admin = AIOKafkaAdminClient(**self.kafka().options())
        await admin.start()
        try:
            topics = [topic for topic in await admin.list_topics() if topic.startswith(f"{self.name}.")]
            if topics:
                await admin.delete_topics(topics)
        finally:
            await admin.close()

    async def remove_database(self) -> None:
        """Drop the database alone."""
        client: AsyncMongoClient[dict[str, object]] = AsyncMongoClient(self.mongodb)
        try:
            await client.drop_database(self.database)
        finally:
            await client.close()
