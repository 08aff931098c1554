"""Amazon Pinpoint's exports over REST: `POST /api/journeys/internal/translate-pinpoint`. Contract 6; pinpoint design."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server import ROOT, Reply, Server, fault_codes, fault_paths
from tests.e2e.words import World

PATH = "/api/journeys/internal/translate-pinpoint"
SAMPLES = ROOT / "examples" / "pinpoint"
NOW = "2026-09-01T00:00:00.000Z"
# Steps of each journey, and the codes that must appear, with how often; pinpoint design 10.
EXPECTED: dict[str, tuple[list[int], dict[str, int | None]]] = {
    "01-event-onboarding.json": (
        [11],
        {
            "audience_missing": None,
            "evaluation_wait_inserted": None,
            "push_ttl": None,
            "template_not_in_export": 4,
            "in_flight_not_migrated": None,
            "limits_not_applied": None,
        },
    ),
    "02-segment-winback-refresh.json": (
        [12],
        dict.fromkeys(
            [
                "entry_refresh",
                "entry_backfill",
                "local_time_dropped",
                "quiet_time_not_applied",
                "audience_recency",
                "arm_to_exit",
                "send_window_unsupported",
            ]
        ),
    ),
    "04-sms-custom-contactcenter.json": (
        [8],
        {
            "sms_unsupported": 2,
            "sms_transactional": None,
            "condition_channel_unsupported": None,
            "custom_lambda_unresolved": None,
            "custom_payload_differs": None,
            "condition_webhook_response": None,
            "contact_center_unsupported": None,
        },
    ),
    "06-incomplete-draft.json": (
        [10],
        {
            "trigger_missing": None,
            "condition_empty": None,
            "wait_time_missing": None,
            "template_missing": 3,
            "multi_arm_without_condition": 2,
            "multi_default_missing": None,
            "percent_missing": None,
            "custom_uri_missing": None,
            "activity_empty": None,
            "unreachable_activity": None,
        },
    ),
    "08-list-journeys-page.json": (
        [3, 4, 3],
        {
            "page_truncated": None,
            "journey_skipped_state": 2,
            "start_activity_inferred": 2,
            "journey_empty": 2,
            "trigger_system_event": None,
        },
    ),
}


def sample(name: str) -> Any:
    """One shipped export."""
    return json.loads((SAMPLES / name).read_bytes())


def ask(server: Server, export: Any, **options: Any) -> Reply:
    """Translate by the internal route."""
    body = {"projectKey": "pk_demo", "export": export, "options": {"now": NOW, **options}}
    return server.internal.post(PATH, body)


def raw(server: Server, body: bytes, headers: Mapping[str, str] | None = None) -> Reply:
    """Send bytes as they are."""
    return server.internal.post(PATH, raw=body, headers={"Content-Type": "application/json", **(headers or {})})


def scalars(value: Any) -> Iterator[Any]:
    """Every text, number and flag inside a value."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
        elif item is not None:
            yield item


class TestSamples:
    """The shipped exports, each with its expected steps and codes."""

    @pytest.mark.parametrize("name", EXPECTED)
    def test_each_has_the_expected_steps(self, server: Server, name: str) -> None:
        """Trigger and the shared exit count."""
        bundle = ask(server, sample(name)).ok()["bundle"]

        assert EXPECTED[name][0] == [len(journey["steps"]) for journey in bundle["journeys"]]

    @pytest.mark.parametrize("name", EXPECTED)
    def test_each_says_the_expected_codes(self, server: Server, name: str) -> None:
        """As often as expected, where a number is."""
        told = Counter(one["code"] for one in ask(server, sample(name)).ok()["bundle"]["diagnostics"])

        wrong = {
            code: told[code]
            for code, times in EXPECTED[name][1].items()
            if not told[code] or times not in (None, told[code])
        }
        assert {} == wrong

    @pytest.mark.parametrize("name", EXPECTED)
    def test_nothing_of_it_is_lost(self, server: Server, name: str) -> None:
        """Every value of the source is in the bundle: in an object, its extensions, or `unsupported`."""
        export = sample(name)
        kept = {json.dumps(value) for value in scalars(ask(server, export).ok()["bundle"])}

        assert [] == [value for value in scalars(export) if json.dumps(value) not in kept]

    @pytest.mark.parametrize("name", EXPECTED)
    def test_twice_the_same_bytes(self, server: Server, name: str) -> None:
        """Same input, same options, same answer."""
        assert ask(server, sample(name)).raw == ask(server, sample(name)).raw

    def test_without_now_the_bytes_are_the_same_too(self, server: Server) -> None:
        """Today is what counts, not this moment."""
        body = {"projectKey": "pk_demo", "export": sample("01-event-onboarding.json")}

        assert server.internal.post(PATH, body).raw == server.internal.post(PATH, body).raw


class TestRefusals:
    """What is no export, or not to be taken."""

    def test_a_stranger_is_not_let_in(self, server: Server) -> None:
        """The internal routes take the server's own key only."""
        server.owner.post(PATH, {"projectKey": "pk_demo", "export": {}}).problem(401, "unauthenticated")

    @pytest.mark.parametrize(
        "export",
        [
            {},
            [],
            {"Item": []},
            "journeys",
            {"journey_response": {"activities": {}}},
            {"assessment": {"journeys": 3}},
            {"SegmentResponse": {"Id": "x"}},
        ],
    )
    def test_what_holds_no_journey_is_not_an_export(self, server: Server, export: Any) -> None:
        """422, whatever else it is."""
        reply = ask(server, export)

        if export == {"SegmentResponse": {"Id": "x"}}:
            reply.ok()  # a segment alone is a chunk of a project
        else:
            reply.problem(422, "not_an_export")

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 30])
    def test_what_is_no_number_is_no_json(self, server: Server, number: str) -> None:
        """JSON has no NaN, and 64 bits are the limit."""
        raw(server, f'{{"projectKey": "pk_demo", "export": {{"Percentage": {number}}}}}'.encode()).problem(
            400, "invalid_json"
        )

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
    def test_other_encodings_are_no_json(self, server: Server, encoding: str) -> None:
        """UTF-8 alone is taken."""
        body = json.dumps({"projectKey": "pk_demo", "export": {"Name": "Grüße"}}, ensure_ascii=False)

        raw(server, body.encode(encoding)).problem(400, "invalid_json")

    def test_a_truncated_body_is_no_json(self, server: Server) -> None:
        """A file that ends in the middle."""
        body = json.dumps({"projectKey": "pk_demo", "export": sample("01-event-onboarding.json")}).encode()

        raw(server, body[: len(body) // 2]).problem(400, "invalid_json")

    def test_every_fault_of_the_options_is_told(self, server: Server) -> None:
        """At once, each with its pointer."""
        body = {
            "export": sample("06-incomplete-draft.json"),
            "options": {"sms": "pigeon", "now": "soon", "includeStates": ["OPEN"], "strict": "yes", "more": 1},
        }

        problem = server.internal.post(PATH, body).problem(400, "validation_error")
        assert {
            "/projectKey",
            "/options/sms",
            "/options/now",
            "/options/includeStates/0",
            "/options/strict",
            "/options/more",
        } == fault_paths(problem)

    def test_strict_refuses_what_is_incomplete(self, server: Server) -> None:
        """With the codes of all that would have to be completed."""
        problem = ask(server, sample("06-incomplete-draft.json"), strict=True).problem(422, "translation_incomplete")

        assert {"condition_empty", "wait_time_missing", "template_missing"} <= set(fault_codes(problem))

    def test_deep_nesting_is_too_large(self, server: Server) -> None:
        """Beyond 64, and far beyond."""
        for depth in (70, 100_000):
            body = b'{"projectKey": "pk_demo", "export": ' + b"[" * depth + b"]" * depth + b"}"
            raw(server, body).problem(413, "payload_too_large")

    def test_50_mb_are_too_large(self, server: Server) -> None:
        """Refused before they are read."""
        raw(server, b" " * (50 << 20)).problem(413, "payload_too_large")

    def test_50_mb_are_too_large_in_a_small_parcel_too(self, server: Server) -> None:
        """The limit counts after unpacking."""
        raw(server, gzip.compress(b" " * (50 << 20)), {"Content-Encoding": "gzip"}).problem(413, "payload_too_large")

    def test_2001_journeys_are_too_many(self, server: Server) -> None:
        """Two thousand at once."""
        journeys = [{"Id": f"{i}", "ApplicationId": "a", "Name": "n", "Activities": {}} for i in range(2_001)]

        ask(server, journeys).problem(413, "payload_too_large")


class TestTransport:
    """How an export may come."""

    def test_gzip_and_a_byte_order_mark_are_taken(self, server: Server) -> None:
        """Both are common, and change nothing."""
        export = sample("01-event-onboarding.json")
        body = json.dumps({"projectKey": "pk_demo", "export": export, "options": {"now": NOW}}).encode()

        packed = raw(server, gzip.compress(b"\xef\xbb\xbf" + body), {"Content-Encoding": "gzip"})
        assert ask(server, export).raw == packed.raw

    def test_members_that_stand_twice_are_told(self, server: Server) -> None:
        """The last one counts."""
        body = b"""{"projectKey": "pk_demo", "export":
            {"Id": "j", "ApplicationId": "a", "Name": "first", "Name": "last", "Activities": {"e": {"EMAIL": {}}}}}"""

        bundle = raw(server, body).ok()["bundle"]
        told = [one["path"] for one in bundle["diagnostics"] if one["code"] == "duplicate_key"]
        assert ("last", ["/Name"]) == (bundle["journeys"][0]["name"], told)

    def test_2000_journeys_are_taken_at_once(self, server: Server) -> None:
        """And 10,000 activities in a line fail their own journey alone."""
        one = sample("06-incomplete-draft.json")
        line = {f"a{i}": {"ContactCenter": {"NextActivity": f"a{i + 1}"}} for i in range(10_000)}
        journeys = [{**one, "Id": f"j{i}"} for i in range(1_999)]
        journeys.append({"Id": "line", "ApplicationId": "a", "Name": "line", "StartActivity": "a0", "Activities": line})

        answer = ask(server, journeys).ok()
        assert {"total": 2_000, "translated": 1_999, "empty": 0, "skipped": 1} == answer["summary"]["journeys"]


def test_the_samples_are_shipped() -> None:
    """Whoever has the product has something to try it on."""
    assert set(EXPECTED) | {"endpoints-export.ndjson"} <= {path.name for path in Path(SAMPLES).iterdir()}


class TestEndpoints:
    """Pinpoint's endpoint export through `POST /api/subjects:import`."""

    def test_several_endpoints_make_one_person(self, apart: World) -> None:
        """Of equal dates the later line wins; lists of one value are that value; an opt-out is a preference."""
        body = (SAMPLES / "endpoints-export.ndjson").read_bytes()

        headers = {"Content-Type": "application/x-ndjson"}
        imported = apart.api.post("/api/subjects:import", raw=body, headers=headers).ok()
        ana = apart.api.get("/api/subjects/u-1001").ok()
        assert {"received": 3, "created": 2, "updated": 0, "errorCount": 0, "errors": []} == imported
        assert {
            "promoCode": "SPRING",
            "OptedIn": "yes",
            "engagement": 0.7,
            "FirstName": "Ana",
            "PlanType": "pro",
            "Demographic": {"Locale": "es_ES", "Timezone": "Europe/Madrid", "Platform": "ios"},
            "Location": {"Country": "ES", "City": "Madrid"},
        } == ana["attributes"]
        assert ("ana@example.com", "Europe/Madrid", "es_ES") == (
            ana["addresses"]["email"],
            ana["timezone"],
            ana["locale"],
        )
        assert {"email": True, "mobile_push": False} == ana["channelPreferences"]

    def test_an_endpoint_without_a_user_is_a_person_of_its_own(self, apart: World) -> None:
        """Under the endpoint's id; there is no channel for its phone."""
        body = (SAMPLES / "endpoints-export.ndjson").read_bytes()

        apart.api.post("/api/subjects:import", raw=body, headers={"Content-Type": "application/x-ndjson"}).ok()
        assert {"phoneNumber": "+12065550123"} == apart.api.get("/api/subjects/anon-7").ok()["attributes"]


class TestRunning:
    """A translated journey that is complete."""

    def test_it_publishes_without_edits_and_runs(self, apart: World) -> None:
        """By hand, with the bundle's objects under ids of the workspace: mail, hidden wait, no click, second mail."""
        clicked = {"EventType": {"DimensionType": "INCLUSIVE", "Values": ["_email.click"]}}
        condition = {"EventCondition": {"Dimensions": clicked, "MessageActivity": "first"}}
        signed_up = {"EventType": {"DimensionType": "INCLUSIVE", "Values": ["user.signed_up"]}}
        start = {"EventStartCondition": {"EventFilter": {"FilterType": "ENDPOINT", "Dimensions": signed_up}}}
        journey = {
            "Id": "j1",
            "ApplicationId": "app",
            "Name": "Onboarding",
            "StartActivity": "first",
            "StartCondition": start,
            "Activities": {
                "first": {"EMAIL": {"TemplateName": "welcome", "NextActivity": "split"}},
                "split": {
                    "ConditionalSplit": {
                        "Condition": {"Conditions": [condition], "Operator": "ANY"},
                        "EvaluationWaitTime": {"WaitFor": "P1D"},
                        "FalseActivity": "second",
                    }
                },
                "second": {"EMAIL": {"TemplateName": "again"}},
            },
        }
        texts = {"HtmlPart": "<p>{{User.UserAttributes.FirstName}}</p>", "DefaultSubstitutions": "{}"}
        templates = [
            {"TemplateName": name, "TemplateType": "EMAIL", "Version": "1", "Subject": f"{name} {{% raw", **texts}
            for name in ("welcome", "again")
        ]
        body = {"projectKey": apart.key, "export": {"journeys": [journey], "templates": templates}}
        assert apart.internal is not None
        bundle = apart.internal.post(PATH, body).ok()["bundle"]
        ids = {}
        for one in bundle["communications"]:
            members = ("name", "commType", "channel", "subject", "body")
            made = apart.api.post("/api/communications", {name: one[name] for name in members}).ok(201)
            ids[one["ref"]] = made["id"]
        contract = bundle["triggerContracts"][0]
        named = ("name", "eventName", "subjectFieldPath")
        trigger = apart.api.post("/api/journey-triggers", {name: contract[name] for name in named}).ok(201)["id"]
        [translated] = bundle["journeys"]
        steps = [
            {
                ids_of(name): ids.get(value, value) if name == "communicationRef" else value
                for name, value in step.items()
            }
            for step in translated["steps"]
        ]
        draft = {"name": "Onboarding", "triggerContractId": trigger, "steps": steps, "settings": translated["settings"]}

        made = apart.api.post("/api/journeys", draft).ok(201)
        published = apart.api.post(f"/api/journeys/{made['id']}/publish").ok()
        apart.api.put(
            "/api/subjects/ana", {"addresses": {"email": "ana@example.com"}, "attributes": {"FirstName": "<A>"}}
        )
        apart.api.post("/api/events", {"type": "user.signed_up", "endUserId": "ana"}).ok(202)
        apart.advance("P2D")
        sent = apart.api.get("/api/messages?endUserId=ana").ok()
        assert ("complete", 1) == (translated["completeness"], published["version"])
        assert ["again {% raw", "welcome {% raw"] == sorted(one["subject"] for one in sent)
        assert all("<p>&lt;A&gt;</p>" in one["body"] for one in sent)


def ids_of(member: str) -> str:
    """What a workspace calls a member that a bundle calls a ref."""
    return "communicationId" if member == "communicationRef" else member
