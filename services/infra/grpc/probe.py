"""Ask a service whether it is serving: `python -m services.infra.grpc.probe 127.0.0.1:50051`.

For health checks of containers, where nothing else speaks gRPC. Exit status 0: serving; 1: not, or not reached.
"""

import asyncio
import sys

from services.infra.grpc.channel import connect, ping

SECONDS = 3.0


async def is_serving(address: str, timeout: float = SECONDS) -> bool:
    """Whether the whole server at `address` says SERVING within `timeout` seconds."""
    channel = connect(address)
    try:
        async with asyncio.timeout(timeout):
            await ping(channel)
    except Exception:  # noqa: BLE001  # whatever it is, it is no answer
        return False
    else:
        return True
    finally:
        await channel.close()


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(is_serving(sys.argv[1])) else 1)
