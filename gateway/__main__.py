"""The gateway as a process of its own: `python -m gateway`."""

import asyncio
import signal
import sys

import structlog

from gateway.app import make_app
from gateway.server import GatewayRunner, start
from services.infra.settings import GatewaySettings, SettingsInvalid
from services.infra.telemetry import Telemetry, set_up_logging

_log = structlog.get_logger(__name__)


def main() -> int:
    """Run until SIGTERM or SIGINT; the exit status."""
    try:
        settings = GatewaySettings.load()
    except SettingsInvalid as error:
        sys.stderr.write("".join(f"{line}\n" for line in error.lines))
        return 2
    set_up_logging(settings.log_level, settings.log_format)
    try:
        asyncio.run(_run(settings))
    except OSError as error:
        sys.stderr.write(f"The gateway cannot start: {error}\n")
        return 1
    return 0


async def _run(settings: GatewaySettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    app = make_app(
        authoring=settings.authoring_address,
        runtime=settings.runtime_address,
        analytics=settings.analytics_address,
        sync_keys=[key.get_secret_value() for key in settings.sync_api_key],
        public_url=settings.public_url,
        telemetry=Telemetry(process=True),
    )
    runner = GatewayRunner(app)
    try:
        address = await start(runner, settings.http_host, settings.http_port)
        _log.info("gateway.listening", url=address)
        await stop.wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    sys.exit(main())
