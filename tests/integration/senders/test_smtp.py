"""Mails reach a real SMTP server as they should, and every way to fail ends as what it is."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.header import decode_header, make_header
from typing import Any, Literal

import pytest

from services.infra.clock import ManualClock
from services.infra.outbound import Targets
from services.runtime.senders import smtp
from services.runtime.senders.outcomes import InDoubt, Permanent, Temporary
from services.runtime.senders.port import Promise, SendFailed
from services.runtime.senders.smtp import SmtpSender, SmtpSettings
from tests.integration.senders.peers import Mailbox, Script, message, scripted, smtp_server

Opened = Callable[..., Any]
Security = Literal["none", "starttls", "tls"]


@pytest.fixture
def opened(targets: Targets) -> Opened:
    """A sender to a port of this machine, closed in the end."""

    @asynccontextmanager
    async def sender(port: int, security: Security = "none", **options: Any) -> AsyncIterator[SmtpSender]:
        login = {name: options.pop(name) for name in ("username", "password_ref", "reply_to") if name in options}
        settings = SmtpSettings("127.0.0.1", port, security, "News <news@example.com>", **login)
        made = SmtpSender(settings, options.pop("targets", targets), ManualClock(1_777_554_000_000), **options)
        try:
            yield made
        finally:
            await made.close()

    return sender


class TestDelivery:
    """send: what arrives."""

    async def test_a_mail_arrives_with_its_headers_and_both_bodies(self, opened: Opened) -> None:
        """Envelope, headers, text and HTML are the message's; List-Unsubscribe is RFC 8058's one-click form."""
        link = "https://journeys.example.com/preferences/" + "t" * 300
        async with (
            smtp_server(Mailbox()) as box,
            opened(box.port, reply_to="help@example.com") as sender,
        ):
            await sender.send(message(subject="Grüße, مرحبا", body="<p>Grüße</p>", text="Grüße", unsubscribe_url=link))

        [mail], [envelope] = box.mails, box.taken
        html, text = mail.get_body(["html"]), mail.get_body(["plain"])
        assert ("news@example.com", ["anna@example.com"]) == (envelope.mail_from, envelope.rcpt_tos)
        assert "News <news@example.com>" == mail["From"]
        assert "anna@example.com" == mail["To"]
        assert "help@example.com" == mail["Reply-To"]
        assert "Grüße, مرحبا" == mail["Subject"]
        assert "Thu, 30 Apr 2026 13:00:00 +0000" == mail["Date"]
        assert "<act__v3__usr_a__evt_b-welcome-1@example.com>" == mail["Message-ID"]
        assert f"<{link}>" == mail["List-Unsubscribe"]
        assert "List-Unsubscribe=One-Click" == mail["List-Unsubscribe-Post"]
        assert isinstance(envelope.content, bytes)
        assert f"\r\nList-Unsubscribe: <{link}>\r\n".encode() in envelope.content  # as bytes: machines decode nothing
        assert "multipart/alternative" == mail.get_content_type()
        assert html is not None
        assert text is not None
        assert "<p>Grüße</p>" == html.get_content().strip()
        assert "Grüße" == text.get_content().strip()

    async def test_without_a_link_there_is_no_header(self, opened: Opened) -> None:
        async with smtp_server(Mailbox()) as box, opened(box.port) as sender:
            await sender.send(message(text=""))

        [mail] = box.mails
        assert mail["List-Unsubscribe"] is None
        assert "text/html" == mail.get_content_type()

    async def test_a_line_of_dots_stays_one_mail(self, opened: Opened) -> None:
        """What looks like the end of the content, in any line ending, is content: no second mail can be smuggled in."""
        text = "one\n.\r\nMAIL FROM:<x@example.com>\n\r.\r\n..two"
        async with smtp_server(Mailbox()) as box, opened(box.port) as sender:
            await sender.send(message(text=text, body=""))
            await sender.send(message())

        assert 2 == len(box.taken)
        assert text.splitlines() == box.mails[0].get_content().splitlines()

    @pytest.mark.parametrize("security", ["starttls", "tls"])
    async def test_it_speaks_tls_and_signs_in(
        self,
        opened: Opened,
        tls: tuple[ssl.SSLContext, ssl.SSLContext],
        monkeypatch: pytest.MonkeyPatch,
        security: Security,
    ) -> None:
        """The password comes from its reference at the time of use."""
        monkeypatch.setenv("MAIL_PASSWORD", "s3cret")
        peer: dict[str, Any] = {security: tls[0]}
        login = {"username": "jörg", "password_ref": "env:MAIL_PASSWORD"}
        async with (
            smtp_server(Mailbox(), auth=True, **peer) as box,
            opened(box.port, security, tls=tls[1], **login) as sender,
        ):
            await sender.send(message())

        assert 1 == len(box.taken)
        assert [("jörg".encode(), b"s3cret")] == box.logins

    async def test_a_local_part_beyond_ascii_goes_as_utf8(self, opened: Opened) -> None:
        async with smtp_server(Mailbox()) as box, opened(box.port) as sender:
            await sender.send(message(to=("jürgen@münchen.example",)))

        assert ["jürgen@xn--mnchen-3ya.example"] == box.taken[0].rcpt_tos
        assert "SMTPUTF8" in box.taken[0].mail_options

    async def test_one_recipient_taken_is_sent(self, opened: Opened) -> None:
        async with (
            smtp_server(Mailbox(rcpt_replies={"b@example.com": "550 no"})) as box,
            opened(box.port) as sender,
        ):
            await sender.send(message(to=("a@example.com", "b@example.com")))

        assert [["a@example.com"]] == [one.rcpt_tos for one in box.taken]

    async def test_it_promises_at_most_once(self) -> None:
        assert Promise.AT_MOST_ONCE is SmtpSender.promise


class TestConnections:
    """send: connections are kept, bounded and given up."""

    async def test_mails_after_each_other_share_a_connection(self, opened: Opened) -> None:
        async with smtp_server(Mailbox()) as box, opened(box.port) as sender:
            for _ in range(3):
                await sender.send(message())

        assert (3, 1) == (len(box.taken), len(box.sessions))

    async def test_mails_at_once_use_a_few(self, opened: Opened) -> None:
        async with smtp_server(Mailbox(pause_s=0.01)) as box, opened(box.port) as sender:
            await asyncio.gather(*(sender.send(message(message_id=f"m-{n}")) for n in range(30)))

        assert 30 == len(box.taken)
        assert len(box.sessions) <= smtp.CONNECTIONS

    async def test_a_connection_ends_after_its_uses(self, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(smtp, "USES", 2)
        async with smtp_server(Mailbox()) as box, opened(box.port) as sender:
            for _ in range(5):
                await sender.send(message())

        assert (5, 3) == (len(box.taken), len(box.sessions))

    async def test_a_connection_that_died_idle_is_replaced(self, opened: Opened) -> None:
        """A server may close at MAIL what lay idle for too long: nothing was sent, so the mail takes a new connection."""
        async with scripted(Script("MAIL", "close", times=0)) as script, opened(script.port) as sender:
            await sender.send(message())
            script.times = 1
            await sender.send(message())

        assert (2, 2) == (len(script.contents), script.connections)

    async def test_421_on_an_idle_connection_is_no_refusal(self, opened: Opened) -> None:
        async with scripted(Script("MAIL", "421 idle for too long", times=0)) as script, opened(script.port) as sender:
            await sender.send(message())
            script.times = 1
            await sender.send(message())

        assert 2 == len(script.contents)

    async def test_an_idle_connection_is_closed(self, opened: Opened) -> None:
        async with scripted(Script("", "")) as script, opened(script.port, idle_s=0.02) as sender:
            await sender.send(message())
            async with asyncio.timeout(2):
                while sender._idle:
                    await asyncio.sleep(0.01)
            await sender.send(message())

        assert 2 == script.connections

    async def test_after_a_refusal_the_connection_goes_on(self, opened: Opened) -> None:
        async with (
            scripted(Script("RCPT", "550 5.1.1 no such user", times=1)) as script,
            opened(script.port) as sender,
        ):
            with pytest.raises(Permanent):
                await sender.send(message())
            await sender.send(message())

        assert (1, 1) == (len(script.contents), script.connections)

    async def test_who_finds_no_connection_free_is_told(self, opened: Opened) -> None:
        """A hanging server does not hold intents beyond their lease: nothing was sent, and the sender says so."""
        async with (
            scripted(Script("greeting", "hang")) as script,
            opened(script.port, queue_s=0.05, envelope_s=0.5) as sender,
        ):
            ends = await asyncio.gather(
                *(sender.send(message()) for _ in range(smtp.CONNECTIONS + 1)), return_exceptions=True
            )

        assert [Temporary] * len(ends) == [type(end) for end in ends]
        assert 1 == sum("in use" in str(end) for end in ends)


KNOWN = [
    ("greeting", "554 go away", Permanent),
    ("greeting", "421 too busy", Temporary),
    ("greeting", "what?", Temporary),
    ("greeting", "close", Temporary),
    ("greeting", "hang", Temporary),
    ("MAIL", "550 no", Permanent),
    ("MAIL", "451 later", Temporary),
    ("MAIL", "close", Temporary),
    ("MAIL", "hang", Temporary),
    ("RCPT", "550 5.1.1 no such user", Permanent),
    ("RCPT", "450 greylisted", Temporary),
    ("RCPT", "close", Temporary),
    ("DATA", "554 no", Permanent),
    ("DATA", "421 closing", Temporary),
    ("DATA", "close", Temporary),
    ("DATA", "hang", Temporary),
    ("content", "550 spam", Permanent),
    ("content", "451 disk full", Temporary),
    ("content", "421 closing", Temporary),
    ("content", "close", InDoubt),
    ("content", "hang", InDoubt),
    ("content", "what?", InDoubt),
    ("content", "354 again?", InDoubt),
]


class TestFailures:
    """send: how it ends says whether anything was sent."""

    @pytest.mark.parametrize(("at", "does", "outcome"), KNOWN)
    async def test_every_point_of_failure_has_its_outcome(
        self, opened: Opened, at: str, does: str, outcome: type[Exception]
    ) -> None:
        """5xx is for good, all else before the end of the content is for now, silence after it is in doubt."""
        async with (
            scripted(Script(at, does)) as script,
            opened(script.port, envelope_s=0.3, content_s=0.3) as sender,
        ):
            with pytest.raises(outcome) as caught:
                await sender.send(message())

        assert outcome is type(caught.value)
        assert (at == "content") == bool(script.contents)
        assert len(script.contents) <= 1

    async def test_a_server_of_the_old_kind_is_spoken_to_in_its_way(self, opened: Opened) -> None:
        async with scripted(Script("EHLO", "502 what is that?")) as script, opened(script.port) as sender:
            await sender.send(message())

        assert 1 == len(script.contents)

    async def test_an_address_the_server_cannot_take_is_for_good(self, opened: Opened) -> None:
        """And the connection is not lost over it."""
        async with scripted(Script("", "")) as script, opened(script.port) as sender:
            with pytest.raises(Permanent, match="beyond ASCII"):
                await sender.send(message(to=("jürgen@example.com",)))
            await sender.send(message())

        assert (1, 1) == (script.connections, len(script.contents))

    async def test_a_refused_connection_is_temporary(self, opened: Opened) -> None:
        async with scripted(Script("", "")) as script:
            pass
        async with opened(script.port) as sender:
            with pytest.raises(Temporary, match="No connection to"):
                await sender.send(message())

    async def test_a_slow_server_is_waited_for_only_so_long(self, opened: Opened) -> None:
        async with scripted(Script("RCPT", "hang")) as script, opened(script.port, envelope_s=0.2) as sender:
            started = time.monotonic()
            with pytest.raises(Temporary, match="did not answer in time"):
                await sender.send(message())

        assert time.monotonic() - started < 2

    async def test_a_cancelled_send_leaves_no_connection_behind(self, opened: Opened) -> None:
        async with scripted(Script("content", "hang")) as script, opened(script.port) as sender:
            task = asyncio.create_task(sender.send(message()))
            async with asyncio.timeout(2):
                while not script.contents:
                    await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

            assert not sender._idle
            assert smtp.CONNECTIONS == sender._slots._value

    async def test_a_private_server_is_refused_unless_allowed(self, opened: Opened) -> None:
        async with scripted(Script("", "")) as script, opened(script.port, targets=Targets()) as sender:
            with pytest.raises(Permanent, match="JOURNEYS_ALLOW_PRIVATE_HOSTS"):
                await sender.send(message())

        assert 0 == script.connections

    async def test_a_wrong_password_is_a_refusal_that_does_not_show_it(
        self, opened: Opened, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MAIL_PASSWORD", "wr0ng")
        async with (
            smtp_server(Mailbox(), auth=True) as box,
            opened(box.port, username="anna", password_ref="env:MAIL_PASSWORD") as sender,
        ):
            with pytest.raises(Permanent, match="535") as caught:
                await sender.send(message())

        assert "wr0ng" not in repr(caught.value) + repr(sender.__dict__)

    async def test_a_missing_secret_is_worth_a_repeat(self, opened: Opened) -> None:
        async with opened(1, username="anna", password_ref="env:NOT_THERE") as sender:
            with pytest.raises(Temporary, match="NOT_THERE is not set"):
                await sender.send(message())

    async def test_a_server_without_starttls_gets_nothing(self, opened: Opened) -> None:
        """No fall back to clear text: who strips the offer on the way would read the mail."""
        async with smtp_server(Mailbox()) as box, opened(box.port, "starttls") as sender:
            with pytest.raises(Permanent, match="STARTTLS"):
                await sender.send(message())

        assert not box.taken

    @pytest.mark.parametrize("security", ["starttls", "tls"])
    async def test_a_certificate_nobody_vouches_for_gets_nothing(
        self, opened: Opened, tls: tuple[ssl.SSLContext, ssl.SSLContext], security: Security
    ) -> None:
        peer: dict[str, Any] = {security: tls[0]}
        async with smtp_server(Mailbox(), **peer) as box, opened(box.port, security) as sender:
            with pytest.raises(Temporary, match="certificate"):
                await sender.send(message())

        assert not box.taken

    async def test_a_recipient_for_later_outweighs_one_for_never(self, opened: Opened) -> None:
        replies = {"a@example.com": "550 never", "b@example.com": "450 later"}
        async with smtp_server(Mailbox(rcpt_replies=replies)) as box, opened(box.port) as sender:
            with pytest.raises(Temporary, match="450"):
                await sender.send(message(to=("a@example.com", "b@example.com")))

    async def test_a_refusal_shows_no_address(self, opened: Opened) -> None:
        """The reason is stored beside the execution, where no address belongs."""
        reply = "550 5.1.1 <anna@example.com>: Recipient address rejected"
        async with (
            smtp_server(Mailbox(rcpt_replies={"anna@example.com": reply})) as box,
            opened(box.port) as sender,
        ):
            with pytest.raises(SendFailed) as caught:
                await sender.send(message())

        assert "anna@example.com" not in str(caught.value)
        assert "550" in str(caught.value)


INJECTED = [
    ("subject", "Hi\r\nBcc: eve@example.com"),
    ("subject", "Hi\nBcc: eve@example.com"),
    ("subject", "Hi\u2028Bcc: eve@example.com"),
    ("subject", "Hi\x00"),
    ("subject", "\ud800"),
    ("to", ("anna@example.com\r\nRCPT TO:<eve@example.com>",)),
    ("to", ("anna@example.com, eve@example.com",)),
    ("to", ("anna@example.com> SIZE=1 <eve@example.com",)),
    ("to", ("Anna <anna@example.com>",)),
    ("to", ('"a b"@example.com',)),
    ("to", ("anna@example.com@example.net",)),
    ("to", ("anna@[127.0.0.1]",)),
    ("to", ("anna",)),
    ("to", ("anna@",)),
    ("to", ("",)),
    ("to", ()),
    ("sender", "News <news@example.com>\r\nBcc: eve@example.com"),
    ("sender", "News\r\nBcc: eve@example.com <news@example.com>"),
    ("sender", "news@example.com, eve@example.com"),
    ("text", "a lone \ud800"),
]


class TestInjection:
    """send: what a template or a profile rendered is never a header or a command of its own."""

    @pytest.mark.parametrize(("member", "value"), INJECTED)
    async def test_nothing_of_it_is_sent(self, opened: Opened, member: str, value: Any) -> None:
        async with smtp_server(Mailbox()) as box, opened(box.port) as sender:
            with pytest.raises(Permanent) as caught:
                await sender.send(message(**{member: value}))

        assert not box.taken
        assert "example" not in str(caught.value)

    @pytest.mark.parametrize(
        "link", ["https://x.example/a\r\nBcc: e@x.example", "javascript:1", "https://x/>,<mailto:e"]
    )
    async def test_a_link_is_one_url(self, opened: Opened, link: str) -> None:
        async with opened(1) as sender:
            with pytest.raises(Permanent, match="no URL"):
                await sender.send(message(unsubscribe_url=link))

    async def test_blank_lines_around_a_subject_are_of_its_template(self, opened: Opened) -> None:
        async with smtp_server(Mailbox()) as box, opened(box.port) as sender:
            await sender.send(message(subject="\n  Hello\tAnna \n"))

        assert ["Hello Anna"] == [mail["Subject"] for mail in box.mails]

    @pytest.mark.parametrize(
        "name", ["Zoë, GmbH", "מערכת שליחה", "الأخبار " * 12, "a=?utf-8?q?=0A?=b", "O'Neil (Sales)"]
    )
    async def test_names_in_any_script_arrive(self, opened: Opened, name: str) -> None:
        async with smtp_server(Mailbox()) as box, opened(box.port) as sender:
            await sender.send(message(sender=f"{name} <sales@example.com>"))

        [envelope] = box.taken
        assert isinstance(envelope.content, bytes)
        head = message_from_bytes(envelope.content)["From"].replace("\r\n", "")  # the newer parser loses spaces
        shown = str(make_header(decode_header(head))).replace('"', "")
        assert f"{name.strip()} <sales@example.com>" == shown

    @pytest.mark.parametrize("message_id", ["a..b.", "a:b/ü", "x" * 900, "."])
    async def test_any_message_id_makes_a_message_id(self, opened: Opened, message_id: str) -> None:
        async with smtp_server(Mailbox()) as box, opened(box.port) as sender:
            await sender.send(message(message_id=message_id))

        local, _, domain = box.mails[0]["Message-ID"].strip("<>").partition("@")
        assert "example.com" == domain
        assert 0 < len(local) <= 200
        assert not local.startswith(".")
