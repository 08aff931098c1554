"""Draw the state diagrams of ARCHITECTURE.md from the transition tables.

    python scripts/diagrams.py           rewrite what stands between the markers
    python scripts/diagrams.py --check   compare only; exit 1 when stale

The tables are the truth (one `lifecycle.py` per machine); a picture that is
drawn by hand would soon show another machine.
"""

import argparse
import re
import sys
from collections.abc import Mapping
from enum import Enum
from importlib import import_module
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parent.parent / "ARCHITECTURE.md"
# Each module has TRANSITIONS: (state, cause) -> the next state, or a tuple of those possible.
MACHINES = {
    "journey": "services.domain.journey.lifecycle",
    "execution": "services.domain.execution.lifecycle",
}
OUTSIDE = "[*]"


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw the state diagrams of ARCHITECTURE.md, or check them.")
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 when stale")
    arguments = parser.parse_args()

    before = after = DOCUMENT.read_text()
    for name, module in MACHINES.items():
        after = replaced(after, name, drawing(import_module(module).TRANSITIONS))
    if before == after:
        return 0
    if arguments.check:
        print("A diagram in ARCHITECTURE.md no longer fits its table. Run `make diagrams`.", file=sys.stderr)
        return 1
    DOCUMENT.write_text(after)
    print("ARCHITECTURE.md: diagrams drawn anew")
    return 0


def replaced(text: str, name: str, diagram: str) -> str:
    """Return `text` with `diagram` between the two markers of that name."""
    markers = re.compile(rf"(<!-- diagram:{name} -->\n).*?(<!-- /diagram -->)", re.DOTALL)
    text, count = markers.subn(lambda found: found[1] + diagram + found[2], text)
    if count != 1:
        raise SystemExit(
            f"{DOCUMENT.name} needs the markers of diagram {name!r} exactly once, and has them {count} times"
        )
    return text


def drawing(transitions: Mapping[tuple[object, object], object]) -> str:
    """Return the table as a mermaid state diagram: one arrow for each pair of states, with all its causes."""
    arrows: dict[tuple[str, str], list[str]] = {}
    states: dict[str, None] = {}  # in the order of the table
    for (source, cause), targets in transitions.items():
        for target in targets if isinstance(targets, tuple) else (targets,):
            arrow = word(source), word(target)
            states.update(dict.fromkeys(arrow))
            causes = arrows.setdefault(arrow, [])
            if word(cause) not in causes:
                causes.append(word(cause))

    entered = {target for source, target in arrows if source != target}
    left = {source for source, target in arrows if source != target}
    inner = [state for state in states if state != OUTSIDE]
    return "".join(
        [
            "```mermaid\n",
            "stateDiagram-v2\n",
            *(f"    {OUTSIDE} --> {state}\n" for state in inner if state not in entered),
            *(f"    {source} --> {target}: {', '.join(causes)}\n" for (source, target), causes in arrows.items()),
            *(f"    {state} --> {OUTSIDE}\n" for state in inner if state not in left),
            "```\n",
        ]
    )


def word(value: object) -> str:
    """Name a state or a cause; None, the state before the first, is the outside."""
    if value is None:
        return OUTSIDE
    if isinstance(value, Enum):
        return str(value.value)
    return value.__name__ if isinstance(value, type) else str(value)


if __name__ == "__main__":
    sys.exit(main())
