"""Settings choose senders; equal settings choose the same one."""

from typing import Any

import pytest

from services.infra.clock import ManualClock
from services.infra.outbound import Outbound
from services.runtime.senders import choice
from services.runtime.senders.choice import Senders, UnusableSender
from services.runtime.senders.fcm import FcmSender
from services.runtime.senders.http import HttpSender
from services.runtime.senders.outcomes import Permanent
from services.runtime.senders.port import OutboxSender, Promise
from services.runtime.senders.smtp import SmtpSender
from tests.integration.senders.peers import Mailbox, Script, http_server, message, scripted, smtp_server

SMTP = {"type": "smtp", "host": "mail.example", "port": 587, "security": "starttls", "from": "News <n@example.com>"}
HTTP = {"type": "http", "url": "https://hooks.example/", "idempotent": True}
FCM = {"type": "fcm", "projectId": "p-1", "credentialsRef": "env:ACCOUNT"}


class TestOf:
    """of: the sender of a channel."""

    @pytest.mark.parametrize("senders", [None, {}, {"email": None}, {"email": {"type": "outbox"}}])
    async def test_the_outbox_is_the_default(self, outbound: Outbound, senders: Any) -> None:
        assert isinstance(Senders(outbound).of(senders, "email"), OutboxSender)

    async def test_in_app_messages_go_to_their_store(self, outbound: Outbound) -> None:
        store = OutboxSender()
        senders = Senders(outbound, in_app=store)

        assert store is senders.of({}, "in_app_push")
        assert store is senders.of({"in_app_push": {"type": "in_app"}}, "in_app_push")
        assert store is not senders.of({"in_app_push": {"type": "outbox"}}, "in_app_push")

    @pytest.mark.parametrize(
        ("channel", "settings", "kind"),
        [
            ("email", SMTP, SmtpSender),
            ("email", HTTP, HttpSender),
            ("mobile_push", HTTP, HttpSender),
            ("in_app_push", HTTP, HttpSender),
            ("mobile_push", FCM, FcmSender),
        ],
    )
    async def test_each_type_has_its_sender(
        self, outbound: Outbound, channel: str, settings: dict[str, Any], kind: type
    ) -> None:
        assert isinstance(Senders(outbound).of({channel: settings}, channel), kind)

    async def test_equal_settings_share_a_sender_and_changed_ones_do_not(self, outbound: Outbound) -> None:
        senders = Senders(outbound)
        first = senders.of({"email": SMTP}, "email")

        assert first is senders.of({"email": dict(reversed(SMTP.items())), "mobile_push": FCM}, "email")
        assert first is not senders.of({"email": {**SMTP, "port": 25}}, "email")
        await senders.close()

    @pytest.mark.parametrize(
        ("channel", "settings"),
        [
            ("email", {}),
            ("email", "smtp"),
            ("email", {"type": "pigeon"}),
            ("email", {"type": ["smtp"]}),
            ("email", {**SMTP, "port": "587"}),
            ("email", {**SMTP, "security": "maybe"}),
            ("email", {**SMTP, "from": None}),
            ("email", {name: value for name, value in SMTP.items() if name != "host"}),
            ("email", {**HTTP, "idempotent": "yes"}),
            ("email", {**HTTP, "headers": {"X": 1}}),
            ("email", {**HTTP, "headers": ["X"]}),
            ("email", FCM),
            ("mobile_push", SMTP),
            ("email", {"type": "in_app"}),
        ],
    )
    async def test_what_cannot_be_used_refuses_its_own_messages(
        self, outbound: Outbound, channel: str, settings: Any
    ) -> None:
        sender = Senders(outbound).of({channel: settings}, channel)

        assert isinstance(sender, UnusableSender)
        assert Promise.AT_MOST_ONCE is sender.promise
        with pytest.raises(Permanent, match=f"sender for {channel} cannot be used"):
            await sender.send(message())

    async def test_the_clock_reaches_the_mail(self, outbound: Outbound) -> None:
        async with smtp_server(Mailbox()) as box:
            senders = Senders(outbound, ManualClock(1_777_554_000_000))
            settings = {**SMTP, "host": "127.0.0.1", "port": box.port, "security": "none"}
            await senders.of({"email": settings}, "email").send(message())
            await senders.close()

        assert "Thu, 30 Apr 2026 13:00:00 +0000" == box.mails[0]["Date"]

    async def test_the_sender_unused_for_longest_is_closed(
        self, outbound: Outbound, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its idle connections with it; a workspace that comes back gets a new one."""
        monkeypatch.setattr(choice, "KEPT", 2)
        async with scripted(Script("", "")) as script, http_server() as site:
            senders = Senders(outbound)
            mail = {"email": {**SMTP, "host": "127.0.0.1", "port": script.port, "security": "none"}}
            first = senders.of(mail, "email")
            await first.send(message())
            for n in range(2):
                await senders.of({"email": {**HTTP, "url": f"{site.url}/{n}"}}, "email").send(message())
            again = senders.of(mail, "email")
            await again.send(message())
            await senders.close()

        assert first is not again
        assert (2, 2) == (script.connections, len(script.contents))
