"""A person is forgotten on a broker and a document server: no collection holds a trace, the receipt says what the log keeps."""

import asyncio
import datetime as dt
from collections.abc import Iterator

import pytest
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient

from services.infra.log.kafka import KafkaLog
from services.infra.log.port import Record, Topic
from services.runtime.collections import EVENTS
from tests.e2e.server import by_session, eventually
from tests.e2e.test_forget import FORGET, journey
from tests.e2e.words import Json, World, seg, unique
from tests.support.cluster import Cluster
from tests.support.planted import CITY, EMAIL, ORDER, PROFILE, USER, left_in
from tests.support.servers import OwnPlace, servers

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.xdist_group("forget")]

DONE_SECONDS = 120.0


@pytest.fixture(scope="module")
def place() -> Iterator[OwnPlace]:
    """A database and topics of these tests' own."""
    made = OwnPlace(servers())
    yield made
    asyncio.run(made.remove())


@pytest.fixture(scope="module")
def started(place: OwnPlace) -> Iterator[Cluster]:
    """Every service as a process of its own."""
    made = Cluster(place, runtimes=("runtime",))
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture
def world(started: Cluster) -> World:
    """A workspace of the test's own."""
    cluster = started.whole()
    body = {"name": "Forgetful", "ownerEmail": f"{unique('owner')}@example.com"}
    made = cluster.internal.post("/api/journeys/internal/workspaces", body).ok(201)
    owner = by_session(cluster.port, made["sessionToken"])
    owner.patch("/api/workspace", {"holdout": {"percent": 0}}).ok()
    return World(owner, cluster.internal)


def lived(world: World, runs: int) -> str:
    """The person in the middle of some runs, on a list, with a kept answer and a suppressed address; a neighbour."""
    made = journey(world)
    world.api.put(f"/api/subjects/{seg(USER)}", PROFILE).ok(201)
    key = {"Idempotency-Key": unique("key")}
    world.api.post("/api/audiences", {"name": "kept", "subjectIds": [USER, "ben"]}, headers=key).ok(201)
    events = [
        {"type": "signed_up", "endUserId": USER, "data": {"city": CITY}, "id": f"{ORDER}-{n}"} for n in range(runs)
    ]
    world.api.post("/api/events", {"events": [*events, {"type": "signed_up", "endUserId": "ben"}]}).ok(202)

    def all_wait() -> bool:
        return runs + 1 == world.step_stats(made).get("w", {}).get("waiting")

    eventually(all_wait, seconds=DONE_SECONDS)
    world.api.put(f"/api/suppressions/{seg(EMAIL)}", {"reason": "asked"}).ok(201)
    return made


def forget(world: World) -> Json:
    assert world.internal is not None
    body = {"projectKey": world.key, "endUserId": USER}
    receipt: Json = world.internal.post(FORGET, body, timeout=DONE_SECONDS).ok()
    return receipt


def verified(world: World, receipt: Json) -> Json:
    assert world.internal is not None
    looked: Json = world.internal.get(f"{FORGET}/{receipt['receiptId']}").ok()
    return looked


async def left_in_database(place: OwnPlace) -> list[str]:
    """What can be read of the person in any byte of any document of any collection."""
    client: AsyncMongoClient[RawBSONDocument] = AsyncMongoClient(place.mongodb)
    try:
        database = client.get_database(place.database, CodecOptions(document_class=RawBSONDocument))
        return [
            trace
            for name in await database.list_collection_names()
            async for document in database[name].find({})
            for trace in left_in(name, bytes(document.raw))
        ]
    finally:
        await client.close()


def test_no_collection_holds_a_trace_and_the_receipt_says_until_when_the_log_does(
    world: World, place: OwnPlace
) -> None:
    """Counted, stopped, verified; the date lies behind the topics' retention of what was written last."""
    made = lived(world, runs=3)
    assert asyncio.run(left_in_database(place))

    receipt = forget(world)

    assert [] == asyncio.run(left_in_database(place))
    erased = receipt["erased"]
    assert (3, 3, 3, 1, 1) == (
        receipt["stopped"],
        erased["executions"],
        erased["events"],
        erased["profile"],
        erased["audienceEntries"],
    )
    looked = verified(world, receipt)
    assert ("done", True, 0) == (looked["status"], looked["verified"], looked["remaining"])
    until = dt.datetime.fromisoformat(receipt["retainedUntil"])
    assert until > dt.datetime.fromisoformat(receipt["forgottenAt"]) + dt.timedelta(days=1)
    assert receipt["retainedUntil"] == looked["retainedUntil"]
    again = forget(world)
    assert (receipt["receiptId"], {0}) == (again["receiptId"], set(again["erased"].values()))
    assert ["ben"] == [one["endUserId"] for one in world.executions(made)]


def test_what_is_read_again_from_the_topic_brings_nobody_back(world: World, place: OwnPlace) -> None:
    """The broker still has the person's events: delivered a second time they are nobody's, while a neighbour's start."""
    made = lived(world, runs=1)
    forget(world)

    asyncio.run(_replayed(place, world.key))

    def neighbour_started() -> bool:
        return "cleo" in {one["endUserId"] for one in world.executions(made)}

    world.event("signed_up", "cleo")
    eventually(neighbour_started, seconds=DONE_SECONDS)
    assert {"ben", "cleo"} == {one["endUserId"] for one in world.executions(made)}
    assert [] == asyncio.run(left_in_database(place))


async def _replayed(place: OwnPlace, workspace: str) -> None:
    """Append once more what the events' topic holds of the person."""
    log = KafkaLog(place.kafka(), now_ms=lambda: 0)
    topic = EVENTS
    try:
        await log.open([Topic(topic)])
        theirs = [
            Record(one.key, one.value, one.headers)
            for partition in range(log.partitions)
            for one in await log.read(topic, partition, 0, 10_000)
            if one.key == f"{workspace}:{USER}"
        ]
        assert theirs
        await log.append(topic, theirs)
    finally:
        await log.close()


def test_a_runtime_killed_in_the_middle_is_finished_by_the_next_one(
    world: World, place: OwnPlace, started: Cluster
) -> None:
    """The command is in the topic; the counts are those of an undisturbed run."""
    made = lived(world, runs=60)
    assert world.internal is not None
    with pytest.raises(TimeoutError):
        world.internal.post(FORGET, {"projectKey": world.key, "endUserId": USER}, timeout=0.2)
    started.kill("runtime")
    started.whole()

    def is_done() -> bool:
        assert world.internal is not None
        body = {"projectKey": world.key, "endUserId": USER}
        return world.internal.post(FORGET, body, timeout=DONE_SECONDS).status == 200

    eventually(is_done, seconds=DONE_SECONDS)
    receipt = forget(world)

    assert [] == asyncio.run(left_in_database(place))
    looked = verified(world, receipt)
    assert (60, 60, True) == (looked["erased"]["executions"], looked["stopped"], looked["verified"])
    assert ["ben"] == [one["endUserId"] for one in world.executions(made)]
