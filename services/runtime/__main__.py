"""`python -m services.runtime`: the runtime as a process of its own."""

import sys

from services.infra.clock import Clock
from services.infra.documents.port import Documents
from services.infra.log.port import Log
from services.infra.process import run_alone
from services.infra.settings import RuntimeSettings, ServiceSettings
from services.infra.telemetry import Telemetry
from services.runtime.app import Runtime
from services.runtime.preferences import DEFAULT_URL


def _made(documents: Documents, log: Log, clock: Clock, settings: ServiceSettings, telemetry: Telemetry) -> Runtime:
    alone = settings.log in ("embedded", "memory")
    public_url = settings.public_url or DEFAULT_URL
    return Runtime(
        documents,
        log,
        clock,
        is_alone=alone,
        allow_private_hosts=settings.allow_private_hosts,
        telemetry=telemetry,
        public_url=lambda: public_url,
        analytics=lambda: settings.analytics_address,
        authoring=lambda: settings.authoring_address,
    )


if __name__ == "__main__":
    sys.exit(run_alone(RuntimeSettings, _made))
