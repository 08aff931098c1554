"""`python -m services.analytics`: analytics as a process of its own."""

import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is imported: one thread, little memory

from services.analytics.app import Analytics
from services.infra.clock import Clock
from services.infra.documents.port import Documents
from services.infra.log.port import Log
from services.infra.process import run_alone
from services.infra.settings import AnalyticsSettings, ServiceSettings
from services.infra.telemetry import Telemetry


def _made(documents: Documents, log: Log, clock: Clock, settings: ServiceSettings, telemetry: Telemetry) -> Analytics:
    return Analytics(documents, log, clock, telemetry=telemetry, runtime=lambda: settings.runtime_address)


if __name__ == "__main__":
    sys.exit(run_alone(AnalyticsSettings, _made))
