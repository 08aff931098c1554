"""The choice of store and log."""

import subprocess
import sys
from pathlib import Path

import pytest

from services.infra.clock import ManualClock
from services.infra.machinery import machinery
from services.infra.sqlite.engine import CannotOpen

LOOK = """
import asyncio, sys
from pathlib import Path
import services.all_in_one
from services.infra.machinery import machinery

async def main():
    async with machinery("memory", "memory", Path("nowhere"), lambda: 0):
        print(*sorted({name.partition(".")[0] for name in sys.modules} & {"aiokafka", "motor", "pymongo"}))

asyncio.run(main())
"""


def test_an_embedded_start_imports_no_driver_of_a_server() -> None:
    """They cost 15 MB and most of a second; a newcomer needs neither."""
    found = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)

    assert "" == found.stdout.strip()


@pytest.mark.parametrize(
    ("store", "log", "said"),
    [
        ("mongodb://host:notaport/x", "kafka://localhost:9092", "JOURNEYS_STORE"),
        ("mongodb://localhost:1/x", "kafka://localhost:9092?partitions=5", "JOURNEYS_LOG: partitions"),
        ("mongodb://localhost:1/x", "kafka://localhost", "JOURNEYS_LOG: localhost needs a port"),
        ("mongodb://localhost:1/x", "kafka://localhost:1?security=SSL&ca=/nowhere", "JOURNEYS_LOG: the files of cert"),
    ],
)
async def test_an_address_that_cannot_be_meant_is_refused_by_name(
    store: str, log: str, said: str, tmp_path: Path
) -> None:
    """Before anything is connected to."""
    with pytest.raises(CannotOpen, match=said):
        async with machinery(store, log, tmp_path, ManualClock().now_ms):
            pass
