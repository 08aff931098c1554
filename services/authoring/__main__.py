"""`python -m services.authoring`: authoring as a process of its own."""

import sys

from services.authoring.app import Authoring
from services.infra.clock import Clock
from services.infra.documents.port import Documents
from services.infra.log.port import Log
from services.infra.process import run_alone
from services.infra.settings import AuthoringSettings, ServiceSettings
from services.infra.telemetry import Telemetry


def _made(documents: Documents, log: Log, clock: Clock, settings: ServiceSettings, telemetry: Telemetry) -> Authoring:
    ttl_ms = round(settings.session_ttl.total_seconds() * 1000)
    return Authoring(documents, log, clock, session_ttl_ms=ttl_ms, telemetry=telemetry)


if __name__ == "__main__":
    sys.exit(run_alone(AuthoringSettings, _made))
