"""How long the server's modules take to import, in a fresh interpreter."""

import subprocess
import sys
import time
from collections.abc import Iterator


def figures() -> Iterator[tuple[str, float, str]]:
    """server.import_seconds"""
    subprocess.run([sys.executable, "-c", "import services.all_in_one"], check=True)  # compiled files
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import services.all_in_one"], check=True)
    yield "server.import_seconds", time.perf_counter() - begun, "s"
