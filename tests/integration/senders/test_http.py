"""A customer's own server gets messages as the contract has them, and what it says decides."""

import asyncio
import hashlib
import hmac
import json
from base64 import b64encode

import pytest
from aiohttp import web

from services.infra.clock import ManualClock
from services.infra.outbound import Outbound, Targets
from services.runtime.senders.http import HttpSender, HttpSettings, own_headers
from services.runtime.senders.outcomes import InDoubt, Permanent, Temporary
from services.runtime.senders.port import Promise
from tests.integration.senders.peers import http_server, message, raw_server

NOW = 1_777_554_000_000


def sender(outbound: Outbound, url: str, *, is_idempotent: bool = True, **settings: object) -> HttpSender:
    timeout_s = settings.pop("timeout_s", 2.0)
    assert isinstance(timeout_s, float)
    return HttpSender(HttpSettings(url, is_idempotent, **settings), outbound, ManualClock(NOW), timeout_s)  # type: ignore[arg-type]


class TestRequest:
    """send: what the server gets."""

    async def test_it_is_the_message_signed(self, outbound: Outbound, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOOK_SECRET", "raw text")
        async with http_server() as site:
            headers = {"authorization": "Bearer x", "Webhook-Id": "forged", "content-length": "1", "HOST": "evil"}
            made = sender(outbound, f"{site.url}/in?x=1", secret_ref="env:HOOK_SECRET", headers=headers)
            await made.send(message(data={"n": 1, "ü": [True, None]}, sender="News <n@example.com>"))

        [request] = site.requests
        signed = b"act__v3__usr_a__evt_b-welcome-1.1777554000." + request.body
        expected = "v1," + b64encode(hmac.new(b"raw text", signed, hashlib.sha256).digest()).decode()
        assert ("POST", "/in?x=1") == (request.method, request.path)
        assert expected == request.headers["webhook-signature"]
        assert "act__v3__usr_a__evt_b-welcome-1" == request.headers["webhook-id"] == request.headers["idempotency-key"]
        assert "1777554000" == request.headers["webhook-timestamp"]
        assert "Bearer x" == request.headers["authorization"]
        assert "application/json" == request.headers["content-type"]
        assert f"127.0.0.1:{site.port}" == request.headers["host"]
        assert {
            "messageId": "act__v3__usr_a__evt_b-welcome-1",
            "channel": "email",
            "to": "anna@example.com",
            "subject": "Hello Anna",
            "body": "<p>Hello Anna</p>",
            "text": "Hello Anna",
            "title": "",
            "data": {"n": 1, "ü": [True, None]},
            "from": "News <n@example.com>",
            "endUserId": "usr_a",
            "journeyId": "act",
            "executionId": "act__v3__usr_a__evt_b",
            "stepId": "welcome",
        } == json.loads(request.body)

    async def test_devices_are_a_list(self, outbound: Outbound) -> None:
        async with http_server() as site:
            await sender(outbound, site.url).send(message(channel="mobile_push", to=("t1", "t2")))

        assert ["t1", "t2"] == json.loads(site.requests[0].body)["to"]

    async def test_a_repeat_has_the_same_key(self, outbound: Outbound) -> None:
        async with http_server() as site:
            made = sender(outbound, site.url)
            await made.send(message())
            await made.send(message())

        assert 2 == len(site.requests)
        assert 1 == len({(one.headers["idempotency-key"], one.body) for one in site.requests})

    def test_reserved_headers_are_dropped_in_any_case(self) -> None:
        assert {"X-A": "1"} == own_headers({"x-a": "1", "WEBHOOK-signature": "v1,x", " Transfer-Encoding ": "chunked"})


class TestOutcome:
    """send: what the answer means."""

    def test_the_promise_is_the_settings(self, outbound: Outbound) -> None:
        assert Promise.AT_LEAST_ONCE is sender(outbound, "http://x.example").promise
        assert Promise.AT_MOST_ONCE is sender(outbound, "http://x.example", is_idempotent=False).promise

    @pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
    async def test_2xx_is_sent(self, outbound: Outbound, status: int) -> None:
        async with http_server(status) as site:
            await sender(outbound, site.url).send(message())

    @pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 409, 410, 422])
    async def test_most_others_are_for_good(self, outbound: Outbound, status: int) -> None:
        async with http_server(status) as site:
            with pytest.raises(Permanent) as caught:
                await sender(outbound, site.url).send(message())

        assert status == caught.value.status

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
    @pytest.mark.parametrize("is_idempotent", [True, False])
    async def test_some_are_for_now(self, outbound: Outbound, status: int, is_idempotent: bool) -> None:
        async def respond(request: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Retry-After": "90"})

        async with http_server(respond) as site:
            with pytest.raises(Temporary) as caught:
                await sender(outbound, site.url, is_idempotent=is_idempotent).send(message())

        assert (status, 90_000) == (caught.value.status, caught.value.retry_after)

    @pytest.mark.parametrize("status", [502, 504])
    @pytest.mark.parametrize(("is_idempotent", "outcome"), [(True, Temporary), (False, InDoubt)])
    async def test_a_gateways_word_is_no_proof(
        self, outbound: Outbound, status: int, is_idempotent: bool, outcome: type[Exception]
    ) -> None:
        """The server behind it may have taken the message; who may not repeat must not."""
        async with http_server(status) as site:
            with pytest.raises(outcome):
                await sender(outbound, site.url, is_idempotent=is_idempotent).send(message())

    async def test_a_slow_server_leaves_doubt(self, outbound: Outbound) -> None:
        async def respond(request: web.Request) -> web.Response:
            await asyncio.sleep(60)
            return web.Response()

        async with http_server(respond) as site:
            with pytest.raises(InDoubt):
                await sender(outbound, site.url, timeout_s=0.1).send(message())

    async def test_a_server_that_hangs_up_leaves_doubt(self, outbound: Outbound) -> None:
        async with raw_server(b"") as port:
            with pytest.raises(InDoubt):
                await sender(outbound, f"http://127.0.0.1:{port}").send(message())

    async def test_a_status_with_a_broken_body_is_an_answer(self, outbound: Outbound) -> None:
        async with raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nx") as port:
            await sender(outbound, f"http://127.0.0.1:{port}").send(message())

    async def test_no_connection_is_for_now(self, outbound: Outbound) -> None:
        async with http_server() as site:
            pass
        with pytest.raises(Temporary):
            await sender(outbound, site.url).send(message())

    async def test_a_private_address_is_for_good(self) -> None:
        closed = Outbound(Targets())
        async with http_server() as site:
            with pytest.raises(Permanent, match="JOURNEYS_ALLOW_PRIVATE_HOSTS"):
                await sender(closed, site.url).send(message())
        await closed.close()

        assert not site.requests

    async def test_a_secret_that_is_away_is_for_now(self, outbound: Outbound, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BAD", "whsec_!!!")
        for reference, reason in (("env:NOT_THERE", "not set"), ("env:BAD", "no base64")):
            with pytest.raises(Temporary, match=reason):
                await sender(outbound, "http://127.0.0.1:1", secret_ref=reference).send(message())

    @pytest.mark.parametrize("changed", [{"text": "\ud800"}, {"data": {"n": float("nan")}}])
    async def test_what_json_cannot_carry_is_for_good(self, outbound: Outbound, changed: dict[str, object]) -> None:
        with pytest.raises(Permanent, match="JSON"):
            await sender(outbound, "http://127.0.0.1:1").send(message(**changed))

    async def test_settings_show_no_headers(self) -> None:
        assert "Bearer" not in repr(HttpSettings("http://x.example", True, headers={"Authorization": "Bearer x"}))
