"""A broker that wants to know who comes: TLS, passwords, certificates of our own; and what is said where it does not."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.infra.clock import SystemClock
from services.infra.log.kafka import KafkaLog
from services.infra.log.kafka_address import read_address
from services.infra.log.port import LogUnavailable, Record, Topic
from services.infra.settings import RuntimeSettings
from tests.e2e.server import ROOT
from tests.support.certificates import Authority
from tests.support.own_server import OwnServer

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TOPIC = Topic("test.secure.v1")
PASSWORD = "a secret: with/every@thing"
LISTENERS = """
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{next},SECURE://127.0.0.1:{secure},MUTUAL://127.0.0.1:{mutual}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SECURE://127.0.0.1:{secure},MUTUAL://127.0.0.1:{mutual}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL,MUTUAL:SSL
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={ca}
listener.name.mutual.ssl.client.auth=required
listener.name.secure.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
    user_ann="{password}";
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
"""


class SecureBroker:
    """One with a listener for passwords and one for certificates."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder, "authority")
        cert, key = self.authority.issue("broker")
        keystore = folder / "keystore.pem"
        keystore.write_bytes(key.read_bytes() + cert.read_bytes())
        self.server = OwnServer("log", folder / "broker")
        self.secure, self.mutual = OwnServer("log", folder / "x").port, OwnServer("log", folder / "y").port
        more = folder / "more.properties"
        more.write_text(
            LISTENERS.format(
                port=self.server.port,
                next=self.server.port + 1,
                secure=self.secure,
                mutual=self.mutual,
                keystore=keystore,
                ca=self.authority.file,
                password=PASSWORD,
            )
        )
        os.environ["JOURNEYS_KAFKA_PROPERTIES"] = str(more)
        try:
            self.server.start()
        finally:
            del os.environ["JOURNEYS_KAFKA_PROPERTIES"]
        self._add_scram()

    def _add_scram(self) -> None:
        cache = Path(os.environ.get("JOURNEYS_LOCAL_CACHE") or Path.home() / ".cache" / "journeys-local")
        libs = next(iter(sorted(cache.glob("kafka-*/libs"))))
        java = shutil.which("java")
        assert java is not None
        subprocess.run(
            [
                *(java, "-cp", f"{libs}/*", "-XX:TieredStopAtLevel=1", "kafka.admin.ConfigCommand"),
                *("--bootstrap-server", f"127.0.0.1:{self.server.port}", "--alter"),
                *("--entity-type", "users", "--entity-name", "ben"),
                *("--add-config", "SCRAM-SHA-512=[iterations=4096,password=bens]"),
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )


@pytest.fixture(autouse=True)
async def _closed_sockets() -> AsyncIterator[None]:
    """The driver does not wait for the ends of its TLS sockets, and a loop that ends before them complains."""
    yield
    await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    """It runs."""
    made = SecureBroker(tmp_path_factory.mktemp("secure"))
    yield made
    made.server.close()


def settings(port: int, **more: object) -> RuntimeSettings:
    """What a process would be told."""
    return RuntimeSettings.load(store="mongodb://localhost:1/x", log=f"kafka://127.0.0.1:{port}?partitions=1", **more)


async def carries(told: RuntimeSettings) -> list[bytes]:
    """What comes out of the log behind those settings, of what was put in."""
    log = KafkaLog(read_address(told.log_address), now_ms=SystemClock().now_ms)
    try:
        await log.migrate([TOPIC])
        await log.open([TOPIC])
        at = (await log.append(TOPIC.name, [Record("k", b"carried")]))[0]
        return [one.value for one in await log.read(TOPIC.name, 0, at.offset, 1)]
    finally:
        await log.close()


async def refusal(told: RuntimeSettings) -> str:
    """What is said of a log that does not let us in; it takes seconds, not the minute that a late broker gets."""
    log = KafkaLog(read_address(told.log_address), now_ms=SystemClock().now_ms)
    begun = time.monotonic()
    with pytest.raises(LogUnavailable) as caught:
        await log.open([TOPIC])
    await log.close()
    assert time.monotonic() - begun < 15
    return str(caught.value)


async def test_a_password_in_the_clear_of_tls(broker: SecureBroker) -> None:
    """SASL PLAIN over TLS, with an authority of our own."""
    told = settings(
        broker.secure,
        kafka_security_protocol="sasl_ssl",
        kafka_username="ann",
        kafka_password=PASSWORD,
        kafka_ca_file=broker.authority.file,
    )

    assert [b"carried"] == await carries(told)


async def test_a_password_that_is_never_sent(broker: SecureBroker) -> None:
    """SCRAM."""
    told = settings(
        broker.secure,
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_mechanism="scram-sha-512",
        kafka_username="ben",
        kafka_password="bens",
        kafka_ca_file=broker.authority.file,
    )

    assert [b"carried"] == await carries(told)


async def test_a_certificate_of_our_own(broker: SecureBroker) -> None:
    """Its key behind a password; nobody has to say that this is SSL."""
    cert, key = broker.authority.issue("client", "open")
    told = settings(
        broker.mutual,
        kafka_ca_file=broker.authority.file,
        kafka_cert_file=cert,
        kafka_key_file=key,
        kafka_key_password="open",
    )

    assert [b"carried"] == await carries(told)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_a_wrong_password_is_said_at_once(broker: SecureBroker, mechanism: str) -> None:
    """Without the password."""
    told = settings(
        broker.secure,
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_mechanism=mechanism,
        kafka_username="ann",
        kafka_password="wrong-hush",
        kafka_ca_file=broker.authority.file,
    )

    said = await refusal(told)
    assert f"the log lets us not in: 127.0.0.1:{broker.secure} does not take the user and password" == said


async def test_a_mechanism_that_the_broker_does_not_take_is_said_at_once(broker: SecureBroker) -> None:
    """It would never begin to."""
    told = settings(
        broker.secure,
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_mechanism="SCRAM-SHA-256",
        kafka_username="ben",
        kafka_password="bens",
        kafka_ca_file=broker.authority.file,
    )

    assert "does not take the mechanism SCRAM-SHA-256" in await refusal(told)


async def test_a_broker_that_nobody_vouches_for_is_not_spoken_to(broker: SecureBroker, tmp_path: Path) -> None:
    """Another authority than its own; the password stays here."""
    other = Authority(tmp_path, "other")
    told = settings(
        broker.secure,
        kafka_security_protocol="SASL_SSL",
        kafka_username="ann",
        kafka_password=PASSWORD,
        kafka_ca_file=other.file,
    )

    assert "is not vouched for" in await refusal(told)


def test_a_process_with_a_wrong_password_ends_with_one_clear_line(broker: SecureBroker) -> None:
    """By the environment, as it is deployed: neither a hang nor a trace, and no secret."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("JOURNEYS_")},
        "JOURNEYS_STORE": "mongodb://127.0.0.1:1/x?serverSelectionTimeoutMS=100",
        "JOURNEYS_LOG": f"kafka://127.0.0.1:{broker.secure}",
        "JOURNEYS_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "JOURNEYS_KAFKA_USERNAME": "ann",
        "JOURNEYS_KAFKA_PASSWORD": "wrong-hush",
        "JOURNEYS_KAFKA_CA_FILE": str(broker.authority.file),
    }
    done = subprocess.run(
        [sys.executable, "-c", _LOG_ALONE], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60
    )

    last = done.stderr.splitlines()[-1]
    assert (1, f"the log lets us not in: 127.0.0.1:{broker.secure} does not take the user and password") == (
        done.returncode,
        last,
    )
    assert "hush" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


# A service that opens the log alone: the document server of this test does not exist.
_LOG_ALONE = """
import sys
from services.infra.process import run_alone
from services.infra.settings import RuntimeSettings

class Service:
    name = "test"
    def __init__(self, documents, log, clock, settings, telemetry):
        self.log = log
    async def open(self):
        from services.infra.log.port import Topic
        await self.log.open([Topic("test.secure.v1")])
    def servicers(self):
        return []
    async def close(self):
        pass
sys.exit(run_alone(RuntimeSettings, Service))
"""
