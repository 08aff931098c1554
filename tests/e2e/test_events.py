"""Events in: one, many, malformed, doubled. Contract 3, Events in."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server import fault_paths
from tests.e2e.words import World, end, trigger, unique

DEEP = 64


def nested(depth: int) -> Any:
    """Objects in objects."""
    value: Any = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


class TestOne:
    """A single event."""

    def test_it_is_received(self, world: World) -> None:
        """202 with the counts; again it is a duplicate."""
        body = {
            "id": unique("evt"),
            "type": "x",
            "endUserId": "u",
            "data": {"a": [1]},
            "timestamp": "2026-01-01T00:00:00Z",
        }

        assert {"received": 1, "duplicates": 0, "errors": []} == world.api.post("/api/events", body).ok(202)
        assert {"received": 1, "duplicates": 1, "errors": []} == world.api.post("/api/events", body).ok(202)

    def test_without_an_id_each_is_its_own(self, world: World) -> None:
        """An id is made, so nothing is a duplicate."""
        event, person = unique("ev"), world.person()
        journey = world.journey([trigger("exit"), end()], event=event)
        for _ in range(2):
            assert 0 == world.api.post("/api/events", {"type": event, "endUserId": person}).ok(202)["duplicates"]
        world.settle()

        assert 2 == len(world.executions(journey, person))

    def test_nobody_need_be_named(self, world: World) -> None:
        """endUserId is optional."""
        assert 1 == world.api.post("/api/events", {"type": "system.ping"}).ok(202)["received"]

    @pytest.mark.parametrize(
        ("body", "path"),
        [
            ({}, "/type"),
            ({"endUserId": "u"}, "/type"),
            ({"type": ""}, "/type"),
            ({"type": 5}, "/type"),
            ({"type": None}, "/type"),
            ({"type": "x" * 501}, "/type"),
            ({"type": "x", "id": 5}, "/id"),
            ({"type": "x", "id": ""}, "/id"),
            ({"type": "x", "id": "x" * 201}, "/id"),
            ({"type": "x", "endUserId": ["u"]}, "/endUserId"),
            ({"type": "x", "endUserId": "旅" * 67}, "/endUserId"),
            ({"type": "x", "data": []}, "/data"),
            ({"type": "x", "data": "x"}, "/data"),
            ({"type": "x", "timestamp": 5}, "/timestamp"),
            ({"type": "x", "timestamp": "yesterday"}, "/timestamp"),
            ({"type": "x", "timestamp": "2026-02-30T00:00:00Z"}, "/timestamp"),
            ({"type": "x", "foo": 1}, "/foo"),
            ({"type": "x", "a/b~c": 1}, "/a~1b~0c"),
        ],
    )
    def test_a_malformed_one_is_refused(self, world: World, body: Any, path: str) -> None:
        """400 validation_error with the path."""
        problem = world.api.post("/api/events", body).problem(400, "validation_error")

        assert path in fault_paths(problem)

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"{",
            b"nonsense",
            b'{"type": "x", "data": {"n": NaN}}',
            b'{"type": "x", "data": {"n": Infinity}}',
            b'{"type": "x", "data": {"n": 1e999}}',
            b'{"type": "x", "data": {"n": ' + b"9" * 400 + b"}}",
            b'{"type": "\xff"}',
            b'{"type": "\\ud800"}',
            b'{"type": "x"} {"type": "y"}',
            b'{"type": "x", "data": ' + b'{"a":' * 70 + b"1" + b"}" * 70 + b"}",
            b"[" * 100_000,
            b'{"type": "x", "data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        ],
    )
    def test_what_is_no_json_is_refused(self, world: World, raw: bytes) -> None:
        """400, never 500."""
        world.api.post("/api/events", raw=raw, headers={"Content-Type": "application/json"}).problem(400)

    @pytest.mark.parametrize(
        "raw", [b"[]", b"null", b"5", b'"x"', b"true", b'{"events": 5}', b'{"events": {}}', b'{"events": null}']
    )
    def test_other_shapes_are_refused(self, world: World, raw: bytes) -> None:
        """An event, or {events: [...]}."""
        world.api.post("/api/events", raw=raw, headers={"Content-Type": "application/json"}).problem(400)

    def test_of_doubled_keys_the_last_counts(self, world: World) -> None:
        """As everywhere."""
        event, person = unique("ev"), world.person()
        journey = world.journey([trigger("exit"), end()], event=event)
        raw = f'{{"type": "other", "type": "{event}", "endUserId": "x", "endUserId": "{person}"}}'.encode()
        world.api.post("/api/events", raw=raw, headers={"Content-Type": "application/json"}).ok(202)
        world.settle()

        assert 1 == len(world.executions(journey, person))

    @pytest.mark.parametrize(
        ("text", "status"),
        [
            ("2026-01-01T00:00:00Z", 202),
            ("2026-01-01T00:00:00.1Z", 202),
            ("2026-01-01T00:00:00.123456789Z", 202),
            ("2026-01-01T02:00:00+02:00", 400),
            ("2026-01-01T00:00:00", 400),
            ("2026-01-01", 400),
            ("2026-01-01T24:00:00Z", 400),
            ("2026-01-01T00:00Z", 400),
            ("0000-01-01T00:00:00Z", 400),
        ],
    )
    def test_times_are_rfc_3339_in_utc(self, world: World, text: str, status: int) -> None:
        """With any number of fraction digits."""
        world.api.post("/api/events", {"type": "x", "timestamp": text}).ok(status)

    def test_it_may_be_as_deep_as_the_limit(self, world: World) -> None:
        """64 levels, the event itself included; one more is refused."""
        world.api.post("/api/events", {"type": "x", "data": nested(DEEP - 1)}).ok(202)
        world.api.post("/api/events", {"type": "x", "data": nested(DEEP)}).problem(400)

    def test_a_large_one(self, world: World) -> None:
        """5 MiB is the limit of a body here."""
        body = {"type": "x", "data": {"a": "x" * (4 << 20)}}
        world.api.post("/api/events", body).ok(202)
        world.api.post("/api/events", {"type": "x", "data": {"a": "x" * (5 << 20)}}).problem(413, "payload_too_large")

    def test_other_media_are_not_taken(self, world: World) -> None:
        """415."""
        for media in ("text/plain", "application/xml", "application/json; charset=latin-1"):
            world.api.post("/api/events", raw=b'{"type": "x"}', headers={"Content-Type": media}).problem(
                415, "unsupported_media_type"
            )


class TestMany:
    """{events: [...]}."""

    def test_each_bad_one_costs_itself_alone(self, world: World) -> None:
        """errors name index, code and message; the neighbours go on."""
        event = unique("ev")
        journey = world.journey([trigger("exit"), end()], event=event)
        good = [{"type": event, "endUserId": unique("u"), "id": unique("e")} for _ in range(3)]
        batch = [
            good[0],
            5,
            {"type": "x", "foo": 1},
            good[1],
            {"endUserId": "u"},
            good[0],
            {"type": "x", "timestamp": "soon"},
            None,
            {"type": "x", "data": {"n": "@"}},
            good[2],
        ]
        raw = json.dumps({"events": batch}).replace('"@"', "1e999").encode()
        answer = world.api.post("/api/events", raw=raw, headers={"Content-Type": "application/json"}).ok(202)
        world.settle()

        assert (4, 1) == (answer["received"], answer["duplicates"])
        assert [1, 2, 4, 6, 7, 8] == [fault["index"] for fault in answer["errors"]]
        assert all({"index", "code", "message"} == fault.keys() for fault in answer["errors"])
        assert {one["endUserId"] for one in good} == {run["endUserId"] for run in world.executions(journey)}

    def test_nan_and_half_characters_cost_themselves_alone(self, world: World) -> None:
        """What some clients write, and no JSON has."""
        raw = b'{"events": [{"type": "a"}, {"type": "b", "data": {"x": NaN}}, {"type": "\\ud800"}, {"type": "c"}]}'
        answer = world.api.post("/api/events", raw=raw, headers={"Content-Type": "application/json"}).ok(202)

        assert (2, [1, 2]) == (answer["received"], [fault["index"] for fault in answer["errors"]])

    def test_a_thousand_and_not_one_more(self, world: World) -> None:
        """400 batch_too_large, and none of them is taken."""
        event = unique("ev")
        journey = world.journey([trigger("exit"), end()], event=event)
        events = [{"type": event, "endUserId": "u", "id": unique("e")} for _ in range(1_001)]
        world.api.post("/api/events", {"events": events}).problem(400, "batch_too_large")
        world.settle()
        assert [] == world.executions(journey)

        assert 1_000 == world.api.post("/api/events", {"events": events[1:]}).ok(202)["received"]

    def test_none_is_a_batch_too(self, world: World) -> None:
        """Nothing is received."""
        assert {"received": 0, "duplicates": 0, "errors": []} == world.api.post("/api/events", {"events": []}).ok(202)

    def test_beside_events_there_is_nothing(self, world: World) -> None:
        """400 with the path."""
        problem = world.api.post("/api/events", {"events": [], "foo": 1}).problem(400, "validation_error")

        assert {"/foo"} == fault_paths(problem)

    def test_a_broken_body_takes_nothing(self, world: World) -> None:
        """Cut off in the middle: 400, and its first events did not happen."""
        event = unique("ev")
        journey = world.journey([trigger("exit"), end()], event=event)
        raw = json.dumps({"events": [{"type": event, "endUserId": "u"}] * 3}).encode()[:-20]
        world.api.post("/api/events", raw=raw, headers={"Content-Type": "application/json"}).problem(
            400, "invalid_json"
        )
        world.settle()

        assert [] == world.executions(journey)

    def test_the_messy_file(self, apart: World) -> None:
        """Every count is as the sample says; a second run finds everything but the events without an id."""
        folder = Path(__file__).resolve().parents[2] / "examples" / "events"
        expected = json.loads((folder / "messy-5000.expected.json").read_text())
        lines = [line for line in (folder / "messy-5000.ndjson").read_bytes().split(b"\n") if line.strip()]

        def run() -> tuple[int, int, int]:
            received = duplicates = errors = 0
            for start in range(0, len(lines), 40):
                part = lines[start : start + 40]
                reply = apart.api.post(
                    "/api/events",
                    raw=b'{"events": [' + b",".join(part) + b"]}",
                    headers={"Content-Type": "application/json"},
                )
                answers = [reply.body] if reply.status == 202 else [self._alone(apart, line) for line in part]
                received += sum(one["received"] for one in answers)
                duplicates += sum(one["duplicates"] for one in answers)
                errors += sum(len(one["errors"]) for one in answers)
            return received, duplicates, errors

        first = run()
        second = run()
        accepted, malformed = expected["accepted"], expected["malformed"]["total"]
        assert (accepted, malformed) == (first[0], first[2])
        assert expected["duplicates"]["total"] == first[1]
        assert expected["secondRun"]["duplicates"] == second[1]
        assert (accepted, malformed) == (second[0], second[2])

    def _alone(self, world: World, line: bytes) -> dict[str, Any]:
        reply = world.api.post("/api/events", raw=line, headers={"Content-Type": "application/json"})
        return reply.body if reply.status == 202 else {"received": 0, "duplicates": 0, "errors": [reply.problem(400)]}
