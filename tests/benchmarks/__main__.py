"""`make bench`: every figure as a line `BENCH <name> <value> <unit>`, and all of them as JSON at the end.

Never a gate: the machine is noisy. `python -m tests.benchmarks planner end_to_end` runs some.
"""

import json
import platform
import sys
from collections.abc import Callable, Iterator
from importlib import import_module

Figure = tuple[str, float, str]
# A module of this folder each, with `figures() -> Iterator[Figure]`.
ALL = (
    "planner",
    "stats",
    "learning",
    "backtest",
    "gate",
    "gateway_import",
    "end_to_end",
    "backfill",
    "intake",
    "forget",
    "idle",
    "pinpoint",
)


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all."""
    found: dict[str, dict[str, object]] = {}
    for name in names or ALL:
        figures: Callable[[], Iterator[Figure]] = import_module(f"tests.benchmarks.{name}").figures
        for figure, value, unit in figures():
            found[figure] = {"value": value, "unit": unit}
            sys.stdout.write(f"BENCH {figure} {value:g} {unit}\n")
            sys.stdout.flush()
    machine = {"python": platform.python_version(), "machine": platform.machine()}
    sys.stdout.write(json.dumps({"machine": machine, "figures": found}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
