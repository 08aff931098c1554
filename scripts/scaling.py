"""How evenly work spreads over partitions, and what a rate costs: the tables of docs/scaling.md.

    .venv/bin/python scripts/scaling.py

The skew is simulated with the product's own partition function over made-up people; the arithmetic takes measured
figures as options, so that it can be done again on another machine.
"""

import argparse
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate, islice
from random import Random

from services.infra.log.port import partition_of

EVENTS = 200_000
SEED = 20261124
RATES = (10_000, 100_000, 1_000_000)
MOST_PARTITIONS = 64  # of one installation: as many as there are lanes
USABLE = 0.6  # of a core or a shard: the rest is for peaks, skew and the loss of a machine
REPLICAS = 3
LOG_DAYS = 35
BYTES_PER_EVENT = 300  # in the log
BYTES_PER_RECORD, RECORD_DAYS = 250, 90  # of an event, in the store, with its indexes
BYTES_PER_EXECUTION, EXECUTION_DAYS = 3_000, 45  # with its messages, facts and indexes; it lives 7 + 30 days and more
CORES_PER_SHARD = 4
HOURS_A_MONTH = 730


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


@dataclass(frozen=True, slots=True)
class Load:
    """What one event costs. `matched`: executions started per event; times in CPU ms of the runtime, but for
    `others_ms`: what analytics, gateway, authoring and broker spend on one execution.
    """

    matched: float
    execution_ms: float
    event_ms: float
    store_per_second: float  # guarded writes of one shard
    writes: float  # of one execution
    others_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Need:
    """What a rate of events needs."""

    rate: int
    executions: float
    cores: int
    partitions: int  # of each installation
    installations: int
    shards: int
    log_terabytes: float
    store_terabytes: float
    log_megabytes_a_second: float
    other_cores: int = 0  # of analytics, gateway, authoring and broker


def need_of(rate: int, load: Load) -> Need:
    """The arithmetic of docs/scaling.md."""
    started = rate * load.matched
    cores = math.ceil((started * load.execution_ms + rate * load.event_ms) / 1000 / USABLE)
    installations = math.ceil(cores / MOST_PARTITIONS)
    partitions = 2 ** math.ceil(math.log2(max(16, cores / installations)))
    shards = math.ceil((started * load.writes + rate) / load.store_per_second / USABLE)
    daily = 86_400 / 1e12 * REPLICAS
    kept = started * BYTES_PER_EXECUTION * EXECUTION_DAYS + rate * BYTES_PER_RECORD * RECORD_DAYS
    return Need(
        rate=rate,
        executions=started,
        cores=cores,
        partitions=partitions,
        installations=installations,
        shards=max(shards, installations),
        log_terabytes=rate * BYTES_PER_EVENT * LOG_DAYS * daily,
        store_terabytes=kept * daily,
        log_megabytes_a_second=rate * BYTES_PER_EVENT * (1 + REPLICAS) / 1e6,
        other_cores=math.ceil(started * load.others_ms / 1000 / USABLE),
    )


def cost_table(load: Load) -> list[str]:
    """Cores, partitions, shards, storage and network for 10 k, 100 k and 1 M events a second."""
    lines = [
        "| events/s | executions/s | runtime workers of one core | cores of the others | installations x partitions "
        "| document shards | log, TB | store, TB | log network, MB/s |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {one.rate:,} | {one.executions:,.0f} | {one.cores} | {one.other_cores} | {one.installations} x {one.partitions} "
        f"| {one.shards} | {one.log_terabytes:,.0f} | {one.store_terabytes:,.0f} "
        f"| {one.log_megabytes_a_second:,.0f} |"
        for one in (need_of(rate, load) for rate in RATES)
    ]
    return lines


def money(need: Need, core_hour: float, terabyte_month: float, network_gigabyte: float) -> float:
    """A month's cost at these prices. Of the network the copies cost, which go to other zones."""
    cores = need.cores + need.other_cores + need.shards * CORES_PER_SHARD * REPLICAS
    copies = need.log_megabytes_a_second * (REPLICAS - 1) / (1 + REPLICAS)
    gigabytes = copies / 1000 * 3600 * HOURS_A_MONTH
    return (
        cores * HOURS_A_MONTH * core_hour
        + (need.log_terabytes + need.store_terabytes) * terabyte_month
        + gigabytes * network_gigabyte
    )


def main() -> None:
    """Print both tables."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--matched", type=float, default=0.05, help="executions started per event")
    options.add_argument("--execution-ms", type=float, required=True, help="CPU of one execution in the runtime, ms")
    options.add_argument("--others-ms", type=float, default=0.0, help="CPU of one execution in the other processes, ms")
    options.add_argument("--event-ms", type=float, required=True, help="CPU of one event that starts nothing, ms")
    options.add_argument("--store-per-second", type=float, required=True, help="guarded writes/s of one shard")
    options.add_argument("--writes", type=float, default=6.0, help="document writes of one execution")
    options.add_argument("--core-hour", type=float, default=0.04, help="price of a core for an hour (0.04)")
    options.add_argument("--terabyte-month", type=float, default=80.0, help="price of a TB of fast disk (80)")
    options.add_argument("--network-gigabyte", type=float, default=0.01, help="price of a GB to another zone (0.01)")
    given = options.parse_args()
    load = Load(
        given.matched, given.execution_ms, given.event_ms, given.store_per_second, given.writes, given.others_ms
    )
    print("\n".join(skew_table()), end="\n\n")
    print("\n".join(cost_table(load)), end="\n\n")
    for rate in RATES:
        month = money(need_of(rate, load), given.core_hour, given.terabyte_month, given.network_gigabyte)
        print(f"{rate:,} events/s: {month:,.0f} a month")


if __name__ == "__main__":
    main()
