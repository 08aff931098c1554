"""The probe that a container's health check runs."""

from services.infra.grpc.probe import is_serving
from services.infra.grpc.server import Server


async def test_a_server_is_serving_until_it_says_otherwise() -> None:
    """Serving, draining, gone."""
    server = Server("probed")
    address = await server.start("127.0.0.1:0")
    try:
        assert await is_serving(address)
        await server.serving(False)
        assert not await is_serving(address)
    finally:
        await server.stop(grace=0)
    assert not await is_serving(address, timeout=0.5)
