"""Channels to the other services.

Law: every call has a deadline and bears the actor and the request id of whoever caused it; only what its proto
declares repeatable is repeated. Repeating and balancing are gRPC's own (service config), not ours.

A channel belongs to the event loop it was made in. There are no gRPC interceptors in it: each costs a task per
call, and what ours would do is done where the call is made.
"""

import asyncio
import importlib
import json
import pkgutil
from functools import lru_cache
from typing import Any, Final

import grpc
import journeys
from google.protobuf.descriptor_pb2 import MethodOptions
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.domain.errors import Unavailable
from services.infra.grpc import caller
from services.infra.grpc.limits import MAX_MESSAGE_BYTES, SIZES

DEADLINE_SECONDS: Final = 10.0
# With jitter of 20 %: after 0.05, 0.15 and 0.45 s. A server that restarts on the same host is back by then.
RETRY_POLICY: Final = {
    "maxAttempts": 4,
    "initialBackoff": "0.05s",
    "maxBackoff": "1s",
    "backoffMultiplier": 3,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
# When most calls fail, repeating them keeps the server down: below half of the tokens nothing is repeated.
RETRY_THROTTLING: Final = {"maxTokens": 100, "tokenRatio": 0.5}

_OPTIONS: Final = (
    *SIZES,
    ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),  # or a larger request is never repeated
    ("grpc.enable_http_proxy", 0),  # our own services are never behind HTTP_PROXY
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),  # how long one attempt to connect may take
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.dns_min_time_between_resolutions_ms", 5_000),
)
_OVER_THE_NETWORK: Final = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),  # the first call after a quiet night must not find a dead connection
)


def connect(address: str, *, max_answer_bytes: int = MAX_MESSAGE_BYTES) -> grpc.aio.Channel:
    """A channel to `unix:/path`, `host:port` or `dns:///host:port` (all its addresses in turn).

    A call without a timeout gets 10 s. UNAVAILABLE is retried, with jitter and at most three times, for methods
    whose idempotency_level is IDEMPOTENT or NO_SIDE_EFFECTS. Nothing is connected until the first call.
    """
    return _Channel(address, max_answer_bytes)


async def wait_ready(channel: grpc.aio.Channel, timeout: float) -> None:
    """Return once the other side accepts connections; raises Unavailable after `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            await channel.channel_ready()
    except TimeoutError:
        name = channel.address if isinstance(channel, _Channel) else "the service"
        raise Unavailable(f"{name} did not answer within {timeout:g} s") from None


async def ping(channel: grpc.aio.Channel, service: str = "", timeout: float = 2.0) -> None:
    """Ask the other side's health service; raises Unavailable unless it is serving, AioRpcError if it cannot say."""
    request = health_pb2.HealthCheckRequest(service=service)
    stub: Any = health_pb2_grpc.HealthStub(channel)
    reply = await stub.Check(request, timeout=timeout)
    if reply.status != health_pb2.HealthCheckResponse.SERVING:
        raise Unavailable("not serving")


def is_repeatable(method: Any) -> bool:
    """Whether a method (a MethodDescriptor) may be called again when it is not known what became of the first call."""
    level = method.GetOptions().idempotency_level
    return level in (MethodOptions.IDEMPOTENT, MethodOptions.NO_SIDE_EFFECTS)


@lru_cache(maxsize=1)
def service_config() -> dict[str, Any]:
    """The gRPC service config for all our protos: which methods are retried, and how."""
    names = [
        {"service": service.full_name, "method": method.name}
        for module in pkgutil.walk_packages(journeys.__path__, "journeys.")
        if module.name.endswith("_service_pb2")
        for service in importlib.import_module(module.name).DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if is_repeatable(method)
    ]
    return {
        "methodConfig": [{"name": names, "retryPolicy": RETRY_POLICY}],
        "retryThrottling": RETRY_THROTTLING,
    }


class _Channel(grpc.aio.Channel):
    """A grpc.aio channel whose calls get a deadline and metadata."""

    def __init__(self, address: str, max_answer_bytes: int) -> None:
        self.address = address
        local = address.startswith("unix:")
        config = service_config() if local else {**service_config(), "loadBalancingConfig": [{"round_robin": {}}]}
        sizes = dict(_OPTIONS) | {"grpc.max_receive_message_length": max_answer_bytes}
        options = (*sizes.items(), *(() if local else _OVER_THE_NETWORK), ("grpc.service_config", json.dumps(config)))
        self._inner = grpc.aio.insecure_channel(address, options=options)

    async def close(self, grace: float | None = None) -> None:
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._inner.channel_ready()

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return _Method(self._inner.unary_unary(method, *args, **kwargs))

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return _Method(self._inner.unary_stream(method, *args, **kwargs))

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return _Method(self._inner.stream_unary(method, *args, **kwargs))

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return _Method(self._inner.stream_stream(method, *args, **kwargs))

    async def __aenter__(self) -> "_Channel":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


class _Method:
    """A method that can be called; returns the call object of grpc.aio."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __call__(self, request: Any = None, *, timeout: float | None = None, metadata: Any = None, **more: Any) -> Any:
        pairs = caller.outgoing()
        return self._inner(
            request,
            timeout=DEADLINE_SECONDS if timeout is None else timeout,
            metadata=(*pairs, *metadata) if metadata else pairs,
            **more,
        )
