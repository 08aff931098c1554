"""Write events to the journeys' topic as CloudEvents, with nothing but aiokafka.

    python examples/producers/produce.py --log 127.0.0.1:19092 --workspace pk_demo examples/events/messy-5000.ndjson
    echo '{"id": "e1", "type": "signed_up", "endUserId": "usr_ada"}' | python examples/producers/produce.py --workspace pk_demo

A line holds one event, as `POST /api/events` takes it: type, endUserId, and where there are any id, data, timestamp.
What a producer of your own has to keep to:

- The key is `<projectKey>:<endUserId>`, in UTF-8: it says whose event it is, and keeps a person's events in order.
- The partitioner is Kafka's default, murmur2 of the key, as in aiokafka and in the Java client. (librdkafka's own
  default is another; set `partitioner=murmur2_random` there. A record in the wrong partition is moved, one hop later.)
- The producer is idempotent and waits for all replicas in sync: its own retries write nothing twice.
- The id is the event's own, given where it happened: an event that is produced twice counts once.
"""

import argparse
import asyncio
import json
import sys
import uuid
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaProducer

TOPIC = "journeys.events.v1"
AT_ONCE = 1_000  # events that wait for the broker's word


def structured(event: dict[str, Any], source: str) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Value and headers of a record that holds all of the event in its value."""
    cloud = {"specversion": "1.0", "id": event["id"], "source": source, "type": event["type"]}
    if "timestamp" in event:
        cloud["time"] = event["timestamp"]
    value = {**cloud, "datacontenttype": "application/json", "data": event.get("data") or {}}
    return json.dumps(value).encode(), [("content-type", b"application/cloudevents+json")]


def binary(event: dict[str, Any], source: str) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Value and headers of a record with the data alone in its value."""
    headers = {"ce_specversion": "1.0", "ce_id": event["id"], "ce_source": source, "ce_type": event["type"]}
    if "timestamp" in event:
        headers["ce_time"] = event["timestamp"]
    headers["content-type"] = "application/json"
    return json.dumps(event.get("data") or {}).encode(), [(name, text.encode()) for name, text in headers.items()]


async def produce(lines: Iterable[str], given: argparse.Namespace) -> tuple[int, int]:
    """How many were written and how many lines were left out, each of those with a line on stderr."""
    write = binary if given.binary else structured
    written = left_out = 0
    waiting: list[Any] = []
    producer = AIOKafkaProducer(
        bootstrap_servers=given.log, acks="all", enable_idempotence=True, linger_ms=5, max_request_size=1 << 20
    )
    await producer.start()
    try:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                event = json.loads(line)
                # Made up here it makes a repeat of the line another event: give ids where the event happens.
                event = {"id": str(uuid.uuid4()), **event}
                key = f"{given.workspace}:{event.get('endUserId') or ''}"
                value, headers = write(event, given.source)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                left_out += 1
                sys.stderr.write(f"line {number}: no event: {error!r}\n")
                continue
            waiting.append(await producer.send(given.topic, value, key.encode(), headers=headers))
            if len(waiting) == AT_ONCE:
                written += len(await asyncio.gather(*waiting))
                waiting.clear()
        written += len(await asyncio.gather(*waiting))
    finally:
        await producer.stop()
    return written, left_out


def main() -> int:
    """The exit status: 1 where a line was left out."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("file", nargs="?", help="NDJSON, an event a line; standard input where there is none")
    options.add_argument("--log", default="127.0.0.1:19092", help="the brokers, host:port with commas between")
    options.add_argument("--topic", default=TOPIC, help=f"default {TOPIC}")
    options.add_argument("--workspace", required=True, help="the project key, such as pk_demo")
    options.add_argument("--source", default="/examples/producer", help="where the events come from, as a URI")
    options.add_argument("--binary", action="store_true", help="attributes in headers, and the data alone as the value")
    given = options.parse_args()
    if given.file is None:
        written, left_out = asyncio.run(produce(sys.stdin, given))
    else:
        with open(given.file, encoding="utf-8", errors="replace") as lines:
            written, left_out = asyncio.run(produce(lines, given))
    sys.stdout.write(f"{written} written, {left_out} left out\n")
    return 1 if left_out else 0


if __name__ == "__main__":
    sys.exit(main())
