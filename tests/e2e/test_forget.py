"""A person is forgotten over HTTP while a server runs: no byte of theirs is left in its folder, and the totals stand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.server import Client, Server, eventually
from tests.e2e.words import Json, World, end, seg, send, trigger, unique, wait_event
from tests.support.planted import CITY, EMAIL, ORDER, PROFILE, USER, left_in, left_in_folder

FORGET = "/api/journeys/internal/forget-end-user"


@pytest.fixture
def alone(own_server: Server) -> World:
    """A server of its own, so that every byte in its folder is this test's."""
    own_server.start()
    own_server.owner.patch("/api/workspace", {"holdout": {"percent": 0}}).ok()
    return World(own_server.owner, own_server.internal)


def journey(world: World) -> str:
    """Two messages and a wait; whoever waits is in the middle of a run."""
    mail, note = world.comm(body="Hello {{ subject.firstName }} of {{ subject.city }}"), world.comm("in_app_push")
    steps = [
        trigger("mail"),
        send("mail", mail, "note"),
        send("note", note, "w", "in_app_push"),
        wait_event("w", "activated", "P30D", "exit", "exit"),
        end(),
    ]
    return world.journey(steps, "signed_up", goalEventName="activated")


def lived(world: World) -> str:
    """A journey, the person in the middle of three runs and through one, and a neighbour."""
    made = journey(world)
    world.api.put(f"/api/subjects/{seg(USER)}", PROFILE).ok(201)
    world.audience(subject_ids=[USER, "ben"])
    world.api.post(
        "/api/audiences",
        {"name": "kept answer", "subjectIds": [USER]},
        headers={"Idempotency-Key": unique("key")},
    ).ok(201)
    world.event("signed_up", USER, {"city": CITY}, id=f"{ORDER}-0")
    world.settle()
    world.event("activated", USER, {"city": CITY}, id=f"{ORDER}-a")
    for n in range(1, 4):
        world.event("signed_up", USER, {"city": CITY}, id=f"{ORDER}-{n}")
    world.event("signed_up", "ben")
    started = world.api.post(
        f"/api/journeys/{made}/executions",
        {"endUserId": USER, "eventId": f"{ORDER}-hand"},
        headers={"Idempotency-Key": unique("key")},
    )
    assert 201 == started.status
    world.settle()
    world.event("signed_up", USER, {"city": CITY}, id=f"{ORDER}-1")  # what comes again is kept too
    again = world.api.post(f"/api/journeys/{made}/executions", {"endUserId": USER, "eventId": f"{ORDER}-hand"})
    assert (200, "duplicate") == (again.status, again.body["reason"])
    world.api.patch(f"/api/subjects/{seg(USER)}", {"channelPreferences": {"mobile_push": False}}).ok()
    world.api.put(f"/api/suppressions/{seg(EMAIL)}", {"reason": "asked"}).ok(201)
    world.settle()
    return made


def forget(world: World, user: str = USER) -> Json:
    assert world.internal is not None
    receipt: Json = world.internal.post(FORGET, {"projectKey": world.key, "endUserId": user}, timeout=120).ok()
    return receipt


def totals(world: World, made: str) -> Json:
    """What must not change; the moment it was counted aside."""
    impact = world.api.get(f"/api/journeys/{made}/calibrated-impact").ok()
    arms = world.api.get(f"/api/journeys/{made}/branch-performance").ok()
    return {"impact": {name: value for name, value in impact.items() if name != "asOf"}, "arms": arms}


def test_no_byte_of_the_person_is_left(alone: World, own_server: Server) -> None:
    """In no file of the server's folder, while it runs: ids in every spelling, addresses, attributes, event data."""
    lived(alone)
    assert left_in_folder(own_server.folder / "data")

    forget(alone)

    assert [] == left_in_folder(own_server.folder)


def test_the_receipt_counts_what_was_erased(alone: World) -> None:
    """Exactly the members of the contract."""
    made = lived(alone)
    entries = len(alone.audit(made)) + len(alone.api.all_of("/api/workspace/audit"))

    receipt = forget(alone)

    assert {"receiptId", "forgottenAt", "stopped", "erased"} == receipt.keys()
    erased = receipt["erased"]
    assert 0 < erased.pop("auditEntries") <= entries
    assert {"executions": 5, "messages": 5, "inApp": 5, "events": 5, "profile": 1, "audienceEntries": 2} == erased
    assert 4 == receipt["stopped"]


def test_totals_keep_their_counts(alone: World) -> None:
    """Impact as before; a step's sum as before: whoever waited has left."""
    made = lived(alone)
    before, steps = totals(alone, made), alone.step_stats(made)

    forget(alone)

    after = eventually(lambda: alone.step_stats(made))
    assert before == totals(alone, made)
    for step, counts in steps.items():
        assert counts["executed"] + counts["waiting"] == after[step]["executed"] + after[step]["waiting"], step
    assert 1 == after["w"]["waiting"]


def test_nothing_is_shown_of_the_person(alone: World) -> None:
    """No route that lists people, what they did or what was done for them."""
    made = lived(alone)

    forget(alone)

    shown = [
        alone.api.get(path).raw
        for path in (
            f"/api/journeys/{made}/executions",
            f"/api/journeys/{made}/audit?limit=500",
            f"/api/journeys/{made}/why?endUserId={seg('ben')}",
            "/api/workspace/audit?limit=500",
            "/api/subjects",
            "/api/suppressions",
            "/api/messages",
            "/api/audiences",
        )
    ]
    assert [] == [trace for raw in shown for trace in left_in("reply", raw)]
    assert 404 == alone.api.get(f"/api/subjects/{seg(USER)}").status


def test_asked_twice_and_verified(alone: World) -> None:
    """The same receipt with zero counts; looking it up shows what was erased and that nothing is there."""
    lived(alone)
    receipt = forget(alone)

    again = forget(alone)

    assert (receipt["receiptId"], receipt["forgottenAt"]) == (again["receiptId"], again["forgottenAt"])
    assert ({0}, 0) == (set(again["erased"].values()), again["stopped"])
    assert alone.internal is not None
    looked = alone.internal.get(f"{FORGET}/{receipt['receiptId']}").ok()
    assert receipt["erased"] == looked["erased"]
    assert ("done", True, 0) == (looked["status"], looked["verified"], looked["remaining"])


def test_an_unknown_receipt_and_an_unknown_workspace(world: World) -> None:
    """404, both."""
    assert world.internal is not None
    world.internal.get(f"{FORGET}/fgt-nothing").problem(404, "not_found")
    world.internal.post(FORGET, {"projectKey": "pk_nobody", "endUserId": "x"}).problem(404, "not_found")


def test_a_body_with_faults_is_told_all_of_them(world: World) -> None:
    """What is missing, what does not belong there, and an id over 200 bytes."""
    assert world.internal is not None
    assert {"/projectKey", "/endUserId"} <= {
        fault["path"] for fault in world.internal.post(FORGET, {}).problem(400, "validation_error")["errors"]
    }
    world.internal.post(FORGET, {"projectKey": world.key, "endUserId": "x" * 201}).problem(400, "validation_error")


def test_a_person_nobody_has_seen(apart: World) -> None:
    """A receipt with zero counts, and a mark all the same."""
    who = unique("unseen")

    receipt = forget(apart, who)

    assert ({0}, 0) == (set(receipt["erased"].values()), receipt["stopped"])
    made = journey(apart)
    apart.event("signed_up", who)
    apart.settle()
    assert [] == apart.executions(made)


def test_only_a_put_brings_the_person_back(apart: World) -> None:
    """Events old and new start nothing and are audited without the id; after a PUT new ones count."""
    who = unique("returning")
    made = journey(apart)
    apart.event("signed_up", who)
    apart.settle()
    forget(apart, who)
    apart.event("signed_up", who)
    apart.settle()
    assert [] == apart.executions(made)
    blocked = eventually(lambda: apart.audit(made, action="trigger.blocked"))
    assert ["subject_forgotten"] == [entry["metadata"]["reason"] for entry in blocked]
    assert who not in json.dumps(blocked)

    apart.api.put(f"/api/subjects/{who}", {}).ok(201)
    apart.event("signed_up", who)
    apart.settle()

    assert 1 == len(apart.executions(made))


def test_what_was_decided_before_the_forget_is_not_decided_again(apart: World) -> None:
    """After a PUT an old event is a duplicate, and so is an old start of the same journey; another may start by that id."""
    who, event = unique("returning"), unique("event")
    made = journey(apart)
    other = apart.journey([trigger("exit"), end()], unique("other"))
    apart.event("signed_up", who, id=event)
    by_hand = {"endUserId": who, "eventId": unique("by-hand")}
    apart.api.post(f"/api/journeys/{made}/executions", by_hand).ok(201)
    apart.settle()
    forget(apart, who)
    apart.api.put(f"/api/subjects/{who}", {}).ok(201)

    again = apart.api.post("/api/events", {"id": event, "type": "signed_up", "endUserId": who}).ok(202)
    apart.settle()

    assert 1 == again["duplicates"]
    started = apart.api.post(f"/api/journeys/{made}/executions", by_hand).ok()
    assert (False, "duplicate") == (started["started"], started["reason"])
    assert [] == apart.executions(made)
    apart.api.post(f"/api/journeys/{other}/executions", by_hand).ok(201)


def test_an_answer_that_names_somebody_forgotten_is_not_kept(alone: World, own_server: Server) -> None:
    """A start by a key that comes after the forget is refused each time anew: no byte of the id stays with the key."""
    made = lived(alone)
    forget(alone)
    by_key = {"Idempotency-Key": unique("key")}
    asked = {"endUserId": USER, "eventId": unique("late")}

    answers = [alone.api.post(f"/api/journeys/{made}/executions", asked, headers=by_key) for _ in range(2)]
    alone.settle()

    assert [(False, "subject_forgotten")] * 2 == [(one.ok()["started"], one.ok()["reason"]) for one in answers]
    assert [None, None] == [one.headers.get("idempotency-replayed") for one in answers]
    assert [] == left_in_folder(own_server.folder / "data")


def test_an_answer_kept_meanwhile_goes_with_the_look_after_ten_minutes(alone: World, own_server: Server) -> None:
    """Its request was under way while the person was forgotten: here a copy of them was made by another name."""
    lived(alone)
    forget(alone)
    by_key = {"Idempotency-Key": unique("key")}
    kept = {"name": f"{unique('list')}", "subjectIds": [USER]}
    made = alone.api.post("/api/audiences", kept, headers=by_key).ok(201)
    alone.api.patch(f"/api/audiences/{made['id']}", {"subjectIds": ["ben"]}).ok()
    assert left_in_folder(own_server.folder / "data")

    alone.advance("PT11M")

    def is_gone() -> bool:
        return not left_in_folder(own_server.folder / "data")

    eventually(is_gone, seconds=30)


def test_the_workspace_audit_says_that_somebody_was_forgotten(apart: World) -> None:
    """Under the receipt, not the person."""
    receipt = forget(apart, unique("someone"))

    def told() -> list[Json]:
        entries: list[Json] = apart.api.get("/api/workspace/audit?action=subject.forgotten").ok()
        return entries

    (entry,) = eventually(told)
    assert receipt["receiptId"] == entry["metadata"]["receiptId"]


def test_killed_in_the_middle_it_is_finished_by_the_next_process(alone: World, own_server: Server) -> None:
    """The request that was cut off is in the log; repeated after the restart, it is done and nothing is left."""
    made = lived(alone)
    batch = [{"type": "signed_up", "endUserId": USER, "id": f"{ORDER}-b{n}"} for n in range(300)]
    alone.api.post("/api/events", {"events": batch}).ok(202)
    alone.settle()
    assert alone.internal is not None
    with pytest.raises(TimeoutError):
        alone.internal.post(FORGET, {"projectKey": alone.key, "endUserId": USER}, timeout=0.15)
    own_server.kill()

    own_server.start()
    receipt = forget(alone)

    assert [] == left_in_folder(own_server.folder / "data")
    assert alone.internal is not None
    looked = alone.internal.get(f"{FORGET}/{receipt['receiptId']}").ok()
    assert (305, True) == (looked["erased"]["executions"], looked["verified"])
    assert ["ben"] == [one["endUserId"] for one in alone.executions(made)]


def test_the_command_forgets(own_server: Server) -> None:
    """`journeys forget ID` prints the receipt."""
    own_server.start()
    key = Client(own_server.port, {"Cookie": f"session={own_server.token}"}).get("/api/me").ok()["projectKey"]
    command = [
        str(Path(sys.executable).with_name("journeys")),
        "forget",
        "somebody",
        "--project-key",
        key,
        "-o",
        "json",
    ]
    env = {
        **os.environ,
        "JOURNEYS_URL": f"http://127.0.0.1:{own_server.port}",
        "SYNC_API_KEY": ",".join(own_server.sync_keys),
    }

    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    assert (0, 0) == (ran.returncode, json.loads(ran.stdout)["erased"]["executions"]), ran.stderr
