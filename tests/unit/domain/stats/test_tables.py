"""The programs that make docs/statistics run, and the pages that are there came from them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
PAGES = ("rates", "lift", "splits", "adaptive", "regret")


@pytest.mark.parametrize("name", PAGES)
def test_each_table_is_printed(name: str) -> None:
    """A tiny run ends well and prints the heading and rows of its page as it is in docs."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "statistics_tables.py", name, "--quick"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    page = (ROOT / "docs" / "statistics" / f"{name}.md").read_text()

    assert 0 == done.returncode, done.stderr
    assert _titles(page) == _titles(done.stdout)
    assert "nan" not in done.stdout


@pytest.mark.parametrize("name", PAGES)
def test_the_pages_are_full_runs(name: str) -> None:
    """Not the tiny ones, and with their command and seed."""
    page = (ROOT / "docs" / "statistics" / f"{name}.md").read_text()

    assert f"`python scripts/statistics_tables.py {name} --seed 20261124`" in page


def _titles(page: str) -> list[str]:
    return [line for line in page.splitlines() if line.startswith("#")]
