"""Bundles through the internal routes: imported, exported, published and run. Contract 6; pinpoint design 7."""

import copy
import json
from pathlib import Path
from typing import Any

from tests.e2e.server import Client, Server, fault_paths
from tests.e2e.words import Json, World, at_once, unique

EXAMPLE = Path(__file__).parents[2] / "examples" / "bundles" / "first-days.json"
IMPORT = "/api/journeys/internal/import-bundle"
EXPORT = "/api/journeys/internal/export-bundle"


def example(**more: Any) -> Json:
    """The shipped bundle."""
    found: Json = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    return {**found, **more}


def internal(world: World) -> Client:
    """Our own machinery."""
    assert world.internal is not None
    return world.internal


def imported(world: World, bundle: Json, **options: Any) -> Json:
    """Import it; the report."""
    report: Json = internal(world).post(IMPORT, {"projectKey": world.key, "bundle": bundle, **options}).ok()
    return report


def exported(world: World, **options: Any) -> Json:
    """The workspace as a bundle."""
    found: Json = internal(world).post(EXPORT, {"projectKey": world.key, **options}).ok()
    return found


def id_of(report: Json, ref: str) -> str:
    """Which object here stands for a ref."""
    (found,) = [one["targetId"] for one in report["idMap"] if one["ref"] == ref]
    return str(found)


def test_an_imported_journey_publishes_and_runs(apart: World) -> None:
    """Drafts of everything; then it is published without an edit, and a person walks it."""
    report = imported(apart, example())
    journey = id_of(report, "journey:first-days")
    shown = apart.show(journey)
    apart.publish(journey)
    run = apart.walk(journey, "user.signed_up", apart.person({"plan": "trial"}))
    apart.advance("P4D")
    done = apart.detail(journey, run["executionId"])

    assert {"created": 5, "updated": 0, "unchanged": 0, "skipped": 0, "conflict": 0, "failed": 0} == report["counts"]
    assert ("draft", [], []) == (shown["status"], shown["warnings"], report["blockers"])
    assert "SUCCEEDED" == done["status"]
    assert 2 == len(apart.messages(endUserId=run["endUserId"]))


def test_the_report_has_its_documented_shape(apart: World) -> None:
    """Every member, also of a dry run, which writes nothing."""
    report = imported(apart, example(), dryRun=True)

    assert {"importId", "dryRun", "counts", "results", "idMap", "blockers"} == report.keys()
    assert {"kind", "ref", "action", "targetId", "reason"} == report["results"][0].keys()
    assert {"kind", "ref", "sourceId", "targetId"} == report["idMap"][0].keys()
    assert [True] == [report["dryRun"]]
    assert ["audience", "contract", "communication", "communication", "journey"] == [
        one["kind"] for one in report["results"]
    ]
    assert [] == apart.api.all_of("/api/journeys")
    assert [] == apart.api.all_of("/api/communications")


def test_a_second_import_changes_nothing(apart: World) -> None:
    """All unchanged, under the same ids, published or not."""
    first = imported(apart, example())
    apart.publish(id_of(first, "journey:first-days"))
    before = apart.show(id_of(first, "journey:first-days"))
    second = imported(apart, example())

    assert {"unchanged"} == {one["action"] for one in second["results"]}
    assert first["idMap"] == second["idMap"]
    assert before == apart.show(id_of(first, "journey:first-days"))


def test_a_changed_source_changes_the_draft_alone(apart: World) -> None:
    """The published version stays as it is."""
    journey = id_of(imported(apart, example()), "journey:first-days")
    apart.publish(journey)
    version = apart.api.get(f"/api/journeys/{journey}/versions/1").ok()
    changed = example()
    changed["journeys"][0]["steps"][2]["duration"] = "P5D"
    report = imported(apart, changed)
    shown = apart.show(journey)

    assert 1 == report["counts"]["updated"]
    assert ("published", "draft", 1) == (shown["status"], shown["version"], shown["latestVersion"])
    assert "P5D" == shown["steps"][2]["duration"]
    assert version == apart.api.get(f"/api/journeys/{journey}/versions/1").ok()


def test_the_audits_say_what_was_imported(apart: World) -> None:
    """The journey's timeline and the workspace's."""
    report = imported(apart, example())
    journey = id_of(report, "journey:first-days")
    (applied,) = apart.audit(journey, action="import.applied")
    (created,) = apart.audit(journey, action="created")
    (noted,) = apart.api.all_of("/api/workspace/audit?action=import.applied")
    origin = {"importId": report["importId"], "provider": "hand-written", "sourceId": "first-days"}

    assert origin == applied["metadata"]
    assert {**origin, "name": "First days"} == created["metadata"]
    assert "system" == applied["actor"]
    assert report["importId"] == noted["metadata"]["importId"]


def test_a_conflict_writes_nothing(apart: World) -> None:
    """409 import_conflict with the policy fail, and the pointer of what was changed here."""
    journey = id_of(imported(apart, example()), "journey:first-days")
    apart.edit(journey, description="by hand")
    changed = example()
    changed["journeys"][0]["description"] = "from the file"
    body = {"projectKey": apart.key, "bundle": changed, "conflictPolicy": "fail"}
    problem = internal(apart).post(IMPORT, body).problem(409, "import_conflict")

    assert {"/bundle/journeys/0"} == fault_paths(problem)
    assert "by hand" == apart.show(journey)["description"]


def test_exports_are_the_same_bytes_and_come_home_unchanged(apart: World) -> None:
    """A file fit for version control."""
    imported(apart, example())
    body = {"projectKey": apart.key}
    first, second = (internal(apart).post(EXPORT, body) for _ in range(2))
    report = imported(apart, first.ok())

    assert first.raw == second.raw
    assert {"unchanged"} == {one["action"] for one in report["results"]}


def test_an_exported_file_with_a_change_makes_that_change(apart: World) -> None:
    """Export, edit, import: the next export is the file."""
    imported(apart, example())
    file = exported(apart)
    file["journeys"][0]["steps"][2]["duration"] = "P9D"
    file["communications"][0]["subject"] = "Another subject"
    report = imported(apart, file)
    after = exported(apart)

    assert {"updated": 2, "unchanged": 3} == {name: n for name, n in report["counts"].items() if n}
    assert [one["steps"] for one in file["journeys"]] == [one["steps"] for one in after["journeys"]]
    assert "Another subject" == after["communications"][0]["subject"]


def test_journeys_move_to_another_workspace(world: World, apart: World) -> None:
    """With what they name, under the ids they had."""
    imported(apart, example())
    file = exported(apart, journeyIds=["first-days"])
    body = {"name": "Apart", "ownerEmail": f"{unique('owner')}@example.com"}
    key = internal(world).post("/api/journeys/internal/workspaces", body).ok(201)["projectKey"]
    report = internal(world).post(IMPORT, {"projectKey": key, "bundle": file}).ok()
    moved = internal(world).post(EXPORT, {"projectKey": key}).ok()

    assert 5 == report["counts"]["created"]
    assert [one["contentHash"] for one in file["journeys"]] == [one["contentHash"] for one in moved["journeys"]]


def test_hostile_bundles_are_refused_whole(apart: World) -> None:
    """Each with its status and code; afterwards there is nothing."""
    circle = example()
    circle["journeys"][0]["steps"][4]["next"] = "welcome"
    lacking = example(audiences=[])
    hook = copy.deepcopy(example())
    hook["journeys"][0]["steps"][4] = {
        "id": "one-step", "type": "webhook", "url": "https://user:pw@10.0.0.1/", "next": "exit"
    }  # fmt: skip
    key = apart.key
    refusals = [
        ({"projectKey": key, "bundle": circle}, 400, "graph_invalid"),
        ({"projectKey": key, "bundle": hook}, 400, "validation_error"),
        ({"projectKey": key, "bundle": lacking}, 422, "unresolved_reference"),
        ({"projectKey": key, "bundle": example(version="2.0")}, 422, "unsupported_bundle_version"),
        ({"projectKey": key, "bundle": 7}, 400, "validation_error"),
        ({"projectKey": key, "bundle": example(), "conflictPolicy": "win"}, 400, "validation_error"),
        ({"projectKey": key}, 400, "validation_error"),
        ({"bundle": example()}, 400, "validation_error"),
        ({"projectKey": "pk_nobody", "bundle": example()}, 404, "not_found"),
        ([], 400, "validation_error"),
    ]
    for body, status, code in refusals:
        internal(apart).post(IMPORT, body).problem(status, code)
    internal(apart).request("POST", IMPORT, raw=b'{"projectKey": "x", "bundle": NaN}').problem(400, "invalid_json")
    internal(apart).request("POST", IMPORT, raw=b"[" * 5_000).problem(413, "payload_too_large")
    large = b'{"projectKey": "x", "bundle": "' + b"x" * (20 << 20) + b'"}'
    internal(apart).request("POST", IMPORT, raw=large).problem(413, "payload_too_large")

    assert [] == apart.api.all_of("/api/journeys")
    assert [] == apart.api.all_of("/api/communications")
    assert [] == apart.api.all_of("/api/audiences")


def test_only_our_own_machinery_may_import(server: Server, world: World) -> None:
    """401 for a member and for anybody."""
    body = {"projectKey": world.key, "bundle": example()}
    for who in (server.owner, server.anyone):
        for path in (IMPORT, EXPORT):
            who.post(path, body).problem(401, "unauthenticated")


def test_a_repeat_with_its_key_gets_the_first_answer(apart: World) -> None:
    """And the key is good for that bundle alone."""
    headers = {"Idempotency-Key": unique("key")}
    body = {"projectKey": apart.key, "bundle": example()}
    first, second = (internal(apart).post(IMPORT, body, headers=headers).ok() for _ in range(2))
    other = {"projectKey": apart.key, "bundle": example(journeys=[])}

    assert first == second
    internal(apart).post(IMPORT, other, headers=headers).problem(422, "idempotency_key_reused")


def test_a_bundle_beyond_an_ordinary_body_is_taken(apart: World) -> None:
    """More than 1 MiB, with a key too."""
    big = example()
    for number in range(30):
        mail = {**big["communications"][0], "ref": f"communication:{number}", "sourceId": f"m{number}"}
        big["communications"].append({**mail, "body": "x" * 50_000})
    headers = {"Idempotency-Key": unique("key")}
    report = internal(apart).post(IMPORT, {"projectKey": apart.key, "bundle": big}, headers=headers).ok()

    assert 35 == report["counts"]["created"]


def test_imports_at_the_same_moment_make_everything_once(apart: World) -> None:
    """Who comes second finds it done."""
    body = {"projectKey": apart.key, "bundle": example()}
    replies = at_once([lambda: internal(apart).post(IMPORT, body)] * 3)
    reports = [reply.ok() for reply in replies]

    assert 5 == sum(report["counts"]["created"] for report in reports)
    assert 10 == sum(report["counts"]["unchanged"] for report in reports)
    assert 1 == len(apart.api.all_of("/api/journeys"))


def test_a_broken_off_import_is_finished_by_asking_again(own_server: Server) -> None:
    """Killed half-way; afterwards every object is there once."""
    many = example(journeys=[])
    for number in range(600):
        one = {**example()["journeys"][0], "ref": f"journey:{number}", "sourceId": f"j{number}", "name": f"J {number}"}
        many["journeys"].append(one)
    own_server.start()
    world = World(own_server.owner, own_server.internal)
    body = {"projectKey": world.key, "bundle": many}

    def kill() -> None:
        while len(world.api.get("/api/journeys?limit=20").ok()) < 20:
            pass
        own_server.kill()

    broken, _ = at_once([lambda: internal(world).post(IMPORT, body), kill])
    own_server.start()
    half = len(world.api.all_of("/api/journeys"))
    report = internal(world).post(IMPORT, body).ok()

    assert isinstance(broken, Exception)
    assert 20 <= half < 600
    assert {"created", "unchanged"} == {one["action"] for one in report["results"]}
    assert 600 == len(world.api.all_of("/api/journeys"))
    assert 2 == len(world.api.all_of("/api/communications"))
