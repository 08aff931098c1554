"""What holds for every route: problems, limits, tags, keys, hostile input. Contract 1 and 7."""

import gzip
import json
import re
import socket
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.e2e.server import Client, Reply, Server, fault_paths
from tests.e2e.words import TIME, Json, World, at_once, attr, end, seg, trigger, unique, wait

NOT_BUILT = [
    ("GET", "/api/workspace/audit"),
    ("GET", "/api/in-app"),
    ("POST", "/api/in-app/{messageId}/read"),
    ("POST", "/api/messages/{messageId}/events"),
    ("GET", "/api/journey-templates"),
    ("POST", "/api/journey-templates/{id}/use"),
    ("GET", "/api/journeys/{id}/why"),
    ("POST", "/api/journeys/{id}/backtests"),
    ("GET", "/api/journeys/{id}/backtests/{backtestId}"),
    ("DELETE", "/api/journeys/{id}/backtests/{backtestId}"),
    ("POST", "/api/journeys/internal/forget-end-user"),
    ("GET", "/api/journeys/internal/forget-end-user/{receiptId}"),
    ("POST", "/api/journeys/internal/import-bundle"),
    ("GET", "/preferences/{token}"),
    ("POST", "/preferences/{token}"),
]
BUILT = [
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/api/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/"),
    ("POST", "/api/session"),
    ("DELETE", "/api/session"),
    ("GET", "/api/me"),
    ("GET", "/api/workspace"),
    ("PATCH", "/api/workspace"),
    ("GET", "/api/workspace/members"),
    ("POST", "/api/workspace/members"),
    ("PATCH", "/api/workspace/members/{userId}"),
    ("DELETE", "/api/workspace/members/{userId}"),
    ("GET", "/api/workspace/api-keys"),
    ("POST", "/api/workspace/api-keys"),
    ("DELETE", "/api/workspace/api-keys/{id}"),
    ("GET", "/api/journeys"),
    ("POST", "/api/journeys"),
    ("GET", "/api/journeys/{id}"),
    ("PATCH", "/api/journeys/{id}"),
    ("GET", "/api/journeys/{id}/versions"),
    ("GET", "/api/journeys/{id}/versions/{version}"),
    ("POST", "/api/journeys/{id}/publish"),
    ("POST", "/api/journeys/{id}/pause"),
    ("POST", "/api/journeys/{id}/resume"),
    ("POST", "/api/journeys/{id}/archive"),
    ("GET", "/api/journeys/{id}/audit"),
    ("GET", "/api/journeys/{id}/branch-performance"),
    ("GET", "/api/journeys/{id}/calibrated-impact"),
    ("GET", "/api/journeys/{id}/stream"),
    ("GET", "/api/journeys/{id}/executions"),
    ("POST", "/api/journeys/{id}/executions"),
    ("GET", "/api/journeys/{id}/executions/{executionId}"),
    ("POST", "/api/journeys/{id}/executions/{executionId}/abort"),
    ("POST", "/api/journeys/{id}/executions/{executionId}/retry"),
    ("GET", "/api/journeys/{id}/step-stats"),
    ("GET", "/api/journey-triggers"),
    ("POST", "/api/journey-triggers"),
    ("GET", "/api/journey-triggers/{id}"),
    ("PATCH", "/api/journey-triggers/{id}"),
    ("DELETE", "/api/journey-triggers/{id}"),
    ("GET", "/api/audiences"),
    ("POST", "/api/audiences"),
    ("GET", "/api/audiences/{id}"),
    ("PATCH", "/api/audiences/{id}"),
    ("DELETE", "/api/audiences/{id}"),
    ("POST", "/api/audiences/{id}/evaluate"),
    ("GET", "/api/communications"),
    ("POST", "/api/communications"),
    ("GET", "/api/communications/{id}"),
    ("PATCH", "/api/communications/{id}"),
    ("DELETE", "/api/communications/{id}"),
    ("GET", "/api/subjects"),
    ("GET", "/api/subjects/{endUserId}"),
    ("PUT", "/api/subjects/{endUserId}"),
    ("PATCH", "/api/subjects/{endUserId}"),
    ("POST", "/api/subjects:import"),
    ("GET", "/api/suppressions"),
    ("GET", "/api/suppressions/{address}"),
    ("PUT", "/api/suppressions/{address}"),
    ("DELETE", "/api/suppressions/{address}"),
    ("POST", "/api/events"),
    ("GET", "/api/messages"),
    ("POST", "/api/dev/clock"),
    ("POST", "/api/journeys/internal/start-execution"),
    ("POST", "/api/journeys/internal/dispatch"),
    ("POST", "/api/journeys/internal/workspaces"),
    ("POST", "/api/journeys/internal/translate-pinpoint"),
    ("POST", "/api/journeys/{id}/simulate"),
]
# Routes that take a JSON object, with a path that leads to something where the path has to.
BODIES = [
    ("POST", "/api/journeys"),
    ("PATCH", "/api/journeys/@journey"),
    ("POST", "/api/journeys/@journey/publish"),
    ("POST", "/api/journeys/@journey/pause"),
    ("POST", "/api/journeys/@journey/executions"),
    ("POST", "/api/journey-triggers"),
    ("PATCH", "/api/journey-triggers/@contract"),
    ("POST", "/api/audiences"),
    ("PATCH", "/api/audiences/@audience"),
    ("POST", "/api/audiences/@audience/evaluate"),
    ("POST", "/api/communications"),
    ("PATCH", "/api/communications/@comm"),
    ("PUT", "/api/subjects/someone"),
    ("PATCH", "/api/subjects/someone"),
    ("PUT", "/api/suppressions/a@example.com"),
    ("PATCH", "/api/workspace"),
    ("POST", "/api/workspace/members"),
    ("POST", "/api/workspace/api-keys"),
    ("POST", "/api/session"),
    ("POST", "/api/events"),
    ("POST", "/api/dev/clock"),
]
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def names(world: World) -> dict[str, str]:
    """One of each thing."""
    world.api.put("/api/subjects/someone", {})
    return {
        "@journey": world.journey([end()]),
        "@contract": world.contract(),
        "@audience": world.audience(subject_ids=[]),
        "@comm": world.comm(),
    }


def filled(path: str, names: dict[str, str]) -> str:
    """A path with the names put in."""
    for name, value in names.items():
        path = path.replace(name, value)
    return path


class TestHostile:
    """Whatever is sent, the answer is a problem that blames the caller."""

    @pytest.mark.parametrize(("method", "path"), BODIES)
    def test_bodies_that_are_no_json(self, world: World, names: dict[str, str], method: str, path: str) -> None:
        """Cut off, not UTF-8, NaN, too large a number, too deep, half a character, two values: 400."""
        for raw in (
            b"{",
            b'{"name": }',
            b"nonsense",
            b'{"a": "\xff\xfe"}',
            b'{"a": NaN}',
            b'{"a": -Infinity}',
            b'{"a": 1e999}',
            b'{"a": ' + b"9" * 5_000 + b"}",
            b'{"a": 9223372036854775808}',
            b'{"a": "\\ud800"}',
            b'{"\\udfff": 1}',
            b'{"a": ' + b"[" * 65 + b"]" * 65 + b"}",
            b"[" * 200_000,
            b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
            b"{} {}",
            b"\x00",
            b"\xef\xbb\xbf{",
        ):
            reply = world.api.request(method, filled(path, names), raw=raw, headers=JSON)
            assert 400 == reply.status, (raw[:40], reply.status, reply.body)
            reply.problem(400)

    @pytest.mark.parametrize(("method", "path"), BODIES)
    def test_bodies_of_other_shapes(self, world: World, names: dict[str, str], method: str, path: str) -> None:
        """No object, or unknown members with strange names: 400 with a pointer."""
        bodies: list[Any] = [[], [{}], "x", 5, True, None, {"\x00/~": 1}, {"__proto__": {}}, {"a" * 5_000: 1}]
        for body in bodies:
            reply = world.api.request(method, filled(path, names), body)
            reply.problem(400, "validation_error")

    @pytest.mark.parametrize(("method", "path"), BODIES)
    def test_bodies_that_are_too_large(self, world: World, names: dict[str, str], method: str, path: str) -> None:
        """10 MB: 413, announced or not."""
        raw = b'{"name": "' + b"x" * 10_000_000 + b'"}'
        world.api.request(method, filled(path, names), raw=raw, headers=JSON).problem(413, "payload_too_large")

    def test_a_body_that_does_not_say_how_long_it_is(self, server: Server, world: World) -> None:
        """Chunked over the limit: 413; within it, it is read."""
        for size, expected in ((2 << 20, 413), (1_000, 201)):
            body = json.dumps({"name": "x", "description": "y" * size}).encode()
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
                head = f"POST /api/journeys HTTP/1.1\r\nHost: x\r\nCookie: session={server.token}\r\n"
                connection.sendall(
                    f"{head}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
                )
                try:
                    for start in range(0, len(body), 65_536):
                        part = body[start : start + 65_536]
                        connection.sendall(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                    connection.sendall(b"0\r\n\r\n")
                except OSError:
                    pass
                assert f" {expected} " in connection.recv(200).decode().splitlines()[0]

    @pytest.mark.parametrize(
        ("method", "path"), [one for one in BODIES if "publish" not in one[1] and "pause" not in one[1]]
    )
    def test_other_media(self, world: World, names: dict[str, str], method: str, path: str) -> None:
        """415 for anything but JSON in UTF-8."""
        for media in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "json"):
            reply = world.api.request(method, filled(path, names), raw=b"{}", headers={"Content-Type": media})
            reply.problem(415, "unsupported_media_type")

    def test_of_doubled_keys_the_last_counts(self, world: World) -> None:
        """In every body."""
        made = world.api.post("/api/journeys", raw=b'{"name": "A", "name": "B"}', headers=JSON).ok(201)

        assert "B" == made["name"]

    def test_numbers_are_kept(self, world: World) -> None:
        """64-bit integers and doubles come back as they went."""
        numbers = {"a": 2**63 - 1, "b": -(2**63), "c": 1e300, "d": 0.1, "e": 123456789012345678, "f": 5e-324, "g": 0}
        person = world.person(numbers)
        world.api.put(f"/api/subjects/{person}", {"attributes": {"a": 2**63}}).problem(400)

        assert numbers == world.profile(person)["attributes"]

    def test_compressed_bodies(self, world: World) -> None:
        """gzip is read; a bomb is too large; what is no gzip is refused."""
        headers = {**JSON, "Content-Encoding": "gzip"}
        world.api.post("/api/journeys", raw=gzip.compress(b'{"name": "x"}'), headers=headers).ok(201)
        bomb = gzip.compress(b'{"name": "' + b"x" * 100_000_000 + b'"}')
        world.api.post("/api/journeys", raw=bomb, headers=headers).problem(413, "payload_too_large")
        world.api.post("/api/events", raw=bomb, headers=headers).problem(413, "payload_too_large")
        world.api.post("/api/journeys", raw=b"nonsense", headers=headers).problem(400)

    def test_json_with_a_charset_is_json(self, world: World) -> None:
        """As most clients write it."""
        for media in ("application/json; charset=utf-8", "Application/JSON", 'application/json;charset="UTF-8"'):
            raw = b'{"name": "x"}'
            world.api.post("/api/journeys", raw=raw, headers={"Content-Type": media}).ok(201)

    @pytest.mark.parametrize(
        "path",
        [
            "/api/journeys/%00",
            "/api/journeys/%FF",
            "/api/journeys/%ED%A0%80",
            "/api/journeys/..%2F..%2Fetc%2Fpasswd",
            "/api/journeys/" + "x" * 3_000,
            "/api/journeys/a%2Fb",
            "/api/subjects/%FF%FE",
            "/api/subjects/" + "y" * 300,
            "/api/audiences/%00",
            "/api/communications/%C3%BC",
            "/api/journey-triggers/%20",
            "/api/suppressions/%FF",
            "/api/journeys/%F0%9F%8E%89/executions/%F0%9F%8E%89",
            "/api/journeys/none/versions/%D9%A1",
        ],
    )
    def test_strange_ids_are_not_found(self, world: World, path: str) -> None:
        """404 or 400, on every method."""
        for method in ("GET", "PATCH", "DELETE", "PUT"):
            reply = world.api.request(method, path, {"name": "x"})
            assert reply.status in (400, 404, 405), (method, reply.status, reply.body)
            reply.problem(reply.status)

    @pytest.mark.parametrize(
        "query",
        [
            "endUserId=%FF",
            "endUserId=%00",
            "endUserId=" + "x" * 3_000,
            "cursor=%FF",
            "cursor=" + "A" * 3_000,
            "limit=%D9%A1",
            "limit=1&limit=2",
            "limit=1e1",
            "journeyId=%ED%A0%80",
            "executionId=__v__",
            "%FF=1",
        ],
    )
    def test_strange_queries(self, world: World, names: dict[str, str], query: str) -> None:
        """Never a 500."""
        for path in ("/api/messages", f"/api/journeys/{names['@journey']}/executions", "/api/subjects",
                     f"/api/journeys/{names['@journey']}/audit"):  # fmt: skip
            reply = world.api.get(f"{path}?{query}")
            assert reply.status in (200, 400), (path, reply.status, reply.body)

    def test_no_http_at_all(self, server: Server) -> None:
        """A request line that is none, endless headers, a header with control signs: 400, and the server lives."""
        for raw in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"GARBAGE\r\n\r\n",
            b"GET /healthz HTTP/9.9\r\n\r\n",
            b"GET /api/me HTTP/1.1\r\nHost: x\r\nCookie: session=\x7f\x01\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 100_000 + b"\r\n\r\n",
            b"POST /api/events HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
            b"POST /api/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        ):
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
                try:
                    connection.sendall(raw)
                    answer = connection.recv(4_096)
                except ConnectionError:
                    continue
            assert b" 40" in answer.split(b"\r\n")[0] or b" 41" in answer.split(b"\r\n")[0], answer
            assert b"<html" not in answer
            assert b"aiohttp" not in answer  # nor which Python
        server.anyone.get("/healthz").ok()

    def test_who_leaves_in_the_middle(self, server: Server) -> None:
        """A body that never ends is nobody's fault but its sender's."""
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
                head = f"POST /api/journeys HTTP/1.1\r\nHost: x\r\nCookie: session={server.token}\r\n"
                connection.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{".encode())
        server.anyone.get("/readyz").ok()

        assert "gateway.bug" not in server.log()


class TestProblems:
    """RFC 9457."""

    def test_its_members(self, world: World) -> None:
        """type, title, status, detail, instance, code, requestId; errors where there are faults."""
        problem = world.api.post("/api/journeys", {"name": 5}).problem(400, "validation_error")

        assert ("Bad Request", "/api/journeys") == (problem["title"], problem["instance"])
        assert {"/name"} == fault_paths(problem)

    def test_unknown_routes(self, world: World, server: Server) -> None:
        """404 not_found, whoever asks, also with a slash too many."""
        for path in (
            "/nothing",
            "/api",
            "/api/nothing",
            "/api/journeys/",
            "//api/journeys",
            "/api/journeys/x/y/z",
            "/API/journeys",
            "/api/journeys/internal/nothing",
        ):
            world.api.get(path).problem(404, "not_found")
        server.anyone.get("/api/nothing").problem(404, "not_found")
        server.internal.post("/api/journeys/internal/nothing", {}).problem(404, "not_found")

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("DELETE", "/api/journeys", {"GET", "POST"}),
            ("PUT", "/api/journeys/x", {"GET", "PATCH"}),
            ("GET", "/api/events", {"POST"}),
            ("GET", "/api/journeys/x/publish", {"POST"}),
            ("POST", "/healthz", {"GET"}),
            ("PATCH", "/api/session", {"POST", "DELETE"}),
            ("REPORT", "/api/journeys", {"GET", "POST"}),
        ],
    )
    def test_wrong_methods(self, world: World, method: str, path: str, allowed: set[str]) -> None:
        """405 with Allow."""
        reply = world.api.request(method, path)
        reply.problem(405, "method_not_allowed")

        assert allowed == {word.strip() for word in reply.headers["allow"].split(",")} - {"HEAD", "OPTIONS"}

    def test_request_ids(self, world: World) -> None:
        """The client's if it fits, else a new one; on every answer."""
        for mine in ("abc", "A-b_c.9", "x" * 128):
            assert mine == world.api.get("/healthz", headers={"X-Request-Id": mine}).headers["x-request-id"]
        for bad in ("", "has space", "x" * 129, "a/b", "é"):
            made = world.api.get("/api/journeys/none", headers={"X-Request-Id": bad}).headers["x-request-id"]
            assert bad != made
            assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", made)
        assert world.api.get("/healthz").headers["x-request-id"] != world.api.get("/healthz").headers["x-request-id"]

    def test_head_is_get_without_a_body(self, world: World, names: dict[str, str]) -> None:
        """As aiohttp gives it."""
        reply = world.api.request("HEAD", f"/api/journeys/{names['@journey']}")

        assert (200, b"") == (reply.status, reply.raw)


class TestTags:
    """ETag and If-Match on every single resource."""

    @pytest.mark.parametrize(
        ("make", "change"),
        [
            ("journey", {"description": "new"}),
            ("contract", {"name": "new"}),
            ("audience", {"name": "new"}),
            ("comm", {"name": "new"}),
            ("subject", {"locale": "de"}),
            ("workspace", {"name": "new"}),
        ],
    )
    def test_a_stale_tag_is_refused(self, apart: World, make: str, change: Json) -> None:
        """412 when it has changed since, 200 when it has not; * is any state."""
        path_of: dict[str, Callable[[], str]] = {
            "journey": lambda: f"/api/journeys/{apart.draft()}",
            "contract": lambda: f"/api/journey-triggers/{apart.contract()}",
            "audience": lambda: f"/api/audiences/{apart.audience(subject_ids=[])}",
            "comm": lambda: f"/api/communications/{apart.comm()}",
            "subject": lambda: f"/api/subjects/{apart.person()}",
            "workspace": lambda: "/api/workspace",
        }
        path = path_of[make]()
        tag = apart.api.get(path).headers["etag"]
        assert re.fullmatch(r'(W/)?"[^"]+"', tag)
        after = apart.api.patch(path, change, headers={"If-Match": tag})
        after.ok()
        stale = apart.api.patch(
            path, {name: "other" if name != "locale" else "fr" for name in change}, headers={"If-Match": tag}
        )

        stale.problem(412, "precondition_failed")
        assert change.items() <= apart.api.get(path).ok().items()
        assert after.headers["etag"] == apart.api.get(path).headers["etag"] != tag
        apart.api.patch(path, change, headers={"If-Match": "*"}).ok()
        apart.api.patch(path, change, headers={"If-Match": 'W/"nonsense"'}).problem(412)

    @pytest.mark.parametrize("verb", ["publish", "pause", "archive"])
    def test_verbs_honour_it(self, world: World, verb: str) -> None:
        """Nothing happens to a journey that has changed since."""
        journey = world.draft([end()])
        if verb != "publish":
            world.publish(journey)
        tag = world.api.get(f"/api/journeys/{journey}").headers["etag"]
        world.edit(journey, description="meanwhile")
        world.api.post(f"/api/journeys/{journey}/{verb}", headers={"If-Match": tag}).problem(412, "precondition_failed")
        tag = world.api.get(f"/api/journeys/{journey}").headers["etag"]
        world.api.post(f"/api/journeys/{journey}/{verb}", headers={"If-Match": tag}).ok()

    def test_deletions_honour_it(self, world: World) -> None:
        """412 deletes nothing."""
        for path in (
            f"/api/journey-triggers/{world.contract()}",
            f"/api/audiences/{world.audience(subject_ids=[])}",
            f"/api/communications/{world.comm()}",
        ):
            world.api.delete(path, headers={"If-Match": '"nonsense"'}).problem(412, "precondition_failed")
            tag = world.api.get(path).headers["etag"]
            assert world.api.delete(path, headers={"If-Match": tag}).status in (200, 204)

    @pytest.mark.parametrize("path", ["/api/subjects/{}", "/api/suppressions/{}"])
    def test_nothing_fits_what_is_not_there(self, world: World, path: str) -> None:
        """RFC 9110, 13.1.1: a PUT that names a state, or any, makes nothing new."""
        new = path.format(unique("put"))
        for tag in ("*", '"any"'):
            world.api.put(new, {}, headers={"If-Match": tag}).problem(412, "precondition_failed")
        world.api.get(new).problem(404)
        assert 201 == world.api.put(new, {}).status
        assert 200 == world.api.put(new, {}, headers={"If-Match": "*"}).status

    def test_members_honour_it(self, apart: World) -> None:
        """A member whose role has changed since keeps it, and stays."""
        body = {"email": f"{unique('m')}@example.com", "role": "viewer", "password": "secret-pass-1"}
        made = apart.api.post("/api/workspace/members", body)
        path = f"/api/workspace/members/{made.ok(201)['userId']}"
        old = {"If-Match": made.headers["etag"]}
        changed = apart.api.patch(path, {"role": "editor"}, headers=old)
        changed.ok()

        apart.api.patch(path, {"role": "owner"}, headers=old).problem(412, "precondition_failed")
        apart.api.delete(path, headers=old).problem(412, "precondition_failed")
        assert "editor" in [one["role"] for one in apart.api.get("/api/workspace/members").ok()]
        assert 204 == apart.api.delete(path, headers={"If-Match": changed.headers["etag"]}).status
        apart.api.delete(path, headers={"If-Match": '"any"'}).problem(404)

    def test_executions_honour_it(self, world: World) -> None:
        """412 ends nothing."""
        event = unique("ev")
        journey = world.journey([trigger("w"), wait("w", "P1D", "exit"), end()], event=event)
        run = world.walk(journey, event)
        path = f"/api/journeys/{journey}/executions/{seg(run['executionId'])}"
        for verb in ("abort", "retry"):
            world.api.post(f"{path}/{verb}", headers={"If-Match": '"other"'}).problem(412, "precondition_failed")
        read = world.api.get(path)

        assert "RUNNING" == read.ok()["status"]
        world.api.post(f"{path}/abort", headers={"If-Match": read.headers["etag"]}).ok()

    def test_what_never_changes_has_one_too(self, world: World) -> None:
        """Versions, executions."""
        event = unique("ev")
        journey = world.journey([trigger("exit"), end()], event=event)
        run = world.walk(journey, event)
        for path in (
            f"/api/journeys/{journey}/versions/1",
            f"/api/journeys/{journey}/executions/{seg(run['executionId'])}",
        ):
            assert world.api.get(path).headers["etag"] == world.api.get(path).headers["etag"]


CREATING = [
    ("/api/journeys", {"name": "Once"}),
    ("/api/journey-triggers", {"name": "Once", "eventName": "e"}),
    ("/api/audiences", {"name": "Once", "subjectIds": []}),
    ("/api/communications", {"name": "Once", "commType": "marketing", "channel": "email"}),
    ("/api/workspace/api-keys", {"name": "Once"}),
]


class TestKeys:
    """Idempotency-Key on every POST that creates."""

    @pytest.mark.parametrize(("path", "body"), CREATING)
    def test_the_first_answer_again(self, apart: World, path: str, body: Json) -> None:
        """Same key and body: one thing. Another body: 422. Another key: another thing."""
        key = {"Idempotency-Key": unique("k")}
        first, second = (apart.api.post(path, body, headers=key) for _ in range(2))

        assert (201, first.body) == (second.status, second.body)
        assert first.headers.get("location") == second.headers.get("location")
        assert 1 == len(apart.api.get(path).ok())
        apart.api.post(path, {**body, "name": "Twice"}, headers=key).problem(422, "idempotency_key_reused")
        third = apart.api.post(path, body, headers={"Idempotency-Key": unique("k")}).ok(201)
        assert third["id"] != first.body["id"]

    def test_at_the_same_moment(self, world: World) -> None:
        """Six with one key make one journey; the others wait for its answer."""
        name = unique("Once")
        key = {"Idempotency-Key": unique("k")}
        answers: list[Reply] = at_once(
            [lambda: world.api.post("/api/journeys", {"name": name}, headers=key) for _ in range(6)]
        )

        assert 1 == len({answer.ok(201)["id"] for answer in answers})
        assert 1 == sum(one["name"] == name for one in world.api.all_of("/api/journeys?limit=500"))

    def test_a_version_is_published_once(self, world: World) -> None:
        """Whoever asks again whether it was done is told that it was."""
        journey, key = world.draft(), {"Idempotency-Key": unique("k")}
        first, second = (world.api.post(f"/api/journeys/{journey}/publish", headers=key) for _ in range(2))

        assert {"id": journey, "version": 1} == first.ok() == second.ok()

    def test_events_without_an_id_are_taken_once(self, world: World) -> None:
        """The same batch again is the same answer, and not the same events again; a large one fits too."""
        person, name, key = world.person(), unique("event"), {"Idempotency-Key": unique("k")}
        journey = world.journey([trigger("exit"), end()], event=name)
        body = {"type": name, "endUserId": person, "data": {"text": "x" * 1_100_000}}
        first, second = (world.api.post("/api/events", body, headers=key) for _ in range(2))
        world.settle()

        assert {"received": 1, "duplicates": 0, "errors": []} == first.ok(202) == second.ok(202)
        assert 1 == len(world.executions(journey))
        world.api.post("/api/events", {"type": name}, headers=key).problem(422, "idempotency_key_reused")

    def test_refusals_are_answers_too(self, world: World) -> None:
        """The same refusal again."""
        key = {"Idempotency-Key": unique("k")}
        body = {"name": "x", "id": world.draft()}
        first, second = (world.api.post("/api/journeys", body, headers=key) for _ in range(2))

        first.problem(409, "id_taken")
        assert (409, first.body) == (second.status, second.body)

    def test_keys_belong_to_a_workspace(self, world: World, apart: World) -> None:
        """The same key elsewhere is another one."""
        key = {"Idempotency-Key": unique("k")}
        first = world.api.post("/api/journeys", {"name": "x"}, headers=key).ok(201)
        second = apart.api.post("/api/journeys", {"name": "x"}, headers=key).ok(201)

        assert (world.key, apart.key) == (first["projectKey"], second["projectKey"])

    @pytest.mark.parametrize("key", ["", "x" * 300, "é"])
    def test_a_key_that_is_none(self, world: World, key: str) -> None:
        """400."""
        world.api.post("/api/journeys", {"name": "x"}, headers={"Idempotency-Key": key.encode("latin-1")}).problem(400)


class TestServer:
    """Health, metrics, the API's own description."""

    def test_health(self, server: Server) -> None:
        """Anybody may ask."""
        server.anyone.get("/healthz").ok()
        server.anyone.get("/readyz").ok()
        metrics = server.anyone.get("/metrics")
        text = metrics.ok()

        assert metrics.headers["content-type"].startswith("text/plain")
        assert re.search(r"^# TYPE \S+ (counter|gauge|histogram)$", text, re.MULTILINE)
        assert server.token not in text

    def test_pages(self, server: Server) -> None:
        """HTML that loads nothing from elsewhere."""
        for path in ("/", "/docs"):
            page = server.anyone.get(path)
            assert "<html" in page.ok()
            assert page.headers["content-type"].startswith("text/html")
            assert not re.search(r"""(src|href)=["']?https?://""", page.body)

    def test_the_description_is_valid_and_complete(self, server: Server) -> None:
        """OpenAPI 3.1 with every route of the contract."""
        document = server.anyone.get("/api/openapi.json").ok()
        paths = document["paths"]

        assert document["openapi"].startswith("3.1")
        assert [] == list(OpenAPIV31SpecValidator(document).iter_errors())
        for method, path in [*BUILT, *NOT_BUILT]:
            if path.startswith("/preferences"):
                continue
            shape = re.sub(r"\{\w+\}", "{}", path)
            found = [one for one in paths if re.sub(r"\{\w+\}", "{}", one) == shape]
            assert found, path
            assert method.lower() in paths[found[0]], (method, path)

    @pytest.mark.parametrize(
        ("path", "template"),
        [
            ("/api/journeys/@journey", "/api/journeys/{id}"),
            ("/api/journeys", "/api/journeys"),
            ("/api/journeys/@journey/versions/1", "/api/journeys/{id}/versions/{version}"),
            ("/api/journeys/@journey/audit", "/api/journeys/{id}/audit"),
            ("/api/journeys/@journey/step-stats", "/api/journeys/{id}/step-stats"),
            ("/api/journeys/@journey/executions", "/api/journeys/{id}/executions"),
            ("/api/journey-triggers/@contract", "/api/journey-triggers/{id}"),
            ("/api/audiences/@audience", "/api/audiences/{id}"),
            ("/api/communications/@comm", "/api/communications/{id}"),
            ("/api/subjects/someone", "/api/subjects/{endUserId}"),
            ("/api/messages", "/api/messages"),
            ("/api/workspace", "/api/workspace"),
            ("/api/me", "/api/me"),
            ("/api/workspace/members", "/api/workspace/members"),
        ],
    )
    def test_answers_are_what_the_description_says(
        self, world: World, names: dict[str, str], path: str, template: str
    ) -> None:
        """By its own schemas."""
        document = world.api.get("/api/openapi.json").ok()
        found = world.api.get(filled(path, names))
        content = document["paths"][template]["get"]["responses"]["200"]["content"]["application/json"]
        schema = {**content["schema"], "components": document["components"]}

        assert [] == [error.message for error in jsonschema_rs.Draft202012Validator(schema).iter_errors(found.ok())]

    @pytest.mark.parametrize(("method", "path"), NOT_BUILT)
    def test_what_is_not_built_says_so(
        self, server: Server, world: World, names: dict[str, str], method: str, path: str
    ) -> None:
        """501 not_implemented for who may, 401 for who may not; never a made-up value. Built ones are no 501."""
        real = re.sub(r"\{\w+\}", names["@journey"], path)
        client: Client = server.internal if "/internal/" in path else world.api
        body: Json | None = None if method in ("GET", "DELETE") else {}
        reply = client.request(method, real, body)
        if reply.status == 501:
            reply.problem(501, "not_implemented")
        else:
            assert reply.status < 500, (reply.status, reply.body)
        if not path.startswith("/preferences"):
            server.anyone.request(method, real, body).problem(401, "unauthenticated")

    def test_times_and_zeros_are_written_out(self, world: World) -> None:
        """Three fraction digits and Z; integers are numbers; zero, false and empty are there."""
        event = unique("ev")
        journey = world.journey([trigger("w"), wait("w", "P1D", "exit"), end()], event=event)
        run = world.walk(journey, event)
        text = json.dumps([world.show(journey), run, world.audit(journey), world.step_stats(journey)])

        for stamp in re.findall(r'"(\d{4}-\d\d-\d\dT[^"]*)"', text):
            assert re.fullmatch(TIME, stamp), stamp
        assert 0 == world.step_stats(journey)["exit"]["executed"]
        assert "" == world.show(journey)["description"]
        assert isinstance(run["version"], int)


def test_shapes_of_predicates_fit_everywhere(world: World) -> None:
    """A predicate with a value of any JSON type is taken or refused, never choked on."""
    values: list[Any] = [None, True, 0, -1.5, "", "x", [], [1, "a", None], {}, {"a": 1}, 2**63 - 1, 1e300]
    for operator in ("equals", "in", "between", "gt", "contains", "on", "before", "starts_with"):
        for value in values:
            body = {"name": "x", "predicate": attr("a", operator, value)}
            reply = world.api.post("/api/audiences", body)
            assert reply.status in (201, 400), (operator, value, reply.body)
            if reply.status == 201:
                question = {"subjectId": "someone-else"}
                world.api.put("/api/subjects/someone-else", {"attributes": {"a": value}})
                world.api.post(f"/api/audiences/{reply.body['id']}/evaluate", question).ok()
