"""The HTTP client reaches permitted servers only, reads so much and no more, and says whether anything left."""

import asyncio
import gzip
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from services.infra.outbound import (
    CONNECTIONS_PER_HOST,
    AddressRefused,
    Answer,
    Lack,
    NoAnswer,
    Outbound,
    Targets,
    Unreachable,
)
from tests.integration.senders.peers import Site, http_server, make_key, raw_server, tls_pair


async def call(outbound: Outbound, url: str, **changed: Any) -> Answer:
    """One request, over a way out that is closed afterwards."""
    usual: dict[str, Any] = {"headers": {}, "body": b"{}", "timeout_s": 2.0}
    try:
        return await outbound.call(changed.pop("method", "POST"), url, **{**usual, **changed})
    finally:
        await outbound.close()


def open_to(*entries: str, answers: Sequence[str] | None = None) -> Outbound:
    """A way out to what is named; with `answers`, over a name server that always gives these."""

    async def lookup(host: str, port: int) -> Sequence[str]:
        return answers or ()

    return Outbound(Targets(entries, lookup if answers is not None else None))


class TestReaching:
    """call: which servers are reached."""

    async def test_a_permitted_server_gets_the_request_as_it_is(self) -> None:
        """Method, path, headers and body; an answer's status, headers and body come back."""

        async def respond(request: web.Request) -> web.Response:
            return web.Response(status=201, body=b"made", headers={"X-Made": "1", "Set-Cookie": "a=b"})

        async with http_server(respond) as site:
            outbound = open_to("127.0.0.1")
            calls = [
                await outbound.call("PUT", f"{site.url}/a?b=c", headers={"X-One": "1"}, body=b"body", timeout_s=2)
                for _ in range(2)
            ]
            await outbound.close()

        answer = calls[-1]
        assert (201, b"made", "1", None) == (answer.status, answer.body, answer.headers["x-made"], answer.lack)
        assert [("PUT", "/a?b=c", b"body")] * 2 == [(one.method, one.path, one.body) for one in site.requests]
        assert ["1", "1"] == [one.headers["x-one"] for one in site.requests]
        assert not any("cookie" in one.headers for one in site.requests)

    @pytest.mark.parametrize(
        "host",
        [
            *("127.0.0.1", "localhost", "[::1]", "127.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001"),
            *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "127.0.0.1.", "0", "0.0.0.0", "127。0。0。1", "①②⑦.0.0.1"),
        ],
    )
    async def test_this_machine_is_refused_however_it_is_written(self, host: str) -> None:
        async with http_server() as site:
            with pytest.raises((AddressRefused, Unreachable)) as caught:
                await call(Outbound(Targets()), f"http://{host}:{site.port}/")

        assert not site.requests
        if host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0x7f000001"):
            assert isinstance(caught.value, AddressRefused)

    async def test_a_name_that_leads_here_is_refused(self) -> None:
        async with http_server() as site:
            with pytest.raises(AddressRefused, match="JOURNEYS_ALLOW_PRIVATE_HOSTS"):
                await call(open_to(answers=["127.0.0.1"]), f"http://rebind.example:{site.port}/")

        assert not site.requests

    async def test_of_several_answers_the_permitted_one_is_used(self) -> None:
        async with http_server() as site:
            answer = await call(
                open_to("127.0.0.1", answers=["10.0.0.1", "127.0.0.1"]), f"http://two.example:{site.port}/"
            )

        assert 200 == answer.status

    async def test_the_last_check_is_at_the_socket(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever a resolver lets through, the address of the connection is judged once more."""

        async def careless(self: Targets, host: str, port: int) -> list[str]:
            return ["127.0.0.1"]

        monkeypatch.setattr(Targets, "addresses", careless)
        async with http_server() as site:
            with pytest.raises(AddressRefused):
                await call(Outbound(Targets()), f"http://careless.example:{site.port}/")

        assert not site.requests

    @pytest.mark.parametrize(
        "url",
        [
            *(
                "ftp://127.0.0.1/",
                "file:///etc/passwd",
                "//127.0.0.1/",
                "/path",
                "",
                "http://",
                "http:///x",
                "gopher://x",
            ),
            *(
                "http://user:pw@127.0.0.1/",
                "http://user@127.0.0.1/",
                "http://127.0.0.1:99999/",
                "http://[::1/",
                "http://a b/",
            ),
            *(
                "http://127.0.0.1/\r\nX: y",
                "http://127.0.0.1/" + "x" * 9_000,
                "http://127.0.0.1/\ud800",
                "javascript:1",
            ),
        ],
    )
    async def test_what_is_no_plain_http_url_is_refused(self, url: str) -> None:
        with pytest.raises(AddressRefused) as caught:
            await call(open_to("127.0.0.1"), url)

        assert "pw" not in str(caught.value)

    async def test_a_redirect_is_an_answer(self) -> None:
        """Not followed to anywhere, another host of the same kind included."""
        async with http_server() as other:

            async def respond(request: web.Request) -> web.Response:
                return web.Response(status=307, headers={"Location": f"{other.url}/"})

            async with http_server(respond) as site:
                answer = await call(open_to("127.0.0.1"), site.url)

        assert 307 == answer.status
        assert not other.requests

    @pytest.mark.parametrize("headers", [{"X-A": "a\r\nX-B: b"}, {"X-A\r\nX-B": "b"}, {"X-A": "a\nb"}, {"X-A": "\0"}])
    async def test_a_header_of_two_lines_is_not_sent(self, headers: dict[str, str]) -> None:
        async with http_server() as site:
            with pytest.raises(ValueError):  # noqa: PT011  # of the client library
                await call(open_to("127.0.0.1"), site.url, headers=headers)

        assert not site.requests

    async def test_tls_is_verified(self, tmp_path: Path) -> None:
        server, client = tls_pair(tmp_path, make_key())
        async with http_server(tls=server) as site:
            url = site.url.replace("http", "https")
            answer = await call(Outbound(Targets(["127.0.0.1"]), client), url)
            with pytest.raises(Unreachable, match="certificate"):
                await call(open_to("127.0.0.1"), url)

        assert 200 == answer.status
        assert 1 == len(site.requests)


class TestAnswers:
    """call: how much of an answer is read."""

    @pytest.mark.parametrize(("size", "lack"), [(1000, None), (1001, Lack.TOO_LARGE), (5 << 20, Lack.TOO_LARGE)])
    async def test_a_body_is_read_up_to_its_limit(self, size: int, lack: Lack | None) -> None:
        async def respond(request: web.Request) -> web.Response:
            return web.Response(body=b"x" * size)

        async with http_server(respond) as site:
            answer = await call(open_to("127.0.0.1"), site.url, limit=1000)

        assert (200, lack, 0 if lack else size) == (answer.status, answer.lack, len(answer.body))

    async def test_a_body_without_end_is_not_waited_for(self) -> None:
        async def respond(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(b"x" * 10_000)

        async with http_server(respond) as site:
            answer = await call(open_to("127.0.0.1"), site.url, limit=100_000)

        assert Lack.TOO_LARGE is answer.lack

    async def test_a_packed_bomb_is_not_unpacked(self) -> None:
        """A body is measured as it unfolds: 64 MB of nothing in 64 KB."""
        bomb = gzip.compress(bytes(64 << 20))

        async def respond(request: web.Request) -> web.Response:
            return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

        async with http_server(respond) as site:
            answer = await call(open_to("127.0.0.1"), site.url)

        assert Lack.TOO_LARGE is answer.lack

    async def test_an_answer_that_stalls_keeps_its_status(self) -> None:
        """The head came, so the request is answered; the body is not waited for beyond the deadline."""

        async def respond(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(status=202, headers={"Retry-After": "7"})
            await response.prepare(request)
            await response.write(b"{")
            await asyncio.sleep(60)
            return response

        async with http_server(respond) as site:
            started = time.monotonic()
            answer = await call(open_to("127.0.0.1"), site.url, timeout_s=0.2)

        assert (202, Lack.BROKEN_OFF, b"") == (answer.status, answer.lack, answer.body)
        assert time.monotonic() - started < 2

    async def test_an_answer_that_breaks_off_keeps_its_status(self) -> None:
        async with raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{") as port:
            answer = await call(open_to("127.0.0.1"), f"http://127.0.0.1:{port}/")

        assert (200, Lack.BROKEN_OFF) == (answer.status, answer.lack)


class TestFailures:
    """call: whether anything had left."""

    async def test_a_refused_connection_left_nothing(self) -> None:
        async with http_server() as site:
            pass
        with pytest.raises(Unreachable, match="connect"):
            await call(open_to("127.0.0.1"), f"http://127.0.0.1:{site.port}/secret?token=1")

    async def test_an_unknown_name_left_nothing(self) -> None:
        with pytest.raises(Unreachable, match="leads to no address"):
            await call(open_to(answers=[]), "http://nowhere.example/")

    async def test_a_name_server_that_hangs_left_nothing(self) -> None:
        async def lookup(host: str, port: int) -> Sequence[str]:
            await asyncio.sleep(60)
            return []

        with pytest.raises(Unreachable, match=r"no answer within 0\.1 s"):
            await call(Outbound(Targets((), lookup)), "http://slow.example/", timeout_s=0.1)

    async def test_silence_is_in_doubt(self) -> None:
        async def respond(request: web.Request) -> web.Response:
            await asyncio.sleep(60)
            return web.Response()

        async with http_server(respond) as site:
            with pytest.raises(NoAnswer, match=r"no answer within 0\.1 s"):
                await call(open_to("127.0.0.1"), site.url, timeout_s=0.1)

        assert 1 == len(site.requests)

    @pytest.mark.parametrize(
        "answer", [b"", b"no http\r\n\r\n", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 99_999]
    )
    async def test_what_is_no_answer_is_in_doubt(self, answer: bytes) -> None:
        async with raw_server(answer) as port:
            with pytest.raises(NoAnswer) as caught:
                await call(open_to("127.0.0.1"), f"http://127.0.0.1:{port}/secret?token=1")

        assert "token" not in str(caught.value)

    async def test_a_cancelled_call_is_cancelled(self) -> None:
        """A cancellation is not taken for a deadline, in the body either."""
        prepared = asyncio.Event()

        async def respond(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            prepared.set()
            await asyncio.sleep(60)
            return response

        async with http_server(respond) as site:
            task = asyncio.create_task(call(open_to("127.0.0.1"), site.url, timeout_s=30))
            await prepared.wait()
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    async def test_one_slow_host_leaves_room_for_others(self) -> None:
        """Connections are bounded per host, so a hanging server does not close the way out to all others."""

        async def hang(request: web.Request) -> web.Response:
            await asyncio.sleep(60)
            return web.Response()

        async def lookup(host: str, port: int) -> Sequence[str]:
            return ["127.0.0.1"]

        async with http_server(hang) as slow, http_server() as quick:
            outbound = Outbound(Targets(["127.0.0.1"], lookup))

            async def one(site: Site, name: str) -> Answer:
                url = f"http://{name}.example:{site.port}/"
                return await outbound.call("POST", url, headers={}, body=b"", timeout_s=30)

            waiting = [asyncio.create_task(one(slow, "slow")) for _ in range(CONNECTIONS_PER_HOST + 10)]
            async with asyncio.timeout(20):
                while len(slow.requests) < CONNECTIONS_PER_HOST:
                    await asyncio.sleep(0.01)
            answer = await one(quick, "quick")
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            await outbound.close()

        assert 200 == answer.status
        assert CONNECTIONS_PER_HOST == len(slow.requests)

    async def test_who_waits_for_a_connection_in_vain_left_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("services.infra.outbound.CONNECTIONS_PER_HOST", 1)

        async def hang(request: web.Request) -> web.Response:
            await asyncio.sleep(60)
            return web.Response()

        async with http_server(hang) as site:
            outbound = open_to("127.0.0.1")
            first = asyncio.create_task(outbound.call("POST", site.url, headers={}, body=b"", timeout_s=30))
            async with asyncio.timeout(20):
                while not site.requests:
                    await asyncio.sleep(0.01)
            with pytest.raises(Unreachable):
                await outbound.call("POST", site.url, headers={}, body=b"", timeout_s=0.1)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            await outbound.close()

        assert 1 == len(site.requests)

    async def test_nothing_of_a_call_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.DEBUG):
            async with http_server(500) as site:
                await call(open_to("127.0.0.1"), f"{site.url}/?token=s3cret", headers={"Authorization": "s3cret"})

        ours = [record for record in caplog.records if record.name != "aiohttp.access"]
        assert not any("s3cret" in record.getMessage() for record in ours)
