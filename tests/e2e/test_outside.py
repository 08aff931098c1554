"""What leaves the product: mails, messages over HTTP, pushes and webhooks, at real servers. Contract 2.1 and 3."""

import asyncio
import base64
import hashlib
import hmac
import json
import re
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.e2e.server import Server, by_session, eventually
from tests.e2e.words import Json, World, attr, branch, end, entries, path_of, send, trigger, unique
from tests.support.certificates import Authority

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ...").decode()


class Receiver:
    """An HTTP server that keeps what it gets; `answer` makes status, headers and body of each reply."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, dict[str, str], bytes]] = []
        self.methods: list[str] = []
        self.answer: Callable[[int], tuple[int, dict[str, str], bytes]] = lambda turn: (200, {}, b"{}")
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the base class finds it by this name
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.methods.append(self.command)
                outer.taken.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                status, headers, answer = outer.answered(self.path, body)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(answer)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_PUT = do_PATCH = do_DELETE = do_POST  # noqa: N815  # likewise

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def answered(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """What a request is told."""
        return self.answer(len(self.taken))

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


class Google(Receiver):
    """FCM and its token endpoint; `gone` are the device tokens it does not know any more."""

    gone: frozenset[str] = frozenset()

    def answered(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """A token for the account, and a word for each device."""
        kind = {"Content-Type": "application/json"}
        if path == "/token":
            return (
                200,
                kind,
                json.dumps({"access_token": "ya29.x", "expires_in": 3599, "token_type": "Bearer"}).encode(),
            )
        if json.loads(body)["message"]["token"] not in self.gone:
            return 200, kind, b'{"name": "projects/p-1/messages/1"}'
        said = {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "UNREGISTERED"}
        error = {"code": 404, "status": "NOT_FOUND", "message": "Requested entity was not found.", "details": [said]}
        return 404, kind, json.dumps({"error": error}).encode()

    def devices(self) -> list[str]:
        """Who was called, in order of their names."""
        return sorted(json.loads(body)["message"]["token"] for path, _, body in self.taken if path != "/token")


class PostOffice:
    """An SMTP server in a thread that keeps what it takes; with a certificate and its key it wants STARTTLS and a login."""

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        self.mails: list[EmailMessage] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self._lines: list[SMTP] = []
        self.refuse: str | None = None
        self.hangs_up = False
        self._loop = asyncio.new_event_loop()
        wishes: dict[str, Any] = {}
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*certificate)
            wishes = {"tls_context": context, "require_starttls": True, "auth_required": True}
            wishes["authenticator"] = self._login

        def protocol() -> SMTP:
            with warnings.catch_warnings(action="ignore"):  # that it asks for no certificate of the client
                made = SMTP(self, enable_SMTPUTF8=True, loop=self._loop, **wishes)
            self._lines.append(made)
            return made

        self._server = self._loop.run_until_complete(self._loop.create_server(protocol, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def _login(self, server: Any, session: Session, envelope: Envelope, method: str, data: Any) -> AuthResult:
        self.logins.append((data.login, data.password))
        return AuthResult(success=True)

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's
        if self.refuse is not None:
            return self.refuse
        assert isinstance(envelope.content, bytes)
        if self.hangs_up:
            server.transport.close()
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 taken"

    def close(self) -> None:
        """Stop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        for line in self._lines:
            if isinstance(line.transport, asyncio.Transport):
                line.transport.abort()
        self._server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Vouches for the mail server; this machine's own authorities do not."""
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="module")
def open_server(authority: Authority) -> Iterator[Server]:
    """A server that may reach this machine, with secrets, and an authority that it trusts."""
    variables = {"TEST_HOOK_SECRET": SECRET, "TEST_MAIL_PASSWORD": "s3cret", "SSL_CERT_FILE": str(authority.file)}
    made = Server({"JOURNEYS_ALLOW_PRIVATE_HOSTS": "127.0.0.1", **variables})
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

    def post_by(self, world: World, office: PostOffice, **more: Any) -> None:
        sender = {
            "type": "smtp", "host": "127.0.0.1", "port": office.port, "security": "none",
            "from": "Shop <hello@shop.example.com>", "replyTo": "help@shop.example.com", **more,
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

    def test_it_goes_under_starttls_and_a_login(self, outside: World, authority: Authority) -> None:
        """The password is a reference; a server whose certificate nobody vouches for is told neither it nor the mail."""
        account = {"security": "starttls", "username": "shop", "passwordRef": "env:TEST_MAIL_PASSWORD"}
        journey, event = mailing(outside)
        with closing(PostOffice(authority.issue("mail.example.com"))) as trusted:
            self.post_by(outside, trusted, **account)
            outside.walk(journey, event)
        stranger = Authority(authority.file.parent, "stranger").issue("other.example.com")
        with closing(PostOffice(stranger)) as unknown:
            self.post_by(outside, unknown, **account)
            outside.event(event, outside.person())
            outside.settle()

        assert (1, [(b"shop", b"s3cret")]) == (len(trusted.mails), trusted.logins)
        assert ([], []) == (unknown.mails, unknown.logins)
        assert ["send.executed"] == outside.actions(journey, action="send.")

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

    def test_a_server_that_hangs_up_leaves_doubt_and_no_second_mail(self, outside: World, office: PostOffice) -> None:
        """It has the mail and says nothing: `unknown`, shown, and never sent again."""
        self.post_by(outside, office)
        office.hangs_up = True
        journey, event = mailing(outside)
        run = outside.walk(journey, event)
        outside.advance("P2D")

        assert 1 == len(office.mails)
        assert ["unknown"] == [message["status"] for message in outside.messages(journeyId=journey)]
        assert ["send.unknown"] == outside.actions(journey, action="send.")
        assert "SUCCEEDED" == run["status"]

    def test_nobody_answers_for_a_day(self, outside: World) -> None:
        """Tried again and again, then a failed send."""
        with closing(PostOffice()) as gone:
            self.post_by(outside, gone)
        journey, event = mailing(outside)
        outside.walk(journey, event)
        outside.advance("P2D")

        assert ["send.failed"] == outside.actions(journey, action="send.")
        assert ["failed"] == [message["status"] for message in outside.messages(journeyId=journey)]

    @pytest.mark.parametrize(
        "address",
        [
            "a@example.com\r\nBcc: all@example.com",
            "a@example.com, all@example.com",
            "<a@example.com> RCPT TO:<all@example.com>",
            "a@example.com\0",
        ],
    )
    def test_an_address_in_an_event_is_one_recipient_or_none(
        self, outside: World, office: PostOffice, address: str
    ) -> None:
        """Where the contract takes it from the event: no second recipient, no header; it fails and says so."""
        self.post_by(outside, office)
        event = unique("ev")
        contract = outside.contract(event, recipientEmailFieldPath="to")
        journey = outside.journey([trigger("s"), send("s", outside.comm(), "exit"), end()], triggerContractId=contract)
        outside.walk(journey, event, outside.person(), {"to": address})

        assert all("all@" not in str(mail) for mail in office.mails)
        assert ["send.failed"] == outside.actions(journey, action="send.")


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

    @pytest.mark.parametrize(("is_idempotent", "status", "calls"), [(True, "sent", 2), (False, "unknown", 1)])
    def test_what_is_in_doubt_is_repeated_where_that_is_harmless(
        self, outside: World, receiver: Receiver, is_idempotent: bool, status: str, calls: int
    ) -> None:
        """504 at first: under the same key again, or `unknown` for ever."""
        receiver.answer = lambda turn: (504 if turn == 1 else 200, {}, b"")
        sender = {"type": "http", "url": receiver.url, "idempotent": is_idempotent}
        outside.api.patch("/api/workspace", {"senders": {"email": sender}}).ok()
        journey, event = mailing(outside)
        outside.walk(journey, event)
        outside.advance("PT1H")

        assert calls == len(receiver.taken)
        assert 1 == len({headers["idempotency-key"] for _, headers, _ in receiver.taken})
        assert [status] == [message["status"] for message in outside.messages(journeyId=journey)]

    @pytest.mark.parametrize("ref", ["env:NOT_SET_ANYWHERE", "file:/does/not/exist", "plain-secret"])
    def test_a_reference_that_leads_nowhere_is_refused(self, outside: World, ref: str) -> None:
        """400 with the path, and nothing of the value."""
        sender = {"type": "http", "url": "https://hooks.example.com", "secretRef": ref, "idempotent": True}
        problem = outside.api.patch("/api/workspace", {"senders": {"email": sender}}).problem(400, "validation_error")

        assert "/senders/email/secretRef" in {fault["path"] for fault in problem["errors"]}


class TestPush:
    """`mobile_push` over FCM HTTP v1."""

    @pytest.fixture
    def google(self) -> Iterator[Google]:
        """The service."""
        made = Google()
        yield made
        made.close()

    @pytest.fixture
    def push(self, outside: World, google: Google, tmp_path: Path) -> tuple[str, str]:
        """A journey that sends one push, and its event."""
        key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        account = {
            "type": "service_account",
            "project_id": "p-1",
            "private_key_id": "key-1",
            "private_key": key.decode(),
            "client_email": "push@p-1.iam.example.com",
            "token_uri": f"{google.url}/token",
        }
        (tmp_path / "account.json").write_text(json.dumps(account))
        reference = f"file:{tmp_path / 'account.json'}"
        sender = {"type": "fcm", "projectId": "p-1", "credentialsRef": reference, "endpoint": google.url}
        settings = outside.api.patch("/api/workspace", {"senders": {"mobile_push": sender}}).ok()
        assert "PRIVATE KEY" not in str(settings)
        event = unique("ev")
        content = {"title": "Hi {{ subject.name }}", "body": "{{ event.code }}", "data": {"deep": "link"}}
        comm = outside.comm("mobile_push", **content)
        return outside.journey([trigger("s"), send("s", comm, "exit", "mobile_push"), end()], event=event), event

    def test_a_device_is_called_under_a_token_of_the_account(
        self, outside: World, google: Google, push: tuple[str, str]
    ) -> None:
        """One request for an access token, one for the device, with what was written."""
        journey, event = push
        person = outside.person({"name": "Åsa"}, addresses={"mobile_push": ["dev-1"]})
        run = outside.walk(journey, event, person, {"code": "x7"})
        ((where, _, _), (path, headers, body)) = google.taken
        message = json.loads(body)["message"]

        assert ("/token", "/v1/projects/p-1/messages:send") == (where, path)
        assert "Bearer ya29.x" == headers["authorization"]
        assert ("dev-1", {"title": "Hi Åsa", "body": "x7"}) == (message["token"], message["notification"])
        assert "link" == message["data"]["deep"]
        assert ["send.executed"] == [name for step, name in path_of(run) if step == "s"]

    def test_a_device_that_is_gone_is_forgotten(self, outside: World, google: Google, push: tuple[str, str]) -> None:
        """Of three tokens two are known: the message was sent, and the third is never called again."""
        google.gone = frozenset({"dev-2"})
        journey, event = push
        person = outside.person(addresses={"mobile_push": ["dev-1", "dev-2", "dev-3"]})
        run = outside.walk(journey, event, person)
        assert ["dev-1", "dev-2", "dev-3"] == google.devices()
        assert ["send.executed"] == [name for step, name in path_of(run) if step == "s"]
        eventually(lambda: outside.profile(person)["addresses"]["mobile_push"] == ["dev-1", "dev-3"])
        outside.event(event, person)
        outside.settle()

        assert ["dev-1", "dev-1", "dev-2", "dev-3", "dev-3"] == google.devices()

    def test_whose_last_device_is_gone_is_not_reached(
        self, outside: World, google: Google, push: tuple[str, str]
    ) -> None:
        """A failed send, recorded; the next one is skipped for want of an address."""
        google.gone = frozenset({"dev-1"})
        journey, event = push
        person = outside.person(addresses={"mobile_push": ["dev-1"]})
        outside.walk(journey, event, person)
        eventually(lambda: not outside.profile(person)["addresses"].get("mobile_push"))
        outside.event(event, person)
        outside.settle()

        assert ["dev-1"] == google.devices()
        assert ["send.failed", "send.skipped"] == outside.actions(journey, action="send.")
        assert ["no_address"] == [one["metadata"]["reason"] for one in outside.audit(journey, action="send.skipped")]


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

    def test_how_long_it_asks_to_be_left_alone_is_heeded(self, outside: World, receiver: Receiver) -> None:
        """`Retry-After` of half an hour."""
        receiver.answer = lambda turn: (429 if turn == 1 else 200, {"Retry-After": "1800"}, b"{}")
        event = unique("ev")
        journey = outside.journey([trigger("hook"), webhook(receiver.url), end()], event=event)
        outside.walk(journey, event)
        outside.advance("PT29M")
        assert 1 == len(receiver.taken)
        outside.advance("PT2M")

        assert 2 == len(receiver.taken)
        assert 1 == outside.step_stats(journey)["hook"]["executed"]

    def test_nobody_is_left_alone_for_more_than_an_hour(self, outside: World, receiver: Receiver) -> None:
        """`Retry-After` of two days, in seconds and as a date: an hour is heeded."""
        day = format_datetime(datetime.now(UTC) + timedelta(days=900), usegmt=True)
        asked = {1: "172800", 2: day}
        receiver.answer = lambda turn: (503, {"Retry-After": asked[turn]}, b"") if turn in asked else (200, {}, b"{}")
        event = unique("ev")
        journey = outside.journey([trigger("hook"), webhook(receiver.url), end()], event=event)
        outside.walk(journey, event)
        calls = []
        for step in ("PT59M", "PT2M", "PT57M", "PT4M"):
            outside.advance(step)
            calls.append(len(receiver.taken))

        assert [1, 2, 2, 3] == calls
        assert 1 == outside.step_stats(journey)["hook"]["executed"]

    @pytest.mark.parametrize(("on_failure", "status"), [("continue", "SUCCEEDED"), ("fail", "FAILED")])
    def test_in_the_end_it_has_failed(self, outside: World, receiver: Receiver, on_failure: str, status: str) -> None:
        """Two retries are three calls; then `onFailure`."""
        receiver.answer = lambda turn: (503, {}, b"")
        event = unique("ev")
        steps = [trigger("hook"), webhook(receiver.url, retries=2, onFailure=on_failure), end()]
        journey = outside.journey(steps, event=event)
        first = outside.walk(journey, event)
        outside.advance("PT6H")
        run = outside.detail(journey, first["executionId"])

        assert 3 == len(receiver.taken)
        assert [(3, 503)] == [
            (one["detail"]["attempts"], one["detail"]["status"]) for one in entries(run, "webhook.failed")
        ]
        assert status == run["status"]

    def test_who_does_not_answer_in_time_is_asked_again(self, outside: World, receiver: Receiver) -> None:
        """`timeout`: the call is given up, and made again under its key."""
        over = threading.Event()

        def answer(turn: int) -> tuple[int, dict[str, str], bytes]:
            if turn == 1:
                over.wait(30)
            return 200, {}, b"{}"

        receiver.answer = answer
        event = unique("ev")
        journey = outside.journey([trigger("hook"), webhook(receiver.url, timeout="PT0.2S"), end()], event=event)
        outside.walk(journey, event)
        outside.advance("PT1H")
        over.set()

        assert 2 == len(receiver.taken)
        assert 1 == len({headers["webhook-id"] for _, headers, _ in receiver.taken})
        assert ["webhook.executed"] == outside.actions(journey, action="webhook.")

    @pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
    def test_other_methods(self, outside: World, receiver: Receiver, method: str) -> None:
        """As the step says; what is missing prints nothing and is named in history."""
        event = unique("ev")
        step = {**webhook(f"{receiver.url}/{{{{ subject.nick }}}}"), "method": method}
        run = outside.walk(outside.journey([trigger("hook"), step, end()], event=event), event)

        assert [method] == receiver.methods
        assert [["subject.nick"]] == [one["detail"]["missing"] for one in entries(run, "webhook.executed")]

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

    @pytest.mark.parametrize(("on_failure", "status"), [("continue", "SUCCEEDED"), ("fail", "FAILED")])
    def test_an_answer_that_is_too_much(self, outside: World, receiver: Receiver, on_failure: str, status: str) -> None:
        """Five megabytes are not kept: the step fails, says so, and `onFailure` decides."""
        receiver.answer = lambda turn: (200, {"Content-Type": "application/json"}, b'"' + b"x" * 5_000_000 + b'"')
        event = unique("ev")
        step = webhook(receiver.url, saveAs="big", retries=0, onFailure=on_failure)
        run = outside.walk(outside.journey([trigger("hook"), step, end()], event=event), event)

        assert "big" not in run["context"]
        assert status == run["status"]
        assert ["more than" in entry["detail"]["reason"] for entry in entries(run, "webhook.failed")] == [True]

    def test_an_answer_that_is_too_much_harms_nobody_who_does_not_keep_it(
        self, outside: World, receiver: Receiver
    ) -> None:
        """Without `saveAs` the status is all that counts."""
        receiver.answer = lambda turn: (200, {}, b"x" * 5_000_000)
        event = unique("ev")
        run = outside.walk(outside.journey([trigger("hook"), webhook(receiver.url), end()], event=event), event)

        assert 1 == len(entries(run, "webhook.executed"))

    def test_a_redirect_to_another_host_is_not_followed(self, outside: World, receiver: Receiver) -> None:
        """Not even to one that may be called."""
        with closing(Receiver()) as other:
            receiver.answer = lambda turn: (307, {"Location": f"{other.url}/"}, b"")
            event = unique("ev")
            run = outside.walk(outside.journey([trigger("hook"), webhook(receiver.url), end()], event=event), event)

            assert [] == other.taken
        assert ["webhook.failed"] == [name for step, name in path_of(run) if step == "hook"]

    def test_private_hosts_are_refused_unless_they_are_allowed(self, apart: World, receiver: Receiver) -> None:
        """Without the variable nothing on this machine is reached."""
        event = unique("ev")
        url = receiver.url.replace("127.0.0.1", "localhost")
        journey = apart.journey([trigger("hook"), webhook(url, onFailure="fail", retries=0), end()], event=event)
        run = apart.walk(journey, event)

        assert "FAILED" == run["status"]
        assert [] == receiver.taken
