"""Ask a service whether it is serving: `python -m services.infra.grpc.probe 127.0.0.1:50051`.

For health checks of containers, where nothing else speaks gRPC. Exit status 0: serving; 1: not, or not reached.
"""

import sys

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

SECONDS = 3.0


def is_serving(address: str, timeout: float = SECONDS) -> bool:
    """Whether the whole server at `address` says SERVING within `timeout` seconds."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = HealthStub(channel).Check(HealthCheckRequest(), timeout=timeout)
        except grpc.RpcError:
            return False
    return bool(answer.status == HealthCheckResponse.SERVING)


if __name__ == "__main__":
    sys.exit(0 if is_serving(sys.argv[1]) else 1)
