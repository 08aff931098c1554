"""Several servers behind one name, as a headless Service has them: calls go round, and whoever is gone is passed over."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from journeys.runtime.v1 import subject_service_pb2 as pb
from journeys.runtime.v1 import subject_service_pb2_grpc as rpc

from services.infra.grpc.channel import connect
from services.infra.grpc.server import Server

# ruff: noqa: N802  # the methods are named by the protos

NAME = "journeys.runtime.v1.SubjectService"


class Counting(rpc.SubjectServiceServicer):
    """Answers, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    async def GetSubject(self, request: pb.GetSubjectRequest, context: Any) -> pb.GetSubjectResponse:
        """Known to everybody."""
        self.calls += 1
        return pb.GetSubjectResponse()

    async def DeleteSuppression(
        self, request: pb.DeleteSuppressionRequest, context: Any
    ) -> pb.DeleteSuppressionResponse:
        """A call that must not be repeated."""
        self.calls += 1
        return pb.DeleteSuppressionResponse()


def counting() -> Counting:
    return Counting()  # type: ignore[abstract]  # what it leaves out is unbuilt


@dataclass
class One:
    """A server on an address of loopback."""

    host: str
    port: int
    servicer: Counting
    server: Server

    async def start(self) -> None:
        """Begin; a server that was stopped is another one afterwards."""
        self.server = Server("runtime")
        self.server.add(rpc.add_SubjectServiceServicer_to_server, self.servicer, NAME)
        await self.server.start(f"{self.host}:{self.port}")


class Both:
    """Two of one port, and the name that leads to them: `localhost` in IPv4 and IPv6, where there is IPv6."""

    def __init__(self) -> None:
        hosts = ("127.0.0.1", "[::1]" if _has_ipv6() else "127.0.0.2")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.name = f"dns:///localhost:{port}" if _has_ipv6() else f"ipv4:127.0.0.1:{port},127.0.0.2:{port}"
        self.servers = [One(host, port, counting(), Server("runtime")) for host in hosts]

    def calls(self) -> list[int]:
        """How many each has answered."""
        return [one.servicer.calls for one in self.servers]


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.fixture
async def both() -> AsyncIterator[Both]:
    """They run."""
    made = Both()
    for one in made.servers:
        await one.start()
    yield made
    for one in made.servers:
        await one.server.stop(0)


@pytest.fixture
async def stub(both: Both) -> AsyncIterator[Any]:
    """Of a channel to the name, once it knows of both."""
    channel = connect(both.name)
    made: Any = rpc.SubjectServiceStub(channel)
    async with asyncio.timeout(10):
        while min(both.calls()) == 0:
            await made.GetSubject(pb.GetSubjectRequest())
    for one in both.servers:
        one.servicer.calls = 0
    yield made
    await channel.close()


async def test_calls_go_round(both: Both, stub: Any) -> None:
    """Each takes half."""
    for _ in range(20):
        await stub.GetSubject(pb.GetSubjectRequest())

    assert [10, 10] == both.calls()


@pytest.mark.parametrize("method", ["GetSubject", "DeleteSuppression"])
async def test_a_server_that_is_gone_is_passed_over(both: Both, stub: Any, method: str) -> None:
    """Nobody sees it, also of calls that are tried once: those that never left are sent to the other."""
    await both.servers[0].server.stop(0)
    request = {"GetSubject": pb.GetSubjectRequest(), "DeleteSuppression": pb.DeleteSuppressionRequest()}[method]

    for _ in range(20):
        await getattr(stub, method)(request)

    assert [0, 20] == both.calls()


async def test_a_server_that_comes_back_takes_its_share_again(both: Both, stub: Any) -> None:
    """Within seconds: connections are tried again on their own."""
    await both.servers[0].server.stop(0)
    await stub.GetSubject(pb.GetSubjectRequest())
    await both.servers[0].start()

    async with asyncio.timeout(15):
        while both.calls()[0] == 0:
            await stub.GetSubject(pb.GetSubjectRequest())

    assert both.calls()[0] > 0


async def test_with_nobody_left_the_caller_is_told(both: Both, stub: Any) -> None:
    """As unavailable, at once or after some tries, and never by waiting for the deadline."""
    for one in both.servers:
        await one.server.stop(0)

    async with asyncio.timeout(5):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetSubject(pb.GetSubjectRequest())

    assert grpc.StatusCode.UNAVAILABLE == caught.value.code()
