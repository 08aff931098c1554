"""One attempt of a webhook step: what is called, what its answer means, what of it is kept."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from services.domain.journey.model import Webhook
from services.infra.clock import ManualClock
from services.infra.liquid import render
from services.infra.outbound import Outbound, Targets
from services.infra.standard_webhooks import signature
from services.runtime.senders.outcomes import Permanent, Temporary
from services.runtime.webhooks import Called, WebhookCaller
from tests.integration.senders.peers import http_server, raw_server

KEY = "act__v3__usr_a__evt_b-hook-1"
VALUES = {"event": {"id": "o/1 ü", "n": 3, "lines": "a\r\nX-Evil: 1"}, "subject": {"name": 'Anna "A"\n'}}


def filled(text: str) -> str:
    return render(text, VALUES, html=False)


async def called(outbound: Outbound, url: str, secret_ref: str | None = None, **changed: Any) -> Called:
    step = Webhook(id="hook", url=url, next=None, **{"timeout_ms": 2_000, **changed})
    return await WebhookCaller(outbound, ManualClock(1_777_554_000_000)).call(step, KEY, filled, secret_ref)


class TestRequest:
    """call: what the server gets."""

    async def test_url_headers_and_body_are_rendered_and_signed(
        self, outbound: Outbound, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Strings anywhere inside the body are templates; a value's quotes and line breaks stay data."""
        monkeypatch.setenv("HOOK", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        body = {
            "name": "{{ subject.name }}",
            "deep": [{"n": "{{ event.n }}", "plain": 1.5, "{{ key }}": None}],
            "t": True,
        }
        async with http_server() as site:
            url = site.url + "/orders/{{ event.id | url_encode }}?n={{ event.n }}"
            headers = {"x-order": "{{ event.id }}", "webhook-id": "forged", "Idempotency-Key": "forged"}
            await called(outbound, url, "env:HOOK", headers=headers, body=body, method="put")

        [request] = site.requests
        expected = {"name": 'Anna "A"\n', "deep": [{"n": "3", "plain": 1.5, "{{ key }}": None}], "t": True}
        assert ("PUT", "/orders/o%2F1+%C3%BC?n=3") == (request.method, request.path)
        assert expected == json.loads(request.body)
        assert "application/json" == request.headers["content-type"]
        assert "o/1 ü" == request.headers["x-order"]
        assert KEY == request.headers["webhook-id"] == request.headers["idempotency-key"]
        assert request.headers["webhook-signature"] == signature(
            KEY, request.headers["webhook-timestamp"], request.body, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        )

    async def test_without_a_body_nothing_is_sent_and_nothing_is_signed(
        self, outbound: Outbound, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOOK", "raw")
        async with http_server() as site:
            await called(outbound, site.url, method="GET")
            await called(outbound, site.url, "env:HOOK", method="GET")

        plain, signed = site.requests
        assert b"" == plain.body
        assert "content-type" not in plain.headers
        assert "webhook-signature" not in plain.headers
        assert signature(KEY, "1777554000", b"", "raw") == signed.headers["webhook-signature"]

    async def test_an_authors_content_type_holds(self, outbound: Outbound) -> None:
        async with http_server() as site:
            await called(outbound, site.url, headers={"content-type": "application/vnd.x+json"}, body={})

        assert "application/vnd.x+json" == site.requests[0].headers["content-type"]

    @pytest.mark.parametrize(
        "changed",
        [
            {"headers": {"X-A": "a{{ event.lines }}"}},
            {"headers": {"X A": "1"}},
            {"url": "http://{{ event.lines }}/"},
            {"url": "http://u:p@127.0.0.1/"},
            {"url": "{{ event.nothing }}"},
            {"url": "{{ event.n | nofilter }}"},
            {"body": "{% for a in (1..99999) %}x{% endfor %}"},
            {"body": [["{{ event.id }}"] * 1, "\ud800"]},
            {"body": "x" * (1 << 20)},
            {"method": "GET /evil HTTP/1.1\r\nX: y"},
        ],
    )
    async def test_what_cannot_be_called_is_for_good(self, outbound: Outbound, changed: dict[str, Any]) -> None:
        async with http_server() as site:
            with pytest.raises(Permanent) as caught:
                await called(outbound, **{"url": site.url, **changed})

        assert not site.requests
        assert "Evil" not in str(caught.value)

    async def test_a_private_address_is_for_good(self) -> None:
        closed = Outbound(Targets())
        async with http_server() as site:
            with pytest.raises(Permanent, match="JOURNEYS_ALLOW_PRIVATE_HOSTS"):
                await called(closed, site.url)
        await closed.close()

        assert not site.requests

    async def test_a_secret_that_is_away_is_for_now(self, outbound: Outbound) -> None:
        with pytest.raises(Temporary, match="not set"):
            await called(outbound, "http://127.0.0.1:1", "env:NOT_THERE")


class TestOutcome:
    """call: what the answer means."""

    @pytest.mark.parametrize("status", [200, 201, 204])
    async def test_2xx_is_done(self, outbound: Outbound, status: int) -> None:
        async with http_server(status) as site:
            assert Called(status, None) == await called(outbound, site.url)

    @pytest.mark.parametrize("status", [300, 302, 400, 404, 409, 422])
    async def test_others_fail_at_once(self, outbound: Outbound, status: int) -> None:
        async with http_server(status) as site:
            with pytest.raises(Permanent) as caught:
                await called(outbound, site.url)

        assert status == caught.value.status

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
    async def test_some_are_repeated(self, outbound: Outbound, status: int) -> None:
        async def respond(request: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Retry-After": "5"})

        async with http_server(respond) as site:
            with pytest.raises(Temporary) as caught:
                await called(outbound, site.url)

        assert (status, 5_000) == (caught.value.status, caught.value.retry_after)

    async def test_a_timeout_is_repeated(self, outbound: Outbound) -> None:
        async def respond(request: web.Request) -> web.Response:
            await asyncio.sleep(60)
            return web.Response()

        async with http_server(respond) as site:
            with pytest.raises(Temporary, match="no answer within"):
                await called(outbound, site.url, timeout_ms=100)

    async def test_no_connection_is_repeated(self, outbound: Outbound) -> None:
        async with http_server() as site:
            pass
        with pytest.raises(Temporary, match="No connection"):
            await called(outbound, site.url)


KEPT = [
    (b'{"ok": true, "n": 1.5}', {"ok": True, "n": 1.5}),
    (b"[1]", [1]),
    (b"null", None),
    (b"", None),
    (b" \n", None),
    (b"-9223372036854775808", -(2**63)),
    (b"[" * 64 + b"]" * 64, None),
    (b'"' + b"x" * 65_534 + b'"', "x" * 65_534),
]
REFUSED = [
    (b"<html>", "no JSON"),
    (b'{"a": NaN}', "no JSON"),
    (b"\xff", "no JSON"),
    (b'"\\ud800"', "no JSON"),
    (b"1e999", "no JSON"),
    (b"[" * 65 + b"]" * 65, "too deep"),
    (b"[" * 30_000 + b"]" * 30_000, "no JSON|too deep"),
    (b"9223372036854775808", "64 bits"),
    (b'{"a": [123456789012345678901234567890]}', "64 bits"),
    (b'"' + b"x" * 65_535 + b'"', "more than the 65,536 bytes"),
    (b'"' + b"x" * (5 << 20) + b'"', "more than the 65,536 bytes"),
]


class TestAnswer:
    """call: what of the answer is kept."""

    @pytest.mark.parametrize(("body", "value"), KEPT)
    async def test_json_is_kept_where_the_step_saves_it(self, outbound: Outbound, body: bytes, value: Any) -> None:
        async def respond(request: web.Request) -> web.Response:
            return web.Response(body=body)

        async with http_server(respond) as site:
            kept = await called(outbound, site.url, save_as="it")
            ignored = await called(outbound, site.url)

        assert 200 == kept.status
        if value is not None or len(body) < 64:
            assert value == kept.answer
        assert ignored.answer is None

    @pytest.mark.parametrize(("body", "reason"), REFUSED)
    async def test_what_cannot_be_kept_fails_only_who_saves_it(
        self, outbound: Outbound, body: bytes, reason: str
    ) -> None:
        """The call was made; who wanted its answer is told that there is none, and it is not made again."""

        async def respond(request: web.Request) -> web.Response:
            return web.Response(body=body)

        async with http_server(respond) as site:
            with pytest.raises(Permanent, match=reason):
                await called(outbound, site.url, save_as="it")
            assert Called(200, None) == await called(outbound, site.url)

    async def test_an_answer_that_breaks_off_is_asked_for_again(self, outbound: Outbound) -> None:
        async with raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{") as port:
            with pytest.raises(Temporary, match="broke off"):
                await called(outbound, f"http://127.0.0.1:{port}", save_as="it")
            assert 200 == (await called(outbound, f"http://127.0.0.1:{port}")).status
