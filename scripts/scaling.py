"""How evenly work spreads over partitions, and what a rate costs: the tables of docs/scaling.md.

    .venv/bin/python scripts/scaling.py

The skew is simulated with the product's own partition function over made-up people; the arithmetic takes measured
figures as options, so that it can be done again on another machine.
"""

import argparse
import math
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import accumulate, islice
from random import Random

from services.infra.log.port import partition_of

EVENTS = 200_000
SEED = 20261124
BYTES_PER_EVENT = 300
REPLICAS = 3


def spread_evenly(random: Random) -> Iterator[str]:
    """One workspace, a million people, everybody as often as everybody else."""
    while True:
        yield f"pk_shop:usr_{random.randrange(1_000_000)}"


def zipf(random: Random) -> Iterator[str]:
    """One workspace, 100,000 people, the n-th of whom acts 1/n as often as the first."""
    weights = list(accumulate(1 / rank for rank in range(1, 100_001)))
    while True:
        yield f"pk_shop:usr_{random.choices(range(100_000), cum_weights=weights)[0]}"


def hot_subject(random: Random) -> Iterator[str]:
    """As the first, and every twentieth event is one person's (a test account, a device gone wild)."""
    for key in spread_evenly(random):
        yield "pk_shop:usr_hot" if random.random() < 0.05 else key


def hot_workspace(random: Random) -> Iterator[str]:
    """A hundred workspaces of 10,000 people, one of which has nine of ten events."""
    while True:
        workspace = 0 if random.random() < 0.9 else random.randrange(1, 100)
        yield f"pk_{workspace}:usr_{random.randrange(10_000)}"


def hot_journey(random: Random) -> Iterator[str]:
    """One journey that all 200,000 people enter within the hour: a journey is in no key."""
    people = [f"pk_shop:usr_{number}" for number in range(EVENTS)]
    random.shuffle(people)
    while True:
        yield from people


WORLDS: dict[str, Callable[[Random], Iterator[str]]] = {
    "even": spread_evenly,
    "Zipf": zipf,
    "one hot subject (5 %)": hot_subject,
    "one hot workspace (90 %)": hot_workspace,
    "one hot journey": hot_journey,
}


def busiest_share(make: Callable[[Random], Iterator[str]], partitions: int, events: int = EVENTS) -> float:
    """The busiest partition's load, as a multiple of the mean: at least 1."""
    counts = Counter(partition_of(key, partitions) for key in islice(make(Random(SEED)), events))
    return max(counts.values()) * partitions / events


def skew_table(events: int = EVENTS) -> list[str]:
    """Each world's busiest partition for 16 and 64 partitions, and how much of the capacity it leaves usable."""
    lines = [
        "| events | busiest of 16 | usable | busiest of 64 | usable |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, make in WORLDS.items():
        few, many = busiest_share(make, 16, events), busiest_share(make, 64, events)
        lines.append(f"| {name} | {few:.2f} x | {1 / few:.0%} | {many:.2f} x | {1 / many:.0%} |")
    return lines


def cost_table(
    matched: float, execution_ms: float, event_ms: float, store_per_second: float, writes: float
) -> list[str]:
    """Cores, partitions, shards, storage and network for 10 k, 100 k and 1 M events a second."""
    lines = [
        "| events/s | executions/s | runtime cores | partitions | document shards | log, TB a day (3 copies) | log network, MB/s |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for rate in (10_000, 100_000, 1_000_000):
        started = rate * matched
        cores = (started * execution_ms + rate * event_ms) / 1000 / 0.6  # at 60 % of a core, for the peaks
        shards = math.ceil((started * writes + rate) / store_per_second / 0.6)
        megabytes = rate * BYTES_PER_EVENT / 1e6
        partitions = 2 ** math.ceil(math.log2(max(16, cores)))
        lines.append(
            f"| {rate:,} | {started:,.0f} | {math.ceil(cores)} | {partitions} | {shards} "
            f"| {megabytes * 86_400 / 1e6 * REPLICAS:.1f} | {megabytes * (1 + REPLICAS):,.0f} |"
        )
    return lines


def main() -> None:
    """Print both tables."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--matched", type=float, default=0.05, help="executions started per event")
    options.add_argument("--execution-ms", type=float, required=True, help="CPU of one execution in the runtime, ms")
    options.add_argument("--event-ms", type=float, required=True, help="CPU of one event that starts nothing, ms")
    options.add_argument("--store-per-second", type=float, required=True, help="guarded writes/s of one shard")
    options.add_argument("--writes", type=float, default=6.0, help="document writes of one execution")
    given = options.parse_args()
    print("\n".join(skew_table()), end="\n\n")
    print(
        "\n".join(cost_table(given.matched, given.execution_ms, given.event_ms, given.store_per_second, given.writes))
    )


if __name__ == "__main__":
    main()
