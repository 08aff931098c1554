"""Subjects, imports, suppressions, the workspace's settings. Contract 3."""

import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server import Reply, Server, by_session, fault_paths
from tests.e2e.words import TIME, Json, World, at_once, seg, unique

FULL: Json = {
    "attributes": {"name": "Ünï", "n": 0, "deep": {"list": [1, "a", None, {"x": True}]}},
    "addresses": {"email": "Ada@Example.com", "mobile_push": ["t1", "t2"]},
    "timezone": "Australia/Lord_Howe",
    "locale": "en-AU",
    "channelPreferences": {"email": True, "mobile_push": False},
    "globalOptOut": True,
}
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "people"


class TestSubjects:
    """PUT, GET, PATCH, list."""

    def test_a_person_is_kept_as_written(self, world: World) -> None:
        """201 with Location the first time, 200 after; GET gives back what PUT took."""
        person = unique("usr")
        first = world.api.put(f"/api/subjects/{person}", FULL)
        second = world.api.put(f"/api/subjects/{person}", FULL)

        assert [201, 200] == [first.status, second.status]
        assert f"/api/subjects/{person}" == first.headers["location"]
        assert {"endUserId": person, **FULL} == world.profile(person)

    def test_put_replaces(self, world: World) -> None:
        """What is not said is gone: the defaults."""
        person = unique("usr")
        world.api.put(f"/api/subjects/{person}", FULL).ok(201)
        world.api.put(f"/api/subjects/{person}", {}).ok()

        assert {
            "endUserId": person,
            "attributes": {},
            "addresses": {"email": None, "mobile_push": []},
            "timezone": None,
            "locale": None,
            "channelPreferences": {},
            "globalOptOut": False,
        } == world.profile(person)

    def test_what_was_read_can_be_put_back(self, world: World) -> None:
        """Nulls and server members included."""
        person = world.person({"a": 1})
        body = {**world.profile(person), "createdAt": "x", "updatedAt": "y"}
        world.api.put(f"/api/subjects/{person}", body).ok()

        assert {"a": 1} == world.profile(person)["attributes"]

    @pytest.mark.parametrize(
        ("patch", "expected"),
        [
            ({}, FULL["attributes"]),
            ({"attributes": {"n": 5}}, {**FULL["attributes"], "n": 5}),
            ({"attributes": {"name": None}}, {"n": 0, "deep": FULL["attributes"]["deep"]}),
            ({"attributes": {"deep": {"list": None, "new": 1}}}, {"name": "Ünï", "n": 0, "deep": {"new": 1}}),
            ({"attributes": {"deep": [1]}}, {"name": "Ünï", "n": 0, "deep": [1]}),
            ({"attributes": None}, {}),
            ({"attributes": {"absent": None}}, FULL["attributes"]),
        ],
    )
    def test_patch_merges(self, world: World, patch: Json, expected: Json) -> None:
        """RFC 7396: objects merge, lists and scalars replace, null removes."""
        person = unique("usr")
        world.api.put(f"/api/subjects/{person}", FULL).ok(201)
        answer = world.api.patch(f"/api/subjects/{person}", patch).ok()

        assert expected == answer["attributes"]
        assert answer == world.profile(person)
        assert FULL["addresses"] == answer["addresses"]

    def test_patch_removes_settings(self, world: World) -> None:
        """null in any member."""
        person = unique("usr")
        world.api.put(f"/api/subjects/{person}", FULL).ok(201)
        patch = {
            "addresses": {"email": None},
            "timezone": None,
            "channelPreferences": {"email": None},
            "globalOptOut": None,
        }
        answer = world.api.patch(
            f"/api/subjects/{person}", patch, headers={"Content-Type": "application/merge-patch+json"}
        ).ok()

        assert {"email": None, "mobile_push": ["t1", "t2"]} == answer["addresses"]
        assert (None, {"mobile_push": False}, False) == (
            answer["timezone"],
            answer["channelPreferences"],
            answer["globalOptOut"],
        )

    def test_nobody_is_patched_or_read(self, world: World) -> None:
        """404."""
        world.api.get("/api/subjects/nobody").problem(404, "not_found")
        world.api.patch("/api/subjects/nobody", {"locale": "de"}).problem(404, "not_found")

    @pytest.mark.parametrize(
        ("body", "path"),
        [
            ({"foo": 1}, "/foo"),
            ({"attributes": []}, "/attributes"),
            ({"addresses": {"email": "nonsense"}}, "/addresses/email"),
            ({"addresses": {"email": 5}}, "/addresses/email"),
            ({"addresses": {"fax": "1"}}, "/addresses/fax"),
            ({"addresses": {"mobile_push": "t"}}, "/addresses/mobile_push"),
            ({"addresses": {"mobile_push": [1]}}, "/addresses/mobile_push/0"),
            ({"timezone": "Mars/Base"}, "/timezone"),
            ({"timezone": 1}, "/timezone"),
            ({"locale": []}, "/locale"),
            ({"channelPreferences": {"email": "yes"}}, "/channelPreferences/email"),
            ({"channelPreferences": {"fax": True}}, "/channelPreferences/fax"),
            ({"globalOptOut": "no"}, "/globalOptOut"),
        ],
    )
    def test_a_malformed_profile_is_refused(self, world: World, body: Json, path: str) -> None:
        """400 with the path; nothing is changed, nobody is made."""
        person = world.person({"a": 1})
        before = world.profile(person)
        for reply in (
            world.api.put(f"/api/subjects/{person}", body),
            world.api.patch(f"/api/subjects/{person}", body),
            world.api.put(f"/api/subjects/{person}-new", body),
        ):
            assert path in fault_paths(reply.problem(400, "validation_error"))

        assert before == world.profile(person)
        world.api.get(f"/api/subjects/{person}-new").problem(404)

    @pytest.mark.parametrize("person", ["a/b", "ünï 旅", "x" * 200, "%", "..", "a;b", "\t", "🎈"])
    def test_ids_are_any_text(self, world: World, person: str) -> None:
        """Up to 200 bytes."""
        name = f"{unique('p')}{person}"[:200]
        world.api.put(f"/api/subjects/{seg(name)}", {"attributes": {"a": 1}}).ok(201)

        assert name == world.profile(name)["endUserId"]

    def test_longer_ids_are_refused(self, world: World) -> None:
        """400, not a truncated person."""
        world.api.put(f"/api/subjects/{'x' * 201}", {}).refused()
        world.api.put(f"/api/subjects/{seg('旅' * 67)}", {}).refused()

    def test_many_writers_lose_nothing(self, world: World) -> None:
        """Twelve patches of twelve attributes at once are all there."""
        person = world.person()
        answers = at_once(
            [partial(world.api.patch, f"/api/subjects/{person}", {"attributes": {f"a{i}": i}}) for i in range(12)]
        )

        assert {200} == {answer.status for answer in answers}
        assert {f"a{i}": i for i in range(12)} == world.profile(person)["attributes"]

    def test_listing(self, apart: World) -> None:
        """All of them, by address without case, by a part of id or address; in pages."""
        for i in range(7):
            apart.api.put(f"/api/subjects/p{i}", {"addresses": {"email": f"Shared{i % 2}@Example.com"}}).ok(201)
        apart.api.put("/api/subjects/q", {}).ok(201)

        def ids(query: str) -> list[str]:
            return [one["endUserId"] for one in apart.api.all_of(f"/api/subjects?{query}")]

        assert [*(f"p{i}" for i in range(7)), "q"] == sorted(ids(""))
        assert sorted(ids("")) == sorted(ids("limit=2"))
        assert ["p1", "p3", "p5"] == sorted(ids("email=shared1%40EXAMPLE.com"))
        assert ["p0", "p2", "p4", "p6"] == sorted(ids("q=SHARED0&limit=1"))
        assert ["p3"] == ids("q=P3")
        assert [] == ids("email=shared")
        assert [] == ids("q=none")


class TestImport:
    """POST /api/subjects:import."""

    def send(self, world: World, data: bytes, media: str = "application/x-ndjson") -> Reply:
        """One import."""
        return world.api.post("/api/subjects:import", raw=data, headers={"Content-Type": media})

    def test_a_mark_at_the_beginning_is_no_part_of_the_first_line(self, world: World) -> None:
        """As some editors write it, before NDJSON and before CSV."""
        a, b = unique("imp"), unique("imp")
        for data, media in (
            (json.dumps({"endUserId": a}).encode(), "application/x-ndjson"),
            (f"endUserId\n{b}\n".encode(), "text/csv"),
        ):
            answer = self.send(world, b"\xef\xbb\xbf" + data, media).ok()

            assert (1, 0) == (answer["created"], answer["errorCount"])

    def test_lines_are_counted(self, world: World) -> None:
        """created, updated, errors by line; bad lines cost themselves alone; blank ones are nothing."""
        a, b = unique("imp"), unique("imp")
        lines = [
            json.dumps({"endUserId": a, **FULL}),
            "not json",
            json.dumps({"endUserId": b, "attributes": {"x": 1}}),
            "",
            json.dumps({"attributes": {}}),
            json.dumps({"endUserId": a, "attributes": {"second": True}}),
            json.dumps({"endUserId": b, "foo": 1}),
            "[1]",
            '{"endUserId": "z", "attributes": {"n": 1e999}}',
        ]
        answer = self.send(world, "\r\n".join(lines).encode()).ok()

        assert (8, 2, 1, 5) == tuple(answer[k] for k in ("received", "created", "updated", "errorCount"))
        assert [2, 5, 7, 8, 9] == [fault["line"] for fault in answer["errors"]]
        assert all({"line", "code", "message"} == fault.keys() for fault in answer["errors"])
        assert {"second": True} == world.profile(a)["attributes"]
        assert {"x": 1} == world.profile(b)["attributes"]

    def test_csv(self, world: World) -> None:
        """Dotted paths, types, quotes over two lines, empty cells absent."""
        a, b = unique("csv"), unique("csv")
        text = (
            "endUserId,attributes.name,attributes.age:number,attributes.vip:boolean,attributes.tags:list,"
            "addresses.email,addresses.mobile_push:list,timezone,channelPreferences.email:boolean,globalOptOut:boolean\r\n"
            f'{a},"Ada ""A"" L\nsecond line",42,true,a;b,ada@example.com,t1;t2,Europe/Berlin,false,true\r\n'
            f"{b},,,,,,,,,\r\n"
            f"{a}-bad,,x,,,,,,,\r\n"
            f"{a}-short\r\n"
        )
        answer = self.send(world, text.encode(), "text/csv; charset=utf-8").ok()

        assert (4, 2, 0, 2) == tuple(answer[k] for k in ("received", "created", "updated", "errorCount"))
        assert [5, 6] == [fault["line"] for fault in answer["errors"]]
        assert {
            "endUserId": a,
            "attributes": {"name": 'Ada "A" L\nsecond line', "age": 42, "vip": True, "tags": ["a", "b"]},
            "addresses": {"email": "ada@example.com", "mobile_push": ["t1", "t2"]},
            "timezone": "Europe/Berlin",
            "locale": None,
            "channelPreferences": {"email": False},
            "globalOptOut": True,
        } == world.profile(a)
        assert {} == world.profile(b)["attributes"]

    @pytest.mark.parametrize("header", ["", "name", "endUserId,a:nonsense", "endUserId,endUserId", "endUserId,a..b"])
    def test_a_header_that_is_none(self, world: World, header: str) -> None:
        """400 before anybody is imported."""
        self.send(world, f"{header}\nx,1\n".encode(), "text/csv").problem(400)

    def test_other_media_are_not_taken(self, world: World) -> None:
        """415, and 413 for a line over 1 MiB."""
        self.send(world, b"{}", "application/json").problem(415, "unsupported_media_type")
        self.send(world, b"{}", "application/x-ndjson; charset=latin-1").problem(415)
        long = json.dumps({"endUserId": "x", "attributes": {"a": "x" * (1 << 20)}}).encode()
        self.send(world, long).problem(413, "payload_too_large")

    def test_nothing_is_nobody(self, world: World) -> None:
        """An empty file."""
        assert {"received": 0, "created": 0, "updated": 0, "errorCount": 0, "errors": []} == self.send(world, b"").ok()

    def test_bytes_that_are_no_utf8(self, world: World) -> None:
        """Cost their line alone."""
        name = unique("imp")
        answer = self.send(world, b'{"endUserId": "\xff"}\n' + json.dumps({"endUserId": name}).encode()).ok()

        assert (1, 1) == (answer["created"], answer["errorCount"])

    def test_more_than_a_thousand_errors_are_counted(self, world: World) -> None:
        """The first thousand are listed."""
        answer = self.send(world, b"nonsense\n" * 1_200).ok()

        assert (1_200, 1_000) == (answer["errorCount"], len(answer["errors"]))

    @pytest.mark.parametrize(
        ("name", "media"), [("people-1000.ndjson", "application/x-ndjson"), ("people.csv", "text/csv")]
    )
    def test_the_samples(self, apart: World, name: str, media: str) -> None:
        """A thousand people from every corner of the world; a second run updates them all."""
        data = (EXAMPLES / name).read_bytes()
        first, second = self.send(apart, data, media).ok(), self.send(apart, data, media).ok()

        assert (1_000, 1_000, 0, 0) == tuple(first[k] for k in ("received", "created", "updated", "errorCount"))
        assert (0, 1_000) == (second["created"], second["updated"])
        assert 1_000 == len(apart.api.all_of("/api/subjects?limit=500"))

    def test_twenty_thousand_lines(self, apart: World) -> None:
        """A stream, far over the limit of other bodies; every tenth line is none, and costs nobody else anything."""
        lines = [json.dumps({"endUserId": f"u{i}", "attributes": {"pad": "x" * 200}}) for i in range(20_000)]
        lines[9::10] = ['{"endUserId": "u", "timezone": "Mars/Base"}'] * 2_000
        answer = self.send(apart, "\n".join(lines).encode()).ok()
        again = self.send(apart, "\n".join(lines[:1_000]).encode()).ok()

        assert (20_000, 18_000, 0, 2_000) == tuple(
            answer[name] for name in ("received", "created", "updated", "errorCount")
        )
        assert [10 * n for n in range(1, 1_001)] == [fault["line"] for fault in answer["errors"]]
        assert {"validation_error"} == {fault["code"] for fault in answer["errors"]}
        assert all("/timezone" in fault["message"] for fault in answer["errors"])
        assert (0, 900, 100) == tuple(again[name] for name in ("created", "updated", "errorCount"))


def test_the_command_imports_and_shows_how_far_it_is(server: Server, apart: World, tmp_path: Path) -> None:
    """On a terminal a bar, elsewhere none; counts and refused lines are printed either way."""
    file = tmp_path / "people.ndjson"
    lines = [json.dumps({"endUserId": f"cli{i}"}) for i in range(2_000)]
    file.write_text("\n".join([*lines[:1_000], "nonsense", *lines[1_000:]]))
    key = apart.api.post("/api/workspace/api-keys", {"name": unique("key"), "role": "editor"}).ok(201)["secret"]
    command = [str(Path(sys.executable).with_name("journeys")), "subjects", "import", str(file)]
    env = {**os.environ, "JOURNEYS_URL": f"http://127.0.0.1:{server.port}", "JOURNEYS_API_KEY": key, "TERM": "xterm"}
    terminal, its_end = os.openpty()
    try:
        shown = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=its_end, timeout=60, check=False)
    finally:
        os.close(its_end)
    on_terminal = b""
    with suppress(OSError):  # the way a terminal says that nobody writes to it any more
        while piece := os.read(terminal, 65_536):
            on_terminal += piece
    os.close(terminal)
    piped = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    assert (1, 1) == (shown.returncode, piped.returncode)
    assert b"Importing" in on_terminal
    assert b"kB" in on_terminal
    assert b"created" in shown.stdout
    assert "journeys: 1 line refused\n" == piped.stderr
    assert re.search(r"updated\s+2,?000\b", piped.stdout)
    assert re.search(r"^1001\s+invalid_json", piped.stdout, re.M)


class TestSuppressions:
    """GET, PUT, DELETE."""

    def test_an_address_is_kept_with_its_reason(self, world: World) -> None:
        """Compared without case; put again is an update; deleted is gone."""
        address = f"{unique('Supp')}@Example.COM"
        first = world.api.put(f"/api/suppressions/{address}", {"reason": "complaint"})
        shown = world.api.get(f"/api/suppressions/{address.lower()}").ok()
        second = world.api.put(f"/api/suppressions/{address.upper()}", {"reason": "bounce"})

        assert [201, 200] == [first.status, second.status]
        assert {"address", "reason", "createdAt"} == shown.keys()
        assert ("complaint", address.lower()) == (shown["reason"], shown["address"].lower())
        assert re.fullmatch(TIME, shown["createdAt"])
        listed = [
            one for one in world.api.all_of("/api/suppressions?limit=3") if one["address"].lower() == address.lower()
        ]
        assert ["bounce"] == [one["reason"] for one in listed]
        world.api.delete(f"/api/suppressions/{address}").ok(204)
        world.api.get(f"/api/suppressions/{address}").problem(404, "not_found")
        world.api.delete(f"/api/suppressions/{address}").problem(404, "not_found")

    def test_without_a_body(self, world: World) -> None:
        """The reason may be left out; the address in the body is ignored."""
        address = f"{unique('supp')}@example.com"
        made = world.api.put(f"/api/suppressions/{address}").ok(201)

        assert address == made["address"]
        world.api.put(f"/api/suppressions/{address}", made).ok()

    def test_a_token_keeps_its_case(self, world: World) -> None:
        """Only e-mail addresses have none."""
        token = unique("Tok/En")
        world.api.put(f"/api/suppressions/{seg(token)}", {}).ok(201)

        world.api.get(f"/api/suppressions/{seg(token)}").ok()
        world.api.get(f"/api/suppressions/{seg(token.lower())}").problem(404)

    @pytest.mark.parametrize("body", [{"foo": 1}, {"reason": 5}, [], "x"])
    def test_a_malformed_one_is_refused(self, world: World, body: Any) -> None:
        """400."""
        world.api.put(f"/api/suppressions/{unique('s')}@example.com", body).problem(400, "validation_error")


class TestSettings:
    """GET and PATCH /api/workspace."""

    def test_the_defaults(self, server: Server) -> None:
        """As the contract lists them; caps and quiet hours are null until set."""
        body = {"name": "Fresh", "ownerEmail": f"{unique('o')}@example.com"}
        token = server.internal.post("/api/journeys/internal/workspaces", body).ok(201)["sessionToken"]
        shown = by_session(server.port, token).get("/api/workspace").ok()

        assert ("Fresh", "UTC", 7, {"percent": 5}, None) == (
            shown["name"],
            shown["timezone"],
            shown["goalEventWindowDays"],
            shown["holdout"],
            shown["maxJourneys"],
        )
        assert [None, None, None, None] == [
            shown.get(name) for name in ("frequencyCaps", "dailyCap", "quietHours", "webhookSecretRef")
        ]
        assert "projectKey" in shown
        assert {"type": "in_app"} == shown["senders"]["in_app_push"]

    def test_a_patch_changes_what_it_names(self, apart: World) -> None:
        """And null gives the default back; what was read can be sent back."""
        before = apart.api.get("/api/workspace").ok()
        after = apart.api.patch(
            "/api/workspace",
            {
                "name": "Renamed",
                "timezone": "Asia/Tokyo",
                "goalEventWindowDays": 14,
                "holdout": {"percent": 12.5},
                "maxJourneys": 3,
            },
        ).ok()

        assert ("Renamed", "Asia/Tokyo", 14, {"percent": 12.5}, 3) == tuple(
            after[k] for k in ("name", "timezone", "goalEventWindowDays", "holdout", "maxJourneys")
        )
        assert "Renamed" == apart.api.get("/api/me").ok()["workspaceName"]
        assert after == apart.api.patch("/api/workspace", after).ok()
        cleared = apart.api.patch("/api/workspace", {"timezone": None, "holdout": None, "maxJourneys": None}).ok()
        assert ("UTC", {"percent": 5}, None) == (cleared["timezone"], cleared["holdout"], cleared["maxJourneys"])
        assert before["projectKey"] == cleared["projectKey"]

    @pytest.mark.parametrize(
        ("body", "path"),
        [
            ({"foo": 1}, "/foo"),
            ({"name": ""}, "/name"),
            ({"name": None}, "/name"),
            ({"timezone": "Mars/Base"}, "/timezone"),
            ({"timezone": 1}, "/timezone"),
            ({"goalEventWindowDays": 0}, "/goalEventWindowDays"),
            ({"goalEventWindowDays": "7"}, "/goalEventWindowDays"),
            ({"holdout": {"percent": 101}}, "/holdout/percent"),
            ({"holdout": {"percent": -1}}, "/holdout/percent"),
            ({"holdout": 5}, "/holdout"),
            ({"holdout": {}}, "/holdout/percent"),
            ({"maxJourneys": -1}, "/maxJourneys"),
            ({"maxJourneys": 1.5}, "/maxJourneys"),
            ({"senders": {"fax": {"type": "outbox"}}}, "/senders/fax"),
            ({"senders": {"email": {"type": "pigeon"}}}, "/senders/email/type"),
            ({"publicUrl": "not a url"}, "/publicUrl"),
        ],
    )
    def test_a_malformed_setting_is_refused(self, apart: World, body: Json, path: str) -> None:
        """400 with the path; nothing is changed."""
        before = apart.api.get("/api/workspace").ok()
        problem = apart.api.patch("/api/workspace", body).problem(400, "validation_error")

        assert path in fault_paths(problem)
        assert before == apart.api.get("/api/workspace").ok()
