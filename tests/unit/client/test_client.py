"""Answers: results, problems, pages, patience."""

import asyncio
from itertools import islice

import httpx2
import pytest

from journeys_client import AsyncClient, Client, Fault, MockTransport, NotUnderstood, Problem, Retries, Unreachable
from journeys_client.mock import problem
from journeys_client.retry import pause_before_retry


class TestProblem:
    """What the server says no with."""

    def test_it_carries_all_that_was_said(self) -> None:
        """Status, code, sentence, and every fault at once."""
        transport = MockTransport()
        faults = [
            {"path": "/steps/0/next", "code": "next_unresolved", "message": "No step 'x'."},
            {"path": "/steps/1", "code": "unreachable_step", "message": "Nothing leads here."},
        ]
        transport.on(
            "POST",
            "/api/journeys/a/publish",
            answer=lambda asked: problem(400, "graph_invalid", "Two faults.", errors=faults, requestId="r-1"),
        )
        with Client(transport=transport) as client, pytest.raises(Problem) as raised:
            client.journeys.publish("a")

        said = raised.value
        assert (400, "graph_invalid", "Two faults.", "r-1") == (said.status, said.code, said.detail, said.request_id)
        assert Fault("/steps/0/next", "next_unresolved", "No step 'x'.") == said.errors[0]
        assert 2 == len(said.errors)
        assert "400 graph_invalid: Two faults." == str(said)
        assert not said.is_conflict

    @pytest.mark.parametrize("status", [409, 412])
    def test_a_conflict_is_told_apart(self, status: int) -> None:
        """Scripts retry these differently from plain faults."""
        transport = MockTransport()
        transport.on("PATCH", "/api/journeys/a", answer=lambda asked: problem(status, "stale_update"))
        with Client(transport=transport) as client, pytest.raises(Problem, match="stale_update") as raised:
            client.journeys.update("a", {})

        assert raised.value.is_conflict

    @pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"[]", b"", b'{"errors": 3}'])
    def test_an_answer_of_another_form_is_a_problem_all_the_same(self, body: bytes) -> None:
        """A proxy's error page has no code; it gets one from its status."""
        transport = MockTransport()
        transport.on("GET", "/api/me", answer=lambda asked: (502, body))
        with Client(transport=transport) as client, pytest.raises(Problem, match="http_502") as raised:
            client.session.me()

        assert () == raised.value.errors

    def test_success_that_is_no_json_is_not_understood(self) -> None:
        """A captive portal answers 200 with a page."""
        transport = MockTransport()
        transport.on("GET", "/api/me", answer=lambda asked: (200, b"<html>"))
        with Client(transport=transport) as client, pytest.raises(NotUnderstood):
            client.session.me()

    @pytest.mark.parametrize("body", [None, {"items": []}, 3])
    def test_a_list_that_is_none_is_not_understood(self, body: object) -> None:
        """Whoever answered is named by what was asked."""
        transport = MockTransport()
        transport.on("GET", "/api/journeys", json=body)
        with Client(transport=transport) as client, pytest.raises(NotUnderstood, match="GET /api/journeys answered"):
            list(client.journeys.list())

    @pytest.mark.parametrize("body", [None, {}, {"received": 1, "duplicates": 0, "errors": [{"index": 9}]}])
    def test_a_strange_answer_to_events_is_not_understood(self, body: object) -> None:
        """Counts are not made up."""
        transport = MockTransport()
        transport.on("POST", "/api/events", json=body)
        with Client(transport=transport) as client, pytest.raises(NotUnderstood, match="POST /api/events answered"):
            list(client.events.send([{"type": "t"}]))

    async def test_no_answer_is_unreachable(self) -> None:
        """Both clients say where they asked; the library's own errors stay inside."""

        def refuse(request: httpx2.Request) -> httpx2.Response:
            raise httpx2.ConnectError("refused")

        address = r"127\.0\.0\.1:8080.*refused"
        with Client(transport=httpx2.MockTransport(refuse)) as client, pytest.raises(Unreachable, match=address):
            client.session.me()
        async with AsyncClient(transport=httpx2.MockTransport(refuse)) as awaiting:
            with pytest.raises(Unreachable, match="refused"):
                await awaiting.session.me()


class TestPages:
    """Lists are read to their end, page by page, and no further than is needed."""

    @staticmethod
    def pages() -> MockTransport:
        transport = MockTransport()
        link = '<http://proxy.example/api/journeys?limit=2&cursor=b>; rel="next"'
        transport.on("GET", "/api/journeys", json=[{"id": "1"}, {"id": "2"}], headers={"link": link})
        transport.on("GET", "/api/journeys", json=[{"id": "3"}])
        return transport

    def test_all_pages_are_one_list(self) -> None:
        """The cursor goes back as it came."""
        transport = self.pages()
        with Client(transport=transport) as client:
            ids = [journey["id"] for journey in client.journeys.list(page_size=2)]

        assert ["1", "2", "3"] == ids
        assert [{"limit": "2"}, {"limit": "2", "cursor": "b"}] == [asked.params for asked in transport.calls]

    def test_a_page_that_is_not_needed_is_not_asked_for(self) -> None:
        """Two of three: one call."""
        transport = self.pages()
        with Client(transport=transport) as client:
            list(islice(client.journeys.list(), 2))

        assert 1 == len(transport.calls)

    async def test_the_awaiting_client_reads_the_same(self) -> None:
        """One script, two carriers."""
        async with AsyncClient(transport=self.pages()) as client:
            ids = [journey["id"] async for journey in client.journeys.list()]

        assert ["1", "2", "3"] == ids

    def test_a_problem_on_the_way_is_raised_there(self) -> None:
        """What came before it has been given."""
        transport = MockTransport()
        transport.on("GET", "/api/journeys", json=[{"id": "1"}], headers={"link": "<?cursor=b>; rel=next"})
        transport.on("GET", "/api/journeys", answer=lambda asked: problem(400, "validation_error", "bad cursor"))
        with Client(transport=transport) as client:
            pages = client.journeys.list()

            assert "1" == next(pages)["id"]
            with pytest.raises(Problem, match="bad cursor"):
                next(pages)


class TestPatience:
    """429 and 503 are waited out, within bounds."""

    @pytest.mark.parametrize("status", [429, 503])
    async def test_a_busy_server_is_asked_again_when_it_says(self, status: int) -> None:
        """Both clients sleep as long as `Retry-After` asks, and then get their answer."""
        transport = MockTransport()
        for _ in range(2):
            transport.on("GET", "/api/me", status=status, json={"code": "busy"}, headers={"retry-after": "2"})
            transport.on("GET", "/api/me", json={"userId": "u"})
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            await asyncio.sleep(0)

        with Client(transport=transport, sleep=slept.append) as client:
            assert "u" == client.session.me()["userId"]
        async with AsyncClient(transport=transport, sleep=sleep) as awaiting:
            assert "u" == (await awaiting.session.me())["userId"]

        assert [2.0, 2.0] == slept

    def test_patience_has_an_end(self) -> None:
        """After so many attempts the answer is the problem."""
        transport = MockTransport()
        transport.on("GET", "/api/me", answer=lambda asked: problem(503, "unavailable"))
        client = Client(transport=transport, retries=Retries(attempts=3), sleep=lambda seconds: None)
        with client, pytest.raises(Problem, match="unavailable"):
            client.session.me()

        assert 4 == len(transport.calls)

    def test_a_stream_is_not_repeated(self) -> None:
        """It has been read; only its maker could make it again."""
        transport = MockTransport()
        transport.on("POST", "/api/subjects:import", answer=lambda asked: problem(503, "unavailable"))
        with Client(transport=transport, sleep=lambda seconds: None) as client, pytest.raises(Problem):
            client.subjects.import_(iter([b"{}\n"]))

        assert 1 == len(transport.calls)

    @pytest.mark.parametrize(
        ("status", "retry_after", "attempt", "pause"),
        [
            (503, "3", 0, 3.0),
            (503, None, 0, 0.5),
            (503, None, 3, 4.0),
            (503, None, 4, None),  # four attempts after the first, no fifth
            (429, "31", 0, None),  # longer than anybody waits
            (429, "-1", 0, 0.0),
            (429, "soon", 1, 1.0),
            (429, "nan", 0, 0.5),
            (429, "Wed, 01 Jan 2020 00:00:00 GMT", 0, 0.0),
            (500, "1", 0, None),
            (400, None, 0, None),
            (200, None, 0, None),
        ],
    )
    def test_the_decision_is_a_value(
        self, status: int, retry_after: str | None, attempt: int, pause: float | None
    ) -> None:
        """Seconds to wait, or None to give up."""
        headers = {} if retry_after is None else {"retry-after": retry_after}

        assert pause == pause_before_retry(status, headers, attempt, Retries())
