"""The arithmetic and the simulation behind docs/scaling.md, small."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "scaling.md").read_text()


@pytest.fixture(scope="module")
def scaling() -> ModuleType:
    """scripts/scaling.py, which is no package's."""
    spec = importlib.util.spec_from_file_location("scaling", ROOT / "scripts" / "scaling.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["scaling"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_hot_subject_burdens_its_partition_and_a_hot_journey_none(scaling: ModuleType) -> None:
    """5 % of the events are one person's, hence one partition's; a journey is in no key."""
    hot, journey = (scaling.busiest_share(scaling.WORLDS[name], 16, 2_000) for name in list(scaling.WORLDS)[2::2])

    assert hot > 1 + 0.05 * 15 * 0.8
    assert journey < 1.5


def test_the_tables_of_the_page_are_those_of_the_program(scaling: ModuleType) -> None:
    """The same rows and columns, whatever the figures; the costs with the figures that the page names."""
    rows = [line for line in PAGE.splitlines() if line.startswith("|")]
    skew = scaling.skew_table(200)
    load = scaling.Load(matched=0.05, execution_ms=0.9, event_ms=0.1, store_per_second=6_600, writes=6, others_ms=0.6)

    assert skew[0] in rows
    assert [line.split("|")[1] for line in skew] == [
        line.split("|")[1] for line in rows[rows.index(skew[0]) :][: len(skew)]
    ]
    for line in scaling.cost_table(load):
        assert line in rows


@pytest.mark.parametrize("rate", [10_000, 100_000, 1_000_000])
def test_an_installation_has_at_most_64_partitions(scaling: ModuleType, rate: int) -> None:
    """A power of two, and a core for each at most; what is beyond takes another installation."""
    load = scaling.Load(matched=0.05, execution_ms=10, event_ms=0.1, store_per_second=7_000, writes=6)

    need = scaling.need_of(rate, load)

    assert need.partitions in (16, 32, 64)
    assert need.cores <= need.partitions * need.installations


def test_money_is_cores_disk_and_copies(scaling: ModuleType) -> None:
    """By hand: 10 cores, 6 of the others, two shards of 3 x 4, 4 TB, and 2 of 4 copies of 4 MB/s to other zones."""
    need = scaling.Need(10_000, 500, 10, 16, 1, 2, 1.0, 3.0, 4.0, 6)

    assert pytest.approx((10 + 6 + 24) * 730 * 0.04 + 4 * 80 + 0.002 * 3600 * 730 * 0.01) == scaling.money(
        need, 0.04, 80, 0.01
    )
