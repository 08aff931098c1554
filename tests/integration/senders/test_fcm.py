"""Push messages go to each device once, under a token of the service account."""

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from services.infra.outbound import Outbound, Targets
from services.runtime.senders.fcm import FcmSender, FcmSettings
from services.runtime.senders.outcomes import InDoubt, Permanent, Temporary, Unregistered
from services.runtime.senders.port import Promise
from tests.integration.senders.peers import Site, http_server, message, pem_of

SENT = (200, {"name": "projects/p-1/messages/1"})


def error(status: int, name: str, code: str = "") -> tuple[int, dict[str, Any]]:
    """An answer as the service words it."""
    kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
    details = [{"@type": kind, "errorCode": code}] if code else []
    return status, {"error": {"code": status, "message": "no", "status": name, "details": details}}


class Google:
    """The token endpoint and the message endpoint; `answers` per device token, `tokens` in order."""

    def __init__(self, answers: dict[str, Any] | None = None) -> None:
        self.answers = answers or {}
        self.token_answers: list[Any] = []
        self.issued = 0
        self.refused_access: set[str] = set()
        self.accepted: list[str] = []

    async def respond(self, request: web.Request) -> web.Response:
        if request.path == "/token":
            if self.token_answers:
                status, body = self.token_answers.pop(0)
                return web.json_response(body, status=status)
            self.issued += 1
            return web.json_response(
                {"access_token": f"ya29.{self.issued}", "expires_in": 3599, "token_type": "Bearer"}
            )
        if request.headers["Authorization"].removeprefix("Bearer ") in self.refused_access:
            return web.json_response(error(401, "UNAUTHENTICATED")[1], status=401)
        token = (await request.json())["message"]["token"]
        answer = self.answers.get(token, SENT)
        if answer == "hang":
            await asyncio.sleep(60)
        status, body = answer
        if status == 200:
            self.accepted.append(token)
        return web.json_response(body, status=status, headers={"Retry-After": "120"} if status == 429 else None)


@pytest.fixture
def account(tmp_path: Path, key: rsa.RSAPrivateKey) -> Any:
    """Writes a service account's JSON whose token endpoint is a site; the reference to it."""

    def write(site: Site, **changed: Any) -> str:
        content = {
            "type": "service_account",
            "project_id": "p-1",
            "private_key_id": "key-1",
            "private_key": pem_of(key),
            "client_email": "push@p-1.iam.example.com",
            "token_uri": f"{site.url}/token",
        }
        path = tmp_path / "account.json"
        path.write_text(json.dumps({**content, **changed}))
        return f"file:{path}"

    return write


def push(**changed: Any) -> Any:
    usual = {"channel": "mobile_push", "to": ("dev-1",), "title": "Hi", "body": "Hello", "text": "", "subject": ""}
    return message(**{**usual, **changed})


class Told(list[Unregistered]):
    """What was reported as unregistered."""


def fcm(outbound: Outbound, site: Site, reference: str, told: Told | None = None) -> FcmSender:
    settings = FcmSettings("p-1", reference, site.url + "/")
    return FcmSender(settings, outbound, on_unregistered=(told if told is not None else Told()).append, timeout_s=0.5)


class TestRequest:
    """send: what the service gets."""

    async def test_a_device_gets_the_message_under_a_token_of_the_account(
        self, outbound: Outbound, account: Any, key: rsa.RSAPrivateKey
    ) -> None:
        google = Google()
        async with http_server(google.respond) as site:
            data = {"n": 1, "nested": {"ü": [True]}, "text": "a", "from": "x", "google.x": "y", "gcm_x": "z"}
            await fcm(outbound, site, account(site)).send(push(data=data))

        asked, sent = site.requests
        form = parse_qs(asked.body.decode())
        claims = jwt.decode(form["assertion"][0], key.public_key(), algorithms=["RS256"], audience=f"{site.url}/token")
        assert ["urn:ietf:params:oauth:grant-type:jwt-bearer"] == form["grant_type"]
        assert "push@p-1.iam.example.com" == claims["iss"]
        assert "https://www.googleapis.com/auth/firebase.messaging" == claims["scope"]
        assert 3600 == claims["exp"] - claims["iat"]
        assert "key-1" == jwt.get_unverified_header(form["assertion"][0])["kid"]
        assert "/v1/projects/p-1/messages:send" == sent.path
        assert "Bearer ya29.1" == sent.headers["authorization"]
        assert {
            "message": {
                "token": "dev-1",
                "notification": {"title": "Hi", "body": "Hello"},
                "data": {
                    "messageId": "act__v3__usr_a__evt_b-welcome-1",
                    "n": "1",
                    "nested": '{"ü": [true]}',
                    "text": "a",
                },
            }
        } == json.loads(sent.body)

    async def test_many_at_once_fetch_one_token(self, outbound: Outbound, account: Any) -> None:
        google = Google()
        async with http_server(google.respond) as site:
            sender = fcm(outbound, site, account(site))
            await asyncio.gather(*(sender.send(push(to=(f"dev-{n}",))) for n in range(10)))

        assert (1, 10) == (google.issued, len(google.accepted))

    async def test_a_token_that_ends_is_renewed(self, outbound: Outbound, account: Any) -> None:
        google = Google()
        google.token_answers = [(200, {"access_token": "ya29.short", "expires_in": 0})]
        async with http_server(google.respond) as site:
            sender = fcm(outbound, site, account(site))
            await sender.send(push())
            await sender.send(push())

        assert (1, 2) == (google.issued, len(google.accepted))

    async def test_a_refused_token_is_replaced_once(self, outbound: Outbound, account: Any) -> None:
        google = Google()
        google.refused_access = {"ya29.1"}
        async with http_server(google.respond) as site:
            await fcm(outbound, site, account(site)).send(push(to=("dev-1", "dev-2")))

        assert 2 == google.issued
        assert {"dev-1", "dev-2"} == set(google.accepted)

    async def test_a_device_named_twice_gets_one(self, outbound: Outbound, account: Any) -> None:
        google = Google()
        async with http_server(google.respond) as site:
            await fcm(outbound, site, account(site)).send(push(to=("dev-1", "dev-1")))

        assert ["dev-1"] == google.accepted

    def test_it_promises_at_most_once(self) -> None:
        assert Promise.AT_MOST_ONCE is FcmSender.promise


OUTCOMES = [
    (error(404, "NOT_FOUND", "UNREGISTERED"), Permanent),
    (error(404, "NOT_FOUND"), Permanent),
    ((404, "no such page"), Permanent),
    (error(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"), Permanent),
    (error(403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH"), Permanent),
    (error(401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"), Permanent),
    (error(401, "UNAUTHENTICATED"), Permanent),
    (error(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"), Temporary),
    (error(500, "INTERNAL", "INTERNAL"), Temporary),
    (error(503, "UNAVAILABLE", "UNAVAILABLE"), Temporary),
    ((502, "bad gateway"), InDoubt),
    ((504, {}), InDoubt),
    ("hang", InDoubt),
    ((302, {}), Permanent),
]


class TestOutcome:
    """send: what the answers mean."""

    @pytest.mark.parametrize(("answer", "outcome"), OUTCOMES)
    async def test_every_answer_has_its_outcome(
        self, outbound: Outbound, account: Any, answer: Any, outcome: type[Exception]
    ) -> None:
        google, told = Google({"dev-1": answer}), Told()
        async with http_server(google.respond) as site:
            with pytest.raises(outcome):
                await fcm(outbound, site, account(site), told).send(push())

        is_gone = answer in OUTCOMES[0] or answer in OUTCOMES[1]
        assert ([Unregistered("ws_1", "usr_a", "mobile_push", ("dev-1",))] if is_gone else []) == told

    async def test_one_device_reached_is_sent_and_the_dead_are_reported(self, outbound: Outbound, account: Any) -> None:
        """A repeat for the other device would reach the first one twice."""
        gone, busy = error(404, "NOT_FOUND", "UNREGISTERED"), error(503, "UNAVAILABLE")
        google, told = Google({"dead-1": gone, "dead-2": gone, "busy": busy}), Told()
        async with http_server(google.respond) as site:
            await fcm(outbound, site, account(site), told).send(push(to=("dead-1", "alive", "busy", "dead-2")))

        assert ["alive"] == google.accepted
        assert [("dead-1", "dead-2")] == [one.tokens for one in told]

    @pytest.mark.parametrize(
        ("ends", "outcome"),
        [
            (["hang", error(503, "UNAVAILABLE"), error(404, "NOT_FOUND")], InDoubt),
            ([error(404, "NOT_FOUND"), error(503, "UNAVAILABLE"), error(400, "INVALID_ARGUMENT")], Temporary),
            ([error(404, "NOT_FOUND"), error(400, "INVALID_ARGUMENT")], Permanent),
        ],
    )
    async def test_the_least_certain_end_speaks_for_all(
        self, outbound: Outbound, account: Any, ends: list[Any], outcome: type[Exception]
    ) -> None:
        google = Google({f"dev-{n}": end for n, end in enumerate(ends)})
        async with http_server(google.respond) as site:
            with pytest.raises(outcome):
                await fcm(outbound, site, account(site)).send(push(to=tuple(google.answers)))

    async def test_a_quota_says_how_long(self, outbound: Outbound, account: Any) -> None:
        google = Google({"dev-1": error(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")})
        async with http_server(google.respond) as site:
            with pytest.raises(Temporary) as caught:
                await fcm(outbound, site, account(site)).send(push())

        assert 120_000 == caught.value.retry_after

    async def test_nobody_to_send_to_is_for_good(self, outbound: Outbound, account: Any) -> None:
        async with http_server() as site:
            with pytest.raises(Permanent, match="no device"):
                await fcm(outbound, site, account(site)).send(push(to=()))

        assert not site.requests


class TestAccess:
    """The access token: what can go wrong before any message is sent."""

    @pytest.mark.parametrize(
        ("answer", "outcome"),
        [
            ((400, {"error": "invalid_grant", "error_description": "no"}), Permanent),
            ((401, {}), Permanent),
            ((500, {}), Temporary),
            ((503, "busy"), Temporary),
            ((200, {}), Temporary),
            ((200, {"access_token": "a\r\nb", "expires_in": 5}), Temporary),
            ((200, {"access_token": "a", "expires_in": "soon"}), Temporary),
            ((200, []), Temporary),
        ],
    )
    async def test_no_token_no_message(
        self, outbound: Outbound, account: Any, answer: Any, outcome: type[Exception]
    ) -> None:
        google = Google()
        google.token_answers = [answer]
        async with http_server(google.respond) as site:
            with pytest.raises(outcome):
                await fcm(outbound, site, account(site)).send(push())

        assert not google.accepted

    @pytest.mark.parametrize(
        "changed", [{"private_key": "no key"}, {"private_key": None}, {"client_email": 1}, {"token_uri": None}]
    )
    async def test_an_account_that_cannot_be_used_is_for_now(
        self, outbound: Outbound, account: Any, changed: dict[str, Any]
    ) -> None:
        """It may be mended; its key is in no sentence."""
        async with http_server() as site:
            with pytest.raises(Temporary, match="service account") as caught:
                await fcm(outbound, site, account(site, **changed)).send(push())

        assert "no key" not in str(caught.value)
        assert not site.requests

    async def test_a_private_token_endpoint_is_not_called(self, account: Any) -> None:
        closed = Outbound(Targets())
        async with http_server() as site:
            with pytest.raises(Permanent, match="JOURNEYS_ALLOW_PRIVATE_HOSTS"):
                await fcm(closed, site, account(site)).send(push())
        await closed.close()

        assert not site.requests

    async def test_a_missing_account_is_for_now(self, outbound: Outbound) -> None:
        async with http_server() as site:
            with pytest.raises(Temporary, match="not set"):
                await fcm(outbound, site, "env:NOT_THERE").send(push())
