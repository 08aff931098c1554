"""Random journeys and random people: whatever happens, all the places that tell of it tell the same."""

import random
from collections import Counter

import pytest

from tests.e2e.words import (
    Json,
    World,
    attr,
    branch,
    draw,
    end,
    event_attr,
    fired,
    ms_of,
    send,
    trigger,
    unique,
    update,
    wait,
    wait_event,
)

PLANS = ("free", "pro", "gold")
SEEDS = range(6)
# No sum of them is a whole minute: no timer falls due of itself, in the seconds in which a test only reads.
LEAPS = ("PT1H17S", "PT23H31S", "P1DT47S", "PT0S")


def random_steps(rng: random.Random, names: list[str], comms: list[str]) -> list[Json]:
    """A sound graph of a dozen steps: each leads to later ones only, and all are reached."""
    ids = [f"s{i}" for i in range(rng.randint(6, 14))]
    steps: list[Json] = [trigger(ids[0])]
    for i, name in enumerate(ids):
        later = [*ids[i + 1 :], "exit"]
        following, other = later[0], rng.choice(later)
        match rng.randrange(7):
            case 0:
                steps.append(wait(name, rng.choice(("PT1H", "P1D", "PT1M", "P3D")), following))
            case 1:
                steps.append(wait_event(name, rng.choice(names), rng.choice(("PT6H", "P2D")), following, other))
            case 2:
                match = {"n": "event.n"}
                steps.append(wait_event(name, rng.choice(names), "P1D", following, other, match=match))
            case 3:
                condition = rng.choice(
                    (
                        attr("plan", "equals", rng.choice(PLANS)),
                        event_attr("n", "gt", 2),
                        fired(rng.choice(names)),
                        fired(rng.choice(names), days=1, atLeast=2),
                        {"kind": "channel_opted_in", "channel": "email"},
                    )
                )
                steps.append(branch(name, [("a", condition, other)], following))
            case 4:
                steps.append(draw(name, [("a", 1, following), ("b", 2, other)]))
            case 5:
                comm, channel = rng.choice(list(zip(comms, ("email", "mobile_push", "in_app_push"), strict=True)))
                steps.append(send(name, comm, following, channel, onFailure=rng.choice(("continue", "fail"))))
            case _:
                steps.append(update(name, {f"v{i}": "{{ event.n }}", "plan": rng.choice(PLANS)}, following))
    return [*steps, end()]


@pytest.fixture(scope="module")
def comms(world: World) -> list[str]:
    """One communication a channel; the mail cannot be rendered for some."""
    bomb = "{% if event.n == 4 %}{% for i in (1..9000000) %}x{% endfor %}{% endif %}Hi"
    return [world.comm(body=bomb), world.comm("mobile_push"), world.comm("in_app_push")]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_place_tells_the_same(world: World, comms: list[str], seed: int) -> None:
    """Executions, histories, audit, messages and step-stats agree, and in the end nobody is left inside."""
    rng = random.Random(seed)
    names = [unique("did") for _ in range(3)]
    event = unique("ev")
    settings: Json = {"maxDuration": rng.choice(("P365D", "P2D"))}
    if rng.random() < 0.5:
        settings["exitOn"] = [{"eventName": names[2], "match": {"n": "event.n"}}]
    journey = world.journey(random_steps(rng, names, comms), event=event, settings=settings)
    people = []
    for i in range(20):
        preferences = {"email": rng.random() < 0.8}
        email = "own" if rng.random() < 0.8 else None
        people.append(world.person({"plan": rng.choice(PLANS), "i": i}, email=email, channelPreferences=preferences))
    for _ in range(4):
        batch = [
            {
                "type": rng.choice((event, *names)),
                "endUserId": rng.choice(people),
                "id": unique("evt"),
                "data": {"n": rng.randrange(5)},
            }
            for _ in range(40)
        ]
        world.api.post("/api/events", {"events": batch}).ok(202)
        world.api.post("/api/events", {"events": rng.sample(batch, 5)}).ok(202)
        if rng.random() < 0.7:
            world.advance(rng.choice(LEAPS))
    world.settle()
    consistent(world, journey)
    world.advance("P60D")
    runs = consistent(world, journey)

    assert runs
    assert not [run for run in runs if run["status"] == "RUNNING"]
    assert not [step for step, counts in world.step_stats(journey).items() if counts["waiting"]]


def consistent(world: World, journey: str) -> list[Json]:
    """Check that all places agree; the executions in full."""
    runs = [world.detail(journey, run["executionId"]) for run in world.executions(journey)]
    told = Counter(
        (entry["metadata"]["executionId"], entry["metadata"]["stepId"], entry["action"], entry["timestamp"])
        for entry in world.audit(journey, limit="500")
        if entry["actor"] == "system"
    )
    history = Counter(
        (run["executionId"], entry["stepId"], entry["event"], entry["at"])
        for run in runs
        for entry in run["history"]
        if entry["event"] != "profile.updated"
    )
    assert history == told

    stats = world.step_stats(journey)
    messages = world.messages(journeyId=journey, limit="500")
    sent = Counter(step for _, step, action, _ in history.elements() if action == "send.executed")
    assert sent == Counter(message["stepId"] for message in messages if message["status"] == "sent")
    assert len(messages) == len({message["messageId"] for message in messages})
    for step, counts in stats.items():
        for action, column in (("send.executed", "executed"), ("send.skipped", "skipped"), ("send.failed", "failed")):
            of_step = sum(n for (_, at, what, _), n in history.items() if at == step and what == action)
            if any(at == step and what.startswith("send.") for _, at, what, _ in history):
                assert of_step == counts[column], (step, column)
    standing = Counter(run["currentStepId"] for run in runs if run["status"] == "RUNNING")
    assert standing == Counter({step: counts["waiting"] for step, counts in stats.items() if counts["waiting"]})
    assert len(runs) == stats["trigger"]["executed"]
    for run in runs:
        stamps = [ms_of(entry["at"]) for entry in run["history"]]
        assert sorted(stamps) == stamps
        assert (run["status"] == "RUNNING") == (run["due"] is not None)
    return runs
