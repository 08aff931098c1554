"""The way out, with the loopback opened for it."""

import ssl
from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from services.infra.outbound import Outbound, Targets
from tests.integration.senders.peers import make_key, tls_pair


@pytest.fixture(scope="session")
def key() -> rsa.RSAPrivateKey:
    return make_key()


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory, key: rsa.RSAPrivateKey) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context and a client's that trusts it."""
    return tls_pair(tmp_path_factory.mktemp("tls"), key)


@pytest.fixture
def targets() -> Targets:
    return Targets(["127.0.0.0/8"])


@pytest.fixture
async def outbound(targets: Targets) -> AsyncIterator[Outbound]:
    made = Outbound(targets)
    yield made
    await made.close()
