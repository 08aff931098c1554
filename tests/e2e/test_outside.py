"""What leaves the product: mails, messages over HTTP, pushes and webhooks, at real servers. Contract 2.1 and 3."""

import asyncio
import base64
import hashlib
import hmac
import json
import re
import threading
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.e2e.server import Server, by_session
from tests.e2e.words import Json, World, attr, branch, end, entries, path_of, send, trigger, unique

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ...").decode()


class Receiver:
    """An HTTP server that keeps what it gets; `answer` makes status, headers and body of each reply."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, dict[str, str], bytes]] = []
        self.answer: Callable[[int], tuple[int, dict[str, str], bytes]] = lambda turn: (200, {}, b"{}")
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the base class finds it by this name
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.taken.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                status, headers, answer = outer.answer(len(outer.taken))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(answer)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


class PostOffice:
    """An SMTP server in a thread that keeps what it takes."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.refuse: str | None = None
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(
            self._loop.create_server(lambda: SMTP(self, enable_SMTPUTF8=True, loop=self._loop), "127.0.0.1", 0)
        )
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's
        if self.refuse is not None:
            return self.refuse
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 taken"

    def close(self) -> None:
        """Stop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


@pytest.fixture(scope="module")
def open_server() -> Iterator[Server]:
    """A server that may reach this machine, with a secret to sign with."""
    made = Server({"JOURNEYS_ALLOW_PRIVATE_HOSTS": "127.0.0.1", "TEST_HOOK_SECRET": SECRET})
    try:
        made.start().owner.patch("/api/workspace", {"holdout": {"percent": 0}}).ok()
        yield made
    finally:
        made.close()


@pytest.fixture
def outside(open_server: Server) -> World:
    """A workspace of its own on that server."""
    body = {"name": "Outside", "ownerEmail": f"{unique('owner')}@example.com"}
    made = open_server.internal.post("/api/journeys/internal/workspaces", body).ok(201)
    world = World(by_session(open_server.port, made["sessionToken"]), open_server.internal)
    world.api.patch("/api/workspace", {"holdout": {"percent": 0}}).ok()
    return world


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """An HTTP server."""
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def office() -> Iterator[PostOffice]:
    """A mail server."""
    made = PostOffice()
    yield made
    made.close()


def webhook(url: str, to: str = "exit", **more: Any) -> Json:
    """A webhook called `hook`."""
    return {"id": "hook", "type": "webhook", "method": "POST", "url": url, "next": to, **more}


def mailing(world: World, **content: Any) -> tuple[str, str]:
    """A journey that sends one mail, and its event."""
    event = unique("ev")
    return world.journey([trigger("s"), send("s", world.comm(**content), "exit"), end()], event=event), event


class TestMail:
    """`email` over SMTP."""

    def post_by(self, world: World, office: PostOffice) -> None:
        sender = {
            "type": "smtp", "host": "127.0.0.1", "port": office.port, "security": "none",
            "from": "Shop <hello@shop.example.com>", "replyTo": "help@shop.example.com",
        }  # fmt: skip
        world.api.patch("/api/workspace", {"senders": {"email": sender}}).ok()

    def test_it_arrives_with_its_headers_and_one_click_stops_the_next(
        self, open_server: Server, outside: World, office: PostOffice
    ) -> None:
        """From, To, Reply-To, both bodies, List-Unsubscribe; a POST to it opts the person out."""
        self.post_by(outside, office)
        journey, event = mailing(outside, subject="Grüße, {{ subject.name }}", body="<p>Hi</p>", text="Hi")
        person = outside.person({"name": "Åsa שלום"})
        outside.walk(journey, event, person)
        (mail,) = office.mails
        link = re.fullmatch(r"<([^>]+)>", str(mail["List-Unsubscribe"]))

        assert "Grüße, Åsa שלום" == mail["Subject"]
        assert "Shop <hello@shop.example.com>" == mail["From"]
        assert f"{person}@mail.example.com" == mail["To"]
        assert "help@shop.example.com" == mail["Reply-To"]
        assert {"text/plain", "text/html"} <= {part.get_content_type() for part in mail.walk()}
        assert "List-Unsubscribe=One-Click" == mail["List-Unsubscribe-Post"]
        assert link is not None
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        reply = open_server.anyone.post(urlsplit(link[1]).path, raw=b"List-Unsubscribe=One-Click", headers=form)
        assert 200 == reply.status
        outside.event(event, person)
        outside.settle()
        assert 1 == len(office.mails)
        assert ["opt_out"] == [one["metadata"]["reason"] for one in outside.audit(journey, action="send.skipped")]

    def test_no_name_adds_a_header_or_a_recipient(self, outside: World, office: PostOffice) -> None:
        """A line break in what a template prints is no line break in the mail."""
        self.post_by(outside, office)
        journey, event = mailing(outside, subject="For {{ subject.name }}")
        outside.walk(journey, event, outside.person({"name": "A\r\nBcc: all@example.com\r\n\r\nInjected"}))

        assert all(mail["Bcc"] is None for mail in office.mails)
        assert all("Injected" not in str(mail.get_body(("plain",))) for mail in office.mails)

    def test_a_permanent_refusal_is_a_failed_send(self, outside: World, office: PostOffice) -> None:
        """The person goes on; with `onFailure: fail` the execution fails."""
        self.post_by(outside, office)
        office.refuse = "550 no such mailbox"
        event = unique("ev")
        steps = [
            trigger("s"),
            send("s", outside.comm(), "t"),
            send("t", outside.comm(), "exit", onFailure="fail"),
            end(),
        ]
        journey = outside.journey(steps, event=event)
        run = outside.walk(journey, event)

        assert "FAILED" == run["status"]
        assert [("s", "send.failed"), ("t", "send.failed")] == sorted(
            one for one in path_of(run) if one[1] == "send.failed"
        )

    def test_a_temporary_refusal_is_tried_again(self, outside: World, office: PostOffice) -> None:
        """After a minute it arrives, once."""
        self.post_by(outside, office)
        office.refuse = "451 later"
        journey, event = mailing(outside)
        person = outside.person()
        outside.walk(journey, event, person)
        assert [] == office.mails
        office.refuse = None
        outside.advance("PT10M")

        assert 1 == len(office.mails)
        assert ["sent"] == [message["status"] for message in outside.messages(endUserId=person)]


class TestHttpSender:
    """Any channel over HTTP."""

    def test_it_is_posted_signed_and_whole(self, outside: World, receiver: Receiver) -> None:
        """The documented members and a signature that fits."""
        sender = {
            "type": "http",
            "url": f"{receiver.url}/send",
            "secretRef": "env:TEST_HOOK_SECRET",
            "idempotent": True,
        }
        outside.api.patch("/api/workspace", {"senders": {"mobile_push": sender}}).ok()
        event = unique("ev")
        steps = [
            trigger("s"),
            send("s", outside.comm("mobile_push", data={"deep": "link"}), "exit", "mobile_push"),
            end(),
        ]
        journey = outside.journey(steps, event=event)
        name = unique("usr")
        outside.api.put(f"/api/subjects/{name}", {"addresses": {"mobile_push": ["token-1"]}}).ok(201)
        run = outside.walk(journey, event, name)
        ((path, headers, body),) = receiver.taken
        message = json.loads(body)

        assert "/send" == path
        assert {
            "messageId", "channel", "to", "subject", "body", "text", "title", "data", "from", "endUserId",
            "journeyId", "executionId", "stepId",
        } <= message.keys()  # fmt: skip
        assert (run["executionId"], "s", "mobile_push") == (
            message["executionId"],
            message["stepId"],
            message["channel"],
        )
        assert {"deep": "link"} == message["data"]
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        mac = hmac.new(base64.b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256).digest()
        assert f"v1,{base64.b64encode(mac).decode()}" in headers["webhook-signature"].split()
        assert message["messageId"] == headers["idempotency-key"]

    @pytest.mark.parametrize("ref", ["env:NOT_SET_ANYWHERE", "file:/does/not/exist", "plain-secret"])
    def test_a_reference_that_leads_nowhere_is_refused(self, outside: World, ref: str) -> None:
        """400 with the path, and nothing of the value."""
        sender = {"type": "http", "url": "https://hooks.example.com", "secretRef": ref, "idempotent": True}
        problem = outside.api.patch("/api/workspace", {"senders": {"email": sender}}).problem(400, "validation_error")

        assert "/senders/email/secretRef" in {fault["path"] for fault in problem["errors"]}


class TestWebhook:
    """Webhook steps."""

    def test_what_it_says_and_what_comes_back(self, outside: World, receiver: Receiver) -> None:
        """Liquid in url, headers and body; the answer in the context, for a later branch and a later text."""
        receiver.answer = lambda turn: (200, {"Content-Type": "application/json"}, b'{"tier": "gold", "points": 7}')
        event = unique("ev")
        steps = [
            trigger("hook"),
            webhook(
                f"{receiver.url}/u/{{{{ subject.endUserId }}}}",
                "b",
                headers={"X-Plan": "{{ subject.plan }}"},
                body={"order": "{{ event.orderId }}", "fixed": [1, True, None]},
                saveAs="crm",
            ),
            branch("b", [("gold", attr("crm.tier", "equals", "gold", kind="context"), "s")], "exit"),
            send("s", outside.comm(subject="{{ context.crm.points }} points"), "exit"),
            end(),
        ]
        journey = outside.journey(steps, event=event)
        person = outside.person({"plan": "pro"})
        run = outside.walk(journey, event, person, {"orderId": "o-7"})
        ((path, headers, body),) = receiver.taken

        assert (f"/u/{person}", "pro") == (path, headers["x-plan"])
        assert {"order": "o-7", "fixed": [1, True, None]} == json.loads(body)
        assert headers["webhook-id"] == headers["idempotency-key"]
        assert {"tier": "gold", "points": 7} == run["context"]["crm"]
        assert ["7 points"] == [message["subject"] for message in outside.messages(endUserId=person)]

    def test_a_server_in_trouble_is_asked_again_with_the_same_key(self, outside: World, receiver: Receiver) -> None:
        """503 twice, then 200: one step, one id."""
        receiver.answer = lambda turn: (200 if turn == 3 else 503, {}, b"{}")
        event = unique("ev")
        journey = outside.journey([trigger("hook"), webhook(receiver.url), end()], event=event)
        outside.walk(journey, event)
        outside.advance("PT1H")

        assert 3 == len(receiver.taken)
        assert 1 == len({headers["webhook-id"] for _, headers, _ in receiver.taken})
        assert {"executed": 1} == {"executed": outside.step_stats(journey)["hook"]["executed"]}

    @pytest.mark.parametrize("status", [400, 404, 410, 302])
    def test_others_fail_at_once(self, outside: World, receiver: Receiver, status: int) -> None:
        """One call, recorded; the person goes on, and no redirect is followed."""
        receiver.answer = lambda turn: (status, {"Location": "http://127.0.0.1:9/"}, b"no")
        event = unique("ev")
        journey = outside.journey([trigger("hook"), webhook(receiver.url), end()], event=event)
        run = outside.walk(journey, event)

        assert "SUCCEEDED" == run["status"]
        assert 1 == len(receiver.taken)
        assert 1 == len(entries(run, "webhook.failed"))

    def test_an_answer_that_is_too_much(self, outside: World, receiver: Receiver) -> None:
        """Five megabytes are not kept: the step fails and says so."""
        receiver.answer = lambda turn: (200, {"Content-Type": "application/json"}, b'"' + b"x" * 5_000_000 + b'"')
        event = unique("ev")
        journey = outside.journey([trigger("hook"), webhook(receiver.url, saveAs="big", retries=0), end()], event=event)
        run = outside.walk(journey, event)

        assert "big" not in run["context"]
        assert "SUCCEEDED" == run["status"]

    def test_private_hosts_are_refused_unless_they_are_allowed(self, apart: World, receiver: Receiver) -> None:
        """Without the variable nothing on this machine is reached."""
        event = unique("ev")
        url = receiver.url.replace("127.0.0.1", "localhost")
        journey = apart.journey([trigger("hook"), webhook(url, onFailure="fail", retries=0), end()], event=event)
        run = apart.walk(journey, event)

        assert "FAILED" == run["status"]
        assert [] == receiver.taken
